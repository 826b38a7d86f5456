"""Fresh rows for `vital-tiny`: groups of versions of one original, made when they are asked for.

Three tables: `tiles` (pictures of one tile), `wholes` (regions of several) and `clips`. A row depends on
`(seed, table, index)` alone, so a run can be resumed at any step and two workers never make the same one.
Pictures and their opinions come from `dataset_scripts.versions`, clips from [`clip_group`].
"""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.annotators.human_scale import annotate_item
from dataset_scripts.distortions import DISTORTIONS, distort_clip, tag
from dataset_scripts.distortions.catalogue import ORIGINAL_TAG
from dataset_scripts.distortions.scene_rendering import render_clip
from dataset_scripts.rows import NO_DISTORTION, LabelledVersion, group_row
from dataset_scripts.versions import (
    GroupPlan,
    LabelRule,
    Version,
    make_group,
    make_original,
    plan_even,
)
from modeling_vital.processing_vital import VitalProcessor
from training.collators import RowError
from training.tiny.originals import DataConfig, Originals, cut_clip, cut_region, load_originals, pan_and_zoom


TABLES = ("tiles", "wholes", "clips")


class FreshGroups:
    """One table of groups, rows like those of any other.

    Args:
        table (`str`): one of `TABLES`.
        originals (`Originals`): photos and clips to make versions of.
        processor (`VitalProcessor`): of the model to be trained; says how large a tile is.
        config (`DataConfig`): what is made.
        seed (`int`): decides everything, with table and index.
    """

    column_names = ("id", "modality", "images", "videos", "messages", "mos", "std", "level_probs", "preference")

    def __init__(self, table: str, originals: Originals, processor: VitalProcessor, config: DataConfig, seed: int):
        self.table = table
        self.originals = originals
        self.config = config
        self.seed = (seed, TABLES.index(table))
        self.tile_size = processor.image_processor.tile_size
        self.photo_ids, self.clip_ids = sorted(originals.photos), sorted(originals.clips)
        weights = np.array([weight for *_, weight in config.grids], dtype=float)
        rng = np.random.default_rng(self.seed)
        self.grid = rng.choice(len(weights), size=config.rows, p=weights / weights.sum()).astype(np.uint8)
        tiles = np.ones(config.rows, dtype=np.int64)
        if table == "wholes":
            tiles = np.array([cols * rows + 1 for cols, rows, _ in config.grids])[self.grid]
        self.visual_tokens = processor.image_seq_length * tiles

    @property
    def fingerprint(self) -> str:
        """Changes with settings, seed, tile size, and names and sizes of the originals; not with where these are."""
        shapes = [
            {name: one.shape for name, one in of.items()} for of in (self.originals.photos, self.originals.clips)
        ]
        stated = [self.table, self.seed, self.tile_size, asdict(self.config), shapes]
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return self.config.rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The row `index`."""
        rng = np.random.default_rng((*self.seed, int(index)))
        make = self._clips if self.table == "clips" else self._pictures
        name = f"{self.table}-{index}"
        try:
            versions = make(int(index), rng)
        except ValueError as error:
            raise RowError(f"row {name!r}: {error}") from error
        if rng.random() >= self.config.none_share:
            versions = [replace(one, tag=None) if one.tag == ORIGINAL_TAG else one for one in versions]
        return group_row(name, versions, self.config.tie_probability)

    def _pictures(self, index: int, rng: np.random.Generator) -> list[LabelledVersion]:
        whole = self.table == "wholes"
        cols, rows = self.config.grids[self.grid[index]][:2] if whole else (1, 1)
        photo = self.originals.photos[rng.choice(self.photo_ids)]
        region = cut_region(photo, cols, rows, self.tile_size, rng)
        original, kind = make_original(region, self.config.plan, whole, rng)
        versions = make_group(original, kind, self.config.rule, self.config.plan, whole, rng)
        return [labelled(version, self.config.rule) for version in versions]

    def _clips(self, index: int, rng: np.random.Generator) -> list[LabelledVersion]:
        num_frames = int(rng.integers(*self.config.clip_frames, endpoint=True))
        if self.clip_ids and rng.random() < 0.5:
            original = cut_clip(self.originals.clips[rng.choice(self.clip_ids)], num_frames, rng)
        else:
            original = pan_and_zoom(self.originals.photos[rng.choice(self.photo_ids)], num_frames, rng)
        return [labelled(version, self.config.rule) for version in clip_group(original, self.config, rng)]


def clip_group(original: np.ndarray, config: DataConfig, rng: np.random.Generator) -> list[Version]:
    """Versions of a clip, uint8 `[T, H, W, 3]`, with distortions of clips or, in three of ten groups, of pictures."""
    names = config.plan.distortions if rng.random() < 0.3 else config.clip_distortions
    plan = GroupPlan(config.plan.versions, names, config.plan.distortion_weights, chain_share=0.0)
    versions = []
    for steps in plan_even(plan, rng):
        frames = original
        for name, severity in steps:
            frames = distort_clip(frames, name, severity, rng)
        rendering = render_clip(original, steps, rng)
        opinions = annotate_item(frames, original, config.rule.clip_annotators, rendering=rendering)
        versions.append(Version(frames, opinions, tuple(steps), tag(*steps[0]) if steps else ORIGINAL_TAG))
    return versions


def labelled(version: Version, rule: LabelRule) -> LabelledVersion:
    """A version with the label that a rule makes of its opinions.

    Raises:
        ValueError: these are too few.
    """
    target = rule.label(version.opinions)
    if not target.valid[0]:
        raise ValueError(f"too few annotators gave an opinion: {version.opinions}")
    distortion = dict(NO_DISTORTION)
    if version.tag == ORIGINAL_TAG:
        distortion["type"] = ORIGINAL_TAG
    elif len(version.steps) == 1:
        ((name, strength),) = version.steps
        known = name in DISTORTIONS
        severity = int(strength) if known else min(5, 1 + int(5 * strength))
        family = DISTORTIONS[name].family if known else "history"
        distortion = {"type": name, "family": family, "severity": severity}
    return LabelledVersion(
        {"pixels": version.pixels},
        "image" if version.pixels.ndim == 3 else "video",
        float(target.mean[0]),
        float(target.std[0]),
        target.level_probs[0].tolist(),
        distortion,
        version.tag,
    )


def fresh_tables(
    processor: VitalProcessor, seed: int, config: str, data_dir: str, **changes: Any
) -> dict[str, FreshGroups]:
    """The tables of a recipe's `fresh`.

    Args:
        processor (`VitalProcessor`): of the model to be trained.
        seed (`int`): of the run.
        config (`str`): YAML file of a `DataConfig`.
        data_dir (`str`): folder with `manifest.csv`, as `dataset_scripts.sources.packages` writes it.
        changes: fields of the `DataConfig` that are others in this stage.

    Raises:
        ValueError: the file cannot be used.
        FileNotFoundError: there are no originals.
    """
    settings = DataConfig.load(Path(config), **changes)
    if not (Path(data_dir) / "manifest.csv").is_file():
        raise FileNotFoundError(f"{data_dir} has no manifest.csv: fetch the originals first, as `make tiny` does.")
    originals = load_originals(Path(data_dir), settings, "train")
    return {name: FreshGroups(name, originals, processor, settings, seed) for name in TABLES}
