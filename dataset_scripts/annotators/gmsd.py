"""GMSD: spread of the similarity of gradient magnitudes.

Xue, Zhang, Mou, Bovik: Gradient magnitude similarity deviation: a highly efficient perceptual image quality index,
IEEE TIP 2014.
"""

import numpy as np

from dataset_scripts.annotators.base import (
    ReferenceAnnotator,
    luma,
    prewitt_magnitude,
    shrink,
    similarity,
    viewing_factor,
)


_CONSTANT = 170.0


def gradient_deviation(distorted: np.ndarray, original: np.ndarray) -> float:
    """Standard deviation of the gradient magnitude similarity of two planes.

    Args:
        distorted (`np.ndarray` of shape `[H, W]`, float32): plane in [0, 255].
        original (`np.ndarray` of shape `[H, W]`, float32): plane in [0, 255].

    Returns:
        `float`: population standard deviation in [0, 0.5], 0 for equal gradients; lower is better.
    """
    gms = similarity(prewitt_magnitude(distorted), prewitt_magnitude(original), _CONSTANT)
    return float(gms.std(dtype=np.float64))


class GMSD(ReferenceAnnotator):
    """GMSD of the luma, in [0, 0.5], 0 for an identical picture (and for one that differs by a constant).

    Note:
        The published metric always shrinks by 2; this one does the same up to 640 px on the short side.
    """

    name = "gmsd"
    version = "1"
    license = "published formula, own code"
    higher_is_better = False
    raw_range = (0.0, 0.5)
    reference = "Xue et al., IEEE TIP 2014"

    def _score(self, item: np.ndarray, reference: np.ndarray) -> float:
        factor = viewing_factor(item)
        return gradient_deviation(shrink(luma(item), factor), shrink(luma(reference), factor))
