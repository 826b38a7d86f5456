"""Converted checkpoints of the released layout, against the released architecture stated anew."""

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_vital.conversion.convert import convert
from modeling_vital.levels_vital import level_token_ids
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures.released import (
    TILE,
    random_weights,
    released_config,
    released_reference,
    released_shapes,
    write_checkpoint,
)


KINDS = {
    "qwen2": {"decoder": "qwen2"},
    "llama, rms norm, qk-norm": {
        "decoder": "llama",
        "norm": "rms_norm",
        "qk_norm": True,
        "qkv_bias": False,
        "eps": 1e-3,
    },
    "internlm2": {"decoder": "internlm2", "qk_norm": True},
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def converted(request, tmp_path_factory):
    """A converted model, its source's configuration and weights."""
    folder = tmp_path_factory.mktemp("released") / "source"
    config = released_config(**request.param)
    state = random_weights(released_shapes(config))
    write_checkpoint(folder, config, state)
    model = VitalForConditionalGeneration.from_pretrained(convert(str(folder), folder.parent / "a converted one"))
    return model.eval(), config, state


def picture(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


ITEMS = {
    "three tiles": picture(2 * TILE, TILE),
    "one tile": picture(TILE, TILE - 9),
    "clip": np.random.default_rng(1).integers(0, 256, (62, TILE, TILE, 3), dtype=np.uint8),  # 30 fps: two key frames
}


def reference_of(model, config, state, item):
    media = model.processor.prepare(item)
    ids = model.processor.score_inputs([media])["input_ids"][0]
    context_id = model.config.image_token_id
    ids[ids == model.config.motion_token_id] = context_id
    inputs = model.processor.visual_inputs([media])
    return released_reference(state, config, ids, context_id, inputs["pixel_values"], inputs.get("motion_values"))


@pytest.mark.parametrize("name", ITEMS)
def test_logits_and_scores_are_the_released_ones(converted, name):
    model, config, state = converted
    inputs = model.processor.score_inputs([ITEMS[name]])
    reference = reference_of(model, config, state, ITEMS[name])
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    assert reference["logits"].std() > 0.3  # the inputs matter
    assert torch.allclose(logits, reference["logits"], atol=1e-4, rtol=0)
    probs = reference["logits"][-1, level_token_ids(model.processor.tokenizer)].double().softmax(-1)
    (result,) = model.score([ITEMS[name]])
    assert list(result.level_probs.values()) == pytest.approx(probs.tolist(), abs=1e-5)
    assert result.score == pytest.approx((probs @ probs.new_tensor([1, 0.8, 0.6, 0.4, 0.2])).item(), abs=1e-5)


def test_released_choices_are_in_the_checkpoint(converted):
    model, _, _ = converted
    processor = model.processor
    assert model.config.motion_token_layout == "channel_major"
    assert model.config.level_values == [1.0, 0.8, 0.6, 0.4, 0.2]
    assert processor.image_processor.tile_rule == "area"
    assert processor.prepare(ITEMS["one tile"]).num_tiles == [2]
    clip = processor.prepare(ITEMS["clip"])
    assert (clip.num_tiles, clip.motion_lengths) == ([1, 1], [60])
    lines = processor.media_text(clip).split("\n")
    assert [line.split(":")[0] for line in lines] == [f"Frame-{i}" for i in range(1, 61)] + ["Motion Feature"]
    assert lines[2] == "Frame-3: <img>" + "<quad>" * 60 + "</img>"
    assert {line.split(": ")[1] for line in lines[3:]} == {"<image>"}
    assert processor.score_prompt("video").startswith("<|im_start|>system\n你是书生·万象")
    assert processor.score_prompt("video").endswith("assistant\nThe overall quality of this video is")
    assert processor.score_prompt("image").endswith("assistant\nThe quality of this image is")
