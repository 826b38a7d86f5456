"""Numbers from the scores of the suite `tiny`: correlations, orders and what texts name, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS
from modeling_vital.evaluation import CORRELATIONS, bootstrap, bootstrap_intervals


SUBSETS = ("in_domain", "held_out_distortions", "held_out_sources", "video", "authentic")
CLIP_PAIRS = {"compression": ("h264_compression", "h265_compression"), "stutter": ("stutter", "frame_drop_rate")}
VISIBLE = (3, 4, 5)
"""Severities at which a person sees the difference."""

_RESAMPLES, _SEED = 500, 1234
_WORDS = {entry.words.lower(): name for name, entry in DISTORTIONS.items()}


@dataclass(frozen=True)
class Row:
    """One picture or clip of the suite.

    Attributes:
        subset (`str`): one of [`SUBSETS`], or `"examples"`, which has pairs but no labels.
        content_id (`str`): its original.
        distortion (`str`): `"none"`, a name of `dataset_scripts.distortions`, or the steps of authentic damage.
        severity (`int`): 0 for originals, 1 to 5.
        mos (`float`): PMOD mean in [0, 1].
        media (`np.ndarray`): uint8 `[H, W, 3]` or `[T, H, W, 3]`.
        opinions (`dict[str, float]`): what `mos` was made of, by annotator.
    """

    subset: str
    content_id: str
    distortion: str
    severity: int
    mos: float
    media: np.ndarray | None
    opinions: dict[str, float] = field(default_factory=dict)


def of_subset(subset: str, rows: Sequence[Row], scores: Sequence[float | None]) -> list[tuple[Row, float]]:
    """Rows of one subset with their scores, without those that have none."""
    return [(r, s) for r, s in zip(rows, scores, strict=True) if r.subset == subset and s is not None]


def correlations_by_subset(rows: Sequence[Row], scores: Sequence[float | None]) -> list[dict[str, Any]]:
    """[`correlation`] of each subset that has three scores at least."""
    found = {subset: of_subset(subset, rows, scores) for subset in SUBSETS}
    return [{"subset": subset, **correlation(mine)} for subset, mine in found.items() if len(mine) > 2]


def correlation(mine: Sequence[tuple[Row, float]]) -> dict[str, Any]:
    """`srcc`, `plcc`, the interval `low` to `high` of `srcc` over originals, `n`, and `srcc_severity`."""
    x, y = (np.array(column) for column in zip(*((s, r.mos) for r, s in mine), strict=True))
    groups = [r.content_id for r, _ in mine]
    rng = np.random.default_rng(_SEED)
    low, high = bootstrap_intervals(x, y, groups, ("srcc",), _RESAMPLES, seed=rng)["srcc"]
    measured = {name: CORRELATIONS[name](x, y) for name in ("srcc", "plcc")}
    return {**measured, "low": low, "high": high, "n": len(mine), "srcc_severity": _severity(mine)}


def _severity(mine: Sequence[tuple[Row, float]]) -> float:
    """Mean over distortions of the SRCC between scores and the severity, turned so that 1 is best."""
    found = []
    for name in sorted({row.distortion for row, _ in mine} - {"none"}):
        some = [(row.severity, score) for row, score in mine if row.distortion == name]
        if len({severity for severity, _ in some}) > 2:
            found.append(-CORRELATIONS["srcc"](*zip(*some, strict=True)))
    return float(np.nanmean(found)) if found else float("nan")


def across_originals(mine: Sequence[tuple[Row, float]]) -> dict[str, Any]:
    """Measures how well scores order *different* originals, each in one version, with known histories.

    The first version of every original makes a list, so does the second, and so on; the SRCC is the mean over these
    lists. So no pair of versions of one original counts, which are easier to order.

    Args:
        mine (`Sequence[tuple[Row, float]]`): rows with scores. Of each original the first row is the original itself,
            and all have as many rows; an original with fewer (a metric failed on one) is not counted.

    Returns:
        `dict`: `srcc` with the label, its interval `low` to `high` over originals, `n` originals, `lists`, and
        `parts`: annotator -> SRCC with its opinion alone. `originals`: the same of the originals as they are, where
        a part may be NaN: annotators of fidelity find them all alike. Empty for fewer than three originals.
    """
    groups: dict[str, list[tuple[Row, float]]] = {}
    for row, score in mine:
        groups.setdefault(row.content_id, []).append((row, score))
    longest = max(map(len, groups.values()), default=0)
    whole = [group for group in groups.values() if len(group) == longest]
    if len(whole) < 3 or longest < 2:
        return {}
    return {**_lists(whole, range(1, longest)), "lists": longest - 1, "originals": _lists(whole, [0])}


def _lists(groups: list[list[tuple[Row, float]]], columns: Sequence[int]) -> dict[str, Any]:
    scores = np.array([[group[i][1] for i in columns] for group in groups])  # [originals, lists]
    names = sorted(set.intersection(*(set(group[i][0].opinions) for group in groups for i in columns)))
    labels = {"": np.array([[group[i][0].mos for i in columns] for group in groups])}
    labels |= {name: np.array([[group[i][0].opinions[name] for i in columns] for group in groups]) for name in names}

    def measured(rows: np.ndarray) -> list[float]:
        return [_mean_srcc(scores[rows], label[rows]) for label in labels.values()]

    found = dict(zip(labels, measured(np.arange(len(groups))), strict=True))
    low, high = bootstrap(
        lambda rows: [_mean_srcc(scores[rows], labels[""][rows])],
        len(groups),
        resamples=_RESAMPLES,
        seed=np.random.default_rng(_SEED),
    )[0]
    return {"srcc": found.pop(""), "low": low, "high": high, "n": len(groups), "parts": found}


def _mean_srcc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean SRCC over lists `[N, lists]`; NaN where one of them is all alike."""
    pairs = zip(scores.T, labels.T, strict=True)
    found = [CORRELATIONS["srcc"](x, y) if np.ptp(x) > 0 and np.ptp(y) > 0 else float("nan") for x, y in pairs]
    return float(np.mean(found))


