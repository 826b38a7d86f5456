"""Video files to clips, by the decoders that are installed."""

import bisect
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .clip_vital import Clip, as_stream
from .media_error_vital import MediaError
from .video_backend_vital import MODULES, missing, set_video_backend, video_backend


logger = logging.getLogger(__name__)


MAX_FRAME_PIXELS = 8192 * 4320
"""Pixels of one frame of a clip at most: a decoder holds a dozen frames, so they are less than a picture's."""

_INDEXED = ("mp4", "matroska", "avi")  # Containers that say where their frames are.
_SEEK_BEFORE_S = (0, 2, 10)


def _frame_rate(stated: Any, stamps_s: Sequence[float]) -> Any:
    """Frames a second as the container states them, unless the time stamps say something else altogether.

    Recordings of browsers state none, and 1000 is then told for them.
    """
    length_s = stamps_s[-1] - stamps_s[0]
    if not stated or length_s <= 0:
        return stated
    shown = (len(stamps_s) - 1) / length_s
    return stated if 2 / 3 < shown / float(stated) < 3 / 2 else shown


class _DecordSource:
    backend = "decord"

    def __init__(self, file: str | bytes, decoders: dict[str, Any]) -> None:
        decord, self._file, self._decoders = decoders["decord"], file, decoders
        # Any frame that decord would silently replace by a copy of its neighbour is an error instead.
        self._reader = decord.VideoReader(as_stream(file), num_threads=0, fault_tol=1e-6)
        self.num_frames = len(self._reader)
        if self._reader.get_key_indices()[0] != 0:
            raise ValueError("it does not start with a key frame")
        stamps_s = self._reader.get_frame_timestamp(list(range(self.num_frames)))[:, 0]
        if stamps_s[0] < -60 or (np.diff(stamps_s) <= 0).any():  # Without sound time stamps it seeks to wrong frames.
            raise ValueError("its time stamps are not in order")
        self.height, self.width = self._get([self.num_frames - 1]).shape[1:3]
        self.fps = _frame_rate(self._reader.get_avg_fps(), stamps_s)

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
    """PyAV. Frames are found by time stamp; the file is opened anew at each read.

    Reads are by seeking where that gives the frames that decoding from the start gives, which each read checks:
    packets before the key frame sought are dropped, and a frame counts by its time stamp only. Where it does not, one
    pass from the start finds all frames asked for.
    """

    backend = "pyav"

    def __init__(self, file: str | bytes, decoders: dict[str, Any]) -> None:
        self._file, self._av = file, decoders["av"]
        self.height = self.width = 0
        with self._av.open(as_stream(file)) as container:  # Reads the file once, and decodes nothing.
            stream = self._video_stream(container)
            self.fps, time_base = stream.average_rate or stream.guessed_rate, stream.time_base
            packets = [
                (packet.pts, packet.is_keyframe, packet.size) for packet in container.demux(stream) if packet.size
            ]
        stamps = [stamp for stamp, *_ in packets]
        self._stamped = None not in stamps and len(set(stamps)) == len(stamps)
        self._keys = sorted(stamp for stamp, is_key, _ in packets if is_key) if self._stamped else []
        self._sizes = {stamp: size for stamp, _, size in packets}
        self._stamps = sorted(stamps) if self._stamped else []
        if not self._stamps or not self._has([0, len(stamps) - 1]):
            # The container does not tell the truth about its frames: count by decoding all of them.
            with self._av.open(as_stream(file)) as container:
                self._stamps = [frame.pts for frame in self._decode(container, self._video_stream(container))]
            if self._stamped:
                self._stamps.sort()
        self.num_frames = len(self._stamps)
        if self.num_frames == 0:
            raise ValueError("it holds no frame that can be decoded")
        if self._stamped:
            self.fps = _frame_rate(self.fps, [float(stamp * time_base) for stamp in self._stamps])
        self.height, self.width = next(iter(self.frames([0]))).shape[:2]

    def spare(self) -> None:
        return None

    @staticmethod
    def _video_stream(container: Any) -> Any:
        streams = [s for s in container.streams.video if not int(s.disposition) & 0x400]  # 0x400: a cover picture.
        if not streams:
            raise ValueError("it holds no video stream")
        streams[0].thread_type = "AUTO"
        # The decoder's own limit holds for streams, too, that grow behind their head.
        streams[0].codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
        return streams[0]

    def _has(self, indices: list[int]) -> bool:
        try:
            return all(True for _ in self.frames(indices))
        except (self._av.FFmpegError, LookupError):
            return False

    def _decode(self, container: Any, stream: Any, key: int | None = None) -> Iterator[Any]:
        """Frames from the start, or from the key frame with this time stamp; none if seeking does not find it."""
        packets = container.demux(stream) if key is None else self._packets_from(container, stream, key)
        for packet in packets:
            try:
                yield from stream.codec_context.decode(packet)
            except self._av.FFmpegError as error:  # One bad packet; the frames asked for may lie elsewhere.
                logger.debug("Packet at %s: %s", packet and packet.pts, error)

    def _packets_from(self, container: Any, stream: Any, key: int) -> Iterator[Any]:
        """Packets from a key frame on, as long as each has the time stamp that it has when the file is read through.

        Containers without an index are sought in by guessing, which may land behind; and where not every frame has a
        time stamp of its own, those after a seek are guessed, too. A packet is known by its size.
        """
        for before_s in _SEEK_BEFORE_S:
            container.seek(key - round(before_s / stream.time_base), stream=stream)
            packets = (packet for packet in container.demux(stream) if packet.size)
            first = next((p for p in packets if p.is_keyframe and p.pts is not None and p.pts >= key), None)
            if first is not None and first.pts == key and first.size == self._sizes[key]:
                yield first
                for packet in packets:
                    if self._sizes.get(packet.pts) != packet.size:
                        return
                    yield packet
                yield None  # the end: what the decoder still holds comes out
                return

    def frames(self, indices: list[int]) -> Iterator[np.ndarray]:
        with self._av.open(as_stream(self._file)) as container:
            stream = self._video_stream(container)
            decoded, position, after = None, 0, -math.inf
            for done, index in enumerate(indices):
                if self._stamped:
                    target = self._stamps[index]
                    key = self._keys[max(bisect.bisect_right(self._keys, target) - 1, 0)] if self._keys else None
                    if decoded is None or (key is not None and key > after):
                        decoded = self._decode(container, stream, key)
                    frame = next((f for f in decoded if f.pts is not None and f.pts >= target), None)
                    sound = frame is not None and frame.pts == target and not (self._keys and frame.is_corrupt)
                    frame, after = (frame if sound else None), target
                else:
                    decoded = self._decode(container, stream) if decoded is None else decoded
                    frame = next((f for number, f in enumerate(decoded, position) if number == index), None)
                    position = index + 1
                if frame is None and self._keys:
                    logger.debug("Seeking does not find frame %d; read from the start.", index)
                    self._keys = []
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


