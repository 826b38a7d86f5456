"""Draws every distortion at its five severities on one sheet, to judge the levels by eye.

    python -m dataset_scripts.distortions.contact_sheet PHOTO --output sheet.png
    python -m dataset_scripts.distortions.contact_sheet CLIP --output clip-sheet.png

A photo shows the image distortions. A clip shows the video distortions: the middle frame, and below it the middle row
of every frame, time running down, where held frames are steps and flicker is stripes.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset_scripts.distortions.catalogue import (
    DISTORTIONS,
    IMAGE_DISTORTIONS,
    SEVERITY_WORDS,
    VIDEO_DISTORTIONS,
    distort_clip,
    distort_image,
)
from modeling_vital.media_vital import Clip, MediaError, load_media
from modeling_vital.whole_files import require_output_folder


logger = logging.getLogger(__name__)

_LABEL_HEIGHT = 18
_GAP = 4
_INK = (20, 20, 20)
_PAPER = (255, 255, 255)


def center_crop(picture: Image.Image, size: int) -> np.ndarray:
    """Cuts a square out of the middle; a picture smaller than the square is enlarged first.

    Args:
        picture: any Pillow picture.
        size: side of the square in pixels.

    Returns:
        RGB crop, `uint8 [size, size, 3]`.
    """
    picture = picture.convert("RGB")
    scale = size / min(picture.size)
    if scale > 1:
        picture = picture.resize((max(size, round(picture.width * scale)), max(size, round(picture.height * scale))))
    left, top = (picture.width - size) // 2, (picture.height - size) // 2
    return np.array(picture.crop((left, top, left + size, top + size)))


def show_clip(frames: np.ndarray) -> np.ndarray:
    """One picture of a clip: `uint8 [T, H, W, 3]` -> `uint8 [H + H // 2, W, 3]`, see above."""
    _, height, width, _ = frames.shape
    over_time = Image.fromarray(frames[:, height // 2]).resize((width, height // 2), Image.Resampling.NEAREST)
    return np.concatenate([frames[len(frames) // 2], np.asarray(over_time)])


def draw_sheet(
    original: np.ndarray, names: Sequence[str] | None = None, seed: int = 0, fps: float = 30.0
) -> Image.Image:
    """Draws a row a distortion, a column a severity, the original in front of each row.

    Args:
        original: RGB picture or clip, `uint8 [H, W, 3]` or `uint8 [T, H, W, 3]`.
        names: distortions to draw, in this order; by default the image distortions for a picture, the video
            distortions for a clip.
        seed: seed of every cell, so that a row differs in severity only.
        fps: frames a second of a clip.

    Returns:
        The labelled sheet.
    """
    is_clip = original.ndim == 4
    names = names or (VIDEO_DISTORTIONS if is_clip else IMAGE_DISTORTIONS)
    first = show_clip(original) if is_clip else original
    height, width = first.shape[:2]
    columns = 1 + len(SEVERITY_WORDS)
    cell_width, cell_height = width + _GAP, height + _LABEL_HEIGHT + _GAP
    sheet = Image.new("RGB", (columns * cell_width + _GAP, len(names) * cell_height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for row, name in enumerate(names):
        top = _GAP + row * cell_height
        for column in range(columns):
            left = _GAP + column * cell_width
            if column == 0:
                label, cell = name, first
            else:
                label = f"{SEVERITY_WORDS[column - 1]}: {DISTORTIONS[name].parameters[column - 1]}"
                rng = np.random.default_rng(seed)
                if is_clip:
                    cell = show_clip(distort_clip(original, name, column, rng, fps))
                else:
                    cell = distort_image(original, name, column, rng)
            draw.text((left, top + 1), label, fill=_INK, font=font)
            sheet.paste(Image.fromarray(cell), (left, top + _LABEL_HEIGHT))
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, draws the sheet and saves it.

    Args:
        arguments: command line without the program's name; `None` takes the real one.

    Raises:
        SystemExit: wrong arguments, or the picture or clip cannot be read.
    """
    parser = argparse.ArgumentParser(description="Draw every distortion at its five severities.")
    parser.add_argument("original", type=Path, help="photo or clip to distort")
    parser.add_argument("--output", type=Path, required=True, help="sheet to write (PNG)")
    parser.add_argument(
        "--names", nargs="+", choices=list(DISTORTIONS), metavar="NAME", help="rows to draw (default: all that fit)"
    )
    parser.add_argument("--size", type=int, default=192, help="side of the centre crop, px (default: 192)")
    parser.add_argument("--frames", type=int, default=60, help="frames of a clip to use (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every cell (default: 0)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    require_output_folder(parser, "--output", options.output.parent)
    fps = 30.0
    try:
        media = load_media(options.original)
        if isinstance(media, Clip):
            frames = media.get_frames(range(min(options.frames, media.num_frames)))
            original = np.stack([center_crop(Image.fromarray(frame), options.size) for frame in frames])
            fps = media.fps
        else:
            original = center_crop(media, options.size)
        sheet = draw_sheet(original, options.names, options.seed, fps)
    except MediaError as error:
        parser.error(f"cannot read the picture or clip: {error}")
    except ValueError as error:
        parser.error(str(error))
    sheet.save(options.output)
    logger.info("wrote %s", options.output)


if __name__ == "__main__":
    main()
