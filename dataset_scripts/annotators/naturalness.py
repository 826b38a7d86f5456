"""Naturalness: distance of a picture's local statistics from those of undistorted photos, after NIQE.

Mittal, Soundararajan, Bovik: Making a completely blind image quality analyzer, IEEE SPL 2013; the statistics of
colour and of contrast after Zhang, Zhang, Bovik: A feature-enriched completely blind image quality evaluator, IEEE
TIP 2015.
"""

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from scipy.special import gamma

from dataset_scripts.annotators.base import Annotator, MissingPackageError, linear_channels, shrink


PRISTINE_MODEL = Path(__file__).parent / "data" / "naturalness.npz"

PATCH = 32
"""Side of a patch at the coarser scale; twice that at the finer one."""

# Luma and two opponent colours.
_OPPONENT = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))
_WINDOW, _SIGMA = 7, 7.0 / 6.0
_SHIFTS = ((0, 1), (1, 0))
_SHARP_SHARE = 0.5
_RIDGE = 0.01
_SHAPES = np.arange(0.2, 10.0, 0.005)
_RATIOS = gamma(2.0 / _SHAPES) ** 2 / (gamma(1.0 / _SHAPES) * gamma(3.0 / _SHAPES))


def normalised_luminance(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MSCN coefficients: mean subtracted, contrast normalised.

    Args:
        plane (`np.ndarray` of shape `[H, W]`, float32): values on the scale of [0, 255].

    Returns:
        `tuple`: `(x - mu) / (sigma + 1)` and sigma, both float32 `[H, W]`; mu and sigma from a 7 x 7 Gaussian window.
    """
    mean = cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_REPLICATE)
    centred = plane - mean
    square = cv2.GaussianBlur(plane * plane, (_WINDOW, _WINDOW), _SIGMA, borderType=cv2.BORDER_REPLICATE)
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0))
    return centred / (spread + 1.0), spread


def patch_means(plane: np.ndarray, patch: int) -> np.ndarray:
    """Mean of each whole `patch` x `patch` square: float32 `[H, W]` -> float64 `[P]`."""
    return shrink(plane, patch).ravel().astype(np.float64)


def generalised_gaussian(plane: np.ndarray, patch: int) -> np.ndarray:
    """Asymmetric generalised Gaussian of each patch, by moments.

    Args:
        plane (`np.ndarray` of shape `[H, W]`, float32): coefficients around 0.
        patch (`int`): side of a patch.

    Returns:
        `np.ndarray` of shape `[P, 4]`, float64: shape, mean, left scale, right scale.
    """
    negative = np.minimum(plane, 0.0)
    square = plane * plane
    share = patch_means((plane < 0).astype(np.float32), patch)
    left_square = patch_means(negative * negative, patch)
    all_square = patch_means(square, patch)
    all_abs = patch_means(np.abs(plane), patch)
    tiny = 1e-9
    left = np.sqrt(left_square / np.maximum(share, tiny) + tiny)
    right = np.sqrt(np.maximum(all_square - left_square, 0.0) / np.maximum(1.0 - share, tiny) + tiny)
    skew = left / right
    ratio = (all_abs**2 + tiny) / (all_square + tiny) * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shape = np.interp(ratio, _RATIOS, _SHAPES)
    g1, g2, g3 = gamma(1.0 / shape), gamma(2.0 / shape), gamma(3.0 / shape)
    scale = np.sqrt(g1 / g3)
    return np.stack([shape, (right - left) * scale * g2 / g1, left * scale, right * scale], axis=1)


def _luma_features(plane: np.ndarray, patch: int) -> list[np.ndarray]:
    mscn, spread = normalised_luminance(plane)
    own = generalised_gaussian(mscn, patch)
    columns = [own[:, :1], own[:, 2:].mean(axis=1, keepdims=True)]
    for down, right in _SHIFTS:
        neighbour = np.roll(mscn, (-down, -right), axis=(0, 1))
        columns.append(generalised_gaussian(mscn * neighbour, patch))
    columns.append(np.log1p(patch_means(spread, patch))[:, None])
    return columns


def patch_features(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Statistics of the patches of a picture, of side `PATCH` after halving it.

    Args:
        image (`np.ndarray` of shape `[H, W, 3]`, uint8): RGB.

    Returns:
        `tuple`: features `[P, 25]`, float64, and the mean local spread of luma (sharpness) of each patch `[P]`.
        Features: of normalised luma at each of two scales 10 (shape and scale; shape, mean and two scales of the
        products with the right and with the lower neighbour) and the log of the local spread; at the coarser scale
        the logs of the local spread of two opponent colours and of the strength of colour.

    Note:
        NIQE also has the products with the diagonal neighbours. On the KADID types they did not help and cost a third
        of the time.
    """
    channels = linear_channels(image, _OPPONENT)
    fine = np.ascontiguousarray(channels[..., 0])
    coarse = shrink(channels, 2)
    luma_coarse, red_green, yellow_blue = (np.ascontiguousarray(coarse[..., c]) for c in range(3))
    columns = _luma_features(fine, 2 * PATCH) + _luma_features(luma_coarse, PATCH)
    for plane in (red_green, yellow_blue):
        columns.append(np.log1p(patch_means(normalised_luminance(plane)[1], PATCH))[:, None])
    columns.append(np.log1p(patch_means(cv2.magnitude(red_green, yellow_blue), PATCH))[:, None])
    return np.concatenate(columns, axis=1), np.expm1(columns[4][:, 0])


def fit_pristine(photos: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Multivariate Gaussian of the patches of undistorted photos.

    Args:
        photos (`Iterable[np.ndarray]`): RGB uint8 `[H, W, 3]`. Of each the patches at least half as sharp as its
            sharpest are used.

    Returns:
        `tuple`: mean `[25]` and covariance `[25, 25]` (its diagonal raised by 1 %), float64.
    """
    kept = []
    for photo in photos:
        features, sharpness = patch_features(photo)
        kept.append(features[sharpness >= _SHARP_SHARE * sharpness.max()])
    patches = np.concatenate(kept)
    covariance = np.cov(patches, rowvar=False)
    covariance[np.diag_indices_from(covariance)] *= 1.0 + _RIDGE
    return patches.mean(axis=0), covariance


def gaussian_distance(features: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """`sqrt((m - mean)^T ((S + covariance) / 2)^-1 (m - mean))` with m, S of the patches `[P, F]`; P = 1 has S = 0."""
    offset = features.mean(axis=0) - mean
    own = np.cov(features, rowvar=False) if len(features) > 1 else np.zeros_like(covariance)
    return float(np.sqrt(max(offset @ np.linalg.solve((own + covariance) / 2.0, offset), 0.0)))


class Naturalness(Annotator):
    """Distance of the patch statistics from the pristine model; 0 best, undistorted photos about 2 to 4.

    Args:
        model (`str` or `Path`, *optional*): npz with `mean` and `covariance`; by default the one stored with the
            package, fitted by `python -m dataset_scripts.annotators.fit_naturalness`.
    """

    name = "naturalness"
    version = "2"
    license = "published formula, own code and model"
    higher_is_better = False
    raw_range = (0.0, np.inf)
    needs_reference = False
    reference = "after Mittal, Soundararajan, Bovik, IEEE SPL 2013 and Zhang, Zhang, Bovik, IEEE TIP 2015"

    def __init__(self, model: str | Path = PRISTINE_MODEL) -> None:
        super().__init__()
        self.mean, self.covariance = _load_model(Path(model))

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        if min(item.shape[:2]) < 2 * PATCH:
            raise ValueError(f"naturalness needs sides of at least {2 * PATCH} px, got {item.shape}")
        return gaussian_distance(patch_features(item)[0], self.mean, self.covariance)


@lru_cache(maxsize=4)
def _load_model(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise MissingPackageError(
            f"{path} does not exist; fit it with python -m dataset_scripts.annotators.fit_naturalness --photos DIR"
        )
    with np.load(path) as model:
        return model["mean"], model["covariance"]
