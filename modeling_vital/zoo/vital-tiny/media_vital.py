"""Media in: whatever a user hands over becomes one RGB picture or one [`Clip`]; else a [`MediaError`] says why."""

import bisect
import contextlib
import http.client
import io
import logging
import math
import re
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError


logger = logging.getLogger(__name__)

MAX_PIXELS = 178_956_970  # Where Pillow itself stops believing that a picture is honest.
MAX_URL_BYTES = 200 * 2**20
URL_TIMEOUT_S = 20
DEFAULT_FPS = 30.0

_ANIMATED_FORMATS = {"GIF", "WEBP", "PNG", "AVIF"}  # Several pages of TIFF, MPO or ICO are not a clip.
_REFUSED_FORMATS = {"EPS", "WMF"}  # Pillow would start another program to draw these.
_URL = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+)://|^(data):")


class MediaError(ValueError):
    """A picture or video that cannot be used. The message names the item, what is wrong and what to do."""


# ------------------------------------------------------------------------------------------------------ pictures
def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a picture of any mode to 8-bit RGB, upright.

    Args:
        image (`PIL.Image.Image`): left as it is. Alpha goes over white. 16-bit modes (`I;16`, and `I`, which Pillow
            uses for them) are scaled from [0, 65535] to [0, 255]. `F` is taken as [0, 1] if no value is above 1, else
            as [0, 255].

    Returns:
        `PIL.Image.Image`: a new picture in mode `RGB`, EXIF orientation applied.

    Raises:
        MediaError: if the picture cannot be decoded fully, or has no RGB form.
    """
    with _decoding(describe_item(image)):
        image.load()
        upright = _upright(image)
        if upright.mode.startswith("I"):
            # Not `>> 8`: white (65535) must become 255, and every value the nearest 8-bit one.
            values = np.clip(np.asarray(upright, dtype=np.int64), 0, 65535)
            return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
        if upright.mode == "F":
            return Image.fromarray(_float_to_uint8(np.asarray(upright))).convert("RGB")
        if upright.has_transparency_data:
            layer = upright.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        if upright.mode == "LAB":
            from PIL import ImageCms

            profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(upright, *profiles, outputMode="RGB")
        return upright.convert("RGB")


@contextlib.contextmanager
def _decoding(name: str) -> Iterator[None]:
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


def _float_to_uint8(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise MediaError("A picture of floats holds NaN or infinity; give finite values.")
    scale = 255.0 if values.max() <= 1 else 1.0
    return np.round(np.clip(values * scale, 0, 255)).astype(np.uint8)


# --------------------------------------------------------------------------------------------------------- clips
class Clip:
    """A video whose frames are decoded when asked for. Built by [`load_media`]. Use one from one thread at a time.

    Attributes:
        num_frames (`int`): frames that can be decoded, at least 1, whatever the container claims.
        fps (`float`): average frames a second, positive.
        width (`int`): pixels, after rotation.
        height (`int`): pixels, after rotation.
        name (`str`): what error messages call it.
    """

    def __init__(self, source: Any, name: str) -> None:
        self._source = source
        self.name = name
        self.num_frames: int = source.num_frames
        self.fps = float(source.fps) if source.fps and math.isfinite(source.fps) and source.fps > 0 else DEFAULT_FPS
        self.width: int = source.width
        self.height: int = source.height

    def __len__(self) -> int:
        return self.num_frames

    def __repr__(self) -> str:
        return f"Clip({self.name}: {self.num_frames} frames, {self.width}x{self.height}, {self.fps:.6g} fps)"

    def get_frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decodes some frames.

        Args:
            indices (`Sequence[int]`): frame numbers in [0, num_frames), in any order, repeats allowed.

        Returns:
            `np.ndarray`: uint8 `[len(indices), height, width, 3]`, RGB, in the order asked for.

        Raises:
            IndexError: if an index is out of range.
            MediaError: if a frame is damaged.
        """
        wanted, places = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        frames = np.empty((len(wanted), self.height, self.width, 3), dtype=np.uint8)
        for place, frame in enumerate(self.iter_frames(wanted)):
            frames[place] = frame
        return frames if np.array_equal(places, np.arange(len(wanted))) else frames[places]

    def iter_frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """Like [`get_frames`] for indices in strictly rising order, one uint8 `[height, width, 3]` at a time."""
        wanted = [int(index) for index in indices]
        if wanted and (min(wanted) < 0 or max(wanted) >= self.num_frames):
            raise IndexError(
                f"{self.name} has frames 0 to {self.num_frames - 1}, asked for {min(wanted)} to {max(wanted)}."
            )
        done = 0
        try:
            for frame in self._source.frames(wanted):
                yield frame
                done += 1
            return
        except Exception as error:  # Each decoder has its own error types; all mean that a frame cannot be had.
            spare = self._source.spare()
            if spare is None or spare.num_frames != self.num_frames:
                raise MediaError(
                    f"{self.name} is damaged at frame {wanted[done]} or after ({error}); re-encode it or cut it there."
                ) from error
        self._source = spare
        yield from self.iter_frames(wanted[done:])


