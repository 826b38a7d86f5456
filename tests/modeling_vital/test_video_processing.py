"""Frame choice: the released rules number by number, and what the mended default promises for any clip."""

import json
from dataclasses import replace

import numpy as np
import pytest

from modeling_vital.video_processing_vital import FrameSampling, sample_frames


SCORE = FrameSampling.released_score()
TRAIN = replace(SCORE, motion_stride=8)  # as the released training code chooses
LESS = FrameSampling.released_score_less_token()

# name, frames, fps, motion frames (first, step, count), key frames. Worked out by hand from the released rules: cut to
# 32 * (L // 32), 4 * (L // 4) or 16 * (L // 16); second k is at round-half-even(fps * k) for k < max(L // fps, 1).
RELEASED = [
    ("train", TRAIN, 240, 24.0, (8, 28), [0, 24, 48, 72, 96, 120, 144, 168, 192, 216]),
    ("train", TRAIN, 300, 30.0, (8, 36), [0, 120, 240]),
    ("train", TRAIN, 250, 25.0, (8, 28), [0, 200]),
    ("train", TRAIN, 32, 30.0, (8, 4), [0]),
    ("train", TRAIN, 63, 30.0, (8, 4), [0]),
    ("train", TRAIN, 64, 8.0, (8, 8), [0, 8, 16, 24, 32, 40, 48, 56]),
    ("train", TRAIN, 60, 8.0, (8, 4), [0, 8, 16, 24]),
    ("score", SCORE, 300, 30.0, (1, 300), [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]),
    ("score", SCORE, 103, 25.0, (1, 100), [0, 25, 50, 75]),
    ("score", SCORE, 300, 29.97, (1, 300), [0, 30, 60, 90, 120, 150, 180, 210, 240, 270]),
    ("score", SCORE, 13, 2.5, (1, 12), [0, 2, 5, 8, 10]),
    ("score", SCORE, 7, 30.0, (1, 4), [0]),
    ("score", SCORE, 4, 30.0, (1, 4), [0]),
    ("less", LESS, 300, 30.0, (4, 72), [0, 60, 120, 180, 240]),
    ("less", LESS, 250, 25.0, (4, 60), [0, 100, 200]),
    ("less", LESS, 31, 24.0, (4, 4), [0]),
    ("less", LESS, 48, 12.0, (4, 12), [0, 12, 24, 36]),
]


@pytest.mark.parametrize("name, sampling, num_frames, fps, motion, keys", RELEASED)
def test_released_rules(name, sampling, num_frames, fps, motion, keys):
    choice = sample_frames(num_frames, fps, sampling)
    step, count = motion
    assert len(choice.motion_windows) == 1
    assert choice.motion_frames.tolist() == list(range(0, step * count, step))
    assert choice.num_motion_frames == count
    assert choice.key_frames.tolist() == keys


@pytest.mark.parametrize("sampling, shortest", [(TRAIN, 32), (SCORE, 4), (LESS, 16)])
def test_released_rules_refuse_short_clips(sampling, shortest):
    assert sample_frames(shortest, 30, sampling).num_motion_frames == 4
    with pytest.raises(ValueError, match=rf" {shortest} frames.* {shortest - 1}\b"):
        sample_frames(shortest - 1, 30, sampling)


def test_released_key_frames_are_motion_frames():
    for sampling in (TRAIN, SCORE, LESS):
        for num_frames in range(32, 140, 7):
            choice = sample_frames(num_frames, 3.7, sampling)
            assert set(choice.key_frames) <= set(choice.motion_frames)


SAMPLINGS = [
    FrameSampling(),
    FrameSampling(motion_stride=1, max_motion_frames=None, max_key_frames=None),
    FrameSampling(max_key_frames=1, max_motion_frames=4),
    FrameSampling(motion_window=16, max_motion_frames=40),
    FrameSampling(motion_window=8, max_motion_frames=None, motion_multiple_of=4, motion_stride=3),
    FrameSampling(motion_multiple_of=4, max_motion_frames=10, min_motion_frames=3),
    FrameSampling(key_frames_on_motion_grid=True, motion_stride=5),
    FrameSampling(key_frame_fps=4.0, min_motion_frames=1),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=range(len(SAMPLINGS)))
def test_any_clip_of_one_frame_or_more_works(sampling):
    for num_frames in [*range(1, 70), 299, 1000, 5003]:
        for fps in (0.3, 1.0, 7.5, 29.97, 120.0):
            choice = sample_frames(num_frames, fps, sampling)
            keys, motion = choice.key_frames, choice.motion_frames
            assert keys.dtype == motion.dtype == np.int64
            assert len(keys) >= 1
            assert (np.diff(keys) > 0).all()
            assert min(keys.min(), motion.min()) >= 0
            assert max(keys.max(), motion.max()) < num_frames
            assert sampling.max_key_frames is None or len(keys) <= sampling.max_key_frames
            assert sampling.max_motion_frames is None or len(motion) <= sampling.max_motion_frames
            for window in choice.motion_windows:
                assert len(window) >= sampling.min_motion_frames
                assert len(window) % sampling.motion_multiple_of == 0
                assert (np.diff(window) >= 0).all()
            starts = [window[0] for window in choice.motion_windows]
            assert len(set(starts)) == len(starts)


