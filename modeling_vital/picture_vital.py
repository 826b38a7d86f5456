"""Pictures of any mode to 8-bit RGB, upright, in sRGB."""

import functools
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from .media_error_vital import MediaError, describe_item, item_errors


logger = logging.getLogger(__name__)

# What turns a picture with this EXIF orientation upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF
_MODE_OF_SPACE = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # ICC names of colour spaces
_GRAY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_SCALED_FORMATS = ("PNG", "PPM")  # Whose whole numbers of mode `I` Pillow scales to 65535.
_SAME_COLOR = 1  # Level of 255: by more, no two ways to write sRGB differ, of 14 by cameras, phones and programs.
_BAND_PIXELS = (
    2**22
)  # Converted at once: a copy of a large picture in each form on the way would be several gigabytes.
_ROUNDING = 1e-3  # What floats in [0, 1] may lie outside by.


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation of a picture, 1 to 8; 1, upright, where it says none or its EXIF data cannot be read."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception as error:  # Pillow's EXIF reader raises almost any type; the pixels are sound.
        logger.warning("%s has unreadable EXIF data (%s); its orientation is ignored.", describe_item(image), error)
        return 1
    return orientation if orientation in _TURNS else 1


def upright_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    """Width and height of a picture once it is turned upright."""
    # Pillow tells the size of a TIFF as it will be after it is read, which turns it.
    size = tuple(image.tag_v2[tag] for tag in (256, 257)) if isinstance(image, TiffImageFile) else image.size
    return size[::-1] if orientation >= 5 else size


def to_rgb(image: Image.Image, orientation: int | None = None) -> Image.Image:
    """Converts a picture of any mode to 8-bit RGB, upright.

    Args:
        image (`PIL.Image.Image`): left as it is. Colours of an ICC profile that differ from those of sRGB become those
            of sRGB, as a browser shows them; then alpha goes over white. Grey of 16 bits is scaled from [0, 65535] to
            [0, 255] (12 bits in a TIFF from [0, 4095]), floats from [0, 1].
        orientation (`int`, *optional*): EXIF orientation, 1 to 8; by default what the picture says. The frames of an
            animation share one.

    Returns:
        `PIL.Image.Image`: a new picture in mode `RGB`, turned upright, without metadata: all of it is applied.

    Raises:
        MediaError: if the picture cannot be decoded fully, has no RGB form, or has values whose scale is not known:
            floats outside [0, 1] by more than 0.001, or whole numbers of 32 bits.
    """
    with item_errors(image):
        image.load()
        turn = _TURNS.get(orientation_of(image) if orientation is None else orientation)
        colors = _colors(image)
        if image.mode == "RGB" and colors is None and "transparency" not in image.info:
            rgb = image.copy() if turn is None else image  # a turn makes the copy
        else:
            rgb = Image.new("RGB", image.size)
            full_scale = _full_scale(image)
            rows = max(1, _BAND_PIXELS // image.width)
            for top in range(0, image.height, rows):
                band = image.crop((0, top, image.width, min(top + rows, image.height)))
                rgb.paste(_convert(band, colors, full_scale), (0, top))
        rgb = rgb if turn is None else rgb.transpose(turn)
        rgb.info = {}  # Nothing that was applied may be applied again.
        return rgb


@dataclass(frozen=True)
class _Colors:
    """A way from the colours of a profile to sRGB.

    Args:
        mode (`str`): of the pictures it takes.
        transform (`ImageCms.ImageCmsTransform`): to mode RGB.
    """

    mode: str
    transform: ImageCms.ImageCmsTransform

    def curve(self) -> np.ndarray:
        """Returns what the 256 levels of mode L become, `[256, 3]`."""
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        return np.asarray(self.transform.apply(ramp))[0].astype(float)

    def is_srgb(self) -> bool:
        """Returns `True` if no colour of a grid, and no grey, becomes another."""
        steps = np.linspace(0, 255, 9).round().astype(np.uint8)
        grays = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)
        probe = np.concatenate([np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3), grays])[None]
        shown = np.asarray(self.transform.apply(Image.fromarray(probe)))
        return bool(np.abs(shown.astype(int) - probe).max() <= _SAME_COLOR)


