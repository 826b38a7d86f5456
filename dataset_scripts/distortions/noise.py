"""Noise distortions: white, white in YCbCr, impulse, multiplicative, and denoised noise, types 11-15 of KADID-10k.

Variances are given for pictures in 0..1. Every function takes and returns an RGB picture, `uint8 [H, W, 3]`, and
leaves its input as it was.
"""

import math

import cv2
import numpy as np


# Settings of `denoise`: a bilateral filter passes what stands out by more than about twice its range sigma, and three
# times the noise leaves hardly any speckle while strong edges stay.
_DENOISE_DIAMETER = 7
_DENOISE_RANGE = 3.0
_DENOISE_SPACE = 3.0


def add_gaussian(image: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """Adds independent Gaussian noise to every value, whatever the three channels mean.

    Args:
        image: picture, `uint8 [H, W, 3]`.
        std: standard deviation in grey levels (0..255).
        rng: draws the noise.

    Returns:
        The noisy picture, rounded and clipped, `uint8 [H, W, 3]`.
    """
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(std)
    return cv2.add(image, noise, dtype=cv2.CV_8U)


def white_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Adds white Gaussian noise to R, G and B.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        variance: variance of the noise for values in 0..1.
        rng: draws the noise.

    Returns:
        The noisy picture, `uint8 [H, W, 3]`.
    """
    return add_gaussian(image, 255.0 * math.sqrt(variance), rng)


def white_noise_color(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Adds white Gaussian noise to Y, Cb and Cr, which comes out as blotches of colour.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        variance: variance of the noise for values in 0..1, the same in the three components.
        rng: draws the noise.

    Returns:
        The noisy picture, `uint8 [H, W, 3]`.
    """
    components = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    noisy = add_gaussian(components, 255.0 * math.sqrt(variance), rng)
    return cv2.cvtColor(noisy, cv2.COLOR_YCrCb2RGB)


def impulse_noise(image: np.ndarray, density: float, rng: np.random.Generator) -> np.ndarray:
    """Sets a share of the values of R, G and B to 0 or 255 (salt and pepper), each channel by itself.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        density: share of the values hit, in 0..1; half become 0, half 255.
        rng: draws which.

    Returns:
        The noisy picture, `uint8 [H, W, 3]`.
    """
    draw = rng.random(image.shape, dtype=np.float32)
    result = image.copy()
    result[draw < density / 2] = 0
    result[draw > 1.0 - density / 2] = 255
    return result


def multiplicative_noise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Multiplies every value by 1 plus uniform noise (speckle): bright parts suffer, black stays clean.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        variance: variance of the factor.
        rng: draws the noise.

    Returns:
        The noisy picture, `uint8 [H, W, 3]`.
    """
    noise = rng.random(image.shape, dtype=np.float32)
    # Uniform on -a..a has variance a^2 / 3.
    reach = math.sqrt(3.0 * variance)
    noise -= np.float32(0.5)
    noise *= np.float32(2 * reach)
    noise += np.float32(1.0)
    return cv2.multiply(image, noise, dtype=cv2.CV_8U)


def denoise(image: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Adds white noise and takes it off again: texture is smeared, edges stay, a little mottle remains.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        variance: variance of the noise for values in 0..1; the filter knows it.
        rng: draws the noise.

    Returns:
        The distorted picture, `uint8 [H, W, 3]`.

    Note:
        KADID-10k takes the noise off with a network (DnCNN). A bilateral filter leaves like signs, without weights.
    """
    noisy = white_noise(image, variance, rng)
    strength = _DENOISE_RANGE * 255.0 * math.sqrt(variance)
    return cv2.bilateralFilter(noisy, _DENOISE_DIAMETER, strength, _DENOISE_SPACE)
