"""First lessons of the encoders of `vital-tiny`: plain targets, no decoder in between.

A small encoder learns fastest from the clearest signals: which distortion, how severe, which of two copies is better.
Here a throw-away head on the mean and the spread of its features learns them, on single tiles or motion windows,
several times faster than through a decoder that cannot yet read. Then the head is dropped, and `training.tiny` goes
on with the decoder.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS
from dataset_scripts.distortions.authentic import AUTHENTIC
from modeling_vital.cutting_vital import PreparedMedia
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from training.checkpoints import load_state, save_state
from training.losses import fidelity_loss, pmod_kl_loss
from training.tiny_data import TinyGroups, Variant, seed_worker


logger = logging.getLogger(__name__)

NAMES = [*DISTORTIONS, *AUTHENTIC]
LEVELS = list(range(5))


@dataclass(frozen=True)
class Lesson:
    """One encoder and what it is shown.

    Attributes:
        name (`str`): of the checkpoint and the log.
        encoder (`nn.Module`): trained in place.
        channels (`int`): width of its features.
        view (`Callable[[PreparedMedia], torch.Tensor]`): the part of an item it sees, of one shape for all items.
        features (`Callable[[torch.Tensor], torch.Tensor]`): a stack of views to features `[N, channels, positions]`.
    """

    name: str
    encoder: nn.Module
    channels: int
    view: Callable[[PreparedMedia], torch.Tensor]
    features: Callable[[torch.Tensor], torch.Tensor]


def image_lesson(model: VitalForConditionalGeneration) -> Lesson:
    """The image encoder, shown the first tile of each item."""
    tower, normalize = model.model.vision_tower, model.processor.image_processor.normalize

    def view(media: PreparedMedia) -> torch.Tensor:
        return normalize(media.tiles[:1])[0]

    def features(tiles: torch.Tensor) -> torch.Tensor:
        pixels = tiles.contiguous(memory_format=torch.channels_last)
        return tower(pixel_values=pixels).last_hidden_state.flatten(2)

    return Lesson("encoder", tower, model.config.vision_hidden_size, view, features)


def motion_lesson(model: VitalForConditionalGeneration) -> Lesson:
    """The motion encoder, shown the first window of each clip."""
    encoder, normalize = model.model.motion_encoder, model.processor.image_processor.normalize

    def view(media: PreparedMedia) -> torch.Tensor:
        return normalize(media.motion_frames[: media.motion_lengths[0]])

    def features(windows: torch.Tensor) -> torch.Tensor:
        return encoder(windows).transpose(1, 2)

    return Lesson("motion", encoder, model.config.motion_config.hidden_size, view, features)


class EncoderHead(nn.Module):
    """Levels, distortion type and severity from the mean and the standard deviation of features over positions.

    Args:
        channels (`int`): width of the features.
        width (`int`, *optional*, defaults to 256): of the hidden layer.
    """

    def __init__(self, channels: int, width: int = 256):
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(2 * channels), nn.Linear(2 * channels, width), nn.GELU())
        self.levels = nn.Linear(width, 5)
        self.kind = nn.Linear(width, len(NAMES) + 1)
        self.severity = nn.Linear(width, len(SEVERITY_WORDS))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """`[N, C, positions]` to logits `[N, 5]`, `[N, types + 1]` (the last is "none") and `[N, 5]`."""
        hidden = self.body(torch.cat([features.mean(-1), features.std(-1)], dim=-1))
        return self.levels(hidden), self.kind(hidden), self.severity(hidden)


def collate_views(
    groups: list[list[Variant]], view: Callable[[PreparedMedia], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What an encoder sees of each variant, with its targets; type and severity are -100 where they are not known."""
    variants = [variant for group in groups for variant in group]
    labels = [
        (len(NAMES), -100) if v.tag == "none" else (NAMES.index(v.kind[0]), v.kind[1] - 1) if v.kind else (-100, -100)
        for v in variants
    ]
    return {
        "views": torch.stack([view(v.media) for v in variants]),
        "target": torch.stack([v.target for v in variants]),
        "mean": torch.tensor([v.mean for v in variants]),
        "group": torch.tensor([g for g, group in enumerate(groups) for _ in group]),
        "type": torch.tensor([label[0] for label in labels]),
        "severity": torch.tensor([label[1] for label in labels]),
    }


