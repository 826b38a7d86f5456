"""Captions are true of what was measured, use the levels as a scale, and never speak of quality."""

import re

import numpy as np
import pytest

from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS
from modeling_vital.levels_vital import LEVEL_WORDS
from training.experiment.captions import Scale, attributes, brightest_place, caption, main_colour


def plain(red, green, blue, size=32):
    return np.full((size, size, 3), (red, green, blue), dtype=np.uint8)


def test_attributes_by_hand():
    found = attributes(plain(255, 51, 0))
    assert found["brightness"] == pytest.approx((1 + 0.2) / 3)
    assert found["warmth"] == pytest.approx(1)
    assert found["greenness"] == pytest.approx(0.2 - 0.5)
    assert found["blueness"] == pytest.approx(-0.6)
    assert found["colourfulness"] == pytest.approx(1)
    assert found["light at the top"] == found["light on the left"] == pytest.approx(0, abs=1e-6)
    assert "movement" not in found


def test_directions_of_light_edges_and_movement():
    picture = np.zeros((32, 32, 3), dtype=np.uint8)
    picture[:, :16] = 200  # light on the left, one upright edge
    found = attributes(picture)
    assert found["light on the left"] == pytest.approx(200 / 255, abs=1e-4)
    assert found["light at the top"] == pytest.approx(0, abs=1e-6)
    assert found["share of upright edges"] > 0.99
    assert attributes(picture.transpose(1, 0, 2))["share of upright edges"] < 0.01
    still = np.stack([picture] * 4)
    assert attributes(still)["movement"] == 0
    assert attributes(np.stack([picture, 255 - picture] * 2))["movement"] > 50


@pytest.mark.parametrize(
    ("rgb", "name"),
    [((200, 20, 20), "red"), ((20, 180, 30), "green"), ((20, 40, 220), "blue"), ((90, 90, 90), "grey")],
)
def test_main_colour_and_brightest_place(rgb, name):
    picture = plain(*rgb)
    assert main_colour(picture) == name
    picture[22:, 22:] = 255
    assert brightest_place(picture) == "bottom right"
    assert brightest_place(np.stack([picture] * 3)) == "bottom right"


def test_levels_are_fifths_and_the_first_word_is_the_highest():
    scale = Scale([{"brightness": value} for value in range(100)])
    words = [scale.word("brightness", value) for value in range(100)]
    assert words == [word for word in reversed(LEVEL_WORDS) for _ in range(20)]


def test_no_caption_speaks_of_quality_and_word_lists_know_nothing_of_the_item():
    rng = np.random.default_rng(0)
    items = [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(20)]
    items += [rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8) for _ in range(5)]
    measured = [attributes(item) for item in items]
    scale = Scale(measured)
    forbidden = {"quality", "distortion", "sharp", "blur", "noise", *SEVERITY_WORDS}
    forbidden |= {entry.words.lower() for entry in DISTORTIONS.values()}
    lists = []
    for _ in range(12):
        for item, found in zip(items, measured, strict=True):
            text = caption(item, found, scale, rng)
            said, _, listed = text.partition("Words: ")
            lists.append(listed)
            assert not [word for word in forbidden if re.search(rf"\b{re.escape(word)}\b", said.lower())], text
            assert ("video" in said) == (item.ndim == 4) and ("image" in said) == (item.ndim == 3)
            for name, word in re.findall(r"The ([\w ]+?) of the (?:image|video) is (\w+)\.", said):
                if name != "main colour":
                    assert word == scale.word(name, found[name])
    share = np.mean([bool(listed) for listed in lists])
    assert 0.12 < share < 0.28
