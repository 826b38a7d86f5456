"""The image processor: pictures to normalised tiles. `cutting_vital` cuts, pictures and the frames of clips alike."""

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_utils import BaseImageProcessor, BatchFeature

from .cutting_vital import Tiling, choose_grid
from .media_vital import MediaError, describe_item, load_media
from .zoo_names_vital import ZooNamesMixin


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_NORMALIZED_AT_ONCE = 8  # Tiles: what is computed in float32 shall not need the memory of a whole batch.


class VitalImageProcessorKwargs(TypedDict, total=False):
    """Settings of [`VitalImageProcessor`]; `from_pretrained` takes these as overrides."""

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
        cols, rows = self.tiling.grid(width, height, self.max_tiles if max_tiles is None else max_tiles)
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
        tiling = self.tiling
        return self._pack([tiling.cut(_as_picture(image)) for image in images], return_tensors)

    @property
    def tiling(self) -> Tiling:
        """`Tiling`: the settings that need no torch."""
        names = ("tile_size", "min_tiles", "max_tiles", "tile_rule", "use_thumbnail", "resample")
        return Tiling(**{name: getattr(self, name) for name in names})

    def normalize(
        self,
        pixels: np.ndarray | torch.Tensor | list[np.ndarray],
        device: Any = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Makes an encoder's input of pixels, on its device: only bytes go there.

        Args:
            pixels (`np.ndarray` or `torch.Tensor` of shape `(N, ..., H, W, 3)`, or a `list` of arrays):
                uint8, RGB. A list is normalised as if it were concatenated, without that copy.
            device (`torch.device` or `str`, *optional*, defaults to `"cpu"`): where the values are wanted.
            dtype (`torch.dtype`, *optional*, defaults to float32): of the values; computed in float32 in any case.

        Returns:
            `torch.Tensor` of shape `(N, ..., 3, H, W)`: bit for bit `(x / 255 - mean) / std` in float32, then
            rounded to `dtype`.
        """
        parts = [_on_device(part, device) for part in (pixels if isinstance(pixels, list) else [pixels])]
        lengths, device = [len(part) for part in parts], parts[0].device
        values = torch.empty((sum(lengths), *parts[0].shape[1:]), dtype=dtype, device=device)
        # Dividing by 255 and multiplying by 1/255 differ in the last bit; the released code divides. Tensors, because
        # a CUDA device multiplies by the reciprocal of a number.
        scale = torch.tensor(np.float32(1 / self.rescale_factor), device=device)
        mean, std = torch.tensor([self.image_mean, self.image_std], device=device)
        for part, place in zip(parts, values.split(lengths), strict=True):
            for few, out in zip(part.split(_NORMALIZED_AT_ONCE), place.split(_NORMALIZED_AT_ONCE), strict=True):
                exact = few.contiguous().float().div_(scale)
                out.copy_(exact.sub_(mean[:, None, None]).div_(std[:, None, None]))
        return values

    def _pack(self, tiles: list[np.ndarray], return_tensors: str | None) -> BatchFeature:
        data = {
            "pixel_values": self.normalize(tiles),
            "num_tiles": torch.tensor([len(stack) for stack in tiles]),
        }
        return BatchFeature(
            data if return_tensors == "pt" else {name: values.numpy() for name, values in data.items()}
        )


def _on_device(pixels: np.ndarray | torch.Tensor, device: Any) -> torch.Tensor:
    if isinstance(pixels, np.ndarray) and not pixels.flags.writeable:  # Pillow's own memory; torch warns of it
        pixels = pixels.copy()
    return torch.as_tensor(pixels).to(device, non_blocking=True).movedim(-1, -3)


def _as_picture(item: Any) -> Image.Image:
    media = load_media(item)
    if not isinstance(media, Image.Image):
        raise MediaError(f"{describe_item(item)} is a video, not a picture: a processor prepares it (`prepare`).")
    return media


VitalImageProcessor.register_for_auto_class()
