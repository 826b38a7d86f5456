"""Blur distortions: Gaussian, lens (disk) and motion (line), types 1-3 of KADID-10k.

Every function takes and returns an RGB picture, `uint8 [H, W, 3]`, and leaves its input as it was. Borders are
mirrored.
"""

import math
from functools import lru_cache

import cv2
import numpy as np


# A line is sampled this many times a pixel before it is splatted on the kernel: finer sampling no longer changes a
# weight by more than two thousandths.
_SAMPLES_PER_PIXEL = 8


def disk_kernel(radius: float) -> np.ndarray:
    """Builds the point-spread function of an out-of-focus lens: a uniform disk with an antialiased rim.

    Args:
        radius: radius of the disk in pixels, above 0.

    Returns:
        Non-negative weights that sum to 1, `float32 [2 * ceil(radius) + 1, 2 * ceil(radius) + 1]`.
    """
    reach = math.ceil(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    coverage = np.clip(radius + 0.5 - np.hypot(rows, columns), 0.0, 1.0)
    return (coverage / coverage.sum()).astype(np.float32)


def line_kernel(length: float, angle: float) -> np.ndarray:
    """Builds the point-spread function of a camera that moves at constant speed during the exposure.

    Args:
        length: length of the path in pixels, above 0.
        angle: direction of the path in radians; `angle` and `angle + pi` are the same path.

    Returns:
        Non-negative weights that sum to 1, `float32 [K, K]` with K odd, the path centred on the middle weight.
    """
    reach = math.ceil(length / 2)
    count = max(2, round(length * _SAMPLES_PER_PIXEL))
    # Midpoints of equal pieces of the path, so that both ends weigh the same.
    along = ((np.arange(count) + 0.5) / count - 0.5) * length
    x = along * math.cos(angle) + reach
    y = along * math.sin(angle) + reach
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_share, bottom_share = x - left, y - top
    # One row and column of margin for the right and lower neighbour of a sample that lies exactly on the rim.
    kernel = np.zeros((2 * reach + 2, 2 * reach + 2))
    np.add.at(kernel, (top, left), (1 - bottom_share) * (1 - right_share))
    np.add.at(kernel, (top, left + 1), (1 - bottom_share) * right_share)
    np.add.at(kernel, (top + 1, left), bottom_share * (1 - right_share))
    np.add.at(kernel, (top + 1, left + 1), bottom_share * right_share)
    kernel = kernel[:-1, :-1]
    return (kernel / kernel.sum()).astype(np.float32)


@lru_cache(maxsize=16)
def _cached_disk(radius: float) -> np.ndarray:
    kernel = disk_kernel(radius)
    kernel.setflags(write=False)
    return kernel


def gaussian_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Convolves with a Gaussian.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        sigma: standard deviation of the Gaussian in pixels, above 0.

    Returns:
        The blurred picture, `uint8 [H, W, 3]`.
    """
    return cv2.GaussianBlur(image, (0, 0), sigma)


def lens_blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Convolves with a disk, as a lens out of focus does.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        radius: radius of the disk in pixels, above 0.

    Returns:
        The blurred picture, `uint8 [H, W, 3]`.
    """
    return cv2.filter2D(image, -1, _cached_disk(radius))


def motion_blur(image: np.ndarray, length: float, rng: np.random.Generator) -> np.ndarray:
    """Convolves with a line in a random direction.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        length: length of the line in pixels, above 0.
        rng: draws the direction, uniform over the half circle.

    Returns:
        The blurred picture, `uint8 [H, W, 3]`.
    """
    return cv2.filter2D(image, -1, line_kernel(length, rng.uniform(0.0, math.pi)))
