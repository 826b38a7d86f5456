"""VSI: similarity of gradient and colour, weighted by visual saliency.

Zhang, Shen, Li: VSI: a visual saliency-induced index for perceptual image quality assessment, IEEE TIP 2014; saliency
after Zhang, Gu, Li: SDSP: a novel saliency detection method by combining simple priors, ICIP 2013.
"""

from functools import lru_cache

import cv2
import numpy as np

from dataset_scripts.annotators.base import ReferenceAnnotator, linear_channels, shrink, similarity, viewing_factor


_LMN = ((0.06, 0.63, 0.27), (0.30, 0.04, -0.35), (0.34, -0.60, 0.17))
_C_SALIENCY, _C_GRADIENT, _C_CHROMA = 1.27, 386.0, 130.0
_GRADIENT_POWER, _CHROMA_POWER = 0.40, 0.02
_SALIENCY_SIDE = 128
_PAPER_SIDE = 256
_SIGMA_F, _OMEGA_0, _SIGMA_D, _SIGMA_C = 1.34, 0.021, 145.0, 0.001


@lru_cache(maxsize=1)
def _saliency_filters() -> tuple[np.ndarray, np.ndarray]:
    """The log-Gabor filter in the frequency plane and the prior for the centre, both float32 `[128, 128]`."""
    side, scale = _SALIENCY_SIDE, _PAPER_SIDE / _SALIENCY_SIDE
    frequency = np.fft.fftfreq(side)
    # At a smaller side the same structure has a higher frequency in cycles per pixel.
    radius = np.hypot(frequency[:, None], frequency[None, :]) / scale
    radius[0, 0] = 1.0
    log_gabor = np.exp(-(np.log(radius / _OMEGA_0) ** 2) / (2.0 * _SIGMA_F**2))
    log_gabor *= radius <= 0.5 / scale
    log_gabor[0, 0] = 0.0
    place = (np.arange(side) - (side - 1) / 2.0) * scale
    centre = np.exp(-(place[:, None] ** 2 + place[None, :] ** 2) / _SIGMA_D**2)
    return log_gabor.astype(np.float32), centre.astype(np.float32)


def _unit_range(plane: np.ndarray) -> np.ndarray:
    low, high = float(plane.min()), float(plane.max())
    return (plane - low) / (high - low) if high > low else np.zeros_like(plane)


def saliency(image: np.ndarray) -> np.ndarray:
    """Saliency of each place: band-passed Lab, the centre, and warm colours.

    Args:
        image (`np.ndarray` of shape `[H, W, 3]`, float32): RGB in [0, 255].

    Returns:
        `np.ndarray` of shape `[H, W]`, float32, in [0, 1].

    Note:
        The paper works on 256 x 256; we take 128 x 128 with the filter and the centre scaled accordingly, for speed.
    """
    small = cv2.resize(image, (_SALIENCY_SIDE, _SALIENCY_SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small / 255.0, cv2.COLOR_RGB2Lab)
    log_gabor, centre = _saliency_filters()
    energy = np.zeros(log_gabor.shape, dtype=np.float32)
    for channel in cv2.split(lab):
        spectrum = cv2.dft(channel, flags=cv2.DFT_COMPLEX_OUTPUT) * log_gabor[..., None]
        response = cv2.idft(spectrum, flags=cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
        energy += response * response
    warm = _unit_range(lab[..., 1]) ** 2 + _unit_range(lab[..., 2]) ** 2
    map_ = np.sqrt(energy) * centre * (1.0 - np.exp(-warm / _SIGMA_C**2))
    return _unit_range(cv2.resize(map_, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR))


def _scharr_magnitude(plane: np.ndarray) -> np.ndarray:
    across = cv2.Scharr(plane, cv2.CV_32F, 1, 0, scale=1.0 / 16.0)
    down = cv2.Scharr(plane, cv2.CV_32F, 0, 1, scale=1.0 / 16.0)
    return cv2.magnitude(across, down)


class VSI(ReferenceAnnotator):
    """VSI in [0, 1], 1 for an identical picture; hardly below .7.

    `sum(VS m) / sum(m)` with m the larger saliency and VS = S_saliency(1.27) S_gradient(386)^.40 (S_M S_N)(130)^.02.

    Note:
        Where S_M S_N is negative (opposite strong colours) the published code keeps the real part of the complex
        power; we set such pixels to 0. Where nothing is salient (a picture of one colour) all pixels weigh the same.
    """

    name = "vsi"
    version = "1"
    license = "published formula, own code"
    higher_is_better = True
    raw_range = (0.0, 1.0)
    reference = "Zhang, Shen, Li, IEEE TIP 2014"

    def _score(self, item: np.ndarray, reference: np.ndarray) -> float:
        factor = viewing_factor(item)
        distorted, original = shrink(item, factor), shrink(reference, factor)
        saliency_d, saliency_r = saliency(distorted), saliency(original)
        l_d, m_d, n_d = cv2.split(linear_channels(distorted, _LMN))
        l_r, m_r, n_r = cv2.split(linear_channels(original, _LMN))
        gradient = similarity(_scharr_magnitude(l_d), _scharr_magnitude(l_r), _C_GRADIENT)
        chroma = np.maximum(similarity(m_d, m_r, _C_CHROMA) * similarity(n_d, n_r, _C_CHROMA), 0.0)
        local = similarity(saliency_d, saliency_r, _C_SALIENCY)
        local *= cv2.pow(gradient, _GRADIENT_POWER) * cv2.pow(chroma, _CHROMA_POWER)
        weight = np.maximum(saliency_d, saliency_r)
        total = float(weight.sum(dtype=np.float64))
        if total == 0.0:
            return float(local.mean(dtype=np.float64))
        return float(np.clip((local * weight).sum(dtype=np.float64) / total, 0.0, 1.0))
