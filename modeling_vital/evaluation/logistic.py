"""The curves of the Video Quality Experts Group between scores and human opinions, fitted before some PLCC and RMSE.

`logistic4` is monotone; `logistic5` adds a straight line to a logistic and need not be. A curve fitted on the items it
is then judged on flatters: a PLCC after a fit is never the PLCC of the scores, so results name them apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..extras import require


def logistic4(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    """(b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2: from b2 on the left to b1 on the right."""
    return (b1 - b2) * _sigmoid((x - b3) / abs(b4)) + b2


def logistic5(x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float) -> np.ndarray:
    """b1 * (1/2 - 1 / (1 + exp(b2 * (x - b3)))) + b4 * x + b5."""
    return b1 * (_sigmoid(b2 * (x - b3)) - 0.5) + b4 * x + b5


def _slopes4(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    """Derivatives of [`logistic4`] by its parameters, `[N, 4]`."""
    t = (x - b3) / abs(b4)
    s = _sigmoid(t)
    rise = (b1 - b2) * s * (1 - s)
    return np.stack([s, 1 - s, -rise / abs(b4), -rise * t / b4], axis=1)


def _slopes5(x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float) -> np.ndarray:
    """Derivatives of [`logistic5`] by its parameters, `[N, 5]`."""
    s = _sigmoid(b2 * (x - b3))
    rise = b1 * s * (1 - s)
    return np.stack([s - 0.5, rise * (x - b3), -rise * b2, x, np.ones_like(x)], axis=1)


LOGISTICS: dict[str, Callable[..., np.ndarray]] = {"logistic4": logistic4, "logistic5": logistic5}
"""The curves by name."""

_SLOPES: dict[str, Callable[..., np.ndarray]] = {"logistic4": _slopes4, "logistic5": _slopes5}

_SPREADS = (0.2, 0.5, 1.0, 3.0, 10.0)  # of the first guesses, in standard deviations of the scores
_MIDDLES, _WIDTHS = np.linspace(-2, 2, 17), np.geomspace(0.15, 2, 8)  # of curves for use on other items, in the same
_FEWEST = 5


@dataclass(frozen=True)
class LogisticFit:
    """A fitted curve.

    Attributes:
        curve (`str`): a name in `LOGISTICS`.
        parameters (`tuple[float]`): of the curve, for scores and opinions in their own units.
    """

    curve: str
    parameters: tuple[float, ...]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Maps scores to the scale of the opinions, float64 of the same shape."""
        return LOGISTICS[self.curve](np.asarray(scores, dtype=np.float64), *self.parameters)


def fit_logistic(scores: np.ndarray, mos: np.ndarray, curve: str = "logistic4") -> LogisticFit:
    """Fits a curve by least squares from several first guesses and takes the best; it repeats to about ten digits.

    Args:
        scores (`np.ndarray` of shape `[N]`): predictions, finite, not all alike.
        mos (`np.ndarray` of shape `[N]`): opinions, finite, not all alike.
        curve (`str`, *optional*, defaults to `"logistic4"`): a name in `LOGISTICS`.

    Returns:
        [`LogisticFit`]

    Raises:
        ValueError: for an unknown curve, items that are all alike, or no more different scores than parameters: the
            curve would pass through them all, whatever the opinions are.
    """
    if curve not in LOGISTICS:
        raise ValueError(f"unknown curve {curve!r}; there are {', '.join(LOGISTICS)}")
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    count = 4 if curve == "logistic4" else 5
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(f"{curve} cannot be fitted to {'scores' if np.ptp(x) == 0 else 'mos'} that are all alike")
    if (different := len(np.unique(x))) <= count:
        raise ValueError(f"{curve} has {count} parameters, {different} different scores cannot fix them")
    # In standard units the fit does not depend on the scales, and one tolerance serves all.
    centre, spread, level, height = x.mean(), x.std(), y.mean(), y.std()
    u, v = (x - centre) / spread, (y - level) / height
    least_squares, function, slopes = require("scipy.optimize").least_squares, LOGISTICS[curve], _SLOPES[curve]
    options = {"method": "lm", "max_nfev": 2000, "xtol": 1e-10, "ftol": 1e-12}
    fits = [
        least_squares(lambda p: function(u, *p) - v, guess, jac=lambda p: slopes(u, *p), **options)
        for guess in _guesses(curve, u, v)
    ]
    best = min(fits, key=lambda fit: fit.cost).x
    return LogisticFit(curve, _in_own_units(curve, best, centre, spread, level, height))


def rising_curve(scores: np.ndarray, mos: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Fits a rising curve for use on other items, which is as bent as the opinions show and no more.

    [`fit_logistic`] follows the literature, where a curve is judged on the items it was fitted to. On other items its
    four parameters cost more than they give wherever a straight line does as well. Here `logistic4` is fitted with
    each of a grid of middles and widths, these curves are averaged by their likelihoods, and the average is shrunk
    towards the least-squares line as by James and Stein: what two parameters gain by chance is taken off.

    Args:
        scores, mos (`np.ndarray` of shape `[N]`): as for [`fit_logistic`].
        at (`np.ndarray` of shape `[K]`): scores to predict opinions for.

    Returns:
        `np.ndarray` of shape `[K]`: opinions, which nowhere fall as the score rises.
    """
    count = len(scores)
    features, errors, slopes, levels = _regress(scores, mos, at, np.ones((1, count)))
    curves, fits = levels[0, :, None] + slopes[0, :, None] * features, 0.5 * count * np.log(errors[0])
    weights = np.exp(fits[:-1].min() - fits[:-1])
    weights /= weights.sum()
    gain = fits[-1] - weights @ fits[:-1]  # of log-likelihood over the line
    share = 1 - 1 / gain if gain > 1 else 0.0
    return curves[-1] + share * (weights @ curves[:-1] - curves[-1])


def rising_logistics(scores: np.ndarray, mos: np.ndarray, at: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The best `logistic4` of the grid of [`rising_curve`] for each of several weightings of the items.

    Args:
        scores, mos (`np.ndarray` of shape `[N]`), at (`np.ndarray` of shape `[K]`): as for [`rising_curve`].
        weights (`np.ndarray` of shape `[B, N]`): how often each item counts, such as in bootstrap samples.

    Returns:
        `np.ndarray` of shape `[B, K]`: opinions.
    """
    features, errors, slopes, levels = _regress(scores, mos, at, weights)
    rows, best = np.arange(len(weights)), errors[:, :-1].argmin(axis=1)
    return levels[rows, best, None] + slopes[rows, best, None] * features[best]


def _regress(
    scores: np.ndarray, mos: np.ndarray, at: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Regresses opinions on each logistic of the grid, and last on the score itself, with slopes of at least zero.

    Returns:
        Features `[C, K]` at the scores `at`; and of each weighting the mean squared errors, relative to the variance
        of the opinions, the slopes and the levels, `[B, C]`.
    """
    centre, spread, height = scores.mean(), scores.std(), mos.std()
    middles, widths = (grid.ravel()[:, None] for grid in np.meshgrid(_MIDDLES, _WIDTHS))

    def features(x: np.ndarray) -> np.ndarray:
        u = (x - centre) / spread
        return np.vstack([_sigmoid((u - middles) / widths), u])

    g, v = features(scores), (mos - mos.mean()) / height
    w = weights / weights.sum(axis=1, keepdims=True)
    mean_g, mean_v = w @ g.T, (w @ v)[:, None]
    covariance = (w * v) @ g.T - mean_g * mean_v
    variance = w @ (g**2).T - mean_g**2
    # A curve whose rise rests on fewer scores than these stays flat: they may be outliers.
    farthest = np.maximum(g.max(axis=1) - mean_g, mean_g - g.min(axis=1))
    firm = len(np.unique(scores)) * variance > _FEWEST * farthest**2
    slopes = np.where(firm, np.maximum(covariance, 0) / np.maximum(variance, 1e-9), 0)
    errors = np.maximum((w @ v**2)[:, None] - mean_v**2 - slopes * covariance, 1e-12)
    return features(at), errors, height * slopes, mos.mean() + height * (mean_v - slopes * mean_g)


def _guesses(curve: str, u: np.ndarray, v: np.ndarray) -> list[list[float]]:
    slope = float(np.mean(u * v))  # Pearson correlation, both being in standard units
    if curve == "logistic4":
        low, high = (float(v.min()), float(v.max())) if slope >= 0 else (float(v.max()), float(v.min()))
        return [[high, low, 0.0, spread] for spread in _SPREADS]
    # The straight line is one of the guesses: the fit is never worse than it.
    return [[0.0, 1.0, 0.0, slope, 0.0], *([4 * slope, 1 / spread, 0.0, 0.0, 0.0] for spread in _SPREADS)]


def _in_own_units(curve: str, p: np.ndarray, centre: float, spread: float, level: float, height: float) -> tuple:
    if curve == "logistic4":
        own = [p[0] * height + level, p[1] * height + level, p[2] * spread + centre, abs(p[3]) * spread]
    else:
        line = p[3] * height / spread
        own = [p[0] * height, p[1] / spread, p[2] * spread + centre, line, p[4] * height + level - line * centre]
    return tuple(float(value) for value in own)


def _sigmoid(t: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * t))  # exact, and does not overflow
