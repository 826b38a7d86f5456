"""The suite `tiny`: measures a model on photos and clips that nothing was trained on.

    python -m training.suite --model vital-tiny --output results

Each original and distorted copies of it are made anew, the same ones every time, labelled by the rule of the training
data ([`dataset_scripts.versions.LabelRule`]), and scored through `model.score`, the path users take. Other metrics are
measured beside the model. Orders that need no label are in `training.suite.orders`. `python -m model_cards record`
puts the result into card and page of models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset_scripts.annotators.human_scale import annotate_item
from dataset_scripts.distortions import distort_clip, distort_image
from dataset_scripts.distortions.authentic import LOCAL, draw, subject_mask
from dataset_scripts.versions import LabelRule, Version, even_version, history_version, original_version
from modeling_vital.evaluation.results import oriented
from modeling_vital.evaluation.scorers import PeerScorer
from modeling_vital.media_vital import load_media
from training.suite.numbers import (
    VISIBLE,
    Row,
    across_originals,
    by_distortion,
    correlation,
    correlations_by_subset,
    of_subset,
    pairs_below,
    text_shares,
)
from training.suite.orders import chance, measure_scenes, shrink
from training.tiny.originals import DataConfig, Originals, load_originals, pan_and_zoom


EXAMPLES = Path(__file__).parents[2] / "spaces_demo" / "examples"
NEEDS_ORIGINAL = ("brighten", "darken", "mean_shift", "contrast_change", "non_eccentricity_patch")
"""Distortions after which a picture may well have been taken so: only its original tells."""

_LONG_SIDE = 512


def make_rows(
    test: Originals, sources: Originals, config: DataConfig, rule: LabelRule, small: bool = False
) -> Iterator[list[Row]]:
    """The labelled part of the suite, one original with its copies at a time; the original is first.

    Args:
        test, sources (`Originals`): of the test split, and of the packages that were held out.
        config (`DataConfig`): says which distortions were held out.
        rule (`LabelRule`): labels pictures and clips.
        small (`bool`, *optional*, defaults to `False`): two originals a subset, for tests.
    """
    few = slice(2 if small else None)
    trained, held_out = config.plan.distortions, config.held_out_distortions
    for subset, photos, names, copies in (
        ("in_domain", test.photos, trained, 6),
        ("held_out_distortions", test.photos, held_out, 4),
        ("held_out_sources", sources.photos, trained, 6),
        ("authentic", {**test.photos, **sources.photos}, (), 6),
    ):
        for content_id, photo in list(photos.items())[few]:
            rng = chance(subset, content_id)
            yield _photo_rows(subset, content_id, shrink(photo, _LONG_SIDE), names, copies, rule, rng)
    for content_id, frames in _clips(test.clips, test.photos, few):
        yield _clip_rows(content_id, frames, config, rule, chance("video", content_id))
    for path in sorted(EXAMPLES.iterdir())[few]:
        if path.suffix.lower() in (".jpg", ".png", ".webp"):
            yield _example_rows(path)


def _photo_rows(subset, content_id, photo, names, copies, rule, rng) -> list[Row]:
    def row(version: Version, name: str, severity: int) -> Row:
        mean = float(rule.label(version.opinions).mean[0])
        return Row(subset, content_id, name, severity, mean, version.pixels, version.opinions)

    rows = [row(original_version(photo, rule), "none", 0)]
    for turn in range(copies):
        if names:
            name, severity = str(rng.choice(names)), int(rng.integers(1, 6))
            version = even_version(photo, [(name, severity)], rule, rng)
        else:
            uneven = turn % 2 == 1
            history = draw(rng, LOCAL) if uneven else draw(rng)
            mask = subject_mask(photo, rng) if uneven else None
            version = history_version(
                photo, history, mask if not uneven or rng.random() < 0.4 else 1 - mask, rule, rng
            )
            name = "+".join(step for step, _ in history.steps)
            severity = min(5, 1 + int(5 * max(strength for _, strength in history.steps)))
        rows.append(row(version, name, severity))
    return rows


def _clips(clips: dict, photos: dict, few: slice) -> Iterator[tuple[str, np.ndarray]]:
    """Two stretches of each held-out clip, and camera moves over a dozen held-out photos."""
    for content_id, clip in list(clips.items())[few]:
        for half, frames in enumerate(np.array_split(clip, 2)):
            yield f"{content_id}/{half}", frames[:40]
    wide = [(content_id, photo) for content_id, photo in photos.items() if max(photo.shape[:2]) >= 640]
    for content_id, photo in wide[:12][few]:
        yield f"{content_id}/pan", pan_and_zoom(photo, 32, chance("pan", content_id))


def _clip_rows(content_id, frames, config, rule, rng) -> list[Row]:
    def row(clip: np.ndarray, name: str, severity: int) -> Row:
        opinions = annotate_item(clip, frames, rule.clip_annotators, rendering=frames)
        mean = float(rule.label(opinions).mean[0])
        return Row("video", content_id, name, severity, mean, clip, opinions)

    rows = [row(frames, "none", 0)]
    for name in config.clip_distortions:
        for severity in rng.choice(np.arange(1, 6), 2, replace=False):
            rows.append(row(distort_clip(frames, name, int(severity), rng), name, int(severity)))
    return rows


def _example_rows(path: Path) -> list[Row]:
    photo = np.asarray(load_media(path))
    rows = [Row("examples", path.name, "none", 0, float("nan"), photo)]
    rng = chance("examples", path.name)
    for name in ("gaussian_blur", "white_noise", "jpeg"):
        for severity in VISIBLE:
            copy = distort_image(photo, name, severity, rng)
            rows.append(Row("examples", path.name, name, severity, float("nan"), copy))
    return rows


def measure(
    model: Any,
    folder: Path,
    config: DataConfig,
    peers: Sequence[PeerScorer] = (),
    small: bool = False,
    rule: LabelRule | None = None,
) -> dict[str, Any]:
    """Runs the suite.

    Args:
        model (`VitalForConditionalGeneration` or `VitalForQualityProbe`): what is measured.
        folder (`Path`): what `dataset_scripts.sources.packages` fetched.
        config (`DataConfig`): of the training run; says what was held out.
        peers (`Sequence[PeerScorer]`, *optional*): other metrics, of pictures.
        small (`bool`, *optional*, defaults to `False`): two originals a subset, for tests.
        rule (`LabelRule`, *optional*): labels pictures and clips; by default that of `config`.

    Returns:
        `dict`: `rows` (a `subset`, its `srcc`, `plcc`, the 95 % interval `low` to `high` of `srcc` over originals,
        `n`, and `srcc_severity`, within a distortion on average), `shown` (the same of the in-domain pictures without
        [`NEEDS_ORIGINAL`]), `across` (see [`across_originals`]), `orders` and `alike` (see [`measure_scenes`]),
        `pairs`, `text` and `text_shown` (of the pictures of `shown`), `by_distortion`, `peers` and their `across`, and
        what was held out.
    """
    rule = rule or config.rule
    test, sources = (load_originals(folder, config, split) for split in ("test", "held_out_sources"))
    rows: list[Row] = []
    scores: list[float] = []
    of_peers: dict[str, list[float | None]] = {peer.name: [] for peer in peers}
    texts: list[tuple[Row, str]] = []
    for group in tqdm(make_rows(test, sources, config, rule, small), desc="suite tiny", unit="original"):
        media = [Image.fromarray(row.media) if row.media.ndim == 3 else row.media for row in group]
        scores += [result.score for result in model.score(media)]
        for peer in peers:
            of_peers[peer.name] += _peer_scores(peer, group, media)
        if group[0].subset == "in_domain" and hasattr(model, "describe"):
            texts += zip(group, model.describe(media), strict=True)
        rows += [replace(row, media=None) for row in group]
    return {
        "suite": "tiny",
        "annotators": [*rule.annotators, *(["human"] if rule.human_cells else [])],
        "clip_annotators": list(rule.clip_annotators),
        "held_out_distortions": list(config.held_out_distortions),
        "held_out_packages": list(config.held_out_sources),
        "photos": len({row.content_id for row in rows if row.subset in ("in_domain", "held_out_sources")}),
        "clips": len({row.content_id for row in rows if row.subset == "video"}),
        "rows": correlations_by_subset(rows, scores),
        "shown": correlation(
            [(r, s) for r, s in of_subset("in_domain", rows, scores) if r.distortion not in NEEDS_ORIGINAL]
        ),
        "across": across_originals(of_subset("authentic", rows, scores)),
        "by_distortion": by_distortion(rows, scores),
        "pairs": pairs_below(rows, scores),
        **measure_scenes(model, {**test.photos, **sources.photos}, test.clips, small),
        "text": text_shares(texts),
        "text_shown": text_shares([(row, text) for row, text in texts if row.distortion not in NEEDS_ORIGINAL]),
        "peers": {name: correlations_by_subset(rows, found) for name, found in of_peers.items()},
        "peers_across": {
            name: across_originals(of_subset("authentic", rows, found)) for name, found in of_peers.items()
        },
    }


def _peer_scores(peer: PeerScorer, group: list[Row], media: list) -> list[float | None]:
    if group[0].subset == "video":
        return [None] * len(group)
    found = [result if isinstance(result, str) else oriented(peer, result[:1])[0] for result in peer.score(media)]
    return [None if isinstance(score, str) else score for score in found]
