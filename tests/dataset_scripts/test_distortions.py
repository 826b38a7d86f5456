"""Distortions of pictures: the table, the promises of `distort_image`, numbers worked out by hand, the sheet."""

import colorsys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import color as skimage_color
from skimage import data
from skimage.metrics import structural_similarity

from dataset_scripts.distortions import (
    DISTORTIONS,
    IMAGE_DISTORTIONS,
    SEVERITY_WORDS,
    VIDEO_DISTORTIONS,
    Distortion,
    distort_image,
    tag,
)
from dataset_scripts.distortions import contact_sheet as sheet
from dataset_scripts.distortions.blur import disk_kernel, line_kernel
from dataset_scripts.distortions.brightness import bend
from dataset_scripts.distortions.color import variance_palette
from dataset_scripts.distortions.sharpness_contrast import contrast_curve
from dataset_scripts.distortions.spatial import otsu_levels, scaled_squares


KADID_NAMES = {
    "gaussian_blur", "lens_blur", "motion_blur",
    "color_diffusion", "color_shift", "color_quantization", "color_saturation_hsv", "color_saturation_lab",
    "jpeg2000", "jpeg",
    "white_noise", "white_noise_color", "impulse_noise", "multiplicative_noise", "denoise",
    "brighten", "darken", "mean_shift",
    "jitter", "non_eccentricity_patch", "pixelate", "quantization", "color_block",
    "high_sharpen", "contrast_change",
}  # fmt: skip
# Structure hardly tells these apart; the distance of the colours does.
JUDGED_BY_COLOR = {
    "color_diffusion", "color_saturation_hsv", "color_saturation_lab",
    "brighten", "darken", "mean_shift", "quantization", "contrast_change",
}  # fmt: skip
SEVERITIES = range(1, 6)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return [data.astronaut()[40:168, 150:278].copy(), data.coffee()[100:228, 220:348].copy()]


# The table


def test_the_25_image_types_are_those_of_kadid():
    assert len(IMAGE_DISTORTIONS) == 25
    assert set(IMAGE_DISTORTIONS) == KADID_NAMES


def test_video_types_and_modalities():
    assert {"h264_compression", "h265_compression", "stutter", "frame_drop_rate", "flicker"} <= set(VIDEO_DISTORTIONS)
    assert list(DISTORTIONS) == [*IMAGE_DISTORTIONS, *VIDEO_DISTORTIONS]
    assert {DISTORTIONS[name].modality for name in IMAGE_DISTORTIONS} == {"image"}
    assert {DISTORTIONS[name].modality for name in VIDEO_DISTORTIONS} == {"video"}


def test_names_words_and_parameters_are_distinct():
    assert len({entry.words for entry in DISTORTIONS.values()}) == len(DISTORTIONS)
    for name, entry in DISTORTIONS.items():
        assert entry.name == name
        assert len(set(entry.parameters)) == 5
        assert entry.meaning


def test_a_distortion_needs_five_parameters():
    with pytest.raises(ValueError, match="half_done.* 5 .* 2"):
        Distortion("half_done", "blur", "half", "image", (1, 2), lambda image, value: image, "px")


def test_tags_join_severity_and_words():
    assert SEVERITY_WORDS == ("slight", "mild", "moderate", "relatively severe", "severe")
    assert tag("white_noise", 4) == "relatively severe white noise"
    assert tag("h264_compression", 2) == "mild H264 compression"
    assert tag("jpeg", 1) == "slight JPEG compression"


# Promises of every image distortion


@pytest.mark.parametrize("name", IMAGE_DISTORTIONS)
def test_same_seed_same_picture_and_no_other_source_of_chance(name, photos):
    photo = photos[0]
    before = photo.copy()
    state = np.random.get_state()
    cv2.setRNGSeed(1)
    first = distort_image(photo, name, 3, np.random.default_rng(7))
    cv2.setRNGSeed(2)
    second = distort_image(photo, name, 3, np.random.default_rng(7))
    assert np.array_equal(first, second)
    after = np.random.get_state()
    assert np.array_equal(state[1], after[1]) and state[2] == after[2]
    assert np.array_equal(photo, before)
    assert not np.shares_memory(first, photo)
    other = [distort_image(photo, name, 3, np.random.default_rng(seed)) for seed in range(8, 14)]
    varies = any(not np.array_equal(first, picture) for picture in other)
    assert varies == (DISTORTIONS[name].draws != "none")


