"""Quality over the time of a clip: a window slides over it, scored as a clip and frame by frame."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import torch

from ..curve_frames import CurveFrame, CurveFrames, CurvePlan, Stretch
from ..levels_vital import LEVEL_VALUES
from ..modeling_vital import VitalForConditionalGeneration
from .local_scores import check_reader, clearly_worse_below, encoded, in_batches, read_scores, score_range


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
            checkpoint's frame sampling or too large for the device.
        ValueError: for a setting out of range.
        TypeError: for a model without a decoder.

    Note:
        The whole clip's own score, `whole_score`, is not the mean of the curve: the curve looks at more frames, and
        at each also as a picture, in which blur shows. Read the curve for its dips.
    """
    check_reader(model)
    reader = CurveFrames(model.processor.cutter, window_s, step_s, key_frames_per_s)
    return read_curve(model, reader(clip), lambda: model.score([clip])[0].score, progress)


@torch.no_grad()
def read_curve(
    model: VitalForConditionalGeneration,
    frames: Iterator[CurvePlan | CurveFrame],
    whole_score: Callable[[], float],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> QualityCurve:
    """[`quality_curve`] of what was read elsewhere, by a worker process for example.

    Args:
        model (`VitalForConditionalGeneration`): in evaluation mode.
        frames (`Iterator`): what [`CurveFrames`] gives for a clip, by the model's own cutter.
        whole_score (`Callable`): gives the score of the whole clip; called when the frames are read.
        progress (`Callable[[int, int], None]`, *optional*): told after each stretch how many are done, and of how
            many.

    Raises:
        MediaError: if the clip cannot be read, or a stretch of it is too large for the device.
        TypeError: for a model without a decoder.
    """
    check_reader(model)
    plan = cast(CurvePlan, next(frames))
    at_hand = _EncodedFrames(model, cast(Iterator[CurveFrame], frames))
    points, worst_frames = [], []
    for number, stretch in enumerate(plan.stretches, start=1):
        at_hand.move_to(stretch)
        clip_score, frame_scores = at_hand.clip_score(stretch), [at_hand.scores[key] for key in stretch.keys]
        frame_score = float(np.mean(frame_scores))
        span_s = stretch.start / plan.fps, (stretch.start + plan.size) / plan.fps
        points.append(CurvePoint(*span_s, (clip_score + frame_score) / 2, clip_score, frame_score))
        worst_frames.append(stretch.keys[int(np.argmin(frame_scores))])
        progress(number, len(plan.stretches))
    for _ in frames:  # to its end, where a reader says that all went well
        pass
    lowest = min(range(len(points)), key=lambda i: points[i].score)
    return QualityCurve(
        tuple(points), plan.fps, plan.num_frames, worst_frames[lowest], whole_score(), score_range(model)
    )


class _EncodedFrames:
    """Holds, encoded, the frames of one window of a clip.

    Args:
        model (`VitalForConditionalGeneration`): whose encoders to use.
        frames (`Iterator[CurveFrame]`): of the clip, in order.

    Attributes:
        scores (`dict[int, float]`): of the key frames at hand, each as a picture.
    """

    def __init__(self, model: VitalForConditionalGeneration, frames: Iterator[CurveFrame]):
        self.model = model
        self.scores: dict[int, float] = {}
        self._frames = frames
        self._reached = -1
        self._tiles: dict[int, torch.Tensor] = {}  # a key frame: (tiles, image_seq_length, hidden_size)
        self._squares: dict[int, np.ndarray] = {}  # a motion frame: (motion_size, motion_size, 3)

    def move_to(self, stretch: Stretch) -> None:
        """Forgets the frames before a stretch, and reads on to its end."""
        for held in (self._tiles, self._squares, self.scores):
            for index in [index for index in held if index < stretch.start]:
                del held[index]
        while self._reached < stretch.last:
            frame = next(self._frames)
            self._reached = frame.index
            if frame.tiles is not None:
                tokens = in_batches(self.model, self._encode, frame.tiles, "a frame of the clip")
                self._tiles[frame.index] = torch.cat(tokens)
                self.scores[frame.index] = self.model.score(frame.picture).score
            if frame.square is not None:
                self._squares[frame.index] = frame.square

    def clip_score(self, stretch: Stretch) -> float:
        """Score of the stretch as a clip; its frames must be at hand."""
        return in_batches(self.model, self._read, [stretch], "a stretch of the clip")[0]

    def _read(self, stretches: list[Stretch]) -> float:
        (stretch,) = stretches
        model, tiles = self.model, [self._tiles[key] for key in stretch.keys]
        squares = np.stack([self._squares[index] for run in stretch.motion for index in run])
        motion = model.processor.image_processor.normalize(squares, model.device)
        lengths = [len(run) for run in stretch.motion]
        motion_tokens = model.model.get_motion_features(motion, torch.tensor(lengths))
        num_tiles = [len(each) for each in tiles]
        media = encoded(model, "video", torch.cat(tiles), num_tiles, motion_tokens, lengths)
        return float(read_scores(model, [media])[0])

    def _encode(self, tiles: np.ndarray) -> torch.Tensor:
        return self.model.model.encode_tiles(self.model.processor.image_processor.normalize(tiles, self.model.device))


__all__ = ["CurvePoint", "QualityCurve", "quality_curve", "read_curve"]
