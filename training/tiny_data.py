"""The originals of `vital-tiny`: photos and clips in memory, the parts they are split in, and cuts of them."""

import csv
import dataclasses
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from PIL import Image
from tqdm import tqdm

from dataset_scripts.annotators.calibration import annotate_image
from dataset_scripts.annotators.kadid import PRISTINE_MOS, human_mos
from dataset_scripts.distortions import DISTORTIONS, IMAGE_DISTORTIONS
from dataset_scripts.distortions.authentic import Degradation, spread, subject_mask
from dataset_scripts.rows import TIE_PROBABILITY
from dataset_scripts.splits import is_test
from dataset_scripts.versions import GroupPlan, LabelRule
from modeling_vital.media_vital import MediaError, load_media


logger = logging.getLogger(__name__)


@dataclass
class DataConfig:
    """The originals of `vital-tiny`, and how fresh rows are made of them. Unknown keys in a file are errors.

    Attributes:
        rule (`LabelRule` or `dict`): whose opinions label pictures.
        plan (`GroupPlan` or `dict`): which versions of pictures are made; without `held_out_distortions`.
        clip_annotators (`list[str]`): annotators of clips, at least three that differ in kind.
        held_out_distortions (`list[str]`): image distortions never trained on.
        held_out_sources (`list[str]`): packages none of whose photos are trained on.
        clip_distortions (`list[str]`): distortions only clips can have.
        test_share (`float`): share of originals kept for testing, chosen by a hash of `content_id`.
        photo_long_side (`int`): photos are kept at most this long, in pixels.
        clip_long_side (`int`): likewise clips.
        clip_frames (`list[int]`): least and most frames of a clip.
        grids (`list[list[int]]`): columns, rows and weight of the regions in the table `wholes`, in tiles.
        tie_probability (`float`): see `dataset_scripts.rows.preference_of`.
        rows (`int`): length of each table of fresh rows; then the same come again.
    """

    rule: LabelRule | dict = field(default_factory=LabelRule)
    plan: GroupPlan | dict = field(default_factory=GroupPlan)
    clip_annotators: list[str] = field(default_factory=list)
    held_out_distortions: list[str] = field(default_factory=list)
    held_out_sources: list[str] = field(default_factory=list)
    clip_distortions: list[str] = field(default_factory=list)
    test_share: float = 0.2
    photo_long_side: int = 1280
    clip_long_side: int = 480
    clip_frames: list[int] = field(default_factory=lambda: [20, 32])
    grids: list[list[int]] = field(default_factory=lambda: [[2, 2, 35], [3, 2, 20], [4, 3, 30], [6, 4, 10], [8, 5, 5]])
    tie_probability: float = TIE_PROBABILITY
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
            return cls(**{**yaml.safe_load(Path(path).read_text(encoding="utf-8")), **changes})
        except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
            raise ValueError(f"{path} cannot be used: {error}") from error

    def image_distortions(self) -> list[str]:
        """Names of the image distortions that are trained on."""
        return self.plan.distortions

    @property
    def image_annotators(self) -> list[str]:
        """Names of the annotators of pictures."""
        return self.rule.annotators

    @property
    def human_voice(self) -> bool:
        """Whether human scores of distortions count."""
        return self.rule.human_cells


@dataclass
class Originals:
    """Photos and clips in memory, by content id.

    Attributes:
        photos (`dict[str, np.ndarray]`): uint8 `[H, W, 3]` RGB.
        clips (`dict[str, np.ndarray]`): uint8 `[T, H, W, 3]` RGB.
    """

    photos: dict[str, np.ndarray]
    clips: dict[str, np.ndarray]


