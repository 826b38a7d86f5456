"""Clips: frames decoded when asked for, from arrays and animations."""

import io
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from .media_error_vital import MediaError, describe_item
from .picture_vital import orientation_of, to_rgb, upright_size


logger = logging.getLogger(__name__)

DEFAULT_FPS = 30.0
MAX_TOTAL_BYTES = 2**31
"""Bytes of the frames of one clip that are held at a time at most. Scoring holds one frame at its size."""

_BREAKS_OFF = "breaks_off"  # In `info` of an animation that has been gone through to where it is damaged.
_WHOLE = 0.85  # Share of the length a file states: sound may be longer than pictures, and rounding adds a frame.


class Clip:
    """A video whose frames are decoded when asked for. Built by [`load_media`]. Use one from one thread at a time.

    Attributes:
        num_frames (`int`): frames that can be decoded, at least 1, whatever the container claims.
        fps (`float`): average frames a second, positive.
        width (`int`): pixels, after rotation.
        height (`int`): pixels, after rotation.
        name (`str`): what error messages call it.
        video_backend (`str`, *optional*): what decodes it, `"decord"` or `"pyav"`; where the first gives up half-way,
            the one that continued. `None` for arrays, lists of frames and animations.
        warning (`str`, *optional*): what a viewer of its score should know: that the file breaks off.
    """

    def __init__(self, source: Any, name: str) -> None:
        self._source = source
        self.name = name
        self.warning: str | None = None
        self.num_frames: int = source.num_frames
        self.fps = float(source.fps) if source.fps and math.isfinite(source.fps) and source.fps > 0 else DEFAULT_FPS
        self.width: int = source.width
        self.height: int = source.height

    @property
    def video_backend(self) -> str | None:
        return getattr(self._source, "backend", None)

    @property
    def duration_s(self) -> float:
        return self.num_frames / self.fps

    def check_whole(self, promised_s: float | None) -> None:
        """Sets and logs `warning` if the file holds clearly less than it says.

        Args:
            promised_s (`float`, *optional*): length that the file says it has, seconds.
        """
        if promised_s is not None and self.duration_s < _WHOLE * promised_s:
            length = f" of {promised_s:.1f} s" if math.isfinite(promised_s) else ""
            self.warning = f"{self.name} breaks off after {self.duration_s:.1f} s{length}; the rest is not there."
            logger.warning("%s", self.warning)

    def __len__(self) -> int:
        return self.num_frames

    def __repr__(self) -> str:
        return f"Clip({self.name}: {self.num_frames} frames, {self.width}x{self.height}, {self.fps:.6g} fps)"

    def get_frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decodes some frames.

        Args:
            indices (`Sequence[int]`): frame numbers in [0, num_frames), in any order, repeats allowed.

        Returns:
            `np.ndarray`: uint8 `[len(indices), height, width, 3]`, RGB, in the order asked for.

        Raises:
            IndexError: if an index is out of range.
            MediaError: if a frame is damaged, or the frames take over `MAX_TOTAL_BYTES` together.
        """
        check_total(len(indices), self.width, self.height, self.name)
        wanted, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        frames = np.empty((len(wanted), self.height, self.width, 3), dtype=np.uint8)
        for place, frame in enumerate(self.iter_frames(wanted)):
            frames[place] = frame
        return frames if np.array_equal(places, np.arange(len(wanted))) else frames[places]

    def iter_frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Like [`get_frames`] for indices in strictly rising order, one uint8 `[height, width, 3]` at a time."""
        wanted = [int(index) for index in indices]
        if wanted and (min(wanted) < 0 or max(wanted) >= self.num_frames):
            raise IndexError(
                f"{self.name} has frames 0 to {self.num_frames - 1}, asked for {min(wanted)} to {max(wanted)}."
            )
        done = 0
        try:
            for frame in self._source.frames(wanted):
                if frame.shape != (self.height, self.width, 3):
                    raise ValueError(f"it is {frame.shape[1]}x{frame.shape[0]}, not {self.width}x{self.height}")
                yield frame
                done += 1
            return
        except Exception as error:  # Each decoder has its own error types; all mean that a frame cannot be had.
            spare = self._source.spare()
            if spare is None or spare.num_frames != self.num_frames:
                if isinstance(error, MediaError):
                    raise
                raise MediaError(
                    f"{self.name} is damaged at frame {wanted[done]} or after ({type(error).__name__}: {error}); "
                    "re-encode it or cut it there."
                ) from error
        self._source = spare
        yield from self.iter_frames(wanted[done:])


class ArraySource:
    def __init__(self, frames: Sequence[np.ndarray] | np.ndarray, fps: float) -> None:
        self._frames, self.fps = frames, fps
        self.num_frames, (self.height, self.width) = len(frames), frames[0].shape[:2]

    def spare(self) -> None:
        return None

    def frames(self, indices: list[int]) -> Iterator[np.ndarray]:
        yield from (self._frames[index] for index in indices)


class PillowSource(ArraySource):
    """Animated GIF, WebP, PNG, AVIF. Decoded once on opening to count honestly, and from the start at each read."""

    def __init__(self, file: str | bytes) -> None:
        self._file = file
        with Image.open(as_stream(file)) as image:
            self._orientation = orientation_of(image)  # Of the file: frames after the first may not say it.
            self.width, self.height = upright_size(image, self._orientation)
            durations_s = list(play(image))
            self.breaks_off = image.info.get(_BREAKS_OFF, False)
        self.num_frames, self.fps = len(durations_s), len(durations_s) / sum(durations_s)

    def frames(self, indices: list[int]) -> Iterator[np.ndarray]:
        with Image.open(as_stream(self._file)) as image:
            for index in indices:
                image.seek(index)
                yield np.asarray(to_rgb(image, self._orientation))


def check_total(num_frames: int, width: int, height: int, name: str) -> None:
    """Refuses to hold frames that take over `MAX_TOTAL_BYTES` together.

    Raises:
        MediaError: see above.
    """
    if num_frames * width * height * 3 > MAX_TOTAL_BYTES:
        raise MediaError(
            f"{name} is too large: {num_frames} frames of {width}x{height} take over {MAX_TOTAL_BYTES >> 30} GiB; ask "
            "for fewer at a time, or shrink it."
        )


def count_frames(image: Image.Image) -> int:
    try:
        return getattr(image, "n_frames", 1)
    except Exception as error:  # See decoding. More frames begin than are there to read; play finds out how many.
        logger.debug("%s does not count its frames: %s", describe_item(image), error)
        return sys.maxsize


def play(image: Image.Image) -> Iterator[float]:
    """Goes through an animation frame by frame; yields how long each frame shows, in seconds."""
    for index in range(count_frames(image)):
        try:
            image.seek(index)
            image.load()
        except Exception as error:  # See decoding: a damaged file makes Pillow raise almost any type.
            if index == 0:
                raise
            image.info[_BREAKS_OFF] = True
            logger.debug("%s ends early, after %d frames (%s).", describe_item(image), index, error)
            return
        duration_ms = image.info.get("duration", 0)
        yield (duration_ms if duration_ms > 10 else 100) / 1000  # As browsers play it.


def as_stream(file: str | bytes) -> str | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file
