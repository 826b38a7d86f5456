"""A quality map drawn over its picture, with a legend."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..media_vital import to_rgb
from .quality_map import QualityMap


# Seventeen colours of viridis (by S. van der Walt and N. Smith, CC0), evenly spaced: as far apart to the eye as the
# scores are, in order of lightness, and told apart with any kind of colour vision.
_COLORS = (
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 "
    "fde725"
).split()
_ANCHORS = np.array([[int(color[i : i + 2], 16) for i in (0, 2, 4)] for color in _COLORS], dtype=np.float64)

OPACITY = 0.7
MARGIN_PX = 12
BAR_PX = 18


def scale_colors(scores: np.ndarray, lowest: float = 0.0, highest: float = 1.0) -> np.ndarray:
    """The colours of scores: dark violet for the lowest, over blue and green, to yellow for the highest.

    Args:
        scores (`np.ndarray` of any shape): what to colour.
        lowest, highest (`float`, *optional*, default to 0 and 1): the ends of the scale; scores beyond take theirs.

    Returns:
        `np.ndarray`: uint8 RGB, the shape of `scores` and a last axis of 3.
    """
    place = np.clip((np.asarray(scores, dtype=np.float64) - lowest) / (highest - lowest), 0, 1)
    steps = np.linspace(0, 1, len(_ANCHORS))
    return np.stack([np.round(np.interp(place, steps, _ANCHORS[:, i])) for i in range(3)], axis=-1).astype(np.uint8)


def draw_map(
    picture: Image.Image, quality_map: QualityMap, max_side: int = 1024, limits: tuple[float, float] = (0.0, 1.0)
) -> Image.Image:
    """Draws a map over its picture, the worst tile framed, with a legend below.

    Args:
        picture (`PIL.Image.Image`): what the map is of.
        quality_map ([`QualityMap`]): what to draw.
        max_side (`int`, *optional*, defaults to 1024): longer side of the drawn picture at most, pixels.
        limits (`tuple[float, float]`, *optional*, defaults to `(0.0, 1.0)`):
            Scores at the ends of the colour scale. Leave them, and maps of different pictures can be compared.

    Returns:
        `PIL.Image.Image`: RGB, the height of the legend added.
    """
    photo = to_rgb(picture)
    photo.thumbnail((max_side, max_side))
    width, height = photo.size
    colors = scale_colors(quality_map.values(width, height), *limits).astype(np.float32)
    gray = np.asarray(photo.convert("L"), dtype=np.float32)[..., None]
    drawn = Image.fromarray(np.round(OPACITY * colors + (1 - OPACITY) * gray).astype(np.uint8))
    _frame(drawn, quality_map)
    font = ImageFont.load_default(max(12, min(18, width // 24)))
    legend = _legend(width, font, quality_map, limits)
    page = Image.new("RGB", (width, height + legend.height), "white")
    page.paste(drawn, (0, 0))
    page.paste(legend, (0, height))
    return page


def _frame(drawn: Image.Image, quality_map: QualityMap) -> None:
    """The worst tile in black and white, which no colour beneath can swallow."""
    x, y = drawn.width / quality_map.width, drawn.height / quality_map.height
    left, top, right, bottom = quality_map.worst
    box = [round(left * x), round(top * y), max(round(right * x) - 1, 0), max(round(bottom * y) - 1, 0)]
    draw = ImageDraw.Draw(drawn)
    draw.rectangle(box, outline="black", width=4)
    if min(box[2] - box[0], box[3] - box[1]) > 4:
        draw.rectangle([box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1], outline="white", width=2)


def _legend(
    width: int,
    font: ImageFont.FreeTypeFont,
    quality_map: QualityMap,
    limits: tuple[float, float],
) -> Image.Image:
    """The colour scale with its values, and in words what the map's are."""
    line = round(sum(font.getbbox("0g")[1::2]))
    lines = [
        f"worst place {quality_map.worst_score:.2f} (framed)",
        f"mean {quality_map.scores.mean():.2f}, best {quality_map.scores.max():.2f}; higher is better",
    ]
    legend = Image.new("RGB", (width, 2 * MARGIN_PX + BAR_PX + line * (1 + len(lines)) + 10), "white")
    draw = ImageDraw.Draw(legend)
    across = max(width - 2 * MARGIN_PX, 1)
    scale = scale_colors(np.linspace(*limits, across), *limits)
    legend.paste(Image.fromarray(np.repeat(scale[None], BAR_PX, axis=0)), (MARGIN_PX, MARGIN_PX))
    ticks = 6 if width >= 300 else 3
    for number, score in enumerate(np.linspace(*limits, ticks)):
        x = MARGIN_PX + number * (across - 1) / (ticks - 1)
        draw.line([x, MARGIN_PX + BAR_PX, x, MARGIN_PX + BAR_PX + 4], fill="black")
        text = f"{score:.1f}"
        at = min(max(x - draw.textlength(text, font) / 2, 0), width - draw.textlength(text, font))
        draw.text((at, MARGIN_PX + BAR_PX + 5), text, fill="black", font=font)
    for number, text in enumerate(lines, start=1):
        draw.text((MARGIN_PX, MARGIN_PX + BAR_PX + 7 + number * line), text, fill="black", font=font)
    return legend


__all__ = ["draw_map", "scale_colors"]
