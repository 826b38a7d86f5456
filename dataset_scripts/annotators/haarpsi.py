"""HaarPSI: similarity of Haar wavelet coefficients, with colour.

Reisenhofer, Bosse, Kutyniok, Wiegand: A Haar wavelet-based perceptual similarity index for image quality assessment,
Signal Processing: Image Communication 2018.
"""

import cv2
import numpy as np

from dataset_scripts.annotators.base import ReferenceAnnotator, linear_channels, shrink, similarity, viewing_factor


_YIQ = ((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
_CONSTANT = 30.0
_ALPHA = 4.2
_SCALES = (1, 2, 3)


def haar_magnitudes(plane: np.ndarray) -> list[np.ndarray]:
    """Magnitudes of the Haar responses of a plane, not decimated, zero outside.

    Args:
        plane (`np.ndarray` of shape `[H, W]`, float32): values in [0, 255].

    Returns:
        `list`: for scale 1, 2, 3 in turn an array `[2, H, W]`, float32: vertical and horizontal change.
    """
    responses = []
    for scale in _SCALES:
        size = 2**scale
        smooth = np.ones(size, dtype=np.float32)
        step = np.repeat(np.array([-1.0, 1.0], dtype=np.float32), size // 2) * np.float32(2.0**-scale)
        anchor = (size // 2 - 1, size // 2 - 1)
        both = [
            cv2.sepFilter2D(plane, cv2.CV_32F, kx, ky, anchor=anchor, borderType=cv2.BORDER_CONSTANT)
            for kx, ky in ((smooth, step), (step, smooth))
        ]
        responses.append(np.abs(np.stack(both)))
    return responses


def _chroma_magnitudes(plane: np.ndarray) -> np.ndarray:
    return np.abs(cv2.boxFilter(plane, cv2.CV_32F, (2, 2), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT))


def _logistic(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-_ALPHA * x))


class HaarPSI(ReferenceAnnotator):
    """HaarPSI with chroma, in [0, 1], 1 for an identical picture.

    Coefficients of the two fine scales are compared, those of the coarse scale weigh the places; the weighted mean is
    taken through a logistic of slope 4.2, undone, and squared.

    Note:
        The published metric always shrinks by 2; this one does the same up to 640 px on the short side.
    """

    name = "haarpsi"
    version = "1"
    license = "published formula, own code"
    higher_is_better = True
    raw_range = (0.0, 1.0)
    reference = "Reisenhofer et al., Signal Processing: Image Communication 2018"

    def _score(self, item: np.ndarray, reference: np.ndarray) -> float:
        factor = viewing_factor(item)
        distorted = np.moveaxis(linear_channels(shrink(item, factor), _YIQ), 2, 0)
        original = np.moveaxis(linear_channels(shrink(reference, factor), _YIQ), 2, 0)
        fine_d, middle_d, coarse_d = haar_magnitudes(distorted[0])
        fine_r, middle_r, coarse_r = haar_magnitudes(original[0])
        weights = np.maximum(coarse_d, coarse_r)
        local = 0.5 * (similarity(fine_d, fine_r, _CONSTANT) + similarity(middle_d, middle_r, _CONSTANT))
        chroma = [
            similarity(_chroma_magnitudes(distorted[c]), _chroma_magnitudes(original[c]), _CONSTANT) for c in (1, 2)
        ]
        chroma_weight = 0.5 * (weights[0] + weights[1])
        total = (_logistic(local) * weights).sum(dtype=np.float64)
        total += (_logistic(0.5 * (chroma[0] + chroma[1])) * chroma_weight).sum(dtype=np.float64)
        norm = weights.sum(dtype=np.float64) + chroma_weight.sum(dtype=np.float64)
        if norm == 0.0:  # two pictures of plain black: nothing to compare, nothing differs
            return 1.0
        mean = total / norm
        return float(np.clip(np.log(mean / (1.0 - mean)) / _ALPHA, 0.0, 1.0) ** 2)
