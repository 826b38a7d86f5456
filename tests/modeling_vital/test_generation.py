"""`generate` and the chat template, as users of transformers know them."""

from threading import Thread

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, TextIteratorStreamer

from modeling_vital.media_vital import MediaError
from tests.fixtures.tiny_models import tiny_model
from tests.modeling_vital.test_modeling import clip, picture


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def user(*content):
    return [{"role": "user", "content": list(content)}]


def test_streamed_text_is_the_generated_text(model):
    processor = model.processor
    inputs = processor(images=picture(), text="<image>\nWhat is wrong?")
    wanted = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    ids = model.generate(**inputs, **wanted)
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=60)
    thread = Thread(target=model.generate, kwargs={**inputs, **wanted, "streamer": streamer})
    thread.start()
    pieces = list(streamer)
    thread.join()
    new = ids[0, inputs["input_ids"].shape[1] :]
    assert "".join(pieces) == processor.tokenizer.decode(new, skip_special_tokens=True)
    assert len(pieces) > 1


def test_chat_template_takes_media_from_messages(model, tmp_path):
    photo = tmp_path / "a photo.png"
    picture(3).save(photo)
    frames = clip(1)
    conversation = [
        *user({"type": "image", "path": str(photo)}, {"type": "text", "text": "Sharp?"}),
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
        *user({"type": "video", "video": frames}, {"type": "image", "image": picture(2)}),
    ]
    inputs = model.processor.apply_chat_template(
        conversation, tokenize=True, return_dict=True, add_generation_prompt=True
    )
    expected = model.processor(
        images=[photo, picture(2)],
        videos=[frames],
        text="<|im_start|>user\n<image>\nSharp?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n"
        "<|im_start|>user\n<video>\n<image>\n<|im_end|>\n<|im_start|>assistant\n",
    )
    assert inputs.keys() == expected.keys()
    assert all(torch.equal(inputs[k], expected[k]) for k in expected)
    logits = model(**inputs).logits
    assert logits.shape[:2] == inputs["input_ids"].shape
    listed = [*user({"type": "video", "video": list(frames)})]  # frames one by one
    alone = model.processor.apply_chat_template(listed, tokenize=True, return_dict=True)
    assert torch.equal(alone["motion_values"], expected["motion_values"])


def test_batches_of_conversations_generate_as_single_ones(model):
    batch = [
        user({"type": "image", "image": picture(0, 200, 40)}, {"type": "text", "text": "Sharp?"}),
        user({"type": "video", "video": clip(1)}, {"type": "text", "text": "What do you see in this clip?"}),
        user({"type": "text", "text": "Hello"}),
    ]
    wanted = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    template = {"tokenize": True, "return_dict": True, "add_generation_prompt": True}
    together = model.processor.apply_chat_template(batch, processor_kwargs={"padding_side": "left"}, **template)
    ids = model.generate(**together, **wanted)[:, together["input_ids"].shape[1] :]
    for row, conversation in zip(ids, batch, strict=True):
        inputs = model.processor.apply_chat_template(conversation, **template)
        alone = model.generate(**inputs, **wanted)[0, inputs["input_ids"].shape[1] :]
        assert row.tolist() == alone.tolist()


def test_an_address_in_a_message_is_not_fetched_by_itself(model):
    message = user({"type": "image", "url": "http://127.0.0.1:9/photo.jpg"})
    with pytest.raises(MediaError, match="`allow_url=True`"):
        model.processor.apply_chat_template(message, tokenize=True, return_dict=True)


@pytest.mark.parametrize("reuse", [False, True], ids=["pixels", "encoded"])
def test_beams_and_samples_see_the_media_of_their_row(model, reuse, monkeypatch):
    items = [picture(0, 200, 40), clip(1), picture(2, 20, 20)]
    wanted = {"max_new_tokens": 4, "do_sample": False, "num_beams": 3, "num_return_sequences": 2, "pad_token_id": 0}
    monkeypatch.setattr(model.processor.tokenizer, "padding_side", "left")
    inputs = dict(model.processor.score_inputs(items))
    if reuse:
        motion = (inputs.pop("motion_values"), inputs.pop("motion_lengths"))
        inputs["motion_hidden_states"] = model.model.get_motion_features(*motion)
        inputs["image_hidden_states"] = model.model.encode_tiles(inputs.pop("pixel_values"))
    together = model.generate(**inputs, **wanted)[:, -4:]
    for i, item in enumerate(items):
        alone = model.generate(**model.processor.score_inputs([item]), **wanted)[:, -4:]
        assert together[2 * i : 2 * i + 2].tolist() == alone.tolist()
    assert len(np.unique(together.numpy(), axis=0)) > 2


def test_a_saved_processor_keeps_its_prefixes(tmp_path):
    model = tiny_model()
    model.processor.description_prefixes = {"image": "I see", "video": "I see in motion"}
    model.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert loaded.description_prefixes == model.processor.description_prefixes
