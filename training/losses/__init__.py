"""Losses of VITAL pre-training: one file each, pure tensor functions."""

from .fidelity import fidelity_loss
from .focal_text import focal_text_loss
from .pmod_kl import pmod_kl_loss


__all__ = ["fidelity_loss", "focal_text_loss", "pmod_kl_loss"]
