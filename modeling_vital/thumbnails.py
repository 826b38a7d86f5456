"""Small pictures of files, as data URIs."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .clip_vital import Clip
from .media_vital import MediaError, load_media


@dataclass(frozen=True)
class Picture:
    """A small picture to be made.

    Attributes:
        file (`str`): a picture or a clip.
        side (`int`): longer side at most, pixels.
        frame (`int`, *optional*): which frame of a clip; the middle one by default.
    """

    file: str
    side: int
    frame: int | None = None


class WatchedClip(Clip):
    """A clip that keeps one frame while others are decoded, so that it is not decoded for that frame again.

    Args:
        clip (`Clip`): what to read from; not to be used besides.
        frame (`int`): number of the frame.

    Attributes:
        kept (`np.ndarray` of shape `(height, width, 3)`): the frame, uint8, once others were decoded.
    """

    def __init__(self, clip: Clip, frame: int) -> None:
        super().__init__(clip._source, clip.name)
        self._frame = frame

    def iter_frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[np.ndarray]:
        """See [`Clip.iter_frames`]."""
        asked = {int(index) for index in indices}
        wanted = sorted(asked | {self._frame})
        for index, frame in zip(wanted, super().iter_frames(wanted), strict=True):
            if index == self._frame:
                self.kept = frame
            if index in asked:
                yield frame


def data_uri(picture: Image.Image, side: int) -> str:
    """A small picture as a data URI with a WebP in it.

    Args:
        picture (`PIL.Image.Image`): of any size.
        side (`int`): longer side at most, pixels.
    """
    small = picture.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=60)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def thumbnail(path: str, side: int, frame: int | None = None) -> str | None:
    """Makes a small picture of a file.

    Args:
        path (`str`): a picture or a clip.
        side (`int`): longer side at most, pixels.
        frame (`int`, *optional*): which frame of a clip; the middle one by default.

    Returns:
        `str`, *optional*: see [`data_uri`]; `None` for what cannot be read (any more).
    """
    try:
        media = load_media(path)
        if not isinstance(media, Image.Image):
            media = Image.fromarray(media.get_frames([middle(media) if frame is None else frame])[0])
    except MediaError:
        return None
    return data_uri(media, side)


def middle(clip: Clip) -> int:
    """Number of the frame that stands for a clip."""
    return clip.num_frames // 2


def load_picture(picture: Picture) -> str | None:
    """Makes a small picture; a `load` for [`modeling_vital.reading.read_ahead`], in a module that needs no torch."""
    return thumbnail(picture.file, picture.side, picture.frame)


__all__ = ["Picture", "WatchedClip", "data_uri", "load_picture", "middle", "thumbnail"]