@pytest.mark.parametrize("name", IMAGE_DISTORTIONS)
def test_shape_and_type_are_kept_at_awkward_sizes(name):
    rng = np.random.default_rng(0)
    pictures = [
        rng.integers(0, 256, (17, 23, 3), dtype=np.uint8),
        rng.integers(0, 256, (8, 8, 3), dtype=np.uint8),
        np.repeat(rng.integers(0, 256, (41, 67, 1), dtype=np.uint8), 3, axis=2),
        np.full((33, 8, 3), 128, np.uint8),
        np.asfortranarray(rng.integers(0, 256, (31, 45, 3), dtype=np.uint8))[::-1],
    ]
    for picture in pictures:
        for severity in (1, 5):
            result = distort_image(picture, name, severity, rng)
            assert result.shape == picture.shape
            assert result.dtype == np.uint8
            result[0, 0, 0] ^= 1  # the caller owns the result


@pytest.mark.parametrize("name", IMAGE_DISTORTIONS)
def test_quality_falls_with_severity(name, photos):
    means = []
    seeds = range(3) if DISTORTIONS[name].draws == "layout" else range(1)
    for severity in SEVERITIES:
        losses = []
        for photo in photos:
            for seed in seeds:
                distorted = distort_image(photo, name, severity, np.random.default_rng(seed))
                if name in JUDGED_BY_COLOR:
                    pair = skimage_color.rgb2lab(photo), skimage_color.rgb2lab(distorted)
                    losses.append(skimage_color.deltaE_cie76(*pair).mean())
                else:
                    losses.append(1 - structural_similarity(photo, distorted, channel_axis=2))
        means.append(np.mean(losses))
    assert means[0] > 0
    assert np.all(np.diff(means) > 0), means


# Errors


@pytest.mark.parametrize("severity", [0, 6, -1, 2.0, True, None, "3"])
def test_severity_outside_1_to_5_is_refused(severity, photos):
    with pytest.raises(ValueError, match="severity .* 1 to 5"):
        distort_image(photos[0], "jpeg", severity, np.random.default_rng(0))
    with pytest.raises(ValueError, match="severity"):
        tag("jpeg", severity)


def test_unknown_name_lists_the_known_ones(photos):
    with pytest.raises(ValueError, match="'fog'.*gaussian_blur.*stutter"):
        distort_image(photos[0], "fog", 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="'fog'"):
        tag("fog", 1)


def test_a_video_distortion_on_a_picture_points_to_distort_clip(photos):
    with pytest.raises(ValueError, match="'stutter'.*distort_clip"):
        distort_image(photos[0], "stutter", 1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((16, 16, 3), np.float32), "uint8 array.*got float32"),
        ([[[0, 0, 0]]], "list"),
        (np.zeros((16, 16), np.uint8), r"\[H, W, 3\].* \(16, 16\)"),
        (np.zeros((16, 16, 4), np.uint8), r"got \(16, 16, 4\)"),
        (np.zeros((3, 16, 16), np.uint8), r"got \(3, 16, 16\)"),
        (np.zeros((7, 16, 3), np.uint8), r" 8 px.*\(7, 16, 3\)"),
    ],
)
def test_wrong_pictures_are_refused(picture, message):
    with pytest.raises(ValueError, match=message):
        distort_image(picture, "jpeg", 1, np.random.default_rng(0))


# Single distortions against numbers worked out by hand


def test_line_kernel_spreads_a_short_level_path():
    kernel = line_kernel(2.0, 0.0)
    # A path from -1 to 1 under a triangle of half-width 1: the middle takes 1/2, each side 1/4.
    assert kernel.shape == (3, 3)
    np.testing.assert_allclose(kernel[1], [0.25, 0.5, 0.25], atol=2e-3)
    np.testing.assert_allclose(line_kernel(7.0, 0.3), line_kernel(7.0, 0.3 + np.pi), atol=1e-6)
    np.testing.assert_allclose(line_kernel(7.0, 0.3)[::-1, ::-1], line_kernel(7.0, 0.3), atol=1e-6)


def test_disk_kernel_is_round_and_sums_to_one():
    kernel = disk_kernel(4.0)
    assert kernel.shape == (9, 9)
    assert kernel.sum() == pytest.approx(1.0, abs=1e-6)
    assert np.array_equal(kernel, kernel.T) and np.array_equal(kernel, kernel[::-1])
    # The disk covers 16 pi pixels evenly, but for its rim.
    assert kernel[4, 4] == pytest.approx(1 / (16 * np.pi), rel=0.03)
    assert kernel[0, 0] == 0


