"""Annotators of the picture itself: how much detail it shows, and how well it is exposed.

Metrics of fidelity say what was done to a picture. To them every original is perfect, however soft or dark, and a
model that learns from them alone cannot rank different photos. These two speak about the rendering of the scene (see
`dataset_scripts.distortions.scene_rendering`): where the history of a version is known they look at the picture before
noise, sharpening and coding, which would pass for detail. They have no human scale; they are calibrated by rank.

Tried beside them on rated photos, as a head of one network each, and left out because they took from the correlation:
detail of the picture at half its size, contrast (spread of luma), colourfulness.
"""

import cv2
import numpy as np

from dataset_scripts.annotators.base import Annotator, luma


_TILE = 32
_DARK, _LIGHT = 4, 251
_MIDDLE = 118.0
_FLAT = 2.0


def _tiles(plane: np.ndarray) -> np.ndarray:
    """Whole tiles of 32 x 32, `[H, W]` to `[N, 1024]`; what is smaller than a tile one way is one tile."""
    rows, cols = (side // _TILE for side in plane.shape)
    if not rows or not cols:
        return plane.reshape(1, -1)
    cut = plane[: rows * _TILE, : cols * _TILE].reshape(rows, _TILE, cols, _TILE)
    return cut.transpose(0, 2, 1, 3).reshape(rows * cols, -1)


def detail(plane: np.ndarray) -> float:
    """`log(1 + d)`, d the mean over the sharpest quarter of the tiles of the standard deviation of the Laplacian.

    The sharpest quarter, because a picture is judged by the region that it renders best: a soft background takes
    nothing from a portrait.

    Args:
        plane (`np.ndarray` of shape `[H, W]`, float32): luma in [0, 255].
    """
    spread = np.sort(_tiles(cv2.Laplacian(plane, cv2.CV_32F)).std(axis=1))
    return float(np.log1p(spread[-max(1, round(len(spread) / 4)) :].mean()))


class _Rendering(Annotator):
    version = "1"
    license = "own"
    needs_reference = False
    of_rendering = True
    by_rank = True


class Detail(_Rendering):
    """[`detail`] of the picture as it is. Absolute: a soft original is scored low."""

    name = "detail"
    higher_is_better = True
    raw_range = (0.0, np.inf)

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        return detail(luma(item))


class Exposure(_Rendering):
    """Distance of the mean luma from a middle grey, plus the share of luma that is black or burnt out; 0 best.

    Both are of what is not an empty, evenly black or white background, so that a subject cut out on one counts alone.
    """

    name = "exposure"
    higher_is_better = False
    raw_range = (0.0, np.inf)

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        tiles = _tiles(luma(item))
        clipped = (tiles <= _DARK) | (tiles >= _LIGHT)
        filled = ~((tiles.std(axis=1) < _FLAT) & (clipped.mean(axis=1) > 0.9))
        if filled.any():
            tiles, clipped = tiles[filled], clipped[filled]
        return float(abs(tiles.mean() - _MIDDLE) / 128 + 0.78 * clipped.mean())
