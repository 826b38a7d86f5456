"""The layout of the authors' linear probe: InternViT, SlowFast and a head, no decoder and no projector."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..configuration_vital import VitalMotionConfig
from ..levels_vital import RELEASED_LEVEL_VALUES
from ..probe_vital import VitalForQualityProbe, VitalProbeConfig, VitalProbeProcessor
from ..video_processing_vital import FrameSampling
from .errors import ConversionError
from .layout import Layout, image_processor_of, tile_size_of
from .rules import Rule, prefixed
from .slowfast import FAST_PATHWAY
from .vision_encoder import INTERNVIT, unread_layers, vision_config


FEATURE_LAYERS = (6, 12, 18)
"""Layers of the image encoder whose outputs the released head reads, the first layer being 0."""


def best_first(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """Rows of the five classes, which the released head has from worst to best."""
    return [tensor.flip(0)]


HEAD = [
    Rule(r"0\.(weight|bias)", (r"linear_1.\1",)),
    Rule(r"1\.(weight|bias)", (r"linear_2.\1",), best_first),
]
"""The released head's numbered layers to names of `VitalProbeHead`."""


class ProbeLayout(Layout):
    """`vision_model.*`, `slowfast_model.feature_extraction.*` and `quality.*`.

    The released code runs the layers behind the last feature layer too and drops what they put out; here they are left
    out. Pictures, which the released probe cannot take, are cut by the aspect-ratio rule of its code.
    """

    name = "linear probe, released"

    def recognises(self, config: dict[str, Any], keys: Collection[str]) -> bool:
        parts = {key.split(".")[0] for key in keys}
        return {"vision_model", "slowfast_model", "quality"} <= parts and "language_model" not in parts

    def model_class(self) -> type[PreTrainedModel]:
        return VitalForQualityProbe

    def config(self, source: dict[str, Any], keys: Collection[str]) -> PreTrainedConfig:
        if "vision_config" not in source:
            raise ConversionError("The configuration of this linear probe has no vision_config.")
        read, layers = max(FEATURE_LAYERS) + 1, vision_config(source["vision_config"]).num_hidden_layers
        if layers < read:
            raise ConversionError(f"The released head reads layer {read - 1}, and the encoder has {layers} layers.")
        vision = vision_config(source["vision_config"], read)
        if hasattr(vision, "qk_norm_eps"):
            raise ConversionError(
                f"This encoder normalises queries and keys with epsilon {vision.qk_norm_eps}, the probe's with 1e-6."
            )
        return VitalProbeConfig(
            vision_config=vision,
            motion_config=VitalMotionConfig(image_size=tile_size_of(source, vision)),
            feature_layers=FEATURE_LAYERS,
            downsample_ratio=source.get("downsample_ratio", 0.5),
            level_values=RELEASED_LEVEL_VALUES,
        )

    def rules(self, source: dict[str, Any]) -> list[Rule]:
        layers = vision_config(source["vision_config"]).num_hidden_layers
        return [
            *unread_layers(r"vision_model\.encoder\.layers\.", max(FEATURE_LAYERS) + 1, layers),
            *prefixed(INTERNVIT, r"vision_model\.", "vision_tower."),
            *prefixed(FAST_PATHWAY, r"slowfast_model\.feature_extraction\.", "motion_encoder."),
            *prefixed(HEAD, r"quality\.", "head."),
        ]

    def processor(self, source: dict[str, Any], config: PreTrainedConfig, tokenizer) -> VitalProbeProcessor:
        return VitalProbeProcessor(
            image_processor_of(source, config.vision_config, tile_rule="aspect_ratio"),
            motion_size=config.motion_config.image_size,
            frame_sampling=FrameSampling.released_score().to_dict(),
        )
