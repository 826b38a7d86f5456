"""Printed records of scores: JSON for programs, a table for people. Both are written row by row."""

import json
import logging
import unicodedata
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, TextIO

from .errors import UsageError


MOS_COLUMNS = ("mos", "mos_low", "mos_high")
"""What a calibration adds to a record."""

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
    """Base of the two formats, a context manager: leaving it completes the output, also when the work was interrupted.

    Only a [`UsageError`] leaves the stream untouched: nothing was scored then.

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
        if not isinstance(error, (UsageError, BrokenPipeError)):
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
