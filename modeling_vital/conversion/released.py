"""The layout of the authors' VITAL checkpoints (Base, Assistant, Warm-up): InternVL's, with SlowFast in it."""

from collections.abc import Collection
from typing import Any

from transformers import PreTrainedConfig

from ..processing_vital import VitalProcessor
from .internvl import PROJECTOR, InternVLLayout
from .layout import image_processor_of, vital_processor
from .rules import Rule, prefixed
from .slowfast import FAST_PATHWAY


class ReleasedLayout(InternVLLayout):
    """InternVL's keys, and `slowfast_model.feature_extraction.*` and `motion_mlp.*`.

    What the numbers of these checkpoints depend on is written into the configuration: the motion feature read without
    transposing it, the tile grid by area, a single tile shown twice, and a scoring convention (`"released"`).
    """

    name = "VITAL, released"
    needs_motion_weights = False
    scoring = "released"

    def recognises(self, config: dict[str, Any], keys: Collection[str]) -> bool:
        parts = {key.split(".")[0] for key in keys}
        return "llm_config" in config and {"language_model", "slowfast_model"} <= parts

    def config(self, source: dict[str, Any], keys: Collection[str]) -> PreTrainedConfig:
        config = super().config(source, keys)
        config.motion_token_layout = "channel_major"
        return config

    def keeps_rope_scaling(self, decoder: dict[str, Any]) -> bool:
        """Not for Qwen2: the library that the released code is pinned to does not read the entry there."""
        return decoder.get("model_type") != "qwen2"

    def rules(self, source: dict[str, Any]) -> list[Rule]:
        return [
            *super().rules(source),
            *prefixed(PROJECTOR, r"motion_mlp\.", "model.motion_projector."),
            *prefixed(FAST_PATHWAY, r"slowfast_model\.feature_extraction\.", "model.motion_encoder."),
        ]

    def processor(self, source: dict[str, Any], config: PreTrainedConfig, tokenizer) -> VitalProcessor | None:
        return vital_processor(
            image_processor_of(source, config.vision_config, tile_rule="area"),
            tokenizer,
            config,
            prompt_template=source.get("template"),
            single_tile_copies=2,
        )
