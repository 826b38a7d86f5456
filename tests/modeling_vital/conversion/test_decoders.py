"""Decoders: any of transformers' with the usual names; InternLM2's own are in `test_released`."""

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from modeling_vital.conversion.convert import convert
from modeling_vital.conversion.decoders import architecture, text_config
from modeling_vital.conversion.errors import ConversionError
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures.released import random_weights, released_config, released_shapes, write_checkpoint
from tests.modeling_vital.conversion.test_starting_points import slowfast  # noqa: F401


SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 800,
}
LINEAR_ROPE = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def decoder(kind, tied=False, **options):
    """A decoder of transformers, the dict of its configuration and its weights under published names."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**SIZES, **SPECIAL, num_key_value_heads=2, tie_word_embeddings=tied, **options)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    state = {f"language_model.{key}": t for key, t in model.state_dict().items() if not (tied and "lm_head" in key)}
    return model, config.to_dict(), state


def rest_of_the_model(*prefixes):
    state = random_weights(released_shapes(released_config()))
    return {key: tensor for key, tensor in state.items() if key.startswith(prefixes)}


@pytest.mark.parametrize(
    "kind, options",
    [
        ("mistral", {}),
        ("phi3", {}),  # its own fused qkv_proj and gate_up_proj
        ("qwen3", {"head_dim": 16}),
        (
            "llama",
            {"attention_bias": True, "rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 1e4}},
        ),
    ],
)
def test_other_decoders_of_the_usual_names(kind, options, tmp_path):
    reference, config, state = decoder(kind, **options)
    state |= rest_of_the_model("vision_model", "mlp1", "motion_mlp", "slowfast_model")
    folder = write_checkpoint(tmp_path / "source", released_config() | {"llm_config": config}, state)
    model = VitalForConditionalGeneration.from_pretrained(convert(str(folder), tmp_path / "ours")).eval()
    ids = torch.randint(10, 700, (2, 12))
    with torch.no_grad():
        assert torch.allclose(model(input_ids=ids).logits, reference(input_ids=ids).logits, atol=1e-5)


def test_a_decoder_whose_head_is_its_embedding(slowfast, tmp_path):  # noqa: F811
    reference, config, state = decoder("qwen2", tied=True)
    state |= rest_of_the_model("vision_model", "mlp1")
    folder = write_checkpoint(tmp_path / "source", released_config() | {"llm_config": config}, state)
    model = VitalForConditionalGeneration.from_pretrained(convert(str(folder), tmp_path / "ours", motion=slowfast[0]))
    assert model.lm_head.weight is model.get_input_embeddings().weight
    ids = torch.randint(10, 700, (2, 12))
    with torch.no_grad():
        assert torch.allclose(model.eval()(input_ids=ids).logits, reference(input_ids=ids).logits, atol=1e-5)


def test_decoders_that_would_come_out_wrong_are_refused():
    with pytest.raises(ConversionError, match="final_logit_softcapping"):
        text_config({"model_type": "gemma2", **SIZES})
    with pytest.raises(ConversionError, match="logit_scale"):
        text_config({"model_type": "cohere", **SIZES})
    with pytest.raises(ConversionError, match="'mystery'.*'internlm2'"):
        text_config({"model_type": "mystery"})


def test_architecture_without_a_model_type():
    assert architecture({"architectures": ["Qwen2ForCausalLM"]}) == "qwen2"
    assert architecture({"architectures": ["InternLM2ForCausalLM"]}) == "internlm2"
    with pytest.raises(ConversionError, match="MysteryForCausalLM"):
        architecture({"architectures": ["MysteryForCausalLM"]})


def test_internlm2_becomes_llama():
    rope = {"rope_theta": 1e6, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    config = text_config({"model_type": "internlm2", **SIZES, **rope})
    assert (config.model_type, config.attention_bias) == ("llama", True)  # True is InternLM2's default
    assert config.rope_parameters["rope_type"] == "dynamic"
    assert config.rope_parameters["rope_theta"] == 1e6
