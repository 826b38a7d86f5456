"""The curves of the Video Quality Experts Group between scores and human opinions, fitted before some PLCC and RMSE.

`logistic4` is monotone; `logistic5` adds a straight line to a logistic and need not be. A curve fitted on the items it
is then judged on flatters: a PLCC after a fit is never the PLCC of the scores, so results name them apart.
"""

from dataclasses import dataclass

import numpy as np

from .extras import require


def logistic4(x: np.ndarray, b1: float, b2: float, b3: float, b4: float) -> np.ndarray:
    """(b1 - b2) / (1 + exp(-(x - b3) / |b4|)) + b2: from b2 on the left to b1 on the right."""
    return (b1 - b2) * _sigmoid((x - b3) / abs(b4)) + b2


def logistic5(x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float) -> np.ndarray:
    """b1 * (1/2 - 1 / (1 + exp(b2 * (x - b3)))) + b4 * x + b5."""
    return b1 * (_sigmoid(b2 * (x - b3)) - 0.5) + b4 * x + b5


LOGISTICS = {"logistic4": logistic4, "logistic5": logistic5}
"""The curves by name."""

_SPREADS = (0.2, 0.5, 1.0, 3.0, 10.0)  # of the first guesses, in standard deviations of the scores
_RISING_SPREADS = (0.25, 0.5, 1.0, 2.0)
_STEEPEST, _STRAIGHTEST, _FARTHEST = 0.1, 3.0, 2.5  # bounds of a curve for use on other items, in the same


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
    """Fits a curve by least squares from several first guesses and takes the best; the same input, the same fit.

    Args:
        scores (`np.ndarray` of shape `[N]`): predictions, finite, not all alike.
        mos (`np.ndarray` of shape `[N]`): opinions, finite, not all alike.
        curve (`str`, *optional*, defaults to `"logistic4"`): a name in `LOGISTICS`.

    Returns:
        [`LogisticFit`]

    Raises:
        ValueError: for an unknown curve, fewer items than parameters, or items that are all alike.
    """
    if curve not in LOGISTICS:
        raise ValueError(f"unknown curve {curve!r}; there are {', '.join(LOGISTICS)}")
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    count = 4 if curve == "logistic4" else 5
    if len(x) < count:
        raise ValueError(f"{curve} has {count} parameters, {len(x)} items cannot fix them")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(f"{curve} cannot be fitted to {'scores' if np.ptp(x) == 0 else 'mos'} that are all alike")
    # In standard units the fit does not depend on the scales, and one tolerance serves all.
    centre, spread, level, height = x.mean(), x.std(), y.mean(), y.std()
    u, v = (x - centre) / spread, (y - level) / height
    least_squares, function = require("scipy.optimize").least_squares, LOGISTICS[curve]
    fits = [
        least_squares(lambda p: function(u, *p) - v, guess, method="lm", max_nfev=2000, xtol=1e-10, ftol=1e-12)
        for guess in _guesses(curve, u, v)
    ]
    best = min(fits, key=lambda fit: fit.cost).x
    return LogisticFit(curve, _in_own_units(curve, best, centre, spread, level, height))


def fit_rising_logistic(scores: np.ndarray, mos: np.ndarray) -> LogisticFit:
    """Fits `logistic4` for use on other items: rising, neither steeper nor straighter than the scores can show.

    [`fit_logistic`] follows the literature, where a curve is judged on the items it was fitted to, and may end in a
    step or a straight line of unbounded parameters. Here the middle of the curve lies within 2.5 standard deviations
    of the mean score, and its spread between 0.1 and 3 of them.

    Args:
        scores, mos (`np.ndarray` of shape `[N]`): as for [`fit_logistic`], at least four.

    Returns:
        [`LogisticFit`] of the curve `logistic4` with `b1 >= b2`; all alike (`b1 == b2`) where no rising curve fits.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(mos, dtype=np.float64)
    centre, spread, level, height = x.mean(), x.std(), y.mean(), y.std()
    u, v = (x - centre) / spread, (y - level) / height

    def errors(p: np.ndarray) -> np.ndarray:
        return p[0] + p[1] * _sigmoid((u - p[2]) / p[3]) - v

    def jacobian(p: np.ndarray) -> np.ndarray:
        t = (u - p[2]) / p[3]
        gate = _sigmoid(t)
        slope = p[1] * gate * (1 - gate) / p[3]
        return np.stack([np.ones_like(u), gate, -slope, -slope * t], axis=1)

    bounds = ([-np.inf, 0.0, -_FARTHEST, _STEEPEST], [np.inf, np.inf, _FARTHEST, _STRAIGHTEST])
    least_squares = require("scipy.optimize").least_squares
    fits = [
        least_squares(errors, [-1.5 * k, 3 * k, 0.0, k], jacobian, bounds=bounds, x_scale="jac")
        for k in _RISING_SPREADS
    ]
    low, rise, middle, width = min(fits, key=lambda fit: fit.cost).x
    return LogisticFit(
        "logistic4", _in_own_units("logistic4", [low + rise, low, middle, width], centre, spread, level, height)
    )


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