def preferences(mean: torch.Tensor, group: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All pairs inside a group and which of the two is the better.

    Args:
        mean (`torch.FloatTensor` of shape `(N,)`): PMOD means.
        group (`torch.LongTensor` of shape `(N,)`): group of each item.

    Returns:
        `tuple`: indices of A and of B, and the preference for A: 1, 0, or 0.5 where the means are within 0.02.
    """
    a, b = torch.triu_indices(len(mean), len(mean), offset=1).unbind()
    same = group[a] == group[b]
    a, b = a[same], b[same]
    gap = mean[a] - mean[b]
    return a, b, torch.where(gap.abs() < 0.02, 0.5, (gap > 0).float())


def lesson_losses(lesson: Lesson, head: EncoderHead, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """PMOD KL, pairwise fidelity, and cross-entropies of type and severity, each a mean."""
    with torch.autocast("cpu", torch.bfloat16):  # twice as fast; the weights stay float32
        features = lesson.features(batch["views"])
    levels, types, severities = head(features.float())
    probs = levels.softmax(-1)
    a, b, preference = preferences(batch["mean"], batch["group"])
    return {
        "kl": pmod_kl_loss(levels, LEVELS, batch["target"]).mean(),
        "fidelity": fidelity_loss(probs[a], probs[b], preference).mean(),
        "type": _known_cross_entropy(types, batch["type"]),
        "severity": _known_cross_entropy(severities, batch["severity"]),
    }


def _known_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over the labels that are known, 0 where none is."""
    return F.cross_entropy(logits, labels, reduction="sum") / (labels != -100).sum().clamp_min(1)


def train_lesson(
    lesson: Lesson,
    groups: TinyGroups,
    steps: int,
    groups_per_step: int,
    learning_rate: float,
    weight_decay: float,
    workers: int,
    run_dir: Path,
) -> None:
    """Trains the encoder of a lesson in place; goes on from `run_dir/NAME.pt` if there is one.

    Args:
        lesson (`Lesson`): what is trained, and on what view of the items.
        groups (`TinyGroups`): pictures of one tile, or clips of one motion window.
        steps, groups_per_step (`int`): how long.
        learning_rate, weight_decay (`float`): of AdamW with a cosine schedule.
        workers (`int`): processes that make data.
        run_dir (`Path`): for the checkpoint and `NAME.jsonl`.
    """
    parts = nn.ModuleDict({"encoder": lesson.encoder, "head": EncoderHead(lesson.channels)})
    optimizer = torch.optim.AdamW(parts.parameters(), lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.98))
    schedule = get_cosine_schedule_with_warmup(optimizer, 20, steps)
    state_file = run_dir / f"{lesson.name}.pt"
    kept = {"parts": parts, "optimizer": optimizer, "schedule": schedule}
    first = load_state(state_file, kept).get("step", 0)
    if first:
        logger.info("the lesson %r goes on from step %d", lesson.name, first)
    loader = DataLoader(
        groups,
        sampler=range(first * groups_per_step, steps * groups_per_step),
        batch_size=groups_per_step,
        num_workers=workers,
        collate_fn=partial(collate_views, view=lesson.view),
        worker_init_fn=seed_worker,
        prefetch_factor=4 if workers else None,
    )
    parts.train()
    start = time.monotonic()
    progress = tqdm(loader, initial=first, total=steps, desc=lesson.name, unit="step")
    with open(run_dir / f"{lesson.name}.jsonl", "a", encoding="utf-8") as log:
        for step, batch in enumerate(progress, start=first + 1):
            # Making a picture costs as much as learning from it: each is shown once more, mirrored.
            for seen in (batch, {**batch, "views": batch["views"].flip(-1)}):
                losses = lesson_losses(lesson, parts["head"], seen)
                loss = losses["kl"] + losses["fidelity"] + 0.3 * losses["type"] + 0.3 * losses["severity"]
                if not torch.isfinite(loss):
                    raise RuntimeError(f"The loss is {loss.item()} at {lesson.name} step {step}; kept: {state_file}.")
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parts.parameters(), 5.0)
                optimizer.step()
            schedule.step()
            row = {name: round(value.item(), 4) for name, value in losses.items()}
            log.write(json.dumps({"step": step, "seconds": round(time.monotonic() - start, 1), **row}) + "\n")
            if step % 20 == 0:
                log.flush()
                progress.set_postfix(row)
            if step % 100 == 0 or step == steps:
                save_state(state_file, kept, step=step)
