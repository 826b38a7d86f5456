"""One HTML page about the scores of many files: it needs nothing but itself."""

from .page import ReportPage, render_page
from .rows import read_rows


__all__ = ["ReportPage", "read_rows", "render_page"]
