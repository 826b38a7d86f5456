"""Local quality: a map of a picture, a curve over a clip, and their drawings."""

from .curve_plot import curve_svg, told_in_words
from .heat_map import draw_map, scale_colors
from .quality_curve import CurvePoint, QualityCurve, quality_curve, read_curve
from .quality_map import QualityMap, quality_map


__all__ = [
    "CurvePoint",
    "QualityCurve",
    "QualityMap",
    "curve_svg",
    "draw_map",
    "quality_curve",
    "quality_map",
    "read_curve",
    "scale_colors",
    "told_in_words",
]
