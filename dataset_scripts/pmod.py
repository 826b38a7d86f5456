"""PMOD, the proxy machine opinion distribution: several machine scores of one item -> a five-level target.

Every annotator gives an item one score in [0, 1], higher is better. Their mean and spread stand for the mean and
spread of human opinions; a normal distribution with these moments is cut into five levels (VITAL, arXiv 2511.17962).

Example:

    >>> import numpy as np
    >>> from dataset_scripts.pmod import pmod
    >>> target = pmod(np.array([[0.70, 0.78, 0.64, 0.75]]))
    >>> target.level_probs.shape
    (1, 5)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr


LEVEL_SCALE = 5.0
"""Width of the scale on which levels are unit bins."""

LEVEL_CENTRES = np.array([4.5, 3.5, 2.5, 1.5, 0.5])
"""Bin centres on [0, 5], best level first."""

LEVEL_EDGES = np.array([5.0, 4.0, 3.0, 2.0, 1.0, 0.0])
"""Bin edges on [0, 5], best first: level i is [LEVEL_EDGES[i + 1], LEVEL_EDGES[i]]."""

DEFAULT_MIN_OPINIONS = 3
DEFAULT_MIN_STD = 0.05
DEFAULT_MAX_RESIDUAL = 0.2

_MIDDLE = LEVEL_SCALE / 2
_NEAR_MIDDLE = 1e-5


@dataclass(frozen=True)
class PMOD:
    """Five-level targets of N items. All arrays share the row order of the input.

    Attributes:
        mean (`np.ndarray` of shape `[N]`, float64): mean opinion in [0, 1], higher is better. NaN where not `valid`.
        std (`np.ndarray` of shape `[N]`, float64): population standard deviation of the opinions, same scale.
            NaN where not `valid`.
        level_probs (`np.ndarray` of shape `[N, 5]`, float64): probability of each level, **best level first**; rows
            sum to 1. NaN where not `valid`.
        n_opinions (`np.ndarray` of shape `[N]`, int64): opinions that were not NaN (0 when made from moments).
        residual (`np.ndarray` of shape `[N]`, float64): what clipping at zero left of the linear adjustment's two
            conditions: `max(|sum p' - 1|, |E - mu|)` with E the expectation after renormalising, on [0, 5]. Infinite
            where `std` is too small or the adjustment has no finite solution, NaN where not `valid`.
        fallback (`np.ndarray` of shape `[N]`, bool): the row was split between its two neighbouring levels.
        valid (`np.ndarray` of shape `[N]`, bool): the row had enough opinions. The flag to filter on.
    """

    mean: np.ndarray
    std: np.ndarray
    level_probs: np.ndarray
    n_opinions: np.ndarray
    residual: np.ndarray
    fallback: np.ndarray
    valid: np.ndarray


def pmod(
    scores: np.ndarray,
    min_opinions: int = DEFAULT_MIN_OPINIONS,
    min_std: float = DEFAULT_MIN_STD,
    max_residual: float = DEFAULT_MAX_RESIDUAL,
    weights: Sequence[float] | None = None,
) -> PMOD:
    """Turns machine scores into five-level targets.

    Args:
        scores (`np.ndarray` of shape `[N, A]`):
            Scores in [0, 1], higher is better, one row an item and one column an annotator. NaN is "no opinion".
        min_opinions (`int`, *optional*, defaults to 3):
            Rows with fewer opinions come back as NaN with `valid` False. 1 is allowed: a single opinion has spread 0
            and falls back to the split.
        min_std (`float`, *optional*, defaults to 0.05):
            See [`pmod_from_moments`].
        max_residual (`float`, *optional*, defaults to 0.2):
            See [`pmod_from_moments`].
        weights (`Sequence[float]` of length A, *optional*):
            How much each annotator counts, above 0. By default all count alike, as in the paper; annotators that
            speak of the same thing may together count as one.

    Returns:
        [`PMOD`]: one target a row, none dropped.

    Raises:
        ValueError: if `scores` is not a matrix, a score is infinite or outside [0, 1], `min_opinions` < 1, or the
            weights are not one above 0 for each annotator.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2:
        raise ValueError(f"scores must have shape [N, A] (items, annotators), got {scores.shape}")
    if min_opinions < 1:
        raise ValueError(f"min_opinions must be at least 1, got {min_opinions}")
    given = ~np.isnan(scores)
    outside = given & ((scores < 0.0) | (scores > 1.0))
    if outside.any():
        row, column = (int(index[0]) for index in np.nonzero(outside))
        raise ValueError(
            f"scores must lie in [0, 1]: row {row}, annotator {column} is {scores[row, column]}; "
            "calibrate raw scores first (dataset_scripts.annotators.human_scale)"
        )
    weight = np.ones(scores.shape[1]) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != scores.shape[1:] or not (np.isfinite(weight) & (weight > 0)).all():
        raise ValueError(f"weights must be {scores.shape[1]} numbers above 0, one an annotator, got {weights}")
    n_opinions = given.sum(axis=1)
    counted = np.where(given, weight, 0.0)
    divisor = np.where(n_opinions > 0, counted.sum(axis=1), 1.0)
    mean = (counted * np.where(given, scores, 0.0)).sum(axis=1) / divisor
    deviation = np.where(given, scores - mean[:, None], 0.0)
    std = np.sqrt((counted * deviation * deviation).sum(axis=1) / divisor)
    return _targets(mean, std, n_opinions, n_opinions >= min_opinions, min_std, max_residual)


