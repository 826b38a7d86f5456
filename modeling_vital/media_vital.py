"""Media in: whatever a user hands over becomes one RGB picture or one [`Clip`]; else a [`MediaError`] says why."""

import io
import logging
import math
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from .clip_vital import (
    DEFAULT_FPS,
    ArraySource,
    Clip,
    PillowSource,
    as_stream,
    check_total,
    count_frames,
    play,
)
from .download_vital import download
from .media_error_vital import MediaError, describe_item, is_array, item_errors
from .picture_vital import floats_to_uint8, orientation_of, to_rgb, upright_size
from .tiff_vital import RAW_SUFFIXES, is_raw_head, is_tiff, sub_images, with_first
from .video_decoding_vital import check_frame_size, open_video, video_format


logger = logging.getLogger(__name__)

MAX_PIXELS = 178_956_970  # Where Pillow itself stops believing that a picture is honest.

_ANIMATED_FORMATS = {"GIF", "WEBP", "PNG", "AVIF"}  # Several pages of TIFF, MPO or ICO are not a clip.
# What Pillow may read. It knows more: rare formats whose decoders few people try, and some that start other programs.
_FORMATS = "AVIF BMP DIB GIF HEIF ICO JPEG JPEG2000 MPO PCX PNG PPM QOI TGA TIFF WEBP".split()
_ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"7z\xbc\xaf",
    b"Rar!",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_RAW = "{} is a camera raw, not a picture yet: develop it, and give the TIFF, PNG or JPEG that comes out."
_URL = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://|^(data):")


def load_media(
    item: Any, *, allow_url: bool = False, max_pixels: int = MAX_PIXELS, fps: float = DEFAULT_FPS
) -> Image.Image | Clip:
    """Turns anything that holds a picture or a video into an RGB picture or a [`Clip`].

    What it is is decided by its content, not by its name. Animated GIF, WebP, PNG and AVIF are clips.

    Args:
        item: a file (`str` or `Path`), its `bytes`, a Pillow image, an array or tensor (uint8 or uint16, or floats in
            [0, 1]; `[H, W]`, `[H, W, C]`, `[C, H, W]` for a picture, `[T, H, W, C]`, `[T, C, H, W]` for a clip, C of
            1, 3 or 4, channels last where both fit), a list of Pillow images or arrays (the frames of a clip), a dict
            `{"bytes", "path"}` as `datasets` gives, or a `Clip`.
        allow_url (`bool`, defaults to `False`): whether a string may be an http(s) address to download.
        max_pixels (`int`, defaults to 178956970): larger pictures and frames are refused (by Pillow's limit, too).
        fps (`float`, defaults to 30.0): frames a second of arrays and lists, which do not say.

    Returns:
        `PIL.Image.Image` in mode RGB, upright, or `Clip`.

    Raises:
        MediaError: if the item is missing, empty, unreadable, damaged, too large, or not a picture or video.
    """
    with item_errors(item):
        return _load(item, allow_url, max_pixels, fps)


def _load(item: Any, allow_url: bool, max_pixels: int, fps: float) -> Image.Image | Clip:
    if isinstance(item, Image.Image):
        return _from_pillow(item, item, describe_item(item), max_pixels)
    if hasattr(item, "get_frames") and hasattr(item, "num_frames"):  # A Clip, perhaps of another copy of this module.
        return item
    name = describe_item(item)
    if is_array(item):
        frames = _array_to_frames(item, name)
        return Image.fromarray(frames[0]) if item.ndim < 4 else Clip(ArraySource(frames, fps), name)
    if isinstance(item, list | tuple):
        return Clip(ArraySource(_list_to_frames(item, name, max_pixels), fps), name)
    if isinstance(item, dict):
        if item.get("bytes") is None and item.get("path") is None:
            raise MediaError(f"{name} has neither 'bytes' nor 'path'; give one.")
        item = item["path"] if item.get("bytes") is None else item["bytes"]
    if isinstance(item, str) and _URL.match(item):
        if not allow_url:
            raise MediaError(
                f"{name} is an address; download it first, or allow it (`allow_url=True`, `vital score --allow-urls`)."
            )
        return _from_file(download(item, name), name, max_pixels)
    if isinstance(item, bytes | bytearray | memoryview):
        return _from_file(bytes(item), name, max_pixels)
    if isinstance(item, str | Path):
        return _from_file(str(item), name, max_pixels)
    raise MediaError(f"{name} is not something to load; give a file, bytes, a picture, an array or a list of frames.")


