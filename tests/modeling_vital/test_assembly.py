"""Encoders of one model, decoder of another: what is taken from which, and what does not fit."""

import copy
import json
import logging

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from modeling_vital.configuration_vital import VitalMotionConfig
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures.tiny_models import MOTION, text_config, tiny_model, vision_config
from tests.fixtures.tiny_probes import tiny_probe
from tests.modeling_vital.test_modeling import clip, picture
from training.tiny.model import build_tokenizer


@pytest.fixture(scope="module")
def encoders():
    return tiny_model(seed=1)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(700)


def plain_decoder(kind, tokenizer, seed=2, **changes):
    torch.manual_seed(seed)
    config = text_config(kind, len(tokenizer))
    for name, value in changes.items():
        setattr(config, name, value)
    return AutoModelForCausalLM.from_config(config).eval()


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_zero_takes_encoders_from_one_and_the_rest_from_the_other(encoders, kind, tmp_path, caplog):
    decoder = tiny_model(decoder=kind, seed=2)
    encoders.save_pretrained(tmp_path / "encoders")
    decoder.save_pretrained(tmp_path / "decoder")
    with caplog.at_level(logging.WARNING, "modeling_vital"):
        model = VitalForConditionalGeneration.from_parts(tmp_path / "encoders", tmp_path / "decoder")
    assert not [r for r in caplog.records if r.name.startswith("modeling_vital")]
    parts = model.model
    for name in ("vision_tower", "motion_encoder"):
        assert same(weights(getattr(parts, name)), weights(getattr(encoders.model, name)))
        assert not same(weights(getattr(parts, name)), weights(getattr(decoder.model, name)))
    for name in ("multi_modal_projector", "motion_projector", "language_model"):
        assert same(weights(getattr(parts, name)), weights(getattr(decoder.model, name)))
    assert torch.equal(model.lm_head.weight, decoder.lm_head.weight)
    assert not any(p.is_meta for p in [*model.parameters(), *model.buffers()])

    # An independent path to the same model: the decoder's own, its encoders' weights overwritten.
    for name in ("vision_tower", "motion_encoder"):
        getattr(decoder.model, name).load_state_dict(getattr(encoders.model, name).state_dict())
    items = [picture(), clip()]
    expected = [r.score for r in decoder.score(items)]
    assert [r.score for r in model.score(items)] == pytest.approx(expected, abs=1e-6)
    model.save_pretrained(tmp_path / "zero")
    loaded = VitalForConditionalGeneration.from_pretrained(tmp_path / "zero")
    assert [r.score for r in loaded.score(items)] == pytest.approx(expected, abs=1e-6)


def test_projectors_keep_the_activation_they_were_trained_with(encoders):
    decoder = tiny_model(seed=2, projector_hidden_act="relu")
    model = VitalForConditionalGeneration.from_parts(encoders, decoder)
    features = torch.linspace(-3, 3, 4 * model.model.multi_modal_projector.linear_1.in_features).reshape(4, -1)
    with torch.no_grad():
        expected = decoder.model.multi_modal_projector(features)
        assert torch.equal(model.model.multi_modal_projector(features), expected)
        reloaded = type(model)(model.config)  # what a saved configuration makes
        reloaded.load_state_dict(model.state_dict())
        assert torch.equal(reloaded.model.multi_modal_projector(features), expected)


