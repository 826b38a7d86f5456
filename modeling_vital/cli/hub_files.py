"""Files on the Hub, named `hf://datasets/org/name/path`."""

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from ..media_suffixes import MEDIA_SUFFIXES
from ..messages import first_line
from .errors import UsageError
from .paths import HUB_PREFIX, Target


MAX_FILE_BYTES = 2**30


@cache
def _file_system() -> Any:
    from huggingface_hub import HfFileSystem

    return HfFileSystem()


def find(path: str) -> Iterator[Target]:
    """Lists what a path on the Hub stands for: a file, a pattern, or a folder with its sub-folders, by suffix.

    Args:
        path (`str`): begins with `hf://`; a revision may follow the name, `hf://datasets/org/name@v1/...`.

    Yields:
        `Target`: sorted by name, each with what identifies its content; a path that is not there has an error.

    Raises:
        UsageError: if the Hub cannot be asked.
    """
    from huggingface_hub.errors import HTTPError

    files = _file_system()
    try:
        if any(sign in path for sign in "*?["):
            found, by_suffix = files.glob(path, detail=True), False
        elif files.isfile(path):
            found, by_suffix = {path: files.info(path)}, False
        else:
            found, by_suffix = files.find(path, detail=True), True
    except FileNotFoundError:
        found, by_suffix = {}, False
    except (HTTPError, OSError, ValueError, NotImplementedError) as error:
        raise UsageError(f"{path} cannot be listed: {first_line(error)}") from error
    empty = True
    for name, info in sorted(found.items()):
        suffix = os.path.splitext(name)[1].lower()
        if info["type"] == "file" and (not by_suffix or suffix in MEDIA_SUFFIXES):
            empty = False
            too_large = info["size"] > MAX_FILE_BYTES
            problem = f"over {MAX_FILE_BYTES >> 20} MiB; download it and give the file" if too_large else None
            yield Target(HUB_PREFIX + name.removeprefix(HUB_PREFIX), problem, str(info.get("blob_id") or info["size"]))
    if empty:
        yield Target(path, "no image or video files there", "")


def read(path: str) -> bytes:
    """Downloads a file into memory.

    Args:
        path (`str`): as [`find`] gives it.

    Raises:
        OSError: if it cannot be had.
    """
    from huggingface_hub.errors import HTTPError

    try:
        return _file_system().cat_file(path)
    except HTTPError as error:  # the transport's own errors are no OSError
        raise OSError(first_line(error)) from error
