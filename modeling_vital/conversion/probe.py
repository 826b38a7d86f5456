"""The authors' released linear probe to [`VitalForQualityProbe`]: configuration, processor and tensors.

In the released layout the image encoder is `vision_model`, SlowFast `slowfast_model` and the head `quality`; there is
no decoder and no projector. Its five classes go from worst to best; ours from best to worst.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from transformers import InternVLVisionConfig

from ..image_processing_vital import VitalImageProcessor
from ..levels_vital import RELEASED_LEVEL_VALUES
from ..probe_vital import VitalProbeConfig, VitalProbeProcessor
from ..video_processing_vital import FrameSampling


FEATURE_LAYERS = (6, 12, 18)
"""Layers of the image encoder whose outputs the released head reads, the first layer being 0."""

_VISION_NAMES = {
    "embeddings.class_embedding": "embeddings.cls_token",
    "embeddings.position_embedding": "embeddings.position_embeddings",
    "embeddings.patch_embedding": "embeddings.patch_embeddings.projection",
    "ls1": "lambda_1",
    "ls2": "lambda_2",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "attn.proj": "attention.projection_layer",
    "attn.q_norm": "attention.q_norm",
    "attn.k_norm": "attention.k_norm",
}
_MOTION_NAMES = {
    "branch1_conv": "shortcut_conv",
    "branch1_norm": "shortcut_norm",
    "branch2.conv_a": "temporal_conv",
    "branch2.norm_a": "temporal_norm",
    "branch2.conv_b": "spatial_conv",
    "branch2.norm_b": "spatial_norm",
    "branch2.conv_c": "output_conv",
    "branch2.norm_c": "output_norm",
}
_SUFFIX = r"(?:\.(weight|bias|running_mean|running_var|num_batches_tracked))?"
_VISION_LAYER = re.compile(rf"vision_model\.encoder\.layers\.(\d+)\.(.+?){_SUFFIX}")
_VISION_REST = re.compile(rf"vision_model\.(.+?){_SUFFIX}")
_MOTION_STEM = re.compile(rf"slowfast_model\.feature_extraction\.0\.multipathway_blocks\.1\.(conv|norm){_SUFFIX}")
_MOTION_BLOCK = re.compile(
    rf"slowfast_model\.feature_extraction\.([1-9])\.multipathway_blocks\.1\.res_blocks\.(\d+)\.(.+?){_SUFFIX}"
)
_MOTION_DEAD = re.compile(r"slowfast_model\.feature_extraction\.\d+\.(multipathway_blocks\.0|multipathway_fusion)\..+")
_HEAD = re.compile(r"quality\.([01])\.(weight|bias)")


def is_probe(names: Iterable[str]) -> bool:
    """Whether tensors of these names are a released linear probe: a `quality` head and no decoder."""
    parts = {name.split(".", 1)[0] for name in names}
    return "quality" in parts and "language_model" not in parts


def probe_config(released: Mapping[str, Any]) -> VitalProbeConfig:
    """Configuration of ours for a released `config.json`.

    The layers behind the last feature layer are left out: the released code runs them and drops what they put out.

    Args:
        released (`Mapping`): the parsed `config.json`.

    Raises:
        ValueError: if `vision_config` is missing, or has too few layers for `FEATURE_LAYERS`.
    """
    if "vision_config" not in released:
        raise ValueError("The configuration has no `vision_config`; is it the config.json of a VITAL probe?")
    vision = released["vision_config"]
    needed = max(FEATURE_LAYERS) + 1
    if vision["num_hidden_layers"] < needed:
        raise ValueError(f"The released probe reads layer {needed - 1}, but has {vision['num_hidden_layers']} layers.")
    return VitalProbeConfig(
        vision_config=InternVLVisionConfig(
            hidden_size=vision["hidden_size"],
            intermediate_size=vision["intermediate_size"],
            num_hidden_layers=needed,
            num_attention_heads=vision["num_attention_heads"],
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            hidden_act=vision["hidden_act"],
            layer_norm_eps=vision["layer_norm_eps"],
            norm_type=vision["norm_type"],
            attention_bias=vision["qkv_bias"],
            use_qk_norm=vision["qk_normalization"],
        ),
        feature_layers=FEATURE_LAYERS,
        downsample_ratio=released["downsample_ratio"],
        level_values=RELEASED_LEVEL_VALUES,
    )


def probe_processor(released: Mapping[str, Any]) -> VitalProbeProcessor:
    """Processor that sees what the released evaluation of the probe sees: all frames, one key frame a second.

    Args:
        released (`Mapping`): the parsed `config.json`.
    """
    image_processor = VitalImageProcessor(
        tile_size=released["force_image_size"],
        min_tiles=released["min_dynamic_patch"],
        max_tiles=released["max_dynamic_patch"],
        tile_rule="aspect_ratio",
        use_thumbnail=released["use_thumbnail"],
    )
    sampling = FrameSampling.released_score().to_dict()
    return VitalProbeProcessor(image_processor, released["force_image_size"], 1, sampling)


def convert_tensor(name: str, tensor: torch.Tensor, config: VitalProbeConfig) -> dict[str, torch.Tensor]:
    """Where a released tensor goes. Works on the meta device too.

    Args:
        name (`str`): released name.
        tensor (`torch.Tensor`): released tensor.
        config (`VitalProbeConfig`): what `probe_config` gave.

    Returns:
        `dict[str, torch.Tensor]`: our names and tensors: three for a fused query-key-value, one for most, none for
        what never reaches the output (SlowFast's slow pathway and fusion, layers behind the last feature layer).

    Raises:
        KeyError: if there is no such name in the released layout.
    """
    if match := _HEAD.fullmatch(name):
        layer, suffix = int(match[1]), match[2]
        # Class 4 is the best of the released classes, level 0 the best of ours.
        return {f"head.linear_{layer + 1}.{suffix}": tensor.flip(0) if layer else tensor}
    if name.startswith("vision_model."):
        return _vision_tensors(name, tensor, config.vision_config.num_hidden_layers)
    if _MOTION_DEAD.fullmatch(name):
        return {}
    if match := _MOTION_STEM.fullmatch(name):
        return {_join(f"motion_encoder.stem_{match[1]}", match[2]): tensor}
    if (match := _MOTION_BLOCK.fullmatch(name)) and match[3] in _MOTION_NAMES:
        prefix = f"motion_encoder.stages.{int(match[1]) - 1}.{match[2]}"
        return {_join(f"{prefix}.{_MOTION_NAMES[match[3]]}", match[4]): tensor}
    raise KeyError(f"{name!r} is no tensor of a released VITAL probe.")


def _vision_tensors(name: str, tensor: torch.Tensor, num_layers: int) -> dict[str, torch.Tensor]:
    prefix, part, suffix = "vision_tower", "", None
    if match := _VISION_LAYER.fullmatch(name):
        if int(match[1]) >= num_layers:
            return {}
        prefix, part, suffix = f"vision_tower.encoder.layer.{match[1]}", match[2], match[3]
        if part == "attn.qkv":
            names = [_join(f"{prefix}.attention.{which}_proj", suffix) for which in "qkv"]
            return dict(zip(names, tensor.chunk(3), strict=True))
    elif match := _VISION_REST.fullmatch(name):
        part, suffix = match[1], match[2]
    if part not in _VISION_NAMES:
        raise KeyError(f"{name!r} is no tensor of a released VITAL probe.")
    return {_join(f"{prefix}.{_VISION_NAMES[part]}", suffix): tensor}


def _join(name: str, suffix: str | None) -> str:
    return f"{name}.{suffix}" if suffix else name
