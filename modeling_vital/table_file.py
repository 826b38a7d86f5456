"""Tables from strangers, as CSV, JSON, JSON lines or Parquet: a row that cannot be read costs itself alone."""

import csv
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .extras import require
from .messages import short


TABLE_SUFFIXES = frozenset(".csv .tsv .json .jsonl .ndjson .parquet".split())
"""Suffixes of the forms that are read."""

DELIMITERS = ",;\t"
"""Between the cells of CSV, as spreadsheets write it."""

_LINES = (".jsonl", ".ndjson")
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)


@dataclass(frozen=True)
class TableRow:
    """One row.

    Attributes:
        place (`str`): the line on which it ends, or its number where there are no lines; both from 1.
        cells: a value for each column, text where the table is CSV; in JSON, whatever stands there.
        error (`str`, *optional*): why it cannot be read.
    """

    place: str
    cells: Any = None
    error: str | None = None

    def get(self, column: str) -> Any:
        """The cell of a column, `None` if there is none; in JSON, what is no object stands for its own cell."""
        return self.cells.get(column) if isinstance(self.cells, dict) else self.cells


class TableFile:
    """The rows of a file in UTF-8, in the form that its suffix names; CSV for an unknown one.

    Args:
        path (`str` or `Path`): the file.
        needed (`Sequence[str | Sequence[str]]`): columns that there must be, or the names that each may have. Commas,
            semicolons or tabs delimit the cells of CSV: those that make these columns appear.
        known (`Sequence[str]`, *optional*): other columns to read; like those needed, they have the name that is given
            here, whatever its case in the header.
        others (`bool`, *optional*, defaults to `False`): whether all other columns of a Parquet file are read as well.
        comment (`str`, *optional*): rows of CSV that begin with it are skipped.
        error (`type[Exception]`, *optional*, defaults to `ValueError`): the one to raise.

    Attributes:
        columns (`list[str]`): all names in the header; empty for JSON, which has none, and is not checked.

    Iterating over it yields a [`TableRow`] for each row that is not blank. What a row of CSV lacks is `None`.

    Raises:
        ValueError: or `error`, if the file cannot be read, or lacks a column or has it twice; it names the file.
    """

    def __init__(
        self,
        path: str | Path,
        needed: Sequence[str | Sequence[str]],
        known: Sequence[str] = (),
        others: bool = False,
        comment: str = "",
        error: type[Exception] = ValueError,
    ) -> None:
        self._path, self._others, self._comment, self._error = path, others, comment, error
        self._suffix = os.path.splitext(path)[1].lower()
        self.columns: list[str] = []
        if self._suffix in (".json", *_LINES):
            return
        alternatives = [(names,) if isinstance(names, str) else tuple(names) for names in needed]
        self._asked = [name for names in (*alternatives, known) for name in names]
        with self._naming():
            headers = [(delimiter, self._header(delimiter)) for delimiter in DELIMITERS]
        fits = [all(set(names) & set(header) for names in alternatives) for _, header in headers]
        longest = max(range(len(headers)), key=lambda i: len(headers[i][1]))
        self._delimiter, self.columns = headers[fits.index(True) if any(fits) else longest]
        for names in alternatives:
            if not set(names) & set(self.columns):
                there = short(", ".join(self.columns)) or "none"
                raise error(f"{path} has no column {' or '.join(map(repr, names))}; its columns are {there}")
        if twice := [name for name in self._asked if self.columns.count(name) > 1]:
            raise error(f"{path} has the column {twice[0]!r} twice")

    def __iter__(self) -> Iterator[TableRow]:
        with self._naming():
            if self._suffix == ".parquet":
                yield from self._parquet_rows()
            elif self._suffix == ".json":
                yield from array_rows(Path(self._path).read_text(encoding="utf-8-sig"))
            else:
                with self._open() as file:
                    yield from line_rows(file) if self._suffix in _LINES else self._csv_rows(file)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except UnicodeDecodeError as error:
            raise self._error(f"{self._path} is not UTF-8 ({error.reason}); save it as UTF-8") from error
        except (OSError, ValueError, csv.Error) as error:
            raise self._error(f"{self._path} cannot be read as a table: {short(str(error))}") from error

    def _open(self) -> Any:
        return open(self._path, newline="", encoding="utf-8-sig")  # -sig: spreadsheets put a byte order mark in front

    def _header(self, delimiter: str) -> list[str]:
        """The names of the columns, those that were asked for as they were asked for."""
        if self._suffix == ".parquet":
            names = require("pyarrow.parquet", "cli", ValueError).read_schema(self._path).names
        else:
            with self._open() as file:
                names = next(csv_rows(file, delimiter, self._comment), TableRow("")).cells or []
        spelling = {name.lower(): name for name in self._asked if name not in names}
        return [spelling.get(name.strip().lower(), name) for name in names]

    def _csv_rows(self, file: Iterable[str]) -> Iterator[TableRow]:
        width = len(self.columns)
        for number, row in enumerate(csv_rows(file, self._delimiter, self._comment)):
            if number and row.error:
                yield row
            elif number and any(row.cells[width:]):
                yield TableRow(row.place, error=f"has {len(row.cells)} cells, the header {width}")
            elif number:
                cells = [*row.cells, *[None] * (width - len(row.cells))]
                yield TableRow(row.place, dict(zip(self.columns, cells, strict=False)))

    def _parquet_rows(self) -> Iterator[TableRow]:
        with require("pyarrow.parquet", "cli", ValueError).ParquetFile(self._path) as table:
            names = dict(zip(table.schema_arrow.names, self.columns, strict=True))
            chosen = [name for name, known in names.items() if self._others or known in self._asked]
            batches = table.iter_batches(batch_size=1024, columns=chosen)
            for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), start=1):
                yield TableRow(f"row {number}", {names[name]: value for name, value in row.items()})


