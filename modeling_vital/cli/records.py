"""Records of scores, written row by row: a table for people, and JSON, JSON lines, CSV and Parquet."""

import json
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from ..extras import require
from ..spreadsheet import CsvWriter
from ..whole_files import make_output_folder
from .errors import UsageError


MOS_COLUMNS = ("mos", "mos_low", "mos_high")
"""What a calibration adds to a record."""

FORMATS = ("table", "json", "jsonl", "csv", "csv-raw", "parquet")
_BY_SUFFIX = {".txt": "table", ".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_BY_SUFFIX |= {".parquet": "parquet"}
_ROWS_A_GROUP = 10_000

logger = logging.getLogger(__name__)


def printable(text: str) -> str:
    """Text that stays on one line and cannot steer a terminal: what is not printable is written as an escape."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def complain(records: Iterable[dict[str, Any]]) -> None:
    """Names the records that have an error, and says why, on stderr."""
    for record in records:
        if record["error"] is not None:
            path, error = printable(record["path"]), printable(record["error"])
            logger.error("%s", error if path in error else f"{path}: {error}")


class Report:
    """Base of the formats of a stream, a context manager: leaving it completes them, also after an interruption.

    Only a [`UsageError`] before the first record leaves the stream untouched.

    Args:
        stream (`TextIO`): where to write.

    Attributes:
        level_words (`Sequence[str]`): words of the levels, best first; known once the model is loaded.
        calibrated (`bool`): whether records have a MOS and its interval; known then, too.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.level_words: Sequence[str] = ()
        self.calibrated = False
        self.started = False

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        nothing = isinstance(error, UsageError) and not self.started
        if not nothing and not isinstance(error, BrokenPipeError):
            self.close()
            self.stream.flush()

    def row(self, record: dict) -> None:
        """Writes one record."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what has to follow the last record."""
        raise NotImplementedError


class JsonReport(Report):
    """One JSON array, one record a line, in ASCII: right whatever the encoding of stdout and whatever is in a name."""

    def row(self, record: dict) -> None:
        """Writes one record; a number that JSON does not have is a `ValueError`."""
        text = json.dumps(record, allow_nan=False)
        self.stream.write((",\n  " if self.started else "[\n  ") + text)
        self.started = True

    def close(self) -> None:
        """Closes the array."""
        self.stream.write("\n]\n" if self.started else "[]\n")


class TableReport(Report):
    """Aligned columns: path, score, std, MOS where there is one, level, and the probability of each level.

    Attributes:
        path_width (`int`): terminal columns of the first column.
    """

    path_width = len("path")

    def row(self, record: dict) -> None:
        """Writes one record; for a failed one, the message takes the place of the numbers."""
        word_width = max(terminal_width(word) for word in ("level", *self.level_words))
        prob_widths = [max(terminal_width(word), _NUMBER_WIDTH) for word in self.level_words]
        if not self.started:
            words = [_left(word, width) for word, width in zip(self.level_words, prob_widths, strict=True)]
            numbers = [_left(name, _NUMBER_WIDTH) for name in ("score", "std")]
            numbers += [_left(name, _MOS_WIDTH) for name in MOS_COLUMNS if self.calibrated]
            self._line("path", [*numbers, _right("level", word_width), *words])
            self.started = True
        if record["error"] is not None:
            self._line(record["path"], [f"error: {printable(record['error'])}"])
            return
        probs = record["level_probs"].values()
        cells = [f"{record['score']:.3f}", f"{record['std']:.3f}"]
        if self.calibrated:
            values = [record[name] for name in MOS_COLUMNS]
            cells += [_left("-" if value is None else f"{value:.3f}", _MOS_WIDTH) for value in values]
        cells.append(_right(record["level"], word_width))
        cells += [_left(f"{prob:.3f}", width) for prob, width in zip(probs, prob_widths, strict=True)]
        self._line(record["path"], cells)

    def close(self) -> None:
        """A table needs no ending."""

    def _line(self, path: str, cells: list[str]) -> None:
        self.stream.write("  ".join([_right(printable(path), self.path_width), *cells]).rstrip() + "\n")


_NUMBER_WIDTH = len("0.000")
_MOS_WIDTH = len("mos_high")


def terminal_width(text: str) -> int:
    """Terminal columns that a text takes: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _right(text: str, width: int) -> str:
    """Text with spaces to its right, up to `width` columns."""
    return text + " " * (width - terminal_width(text))


def _left(text: str, width: int) -> str:
    """Text with spaces to its left, up to `width` columns."""
    return " " * (width - terminal_width(text)) + text


def format_of(output: Path | None, name: str | None) -> str:
    """The format that was asked for, else that of the output's suffix, else a table.

    Raises:
        UsageError: if neither says, or Parquet would go to a terminal.
    """
    if output is None:
        if name == "parquet":
            raise UsageError("--format parquet needs --output FILE")
        return name or "table"
    found = name or _BY_SUFFIX.get(output.suffix.lower())
    if found is None:
        raise UsageError(f"--output {output} says no format; end it in {', '.join(_BY_SUFFIX)}, or give --format")
    return found


def prepare_output(output: Path) -> None:
    """Makes the folder of a file that is to be written, before the work that takes long.

    Raises:
        UsageError: for a folder or a device in the place of the file, or a folder that cannot be written.
    """
    if output.is_dir():
        raise UsageError(f"--output {output} is a folder; give a file")
    if output.exists() and not output.is_file():  # root would put a file in the place of /dev/null
        raise UsageError(f"--output {output} is no regular file; give the name of one")
    prepare_folder(output.parent)


def prepare_folder(folder: Path | None) -> None:
    """Makes a folder for outputs, if one was named, before the work that takes long.

    Raises:
        UsageError: if it cannot be made or written.
    """
    try:
        if folder is not None:
            make_output_folder(folder)
    except OSError as error:
        raise UsageError(str(error)) from error


def is_table(output: Path) -> bool:
    """Returns `True` if the suffix of a path is that of one of the formats."""
    return output.suffix.lower() in _BY_SUFFIX


def columns(record: dict[str, Any]) -> dict[str, Any]:
    """A record as columns: the probabilities of the levels become `prob_high` and so on, the error goes last."""
    flat = {name: value for name, value in record.items() if name not in ("level_probs", "error")}
    probs = {f"prob_{word}": prob for word, prob in (record["level_probs"] or {}).items()}
    return {**flat, **probs, "error": record["error"]}


def column_names(level_words: Sequence[str], calibrated: bool = False) -> list[str]:
    """Names of the columns, in order; with those of a calibration or without."""
    mos = MOS_COLUMNS if calibrated else ()
    return ["path", "modality", "score", "std", *mos, "level", *(f"prob_{word}" for word in level_words), "error"]


def encodable(text: str) -> str:
    """A text that UTF-8 can hold: the bytes of a file name that is none are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


class JsonlReport(Report):
    """One record a line, in ASCII."""

    def row(self, record: dict) -> None:
        """Writes one record; a number that JSON does not have is a `ValueError`."""
        self.stream.write(json.dumps(record, allow_nan=False) + "\n")

    def close(self) -> None:
        """Lines need no ending."""


class CsvReport(Report):
    """A header and one record a row; an empty cell where there is no value. Numbers are written in full.

    Args:
        stream (`TextIO`): where to write.
        raw (`bool`, *optional*, defaults to `False`): write texts as they are, see [`CsvWriter`].
    """

    def __init__(self, stream: TextIO, raw: bool = False) -> None:
        super().__init__(stream)
        self._writer = CsvWriter(stream, raw)

    def row(self, record: dict) -> None:
        """Writes one record, and the header before the first."""
        self._start()
        cells = columns(record)
        self._writer.writerow(cells.get(name) for name in column_names(self.level_words, self.calibrated))

    def close(self) -> None:
        """Writes the header of a table without rows."""
        self._start()

    def _start(self) -> None:
        if not self.started:
            self._writer.writerow(column_names(self.level_words, self.calibrated))
            self.started = True


class ParquetReport:
    """A Parquet file with the columns of the CSV, `_ROWS_A_GROUP` rows a group; a context manager.

    Args:
        path (`Path`): the file.

    Attributes:
        level_words (`Sequence[str]`): words of the levels, best first; to be known before the first record.
        calibrated (`bool`): whether there are the columns of a calibration.
    """

    def __init__(self, path: Path) -> None:
        self._parquet, self._path = require("pyarrow.parquet", "cli", UsageError), path
        self._arrow = require("pyarrow.lib", "cli", UsageError)
        self.level_words: Sequence[str] = ()
        self.calibrated = False
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> "ParquetReport":
        text, number = self._arrow.string(), self._arrow.float64()
        types = dict.fromkeys(("score", "std", *MOS_COLUMNS), number)
        names = column_names(self.level_words, self.calibrated)
        fields = [(name, types.get(name, number if name.startswith("prob_") else text)) for name in names]
        self._schema = self._arrow.schema(fields)
        self._writer = self._parquet.ParquetWriter(self._path, self._schema)
        return self

    def __exit__(self, *error: object) -> None:
        self._flush()
        self._writer.close()

    def row(self, record: dict) -> None:
        """Writes one record."""
        cells = columns(record)
        self._rows.append({name: encodable(v) if isinstance(v, str) else v for name, v in cells.items()})
        if len(self._rows) == _ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []
