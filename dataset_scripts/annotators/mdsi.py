"""MDSI: mean deviation of a gradient and chromaticity similarity.

Ziaei Nafchi, Shahkolaei, Hedjam, Cheriet: Mean deviation similarity index: efficient and reliable full-reference image
quality evaluator, IEEE Access 2016.
"""

import numpy as np

from dataset_scripts.annotators.base import (
    ReferenceAnnotator,
    linear_channels,
    prewitt_magnitude,
    shrink,
    similarity,
    viewing_factor,
)


# Luma and the two chromaticity channels H and M of the Gaussian colour model.
_LHM = ((0.2989, 0.5870, 0.1140), (0.30, 0.04, -0.35), (0.34, -0.60, 0.17))
_C_GRADIENT = 140.0
_C_FUSED = 55.0
_C_CHROMA = 550.0
_GRADIENT_SHARE = 0.6
_POWER = 0.25


def similarity_map(distorted: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Gradient and chromaticity similarity of two pictures.

    With GS(a, b, c) the similarity of gradient magnitudes, F = (R + D) / 2 the fused luma and CS the joint similarity
    of H and M:  0.6 (GS(R, D, 140) + GS(D, F, 55) - GS(R, F, 55)) + 0.4 CS(550).

    Args:
        distorted (`np.ndarray` of shape `[H, W, 3]`, float32): RGB in [0, 255].
        original (`np.ndarray` of shape `[H, W, 3]`, float32): RGB in [0, 255].

    Returns:
        `np.ndarray` of shape `[H, W]`, float32, 1 where equal.
    """
    luma_d, h_d, m_d = np.moveaxis(linear_channels(distorted, _LHM), 2, 0)
    luma_r, h_r, m_r = np.moveaxis(linear_channels(original, _LHM), 2, 0)
    grad_d, grad_r = prewitt_magnitude(luma_d), prewitt_magnitude(luma_r)
    grad_f = prewitt_magnitude(0.5 * (luma_d + luma_r))
    gradient = (
        similarity(grad_r, grad_d, _C_GRADIENT)
        + similarity(grad_d, grad_f, _C_FUSED)
        - similarity(grad_r, grad_f, _C_FUSED)
    )
    chroma = (2.0 * (h_r * h_d + m_r * m_d) + _C_CHROMA) / (h_r**2 + h_d**2 + m_r**2 + m_d**2 + _C_CHROMA)
    return _GRADIENT_SHARE * gradient + (1.0 - _GRADIENT_SHARE) * chroma


class MDSI(ReferenceAnnotator):
    """Mean absolute deviation of the similarity map's fourth root, to the power 1/4; 0 for an identical picture.

    Note:
        The published code takes the complex root where the map is negative (opposite strong colours); we set such
        pixels to 0.
    """

    name = "mdsi"
    version = "1"
    license = "published formula, own code"
    higher_is_better = False
    raw_range = (0.0, 1.0)
    reference = "Ziaei Nafchi et al., IEEE Access 2016"

    def _score(self, item: np.ndarray, reference: np.ndarray) -> float:
        factor = viewing_factor(item)
        root = np.maximum(similarity_map(shrink(item, factor), shrink(reference, factor)), 0.0)
        np.sqrt(root, out=root)
        np.sqrt(root, out=root)
        deviation = np.abs(root - root.mean(dtype=np.float64)).mean(dtype=np.float64)
        return float(deviation**_POWER)
