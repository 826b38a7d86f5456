"""Pictures and frames to normalised tiles: the choice of the tile grid, and the image processor around it."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from .media_vital import MediaError, describe_item, load_media
from .zoo_names_vital import ZooNamesMixin


TILE_RULES = ("native", "aspect_ratio", "area")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The one (columns, rows) the released code uses for a tile count, whatever the picture's shape. It depends on the
# largest count allowed: the code keeps the last of the equal-sized grids in the iteration order of a Python set, and
# that order changes when the set grows.
_AREA_GRIDS_UP_TO_7 = ((1, 1), (2, 1), (1, 3), (2, 2), (5, 1), (3, 2), (1, 7))
_AREA_GRIDS_UP_TO_12 = (
    *((1, 1), (2, 1), (1, 3), (1, 4), (1, 5), (2, 3)),
    *((1, 7), (8, 1), (9, 1), (1, 10), (1, 11), (2, 6)),
)


def choose_grid(
    width: int, height: int, tile_size: int = 448, min_tiles: int = 1, max_tiles: int = 12, rule: str = "native"
) -> tuple[int, int]:
    """Chooses into how many columns and rows of square tiles a picture is cut, after a resize to fill them.

    Args:
        width (`int`): picture width, pixels.
        height (`int`): picture height, pixels.
        tile_size (`int`, defaults to 448): side of a tile, pixels.
        min_tiles (`int`, defaults to 1): fewest tiles.
        max_tiles (`int`, defaults to 12): most tiles, the thumbnail not counted.
        rule (`str`, defaults to `"native"`):
            - `"native"`: as near as possible to the picture's own aspect ratio and scale. Of all allowed grids, the
              one with the least `log(sx / sy)**2 + log(sqrt(sx * sy))**2`, where `sx` and `sy` are the stretches the
              resize causes, measured against the picture first scaled down (if it must be) to `max_tiles` tiles of
              area. Ties go to fewer tiles.
            - `"aspect_ratio"`: InternVL's: the nearest `columns / rows` to `width / height`; of equally near ones the
              largest whose area is under twice the picture's.
            - `"area"`: the released VITAL's: as many tiles as fit the picture's area (rounded half up), in the one
              grid it has for that count. The aspect ratio plays no part: 1024x768 and 768x1024 both become 1x4 tiles.

    Returns:
        `tuple[int, int]`: columns and rows.

    Raises:
        ValueError: if a size is not positive, `min_tiles > max_tiles`, the rule is unknown, or `"area"` is asked for
            more than 12 tiles (the released code has no grid for that that does not depend on the Python version).
    """
    if width < 1 or height < 1 or tile_size < 1:
        raise ValueError(f"Sizes must be positive, got a picture of {width}x{height} and tile_size {tile_size}.")
    if not 1 <= min_tiles <= max_tiles:
        raise ValueError(f"Need 1 <= min_tiles <= max_tiles, got min_tiles={min_tiles} and max_tiles={max_tiles}.")
    if rule == "area":
        return _area_grid(width * height / tile_size**2, min_tiles, max_tiles)
    grids = [
        (cols, rows)
        for cols in range(1, max_tiles + 1)
        for rows in range(1, max_tiles // cols + 1)
        if cols * rows >= min_tiles
    ]
    grids.sort(key=lambda grid: (grid[0] * grid[1], grid))
    if rule == "aspect_ratio":
        return _aspect_ratio_grid(width, height, tile_size, grids)
    if rule != "native":
        raise ValueError(f"Unknown tile rule {rule!r}; choose one of {', '.join(TILE_RULES)}.")
    shrink = min(1.0, math.sqrt(max_tiles * tile_size**2 / (width * height)))

    def cost(grid: tuple[int, int]) -> float:
        stretch_x = math.log(grid[0] * tile_size / (width * shrink))
        stretch_y = math.log(grid[1] * tile_size / (height * shrink))
        # Rounded so that mirrored grids tie exactly and the sort order decides.
        return round((stretch_x - stretch_y) ** 2 + ((stretch_x + stretch_y) / 2) ** 2, 9)

    return min(grids, key=cost)


def _area_grid(tiles: float, min_tiles: int, max_tiles: int) -> tuple[int, int]:
    if max_tiles > len(_AREA_GRIDS_UP_TO_12):
        raise ValueError(
            f"The tile rule 'area' is defined up to max_tiles=12, got {max_tiles}; use the rule 'native'."
        )
    table = _AREA_GRIDS_UP_TO_7 if max_tiles <= 7 else _AREA_GRIDS_UP_TO_12
    count = math.floor(tiles + 0.5)
    return table[min(max(count, min_tiles), max_tiles) - 1]


def _aspect_ratio_grid(width: int, height: int, tile_size: int, grids: list[tuple[int, int]]) -> tuple[int, int]:
    best, best_difference = grids[0], math.inf
    for cols, rows in grids:
        difference = abs(width / height - cols / rows)
        tie = difference == best_difference and width * height > 0.5 * tile_size**2 * cols * rows
        if difference < best_difference or tie:
            best, best_difference = (cols, rows), difference
    return best


class VitalImageProcessorKwargs(TypedDict, total=False):
    """What [`VitalImageProcessor`] is configured by; `from_pretrained` takes these as overrides."""

    tile_size: int
    min_tiles: int
    max_tiles: int
    tile_rule: str
    use_thumbnail: bool
    resample: int
    rescale_factor: float
    image_mean: Sequence[float]
    image_std: Sequence[float]


# What transformers writes beside the settings, and hands back on loading.
_SERVICE_KEYS = {"auto_map", "image_processor_type", "feature_extractor_type", "processor_class"}


class VitalImageProcessor(ZooNamesMixin, BaseImageProcessor):
    """Resizes pictures to a grid of square tiles and normalises them, with Pillow and NumPy only.

    Args:
        tile_size (`int`, defaults to 448): side of a tile, pixels; what the image encoder takes.
        min_tiles (`int`, defaults to 1): fewest tiles a picture.
        max_tiles (`int`, defaults to 12): most tiles a picture, the thumbnail not counted.
        tile_rule (`str`, defaults to `"native"`): `"native"`, `"aspect_ratio"` or `"area"`, see [`choose_grid`].
        use_thumbnail (`bool`, defaults to `True`):
            Whether the whole picture, squashed to one tile, follows as the last tile where there is more than one.
        resample (`int`, defaults to 3): Pillow resampling filter; 3 is bicubic (antialiased when shrinking).
        rescale_factor (`float`, defaults to 1/255): what pixel values in [0, 255] are multiplied by.
        image_mean (`Sequence[float]`): subtracted a channel, after rescaling. ImageNet's by default.
        image_std (`Sequence[float]`): divided by a channel, after that. ImageNet's by default.

    Raises:
        ValueError: if a value is out of range.
        TypeError: if a setting is unknown.
    """

    model_input_names = ["pixel_values", "num_tiles"]
    valid_kwargs = VitalImageProcessorKwargs

    def __init__(
        self,
        tile_size: int = 448,
        min_tiles: int = 1,
        max_tiles: int = 12,
        tile_rule: str = "native",
        use_thumbnail: bool = True,
        resample: int = Image.Resampling.BICUBIC.value,
        rescale_factor: float = 1 / 255,
        image_mean: Sequence[float] = IMAGENET_MEAN,
        image_std: Sequence[float] = IMAGENET_STD,
        **kwargs: Any,
    ) -> None:
        unknown = sorted(key for key in kwargs if key not in _SERVICE_KEYS and not key.startswith("_"))
        if unknown:
            known = ", ".join(VitalImageProcessorKwargs.__annotations__)
            raise TypeError(f"VitalImageProcessor got unknown settings {unknown}; it has {known}.")
        super().__init__(**kwargs)
        choose_grid(1, 1, tile_size, min_tiles, max_tiles, tile_rule)  # Raises on a bad combination.
        if len(image_mean) != 3 or len(image_std) != 3 or min(image_std) <= 0:
            raise ValueError(f"Need 3 means and 3 positive stds, got {image_mean} and {image_std}.")
        if rescale_factor <= 0:
            raise ValueError(f"rescale_factor must be positive, got {rescale_factor}.")
        self.tile_size = tile_size
        self.min_tiles = min_tiles
        self.max_tiles = max_tiles
        self.tile_rule = tile_rule
        self.use_thumbnail = use_thumbnail
        self.resample = int(Image.Resampling(resample))
        self.rescale_factor = rescale_factor
        self.image_mean = [float(value) for value in image_mean]
        self.image_std = [float(value) for value in image_std]

    @property
    def backend(self) -> str:
        """`str`: `"pil"`, transformers' name for an image processor that does not need torchvision."""
        return "pil"

    def get_number_of_tiles(self, height: int, width: int, max_tiles: int | None = None) -> int:
        """Returns how many tiles, thumbnail included, a picture of this size becomes.

        Args:
            height (`int`): picture height, pixels.
            width (`int`): picture width, pixels.
            max_tiles (`int`, *optional*): in place of the processor's own.

        Raises:
            ValueError: if a size is not positive.
        """
        cols, rows = self._grid(width, height, self.max_tiles if max_tiles is None else max_tiles)
        return cols * rows + (1 if self.use_thumbnail and cols * rows > 1 else 0)

    def with_settings(self, **settings: Any) -> "VitalImageProcessor":
        """Returns a processor with some settings changed, itself where there is nothing to change.

        Args:
            settings: as in the constructor. A lower `max_tiles` lowers `min_tiles`, too.

        Raises:
            ValueError: if a value is out of range.
            TypeError: if a setting is unknown.
        """
        if not settings:
            return self
        if "max_tiles" in settings:
            settings = {"min_tiles": min(self.min_tiles, settings["max_tiles"]), **settings}
        own = {name: getattr(self, name) for name in VitalImageProcessorKwargs.__annotations__}
        return type(self)(**{**own, **settings})

    def preprocess(self, images: Any, return_tensors: str | None = "pt", **settings: Any) -> BatchFeature:
        """Turns pictures into one flat stack of normalised tiles.

        Args:
            images: one picture or a list of them: Pillow images, arrays, tensors, or whatever else
                [`load_media`] takes. Within a picture, tiles go row by row; the thumbnail is last.
            return_tensors (`str`, *optional*, defaults to `"pt"`): `"pt"` or `"np"`.
            settings: for this call in place of the processor's own: `max_tiles`, for example.

        Returns:
            `BatchFeature`: `pixel_values` float32 `[sum(num_tiles), 3, S, S]` and `num_tiles` int64 `[images]`.

        Raises:
            MediaError: if an item cannot be read or is a video.
            ValueError: if there is no picture at all, or a value is out of range.
            TypeError: if a setting is unknown.
        """
        if settings:
            return self.with_settings(**settings).preprocess(images, return_tensors)
        if not isinstance(images, list | tuple):
            images = [images]
        if len(images) == 0:
            raise ValueError("VitalImageProcessor got an empty list of images; give at least one.")
        tiles = [self._tiles(_as_picture(image), self.max_tiles, self.use_thumbnail) for image in images]
        return self._pack(tiles, return_tensors)

    def preprocess_frames(
        self, frames: np.ndarray | Iterable[np.ndarray], max_tiles: int = 1, return_tensors: str | None = "pt"
    ) -> BatchFeature:
        """Turns key frames into one flat stack of normalised tiles, without thumbnails.

        Args:
            frames (`np.ndarray` or an iterable of them): uint8 `[N, H, W, 3]`, RGB.
            max_tiles (`int`, defaults to 1): most tiles a frame; 1 squashes each frame to one tile.
            return_tensors (`str`, *optional*, defaults to `"pt"`): `"pt"` or `"np"`.

        Returns:
            `BatchFeature`: `pixel_values` float32 `[sum(num_tiles), 3, S, S]` and `num_tiles` int64 `[N]`.

        Raises:
            ValueError: if there is no frame, or a frame is not uint8 `[H, W, 3]`.
        """
        return self._pack([self._tiles(frame, max_tiles, False) for frame in _as_pictures(frames)], return_tensors)

    def resize_frames(
        self, frames: np.ndarray | Iterable[np.ndarray], size: int | None = None, return_tensors: str | None = "pt"
    ) -> torch.Tensor | np.ndarray:
        """Squashes motion frames to a square and normalises them.

        Args:
            frames (`np.ndarray` or an iterable of them): uint8 `[N, H, W, 3]`, RGB.
            size (`int`, *optional*): side of the square, pixels; `tile_size` if left out.
            return_tensors (`str`, *optional*, defaults to `"pt"`): `"pt"` or `"np"`.

        Returns:
            `torch.Tensor` or `np.ndarray`: float32 `[N, 3, size, size]`.

        Raises:
            ValueError: if there is no frame, or a frame is not uint8 `[H, W, 3]`.
        """
        side = self.tile_size if size is None else size
        squashed = [np.asarray(_resize(frame, side, side, self.resample)) for frame in _as_pictures(frames)]
        values = self._normalize(np.stack(squashed))
        return torch.from_numpy(values) if return_tensors == "pt" else values

    def _grid(self, width: int, height: int, max_tiles: int) -> tuple[int, int]:
        return choose_grid(width, height, self.tile_size, min(self.min_tiles, max_tiles), max_tiles, self.tile_rule)

    def _tiles(self, picture: Image.Image, max_tiles: int, use_thumbnail: bool) -> np.ndarray:
        """One RGB picture -> its tiles, uint8 `[tiles, S, S, 3]`."""
        side = self.tile_size
        cols, rows = self._grid(*picture.size, max_tiles)
        resized = np.asarray(_resize(picture, cols * side, rows * side, self.resample))
        tiles = resized.reshape(rows, side, cols, side, 3).swapaxes(1, 2).reshape(rows * cols, side, side, 3)
        if use_thumbnail and len(tiles) > 1:
            thumbnail = np.asarray(_resize(picture, side, side, self.resample))
            tiles = np.concatenate([tiles, thumbnail[None]])
        return tiles

    def _normalize(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 `[N, H, W, 3]` -> float32 `[N, 3, H, W]`, bit for bit `(x / 255 - mean) / std` in float32."""
        mean, std = np.float32(self.image_mean), np.float32(self.image_std)
        # Dividing by 255 and multiplying by 1/255 differ in the last bit; the released code divides.
        values = np.arange(256, dtype=np.float32)[:, None] / np.float32(1 / self.rescale_factor)
        table = (values - mean) / std  # [256, 3]
        out = np.empty((len(pixels), 3, *pixels.shape[1:3]), dtype=np.float32)
        for channel in range(3):
            np.take(table[:, channel], pixels[..., channel], out=out[:, channel])
        return out

    def _pack(self, tiles: list[np.ndarray], return_tensors: str | None) -> BatchFeature:
        data = {
            "pixel_values": self._normalize(np.concatenate(tiles)),
            "num_tiles": np.array([len(stack) for stack in tiles], dtype=np.int64),
        }
        return BatchFeature(data=data, tensor_type=return_tensors)


def _resize(picture: Image.Image, width: int, height: int, resample: int) -> Image.Image:
    return picture if picture.size == (width, height) else picture.resize((width, height), resample)


def _as_picture(item: Any) -> Image.Image:
    media = load_media(item)
    if not isinstance(media, Image.Image):
        raise MediaError(f"{describe_item(item)} is a video, not a picture; choose frames and use preprocess_frames.")
    return media


def _as_pictures(frames: np.ndarray | Iterable[np.ndarray]) -> Iterable[Image.Image]:
    index = -1
    for index, frame in enumerate(frames):
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            got = f"{frame.dtype} {list(frame.shape)}" if hasattr(frame, "dtype") else type(frame).__name__
            raise ValueError(f"Frame {index} must be a uint8 array [H, W, 3], got {got}.")
        yield Image.fromarray(frame)
    if index < 0:
        raise ValueError("Got no frames; give at least one.")


VitalImageProcessor.register_for_auto_class()
