"""Lists of files: tables with a column of paths, and plain lists on stdin."""

import codecs
import os
from collections.abc import Iterator
from typing import BinaryIO

from ..table_file import TableFile, TableRow
from .collect import Target
from .errors import UsageError


_BLOCK = 2**16


def read_manifest(path: str, column: str = "path", allow_outside: bool = False) -> Iterator[Target]:
    """Reads the paths of a table. A path is relative to the folder of the table.

    Args:
        path (`str`): the table, in a form of [`TableFile`]; JSON is an array of objects or of paths.
        column (`str`, *optional*, defaults to `"path"`): its column of paths.
        allow_outside (`bool`, *optional*, defaults to `False`): whether a path may lead out of the folder of the
            table. Without it, a list from a stranger cannot name other files of this machine.

    Yields:
        `Target`: one a row, in order; a row that cannot be read, has no path, or one that leads outside, has an error.

    Raises:
        UsageError: if the table cannot be read as what its suffix says, or has no such column.
    """
    for row in TableFile(path, [column], error=UsageError):
        yield target_of(path, row, column, allow_outside)


def target_of(path: str, row: TableRow, column: str, allow_outside: bool) -> Target:
    """The target that a row of a table names, see [`read_manifest`]."""
    place, value = f"{path}, {row.place}", row.get(column)
    if row.error is not None:
        return Target(place, row.error)
    if not isinstance(value, str) or not value.strip():
        return Target(place, f"no path in the column {column!r}")
    return _target(os.path.dirname(path), value, place, allow_outside)


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
