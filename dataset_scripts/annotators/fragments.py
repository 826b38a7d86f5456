"""Fragments, the input of FAST-VQA and DOVER: short runs of frames, cut into small pieces at full resolution.

Wu et al.: FAST-VQA: efficient end-to-end video quality assessment with fragment sampling, ECCV 2022.
"""

import cv2
import numpy as np


SIDE = 224
"""Height and width of what the networks take, in pixels."""

_GRID, _PIECE = 7, 32
_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
_STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)


def cut_fragments(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One 32 x 32 piece from a random place of each cell of a 7 x 7 grid, side by side; the places hold for the run.

    Args:
        frames (`np.ndarray` of shape `[T, H, W, 3]`, uint8): a run of frames; enlarged first where a side is shorter
            than 224 px.
        rng (`np.random.Generator`): draws the places.

    Returns:
        `np.ndarray` of shape `[T, 224, 224, 3]`, uint8.
    """
    height, width = frames.shape[1:3]
    scale = SIDE / min(height, width)
    if scale > 1:
        size = (max(SIDE, round(width * scale)), max(SIDE, round(height * scale)))
        frames = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames])
        height, width = frames.shape[1:3]
    result = np.empty((len(frames), SIDE, SIDE, 3), np.uint8)
    for row in range(_GRID):
        for column in range(_GRID):
            top = row * (height // _GRID) + int(rng.integers(max(1, height // _GRID - _PIECE)))
            left = column * (width // _GRID) + int(rng.integers(max(1, width // _GRID - _PIECE)))
            y, x = row * _PIECE, column * _PIECE
            result[:, y : y + _PIECE, x : x + _PIECE] = frames[:, top : top + _PIECE, left : left + _PIECE]
    return result


def network_input(frames: np.ndarray) -> np.ndarray:
    """ImageNet normalisation: uint8 `[T, H, W, 3]` -> float32 `[3, T, H, W]`."""
    return np.ascontiguousarray(np.moveaxis((frames.astype(np.float32) - _MEAN) / _STD, 3, 0))


def restore_decord() -> None:
    """Undoes what importing the authors' packages does to decord: it would hand out torch tensors everywhere."""
    try:
        import decord
    except ImportError:
        return
    decord.bridge.reset_bridge()
