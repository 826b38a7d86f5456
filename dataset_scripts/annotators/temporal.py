"""Annotators of clips: what happens between frames, and image metrics over frames.

There is no table of human scores for these; their calibrations are set by hand, below.
"""

from collections.abc import Callable

import cv2
import numpy as np
from scipy.ndimage import rank_filter

from dataset_scripts.annotators.base import Annotator, luma, shrink, similarity
from dataset_scripts.annotators.gmsd import GMSD
from dataset_scripts.annotators.haarpsi import HaarPSI
from dataset_scripts.annotators.human_scale import Calibration
from dataset_scripts.annotators.mdsi import MDSI
from dataset_scripts.annotators.naturalness import Naturalness
from dataset_scripts.annotators.picture import Detail
from dataset_scripts.annotators.piqe import PIQE
from dataset_scripts.annotators.sharpness_noise import SharpnessNoise
from dataset_scripts.annotators.ssim import SSIM


_SMALL_SIDE = 144
_STILL_SHARE = 0.15
_LEAST_MOTION = 0.75
_NEIGHBOURHOOD = 33
_CHANGE_CONSTANT = 170.0
_MAX_PAIRS = 24
_MAX_FRAMES = 8


def even_indices(total: int, count: int) -> np.ndarray:
    """`min(total, count)` frame indices, the middles of equal parts of the clip: int64, rising, without repeats."""
    count = min(total, count)
    return ((np.arange(count) + 0.5) * total / count).astype(np.int64)


def luma_clip(clip: np.ndarray) -> np.ndarray:
    """Small luma frames: uint8 `[T, H, W, 3]` -> float32 `[T, h, w]`, short side about 144 px, blocks averaged."""
    factor = max(1, round(min(clip.shape[1:3]) / _SMALL_SIDE))
    return np.stack([shrink(luma(frame), factor) for frame in clip])


def _check_length(clip: np.ndarray, least: int, name: str) -> None:
    if len(clip) < least:
        raise ValueError(f"annotator {name!r} needs at least {least} frames, got {len(clip)}")


class FrameMean(Annotator):
    """Mean of an image annotator over evenly chosen frames; with a reference, frame t against frame t of the original.

    A subclass names the image annotator. The raw score, range and direction are those of the image annotator.
    """

    image_annotator: Callable[[], Annotator]
    modality = "video"

    def __init__(self) -> None:
        super().__init__()
        self._image = self.image_annotator()
        self.device = self._image.device

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        indices = even_indices(len(item), _MAX_FRAMES)
        references = [None if reference is None else reference[index] for index in indices]
        return float(
            np.mean([self._image.score(item[index], r) for index, r in zip(indices, references, strict=True)])
        )


def frame_mean(image_annotator: type[Annotator]) -> type[FrameMean]:
    """Makes the clip annotator `frame_NAME` of an image annotator, with its scale, direction and licence."""
    attributes = {
        "__doc__": f"{image_annotator.__name__} over frames. {FrameMean.__doc__}",
        "__module__": __name__,
        "image_annotator": image_annotator,
        "name": f"frame_{image_annotator.name}",
        "version": image_annotator.version,
        "license": image_annotator.license,
        "needs_reference": image_annotator.needs_reference,
        "of_rendering": image_annotator.of_rendering,
        "higher_is_better": image_annotator.higher_is_better,
        "raw_range": image_annotator.raw_range,
        "run": image_annotator.run,
        "reference": image_annotator.reference,
    }
    return type(f"Frame{image_annotator.__name__}", (FrameMean,), attributes)


FrameSSIM = frame_mean(SSIM)
FrameGMSD = frame_mean(GMSD)
FrameMDSI = frame_mean(MDSI)
FrameHaarPSI = frame_mean(HaarPSI)
FrameNaturalness = frame_mean(Naturalness)
FrameSharpnessNoise = frame_mean(SharpnessNoise)
FramePIQE = frame_mean(PIQE)
FrameDetail = frame_mean(Detail)


class TemporalGradient(Annotator):
    """Similarity of the frame differences of a clip and of its original: the same things should move.

    With D = |x_(t+1) - x_t| on luma of about 144 px and S = (2 D_d D_r + 170) / (D_d^2 + D_r^2 + 170), the score is
    the mean of 1 - S weighted by max(D_d, D_r) + 1, over up to 24 pairs of frames: 0 (same changes) .. 1. Held,
    dropped and noisy frames and flicker change the differences; a still distortion of every frame changes them
    little.

    Note:
        Pooled by weight, not by deviation as GMSD: motion fills a small part of most frames, and a deviation over the
        rest hides it.
    """

    name = "temporal_gradient"
    version = "1"
    license = "own"
    higher_is_better = False
    raw_range = (0.0, 1.0)
    needs_reference = True
    modality = "video"
    reference = "similarity as in Xue et al., IEEE TIP 2014"

    def _score(self, item: np.ndarray, reference: np.ndarray) -> float:
        _check_length(item, 2, self.name)
        losses = []
        for start in even_indices(len(item) - 1, _MAX_PAIRS):
            pairs = [luma_clip(clip[start : start + 2]) for clip in (item, reference)]
            changes = [np.abs(pair[1] - pair[0]) for pair in pairs]
            weight = np.maximum(changes[0], changes[1]) + 1.0
            loss = (1.0 - similarity(changes[0], changes[1], _CHANGE_CONSTANT)) * weight
            losses.append(float(loss.sum(dtype=np.float64) / weight.sum(dtype=np.float64)))
        return float(np.clip(np.mean(losses), 0.0, 1.0))


