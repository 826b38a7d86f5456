"""The motion encoder: the fast pathway of SlowFast, in plain torch.

VITAL runs SlowFast-R50 and keeps only the fast pathway's output. Lateral connections lead from fast to slow only, so
the slow pathway and the fusion layers never reach that output: the fast pathway alone gives it exactly, with 0.5 M of
34.6 M parameters.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel, initialization

from .configuration_vital import VitalMotionConfig


def still_frozen_norms(encoder: nn.Module) -> None:
    """Puts batch norms whose scale and shift do not learn into evaluation mode, so that their statistics stay, too.

    `model.train()`, which trainers call before each step, would let the statistics follow the batches, and an adapter
    does not save them. The encoders call this themselves, whoever trains them.
    """
    if encoder.training:
        for module in encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not _learns(module):
                module.eval()


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


class _TwoDtypes:
    """Batch norm whose scale and shift may have another dtype than its statistics; a base before that of torch.

    FSDP2 computes with parameters in bfloat16 and leaves buffers in float32, and no kernel takes the two together.
    """

    def forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
        dtype = self.running_mean.dtype
        if self.weight.dtype == dtype:
            return super().forward(hidden_states)  # type: ignore[misc]  # of the base after this one
        if self.training:
            self.num_batches_tracked.add_(1)
        return F.batch_norm(
            hidden_states,
            self.running_mean,
            self.running_var,
            self.weight.to(dtype),
            self.bias.to(dtype),
            self.training,
            self.momentum,
            self.eps,
        )


class VitalMotionNorm(_TwoDtypes, nn.BatchNorm3d):
    """Batch norm of the motion encoder."""


class VitalImageNorm(_TwoDtypes, nn.BatchNorm2d):
    """Batch norm of an image encoder of convolutions, see [`let_norms_have_two_dtypes`]."""


def let_norms_have_two_dtypes(encoder: nn.Module) -> None:
    """Makes each batch norm of an image encoder of transformers a [`VitalImageNorm`], weights and all.

    Args:
        encoder (`nn.Module`): changed in place.
    """
    for module in encoder.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = VitalImageNorm


class VitalMotionBlock(nn.Module):
    """Bottleneck residual block: (3,1,1), (1,3,3) and (1,1,1) convolutions, each with batch norm."""

    def __init__(self, in_channels: int, inner_channels: int, out_channels: int, stride: int, eps: float):
        super().__init__()
        self.temporal_conv = nn.Conv3d(in_channels, inner_channels, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.temporal_norm = VitalMotionNorm(inner_channels, eps=eps)
        self.spatial_conv = nn.Conv3d(
            inner_channels, inner_channels, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False
        )
        self.spatial_norm = VitalMotionNorm(inner_channels, eps=eps)
        self.output_conv = nn.Conv3d(inner_channels, out_channels, 1, bias=False)
        self.output_norm = VitalMotionNorm(out_channels, eps=eps)
        self.shortcut_conv: nn.Module | None = None
        self.shortcut_norm: nn.Module | None = None
        if in_channels != out_channels or stride != 1:
            self.shortcut_conv = nn.Conv3d(in_channels, out_channels, 1, stride=(1, stride, stride), bias=False)
            self.shortcut_norm = VitalMotionNorm(out_channels, eps=eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        shortcut = hidden_states
        if self.shortcut_conv is not None and self.shortcut_norm is not None:
            shortcut = self.shortcut_norm(self.shortcut_conv(hidden_states))
        hidden_states = self.temporal_norm(self.temporal_conv(hidden_states)).relu()
        hidden_states = self.spatial_norm(self.spatial_conv(hidden_states)).relu()
        hidden_states = self.output_norm(self.output_conv(hidden_states))
        return (hidden_states + shortcut).relu()  # [B, C, T, H, W]


class VitalMotionModel(PreTrainedModel):
    """Motion encoder: frames in, one feature vector a frame out.

    Time is never strided, so a window of T frames gives T vectors. The published network takes T in multiples of 4
    because of its slow pathway; this one takes any T >= 1.
    """

    config_class = VitalMotionConfig
    base_model_prefix = "motion_encoder"
    main_input_name = "motion_values"
    # It has no attention, so none that a whole model is asked for is in its way.
    _supports_flash_attn = _supports_sdpa = _supports_flex_attn = _supports_attention_backend = True

    def __init__(self, config: VitalMotionConfig):
        super().__init__(config)
        t, h, w = config.stem_kernel
        self.stem_conv = nn.Conv3d(
            3, config.stem_channels, (t, h, w), stride=(1, 2, 2), padding=(t // 2, h // 2, w // 2), bias=False
        )
        self.stem_norm = VitalMotionNorm(config.stem_channels, eps=config.norm_eps)
        self.stem_pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.stages = nn.ModuleList()
        channels = config.stem_channels
        for i, depth in enumerate(config.depths):
            blocks = nn.ModuleList()
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(
                    VitalMotionBlock(
                        channels, config.inner_channels[i], config.out_channels[i], stride, config.norm_eps
                    )
                )
                channels = config.out_channels[i]
            self.stages.append(blocks)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Conv3d):
            initialization.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        else:
            super()._init_weights(module)  # batch norms; leaves alone what was loaded

    def forward(self, motion_values: torch.Tensor) -> torch.Tensor:
        """
        Args:
            motion_values (`torch.FloatTensor` of shape `(num_windows, frames, 3, height, width)`):
                Normalised frames of windows of equal length.

        Returns:
            `torch.FloatTensor` of shape `(num_windows, frames, config.hidden_size)`: spatial means of the last stage.
        """
        still_frozen_norms(self)
        hidden_states = motion_values.transpose(1, 2)  # [B, 3, T, H, W]
        hidden_states = self.stem_pool(self.stem_norm(self.stem_conv(hidden_states)).relu())
        for blocks in self.stages:
            for block in cast(nn.ModuleList, blocks):
                hidden_states = block(hidden_states)
        return hidden_states.mean(dim=(3, 4)).transpose(1, 2)  # [B, T, C]

    def encode_windows(
        self, motion_values: torch.Tensor, motion_lengths: torch.Tensor | list[int]
    ) -> list[torch.Tensor]:
        """Windows of any lengths; those of one length run as one batch.

        Args:
            motion_values (`torch.FloatTensor` of shape `(num_frames, 3, height, width)`): frames of all windows in
                order.
            motion_lengths (`torch.LongTensor` of shape `(num_windows,)`, or `list[int]`):
                Frames of each window; sums to `num_frames`. The host reads them, and would wait for a CUDA tensor.

        Returns:
            `list[torch.FloatTensor]`: one a window, `(frames, config.hidden_size)`.

        Raises:
            ValueError: if the lengths do not sum to the number of frames.
        """
        lengths = motion_lengths if isinstance(motion_lengths, list) else motion_lengths.tolist()
        if sum(lengths) != motion_values.shape[0]:
            raise ValueError(
                f"`motion_lengths` sum to {sum(lengths)} but there are {motion_values.shape[0]} motion frames."
            )
        windows = list(motion_values.to(self.dtype).split(lengths))
        for length in sorted(set(lengths)):
            where = [i for i, n in enumerate(lengths) if n == length]
            for i, features in zip(where, self(torch.stack([windows[i] for i in where])), strict=True):
                windows[i] = features
        return windows


__all__ = ["VitalMotionModel", "let_norms_have_two_dtypes", "still_frozen_norms"]