class _ArraySource:
    def __init__(self, frames: np.ndarray, fps: float) -> None:
        self._frames, self.fps = frames, fps
        self.num_frames, self.height, self.width = frames.shape[:3]

    def spare(self) -> None:
        return None

    def frames(self, indices: list[int]) -> Iterator[np.ndarray]:
        yield from (self._frames[index] for index in indices)


class _PillowSource(_ArraySource):
    """Animated GIF, WebP, PNG, AVIF. Decoded once on opening to count honestly, and from the start at each read."""

    def __init__(self, file: str | bytes) -> None:
        self._file = file
        with Image.open(_stream(file)) as image:
            self.width, self.height = image.size
            durations_s = list(_play(image))
        self.num_frames, self.fps = len(durations_s), len(durations_s) / sum(durations_s)

    def frames(self, indices: list[int]) -> Iterator[np.ndarray]:
        with Image.open(_stream(self._file)) as image:
            for index in indices:
                image.seek(index)
                yield np.asarray(to_rgb(image))


def _count_frames(image: Image.Image) -> int:
    try:
        return getattr(image, "n_frames", 1)
    except Exception as error:  # See _decoding. More frames begin than are there to read; _play finds out how many.
        logger.debug("%s does not count its frames: %s", describe_item(image), error)
        return sys.maxsize


def _play(image: Image.Image) -> Iterator[float]:
    """Goes through an animation frame by frame; yields how long each frame shows, in seconds."""
    for index in range(_count_frames(image)):
        try:
            image.seek(index)
            image.load()
        except Exception as error:  # See _decoding: a damaged file makes Pillow raise almost any type.
            if index == 0:
                raise
            logger.warning("%s ends early, after %d frames (%s).", describe_item(image), index, error)
            return
        duration_ms = image.info.get("duration", 0)
        yield (duration_ms if duration_ms > 10 else 100) / 1000  # As browsers play it.


class _DecordSource:
    def __init__(self, file: str | bytes, decoders: dict[str, Any]) -> None:
        decord, self._file, self._decoders = decoders["decord"], file, decoders
        # Any frame that decord would silently replace by a copy of its neighbour is an error instead.
        self._reader = decord.VideoReader(_stream(file), num_threads=0, fault_tol=1e-6)
        self.num_frames = len(self._reader)
        if self._reader.get_key_indices()[0] != 0:
            raise ValueError("it does not start with a key frame")
        stamps_s = self._reader.get_frame_timestamp(list(range(self.num_frames)))[:, 0]
        if stamps_s[0] < -60 or (np.diff(stamps_s) <= 0).any():  # Without sound time stamps it seeks to wrong frames.
            raise ValueError("its time stamps are not in order")
        self.height, self.width = self._get([self.num_frames - 1]).shape[1:3]
        self.fps = self._reader.get_avg_fps()

    def spare(self) -> "_AvSource | None":
        if "av" not in self._decoders:
            return None
        try:
            return _AvSource(self._file, self._decoders)
        except Exception as error:  # The first decoder's complaint is the one to report.
            logger.debug("PyAV cannot read it either: %s", error)
            return None

    def _get(self, indices: list[int]) -> np.ndarray:
        batch = self._reader.get_batch(indices)
        return batch.asnumpy() if hasattr(batch, "asnumpy") else np.asarray(batch)  # decord.bridge may be set.

    def frames(self, indices: list[int]) -> Iterator[np.ndarray]:
        for start in range(0, len(indices), 8):
            yield from self._get(indices[start : start + 8])


