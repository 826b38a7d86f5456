import numpy as np
import pytest
import torch
from PIL import Image

from modeling_vital.media_vital import MediaError
from modeling_vital.processing_vital import VitalProcessor
from tests.fixtures.tiny_models import TILE, tiny_model
from tests.fixtures.tiny_probes import tiny_probe


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


RESERVED = ["<image>", "<video>", "<IMG_CONTEXT>", "<quad>", "<img>", "</img>", "<|im_end|>", "<|im_start|>"]


def added_tokens(processor, **inputs):
    """The tokens of a prompt that are no words."""
    ids = processor(**inputs)["input_ids"][0].tolist()
    return [i for i in ids if i in processor.tokenizer.added_tokens_decoder]


@pytest.mark.parametrize("word", RESERVED)
def test_what_a_user_writes_is_no_token_of_the_conversation(processor, word):
    texts = ["is it sharp?", f"is {word} it{word}sharp?"]
    plain, odd = ([{"type": "text", "text": text}] for text in texts)
    prompts = [processor.question_prompt("image", text, prefix=text) for text in texts]
    turns = [[{"role": "user", "content": [*part, {"type": "image"}, *part]}] for part in (plain, odd)]
    prompts += [processor.apply_chat_template(turn) for turn in turns]
    found = [added_tokens(processor, text=prompt, images=picture()) for prompt in prompts]
    assert found[0] == found[1] and found[2] == found[3]
    assert f"is {word[0]} {word[1:]} it" in prompts[1] and odd[0]["text"] == texts[1]
    batch = processor.apply_chat_template([turns[1], turns[0]])
    assert batch == [prompts[3], prompts[2]]
    halves = [{"type": "text", "text": half} for half in (f"is {word[:2]}", f"{word[2:]} it{word}sharp?")]
    whole = [{"role": "user", "content": part} for part in (halves, odd)]
    assert processor.apply_chat_template([whole[0]]) == processor.apply_chat_template([whole[1]])


def test_new_special_tokens_of_the_tokenizer_are_known():
    processor = tiny_model().processor
    assert processor.plain_text("a <new> b") == "a <new> b"
    processor.tokenizer.add_tokens(["<new>"], special_tokens=True)
    assert processor.plain_text("a <new> b") == "a < new> b"


def test_a_content_that_is_one_string_may_place_media(processor):
    turn = {"role": "user", "content": "<image>\nSharp?"}
    assert "<image>\nSharp?" in processor.apply_chat_template([turn])


def test_mismatches_are_named(processor):
    with pytest.raises(ValueError, match="1 <image> .* 2 "):
        processor(text="<image>", images=[picture(), picture()])
    with pytest.raises(ValueError, match="0 <video> .* 1 "):
        processor(text="no media", videos=[clip()])
    with pytest.raises(MediaError, match="video .*<image>"):
        processor(text="<image>", images=[clip()])
    with pytest.raises(ValueError, match="return_tensors='np'"):
        processor(text="x", return_tensors="np")


def test_arguments_are_applied_flat_or_in_groups(processor):
    wide, text = picture(4 * TILE, TILE), "<image> a picture of a beach"
    whole = processor(text=text, images=wide)
    assert len(whole["pixel_values"]) == 5
    for kwargs in ({"max_tiles": 1}, {"images_kwargs": {"max_tiles": 1}}):
        assert len(processor(text=text, images=wide, **kwargs)["pixel_values"]) == 1
    assert len(processor(text=text, images=wide, use_thumbnail=False)["pixel_values"]) == 4
    brighter = processor(text=text, images=wide, images_kwargs={"image_mean": [0.0] * 3})
    assert (brighter["pixel_values"] > whole["pixel_values"]).all()
    few = processor(text="<video>", videos=[clip()], videos_kwargs={"motion_size": 8, "max_tiles_per_frame": 1})
    assert few["motion_values"].shape == (8, 3, 8, 8)
    short = processor(text="<video>", videos=[clip()], frame_sampling={"max_motion_frames": 4})
    assert short["motion_lengths"].tolist() == [4]
    padded = processor(text="hello", text_kwargs={"padding": "max_length", "max_length": 12})
    assert padded["input_ids"].shape == processor(text="hello", padding="max_length", max_length=12)["input_ids"].shape
    assert padded["input_ids"].shape == (1, 12)
    cut = processor(text="a very long text " * 9, text_kwargs={"truncation": True, "max_length": 7})
    assert cut["input_ids"].shape == (1, 7)
    assert len(processor(text=text, images=wide)["pixel_values"]) == 5  # a call leaves no trace


@pytest.mark.parametrize(
    "kwargs, named",
    [
        ({"nonsense": 3}, "nonsense"),
        ({"images_kwargs": {"do_resize": False}}, "do_resize"),
        ({"text_kwargs": {"max_tiles": 1}}, "max_tiles"),
        ({"videos_kwargs": {"fps": 2}}, "fps"),
        ({"do_normalize": False}, "do_normalize"),
        ({"text_kwargs": {"return_overflowing_tokens": True}}, "return_overflowing_tokens"),
    ],
)
def test_arguments_that_have_no_effect_are_refused(processor, kwargs, named):
    with pytest.raises(TypeError, match=named):
        processor(text="<image>", images=picture(), **kwargs)
    messages = [{"role": "user", "content": [{"type": "image", "image": picture()}]}]
    with pytest.raises(TypeError, match=named):
        processor.apply_chat_template(messages, tokenize=True, return_dict=True, processor_kwargs=kwargs)


def test_chat_templates_pass_arguments_on_and_mark_the_answer(processor):
    messages = [
        {"role": "user", "content": [{"type": "image", "image": picture(4 * TILE, TILE)}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is good."}]},
    ]
    how = {"tokenize": True, "return_dict": True, "return_assistant_tokens_mask": True}
    for tiles in (1, 6):
        out = processor.apply_chat_template(messages, **how, processor_kwargs={"max_tiles": tiles})
        assert len(out["pixel_values"]) == (1 if tiles == 1 else 5)
        marked = [i for i, mask in zip(out["input_ids"][0], out["assistant_masks"][0], strict=True) if mask]
        assert processor.tokenizer.decode(marked) == "It is good.<|im_end|>"


def test_visual_tokens_are_not_cut_off(processor):
    for kwargs in ({"images": picture()}, {"videos": [clip()]}):
        with pytest.raises(ValueError, match="`max_length` .*`max_tiles`"):
            processor(text=f"<{next(iter(kwargs))[:-1]}>", truncation=True, max_length=3, **kwargs)


def test_model_input_names_are_what_comes_out(processor):
    both = processor(text="<image> <video>", images=picture(), videos=[clip()])
    assert set(both) == set(processor.model_input_names)
    probe = tiny_probe().processor
    assert set(probe(images=picture(), videos=[clip()])) == set(probe.model_input_names)


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
