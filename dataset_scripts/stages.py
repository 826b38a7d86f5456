"""The stages between the originals and the rows: distort, annotate, interpret, pair. Each makes a shard from a shard.

Everything about a row follows from the seed, the original and the number of the version, so that it does not matter
how many workers there are, in which order they work, or how often they are killed.
"""

import itertools
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from dataset_scripts.annotators.human_scale import annotate_item
from dataset_scripts.build_config import BuildConfig, BuildError, DistortConfig
from dataset_scripts.collect import STAGE as COLLECT
from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS, distort_clip, tag
from dataset_scripts.distortions.catalogue import ORIGINAL_TAG
from dataset_scripts.distortions.scene_rendering import distort as distort_steps
from dataset_scripts.distortions.scene_rendering import render, render_clip
from dataset_scripts.encoding import (
    CLIP_SUFFIX,
    IMAGE_SUFFIX,
    decode,
    encode_clip,
    encode_image,
    shrink_clip,
    shrink_image,
)
from dataset_scripts.fingerprint import sha256_of, without_path
from dataset_scripts.interpretation.item import Interpretation
from dataset_scripts.pmod import pmod
from dataset_scripts.rows import preference_of
from dataset_scripts.staging import Drop, Staging
from modeling_vital.levels_vital import preference_probability
from modeling_vital.media_vital import MediaError, load_media


logger = logging.getLogger(__name__)

SCORE_DIGITS = 6
"""Scores are rounded to so many digits: what an annotator gives beyond differs between machines."""

_STEPS = pa.list_(pa.struct({"type": pa.string(), "family": pa.string(), "severity": pa.int32()}))
_ABOUT = ("item_id", "content_id", "modality", "name", "source", "license", "split", "details", "sha256")

VARIANT_SCHEMA = pa.schema(
    {name: pa.string() for name in _ABOUT}
    | {
        "variant": pa.int32(),
        "steps": _STEPS,
        "data": pa.large_binary(),
        "file": pa.string(),
        "fps": pa.float64(),
    }
)
OPINION_SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "variant": pa.int32(),
        "scores": pa.string(),
        "errors": pa.string(),
        "n_opinions": pa.int32(),
        "mos": pa.float64(),
        "std": pa.float64(),
        "level_probs": pa.list_(pa.float64()),
    }
)
TEXT_SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "variant": pa.int32(),
        "tag": pa.string(),
        "descriptions": pa.list_(pa.string()),
    }
)
PAIR_SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "first": pa.int32(),
        "second": pa.int32(),
        "preference": pa.float64(),
        "preference_prob": pa.float64(),
    }
)


def variant_id(row: dict[str, Any]) -> str:
    """Name of one version of an original."""
    return f"{row['item_id']}-v{row['variant']}"


def rng_of(config: BuildConfig, item_id: str, *more: int) -> np.random.Generator:
    """The source of chance of an original, or with `more` of one version or purpose."""
    return np.random.default_rng([config.seed, int(item_id, 16), *more])


# ------------------------------------------------------------------------------------------------------ distort
# Purposes of an original's generators. Versions have two each: what is done, and the noise that it draws.
_COUPLE, _ORDER, _PAIRS, _VERSION = range(4)


