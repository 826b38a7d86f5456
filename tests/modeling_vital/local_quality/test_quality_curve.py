"""Curves of clips: where they dip, one pass, times in seconds, and the plot."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.distortions import distort_clip, distort_image
from modeling_vital import VitalForConditionalGeneration
from modeling_vital.local_quality import curve_svg, quality_curve
from modeling_vital.media_vital import Clip, MediaError, load_media
from tests.fixtures.tiny_media import frames
from tests.fixtures.tiny_models import tiny_model
from tests.test_embedded_checkpoint import CLIPS


@pytest.fixture(scope="module")
def model():
    return tiny_model()


class Frames:
    """Frames as the decoder of a `Clip`; `asked` holds what was decoded."""

    def __init__(self, pixels: np.ndarray, fps: float) -> None:
        self.pixels, self.fps, self.asked = pixels, fps, []
        self.num_frames, self.height, self.width = pixels.shape[:3]

    def frames(self, indices):
        for index in indices:
            self.asked.append(index)
            yield self.pixels[index]

    def spare(self):
        return None


def clip_of(pixels: np.ndarray, fps: float = 25.0) -> Clip:
    return Clip(Frames(pixels, fps), "'test.mp4'")


_SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("white_noise", "jpeg")]


@pytest.mark.parametrize("kind", ["gaussian_blur", "stutter", *_SLOW])
def test_the_damaged_second_is_the_worst(kind):
    """In a real clip, played to and fro to get long enough, one second is damaged."""
    model = VitalForConditionalGeneration.from_pretrained("vital-tiny")
    source = load_media(CLIPS[1])
    once = source.get_frames(range(source.num_frames))[:, ::2, ::2]
    pixels = np.ascontiguousarray(np.concatenate([once, once[::-1]])[:125])
    rng = np.random.default_rng(0)
    if kind == "stutter":
        pixels[50:75] = distort_clip(pixels[50:75], kind, 5, rng, 25.0)
    else:
        pixels[50:75] = [distort_image(frame, kind, 4, rng) for frame in pixels[50:75]]
    curve = quality_curve(model, clip_of(pixels))
    middle = (curve.worst.start_s + curve.worst.end_s) / 2
    assert 1.5 <= middle <= 3.5  # the stretch overlaps second 2 to 3
    assert all(0 <= point.score <= 1 for point in curve.points)
    if kind != "stutter":
        assert 2 <= curve.worst_frame_s < 3
        sound = [p.frame_score for p in curve.points if p.end_s <= 2 or p.start_s >= 3]
        assert curve.worst.frame_score < min(sound)


def test_one_pass_and_each_key_frame_encoded_once(model, monkeypatch):
    clip, scored, steps = clip_of(frames(0, count=60), fps=10.0), [], []
    score = model.score
    monkeypatch.setattr(model, "score", lambda items: (scored.append(1), score(items))[1])
    curve = quality_curve(model, clip, progress=lambda *step: steps.append(step))
    asked = clip._source.asked
    assert asked == sorted(set(asked)) and set(asked) <= set(range(60))
    assert len(scored) == len(set(np.round(np.arange(0, 60, 2.5)).astype(int)))
    assert steps[-1] == (len(curve.points), len(curve.points))


def test_memory_does_not_grow_with_the_clip(model, monkeypatch):
    from modeling_vital.local_quality.quality_curve import _EncodedFrames

    held, move_to = [], _EncodedFrames.move_to

    def watch(self, start, stretch):
        move_to(self, start, stretch)
        held.append(len(self._tiles) + len(self._squares))

    monkeypatch.setattr(_EncodedFrames, "move_to", watch)
    quality_curve(model, clip_of(frames(0, count=200), fps=10.0))
    assert max(held) <= held[0] + 2 and len(held) > 30


def test_times_are_seconds_and_cover_the_clip(model):
    curve = quality_curve(model, clip_of(frames(1, count=47), fps=12.5), window_s=1.2, step_s=0.4)
    assert curve.points[0].start_s == 0 and curve.points[-1].end_s == pytest.approx(47 / 12.5)
    assert {round(point.end_s - point.start_s, 6) for point in curve.points} == {1.2}
    starts = [point.start_s for point in curve.points]
    assert 0 < np.diff(starts).min() and np.diff(starts).max() <= 0.4 + 1 / 12.5 + 1e-9
    assert curve.duration_s == pytest.approx(47 / 12.5) and curve.worst in curve.points
    assert curve.worst.start_s <= curve.worst_frame_s < curve.worst.end_s
    for point in curve.points:
        assert point.score == pytest.approx((point.clip_score + point.frame_score) / 2)
    assert curve.to_dict()["points"][0]["start_s"] == 0
    assert quality_curve(model, clip_of(frames(1, count=47), fps=12.5), window_s=1.2, step_s=0.4) == curve


@pytest.mark.parametrize("count,fps", [(1, 25.0), (3, 25.0), (9, 1.0), (20, 240.0)])
def test_short_slow_and_fast_clips(model, count, fps):
    curve = quality_curve(model, clip_of(frames(2, count=count), fps=fps))
    assert curve.points[-1].end_s == pytest.approx(count / fps)
    ElementTree.fromstring(curve_svg(curve))


def test_the_plot_is_xml_and_says_the_worst(model):
    curve = quality_curve(model, clip_of(frames(3, count=60), fps=10.0))
    root = ElementTree.fromstring(curve_svg(curve, 'a <b> & "c"'))
    assert root.get("aria-label").startswith('a <b> & "c". Worst ')
    drawn = next(element for element in root.iter() if element.tag.endswith("polyline"))
    assert len(drawn.get("points").split()) == len(curve.points)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert f"Worst {curve.worst.score:.2f} from {curve.worst.start_s:.1f} to {curve.worst.end_s:.1f} s" in texts


def test_what_has_no_curve_is_refused(model):
    with pytest.raises(MediaError, match="is a picture.*quality_map"):
        quality_curve(model, Image.new("RGB", (64, 64)))
    for wrong in ({"window_s": 0}, {"step_s": -1}, {"key_frames_per_s": 1}, {"window_s": float("nan")}):
        with pytest.raises(ValueError, match="two key frames"):
            quality_curve(model, frames(0), **wrong)
    released = tiny_model()
    released.use_scoring("released_less_token")
    with pytest.raises(MediaError, match="test.mp4.*at least 16 frames.*larger `window_s`"):
        quality_curve(released, clip_of(frames(0, count=60), fps=10.0))
