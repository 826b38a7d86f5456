"""Distortions of clips: the promises of `distort_clip`, and what each video distortion does to the frames."""

import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from dataset_scripts.distortions import DISTORTIONS, IMAGE_DISTORTIONS, VIDEO_DISTORTIONS, distort_clip


SEVERITIES = range(1, 6)


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    photo = data.astronaut()
    return np.stack([photo[40 + i : 40 + i + 63, 150 + 2 * i : 150 + 2 * i + 81] for i in range(12)])


def numbered_frames(count: int) -> np.ndarray:
    """A clip whose frame t has the value t everywhere."""
    return np.repeat(np.arange(count, dtype=np.uint8), 8 * 8 * 3).reshape(count, 8, 8, 3)


def test_wrong_clips_are_refused(clip):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"\[T, H, W, 3\].*\(63, 81, 3\)"):
        distort_clip(clip[0], "flicker", 1, rng)
    with pytest.raises(ValueError, match=r"frame.*\(0, 16, 16, 3\)"):
        distort_clip(np.zeros((0, 16, 16, 3), np.uint8), "flicker", 1, rng)
    for fps in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="fps .* 1 to 1000"):
            distort_clip(clip, "flicker", 1, rng, fps=fps)


@pytest.mark.parametrize("name", [*IMAGE_DISTORTIONS, *VIDEO_DISTORTIONS])
def test_clips_keep_their_frames(name, clip):
    frames = clip[:5]
    before = frames.copy()
    state = np.random.get_state()[1].copy()
    first = distort_clip(frames, name, 4, np.random.default_rng(3), fps=29.97)
    second = distort_clip(frames, name, 4, np.random.default_rng(3), fps=29.97)
    assert first.shape == frames.shape and first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert not np.array_equal(first, frames)
    assert np.array_equal(frames, before) and not np.shares_memory(first, frames)
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize("name", VIDEO_DISTORTIONS)
@pytest.mark.parametrize("shape", [(1, 17, 23, 3), (2, 8, 8, 3), (3, 71, 65, 3)])
def test_short_and_small_clips_work(name, shape):
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for severity in (1, 5):
        assert distort_clip(frames, name, severity, np.random.default_rng(0), fps=8).shape == shape


@pytest.mark.parametrize("name", [name for name in IMAGE_DISTORTIONS if DISTORTIONS[name].draws != "none"])
def test_layout_stays_and_noise_changes_over_a_still_clip(name, clip):
    result = distort_clip(np.stack([clip[0]] * 3), name, 3, np.random.default_rng(5))
    still = np.array_equal(result[0], result[1]) and np.array_equal(result[1], result[2])
    assert still == (DISTORTIONS[name].draws == "layout")


@pytest.mark.parametrize("count", [2, 12, 60, 150])
def test_stutter_holds_the_share_it_says(count):
    frames = numbered_frames(count)
    previous = 0
    for severity in SEVERITIES:
        shown = distort_clip(frames, "stutter", severity, np.random.default_rng(severity))[:, 0, 0, 0].astype(int)
        repeats = int((np.diff(shown) == 0).sum())
        share = DISTORTIONS["stutter"].parameters[severity - 1][0]
        assert repeats == min(count - 1, max(1, round(share * count)))
        assert repeats >= previous
        # Time never runs back, and a frame is either itself or the first of its hold.
        assert np.all(np.diff(shown) >= 0)
        moved = np.flatnonzero(np.diff(shown)) + 1
        assert np.array_equal(shown[moved], moved)
        previous = repeats


def test_frame_drop_rate_repeats_each_kept_frame():
    shown = distort_clip(numbered_frames(7), "frame_drop_rate", 2, np.random.default_rng(0))[:, 0, 0, 0]
    assert shown.tolist() == [0, 0, 0, 3, 3, 3, 6]


def test_flicker_changes_the_luma_both_ways():
    frames = np.full((40, 8, 8, 3), 100, np.uint8)
    spreads = []
    for severity in SEVERITIES:
        luma = distort_clip(frames, "flicker", severity, np.random.default_rng(0))[:, 0, 0, 0].astype(int) - 100
        gain = 100 * DISTORTIONS["flicker"].parameters[severity - 1]
        assert luma.min() < 0 < luma.max()
        assert np.abs(luma).max() <= round(gain) and np.abs(luma).min() >= gain // 2
        spreads.append(luma.std())
    assert np.all(np.diff(spreads) > 0)


def test_temporal_noise_hits_some_frames_only():
    frames = np.full((20, 16, 16, 3), 128, np.uint8)
    for severity in SEVERITIES:
        result = distort_clip(frames, "temporal_noise", severity, np.random.default_rng(0))
        share, variance = DISTORTIONS["temporal_noise"].parameters[severity - 1]
        hit = (result != frames).any(axis=(1, 2, 3))
        assert hit.sum() == round(20 * share)
        assert (result[hit].astype(float) - 128).std() == pytest.approx(255 * np.sqrt(variance), rel=0.1)


@pytest.mark.parametrize("name", ["h264_compression", "h265_compression", "bitrate_switch"])
def test_coded_quality_falls_with_severity_and_stays_quiet(name, clip, capfd):
    psnr = [
        peak_signal_noise_ratio(clip, distort_clip(clip, name, severity, np.random.default_rng(0)))
        for severity in SEVERITIES
    ]
    assert np.all(np.diff(psnr) < 0), psnr
    # Colours come back as they went in: a wrong matrix or range would cost far more than the coding.
    assert psnr[0] > 26
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_bitrate_switch_alternates_good_and_bad_segments(clip):
    result = distort_clip(clip, "bitrate_switch", 5, np.random.default_rng(0))
    psnr = [peak_signal_noise_ratio(before, after) for before, after in zip(clip, result, strict=True)]
    halves = sorted((np.mean(psnr[:6]), np.mean(psnr[6:])))
    assert halves[1] > halves[0] + 8


@pytest.mark.parametrize("name", ["h264_compression", "h265_compression", "bitrate_switch"])
def test_coding_gives_the_same_from_call_to_call(name):
    photo = data.astronaut()
    frames = np.stack([photo[2 * i : 2 * i + 320, 3 * i : 3 * i + 240] for i in range(12)])
    found = set()
    for call in range(6):
        distort_clip(
            frames[:, : 160 + 8 * call], "h264_compression", 1, np.random.default_rng(0)
        )  # leaves memory behind
        found.add(distort_clip(frames, name, 3, np.random.default_rng(0), fps=12).tobytes())
    assert len(found) == 1
