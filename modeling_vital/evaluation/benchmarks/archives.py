"""Unpacks archives from elsewhere: nothing outside of the folder, no links, and all of it or nothing."""

import gzip
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import IO, BinaryIO

from ...messages import first_line, progress_bar
from ...whole_files import whole_folder
from .definition import BenchmarkError


_BLOCK = 1 << 20


def unpack(archive: Path, target: Path) -> None:
    """Unpacks an archive into a folder of its own; the folder appears when all is there.

    Args:
        archive (`Path`): ZIP, or tar with or without compression.
        target (`Path`): the folder; if it is there, nothing is done.

    Raises:
        BenchmarkError: if the archive is damaged, or has a member that is a link or device or would lie outside.
    """
    from tqdm.utils import CallbackIOWrapper

    if target.is_dir():
        return
    about = {"total": archive.stat().st_size, "unit": "B", "unit_scale": True, "desc": f"unpacking {archive.name}"}
    try:
        with (
            whole_folder(target) as part,
            archive.open("rb") as file,
            progress_bar(**about) as bar,
        ):
            for name, content in _members(archive, CallbackIOWrapper(bar.update, file, "read")):
                path = part.joinpath(*_parts(archive, name))
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as out:
                    shutil.copyfileobj(content, out, _BLOCK)
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError is what zipfile says of passwords and of compressions it does not know.
        first = first_line(error)
        raise BenchmarkError(f"{archive} cannot be unpacked ({first}); delete it and get it again") from error
    except OSError:
        if not target.is_dir():  # else another process was faster
            raise


def _members(archive: Path, file: BinaryIO) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each file, in the order of the archive."""
    if archive.suffix.lower() == ".zip":
        with zipfile.ZipFile(file) as opened:
            for info in opened.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise _refused(archive, info.filename, "is a link")
                if not info.is_dir():
                    with opened.open(info) as content:
                        yield info.filename, content
        return
    with tarfile.open(fileobj=file, mode="r:*") as opened:
        for member in opened:
            if member.isfile() and (inner := opened.extractfile(member)) is not None:
                yield member.name, inner
            elif not member.isdir():
                raise _refused(archive, member.name, "is a link or device")


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    # As Windows reads it, which takes both kinds of separators and knows drives.
    path = PureWindowsPath(name)
    if path.anchor or ".." in path.parts:
        raise _refused(archive, name, "would lie outside of the folder")
    return path.parts


def _refused(archive: Path, name: str, why: str) -> BenchmarkError:
    return BenchmarkError(f"{archive} is not unpacked: {name!r} {why}")