def test_hsv_saturation_agrees_with_colorsys(photos):
    photo = photos[0][:8, :8]
    result = distort_image(photo, "color_saturation_hsv", 2, np.random.default_rng(0))
    factor = DISTORTIONS["color_saturation_hsv"].parameters[1]
    for pixel, found in zip(photo.reshape(-1, 3), result.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        expected = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation * factor, value))
        assert np.abs(expected - found).max() <= 1


def test_lightness_curve_and_contrast_curve_keep_their_fixed_points():
    np.testing.assert_allclose(bend(np.array([0.0, 0.5, 1.0]), 0.7), [0.0, 0.7, 1.0])
    # 0.25 / ((1 / 0.7 - 2) * 0.75 + 1) = 0.25 / 0.571428...
    assert bend(np.array([0.25]), 0.7)[0] == pytest.approx(0.4375)
    steep, flat = contrast_curve(0.6).astype(int), contrast_curve(-0.6).astype(int)
    for curve in (steep, flat):
        assert curve[0] == 0 and curve[255] == 255 and abs(curve[127] - 127) <= 1
        assert np.all(np.diff(curve) >= 0)
    # A quarter, 63.75, moves by 0.6 / 4 * 255 = 38.25.
    assert abs(steep[64] - (64 - 38.25)) < 1 and abs(flat[64] - (64 + 38.25)) < 1


def test_mean_shift_adds_or_takes_one_constant():
    gray = np.full((9, 9, 3), 100, np.uint8)
    found = {int(distort_image(gray, "mean_shift", 3, np.random.default_rng(seed))[4, 4, 1]) for seed in range(12)}
    assert found == {100 - 23, 100 + 23}  # 0.09 * 255 = 22.95


def test_quantizations_leave_few_values(photos):
    rng = np.random.default_rng(0)
    for severity in SEVERITIES:
        levels = DISTORTIONS["quantization"].parameters[severity - 1]
        assert len(np.unique(distort_image(photos[0], "quantization", severity, rng))) == levels
        colors = DISTORTIONS["color_quantization"].parameters[severity - 1]
        found = np.unique(distort_image(photos[0], "color_quantization", severity, rng).reshape(-1, 3), axis=0)
        assert 2 * colors // 3 <= len(found) <= colors


def test_otsu_levels_and_palette_find_separate_groups():
    counts = np.zeros(256)
    counts[[10, 12, 100, 200, 202]] = [1, 1, 6, 3, 3]
    assert otsu_levels(counts, 3)[[10, 12, 100, 200, 202]].tolist() == [11, 11, 100, 201, 201]
    pixels = np.repeat(np.array([[0, 0, 0], [255, 0, 0], [0, 200, 90]], np.float32), [50, 5, 9], axis=0)
    palette = variance_palette(pixels, 8)
    assert sorted(palette.round().tolist()) == [[0, 0, 0], [0, 200, 90], [255, 0, 0]]


def test_noise_has_the_variance_it_says():
    gray = np.full((128, 128, 3), 128, np.uint8)
    rng = np.random.default_rng(0)
    for severity in SEVERITIES:
        for name, level in (("white_noise", 1.0), ("multiplicative_noise", 128 / 255)):
            noise = distort_image(gray, name, severity, rng).astype(float) - 128
            expected = 255 * level * np.sqrt(DISTORTIONS[name].parameters[severity - 1])
            assert noise.std() == pytest.approx(expected, rel=0.03)
            assert abs(noise.mean()) < 0.5
        hit = distort_image(gray, "impulse_noise", severity, rng)
        share = DISTORTIONS["impulse_noise"].parameters[severity - 1]
        assert np.isin(hit, (0, 128, 255)).all()
        assert (hit != 128).mean() == pytest.approx(share, rel=0.3)
        assert (hit == 0).sum() == pytest.approx((hit == 255).sum(), rel=0.6)


def test_denoise_leaves_less_noise_than_it_adds():
    gray = np.full((96, 96, 3), 128, np.uint8)
    for severity in SEVERITIES:
        left = distort_image(gray, "denoise", severity, np.random.default_rng(0)).std()
        added = 255 * np.sqrt(DISTORTIONS["denoise"].parameters[severity - 1])
        assert 0 < left < added / 3


