"""Writes files and folders whole or not at all: they are made beside their place and take its name at the end.

What is not finished is in a folder `.NAME.PID.partial`, so that no pattern for the files beside it finds it.

Example:

    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from modeling_vital.whole_files import whole_file, write_whole
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_whole(folder / "state.json", json.dumps({"step": 3}))
    >>> with whole_file(folder / "table.csv") as path:
    ...     _ = path.write_text("path,mos")
    >>> sorted(path.name for path in folder.iterdir())
    ['state.json', 'table.csv']
"""

import argparse
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


_PARTIAL = ".partial"


def _beside(path: Path) -> Path:
    # The process id, because an orphan of a killed run may still write the same file.
    return path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which replaces `path` when the block ends; an exception leaves `path` as it was.

    The content is on the disk before it takes its place, so that a power cut leaves the old file or the new one.

    Args:
        path (`Path`): the file. Its folder is made if it is missing.

    Yields:
        `Path`: of the same name, in a folder of its own.

    Raises:
        OSError: if it cannot be written; names the file.
    """
    partial = _beside(path)
    partial.mkdir(parents=True, exist_ok=True)
    try:
        yield partial / path.name
        with (partial / path.name).open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial / path.name, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # that of a full disk names no file
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file in one step; text as UTF-8, its line ends as they are.

    Args:
        path (`Path`): the file. Its folder is made if it is missing.
        content (`str` or `bytes`): what it is to hold.
    """
    with whole_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def make_output_folder(folder: Path) -> None:
    """Makes the folder of an output and tries it, before the work that takes long.

    Args:
        folder (`Path`): the folder; it may be there.

    Raises:
        OSError: if it cannot be made, or no file can be written in it. The message is a sentence for the user.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"the folder {str(folder)!r} cannot be made or written ({error.strerror}); name another place"
        ) from error


def require_output_folder(parser: argparse.ArgumentParser, option: str, folder: Path) -> None:
    """Makes and tries the folder of an output, as [`make_output_folder`]; if that fails, `parser` ends the script.

    Args:
        parser (`argparse.ArgumentParser`): says what is wrong, and exits with code 2.
        option (`str`): the argument that named the folder, for the message.
        folder (`Path`): the folder; it may be there.
    """
    try:
        make_output_folder(folder)
    except OSError as error:
        parser.error(f"{option}: {error}")


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder to write into, which becomes `path` when the block ends; an exception removes it.

    Args:
        path (`Path`): the folder; nothing is there, or an empty folder. Other processes may make it too: the first to
            finish wins.

    Raises:
        OSError: at the end, if `path` is a folder with content, or a file.
    """
    partial = _beside(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_partial(folder: Path) -> None:
    """Removes from a folder what killed processes did not finish; for when nothing writes there any more."""
    for leftover in folder.glob(f".*{_PARTIAL}"):
        shutil.rmtree(leftover)
