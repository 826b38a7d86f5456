"""Damage of real photos: more with more strength, chance only from the generator, and only where it should be."""

import numpy as np
import pytest
from skimage import data
from skimage.metrics import structural_similarity

from dataset_scripts.annotators.base import luma
from dataset_scripts.annotators.picture import detail
from dataset_scripts.distortions.authentic import AUTHENTIC, LOCAL, PHASES, Degradation, draw, spread, subject_mask


PHOTO = data.astronaut()[100:356, 100:356].copy()


@pytest.mark.parametrize("name", AUTHENTIC)
def test_more_strength_is_more_damage(name):
    kept = PHOTO.copy()
    likeness = []
    for strength in (0.1, 0.5, 1.0):
        damaged = AUTHENTIC[name](PHOTO, strength, np.random.default_rng(3))
        assert damaged.shape == PHOTO.shape and damaged.dtype == np.uint8
        likeness.append(structural_similarity(PHOTO, damaged, channel_axis=2))
        again = AUTHENTIC[name](PHOTO, strength, np.random.default_rng(3))
        assert np.array_equal(damaged, again)
    assert likeness[0] > likeness[1] > likeness[2]
    assert np.array_equal(PHOTO, kept)


@pytest.mark.parametrize("shape", [(16, 200, 3), (97, 33, 3)])
@pytest.mark.parametrize("name", AUTHENTIC)
def test_any_shape(name, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert AUTHENTIC[name](picture, 1.0, np.random.default_rng(0)).shape == shape


def test_light_is_a_matter_of_stops():
    grey = np.full((32, 32, 3), 128, np.uint8)
    # 2.5 stops up burn out, 3.5 stops down: 128 * 2 ** (-3.5 / 2.2)
    assert (AUTHENTIC["over_exposure"](grey, 1.0, None) == 255).all()
    assert (AUTHENTIC["under_exposure"](grey, 1.0, None) == round(128 * 2 ** (-3.5 / 2.2))).all()


def test_noise_is_strongest_in_the_light_and_shows_in_the_dark():
    rng = np.random.default_rng(0)
    spread_of = {}
    for value in (30, 128, 220):
        flat = np.full((128, 128, 3), value, np.uint8)
        spread_of[value] = AUTHENTIC["sensor_noise"](flat, 0.5, rng).std()
    assert spread_of[30] > spread_of[220] > 1  # as seen, after gamma


def test_histories_keep_the_order_of_events_and_one_step_a_phase():
    rng = np.random.default_rng(0)
    drawn = [draw(rng) for _ in range(500)]
    order = list(AUTHENTIC)
    phase_of = {function.__name__: phase for phase, functions in PHASES.items() for function in functions}
    for history in drawn:
        names = [name for name, _ in history.steps]
        assert names and [order.index(name) for name in names] == sorted(order.index(name) for name in names)
        assert len({phase_of[name] for name in names}) == len(names)
        assert all(0 < strength <= 1 for _, strength in history.steps)
    assert {name for history in drawn for name, _ in history.steps} == set(AUTHENTIC)
    assert {name for _ in range(100) for name, _ in draw(rng, LOCAL).steps} == set(LOCAL)
    assert np.array_equal(Degradation(()).apply(PHOTO, rng), PHOTO)


def rendering_of(steps, seed=5):
    history = Degradation(steps)
    made, shown = (do(PHOTO, np.random.default_rng(seed)) for do in (history.apply, history.render))
    return made, shown


@pytest.mark.parametrize("name", ["sensor_noise", "film_grain", "color_noise", "over_processing", "recompression"])
def test_what_is_added_is_not_in_the_rendering(name):
    made, shown = rendering_of(((name, 0.7),))
    assert np.array_equal(shown, PHOTO) and not np.array_equal(made, PHOTO)


@pytest.mark.parametrize("name", ["haze", "tone_curve", "out_of_focus", "hand_shake", "soft_lens", "upscaling"])
def test_what_light_lens_and_size_do_is_the_rendering(name):
    made, shown = rendering_of(((name, 0.7),))
    assert np.array_equal(shown, made)


def test_dim_light_is_low_light_without_its_noise():
    made, shown = rendering_of((("low_light", 0.6),))
    assert abs(float(made.mean()) - float(shown.mean())) < 4
    assert np.abs(np.diff(made.astype(int), axis=1)).mean() > np.abs(np.diff(shown.astype(int), axis=1)).mean()


def test_enlarged_pixels_are_rendered_without_their_edges():
    made, shown = rendering_of((("pixelation", 0.9),))
    assert detail(luma(shown)) < 0.7 * detail(luma(made))


def test_the_subject_is_where_the_detail_is():
    picture = np.full((200, 300, 3), 120, np.uint8)
    picture[80:130, 170:230] = np.random.default_rng(0).integers(0, 256, (50, 60, 3))
    for seed in range(10):
        mask = subject_mask(picture, np.random.default_rng(seed))
        assert mask.shape == (200, 300) and mask.dtype == np.float32 and 0 <= mask.min() and mask.max() <= 1
        assert mask[105, 200] == 1 and mask[5, 5] == 0
        assert 0.05 < mask.mean() < 0.6


def test_spread_leaves_the_rest_alone():
    mask = np.zeros(PHOTO.shape[:2], np.float32)
    mask[:100] = 1
    out = spread(PHOTO, np.zeros_like(PHOTO), mask)
    assert (out[:100] == 0).all() and np.array_equal(out[100:], PHOTO[100:])
