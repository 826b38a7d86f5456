"""Curves of clips: where they dip, one pass, times in seconds, and the plot."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_scripts.distortions import distort_clip, distort_image
from modeling_vital import VitalForConditionalGeneration
from modeling_vital.local_quality import CurvePoint, QualityCurve, curve_svg, quality_curve, scale_colors
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
    once = asked[: next((i for i in range(1, len(asked)) if asked[i] <= asked[i - 1]), len(asked))]
    assert once == sorted(set(once)) and once[-1] >= 57  # one pass; what follows is the whole clip's own score
    assert len(scored) == len(set(np.round(np.arange(0, 60, 2.5)).astype(int))) + 1  # and the whole clip
    assert steps[-1] == (len(curve.points), len(curve.points))


def test_memory_does_not_grow_with_the_clip(model, monkeypatch):
    from modeling_vital.local_quality.quality_curve import _EncodedFrames

    held, move_to = [], _EncodedFrames.move_to

    def watch(self, stretch):
        move_to(self, stretch)
        held.append(len(self._tiles) + len(self._squares))

    monkeypatch.setattr(_EncodedFrames, "move_to", watch)
    quality_curve(model, clip_of(frames(0, count=120), fps=10.0))
    assert max(held) <= held[0] + 2 and len(held) > 20


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


def curve_of(*scores, whole_score=0.75):
    points = tuple(CurvePoint(i / 2, i / 2 + 1, score, score, score) for i, score in enumerate(scores))
    return QualityCurve(points, 10.0, 5 * len(scores) + 5, 12, whole_score)


def test_the_plot_is_xml_and_says_the_worst():
    curve = curve_of(0.8, 0.7, 0.3, 0.8, 0.8)
    root = ElementTree.fromstring(curve_svg(curve, 'a <b> & "c"'))
    assert root.get("aria-label") == 'a <b> & "c". Worst 0.30 from 1.0 to 2.0 s. Whole clip 0.75.'
    drawn = next(element for element in root.iter() if element.tag.endswith("polyline"))
    assert len(drawn.get("points").split()) == len(curve.points)
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "Worst 0.30 from 1.0 to 2.0 s; whole clip 0.75 (dashed)" in texts
    assert {"score", "time, seconds", "0.1", "0.9"} <= set(texts) and "1.0" not in texts  # axes, and one range
    circles = [element.get("fill") for element in root.iter() if element.tag.endswith("circle")]
    assert circles[2] == f"#{scale_colors(np.array(0.3)).tobytes().hex()}" != circles[0]
    dashed = next(e for e in root.iter() if e.get("stroke-dasharray"))
    assert dashed.get("d").startswith("M58 45.1H")  # .75 on an axis from .9 at 14 to .1 at 180


def test_an_even_clip_has_no_worst_stretch():
    curve = curve_of(0.6, 0.65, 0.7, 0.6)
    svg = curve_svg(curve)
    assert not curve.stands_out and "Even throughout, 0.60 to 0.70" in svg and 'opacity="0.15"' not in svg
    assert 'opacity="0.15"' in curve_svg(curve_of(0.8, 0.8, 0.3, 0.8))


def test_the_whole_score_is_the_models_own(model):
    clip = clip_of(frames(4, count=30), fps=10.0)
    assert quality_curve(model, clip).whole_score == pytest.approx(model.score(clip).score, abs=1e-6)


def test_a_frame_that_does_not_fit_is_halved_and_a_stretch_that_does_not_is_an_error(model, monkeypatch, caplog):
    clip, encode = clip_of(frames(4, count=30), fps=10.0), model.model.encode_tiles
    expected = quality_curve(model, clip)

    def full(tiles):
        if len(tiles) == model.processor.max_tiles_per_frame:  # a frame as a picture has more, and so has the whole
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(tiles)

    monkeypatch.setattr(model.model, "encode_tiles", full)
    found = quality_curve(model, clip)
    assert [p.score for p in found.points] == pytest.approx([p.score for p in expected.points], abs=1e-5)
    assert "halved" in caplog.text

    def none(*args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model.model, "get_motion_features", none)
    with pytest.raises(MediaError, match="stretch.*too large"):
        quality_curve(model, clip)


def test_what_has_no_curve_is_refused(model):
    with pytest.raises(MediaError, match="picture.*quality_map"):
        quality_curve(model, Image.new("RGB", (64, 64)))
    for wrong in ({"window_s": 0}, {"step_s": -1}, {"key_frames_per_s": 1}, {"window_s": float("nan")}):
        with pytest.raises(ValueError, match="`window_s`.*`step_s`.*key_frames_per_s="):
            quality_curve(model, frames(0), **wrong)
    released = tiny_model()
    released.use_scoring("released_less_token")
    with pytest.raises(MediaError, match="test.mp4.* 16 frames.*`window_s`"):
        quality_curve(released, clip_of(frames(0, count=60), fps=10.0))
