"""Choice of the frames that the model looks at: a pure function of a clip's length, frame rate and settings.

Nothing here decodes a video. [`sample_frames`] turns `(num_frames, fps)` and a [`FrameSampling`] into frame indices:
*key frames*, which the image encoder sees one by one, and *motion frames*, which the motion encoder sees as a run.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FrameSampling:
    """Choice of key frames and motion frames. The default works for any clip of at least one frame.

    Args:
        key_frame_fps (`float`, defaults to 1.0):
            Key frames a second. Key frame k is the frame nearest to second `k / key_frame_fps` (half to even).
        max_key_frames (`int` or `None`, defaults to 16):
            Upper limit, in frames. When it bites, the key frames kept are spread evenly. `None`: no limit.
        motion_stride (`int`, defaults to 4):
            Every how many frames of the clip a motion frame is taken.
        motion_window (`int` or `None`, defaults to `None`):
            Length of one motion run, in motion frames. `None`: the whole clip is one run.
        max_motion_frames (`int` or `None`, defaults to 64):
            Upper limit, in frames, all windows together. When it bites, one run is thinned out evenly, and windows
            keep their pace and are spread evenly over the clip. `None`: no limit.
        motion_multiple_of (`int`, defaults to 1):
            The length of every motion run is a multiple of this.
        min_motion_frames (`int`, defaults to 4):
            A shorter motion run is padded, by repeating its last index, to this length.
        whole_groups_only (`bool`, defaults to `False`):
            `True`: only whole groups of `motion_stride * motion_multiple_of` frames count, nothing is padded, and a
            clip without one whole group is an error. The released code does this.
        key_frames_on_motion_grid (`bool`, defaults to `False`):
            `True`: a key frame counts only where a motion frame falls (before `max_motion_frames` thins those out).
            The released code does this, because it picks the key frames out of the stack of motion frames.

    Raises:
        ValueError: if a value is out of range, or two values contradict each other.
    """

    key_frame_fps: float = 1.0
    max_key_frames: int | None = 16
    motion_stride: int = 4
    motion_window: int | None = None
    max_motion_frames: int | None = 64
    motion_multiple_of: int = 1
    min_motion_frames: int = 4
    whole_groups_only: bool = False
    key_frames_on_motion_grid: bool = False

    def __post_init__(self) -> None:
        for name in ("whole_groups_only", "key_frames_on_motion_grid"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"FrameSampling.{name} must be True or False, got {getattr(self, name)!r}.")
        rate = self.key_frame_fps
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not math.isfinite(rate) or rate <= 0:
            raise ValueError(
                f"FrameSampling.key_frame_fps must be a positive number of frames a second, got {rate!r}."
            )
        optional = ("max_key_frames", "motion_window", "max_motion_frames")
        for name in ("motion_stride", "motion_multiple_of", "min_motion_frames", *optional):
            value = getattr(self, name)
            if value is None and name in optional:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                hint = "a positive whole number or None" if name in optional else "a positive whole number"
                raise ValueError(f"FrameSampling.{name} must be {hint}, got {value!r}.")
        shortest = self.motion_multiple_of if self.whole_groups_only else self.shortest_run
        for name in ("motion_window", "max_motion_frames"):
            value = getattr(self, name)
            if value is not None and value < shortest:
                raise ValueError(
                    f"FrameSampling.{name} is {value}, shorter than the shortest run allowed ({shortest})."
                )
        if self.motion_window is not None:
            if self.motion_window % self.motion_multiple_of:
                raise ValueError(
                    f"FrameSampling.motion_window ({self.motion_window}) must be a multiple of motion_multiple_of "
                    f"({self.motion_multiple_of})."
                )
            if self.max_motion_frames is not None and self.max_motion_frames < self.motion_window:
                raise ValueError(
                    f"FrameSampling.max_motion_frames ({self.max_motion_frames}) is less than one motion_window "
                    f"({self.motion_window})."
                )

    @property
    def shortest_run(self) -> int:
        """`int`: `min_motion_frames`, rounded up to a multiple of `motion_multiple_of`."""
        return math.ceil(self.min_motion_frames / self.motion_multiple_of) * self.motion_multiple_of

    @classmethod
    def released_score(cls) -> "FrameSampling":
        """The released scoring rule: all of the first `4 * (L // 4)` frames; one key frame a second."""
        return cls._released(motion_stride=1)

    @classmethod
    def released_score_less_token(cls) -> "FrameSampling":
        """The released "less token" scoring rule: every 4th of the first `16 * (L // 16)` frames; keys on those."""
        return cls._released(motion_stride=4)

    @classmethod
    def _released(cls, motion_stride: int) -> "FrameSampling":
        return cls(
            max_key_frames=None,
            motion_stride=motion_stride,
            max_motion_frames=None,
            motion_multiple_of=4,
            whole_groups_only=True,
            key_frames_on_motion_grid=True,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as a dict that `json.dumps` takes."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "FrameSampling":
        """Builds the settings from a dict; keys left out keep their default.

        Raises:
            ValueError: if a key is unknown or a value is out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"Unknown FrameSampling keys {unknown}; known keys are {known}.")
        return cls(**values)


