"""Comparisons, descriptions and answers: the same for one item and for many, each checked on an independent path."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS, distort_image, tag
from modeling_vital import VitalForConditionalGeneration, zoo
from modeling_vital.conventions_vital import DEFAULT_DESCRIPTION_PREFIXES
from modeling_vital.media_vital import MediaError
from modeling_vital.outputs_vital import Answer, Comparison
from tests.fixtures.tiny_models import tiny_model
from tests.modeling_vital.test_modeling import SHAPES, clip, picture
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


CHOICES = ["yes", "no", "not at all sure about the picture", "not at all sure about the clip"]


def mixed():
    return [picture(0, 200, 40), clip(1), picture(2, 20, 20), clip(3, frames=3), picture(4)]


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(params=SHAPES, ids="-".join)
def any_model(request):
    return tiny_model(*request.param)


@pytest.fixture
def encodings(model, monkeypatch):
    """Counts the tiles that go through the image encoder."""
    tiles = []
    inner = type(model.model).encode_tiles
    monkeypatch.setattr(
        type(model.model), "encode_tiles", lambda self, values: tiles.append(len(values)) or inner(self, values)
    )
    return tiles


# ------------------------------------------------------------------------------------------------------- the head
@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_scoring_takes_one_position_a_row_through_the_head(padding_side):
    model = tiny_model()
    model.processor.tokenizer.padding_side = padding_side
    seen = []
    model.lm_head.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    model.score(mixed(), batch_size=3)
    model.compare(picture(0), clip(1))
    assert seen == [(3, 24), (2, 24), (2, 24)]


def test_answering_takes_only_the_options_through_the_head(model):
    seen = []
    handle = model.lm_head.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    model.answer(picture(), "Sharp?", choices=["yes", "no"])
    handle.remove()
    stems = {tuple(model.processor.tokenizer(c)["input_ids"][:-1]) for c in ("yes", "no")}
    assert sum(positions for positions, _ in seen) == sum(len(stem) + 1 for stem in stems)


# ------------------------------------------------------------------------------------------------------- compare
def test_comparison_is_the_paper_s_formula(model):
    result = model.compare(picture(0), clip(1))
    a, b = model.score([picture(0), clip(1)])
    assert isinstance(result, Comparison)
    assert (result.a.modality, result.b.modality) == ("image", "video")
    assert (result.a.score, result.b.score) == pytest.approx((a.score, b.score), abs=1e-6)
    z = (a.score - b.score) / math.hypot(a.std, b.std)
    assert result.probability == pytest.approx(0.5 * math.erfc(-z / math.sqrt(2)), abs=1e-6)
    assert result.winner == ("a" if z > 0 else "b")
    back = model.compare(clip(1), picture(0))
    assert back.probability == pytest.approx(1 - result.probability, abs=1e-6)
    assert {result.winner, back.winner} == {"a", "b"}
    assert result.to_dict()["a"]["level_probs"] == result.a.level_probs


def test_one_item_in_one_result_out(model, tmp_path):
    picture(0).save(tmp_path / "a.png")
    for item in (picture(0), str(tmp_path / "a.png"), np.asarray(picture(0)), model.processor.prepare(picture(0))):
        assert model.score(item) == model.score([item])[0] == model.score((item,))[0]
    assert isinstance(model.score(tmp_path / "missing.png", errors="return"), MediaError)
    assert [len(model.score([picture(0)] * n)) for n in range(3)] == [0, 1, 2]


def test_ties(model):
    same = model.compare(picture(0), picture(0))
    assert same.probability == pytest.approx(0.5, abs=1e-6)
    assert same.winner == "tie"
    probability = model.compare(picture(0), clip(1)).probability
    margin = abs(probability - 0.5)
    assert model.compare(picture(0), clip(1), tie_margin=margin + 1e-4).winner == "tie"
    assert model.compare(picture(0), clip(1), tie_margin=margin - 1e-4).winner != "tie"


def test_compare_refuses_what_does_not_pair(model):
    with pytest.raises(ValueError, match="`a` .*2.*`b` 1"):
        model.compare([picture(0), picture(1)], picture(2))
    with pytest.raises(ValueError, match="tie_margin"):
        model.compare(picture(0), picture(1), tie_margin=0.7)


@pytest.mark.parametrize("word", ["<IMG_CONTEXT>", "<quad>", "<image>", "<video>"])
def test_a_placeholder_in_what_is_asked_is_text(model, word):
    items, text = [picture(), clip()], f"{word} and {word}?"
    answers = model.answer(items, text, choices=[f"{word} a", f"{word} b"], prefix=word)
    assert all(list(answer.choice_probs) == [f"{word} a", f"{word} b"] for answer in answers)
    assert all(said.startswith(word) for said in model.describe(items, text, prefix=word, max_new_tokens=1))


# --------------------------------------------------------------------------------------------- one item, or many
@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_batches_change_nothing(any_model, padding_side):
    items, question = mixed(), "Is it sharp?"
    pairs = list(zip(items, items[::-1], strict=True))
    any_model.processor.tokenizer.padding_side = "right"
    compared = [any_model.compare(a, b) for a, b in pairs]
    chosen = [any_model.answer(item, question, choices=CHOICES) for item in items]
    described = [any_model.describe(item, max_new_tokens=6) for item in items]
    any_model.processor.tokenizer.padding_side = padding_side
    for batch_size in (2, 8):
        together = any_model.compare(items, items[::-1], batch_size=batch_size)
        assert [c.probability for c in together] == pytest.approx([c.probability for c in compared], abs=1e-4)
        together = any_model.answer(items, question, choices=CHOICES, batch_size=batch_size)
        assert [a.text for a in together] == [a.text for a in chosen]
        for one, other in zip(together, chosen, strict=True):
            assert list(one.choice_probs) == CHOICES
            assert list(one.choice_probs.values()) == pytest.approx(list(other.choice_probs.values()), abs=1e-4)
        assert any_model.describe(items, batch_size=batch_size, max_new_tokens=6) == described
    assert len(set(described)) > 1


def test_unreadable_items_keep_their_place(model, tmp_path):
    missing = str(tmp_path / "no such photo.jpg")
    items = [picture(0), missing, clip(1)]
    calls = {
        "compare": lambda items, **kwargs: model.compare(items, [picture(1)] * 3, **kwargs),
        "describe": lambda items, **kwargs: model.describe(items, max_new_tokens=2, **kwargs),
        "answer": lambda items, **kwargs: model.answer(items, "Sharp?", choices=["yes", "no"], **kwargs),
    }
    for name, call in calls.items():
        with pytest.raises(MediaError, match="no such photo"):
            call(items)
        results = call(items, errors="return")
        assert [isinstance(r, MediaError) for r in results] == [False, True, False], name
    assert isinstance(model.compare(picture(0), missing, errors="return"), MediaError)
    assert isinstance(model.describe(missing, errors="return"), MediaError)
    assert model.describe([]) == model.answer([], "Sharp?") == model.compare([], []) == []


def test_training_mode_is_refused():
    model = tiny_model().train()
    for call in (model.describe, model.score, lambda item: model.answer(item, "?"), lambda x: model.compare(x, x)):
        with pytest.raises(RuntimeError, match=r"`model\.eval\(\)`"):
            call(picture())


# ------------------------------------------------------------------------------------------------------ describe
def test_description_is_greedy_generation_after_the_prefix(model):
    for item, modality in ((picture(0), "image"), (clip(1), "video")):
        prefix = "The distortion of the " + modality + " is"
        inputs = model.processor(
            **{f"{modality}s": [item]},
            text=f"<|im_start|>user\n<{modality}>\n<|im_end|>\n<|im_start|>assistant\n{prefix}",
        )
        ids = model.generate(**inputs, max_new_tokens=5, do_sample=False, pad_token_id=0)
        expected = model.processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert model.describe(item, max_new_tokens=5) == (prefix + expected).strip()


def test_several_prompts_read_one_encoding(model, encodings):
    prompts = ["Describe the noise.", "Describe the colours.", "What is wrong?"]
    together = model.describe([picture(0), clip(1)], prompts, max_new_tokens=4)
    assert len(encodings) == 1
    assert [len(texts) for texts in together] == [3, 3]
    apart = [[model.describe(item, prompt, max_new_tokens=4) for prompt in prompts] for item in (picture(0), clip(1))]
    assert together == apart
    assert model.describe(picture(0), prompts, max_new_tokens=4) == apart[0]
    assert model.describe(picture(0), prompts[:1], max_new_tokens=4) == apart[0][:1]
    assert len(set(apart[0])) > 1


def test_prefix_begins_the_text(model):
    text = model.describe(picture(), "What is wrong?", prefix="In short,", max_new_tokens=2)
    assert text.startswith("In short,")
    assert not model.describe(picture(), "What is wrong?", max_new_tokens=2).startswith("The distortion")


def test_sampling_arguments_reach_generate(model):
    torch.manual_seed(0)
    texts = {model.describe(picture(), do_sample=True, temperature=3.0, max_new_tokens=4) for _ in range(4)}
    assert len(texts) > 1


def test_the_embedded_checkpoint_names_distortions_unasked():
    model = VitalForConditionalGeneration.from_pretrained(zoo.DEFAULT_MODEL)
    pixels = np.asarray(Image.open(PHOTOS[0]).convert("RGB"))
    noisy = distort_image(pixels, "white_noise", 5, np.random.default_rng(0))
    texts = model.describe([PHOTOS[0], noisy, CLIPS[0]])
    tags = {"none", *(tag(name, s) for name in DISTORTIONS for s in range(1, len(SEVERITY_WORDS) + 1))}
    for text, modality in zip(texts, ("image", "image", "video"), strict=True):
        prefix = f"{DEFAULT_DESCRIPTION_PREFIXES[modality]} "
        assert text.startswith(prefix)
        assert text.removeprefix(prefix).removesuffix(".") in tags  # it stops by itself, after a tag


# -------------------------------------------------------------------------------------------------------- answer
def test_options_are_judged_by_their_mean_log_probability(model):
    question, prefix = "Is it sharp?", "It is"
    tokenizer = model.processor.tokenizer
    for item, modality in ((picture(0), "image"), (clip(1), "video")):
        answer = model.answer(item, question, choices=CHOICES, prefix=prefix)
        means = []
        for choice in CHOICES:
            text = f"<|im_start|>user\n<{modality}>\n{question}<|im_end|>\n<|im_start|>assistant\n{prefix} {choice}"
            inputs = model.processor(**{f"{modality}s": [item]}, text=text)
            length = len(tokenizer(f" {choice}")["input_ids"])
            log_probs = model(**inputs).logits[0].log_softmax(-1)
            targets = inputs["input_ids"][0, -length:]
            means.append(log_probs[-length - 1 : -1].gather(1, targets[:, None]).mean().item())
        expected = torch.tensor(means).softmax(0).tolist()
        assert isinstance(answer, Answer)
        assert list(answer.choice_probs.values()) == pytest.approx(expected, abs=1e-5)
        assert answer.text == CHOICES[int(np.argmax(expected))]
        assert sum(answer.choice_probs.values()) == pytest.approx(1)


def test_level_words_as_options_give_the_level_probabilities(model):
    words = model.config.level_words
    answer = model.answer(picture(0), "", choices=words, prefix="The quality of the image is")
    assert answer.choice_probs == pytest.approx(model.score(picture(0)).level_probs, abs=1e-5)


def test_options_share_one_encoding_and_their_order_is_no_matter(model, encodings):
    forward = model.answer([picture(0), clip(1)], ["Sharp?", "Dark?"], choices=CHOICES)
    assert len(encodings) == 1
    backward = model.answer([picture(0), clip(1)], ["Sharp?", "Dark?"], choices=CHOICES[::-1])
    for one, other in zip(sum(forward, []), sum(backward, []), strict=True):
        assert one.text == other.text
        assert one.choice_probs == pytest.approx(other.choice_probs, abs=1e-5)
    assert forward[0][0].choice_probs != pytest.approx(forward[0][1].choice_probs, abs=1e-4)


def test_free_answers_are_generated(model):
    answer = model.answer(picture(0), "Is it sharp?", max_new_tokens=4)
    assert answer == Answer(model.describe(picture(0), "Is it sharp?", max_new_tokens=4))
    assert answer.to_dict() == {"text": answer.text, "choice_probs": None}


@pytest.mark.parametrize("choices", ["yes", [], ["yes"], ["yes", "yes"], ["yes", ""]])
def test_bad_choices_are_refused_before_any_work(model, choices, encodings):
    with pytest.raises(ValueError, match="choices"):
        model.answer(picture(), "Sharp?", choices=choices)
    assert encodings == []


def test_bad_requests_are_refused(model):
    for call in (lambda text: model.describe(picture(), text), lambda text: model.answer(picture(), text)):
        for text in ([], [None], 3):
            with pytest.raises(ValueError, match="`(prompt|question)` .* got"):
                call(text)
    with pytest.raises(ValueError, match="`generate`"):
        model.describe(picture(), do_sample=True, num_return_sequences=2)


def test_generation_arguments_with_choices_are_refused(model):
    with pytest.raises(TypeError, match="max_new_tokens"):
        model.answer(picture(), "Sharp?", choices=["yes", "no"], max_new_tokens=3)
