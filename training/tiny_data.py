"""Training groups for `vital-tiny`, made on the fly: one original, a few distorted copies, machine opinions, PMOD.

A group is a region of one photo (or a stretch of one clip) and `variants_per_group` versions of it. Every version is
seen by the machine annotators, whose opinions become its PMOD target. Group `i` depends on `(seed, i)` alone, so a run
can be resumed at any step and two workers never see the same group.

Two kinds of picture groups: the even distortions of the registry, in steps, and what happens to real photos
(`dataset_scripts.distortions.authentic`), often in one part of the picture only. There the label is that of the whole:
mostly of its subject, because a sharp subject before a soft background makes a good photo.
"""

import csv
import logging
import random
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from tqdm import tqdm

from dataset_scripts.annotators.calibration import annotate_clip, annotate_image
from dataset_scripts.annotators.kadid import PRISTINE_MOS, human_mos
from dataset_scripts.distortions import DISTORTIONS, IMAGE_DISTORTIONS, distort_clip, distort_image, tag
from dataset_scripts.distortions.authentic import LOCAL, Degradation, draw, spread, subject_mask
from dataset_scripts.pmod import pmod
from dataset_scripts.splits import is_test
from modeling_vital.cutting_vital import PreparedMedia
from modeling_vital.media_vital import MediaError, load_media
from modeling_vital.processing_vital import VitalProcessor


logger = logging.getLogger(__name__)

_GROUPS_A_RUN = 8  # as many as a step takes


@dataclass
class DataConfig:
    """How training groups are made. Unknown keys in a recipe are errors.

    Attributes:
        image_annotators (`list[str]`): annotators of pictures, at least three that differ in kind.
        clip_annotators (`list[str]`): annotators of clips.
        human_voice (`bool`):
            Whether the mean human score of a distortion and severity in KADID-10k joins the machine opinions of
            pictures with just that: it sets the scale between types, which machines get wrong.
        held_out_distortions (`list[str]`): image distortions never trained on.
        held_out_sources (`list[str]`): packages none of whose photos are trained on.
        clip_distortions (`list[str]`): distortions only clips can have.
        distortion_weights (`dict[str, float]`): how often a distortion is drawn, against 1 for those not named.
        test_share (`float`): share of originals kept for testing, chosen by a hash of `content_id`.
        variants_per_group (`int`): versions of one original.
        clip_share (`float`): share of groups that are clips.
        chain_share (`float`): share of distorted versions that get two distortions, one after the other.
        authentic_share (`float`): share of picture groups with the damage of real photos.
        uneven_share (`float`): share of these, where larger than a tile, with damage in one part only.
        photo_long_side (`int`): photos are kept at most this long, in pixels.
        clip_long_side (`int`): likewise clips.
        clip_frames (`list[int]`): least and most frames of a clip group.
        grids (`list[list[int]]`): columns, rows and weight of region shapes, in tiles.
        single_tile_share (`float`):
            Share of the runs of eight groups in which all pictures are of one tile: many of those can be learned from
            in the time of one of many tiles. Runs, so that a batch of them is not padded.
    """

    image_annotators: list[str] = field(default_factory=list)
    clip_annotators: list[str] = field(default_factory=list)
    human_voice: bool = False
    held_out_distortions: list[str] = field(default_factory=list)
    held_out_sources: list[str] = field(default_factory=list)
    clip_distortions: list[str] = field(default_factory=list)
    distortion_weights: dict[str, float] = field(default_factory=dict)
    test_share: float = 0.2
    variants_per_group: int = 4
    clip_share: float = 0.15
    chain_share: float = 0.1
    authentic_share: float = 0.0
    uneven_share: float = 0.5
    photo_long_side: int = 1280
    clip_long_side: int = 480
    clip_frames: list[int] = field(default_factory=lambda: [20, 32])
    grids: list[list[int]] = field(
        default_factory=lambda: [[1, 1, 60], [2, 1, 6], [1, 2, 6], [2, 2, 22], [3, 2, 4], [4, 3, 2]]
    )
    single_tile_share: float = 0.0

    def __post_init__(self):
        named = {*self.held_out_distortions, *self.clip_distortions, *self.distortion_weights}
        if unknown := named - set(DISTORTIONS):
            raise ValueError(f"Unknown distortions {sorted(unknown)}; known are {', '.join(sorted(DISTORTIONS))}.")

    def image_distortions(self) -> list[str]:
        """Names of the image distortions that are trained on."""
        return [n for n, d in DISTORTIONS.items() if d.modality == "image" and n not in self.held_out_distortions]


@dataclass
class Variant:
    """One version of an original.

    Attributes:
        media (`PreparedMedia`): model input.
        target (`torch.FloatTensor` of shape `(5,)`): PMOD, best level first.
        mean (`float`): PMOD mean in [0, 1].
        tag (`str` or `None`): distortion in words, `"none"` for the original, `None` where one phrase cannot say it.
        kind (`tuple[str, int]` or `None`): name and severity 1..5 of its one step, of either kind of distortion.
    """

    media: PreparedMedia
    target: torch.Tensor
    mean: float
    tag: str | None
    kind: tuple[str, int] | None = None


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


