"""Blockiness: what block-wise compression leaves at the borders of 8 x 8 blocks.

Wang, Sheikh, Bovik: No-reference perceptual quality assessment of JPEG compressed images, ICIP 2002.
"""

import numpy as np

from dataset_scripts.annotators.base import Annotator, luma


_BLOCK = 8
_ALPHA, _BETA = -245.9, 261.9
_GAMMA_B, _GAMMA_A, _GAMMA_Z = -0.0240, 0.0160, 0.0064
_LEAST = 1e-3


def block_features(plane: np.ndarray) -> tuple[float, float, float]:
    """The three features of the formula for one direction (differences of neighbouring columns).

    Args:
        plane (`np.ndarray` of shape `[H, W]`, float32): luma in [0, 255]; W at least 16; blocks begin at column 0.

    Returns:
        `tuple`: B, mean step across block borders; A, mean step inside blocks; Z, share of sign changes of the step.
    """
    step = plane[:, 1:] - plane[:, :-1]
    size = np.abs(step)
    border = float(size[:, _BLOCK - 1 :: _BLOCK].mean(dtype=np.float64))
    inside = (_BLOCK * float(size.mean(dtype=np.float64)) - border) / (_BLOCK - 1)
    changes = float((step[:, 1:] * step[:, :-1] < 0).mean(dtype=np.float64))
    return border, inside, changes


class Blockiness(Annotator):
    """The Wang-Sheikh-Bovik score, about 1 (worst) to 10 (best):
    `-245.9 + 261.9 B^-.0240 A^.0160 Z^.0064`, each feature the mean of both directions.

    Note:
        The 8 x 8 grid is taken to begin in the corner, so a crop must be taken before compression, not after.
        Features are not allowed below .001 (the formula has no value at 0) and the score is cut to [-10, 20].
    """

    name = "blockiness"
    version = "1"
    license = "published formula, own code"
    higher_is_better = True
    raw_range = (-10.0, 20.0)
    needs_reference = False
    reference = "Wang, Sheikh, Bovik, ICIP 2002"

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        plane = luma(item)
        across, down = block_features(plane), block_features(np.ascontiguousarray(plane.T))
        border, inside, changes = (max((a + d) / 2, _LEAST) for a, d in zip(across, down, strict=True))
        score = _ALPHA + _BETA * border**_GAMMA_B * inside**_GAMMA_A * changes**_GAMMA_Z
        return float(np.clip(score, *self.raw_range))
