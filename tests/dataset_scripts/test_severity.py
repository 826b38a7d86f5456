"""Severity is monotone: for every distortion, full-reference metrics fall with it on real photos and clips."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from dataset_scripts.annotators import Annotator, get_annotator
from dataset_scripts.distortions import (
    DISTORTIONS,
    IMAGE_DISTORTIONS,
    SEVERITY_WORDS,
    VIDEO_DISTORTIONS,
    distort_clip,
    distort_image,
    tag,
)
from modeling_vital.media_vital import load_media


EXAMPLES = Path(__file__).parents[2] / "spaces_demo" / "examples"
SEVERITIES = range(1, 6)


@cache
def photos() -> list[np.ndarray]:
    paths = sorted(EXAMPLES.glob("*.jpg"))
    assert len(paths) >= 5
    return [cv2.resize(np.asarray(load_media(path)), (192, 144), interpolation=cv2.INTER_AREA) for path in paths]


@cache
def clips() -> list[np.ndarray]:
    paths = sorted(EXAMPLES.glob("*.mp4"))
    assert len(paths) >= 2
    frames = (load_media(path).get_frames(range(30)) for path in paths)
    return [np.stack([cv2.resize(f, (160, 90), interpolation=cv2.INTER_AREA) for f in clip]) for clip in frames]


def losses(annotator: Annotator, versions: list[list[tuple[np.ndarray, np.ndarray]]]) -> np.ndarray:
    """Mean distance from the best score over the (distorted, original) pairs of each severity."""
    return np.array([np.mean([abs(annotator.score(*pair) - annotator.best) for pair in pairs]) for pairs in versions])


@pytest.mark.parametrize("name", IMAGE_DISTORTIONS)
def test_two_metrics_fall_with_the_severity_of_every_image_type(name):
    seeds = range(3) if DISTORTIONS[name].draws == "layout" else range(1)
    versions = [
        [(distort_image(p, name, severity, np.random.default_rng(seed)), p) for p in photos() for seed in seeds]
        for severity in SEVERITIES
    ]
    for metric in ("ssim", "mdsi"):
        found = losses(get_annotator(metric), versions)
        assert found[0] > 0 and (np.diff(found) > 0).all(), (metric, found)


@pytest.mark.parametrize("name", VIDEO_DISTORTIONS)
def test_quality_falls_with_the_severity_of_every_clip_type(name, monkeypatch):
    seeds = range(1) if DISTORTIONS[name].draws == "none" else range(2)
    versions = [
        [(distort_clip(c, name, severity, np.random.default_rng(seed), 25.0), c) for c in clips() for seed in seeds]
        for severity in SEVERITIES
    ]
    # Every frame: eight of thirty may happen to be those that a lower frame rate keeps.
    monkeypatch.setattr("dataset_scripts.annotators.temporal._MAX_FRAMES", 30)
    found = losses(get_annotator("frame_ssim"), versions)
    assert found[0] > 0 and (np.diff(found) > 0).all(), found
    # Over time it must rise too, but may level off: of 30 frames, one in 6 or one in 8 leaves as few steps.
    found = losses(get_annotator("temporal_gradient"), versions)
    assert found[0] > 0 and (np.diff(found) > -1e-3).all() and found[4] > 1.5 * found[0], found


def test_there_are_four_clip_families():
    families = {
        "compression": {"h264_compression", "h265_compression"},
        "frames lost": {"stutter", "frame_drop_rate"},
        "unsteady": {"flicker", "temporal_noise"},
        "rate switch": {"bitrate_switch"},
    }
    assert set().union(*families.values()) == set(VIDEO_DISTORTIONS)


def test_every_type_and_severity_has_its_own_tag_and_a_documented_parameter():
    tags = [tag(name, severity) for name in DISTORTIONS for severity in SEVERITIES]
    assert len(set(tags)) == len(tags) == 5 * len(DISTORTIONS)
    for name, entry in DISTORTIONS.items():
        assert len(entry.parameters) == 5 and entry.meaning and entry.words
        assert [tag(name, s).removesuffix(f" {entry.words}") for s in SEVERITIES] == list(SEVERITY_WORDS)
