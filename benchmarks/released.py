"""The released scoring procedure re-enacted on our weights, from a description of what it does: what it costs.

One item at a time; a single tile goes through the image encoder twice; attention without a fused kernel; the whole of
SlowFast, its slow pathway included, also for still pictures, whose tiles are shown to it four times over; every frame
of a clip decoded; logits of the whole vocabulary at every position. It gives the scores that our path gives, which the
tests check: what it computes beyond is thrown away.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import nn

from modeling_vital import VitalForConditionalGeneration
from modeling_vital.cutting_vital import PreparedMedia
from modeling_vital.levels_vital import expected_score, level_token_ids
from modeling_vital.media_vital import load_media
from modeling_vital.motion_vital import VitalMotionBlock, VitalMotionModel
from modeling_vital.video_processing_vital import sample_frames

from .cases import fill


# Slow over fast: channels, frames; and channels of a lateral connection over fast ones.
_WIDTH_RATIO, _TIME_RATIO, _FUSION_RATIO = (
    8,
    4,
    2,
)


class SlowFast(nn.Module):
    """Both pathways around a fast one that is given. The slow one has random weights: nothing of it is used.

    Args:
        fast (`VitalMotionModel`): the fast pathway; its output is the result.
    """

    def __init__(self, fast: VitalMotionModel):
        super().__init__()
        config = fast.config
        self.fast = fast
        width = config.stem_channels * _WIDTH_RATIO
        self.stem = nn.Conv3d(3, width, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False)
        self.stem_norm = nn.BatchNorm3d(width)
        self.pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.stages, self.fusions = nn.ModuleList(), nn.ModuleList()
        fast_width = config.stem_channels
        for i, depth in enumerate(config.depths):
            lateral = fast_width * _FUSION_RATIO
            self.fusions.append(
                nn.Sequential(
                    nn.Conv3d(fast_width, lateral, (7, 1, 1), stride=(4, 1, 1), padding=(3, 0, 0), bias=False),
                    nn.BatchNorm3d(lateral),
                    nn.ReLU(),
                )
            )
            blocks, width = nn.Sequential(), width + lateral
            for j in range(depth):
                inner, outer = config.inner_channels[i] * _WIDTH_RATIO, config.out_channels[i] * _WIDTH_RATIO
                block = VitalMotionBlock(width, inner, outer, 2 if i > 0 and j == 0 else 1, config.norm_eps)
                if i < 2:  # the slow pathway looks along time in its later stages only
                    block.temporal_conv = nn.Conv3d(width, inner, 1, bias=False)
                blocks.append(block)
                width = outer
            self.stages.append(blocks)
            fast_width = config.out_channels[i]
        fill(self)
        self.to(fast.device, fast.dtype).eval()

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames `(T, 3, H, W)`, T a multiple of 4, to the fast pathway's features `(T, C)`."""
        fast = frames.transpose(0, 1)[None]
        slow = fast[:, :, torch.linspace(0, fast.shape[2] - 1, fast.shape[2] // _TIME_RATIO).long()]
        slow = self.pool(self.stem_norm(self.stem(slow)).relu())
        fast = self.fast.stem_pool(self.fast.stem_norm(self.fast.stem_conv(fast)).relu())
        for fusion, stage, blocks in zip(self.fusions, self.stages, self.fast.stages, strict=True):
            slow = stage(torch.cat([slow, fusion(fast)], 1))
            for block in blocks:
                fast = block(fast)
        slow.mean((3, 4))
        return fast.mean((3, 4))[0].T


class ReleasedProcedure:
    """Scores as the released script does.

    Args:
        model (`VitalForConditionalGeneration`): in the released conventions; its weights are shared.
    """

    def __init__(self, model: VitalForConditionalGeneration):
        self.model = model
        self.slowfast = SlowFast(model.model.motion_encoder)

    @torch.no_grad()
    def score(self, items: list) -> list[float]:
        """Scores of items, in their order, one by one."""
        with eager_attention(self.model):
            return [self._score(item) for item in items]

    def _score(self, item) -> float:
        model, processor = self.model, self.model.processor
        media = self._prepare(item)
        prompt = processor.score_prompt(media.modality).replace(f"<{media.modality}>", processor.media_text(media), 1)
        ids = processor.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        end = processor.tokenizer("<|im_end|>\n", add_special_tokens=False, return_tensors="pt")["input_ids"]
        answer = ids.shape[1] - 1
        ids = torch.cat([ids, end], 1).to(model.device)

        embeds = model.get_input_embeddings()(ids)
        inputs = processor.visual_inputs([media], model.device, model.dtype)
        tokens = model.model.encode_tiles(inputs["pixel_values"])
        embeds = _put(tokens, embeds, ids == model.config.image_token_id)
        motion = self._motion_tokens(inputs)
        if media.modality == "image":
            embeds = embeds + 0.0 * motion.sum()
        else:
            embeds = _put(motion, embeds, ids == model.config.motion_token_id)
        hidden = model.model.language_model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden)
        levels = logits[0, answer, level_token_ids(processor.tokenizer, model.config.level_words)]
        return expected_score(levels.double().softmax(-1), model.config.level_values).item()

    def _prepare(self, item) -> PreparedMedia:
        """Tiles of a picture; of a clip, every frame decoded and resized."""
        processor, media = self.model.processor, load_media(item)
        if isinstance(media, Image.Image):
            return processor.prepare(media)
        frames = media.get_frames(range(media.num_frames))
        choice = sample_frames(media.num_frames, media.fps, processor.sampling)
        side, tiling = processor.motion_size, processor.image_processor.tiling
        pixels = np.stack([tiling.squash(Image.fromarray(frame), side, side) for frame in frames])
        keys = pixels[choice.key_frames]
        lengths = [len(window) for window in choice.motion_windows]
        return PreparedMedia("video", keys, [1] * len(keys), pixels[choice.motion_frames], lengths)

    def _motion_tokens(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        values = inputs.get("motion_values")
        values = inputs["pixel_values"].repeat(4, 1, 1, 1) if values is None else values
        features = self.slowfast(values.to(self.slowfast.fast.dtype))
        if self.model.config.motion_token_layout == "channel_major":
            features = features.T.reshape(features.shape)
        return self.model.model.motion_projector(features)


def _put(tokens: torch.Tensor, embeds: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return embeds.masked_scatter(mask.unsqueeze(-1), tokens.flatten(0, -2).to(embeds))


@contextmanager
def eager_attention(model: nn.Module) -> Iterator[None]:
    """Plain attention inside the block: on a CPU the released code has no other."""
    parts = [model.model.vision_tower.config, model.model.language_model.config]
    before = [part._attn_implementation for part in parts]
    try:
        for part in parts:
            part._attn_implementation = "eager"
        yield
    finally:
        for part, name in zip(parts, before, strict=True):
            part._attn_implementation = name
