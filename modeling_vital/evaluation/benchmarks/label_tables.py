"""Reads label tables of any kind they are distributed in into rows of text: CSV, XLSX, MAT, and plain text."""

import contextlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ...extras import require
from ...table_file import DELIMITERS, csv_rows
from .definition import BenchmarkError, readable


def read_table(
    paths: Sequence[Path], wanted: Iterable[Sequence[str]], sheet: str = "", columns: Sequence[str] = ()
) -> list[dict[str, str]]:
    """Reads a label table.

    Args:
        paths (`Sequence[Path]`): its file; several for MAT, whose variables become columns together.
        wanted (`Iterable[Sequence[str]]`): for each column that is needed, the names it may have; case is ignored. A
            table may have other rows before its header, or lie on its side with the header as first column.
        sheet (`str`, *optional*): of an XLSX file; the first by default.
        columns (`Sequence[str]`, *optional*): names of the columns of a text file without a header.

    Returns:
        `list[dict[str, str]]`: rows in the order of the file, blank ones skipped; an empty cell is `""`.

    Raises:
        BenchmarkError: if the file cannot be read as what its suffix says, or no header has the columns.
    """
    suffix, alternatives = paths[0].suffix.lower(), [tuple(names) for names in wanted]
    if suffix == ".mat":
        return _columns_to_rows(paths, alternatives)
    if columns:
        lines = _decoded(paths[0]).splitlines()
        forms: Iterable[list[list[str]]] = [[list(columns), *(line.split() for line in lines)]]
    elif suffix in (".xlsx", ".xlsm"):
        forms = [_sheet(paths[0], sheet)]
    else:
        forms = _csv_forms(paths[0])
    turns = (cells for form in forms for cells in (form, [list(column) for column in zip(*form, strict=False)]))
    found = next(((cells, start) for cells in turns if (start := _header(cells, alternatives)) is not None), None)
    if found is None:
        missing = " and ".join(" or ".join(names) for names in alternatives)
        raise BenchmarkError(f"{paths[0]}: no row has the columns {missing}; is this the file as it was distributed?")
    cells, start = found
    header = cells[start]
    rows = [row for row in cells[start + 1 :] if any(row)]
    for row in rows:
        if len(row) > len(header):
            raise BenchmarkError(f"{paths[0]}: the row {row[:4]} ... has more cells than the header")
    return [dict(zip(header, [*row, *[""] * (len(header) - len(row))], strict=True)) for row in rows]


def cell_of(row: Mapping[str, str], names: Sequence[str]) -> str:
    """The cell of a row in the first of the columns `names` that there is, whatever their case.

    Raises:
        BenchmarkError: if there is none of them.
    """
    spelling = {key.lower(): key for key in row}
    for name in names:
        if name.lower() in spelling:
            return row[spelling[name.lower()]]
    raise BenchmarkError(f"no column {' or '.join(names)}; there are {', '.join(row)}")


def _csv_forms(path: Path) -> Iterator[list[list[str]]]:
    """The cells of a CSV file by each of the delimiters that spreadsheets write; the one with the header counts."""
    text = _decoded(path)
    for delimiter in DELIMITERS:
        rows = list(csv_rows(io.StringIO(text, newline=""), delimiter))
        if bad := [f"{row.place}: {row.error}" for row in rows if row.error is not None]:
            raise BenchmarkError(f"{path}, {bad[0]}")
        yield [[cell.strip() for cell in row.cells] for row in rows]


def _decoded(path: Path) -> str:
    """The text of a file in UTF-8 or, as some lists with Chinese names are, in GB 18030."""
    data = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BenchmarkError(f"{path} is text neither in UTF-8 nor in GB 18030")


def _header(cells: list[list[str]], wanted: list[tuple[str, ...]]) -> int | None:
    for index, row in enumerate(cells[:20]):
        names = {cell.lower() for cell in row}
        if all(any(name.lower() in names for name in alternatives) for alternatives in wanted):
            return index
    return None


def _sheet(path: Path, name: str) -> list[list[str]]:
    openpyxl = require("openpyxl")
    with readable(path), contextlib.closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
        if name and name not in book.sheetnames:
            raise BenchmarkError(f"{path} has no sheet {name!r}; it has {', '.join(book.sheetnames)}")
        sheet = book[name] if name else book.worksheets[0]
        return [[_text(cell) for cell in row] for row in sheet.iter_rows(values_only=True)]


def _columns_to_rows(paths: Sequence[Path], wanted: list[tuple[str, ...]]) -> list[dict[str, str]]:
    values: dict[str, list[str]] = {}
    for path in paths:
        reader = require("scipy.io.matlab")
        with readable(f"{path}, as a MAT file up to version 7.2,"):  # version 7.3 is HDF5
            variables = reader.loadmat(path)
        values |= {name: [_text(v) for v in variables[name].ravel()] for name in variables if name[:2] != "__"}
    spelling = {name.lower(): name for name in values}
    found = []
    for names in wanted:
        if not (there := [spelling[name.lower()] for name in names if name.lower() in spelling]):
            raise BenchmarkError(f"{paths[0]} has no variable {' or '.join(names)}; it has {', '.join(values)}")
        found.append(there[0])
    lengths = {name: len(values[name]) for name in found}
    if len(set(lengths.values())) > 1:
        raise BenchmarkError(f"{paths[0]}: variables of different lengths: {lengths}")
    kept = {name: cells for name, cells in values.items() if len(cells) == lengths[found[0]]}
    return [dict(zip(kept, row, strict=True)) for row in zip(*kept.values(), strict=True)]


def _text(value: object) -> str:
    """One cell as text. A cell of a MAT file may lie in nested arrays of one element; a whole number has no point."""
    while hasattr(value, "ravel") and hasattr(value, "size") and getattr(value, "shape", ()) != ():
        if value.size != 1:
            return ""
        value = value.ravel()[0]
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
