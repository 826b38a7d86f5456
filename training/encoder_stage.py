"""The first stage of a base family: both encoders learn plain targets, with no decoder in between.

A small encoder learns fastest from the clearest signals: which distortion, how severe, which of two versions is
better. Here a head on the mean and the spread of its features learns them, on single tiles and single motion windows,
several times faster than through a decoder that cannot yet read. The heads are not part of the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS
from dataset_scripts.distortions.authentic import AUTHENTIC
from dataset_scripts.distortions.catalogue import ORIGINAL_TAG
from modeling_vital.modeling_vital import VitalForConditionalGeneration, VitalPreTrainedModel
from training.collators import MediaReader, RowError, row_targets
from training.losses import LossConfig, fidelity_loss, pmod_kl_loss


KINDS = (*DISTORTIONS, *AUTHENTIC, ORIGINAL_TAG)
"""What may have been done to a version."""

ENCODER_PARTS = ("kl", "fidelity", "type", "severity")
"""Names of the parts of the loss, as they are logged."""

TYPE_WEIGHT = SEVERITY_WEIGHT = 0.5
_UNKNOWN = -100


class EncoderHead(nn.Module):
    """Levels, distortion type and severity from the mean and the standard deviation of features over positions.

    Args:
        channels (`int`): width of the features.
        levels (`int`): number of levels.
    """

    def __init__(self, channels: int, levels: int):
        super().__init__()
        width = 256
        self.body = nn.Sequential(nn.LayerNorm(2 * channels), nn.Linear(2 * channels, width), nn.GELU())
        self.level = nn.Linear(width, levels)
        self.kind = nn.Linear(width, len(KINDS))
        self.severity = nn.Linear(width, len(SEVERITY_WORDS))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[N, C, positions]` to the logits of levels, types and severities side by side, `[N, 5 + types + 5]`."""
        hidden = self.body(torch.cat([features.mean(-1), features.std(-1)], dim=-1))
        return torch.cat([self.level(hidden), self.kind(hidden), self.severity(hidden)], dim=-1)


