"""Examples of the page: thumbnails to click on, and damaged versions of a picture to compare it with."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter


EXAMPLES = Path(__file__).with_name("examples")
COMPARED = "fig-in-a-red-bowl.jpg"
THUMBNAIL_PX = (240, 160)
_BLUR_PX, _JPEG_QUALITY, _NOISE = 2.5, 8, 25


def _blurred(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(_BLUR_PX))


def _compressed(picture: Image.Image) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=_JPEG_QUALITY)
    return Image.open(data).convert("RGB")


def _noisy(picture: Image.Image) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, _NOISE, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).round().astype(np.uint8))


DAMAGE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": _blurred,
    "compressed": _compressed,
    "noisy": _noisy,
}
"""What is done to the picture to compare with, by a word for it."""


def examples() -> dict[str, Path]:
    """The example pictures and clips, by their names in words; clips say that they are."""
    files = sorted(path for path in EXAMPLES.iterdir() if path.suffix in (".jpg", ".mp4"))
    return {path.stem.replace("-", " ") + (" (clip)" if path.suffix == ".mp4" else ""): path for path in files}


def write_thumbnail(picture: Image.Image, path: Path) -> Path:
    """Writes the middle of a picture, cut to `THUMBNAIL_PX`, as JPEG, and returns the path."""
    width, height = THUMBNAIL_PX
    scale = max(width / picture.width, height / picture.height)
    whole = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    left, top = (whole.width - width) // 2, (whole.height - height) // 2
    whole.crop((left, top, left + width, top + height)).convert("RGB").save(path, quality=85)
    return path


def write_damaged(folder: Path) -> dict[str, Path]:
    """Writes the damaged versions of the picture to compare with as PNG, and returns their paths by word."""
    with Image.open(EXAMPLES / COMPARED) as opened:
        picture = opened.convert("RGB")
    paths = {}
    for word, damage in DAMAGE.items():
        paths[word] = folder / f"{Path(COMPARED).stem}-{word}.png"
        damage(picture).save(paths[word], compress_level=1)  # a fifth of a second sooner at each start
    return paths