@dataclass(frozen=True)
class FrameChoice:
    """The frames chosen from one clip.

    Args:
        key_frames (`np.ndarray`): int64 `[K]`, strictly increasing frame indices, `K >= 1`.
        motion_windows (`list[np.ndarray]`): one int64 `[T]` array of non-decreasing frame indices a motion run.
    """

    key_frames: np.ndarray
    motion_windows: list[np.ndarray]

    @property
    def motion_frames(self) -> np.ndarray:
        """`np.ndarray`: int64, the indices of all windows one after the other."""
        return np.concatenate(self.motion_windows)

    @property
    def num_motion_frames(self) -> int:
        """`int`: motion frames of all windows together."""
        return sum(len(window) for window in self.motion_windows)


def sample_frames(num_frames: int, fps: float, sampling: FrameSampling | None = None) -> FrameChoice:
    """Chooses the key frames and motion frames of a clip.

    Args:
        num_frames (`int`): frames in the clip, at least 1.
        fps (`float`): frames a second, positive.
        sampling (`FrameSampling`, *optional*): the rule; `FrameSampling()` if left out.

    Returns:
        `FrameChoice`: indices in `[0, num_frames)`.

    Raises:
        ValueError: if `num_frames` or `fps` is out of range, or the clip is too short for `whole_groups_only`.

    Note:
        The released code replaces a clip that is too short by a random other one; here it is an error, and the
        default rule pads it instead.
    """
    sampling = FrameSampling() if sampling is None else sampling
    if num_frames < 1:
        raise ValueError(f"A clip needs at least 1 frame, got num_frames={num_frames}.")
    if not math.isfinite(fps) or fps <= 0:
        raise ValueError(f"fps must be a positive number of frames a second, got {fps}; give the clip's frame rate.")
    grid = _motion_grid(num_frames, sampling)
    return FrameChoice(_key_frames(num_frames, fps, grid, sampling), _motion_windows(grid, sampling))


def _motion_grid(num_frames: int, sampling: FrameSampling) -> np.ndarray:
    """Every `motion_stride`-th index, before any limit, window or padding."""
    if not sampling.whole_groups_only:
        return np.arange(0, num_frames, sampling.motion_stride, dtype=np.int64)
    group = sampling.motion_stride * sampling.motion_multiple_of
    if num_frames < group:
        raise ValueError(
            f"This frame sampling needs clips of at least {group} frames (motion_stride {sampling.motion_stride} x "
            f"motion_multiple_of {sampling.motion_multiple_of}), got {num_frames}; use a longer clip or "
            "FrameSampling(), which pads short clips."
        )
    return np.arange(0, group * (num_frames // group), sampling.motion_stride, dtype=np.int64)


def _key_frames(num_frames: int, fps: float, grid: np.ndarray, sampling: FrameSampling) -> np.ndarray:
    interval = fps / sampling.key_frame_fps
    count = max(int(num_frames // interval), 1)
    # np.round goes half to even, as the released code does; a clip slower than key_frame_fps would repeat frames.
    keys = np.unique(np.round(interval * np.arange(count)).astype(np.int64))
    keys = keys[keys < num_frames]
    if sampling.key_frames_on_motion_grid:
        keys = keys[np.isin(keys, grid)]
    if sampling.max_key_frames is not None and len(keys) > sampling.max_key_frames:
        keys = keys[_spread(len(keys), sampling.max_key_frames)]
    return keys


def _motion_windows(grid: np.ndarray, sampling: FrameSampling) -> list[np.ndarray]:
    limit, window = sampling.max_motion_frames, sampling.motion_window
    if window is not None and len(grid) > window:
        count = math.ceil(len(grid) / window)
        count = count if limit is None else min(count, limit // window)
        return [grid[start : start + window] for start in _spread(len(grid) - window + 1, count)]
    if limit is not None and len(grid) > limit:
        return [grid[_spread(len(grid), limit - limit % sampling.motion_multiple_of)]]
    length = max(len(grid), sampling.min_motion_frames)
    length = math.ceil(length / sampling.motion_multiple_of) * sampling.motion_multiple_of
    if limit is not None and length > limit:
        return [grid[: limit - limit % sampling.motion_multiple_of]]
    return [grid if sampling.whole_groups_only else np.pad(grid, (0, length - len(grid)), mode="edge")]


def _spread(length: int, count: int) -> np.ndarray:
    """`count` positions spread evenly over `range(length)`, both ends included; the middle one for `count` 1."""
    if count == 1:
        return np.array([(length - 1) // 2])
    return np.round(np.linspace(0, length - 1, count)).astype(np.int64)
