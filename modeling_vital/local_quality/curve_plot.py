"""A quality curve drawn as SVG: a file of its own, or a part of a page."""

import html
import math

import numpy as np

from .heat_map import scale_colors
from .quality_curve import QualityCurve


WIDTH, HEIGHT = 480, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 14, 60
_WORST, _GRID, _TEXT, _WHOLE = "#440154", "#c8ccd0", "#1b2631", "#5d6d7e"


def curve_svg(curve: QualityCurve, title: str = "Quality over time") -> str:
    """Draws a curve: seconds to the right, the score upwards, the score of the whole clip as a dashed line.

    Points have the colours of their scores, as in maps. The worst stretch is shaded where it is clearly worse than the
    rest; else the plot says that the clip is even.

    Args:
        curve ([`QualityCurve`]): what to draw.
        title (`str`, *optional*): what a screen reader calls it.

    Returns:
        `str`: an `<svg>` element that scales with its surroundings and asks for nothing from elsewhere.
    """
    length_s = max(curve.duration_s, 1e-9)
    lowest, highest = curve.score_range

    def x(second: float) -> str:
        return f"{_LEFT + second / length_s * (WIDTH - _LEFT - _RIGHT):.1f}"

    def y(score: float) -> str:
        return f"{_TOP + (highest - score) / (highest - lowest) * (HEIGHT - _TOP - _BOTTOM):.1f}"

    worst, told = curve.worst, told_in_words(curve)
    whole = f"Whole clip {curve.whole_score:.2f}"
    middle = _TOP + (HEIGHT - _TOP - _BOTTOM) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-size="13" '
        f'font-family="sans-serif" fill="{_TEXT}" aria-label="{html.escape(title)}. {told}. {whole}.">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    if curve.stands_out:
        width = float(x(worst.end_s)) - float(x(worst.start_s))
        parts.append(
            f'<rect x="{x(worst.start_s)}" y="{_TOP}" width="{width:.1f}" height="{HEIGHT - _TOP - _BOTTOM}" '
            f'fill="{_WORST}" opacity="0.15"/>'
        )
    for score in np.linspace(lowest, highest, 5):
        parts.append(f'<path d="M{_LEFT} {y(score)}H{WIDTH - _RIGHT}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{float(y(score)) + 4:.1f}" text-anchor="end">{score:.1f}</text>')
    parts.append(
        f'<path d="M{_LEFT} {y(curve.whole_score)}H{WIDTH - _RIGHT}" stroke="{_WHOLE}" stroke-width="1.5" '
        'stroke-dasharray="6 4"/>'
    )
    step = _tick_step(length_s)
    for number in range(int(length_s / step + 1e-9) + 1):
        second = number * step
        parts.append(f'<text x="{x(second)}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{second:g}</text>')
    parts.append(f'<text x="{_LEFT}" y="{HEIGHT - _BOTTOM + 34}">time, seconds</text>')
    parts.append(f'<text transform="translate(16 {middle:.0f}) rotate(-90)" text-anchor="middle">score</text>')
    middles = [((point.start_s + point.end_s) / 2, point.score) for point in curve.points]
    line = " ".join(f"{x(second)},{y(score)}" for second, score in middles)
    if len(middles) > 1:
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_TEXT}" stroke-width="1.5"/>')
    if len(middles) <= 60:
        parts += [_dot(x(second), y(score), 5, score, curve) for second, score in middles]
    if curve.stands_out:
        parts.append(_dot(x((worst.start_s + worst.end_s) / 2), y(worst.score), 7, worst.score, curve))
    parts.append(f'<text x="{_LEFT}" y="{HEIGHT - 6}">{told}; {whole[0].lower()}{whole[1:]} (dashed)</text></svg>')
    return "".join(parts)


def told_in_words(curve: QualityCurve) -> str:
    """The dip of a curve, or that there is none.

    Args:
        curve ([`QualityCurve`]): to read.
    """
    worst = curve.worst
    if curve.stands_out:
        return f"Worst {worst.score:.2f} from {worst.start_s:.1f} to {worst.end_s:.1f} s"
    return f"Even throughout, {worst.score:.2f} to {max(point.score for point in curve.points):.2f}"


def _dot(x: str, y: str, radius: int, score: float, curve: QualityCurve) -> str:
    color = scale_colors(np.array(score), *curve.score_range).tobytes().hex()
    return f'<circle cx="{x}" cy="{y}" r="{radius}" fill="#{color}" stroke="{_TEXT}"/>'


def _tick_step(length_s: float) -> float:
    """Seconds between labels: 1, 2 or 5 times a power of ten, such that there are seven of them at most."""
    rough = length_s / 6
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


__all__ = ["curve_svg", "told_in_words"]
