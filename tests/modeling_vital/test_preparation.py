"""Media are loaded once, cut as the image processor cuts them, prepared ahead in order, and normalised exactly."""

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_vital import cutting_vital, picture_vital
from modeling_vital.cutting_vital import MediaCutter, Tiling
from modeling_vital.image_processing_vital import VitalImageProcessor
from modeling_vital.media_vital import MediaError
from modeling_vital.preparation_vital import prepare_ahead
from tests.fixtures.tiny_models import TILE, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def photo(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_a_picture_is_loaded_and_converted_once(model, tmp_path, monkeypatch):
    Image.fromarray(photo(3 * TILE, 2 * TILE)).save(tmp_path / "photo.png")
    converted, loaded = [], []
    to_rgb, load = picture_vital.to_rgb, cutting_vital.load_media
    monkeypatch.setattr("modeling_vital.media_vital.to_rgb", lambda image: converted.append(1) or to_rgb(image))
    for place in ("cutting_vital", "image_processing_vital"):
        monkeypatch.setattr(f"modeling_vital.{place}.load_media", lambda *a, **k: loaded.append(1) or load(*a, **k))
    for ask in (model.score, model.describe, lambda item: model.answer(item, "Is it sharp?", ["yes", "no"])):
        converted.clear(), loaded.clear()
        ask(str(tmp_path / "photo.png"))
        assert (len(converted), len(loaded)) == (1, 1)


def test_a_frame_is_resized_once_for_both_encoders(monkeypatch):
    frames, squashed = photo(40, 30 * 20).reshape(20, 30, 40, 3), []
    squash = Tiling.squash
    monkeypatch.setattr(Tiling, "squash", lambda *args: squashed.append(1) or squash(*args))
    cutter = MediaCutter(Tiling(tile_size=16), motion_size=16)
    media = cutter(frames)
    assert len(squashed) == len(media.motion_frames) == 5  # every fourth frame; the one key frame is among them
    assert np.array_equal(media.tiles[0], media.motion_frames[0])


@pytest.mark.parametrize("max_tiles_per_frame, motion_size", [(1, TILE), (1, 16), (4, TILE)])
def test_tiles_and_frames_are_the_image_processors(max_tiles_per_frame, motion_size):
    processor = VitalImageProcessor(tile_size=TILE, max_tiles=6)
    cutter = MediaCutter(processor.tiling, motion_size, max_tiles_per_frame)
    picture, frames = photo(3 * TILE, 2 * TILE), photo(2 * TILE, 40 * TILE).reshape(40, TILE, 2 * TILE, 3)
    cut = cutter(picture)
    assert torch.equal(processor.normalize(cut.tiles), processor.preprocess(picture)["pixel_values"])
    clip = cutter(frames)
    shown = processor.preprocess(frames[0], max_tiles=max_tiles_per_frame, use_thumbnail=False)
    assert torch.equal(processor.normalize(clip.tiles), shown["pixel_values"])
    assert clip.num_tiles == shown["num_tiles"].tolist()
    motion = [Image.fromarray(frame).resize((motion_size, motion_size), processor.resample) for frame in frames[::4]]
    assert np.array_equal(clip.motion_frames, np.stack([np.asarray(frame) for frame in motion]))


def test_values_are_normalised_to_the_last_bit_and_then_rounded():
    processor = VitalImageProcessor(tile_size=16)
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1).repeat(9, 0)
    mean, std = np.float32(processor.image_mean), np.float32(processor.image_std)
    expected = torch.from_numpy((pixels.astype(np.float32) / np.float32(255) - mean) / std).permute(0, 3, 1, 2)
    values = processor.normalize(pixels)
    assert values.dtype == torch.float32 and torch.equal(values, expected)
    assert torch.equal(processor.normalize(pixels, dtype=torch.bfloat16), expected.bfloat16())