def load_originals(folder: Path, config: DataConfig, split: str, max_frames: int = 96) -> Originals:
    """Reads the photos and clips of one split that `dataset_scripts.sources.registry` fetched.

    Args:
        folder (`Path`): with `manifest.csv`.
        config (`DataConfig`): sizes and share.
        split (`str`): `"train"`, `"test"` or `"held_out_sources"`. Items the manifest marks as examples are in none.
        max_frames (`int`, *optional*, defaults to 96): frames kept of each clip, from its middle.
    """
    # Before OpenCV starts threads of its own: data workers are forked from here, and would wait for them for ever.
    cv2.setNumThreads(0)
    originals = Originals({}, {})
    with open(Path(folder) / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in tqdm(rows, desc=f"reading {split} originals", unit="item"):
        content_id = row["content_id"]
        if row.get("split") == "example" or split != _split(row, config):
            continue
        try:
            item = _read_original(Path(folder) / row["path"], config, max_frames)
        except MediaError as error:
            logger.warning("%s is left out: %s", content_id, error)
            continue
        if item.ndim == 4:
            originals.clips[content_id] = item
        elif min(item.shape[:2]) >= 160:
            originals.photos[content_id] = item
    return originals


def _split(row: dict[str, str], config: DataConfig) -> str:
    if row["package"] in config.held_out_sources:
        return "held_out_sources"
    return "test" if is_test(row["content_id"], config.test_share) else "train"


def _read_original(path: Path, config: DataConfig, max_frames: int) -> np.ndarray:
    media = load_media(path)
    if isinstance(media, Image.Image):
        media.thumbnail((config.photo_long_side, config.photo_long_side), Image.Resampling.LANCZOS, reducing_gap=3)
        return np.asarray(media)
    first = max(0, (media.num_frames - max_frames) // 2)
    frames = media.get_frames(range(first, min(first + max_frames, media.num_frames)))
    scale = min(1.0, config.clip_long_side / max(frames.shape[1:3]))
    size = (round(frames.shape[2] * scale), round(frames.shape[1] * scale))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])


def image_opinions(
    picture: np.ndarray, original: np.ndarray, steps: list[tuple[str, int]], config: DataConfig
) -> dict[str, float]:
    """What the annotators say of an evenly distorted picture, and people of its kind where there is one.

    Args:
        picture, original (`np.ndarray`): uint8 `[H, W, 3]`.
        steps (`list[tuple[str, int]]`): distortions of the registry, with severities; empty for the original.
        config (`DataConfig`): names the annotators, and says whether people are heard.
    """
    opinions = annotate_image(picture, original, config.image_annotators)
    if config.human_voice and len(steps) <= 1 and all(name in IMAGE_DISTORTIONS for name, _ in steps):
        opinions["human"] = human_mos(*steps[0]) if steps else PRISTINE_MOS
    return opinions


def authentic_version(
    original: np.ndarray, history: Degradation, uneven: bool, config: DataConfig, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, float]]:
    """Carries out a history on a picture, or on one part of it, and asks the annotators about the whole.

    Where it is uneven, the damage falls on the subject or on all but the subject, and what they say of the subject
    counts for seven tenths, the whole picture for the rest.

    Args:
        original (`np.ndarray`): uint8 `[H, W, 3]`.
        history (`Degradation`): what happens.
        uneven (`bool`): whether to one part only.
        config (`DataConfig`): names the annotators.
        rng (`np.random.Generator`): source of chance.

    Returns:
        `tuple`: the picture, uint8 `[H, W, 3]`, and the opinions in [0, 1].
    """
    picture = history.apply(original, rng)
    if uneven:
        mask = subject_mask(original, rng)
        # Soft backgrounds are more common than soft subjects, in photos people keep.
        picture = spread(original, picture, mask if rng.random() < 0.4 else 1 - mask)
        rows, cols = np.flatnonzero((mask > 0.5).any(1)), np.flatnonzero((mask > 0.5).any(0))
        box = (_at_least(rows, original.shape[0]), _at_least(cols, original.shape[1]))
        subject = annotate_image(
            np.ascontiguousarray(picture[box]), np.ascontiguousarray(original[box]), config.image_annotators
        )
        whole = annotate_image(picture, original, config.image_annotators)
        return picture, {name: 0.7 * subject[name] + 0.3 * whole[name] for name in whole}
    return picture, annotate_image(picture, original, config.image_annotators)


def _at_least(places: np.ndarray, side: int, least: int = 96) -> slice:
    """The stretch from the first to the last place, widened to `least` where the side has it."""
    first, last = int(places[0]), int(places[-1]) + 1
    missing = max(0, min(least, side) - (last - first))
    first = max(0, min(first - missing // 2, side - least))
    return slice(first, max(last, min(side, first + least)))


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
