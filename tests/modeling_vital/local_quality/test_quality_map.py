"""Maps of pictures: where they point, what they hold, and how they are blended and drawn."""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_scripts.distortions import distort_image
from modeling_vital import VitalForConditionalGeneration
from modeling_vital.curve_frames import window_starts
from modeling_vital.local_quality import QualityMap, draw_map, quality_map, scale_colors
from modeling_vital.media_vital import MediaError, load_media
from tests.fixtures.tiny_media import frames, photo
from tests.fixtures.tiny_models import TILE, tiny_model
from tests.test_embedded_checkpoint import PHOTOS


@pytest.fixture(scope="module")
def vital_tiny():
    return VitalForConditionalGeneration.from_pretrained("vital-tiny")


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def separation(values: np.ndarray, damaged: np.ndarray) -> float:
    """Share of the pairs of a damaged and a sound point in which the damaged one has the lower value (AUC)."""
    ranks = np.empty(values.size)
    ranks[values.ravel().argsort()] = np.arange(1, values.size + 1)
    bad = int(damaged.sum())
    lower = ranks[damaged.ravel()].sum() - bad * (bad + 1) / 2
    return 1 - lower / (bad * (damaged.size - bad))


def overlap(values: np.ndarray, damaged: np.ndarray) -> float:
    """Intersection over union of the damage and the as many lowest points of the map."""
    lowest = values <= np.quantile(values, damaged.mean())
    return (lowest & damaged).sum() / (lowest | damaged).sum()


def test_the_measures_of_these_tests_are_right():
    damaged = np.array([[True, True, False, False]])
    assert separation(np.array([[0.1, 0.2, 0.3, 0.4]]), damaged) == 1
    assert separation(np.array([[0.1, 0.3, 0.2, 0.4]]), damaged) == 0.75
    assert separation(np.array([[0.4, 0.3, 0.2, 0.1]]), damaged) == 0
    assert overlap(np.array([[0.1, 0.3, 0.2, 0.4]]), damaged) == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", ["gaussian_blur", "white_noise", "jpeg"])
def test_damage_of_a_part_is_found_there(vital_tiny, kind):
    """Half of one photo, a quarter of the next, and so on. The crops are sharp and bright all over before that."""
    hits, areas, overlaps = [], [], []
    for number, path in enumerate(PHOTOS):
        whole = load_media(path)
        left, top = (whole.width - 384) // 2, (whole.height - 320) // 2
        pixels = np.asarray(whole.crop((left, top, left + 384, top + 320)))
        damaged = np.zeros(pixels.shape[:2], dtype=bool)
        damaged[(0 if number % 2 else 160) :, :192] = True
        worse = distort_image(pixels, kind, 4, np.random.default_rng(0))
        result = quality_map(vital_tiny, Image.fromarray(np.where(damaged[..., None], worse, pixels)))
        values, mask = result.values(96, 80), damaged[2::4, 2::4]
        assert 0 <= values.min() <= values.max() <= 1
        hits.append(mask[np.unravel_index(values.argmin(), values.shape)])
        areas.append(separation(values, mask))
        overlaps.append(overlap(values, mask))
    assert sum(hits) >= len(PHOTOS) // 2  # the very worst place may be a soft one of the photo itself
    assert np.mean(areas) > 0.75  # of chance .5
    assert np.mean(overlaps) > 0.45


def test_a_picture_of_one_tile_has_the_score_of_the_picture(model):
    for width, height in ((TILE, TILE), (TILE - 9, TILE - 5)):
        picture = Image.fromarray(photo(0, width, height))
        result = quality_map(model, picture)
        assert result.scores.shape == (1, 1)
        assert result.worst_score == pytest.approx(model.score(picture).score, abs=1e-6)
        assert result.values().shape == (height, width) and np.ptp(result.values()) < 1e-6


def test_a_tile_is_read_with_its_neighbours_and_the_whole(model, monkeypatch):
    """Against a picture put together by hand: nine tiles and a thumbnail, in this order, through `model.score`."""
    monkeypatch.setattr(model.processor.image_processor, "max_tiles", 9)
    picture = Image.fromarray(photo(1, 3 * TILE, 3 * TILE))
    result = quality_map(model, picture, overlap=0)
    boxes = [(c * TILE, r * TILE, (c + 1) * TILE, (r + 1) * TILE) for r in range(3) for c in range(3)]
    tiles = [*(picture.crop(box) for box in boxes), picture]
    prepared = model.processor.prepare(picture.crop(boxes[0]))
    prepared.tiles = np.concatenate([model.processor.image_processor.tiling.cut(tile, max_tiles=1) for tile in tiles])
    prepared.num_tiles = [10]
    assert result.scores[1, 1] == pytest.approx(model.score(prepared).score, abs=1e-6)
    corner = quality_map(model, picture, overlap=0, context="alone").scores[0, 2]
    assert corner == pytest.approx(model.score(picture.crop(boxes[2])).score, abs=1e-6)


