"""Brightness distortions: brighten, darken and mean shift, types 16-18 of KADID-10k.

Every function takes and returns an RGB picture, `uint8 [H, W, 3]`, and leaves its input as it was.
"""

import cv2
import numpy as np

from dataset_scripts.distortions.color import lab_to_rgb, rgb_to_lab


def bend(values: np.ndarray, middle: float) -> np.ndarray:
    """Maps 0..1 onto itself by a smooth rising curve with both ends fixed (Schlick's bias curve).

    Args:
        values: values in 0..1, any shape, floating point.
        middle: where 0.5 goes, strictly between 0 and 1; 0.5 changes nothing.

    Returns:
        `values / ((1 / middle - 2) * (1 - values) + 1)`, same shape and dtype.
    """
    slope = 1.0 / middle - 2.0
    return values / ((1.0 + slope) - slope * values)


def _bend_lightness(image: np.ndarray, middle: float) -> np.ndarray:
    lab = rgb_to_lab(image)
    lab[..., 0] = 100.0 * bend(lab[..., 0] * np.float32(0.01), middle)
    return lab_to_rgb(lab)


def brighten(image: np.ndarray, amount: float) -> np.ndarray:
    """Raises the lightness (L of Lab) along a curve that keeps black and white: 0.5 goes to `0.5 + amount / 2`.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        amount: strength, above 0 and below 1.

    Returns:
        The brighter picture, `uint8 [H, W, 3]`.
    """
    return _bend_lightness(image, 0.5 + amount / 2)


def darken(image: np.ndarray, amount: float) -> np.ndarray:
    """Lowers the lightness (L of Lab) along a curve that keeps black and white: 0.5 goes to `0.5 - amount / 2`.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        amount: strength, above 0 and below 1.

    Returns:
        The darker picture, `uint8 [H, W, 3]`.
    """
    return _bend_lightness(image, 0.5 - amount / 2)


def mean_shift(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Adds one constant to all values and clips, upwards or downwards at random.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        amount: size of the constant for values in 0..1.
        rng: draws the sign.

    Returns:
        The shifted picture, `uint8 [H, W, 3]`.

    Note:
        KADID-10k ties the sign to the level (0, .08, -.08, .15, -.15), which leaves its level 1 undistorted and its
        levels out of order. Here the size grows with the severity and the sign is drawn.
    """
    shift = round(255 * amount)
    if rng.random() < 0.5:
        return cv2.subtract(image, (shift, shift, shift, 0))
    return cv2.add(image, (shift, shift, shift, 0))
