"""Sharpness, noise and blockiness in one number: a composite of three classical estimates.

Blur: Crete, Dolmiere, Ladret, Nicolas: The blur effect, SPIE 2007. Noise: Immerkaer: Fast noise variance estimation,
CVIU 1996, over the smooth half of the picture as in Tai, Yang 2008. Blocks: steps across 8 x 8 borders against those
inside.
"""

import cv2
import numpy as np

from dataset_scripts.annotators.base import Annotator, luma
from dataset_scripts.annotators.blockiness import block_features


_BLUR_WIDTH = 9
_NOISE_MASK = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)
_SMOOTH_SHARE = 50
_SHARP_BLUR = 0.35

FEATURES = ("blur", "noise", "blocks")
"""Names of the columns of [`sharpness_features`]."""

WEIGHTS = np.array([0.99, 0.06, 0.18])
"""Of each feature in the score; least squares on the KADID-10k cell means, by `fit_composites`."""


def blur_effect(plane: np.ndarray) -> float:
    """Measures how little a picture changes when it is blurred again.

    Args:
        plane (`np.ndarray` of shape `[H, W]`, float32): luma in [0, 255].

    Returns:
        `float`: 0 (sharp) .. 1 (blurred), the worse of the two directions; 0 for a picture of one value.
    """
    effects = []
    for axis, size in ((1, (_BLUR_WIDTH, 1)), (0, (1, _BLUR_WIDTH))):
        blurred = cv2.blur(plane, size, borderType=cv2.BORDER_REFLECT)
        before, after = np.abs(np.diff(plane, axis=axis)), np.abs(np.diff(blurred, axis=axis))
        total = float(before.sum(dtype=np.float64))
        lost = float(np.maximum(before - after, 0.0).sum(dtype=np.float64))
        effects.append((total - lost) / total if total > 0 else 0.0)
    return max(effects)


def noise_sigma(plane: np.ndarray) -> float:
    """Standard deviation of the noise, from the Laplacian difference mask where the picture is smooth.

    Args:
        plane (`np.ndarray` of shape `[H, W]`, float32): luma in [0, 255].

    Returns:
        `float`: sigma on the scale of [0, 255], over the half of the pixels with the smaller blurred gradient.
    """
    response = np.abs(cv2.filter2D(plane, cv2.CV_32F, _NOISE_MASK))[1:-1, 1:-1]
    small = cv2.GaussianBlur(plane, (0, 0), 2.0)
    gradient = cv2.magnitude(cv2.Sobel(small, cv2.CV_32F, 1, 0), cv2.Sobel(small, cv2.CV_32F, 0, 1))[1:-1, 1:-1]
    smooth = gradient <= np.percentile(gradient[::4, ::4], _SMOOTH_SHARE)
    return float(np.sqrt(np.pi / 2.0) / 6.0 * response[smooth].mean(dtype=np.float64))


def block_excess(plane: np.ndarray) -> float:
    """Log ratio of the steps across block borders to those inside, both directions: about 0 without blocks."""
    across, down = block_features(plane), block_features(np.ascontiguousarray(plane.T))
    return float(np.log((across[0] + down[0] + 0.5) / (across[1] + down[1] + 0.5)))


def sharpness_features(image: np.ndarray) -> np.ndarray:
    """Features of the composite.

    Args:
        image (`np.ndarray` of shape `[H, W, 3]`, uint8): RGB.

    Returns:
        `np.ndarray` of shape `[3]`, float64, none negative: blur effect beyond the .35 of sharp natural texture,
        `ln(1 + sigma)` of the noise, log excess of the steps across block borders.
    """
    plane = luma(image)
    blur, noise, blocks = blur_effect(plane), noise_sigma(plane), block_excess(plane)
    return np.array([max(blur - _SHARP_BLUR, 0.0), np.log1p(noise), max(blocks, 0.0)])


class SharpnessNoise(Annotator):
    """Weighted sum of the three [`sharpness_features`]; 0 best, about .8 for the worst.

    Any one of the three alone is misled (noise looks sharp, blur looks clean); together they are not.
    """

    name = "sharpness_noise"
    version = "2"
    license = "published formulas, own code"
    higher_is_better = False
    raw_range = (0.0, np.inf)
    needs_reference = False
    reference = "Crete et al., SPIE 2007; Immerkaer, CVIU 1996"

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        return float(sharpness_features(item) @ WEIGHTS)
