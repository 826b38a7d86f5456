"""Checks a data set before it is published: every row, every medium, and what only shows over all rows."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from dataset_scripts.build_config import SPLITS
from dataset_scripts.schema import CONFIGS, check_row, row_features
from dataset_scripts.sources.base import UNKNOWN_LICENSE
from modeling_vital.media_vital import MediaError, load_media


logger = logging.getLogger(__name__)

DATA_DIR = "data"
FILE_PREFIX = "vital_pairs"
_EXAMPLES = 5


@dataclass
class Finding:
    """One kind of problem.

    Attributes:
        count (`int`): how often.
        examples (`list[str]`): the first few.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class ValidationReport:
    """Result of a validation.

    Attributes:
        rows (`dict[str, int]`): rows looked at, by configuration.
        errors (`dict[str, Finding]`): by kind; a data set with any must not be published.
        warnings (`dict[str, Finding]`): what whoever publishes should know.
    """

    rows: dict[str, int] = field(default_factory=dict)
    errors: dict[str, Finding] = field(default_factory=dict)
    warnings: dict[str, Finding] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No error."""
        return not self.errors

    def error(self, kind: str, example: str) -> None:
        """Notes an error."""
        _note(self.errors, kind, example)

    def warn(self, kind: str, example: str) -> None:
        """Notes a warning."""
        _note(self.warnings, kind, example)

    def lines(self) -> Iterator[str]:
        """The report in words."""
        rows = ", ".join(f"{count} {config}" for config, count in self.rows.items()) or "none"
        yield f"rows checked: {rows}"
        for word, findings in (("ERROR", self.errors), ("warning", self.warnings)):
            for kind, finding in sorted(findings.items()):
                yield f"{word}: {kind}: {finding.count} times, such as"
                yield from (f"    {example}" for example in finding.examples)
        yield "the data set is sound" if self.ok else "the data set must not be published as it is"


def _note(findings: dict[str, Finding], kind: str, example: str) -> None:
    finding = findings.setdefault(kind, Finding())
    finding.count += 1
    if len(finding.examples) < _EXAMPLES:
        finding.examples.append(example)


def data_files(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Configuration -> split -> its Parquet files, in order; from `data/CONFIG/vital_pairs-SPLIT*.parquet`."""
    found: dict[str, dict[str, list[Path]]] = {}
    for config in CONFIGS:
        for split in SPLITS:
            files = sorted((folder / DATA_DIR / config).glob(f"{FILE_PREFIX}-{split}*.parquet"))
            if files:
                found.setdefault(config, {})[split] = files
    return found


def validate(folder: str | Path) -> ValidationReport:
    """Checks every row and medium of a data set in a folder.

    Args:
        folder (`str` or `Path`): with `data/CONFIG/vital_pairs-SPLIT*.parquet`.

    Returns:
        [`ValidationReport`]: errors and warnings.

    Raises:
        FileNotFoundError: the folder holds no such file.
    """
    files = data_files(Path(folder))
    if not files:
        raise FileNotFoundError(f"{folder} holds no {DATA_DIR}/CONFIG/{FILE_PREFIX}-SPLIT*.parquet to check")
    report, check = ValidationReport(), _Check()
    total = sum(_row_count(path) for splits in files.values() for paths in splits.values() for path in paths)
    with tqdm(desc="validate", unit="row", total=total, delay=2) as progress:
        for config, splits in files.items():
            check.ids.clear()
            for split, paths in splits.items():
                for path in paths:
                    progress.update(check.file(report, config, split, path))
    return report


def _row_count(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (pa.ArrowInvalid, OSError):
        return 0  # `_Check.file` says what is wrong


class _Check:
    """State of a validation over all files."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.splits: dict[str, str] = {}
        self.sound: set[bytes] = set()

    def file(self, report: ValidationReport, config: str, split: str, path: Path) -> int:
        where = f"{config}/{path.name}"
        try:
            table = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            report.error("unreadable file", f"{where}: {error}")
            return 0
        with table:
            problem = _schema_problem(config, table.schema_arrow)
            if problem:
                report.error("columns", f"{where}: {problem}")
                return 0
            for batch in table.iter_batches(batch_size=32):
                for row in batch.to_pylist():
                    self.row(report, config, split, row, f"{where}: row {row['id']!r}")
            report.rows[config] = report.rows.get(config, 0) + table.metadata.num_rows
            return table.metadata.num_rows

    def row(self, report: ValidationReport, config: str, split: str, row: dict[str, Any], where: str) -> None:
        for kind, problem in check_row(config, row):
            report.error(kind, f"{where}: {problem}")
        if row["id"] in self.ids:
            report.error("repeated id", where)
        self.ids.add(row["id"])
        if row["split"] != split:
            report.error("split", f"{where}: says {row['split']!r} in a file of {split!r}")
        known = self.splits.setdefault(row["content_id"], split)
        if known != split:
            report.error("content in two splits", f"{where}: {row['content_id']} is in {known} and in {split}")
        if row["license"] == UNKNOWN_LICENSE:
            report.warn("licence unknown", f"{where}: find out before publishing")
        for error in row.get("annotator_errors") or []:
            if isinstance(error, dict):
                report.warn("an annotator gave no opinion", f"{where}: {error['annotator']}: {error['error']}")
        for medium in row["images"] + row["videos"]:
            self.medium(report, row["modality"], medium, where)

    def medium(self, report: ValidationReport, modality: str, medium: dict[str, Any] | None, where: str) -> None:
        if not medium or not medium["bytes"]:
            report.error("media", f"{where}: the bytes of a medium are missing")
            return
        digest = hashlib.sha1(medium["bytes"]).digest()  # one medium is in many rows
        if digest in self.sound:
            return
        try:
            media = load_media(medium["bytes"])
            found = "image"
            if hasattr(media, "num_frames"):
                found = "video"
                for _ in media.iter_frames(range(media.num_frames)):
                    pass
        except MediaError as error:
            report.error("media", f"{where}: {medium['path']}: {error}")
            return
        if found != modality:
            report.error("media", f"{where}: {medium['path']} is a {found}, the row says {modality}")
        self.sound.add(digest)


def _schema_problem(config: str, found: pa.Schema) -> str | None:
    """Describes how the columns of a file differ from the contract; `None` where they do not."""
    annotators: list[str] = []
    if "annotators" in found.names:
        kind = found.field("annotators").type
        kind = kind.value_type if config == "pairwise" and pa.types.is_list(kind) else kind
        annotators = [kind.field(index).name for index in range(kind.num_fields)]
    expected = row_features(config, annotators)
    missing = [name for name in expected if name not in found.names]
    extra = [name for name in found.names if name not in expected]
    if missing or extra:
        return f"missing {missing}, unknown {extra}"
    for column in expected.arrow_schema:
        if found.field(column.name).type != column.type:
            return f"{column.name} is {found.field(column.name).type}, must be {column.type}"
    stored = datasets.Features.from_arrow_schema(found)
    return None if stored == expected else f"the types that `datasets` sees are {stored}"