@pytest.mark.parametrize("tied", [False, True])
def test_a_plain_language_model_gets_projectors_and_placeholders(encoders, tokenizer, tied, tmp_path, caplog):
    plain = without_tokens(tokenizer, ["<quad>", "<img>", "</img>", "<IMG_CONTEXT>"])
    decoder = plain_decoder("qwen2", plain, tie_word_embeddings=tied)
    rows = decoder.get_input_embeddings().num_embeddings
    decoder.save_pretrained(tmp_path / "lm")
    plain.save_pretrained(tmp_path / "lm")
    with caplog.at_level(logging.WARNING, "modeling_vital"):
        model = VitalForConditionalGeneration.from_parts(encoders, tmp_path / "lm")
    (warning,) = [r.getMessage() for r in caplog.records if r.name.startswith("modeling_vital")]
    assert "multi_modal_projector" in warning and "motion_projector" in warning and "lm" in warning
    assert model.config.tie_word_embeddings is tied
    assert (model.lm_head.weight is model.get_input_embeddings().weight) is tied
    assert torch.equal(model.get_input_embeddings().weight[:rows], decoder.get_input_embeddings().weight)
    assert model.config.text_config.vocab_size == model.lm_head.out_features >= len(model.processor.tokenizer)
    tokens = model.generate(**model.processor.score_inputs([clip()]), max_new_tokens=2, pad_token_id=0)
    assert tokens.shape[0] == 1
    items = [picture(), clip()]
    expected = [r.score for r in model.score(items)]
    model.save_pretrained(tmp_path / "new")
    loaded = VitalForConditionalGeneration.from_pretrained(tmp_path / "new")
    assert [r.score for r in loaded.score(items)] == pytest.approx(expected, abs=1e-6)


