"""VITAL as an image metric: a tensor in, a score a picture out, with gradients to the pixels where they are wanted."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .cutting_vital import PreparedMedia, choose_grid
from .image_processing_vital import VitalImageProcessor
from .levels_vital import expected_score
from .modeling_vital import VitalForConditionalGeneration


_INTERPOLATION = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers of the filters that torch has too


class VitalMetric(nn.Module):
    """Scores batches of picture tensors, in the shape of a metric of pyiqa.

    The preprocessing is the checkpoint's own, done in torch: the same grid, the same filter, and the rounding to 8
    bits that a file and Pillow's resize bring, because a model can see whether that was done. Gradients pass the
    rounding as if it were not there (straight through). On the example photos at five sizes fewer than 1 % of the
    pixels differ from Pillow's, by at most 2 of 255, and scores from those of `model.score` by less than 0.005 (all
    tested).

    Args:
        model (`str` or `VitalForConditionalGeneration`, *optional*, defaults to `"vital-tiny"`):
            A name of the zoo, a checkpoint folder, a Hub id, or a model with its processor. Its parameters are frozen
            (`requires_grad` is set to `False`, on a given model too).
        as_loss (`bool`, *optional*, defaults to `False`):
            Whether scores carry gradients to the pixels. They are higher for better pictures: maximise them, or
            minimise `1 - metric(x)`.
        device (`str` or `torch.device`, *optional*):
            Where to run. Defaults to a CUDA device, if there is one, for a model that is loaded here, and to where it
            is for a given one.

    Attributes:
        lower_better (`bool`): `False`.
        score_range (`tuple[float, float]`): lowest and highest score there can be.
        metric_mode (`str`): `"NR"`, no reference.

    Raises:
        ValueError: if the checkpoint resizes with a filter that torch does not have, or there is no such device.

    Example:

    ```python
    >>> import torch
    >>> from modeling_vital.metric import VitalMetric

    >>> metric = VitalMetric(as_loss=True)
    >>> pictures = torch.rand(2, 3, 256, 256, requires_grad=True)
    >>> (1 - metric(pictures)).mean().backward()
    ```
    """

    lower_better = False
    metric_mode = "NR"

    def __init__(self, model: str | VitalForConditionalGeneration = "vital-tiny", as_loss: bool = False, device=None):
        super().__init__()
        if device is not None and torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                f"VitalMetric was given the device {str(device)!r}, but torch finds no CUDA device here: install a "
                "torch built for CUDA and check `nvidia-smi`, or leave `device` out."
            )
        if not isinstance(model, nn.Module):
            model = cast(VitalForConditionalGeneration, VitalForConditionalGeneration.from_pretrained(str(model)))
            device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.as_loss = as_loss
        self.model = (model if device is None else model.to(device)).eval().requires_grad_(False)
        values = model.config.level_values
        self.score_range = (min(values), max(values))
        if model.processor.image_processor.resample not in _INTERPOLATION:
            raise ValueError(
                f"The checkpoint resizes with Pillow's filter {model.processor.image_processor.resample}, which torch "
                f"has not; VitalMetric knows {_INTERPOLATION}."
            )

    def train(self, mode: bool = True) -> "VitalMetric":
        """The model stays in evaluation mode, also inside a network that is being trained."""
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, pictures: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        """
        Args:
            pictures (`torch.FloatTensor` of shape `(batch_size, 3, height, width)`, or a `list` of tensors):
                RGB, values in [0, 1]. Tensors of a list have the shape `(3, height, width)`, each a size of its own.

        Returns:
            `torch.FloatTensor` of shape `(batch_size,)`: scores within `score_range`, higher is better, in float32.

        Raises:
            ValueError: for another shape, another dtype, or values outside [0, 1] by more than rounding.
        """
        if isinstance(pictures, (list, tuple)):
            return self._score_sizes(pictures)
        pictures = _checked(pictures)
        with torch.set_grad_enabled(self.as_loss and torch.is_grad_enabled()):
            tiles = make_tiles(pictures.to(self.model.device, torch.float32), self.model.processor.image_processor)
            if tiles.shape[1] == 1:
                tiles = tiles.repeat(1, self.model.processor.single_tile_copies, 1, 1, 1)
            one = PreparedMedia("image", np.empty(0), [tiles.shape[1]], np.empty(0), [])  # the prompt is that of all
            inputs = self.model.processor.score_tokens([one]).to(self.model.device)
            inputs = {name: inputs[name].expand(len(tiles), -1) for name in ("input_ids", "attention_mask")}
            logits = self.model.level_logits(**inputs, pixel_values=tiles.flatten(0, 1))
            return expected_score(logits.softmax(-1), self.model.config.level_values)

    def _score_sizes(self, pictures: Sequence[torch.Tensor]) -> torch.Tensor:
        """Pictures of one size go through the model together."""
        places: dict[torch.Size, list[int]] = {}
        for place, picture in enumerate(pictures):
            if not isinstance(picture, torch.Tensor) or picture.ndim != 3:
                kind = list(picture.shape) if isinstance(picture, torch.Tensor) else type(picture).__name__
                raise ValueError(f"VitalMetric takes a list of pictures [3, H, W]; item {place} is {kind}.")
            _checked(picture[None], place)
            places.setdefault(picture.shape, []).append(place)
        if not places:
            raise ValueError("VitalMetric takes at least one picture, got an empty list.")
        scores = torch.cat([self(torch.stack([pictures[i] for i in group])) for group in places.values()])
        order = [place for group in places.values() for place in group]
        return scores[torch.tensor(order, device=scores.device).argsort()]


def make_tiles(pictures: torch.Tensor, processor: VitalImageProcessor) -> torch.Tensor:
    """The tiles of `processor.preprocess` for pictures of one size, differentiable.

    Args:
        pictures (`torch.FloatTensor` of shape `(batch_size, 3, height, width)`): values in [0, 1].
        processor (`VitalImageProcessor`): whose grid, filter and normalisation to use.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_tiles, 3, tile_size, tile_size)`: normalised, row by row, the
        thumbnail last.
    """
    height, width = pictures.shape[-2:]
    side = processor.tile_size
    pictures = _round_to_8_bits(pictures)
    cols, rows = choose_grid(width, height, side, processor.min_tiles, processor.max_tiles, processor.tile_rule)
    large = _resize(pictures, rows * side, cols * side, processor.resample)
    tiles = large.unflatten(3, (cols, side)).unflatten(2, (rows, side))  # [B, 3, rows, S, cols, S]
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    if processor.use_thumbnail and cols * rows > 1:
        tiles = torch.cat([tiles, _resize(pictures, side, side, processor.resample)[:, None]], dim=1)
    mean, std = (tiles.new_tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    return (tiles - mean) / std


def _resize(pictures: torch.Tensor, height: int, width: int, resample: int) -> torch.Tensor:
    if pictures.shape[-2:] == (height, width):
        return pictures
    # `antialias` gives Pillow's kernel. Pillow resizes rows, then columns, and cuts off what overshoots after each.
    for size in ((pictures.shape[2], width), (height, width)):
        pictures = F.interpolate(pictures, size, mode=_INTERPOLATION[resample], antialias=True).clamp(0, 1)
        pictures = _round_to_8_bits(pictures)
    return pictures


def _round_to_8_bits(pictures: torch.Tensor) -> torch.Tensor:
    return pictures + (torch.round(pictures * 255) / 255 - pictures).detach()


def _checked(pictures: Any, first: int = 0) -> torch.Tensor:
    """The pictures, if they are; errors count them from `first`."""
    if not isinstance(pictures, torch.Tensor) or not pictures.is_floating_point():
        kind = getattr(pictures, "dtype", type(pictures).__name__)
        hint = "" if isinstance(pictures, torch.Tensor) else "; `model.score` takes files, pictures and arrays"
        raise ValueError(f"VitalMetric takes a float tensor with values in [0, 1], got {kind}{hint}.")
    if pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape:
        raise ValueError(f"VitalMetric takes pictures [B, 3, H, W], got {list(pictures.shape)}.")
    low, high = pictures.detach().flatten(1).aminmax(dim=1)
    good = (low >= -1e-3) & (high <= 1 + 1e-3)  # false where there is a NaN
    if not good.all():
        i = int(good.int().argmin())
        found = f"{low[i]:.6g} to {high[i]:.6g}"
        if len(bad := (~pictures[i].isfinite()).nonzero()):
            _, row, column = bad[0].tolist()
            found = f"{len(bad)} that are NaN or infinite, the first in row {row}, column {column}"
        raise ValueError(f"VitalMetric takes values in [0, 1]; picture {first + i} has {found}.")
    return pictures


__all__ = ["VitalMetric", "make_tiles"]
