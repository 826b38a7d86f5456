"""Pictures of any mode to 8-bit RGB, upright, in sRGB."""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from .media_error_vital import MediaError, describe_item


logger = logging.getLogger(__name__)

_MODE_OF_SPACE = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # ICC names of colour spaces


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a picture of any mode to 8-bit RGB, upright.

    Args:
        image (`PIL.Image.Image`): left as it is. Alpha goes over white. 16-bit modes (`I;16`, and `I`, which Pillow
            uses for them) are scaled from [0, 65535] to [0, 255]. `F` is taken as [0, 1] if no value is above 1, else
            as [0, 255]. Colours of an ICC profile other than sRGB become those of sRGB, as a browser shows them.

    Returns:
        `PIL.Image.Image`: a new picture in mode `RGB`, EXIF orientation applied.

    Raises:
        MediaError: if the picture cannot be decoded fully, or has no RGB form.
    """
    with decoding(describe_item(image)):
        image.load()
        upright = _upright(image)
        if upright.mode.startswith("I"):
            # Not `>> 8`: white (65535) must become 255, and every value the nearest 8-bit one.
            values = np.clip(np.asarray(upright, dtype=np.int64), 0, 65535)
            return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
        if upright.mode == "F":
            return Image.fromarray(float_to_uint8(np.asarray(upright))).convert("RGB")
        profile = _profile(upright)
        if profile is not None and upright.mode == _MODE_OF_SPACE.get(profile.profile.xcolor_space) != "RGB":
            return _to_srgb(upright, profile)
        if upright.has_transparency_data:
            layer = upright.convert("RGBA")
            rgb = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        elif upright.mode == "LAB":
            return _to_srgb(upright, ImageCms.createProfile("LAB"))
        else:
            rgb = upright.convert("RGB")
        if profile is None or profile.profile.xcolor_space != "RGB ":
            return rgb
        return _to_srgb(rgb, profile)


def _profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The colour profile of a picture, if it has a sound one that is not sRGB."""
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        return None if "sRGB" in ImageCms.getProfileDescription(profile) else profile
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        logger.warning("%s has an unreadable colour profile (%s); sRGB is assumed.", describe_item(image), error)
        return None


def _to_srgb(image: Image.Image, profile: Any) -> Image.Image:
    try:
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except ImageCms.PyCMSError as error:
        logger.warning("%s has a useless colour profile (%s); sRGB is assumed.", describe_item(image), error)
        return image.convert("RGB")


@contextlib.contextmanager
def decoding(name: str) -> Iterator[None]:
    """Makes any error inside the block a `MediaError` that names the item."""
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaError(f"{name} is too large: {error}; shrink it.") from error
    # A damaged file makes Pillow raise almost any type: OSError, SyntaxError, struct.error, IndexError, zlib.error...
    except Exception as error:
        raise MediaError(
            f"{name} cannot be decoded ({error}); it is damaged or cut short, get a whole copy of it."
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's EXIF reader raises almost any type; the pixels are sound.
        logger.warning("%s has unreadable EXIF data (%s); its orientation is ignored.", describe_item(image), error)
        return image


def float_to_uint8(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise MediaError("A picture of floats holds NaN or infinity; give finite values.")
    scale = 255.0 if values.max() <= 1 else 1.0
    return np.round(np.clip(values * scale, 0, 255)).astype(np.uint8)
