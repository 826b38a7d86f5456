"""Video distortions: real H.264 and H.265 compression, held frames, flicker, noise bursts, quality switches.

Every function takes and returns an RGB clip, `uint8 [T, H, W, 3]`, keeps the number of frames and leaves its input as
it was.
"""

from fractions import Fraction

import cv2
import numpy as np

from dataset_scripts.distortions.noise import white_noise


# libx265 refuses very small pictures, and both codecs want even sides for colour at half resolution. The clip is
# padded by its own rim to a multiple of 8 (the smallest coding unit) and cropped back.
_LEAST_CODED_SIDE = 64
_CODED_MULTIPLE = 8
_GOOD_CRF = 20
_SEGMENT_SECONDS = 0.5

# One thread each: results do not depend on the machine, and many workers share it. Both codecs may write to stderr
# unless told not to.
# cpu-independent: without it libx264's results depend on where its buffers lie in memory, even on one thread.
_ENCODERS = {
    "libx264": ("h264", {"preset": "veryfast", "x264-params": "log=-1:cpu-independent=1"}),
    "libx265": ("hevc", {"preset": "veryfast", "x265-params": "log-level=none:pools=none:frame-threads=1"}),
}


def _pad_to_coded(frames: np.ndarray) -> np.ndarray:
    def coded(side: int) -> int:
        return max(_LEAST_CODED_SIDE, -(-side // _CODED_MULTIPLE) * _CODED_MULTIPLE)

    height, width = frames.shape[1:3]
    bottom, right = coded(height) - height, coded(width) - width
    return np.pad(frames, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge") if bottom or right else frames


def transcode(frames: np.ndarray, encoder: str, crf: int, fps: float) -> np.ndarray:
    """Encodes a clip with a real codec in memory and decodes it.

    Args:
        frames: RGB clip, `uint8 [T, H, W, 3]`.
        encoder: `libx264` or `libx265`.
        crf: constant rate factor, 0 (best)..51.
        fps: frames a second.

    Returns:
        The decoded clip, `uint8 [T, H, W, 3]`.

    Raises:
        RuntimeError: the decoder gave another number of frames than went in.
    """
    decoder, options = _ENCODERS[encoder]
    count, height, width = frames.shape[:3]
    padded = _pad_to_coded(frames)
    rate = Fraction(fps).limit_denominator(1001)
    import av  # here, so that the other distortions need no codec: `make speed-gpu` runs where there is none

    writer = av.CodecContext.create(encoder, "w")
    writer.height, writer.width = padded.shape[1:3]
    writer.pix_fmt = "yuv420p"
    writer.framerate = rate
    writer.time_base = 1 / rate
    writer.thread_count = 1
    writer.options = {**options, "crf": str(crf)}
    reader = av.CodecContext.create(decoder, "r")
    reader.thread_count = 1

    packets = []
    for index, frame in enumerate(padded):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
        picture.pts = index
        picture.time_base = writer.time_base
        packets.extend(writer.encode(picture))
    packets.extend(writer.encode(None))
    decoded = [picture for packet in packets for picture in reader.decode(packet)]
    decoded.extend(reader.decode(None))
    if len(decoded) != count:
        raise RuntimeError(f"{encoder} gave {len(decoded)} frames for {count}: check the installed FFmpeg libraries")
    return np.stack([picture.to_ndarray(format="rgb24")[:height, :width] for picture in decoded])


def h264_compression(frames: np.ndarray, crf: int, rng: np.random.Generator, fps: float) -> np.ndarray:
    """Compresses with H.264 (libx264).

    Args:
        frames: RGB clip, `uint8 [T, H, W, 3]`.
        crf: constant rate factor, 0 (best)..51.
        rng: not used.
        fps: frames a second.

    Returns:
        The decoded clip, `uint8 [T, H, W, 3]`.
    """
    return transcode(frames, "libx264", crf, fps)


def h265_compression(frames: np.ndarray, crf: int, rng: np.random.Generator, fps: float) -> np.ndarray:
    """Compresses with H.265 (libx265).

    Args:
        frames: RGB clip, `uint8 [T, H, W, 3]`.
        crf: constant rate factor, 0 (best)..51.
        rng: not used.
        fps: frames a second.

    Returns:
        The decoded clip, `uint8 [T, H, W, 3]`.
    """
    return transcode(frames, "libx265", crf, fps)


def stutter(frames: np.ndarray, holds: tuple[float, float], rng: np.random.Generator, fps: float) -> np.ndarray:
    """Freezes the picture now and then: groups of frames are replaced by their first one, and the clip then jumps on.

    Args:
        frames: RGB clip, `uint8 [T, H, W, 3]`.
        holds: share of the frames that repeat the one before, in 0..1, and length of one hold in seconds.
        rng: draws where the holds are.
        fps: frames a second.

    Returns:
        The clip with holds, `uint8 [T, H, W, 3]`; with two frames or more at least one frame is repeated.
    """
    share, seconds = holds
    count = len(frames)
    if count < 2:
        return frames.copy()
    repeats = min(count - 1, max(1, round(share * count)))
    longest = max(1, round(seconds * fps))
    pieces = -(-repeats // longest)
    # Holds of nearly equal length, laid out over the clip with the free frames shared at random between them.
    lengths = [repeats // pieces + (index < repeats % pieces) for index in range(pieces)]
    free = count - 1 - repeats
    gaps = np.sort(rng.integers(0, free + 1, pieces))
    source = np.arange(count)
    for index, length in enumerate(lengths):
        first = int(gaps[index]) + sum(lengths[:index])
        source[first + 1 : first + 1 + length] = source[first]
    return frames[source]


def frame_drop_rate(frames: np.ndarray, hold: int, rng: np.random.Generator, fps: float) -> np.ndarray:
    """Lowers the frame rate: one frame in `hold` is kept and shown until the next.

    Args:
        frames: RGB clip, `uint8 [T, H, W, 3]`.
        hold: how many frames show the same picture, at least 2.
        rng: not used.
        fps: not used.

    Returns:
        The clip at `fps / hold`, with the old number of frames, `uint8 [T, H, W, 3]`.
    """
    return frames[np.arange(len(frames)) // hold * hold]


def flicker(frames: np.ndarray, gain: float, rng: np.random.Generator, fps: float) -> np.ndarray:
    """Makes every frame brighter or darker at random.

    Args:
        frames: RGB clip, `uint8 [T, H, W, 3]`.
        gain: a frame is multiplied by `1 + gain` or `1 - gain`, times a draw between one half and 1.
        rng: draws sign and size a frame.
        fps: not used.

    Returns:
        The flickering clip, `uint8 [T, H, W, 3]`.
    """
    count = len(frames)
    changes = rng.choice([-1.0, 1.0], count) * rng.uniform(0.5, 1.0, count) * gain
    return np.stack(
        [cv2.addWeighted(frame, 1.0 + change, frame, 0.0, 0.0) for frame, change in zip(frames, changes, strict=True)]
    )


def temporal_noise(frames: np.ndarray, burst: tuple[float, float], rng: np.random.Generator, fps: float) -> np.ndarray:
    """Puts bursts of white noise on some frames and leaves the others clean.

    Args:
        frames: RGB clip, `uint8 [T, H, W, 3]`.
        burst: share of the frames hit, in 0..1, and variance of the noise for values in 0..1.
        rng: draws the frames and the noise.
        fps: not used.

    Returns:
        The clip with bursts, `uint8 [T, H, W, 3]`; at least one frame is hit.
    """
    share, variance = burst
    hit = rng.permutation(len(frames))[: max(1, round(share * len(frames)))]
    result = frames.copy()
    for index in np.sort(hit):
        result[index] = white_noise(frames[index], variance, rng)
    return result


def bitrate_switch(frames: np.ndarray, crf: int, rng: np.random.Generator, fps: float) -> np.ndarray:
    """Switches between good and bad compression every half second, as adaptive streaming on a poor line does.

    Args:
        frames: RGB clip, `uint8 [T, H, W, 3]`.
        crf: constant rate factor of the bad segments (libx264), 0 (best)..51; the good ones have 20.
        rng: draws whether the clip begins well or badly.
        fps: frames a second.

    Returns:
        The decoded clip, `uint8 [T, H, W, 3]`; a clip of two frames or more holds both kinds of segment.
    """
    count = len(frames)
    # A clip shorter than two segments is cut in half, so that a switch is seen at all.
    length = max(1, min(round(_SEGMENT_SECONDS * fps), count // 2))
    first_bad = int(rng.integers(2)) if count > 1 else 0
    parts = []
    for index, start in enumerate(range(0, count, length)):
        quality = crf if index % 2 == first_bad else _GOOD_CRF
        parts.append(transcode(frames[start : start + length], "libx264", quality, fps))
    return np.concatenate(parts)
