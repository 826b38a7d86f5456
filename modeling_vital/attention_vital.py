"""Attention of the image encoder on CPUs in bfloat16, where plain products are far faster than the fused kernel."""

import torch
from transformers import PreTrainedModel


try:  # transformers may move these; then the encoder attends as it would without this file
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
except ImportError:
    ALL_ATTENTION_FUNCTIONS = None

ATTENTION_BY_HEADS = "sdpa_by_heads"
"""Name under which transformers finds [`attention_by_heads`]."""

_ONLY_SDPA = ("position_bias", "softcap")

# Weights of some heads, 16 MiB of them, stay in the cache between the two products.
_WEIGHTS_AT_ONCE = 2**23


def fast_bf16() -> bool:
    """Returns `True` if this processor multiplies matrices in bfloat16 in hardware (AVX512-BF16 or AMX)."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private: without them, the answer is no
    return any(getattr(torch.cpu, name, bool)() for name in names)


def prefer_heads(encoder: PreTrainedModel) -> None:
    """Lets an image encoder that would use SDPA use [`attention_by_heads`] on processors where that is faster."""
    settable = getattr(encoder, "_can_set_attn_implementation", bool)
    chosen = getattr(encoder.config, "_attn_implementation", None)
    if ALL_ATTENTION_FUNCTIONS is not None and fast_bf16() and settable() and chosen == "sdpa":
        encoder.config._attn_implementation = ATTENTION_BY_HEADS


def attention_by_heads(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Softmax between two plain products, some heads at a time, where that is faster; SDPA everywhere else.

    It is faster in bfloat16 on a CPU with units for that (`benchmarks/results/means.json`), and made for encoders:
    without gradients, mask or dropout, with as many key heads as query heads, every position seen by every other.
    Weights are rounded to bfloat16, as in eager attention.

    Args:
        module (`nn.Module`): the attention layer.
        query, key, value (`torch.Tensor` of shape `(batch_size, num_heads, sequence_length, head_dim)`): as they come.
        attention_mask (`torch.Tensor`, *optional*): for SDPA.
        dropout (`float`, *optional*, defaults to 0.0): of the weights.
        scaling (`float`, *optional*, defaults to `head_dim ** -0.5`): of the products.
        is_causal (`bool`, *optional*, defaults to that of the layer): for SDPA.

    Returns:
        `tuple`: `torch.Tensor` of shape `(batch_size, sequence_length, num_heads, head_dim)`, and no weights.
    """
    same = query.shape == key.shape == value.shape and query.dtype == value.dtype
    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    more = attention_mask is not None or dropout > 0 or any(kwargs.get(name) is not None for name in _ONLY_SDPA)
    if not same or learns or causal or more or query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal, **kwargs
        )
    num_items, num_heads, length, width = query.shape
    query = query * (width**-0.5 if scaling is None else scaling)
    heads_at_once = min(num_heads, max(1, _WEIGHTS_AT_ONCE // length**2))
    weights = query.new_empty(heads_at_once, length, length)
    output = query.new_empty(num_items, length, num_heads, width)
    for item in range(num_items):
        for first in range(0, num_heads, heads_at_once):
            some = slice(first, min(first + heads_at_once, num_heads))
            part = weights[: some.stop - first]
            torch.bmm(query[item, some], key[item, some].transpose(1, 2), out=part)
            torch.softmax(part, -1, out=part)
            torch.bmm(part, value[item, some], out=output[item, :, some].transpose(0, 1))
    return output, None


if ALL_ATTENTION_FUNCTIONS is not None:
    ALL_ATTENTION_FUNCTIONS.register(ATTENTION_BY_HEADS, attention_by_heads)
    ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION_BY_HEADS, sdpa_mask)