def _colors(image: Image.Image) -> _Colors | None:
    """Returns the conversion of a picture's colours; `None` if they are sRGB's, or its profile is not usable."""
    if image.mode == "LAB":
        return _Colors("LAB", ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB"))
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        colors = _colors_of(bytes(data))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        logger.warning("%s has an unusable colour profile (%s); sRGB is assumed.", describe_item(image), error)
        return None
    if colors is None:
        return None
    if colors.mode == "CMYK" and image.mode != "CMYK" or colors.mode == "L" and image.mode not in _GRAY_MODES:
        logger.warning("%s has the colour profile of another kind of picture; sRGB is assumed.", describe_item(image))
        return None
    return colors


@functools.lru_cache(maxsize=8)  # Pictures of one camera share theirs.
def _colors_of(data: bytes) -> _Colors | None:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    space = profile.profile.xcolor_space
    if space not in _MODE_OF_SPACE:
        raise ValueError(f"it is for the colour space {space!r}")
    mode = _MODE_OF_SPACE[space]
    colors = _Colors(mode, ImageCms.buildTransform(profile, _srgb(), mode, "RGB"))
    # By what it does, not by its name: names lie, and there are many ways to write the same curve.
    return None if mode == "RGB" and colors.is_srgb() else colors


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _convert(image: Image.Image, colors: _Colors | None, full_scale: int) -> Image.Image:
    """A picture, or a band of one, in RGB, not turned."""
    mode = None if colors is None else colors.mode
    if image.mode.startswith("I") or image.mode == "F":
        shares = _shares(image, full_scale)
        if colors is not None and mode == "L":
            return Image.fromarray(_curved(shares, colors.curve()))
        rgb = Image.fromarray(_to_uint8(shares)).convert("RGB")
    elif colors is not None and image.mode in ("LAB", "CMYK") and mode == image.mode:
        return colors.transform.apply(image)
    elif image.has_transparency_data:
        layer = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
        rgb = layer.getchannel("R") if mode == "L" else layer.convert("RGB")
        rgb = rgb if colors is None else colors.transform.apply(rgb)
        rgb.putalpha(layer.getchannel("A"))
        return Image.alpha_composite(Image.new("RGBA", rgb.size, "white"), rgb).convert("RGB")
    else:
        rgb = image.convert("L" if mode == "L" else "RGB")
    return rgb if colors is None else colors.transform.apply(rgb)


def _full_scale(image: Image.Image) -> int:
    """Returns the value of white in a picture of whole numbers above 8 bits; negative where that is black."""
    if image.mode == "F":
        check_shares(np.asarray(image), describe_item(image))
    if not image.mode.startswith("I"):
        white = 1
    elif image.mode != "I" or image.format in _SCALED_FORMATS:
        bits = _tags(image).get(_BITS_PER_SAMPLE, (16,))
        white = 2 ** bits[0] - 1
    else:
        raise MediaError(
            f"{describe_item(image)} holds whole numbers whose scale is not known (32 bits, or with a sign); convert "
            "it to uint16 in [0, 65535], uint8 in [0, 255] or floats in [0, 1]."
        )
    negative = _tags(image).get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    return -white if negative and (image.mode.startswith("I") or image.mode == "F") else white


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """The tags of a TIFF; none of another file."""
    return getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}


def _shares(image: Image.Image, full_scale: int) -> np.ndarray:
    """Shares of white, float64 in [0, 1]."""
    shares = np.asarray(image).astype(np.float64)
    if image.mode != "F":
        shares /= abs(full_scale)
    return np.clip(1 - shares if full_scale < 0 else shares, 0, 1)


def _curved(shares: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Shares of white by the curve of a grey profile, uint8 `[H, W, 3]`."""
    channels = [np.interp(shares * 255, np.arange(256), channel) for channel in curve.T]
    return np.stack(channels, -1).round().astype(np.uint8)


def check_shares(values: np.ndarray, name: str) -> None:
    """Refuses floats that are not shares of white.

    Args:
        values (`np.ndarray` of shape `[H, W]` or `[T, H, W, C]`): the floats.
        name (`str`): what they are of, for the message.

    Raises:
        MediaError: for values outside [0, 1] by more than rounding, NaN included.
    """
    if not (values.min() >= -_ROUNDING and values.max() <= 1 + _ROUNDING):  # False on NaN, too.
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            *frame, row, column = bad[0] if values.ndim == 2 else bad[0][:-1]
            where = f"row {row}, column {column}" + (f" of frame {frame[0]}" if len(values) > 1 and frame else "")
            raise MediaError(
                f"{name} has {len(bad)} values that are NaN or infinite, the first in {where}; find what made them, "
                "or replace them."
            )
        raise MediaError(
            f"{name} has values from {values.min():.6g} to {values.max():.6g}, which floats must not; convert them to "
            "floats in [0, 1], dividing by what stands for white."
        )


def floats_to_uint8(values: np.ndarray, name: str) -> np.ndarray:
    """Floats in [0, 1] to uint8 in [0, 255].

    Raises:
        MediaError: for values outside [0, 1] by more than rounding, NaN included.
    """
    check_shares(values, name)
    return _to_uint8(np.clip(values, 0, 1))


def _to_uint8(shares: np.ndarray) -> np.ndarray:
    return np.round(shares * 255).astype(np.uint8)
