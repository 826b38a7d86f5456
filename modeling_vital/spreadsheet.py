"""Cells that a spreadsheet shows and does not run: texts such as file names may be a stranger's."""

import csv
from collections.abc import Iterable
from typing import Any, TextIO


_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # noqa: RUF001  wide forms count as well where East Asian text is usual


def as_text(text: str) -> str:
    """Makes a text one that no spreadsheet takes for a formula: an apostrophe goes before one that looks like it."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


class CsvWriter:
    """Writes rows of CSV. Every CSV file that people may open in a spreadsheet is written by it.

    Args:
        stream (`TextIO`): where to.
        raw (`bool`, *optional*, defaults to `False`): write texts as they are, for programs.
    """

    def __init__(self, stream: TextIO, raw: bool = False) -> None:
        self._raw = raw
        self._writer = csv.writer(stream, lineterminator="\n")
        self._quoting = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def writerow(self, cells: Iterable[Any]) -> None:
        """Writes one row; `None` is an empty cell, numbers are written in full, what UTF-8 lacks as escapes."""
        row = [self._cell(cell) if isinstance(cell, str) else cell for cell in cells]
        # Python before 3.13 leaves a carriage return unquoted, and what follows it would begin a row.
        split = any(isinstance(cell, str) and "\r" in cell for cell in row)
        (self._quoting if split else self._writer).writerow(row)

    def _cell(self, text: str) -> str:
        text = text.encode("utf-8", "backslashreplace").decode()
        return text if self._raw else as_text(text)


__all__ = ["CsvWriter", "as_text"]