class VitalEncodersForPreTraining(VitalPreTrainedModel):
    """The encoders of a model, each with a head of its own.

    Args:
        model (`VitalForConditionalGeneration`): its encoders are trained in place.
    """

    def __init__(self, model: VitalForConditionalGeneration):
        super().__init__(model.config)
        self.__dict__["whole"] = model  # not a submodule: what the stage does not touch is in no checkpoint of it
        self.vision_tower = model.model.vision_tower
        self.motion_encoder = model.model.motion_encoder
        levels = len(model.config.level_words)
        self.image_head = EncoderHead(model.config.vision_hidden_size, levels)
        self.motion_head = EncoderHead(model.config.motion_config.hidden_size, levels)
        self.processor = model.processor

    def _init_weights(self, module):
        """The encoders come with their weights, the heads with those of torch."""

    def forward(
        self,
        is_video: torch.BoolTensor,
        pixel_values: torch.FloatTensor | None = None,
        motion_values: torch.FloatTensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            is_video (`torch.BoolTensor` of shape `(num_items,)`): which items are clips.
            pixel_values (`torch.FloatTensor` of shape `(num_pictures, 3, tile_size, tile_size)`, *optional*): one tile
                of each picture.
            motion_values (`torch.FloatTensor` of shape `(num_clips, frames, 3, height, width)`, *optional*): a motion
                window of each clip.

        Returns:
            `torch.FloatTensor` of shape `(num_items, 5 + types + 5)`, float32: logits of levels, types, severities.
        """
        found = []
        for values, encode, head in (
            (pixel_values, self._image_features, self.image_head),
            (motion_values, self._motion_features, self.motion_head),
        ):
            if values is not None:
                features = encode(values).float()
                with torch.autocast(features.device.type, enabled=False):
                    found.append(head(features))
        logits = found[0].new_zeros(len(is_video), found[0].shape[-1])
        kinds = [kind for kind, values in ((~is_video, pixel_values), (is_video, motion_values)) if values is not None]
        for kind, values in zip(kinds, found, strict=True):
            logits[kind] = values
        return logits

    def _image_features(self, tiles: torch.Tensor) -> torch.Tensor:
        pixels = tiles.contiguous(memory_format=torch.channels_last)
        return self.vision_tower(pixel_values=pixels).last_hidden_state.flatten(2)

    def _motion_features(self, windows: torch.Tensor) -> torch.Tensor:
        return self.motion_encoder(windows).transpose(1, 2)


class EncoderCollator:
    """Makes batches for [`VitalEncodersForPreTraining`]: a tile or a motion window of each version, no words.

    Args:
        processor (`VitalProcessor`): of the model.
        tables (`Mapping[str, Sequence[dict]]`): rows with scores, by name of their table.
    """

    def __init__(self, processor, tables: Mapping[str, Sequence[dict]]):
        self.processor = processor
        self.tables = tables

    def __call__(self, examples: list[dict]) -> dict[str, Any]:
        """
        Args:
            examples (`list[dict]`): `table` and `row` of each item.

        Returns:
            `dict`: the inputs of the model, their pixels as bytes for `processor.normalize_inputs`, and `targets`:
            `level_probs` `(num_versions, 5)`, `mos`, `is_video`, `item`, `type` and `severity` `(num_versions,)` (-100
            where not known), `pairs` `(num_pairs, 2)`, `preference` `(num_pairs,)` and `num_items`.

        Raises:
            RowError: for a row without scores, with an unknown distortion, or that cannot be read.
        """
        media, item, labels = [], [], []
        found = {"level_probs": [], "mos": [], "pairs": [], "preference": []}
        read = MediaReader(self.processor)
        for number, example in enumerate(examples):
            row = self.tables[example["table"]][int(example["row"])]
            shown = read(row)
            targets = row_targets(row, len(media))
            if len(targets["mos"]) != len(shown):
                raise RowError(f"row {row['id']!r} has no score to learn")
            for name, values in targets.items():
                found[name] += values
            distortions = row.get("distortion")
            try:
                labels += map(kind_labels, distortions if isinstance(distortions, list) else [distortions])
            except ValueError as error:
                raise RowError(f"row {row['id']!r}: {error}") from error
            media += shown
            item += [number] * len(shown)
        is_video = torch.tensor([m.modality == "video" for m in media])
        batch: dict[str, Any] = {"is_video": is_video}
        if tiles := [m.tiles[0] for m in media if m.modality == "image"]:
            batch["pixel_values"] = torch.from_numpy(np.stack(tiles))
        if windows := [m.motion_frames[: m.motion_lengths[0]] for m in media if m.modality == "video"]:
            batch["motion_values"] = torch.from_numpy(_stacked(windows))
        batch["targets"] = {
            "level_probs": torch.tensor(found["level_probs"], dtype=torch.float32),
            "mos": torch.tensor(found["mos"], dtype=torch.float32),
            "is_video": is_video,
            "item": torch.tensor(item),
            "type": torch.tensor([label[0] for label in labels]),
            "severity": torch.tensor([label[1] for label in labels]),
            "pairs": torch.tensor(found["pairs"], dtype=torch.long).reshape(-1, 2),
            "preference": torch.tensor(found["preference"], dtype=torch.float32),
            "num_items": len(examples),
        }
        return batch


def kind_labels(distortion: dict[str, Any] | None) -> tuple[int, int]:
    """Classes of type and severity of what was done to a version; -100 for what is not known.

    Raises:
        ValueError: there is no such type or severity.
    """
    if distortion is None or distortion["type"] is None:
        return _UNKNOWN, _UNKNOWN
    kind, severity = distortion["type"], distortion["severity"]
    if kind not in KINDS:
        raise ValueError(f"its distortion {kind!r} is not one of {', '.join(KINDS)}")
    if severity is not None and severity not in range(1, len(SEVERITY_WORDS) + 1):
        raise ValueError(f"its severity is {severity!r}, not a whole number from 1 to {len(SEVERITY_WORDS)}")
    return KINDS.index(kind), _UNKNOWN if severity is None else severity - 1


def _stacked(windows: Sequence[np.ndarray]) -> np.ndarray:
    """Motion windows as one array; the last frame of a shorter one stands still to the end."""
    longest = max(map(len, windows))
    return np.stack([window[np.arange(longest).clip(max=len(window) - 1)] for window in windows])


@dataclass
class EncoderLoss:
    """KL, pairwise fidelity, and cross-entropies of type and severity of each item.

    Attributes:
        config (`LossConfig`): its `fidelity_weight` and `pair_kl_weight` are heeded.
        num_levels (`int`, *optional*, defaults to 5): width of the levels' logits.
    """

    config: LossConfig
    num_levels: int = 5

    def __call__(
        self, logits: torch.Tensor, targets: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Args:
            logits (`torch.FloatTensor` of shape `(num_versions, 5 + types + 5)`): of [`VitalEncodersForPreTraining`].
            targets (`dict`): of [`EncoderCollator`].

        Returns:
            `tuple`: losses `(num_items,)`; of each of `ENCODER_PARTS` the sum and over how many items, `(4, 2)`,
            detached; level logits `(num_versions, 5)`.
        """
        levels, types, severities = logits.float().split([self.num_levels, len(KINDS), len(SEVERITY_WORDS)], dim=-1)
        item, count = targets["item"], targets["num_items"]

        def mean_by_item(index: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            members = levels.new_zeros(count).index_add(0, index, torch.ones_like(values))
            return levels.new_zeros(count).index_add(0, index, values) / members.clamp_min(1), members > 0

        a, b = targets["pairs"].unbind(-1)
        probs = levels.softmax(-1)
        fidelity, paired = mean_by_item(item[a], fidelity_loss(probs[a], probs[b], targets["preference"]))
        parts = [
            mean_by_item(item, pmod_kl_loss(levels, list(range(self.num_levels)), targets["level_probs"])),
            (fidelity, paired),
        ]
        for values, labels in ((types, targets["type"]), (severities, targets["severity"])):
            known = labels != _UNKNOWN
            parts.append(mean_by_item(item[known], F.cross_entropy(values[known], labels[known], reduction="none")))
        kl_weight = torch.where(paired, 2 * self.config.pair_kl_weight, 1.0)
        weights = (kl_weight, self.config.fidelity_weight, TYPE_WEIGHT, SEVERITY_WEIGHT)
        losses = sum(weight * values for weight, (values, _) in zip(weights, parts, strict=True))
        sums = torch.stack([torch.stack([values.detach().sum(), there.sum()]) for values, there in parts])
        return losses, sums, levels
