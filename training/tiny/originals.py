"""The originals of `vital-tiny`: photos and clips in memory, the parts they are split in, and cuts of them."""

import csv
import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from dataset_scripts.distortions import DISTORTIONS
from dataset_scripts.encoding import shrink_clip, shrink_image
from dataset_scripts.rows import TIE_PROBABILITY
from dataset_scripts.splits import is_test
from dataset_scripts.versions import GroupPlan, LabelRule
from modeling_vital.media_vital import Clip, MediaError, load_media
from modeling_vital.yaml_file import read_yaml


logger = logging.getLogger(__name__)


@dataclass
class DataConfig:
    """The originals of `vital-tiny`, and how fresh rows are made of them. Unknown keys in a file are errors.

    Attributes:
        rule (`LabelRule` or `dict`): whose opinions label pictures and clips.
        plan (`GroupPlan` or `dict`): which versions of pictures are made; without `held_out_distortions`.
        held_out_distortions (`list[str]`): image distortions never trained on.
        held_out_sources (`list[str]`): packages none of whose photos are trained on.
        licenses (`list[str]`): licences of the originals that are loaded, as `manifest.csv` names them, or patterns
            such as `CC0*`. Empty: all.
        clip_distortions (`list[str]`): distortions only clips can have.
        test_share (`float`): share of originals kept for testing, chosen by a hash of `content_id`.
        photo_long_side (`int`): photos are kept at most this long, in pixels.
        clip_long_side (`int`): likewise clips.
        clip_frames (`list[int]`): least and most frames of a clip.
        grids (`list[list[int]]`): columns, rows and weight of the regions in the table `wholes`, in tiles.
        tie_probability (`float`): see `dataset_scripts.rows.preference_of`.
        none_share (`float`): share of originals with the text "none". With all of them one text in four would be that,
            likelier than any one severity, so that it would be said of most damaged pictures too.
        rows (`int`): length of each table of fresh rows; then the same come again.
    """

    rule: LabelRule | dict = field(default_factory=LabelRule)
    plan: GroupPlan | dict = field(default_factory=GroupPlan)
    held_out_distortions: list[str] = field(default_factory=list)
    held_out_sources: list[str] = field(default_factory=list)
    licenses: list[str] = field(default_factory=list)
    clip_distortions: list[str] = field(default_factory=list)
    test_share: float = 0.2
    photo_long_side: int = 1280
    clip_long_side: int = 480
    clip_frames: list[int] = field(default_factory=lambda: [20, 32])
    grids: list[list[int]] = field(default_factory=lambda: [[2, 2, 35], [3, 2, 20], [4, 3, 30], [6, 4, 10], [8, 5, 5]])
    tie_probability: float = TIE_PROBABILITY
    none_share: float = 0.2
    rows: int = 1_000_000

    def __post_init__(self):
        for name, kind in (("rule", LabelRule), ("plan", GroupPlan)):
            if isinstance(value := getattr(self, name), dict):
                setattr(self, name, kind(**value))
        if unknown := {*self.held_out_distortions, *self.clip_distortions} - set(DISTORTIONS):
            raise ValueError(f"Unknown distortions {sorted(unknown)}; known are {', '.join(sorted(DISTORTIONS))}.")
        kept = [name for name in self.plan.distortions if name not in self.held_out_distortions]
        self.plan = dataclasses.replace(self.plan, distortions=kept)

    @classmethod
    def load(cls, path: Path, **changes: Any) -> "DataConfig":
        """Reads a YAML file of these fields, of which `changes` override some.

        Raises:
            ValueError: it is not there, or a field is not known or wrong.
        """
        try:
            return cls(**{**read_yaml(path), **changes})
        except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
            raise ValueError(f"{path} cannot be used: {error}") from error


@dataclass
class Originals:
    """Photos and clips in memory, by content id.

    Attributes:
        photos (`dict[str, np.ndarray]`): uint8 `[H, W, 3]` RGB.
        clips (`dict[str, np.ndarray]`): uint8 `[T, H, W, 3]` RGB.
        licenses (`dict[str, str]`): of both.
    """

    photos: dict[str, np.ndarray] = field(default_factory=dict)
    clips: dict[str, np.ndarray] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)


