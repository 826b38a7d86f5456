"""When in a clip quality is bad: a window slides over it, judged as a clip and frame by frame."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..batching_vital import exact_float32
from ..levels_vital import LEVEL_VALUES
from ..media_vital import Clip, MediaError, describe_item, load_media
from ..modeling_vital import VitalForConditionalGeneration
from ..video_processing_vital import sample_frames
from .reading import check_reader, clearly_worse_below, encoded, read_scores, score_range, window_starts


@dataclass(frozen=True)
class CurvePoint:
    """Quality of one stretch of a clip.

    Attributes:
        start_s, end_s (`float`): the stretch, seconds from the beginning of the clip.
        score (`float`): in [0, 1], higher is better: the mean of the next two.
        clip_score (`float`): of the stretch as a clip: motion counts here, stutter first of all.
        frame_score (`float`): mean score of its key frames as pictures: blur, noise and blocks count here.
    """

    start_s: float
    end_s: float
    score: float
    clip_score: float
    frame_score: float


@dataclass(frozen=True)
class QualityCurve:
    """Quality of a clip over time.

    Attributes:
        points (`tuple[CurvePoint]`): in the order of time, overlapping, from the first frame to the last.
        fps (`float`): frames a second of the clip, on average; times are frame numbers divided by it.
        num_frames (`int`): frames of the clip.
        worst_frame (`int`): number of the key frame with the lowest score in the worst stretch.
        whole_score (`float`): of the clip, as `model.score` gives it.
        score_range (`tuple[float, float]`): lowest and highest score that the model can give.
    """

    points: tuple[CurvePoint, ...]
    fps: float
    num_frames: int
    worst_frame: int
    whole_score: float
    score_range: tuple[float, float] = (min(LEVEL_VALUES), max(LEVEL_VALUES))

    @property
    def worst(self) -> CurvePoint:
        """`CurvePoint`: the one with the lowest score, the first of equals."""
        return min(self.points, key=lambda point: point.score)

    @property
    def stands_out(self) -> bool:
        """`bool`: whether any moment is clearly worse than the rest: than the upper quartile less one level."""
        return self.worst.score < clearly_worse_below(np.array([point.score for point in self.points]))

    @property
    def worst_frame_s(self) -> float:
        """`float`: when `worst_frame` shows, seconds."""
        return self.worst_frame / self.fps

    @property
    def duration_s(self) -> float:
        """`float`: of the clip, seconds."""
        return self.num_frames / self.fps

    def to_dict(self) -> dict[str, Any]:
        """The record as plain Python values, ready for JSON."""
        record = {**asdict(self), "points": [asdict(point) for point in self.points], "stands_out": self.stands_out}
        del record["score_range"]
        return record


@torch.no_grad()
def quality_curve(
    model: VitalForConditionalGeneration,
    clip: Any,
    window_s: float = 1.0,
    step_s: float = 0.5,
    key_frames_per_s: float = 4.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> QualityCurve:
    """Scores a clip stretch by stretch, in one pass over its frames.

    Each frame is decoded once, each key frame encoded once as a picture and once as a part of the clip. One window is
    held at a time.

    Args:
        model (`VitalForConditionalGeneration`): in evaluation mode.
        clip (a media item): anything `media_vital.load_media` takes as a clip; a `list` is its frames.
        window_s (`float`, *optional*, defaults to 1.0): length of a stretch, seconds; of a shorter clip, all of it.
        step_s (`float`, *optional*, defaults to 0.5): from a stretch to the next, at most, seconds.
        key_frames_per_s (`float`, *optional*, defaults to 4.0):
            Frames judged as pictures. More than the checkpoint takes for a whole clip (1): it has to see the bad
            second. At least two a window.
        progress (`Callable[[int, int], None]`, *optional*): told after each stretch how many are done, and of how
            many.

    Returns:
        [`QualityCurve`].

    Raises:
        MediaError: for a picture, a clip that cannot be read, or one whose stretches are too short for the
            checkpoint's frame sampling.
        ValueError: for a setting out of range.
        TypeError: for a model without a decoder.

    Note:
        The whole clip's own score, `whole_score`, is not the mean of the curve: the curve looks at more frames, and
        at each also as a picture, in which blur shows. Read the curve for its dips.
    """
    check_reader(model)
    if not min(window_s, step_s) > 0 or not window_s * key_frames_per_s >= 2:
        raise ValueError(
            "`window_s` and `step_s` must be positive and a window must have two key frames at least, got "
            f"window_s={window_s}, step_s={step_s}, key_frames_per_s={key_frames_per_s}."
        )
    media = load_media(clip)
    if isinstance(media, Image.Image):
        raise MediaError(f"{describe_item(clip)} is a picture, and a curve is of a clip; use quality_map.")
    size = min(max(1, round(window_s * media.fps)), media.num_frames)
    starts = window_starts(media.num_frames, size, max(1, round(step_s * media.fps))).tolist()
    stretches = _plan(model, media, starts, size, key_frames_per_s)
    frames = _EncodedFrames(model, media, stretches)
    points, worst_frames = [], []
    for number, (start, stretch) in enumerate(zip(starts, stretches, strict=True)):
        frames.move_to(start, stretch)
        clip_score, frame_scores = frames.clip_score(stretch), [frames.scores[key] for key in stretch.keys]
        frame_score = float(np.mean(frame_scores))
        span_s = start / media.fps, (start + size) / media.fps
        points.append(CurvePoint(*span_s, (clip_score + frame_score) / 2, clip_score, frame_score))
        worst_frames.append(stretch.keys[int(np.argmin(frame_scores))])
        progress(number + 1, len(starts))
    lowest = min(range(len(points)), key=lambda i: points[i].score)
    whole_score = model.score(media).score
    return QualityCurve(
        tuple(points), media.fps, media.num_frames, worst_frames[lowest], whole_score, score_range(model)
    )


@dataclass(frozen=True)
class _Stretch:
    """Frame numbers of one window: key frames, and motion frames run by run."""

    keys: list[int]
    motion: list[list[int]]


def _plan(
    model: VitalForConditionalGeneration, clip: Clip, starts: list[int], size: int, key_frames_per_s: float
) -> list[_Stretch]:
    """The frames of each window. Key frames lie on one grid for the whole clip, so that windows share them."""
    try:
        runs = sample_frames(size, clip.fps, model.processor.sampling).motion_windows
    except ValueError as error:
        raise MediaError(f"{clip.name}: {error} Or give a larger `window_s`.") from error
    grid = np.unique(np.round(np.arange(0, clip.num_frames, clip.fps / key_frames_per_s)).astype(np.int64))
    stretches = []
    for start in starts:
        keys = grid[(grid >= start) & (grid < start + size)].tolist()
        # Rounding can leave a window of few frames between two points of the grid.
        stretches.append(_Stretch(keys or [start], [(run + start).tolist() for run in runs]))
    return stretches


class _EncodedFrames:
    """Goes over a clip once and holds, encoded, the frames of one window.

    Args:
        model (`VitalForConditionalGeneration`): whose encoders to use.
        clip (`Clip`): to go over.
        stretches (`list[_Stretch]`): all windows to come, in order.

    Attributes:
        scores (`dict[int, float]`): of the key frames at hand, each as a picture.
    """

    def __init__(self, model: VitalForConditionalGeneration, clip: Clip, stretches: list[_Stretch]):
        self.model = model
        self.scores: dict[int, float] = {}
        self._keys = {key for stretch in stretches for key in stretch.keys}
        self._motion = {index for stretch in stretches for run in stretch.motion for index in run}
        wanted = sorted(self._keys | self._motion)
        self._frames = zip(wanted, clip.iter_frames(wanted), strict=True)
        self._reached = -1
        self._tiles: dict[int, torch.Tensor] = {}  # a key frame: (tiles, image_seq_length, hidden_size)
        self._squares: dict[int, torch.Tensor] = {}  # a motion frame: (1, 3, motion_size, motion_size)

    def move_to(self, start: int, stretch: _Stretch) -> None:
        """Forgets the frames before `start`, and reads on to the end of a stretch."""
        for held in (self._tiles, self._squares, self.scores):
            for index in [index for index in held if index < start]:
                del held[index]
        last = max(stretch.keys[-1], *(run[-1] for run in stretch.motion))
        while self._reached < last:
            self._reached, frame = next(self._frames)
            if self._reached in self._keys:
                self._encode_key(self._reached, frame)
            if self._reached in self._motion:
                pictures, side = self.model.processor.image_processor, self.model.processor.motion_size
                square = pictures.tiling.squash(Image.fromarray(frame), side, side)
                self._squares[self._reached] = pictures.normalize(square[None])

    def clip_score(self, stretch: _Stretch) -> float:
        """Score of the stretch as a clip; its frames must be at hand."""
        model, tiles = self.model, [self._tiles[key] for key in stretch.keys]
        motion = torch.cat([self._squares[index] for run in stretch.motion for index in run]).to(model.device)
        lengths = [len(run) for run in stretch.motion]
        with exact_float32(model.device, model.dtype):
            motion_tokens = model.model.get_motion_features(motion, torch.tensor(lengths))
        num_tiles = [len(each) for each in tiles]
        return float(
            read_scores(model, [encoded(model, "video", torch.cat(tiles), num_tiles, motion_tokens, lengths)])[0]
        )

    def _encode_key(self, index: int, frame: np.ndarray) -> None:
        # As a picture a frame has more tiles than as a part of a clip: blur is hardly seen in the few of the latter.
        model, processor = self.model, self.model.processor
        picture, pictures = Image.fromarray(frame), processor.image_processor
        tiles = pictures.tiling.cut(picture, processor.max_tiles_per_frame, use_thumbnail=False)
        with exact_float32(model.device, model.dtype):
            self._tiles[index] = model.model.encode_tiles(pictures.normalize(tiles, model.device))
        self.scores[index] = model.score(picture).score


__all__ = ["CurvePoint", "QualityCurve", "quality_curve"]
