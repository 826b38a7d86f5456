"""PIQE: share and strength of the damage in the active blocks of a picture.

Venkatanath, Praneeth, Maruthi, Channappayya, Medasani: Blind image quality evaluation using perception based features,
NCC 2015.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dataset_scripts.annotators.base import Annotator, luma
from dataset_scripts.annotators.naturalness import normalised_luminance


_BLOCK = 16
_SEGMENT = 6
_ACTIVE_VARIANCE = 0.1
_FLAT_STD = 0.1
_CENTRE = (_BLOCK // 2 - 1, _BLOCK // 2)


def split_blocks(plane: np.ndarray) -> np.ndarray:
    """Cuts a plane, its rim repeated to whole blocks, into 16 x 16 blocks: `[H, W]` -> float64 `[B, 16, 16]`."""
    height, width = plane.shape
    plane = np.pad(plane, ((0, -height % _BLOCK), (0, -width % _BLOCK)), mode="symmetric").astype(np.float64)
    rows, columns = plane.shape[0] // _BLOCK, plane.shape[1] // _BLOCK
    return plane.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(-1, _BLOCK, _BLOCK)


def has_flat_edge(blocks: np.ndarray) -> np.ndarray:
    """Finds blocks of which 6 neighbouring pixels on one of four edges hardly differ: `[B, 16, 16]` -> bool `[B]`."""
    edges = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], axis=1)
    segments = sliding_window_view(edges, _SEGMENT, axis=2)
    return (segments.std(axis=3, ddof=1) < _FLAT_STD).any(axis=(1, 2))


def is_noisy(blocks: np.ndarray) -> np.ndarray:
    """Finds blocks whose spread outweighs the contrast of their middle columns: `[B, 16, 16]` -> bool `[B]`."""
    spread = blocks.std(axis=(1, 2), ddof=1)
    centre = blocks[:, :, _CENTRE].std(axis=(1, 2), ddof=1)
    around = np.delete(blocks, _CENTRE, axis=2).std(axis=(1, 2), ddof=1)
    ratio = np.divide(centre, around, out=np.zeros_like(centre), where=around > 0)
    return spread > 2.0 * np.abs(spread - ratio) / np.maximum(np.maximum(spread, ratio), 1e-12)


class PIQE(Annotator):
    """PIQE in [0, 100], 0 best: `100 (D + 1) / (N + 1)` over the N active blocks of normalised luma.

    A block of variance v > .1 is active. It adds `1 - v` to D where an edge has a flat stretch (blur, blocking), and
    `v` where it is noisy.

    Note:
        A picture without any active block, such as a plain colour, is 100 as published: a photo that flat is blurred
        beyond use. The published implementation rounds luma first; so do we.
    """

    name = "piqe"
    version = "1"
    license = "published formula, own code"
    higher_is_better = False
    raw_range = (0.0, 100.0)
    needs_reference = False
    reference = "Venkatanath et al., NCC 2015"

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        blocks = split_blocks(normalised_luminance(np.round(luma(item)))[0])
        variance = blocks.var(axis=(1, 2), ddof=1)
        active = variance > _ACTIVE_VARIANCE
        blocks, variance = blocks[active], variance[active]
        damage = has_flat_edge(blocks) * (1.0 - variance) + is_noisy(blocks) * variance
        return float(np.clip(100.0 * (damage.sum() + 1.0) / (len(blocks) + 1.0), *self.raw_range))
