"""Agreement of scores with human opinions: correlations with intervals, benchmarks, audits. Needs the extra `eval`.

Example:

    >>> from modeling_vital.evaluation import correlations
    >>> round(correlations([0.1, 0.4, 0.3, 0.9], [1.2, 2.9, 3.1, 4.6])["srcc"], 3)
    0.8
"""

from pathlib import Path

from .correlation import (
    CORRELATIONS,
    bootstrap,
    bootstrap_intervals,
    correlations,
    paired_difference,
    subset_correlations,
)
from .logistic import LOGISTICS, LogisticFit, fit_logistic


METRIC_FOLDER = str(Path(__file__).parent / "quality_correlation")
"""What `evaluate.load` takes: [`correlations`] as a metric of that library."""

__all__ = [
    "CORRELATIONS",
    "LOGISTICS",
    "METRIC_FOLDER",
    "LogisticFit",
    "bootstrap",
    "bootstrap_intervals",
    "correlations",
    "fit_logistic",
    "paired_difference",
    "subset_correlations",
]
