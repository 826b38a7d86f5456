"""What saves time changes no score: repeated tiles, chunks of tiles, rows grouped by length."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modeling_vital import assessment_vital, modeling_vital
from modeling_vital.assessment_vital import _like_lengths
from tests.fixtures.tiny_models import TILE, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def seen(model, monkeypatch):
    """Tiles of each pass through the image encoder."""
    calls = []
    forward = model.model.vision_tower.forward
    monkeypatch.setattr(
        model.model.vision_tower, "forward", lambda **kw: calls.append(len(kw["pixel_values"])) or forward(**kw)
    )
    return calls


@torch.no_grad()
def test_a_tile_that_repeats_the_one_before_is_encoded_once(model, seen):
    a, b = torch.randn(2, 3, TILE, TILE)
    features = model.model.encode_tiles(torch.stack([a, a, b, a, a, a]))
    assert seen == [3]
    alone = model.model.encode_tiles(torch.stack([a, b]))
    torch.testing.assert_close(features, alone[[0, 0, 1, 0, 0, 0]], atol=1e-5, rtol=0)


def test_gradients_of_repeated_tiles_add_up(model):
    tile = torch.randn(1, 3, TILE, TILE)
    weight = model.model.multi_modal_projector.linear_2.weight
    once, twice = (
        torch.autograd.grad(model.model.encode_tiles(tile.repeat(n, 1, 1, 1)).sum(), weight)[0] for n in (1, 2)
    )
    torch.testing.assert_close(twice, 2 * once)


def test_the_encoder_takes_bounded_chunks_unless_it_learns(model, seen, monkeypatch):
    tiles = torch.randn(5, 3, TILE, TILE)
    with torch.no_grad():
        whole = model.model.encode_tiles(tiles)
        monkeypatch.setattr(modeling_vital, "_PIXELS_AT_ONCE", 2 * TILE**2)
        chunked = model.model.encode_tiles(tiles)
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=0)
    model.model.encode_tiles(tiles)
    assert seen == [5, 2, 2, 1, 5]


@pytest.mark.parametrize("gib, tiles", [(4, 8), (24, 24), (80, 64)])
def test_a_cuda_device_takes_more_tiles_at_once(gib, tiles, monkeypatch):
    about = SimpleNamespace(total_memory=gib * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: about)
    assert modeling_vital.pixels_at_once(torch.device("cuda")) == tiles * 448**2
    assert modeling_vital.pixels_at_once(torch.device("cpu")) == 8 * 448**2


def test_lengths_of_a_group_are_alike_and_nothing_is_lost():
    lengths = [256, 1280, 300, 256, 768, 384, 385, 950]
    assert _like_lengths(lengths) == [[0, 3, 2, 5], [6], [4, 7], [1]]
    assert _like_lengths([4, 100, 7]) == [[0, 2, 1]]  # short rows cost less to pad than to part
    assert _like_lengths([7]) == [[0]]


def test_pictures_and_clips_of_any_length_score_in_one_batch_as_alone(model, monkeypatch):
    rng = np.random.default_rng(0)
    sizes = ((TILE, TILE), (TILE, 2 * TILE), (3 * TILE, 2 * TILE), (TILE, TILE))
    items = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    items.insert(2, [rng.integers(0, 256, (TILE, TILE, 3), np.uint8) for _ in range(9)])
    alone = [model.score(items[i : i + 1])[0].score for i in range(len(items))]
    monkeypatch.setattr(assessment_vital, "_like_lengths", partial(_like_lengths, slack=0))
    masks = []
    logits = model.level_logits
    monkeypatch.setattr(model, "level_logits", lambda **kw: masks.append(kw["attention_mask"]) or logits(**kw))
    assert [result.score for result in model.score(items)] == pytest.approx(alone, abs=1e-5)
    assert sum(len(mask) for mask in masks) == len(items)
    assert all(mask.float().mean() > 0.8 for mask in masks)  # of one batch it would be 0.6
