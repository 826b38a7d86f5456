"""A quality curve drawn as SVG: a file of its own, or a part of a page."""

import html
import math

from .quality_curve import QualityCurve


WIDTH, HEIGHT = 480, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 14, 40
_LINE, _WORST, _GRID, _TEXT = "#21618c", "#a93226", "#c8ccd0", "#1b2631"


def curve_svg(curve: QualityCurve, title: str = "Quality over time") -> str:
    """Draws a curve: seconds to the right, the score from 0 to 1 upwards, the worst stretch shaded and its value told.

    Args:
        curve ([`QualityCurve`]): what to draw.
        title (`str`, *optional*): what a screen reader calls it.

    Returns:
        `str`: an `<svg>` element that scales with its surroundings and asks for nothing from elsewhere.
    """
    length_s = max(curve.duration_s, 1e-9)

    def x(second: float) -> str:
        return f"{_LEFT + second / length_s * (WIDTH - _LEFT - _RIGHT):.1f}"

    def y(score: float) -> str:
        return f"{_TOP + (1 - score) * (HEIGHT - _TOP - _BOTTOM):.1f}"

    worst = curve.worst
    told = f"Worst {worst.score:.2f} from {worst.start_s:.1f} to {worst.end_s:.1f} s"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-size="13" '
        f'font-family="sans-serif" fill="{_TEXT}" aria-label="{html.escape(title)}. {told}.">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<rect x="{x(worst.start_s)}" y="{_TOP}" width="{float(x(worst.end_s)) - float(x(worst.start_s)):.1f}" '
        f'height="{HEIGHT - _TOP - _BOTTOM}" fill="{_WORST}" opacity="0.18"/>',
    ]
    for score in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<path d="M{_LEFT} {y(score)}H{WIDTH - _RIGHT}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{float(y(score)) + 4:.1f}" text-anchor="end">{score:.2f}</text>')
    step = _tick_step(length_s)
    for number in range(int(length_s / step + 1e-9) + 1):
        second = number * step
        label = f"{second:g} s"
        parts.append(f'<text x="{x(second)}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{label}</text>')
    middles = [((point.start_s + point.end_s) / 2, point.score) for point in curve.points]
    line = " ".join(f"{x(second)},{y(score)}" for second, score in middles)
    if len(middles) > 1:
        parts.append(f'<polyline points="{line}" fill="none" stroke="{_LINE}" stroke-width="2.5"/>')
    if len(middles) <= 60:
        parts += [f'<circle cx="{x(s)}" cy="{y(score)}" r="3.5" fill="{_LINE}"/>' for s, score in middles]
    parts.append(f'<circle cx="{x((worst.start_s + worst.end_s) / 2)}" cy="{y(worst.score)}" r="5" fill="{_WORST}"/>')
    parts.append(f'<text x="{_LEFT}" y="{HEIGHT - 5}">{told}</text></svg>')
    return "".join(parts)


def _tick_step(length_s: float) -> float:
    """Seconds between labels: 1, 2 or 5 times a power of ten, such that there are seven of them at most."""
    rough = length_s / 6
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


__all__ = ["curve_svg"]