def still_runs(steps: np.ndarray) -> np.ndarray:
    """Lengths of the holds in a clip.

    A step is still when it is below 15 % of the second largest of the 33 steps around it (the largest may be a cut),
    where that one is at least .75 grey levels: a hold is still beside motion, not merely still.

    Args:
        steps (`np.ndarray` of shape `[T - 1]`): mean absolute luma difference of neighbouring frames, grey levels,
            apart from the change of the mean (so that flicker is no motion).

    Returns:
        `np.ndarray`: number of still steps in each hold, int64, in time order; empty where there is none.
    """
    motion = rank_filter(steps, rank=-2, size=_NEIGHBOURHOOD, mode="constant", cval=0.0)
    still = (steps < _STILL_SHARE * motion) & (motion >= _LEAST_MOTION)
    edges = np.diff(np.concatenate([[0], still.astype(np.int64), [0]]))
    return np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1)


class Jerkiness(Annotator):
    """Share of near-zero against large frame differences: repeated frames, stutter, a low frame rate.

    Each hold of n still steps counts `n * n / (n + 2)`, so that one long hold weighs more than the same time in short
    ones; the sum over the clip's steps is the score: 0 (smooth) .. 1. Half the frame rate is .17, an eighth is .68.

    Note:
        Without the original, a film that is itself made of held frames (animation on twos) counts as jerky, and so
        in part does one whose quality jumps, as the jump outweighs slow motion around it.
    """

    name = "jerkiness"
    version = "1"
    license = "own"
    higher_is_better = False
    raw_range = (0.0, 1.0)
    needs_reference = False
    modality = "video"

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        _check_length(item, 3, self.name)
        changes = np.diff(luma_clip(item), axis=0)
        changes -= changes.mean(axis=(1, 2), keepdims=True)
        steps = np.abs(changes).mean(axis=(1, 2), dtype=np.float64)
        runs = still_runs(steps)
        return float((runs * runs / (runs + 2.0)).sum() / len(steps))


class Flicker(Annotator):
    """Unsteady brightness: mean absolute second difference of the mean luma, in grey levels; 0 best.

    A steady brightening or darkening has no second difference. Cuts are skipped: second differences beyond ten times
    the median and beyond 30 grey levels at once.
    """

    name = "flicker"
    version = "1"
    license = "own"
    higher_is_better = False
    raw_range = (0.0, 510.0)
    needs_reference = False
    modality = "video"

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        _check_length(item, 3, self.name)
        means = np.array([cv2.mean(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))[0] for frame in item])
        second = np.abs(np.diff(means, n=2))
        cut = (second > 10.0 * np.median(second)) & (second > 30.0)
        return float(second[~cut].mean()) if not cut.all() else 0.0


def _by_hand(annotator: type[Annotator], raw: list[float], score: list[float], why: str) -> Calibration:
    direction = 1 if annotator.higher_is_better else -1
    params = {"raw": raw, "score": score}
    return Calibration(annotator.version, "piecewise_linear", params, direction, f"set by hand: {why}", 0)


def temporal_calibrations() -> dict[str, Calibration]:
    """Calibrations of the temporal annotators.

    No table of human scores exists for them. The anchors are our judgement, set on the median raw scores of 17 clips
    under the video distortions of `dataset_scripts.distortions`.

    Returns:
        `dict`: annotator name -> [`Calibration`].

    Note:
        Anchors: for `jerkiness` half the frame rate (.17) is fair to good, an eighth (.68) poor to low; for `flicker`
        2 grey levels are seen, 8 annoy, 25 can hardly be watched; for `temporal_gradient` .17 is white noise of
        variance .003, which people put at .51.
    """
    return {
        "temporal_gradient": _by_hand(
            TemporalGradient,
            [0.0, 0.02, 0.06, 0.16, 0.3, 0.5, 1.0],
            [0.95, 0.85, 0.7, 0.5, 0.32, 0.15, 0.03],
            "median over clips of stutter, flicker, noise at 5 severities",
        ),
        "jerkiness": _by_hand(
            Jerkiness,
            [0.0, 0.05, 0.17, 0.33, 0.5, 0.7, 1.0],
            [0.95, 0.85, 0.68, 0.48, 0.3, 0.15, 0.03],
            "frame rates of 1/2 .. 1/8 and stutter at 5 severities",
        ),
        "flicker": _by_hand(
            Flicker,
            [0.0, 0.5, 2.0, 8.0, 16.0, 25.0, 50.0, 100.0],
            [0.95, 0.93, 0.82, 0.62, 0.42, 0.28, 0.1, 0.03],
            "flicker at 5 severities",
        ),
    }
