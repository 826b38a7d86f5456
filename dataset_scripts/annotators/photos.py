"""Chooses and prepares the undistorted photos that annotators are fitted, calibrated and measured on."""

import csv
import hashlib
import logging
from collections import defaultdict
from itertools import zip_longest
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from dataset_scripts.splits import is_test
from modeling_vital.picture_vital import to_rgb


logger = logging.getLogger(__name__)

KADID_SIZE = (512, 384)
"""Width and height of the pictures of KADID-10k, in pixels."""

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_LEAST_SHRINKING = 1.2
_LEAST_COLOUR = 4.0


def list_photos(directory: str | Path, split: Literal["train", "test"] | None = None) -> list[Path]:
    """Picture files below a folder, so ordered that every beginning of the list is varied.

    Files are grouped by their name up to the first `-` or `_` (its package, in the source of packages), shuffled
    within a group by a hash of the name, and taken from the groups in turn. The order depends on nothing but the
    names.

    Args:
        directory (`str` or `Path`): folder; a `manifest.csv` in it, as the source of packages writes, is heeded.
        split (`str`, *optional*): only originals of this side of [`dataset_scripts.splits.is_test`], by the file
            name without its suffix (the `content_id` of the source of packages), and none that the manifest marks as
            an example. By default all.

    Raises:
        ValueError: there is no picture.
    """
    examples = _example_ids(Path(directory)) if split else set()
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in Path(directory).rglob("*"):
        wanted = split is None or (is_test(path.stem) == (split == "test") and path.stem not in examples)
        if path.suffix.lower() in _SUFFIXES and wanted:
            groups[path.name.replace("_", "-").split("-")[0]].append(path)
    if not groups:
        raise ValueError(f"no pictures ({', '.join(sorted(_SUFFIXES))}) of split {split!r} in {directory}")
    for group in groups.values():
        group.sort(key=lambda path: hashlib.sha256(path.name.encode()).hexdigest())
    turns = zip_longest(*(groups[name] for name in sorted(groups)))
    return [path for turn in turns for path in turn if path is not None]


def _example_ids(directory: Path) -> set[str]:
    manifest = directory / "manifest.csv"
    if not manifest.is_file():
        return set()
    with manifest.open(newline="", encoding="utf-8") as file:
        return {row["content_id"] for row in csv.DictReader(file) if row["split"] == "example"}


def prepare_photo(path: Path) -> np.ndarray | None:
    """Cuts the middle of a photo to 4 : 3 and shrinks it to 512 x 384, which also removes old compression.

    Args:
        path (`Path`): picture file.

    Returns:
        `np.ndarray` of shape `[H, W, 3]`, uint8, or `None` where the photo is less than 1.2 times as large or has no
        colour.
    """
    with Image.open(path) as file:
        picture = to_rgb(file)
    if min(picture.width / KADID_SIZE[0], picture.height / KADID_SIZE[1]) < _LEAST_SHRINKING:
        return None
    pixels = np.asarray(ImageOps.fit(picture, KADID_SIZE, Image.Resampling.LANCZOS))
    signed = pixels.astype(np.int16)
    if np.abs(signed[..., 0] - signed[..., 1]).mean() + np.abs(signed[..., 2] - signed[..., 1]).mean() < _LEAST_COLOUR:
        return None
    return pixels


def choose_photos(
    directory: str | Path,
    count: int,
    skip: int = 0,
    split: Literal["train", "test"] | None = None,
) -> list[tuple[str, np.ndarray]]:
    """The first `count` usable photos of [`list_photos`] after the first `skip` usable ones, of one split or of all.

    Returns:
        `list`: pairs of file name and RGB uint8 `[H, W, 3]`; fewer where the folder has fewer.
    """
    chosen: list[tuple[str, np.ndarray]] = []
    usable = 0
    for path in list_photos(directory, split):
        if len(chosen) == count:
            break
        pixels = prepare_photo(path)
        if pixels is None:
            logger.info("skipped %s: too small or without colour", path.name)
            continue
        usable += 1
        if usable > skip:
            chosen.append((path.name, pixels))
    return chosen