def _chosen(decoders: dict[str, Any], name: str) -> tuple[dict[str, Any], str | None]:
    """The decoders that are set for this process, of those installed; and the backend, where it is one alone."""
    backend = video_backend()
    if backend == "auto":
        return decoders, None
    try:
        set_video_backend(backend)  # the variable may hold anything
        if MODULES[backend] not in decoders:
            raise ValueError(missing(backend))
    except ValueError as error:
        raise MediaError(f"{name} is a video and cannot be read. {error}") from error
    return {MODULES[backend]: decoders[MODULES[backend]]}, backend


def video_format(head: bytes) -> str | None:
    """Names the container by its first bytes; `None` if they are not those of a video.

    Decoders are not asked to guess: FFmpeg takes playlists (and fetches what they name) and even plain text for video.
    """
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        still = head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"hevc")
        return None if still else "mp4"
    if head[:4] == b"RIFF":
        return "avi" if head[8:12] == b"AVI " else None
    # Three sync bytes, of packets with a time stamp before them or without: GIF begins with one, too.
    if any(head[start : start + 2 * size + 1 : size] == b"\x47" * 3 for start, size in ((0, 188), (4, 192))):
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


def check_frame_size(width: int, height: int, name: str) -> None:
    """Refuses a clip with frames over `MAX_FRAME_PIXELS`.

    Raises:
        MediaError: see above.
    """
    if width * height > MAX_FRAME_PIXELS:
        raise MediaError(
            f"{name} is too large: a clip of {width}x{height}, over {MAX_FRAME_PIXELS} pixels a frame; shrink it."
        )


