"""SRCC, PLCC, KRCC and RMSE by name, with intervals and comparisons that respect groups of items of one content.

Scores and opinions are oriented by the caller: higher is better in both. Nothing is dropped: an item without a number
is an error that names it.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..extras import require
from .logistic import LOGISTICS, fit_logistic


MIN_ITEMS = 3
CURVE_DECIMALS = 9
"""Decimals of measures after a fitted curve. scipy's fit does not repeat to the last bit, even in one process."""


class NothingToFitError(ValueError):
    """Scores of which neither calibration nor threshold can be made: they may say nothing about the opinions."""


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, float64 `[N]`; ties get their mean rank.

    Note:
        As `scipy.stats.rankdata`. Intervals measure a thousand samples, mostly of few items: of a hundred, `spearmanr`
        and `pearsonr` take 260 and 224 us, what is here takes 27 and 16.
    """
    ordered = np.sort(values)
    return (ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right") + 1) / 2


def _srcc(scores: np.ndarray, mos: np.ndarray) -> float:
    return _plcc(ranks(scores), ranks(mos))


def _plcc(scores: np.ndarray, mos: np.ndarray) -> float:
    a, b = scores - scores.mean(), mos - mos.mean()
    of_b = b @ b
    return float(np.clip(a @ b / of_b / np.sqrt(a @ a / of_b), -1, 1))  # exactly 1 where `a` and `b` are the same


def _krcc(scores: np.ndarray, mos: np.ndarray) -> float:
    return float(require("scipy.stats").kendalltau(scores, mos).statistic)


CORRELATIONS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"srcc": _srcc, "plcc": _plcc, "krcc": _krcc}
"""Spearman, Pearson, and Kendall's tau-b; ties get their mean rank."""


def correlations(
    scores: ArrayLike,
    mos: ArrayLike,
    ids: Sequence[Hashable] | None = None,
    score_range: tuple[float, float] | None = None,
    mos_range: tuple[float, float] | None = None,
    curves: Sequence[str] = tuple(LOGISTICS),
) -> dict[str, Any]:
    """All measures of agreement between predictions and opinions.

    Args:
        scores (`Sequence[float]` of length N): predictions, higher is better.
        mos (`Sequence[float]` of length N): opinions, higher is better.
        ids (`Sequence`, *optional*): names of the items, for error messages; their positions by default.
        score_range, mos_range (`tuple[float, float]`, *optional*):
            Ends of the two scales, both or neither. `rmse` is on the scale of `mos`: scores are taken there linearly,
            end to end. Without ranges, both are taken to be on one scale already.
        curves (`Sequence[str]`, *optional*): names in `LOGISTICS`; all by default.

    Returns:
        `dict`: `n`; `srcc`, `plcc`, `krcc` in [-1, 1]; `rmse` in units of `mos`; and, after each of the curves
        fitted on these same items, `plcc_logistic4`, `rmse_logistic4`, `plcc_logistic5`, `rmse_logistic5`, rounded to
        `CURVE_DECIMALS` decimals, as far as a fit repeats. What is not defined is NaN: correlations and curves where
        all scores, or all opinions, are alike, and curves where there are no more different scores than parameters.

    Raises:
        ValueError: for lengths that differ, fewer than 3 items, a number that is not finite (the item is named), only
            one of the two ranges, or an unknown curve.
    """
    x, y = checked(scores, mos, ids)
    if not set(curves) <= set(LOGISTICS):
        raise ValueError(f"unknown curve in {list(curves)}; there are {', '.join(LOGISTICS)}")
    result = {"n": len(x), **{name: _defined(function, x, y) for name, function in CORRELATIONS.items()}}
    result["rmse"] = _rmse(_rescaled(x, score_range, mos_range), y)
    for curve in curves:
        try:
            mapped = fit_logistic(x, y, curve)(x)
        except ValueError:  # alike, or too few: not defined
            result |= {f"plcc_{curve}": math.nan, f"rmse_{curve}": math.nan}
            continue
        measured = {f"plcc_{curve}": _defined(_plcc, mapped, y), f"rmse_{curve}": _rmse(mapped, y)}
        result |= {name: round(value, CURVE_DECIMALS) for name, value in measured.items()}
    return result