def pmod_from_moments(
    mean: np.ndarray,
    std: np.ndarray,
    min_std: float = DEFAULT_MIN_STD,
    max_residual: float = DEFAULT_MAX_RESIDUAL,
) -> PMOD:
    """Turns known means and spreads (human or machine) into five-level targets.

    With mu, sigma on [0, 5] and p the mass of N(mu, sigma) in the unit bins, best level first:

        p' = max(alpha p + beta, 0),   alpha, beta solving   sum p' = 1,   sum c p' = mu   (before clipping)

    with c the bin centres 4.5 ... 0.5. Where sigma or the residual after clipping rule this out, the row falls back:
    mu is split linearly between the two bin centres around it, and outside [0.5, 4.5] goes wholly to the end level.

    Args:
        mean (`np.ndarray` of shape `[N]`): mean opinion in [0, 1], higher is better. NaN makes the row invalid.
        std (`np.ndarray` of shape `[N]`): standard deviation on the same scale, >= 0. NaN makes the row invalid.
        min_std (`float`, *optional*, defaults to 0.05):
            Rows with a smaller `std` fall back: a normal narrower than a quarter of a level lies within one bin, whose
            mass then says nothing about where in the bin its mean is.
        max_residual (`float`, *optional*, defaults to 0.2):
            Rows with a larger `residual` (a fifth of a level, .04 of the score) fall back. Means near or beyond the
            end centres do. A small threshold also sends wide disagreement near the ends to the split, which
            forgets the spread; a large one pulls the expectation of such rows towards the middle.

    Returns:
        [`PMOD`]: with `n_opinions` 0.

    Raises:
        ValueError: if the shapes differ, a mean is outside [0, 1] or a std is negative or infinite.

    Note:
        The published example row sums to 1.0024: it is not renormalised after clipping. We divide by the sum, so that
        every row is a distribution; the expectation then differs from mu by at most the residual.
    """
    mean = np.asarray(mean, dtype=np.float64)
    std = np.asarray(std, dtype=np.float64)
    if mean.ndim != 1 or mean.shape != std.shape:
        raise ValueError(f"mean and std must both have shape [N], got {mean.shape} and {std.shape}")
    if ((mean < 0.0) | (mean > 1.0)).any():
        raise ValueError("mean must lie in [0, 1]")
    if ((std < 0.0) | np.isinf(std)).any():
        raise ValueError("std must be finite and not negative")
    valid = ~(np.isnan(mean) | np.isnan(std))
    n_opinions = np.zeros(mean.shape, dtype=np.int64)
    return _targets(np.where(valid, mean, 0.5), np.where(valid, std, 0.0), n_opinions, valid, min_std, max_residual)


