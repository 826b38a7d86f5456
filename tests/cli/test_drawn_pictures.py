"""The warning of pages, screenshots and line art: what looks drawn, and when it is said."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from modeling_vital.cli.drawn_pictures import PageCount, looks_drawn
from modeling_vital.cli.main import main
from tests.fixtures.tiny_media import photo


def page_of_text(seed):
    """Dark strokes of text on paper."""
    rng = np.random.default_rng(seed)
    pixels = np.full((160, 128, 3), 250, np.uint8)
    for row in range(10, 150, 12):
        for column in range(8, 118, 6):
            if rng.random() < 0.8:
                pixels[row : row + 5, column : column + 3] = 20
    return pixels


def noisy_white(seed):
    """A photograph of a white wall: one colour, with grain."""
    noise = np.random.default_rng(seed).normal(245, 2, (160, 128, 1))
    return np.broadcast_to(noise, (160, 128, 3)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_what_looks_drawn(seed):
    assert looks_drawn(page_of_text(seed)[None]) and looks_drawn(255 - page_of_text(seed)[None])
    assert not looks_drawn(photo(seed, 160, 128)[None])
    assert not looks_drawn(noisy_white(seed)[None])


@pytest.mark.parametrize(("pages", "photos", "warned"), [(2, 1, True), (1, 1, False), (0, 0, False), (0, 2, False)])
def test_it_is_said_once_if_most_are(caplog, pages, photos, warned):
    count = PageCount()
    for pixels in [page_of_text(0)] * pages + [photo(0, 160, 128)] * photos:
        count.add(SimpleNamespace(modality="image", tiles=pixels[None]))
    count.add(SimpleNamespace(modality="video", tiles=page_of_text(0)[None]))
    count.warn()
    assert ("look like pages" in caplog.text) == warned


def test_the_command_says_it(tmp_path, capsys, caplog):
    for seed in range(2):
        Image.fromarray(page_of_text(seed)).save(tmp_path / f"{seed}.png")
    assert main(["score", str(tmp_path), "--format", "json", "--workers", "0"]) == 0
    assert caplog.text.count("2 of 2 pictures look like pages") == 1
