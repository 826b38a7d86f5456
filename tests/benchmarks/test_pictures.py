"""The pictures of README and docs/ are made from the examples, and all that the pages show are there."""

import re

import numpy as np
import pytest
from PIL import Image

from benchmarks.pictures import BLURRED, EXAMPLES, PHOTO, ROOT, blur_part, blur_second, side_by_side
from tests.fixtures.doc_blocks import PAGES


def test_a_third_is_blurred_and_the_rest_is_as_it_was():
    photo = Image.effect_noise((90, 30), 80).convert("RGB")
    before, after = np.asarray(photo).astype(int), np.asarray(blur_part(photo)).astype(int)
    assert np.array_equal(before[:, :50], after[:, :50])
    assert after[:, 65:].std() < 0.5 * before[:, 65:].std()


def test_only_the_middle_second_is_blurred():
    frames = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    changed = [not np.array_equal(a, b) for a, b in zip(frames, blur_second(frames, 10.0), strict=True)]
    assert changed == [False] * 10 + [True] * 10 + [False] * 10


def test_pictures_of_several_heights_stand_in_a_row():
    page = side_by_side([(Image.new("RGB", (20, 30)), "a"), (Image.new("RGB", (40, 10)), "b")])
    assert page.width == 20 + 40 + 12 and page.getpixel((0, 29)) == (0, 0, 0) and page.getpixel((50, 20)) == (255,) * 3


def test_the_blurred_photo_is_that_of_the_example():
    made = np.asarray(blur_part(Image.open(EXAMPLES / PHOTO).convert("RGB"))).astype(int)
    kept = np.asarray(Image.open(ROOT / "docs" / "images" / BLURRED).convert("RGB")).astype(int)
    assert np.abs(made - kept).mean() < 3


@pytest.mark.parametrize("page", PAGES)
def test_every_picture_of_a_page_is_there_and_has_words(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for words, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text):
        assert ((ROOT / page).parent / target).is_file(), target
        assert len(words.split()) > 4, f"say what {target} shows to those who do not see it"


def test_readme_is_short_and_opens_with_what_it_is():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[:20])
    for said in ("Scores how good", "images/hero.jpg", "vital score", "vital compare", "<!-- output -->"):
        assert said in first
