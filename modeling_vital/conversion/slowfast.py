"""SlowFast-R50 8x8 in PyTorchVideo's layout: its fast pathway to our motion encoder, the rest dropped by name."""

from collections.abc import Mapping

import torch

from .errors import ConversionError
from .rules import Rule, prefixed


DEAD = "fusion leads from fast to slow only, so this never reaches the fast pathway's output"

_BLOCK = r"\.multipathway_blocks\.1\.res_blocks\.(\d+)\."

_STAGES = [
    Rule(rf"{stage + 1}{_BLOCK}{source}(.*)", (f"stages.{stage}.\\1.{name}.\\2",))
    for stage in range(4)
    for source, name in (
        (r"branch1_conv\.", "shortcut_conv"),
        (r"branch1_norm\.", "shortcut_norm"),
        (r"branch2\.conv_a\.", "temporal_conv"),
        (r"branch2\.norm_a\.", "temporal_norm"),
        (r"branch2\.conv_b\.", "spatial_conv"),
        (r"branch2\.norm_b\.", "spatial_norm"),
        (r"branch2\.conv_c\.", "output_conv"),
        (r"branch2\.norm_c\.", "output_norm"),
    )
]

FAST_PATHWAY = [
    Rule(r"0\.multipathway_blocks\.1\.conv\.(.*)", (r"stem_conv.\1",)),
    Rule(r"0\.multipathway_blocks\.1\.norm\.(.*)", (r"stem_norm.\1",)),
    *_STAGES,
    Rule(r"[0-4]\.multipathway_blocks\.0\..*", reason=DEAD),
    Rule(r"[0-4]\.multipathway_fusion\..*", reason=DEAD),
]
"""Blocks 0 to 4 by number: to names of `VitalMotionModel`. Block 0 is the stem, 1 to 4 are the stages."""

PRETRAINED = [
    *prefixed(FAST_PATHWAY, r"blocks\.", "model.motion_encoder."),
    Rule(r"blocks\.[56]\..*", reason="pooling and the action classifier come after the features"),
]
"""`SLOWFAST_8x8_R50` as PyTorchVideo publishes it."""


def state_dict_of(loaded: object, name: str) -> Mapping[str, torch.Tensor]:
    """The state dict in what a weights file holds: PyTorchVideo wraps it as `model_state`.

    Raises:
        ConversionError: if there is none.
    """
    state = loaded.get("model_state", loaded) if isinstance(loaded, Mapping) else None
    if not state or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ConversionError(f"{name} holds no state dict, neither by itself nor as 'model_state'.")
    return state