def _check_head(av: Any, file: str | bytes, name: str) -> float | None:
    """Looks at the size that the head tells, before anything is decoded; returns the length it tells, seconds."""
    try:
        with av.open(as_stream(file)) as container:
            for stream in container.streams.video:
                check_frame_size(stream.width, stream.height, name)
            return _promised_s(container)
    except MediaError:
        raise
    except Exception as error:  # The decoders say what is wrong with it.
        logger.debug("PyAV cannot open %s: %s", name, error)
        return None


def _promised_s(container: Any) -> float | None:
    """Seconds that the container says its video is long; `None` where it does not say."""
    stream = _AvSource._video_stream(container)
    rate, found = stream.average_rate or stream.guessed_rate, []
    if stream.frames and rate:
        found.append(float(stream.frames / rate))
    if stream.duration is not None:
        found.append(float(stream.duration * stream.time_base))
    elif container.duration is not None:
        found.append(container.duration / 1e6)
    return max(found, default=None)


def slowness(item: Any) -> str:
    """Explains why reading an item may have taken too long, and what to do about it: the end of a message.

    Args:
        item: a media item; a file is looked at by its first bytes.
    """
    if isinstance(item, dict):
        item = item.get("bytes") or item.get("path")
    try:
        if isinstance(item, bytes):
            head = item[:512]
        else:
            with open(item, "rb") as file:
                head = file.read(512)
        container = video_format(head)
    except (OSError, TypeError, ValueError):
        container = None
    if container is None or container in _INDEXED:
        return "the decoder hangs or the item is too large; re-encode it, or allow more time."
    return (
        f"a clip in {container} has no index, so it is read through once, and that takes the longer the longer it is; "
        "re-encode it to MP4, or allow more time."
    )


def open_video(file: str | bytes, name: str, container: str) -> Clip:
    decoders = _decoders()
    if not decoders:
        raise MediaError(f"{name} is a video, and no decoder is installed; `pip install decord2` or `pip install av`.")
    promised_s = _check_head(decoders["av"], file, name) if "av" in decoders else None
    decoders, only = _chosen(decoders, name)
    complaint: Exception | None = None
    # In others it miscounts and misplaces frames, and an AVI with a damaged header ends the process.
    if "decord" in decoders and container in ("mp4", "matroska"):
        try:
            clip = Clip(_DecordSource(file, decoders), name)
            clip.check_whole(promised_s)
            return clip
        except Exception as error:  # decord raises RuntimeError, DECORDError, AssertionError...
            logger.debug("decord refuses %s: %s", name, error)
            complaint = error
    if "av" in decoders:
        try:
            clip = Clip(_AvSource(file, decoders), name)
            clip.check_whole(promised_s)
            return clip
        except Exception as error:  # PyAV raises FFmpegError, ValueError, MemoryError...
            complaint = error
    hint = "" if "av" in decoders else " `pip install av` reads more kinds of video."
    if only is not None:
        hint = f" Or take the video backend 'auto': with {only!r} no other decoder is tried."
    reason = str(complaint).splitlines()[0] if complaint else f"decord does not read {container} reliably"
    raise MediaError(f"{name} is a video that cannot be decoded ({reason}); re-encode it or get a whole copy.{hint}")
