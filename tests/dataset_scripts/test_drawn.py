"""Drawn originals: they depend on the generator alone, have clean edges, and their two looks share nothing."""

import numpy as np
import pytest

from dataset_scripts.sources.drawn import DRAWN, HELD_OUT, TRAINING, draw


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("look", [TRAINING, HELD_OUT], ids=["training", "held out"])
def test_each_kind_depends_on_its_generator_alone(kind, look):
    for width, height in ((300, 220), (64, 64), (120, 400)):
        first, again, other = (DRAWN[kind](width, height, np.random.default_rng(seed), look) for seed in (1, 1, 2))
        assert first.shape == (height, width, 3) and first.dtype == np.uint8
        assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("kind", DRAWN)
def test_the_ground_is_plain_and_the_ink_sharp(kind):
    for seed in range(5):
        grey = DRAWN[kind](400, 300, np.random.default_rng(seed)).mean(2)
        step = np.abs(np.diff(grey, axis=1))
        assert (step == 0).mean() > 0.5  # no noise
        assert (step > 30).mean() > 0.002 and step.max() > 60  # something to read, with edges of a pixel


def test_the_looks_share_no_font_and_no_word():
    for name in ("text_fonts", "bold_fonts", "code_fonts", "words", "papers", "accents"):
        assert not set(getattr(TRAINING, name)) & set(getattr(HELD_OUT, name)), name


def test_draw_varies_kind_and_look():
    made = [draw(200, 160, np.random.default_rng(seed)) for seed in range(30)]
    assert len({picture[-1, -1].tobytes() for picture in made}) > 8
    with pytest.raises(ValueError, match=" 64 pixels.* 200 x 63"):
        draw(200, 63, np.random.default_rng(0))
