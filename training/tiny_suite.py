"""The suite `tiny`: measures a model on photos and clips nothing was trained on, and writes the numbers README shows.

    vital bench --suite tiny --model vital-tiny

Each original and distorted copies of it are made anew, the same ones every time, labelled by the PMOD mean of the
machine annotators, and scored through `model.score`, the path users take. Other metrics are measured beside the model.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset_scripts.annotators.calibration import annotate_clip
from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS, distort_clip, distort_image
from dataset_scripts.distortions.authentic import LOCAL, draw
from dataset_scripts.pmod import pmod
from model_cards.render import PAIR_WORDS, SUBSET_WORDS
from modeling_vital.evaluation import CORRELATIONS, bootstrap_intervals
from modeling_vital.evaluation.results import oriented, plain
from modeling_vital.evaluation.scorers import PeerScorer
from modeling_vital.media_vital import load_media
from training.tiny_data import DataConfig, authentic_version, image_opinions, load_originals, pan_and_zoom


logger = logging.getLogger(__name__)

EXAMPLES = Path(__file__).parents[1] / "spaces_demo" / "examples"
SUBSETS = ("in_domain", "held_out_distortions", "held_out_sources", "video", "authentic")
CLIP_PAIRS = {"compression": ("h264_compression", "h265_compression"), "stutter": ("stutter", "frame_drop_rate")}
VISIBLE = (3, 4, 5)
"""Severities at which a person sees the difference."""

NEEDS_ORIGINAL = ("brighten", "darken", "mean_shift", "contrast_change", "non_eccentricity_patch")
"""Distortions after which a picture may well have been taken so: only its original tells."""

PEERS = tuple(
    f"dataset_scripts.annotators.{name}"
    for name in ("piqe:PIQE", "naturalness:Naturalness", "sharpness_noise:SharpnessNoise")
)
"""No-reference metrics that need no download, measured beside `vital-tiny`."""

_LONG_SIDE = 512
_SEED = 1234
_WORDS = {entry.words.lower(): name for name, entry in DISTORTIONS.items()}


@dataclass(frozen=True)
class Row:
    """One picture or clip of the suite.

    Attributes:
        subset (`str`): one of [`SUBSETS`], or `"examples"`, which has pairs but no labels.
        content_id (`str`): its original.
        distortion (`str`): `"none"`, a name of the registry, or the steps of authentic damage.
        severity (`int`): 0 for originals, 1 to 5.
        mos (`float`): PMOD mean in [0, 1].
        media (`np.ndarray`): uint8 `[H, W, 3]` or `[T, H, W, 3]`.
    """

    subset: str
    content_id: str
    distortion: str
    severity: int
    mos: float
    media: np.ndarray | None


def make_rows(folder: Path, config: DataConfig, small: bool = False) -> Iterator[list[Row]]:
    """The suite, one original with its copies at a time; the original is first.

    Args:
        folder (`Path`): what `dataset_scripts.sources.registry` fetched.
        config (`DataConfig`): says which originals and distortions were held out, and who labels.
        small (`bool`, *optional*, defaults to `False`): two originals a subset, for tests.
    """
    test = load_originals(folder, config, "test")
    sources = load_originals(folder, config, "held_out_sources")
    few = slice(2 if small else None)
    trained, held_out = config.image_distortions(), config.held_out_distortions
    for subset, photos, names, copies in (
        ("in_domain", test.photos, trained, 6),
        ("held_out_distortions", test.photos, held_out, 4),
        ("held_out_sources", sources.photos, trained, 6),
        ("authentic", test.photos, (), 6),
    ):
        for content_id, photo in list(photos.items())[few]:
            rng = _chance(subset, content_id)
            yield _photo_rows(subset, content_id, _shrink(photo), names, copies, config, rng)
    for content_id, frames in _clips(test.clips, test.photos, few):
        yield _clip_rows(content_id, frames, config, _chance("video", content_id))
    for path in sorted(EXAMPLES.iterdir())[few]:
        if path.suffix.lower() in (".jpg", ".png", ".webp"):
            yield _example_rows(path)


def _chance(*names: str) -> np.random.Generator:
    """A generator for each original, so that a copy does not depend on what else is in the suite."""
    return np.random.default_rng([_SEED, *"/".join(names).encode()])


def _shrink(photo: np.ndarray) -> np.ndarray:
    scale = min(1.0, _LONG_SIDE / max(photo.shape[:2]))
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)


def _mean(opinions: dict[str, float]) -> float:
    return float(pmod(np.array([list(opinions.values())])).mean[0])


def _photo_rows(subset, content_id, photo, names, copies, config, rng) -> list[Row]:
    rows = [Row(subset, content_id, "none", 0, _mean(image_opinions(photo, photo, [], config)), photo)]
    for turn in range(copies):
        if names:
            name, severity = str(rng.choice(names)), int(rng.integers(1, 6))
            picture = distort_image(photo, name, severity, rng)
            opinions = image_opinions(picture, photo, [(name, severity)], config)
        else:
            uneven = turn % 2 == 1
            history = draw(rng, LOCAL) if uneven else draw(rng)
            picture, opinions = authentic_version(photo, history, uneven, config, rng)
            name = "+".join(step for step, _ in history.steps)
            severity = min(5, 1 + int(5 * max(strength for _, strength in history.steps)))
        rows.append(Row(subset, content_id, name, severity, _mean(opinions), picture))
    return rows


def _clips(clips: dict, photos: dict, few: slice) -> Iterator[tuple[str, np.ndarray]]:
    """Two stretches of each held-out clip, and camera moves over a dozen held-out photos."""
    for content_id, clip in list(clips.items())[few]:
        for half, frames in enumerate(np.array_split(clip, 2)):
            yield f"{content_id}/{half}", frames[:40]
    wide = [(content_id, photo) for content_id, photo in photos.items() if max(photo.shape[:2]) >= 640]
    for content_id, photo in wide[:12][few]:
        yield f"{content_id}/pan", pan_and_zoom(photo, 32, _chance("pan", content_id))


def _clip_rows(content_id, frames, config, rng) -> list[Row]:
    def row(clip, name, severity):
        return Row(
            "video", content_id, name, severity, _mean(annotate_clip(clip, frames, config.clip_annotators)), clip
        )

    rows = [row(frames, "none", 0)]
    for name in config.clip_distortions:
        for severity in rng.choice(np.arange(1, 6), 2, replace=False):
            rows.append(row(distort_clip(frames, name, int(severity), rng), name, int(severity)))
    return rows


def _example_rows(path: Path) -> list[Row]:
    photo = np.asarray(load_media(path))
    rows = [Row("examples", path.name, "none", 0, float("nan"), photo)]
    rng = _chance("examples", path.name)
    for name in ("gaussian_blur", "white_noise", "jpeg"):
        for severity in VISIBLE:
            copy = distort_image(photo, name, severity, rng)
            rows.append(Row("examples", path.name, name, severity, float("nan"), copy))
    return rows


def measure(
    model: Any, folder: Path, config: DataConfig, peers: Sequence[PeerScorer] = (), small: bool = False
) -> dict[str, Any]:
    """Runs the suite.

    Args:
        model (`VitalForConditionalGeneration` or `VitalForQualityProbe`): what is measured.
        folder (`Path`): what `dataset_scripts.sources.registry` fetched.
        config (`DataConfig`): of the training run.
        peers (`Sequence[PeerScorer]`, *optional*): other metrics, of pictures.
        small (`bool`, *optional*, defaults to `False`): two originals a subset, for tests.

    Returns:
        `dict`: `rows` (a `subset`, its `srcc`, `plcc`, the 95 % interval `low` to `high` of `srcc` over originals,
        `n`, and `srcc_severity`, within a distortion on average), `shown` (the same of the in-domain pictures without
        [`NEEDS_ORIGINAL`]), `pairs`, `text`, `by_distortion`, `peers`, and what was held out.
    """
    rows: list[Row] = []
    scores: list[float] = []
    of_peers: dict[str, list[float | None]] = {peer.name: [] for peer in peers}
    texts: list[tuple[Row, str]] = []
    for group in tqdm(make_rows(folder, config, small), desc="suite tiny", unit="original"):
        media = [Image.fromarray(row.media) if row.media.ndim == 3 else row.media for row in group]
        scores += [result.score for result in model.score(media)]
        for peer in peers:
            of_peers[peer.name] += _peer_scores(peer, group, media)
        if group[0].subset == "in_domain" and hasattr(model, "describe"):
            texts += zip(group[1:], model.describe(media[1:]), strict=True)
        rows += [replace(row, media=None) for row in group]
    return {
        "suite": "tiny",
        "annotators": [*config.image_annotators, *(["human"] if config.human_voice else [])],
        "clip_annotators": list(config.clip_annotators),
        "held_out_distortions": list(config.held_out_distortions),
        "held_out_packages": list(config.held_out_sources),
        "photos": len({row.content_id for row in rows if row.subset in ("in_domain", "held_out_sources")}),
        "clips": len({row.content_id for row in rows if row.subset == "video"}),
        "rows": _correlations(rows, scores),
        "shown": _correlation(
            [(r, s) for r, s in _of("in_domain", rows, scores) if r.distortion not in NEEDS_ORIGINAL]
        ),
        "by_distortion": _by_distortion(rows, scores),
        "pairs": _pairs(rows, scores),
        "text": _text(texts),
        "peers": {name: _correlations(rows, found) for name, found in of_peers.items()},
    }


def _peer_scores(peer: PeerScorer, group: list[Row], media: list) -> list[float | None]:
    if group[0].subset == "video":
        return [None] * len(group)
    found = [result if isinstance(result, str) else oriented(peer, result[:1])[0] for result in peer.score(media)]
    return [None if isinstance(score, str) else score for score in found]


def _of(subset: str, rows: list[Row], scores: list[float | None]) -> list[tuple[Row, float]]:
    return [(r, s) for r, s in zip(rows, scores, strict=True) if r.subset == subset and s is not None]


def _correlations(rows: list[Row], scores: list[float | None]) -> list[dict[str, Any]]:
    found = {subset: _of(subset, rows, scores) for subset in SUBSETS}
    return [{"subset": subset, **_correlation(mine)} for subset, mine in found.items() if len(mine) > 2]


def _correlation(mine: list[tuple[Row, float]]) -> dict[str, Any]:
    x, y, groups = ([*column] for column in zip(*((s, r.mos, r.content_id) for r, s in mine), strict=True))
    low, high = bootstrap_intervals(x, y, groups, ("srcc",), 500, seed=np.random.default_rng(_SEED))["srcc"]
    measured = {name: CORRELATIONS[name](x, y) for name in ("srcc", "plcc")}
    return {**measured, "low": low, "high": high, "n": len(mine), "srcc_severity": _severity(mine)}


def _severity(mine: list[tuple[Row, float]]) -> float:
    """Mean over distortions of the SRCC between scores and the severity, turned so that 1 is best."""
    found = []
    for name in sorted({row.distortion for row, _ in mine} - {"none"}):
        some = [(row.severity, score) for row, score in mine if row.distortion == name]
        if len({severity for severity, _ in some}) > 2:
            found.append(-CORRELATIONS["srcc"](*zip(*some, strict=True)))
    return float(np.nanmean(found)) if found else float("nan")


def _by_distortion(rows: list[Row], scores: list[float]) -> dict[str, float]:
    """SRCC with the label within each distortion, its originals included."""
    mine = [(r, s) for r, s in zip(rows, scores, strict=True) if r.subset in ("in_domain", "held_out_distortions")]
    result = {}
    for name in sorted({row.distortion for row, _ in mine} - {"none"}):
        subset = next(row.subset for row, _ in mine if row.distortion == name)
        ids = {row.content_id for row, _ in mine if row.distortion == name}
        some = [
            (s, r.mos)
            for r, s in mine
            if r.distortion == name or (r.distortion == "none" and r.subset == subset and r.content_id in ids)
        ]
        result[name] = CORRELATIONS["srcc"](*zip(*some, strict=True))
    return result


def _pairs(rows: list[Row], scores: list[float]) -> dict[str, dict[str, float]]:
    """Shares of copies that score below their original."""
    originals = {(r.subset, r.content_id): s for r, s in zip(rows, scores, strict=True) if r.distortion == "none"}
    below = [(r, s < originals[r.subset, r.content_id]) for r, s in zip(rows, scores, strict=True) if r.severity]
    clips = [(row, hit) for row, hit in below if row.subset == "video"]
    chosen = {
        "clips": [hit for _, hit in clips],
        "clips_visible": [hit for row, hit in clips if row.severity in VISIBLE],
        **{
            kind: [hit for row, hit in clips if row.distortion in names and row.severity in VISIBLE]
            for kind, names in CLIP_PAIRS.items()
        },
        "examples": [hit for row, hit in below if row.subset == "examples"],
    }
    return {kind: {"share": float(np.mean(hits)) if hits else None, "n": len(hits)} for kind, hits in chosen.items()}


def _text(texts: list[tuple[Row, str]]) -> dict[str, float]:
    """How well descriptions name the distortion and its severity, of all and of those that name one; how varied."""
    if not texts:
        return {}
    said = [text for _, text in texts]
    tags = [parse_tag(text) for text in said]
    truth = [(row.severity, row.distortion) for row, _ in texts]
    named = [i for i, (severity, _) in enumerate(tags) if severity is not None]
    right, near = tag_shares([tags[i] for i in named], [truth[i] for i in named])
    return {
        **dict(zip(("type_accuracy", "severity_within_one"), tag_shares(tags, truth), strict=True)),
        "named": len(named),
        "type_accuracy_named": right,
        "severity_within_one_named": near,
        "distinct_texts": len(set(said)) / len(said),
        "mean_words": float(np.mean([len(text.split()) for text in said])),
        "n": len(texts),
    }


def tag_shares(tags: Sequence[tuple[int | None, str | None]], truth: Sequence[tuple[int, str]]) -> tuple[float, float]:
    """How often texts name what is there.

    Args:
        tags (`Sequence[tuple]`): severity 1..5 and distortion that each names, `None` for what it does not.
        truth (`Sequence[tuple]`): severity and distortion there.

    Returns:
        `tuple[float, float]`: the shares with the right distortion, and within one step of the severity; NaN of none.
    """
    if not tags:
        return float("nan"), float("nan")
    pairs = list(zip(tags, truth, strict=True))
    right = [tag[1] == real[1] for tag, real in pairs]
    near = [tag[0] is not None and abs(tag[0] - real[0]) <= 1 for tag, real in pairs]
    return float(np.mean(right)), float(np.mean(near))


def parse_tag(text: str) -> tuple[int | None, str | None]:
    """Severity 1..5 and registry name that a description states, `None` for what it does not: "severe jpeg ..."."""
    words = text.strip().rstrip(".").lower()
    for severity in sorted(range(1, 6), key=lambda s: -len(SEVERITY_WORDS[s - 1])):
        start = SEVERITY_WORDS[severity - 1] + " "
        if start in words:
            rest = words[words.index(start) + len(start) :]
            return severity, _WORDS.get(rest)
    return None, None


def numbers_table(results: dict[str, Any]) -> str:
    """The measured numbers as the Markdown that README shows.

    Args:
        results (`dict`): what [`measure`] returns.
    """
    rows = {row["subset"]: row for row in results["rows"]}
    goals = {
        "in_domain": "0.90",
        "held_out_distortions": "0.75",
        "video": "0.75",
        "clips": "95 %",
        "examples": "100 %",
    }
    pairs, text = results["pairs"], results["text"]
    lines = [
        (f"SRCC, {what}", _interval(rows[name]), goals.get(name, ""))
        for name, what in SUBSET_WORDS.items()
        if name in rows
    ]
    what = "SRCC, the first row without changes of light and small patches, which one picture cannot show"
    lines.insert(1, (what, _interval(results["shown"]), ""))
    lines += [(what, _share(pairs[name]), goals.get(name, "")) for name, what in PAIR_WORDS.items()]
    lines += [
        ("distortion named right, of 25", f"{100 * text['type_accuracy']:.1f} % of {text['n']}", "70 %"),
        ("severity named within one step", f"{100 * text['severity_within_one']:.1f} % of {text['n']}", "85 %"),
        ("where a distortion is named: right", f"{100 * text['type_accuracy_named']:.1f} % of {text['named']}", ""),
        (
            "where a distortion is named: severity within one step",
            f"{100 * text['severity_within_one_named']:.1f} % of {text['named']}",
            "",
        ),
    ]
    held_out = ", ".join(name.replace("_", " ") for name in results["held_out_distortions"])
    table = "".join(f"| {what} | {value} | {goal} |\n" for what, value, goal in lines)
    return (
        f"`vital-tiny` on {results['photos']} photos and {results['clips']} clips, split by original, against the "
        f"mean of {len(results['annotators'])} opinions;\nnever trained on: {held_out}. Intervals are 95 %, "
        "bootstrapped over originals. `vital bench --suite tiny` measures it again.\n\n"
        f"| what | measured | goal |\n|---|---|---|\n{table}"
    )


def write_readme(results: dict[str, Any], readme: Path) -> None:
    """Puts [`numbers_table`] between the `numbers` markers of a README.

    Raises:
        ValueError: if the markers are not there.
    """
    text = readme.read_text(encoding="utf-8")
    begin, end = "<!-- numbers:begin -->\n", "<!-- numbers:end -->"
    if begin not in text or end not in text:
        raise ValueError(f"{readme} lacks the lines {begin.strip()!r} and {end!r}.")
    head, rest = text.split(begin, 1)
    readme.write_text(f"{head}{begin}{numbers_table(results)}{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def write_results(results: dict[str, Any], path: Path) -> None:
    """Writes what [`measure`] returns as JSON; what is not a number becomes null."""
    path.write_text(json.dumps(plain(results), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    logger.info("wrote %s", path)


def _interval(row: dict[str, Any]) -> str:
    return f"{row['srcc']:.3f} ({row['low']:.3f} to {row['high']:.3f}, n = {row['n']})"


def _share(pairs: dict[str, Any]) -> str:
    return f"{100 * pairs['share']:.1f} % of {pairs['n']}"