def plan_steps(config: BuildConfig, item_id: str, modality: str, variant: int) -> list[tuple[str, int]]:
    """Plans the steps of one version: (distortion, severity), in order; none for version 0, the original.

    Versions 1 and 2 share one distortion at two severities, so do 3 and 4, and so on; no distortion comes twice
    before all have come.
    """
    if variant == 0:
        return []
    couple, second = divmod(variant - 1, 2)
    names, frame_share = config.distort.image_distortions, config.distort.frame_share
    own = rng_of(config, item_id, _COUPLE, couple)
    if modality == "video" and own.random() >= frame_share:
        names = config.distort.clip_distortions
    order = rng_of(config, item_id, _ORDER, couple // len(names), len(names)).permutation(len(names))
    severities = own.permutation(len(SEVERITY_WORDS)) + 1
    steps = [(names[order[couple % len(names)]], int(severities[second]))]
    version = rng_of(config, item_id, _VERSION, variant, 0)
    if version.random() < config.distort.chain_share:
        others = [name for name in names if name != steps[0][0]]
        if others:
            severity = int(version.integers(1, 1 + len(SEVERITY_WORDS)))
            steps.append((others[int(version.integers(len(others)))], severity))
    return steps


def _prepare(item: dict[str, Any], config: DistortConfig) -> tuple[np.ndarray, float] | Drop:
    """Pixels of an original, shrunk, and its frames a second (0 for a picture)."""
    name = f"{item['source']}/{item['name']}"
    try:
        if sha256_of(item["data"] or Path(item["path"])) != item["sha256"]:
            return Drop(name, "changed", "the file is another one than when the build began")
        media = load_media(item["data"] or item["path"])
        if isinstance(media, Image.Image):
            pixels, fps = shrink_image(media, config.image_long_side), 0.0
        elif media.num_frames < config.least_clip_frames:
            return Drop(name, "too short", f"{media.num_frames} frames, {config.least_clip_frames} are needed")
        else:
            pixels, fps = shrink_clip(media, config.clip_long_side, config.clip_frames), min(media.fps, 240.0)
    except (MediaError, OSError) as error:
        return Drop(name, "unreadable", without_path(str(error), item["path"] or b"", item["name"]))
    height, width = pixels.shape[-3:-1]
    if min(height, width) < config.least_side:
        return Drop(name, "too small", f"{width} x {height} after shrinking, {config.least_side} px are needed")
    return pixels, max(fps, 1.0) if pixels.ndim == 4 else 0.0


def _version(
    pixels: np.ndarray, fps: float, steps: Sequence[tuple[str, int]], rng: np.random.Generator, crf: int
) -> bytes:
    """The file of one version."""
    if pixels.ndim == 3:
        return encode_image(distort_steps(pixels, steps, rng))
    for name, severity in steps:
        pixels = distort_clip(pixels, name, severity, rng, fps)
    return encode_clip(pixels, fps, crf)


def distort(staging: Staging, shard: int, config: BuildConfig) -> tuple[list[dict[str, Any]], list[Drop]]:
    """Originals -> versions, stored as they will be published. Version 0 is the original, shrunk."""
    rows, drops = [], []
    for item in staging.read(COLLECT, shard):
        prepared = _prepare(item, config.distort)
        if isinstance(prepared, Drop):
            drops.append(prepared)
            continue
        pixels, fps = prepared
        for variant in range(config.distort.variants_per_item + 1):
            steps = plan_steps(config, item["item_id"], item["modality"], variant)
            row = {name: item[name] for name in _ABOUT} | {"variant": variant, "fps": fps}
            row["steps"] = [{"type": n, "family": DISTORTIONS[n].family, "severity": s} for n, s in steps]
            row["file"] = variant_id(row) + (CLIP_SUFFIX if pixels.ndim == 4 else IMAGE_SUFFIX)
            try:
                rng = rng_of(config, item["item_id"], _VERSION, variant, 1)
                row["data"] = _version(pixels, fps, steps, rng, config.distort.clip_crf)
            except (ValueError, RuntimeError, OSError, cv2.error) as error:
                what = " + ".join(name for name, _ in steps) or "encoding"
                name = f"{item['source']}/{item['name']} {variant_id(row)}"
                drops.append(Drop(name, "distortion failed", f"{what}: {type(error).__name__}: {error}"))
            else:
                rows.append(row)
    return rows, drops


# ----------------------------------------------------------------------------------------------------- annotate
def annotate(staging: Staging, shard: int, config: BuildConfig) -> tuple[list[dict[str, Any]], list[Drop]]:
    """Versions -> opinions and PMOD targets. The published file is scored, against that of version 0."""
    rows, drops = [], []
    for _, versions in itertools.groupby(staging.read("distort", shard), key=lambda row: row["item_id"]):
        original: np.ndarray | None = None
        for version in versions:
            pixels = decode(version["data"])
            if version["variant"] == 0:
                original = pixels
            errors: dict[str, str] = {}
            is_clip = version["modality"] == "video"
            names = config.annotate.clip_annotators if is_clip else config.annotate.image_annotators
            steps = [(step["type"], step["severity"]) for step in version["steps"]]
            rng = rng_of(config, version["item_id"], _VERSION, version["variant"], 1)
            shown = pixels if original is None else (render_clip if is_clip else render)(original, steps, rng)
            scores = annotate_item(pixels, original, names, errors, rendering=shown)
            scores = {name: round(score, SCORE_DIGITS) for name, score in scores.items()}
            weights = [config.annotate.weights.get(name, 1.0) for name in scores]
            opinions = np.array([list(scores.values())])
            target = pmod(opinions, min_opinions=config.annotate.min_opinions, weights=weights)
            valid = bool(target.valid[0])
            if not valid:
                detail = "; ".join(f"{name}: {why}" for name, why in sorted(errors.items()))
                reason = f"fewer than {config.annotate.min_opinions} opinions, no score"
                drops.append(Drop(f"{version['source']}/{version['name']} {variant_id(version)}", reason, detail))
            rows.append(
                {
                    "item_id": version["item_id"],
                    "variant": version["variant"],
                    "scores": json.dumps({n: None if np.isnan(s) else s for n, s in scores.items()}, sort_keys=True),
                    "errors": json.dumps(errors, sort_keys=True),
                    "n_opinions": int(target.n_opinions[0]),
                    "mos": float(target.mean[0]) if valid else None,
                    "std": float(target.std[0]) if valid else None,
                    "level_probs": target.level_probs[0].tolist() if valid else None,
                }
            )
    return rows, drops


# ---------------------------------------------------------------------------------------------------- interpret
@lru_cache(maxsize=1)
def _interpreter(factory: Callable[..., Callable], options: str) -> Callable[[str, np.ndarray], Interpretation]:
    return factory(**json.loads(options))


def tag_of(steps: Sequence[dict[str, Any]]) -> str | None:
    """Returns the words for what was done to a version; `None` for a chain, which one phrase cannot say."""
    if not steps:
        return ORIGINAL_TAG
    return tag(steps[0]["type"], steps[0]["severity"]) if len(steps) == 1 else None


def _require_answers(shard: int, answers: Sequence[Interpretation]) -> None:
    """Raises `BuildError` where every version has no answer, and not only refusals, which stay."""
    refusals = [[text.reason for text in answer.rejected if text.step == "refused"] for answer in answers]
    reasons = [answer.error or "".join(refused) for answer, refused in zip(answers, refusals, strict=True)]
    if not reasons or not all(reasons):
        return
    message = f"no version of shard {shard} could be described; of the last one: {reasons[-1]}"
    if any(answer.error for answer in answers):
        raise BuildError(f"{message}\nWhen the models answer, run the same command again: finished shards are kept.")
    logger.warning("%s", message)


def interpret(staging: Staging, shard: int, config: BuildConfig) -> tuple[list[dict[str, Any]], list[Drop]]:
    """Versions -> texts. Descriptions only where an interpreter is configured; what it rejected is written down.

    Raises:
        BuildError: no version was answered, so that it is not the versions' fault.
    """
    versions = staging.read("distort", shard)
    answers: Iterable[Interpretation | None] = [None] * len(versions)
    if config.interpret.interpreter is not None:
        options = json.dumps(config.interpret.options, sort_keys=True)
        ask = _interpreter(config.interpret.factory(), options)
        with ThreadPoolExecutor(config.interpret.threads) as pool:
            asked = list(pool.map(lambda version: ask(variant_id(version), decode(version["data"])), versions))
        _require_answers(shard, asked)
        answers = asked
    rows, drops = [], []
    for version, answer in zip(versions, answers, strict=True):
        row = {"item_id": version["item_id"], "variant": version["variant"], "tag": tag_of(version["steps"])}
        rows.append(row | {"descriptions": list(answer.kept) if answer else []})
        name = f"{version['source']}/{version['name']} {variant_id(version)}"
        if answer is not None:
            drops += [Drop(name, f"text: {text.step}", f"{text.text} ({text.reason})") for text in answer.rejected]
            drops += [Drop(name, "no description", answer.error)] if answer.error else []
    return rows, drops


# --------------------------------------------------------------------------------------------------------- pair
def pair(staging: Staging, shard: int, config: BuildConfig) -> tuple[list[dict[str, Any]], list[Drop]]:
    """Opinions -> pairs of versions of one original, each pair once, which comes first drawn at random."""
    rows = []
    for item_id, group in itertools.groupby(staging.read("annotate", shard), key=lambda row: row["item_id"]):
        scored = [row for row in group if row["mos"] is not None]
        rng = rng_of(config, item_id, _PAIRS)
        couples = list(itertools.combinations(scored, 2))
        for index in rng.permutation(len(couples))[: config.pair.pairs_per_item]:
            first, second = couples[index] if rng.random() < 0.5 else couples[index][::-1]
            prob = preference_probability(first["mos"], first["std"], second["mos"], second["std"])
            preference = preference_of(prob, config.pair.tie_probability)
            about = {"item_id": item_id, "first": first["variant"], "second": second["variant"]}
            rows.append(about | {"preference": preference, "preference_prob": prob})
    return rows, []


# ---------------------------------------------------------------------------------------------------- one shard
STAGES = {
    "distort": (distort, VARIANT_SCHEMA, COLLECT),
    "annotate": (annotate, OPINION_SCHEMA, "distort"),
    "interpret": (interpret, TEXT_SCHEMA, "distort"),
    "pair": (pair, PAIR_SCHEMA, "annotate"),
}
"""Name -> (function, schema of its shards, stage whose rows it takes), in the order they run."""


@contextmanager
def steady_opencv() -> Iterator[None]:
    """OpenCV on one thread and without IPP: with it the last bits depend on where an array lies in memory.

    Note:
        Without it runs on one machine agree bit by bit. Processors with other vector instructions may still round
        differently: a cluster should be of one kind.
    """
    threads, ipp = cv2.getNumThreads(), cv2.ipp.useIPP()
    cv2.setNumThreads(0)
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.ipp.setUseIPP(ipp)


def run_shard(stage: str, shard: int, root: str, config: BuildConfig) -> int:
    """Makes one shard of one stage, unless it is there.

    Args:
        stage (`str`): key in `STAGES`.
        shard (`int`): number.
        root (`str`): folder of the [`Staging`].
        config (`BuildConfig`): what to build.

    Returns:
        `int`: `shard`.
    """
    staging = Staging(Path(root))
    if not staging.is_finished(stage, shard):
        function, schema, before = STAGES[stage]
        started = time.monotonic()
        with steady_opencv():
            rows, drops = function(staging, shard, config)
        stats = {"rows_in": staging.stats(before, shard)["rows_out"], "seconds": time.monotonic() - started}
        staging.finish(stage, shard, schema, rows, drops, stats)
    return shard
