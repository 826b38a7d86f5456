"""Scenes made of photos: what stays as it was, what becomes soft, dark, grey or grainy."""

import cv2
import numpy as np
import pytest
from skimage import data

from dataset_scripts.distortions.scenes import (
    black_and_white,
    cut_out,
    film_grain,
    letterbox,
    night,
    night_noise,
    portrait_mask,
    soft_background,
    soft_subject,
)


PHOTO = np.ascontiguousarray(data.coffee()[:300, 50:450])


def detail(picture, where):
    return np.abs(cv2.Laplacian(picture.mean(2).astype(np.float32), cv2.CV_32F))[where].mean()


@pytest.fixture(params=range(3))
def rng(request):
    return np.random.default_rng(request.param)


def test_masks_have_a_subject_and_a_background(rng):
    for height, width in ((300, 400), (400, 300), (200, 600)):
        mask = portrait_mask(height, width, rng)
        assert mask.shape == (height, width) and mask.dtype == np.float32
        assert mask.min() == 0 and mask.max() == 1 and 0.06 < mask.mean() < 0.5


def test_focus_lies_on_the_subject_or_misses_it(rng):
    mask = portrait_mask(300, 400, rng)
    good, missed = soft_background(PHOTO, mask, 0.7, rng), soft_subject(PHOTO, mask, 0.7, rng)
    subject, ground = mask == 1, mask == 0
    assert np.array_equal(good[subject], PHOTO[subject]) and np.array_equal(missed[ground], PHOTO[ground])
    assert detail(good, ground) < 0.6 * detail(PHOTO, ground)
    assert detail(missed, subject) < 0.6 * detail(PHOTO, subject)


def test_black_and_white_has_one_tone(rng):
    picture = black_and_white(PHOTO, rng).astype(float)
    grey = picture.mean(2)
    shares = picture.reshape(-1, 3).mean(0) / grey.mean()
    assert np.abs(picture - grey[..., None] * shares).max() < 12  # one brightness, times a tone
    assert np.corrcoef(grey.ravel(), PHOTO.mean(2).ravel())[0, 1] > 0.9


def test_grain_is_grey_and_grows(rng):
    photo = np.full((200, 200, 3), 128, np.uint8)
    weak, strong = (film_grain(photo, strength, rng).astype(float) for strength in (0.2, 0.8))
    assert np.ptp(strong, axis=2).max() == 0
    assert 5 < weak.std() < 11 and 25 < strong.std() < 42
    assert film_grain(np.zeros_like(photo), 0.8, rng).std() < strong.std() / 2  # less in the shadows


def test_night_is_dark_and_clean_and_its_noise_is_not(rng):
    dark = night(PHOTO, rng)
    assert dark.mean() < 0.65 * PHOTO.mean()
    weak, strong = (night_noise(dark, strength, rng) for strength in (0.2, 0.9))
    everywhere = np.ones(dark.shape[:2], bool)
    assert detail(dark, everywhere) < detail(weak, everywhere) < detail(strong, everywhere)


def test_bars_lie_around_an_untouched_photo():
    shapes = set()
    for seed in range(12):
        picture = letterbox(PHOTO, np.random.default_rng(seed))
        top, left = ((picture.shape[i] - PHOTO.shape[i]) // 2 for i in (0, 1))
        assert (top > 0) != (left > 0)
        assert np.array_equal(picture[top : top + 300, left : left + 400], PHOTO)
        shapes.add(top > 0)
    assert shapes == {True, False}


def test_a_cut_out_has_a_plain_ground_and_a_sharp_edge(rng):
    mask = portrait_mask(300, 400, rng)
    picture = cut_out(PHOTO, mask, rng)
    assert np.array_equal(picture[mask > 0.6], PHOTO[mask > 0.6])
    assert len(np.unique(picture[mask < 0.4], axis=0)) == 1
