"""Small pictures of files, as data URIs."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

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


def thumbnail(path: str, side: int, frame: int | None = None) -> str | None:
    """Makes a small picture of a file.

    Args:
        path (`str`): a picture or a clip.
        side (`int`): longer side at most, pixels.
        frame (`int`, *optional*): which frame of a clip; the middle one by default.

    Returns:
        `str`, *optional*: a data URI with a WebP in it; `None` for what cannot be read (any more).
    """
    try:
        media = load_media(path)
        if not isinstance(media, Image.Image):
            media = Image.fromarray(media.get_frames([media.num_frames // 2 if frame is None else frame])[0])
    except MediaError:
        return None
    media = media.copy()
    media.thumbnail((side, side))
    buffer = io.BytesIO()
    media.save(buffer, "WEBP", quality=60)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def load_picture(picture: Picture) -> str | None:
    """Makes a small picture; a `load` for [`modeling_vital.reading.read_ahead`], in a module that needs no torch."""
    return thumbnail(picture.file, picture.side, picture.frame)


__all__ = ["Picture", "load_picture", "thumbnail"]
