"""`generate` in its modes, for pictures and clips: what GenerationTesterMixin asks of a model with media."""

import copy

import pytest
import torch
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.generation import MinNewTokensLengthLogitsProcessor

from tests.fixtures.tiny_models import tiny_model
from tests.modeling_vital.test_modeling import clip, picture


LENGTH = 5


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(params=["pictures", "clips", "both"])
def inputs(model, request):
    media = {
        "pictures": [("image", picture(0)), ("image", picture(1))],
        "clips": [("video", clip(0)), ("video", clip(1))],
    }
    media["both"] = [("image", picture(0, 200, 40)), ("video", clip(1))]
    rows = media[request.param]
    return model.processor(
        text=[model.processor.score_prompt(modality) for modality, _ in rows],
        images=[item for modality, item in rows if modality == "image"],
        videos=[item for modality, item in rows if modality == "video"],
        padding_side="left",
    )


def never(input_ids, scores, **kwargs):
    return torch.zeros(len(input_ids), dtype=torch.bool)


def write(model, inputs, **how):
    torch.manual_seed(0)
    how = {"max_new_tokens": LENGTH, "min_new_tokens": LENGTH, "pad_token_id": 0, "do_sample": False, **how}
    return model.generate(**inputs, **how)


@pytest.mark.parametrize(
    "how",
    [
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"cache_implementation": "dynamic"},
        {"num_beams": 1, "low_memory": True},
        {"return_dict_in_generate": True, "output_scores": True, "output_logits": True, "output_hidden_states": True},
        {"logits_processor": LogitsProcessorList([])},
        {"stopping_criteria": StoppingCriteriaList([never])},
    ],
    ids=lambda how: next(iter(how)),
)
def test_modes_that_write_what_greedy_search_writes(model, inputs, how):
    expected = write(model, inputs)
    found = write(model, inputs, **how)
    if how.get("return_dict_in_generate"):
        assert len(found.scores) == len(found.logits) == len(found.hidden_states) == LENGTH
        found = found.sequences
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    "how",
    [
        {"do_sample": True, "top_k": 5},
        {"do_sample": True, "top_p": 0.8, "num_return_sequences": 3},
        {"num_beams": 3},
        {"num_beams": 3, "num_return_sequences": 2},
        {"num_beams": 2, "do_sample": True},
        {"repetition_penalty": 1.5},
    ],
    ids=str,
)
def test_modes_of_their_own(model, inputs, how):
    found = write(model, inputs, **how)
    assert found.shape[0] == 2 * how.get("num_return_sequences", 1)
    assert torch.equal(found, write(model, inputs, **how))


@pytest.mark.parametrize("assistant", ["model", "prompt"])
@pytest.mark.parametrize("modality", ["picture", "clip"])
def test_assisted_decoding_writes_the_same(model, assistant, modality):
    inputs = model.processor.score_inputs([picture() if modality == "picture" else clip()])
    how = {"prompt_lookup_num_tokens": 2} if assistant == "prompt" else {"assistant_model": copy.deepcopy(model)}
    assert torch.equal(write(model, inputs, **how), write(model, inputs))


def test_left_padding_changes_nothing(model):
    short, long = picture(0), picture(1, 200, 40)
    alone = write(model, model.processor(text="<image>\nSharp?", images=short))
    inputs = model.processor(text=["<image>\nSharp?", "<image>\nSharp?"], images=[short, long], padding_side="left")
    together = write(model, inputs)
    assert torch.equal(together[0, -LENGTH:], alone[0, -LENGTH:])


def test_generation_goes_on_from_a_cache(model):
    inputs = model.processor.score_inputs([clip()])
    first = write(model, inputs, return_dict_in_generate=True)
    longer = first.sequences
    mask = torch.ones_like(longer)
    continued = model.generate(
        input_ids=longer,
        attention_mask=mask,
        past_key_values=first.past_key_values,
        max_new_tokens=2,
        logits_processor=LogitsProcessorList([MinNewTokensLengthLogitsProcessor(longer.shape[1], 2, 2)]),
        do_sample=False,
        pad_token_id=0,
    )
    assert torch.equal(continued, write(model, inputs, max_new_tokens=LENGTH + 2, min_new_tokens=LENGTH + 2))
