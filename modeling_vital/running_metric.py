"""Quality as a metric of torchmetrics: a mean over batches, epochs and processes."""

from typing import Any

import torch

from .metric import VitalMetric
from .modeling_vital import VitalForConditionalGeneration


try:
    from torchmetrics import Metric
except ImportError as error:
    raise ImportError('VitalQuality needs the package torchmetrics: pip install "modeling-vital[metrics]"') from error


class VitalQuality(Metric):
    """Mean quality of pictures without a reference, as a `torchmetrics.Metric`.

    Scores are those of [`VitalMetric`]. The sum and the number of pictures are kept in float64 and added up over
    processes, so that the result does not depend on how pictures are cut into batches or shared out.

    Args:
        model (`str` or `VitalForConditionalGeneration`, *optional*, defaults to `"vital-tiny"`):
            A name of the zoo, a folder, a Hub id, or a model with its processor; its parameters are frozen.
        kwargs: of `torchmetrics.Metric`, such as `sync_on_compute`.

    Example:

    ```python
    >>> import torch
    >>> from modeling_vital.running_metric import VitalQuality

    >>> quality = VitalQuality()
    >>> quality.update(torch.rand(2, 3, 256, 256))
    >>> quality.compute()
    ```
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    total: torch.Tensor
    pictures: torch.Tensor

    def __init__(self, model: str | VitalForConditionalGeneration = "vital-tiny", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vital = VitalMetric(model)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pictures", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pictures: torch.Tensor) -> None:
        """Adds pictures.

        Args:
            pictures (`torch.FloatTensor` of shape `(batch_size, 3, height, width)`): RGB, values in [0, 1].

        Raises:
            ValueError: for another shape, another dtype, or values outside [0, 1] by more than rounding.
        """
        scores = self.vital(pictures).double()
        self.total = self.total.double() + scores.sum().to(self.total.device)  # `.to(dtype)` converts states
        self.pictures += len(scores)

    def compute(self) -> torch.Tensor:
        """The mean score of all pictures since the last `reset`.

        Returns:
            `torch.Tensor` of shape `()`, float64; NaN before the first picture.
        """
        return self.total / self.pictures


__all__ = ["VitalQuality"]
