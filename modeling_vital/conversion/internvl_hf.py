"""InternVL3 in transformers' own layout (`OpenGVLab/InternVL3-*-hf`): a starting point for VITAL's pre-training."""

from collections.abc import Collection
from typing import Any

from transformers import AutoConfig, InternVLConfig, PreTrainedConfig, PreTrainedModel

from ..configuration_vital import VitalConfig, VitalMotionConfig
from ..modeling_vital import VitalForConditionalGeneration
from ..processing_vital import VitalProcessor
from .decoders import refuse_changed_logits
from .errors import ConversionError
from .layout import Layout, image_processor_of, tile_size_of, vital_processor
from .rules import Rule
from .vision_encoder import layers_read, unread_layers


class InternVLHfLayout(Layout):
    """transformers' names, as written by version 5 (`model.vision_tower.*`) or by version 4 (`vision_tower.*`)."""

    name = "InternVL, transformers"
    needs_motion_weights = True
    scoring = "default"

    def recognises(self, config: dict[str, Any], keys: Collection[str]) -> bool:
        return config.get("model_type") == InternVLConfig.model_type

    def model_class(self) -> type[PreTrainedModel]:
        return VitalForConditionalGeneration

    def config(self, source: dict[str, Any], keys: Collection[str]) -> PreTrainedConfig:
        native = self._native(source)
        refuse_changed_logits(native.text_config)
        if source.get("vision_feature_select_strategy", "default") != "default":
            raise ConversionError("This model keeps [CLS] among its image tokens; VITAL has no place for it.")
        vision = native.vision_config
        read = self._layers_read(source)
        if read < vision.num_hidden_layers and not vision.use_mean_pooling:
            raise ConversionError("This model takes features before the last layer, and norms only after the last.")
        vision.num_hidden_layers = read
        return VitalConfig(
            vision_config=vision,
            motion_config=VitalMotionConfig(image_size=tile_size_of(source, vision)),
            text_config=native.text_config,
            image_token_id=native.image_token_id,
            image_seq_length=native.image_seq_length,
            downsample_ratio=native.downsample_ratio,
            projector_hidden_act=native.projector_hidden_act,
            # transformers' default is True whatever the file holds: what the file holds decides.
            tie_word_embeddings=not any(key.endswith("lm_head.weight") for key in keys),
        )

    def rules(self, source: dict[str, Any]) -> list[Rule]:
        vision = r"(?:model\.)?vision_tower\."
        layers = self._native(source).vision_config.num_hidden_layers
        return [
            *unread_layers(rf"{vision}encoder\.layer\.", self._layers_read(source), layers),
            Rule(rf"{vision}(.*)", (r"model.vision_tower.\1",)),
            Rule(r"(?:model\.)?multi_modal_projector\.(.*)", (r"model.multi_modal_projector.\1",)),
            Rule(r"(?:language_model\.)?lm_head\.(.*)", (r"lm_head.\1",)),
            Rule(r"language_model\.model\.(.*)", (r"model.language_model.\1",)),
            Rule(r"model\.language_model\.(.*)", (r"model.language_model.\1",)),
        ]

    def processor(self, source: dict[str, Any], config: PreTrainedConfig, tokenizer) -> VitalProcessor | None:
        pictures = image_processor_of(source, config.vision_config, tile_rule="native")
        return vital_processor(pictures, tokenizer, config)

    @staticmethod
    def _native(source: dict[str, Any]) -> PreTrainedConfig:
        return AutoConfig.for_model(**{**source, "model_type": InternVLConfig.model_type})

    def _layers_read(self, source: dict[str, Any]) -> int:
        layers = self._native(source).vision_config.num_hidden_layers
        return layers_read(source.get("vision_feature_layer", -1), layers)
