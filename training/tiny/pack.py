"""The working set of `vital-tiny` for a machine without network: code and originals, in one file."""

import csv
import io
import logging
import subprocess
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from dataset_scripts.encoding import CLIP_SUFFIX, IMAGE_SUFFIX, encode_clip
from modeling_vital.whole_files import whole_file
from training.tiny.originals import DataConfig, read_originals


logger = logging.getLogger(__name__)

TOP = "vital-tiny"
"""Folder that the file unpacks to: the repository, with the originals below `build/registry`."""

LARGEST = 55_000_000
"""Bytes that the file may have."""

_QUALITY = 90  # of WebP: the pictures are shrunk and distorted before anything learns from them
_CRF = 14
_FPS = 24.0  # nothing asks how fast an original was played


def pack(folder: Path, config: DataConfig, destination: Path, root: Path, largest: int = LARGEST) -> int:
    """Writes code and originals of training, these at the size they are used at, as a `.tar.gz`.

    Files that are smaller as they are stay so. Of the code it is the last commit.

    Args:
        folder (`Path`): originals, with `manifest.csv`.
        config (`DataConfig`): which of them are trained on, and how large.
        destination (`Path`): the file; replaced only once it is whole.
        root (`Path`): of the repository, a git checkout.
        largest (`int`, *optional*, defaults to `LARGEST`): bytes allowed.

    Returns:
        `int`: bytes of the file.

    Raises:
        ValueError: there is no git checkout, no original, or the file would be too large.
    """
    code = _code(root)
    rows = []
    with whole_file(destination) as unfinished:
        with tarfile.open(unfinished, "w:gz", compresslevel=6) as out:
            with tarfile.open(fileobj=io.BytesIO(code)) as files:
                for member in files:
                    out.addfile(member, files.extractfile(member) if member.isfile() else None)
            for row, pixels in read_originals(folder, config, "train"):
                path, data = _smaller(folder / row["path"], row["content_id"], pixels)
                rows.append({**row, "path": path})
                _add(out, path, data)
                if unfinished.stat().st_size > largest:
                    break
            if not rows:
                raise ValueError(f"{folder} has no original to train on.")
            table = io.StringIO()
            writer = csv.DictWriter(table, rows[0])
            writer.writeheader()
            writer.writerows(rows)
            _add(out, "manifest.csv", table.getvalue().encode())
        if unfinished.stat().st_size > largest:
            raise ValueError(
                f"{destination} would be over {largest / 1e6:g} MB: keep the photos smaller (`photo_long_side`, now "
                f"{config.photo_long_side}) or fewer (`licenses`)."
            )
    size = destination.stat().st_size
    logger.info("%s: %d originals, %.1f MB", destination, len(rows), size / 1e6)
    return size


def _code(root: Path) -> bytes:
    try:
        git = ["git", "-C", str(root)]
        changed = subprocess.run([*git, "status", "--porcelain"], check=True, capture_output=True, text=True).stdout
        code = subprocess.run([*git, "archive", f"--prefix={TOP}/", "HEAD"], check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{root} is no git checkout whose code can be packed: {error}") from error
    if changed.strip():
        logger.warning("Not packed, as it is not committed: %s", ", ".join(changed.split("\n")[:-1]))
    return code


def _smaller(path: Path, content_id: str, pixels: np.ndarray) -> tuple[str, bytes]:
    """Path below the originals, and bytes: encoded anew, unless the file as it is takes less."""
    if pixels.ndim == 4:
        place, data = f"clips/{content_id}{CLIP_SUFFIX}", encode_clip(pixels, _FPS, _CRF)
    else:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", quality=_QUALITY)
        place, data = f"images/{content_id}{IMAGE_SUFFIX}", buffer.getvalue()
    if path.stat().st_size <= len(data):
        return f"{place.partition('/')[0]}/{content_id}{path.suffix}", path.read_bytes()
    return place, data


def _add(out: tarfile.TarFile, path: str, data: bytes) -> None:
    member = tarfile.TarInfo(f"{TOP}/build/registry/{path}")
    member.size = len(data)
    out.addfile(member, io.BytesIO(data))
