"""From encoded tiles and motion frames to scores: one encoding is read as often as a map or curve needs it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from ..assessment_vital import EncodedMedia
from ..batching_vital import BatchLimit, exact_float32, in_parts
from ..cutting_vital import PreparedMedia
from ..levels_vital import expected_score
from ..media_vital import MediaError
from ..modeling_vital import VitalForConditionalGeneration


ONE_LEVEL = 0.2
"""From a level to the next, on the scale of the score."""

Result = TypeVar("Result")


def clearly_worse_below(scores: np.ndarray) -> float:
    """The score below which a place or a moment is clearly worse than the rest: the upper quartile less one level.

    The quartile, not the mean or median: it is sound even where more than half is damaged.

    Args:
        scores (`np.ndarray` of any shape): of all places or moments.
    """
    return float(np.quantile(scores, 0.75)) - ONE_LEVEL


def score_range(model: VitalForConditionalGeneration) -> tuple[float, float]:
    """Lowest and highest score that a model can give: the values of its worst and best level."""
    values = model.config.level_values
    return min(values), max(values)


def check_reader(model: VitalForConditionalGeneration) -> None:
    """Refuses what cannot read encoded tiles.

    Raises:
        TypeError: for a model without a decoder, such as a linear probe.
        RuntimeError: for a model in training mode.
    """
    if not hasattr(model, "encode_media"):
        raise TypeError(f"Maps and curves need a model with a decoder, and {type(model).__name__} has none.")
    if model.training:
        raise RuntimeError("The model is in training mode: call `model.eval()` first.")


def in_batches(
    model: VitalForConditionalGeneration,
    work: Callable[[Any], Result],
    items: Sequence | np.ndarray,
    name: str,
    limit: BatchLimit | None = None,
) -> list[Result]:
    """Results of batches of the items, in their order; a batch that is too large for the device is halved.

    Args:
        model (`VitalForConditionalGeneration`): whose device it is.
        work (`Callable`): gives the result of a batch.
        items (`Sequence` or `np.ndarray`): at least one.
        name (`str`): what an error calls each of them.
        limit ([`BatchLimit`], *optional*): of a batch, lowered to what did fit; by default all items are one.

    Raises:
        MediaError: if an item is too large by itself.
    """
    results: list[Result] = []
    batches: Iterable[Any] = [items] if limit is None else limit.batches(items)
    for batch in batches:
        with exact_float32(model.device, model.dtype):
            parts = in_parts(work, batch, model.device, limit, lambda item: name)
        for part in parts:
            if isinstance(part, MediaError):
                raise part
            results.append(part)
    return results


def encoded(
    model: VitalForConditionalGeneration,
    modality: str,
    tiles: torch.Tensor,
    num_tiles: list[int],
    motion: torch.Tensor | None = None,
    motion_lengths: Sequence[int] = (),
) -> EncodedMedia:
    """A picture or clip made of tiles (and motion frames) that are encoded already.

    Args:
        model (`VitalForConditionalGeneration`): whose encoders made them.
        modality (`str`): `"image"` or `"video"`.
        tiles (`torch.FloatTensor` of shape `(sum(num_tiles), image_seq_length, hidden_size)`):
            of `encode_tiles`.
        num_tiles (`list[int]`): tiles of the picture, or of each key frame.
        motion (`torch.FloatTensor` of shape `(sum(motion_lengths), hidden_size)`, *optional*): of
            `get_motion_features`.
        motion_lengths (`Sequence[int]`): frames of each motion window.
    """
    nothing = tiles.new_zeros(0, tiles.shape[-1])
    layout = PreparedMedia(modality, np.empty(0), num_tiles, np.empty(0), list(motion_lengths))
    return EncodedMedia(modality, model.processor.media_text(layout), tiles, nothing if motion is None else motion)


def read_scores(model: VitalForConditionalGeneration, media: list[EncodedMedia]) -> np.ndarray:
    """Scores of encoded pictures or clips, all read in one batch.

    Args:
        model (`VitalForConditionalGeneration`): in evaluation mode.
        media (`list[EncodedMedia]`): at least one.

    Returns:
        `np.ndarray` of shape `(len(media),)`: float64, in [0, 1], higher is better.
    """
    processor = model.processor
    texts = [processor.score_prompt(m.modality).replace(f"<{m.modality}>", m.text, 1) for m in media]
    inputs = processor.tokenizer(
        texts, add_special_tokens=False, padding=True, return_tensors="pt", return_token_type_ids=False
    ).to(model.device)
    inputs["image_hidden_states"] = torch.cat([m.image_hidden_states for m in media])
    if any(len(m.motion_hidden_states) for m in media):
        inputs["motion_hidden_states"] = torch.cat([m.motion_hidden_states for m in media])
    level_probs = model.level_logits(**inputs).cpu().double().softmax(-1)
    return expected_score(level_probs, model.config.level_values).numpy()


__all__ = [
    "ONE_LEVEL",
    "check_reader",
    "clearly_worse_below",
    "encoded",
    "in_batches",
    "read_scores",
    "score_range",
]
