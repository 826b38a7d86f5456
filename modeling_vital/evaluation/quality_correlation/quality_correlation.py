"""`modeling_vital.evaluation.correlations` as a metric of the `evaluate` library, which loads it from this folder.

Example:

    >>> import evaluate
    >>> from modeling_vital.evaluation import METRIC_FOLDER
    >>> metric = evaluate.load(METRIC_FOLDER)
    >>> result = metric.compute(predictions=[0.1, 0.4, 0.3, 0.9], references=[1.2, 2.9, 3.1, 4.6])
    >>> round(result["srcc"], 3)
    0.8
"""

import datasets
import evaluate

from modeling_vital.evaluation import correlations


_DESCRIPTION = """Agreement of predicted quality with human opinions: srcc, plcc, krcc, rmse, and PLCC and RMSE after
the 4- and 5-parameter logistic curves, each under its own name."""

_INPUTS = """
Args:
    predictions (list of float): scores, higher is better.
    references (list of float): mean opinion scores, higher is better.
    score_range, mos_range (pairs of float, optional): ends of the two scales, for rmse.
Returns:
    dict of n, srcc, plcc, krcc, rmse, plcc_logistic4, rmse_logistic4, plcc_logistic5, rmse_logistic5.
"""


class QualityCorrelation(evaluate.Metric):
    """See [`modeling_vital.evaluation.correlations`]: `predictions` are the scores, `references` the opinions."""

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(self, predictions, references, score_range=None, mos_range=None) -> dict:
        return correlations(predictions, references, score_range=score_range, mos_range=mos_range)