def test_each_tile_is_encoded_once_and_the_map_is_the_same_again(model, monkeypatch):
    picture, encoded, steps = Image.fromarray(photo(2, 150, 100)), [], []
    encode = model.model.encode_tiles
    monkeypatch.setattr(model.model, "encode_tiles", lambda tiles: (encoded.append(len(tiles)), encode(tiles))[1])
    first = quality_map(model, picture, progress=lambda *step: steps.append(step))
    own = sum(model.processor.prepare(picture).num_tiles)  # of the picture's own score
    assert sum(encoded) == first.scores.size + 1 + own  # and the whole as one tile
    assert steps[-1] == (first.scores.size, first.scores.size) and len(steps) == len(first.tops)
    again = quality_map(model, picture)
    assert np.array_equal(first.scores, again.scores)
    few = quality_map(model, picture, batch_size=3)
    assert np.allclose(first.scores, few.scores, atol=1e-5)


def test_rows_that_do_not_fit_are_halved_and_a_tile_that_does_not_is_an_error(model, monkeypatch, caplog):
    picture, encode, read, fits = Image.fromarray(photo(2, 150, 100)), model.model.encode_tiles, model.level_logits, 2
    expected = quality_map(model, picture).scores

    def full(count):
        if fits < count <= expected.shape[1]:  # the score of the whole has more tiles
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(model.model, "encode_tiles", lambda tiles: full(len(tiles)) or encode(tiles))
    rows = lambda inputs: len(inputs["input_ids"]) if "image_hidden_states" in inputs else 0  # noqa: E731
    monkeypatch.setattr(model, "level_logits", lambda **inputs: full(rows(inputs)) or read(**inputs))
    assert np.allclose(quality_map(model, picture).scores, expected, atol=1e-5)
    assert caplog.text.count("halved") == 4  # of five and of three, to encode and to read: not tried again
    fits = 0
    with pytest.raises(MediaError, match="150x100.*too large"):
        quality_map(model, picture)


@pytest.mark.parametrize("length,size,stride", [(32, 32, 16), (33, 32, 16), (150, 32, 16), (1000, 128, 64)])
def test_windows_cover_everything(length, size, stride):
    starts = window_starts(length, size, stride)
    assert starts[0] == 0 and starts[-1] == length - size
    assert np.all(np.diff(starts) > 0) and np.all(np.diff(starts) <= stride + 1)


def test_values_are_blended_by_hand_numbers():
    one = {"tops": np.array([0]), "tile_width": 8, "tile_height": 8, "height": 8, "whole_score": 0.5}
    two = QualityMap(np.array([[0.2, 0.8]], dtype=np.float32), lefts=np.array([0, 4]), width=12, **one)
    values = two.values(width=12, height=1)[0]
    assert values[:4] == pytest.approx(0.2) and values[8:] == pytest.approx(0.8)
    # At 4.5 px the windows weigh sin^2(pi * 4.5 / 8) and sin^2(pi * 0.5 / 8).
    first, second = np.sin(np.pi * 4.5 / 8) ** 2, np.sin(np.pi * 0.5 / 8) ** 2
    assert values[4] == pytest.approx((0.2 * first + 0.8 * second) / (first + second), abs=1e-5)
    assert values[4:8] + values[4:8][::-1] == pytest.approx(1.0, abs=1e-5)
    assert two.worst == (0, 0, 8, 8) and two.worst_score == pytest.approx(0.2)
    assert two.to_dict()["scores"] == [[pytest.approx(0.2), pytest.approx(0.8)]]


def test_colors_rise_evenly_in_lightness():
    rgb = scale_colors(np.linspace(0.1, 0.9, 101)).astype(float) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    steps = np.diff(lightness)
    assert steps.min() > 0.3 and steps.max() < 1.2  # of 100: never flat, never a jump
    assert scale_colors(np.array([-1.0, 2.0])).tolist() == [[0x44, 0x01, 0x54], [0xFD, 0xE7, 0x25]]


