"""Batches decoded back to words: what is shown, what is learned, what stands for what."""

import pytest
import torch
from accelerate.utils import send_to_device
from tokenizers import processors

from tests.fixtures.tiny_models import tiny_model
from training.collators import DEFAULT_QUESTIONS, RowError, VitalCollator


@pytest.fixture
def collator(data):
    return VitalCollator(tiny_model().processor, data.tables)


def find(table, modality, which=0):
    return [i for i, m in enumerate(table["modality"]) if m == modality][which]


def words(collator, batch, row):
    decode = collator.processor.tokenizer.decode
    labels, ids = batch["targets"]["labels"][row], batch["input_ids"][row]
    shown = decode(ids[(labels == -100) & batch["attention_mask"][row].bool()])
    for token in (collator.processor.image_token, collator.processor.motion_token):
        shown = shown.replace(token, "")
    return shown, decode(labels[labels != -100])


def test_a_mixed_batch_says_and_learns_what_it_should(collator, data):
    tables = data.tables
    examples = [
        {"table": "scoring", "row": find(tables["scoring"], "image", 1)},
        {"table": "pairwise", "row": find(tables["pairwise"], "video")},
        {"table": "distortion", "row": find(tables["distortion"], "image", 2)},
        {"table": "distortion", "row": find(tables["distortion"], "video", 3)},
    ]
    batch = collator(examples)
    rows = [tables[e["table"]][e["row"]] for e in examples]
    targets = batch["targets"]
    assert targets["item"].tolist() == [0, 1, 1, 2, 3]
    assert targets["pairs"].tolist() == [[1, 2]]
    assert targets["preference"].tolist() == [rows[1]["preference"]]
    assert targets["num_items"] == 4
    assert targets["is_video"].tolist() == [False, True, True, False, True]

    def answer(row, turn=1):
        return row["messages"][turn]["content"][0]["text"]

    image = "<|im_start|>user\n<img></img>\n<|im_end|>\n<|im_start|>assistant\n"
    expected = [answer(rows[0]), answer(rows[1]), answer(rows[1], 3), answer(rows[2]), answer(rows[3])]
    for row, text in enumerate(expected):
        shown, learned = words(collator, batch, row)
        assert learned == f"{text}<|im_end|>"
        if targets["is_video"][row]:
            assert shown.startswith("<|im_start|>user\nFrame-1: <img></img>\n")
            assert "Motion Feature: <img></img>\n<|im_end|>\n<|im_start|>assistant\n" in shown
        else:
            assert shown == image

    assert torch.allclose(targets["level_probs"][0], torch.tensor(rows[0]["level_probs"], dtype=torch.float32))
    assert torch.allclose(targets["level_probs"][1:3], torch.tensor(rows[1]["level_probs"], dtype=torch.float32))
    assert targets["mos"][:3].tolist() == pytest.approx([rows[0]["mos"], *rows[1]["mos"]])
    assert targets["mos"][3:].isnan().all()


def test_level_mask_marks_the_level_word_alone(collator, data):
    rows = [find(data.tables["scoring"], "image", 3), find(data.tables["scoring"], "video", 1)]
    batch = collator([{"table": "scoring", "row": row} for row in rows])
    marked = batch["input_ids"][batch["targets"]["level_mask"]]
    decode = collator.processor.tokenizer.decode
    assert [decode(token) for token in marked] == [
        " " + data.tables["scoring"][row]["messages"][1]["content"][0]["text"].split()[-1] for row in rows
    ]
    assert batch["targets"]["labels"][batch["targets"]["level_mask"]].tolist() == marked.tolist()


def test_what_is_learned_is_where_scoring_reads(collator, data):
    """Up to the level word, the sequence is the processor's own scoring prompt."""
    processor = collator.processor
    for modality in ("image", "video"):
        number = find(data.tables["scoring"], modality)
        row = data.tables["scoring"][number]
        batch = collator([{"table": "scoring", "row": number}])
        place = batch["targets"]["level_mask"][0].nonzero().item()
        scoring = processor.score_inputs([(row["images"] or row["videos"])[0]["bytes"]])
        assert batch["input_ids"][0, :place].tolist() == scoring["input_ids"][0].tolist()
        assert batch["pixel_values"].dtype == torch.uint8  # bytes travel; the device makes what scoring sees of them
        assert torch.equal(processor.normalize_inputs(batch, "cpu")["pixel_values"], scoring["pixel_values"])


def test_rows_are_padded_on_the_left_and_it_does_not_matter(collator, data):
    rows = [find(data.tables["scoring"], "image"), find(data.tables["scoring"], "video")]
    batch = collator([{"table": "scoring", "row": row} for row in rows])
    alone = [collator([{"table": "scoring", "row": row}]) for row in rows]
    assert (batch["attention_mask"][:, -1] == 1).all()
    assert batch["position_ids"][0, -1] == batch["attention_mask"][0].sum() - 1
    model = tiny_model()
    batch, *alone = (model.processor.normalize_inputs(each, "cpu") for each in (batch, *alone))
    names = ("input_ids", "attention_mask", "position_ids", "pixel_values", "motion_values", "motion_lengths")
    together = model(**{n: batch[n] for n in names}).logits[:, -8:]
    for row, single in enumerate(alone):
        logits = model(**{n: single[n] for n in names if n in single}).logits[0, -8:]
        assert torch.allclose(together[row], logits, atol=1e-4)