def test_default_takes_one_key_frame_a_second_wherever_it_falls():
    for fps, keys in ((24, [0, 24, 48]), (25, [0, 25, 50]), (30, [0, 30, 60]), (29.97, [0, 30, 60])):
        assert sample_frames(95, fps).key_frames.tolist() == keys


def test_default_pads_short_clips_with_the_last_index():
    assert sample_frames(1, 30).motion_frames.tolist() == [0, 0, 0, 0]
    assert sample_frames(7, 30).motion_frames.tolist() == [0, 4, 4, 4]
    assert sample_frames(13, 30).motion_frames.tolist() == [0, 4, 8, 12]
    assert sample_frames(17, 30).motion_frames.tolist() == [0, 4, 8, 12, 16]


def test_padding_and_trimming_to_a_multiple():
    sampling = FrameSampling(motion_stride=1, motion_multiple_of=4, max_motion_frames=10)
    assert sample_frames(6, 30, sampling).motion_frames.tolist() == [0, 1, 2, 3, 4, 5, 5, 5]
    assert sample_frames(10, 30, sampling).motion_frames.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert sample_frames(22, 30, sampling).motion_frames.tolist() == [0, 3, 6, 9, 12, 15, 18, 21]


def test_limits_spread_evenly():
    choice = sample_frames(3000, 30, FrameSampling(max_key_frames=4, max_motion_frames=5, motion_stride=1))
    assert choice.key_frames.tolist() == [0, 990, 1980, 2970]
    assert choice.motion_frames.tolist() == [0, 750, 1500, 2249, 2999]
    assert sample_frames(3000, 30, FrameSampling(max_key_frames=1)).key_frames.tolist() == [1470]


def test_windows_keep_their_pace_and_spread_over_the_clip():
    sampling = FrameSampling(motion_stride=2, motion_window=4, max_motion_frames=13)
    windows = [window.tolist() for window in sample_frames(100, 30, sampling).motion_windows]
    assert windows == [[0, 2, 4, 6], [46, 48, 50, 52], [92, 94, 96, 98]]
    uncapped = FrameSampling(motion_stride=2, motion_window=4, max_motion_frames=None)
    windows = sample_frames(20, 30, uncapped).motion_windows
    assert [window.tolist() for window in windows] == [[0, 2, 4, 6], [6, 8, 10, 12], [12, 14, 16, 18]]


def test_slow_clips_never_repeat_a_key_frame():
    assert sample_frames(2, 0.3).key_frames.tolist() == [0, 1]
    assert sample_frames(3, 0.4, FrameSampling(max_key_frames=None)).key_frames.tolist() == [0, 1, 2]


@pytest.mark.parametrize("sampling", [*SAMPLINGS, TRAIN, SCORE, LESS], ids=str)
def test_settings_survive_json(sampling):
    assert FrameSampling.from_dict(json.loads(json.dumps(sampling.to_dict()))) == sampling


def test_from_dict_keeps_defaults_and_refuses_unknown_keys():
    assert FrameSampling.from_dict({"motion_stride": 2}) == FrameSampling(motion_stride=2)
    with pytest.raises(ValueError, match="motion_strid.*motion_stride"):
        FrameSampling.from_dict({"motion_strid": 2})


@pytest.mark.parametrize(
    "values, reason",
    [
        ({"key_frame_fps": 0}, "key_frame_fps"),
        ({"key_frame_fps": float("nan")}, "key_frame_fps"),
        ({"key_frame_fps": "1"}, "key_frame_fps"),
        ({"key_frame_fps": True}, "key_frame_fps"),
        ({"max_key_frames": 0}, "max_key_frames"),
        ({"max_key_frames": 2.5}, "max_key_frames"),
        ({"motion_stride": 0}, "motion_stride"),
        ({"motion_stride": None}, "motion_stride"),
        ({"motion_stride": True}, "motion_stride"),
        ({"min_motion_frames": 0}, "min_motion_frames"),
        ({"motion_multiple_of": -4}, "motion_multiple_of"),
        ({"max_motion_frames": 3}, "max_motion_frames is 3"),
        ({"max_motion_frames": 5, "motion_multiple_of": 8}, "max_motion_frames is 5"),
        ({"motion_window": 2}, "motion_window is 2"),
        ({"motion_window": 10, "motion_multiple_of": 4}, r"motion_window \(10\)"),
        ({"motion_window": 32, "max_motion_frames": 16}, r"max_motion_frames \(16\)"),
        ({"whole_groups_only": 1}, "whole_groups_only"),
        ({"key_frames_on_motion_grid": "yes"}, "key_frames_on_motion_grid"),
    ],
)
def test_bad_settings_are_errors(values, reason):
    with pytest.raises(ValueError, match=reason):
        FrameSampling(**values)


@pytest.mark.parametrize("num_frames, fps", [(0, 30), (-1, 30), (9, 0), (9, -1), (9, float("nan")), (9, float("inf"))])
def test_bad_clips_are_errors(num_frames, fps):
    with pytest.raises(ValueError, match="frame"):
        sample_frames(num_frames, fps)