class _AvSource:
    """PyAV. Frames are found by time stamp; the file is opened anew at each read."""

    def __init__(self, file: str | bytes, decoders: dict[str, Any]) -> None:
        self._file, self._av = file, decoders["av"]
        self.height = self.width = 0
        with self._av.open(_stream(file)) as container:
            stream = self._video_stream(container)
            self.fps = stream.average_rate or stream.guessed_rate
            packets = [(packet.pts, packet.is_keyframe) for packet in container.demux(stream) if packet.size]
            stamps = [stamp for stamp, _ in packets]
            # Where to seek to. Other containers have no index, and may call every frame a key frame.
            indexed = {"mp4", "matroska", "avi"} & set(container.format.name.split(","))
            self._keys = sorted(stamp for stamp, is_key in packets if is_key and stamp is not None) if indexed else []
        self._stamped = None not in stamps and len(set(stamps)) == len(stamps)
        self._stamps = sorted(stamps) if self._stamped else []
        if not self._stamps or not self._has([0, len(stamps) - 1]):
            # The container does not tell the truth about its frames: count by decoding all of them.
            with self._av.open(_stream(file)) as container:
                self._stamps = [frame.pts for frame in self._decode(container, self._video_stream(container), None)]
            if self._stamped:
                self._stamps.sort()
        self.num_frames = len(self._stamps)
        if self.num_frames == 0:
            raise ValueError("it holds no frame that can be decoded")
        self.height, self.width = next(iter(self.frames([0]))).shape[:2]

    def spare(self) -> None:
        return None

    @staticmethod
    def _video_stream(container: Any) -> Any:
        streams = [s for s in container.streams.video if not int(s.disposition) & 0x400]  # 0x400: a cover picture.
        if not streams:
            raise ValueError("it holds no video stream")
        streams[0].thread_type = "AUTO"
        return streams[0]

    def _has(self, indices: list[int]) -> bool:
        try:
            return all(True for _ in self.frames(indices))
        except (self._av.FFmpegError, LookupError):
            return False

    def _decode(self, container: Any, stream: Any, start: int | None) -> Iterator[Any]:
        if start is not None:
            container.seek(start, stream=stream)
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except self._av.FFmpegError as error:  # One bad packet; the frames asked for may lie elsewhere.
                logger.debug("Packet at %s: %s", packet.pts, error)

    def frames(self, indices: list[int]) -> Iterator[np.ndarray]:
        with self._av.open(_stream(self._file)) as container:
            stream = self._video_stream(container)
            decoded, position, after = None, 0, -math.inf
            for done, index in enumerate(indices):
                if self._stamped:
                    target = self._stamps[index]
                    key = self._keys[max(bisect.bisect_right(self._keys, target) - 1, 0)] if self._keys else None
                    if decoded is None or (key is not None and key > after):
                        decoded = self._decode(container, stream, key)
                    frame = next((f for f in decoded if f.pts is not None and f.pts >= target), None)
                    frame, after = (None if frame is None or frame.pts != target else frame), target
                else:
                    decoded = self._decode(container, stream, None) if decoded is None else decoded
                    frame = next((f for number, f in enumerate(decoded, position) if number == index), None)
                    position = index + 1
                if frame is None and self._stamped and self._keys:
                    self._keys = []  # Seeking may have overshot: go on without it, from the start.
                    yield from self.frames(indices[done:])
                    return
                if frame is None:
                    raise LookupError(f"frame {index} is missing")
                yield self._to_array(frame)

    def _to_array(self, frame: Any) -> np.ndarray:
        turns = round(frame.rotation / 90)
        size = (self.height, self.width) if turns % 2 else (self.width, self.height)
        if self.width and size != (frame.width, frame.height):  # Some streams change size half-way.
            frame = frame.reformat(width=size[0], height=size[1])
        return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


def _stream(file: str | bytes) -> str | io.BytesIO:
    return io.BytesIO(file) if isinstance(file, bytes) else file


def _decoders() -> dict[str, Any]:
    """The video decoders that are installed, the preferred one first."""
    found: dict[str, Any] = {}
    try:
        import decord

        found["decord"] = decord
    except (ImportError, OSError) as error:  # OSError: installed, but a system library is missing.
        logger.debug("decord is not usable: %s", error)
    try:
        import av

        found["av"] = av
    except (ImportError, OSError) as error:
        logger.debug("PyAV is not usable: %s", error)
    return found


def _video_format(head: bytes) -> str | None:
    """Names the container by its first bytes; `None` if they are not those of a video.

    Decoders are not asked to guess: FFmpeg takes playlists (and fetches what they name) and even plain text for video.
    """
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        still = head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"hevc")
        return None if still else "mp4"
    if head[:4] == b"RIFF":
        return "avi" if head[8:12] == b"AVI " else None
    if head[:1] == b"\x47" and head[188:189] == b"\x47" or head[4:5] == b"\x47" and head[196:197] == b"\x47":
        return "mpegts"
    signatures = {
        b"\x1aE\xdf\xa3": "matroska",
        b"\x00\x00\x01\xba": "mpeg",
        b"\x00\x00\x01\xb3": "mpeg",
        b"FLV\x01": "flv",
        b"OggS": "ogg",
        b"0&\xb2u": "asf",
        b"DKIF": "ivf",
        b"YUV4MPEG2 ": "yuv4mpeg",
        b"\x06\x0e+4": "mxf",
        b"\x00\x00\x00\x01\x67": "h264",
        b"\x00\x00\x01\x67": "h264",
        b"\x00\x00\x00\x01\x40": "hevc",
    }
    return next((name for magic, name in signatures.items() if head.startswith(magic)), None)


