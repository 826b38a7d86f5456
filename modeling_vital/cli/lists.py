"""Lists of files: tables with a column of paths, and plain lists on stdin."""

import codecs
import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..json_rows import BadRow, array_rows, line_rows
from ..messages import short
from .collect import Target
from .errors import UsageError


_DELIMITERS = ",;\t"
_BLOCK = 2**16


def read_manifest(path: str, column: str = "path", allow_outside: bool = False) -> Iterator[Target]:
    """Reads the paths of a table: CSV (commas, semicolons or tabs), JSON, JSON lines or Parquet, by suffix.

    JSON is an array of objects or of paths, and is read as a whole; the other forms are read row by row. A path is
    relative to the folder of the table.

    Args:
        path (`str`): the table.
        column (`str`, *optional*, defaults to `"path"`): its column of paths.
        allow_outside (`bool`, *optional*, defaults to `False`): whether a path may lead out of the folder of the
            table. Without it, a list from a stranger cannot name other files of this machine.

    Yields:
        `Target`: one a row, in order; a row that cannot be read, has no path, or one that leads outside, has an error.

    Raises:
        UsageError: if the table cannot be read as what its suffix says, or has no such column.
    """
    for number, value in enumerate(read_column(path, column), start=1):
        row = f"{path}, row {number}"
        if isinstance(value, BadRow):
            yield Target(row, value.error)
        elif not isinstance(value, str) or not value.strip():
            yield Target(row, f"no path in the column {column!r}")
        else:
            yield _target(os.path.dirname(path), value, row, allow_outside)


def read_column(path: str, column: str) -> Iterator[Any]:
    """Reads one column of a table as it stands there: CSV, JSON, JSON lines or Parquet, by suffix.

    Args:
        path (`str`): the table.
        column (`str`): its column.

    Yields:
        One value a row, in order: text from CSV; `None` where there is none; a `BadRow` for a row that cannot be read.

    Raises:
        UsageError: if the table cannot be read as what its suffix says, or has no such column.
    """
    rows = {".parquet": _parquet_rows, ".json": _json_rows, ".jsonl": _jsonl_rows, ".ndjson": _jsonl_rows}
    read = rows.get(os.path.splitext(path)[1].lower(), _csv_rows)
    try:
        yield from read(path, column)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a list: {short(str(error))}") from error


def _target(folder: str, value: str, row: str, allow_outside: bool) -> Target:
    from ..manifest_paths import resolve_entry
    from ..media_vital import MediaError

    named = os.path.normpath(os.path.join(folder, value))
    try:
        checked = resolve_entry(folder or os.curdir, value, allow_outside=allow_outside)
    except MediaError as problem:
        outside = "leads out of" in str(problem)
        return Target(named if outside else row, f"{problem} (--allow-outside)" if outside else str(problem))
    # `link/..` is the folder above the link's target, not the one above the link: the short name may be another file.
    real = os.path.realpath(checked)
    return Target(named if os.path.realpath(named) == real else real)


def _csv_rows(path: str, column: str) -> Iterator[Any]:
    with open(path, newline="", encoding="utf-8-sig") as file:  # -sig: spreadsheets put a byte order mark in front
        header = file.readline()
        # Not csv.Sniffer, which guesses from letters: the delimiter is what makes the column appear.
        delimiter = next((d for d in _DELIMITERS if column in next(csv.reader([header], delimiter=d), [])), None)
        if delimiter is None:
            raise ValueError(
                f"no column {column!r} in its first line, {header.strip()[:80]!r}; see --help for how to name one"
            )
        names = next(csv.reader([header], delimiter=delimiter))
        place = names.index(column)
        rows = csv.reader(file, delimiter=delimiter)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:  # a cell over csv's limit; the reader begins anew at the next line
                yield BadRow(f"not a row of CSV: {error}")
                continue
            if row:
                yield row[place] if place < len(row) else None


def _json_rows(path: str, column: str) -> Iterator[Any]:
    yield from (_cell(row, column) for row in array_rows(Path(path).read_text(encoding="utf-8-sig")))


def _jsonl_rows(path: str, column: str) -> Iterator[Any]:
    with open(path, encoding="utf-8-sig") as file:
        yield from (_cell(row, column) for row in line_rows(file))


def _cell(row: Any, column: str) -> Any:
    return row.get(column) if isinstance(row, dict) else row


def _parquet_rows(path: str, column: str) -> Iterator[Any]:
    from .tables import require_pyarrow

    parquet = require_pyarrow("parquet")
    with parquet.ParquetFile(path) as table:
        if column not in table.schema_arrow.names:
            raise ValueError(f"no column {column!r}; it has {', '.join(table.schema_arrow.names)}")
        for batch in table.iter_batches(batch_size=1024, columns=[column]):
            yield from batch.column(0).to_pylist()


def read_list(stream: BinaryIO) -> Iterator[str]:
    """Reads a plain list of paths, one a line or, if the first block holds a zero byte, each ended by one.

    Args:
        stream (`BinaryIO`): such as what `find -print0` writes.

    Yields:
        `str`: a path, as the file system spells it; empty ones are skipped.
    """
    held: list[bytes] = []  # of a path that continues over blocks
    separator = None
    while block := stream.read(_BLOCK):
        if separator is None:
            separator = b"\0" if b"\0" in block else b"\n"
            block = block.removeprefix(codecs.BOM_UTF8)  # an editor's byte order mark
        end, *others = block.split(separator)
        held.append(end)
        if others:
            *whole, rest = others
            yield from _paths([b"".join(held), *whole], separator)
            held = [rest]
    yield from _paths([b"".join(held)], separator)


def _paths(parts: list[bytes], separator: bytes | None) -> Iterator[str]:
    for part in parts:
        if path := os.fsdecode(part if separator == b"\0" else part.removesuffix(b"\r")):
            yield path
