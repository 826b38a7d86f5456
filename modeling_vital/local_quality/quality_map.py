"""Quality over a picture: tiles at the size at which the whole is scored, each among its neighbours."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..batching_vital import BatchLimit
from ..curve_frames import window_starts
from ..levels_vital import LEVEL_VALUES
from ..media_vital import MediaError, describe_item, load_media
from ..modeling_vital import VitalForConditionalGeneration
from .local_scores import check_reader, clearly_worse_below, encoded, in_batches, read_scores, score_range


CONTEXTS = ("neighbours", "alone")


@dataclass(frozen=True)
class QualityMap:
    """Local quality of a picture: the scores of overlapping tiles.

    Attributes:
        scores (`np.ndarray` of shape `(rows, columns)`): float32, in [0, 1], higher is better; one a tile.
        tops, lefts (`np.ndarray`): int64 of shapes `(rows,)` and `(columns,)`: where the tiles begin, pixels.
        tile_width, tile_height (`int`): of a tile, pixels of the picture.
        width, height (`int`): of the picture, pixels, upright.
        whole_score (`float`): of the picture, as `model.score` gives it.
        score_range (`tuple[float, float]`): lowest and highest score that the model can give.
    """

    scores: np.ndarray
    tops: np.ndarray
    lefts: np.ndarray
    tile_width: int
    tile_height: int
    width: int
    height: int
    whole_score: float
    score_range: tuple[float, float] = (min(LEVEL_VALUES), max(LEVEL_VALUES))

    def values(self, width: int | None = None, height: int | None = None) -> np.ndarray:
        """The map as a picture: at each point the mean of the tiles over it, those centred near it most (Hann window).

        Args:
            width, height (`int`, *optional*): size of the result, the picture's by default.

        Returns:
            `np.ndarray` of shape `(height, width)`: float32, between the lowest and the highest tile score.
        """
        down = _weights(height or self.height, self.height, self.tops, self.tile_height)
        across = _weights(width or self.width, self.width, self.lefts, self.tile_width)
        # The window is a product of one down and one across, and so is its normalisation.
        return down @ self.scores @ across.T

    @property
    def worst(self) -> tuple[int, int, int, int]:
        """`tuple[int, int, int, int]`: left, top, right and bottom of the tile with the lowest score, pixels."""
        row, column = np.unravel_index(self.scores.argmin(), self.scores.shape)
        left, top = int(self.lefts[column]), int(self.tops[row])
        return left, top, left + self.tile_width, top + self.tile_height

    @property
    def worst_score(self) -> float:
        """`float`: the lowest score of a tile."""
        return float(self.scores.min())

    @property
    def clearly_worse_below(self) -> float:
        """`float`: what scores less is clearly worse than the rest of the picture: upper quartile less one level."""
        return clearly_worse_below(self.scores)

    @property
    def stands_out(self) -> bool:
        """`bool`: whether any place is clearly worse than the rest."""
        return self.worst_score < self.clearly_worse_below

    def to_dict(self) -> dict[str, Any]:
        """The record as plain Python values, ready for JSON."""
        return {
            "width": self.width,
            "height": self.height,
            "tile_width": self.tile_width,
            "tile_height": self.tile_height,
            "tops": self.tops.tolist(),
            "lefts": self.lefts.tolist(),
            "scores": self.scores.tolist(),
            "worst": list(self.worst),
            "worst_score": self.worst_score,
            "whole_score": self.whole_score,
            "stands_out": self.stands_out,
        }


@torch.no_grad()
def quality_map(
    model: VitalForConditionalGeneration,
    picture: Any,
    overlap: float = 0.5,
    context: str = "neighbours",
    batch_size: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> QualityMap:
    """Scores a picture place by place.

    The picture is taken at the size at which `model.score` sees it: its own, or, beyond what the checkpoint's tiles
    hold, scaled down to that. So map and score are about the same picture, and a large one costs no more. To look
    closer, map a crop. Tiles are encoded once each, and no more than three rows of them are held at a time. The same
    picture gives the same map.

    Args:
        model (`VitalForConditionalGeneration`): in evaluation mode.
        picture (a media item): anything `media_vital.load_media` takes that is no clip.
        overlap (`float`, *optional*, defaults to 0.5): share of a tile that the next one covers too, in [0, 0.9].
        context (`str`, *optional*, defaults to `"neighbours"`):
            What the decoder reads for one place. `"neighbours"`: the tile, the eight around it, and the whole picture
            squashed to one tile. `"alone"`: the tile by itself, a tenth of the reading for large decoders.
        batch_size (`int`, *optional*, defaults to 32): tiles a forward pass. A batch that is too large for the memory
            of the device is halved until it fits.
        progress (`Callable[[int, int], None]`, *optional*): told after each row how many tiles are done, and of how
            many.

    Returns:
        [`QualityMap`]. Of a picture that is one tile or less, its one value is the score of the picture.

    Raises:
        MediaError: for a clip, or a picture that cannot be read or has a tile that is too large for the device.
        ValueError: for a setting out of range.
        TypeError: for a model without a decoder.
    """
    check_reader(model)
    if not 0 <= overlap <= 0.9:
        raise ValueError(f"`overlap` is a share of a tile in [0, 0.9], got {overlap}.")
    if context not in CONTEXTS:
        raise ValueError(f"`context` is one of {', '.join(CONTEXTS)}, got {context!r}.")
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1, got {batch_size}.")
    image = load_media(picture)
    if not isinstance(image, Image.Image):
        raise MediaError(f"{describe_item(picture)} is a clip, and a map is of a picture; use quality_curve.")
    tiling = model.processor.image_processor.tiling
    width, height, side = image.width, image.height, tiling.tile_size
    shrink = min(1.0, math.sqrt(tiling.max_tiles * side**2 / (width * height)))
    whole_score = model.score(image).score
    if shrink < 1:
        image = image.resize((max(1, round(width * shrink)), max(1, round(height * shrink))), tiling.resample)
    tile_width, tile_height = min(side, image.width), min(side, image.height)
    lefts = window_starts(image.width, tile_width, max(1, round(tile_width * (1 - overlap))))
    tops = window_starts(image.height, tile_height, max(1, round(tile_height * (1 - overlap))))
    alone = context == "alone" or len(lefts) * len(tops) == 1
    name, encoding, reading = describe_item(picture), model.batch_limit(batch_size), model.batch_limit(batch_size)
    whole = None if alone else _encode(model, [image], name, encoding)
    scores = np.empty((len(tops), len(lefts)), dtype=np.float32)
    rows: list[torch.Tensor] = []  # of encoded tiles: the one to score, the one above it and the one below it
    for number in range(len(tops) + 1):
        if number < len(tops):
            top = int(tops[number])
            boxes = [(int(left), top, int(left) + tile_width, top + tile_height) for left in lefts]
            rows.append(_encode(model, [image.crop(box) for box in boxes], name, encoding))
        if number:
            at = min(number - 1, 1)
            band = [rows[max(at - 1, 0)], rows[at], rows[min(at + 1, len(rows) - 1)]]
            scores[number - 1] = _read_row(model, band, whole, name, reading)
            rows = rows[-2:]
            progress(number * len(lefts), scores.size)
    x, y = width / image.width, height / image.height
    tile_width, tile_height = math.ceil(tile_width * x), math.ceil(tile_height * y)
    lefts = np.minimum(np.floor(lefts * x).astype(np.int64), width - tile_width)
    tops = np.minimum(np.floor(tops * y).astype(np.int64), height - tile_height)
    limits = score_range(model)
    return QualityMap(scores, tops, lefts, tile_width, tile_height, width, height, whole_score, limits)


def _encode(
    model: VitalForConditionalGeneration, pictures: list[Image.Image], name: str, limit: BatchLimit
) -> torch.Tensor:
    """Each picture as one tile, encoded: `(pictures, image_seq_length, hidden_size)`."""

    def encode(batch: Sequence[Image.Image]) -> torch.Tensor:
        tiles = model.processor.image_processor.preprocess(list(batch), max_tiles=1)["pixel_values"]
        return model.model.encode_tiles(tiles.to(model.device))

    return torch.cat(in_batches(model, encode, pictures, name, limit))


def _read_row(
    model: VitalForConditionalGeneration,
    band: list[torch.Tensor],
    whole: torch.Tensor | None,
    name: str,
    limit: BatchLimit,
) -> np.ndarray:
    """Scores of the middle row of three, each tile among its neighbours; without `whole`, each by itself."""
    columns = len(band[1])

    def read(batch: Sequence[int]) -> np.ndarray:
        media = []
        for column in batch:
            if whole is None:
                tiles = band[1][[column] * model.processor.single_tile_copies]
            else:
                near = [min(max(c, 0), columns - 1) for c in (column - 1, column, column + 1)]
                tiles = torch.cat([*(row[near] for row in band), whole])
            media.append(encoded(model, "image", tiles, [len(tiles)]))
        return read_scores(model, media)

    return np.concatenate(in_batches(model, read, range(columns), name, limit))


def _weights(points: int, length: int, starts: np.ndarray, size: int) -> np.ndarray:
    """Share of each window in each of `points` evenly spread points: float32 `(points, windows)`, rows sum to 1."""
    centres = (np.arange(points) + 0.5) * (length / points)
    place = np.clip((centres[:, None] - starts) / size, 0, 1)  # in a window: 0 its beginning, 1 its end
    # The small constant decides where no window has any weight: at the very border. Outside of a window it is 0.
    inside = (centres[:, None] >= starts) & (centres[:, None] <= starts + size)
    weights = (np.sin(np.pi * place) ** 2 + 1e-6) * inside
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


__all__ = ["CONTEXTS", "QualityMap", "quality_map"]
