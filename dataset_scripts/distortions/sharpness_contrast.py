"""Sharpness and contrast distortions: high sharpen and contrast change, types 24 and 25 of KADID-10k.

Every function takes and returns an RGB picture, `uint8 [H, W, 3]`, and leaves its input as it was.
"""

import math

import cv2
import numpy as np


_SHARPEN_SIGMA = 1.0


def high_sharpen(image: np.ndarray, amount: float) -> np.ndarray:
    """Sharpens too much: adds a multiple of the luma's fine detail (unsharp masking), which brings halos and grain.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        amount: factor on the detail, above 0.

    Returns:
        The sharpened picture, `uint8 [H, W, 3]`.
    """
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = (luma - cv2.GaussianBlur(luma, (0, 0), _SHARPEN_SIGMA)) * np.float32(amount)
    return cv2.add(image, cv2.merge((detail, detail, detail)), dtype=cv2.CV_8U)


def contrast_curve(amount: float) -> np.ndarray:
    """Builds the curve `x - amount / 4 * sin(2 pi x)` on 0..1, with black, mid grey and white fixed.

    Args:
        amount: above 0 steepens the middle (more contrast), below 0 flattens it; within -0.63..0.63 the curve rises.

    Returns:
        Table from grey level to grey level, `uint8 [256]`.
    """
    x = np.arange(256) / 255.0
    curve = x - amount / 4 * np.sin(2 * math.pi * x)
    return np.rint(255.0 * np.clip(curve, 0.0, 1.0)).astype(np.uint8)


def contrast_change(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Bends R, G and B along a sigmoid or its opposite, at random.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        amount: how far a quarter and three quarters move, times 4, for values in 0..1; above 0, at most 0.63.
        rng: draws whether the contrast rises or falls.

    Returns:
        The distorted picture, `uint8 [H, W, 3]`.

    Note:
        KADID-10k ties the direction to the level (its own level 1 is the identity). Here the size grows with the
        severity and the direction is drawn.
    """
    direction = 1.0 if rng.random() < 0.5 else -1.0
    return cv2.LUT(image, contrast_curve(direction * amount))
