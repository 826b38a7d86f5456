"""TOPIQ, LIQE, QualiCLIP and Q-Align, the image annotators of the VITAL paper, through the package `pyiqa`.

`pyiqa` needs torchvision, and fetches its weights on first use, unless they lie in a folder (`weights`). It is the
extra `annotators`, its licence is non-commercial, and its scores are calibrated by their published range until
`fit_calibration` is run where it works.

Note:
    `make annotators` runs TOPIQ, LIQE and QualiCLIP through the real package with random weights: what goes in, what
    comes out, batches, errors. The published weights have not been run here, and Q-Align not at all.
"""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dataset_scripts.annotators.base import Annotator, MissingPackageError, check_pixels
from dataset_scripts.annotators.temporal import frame_mean
from dataset_scripts.annotators.weights import read_weights, weights_file, weights_folder


logger = logging.getLogger(__name__)


class PyiqaAnnotator(Annotator):
    """A no-reference metric of `pyiqa`. A subclass names it.

    Pictures of one size go through the model together; if that fails, one by one.

    Args:
        device (`str`, *optional*): such as `"cuda:0"`; by default a GPU where there is one.
        weights (`str` or `Path`, *optional*): folder with `weights_files`; by default what `VITAL_ANNOTATOR_WEIGHTS`
            names. Then nothing is fetched. Without a folder, pyiqa fetches what it needs.

    Raises:
        MissingPackageError: pyiqa cannot be imported or lacks the metric, or its weights are not there, are those of
            another network, or could not be fetched.
    """

    metric: ClassVar[str]
    weights_files: ClassVar[tuple[str, ...]]
    weights_key: ClassVar[str] = "params"
    folder_options: ClassVar[dict[str, Any]] = {}
    batch_size: ClassVar[int] = 8
    higher_is_better = True
    needs_reference = False
    run = "run with random weights"

    def __init__(self, device: str | None = None, weights: str | Path | None = None) -> None:
        super().__init__()
        try:
            import pyiqa
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision for another torch
            raise self._missing(error) from error
        folder = weights_folder(weights)
        with contextlib.redirect_stdout(sys.stderr):  # pyiqa prints while it builds a model
            self._model = self._create(pyiqa, device) if folder is None else self._from_folder(pyiqa, device, folder)
        if bool(self._model.lower_better) == self.higher_is_better:
            raise RuntimeError(f"pyiqa gives {self.metric!r} another direction than the annotator {self.name!r}")
        self.device = str(self._model.device)

    def _missing(self, error: Exception) -> MissingPackageError:
        return MissingPackageError(
            f"annotator {self.name!r} needs the package pyiqa, and with it a torchvision built for the installed "
            f"torch: install the extra `annotators` ({type(error).__name__}: {error})"
        )

    def _create(self, pyiqa: Any, device: str | None, **options: Any) -> Any:
        try:
            return pyiqa.create_metric(self.metric, device=device, **options)
        except ImportError as error:  # of one metric's own requirements
            raise self._missing(error) from error
        except (AssertionError, KeyError) as error:
            raise MissingPackageError(f"this pyiqa has no metric {self.metric!r}: install a newer one") from error
        except OSError as error:
            raise MissingPackageError(
                f"the weights of {self.metric!r} are not on this machine and could not be fetched: {error}"
            ) from error

    def _from_folder(self, pyiqa: Any, device: str | None, folder: Path) -> Any:
        if not self.weights_files:
            raise MissingPackageError(
                f"annotator {self.name!r} takes its weights from the Hub's cache, not from a folder: name no folder"
            )
        own, *_ = [weights_file(self.name, folder, name) for name in self.weights_files]
        content = read_weights(own)  # pyiqa would run code that it finds there
        if not isinstance(content, dict) or self.weights_key not in content:
            raise MissingPackageError(
                f"{own} does not hold the weights of this network: it has no entry {self.weights_key!r}"
            )
        try:
            with _reading_from(folder):
                model = self._create(pyiqa, device, **self.folder_options)
        except MissingPackageError:
            raise
        except RuntimeError as error:
            raise MissingPackageError(f"{own} does not hold the weights of this network: {error}") from error
        self._check(model, content, own)
        return model

    def _check(self, model: Any, content: Any, path: Path) -> None:
        """Raises unless the weights were read whole; for metrics where pyiqa does not look."""

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
        """Scores like [`Annotator.score_batch`], several pictures at a time."""
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


@contextlib.contextmanager
def _reading_from(folder: Path) -> Iterator[None]:
    """Lets pyiqa read weights from a folder alone, whatever it has fetched before."""
    from pyiqa.archs import clip_model, liqe_arch
    from pyiqa.utils import download_util

    with tempfile.TemporaryDirectory() as scratch:
        replacements = (
            (download_util, "DEFAULT_CACHE_DIR", str(folder)),
            (liqe_arch, "DEFAULT_CACHE_DIR", scratch),  # it keeps texts encoded with whatever weights came first
            (clip_model, "_download", lambda url, root: str(folder / os.path.basename(url))),
        )
        before = [getattr(module, name) for module, name, _ in replacements]
        try:
            for module, name, value in replacements:
                setattr(module, name, value)
            yield
        finally:
            for (module, name, _), value in zip(replacements, before, strict=True):
                setattr(module, name, value)


class TOPIQ(PyiqaAnnotator):
    """TOPIQ without reference, trained on KonIQ-10k; about 0 to about 1, 1 best."""

    name = "topiq_nr"
    metric = "topiq_nr"
    weights_files = ("cfanet_nr_koniq_res50-9a73138b.pth",)
    folder_options = {"backbone_pretrain": False}  # the file has the backbone too
    version = "koniq-res50"
    license = "PolyForm-Noncommercial-1.0.0"
    raw_range = (-np.inf, np.inf)
    reference = "Chen et al., TOPIQ, IEEE TIP 2024"

    def _check(self, model: Any, content: Any, path: Path) -> None:
        there = {name.removeprefix("module.") for name in content[self.weights_key]}
        if lacking := sorted(set(model.net.state_dict()) - there):
            raise MissingPackageError(
                f"{path} does not hold the weights of this network: {len(lacking)} are missing, such as {lacking[0]}"
            )


class LIQE(PyiqaAnnotator):
    """LIQE, trained on KonIQ-10k; 1 to 5, 5 best."""

    name = "liqe"
    metric = "liqe"
    weights_files = ("liqe_koniq.pt", "ViT-B-32.pt")
    version = "koniq"
    license = "PolyForm-Noncommercial-1.0.0"
    raw_range = (1.0, 5.0)
    reference = "Zhang et al., Blind image quality assessment via vision-language correspondence, CVPR 2023"


class QualiCLIP(PyiqaAnnotator):
    """QualiCLIP, trained without human scores; 0 to 1, 1 best."""

    name = "qualiclip"
    metric = "qualiclip"
    weights_files = ("QualiCLIP.pth", "RN50.pt")
    weights_key = "prompts_features"
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
    weights_files = ()
    run = "not run: 8 billion parameters, from a network"
    version = "one-align"
    license = "S-Lab License 1.0 (non-commercial)"
    batch_size = 1
    raw_range = (1.0, 5.0)
    reference = "Wu et al., Q-Align, ICML 2024"


FrameQAlign = frame_mean(QAlign)
"""Q-Align over frames of a clip: pyiqa offers its picture mode only, not the clip mode of the paper's annotator."""