def picture_size(file: str | bytes) -> tuple[int, int]:
    """Height and width of a picture, upright, from the head of its file; nothing is decoded.

    Args:
        file (`str` or `bytes`): a path, or the bytes of a file.

    Raises:
        MediaError: see [`load_media`]; damage behind the head is not found.
    """
    name = describe_item(file)
    with item_errors(file):
        head = _read_head(file, name)
        try:
            with Image.open(as_stream(file), formats=_readable_formats(head)) as image:
                _check_size(image.width, image.height, name, MAX_PIXELS)
                return upright_size(image, orientation_of(image))[::-1]
        except UnidentifiedImageError as error:
            raise MediaError(f"{name} is {_what_it_is(head)}") from error


def _read_head(file: str | bytes, name: str) -> bytes:
    """The first 512 bytes of a regular file that is not empty."""
    try:
        if isinstance(file, bytes):
            head = file[:512]
        else:
            # Opening a pipe would wait for a writer, and a device may never end.
            if not stat.S_ISREG(mode := os.stat(file).st_mode) and not stat.S_ISDIR(mode):
                raise MediaError(f"{name} is not a regular file, but a pipe or device; save it to a file first.")
            with open(file, "rb") as stream:
                head = stream.read(512)
    except MediaError:
        raise
    except FileNotFoundError as error:
        raise MediaError(f"{name} does not exist; check the path.") from error
    except IsADirectoryError as error:
        raise MediaError(f"{name} is a folder; give the files in it one by one.") from error
    except (OSError, ValueError) as error:
        raise MediaError(f"{name} cannot be opened ({error}); check the path and its permissions.") from error
    if not head:
        raise MediaError(f"{name} is empty (0 bytes); get a whole copy of it.")
    return head


def _from_file(file: str | bytes, name: str, max_pixels: int) -> Image.Image | Clip:
    head = _read_head(file, name)
    suffix = os.path.splitext(name.strip("'\""))[1].lower()
    if is_raw_head(head) or (suffix in RAW_SUFFIXES and is_tiff(head)):
        raise MediaError(_RAW.format(name))
    container = video_format(head)
    if container is not None:
        clip = open_video(file, name, container)
        check_frame_size(clip.width, clip.height, name)
        _check_size(clip.width, clip.height, name, max_pixels)
        return clip
    try:
        with Image.open(as_stream(file), formats=_readable_formats(head)) as image:
            return _from_pillow(image, file, name, max_pixels)
    except UnidentifiedImageError as error:
        if suffix in RAW_SUFFIXES:
            raise MediaError(_RAW.format(name)) from error
        raise MediaError(f"{name} is {_what_it_is(head)}") from error


def _readable_formats(head: bytes) -> list[str]:
    Image.init()
    if _is_heif(head) and "HEIF" not in Image.OPEN:
        try:
            import pillow_heif
        except (ImportError, OSError) as error:  # OSError: installed, but a system library is missing.
            logger.debug("pillow-heif is not usable: %s", error)
        else:
            pillow_heif.register_heif_opener()
    return [kind for kind in _FORMATS if kind in Image.OPEN]  # HEIF comes with a plug-in, AVIF with most builds.


def _is_heif(head: bytes) -> bool:
    """Returns `True` if a file is a picture of a phone, HEIC or HEIF; AVIF is another format in the same container."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and b"avif" not in head[8:64]


def _what_it_is(head: bytes) -> str:
    """The end of a message about a file that is neither picture nor video, by its first bytes."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        return "an archive; unpack it and give the files in it."
    if b"<svg" in start and start.startswith(b"<"):
        return "SVG, a drawing and not a picture; convert it to PNG."
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a picture or video; get the file itself."
    if start.startswith((b"%!ps", b"\xc5\xd0\xd3\xc6", b"%pdf")):
        return "EPS or PDF, a document and not a picture; convert it to PNG."
    if _is_heif(head) and "HEIF" not in Image.OPEN:
        return "HEIC, which needs a package that is not installed; `pip install pillow-heif`, or convert it to JPEG."
    if _is_heif(head):
        return "a HEIC picture that cannot be read; it is damaged or cut short: get a whole copy."
    if is_tiff(head):
        return (
            "not a picture or video this library knows: a TIFF with samples that Pillow does not read, such as "
            "floats of 16 or 64 bits or in colour; convert it to a PNG."
        )
    return "not a picture or video this library knows; give a PNG, JPEG, WebP, MP4, WebM or the like."


def _from_pillow(image: Image.Image, file: Any, name: str, max_pixels: int) -> Image.Image | Clip:
    stream = getattr(image, "fp", None)
    if image.format == "TIFF" and stream is not None and image.tell() == 0:
        return _from_tiff(image, stream, name, max_pixels)
    _check_size(image.width, image.height, name, max_pixels)
    if image.format not in _ANIMATED_FORMATS or count_frames(image) == 1:
        return to_rgb(image)
    check_frame_size(image.width, image.height, name)
    if isinstance(file, str | bytes):
        source = PillowSource(file)
        clip = Clip(source, name)
        clip.check_whole(math.inf if source.breaks_off else None)
        return clip
    position = image.tell()
    frames: list[np.ndarray] = []
    durations_s: list[float] = []
    orientation = orientation_of(image)
    for duration_s in play(image):  # The file behind it may go away: read it all now.
        check_total(len(frames) + 1, image.width, image.height, name)
        frames.append(np.asarray(to_rgb(image, orientation)))
        durations_s.append(duration_s)
    image.seek(position)
    return Clip(ArraySource(np.stack(frames), len(frames) / sum(durations_s)), name)


