"""TOPIQ, LIQE, QualiCLIP and Q-Align, the image annotators of the VITAL paper, through the package `pyiqa`.

`pyiqa` needs torchvision, and fetches its weights on first use. It is the extra `annotators`, its licence is
non-commercial, and its scores are calibrated by their published range until `fit_calibration` is run where it works.

Note:
    Written against the sources of pyiqa 0.1.16 and tested against a small stand-in of its interface: this project's
    own machines cannot install torchvision, so the real models have not been run here.
"""

import logging
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from dataset_scripts.annotators.base import Annotator, MissingPackageError, check_pixels
from dataset_scripts.annotators.temporal import frame_mean


logger = logging.getLogger(__name__)


class PyiqaAnnotator(Annotator):
    """A no-reference metric of `pyiqa`. A subclass names it.

    Pictures of one size go through the model together; if that fails, one by one.

    Args:
        device (`str`, *optional*): such as `"cuda:0"`; by default a GPU where there is one.

    Raises:
        MissingPackageError: pyiqa cannot be imported, lacks the metric, or its weights could not be fetched.
    """

    metric: ClassVar[str]
    batch_size: ClassVar[int] = 8
    higher_is_better = True
    needs_reference = False

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        try:
            import pyiqa
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit its torch
            raise MissingPackageError(
                f"annotator {self.name!r} needs the package pyiqa, and with it a torchvision built for the installed "
                f"torch: install the extra `annotators` ({type(error).__name__}: {error})"
            ) from error
        try:
            self._model = pyiqa.create_metric(self.metric, device=device)
        except (AssertionError, KeyError) as error:
            raise MissingPackageError(f"this pyiqa has no metric {self.metric!r}: install a newer one") from error
        except OSError as error:
            raise MissingPackageError(
                f"the weights of {self.metric!r} are not on this machine and could not be fetched: {error}"
            ) from error
        if bool(self._model.lower_better) == self.higher_is_better:
            raise RuntimeError(f"pyiqa gives {self.metric!r} another direction than the annotator {self.name!r}")
        self.device = str(self._model.device)

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        return float(self._forward([item])[0])

    def _forward(self, items: Sequence[np.ndarray]) -> np.ndarray:
        """Scores pictures of one size: B of uint8 `[H, W, 3]` -> float64 `[B]`."""
        import torch

        batch = torch.from_numpy(np.stack(items)).permute(0, 3, 1, 2).float() / 255.0
        with torch.inference_mode():
            scores = np.asarray(self._model(batch).detach().float().cpu(), dtype=np.float64).reshape(-1)
        if len(scores) != len(items):
            raise ArithmeticError(f"pyiqa's {self.metric!r} gave {len(scores)} scores for {len(items)} pictures")
        return scores

    def score_batch(
        self, items: Sequence[np.ndarray], references: Sequence[np.ndarray | None] | None = None
    ) -> np.ndarray:
        """As [`Annotator.score_batch`], several pictures at a time."""
        scores = np.full(len(items), np.nan)
        for indices in self._batches(items):
            try:
                scores[indices] = self._forward([items[index] for index in indices])
            except Exception as error:  # any of them may be the cause, and memory too: they are tried singly below
                logger.info("%s: %d pictures together failed (%s), now one by one", self.name, len(indices), error)
        left = [int(index) for index in np.flatnonzero(~np.isfinite(scores))]
        scores[left] = super().score_batch([items[index] for index in left])
        self.errors = {left[index]: reason for index, reason in self.errors.items()}
        return scores

    def _batches(self, items: Sequence[np.ndarray]) -> list[list[int]]:
        """Indices of well-formed pictures of one size, in groups of up to `batch_size` and at least two."""
        by_size: dict[tuple[int, ...], list[int]] = {}
        for index, item in enumerate(items):
            try:
                check_pixels(item, self.modality, "item")
            except ValueError:
                continue  # scored singly afterwards, which records the reason
            by_size.setdefault(item.shape, []).append(index)
        groups = [
            indices[start : start + self.batch_size]
            for indices in by_size.values()
            for start in range(0, len(indices), self.batch_size)
        ]
        return [group for group in groups if len(group) > 1]


class TOPIQ(PyiqaAnnotator):
    """TOPIQ without reference, trained on KonIQ-10k; about 0 to about 1, 1 best."""

    name = "topiq_nr"
    metric = "topiq_nr"
    version = "koniq-res50"
    license = "PolyForm-Noncommercial-1.0.0"
    raw_range = (-np.inf, np.inf)
    reference = "Chen et al., TOPIQ, IEEE TIP 2024"


class LIQE(PyiqaAnnotator):
    """LIQE, trained on KonIQ-10k; 1 to 5, 5 best."""

    name = "liqe"
    metric = "liqe"
    version = "koniq"
    license = "PolyForm-Noncommercial-1.0.0"
    raw_range = (1.0, 5.0)
    reference = "Zhang et al., Blind image quality assessment via vision-language correspondence, CVPR 2023"


class QualiCLIP(PyiqaAnnotator):
    """QualiCLIP, trained without human scores; 0 to 1, 1 best."""

    name = "qualiclip"
    metric = "qualiclip"
    version = "1"
    license = "PolyForm-Noncommercial-1.0.0"
    raw_range = (0.0, 1.0)
    reference = "Agnolucci et al., Quality-aware image-text alignment for opinion-unaware IQA, 2024"


class QAlign(PyiqaAnnotator):
    """Q-Align (OneAlign), a language model that answers with a level; 1 to 5, 5 best. Takes one picture at a time.

    Note:
        About 8 billion parameters in half precision: a GPU with 20 GB or more.
    """

    name = "qalign"
    metric = "qalign"
    version = "one-align"
    license = "S-Lab License 1.0 (non-commercial)"
    batch_size = 1
    raw_range = (1.0, 5.0)
    reference = "Wu et al., Q-Align, ICML 2024"


FrameQAlign = frame_mean(QAlign)
"""Q-Align over frames of a clip: pyiqa offers its picture mode only, not the clip mode of the paper's annotator."""
