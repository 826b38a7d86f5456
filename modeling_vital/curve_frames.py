"""The frames of a clip that a quality curve looks at, cut as a model sees them: the part of a curve without torch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .cutting_vital import MediaCutter, PreparedMedia
from .media_vital import Clip, MediaError, describe_item, load_media
from .video_processing_vital import sample_frames


@dataclass(frozen=True)
class Stretch:
    """Frame numbers of one window.

    Attributes:
        start (`int`): its first frame.
        keys (`list[int]`): its key frames.
        motion (`list[list[int]]`): its motion frames, run by run.
    """

    start: int
    keys: list[int]
    motion: list[list[int]]

    @property
    def last(self) -> int:
        """`int`: the last frame that is looked at."""
        return max(self.keys[-1], *(run[-1] for run in self.motion))


@dataclass(frozen=True)
class CurvePlan:
    """Plan of a curve: the frames that it looks at.

    Attributes:
        num_frames (`int`): frames of the clip.
        fps (`float`): its frames a second.
        size (`int`): frames of a window.
        stretches (`list[Stretch]`): the windows, in order.
    """

    num_frames: int
    fps: float
    size: int
    stretches: list[Stretch]


@dataclass(frozen=True)
class CurveFrame:
    """One frame, cut.

    Attributes:
        index (`int`): its number.
        tiles (`np.ndarray`, *optional*): of a key frame as a part of the clip: uint8 `[tiles, S, S, 3]`.
        picture (`PreparedMedia`, *optional*): a key frame as a picture.
        square (`np.ndarray`, *optional*): a motion frame: uint8 `[M, M, 3]`.
    """

    index: int
    tiles: np.ndarray | None = None
    picture: PreparedMedia | None = None
    square: np.ndarray | None = None


@dataclass(frozen=True)
class CurveFrames:
    """Reads a clip for a curve, frame by frame. Pickles: it is what a worker process is sent.

    Args:
        cutter (`MediaCutter`): of the model's processor.
        window_s, step_s, key_frames_per_s (`float`): see `quality_curve`.

    Raises:
        ValueError: for a setting out of range.
    """

    cutter: MediaCutter
    window_s: float = 1.0
    step_s: float = 0.5
    key_frames_per_s: float = 4.0

    def __post_init__(self) -> None:
        if not min(self.window_s, self.step_s) > 0 or not self.window_s * self.key_frames_per_s >= 2:
            raise ValueError(
                "`window_s` and `step_s` must be positive and a window must have two key frames at least, got "
                f"window_s={self.window_s}, step_s={self.step_s}, key_frames_per_s={self.key_frames_per_s}."
            )

    def __call__(self, item: Any) -> Iterator[CurvePlan | CurveFrame]:
        """Goes over a clip once.

        Args:
            item (a media item): anything `load_media` takes as a clip.

        Yields:
            [`CurvePlan`], then a [`CurveFrame`] for each frame of it, in their order.

        Raises:
            MediaError: for a picture, a clip that cannot be read, or one whose windows are too short for the
                checkpoint's frame sampling.
        """
        clip = load_media(item)
        if isinstance(clip, Image.Image):
            raise MediaError(f"{describe_item(item)} is a picture, and a curve is of a clip; use quality_map.")
        plan = self._plan(clip)
        yield plan
        keys = {key for stretch in plan.stretches for key in stretch.keys}
        motion = {index for stretch in plan.stretches for run in stretch.motion for index in run}
        wanted, tiling, side = sorted(keys | motion), self.cutter.tiling, self.cutter.motion_size
        for index, frame in zip(wanted, clip.iter_frames(wanted), strict=True):
            picture = Image.fromarray(frame)
            # As a picture a frame has more tiles than as a part of a clip: blur is hardly seen in few.
            is_key = index in keys
            yield CurveFrame(
                index,
                tiling.cut(picture, self.cutter.max_tiles_per_frame, use_thumbnail=False) if is_key else None,
                self.cutter(picture) if is_key else None,
                tiling.squash(picture, side, side) if index in motion else None,
            )

    def _plan(self, clip: Clip) -> CurvePlan:
        """The frames of each window. Key frames lie on one grid for the whole clip, so that windows share them."""
        size = min(max(1, round(self.window_s * clip.fps)), clip.num_frames)
        try:
            runs = sample_frames(size, clip.fps, self.cutter.sampling).motion_windows
        except ValueError as error:
            raise MediaError(f"{clip.name}: {error} Or give a larger `window_s`.") from error
        starts = window_starts(clip.num_frames, size, max(1, round(self.step_s * clip.fps))).tolist()
        grid = np.unique(np.round(np.arange(0, clip.num_frames, clip.fps / self.key_frames_per_s)).astype(np.int64))
        stretches = []
        for start in starts:
            keys = grid[(grid >= start) & (grid < start + size)].tolist()
            # Rounding can leave a window of few frames between two points of the grid.
            stretches.append(Stretch(start, keys or [start], [(run + start).tolist() for run in runs]))
        return CurvePlan(clip.num_frames, clip.fps, size, stretches)


def window_starts(length: int, size: int, stride: int) -> np.ndarray:
    """Starts of windows that cover a length, evenly spread and never further apart than a stride.

    Args:
        length (`int`): what to cover, at least `size`.
        size (`int`): of a window.
        stride (`int`): from a window to the next, at most.

    Returns:
        `np.ndarray`: int64, rising, from 0 to `length - size`.
    """
    count = math.ceil((length - size) / stride) + 1
    return np.round(np.linspace(0, length - size, count)).astype(np.int64)


__all__ = ["CurveFrame", "CurveFrames", "CurvePlan", "Stretch", "window_starts"]
