"""A table of files: CSV, JSON lines or Parquet."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_scripts.sources.base import UNKNOWN_LICENSE, SourceError, SourceItem, text_details
from modeling_vital.manifest_paths import resolve_entry
from modeling_vital.media_vital import MediaError


COLUMNS = ("path", "content_id", "license", "split")
SUFFIXES = (".csv", ".jsonl", ".parquet")


@dataclass
class ManifestSource:
    """Files named by a table, in its order.

    Columns: `path` (of a file in or below `root`, relative to it), and, if known, `content_id`, `license` and `split`
    (`train`, `validation` or `test`). All other columns go into the provenance.

    Args:
        path (`str`): the table, `.csv` (with a header), `.jsonl` or `.parquet`.
        root (`str`, *optional*): folder that paths start from; by default that of the table.
        license (`str`, *optional*): of the rows that name none.
        name (`str`, *optional*): of the source; by default that of the file.
        allow_outside (`bool`, *optional*, defaults to `False`): whether paths may lead out of `root`; a table from a
            stranger could name any file then.

    Raises:
        SourceError: the table is missing, malformed, or a row has no `path` or one that leads out; names the row.
    """

    path: str
    root: str = ""
    license: str = UNKNOWN_LICENSE
    name: str = ""
    allow_outside: bool = False

    def __post_init__(self) -> None:
        file = Path(self.path)
        if file.suffix.lower() not in SUFFIXES or not file.is_file():
            raise SourceError(f"{self.path!r} is not a table that exists, in one of the forms {' '.join(SUFFIXES)}")
        self.root = self.root or str(file.parent)
        self.name = self.name or file.stem

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of the table, as they are."""
        read = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
        yield from read[Path(self.path).suffix.lower()](Path(self.path))

    def __iter__(self) -> Iterator[SourceItem]:
        for number, row in enumerate(self.rows(), start=1):
            path = row.get("path")
            if not path or not isinstance(path, str):
                raise SourceError(f"{self.path}: row {number} has no path; the columns are {', '.join(row)}")
            try:
                media = resolve_entry(self.root, path, allow_outside=self.allow_outside)
            except MediaError as error:
                raise SourceError(f"{self.path}: row {number}: {error} (`allow_outside`)") from error
            yield SourceItem(
                name=Path(path).as_posix(),
                media=media,
                license=str(row.get("license") or self.license),
                content_id=str(row["content_id"]) if row.get("content_id") else None,
                split=row.get("split") or None,
                details=text_details(row, COLUMNS),
            )


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:  # -sig: spreadsheets put a byte order mark in front
        try:
            for number, row in enumerate(csv.DictReader(file), start=1):
                if None in row:
                    raise SourceError(f"{path}: row {number} has more fields than the header")
                yield row
        except csv.Error as error:
            raise SourceError(f"{path} cannot be read as CSV ({error})") from error


def _read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{path}: line {number} is not JSON ({str(error)[:200]})") from error
            if not isinstance(row, dict):
                raise SourceError(f"{path}: line {number} must be an object, is {type(row).__name__}")
            yield row


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path} is not a Parquet file ({error})") from error
    with table:
        for batch in table.iter_batches(batch_size=1024):
            yield from batch.to_pylist()
