"""From what stands on a command line to the items to work on: files, folders, patterns, tables and lists."""

import codecs
import glob
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ..media_suffixes import MEDIA_SUFFIXES
from ..table_file import TABLE_SUFFIXES, TableFile, TableRow
from ..tiff_vital import RAW_SUFFIXES
from .errors import UsageError


HUB_PREFIX = "hf://"
logger = logging.getLogger(__name__)

_BLOCK = 2**16
_SHOWN_CHARS = 60  # of a path that is none
_TEXT_SUFFIXES = frozenset(".txt .lst .list .text".split())
_HEAD_BYTES = 4096
_CONTROL = re.compile(rb"[^\t\n\r\x20-\x7e\x80-\xff]")  # neither text of ASCII nor of any encoding that extends it
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


@dataclass(frozen=True)
class Target:
    """One file to work on, or one path already known to be no good.

    Attributes:
        path (`str`): the path, as given or as found under a folder that was given.
        error (`str`, *optional*): why there is nothing to do for this path.
        stamp (`str`, *optional*): for what is no file of this machine, its version; `None` for a file.
    """

    path: str
    error: str | None = None
    stamp: str | None = None


def collect(paths: Iterable[str], column: str = "path", allow_outside: bool = False) -> Iterator[Target]:
    """Finds what paths stand for, in their order.

    A file is taken whatever its name, and so is a path that does not exist: the reader says what is wrong with it. A
    folder stands for the files with a suffix of `MEDIA_SUFFIXES` in it and, recursively, in its sub-folders, sorted by
    name, a folder's files before its sub-folders; hidden entries are skipped and links to folders are not followed,
    and camera raw files are counted in a warning.
    A pattern (`*`, `?`, `[]`, `**` for folders at any depth) stands for what matches it, sorted. A file with a suffix
    of `TABLE_SUFFIXES` is a list, see [`read_manifest`], `-` a list on stdin, see [`read_list`], and what begins
    with `hf://` lies on the Hub. Any other address stands for itself.

    Args:
        paths (`Iterable[str]`): any of these.
        column (`str`, *optional*, defaults to `"path"`): of lists, the column with the paths.
        allow_outside (`bool`, *optional*, defaults to `False`): whether lists may name files outside their folder.

    Yields:
        `Target`: one a file; a path may come up twice. A folder without media or that cannot be listed, a pattern
        that nothing matches, a list that is empty, a text file, which is read as a list from stdin alone, and a row
        of a list without a usable path are targets with an error. The names in one
        folder, or of all that matches one pattern, are in memory at a time, and nothing else.

    Raises:
        UsageError: for a list that cannot be read.
    """
    from ..manifest_paths import MAX_ENTRY_CHARS

    for path in paths:
        if path == "-":
            empty = True
            for named in read_list(sys.stdin.buffer):
                empty = False
                if len(named) > MAX_ENTRY_CHARS:
                    too_long = f"{len(named):,} characters; a path has {MAX_ENTRY_CHARS:,} at most"
                    yield Target(f"{named[:_SHOWN_CHARS]}...", too_long)
                else:
                    yield from _expand(named)
            if empty:
                yield Target(path, "no path came on standard input")
        elif _ADDRESS.match(path):  # neither a pattern, whatever is in its query, nor a list of this machine
            yield from _expand(path)
        elif os.path.splitext(path)[1].lower() in TABLE_SUFFIXES:
            empty = True
            for target in read_manifest(path, column, allow_outside):
                empty = False
                yield target
            if empty:
                yield Target(path, "no path in this list")
        elif _is_plain_list(path):
            yield Target(path, f"a text file; if it is a list of paths, give it on standard input: - < {path}")
        elif glob.has_magic(path) and not os.path.lexists(path):
            matches = sorted(glob.glob(path, recursive=True))
            for match in matches:
                yield from _expand(match)
            if not matches:
                yield Target(path, "nothing matches this pattern")
        else:
            yield from _expand(path)


def _expand(path: str) -> Iterator[Target]:
    if path.startswith(HUB_PREFIX):
        from .hub_files import find

        yield from find(path)
    elif os.path.isdir(path):
        yield from _in_folder(path)
    else:
        yield Target(path, stamp="" if _ADDRESS.match(path) else None)


def _is_plain_list(path: str) -> bool:
    """Returns `True` for a file of lines of text, by its suffix and its beginning; a picture may have any suffix."""
    if os.path.splitext(path)[1].lower() not in _TEXT_SUFFIXES or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:  # the reader says what is wrong with it
        return False
    return bool(head) and not _CONTROL.search(head)


def _in_folder(folder: str) -> Iterator[Target]:
    empty, num_raw = True, 0
    unlisted: list[OSError] = []
    for parent, subfolders, names in os.walk(folder, onerror=unlisted.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            suffix = os.path.splitext(name)[1].lower()
            num_raw += suffix in RAW_SUFFIXES and not name.startswith(".")
            if name.startswith(".") or suffix not in MEDIA_SUFFIXES:
                continue
            empty = False
            path = os.path.join(parent, name)
            # A link to nowhere is passed to the reader, which reports it; a pipe or socket would block it.
            special = os.path.exists(path) and not os.path.isfile(path)
            yield Target(path, "not a regular file" if special else None)
    for error in unlisted:
        empty = False
        yield Target(os.fsdecode(error.filename), f"the folder cannot be listed: {error.strerror}")
    left_out = f"{num_raw} camera raw {'file' if num_raw == 1 else 'files'} skipped: develop them first"
    if empty:
        yield Target(folder, "no image or video files in this folder" + (f" ({left_out})" if num_raw else ""))
    elif num_raw:
        logger.warning("%r: %s", folder, left_out)


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
    from ..manifest_paths import resolve_entry
    from ..media_vital import MediaError

    folder = os.path.dirname(path)
    named = os.path.normpath(os.path.join(folder, value))
    try:
        checked = resolve_entry(folder or os.curdir, value, allow_outside=allow_outside)
    except MediaError as problem:
        outside = "leads out of" in str(problem)
        return Target(named if outside else place, f"{problem} (--allow-outside)" if outside else str(problem))
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
