"""Annotators of the picture itself: different originals differ, and what is added does not fool them."""

import numpy as np
import pytest
from skimage import data

from dataset_scripts.annotators import ANNOTATORS, get_annotator
from dataset_scripts.annotators.fit_calibration import fit_rank
from dataset_scripts.annotators.human_scale import annotate_item, get_calibration
from dataset_scripts.annotators.picture import detail
from dataset_scripts.distortions import IMAGE_DISTORTIONS, distort_clip
from dataset_scripts.distortions.scene_rendering import distort, render, render_clip
from dataset_scripts.versions import LabelRule


PHOTO = data.astronaut()[50:306, 80:336].copy()
NAMES = ("detail", "exposure")


def test_detail_by_hand():
    """One of four tiles has an alternating Laplacian of +-16: its spread, as the sharpest quarter, is all."""
    plane = np.full((64, 64), 100, np.float32)
    plane[8:24, 8:24] += np.where(np.indices((16, 16)).sum(0) % 2, 2.0, -2.0)
    laplacian = np.zeros((64, 64))
    padded = np.pad(plane, 1, mode="reflect").astype(float)
    for dy, dx, factor in ((0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (1, 1, -4)):
        laplacian += factor * padded[dy : dy + 64, dx : dx + 64]
    assert detail(plane) == pytest.approx(np.log1p(laplacian[:32, :32].std()), rel=1e-5)


def test_a_soft_background_takes_nothing_from_a_sharp_subject():
    soft = distort(PHOTO, [("gaussian_blur", 5)], np.random.default_rng(0))
    portrait = soft.copy()
    portrait[64:192, 64:192] = PHOTO[64:192, 64:192]
    score = get_annotator("detail").score
    assert score(portrait) == pytest.approx(score(PHOTO[64:192, 64:192]), rel=0.2) and score(soft) < 0.7 * score(
        portrait
    )


def test_exposure_by_hand():
    score = get_annotator("exposure").score
    grey = np.full((64, 64, 3), 118, np.uint8)
    assert score(grey) == pytest.approx(0, abs=1e-6)
    assert score(np.full((64, 64, 3), 54, np.uint8)) == pytest.approx(0.5, abs=1e-6)
    half_burnt = grey.copy()
    half_burnt[::2] = 255  # mean 186.5, half of it burnt out
    assert score(half_burnt) == pytest.approx(68.5 / 128 + 0.39, abs=1e-3)
    cut_out = np.full((96, 96, 3), 255, np.uint8)
    cut_out[32:64, 32:64] = 118
    assert score(cut_out) == pytest.approx(0, abs=1e-6), "an empty background counts for nothing"


@pytest.mark.parametrize("name", ["white_noise", "impulse_noise", "jpeg", "high_sharpen"])
def test_what_is_added_does_not_change_what_is_known_of_the_picture(name):
    steps = [(name, 4)]
    made = distort(PHOTO, steps, np.random.default_rng(1))
    shown = render(PHOTO, steps, np.random.default_rng(1))
    original = annotate_item(PHOTO, PHOTO, ["gmsd", *NAMES])
    known = annotate_item(made, PHOTO, ["gmsd", *NAMES], rendering=shown)
    assert {n: known[n] for n in NAMES} == {n: original[n] for n in NAMES}
    assert known["gmsd"] < original["gmsd"], "fidelity is asked about the picture as it is"


@pytest.mark.parametrize("name", ["gaussian_blur", "lens_blur", "motion_blur", "pixelate"])
def test_lost_detail_is_heard_also_under_noise(name):
    steps = [(name, 5), ("white_noise", 5)]
    made = distort(PHOTO, steps, np.random.default_rng(1))
    shown = render(PHOTO, steps, np.random.default_rng(1))
    blind, known = (annotate_item(made, PHOTO, ["detail"], rendering=r)["detail"] for r in (None, shown))
    assert known < annotate_item(PHOTO, PHOTO, ["detail"])["detail"] - 0.2 and blind > known


def test_the_rendering_of_a_distortion_that_adds_nothing_is_the_picture():
    for name in ("motion_blur", "darken", "contrast_change", "color_saturation_hsv"):
        made, shown = (do(PHOTO, [(name, 4)], np.random.default_rng(3)) for do in (distort, render))
        assert np.array_equal(made, shown), name
    for name in IMAGE_DISTORTIONS:  # all of them run
        assert render(PHOTO, [(name, 3)], np.random.default_rng(0)).shape == PHOTO.shape


@pytest.mark.parametrize("name", ["white_noise", "stutter", "flicker", "h264_compression"])
def test_what_is_added_to_a_clip_does_not_change_what_is_known_of_it(name):
    clip = np.stack([np.roll(PHOTO, 2 * t, axis=1) for t in range(8)])
    made = distort_clip(clip, name, 4, np.random.default_rng(1))
    shown = render_clip(clip, [(name, 4)], np.random.default_rng(1))
    original = annotate_item(clip, clip, ["frame_gmsd", "frame_detail"])
    known = annotate_item(made, clip, ["frame_gmsd", "frame_detail"], rendering=shown)
    assert known["frame_detail"] == original["frame_detail"]
    assert known["frame_gmsd"] < original["frame_gmsd"]


def test_a_soft_clip_has_its_own_place_below_a_sharp_one():
    sharp = np.stack([np.roll(PHOTO, 2 * t, axis=1) for t in range(8)])
    soft = render_clip(sharp, [("gaussian_blur", 5), ("jpeg", 5)], np.random.default_rng(0))
    assert np.array_equal(soft, distort_clip(sharp, "gaussian_blur", 5, np.random.default_rng(0)))
    labels = [LabelRule().label(annotate_item(clip, clip, LabelRule().clip_annotators)) for clip in (sharp, soft)]
    assert labels[0].mean[0] > labels[1].mean[0] + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_calibrated_by_rank(name):
    calibration = get_calibration(name)
    assert "rank among" in calibration.fitted_on and calibration.n > 1000
    low, middle, high = np.quantile(calibration.params["raw"], [0, 0.5, 1])
    worst, best = (low, high) if ANNOTATORS[name].higher_is_better else (high, low)
    assert calibration(worst) == 0 and calibration(best) == 1
    assert calibration(middle) == pytest.approx(0.5, abs=0.02)


def test_ranks_are_shares_of_what_is_worse():
    raw = np.random.default_rng(0).gamma(2.0, size=4000)
    up = fit_rank("detail", raw, "a test")
    down = fit_rank("exposure", raw, "a test")
    assert up(np.median(raw)) == pytest.approx(0.5, abs=0.01) and up(np.quantile(raw, 0.9)) == pytest.approx(
        0.9, abs=0.01
    )
    assert down(np.quantile(raw, 0.9)) == pytest.approx(0.1, abs=0.01)