def _from_tiff(image: Image.Image, stream: BinaryIO, name: str, max_pixels: int) -> Image.Image:
    """The largest of the images in a TIFF file: its first may be a preview."""
    found = sub_images(stream)
    if any(each.is_raw for each in found):
        raise MediaError(_RAW.format(name))
    whole = [each for each in found if not each.is_part] or found
    best = max(whole, key=lambda each: each.width * each.height, default=None)  # the first of equally large ones
    if best is not None and len(found) > 1:
        which = "one" if len({each.width * each.height for each in whole}) > 1 or len(whole) == 1 else "of its pages"
        logger.warning(
            "%s holds %d images, %d of them previews or masks; the largest %s is read, %dx%d, and no other.",
            *(name, len(found), len(found) - len(whole), which, best.width, best.height),
        )
    if best is None or best.page == 0:
        _check_size(image.width, image.height, name, max_pixels)
        return to_rgb(image)
    _check_size(best.width, best.height, name, max_pixels)
    if best.page is not None:
        try:
            image.seek(best.page)
            return to_rgb(image)
        finally:
            image.seek(0)
    stream.seek(0)
    with Image.open(io.BytesIO(with_first(stream.read(), best.offset)), formats=["TIFF"]) as inner:
        return to_rgb(inner)


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise MediaError(
            f"{name} is too large: {width}x{height}, over {max_pixels} pixels; shrink it or raise max_pixels."
        )


def _array_to_frames(item: Any, name: str) -> np.ndarray:
    """An array or tensor of a picture or clip -> uint8 `[T, H, W, 3]`."""
    if not isinstance(item, np.ndarray):
        item = item.detach().cpu()
        item = (item.float() if item.is_floating_point() else item).numpy()
    if item.size == 0 or item.ndim not in (2, 3, 4):
        raise MediaError(f"{name} has no picture's shape; give [H, W], [H, W, 3], [3, H, W] or, for a clip, one more.")
    frames = item[None] if item.ndim < 4 else item
    if item.ndim == 2:
        frames = frames[..., None]
    elif frames.shape[-1] not in (1, 3, 4):
        frames = np.moveaxis(frames, 1, -1)
    if frames.shape[-1] not in (1, 3, 4):
        raise MediaError(f"{name} has no axis of 1, 3 or 4 channels, first or last; give [H, W, 3] or [3, H, W].")
    if frames.dtype == np.uint16:
        frames = ((frames.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    elif np.issubdtype(frames.dtype, np.floating):
        frames = floats_to_uint8(frames, name)
    elif frames.dtype == bool:
        frames = frames.astype(np.uint8) * 255
    elif frames.dtype != np.uint8:
        raise MediaError(f"{name} must be uint8 in [0, 255], uint16 in [0, 65535] or floats in [0, 1]; convert it.")
    if frames.shape[-1] == 3:
        return np.ascontiguousarray(frames)
    single = frames.shape[-1] == 1
    return np.stack([np.asarray(to_rgb(Image.fromarray(frame[..., 0] if single else frame))) for frame in frames])


def _list_to_frames(items: Sequence[Any], name: str, max_pixels: int) -> list[np.ndarray]:
    """Frames as they are where they are pixels already: they become pictures only one by one, when they are cut."""
    frames: list[np.ndarray] = []
    for index, item in enumerate(items):
        frame = None
        if is_array(item) and item.ndim < 4:
            frame = _array_to_frames(item, describe_item(item))[0]
        elif isinstance(item, Image.Image):
            frame = load_media(item, max_pixels=max_pixels)
        if frame is None or isinstance(frame, Clip):
            raise MediaError(
                f"Item {index} of {name} is {describe_item(item)}; frames must be single Pillow images or arrays."
            )
        frame = np.asarray(frame)
        if frames and frame.shape != frames[0].shape:
            sizes = ["x".join(map(str, each.shape[1::-1])) for each in (frame, frames[0])]
            raise MediaError(f"Frame {index} of {name} is {sizes[0]}, frame 0 is {sizes[1]}; resize them alike.")
        frames.append(frame)
    if not frames:
        raise MediaError(f"{name} holds no frames; give at least one.")
    return frames


__all__ = ["Clip", "MediaError", "describe_item", "load_media", "picture_size"]