class TinyGroups(Dataset):
    """Groups of variants, made when asked for.

    Args:
        originals (`Originals`): of the training split.
        processor (`VitalProcessor`): of the model to be trained.
        config (`DataConfig`): what is made.
        seed (`int`): with the index it decides everything.
        length (`int`): number of groups.
    """

    def __init__(self, originals: Originals, processor: VitalProcessor, config: DataConfig, seed: int, length: int):
        self.originals = originals
        self.processor = processor
        self.config = config
        self.seed = seed
        self.length = length
        self.photo_ids = sorted(originals.photos)
        self.clip_ids = sorted(originals.clips)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[Variant]:
        """The group `index`."""
        rng = np.random.default_rng((self.seed, index))
        if rng.random() < self.config.clip_share:
            return self._clip_group(rng)
        single = np.random.default_rng((self.seed, 0, index // _GROUPS_A_RUN)).random() < self.config.single_tile_share
        grid = (1, 1) if single else self._grid(rng)
        if rng.random() < self.config.authentic_share:
            return self._authentic_group(rng, grid)
        return self._image_group(rng, grid)

    def _image_group(self, rng: np.random.Generator, grid: tuple[int, int]) -> list[Variant]:
        cols, rows = grid
        original = cut_region(self.originals.photos[rng.choice(self.photo_ids)], cols, rows, self.tile_size, rng)
        names = self.config.image_distortions()
        variants = []
        for steps in self._plan(names, rng):
            picture = original
            for name, severity in steps:
                picture = distort_image(picture, name, severity, rng)
            opinions = image_opinions(picture, original, steps, self.config)
            variants.append(self._variant(Image.fromarray(picture), opinions, steps))
        return variants

    def _authentic_group(self, rng: np.random.Generator, grid: tuple[int, int]) -> list[Variant]:
        original = cut_region(self.originals.photos[rng.choice(self.photo_ids)], *grid, self.tile_size, rng)
        uneven = grid != (1, 1) and rng.random() < self.config.uneven_share
        ladder = draw(rng) if not uneven and rng.random() < 0.35 else None
        variants = []
        for i in range(self.config.variants_per_group):
            if i == 0 and rng.random() < 0.6:
                opinions = image_opinions(original, original, [], self.config)
                variants.append(self._variant(Image.fromarray(original), opinions, []))
                continue
            if ladder:
                share = (i + rng.random()) / self.config.variants_per_group
                history = Degradation(tuple((name, max(0.05, strength * share)) for name, strength in ladder.steps))
            else:
                history = draw(rng, LOCAL) if uneven else draw(rng)
            picture, opinions = authentic_version(original, history, uneven, self.config, rng)
            media = self.processor.prepare(Image.fromarray(picture))
            kind = None
            if len(history.steps) == 1 and not uneven:
                ((name, strength),) = history.steps
                kind = (name, min(5, 1 + int(5 * strength)))
            variants.append(self._labelled(media, opinions, None, kind))
        return variants

    def _clip_group(self, rng: np.random.Generator) -> list[Variant]:
        num_frames = int(rng.integers(*self.config.clip_frames, endpoint=True))
        if self.clip_ids and rng.random() < 0.5:
            original = cut_clip(self.originals.clips[rng.choice(self.clip_ids)], num_frames, rng)
        else:
            original = pan_and_zoom(self.originals.photos[rng.choice(self.photo_ids)], num_frames, rng)
        names = self.config.clip_distortions
        if rng.random() < 0.3:
            names = self.config.image_distortions()
        variants = []
        for steps in self._plan(names, rng, chains=False):
            frames = original
            for name, severity in steps:
                frames = distort_clip(frames, name, severity, rng)
            opinions = annotate_clip(frames, original, self.config.clip_annotators)
            variants.append(self._variant(frames, opinions, steps))
        return variants

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        return self.processor.image_processor.tile_size

    def _grid(self, rng: np.random.Generator) -> tuple[int, int]:
        weights = np.array([weight for *_, weight in self.config.grids], dtype=float)
        cols, rows, _ = self.config.grids[rng.choice(len(weights), p=weights / weights.sum())]
        return cols, rows

    def _plan(self, names: list[str], rng: np.random.Generator, chains: bool = True) -> list[list[tuple[str, int]]]:
        """What happens to each version: a list of (distortion, severity) steps, empty for the original."""
        count = self.config.variants_per_group
        kind = rng.random()
        weights = np.array([self.config.distortion_weights.get(name, 1.0) for name in names])
        weights /= weights.sum()
        if kind < 0.35:  # a ladder: one distortion, rising severity
            name = str(rng.choice(names, p=weights))
            severities = sorted(rng.choice(np.arange(1, 6), size=count - 1, replace=False))
            return [[], *([(name, int(s))] for s in severities)]
        plan = [] if kind > 0.8 else [[]]
        while len(plan) < count:
            steps = [(str(rng.choice(names, p=weights)), int(rng.integers(1, 6)))]
            if chains and rng.random() < self.config.chain_share:
                steps.append((str(rng.choice(names, p=weights)), int(rng.integers(1, 6))))
            plan.append(steps)
        return plan

    def _variant(self, item, opinions: dict[str, float], steps: list[tuple[str, int]]) -> Variant:
        words = "none" if not steps else tag(*steps[0]) if len(steps) == 1 else None
        kind = steps[0] if len(steps) == 1 else None
        return self._labelled(self.processor.prepare(item), opinions, words, kind)

    @staticmethod
    def _labelled(media: PreparedMedia, opinions: dict[str, float], words: str | None, kind) -> Variant:
        target = pmod(np.array([list(opinions.values())]))
        probs = torch.from_numpy(np.asarray(target.level_probs[0], dtype=np.float32))
        return Variant(media, probs, float(target.mean[0]), words, kind)


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


def seed_worker(worker_id: int) -> None:
    """Keeps a data worker to one thread: its processes are the parallelism."""
    torch.set_num_threads(1)
    random.seed(worker_id)
