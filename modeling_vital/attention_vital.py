"""Attention of the image encoder on CPUs in bfloat16, where plain products are far faster than the fused kernel."""

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


ATTENTION_BY_HEADS = "sdpa_by_heads"
"""Name under which transformers finds [`attention_by_heads`]."""

# Weights of some heads, 16 MiB of them, stay in the cache between the two products.
_WEIGHTS_AT_ONCE = 2**23


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

    It is faster on a CPU in bfloat16 (`benchmarks/results/means.json`), and made for encoders: without gradients, mask
    or dropout, with as many key heads as query heads, every position seen by every other. Weights are rounded to
    bfloat16, as in eager attention.

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
    learns = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    plain = attention_mask is None and dropout == 0.0 and query.shape == key.shape and not causal and not learns
    if not plain or query.device.type != "cpu" or query.dtype != torch.bfloat16:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal, **kwargs
        )
    num_items, num_heads, length, width = query.shape
    query = query * (width**-0.5 if scaling is None else scaling)
    heads_at_once = min(num_heads, max(1, _WEIGHTS_AT_ONCE // length**2))
    weights = query.new_empty(heads_at_once, length, length)
    output = query.new_empty(num_items, length, num_heads, width)
    for item in range(num_items):
        for heads in torch.arange(num_heads).split(heads_at_once):
            some = slice(int(heads[0]), int(heads[-1]) + 1)
            part = weights[: len(heads)]
            torch.bmm(query[item, some], key[item, some].transpose(1, 2), out=part)
            torch.softmax(part, -1, out=part)
            torch.bmm(part, value[item, some], out=output[item, :, some].transpose(0, 1))
    return output, None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION_BY_HEADS, attention_by_heads)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION_BY_HEADS, sdpa_mask)
