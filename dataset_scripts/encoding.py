"""Reading, shrinking and storing of media: the bytes that are published are those that annotators score."""

import io
from fractions import Fraction

import cv2
import numpy as np
from PIL import Image

from modeling_vital.media_vital import Clip, load_media


IMAGE_SUFFIX, CLIP_SUFFIX = ".webp", ".mp4"


def encode_image(pixels: np.ndarray) -> bytes:
    """Lossless WebP of RGB uint8 `[H, W, 3]`: a sixth smaller than PNG in the same time."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=20, method=1)
    return buffer.getvalue()


def encode_clip(frames: np.ndarray, fps: float, crf: int) -> bytes:
    """H.264 in MP4.

    Args:
        frames (`np.ndarray` of shape `[T, H, W, 3]`): RGB uint8, even sides.
        fps (`float`): frames a second.
        crf (`int`): constant rate factor, 0 (best) .. 51.

    Returns:
        `bytes`: the file, the same for the same frames: one thread, and cpu-independent (see `distortions.video`).
    """
    import av  # here, as in distortions/video.py

    buffer = io.BytesIO()
    rate = Fraction(fps).limit_denominator(1001)
    options = {"crf": str(crf), "preset": "veryfast", "x264-params": "log=-1:cpu-independent=1"}
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode(data: bytes) -> np.ndarray:
    """Pixels of a stored picture `[H, W, 3]` or clip `[T, H, W, 3]`, RGB uint8.

    Raises:
        MediaError: it cannot be read.
    """
    media = load_media(data)
    return media.get_frames(range(media.num_frames)) if isinstance(media, Clip) else np.asarray(media)


def shrink_image(image: Image.Image, long_side: int) -> np.ndarray:
    """RGB uint8 `[H, W, 3]`, at most `long_side` pixels long; never enlarged."""
    image = image.copy()
    image.thumbnail((long_side, long_side), Image.Resampling.LANCZOS, reducing_gap=3)
    return np.asarray(image)


def shrink_clip(clip: Clip, long_side: int, max_frames: int) -> np.ndarray:
    """The middle of a clip: uint8 `[T, H, W, 3]`, T at most `max_frames`, even sides of at most `long_side` pixels.

    Raises:
        MediaError: a frame is damaged.
    """
    first = max(0, (clip.num_frames - max_frames) // 2)
    scale = min(1.0, long_side / max(clip.height, clip.width))
    # Even sides: colour is stored at half the resolution.
    width, height = (max(2, round(side * scale / 2) * 2) for side in (clip.width, clip.height))
    indices = range(first, min(first + max_frames, clip.num_frames))
    return np.stack(
        [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in clip.iter_frames(indices)]
    )
