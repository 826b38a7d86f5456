"""Losses of VITAL pre-training: one file each, pure tensor functions."""

from .fidelity import fidelity_loss
from .focal_text import focal_token_loss
from .multi_task import PARTS, LossConfig, MultiTaskLoss, multi_task_loss
from .pmod_kl import pmod_kl_loss


__all__ = [
    "PARTS",
    "LossConfig",
    "MultiTaskLoss",
    "fidelity_loss",
    "focal_token_loss",
    "multi_task_loss",
    "pmod_kl_loss",
]
