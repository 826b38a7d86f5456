"""From the paths on a command line to the list of files to work on."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


IMAGE_SUFFIXES = frozenset(
    ".apng .avif .bmp .gif .heic .heif .jfif .jp2 .jpe .jpeg .jpg .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
# Not `.ts`: in a folder of code that is TypeScript. Such a clip can be given by name.
VIDEO_SUFFIXES = frozenset(".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv .y4m".split())
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
"""Suffixes, in lower case, by which files in a folder count as media."""


@dataclass(frozen=True)
class Target:
    """One file to work on, or one path already known to be no good.

    Attributes:
        path (`str`): the path, as given or as found under a folder that was given.
        error (`str`, *optional*): why there is nothing to do for this path.
    """

    path: str
    error: str | None = None


def collect(paths: Iterable[str]) -> list[Target]:
    """Lists the files that paths stand for, in the order of the paths.

    A file is taken whatever its name, and so is a path that does not exist: the reader says what is wrong with it. A
    folder stands for the files with a suffix of `MEDIA_SUFFIXES` in it and, recursively, in its sub-folders, sorted by
    name, a folder's files before its sub-folders; hidden entries are left out and links to folders are not followed.

    Args:
        paths (`Iterable[str]`): files and folders.

    Returns:
        `list[Target]`: each path once, where it first came up. A folder without media or that cannot be listed is a
        target with an error.
    """
    targets = {}
    for path in paths:
        for target in _in_folder(path) if os.path.isdir(path) else [Target(path)]:
            targets.setdefault(os.path.abspath(target.path), target)
    return list(targets.values())


def _in_folder(folder: str) -> Iterator[Target]:
    empty = True
    unlisted: list[OSError] = []
    for parent, subfolders, names in os.walk(folder, onerror=unlisted.append):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in MEDIA_SUFFIXES:
                continue
            empty = False
            path = os.path.join(parent, name)
            # A link to nowhere goes on to the reader, which reports it; a pipe or socket would block it.
            special = os.path.exists(path) and not os.path.isfile(path)
            yield Target(path, "not a regular file" if special else None)
    for error in unlisted:
        empty = False
        yield Target(os.fsdecode(error.filename), f"the folder cannot be listed: {error.strerror}")
    if empty:
        yield Target(folder, "no image or video files in this folder")
