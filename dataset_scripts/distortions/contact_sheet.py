"""Draws every image distortion at its five severities on one sheet, to judge the levels by eye.

python -m dataset_scripts.distortions.contact_sheet IMAGE --output sheet.png
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset_scripts.distortions.registry import DISTORTIONS, IMAGE_DISTORTIONS, SEVERITY_WORDS, distort_image


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


def draw_sheet(image: np.ndarray, names: Sequence[str] = IMAGE_DISTORTIONS, seed: int = 0) -> Image.Image:
    """Draws a row a distortion, a column a severity, the original in front of each row.

    Args:
        image: RGB picture, `uint8 [H, W, 3]`.
        names: image distortions to draw, in this order.
        seed: seed of every cell, so that a row differs in severity only.

    Returns:
        The labelled sheet.
    """
    height, width = image.shape[:2]
    columns = 1 + len(SEVERITY_WORDS)
    cell_width, cell_height = width + _GAP, height + _LABEL_HEIGHT + _GAP
    sheet = Image.new("RGB", (columns * cell_width + _GAP, len(names) * cell_height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for row, name in enumerate(names):
        entry = DISTORTIONS[name]
        top = _GAP + row * cell_height
        for column in range(columns):
            left = _GAP + column * cell_width
            if column == 0:
                label, cell = name, image
            else:
                label = f"{SEVERITY_WORDS[column - 1]}: {entry.parameters[column - 1]}"
                cell = distort_image(image, name, column, np.random.default_rng(seed))
            draw.text((left, top + 1), label, fill=_INK, font=font)
            sheet.paste(Image.fromarray(cell), (left, top + _LABEL_HEIGHT))
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, draws the sheet and saves it.

    Args:
        arguments: command line without the program's name; `None` takes the real one.

    Raises:
        SystemExit: wrong arguments, or the picture cannot be read.
    """
    parser = argparse.ArgumentParser(description="Draw every image distortion at its five severities.")
    parser.add_argument("image", type=Path, help="photo to distort")
    parser.add_argument("--output", type=Path, required=True, help="sheet to write (PNG)")
    parser.add_argument(
        "--names", nargs="+", choices=IMAGE_DISTORTIONS, default=IMAGE_DISTORTIONS, help="rows to draw"
    )
    parser.add_argument("--size", type=int, default=192, help="side of the centre crop, px (default: 192)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every cell (default: 0)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        with Image.open(options.image) as picture:
            crop = center_crop(picture, options.size)
    except OSError as error:
        parser.error(f"cannot read the picture {options.image}: {error}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(crop, options.names, options.seed).save(options.output)
    logger.info("wrote %s: %d distortions at %d severities", options.output, len(options.names), len(SEVERITY_WORDS))


if __name__ == "__main__":
    main()
