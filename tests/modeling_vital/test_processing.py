import numpy as np
import pytest
import torch
from PIL import Image

from modeling_vital.media_vital import MediaError
from modeling_vital.processing_vital import VitalProcessor
from tests.fixtures.tiny_models import TILE, tiny_model


@pytest.fixture(scope="module")
def processor():
    return tiny_model().processor


def picture(width=TILE, height=TILE):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def clip(frames=12):
    return np.random.default_rng(0).integers(0, 256, (frames, TILE, TILE, 3), dtype=np.uint8)


def test_prompt_is_an_empty_turn_and_an_answer_prefix(processor):
    assert processor.score_prompt("image") == (
        "<|im_start|>user\n<image>\n<|im_end|>\n<|im_start|>assistant\nThe quality of the image is"
    )


def test_placeholders_match_the_media(processor):
    inputs = processor.score_inputs([picture(), picture(3 * TILE, TILE), clip()])
    image_id, motion_id = processor.tokenizer.convert_tokens_to_ids([processor.image_token, processor.motion_token])
    per_row = (inputs["input_ids"] == image_id).sum(-1).tolist()
    assert per_row == [4, 4 * 4, 4]  # one tile; three and the thumbnail; one key frame
    assert inputs["pixel_values"].shape == (6, 3, TILE, TILE)
    assert (inputs["input_ids"] == motion_id).sum(-1).tolist() == [0, 0, 8]
    assert inputs["motion_values"].shape == (8, 3, 16, 16)
    assert inputs["motion_lengths"].tolist() == [4, 4]


def test_call_keeps_the_order_of_placeholders(processor):
    text = ["a <video> then <image>", "<image> b"]
    inputs = processor(text=text, images=[picture(), picture(2 * TILE, TILE)], videos=[clip()])
    rows = processor.tokenizer.batch_decode(inputs["input_ids"])
    assert rows[0].startswith("a Frame-1: <img>")
    assert rows[1].startswith("<img>" + processor.image_token * 12 + "</img> b")
    assert inputs["pixel_values"].shape[0] == 1 + 1 + 3


def test_chat_template_and_media_make_the_scoring_prompt(processor):
    messages = [{"role": "user", "content": [{"type": "image"}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True) + "The quality of the image is"
    by_hand = processor(text=text, images=picture())
    ready = processor.score_inputs([picture()])
    assert set(by_hand) == set(ready)
    assert all(torch.equal(by_hand[name], ready[name]) for name in ready)


def test_mismatches_are_named(processor):
    with pytest.raises(ValueError, match="1 <image> placeholders .* 2 items"):
        processor(text="<image>", images=[picture(), picture()])
    with pytest.raises(ValueError, match="0 <video> placeholders .* 1 items"):
        processor(text="no media", videos=[clip()])
    with pytest.raises(MediaError, match="video was given"):
        processor(text="<image>", images=[clip()])
    with pytest.raises(ValueError, match="PyTorch"):
        processor(text="x", return_tensors="np")


def test_text_alone(processor):
    assert set(processor(text=["hello", "hello world"])) == {"input_ids", "attention_mask"}


def test_a_tokenizer_without_placeholders_is_refused(processor):
    with pytest.raises(ValueError, match="<nothing>"):
        VitalProcessor(processor.image_processor, processor.tokenizer, image_token="<nothing>")


def test_round_trip(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = VitalProcessor.from_pretrained(tmp_path)
    mine = {k: v for k, v in processor.to_dict().items() if k != "auto_map"}  # written on saving only
    assert {k: v for k, v in loaded.to_dict().items() if k != "auto_map"} == mine
    a, b = processor.score_inputs([clip()]), loaded.score_inputs([clip()])
    assert all(torch.equal(a[name], b[name]) for name in a)