def by_distortion(rows: Sequence[Row], scores: Sequence[float]) -> dict[str, float]:
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


def interval_of_shares(found: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """A share with its interval over originals.

    Args:
        found (`Sequence[tuple[str, float]]`): content id, and 1 where it is so, 0 where not.

    Returns:
        `dict`: `share`, `low`, `high` (95 %) and `n`. `share` is `None` of nothing, the ends of fewer than two
        originals.
    """
    if not found:
        return {"share": None, "low": None, "high": None, "n": 0}
    groups, hits = [content_id for content_id, _ in found], np.array([hit for _, hit in found], dtype=float)
    low = high = None
    if len(set(groups)) > 1:
        rng = np.random.default_rng(_SEED)
        ((low, high),) = bootstrap(lambda rows: [hits[rows].mean()], len(hits), groups, _RESAMPLES, seed=rng)
    return {"share": float(hits.mean()), "low": low, "high": high, "n": len(hits)}


def pairs_below(rows: Sequence[Row], scores: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Shares of copies that score below their original, see [`interval_of_shares`]."""
    originals = {(r.subset, r.content_id): s for r, s in zip(rows, scores, strict=True) if r.distortion == "none"}
    below = [(r, s < originals[r.subset, r.content_id]) for r, s in zip(rows, scores, strict=True) if r.severity]
    clips = [(row, hit) for row, hit in below if row.subset == "video"]
    visible = [(row, hit) for row, hit in clips if row.severity in VISIBLE]
    chosen = {
        "clips": clips,
        "clips_visible": visible,
        **{
            kind: [(row, hit) for row, hit in visible if row.distortion in names] for kind, names in CLIP_PAIRS.items()
        },
        "examples": [(row, hit) for row, hit in below if row.subset == "examples"],
    }
    return {kind: interval_of_shares([(row.content_id, hit) for row, hit in found]) for kind, found in chosen.items()}


def text_shares(texts: Sequence[tuple[Row, str]]) -> dict[str, float]:
    """Measures how well descriptions name distortion and severity, how often an original has none, and how varied."""
    originals = [parse_tag(text)[0] is None for row, text in texts if not row.severity]
    damaged = [(row, text) for row, text in texts if row.severity]
    if not damaged:
        return {}
    said = [text for _, text in damaged]
    right, near = tag_shares(
        [parse_tag(text) for text in said], [(row.severity, row.distortion) for row, _ in damaged]
    )
    return {
        "type_accuracy": right,
        "severity_within_one": near,
        "none_of_originals": float(np.mean(originals)) if originals else float("nan"),
        "originals": len(originals),
        "distinct_texts": len(set(said)) / len(said),
        "mean_words": float(np.mean([len(text.split()) for text in said])),
        "n": len(damaged),
    }


def tag_shares(tags: Sequence[tuple[int | None, str | None]], truth: Sequence[tuple[int, str]]) -> tuple[float, float]:
    """Measures how often texts name what is there.

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
    """Severity 1..5 and distortion that a description states, `None` for what it does not: "severe jpeg ..."."""
    words = text.strip().rstrip(".").lower()
    for severity in sorted(range(1, 6), key=lambda s: -len(SEVERITY_WORDS[s - 1])):
        start = SEVERITY_WORDS[severity - 1] + " "
        if start in words:
            rest = words[words.index(start) + len(start) :]
            return severity, _WORDS.get(rest)
    return None, None
