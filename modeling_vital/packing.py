"""Weights laid out once as a CPU's bfloat16 units read them, instead of anew at every product."""

import torch
from torch import nn


def pack_linears(model: nn.Module) -> nn.Module:
    """Packs the bfloat16 linear layers of a model on a CPU: the same numbers, a fifth sooner, in as much memory.

    A packed model scores and describes; it cannot be trained, saved or moved to another device. Commands that load a
    model to score with it pack it. Nothing is done on processors without bfloat16 units, and to other layers.

    Args:
        model (`nn.Module`): changed in place; its output embeddings, which may be its input embeddings, are left.

    Returns:
        `nn.Module`: the model.
    """
    if not (torch.backends.mkldnn.is_available() and fast_bf16()):
        return model
    head = getattr(model, "lm_head", None)
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.Linear and layer is not head and _packs(layer.weight):
                setattr(parent, name, PackedLinear(layer))
    return model


def fast_bf16() -> bool:
    """Whether this processor multiplies matrices in bfloat16 in hardware (AVX512-BF16 or AMX)."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _packs(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.bfloat16


class PackedLinear(nn.Module):
    """A linear layer without gradients whose weight is packed.

    Args:
        linear (`nn.Linear`): bfloat16, on a CPU.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())
        self.eval()

    @torch.no_grad()
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(..., in_features)` to `(..., out_features)`, bfloat16."""
        return torch.ops.mkldnn._linear_pointwise(features, self.packed, self.bias, "none", [], "")

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        raise RuntimeError(f"The layer {prefix.rstrip('.')!r} is packed: a packed model can't be saved, load it anew.")