def test_what_the_host_reads_of_a_batch_stays_with_it(collator, data):
    """`meta` stands for a device that the host would have to wait for: nothing can be read from there."""
    batch = collator([{"table": "scoring", "row": find(data.tables["scoring"], "video")}])
    moved = send_to_device(batch, "meta")
    assert sum(moved["motion_lengths"]) == len(batch["motion_values"]) and moved["targets"]["answer_length"] > 0
    model = tiny_model().to("meta")
    inputs = model.processor.normalize_inputs(
        {name: moved[name] for name in ("pixel_values", "motion_values")}, "meta", model.dtype
    )
    tokens = model.model.get_motion_features(inputs["motion_values"], moved["motion_lengths"])
    assert len(tokens) == len(batch["motion_values"])


def test_without_decoupling_the_human_turn_speaks(data):
    collator = VitalCollator(tiny_model().processor, data.tables, prompt_decoupling=False)
    for table, kind in (("scoring", "score"), ("distortion", "text")):
        batch = collator([{"table": table, "row": find(data.tables[table], "image")}])
        assert DEFAULT_QUESTIONS[kind].format(modality="image") in words(collator, batch, 0)[0]


def conversation(data, **changes):
    row = dict(data.tables["distortion"][find(data.tables["distortion"], "image")])
    return {"distortion": [{**row, **changes}]}


def turn(role, *parts):
    return {"role": role, "content": [{"type": t, "text": x} for t, x in parts]}


def test_words_of_the_human_turn_are_kept_or_left_out(data):
    messages = [turn("user", ("image", None), ("text", "Is it sharp?")), turn("assistant", ("text", "No."))]
    tables = conversation(data, messages=messages)
    for decoupled in (True, False):
        collator = VitalCollator(tiny_model().processor, tables, prompt_decoupling=decoupled)
        shown, learned = words(collator, collator([{"table": "distortion", "row": 0}]), 0)
        assert ("Is it sharp?" in shown) is not decoupled
        assert learned == "No.<|im_end|>"


def test_several_turns_about_one_picture(data):
    messages = [
        turn("user", ("image", None), ("text", "Is it sharp?")),
        turn("assistant", ("text", "No.")),
        turn("user", ("text", "Why?")),
        turn("assistant", ("text", "It is blurred.")),
    ]
    collator = VitalCollator(tiny_model().processor, conversation(data, messages=messages), prompt_decoupling=False)
    batch = collator([{"table": "distortion", "row": 0}])
    shown, learned = words(collator, batch, 0)
    assert learned == "No.<|im_end|>It is blurred.<|im_end|>"
    assert "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n" in shown
    assert shown.count("<img>") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": []}, " 0 .* 1$"),
        ({"images": [{"bytes": b"not a picture", "path": None}]}, "row 'bad'"),
        ({"modality": "video"}, "modality .*'video'.*'image'"),
        ({"messages": [turn("user", ("image", None))]}, "human turn .*image"),
        ({"messages": [turn("assistant", ("text", "sharp"))]}, "human turn .*image"),
        ({"level_probs": [0.2] * 5, "mos": 0.5}, " high, good"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_named(data, changes, message):
    collator = VitalCollator(tiny_model().processor, conversation(data, id="bad", **changes))
    with pytest.raises(RowError, match=message) as error:
        collator([{"table": "distortion", "row": 0}])
    assert "bad" in str(error.value)


@pytest.mark.parametrize("word", ["<IMG_CONTEXT>", "<img>", "<image>", "<|im_end|>\n<|im_start|>user"])
def test_a_token_written_in_the_data_is_text(data, word):
    def ids(text):
        messages = [turn("user", ("text", text), ("image", None)), turn("assistant", ("text", text))]
        tables = conversation(data, messages=messages)
        collator = VitalCollator(tiny_model().processor, tables, prompt_decoupling=False)
        batch = collator([{"table": "distortion", "row": 0}])
        shown, learned = words(collator, batch, 0)
        added = collator.processor.tokenizer.added_tokens_decoder
        return shown, learned, [i for i in batch["input_ids"][0].tolist() if i in added]

    _, _, expected = ids("Sharp.")
    shown, learned, found = ids(f"Sharp {word}.")
    assert found == expected
    first = f"Sharp {word[0]} {word[1:]}".partition("\n")[0]
    assert shown.index(first) < shown.index("<img>") and learned.startswith(first)


def test_a_chat_template_that_cannot_be_taken_apart_is_an_error(data):
    processor = tiny_model().processor
    processor.chat_template = "{{ messages | length }}{% for m in messages %}<image>{{ m.role }}{% endfor %}"
    collator = VitalCollator(processor, conversation(data))
    with pytest.raises(RowError, match="row .*template"):
        collator([{"table": "distortion", "row": 0}])


def test_too_long_is_an_error_not_a_cut(data):
    collator = VitalCollator(tiny_model().processor, data.tables, max_length=20)
    with pytest.raises(RowError, match=r"tokens.* max_length \(20\)"):
        collator([{"table": "scoring", "row": 0}])


@pytest.mark.parametrize("modality", ["image", "video"])
def test_a_token_that_the_tokenizer_puts_first_is_nowhere(collator, data, modality):
    """Training and inference see the same prompt, whatever the tokenizer adds of its own accord."""
    processor = collator.processor
    first = processor.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    processor.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", first)]
    )
    assert processor.tokenizer("a")["input_ids"][0] == first
    table = data.tables["scoring"]
    row = table[find(table, modality)]
    media = (row["images"] or row["videos"])[0]["bytes"]
    (encoded,) = collator.encode(row)
    prompt = encoded.input_ids[: encoded.level_place]
    assert first not in encoded.input_ids
    assert processor.score_inputs([media])["input_ids"].tolist() == [prompt]
    shown = {"images": media} if modality == "image" else {"videos": media}
    assert processor(text=processor.score_prompt(modality), **shown, return_tensors="pt")["input_ids"].tolist() == [
        prompt
    ]
