"""The sizes of the zoo as configurations, and what each costs: parameters by part, and memory."""

from dataclasses import asdict, dataclass

import torch
from torch import nn
from transformers import Qwen2Config
from transformers.initialization import no_init_weights

from ..configuration_vital import VitalConfig
from ..modeling_vital import VitalForConditionalGeneration
from ..probe_vital import VitalForQualityProbe, VitalProbeConfig
from . import EMBEDDED, NAMES, is_probe, resolve


_BF16_BYTES = 2
_INT8_BYTES, _INT8_BYTES_PER_ROW = 1, 4
_NF4_BYTES, _NF4_BYTES_PER_BLOCK, _NF4_BLOCK = 0.5, 4, 64


@dataclass(frozen=True)
class _Decoder:
    """Sizes of a Qwen2.5 decoder.

    Attributes:
        hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads (`int`): of
            `Qwen2Config`.
        weights (`str`): where weights of this size come from.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    weights: str


_RELEASED = "the authors' {}, brought over by `vital convert`"

_DECODERS = {
    "vital-1b": _Decoder(896, 4864, 24, 14, 2, _RELEASED.format("VITAL-Warm-up-1B")),
    "vital-2b": _Decoder(1536, 8960, 28, 12, 2, _RELEASED.format("VITAL-Warm-up-2B")),
    "vital-8b": _Decoder(3584, 18944, 28, 28, 4, _RELEASED.format("VITAL-Base-8B or VITAL-Assistant-8B")),
    "vital-14b": _Decoder(5120, 13824, 48, 40, 8, _RELEASED.format("VITAL-Warm-up-14B")),
}


_PACKAGED = {
    "vital-tiny": "encoders pre-trained through its own decoder, frozen",
    "vital-tiny-warmup": "the encoders of vital-tiny before another decoder, warmed up on 4,000 items",
    "vital-tiny-probe": "the encoders of vital-tiny and a head on their features, no decoder",
}
"""How the members inside the package were made."""


@dataclass(frozen=True)
class ZooEntry:
    """Parts and sizes of a member of the zoo.

    Attributes:
        name (`str`): its name.
        parameters (`dict[str, int]`): of `vision`, `motion`, `projectors`, `decoder` (with its head; of a linear probe
            the head alone), and `total`.
        memory_bytes (`dict[str, int]`): of the weights in `bf16`, `int8` and `4bit`. Quantised are the linear layers
            but for the head, as bitsandbytes does (int8 with a scale a row; nf4 with a scale for 64 weights); the rest
            stays in bf16. Activations and the cache come on top.
        weights (`str`): where the weights come from; of those in the package, how they were made.
    """

    name: str
    parameters: dict[str, int]
    memory_bytes: dict[str, int]
    weights: str

    def to_dict(self) -> dict:
        """The record as plain Python values, ready for JSON."""
        return asdict(self)


def config(name: str) -> VitalConfig | VitalProbeConfig:
    """Configuration of a member of the zoo.

    The sizes are those of the released models: InternViT-300M, SlowFast-R50's fast pathway, a Qwen2.5 decoder with
    InternVL3's vocabulary and a head of its own. What else a released checkpoint's numbers depend on, such as
    `motion_token_layout`, is left at the mended default here and set by `vital convert` there.

    Args:
        name (`str`): one of `zoo.NAMES`.

    Returns:
        `VitalConfig` or `VitalProbeConfig`: a new one.

    Raises:
        ValueError: for another name, listing these.
    """
    if name in EMBEDDED:
        return (VitalProbeConfig if is_probe(name) else VitalConfig).from_pretrained(resolve(name))
    if name not in _DECODERS:
        raise ValueError(f"Unknown name {name!r}; the zoo has {', '.join(NAMES)}.")
    sizes = {key: value for key, value in asdict(_DECODERS[name]).items() if key != "weights"}
    text_config = Qwen2Config(
        **sizes,
        vocab_size=151674,
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        bos_token_id=151643,
    )
    return VitalConfig(
        text_config=text_config,
        image_token_id=151667,
        motion_token_id=151668,
        pad_token_id=151643,
        eos_token_id=151645,
        tie_word_embeddings=False,
    )


def entry(name: str) -> ZooEntry:
    """Counts a member of the zoo, on a model without memory.

    Args:
        name (`str`): one of `zoo.NAMES`.

    Raises:
        ValueError: for another name.
    """
    settings = config(name)
    with no_init_weights(), torch.device("meta"):
        model = (VitalForQualityProbe if is_probe(name) else VitalForConditionalGeneration)(settings)
    if is_probe(name):
        head = model.head
        parts = {"vision": [model.vision_tower], "motion": [model.motion_encoder], "projectors": [], "decoder": [head]}
    else:
        head = model.lm_head
        parts = {
            "vision": [model.model.vision_tower],
            "motion": [model.model.motion_encoder],
            "projectors": [model.model.multi_modal_projector, model.model.motion_projector],
            "decoder": [model.model.language_model] + ([] if settings.tie_word_embeddings else [head]),
        }
    parameters = {part: sum(_count(module) for module in modules) for part, modules in parts.items()}
    parameters["total"] = sum(parameters.values())
    linear = [m.weight for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    weights, rows = sum(w.numel() for w in linear), sum(w.shape[0] for w in linear)
    rest = _BF16_BYTES * (parameters["total"] - weights)
    memory_bytes = {
        "bf16": _BF16_BYTES * parameters["total"],
        "int8": rest + _INT8_BYTES * weights + _INT8_BYTES_PER_ROW * rows,
        "4bit": rest + round(_NF4_BYTES * weights + _NF4_BYTES_PER_BLOCK * weights / _NF4_BLOCK),
    }
    source = f"in the package: {_PACKAGED[name]}" if name in EMBEDDED else _DECODERS[name].weights
    return ZooEntry(name, parameters, memory_bytes, source)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def format_parameters(count: int) -> str:
    """A number of parameters in millions or billions."""
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.2f} M"


def format_memory(size: int) -> str:
    """A number of bytes in MiB or GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


__all__ = ["ZooEntry", "config", "entry", "format_memory", "format_parameters"]
