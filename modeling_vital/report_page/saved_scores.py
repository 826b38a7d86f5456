"""Rows that were scored before: what `vital score` wrote as JSON or JSONL."""

import io
from pathlib import Path
from typing import Any

from ..messages import short
from ..table_file import TableRow, array_rows, line_rows


_KEYS = ("modality", "score", "std", "level", "level_probs", "tag", "error")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Reads the records of a file.

    Args:
        path (`str` or `Path`): a JSON array of records, or JSONL, one record a line. A record has `path` and either
            `score` in [0, 1] or `error`; `modality`, `std`, `level`, `level_probs` and `tag` where they are known.

    Returns:
        `list[dict]`: the records, all of these keys in each, `None` where they lack, and `file`, the path to open; a
        line or element that cannot be read as JSON is a record with an error.

    Raises:
        ValueError: if the file cannot be read, or a record is none; it names file and place.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(path)!r} cannot be read: {error}") from error
    try:
        records = array_rows(text) if text.lstrip().startswith("[") else list(line_rows(io.StringIO(text)))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is neither a JSON array nor JSONL: {short(str(error))}") from error
    return [_row(record, f"{str(path)!r}, {record.place}") for record in records]


def _row(read: TableRow, where: str) -> dict[str, Any]:
    record = read.cells
    if read.error is not None:
        return {**dict.fromkeys(_KEYS), "path": where, "file": None, "error": read.error}
    if not isinstance(record, dict) or not isinstance(record.get("path"), str):
        raise ValueError(f"{where} has no 'path': write the file with `vital score --format json`.")
    path = short(record["path"])
    row = {**{name: record.get(name) for name in _KEYS}, "path": path, "file": record["path"]}
    if row["error"] is not None:
        return {**row, "error": short(str(row["error"])), "score": None}
    for name in ("modality", "level", "tag"):
        if not isinstance(row[name], str | None):
            raise ValueError(f"{where} ({path!r}) has no text as its {name}.")
        row[name] = row[name] and short(row[name])
    for name in ("score", "std"):
        value = row[name]
        if value is None and name == "std":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise ValueError(f"{where} ({path!r}) has no number as its {name}, and no error either.")
    if not 0 <= row["score"] <= 1:
        raise ValueError(f"{where} ({path!r}) has the score {row['score']:.6g}, which is not in [0, 1].")
    return row


__all__ = ["read_rows"]
