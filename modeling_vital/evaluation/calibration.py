"""From scores to the scale of one's own ratings: a monotone curve with intervals and cross-validated errors."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ..calibration_vital import Calibration
from ..extras import require
from .correlation import CORRELATIONS, NothingToFitError, bootstrap, checked, ranks
from .logistic import rising_curve, rising_logistics


MIN_RATINGS = 50
"""Fewer ratings leave the four parameters of the curve, and the quantile of the errors, to chance."""

METHOD = "averaged logistic4"
_FOLDS = 10
_KNOTS = 101
_RESAMPLES = 1000
_AT_ONCE = 100


def fit_calibration(
    scores: Sequence[float],
    mos: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    mos_range: tuple[float, float] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    *,
    model: str,
    weights_sha256: str,
    scoring: dict[str, Any],
    modality: str,
) -> Calibration:
    """Fits a rising curve from scores to ratings: the four-parameter logistic of VQEG, see [`rising_curve`].

    The interval of the curve is simultaneous (sup-t): its standard errors and its width come from logistics that are
    fitted to bootstrap samples of contents. The interval of one item is the conformal quantile of the errors in
    ten-fold cross-validation, in which no content is on both sides.

    Args:
        scores (`Sequence[float]` of length N): scores of the model, higher is better.
        mos (`Sequence[float]` of length N): mean ratings of the same items, on any scale.
        groups (`Sequence`, *optional*): content of each item; by default each item is its own.
        mos_range (`tuple[float, float]`, *optional*): ends of the scale of the ratings, worst first: `(100, 0)` where
            lower is better. By default higher is better, and the scale has no ends.
        confidence (`float`, *optional*, defaults to 0.95): of all intervals.
        seed (`int`, *optional*, defaults to 0): of folds and draws; the same seed, the same calibration.
        model, weights_sha256, scoring, modality: see [`Calibration`].

    Returns:
        [`Calibration`]

    Raises:
        NothingToFitError: if the interval of the rank correlation reaches zero, or the curve predicts ratings
            that were held out no better than their mean does.
        ValueError: for fewer than 50 ratings, a rating outside `mos_range`, ratings or scores that are all alike, or
            anything that is not a number.
    """
    x, y = checked(scores, mos)
    if len(x) < MIN_RATINGS:
        raise ValueError(
            f"{len(x)} ratings are too few for a calibration: a curve of four parameters and an interval of 95 % need "
            f"{MIN_RATINGS} or more. Rate more items; until then, only the order of scores can be used."
        )
    for name, values in {"ratings": y, "scores": x}.items():
        if np.ptp(values) == 0:
            raise ValueError(f"all {name} are {values[0]:g}: there is nothing to fit a curve to.")
    _check_range(y, mos_range)
    sign = -1.0 if mos_range is not None and mos_range[0] > mos_range[1] else 1.0
    clusters = _clusters(len(x), groups)
    errors, residuals = _cross_validate(x, sign * y, clusters, confidence, seed)
    if errors["srcc_high"] < 0:
        raise NothingToFitError(
            "the ratings fall as the scores rise. Check the direction of the ratings (`--mos-range 100 0` for a scale "
            "whose lower end is better); if it is right, this model does not suit these items."
        )
    if not errors["srcc_low"] > 0 or errors["rmse"] >= errors["rmse_mean"]:
        raise NothingToFitError(
            "the scores tell nothing about these ratings that is more than chance: their rank correlation is "
            f"{errors['srcc']:.2f} ({errors['srcc_low']:.2f} to {errors['srcc_high']:.2f}), and on held-out items the "
            f"curve is wrong by {errors['rmse']:.3g} (RMSE), the mean rating alone by {errors['rmse_mean']:.3g}. Rate "
            "more items, take another model, or train one on these ratings."
        )
    knots = np.linspace(x.min(), x.max(), _KNOTS)
    curve = rising_curve(x, sign * y, knots)
    half_width = _half_width(curve, x, sign * y, clusters, knots, confidence, seed)
    edges = sorted((sign * (curve - half_width), sign * (curve + half_width)), key=lambda edge: float(edge.sum()))
    rank = min(int(np.ceil((len(x) + 1) * confidence)), len(x))
    return Calibration(
        model=model,
        weights_sha256=weights_sha256,
        scoring=scoring,
        modality=modality,
        method=METHOD,
        scores=knots.tolist(),
        mos=(sign * curve).tolist(),
        curve_low=edges[0].tolist(),
        curve_high=edges[1].tolist(),
        margin=float(np.sort(np.abs(residuals))[rank - 1]),
        confidence=confidence,
        mos_range=None if mos_range is None else list(mos_range),
        ratings=len(x),
        contents=int(clusters.max()) + 1,
        errors=errors,
    )


def _check_range(mos: np.ndarray, mos_range: tuple[float, float] | None) -> None:
    if mos_range is None:
        return
    low, high = sorted(mos_range)
    if low == high:
        raise ValueError(f"the ends of the scale of the ratings are both {low:g}; give its worst and its best value.")
    outside = np.flatnonzero((mos < low) | (mos > high))
    if len(outside):
        raise ValueError(f"a rating is {mos[outside[0]]:g}, outside the scale from {low:g} to {high:g}.")


def _clusters(count: int, groups: Sequence[Hashable] | None) -> np.ndarray:
    """Number of each item's content, int64 of shape `[N]`."""
    if groups is None:
        return np.arange(count)
    if len(groups) != count:
        raise ValueError(f"{count} items and {len(groups)} groups: there must be one for each item.")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    if len(numbers) < _FOLDS:
        raise ValueError(f"{len(numbers)} contents are too few to hold some out; rate items of {_FOLDS} or more.")
    return np.array([numbers[group] for group in groups])