def _targets(
    mean: np.ndarray, std: np.ndarray, n_opinions: np.ndarray, valid: np.ndarray, min_std: float, max_residual: float
) -> PMOD:
    """Both ways to a target, and the choice between them. All arrays `[N]`, moments on [0, 1] and not NaN."""
    mu, sigma = mean * LEVEL_SCALE, std * LEVEL_SCALE
    wide = std >= min_std
    adjusted, residual = _adjusted_masses(mu, np.where(wide, sigma, 1.0))
    residual = np.where(wide, residual, np.inf)
    fallback = residual > max_residual
    level_probs = np.where(fallback[:, None], _split_masses(mu), adjusted)
    blank = ~valid
    return PMOD(
        mean=np.where(blank, np.nan, mean),
        std=np.where(blank, np.nan, std),
        level_probs=np.where(blank[:, None], np.nan, level_probs),
        n_opinions=n_opinions,
        residual=np.where(blank, np.nan, residual),
        fallback=fallback & valid,
        valid=valid,
    )


def normal_masses(mu: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Mass of N(mu, sigma) in the five unit bins of [0, 5]: `[N]`, `[N]` -> `[N, 5]`, best level first."""
    cdf = ndtr((LEVEL_EDGES - mu[:, None]) / sigma[:, None])
    return cdf[:, :-1] - cdf[:, 1:]


def linear_adjustment(mu: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solves for alpha and beta of `alpha p + beta`.

    Args:
        mu (`np.ndarray` of shape `[N]`): mean on [0, 5].
        sigma (`np.ndarray` of shape `[N]`): standard deviation on [0, 5], > 0.

    Returns:
        `tuple`: alpha `[N]`, beta `[N]` (not finite where there is no solution) and the masses p `[N, 5]`.

    Note:
        At mu = 2.5 both equations say the same for any alpha. There we take the limit of the solution, so that the
        target is continuous in mu.
    """
    masses = normal_masses(mu, sigma)
    total = masses.sum(axis=1)
    offset = LEVEL_CENTRES - _MIDDLE
    numerator, denominator = mu - _MIDDLE, masses @ offset
    near = np.abs(numerator) < _NEAR_MIDDLE
    if near.any():
        z = (LEVEL_EDGES - mu[near, None]) / sigma[near, None]
        density = np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * sigma[near, None])
        numerator[near], denominator[near] = 1.0, (density[:, 1:] - density[:, :-1]) @ offset
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = numerator / denominator
        beta = (1.0 - alpha * total) / len(LEVEL_CENTRES)
    return alpha, beta, masses


def _adjusted_masses(mu: np.ndarray, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The clipped and renormalised adjustment `[N, 5]`, and its residual `[N]`."""
    alpha, beta, masses = linear_adjustment(mu, sigma)
    unsolved = ~np.isfinite(beta)
    alpha[unsolved], beta[unsolved] = 0.0, 1.0 / len(LEVEL_CENTRES)
    clipped = np.maximum(alpha[:, None] * masses + beta[:, None], 0.0)
    total = clipped.sum(axis=1)
    probs = clipped / total[:, None]
    residual = np.maximum(np.abs(total - 1.0), np.abs(probs @ LEVEL_CENTRES - mu))
    residual[unsolved] = np.inf
    return probs, residual


def _split_masses(mu: np.ndarray) -> np.ndarray:
    """All mass on the one or two bin centres next to mu: `[N]` -> `[N, 5]`."""
    inside = np.clip(mu, LEVEL_CENTRES[-1], LEVEL_CENTRES[0])
    return np.maximum(1.0 - np.abs(LEVEL_CENTRES - inside[:, None]), 0.0)
