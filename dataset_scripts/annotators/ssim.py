"""SSIM on luma.

Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural similarity, IEEE TIP
2004.
"""

import cv2
import numpy as np

from dataset_scripts.annotators.base import ReferenceAnnotator, luma, shrink, viewing_factor


_WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def ssim_map(distorted: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Local SSIM with a Gaussian window of 11 x 11, sigma 1.5, where the window lies fully inside.

    Args:
        distorted (`np.ndarray` of shape `[H, W]`, float32): plane in [0, 255], sides at least 11.
        original (`np.ndarray` of shape `[H, W]`, float32): plane in [0, 255].

    Returns:
        `np.ndarray` of shape `[H - 10, W - 10]`, float32, in [-1, 1], 1 where equal.
    """
    height, width = original.shape
    half = _WINDOW // 2

    def local_mean(plane: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(plane, (_WINDOW, _WINDOW), _SIGMA)
        return blurred[half : height - half, half : width - half]

    # Moments around mid grey: float32 then keeps the small differences of E[x^2] - E[x]^2.
    x, y = distorted - 128.0, original - 128.0
    mean_x, mean_y = local_mean(x), local_mean(y)
    var_sum = local_mean(x * x + y * y) - mean_x * mean_x - mean_y * mean_y
    cov = local_mean(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + 128.0, mean_y + 128.0
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x * mean_x + mean_y * mean_y + _C1)
    return luminance * (2 * cov + _C2) / (var_sum + _C2)


class SSIM(ReferenceAnnotator):
    """Mean SSIM of the luma, in [-1, 1], 1 for an identical picture."""

    name = "ssim"
    version = "1"
    license = "published formula, own code"
    higher_is_better = True
    raw_range = (-1.0, 1.0)
    reference = "Wang et al., IEEE TIP 2004"

    def _score(self, item: np.ndarray, reference: np.ndarray) -> float:
        factor = viewing_factor(item)
        return float(ssim_map(shrink(luma(item), factor), shrink(luma(reference), factor)).mean())
