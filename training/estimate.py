"""Estimate of a run: memory by kind, and hours, before any weight is loaded.

An estimate, not a measurement. Weights, gradients and optimiser state are counted; activations follow Korthikanti et
al. (arXiv 2205.05198) without the attention matrices, which fused attention does not keep; time is operations over
speed.
"""

import time
from dataclasses import dataclass

import torch
from peft import get_peft_model

from modeling_vital.modeling_vital import VitalForConditionalGeneration
from training.freezing import freeze
from training.lora import LoraArguments, lora_config


UTILISATION = 0.4
"""Share of a device's peak that training reaches, as commonly reported for models of this size."""

NF4_BYTES = 0.5 + 4 / 64
"""Of a weight in 4 bits: one scale of 4 bytes for 64 of them."""

ANSWER_TOKENS = 16
PROMPT_TOKENS = 32

_BYTES_A_CHANNEL = 34  # activations of a transformer layer a token and channel, in half precision, nothing recomputed
_BYTES_KEPT = 2  # with checkpointing: the layer's input


@dataclass(frozen=True)
class Estimate:
    """Needs of a run, for one device where nothing is sharded.

    Attributes:
        weights, gradients, optimizer, activations (`float`): gigabytes.
        trainable, total (`int`): parameters.
        step_tflop (`float`): operations of one optimiser step, all devices together.
        steps (`int`): optimiser steps.
        hours (`float`): wall-clock time.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    trainable: int
    total: int
    step_tflop: float
    steps: int
    hours: float

    @property
    def memory(self) -> float:
        """Gigabytes of a device, all together."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def __str__(self) -> str:
        return (
            f"Memory a device: {self.memory:.2f} GB (weights {self.weights:.2f}, gradients {self.gradients:.2f}, "
            f"optimiser {self.optimizer:.2f}, activations {self.activations:.2f}); FSDP or ZeRO-3 divide the first "
            f"three by the number of devices.\n"
            f"{self.trainable:,} of {self.total:,} parameters learn. {self.steps:,} steps of {self.step_tflop:.3g} "
            f"TFLOP: about {_duration(self.hours)}."
        )


def estimate(
    config,
    stage: str,
    visual_tokens: float,
    batch_size: int,
    batches_per_step: int,
    steps: int,
    devices: int,
    device_tflops: float | None = None,
    decoder_bytes: float = 4,
    layer_bytes: float | None = None,
    mixed_precision: bool = False,
    checkpointing: bool = False,
    lora: LoraArguments | None = None,
) -> Estimate:
    """Counts what a run needs.

    Args:
        config (`VitalConfig`): of the model.
        stage (`str`): what learns.
        visual_tokens (`float`): of an item, on average.
        batch_size (`int`): items of one forward pass on one device.
        batches_per_step (`int`): forward passes of an optimiser step, all devices together.
        steps (`int`): optimiser steps.
        devices (`int`): how many work at once.
        device_tflops (`float`, *optional*): peak of one; by default this one is measured, which is what it reaches.
        decoder_bytes (`float`, *optional*, defaults to 4): of each weight of a frozen decoder and its head.
        layer_bytes (`float`, *optional*): of the weights of its layers, if that is another number.
        mixed_precision (`bool`, *optional*, defaults to `False`): activations in half precision.
        checkpointing (`bool`, *optional*, defaults to `False`): activations are computed again.
        lora (`LoraArguments`, *optional*): with a rank, adapters learn instead of the parts of the stage.
    """
    with torch.device("meta"):
        model = VitalForConditionalGeneration(config)
    decoder = sum(p.numel() for p in model.model.language_model.parameters())
    total = sum(p.numel() for p in model.parameters())
    adapters = lora is not None and lora.lora_rank is not None
    if adapters:
        with torch.device("meta"):
            get_peft_model(model, lora_config(model, lora))  # changes it in place
    else:
        freeze(model, stage)
    decoder_learns = not adapters and any(p.requires_grad for p in model.model.language_model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    vision = sum(p.numel() for p in model.model.vision_tower.parameters())
    vision_learns = any(p.requires_grad for p in model.model.vision_tower.parameters())
    layers_only = sum(p.numel() for p in model.model.language_model.layers.parameters())
    head = 0 if config.tie_word_embeddings else model.lm_head.weight.numel()
    rest_bytes = 2 if adapters and layer_bytes else 4  # beside a decoder in 4 bits, adapters learn on bfloat16
    weights = rest_bytes * total
    if not decoder_learns:
        weights += (decoder_bytes - rest_bytes) * (decoder - layers_only + head)
        weights += ((layer_bytes or decoder_bytes) - rest_bytes) * layers_only
    weights += 4 * trainable if adapters else 0

    # A tile is more positions to the encoder than tokens to the decoder.
    vision_tokens = batch_size * visual_tokens / config.downsample_ratio**2
    decoder_tokens = batch_size * (visual_tokens + PROMPT_TOKENS + ANSWER_TOKENS)
    text = config.get_text_config()
    layers = [(decoder_tokens, text.hidden_size, text.num_hidden_layers)]
    if vision_learns:
        width = getattr(config.vision_config, "hidden_size", config.vision_hidden_size)
        layers.append((vision_tokens, width, getattr(config.vision_config, "num_hidden_layers", 4)))
    size = 1 if mixed_precision else 2  # the constants are for half precision
    activations = 3 * 4 * batch_size * ANSWER_TOKENS * text.vocab_size  # logits, their gradient, softmax
    for tokens, width, depth in layers:
        whole = tokens * width * _BYTES_A_CHANNEL * size
        activations += whole + tokens * width * _BYTES_KEPT * size * depth if checkpointing else whole * depth

    # Forward 2, gradient of inputs 2, gradient of weights 2 operations a weight and token; recomputing 2 more.
    again = 2 if checkpointing else 0
    operations = vision * vision_tokens * (6 + again if vision_learns else 2)
    operations += decoder * decoder_tokens * ((6 if decoder_learns else 4) + again)
    step_tflop = operations * batches_per_step / 1e12
    speed = UTILISATION * device_tflops if device_tflops else measured_tflops(mixed_precision)
    return Estimate(
        weights=weights / 1e9,
        gradients=4 * trainable / 1e9,
        optimizer=8 * trainable / 1e9,
        activations=activations / 1e9,
        trainable=trainable,
        total=total,
        step_tflop=step_tflop,
        steps=steps,
        hours=step_tflop * steps / (speed * devices) / 3600,
    )


def measured_tflops(half: bool = False, size: int = 512, seconds: float = 0.2) -> float:
    """TFLOP/s of this machine's matrix products."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16 if half else torch.float32)
    a @ a
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        (a @ a).sum().item()
        count += 1
    return 2 * size**3 * count / (time.perf_counter() - start) / 1e12


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    return f"{hours * 60:.0f} minutes" if hours < 2 else f"{hours:,.0f} hours"