def map_of(scores, width, height):
    """A map of tiles side by side with these scores."""
    scores = np.array(scores, dtype=np.float32)
    rows, columns = scores.shape
    tops, lefts = np.arange(rows) * (height // rows), np.arange(columns) * (width // columns)
    return QualityMap(scores, tops, lefts, width // columns, height // rows, width, height, float(scores.mean()))


def test_only_what_is_clearly_worse_is_tinted_and_framed():
    picture = Image.new("RGB", (400, 300), (90, 140, 70))
    result = map_of([[0.8, 0.8, 0.3, 0.7], [0.8, 0.8, 0.8, 0.8], [0.8, 0.65, 0.8, 0.8]], 400, 300)
    assert result.stands_out and result.clearly_worse_below == pytest.approx(0.6)
    drawn = draw_map(picture, result)
    assert drawn.width == 400 and drawn.height > 350
    expected = 0.4 * np.array([90, 140, 70]) + 0.6 * scale_colors(np.array(0.3))
    assert np.abs(np.array(drawn.getpixel((250, 50))) - expected).max() <= 1
    for other in ((50, 50), (350, 50), (150, 250)):  # .7 and .65 are a little worse, not clearly
        assert drawn.getpixel(other) == (90, 140, 70)
    assert drawn.getpixel((200, 0)) == (0, 0, 0) and (255, 255, 255) in [
        drawn.getpixel((200 + i, 50)) for i in range(8)
    ]
    assert drawn.getpixel((12, 300 + 14)) == tuple(scale_colors(np.array(0.1)).tolist())


def test_where_nothing_stands_out_the_picture_stays_as_it_is():
    picture = Image.fromarray(photo(3, 400, 300))
    result = map_of([[0.8, 0.7, 0.65], [0.75, 0.8, 0.8]], 400, 300)
    assert not result.stands_out and result.to_dict()["stands_out"] is False
    drawn = draw_map(picture, result)
    assert np.array_equal(np.asarray(drawn)[:300], np.asarray(picture))


def test_half_of_a_picture_that_is_bad_stands_out():
    assert map_of([[0.8, 0.2], [0.8, 0.2]], 64, 64).stands_out
    assert not map_of([[0.2, 0.2], [0.25, 0.2]], 64, 64).stands_out  # bad all over: no place is worse than the rest


@pytest.mark.slow
def test_the_frame_can_be_seen_at_12_megapixels(vital_tiny):
    pixels = np.asarray(load_media(PHOTOS[3]).resize((4000, 3000), Image.Resampling.BICUBIC)).copy()
    pixels[2000:, :1300] = distort_image(pixels[2000:, :1300], "white_noise", 5, np.random.default_rng(0))
    picture = Image.fromarray(pixels)
    result = quality_map(vital_tiny, picture)
    left, top, right, bottom = result.worst
    assert (right - left) * 1024 / 4000 > 80 and 0 <= left < right <= 4000 and 0 <= top < bottom <= 3000
    drawn = np.asarray(draw_map(picture, result))[:768].astype(int)
    assert (np.abs(drawn).max(-1) == 0).sum() > 500 or not result.stands_out


def test_a_large_picture_is_mapped_at_the_size_it_is_scored_at(vital_tiny):
    """So the two agree: at its own resolution the map of such a picture was lower by .3 than its score."""
    photo = load_media(PHOTOS[1])
    large = photo.resize((4000, 3000), Image.Resampling.BICUBIC)
    result = quality_map(vital_tiny, large)
    assert result.scores.size < 250 and result.values(40, 30).shape == (30, 40)
    assert result.whole_score == pytest.approx(vital_tiny.score(large).score, abs=1e-6)
    assert abs(result.whole_score - result.values(200, 150).mean()) < 0.15


@pytest.mark.slow
def test_a_map_of_12_megapixels_takes_under_5_seconds(vital_tiny):
    picture = load_media(PHOTOS[1]).resize((4000, 3000), Image.Resampling.BICUBIC)
    started = time.process_time()
    draw_map(picture, quality_map(vital_tiny, picture))
    assert time.process_time() - started < 10  # of two cores, 5 s each


def test_what_cannot_be_mapped_is_refused(model):
    with pytest.raises(MediaError, match="clip.*quality_curve"):
        quality_map(model, frames(0))
    with pytest.raises(MediaError, match="'no such.png'"):
        quality_map(model, "no such.png")
    picture = photo(0)
    for wrong in ({"overlap": 1}, {"context": "near"}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            quality_map(model, picture, **wrong)
    with pytest.raises(TypeError, match="decoder.*Linear"):
        quality_map(torch.nn.Linear(1, 1), picture)
    model.train()
    with pytest.raises(RuntimeError, match=r"`model\.eval\(\)`"):
        quality_map(model, picture)
    model.eval()


def test_a_thin_picture_is_no_trouble(model):
    result = quality_map(model, Image.new("RGB", (1, 700), "gray"))
    assert result.tile_width == 1 and result.values(1, 70).shape == (70, 1)
    assert draw_map(Image.new("RGB", (1, 700), "gray"), result).width >= 1
