"""InternViT: its configuration and keys, and the layout of a release of the encoder by itself."""

import re
from collections.abc import Collection
from typing import Any

from transformers import InternVLVisionConfig, InternVLVisionModel, PreTrainedConfig, PreTrainedModel

from ..image_processing_vital import VitalImageProcessor
from .errors import ConversionError
from .layout import Layout, image_processor_of
from .rules import Rule, prefixed, thirds


# What InternViT's own configuration class takes for a value that is not written.
_INTERNVIT_DEFAULTS = {
    "num_channels": 3,
    "patch_size": 14,
    "image_size": 224,
    "qkv_bias": False,
    "hidden_size": 3200,
    "num_attention_heads": 25,
    "intermediate_size": 12800,
    "qk_normalization": True,
    "num_hidden_layers": 48,
    "norm_type": "rms_norm",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "initializer_factor": 0.1,
}

# transformers' encoder has this in its code; InternViT takes `layer_norm_eps`.
_NATIVE_QK_NORM_EPS = 1e-6

_LAYER, _OURS = r"encoder\.layers\.(\d+)\.", r"encoder.layer.\1."

INTERNVIT = [
    Rule(r"embeddings\.class_embedding", ("embeddings.cls_token",)),
    Rule(r"embeddings\.position_embedding", ("embeddings.position_embeddings",)),
    Rule(r"embeddings\.patch_embedding\.(weight|bias)", (r"embeddings.patch_embeddings.projection.\1",)),
    Rule(_LAYER + r"ls([12])", (_OURS + r"lambda_\2",)),
    Rule(_LAYER + r"norm1\.(weight|bias)", (_OURS + r"layernorm_before.\2",)),
    Rule(_LAYER + r"norm2\.(weight|bias)", (_OURS + r"layernorm_after.\2",)),
    Rule(_LAYER + r"attn\.qkv\.(weight|bias)", tuple(f"{_OURS}attention.{name}_proj.\\2" for name in "qkv"), thirds),
    Rule(_LAYER + r"attn\.([qk]_norm)\.weight", (_OURS + r"attention.\2.weight",)),
    Rule(_LAYER + r"attn\.proj\.(weight|bias)", (_OURS + r"attention.projection_layer.\2",)),
    Rule(_LAYER + r"mlp\.(fc[12])\.(weight|bias)", (_OURS + r"mlp.\2.\3",)),
]
"""InternViT's keys to names of transformers' `InternVLVisionModel`."""


def vision_config(config: dict[str, Any], layers: int | None = None) -> InternVLVisionConfig:
    """transformers' configuration of an InternViT.

    Args:
        config (`dict`): the source's, with InternViT's names and defaults.
        layers (`int`, *optional*): only the first so many.
    """
    given = {**_INTERNVIT_DEFAULTS, **config}
    same = "num_channels patch_size image_size hidden_size num_attention_heads intermediate_size norm_type hidden_act"
    result = InternVLVisionConfig(
        **{name: given[name] for name in same.split()},
        layer_norm_eps=given["layer_norm_eps"],
        attention_dropout=given["attention_dropout"],
        hidden_dropout_prob=given["dropout"],
        num_hidden_layers=given["num_hidden_layers"] if layers is None else layers,
        attention_bias=given["qkv_bias"],
        use_qk_norm=given["qk_normalization"],
        layer_scale_init_value=given["initializer_factor"],
    )
    if given["qk_normalization"] and given["layer_norm_eps"] != _NATIVE_QK_NORM_EPS:
        result.qk_norm_eps = given["layer_norm_eps"]  # `VitalModel` sets it
    return result


def layers_read(select_layer: int, layers: int) -> int:
    """Returns the number of layers that matter when an encoder's features are hidden state number `select_layer`.

    Hidden state 0 is the embeddings, -1 the output of the last layer.

    Raises:
        ConversionError: if there is no such hidden state, or no layer would be left.
    """
    read = select_layer if select_layer >= 0 else layers + 1 + select_layer
    if not 1 <= read <= layers:
        raise ConversionError(f"The features are hidden state {select_layer} of an encoder of {layers} layers.")
    return read


def unread_layers(pattern: str, read: int, layers: int) -> list[Rule]:
    """Rules that drop the layers after the one whose output the features are.

    Args:
        pattern (`str`): what stands before a layer's number, as a regular expression.
        read (`int`): layers that matter.
        layers (`int`): layers there are.
    """
    numbers = "|".join(str(number) for number in range(read, layers))
    return [Rule(rf"{pattern}({numbers})\..*", reason="the features are taken before it")] if numbers else []


class VisionEncoderLayout(Layout):
    """An InternViT alone, such as VITAL-Vision-Encoder-300M: becomes a folder of transformers' `InternVLVisionModel`.

    The keys may carry the prefix `vision_model.` and the configuration may be that of a whole model.
    """

    name = "vision encoder"

    def recognises(self, config: dict[str, Any], keys: Collection[str]) -> bool:
        return bool(keys) and all(re.match(r"(vision_model\.)?(embeddings|encoder)\.", key) for key in keys)

    def model_class(self) -> type[PreTrainedModel]:
        return InternVLVisionModel

    def config(self, source: dict[str, Any], keys: Collection[str]) -> PreTrainedConfig:
        config = vision_config(source.get("vision_config", source))
        if hasattr(config, "qk_norm_eps"):
            raise ConversionError(
                f"This encoder normalises queries and keys with epsilon {config.qk_norm_eps}, and transformers' "
                f"InternVLVisionModel only with {_NATIVE_QK_NORM_EPS}: alone it would give other features."
            )
        return config

    def rules(self, source: dict[str, Any]) -> list[Rule]:
        return prefixed(INTERNVIT, r"(?:vision_model\.)?", "")

    def processor(self, source: dict[str, Any], config: PreTrainedConfig, tokenizer) -> VitalImageProcessor:
        return image_processor_of(source, config, tile_rule="native")
