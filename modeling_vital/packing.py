"""Weights laid out once as a CPU's bfloat16 units read them, instead of anew at every product."""

from typing import TypeVar

import torch
from torch import nn

from .attention_vital import fast_bf16


HEADS = ("lm_head", "head")
"""Modules that are left: small, or with weights that belong to another module, too."""

Model = TypeVar("Model", bound=nn.Module)


def pack_linears(model: Model) -> Model:
    """Packs the bfloat16 linear layers of a model on a CPU: the same products up to rounding, sooner.

    A packed model scores and describes; it cannot be trained, saved, copied or moved. Commands that load a model to
    score with it pack it. Merge adapters first. Nothing is done on processors without bfloat16 units, and to layers
    that are not plain: quantised ones, or of which a part is on another device.

    Args:
        model (`nn.Module`): changed in place.

    Returns:
        `nn.Module`: the model.
    """
    if not (torch.backends.mkldnn.is_available() and fast_bf16()):
        return model
    left = {part for name in HEADS if hasattr(model, name) for part in getattr(model, name).modules()}
    parents = [module for module in model.modules() if type(module) is not nn.Linear]  # no layer outlives its packing
    for parent in parents:
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and layer not in left and _packs(layer.weight):
                setattr(parent, name, PackedLinear(layer))
    return model


def _packs(weight: torch.Tensor) -> bool:
    return type(weight) is nn.Parameter and weight.device.type == "cpu" and weight.dtype == torch.bfloat16


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

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`(..., in_features)` to `(..., out_features)`, bfloat16.

        Raises:
            RuntimeError: if the features need a gradient.
        """
        if torch.is_grad_enabled() and features.requires_grad:
            raise RuntimeError("A packed model has no gradients: load it anew to train, or to score with gradients.")
        return torch.ops.mkldnn._linear_pointwise(features, self.packed, self.bias, "none", [], "")

    def _apply(self, fn, recurse=True):
        raise RuntimeError("A packed model can't be moved or change its dtype: load it anew.")

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        raise RuntimeError(f"The layer {prefix.rstrip('.')!r} is packed: a packed model can't be saved, load it anew.")
