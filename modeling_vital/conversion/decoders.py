"""The decoder inside a published model: its configuration and its keys, by architecture."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import CONFIG_MAPPING, LlamaConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from .errors import ConversionError
from .rules import Rule


INTERNLM2 = "internlm2"

# Names that a configuration class reads although it does not write them: transformers 4's way to give RoPE.
_ROPE_KEYS = {"rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor"}

# What some decoders do to their logits after the head, with the values that do nothing. Our head is the bare matrix.
_AFTER_THE_HEAD = {
    "final_logit_softcapping": (None,),
    "logit_scale": (None, 1),
    "logits_scaling": (None, 1),
    "lm_head_multiplier": (None, 1),
}


def architecture(config: dict[str, Any]) -> str:
    """The `model_type` of a decoder's configuration, found by `architectures` where it is not written.

    Raises:
        ConversionError: if neither says what it is.
    """
    if config.get("model_type"):
        return config["model_type"]
    names = config.get("architectures") or ["nothing"]
    if names[0] == "InternLM2ForCausalLM":
        return INTERNLM2
    for model_type, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        if name == names[0]:
            return model_type
    raise ConversionError(f"The decoder has no model_type and transformers knows no architecture {names[0]!r}.")


def text_config(config: dict[str, Any], keep_rope_scaling: bool = True) -> PreTrainedConfig:
    """transformers' configuration of a decoder.

    Args:
        config (`dict`): `llm_config` of the source.
        keep_rope_scaling (`bool`, *optional*, defaults to `True`): `False` leaves out how RoPE is stretched for long
            texts.

    Returns:
        `PreTrainedConfig`: with what describes the architecture, without settings of generation and of the library
        that the source was written with. InternLM2 becomes Llama, which computes the same.

    Raises:
        ConversionError: if transformers has no such decoder, or it does more after its head than VITAL does.
    """
    model_type = architecture(config)
    if model_type == INTERNLM2:
        biased = config.get("bias", True)  # InternLM2's own default
        config = {"rope_theta": 10000, **config, "attention_bias": biased}
        model_type = LlamaConfig.model_type
    if model_type not in CONFIG_MAPPING:
        raise ConversionError(
            f"transformers has no decoder of model_type {model_type!r}; known here besides is {INTERNLM2!r}."
        )
    known = CONFIG_MAPPING[model_type]
    names = (set(known().to_dict()) | set(known.attribute_map) | _ROPE_KEYS) - set(PreTrainedConfig().to_dict())
    names -= {"use_cache"} | (set() if keep_rope_scaling else {"rope_scaling"})
    result = known(**{name: value for name, value in config.items() if name in names})
    refuse_changed_logits(result)
    return result


def refuse_changed_logits(config: PreTrainedConfig) -> None:
    """Raises `ConversionError` if a decoder does more after its head than VITAL does: it would come out wrong."""
    for name, neutral in _AFTER_THE_HEAD.items():
        if getattr(config, name, None) not in neutral:
            raise ConversionError(
                f"The decoder ({config.model_type}) changes its logits by {name}; VITAL's head does not."
            )


def decoder_rules(config: dict[str, Any]) -> list[Rule]:
    """Rules for the keys `language_model.*` of a published model.

    Args:
        config (`dict`): `llm_config` of the source.
    """
    if architecture(config) == INTERNLM2:
        return _internlm2_rules(config)
    return [
        Rule(r"language_model\..*\.rotary_emb\.inv_freq", reason="computed from the configuration"),
        Rule(r"language_model\.model\.(.*)", (r"model.language_model.\1",)),
        Rule(r"language_model\.lm_head\.(.*)", (r"lm_head.\1",)),
    ]


def _internlm2_rules(config: dict[str, Any]) -> list[Rule]:
    heads = config["num_attention_heads"]
    groups = config.get("num_key_value_heads") or heads
    queries = heads // groups  # query heads a key and value head

    def unfuse(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
        """`wqkv`: for each key and value head, its query heads, its key, its value."""
        rows = tensor.unflatten(0, (groups, queries + 2, -1))  # [G, queries + 2, D, ...]
        return rows[:, :queries].flatten(0, 2), rows[:, -2].flatten(0, 1), rows[:, -1].flatten(0, 1)

    layer, ours = r"language_model\.model\.layers\.(\d+)\.", r"model.language_model.layers.\1."
    attention = tuple(f"{ours}self_attn.{name}_proj.\\2" for name in "qkv")
    return [
        Rule(r"language_model\..*\.rotary_emb\.inv_freq", reason="computed from the configuration"),
        Rule(r"language_model\.model\.tok_embeddings\.weight", ("model.language_model.embed_tokens.weight",)),
        Rule(r"language_model\.model\.norm\.weight", ("model.language_model.norm.weight",)),
        Rule(r"language_model\.output\.weight", ("lm_head.weight",)),
        Rule(rf"{layer}attention\.wqkv\.(weight|bias)", attention, unfuse),
        Rule(rf"{layer}attention\.wo\.(weight|bias)", (ours + r"self_attn.o_proj.\2",)),
        Rule(rf"{layer}feed_forward\.w1\.weight", (f"{ours}mlp.gate_proj.weight",)),
        Rule(rf"{layer}feed_forward\.w2\.weight", (f"{ours}mlp.down_proj.weight",)),
        Rule(rf"{layer}feed_forward\.w3\.weight", (f"{ours}mlp.up_proj.weight",)),
        Rule(rf"{layer}attention_norm\.weight", (f"{ours}input_layernorm.weight",)),
        Rule(rf"{layer}ffn_norm\.weight", (f"{ours}post_attention_layernorm.weight",)),
    ]