def test_on_a_cpu_a_batch_is_normalised_item_by_item(model, monkeypatch):
    frames = photo(2 * TILE, 40 * TILE).reshape(40, TILE, 2 * TILE, 3)
    media = [model.processor.prepare(each) for each in (photo(3 * TILE, 2 * TILE), frames, photo(TILE, TILE), frames)]
    expected = model.processor.normalize_inputs(model.processor.visual_bytes(media), "cpu")
    monkeypatch.setattr(np, "concatenate", lambda *args, **kwargs: pytest.fail("pixels are copied"))
    inputs = model.processor.visual_inputs(media)
    assert list(inputs) == ["pixel_values", "motion_values", "motion_lengths"] == list(expected)
    assert all(torch.equal(inputs[name], expected[name]) for name in inputs)


def test_a_model_in_bfloat16_is_given_its_own_dtype(model):
    small = tiny_model().to(torch.bfloat16)
    inputs = small.processor.score_inputs([photo(TILE, TILE)], small.device, small.dtype)
    assert inputs["pixel_values"].dtype == torch.bfloat16
    assert abs(small.score(photo(TILE, TILE)).score - model.score(photo(TILE, TILE)).score) < 0.05


class Slow:
    """Takes longest for the first items; remembers in which thread each was prepared."""

    def __init__(self):
        self.threads, self.lock = {}, threading.Lock()

    def __call__(self, item):
        time.sleep(0.02 if item in (0, 1) else 0)
        with self.lock:
            self.threads.setdefault(item, []).append(threading.current_thread())
        if item == 3:
            raise MediaError("3 is bad; give another.")
        if item == 9:
            raise KeyError("a bug")
        return MediaCutter(Tiling(tile_size=8), motion_size=8)(np.full((8, 8, 3), item, np.uint8))


@pytest.mark.parametrize("ahead", [0, 3])
def test_items_come_in_order_and_errors_at_their_place(ahead):
    slow = Slow()
    ready = prepare_ahead(slow, iter(range(12)), ahead)
    for number in range(9):
        media = next(ready)
        assert isinstance(media, MediaError) if number == 3 else media.tiles[0, 0, 0, 0] == number
    with pytest.raises(KeyError, match="a bug"):
        next(ready)
    alive = [thread for threads in slow.threads.values() for thread in threads if thread.is_alive()]
    assert set(alive) <= {threading.current_thread()}
    assert (threading.current_thread() in slow.threads[0]) == (ahead == 0)


def test_no_more_is_taken_than_was_asked_for_and_leaving_ends_the_threads():
    taken, slow = [], Slow()
    ready = prepare_ahead(slow, (taken.append(i) or i for i in range(100)), 4)
    next(ready)
    assert taken == [0, 1, 2, 3, 4]
    ready.close()
    assert not any(thread.is_alive() for threads in slow.threads.values() for thread in threads)


def test_one_object_is_never_prepared_by_two_threads(model):
    slow, item = Slow(), 1
    assert len(list(prepare_ahead(slow, [item] * 4, 4))) == 4
    assert len(slow.threads[1]) == 1
    clip = cutting_vital.load_media(photo(TILE, 8 * TILE).reshape(8, TILE, TILE, 3))
    assert np.ptp([result.score for result in model.score([clip] * 3)]) < 1e-6  # rows of a batch: last bits may differ


class AtOnce:
    """An executor that has done its work when `submit` returns: real threads finish when the machine lets them."""

    def __init__(self, *_):
        pass

    def submit(self, function, *args):
        future = Future()
        future.set_result(function(*args))
        return future

    def shutdown(self, **_):
        pass


def test_bytes_that_wait_are_bounded(monkeypatch):
    monkeypatch.setattr("modeling_vital.preparation_vital._HELD_BYTES", 2 * 8 * 8 * 3)
    monkeypatch.setattr("modeling_vital.preparation_vital.ThreadPoolExecutor", AtOnce)
    taken = []
    ready = prepare_ahead(Slow(), (taken.append(i) or i for i in range(10, 110)), 50)
    for given in range(1, 5):
        next(ready)
        assert len(taken) == given + 2  # two wait: a third would be too many bytes
    assert len(list(ready)) == 96