def _cross_validate(
    x: np.ndarray, y: np.ndarray, clusters: np.ndarray, confidence: float, seed: int
) -> tuple[dict[str, float], np.ndarray]:
    """Errors of the curve, a line and the mean on held-out contents, and the residuals of the curve."""
    rng = np.random.default_rng(seed)
    fold = (rng.permutation(clusters.max() + 1) % _FOLDS)[clusters]
    residuals = {name: np.empty(len(x)) for name in ("curve", "line", "mean")}
    for number in range(_FOLDS):
        out, rest = fold == number, fold != number
        residuals["curve"][out] = y[out] - rising_curve(x[rest], y[rest], x[out])
        residuals["line"][out] = y[out] - np.polyval(np.polyfit(x[rest], y[rest], 1), x[out])
        residuals["mean"][out] = y[out] - y[rest].mean()

    of_scores, of_mos = ranks(x), ranks(y)

    def measured(rows: np.ndarray) -> list[float]:
        missed = residuals["curve"][rows]
        return [float(np.sqrt(missed @ missed / len(rows))), CORRELATIONS["plcc"](of_scores[rows], of_mos[rows])]

    (low, high), srcc_ends = bootstrap(measured, len(x), clusters.tolist(), _RESAMPLES, confidence, rng)
    rmse = {name: float(np.sqrt(np.mean(values**2))) for name, values in residuals.items()}
    errors = {"rmse": rmse["curve"], "rmse_low": low, "rmse_high": high}
    errors |= {"mae": float(np.mean(np.abs(residuals["curve"]))), "rmse_line": rmse["line"]}
    errors |= {"rmse_mean": rmse["mean"], "srcc": CORRELATIONS["srcc"](x, y)}
    errors |= dict(zip(("srcc_low", "srcc_high"), srcc_ends, strict=True))
    return errors, residuals["curve"]


def _half_width(
    curve: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    clusters: np.ndarray,
    knots: np.ndarray,
    confidence: float,
    seed: int,
) -> np.ndarray:
    """Half the width of the simultaneous interval of the curve at each knot."""
    rng, count = np.random.default_rng(seed), clusters.max() + 1
    draws = []
    for _ in range(0, _RESAMPLES, _AT_ONCE):  # the weights of all samples at once would not fit a small memory
        weights = rng.multinomial(count, np.full(count, 1 / count), size=_AT_ONCE)[:, clusters]
        draws.append(rising_logistics(x, y, knots, weights))
    moved = np.concatenate(draws)
    error = np.maximum(moved.std(axis=0), 1e-300)
    return error * np.quantile(np.abs((moved - curve) / error).max(axis=1), confidence)


def plot_calibration(calibration: Calibration, scores: Sequence[float], mos: Sequence[float], path: Any) -> None:
    """Draws ratings against scores with the curve, its interval and the interval of one item, by suffix of the path.

    Args:
        calibration ([`Calibration`]): fitted to these items.
        scores, mos (`Sequence[float]` of length N): the items.
        path (`str` or `Path`): where to write, `.png`, `.svg` or `.pdf`.
    """
    require("matplotlib").use("Agg")
    pyplot = require("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axes.scatter(scores, mos, s=8, alpha=0.4, linewidths=0, label="ratings")
    line = np.array(calibration.scores)
    ends = np.array([calibration.predict(score)[1:] for score in line])
    share = f"{calibration.confidence:.0%}"
    axes.fill_between(line, *ends.T, alpha=0.12, color="black", linewidth=0, label=f"{share} of items")
    band = (calibration.curve_low, calibration.curve_high)
    axes.fill_between(line, *band, alpha=0.35, color="black", linewidth=0, label=f"{share} of curves")
    axes.plot(line, calibration.mos, color="black", label=calibration.method)
    axes.set(xlabel=f"score of {calibration.model}", ylabel="mos")
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
