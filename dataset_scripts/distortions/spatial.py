"""Spatial distortions: jitter, non-eccentricity patch, pixelate, quantisation, colour block, types 19-23 of KADID-10k.

Lengths are pixels whatever the size of the picture. Counts of patches and blocks are given for 512 x 384 and scale
with the area. Every function takes and returns an RGB picture, `uint8 [H, W, 3]`, and leaves its input as it was.
"""

import math

import cv2
import numpy as np


_REFERENCE_AREA = 512 * 384
_PATCH_SIDE = 16
_PATCH_MOVE = 16
_BLOCK_SIDE = 32
_LLOYD_STEPS = 12


def scaled_squares(count: int, side: int, area: int, least: int) -> tuple[int, int]:
    """Scales a number of squares from a 512 x 384 picture to another area; they keep their share of the picture.

    A small picture would get no square at the low severities: then `least` squares are kept and made smaller instead.

    Args:
        count: number of squares at 512 x 384.
        side: side of a square at 512 x 384, in pixels.
        area: height times width of the picture at hand, in pixels.
        least: number of squares to keep at any size; different at each severity, so that severities stay apart.

    Returns:
        Number of squares and their side in pixels (at most `side`, at least 1).
    """
    share = area / _REFERENCE_AREA
    squares = max(least, round(count * share))
    fitted = math.sqrt(count * share * side * side / squares)
    return squares, max(1, min(side, round(fitted)))


def jitter(image: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """Fetches every pixel from a random place close by.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        std: standard deviation of the offset in x and in y, in pixels.
        rng: draws the offsets.

    Returns:
        The scattered picture, `uint8 [H, W, 3]`.
    """
    height, width = image.shape[:2]
    offsets = rng.standard_normal((2, height, width), dtype=np.float32)
    offsets *= np.float32(std)
    offsets[0] += np.arange(width, dtype=np.float32)
    offsets[1] += np.arange(height, dtype=np.float32)[:, None]
    return cv2.remap(image, offsets[0], offsets[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def non_eccentricity_patch(image: np.ndarray, patches: int, rng: np.random.Generator) -> np.ndarray:
    """Copies small patches to places close by.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        patches: number of 16 x 16 patches at 512 x 384; scales with the area.
        rng: draws the places and the moves.

    Returns:
        The distorted picture, `uint8 [H, W, 3]`.
    """
    height, width = image.shape[:2]
    count, side = scaled_squares(patches, _PATCH_SIDE, height * width, least=max(1, patches // 20))
    side = max(1, min(side, height // 2, width // 2))
    tops = rng.integers(0, height - side + 1, count)
    lefts = rng.integers(0, width - side + 1, count)
    angles = rng.uniform(0.0, 2 * math.pi, count)
    # A move shorter than half a patch is hardly seen.
    moves = rng.uniform(0.5, 1.0, count) * _PATCH_MOVE * side / _PATCH_SIDE
    result = image.copy()
    for top, left, angle, move in zip(tops, lefts, angles, moves, strict=True):
        to_top = int(np.clip(round(top + move * math.sin(angle)), 0, height - side))
        to_left = int(np.clip(round(left + move * math.cos(angle)), 0, width - side))
        result[to_top : to_top + side, to_left : to_left + side] = image[top : top + side, left : left + side]
    return result


def pixelate(image: np.ndarray, scale: float) -> np.ndarray:
    """Shrinks and enlarges again by repeating pixels.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        scale: size of the small picture over the size of the picture, above 0 and below 1.

    Returns:
        The blocky picture, `uint8 [H, W, 3]`.
    """
    # The exact variant takes the pixel under the centre; the plain one would move the picture by up to a pixel.
    return _shrink_and_enlarge(image, scale, cv2.INTER_NEAREST_EXACT)


def shrink_and_enlarge(image: np.ndarray, scale: float) -> np.ndarray:
    """Leaves of a scene what [`pixelate`] does, without the blocks: `uint8 [H, W, 3]` to the same."""
    return _shrink_and_enlarge(image, scale, cv2.INTER_LINEAR)


def _shrink_and_enlarge(image: np.ndarray, scale: float, enlarging: int) -> np.ndarray:
    height, width = image.shape[:2]
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=enlarging)


def otsu_levels(counts: np.ndarray, levels: int) -> np.ndarray:
    """Finds the grey levels that leave the least variance inside the classes, Otsu's criterion for many classes.

    Lloyd's iteration from equally filled classes: borders half-way between neighbours, levels at the class means.

    Args:
        counts: histogram of the grey levels, `[256]`, non-negative, not all zero.
        levels: number of classes, 2..256.

    Returns:
        A table from grey level to the level of its class, `uint8 [256]`.
    """
    grey = np.arange(256)
    mass = np.concatenate(([0.0], np.cumsum(counts, dtype=np.float64)))
    moment = np.concatenate(([0.0], np.cumsum(counts * grey, dtype=np.float64)))
    targets = (np.arange(levels) + 0.5) / levels * mass[-1]
    centers = np.interp(targets, mass[1:], grey)
    for _ in range(_LLOYD_STEPS):
        borders = np.searchsorted(grey, (centers[1:] + centers[:-1]) / 2)
        edges = np.concatenate(([0], borders, [256]))
        inside = np.diff(mass[edges])
        # An empty class keeps its level.
        centers = np.where(inside > 0, np.diff(moment[edges]) / np.maximum(inside, 1e-9), centers)
    borders = (centers[1:] + centers[:-1]) / 2
    return np.rint(centers).astype(np.uint8)[np.searchsorted(borders, grey)]


def quantization(image: np.ndarray, levels: int) -> np.ndarray:
    """Keeps a few values only, the same ones for R, G and B, chosen by Otsu's criterion on the picture.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        levels: number of values kept, 2..256.

    Returns:
        The banded picture, `uint8 [H, W, 3]`.
    """
    counts = np.bincount(image.reshape(-1), minlength=256)
    return cv2.LUT(image, otsu_levels(counts, levels))


def color_block(image: np.ndarray, blocks: int, rng: np.random.Generator) -> np.ndarray:
    """Puts evenly coloured squares at random places.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        blocks: number of 32 x 32 blocks at 512 x 384; scales with the area.
        rng: draws places and colours.

    Returns:
        The distorted picture, `uint8 [H, W, 3]`.
    """
    height, width = image.shape[:2]
    count, side = scaled_squares(blocks, _BLOCK_SIDE, height * width, least=max(1, blocks // 2))
    side = max(1, min(side, height // 2, width // 2))
    tops = rng.integers(0, height - side + 1, count)
    lefts = rng.integers(0, width - side + 1, count)
    colors = rng.integers(0, 256, (count, 3), dtype=np.uint8)
    result = image.copy()
    for top, left, color in zip(tops, lefts, colors, strict=True):
        result[top : top + side, left : left + side] = color
    return result