def as_number(value: Any) -> float | None:
    """The number that a cell holds; `None` for what is missing or no finite number."""
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):  # the last: a whole number that no float holds
        return None
    return found if math.isfinite(found) else None


def csv_rows(lines: Iterable[str], delimiter: str, comment: str = "") -> Iterator[TableRow]:
    """Yields the rows of CSV that are not blank and do not begin with `comment`, as lists of texts."""
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # a cell over csv's limit; the reader begins anew at the next line
            yield TableRow(f"line {reader.line_num}", error=f"not a row of CSV: {error}")
        else:
            if any(cell.strip() for cell in cells) and not (comment and cells[0].startswith(comment)):
                yield TableRow(f"line {reader.line_num}", cells)


def array_rows(text: str) -> list[TableRow]:
    """Reads the elements of a JSON array; one that is nested too deeply for Python's reader is an error.

    Raises:
        ValueError: the text is no JSON, or no array.
    """
    try:
        elements = json.loads(text)
    except RecursionError:
        return [_json_row(f"row {number}", element) for number, element in enumerate(_elements(text), start=1)]
    if not isinstance(elements, list):
        raise ValueError("it holds no array")
    return [TableRow(f"row {number}", element) for number, element in enumerate(elements, start=1)]


def line_rows(lines: Iterable[str]) -> Iterator[TableRow]:
    """Yields a row for each line of JSON that is not blank; one that is no JSON is an error.

    Raises:
        ValueError: no line is JSON, so the file is something else. Nothing was yielded then.
    """
    bad: list[TableRow] | None = []  # held back until one row is JSON
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _json_row(f"line {number}", line)
        if bad is not None and row.error is not None:
            bad.append(row)
            continue
        yield from bad or ()
        bad = None
        yield row
    if bad:
        raise ValueError(f"none of its {len(bad)} lines is JSON: {bad[0].error}")


def _json_row(place: str, text: str) -> TableRow:
    try:
        return TableRow(place, json.loads(text))
    except RecursionError:
        return TableRow(place, error="JSON that is nested too deeply")
    except ValueError as error:
        return TableRow(place, error=f"no JSON: {error}")


def _elements(text: str) -> Iterator[str]:
    """The texts of an array's elements, found by brackets and quotes alone."""
    text = text.strip()
    depth, begin = 0, 1
    for token in _STRUCTURE.finditer(text):
        mark = token[0]
        if mark in ("[", "{"):
            depth += 1
        elif mark in ("]", "}"):
            depth -= 1
        if (mark == "," and depth == 1) or depth == 0:
            yield text[begin : token.start()]
            begin = token.end()
        if depth == 0:
            return
    raise ValueError("its array does not end")


__all__ = ["DELIMITERS", "TABLE_SUFFIXES", "TableFile", "TableRow", "array_rows", "as_number", "csv_rows", "line_rows"]