def _open_video(file: str | bytes, name: str, container: str) -> Clip:
    decoders = _decoders()
    if not decoders:
        raise MediaError(f"{name} is a video, and no decoder is installed; `pip install decord2` or `pip install av`.")
    complaint: Exception | None = None
    if "decord" in decoders and container in (
        "mp4",
        "matroska",
        "avi",
    ):  # In others it miscounts and misplaces frames.
        try:
            return Clip(_DecordSource(file, decoders), name)
        except Exception as error:  # decord raises RuntimeError, DECORDError, AssertionError...
            logger.debug("decord refuses %s: %s", name, error)
            complaint = error
    if "av" in decoders:
        try:
            return Clip(_AvSource(file, decoders), name)
        except Exception as error:  # PyAV raises FFmpegError, ValueError, MemoryError...
            complaint = error
    hint = "" if "av" in decoders else " `pip install av` reads more kinds of video."
    reason = str(complaint).splitlines()[0] if complaint else f"decord does not read {container} reliably"
    raise MediaError(f"{name} is a video that cannot be decoded ({reason}); re-encode it or get a whole copy.{hint}")


# ------------------------------------------------------------------------------------------------------- loading
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
    if isinstance(item, Image.Image):
        with _decoding(describe_item(item)):
            return _from_pillow(item, item, describe_item(item), max_pixels)
    if hasattr(item, "get_frames") and hasattr(item, "num_frames"):  # A Clip, perhaps of another copy of this module.
        return item
    name = describe_item(item)
    if isinstance(item, np.ndarray | torch.Tensor):
        frames = _array_to_frames(item, name)
        return Image.fromarray(frames[0]) if item.ndim < 4 else Clip(_ArraySource(frames, fps), name)
    if isinstance(item, list | tuple):
        return Clip(_ArraySource(_list_to_frames(item, name, max_pixels), fps), name)
    if isinstance(item, dict):
        if item.get("bytes") is None and item.get("path") is None:
            raise MediaError(f"{name} has neither 'bytes' nor 'path'; give one.")
        item = item["path"] if item.get("bytes") is None else item["bytes"]
    if isinstance(item, str) and _URL.match(item):
        if not allow_url:
            raise MediaError(f"{name} is an address; download it first (in Python, allow_url=True fetches it).")
        return _from_file(_download(item, name), name, max_pixels)
    if isinstance(item, bytes | bytearray | memoryview):
        return _from_file(bytes(item), name, max_pixels)
    if isinstance(item, str | Path):
        return _from_file(str(item), name, max_pixels)
    raise MediaError(f"{name} is not something to load; give a file, bytes, a picture, an array or a list of frames.")


def describe_item(item: Any) -> str:
    """Names an item for a message: its file name where it has one, else its kind and size."""
    if isinstance(item, dict):
        data, path = item.get("bytes"), item.get("path")
        return repr(str(path)) if path else describe_item(data) if data else f"a dict with keys {list(item)}"
    if isinstance(item, str | Path):
        text = str(item)
        return repr(text if len(text) <= 300 else f"{text[:297]}...")
    if isinstance(item, bytes | bytearray | memoryview):
        return f"<{len(item)} bytes>"
    if isinstance(item, Image.Image):
        return (
            repr(item.filename) if getattr(item, "filename", "") else f"<{item.mode} image {item.width}x{item.height}>"
        )
    if isinstance(item, np.ndarray | torch.Tensor):
        return f"<{str(item.dtype).removeprefix('torch.')} array {list(item.shape)}>"
    if isinstance(item, list | tuple):
        return f"<list of {len(item)}>"
    return getattr(item, "name", None) or f"<{type(item).__name__}>"