def test_counts_scale_with_area_and_lengths_do_not():
    assert scaled_squares(10, 32, 512 * 384, least=5) == (10, 32)
    assert scaled_squares(10, 32, 4 * 512 * 384, least=5) == (40, 32)
    count, side = scaled_squares(2, 32, 256 * 256, least=1)
    assert count == 1 and side == 26  # sqrt(2 / 3 * 32^2) = 26.1


def test_color_blocks_cover_what_they_should():
    black = np.zeros((384, 512, 3), np.uint8)
    covered = (distort_image(black, "color_block", 5, np.random.default_rng(0)) != 0).any(axis=2)
    assert 6 * 32 * 32 < covered.sum() <= 10 * 32 * 32
    photo = np.repeat(np.arange(384 * 512, dtype=np.int64)[:, None] % 251, 3, axis=1).reshape(384, 512, 3)
    photo = photo.astype(np.uint8)
    changed = (distort_image(photo, "non_eccentricity_patch", 1, np.random.default_rng(0)) != photo).any(axis=2)
    assert 10 * 16 * 16 < changed.sum() <= 20 * 16 * 16


def test_color_diffusion_keeps_lightness_and_moves_color():
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, :32], halves[:, 32:] = (150, 100, 100), (100, 120, 150)
    before = skimage_color.rgb2lab(halves)
    after = skimage_color.rgb2lab(distort_image(halves, "color_diffusion", 3, np.random.default_rng(0)))
    assert np.abs(before[..., 0] - after[..., 0]).max() < 1.0
    # 5.5 px beside the edge is half a sigma (11 px): the share of the other colour there is Phi(-0.5) = 0.309.
    left, right = before[32, 0, 1], before[32, -1, 1]
    assert after[32, 26, 1] == pytest.approx(left + 0.309 * (right - left), abs=1.0)
    assert after[32, 37, 1] == pytest.approx(right + 0.309 * (left - right), abs=1.0)


# Contact sheet


def test_contact_sheet_draws_a_labelled_row_a_type(tmp_path, photos):
    source, target = tmp_path / "photo.png", tmp_path / "new" / "sheet.png"
    Image.fromarray(photos[1]).save(source)
    names = ["jpeg", "pixelate"]
    sheet.main([str(source), "--output", str(target), "--size", "64", "--names", *names])
    drawn = np.array(Image.open(target))
    assert drawn.shape == (2 * (64 + 18 + 4) + 4, 6 * (64 + 4) + 4, 3)
    crop = photos[1][32:96, 32:96]
    assert np.array_equal(drawn[22:86, 4:68], crop)
    expected = distort_image(crop, "jpeg", 5, np.random.default_rng(0))
    assert np.array_equal(drawn[22:86, 4 + 5 * 68 : 68 + 5 * 68], expected)
    assert (drawn[4:22, 4:68] < 128).any()


def test_contact_sheet_enlarges_small_pictures_and_names_unreadable_ones(tmp_path, capsys):
    assert sheet.center_crop(Image.new("L", (20, 30), 7), 48).shape == (48, 48, 3)
    with pytest.raises(SystemExit):
        sheet.main([str(tmp_path / "none.png"), "--output", str(tmp_path / "sheet.png")])
    assert "cannot read the picture" in capsys.readouterr().err


def test_contact_sheet_of_a_clip_shows_time(tmp_path):
    clip = np.stack([np.full((32, 32, 3), 8 * t, np.uint8) for t in range(16)])
    shown = sheet.show_clip(clip)
    assert shown.shape == (48, 32, 3) and (shown[:32] == 64).all()
    assert shown[32:, 0, 0].tolist() == [8 * t for t in range(16)]
    examples = Path(__file__).parents[2] / "spaces_demo" / "examples"
    target = tmp_path / "clip sheet.png"
    options = ["--size", "32", "--frames", "12", "--names", "frame_drop_rate", "jpeg"]
    sheet.main([str(next(examples.glob("*.mp4"))), "--output", str(target), *options])
    assert Image.open(target).size == (6 * 36 + 4, 2 * (48 + 18 + 4) + 4)


def test_contact_sheet_refuses_a_video_distortion_for_a_photo(tmp_path, photos, capsys):
    Image.fromarray(photos[0]).save(tmp_path / "photo.png")
    with pytest.raises(SystemExit):
        sheet.main([str(tmp_path / "photo.png"), "--output", str(tmp_path / "s.png"), "--names", "stutter"])
    assert "needs a clip" in capsys.readouterr().err