def without_tokens(tokenizer, names):
    """The same tokenizer from before the special tokens `names` were added to it."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in names]
    for i, name in enumerate(names):  # the vocabulary keeps its size: ordinary pieces of text in their place
        state["model"]["vocab"][f"piece{i}"] = state["model"]["vocab"].pop(name)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


def test_a_native_internvl_keeps_its_projector(encoders, tokenizer, caplog):
    torch.manual_seed(3)
    config = InternVLConfig(
        vision_config=vision_config("internvl"),
        text_config=text_config("qwen2", len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    decoder = InternVLForConditionalGeneration(config).eval()
    with caplog.at_level(logging.WARNING, "modeling_vital"):
        model = VitalForConditionalGeneration.from_parts(encoders, decoder, tokenizer=tokenizer)
    (warning,) = [r.getMessage() for r in caplog.records if r.name.startswith("modeling_vital")]
    assert "motion_projector" in warning and "multi_modal_projector" not in warning
    kept = weights(model.model.multi_modal_projector)
    assert same(kept, weights(decoder.model.multi_modal_projector))
    pixels = torch.randn(2, 3, 32, 32)
    decoder.model.vision_tower.load_state_dict(encoders.model.vision_tower.state_dict())
    with torch.no_grad():
        expected = decoder.model.get_image_features(pixel_values=pixels)
        expected = getattr(expected, "pooler_output", expected)
        assert torch.allclose(model.model.encode_tiles(pixels), expected, atol=1e-5)


def test_the_scoring_convention_comes_with_the_encoders():
    released = tiny_model(seed=1)
    released.use_scoring("released")
    released.processor.single_tile_copies = 2
    model = VitalForConditionalGeneration.from_parts(released, tiny_model(seed=2))
    assert model.config.level_values == [1.0, 0.8, 0.6, 0.4, 0.2]
    theirs, ours = released.processor.to_dict(), model.processor.to_dict()
    for name in ("answer_prefixes", "frame_sampling", "video_prompt", "single_tile_copies"):
        assert ours[name] == theirs[name]
    assert model.processor.sampling == released.processor.sampling


def test_the_decoder_decides_the_dtype_and_given_models_stay_as_they_are(encoders):
    decoder = tiny_model(seed=2).to(torch.bfloat16)
    model = VitalForConditionalGeneration.from_parts(encoders, decoder)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in encoders.parameters()} == {torch.float32}
    assert 0.1 <= model.score(picture()).score <= 0.9


def refusal(vision, decoder, monkeypatch, **kwargs):
    """The message with which two models are refused; weights must not have been read for it."""

    def no_work(*args, **kwargs):
        raise AssertionError("weights were read")

    monkeypatch.setattr("modeling_vital.assembly_vital.Donor.load", no_work)
    with pytest.raises(ValueError) as error:
        VitalForConditionalGeneration.from_parts(vision, decoder, **kwargs)
    return str(error.value)


@pytest.fixture
def folders(encoders, tmp_path):
    """Two checkpoints with telling names, for messages that must name both."""
    other = tiny_model("resnet", seed=2)
    encoders.save_pretrained(tmp_path / "seer")
    other.save_pretrained(tmp_path / "reader")
    return tmp_path / "seer", tmp_path / "reader", other


def test_other_hidden_sizes_are_refused(folders, monkeypatch):
    seer, reader, other = folders
    message = refusal(seer, reader, monkeypatch)
    assert "seer" in message and "reader" in message
    assert "16" in message and "12" in message and "hidden size" in message
    other.config.vision_hidden_size = 16
    other.config.motion_config = VitalMotionConfig(**{**MOTION, "out_channels": [8, 20]})
    message = refusal(seer, other, monkeypatch)
    assert "motion" in message and "20" in message
    other.config.motion_config = VitalMotionConfig(**MOTION)
    other.config.downsample_ratio = 1.0
    assert "downsample ratio" in refusal(seer, other, monkeypatch)


def test_other_level_words_are_refused(folders, monkeypatch):
    seer, _, _ = folders
    other = tiny_model(level_words=["high", "good", "fair", "poor", "none"])
    message = refusal(seer, other, monkeypatch)
    assert "seer" in message and "VitalForConditionalGeneration" in message and "'none'" in message
    bare = bytes_tokenizer()
    message = refusal(seer, plain_decoder("qwen2", bare), monkeypatch, tokenizer=bare)
    assert "seer" in message and "Qwen2ForCausalLM" in message and "'high'" in message


def bytes_tokenizer():
    """A tokenizer for which every word is several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({piece: i for i, piece in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="!", eos_token="!")


def test_a_tokenizer_of_another_model_is_refused(folders, tokenizer, monkeypatch):
    seer, _, _ = folders
    message = refusal(seer, plain_decoder("qwen2", range(300)), monkeypatch, tokenizer=tokenizer)
    assert "seer" in message and "Qwen2ForCausalLM" in message and "300" in message and str(len(tokenizer)) in message
    message = refusal(seer, tiny_model(), monkeypatch, tokenizer=tokenizer)
    assert "its own tokenizer" in message
    assert "give it as `tokenizer`" in refusal(seer, plain_decoder("qwen2", tokenizer), monkeypatch)


def test_a_misplaced_placeholder_is_refused(folders, monkeypatch):
    seer, _, _ = folders
    other = tiny_model(seed=2)
    other.config = copy.deepcopy(other.config)
    other.config.image_token_id += 100
    message = refusal(seer, other, monkeypatch)
    assert "<IMG_CONTEXT>" in message and "seer" in message and str(other.config.image_token_id) in message


def test_a_head_that_is_more_than_a_matrix_is_refused(folders, tokenizer, monkeypatch):
    seer, _, _ = folders
    capped = plain_decoder("qwen2", tokenizer, final_logit_softcapping=30.0)
    assert "final_logit_softcapping" in refusal(seer, capped, monkeypatch, tokenizer=tokenizer)
    biased = plain_decoder("qwen2", tokenizer)
    biased.lm_head = torch.nn.Linear(24, len(tokenizer))
    assert "a bias" in refusal(seer, biased, monkeypatch, tokenizer=tokenizer)


def test_a_linear_probe_is_no_part(encoders, tmp_path):
    tiny_probe().save_pretrained(tmp_path / "probe")
    for parts in ((tmp_path / "probe", encoders), (encoders, tmp_path / "probe")):
        with pytest.raises(ValueError, match="probe' .*linear probe"):
            VitalForConditionalGeneration.from_parts(*parts)


def test_vision_must_be_a_vital_model(tokenizer, tmp_path, monkeypatch):
    plain_decoder("qwen2", tokenizer).save_pretrained(tmp_path / "lm")
    message = refusal(tmp_path / "lm", tiny_model(), monkeypatch)
    assert "lm" in message and "'qwen2'" in message