def _from_file(file: str | bytes, name: str, max_pixels: int) -> Image.Image | Clip:
    try:
        if isinstance(file, bytes):
            head = file[:512]
        else:
            with open(file, "rb") as stream:
                head = stream.read(512)
    except FileNotFoundError as error:
        raise MediaError(f"{name} does not exist; check the path.") from error
    except IsADirectoryError as error:
        raise MediaError(f"{name} is a folder; give the files in it one by one.") from error
    except (OSError, ValueError) as error:
        raise MediaError(f"{name} cannot be opened ({error}); check the path and its permissions.") from error
    if not head:
        raise MediaError(f"{name} is empty (0 bytes); get a whole copy of it.")
    container = _video_format(head)
    if container is not None:
        clip = _open_video(file, name, container)
        _check_size(clip.width, clip.height, name, max_pixels)
        return clip
    with _decoding(name):
        try:
            with Image.open(_stream(file)) as image:
                return _from_pillow(image, file, name, max_pixels)
        except UnidentifiedImageError as error:
            hint = "give a PNG, JPEG, WebP, MP4, WebM or the like"
            if head[4:8] == b"ftyp":
                hint = "for HEIC, `pip install pillow-heif` and call its register_heif_opener()"
            raise MediaError(f"{name} is not a picture or video this library knows; {hint}.") from error


def _from_pillow(image: Image.Image, file: Any, name: str, max_pixels: int) -> Image.Image | Clip:
    _check_size(image.width, image.height, name, max_pixels)
    if image.format in _REFUSED_FORMATS:
        raise MediaError(f"{name} is {image.format}, a drawing and not a picture; convert it to PNG.")
    if image.format not in _ANIMATED_FORMATS or _count_frames(image) == 1:
        return to_rgb(image)
    if isinstance(file, str | bytes):
        return Clip(_PillowSource(file), name)
    position, frames, durations_s = image.tell(), [], []
    for duration_s in _play(image):  # The file behind it may go away: read it all now.
        frames.append(np.asarray(to_rgb(image)))
        durations_s.append(duration_s)
    image.seek(position)
    return Clip(_ArraySource(np.stack(frames), len(frames) / sum(durations_s)), name)


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise MediaError(
            f"{name} is too large: {width}x{height}, over {max_pixels} pixels; shrink it or raise max_pixels."
        )


def _array_to_frames(item: np.ndarray | torch.Tensor, name: str) -> np.ndarray:
    """An array or tensor of a picture or clip -> uint8 `[T, H, W, 3]`."""
    if isinstance(item, torch.Tensor):
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
        if not (frames.min() >= -1e-3 and frames.max() <= 1 + 1e-3):  # False on NaN, too.
            raise MediaError(
                f"{name} has values from {frames.min():.6g} to {frames.max():.6g}; give floats in [0, 1]."
            )
        frames = _float_to_uint8(np.clip(frames, 0, 1))
    elif frames.dtype == bool:
        frames = frames.astype(np.uint8) * 255
    elif frames.dtype != np.uint8:
        raise MediaError(f"{name} must be uint8 in [0, 255], uint16 in [0, 65535] or floats in [0, 1]; convert it.")
    if frames.shape[-1] == 3:
        return np.ascontiguousarray(frames)
    single = frames.shape[-1] == 1
    return np.stack([np.asarray(to_rgb(Image.fromarray(frame[..., 0] if single else frame))) for frame in frames])


def _list_to_frames(items: Sequence[Any], name: str, max_pixels: int) -> np.ndarray:
    frames = []
    for index, item in enumerate(items):
        frame = (
            load_media(item, max_pixels=max_pixels)
            if isinstance(item, Image.Image | np.ndarray | torch.Tensor)
            else None
        )
        if not isinstance(frame, Image.Image):
            raise MediaError(
                f"Item {index} of {name} is {describe_item(item)}; frames must be single Pillow images or arrays."
            )
        if frames and frame.size != frames[0].size:
            raise MediaError(
                f"Frame {index} of {name} is {frame.size}, frame 0 is {frames[0].size}; resize them alike."
            )
        frames.append(frame)
    if not frames:
        raise MediaError(f"{name} holds no frames; give at least one.")
    return np.stack([np.asarray(frame) for frame in frames])


def _download(url: str, name: str) -> bytes:
    if not url.lower().startswith(("http://", "https://")):
        raise MediaError(f"{name} is not an http or https address; download it yourself and give the file.")
    opener = urllib.request.OpenerDirector()  # Not build_opener(): a redirect must not lead to file:// or ftp://.
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "modeling-vital"})
        with opener.open(request, timeout=URL_TIMEOUT_S) as response:
            data = response.read(MAX_URL_BYTES + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise MediaError(f"{name} cannot be downloaded ({error}); check the address.") from error
    if len(data) > MAX_URL_BYTES:
        raise MediaError(f"{name} is over {MAX_URL_BYTES // 2**20} MB; download it yourself and give the file.")
    return data
