"""InternVL3 in its original layout (`internvl_chat`): a starting point for VITAL's pre-training."""

from collections.abc import Collection
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from ..configuration_vital import VitalConfig, VitalMotionConfig
from ..modeling_vital import VitalForConditionalGeneration
from ..processing_vital import VitalProcessor
from .decoders import decoder_rules, text_config
from .errors import ConversionError
from .layout import Layout, image_processor_of, tile_size_of, vital_processor
from .rules import Rule, prefixed
from .vision_encoder import INTERNVIT, layers_read, unread_layers, vision_config


PROJECTOR = [
    Rule(r"0\.(weight|bias)", (r"layer_norm.\1",)),
    Rule(r"1\.(weight|bias)", (r"linear_1.\1",)),
    Rule(r"3\.(weight|bias)", (r"linear_2.\1",)),
]
"""Numbered layers of a projector (number 2 is the activation) to names of `VitalProjector`."""


class InternVLLayout(Layout):
    """`vision_model.*`, `mlp1.*` and `language_model.*`, beside a configuration of type `internvl_chat`."""

    name = "InternVL, original"
    needs_motion_weights = True
    scoring = "default"

    def recognises(self, config: dict[str, Any], keys: Collection[str]) -> bool:
        parts = {key.split(".")[0] for key in keys}
        return "llm_config" in config and "language_model" in parts and "slowfast_model" not in parts

    def model_class(self) -> type[PreTrainedModel]:
        return VitalForConditionalGeneration

    def config(self, source: dict[str, Any], keys: Collection[str]) -> PreTrainedConfig:
        vision, decoder = source["vision_config"], source["llm_config"]
        if source.get("ps_version", "v1") != "v2":
            raise ConversionError(
                "This model has ps_version 'v1', which transposes the image tokens; only 'v2' is known here."
            )
        vision = vision_config(vision, self._layers_read(source))
        head = {"language_model.lm_head.weight", "language_model.output.weight"}
        tied = source.get("tie_word_embeddings", False) or decoder.get("tie_word_embeddings", False)
        return VitalConfig(
            vision_config=vision,
            motion_config=VitalMotionConfig(image_size=tile_size_of(source, vision)),
            text_config=text_config(decoder, keep_rope_scaling=self.keeps_rope_scaling(decoder)),
            image_seq_length=image_tokens(source, vision),
            downsample_ratio=source.get("downsample_ratio", 0.5),
            tie_word_embeddings=tied and not head & set(keys),
        )

    def keeps_rope_scaling(self, decoder: dict[str, Any]) -> bool:
        """Returns `True` if the decoder stretches RoPE beyond its training length where its configuration says so."""
        return True

    def rules(self, source: dict[str, Any]) -> list[Rule]:
        layers = vision_config(source["vision_config"]).num_hidden_layers
        return [
            *unread_layers(r"vision_model\.encoder\.layers\.", self._layers_read(source), layers),
            *prefixed(INTERNVIT, r"vision_model\.", "model.vision_tower."),
            *prefixed(PROJECTOR, r"mlp1\.", "model.multi_modal_projector."),
            *decoder_rules(source["llm_config"]),
        ]

    def processor(self, source: dict[str, Any], config: PreTrainedConfig, tokenizer) -> VitalProcessor | None:
        return vital_processor(
            image_processor_of(source, config.vision_config, tile_rule="native"),
            tokenizer,
            config,
            prompt_template=source.get("template"),
        )

    @staticmethod
    def _layers_read(source: dict[str, Any]) -> int:
        layers = vision_config(source["vision_config"]).num_hidden_layers
        return layers_read(source.get("select_layer", -1), layers)


def image_tokens(source: dict[str, Any], vision: PreTrainedConfig) -> int:
    """Image tokens of one tile at the size that the source forces on its tiles."""
    side = tile_size_of(source, vision) // vision.patch_size[0]
    return round(side * source.get("downsample_ratio", 0.5)) ** 2
