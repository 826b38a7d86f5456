"""A table of files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dataset_scripts.sources.base import UNKNOWN_LICENSE, SourceError, SourceItem, text_details
from modeling_vital.manifest_paths import resolve_entry
from modeling_vital.media_vital import MediaError
from modeling_vital.table_file import TABLE_SUFFIXES, TableFile


COLUMNS = ("path", "content_id", "license", "split")


@dataclass
class ManifestSource:
    """Files named by a table, in its order.

    Columns: `path` (of a file in or below `root`, relative to it), and, if known, `content_id`, `license` and `split`
    (`train`, `validation` or `test`). All other columns go into the provenance.

    Args:
        path (`str`): the table, in a form of [`TableFile`]; JSON holds objects.
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
        if file.suffix.lower() not in TABLE_SUFFIXES or not file.is_file():
            raise SourceError(
                f"{self.path!r} is not a table that exists, in one of the forms {' '.join(sorted(TABLE_SUFFIXES))}"
            )
        self.root = self.root or str(file.parent)
        self.name = self.name or file.stem

    def __iter__(self) -> Iterator[SourceItem]:
        for row in TableFile(self.path, ["path"], COLUMNS, others=True, error=SourceError):
            where, cells = f"{self.path}, {row.place}", row.cells
            if row.error is not None:
                raise SourceError(f"{where}: {row.error}")
            path = cells.get("path") if isinstance(cells, dict) else None
            if not path or not isinstance(path, str):
                raise SourceError(f"{where} has no path")
            try:
                media = resolve_entry(self.root, path, allow_outside=self.allow_outside)
            except MediaError as error:
                raise SourceError(f"{where}: {error} (`allow_outside`)") from error
            yield SourceItem(
                name=Path(path).as_posix(),
                media=media,
                license=str(cells.get("license") or self.license),
                content_id=str(cells["content_id"]) if cells.get("content_id") else None,
                split=cells.get("split") or None,
                details=text_details(cells, COLUMNS),
            )
