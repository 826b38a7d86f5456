"""A quality map drawn over its picture, with a legend."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..levels_vital import LEVEL_VALUES
from ..media_vital import to_rgb
from .quality_map import QualityMap


# Seventeen colours of viridis (by S. van der Walt and N. Smith, CC0), evenly spaced: as far apart to the eye as the
# scores are, in order of lightness, and told apart with any kind of colour vision.
_COLORS = (
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 "
    "fde725"
).split()
_ANCHORS = np.array([[int(color[i : i + 2], 16) for i in (0, 2, 4)] for color in _COLORS], dtype=np.float64)

OPACITY = 0.6
EDGE = 0.02  # of a score: over so much the tint sets in
MARGIN_PX = 12
BAR_PX = 18


def scale_colors(
    scores: np.ndarray, lowest: float = min(LEVEL_VALUES), highest: float = max(LEVEL_VALUES)
) -> np.ndarray:
    """The colours of scores: dark violet for the lowest, over blue and green, to yellow for the highest.

    Args:
        scores (`np.ndarray` of any shape): what to colour.
        lowest, highest (`float`, *optional*, default to .1 and .9):
            The ends of the scale; scores beyond take theirs.

    Returns:
        `np.ndarray`: uint8 RGB, the shape of `scores` and a last axis of 3.
    """
    place = np.clip((np.asarray(scores, dtype=np.float64) - lowest) / (highest - lowest), 0, 1)
    steps = np.linspace(0, 1, len(_ANCHORS))
    return np.stack([np.round(np.interp(place, steps, _ANCHORS[:, i])) for i in range(3)], axis=-1).astype(np.uint8)


def draw_map(picture: Image.Image, quality_map: QualityMap, max_side: int = 1024) -> Image.Image:
    """Draws a map over its picture, with a legend below.

    Only what is clearly worse than the rest is tinted, in the colour of its score, and the worst tile framed; where
    nothing is, the picture stays as it is and the legend says so. The scale always spans all scores that the model can
    give, so that maps of different pictures can be compared.

    Args:
        picture (`PIL.Image.Image`): what the map is of.
        quality_map ([`QualityMap`]): what to draw.
        max_side (`int`, *optional*, defaults to 1024): longer side of the drawn picture at most, pixels.

    Returns:
        `PIL.Image.Image`: RGB, the height of the legend added.
    """
    drawn = to_rgb(picture)
    drawn.thumbnail((max_side, max_side))
    width, height = drawn.size
    if quality_map.stands_out:
        values = quality_map.values(width, height)
        tint = np.clip((quality_map.clearly_worse_below - values) / EDGE, 0, 1)[..., None] * np.float32(OPACITY)
        pixels = (1 - tint) * np.asarray(drawn) + tint * scale_colors(values, *quality_map.score_range)
        drawn = Image.fromarray(np.round(pixels).astype(np.uint8))
        _frame(drawn, quality_map)
    legend = _legend(width, quality_map)
    page = Image.new("RGB", (width, height + legend.height), "white")
    page.paste(drawn, (0, 0))
    page.paste(legend, (0, height))
    return page


def _frame(drawn: Image.Image, quality_map: QualityMap) -> None:
    """The worst tile in black and white, which no colour beneath can swallow, as thick as the drawing asks for."""
    x, y = drawn.width / quality_map.width, drawn.height / quality_map.height
    left, top, right, bottom = quality_map.worst
    box = [round(left * x), round(top * y), max(round(right * x) - 1, 0), max(round(bottom * y) - 1, 0)]
    line = max(2, round(max(drawn.size) / 250))
    draw = ImageDraw.Draw(drawn)
    draw.rectangle(box, outline="black", width=2 * line)
    if min(box[2] - box[0], box[3] - box[1]) > 2 * line:
        inner = line // 2
        draw.rectangle([box[0] + inner, box[1] + inner, box[2] - inner, box[3] - inner], outline="white", width=line)


def _legend(width: int, quality_map: QualityMap) -> Image.Image:
    """The colour scale with its values, and in words what the map shows."""
    font = ImageFont.load_default(max(12, min(18, width // 24)))
    line = round(sum(font.getbbox("0g")[1::2]))
    worst, best = quality_map.worst_score, quality_map.scores.max()
    if quality_map.stands_out:
        said = [f"worst place {worst:.2f}, framed; tinted: clearly worse than the rest"]
    else:
        said = [f"nothing stands out: all places score {worst:.2f} to {best:.2f}"]
    said.append(f"score of the whole {quality_map.whole_score:.2f}; higher is better")
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    across = max(width - 2 * MARGIN_PX, 1)
    lines = [piece for text in said for piece in _wrapped(text, font, across, draw)]
    legend = Image.new("RGB", (width, 2 * MARGIN_PX + BAR_PX + line * (1 + len(lines)) + 10), "white")
    draw = ImageDraw.Draw(legend)
    limits = quality_map.score_range
    scale = scale_colors(np.linspace(*limits, across), *limits)
    legend.paste(Image.fromarray(np.repeat(scale[None], BAR_PX, axis=0)), (MARGIN_PX, MARGIN_PX))
    ticks = 5 if width >= 300 else 2
    for number, score in enumerate(np.linspace(*limits, ticks)):
        x = MARGIN_PX + number * (across - 1) / (ticks - 1)
        draw.line([x, MARGIN_PX + BAR_PX, x, MARGIN_PX + BAR_PX + 4], fill="black")
        text = f"score {score:.1f}" if number == 0 else f"{score:.1f}"
        at = min(max(x - draw.textlength(text, font) / 2, 0), width - draw.textlength(text, font))
        draw.text((at, MARGIN_PX + BAR_PX + 5), text, fill="black", font=font)
    for number, text in enumerate(lines, start=1):
        draw.text((MARGIN_PX, MARGIN_PX + BAR_PX + 7 + number * line), text, fill="black", font=font)
    return legend


def _wrapped(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, draw: ImageDraw.ImageDraw
) -> list[str]:
    """A text in lines that fit a width; a word that is longer stays whole."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer, font) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


__all__ = ["draw_map", "scale_colors"]
