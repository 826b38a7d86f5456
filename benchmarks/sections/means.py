"""Means of making it faster that were tried, each against what the package does: taken up or not, with its number."""

import copy
import os
import shutil
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.stats import spearmanr

from dataset_scripts.distortions import distort_image
from modeling_vital.attention_vital import attention_by_heads
from modeling_vital.packing import pack_linears

from ..cases import EXAMPLES, Settings, photos, random_model, tiny_model, use_convention
from ..timing import guarded, interleaved, ratio


def run(settings: Settings) -> dict[str, Any]:
    """Ratios above 1 say that the means is faster than what the package does without it."""
    model = random_model(settings.size, settings.dtype, packed=False)
    with torch.no_grad():
        return guarded(
            {
                "attention_by_heads": lambda: heads(model, settings),
                "packed_weights": lambda: packed(model, settings),
                "compiled_encoder_layer": lambda: compiled_layer(model, settings),
                "channels_last_motion": lambda: channels_last(model, settings),
                "prompt_prefix": lambda: prompt_prefix(model),
                "int8_tiny": lambda: int8_scores(settings),
                "precision": lambda: precision(settings),  # last: it replaces models that are kept
            }
        )


def heads(model: Any, settings: Settings) -> dict[str, float]:
    """Attention of one encoder layer as the package does it, some heads at a time, against SDPA."""
    shape = model.config.vision_config
    layer = model.model.vision_tower.encoder.layer[0].attention
    patches = (model.processor.image_processor.tile_size // shape.patch_size[0]) ** 2
    width = shape.hidden_size // shape.num_attention_heads
    q, k, v = torch.randn(3, 1, shape.num_attention_heads, patches + 1, width).to(settings.dtype)
    cases = {
        "fused": lambda: F.scaled_dot_product_attention(q, k, v).transpose(1, 2),
        "by heads": lambda: attention_by_heads(layer, q, k, v, None)[0],
    }
    difference = (cases["by heads"]() - cases["fused"]()).abs().max().item()
    times = interleaved(cases, settings.rounds(9))
    return {"ratio": ratio(times, "fused", "by heads"), "largest_difference": difference}


def packed(model: Any, settings: Settings) -> dict[str, float]:
    """The widest layer of the encoder with its weight packed, as `vital score` has it, against itself."""
    layer = model.model.vision_tower.encoder.layer[0].mlp.fc1
    patches = (model.processor.image_processor.tile_size // model.config.vision_config.patch_size[0]) ** 2
    hidden = torch.randn(1, patches + 1, layer.in_features).to(settings.dtype)
    other = pack_linears(torch.nn.Sequential(layer))
    difference = (layer(hidden) - other(hidden)).abs().max().item()
    times = interleaved({"as is": lambda: layer(hidden), "packed": lambda: other(hidden)}, settings.rounds(9))
    return {"ratio": ratio(times, "as is", "packed"), "largest_difference": difference}


def compiled_layer(model: Any, settings: Settings) -> dict[str, Any]:
    """One encoder layer under `torch.compile`, against itself."""
    if not any(map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++"))):
        return {"skipped": "no C++ compiler"}
    layer, width = model.model.vision_tower.encoder.layer[0], model.config.vision_config.hidden_size
    patches = (model.processor.image_processor.tile_size // model.config.vision_config.patch_size[0]) ** 2
    hidden = torch.randn(1, patches + 1, width).to(settings.dtype)
    compiled = torch.compile(layer)
    started = time.perf_counter()
    compiled(hidden)
    seconds = time.perf_counter() - started
    times = interleaved({"eager": lambda: layer(hidden), "compiled": lambda: compiled(hidden)}, settings.rounds(9))
    return {"ratio": ratio(times, "eager", "compiled"), "compile_s": seconds}


def channels_last(model: Any, settings: Settings) -> dict[str, float]:
    """The motion encoder with channels last in memory."""
    encoder, size = model.model.motion_encoder, model.processor.motion_size
    other = copy.deepcopy(encoder).to(memory_format=torch.channels_last_3d)
    frames = torch.randn(1, 16, 3, size, size).to(settings.dtype)
    last = frames.transpose(1, 2).contiguous(memory_format=torch.channels_last_3d).transpose(1, 2)
    difference = (encoder(frames) - other(last)).abs().max().item()
    times = interleaved({"as is": lambda: encoder(frames), "last": lambda: other(last)}, settings.rounds(3))
    return {"ratio": ratio(times, "as is", "last"), "largest_difference": difference}


def prompt_prefix(model: Any) -> dict[str, float]:
    """Measures the start of a prompt that all photos share, up to the first image token: the most keeping it saves."""
    use_convention(model, "default")
    side = model.processor.image_processor.tile_size
    ids = model.processor.score_inputs(photos([1], side))["input_ids"][0].tolist()
    shared = ids.index(model.config.image_token_id)
    return {"tokens": shared, "share": shared / len(ids)}


def int8_scores(settings: Settings) -> dict[str, float]:
    """`vital-tiny` with linear layers in int8, quantised dynamically: speed, and what happens to its scores."""
    model = tiny_model()
    small = copy.deepcopy(model)
    for name in ("language_model", "multi_modal_projector", "motion_projector"):
        setattr(small.model, name, int8(getattr(small.model, name)))
    originals, copies = distorted_examples(settings)
    pictures = [*originals, *copies]
    scores = {n: np.array([r.score for r in m.score(pictures)]) for n, m in (("float", model), ("int8", small))}
    result = {"pictures": len(pictures)}
    for name, values in scores.items():
        best, worse = values[: len(originals)], values[len(originals) :].reshape(len(originals), -1)
        result[f"copies_below_original_{name}"] = float((worse < best[:, None]).mean())
    result["srcc_with_float"] = float(spearmanr(scores["float"], scores["int8"]).statistic)
    result["largest_difference"] = float(np.abs(scores["float"] - scores["int8"]).max())
    some = pictures[:16]
    times = interleaved({"float": lambda: model.score(some), "int8": lambda: small.score(some)}, settings.rounds(3))
    return {**result, "ratio": ratio(times, "float", "int8")}


def int8(module: torch.nn.Module) -> torch.nn.Module:
    """The module with its linear layers quantised dynamically."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch points to torchao, which is one more package
        return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8)


def distorted_examples(settings: Settings) -> tuple[list[Image.Image], list[Image.Image]]:
    """The example photos, and of each, in order, as many copies of visible severities."""
    paths = sorted(EXAMPLES.glob("*.jpg"))[: 2 if settings.quick else 6]
    originals = [Image.open(path).convert("RGB").resize((320, 240)) for path in paths]
    steps = [(name, severity) for name in ("gaussian_blur", "white_noise", "jpeg") for severity in (3, 4, 5)]
    rng = np.random.default_rng(0)
    copies = [Image.fromarray(distort_image(np.asarray(o), *step, rng)) for o in originals for step in steps]
    return originals, copies


def precision(settings: Settings) -> dict[str, float]:
    """The encoder in bfloat16 against float32, and the decoder in int8 against float32; ratios over float32."""
    cases: dict[str, Callable[[], Any]] = {}
    for dtype in (torch.bfloat16, torch.float32):
        model = random_model(settings.size, dtype, packed=False)
        side, width = model.processor.image_processor.tile_size, model.config.text_config.hidden_size
        tile, embeds = torch.randn(1, 3, side, side).to(dtype), torch.randn(1, 300, width).to(dtype)
        decoder = model.model.language_model
        cases[f"encoder {dtype}"] = lambda model=model, tile=tile: model.model.encode_tiles(tile)
        cases[f"decoder {dtype}"] = lambda d=decoder, e=embeds: d(inputs_embeds=e, use_cache=False)
    quantised = int8(decoder)
    cases["decoder int8"] = lambda: quantised(inputs_embeds=embeds, use_cache=False)
    times = interleaved(cases, settings.rounds(3))
    return {
        "encoder_bf16": ratio(times, "encoder torch.float32", "encoder torch.bfloat16"),
        "decoder_bf16": ratio(times, "decoder torch.float32", "decoder torch.bfloat16"),
        "decoder_int8": ratio(times, "decoder torch.float32", "decoder int8"),
    }
