"""A threshold on scores from labels of what people keep: precision, recall, and how sure both are."""

import dataclasses
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..extras import require
from .correlation import NothingToFitError, bootstrap, checked, ranks


MIN_LABELS = 20
"""Labels of each kind; with fewer, a precision of .9 cannot be told from one of .7."""

MIN_KEPT = 10
"""Items above a threshold whose precision counts: the two highest scores are often both right by luck."""

WANTED = ("precision", "recall")
_RESAMPLES = 1000


@dataclass(frozen=True)
class Threshold:
    """The score from which on items are kept.

    Attributes:
        threshold (`float`): items with this score or more are kept.
        threshold_low, threshold_high (`float`): its interval, over labels drawn anew.
        precision, recall (`float`): on the labels: the share of kept items that people keep, and the share of what
            people keep that is kept.
        precision_low, precision_high, recall_low, recall_high (`float`): their intervals at this threshold.
        auc (`float`): area under the ROC curve: how often an item that people keep has the higher score; .5 is chance.
        auc_low, auc_high (`float`): its interval.
        confidence (`float`): of all intervals.
        keep, drop (`int`): labels of each kind.
        contents (`int`): groups of items of one content.
        curve (`dict[str, list[float]]`): see [`precision_recall_curve`].
    """

    threshold: float
    threshold_low: float
    threshold_high: float
    precision: float
    precision_low: float
    precision_high: float
    recall: float
    recall_low: float
    recall_high: float
    auc: float
    auc_low: float
    auc_high: float
    confidence: float
    keep: int
    drop: int
    contents: int
    curve: dict[str, list[float]]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain Python values, ready for JSON."""
        return dataclasses.asdict(self)


def precision_recall_curve(scores: ArrayLike, keep: ArrayLike) -> dict[str, np.ndarray]:
    """Precision and recall of keeping what has a score or more, at every score there is.

    Args:
        scores (`Sequence[float]` of length N): higher is better.
        keep (`Sequence[bool]` of length N): whether people keep the item, at least one.

    Returns:
        `dict[str, np.ndarray]`: `threshold`, rising and without repeats, `precision` and `recall`, float64, and
        `items`, the number of items with that score or more.
    """
    x, kept = np.asarray(scores, dtype=np.float64), np.asarray(keep, dtype=bool)
    order = np.argsort(x, kind="stable")
    x, kept = x[order], kept[order]
    threshold, first = np.unique(x, return_index=True)
    right = np.cumsum(kept[::-1])[::-1][first]  # kept by people among those from here on
    items = len(x) - first
    return {"threshold": threshold, "precision": right / items, "recall": right / kept.sum(), "items": items}


def find_threshold(
    scores: Sequence[float],
    keep: Sequence[bool],
    wanted: str,
    value: float,
    groups: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Threshold:
    """Finds the threshold for a wanted precision or recall.

    For a precision it is the one that keeps the most among those that reach it with ten items or more, for a recall
    the highest that still reaches it. Intervals are percentiles over labels drawn anew, content by content; those of
    precision and recall are at least as wide as Wilson's, since a share of all or none never varies in such draws.

    Args:
        scores (`Sequence[float]` of length N): higher is better.
        keep (`Sequence[bool]` of length N): whether people keep the item.
        wanted (`str`): `"precision"` or `"recall"`.
        value (`float`): of it, in (0, 1].
        groups (`Sequence`, *optional*): content of each item; by default each item is its own.
        confidence (`float`, *optional*, defaults to 0.95): of all intervals.
        seed (`int`, *optional*, defaults to 0): of the draws; the same seed, the same intervals.

    Returns:
        [`Threshold`]

    Raises:
        NothingToFitError: if fewer than 20 labels are of one kind, the scores may be no better than chance on these
            labels, or no threshold reaches the precision.
        ValueError: for `wanted` or `value` out of range, or scores that are no numbers.
    """
    if wanted not in WANTED:
        raise ValueError(f"`wanted` is 'precision' or 'recall', got {wanted!r}.")
    if not 0 < value <= 1:
        raise ValueError(f"a {wanted} lies above 0 and up to 1, got {value:g}.")
    kept = np.asarray(keep, dtype=bool)
    counts = {"keep": int(kept.sum()), "drop": int((~kept).sum())}
    if few := [f"{count} to {name}" for name, count in counts.items() if count < MIN_LABELS]:
        raise NothingToFitError(
            f"there are only {' and '.join(few)} among {len(kept)} labels: a threshold needs {MIN_LABELS} of each "
            "kind, or its precision is chance. Label more files."
        )
    x, _ = checked(scores, kept)

    def measured(rows: np.ndarray) -> list[float]:
        return [_auc(x[rows], kept[rows]), _pick(precision_recall_curve(x[rows], kept[rows]), wanted, value)[0]]

    def both_kinds(rows: np.ndarray) -> list[float]:
        return measured(rows) if 0 < kept[rows].sum() < len(rows) else [np.nan, np.nan]

    auc = _auc(x, kept)
    auc_ends, threshold_ends = bootstrap(both_kinds, len(x), groups, _RESAMPLES, confidence, seed)
    if not auc_ends[0] > 0.5:
        raise NothingToFitError(
            "the scores are no better than chance on these labels: a file to keep has the higher score in "
            f"{auc:.0%} of pairs ({confidence:.0%} interval {auc_ends[0]:.0%} to {auc_ends[1]:.0%}). Label more "
            "files, or take another model."
        )
    curve = precision_recall_curve(x, kept)
    threshold, precision, recall = _pick(curve, wanted, value)
    if np.isnan(threshold):
        best = int(np.argmax(np.where(curve["items"] >= MIN_KEPT, curve["precision"], 0)))
        raise NothingToFitError(
            f"no threshold reaches a precision of {value:g}: the best is {curve['precision'][best]:.2f}, at a score "
            f"of {curve['threshold'][best]:.3f} with a recall of {curve['recall'][best]:.2f}. Ask for less, or take "
            "another model."
        )

    def at_threshold(rows: np.ndarray) -> list[float]:
        taken = x[rows] >= threshold
        right = (taken & kept[rows]).sum()
        return [right / max(taken.sum(), 1), right / max(kept[rows].sum(), 1)]

    ends = bootstrap(at_threshold, len(x), groups, _RESAMPLES, confidence, seed)
    totals = ((x >= threshold).sum(), counts["keep"])
    wide = [_wilson(share, count, confidence) for share, count in zip((precision, recall), totals, strict=True)]
    precision_ends, recall_ends = ((min(a, c), max(b, d)) for (a, b), (c, d) in zip(ends, wide, strict=True))
    return Threshold(
        threshold,
        *threshold_ends,
        precision,
        *precision_ends,
        recall,
        *recall_ends,
        auc,
        *auc_ends,
        confidence,
        counts["keep"],
        counts["drop"],
        len(x) if groups is None else len(set(groups)),
        {name: values.tolist() for name, values in curve.items()},
    )


def _pick(curve: dict[str, np.ndarray], wanted: str, value: float) -> tuple[float, float, float]:
    """Threshold, precision and recall of the wanted point; NaN where there is none."""
    enough = curve["items"] >= (MIN_KEPT if wanted == "precision" else 1)
    reached = np.flatnonzero((curve[wanted] >= value - 1e-12) & enough)
    if not len(reached):
        return math.nan, math.nan, math.nan
    place = reached[0] if wanted == "precision" else reached[-1]
    return float(curve["threshold"][place]), float(curve["precision"][place]), float(curve["recall"][place])


def _wilson(share: float, count: int, confidence: float) -> tuple[float, float]:
    ends = require("scipy.stats").binomtest(round(share * count), int(count)).proportion_ci(confidence, "wilson")
    return float(ends.low), float(ends.high)


def _auc(scores: np.ndarray, kept: np.ndarray) -> float:
    count = int(kept.sum())
    rank_sum = ranks(scores)[kept].sum()
    return float((rank_sum - count * (count + 1) / 2) / (count * (len(scores) - count)))


def plot_threshold(found: Threshold, path: Any) -> None:
    """Draws precision and recall against the threshold, with the threshold that was found and its interval.

    Args:
        found ([`Threshold`]): what to draw.
        path (`str` or `Path`): where to write, `.png`, `.svg` or `.pdf`.
    """
    require("matplotlib").use("Agg")
    pyplot = require("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for name, style in (("precision", "-"), ("recall", "--")):
        axes.step(found.curve["threshold"], found.curve[name], style, where="pre", color="black", label=name)
    axes.axvspan(found.threshold_low, found.threshold_high, alpha=0.15, color="black", linewidth=0)
    axes.axvline(found.threshold, color="black", linewidth=0.8, label=f"threshold {found.threshold:.3f}")
    axes.set(xlabel="keep scores from", ylim=(0, 1.02))
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