SPLITS = ("train", "test", "held_out_sources")
"""Parts of the originals. Items the manifest marks as examples are in none."""

MAX_FRAMES = 96
"""Frames kept of each clip, from its middle."""

_SHORT_SIDE = 160


def listed_originals(folder: Path, config: DataConfig, split: str) -> list[dict[str, str]]:
    """The rows of `manifest.csv` for one split, of the licences that are allowed.

    Args:
        folder (`Path`): with `manifest.csv`.
        config (`DataConfig`): share, sources and licences.
        split (`str`): one of `SPLITS`.

    Raises:
        ValueError: the recipe names a licence that no item has.
    """
    with open(Path(folder) / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    there = sorted({row["license"] for row in rows})
    if unknown := [name for name in config.licenses if not any(fnmatchcase(one, name) for one in there)]:
        raise ValueError(f"`licenses`: no item of {folder} has {', '.join(unknown)}; there are {', '.join(there)}.")
    return [
        row
        for row in rows
        if row.get("split") != "example"
        and split == _split(row, config)
        and (not config.licenses or any(fnmatchcase(row["license"], name) for name in config.licenses))
    ]


def read_originals(folder: Path, config: DataConfig, split: str) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Rows of the manifest for one split with their pixels, at the size they are used at.

    What cannot be read, or is too small to be cut from, is skipped.

    Args:
        folder (`Path`): with `manifest.csv`.
        config (`DataConfig`): sizes, share, sources and licences.
        split (`str`): one of `SPLITS`.

    Yields:
        `tuple`: a row; its photo, uint8 `[H, W, 3]`, or clip, uint8 `[T, H, W, 3]`.

    Raises:
        ValueError: as [`listed_originals`].
    """
    # Before OpenCV starts threads of its own: data workers are forked from here, and would wait for them for ever.
    cv2.setNumThreads(0)
    for row in tqdm(listed_originals(folder, config, split), desc=f"reading {split} originals", unit="item"):
        try:
            media = load_media(Path(folder) / row["path"])
            if isinstance(media, Clip):
                yield row, shrink_clip(media, config.clip_long_side, MAX_FRAMES)
            elif min((pixels := shrink_image(media, config.photo_long_side)).shape[:2]) >= _SHORT_SIDE:
                yield row, pixels
        except MediaError as error:
            logger.warning("%s is skipped: %s", row["content_id"], error)


def load_originals(folder: Path, config: DataConfig, split: str) -> Originals:
    """The photos and clips of one split that `dataset_scripts.sources.packages` fetched; see [`read_originals`]."""
    originals = Originals()
    for row, pixels in read_originals(folder, config, split):
        (originals.clips if pixels.ndim == 4 else originals.photos)[row["content_id"]] = pixels
        originals.licenses[row["content_id"]] = row["license"]
    return originals


def photos_by_license(folder: Path, config: DataConfig) -> dict[str, int]:
    """Counts the photos and clips that are trained on, by licence, the most frequent first.

    Args:
        folder (`Path`): with `manifest.csv`; the photos need not be there.
        config (`DataConfig`): which of them are trained on.

    Raises:
        ValueError: as [`listed_originals`].
    """
    counts = Counter()
    for row in listed_originals(folder, config, "train"):
        sides = int(row["width"]), int(row["height"])
        scale = min(1.0, config.photo_long_side / max(sides))
        if row["kind"] == "video" or round(min(sides) * scale) >= _SHORT_SIDE:
            counts[row["license"]] += 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _split(row: dict[str, str], config: DataConfig) -> str:
    if row["package"] in config.held_out_sources:
        return "held_out_sources"
    return "test" if is_test(row["content_id"], config.test_share) else "train"


def cut_region(photo: np.ndarray, cols: int, rows: int, tile_size: int, rng: np.random.Generator) -> np.ndarray:
    """A random region of a photo, shrunk by a random factor, about `cols` x `rows` tiles large, perhaps mirrored.

    Args:
        photo (`np.ndarray`): uint8 `[H, W, 3]`.
        cols, rows (`int`): size asked for in tiles; smaller if the photo has not so many pixels.
        tile_size (`int`): side of a tile in pixels.
        rng (`np.random.Generator`): source of chance.

    Returns:
        `np.ndarray`: uint8 `[h, w, 3]`, never larger than the pixels it came from.
    """
    height, width = photo.shape[:2]
    stretch = rng.uniform(0.8, 1.25) * tile_size
    out_w, out_h = cols * stretch, rows * stretch
    least = max(out_w / width, out_h / height)  # scale at which the region covers the whole photo one way
    if least > 1:
        out_w, out_h, least = out_w / least, out_h / least, 1.0
    scale = rng.uniform(least, max(least, min(1.0, 2.5 * least, 0.85)))
    crop_w, crop_h = min(width, int(out_w / scale)), min(height, int(out_h / scale))
    x, y = int(rng.integers(0, width - crop_w + 1)), int(rng.integers(0, height - crop_h + 1))
    region = photo[y : y + crop_h, x : x + crop_w]
    if rng.random() < 0.5:
        region = region[:, ::-1]
    return cv2.resize(np.ascontiguousarray(region), (int(out_w), int(out_h)), interpolation=cv2.INTER_AREA)


def cut_clip(clip: np.ndarray, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """A random stretch of `num_frames` frames of a clip, a random part of the picture, perhaps mirrored.

    Args:
        clip (`np.ndarray`): uint8 `[T, H, W, 3]`; played forward and backward if shorter than `num_frames`.

    Returns:
        `np.ndarray`: uint8 `[num_frames, h, w, 3]`.
    """
    while len(clip) < num_frames:
        clip = np.concatenate([clip, clip[::-1][1:]])
    start = int(rng.integers(0, len(clip) - num_frames + 1))
    _, height, width, _ = clip.shape
    share = rng.uniform(0.6, 1.0)
    h, w = int(height * share), int(width * share)
    y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
    cut = clip[start : start + num_frames, y : y + h, x : x + w]
    return np.ascontiguousarray(cut[:, :, ::-1] if rng.random() < 0.5 else cut)


def pan_and_zoom(photo: np.ndarray, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """A camera move over a photo: a smooth pan with a slight zoom.

    Args:
        photo (`np.ndarray`): uint8 `[H, W, 3]`.
        num_frames (`int`): frames to make.
        rng (`np.random.Generator`): source of chance.

    Returns:
        `np.ndarray`: uint8 `[num_frames, h, w, 3]`, 16:9 or 4:3, 256 to 384 pixels wide.
    """
    out_w = int(rng.integers(256, 385))
    out_h = int(out_w * (9 / 16 if rng.random() < 0.5 else 3 / 4))
    largest = min(photo.shape[1] / out_w, photo.shape[0] / out_h)  # photo pixels a frame pixel at most
    scale = rng.uniform(0.5, 0.8, size=2)
    if largest > 1.3:  # shrink first, so that the moving samples do not alias
        size = (round(photo.shape[1] * 1.3 / largest), round(photo.shape[0] * 1.3 / largest))
        photo, largest = cv2.resize(photo, size, interpolation=cv2.INTER_AREA), 1.3
    scale *= largest
    height, width = photo.shape[:2]
    room = np.maximum(0, np.array([width, height]) - np.array([out_w, out_h]) * scale.max() - 1)
    speed = rng.uniform(1, 6) * num_frames * scale.mean()  # 1 to 6 frame pixels a frame
    angle = rng.uniform(0, 2 * np.pi)
    move = np.clip(speed * np.array([np.cos(angle), np.sin(angle)]), -room, room)
    start = np.maximum(0, -move) + rng.random(2) * (room - np.abs(move))
    frames = []
    for t in np.linspace(0, 1, num_frames):
        s = scale[0] + (scale[1] - scale[0]) * t
        x, y = start + move * t
        matrix = np.array([[s, 0, x], [0, s, y]], dtype=np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(photo, matrix, (out_w, out_h), flags=flags, borderMode=cv2.BORDER_REFLECT_101))
    return np.stack(frames)