def bootstrap_intervals(
    scores: ArrayLike,
    mos: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    statistics: Sequence[str] = tuple(CORRELATIONS),
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals, bootstrapped over groups: items of one content are drawn together, for they vary together.

    Args:
        scores, mos (`Sequence[float]` of length N): as in [`correlations`].
        groups (`Sequence`, *optional*): content of each item; by default each item is its own.
        statistics (`Sequence[str]`, *optional*): names in `CORRELATIONS`; all by default.
        resamples (`int`, *optional*, defaults to 1000): bootstrap samples.
        confidence (`float`, *optional*, defaults to 0.95): share of samples inside the interval.
        seed (`int` or `np.random.Generator`, *optional*, defaults to 0): the same seed, the same interval.

    Returns:
        `dict[str, tuple[float, float]]`: low and high of each statistic; NaN where fewer than half of the samples have
        it defined (a sample whose scores are all alike has no correlation).

    Raises:
        ValueError: as [`correlations`]; for fewer than 2 groups or an unknown statistic.
    """
    x, y = checked(scores, mos)
    functions = {name: _function(name) for name in statistics}

    def measured(rows: np.ndarray) -> list[float]:
        return [_defined(function, x[rows], y[rows]) for function in functions.values()]

    intervals = bootstrap(measured, len(x), groups, resamples, confidence, seed)
    return dict(zip(functions, intervals, strict=True))


def bootstrap(
    statistics: Callable[[np.ndarray], Sequence[float]],
    count: int,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> list[tuple[float, float]]:
    """Percentile intervals of any statistics, such as a share of pairs, bootstrapped over groups.

    Args:
        statistics (`Callable[[np.ndarray], Sequence[float]]`): takes the drawn rows, int `[N]`, and returns numbers.
        count (`int`): number of rows.
        groups, resamples, confidence, seed: as in [`bootstrap_intervals`].

    Returns:
        `list[tuple[float, float]]`: low and high of each statistic; NaN where fewer than half of the samples have it.

    Raises:
        ValueError: for fewer than 2 groups, or not one for each row.
    """
    found = np.array([statistics(rows) for rows in _draws(count, groups, resamples, seed)], dtype=np.float64)
    return [_percentiles(values, confidence) for values in found.T]


def paired_difference(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    mos: ArrayLike,
    groups: Sequence[Hashable] | None = None,
    statistic: str = "srcc",
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int | np.random.Generator = 0,
) -> dict[str, float]:
    """Tests whether one model follows opinions better than another on the same items.

    Both are measured on the same bootstrap samples of groups, so what the items have in common cancels out.

    Args:
        scores_a, scores_b (`Sequence[float]` of length N): predictions of the two models.
        mos, groups, resamples, confidence, seed: as in [`bootstrap_intervals`].
        statistic (`str`, *optional*, defaults to `"srcc"`): a name in `CORRELATIONS`.

    Returns:
        `dict` with `difference` (of A over B), its interval `low` and `high`, and `p_value`: two-sided, from how often
        the difference changes sign; at least `2 / (resamples + 1)`, 1 where the models agree throughout.

    Raises:
        ValueError: as [`bootstrap_intervals`].
    """
    a, y = checked(scores_a, mos)
    b, _ = checked(scores_b, mos)
    function = _function(statistic)
    draws = _draws(len(y), groups, resamples, seed)
    found = np.array([_defined(function, a[r], y[r]) - _defined(function, b[r], y[r]) for r in draws])
    low, high = _percentiles(found, confidence)
    defined = found[np.isfinite(found)]
    tail = min((defined <= 0).sum(), (defined >= 0).sum())
    return {
        "difference": _defined(function, a, y) - _defined(function, b, y),
        "low": low,
        "high": high,
        "p_value": float(min(1.0, 2 * (tail + 1) / (len(defined) + 1))),
    }


def subset_correlations(
    scores: Sequence[float], mos: Sequence[float], subsets: Sequence[Hashable]
) -> dict[Hashable, dict[str, Any]]:
    """[`correlations`] without curves within each subset: one distortion, or in-domain and out-of-domain items.

    Args:
        scores, mos (`Sequence[float]` of length N): as in [`correlations`].
        subsets (`Sequence` of length N): which subset each item is in; `None` for none.

    Returns:
        `dict`: subset -> measures, sorted by name. A subset of fewer than 3 items has only `n`.

    Raises:
        ValueError: as [`correlations`], or if `subsets` has another length.
    """
    x, y = checked(scores, mos)
    if len(subsets) != len(x):
        raise ValueError(f"{len(x)} scores and {len(subsets)} subsets: there must be one for each item")
    rows: dict[Hashable, list[int]] = {}
    for row, subset in enumerate(subsets):
        if subset is not None:
            rows.setdefault(subset, []).append(row)
    return {
        name: correlations(x[rows[name]], y[rows[name]], curves=())
        if len(rows[name]) >= MIN_ITEMS
        else {"n": len(rows[name])}
        for name in sorted(rows, key=str)
    }


def checked(scores: ArrayLike, mos: ArrayLike, ids: Sequence[Hashable] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores and opinions as float64 arrays of one length, all finite.

    Raises:
        ValueError: see [`correlations`].
    """
    arrays = {"scores": np.asarray(scores, dtype=np.float64), "mos": np.asarray(mos, dtype=np.float64)}
    x, y = arrays.values()
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"scores {x.shape} and mos {y.shape} must be two lists of one length")
    if ids is not None and len(ids) != len(x):
        raise ValueError(f"{len(x)} scores and {len(ids)} ids: there must be one for each item")
    if len(x) < MIN_ITEMS:
        raise ValueError(f"{len(x)} items have no meaningful correlation; {MIN_ITEMS} are the least")
    for name, values in arrays.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            item = f"item {bad[0]}" if ids is None else repr(ids[bad[0]])
            raise ValueError(
                f"{name} of {item} is {values[bad[0]]}, and {len(bad) - 1} more are not finite: score every item, or "
                "take those that cannot be scored out of both lists and say so"
            )
    return x, y


