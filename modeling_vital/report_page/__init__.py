"""One HTML page about the scores of many files: it needs nothing but itself."""

from .rendering import PICTURE_SIDES, ReportPage, render_page
from .saved_scores import read_rows


__all__ = ["PICTURE_SIDES", "ReportPage", "read_rows", "render_page"]
