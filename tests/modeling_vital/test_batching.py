"""How many items go through the model at once: by number, by memory, and less where memory runs out."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from modeling_vital import batching_vital
from modeling_vital.batching_vital import BatchLimit, exact_float32
from modeling_vital.cli import words
from modeling_vital.cli.main import main
from modeling_vital.cli.scoring import Item, Read, grouped
from modeling_vital.media_vital import MediaError
from modeling_vital.pipeline_vital import TASK
from tests.fixtures.tiny_models import TILE, tiny_model
from tests.fixtures.tiny_probes import tiny_probe


CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(params=[tiny_model, tiny_probe])
def any_model(request):
    return request.param()


def photos(count, side=TILE):
    return list(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8))


def short_of_memory(model, monkeypatch, rows):
    """Lets the model run out of memory with more than `rows` rows; returns the numbers of rows it was given."""
    given, logits = [], model.level_logits

    def level_logits(**inputs):
        given.append(len(inputs.get("input_ids", inputs.get("num_tiles"))))
        if given[-1] > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has less.")
        return logits(**inputs)

    monkeypatch.setattr(model, "level_logits", level_logits)
    return given


def test_out_of_memory_halves_the_batch_and_loses_nothing(any_model, monkeypatch, caplog):
    expected = [any_model.score(item).score for item in photos(11)]
    given = short_of_memory(any_model, monkeypatch, 2)
    assert [result.score for result in any_model.score(photos(11))] == pytest.approx(expected, abs=1e-5)
    assert given == [8, 4, 2, 2, 4, 2, 2, 2, 1]  # what did not fit is not tried again in the next batch
    assert "halved" in caplog.text


def test_one_item_that_is_too_large_is_its_own_error(any_model, monkeypatch):
    short_of_memory(any_model, monkeypatch, 0)
    first, second = any_model.score(photos(2), errors="return")
    assert isinstance(first, MediaError) and isinstance(second, MediaError)
    assert "<uint8 array [32, 32, 3]> is too large for the memory of cpu" in str(first)
    assert "Tried to" not in str(first) and "max_tiles" in str(first)
    with pytest.raises(MediaError, match="`max_tiles`.*`frame_sampling`"):
        any_model.score(photos(2))


def short_of_memory_for_tiles(model, monkeypatch, tiles):
    """Lets the encoder run out of memory with more than so many tiles."""
    encode = model.model.encode_tiles

    def few(pixel_values):
        if len(pixel_values) > tiles:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(pixel_values)

    monkeypatch.setattr(model.model, "encode_tiles", few)


def test_words_survive_too(monkeypatch, caplog):
    model = tiny_model()
    expected = model.describe(photos(4), max_new_tokens=4)
    short_of_memory_for_tiles(model, monkeypatch, 2)
    assert model.describe(photos(4), max_new_tokens=4) == expected
    assert "halved" in caplog.text


@pytest.mark.parametrize("command", [["describe", "."], ["answer", ".", "Sharp?", "--choices", "yes", "no"]])
def test_one_file_that_is_too_large_keeps_the_others(command, monkeypatch, tmp_path, capsys):
    model = tiny_model()
    for name, pixels in zip("abc", (*photos(1), *photos(1, 2 * TILE), *photos(1)), strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    short_of_memory_for_tiles(model, monkeypatch, 2)
    monkeypatch.setattr(words, "load_model", lambda source, device: model)
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--workers", "0", "--format", "jsonl"]) == 1
    out, err = capsys.readouterr()
    first, large, last = map(json.loads, out.splitlines())
    assert first["text"] == last["text"] is not None and first["error"] is last["error"] is None
    assert large["text"] is None and "b.png" in large["error"] and "max_tiles" in large["error"]
    assert "b.png" in err


def test_the_pipeline_returns_the_error_of_what_is_too_large(any_model, monkeypatch):
    short_of_memory(any_model, monkeypatch, 0)
    assess = pipeline(TASK, model=any_model)
    assert all(isinstance(each, MediaError) for each in assess(photos(2), batch_size=2, errors="return"))
    with pytest.raises(MediaError, match="too large"):
        assess(photos(2), batch_size=2)


def test_numbers_and_the_cpu():
    assert [len(b) for b in BatchLimit(3, CPU, None).batches(range(7))] == [3, 3, 1]
    assert [len(b) for b in BatchLimit("auto", CPU, None).batches(range(17))] == [8, 8, 1]
    assert not BatchLimit("auto", CPU, None).by_memory
    for wrong in (0, -1, "many", 2.5, True):
        with pytest.raises(ValueError, match="`batch_size` .*'auto'"):
            BatchLimit(wrong, CPU, None)


@pytest.mark.parametrize(
    "free, costs, sizes",
    [
        (300, [(1, 30)] * 8, [3, 3, 2]),  # a third of the free bytes
        (300, [(1, 10), (1, 500), (1, 10)], [1, 1, 1]),  # what is too large is tried alone
        (10**9, [(10_000, 1)] * 7, [3, 3, 1]),  # tokens
        (10**9, [(1, 1)] * 130, [64, 64, 2]),
    ],
)
def test_a_cuda_device_takes_what_it_has_room_for(free, costs, sizes, monkeypatch):
    monkeypatch.setattr(batching_vital, "free_bytes", lambda device: free)
    limit = BatchLimit("auto", CUDA, lambda cost: cost)
    assert limit.by_memory
    assert [len(batch) for batch in limit.batches(costs)] == sizes


def test_reads_are_cut_by_memory_with_the_failed_ones_in_their_places(monkeypatch):
    monkeypatch.setattr(batching_vital, "free_bytes", lambda device: 3 * 100)
    reads = [Read(Item(i, f"{i}.jpg"), media=[50]) for i in range(5)]
    reads[0] = Read(reads[0].item, error="bad")
    reads[3] = Read(reads[3].item, error="bad")
    limit = BatchLimit("auto", CUDA, lambda media: (1, media[0]))
    assert [[read.item.ordinal for read in batch] for batch in grouped(reads, limit)] == [[0, 1, 2], [3, 4]]
    assert [[r.item.ordinal for r in b] for b in grouped(reads[1:], BatchLimit(2, CPU, None))] == [[1], [2, 3], [4]]


def test_the_cost_of_an_item_grows_with_tiles_and_tokens():
    model = tiny_model()
    one, many = (model.processor.prepare(np.zeros((side, side, 3), np.uint8)) for side in (TILE, 2 * TILE))
    tokens, size = model._cost(one)
    assert tokens == 4 and size > one.num_bytes * 5  # as bytes and as float32
    assert model._cost(many) == (5 * tokens, 5 * size)


def test_convolutions_are_exact_on_a_cuda_device_only_inside_the_block():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        with exact_float32(CUDA, torch.float32):
            assert not torch.backends.cudnn.allow_tf32
        for device, dtype in ((CUDA, torch.bfloat16), (CPU, torch.float32)):
            with exact_float32(device, dtype):
                assert torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="a torch without flags of single operations")
@pytest.mark.parametrize("precision", ["ieee", "tf32"])
def test_flags_of_single_operations_are_kept(precision):
    conv = torch.backends.cudnn.conv
    before = conv.fp32_precision
    try:
        conv.fp32_precision = "ieee"  # from here on torch refuses to read `allow_tf32`
        conv.fp32_precision = precision
        with exact_float32(CUDA, torch.float32):
            assert conv.fp32_precision in ("ieee", "none")
        assert conv.fp32_precision == precision
    finally:
        conv.fp32_precision = before