def _defined(function: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray) -> float:
    return function(x, y) if np.ptp(x) > 0 and np.ptp(y) > 0 else math.nan


def _rmse(predicted: np.ndarray, mos: np.ndarray) -> float:
    return float(np.sqrt(np.mean((predicted - mos) ** 2)))


def _rescaled(
    scores: np.ndarray, score_range: tuple[float, float] | None, mos_range: tuple[float, float] | None
) -> np.ndarray:
    if (score_range is None) != (mos_range is None):
        raise ValueError("give score_range and mos_range together, or neither")
    if score_range is None or mos_range is None:
        return scores
    for name, (low, high) in {"score_range": score_range, "mos_range": mos_range}.items():
        if not high > low:
            raise ValueError(f"{name} must go from low to high, got {low} to {high}")
    (low, high), (start, end) = score_range, mos_range
    return start + (scores - low) * (end - start) / (high - low)


def _function(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
    if name not in CORRELATIONS:
        raise ValueError(f"unknown statistic {name!r}; there are {', '.join(CORRELATIONS)}")
    return CORRELATIONS[name]


def _draws(
    count: int, groups: Sequence[Hashable] | None, resamples: int, seed: int | np.random.Generator
) -> Iterator[np.ndarray]:
    """Rows of each bootstrap sample: as many groups as there are, drawn with replacement."""
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(range(count) if groups is None else groups):
        members.setdefault(group, []).append(row)
    lengths = np.array([len(found) for found in members.values()])
    if lengths.sum() != count:
        raise ValueError(f"{count} items and {lengths.sum()} groups: there must be one for each item")
    if len(members) < 2:
        raise ValueError("all items are of one group: there is nothing to draw from")
    rows = np.concatenate([np.array(found) for found in members.values()])  # a group's rows lie together
    starts = lengths.cumsum() - lengths
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = rng.integers(0, len(members), len(members))
        taken = lengths[drawn]
        ends = taken.cumsum()
        yield rows[np.repeat(starts[drawn] - ends + taken, taken) + np.arange(ends[-1])]


def _percentiles(values: np.ndarray, confidence: float) -> tuple[float, float]:
    defined = values[np.isfinite(values)]
    if 2 * len(defined) < len(values):
        return math.nan, math.nan
    edge = (100 - 100 * confidence) / 2  # in this order, 95 % is exactly 2.5 and 97.5
    low, high = np.percentile(defined, [edge, 100 - edge])
    return float(low), float(high)
