"""Fragments, the input of FAST-VQA and DOVER: short runs of frames, cut into small pieces at full resolution.

Wu et al.: FAST-VQA: efficient end-to-end video quality assessment with fragment sampling, ECCV 2022.
"""

import contextlib
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from dataset_scripts.annotators.base import Annotator, MissingPackageError
from dataset_scripts.annotators.weights import read_weights, weights_file, weights_folder


SIDE = 224
"""Height and width of what the networks take, in pixels."""

_GRID, _PIECE = 7, 32
_MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)
_STD = np.array([58.395, 57.12, 57.375], dtype=np.float32)


def cut_fragments(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One 32 x 32 piece from a random place of each cell of a 7 x 7 grid, side by side; the places hold for the run.

    Args:
        frames (`np.ndarray` of shape `[T, H, W, 3]`, uint8): a run of frames; enlarged first where a side is shorter
            than 224 px.
        rng (`np.random.Generator`): draws the places.

    Returns:
        `np.ndarray` of shape `[T, 224, 224, 3]`, uint8.
    """
    height, width = frames.shape[1:3]
    scale = SIDE / min(height, width)
    if scale > 1:
        size = (max(SIDE, round(width * scale)), max(SIDE, round(height * scale)))
        frames = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR) for frame in frames])
        height, width = frames.shape[1:3]
    result = np.empty((len(frames), SIDE, SIDE, 3), np.uint8)
    for row in range(_GRID):
        for column in range(_GRID):
            top = row * (height // _GRID) + int(rng.integers(max(1, height // _GRID - _PIECE)))
            left = column * (width // _GRID) + int(rng.integers(max(1, width // _GRID - _PIECE)))
            y, x = row * _PIECE, column * _PIECE
            result[:, y : y + _PIECE, x : x + _PIECE] = frames[:, top : top + _PIECE, left : left + _PIECE]
    return result


def network_input(frames: np.ndarray) -> np.ndarray:
    """ImageNet normalisation: uint8 `[T, H, W, 3]` -> float32 `[3, T, H, W]`."""
    return np.ascontiguousarray(np.moveaxis((frames.astype(np.float32) - _MEAN) / _STD, 3, 0))


class FragmentNetwork(Annotator):
    """Base of the annotators of clips that are a network of its authors' package with the weights they published.

    Args:
        weights (`str` or `Path`, *optional*): folder with `weights_name`; by default what `VITAL_ANNOTATOR_WEIGHTS`
            names.
        device (`str`, *optional*): by default a GPU where there is one.

    Attributes:
        weights_name (`str`), weights_key (`str`, *optional*): the file of weights, and the entry of it that holds
            them; by default the file is the weights.
        package (`str`), repository (`str`): what is imported, and what messages say it is installed from.
        network (`str`), settings (`dict`): the class in `package.models`, and what it is made with.

    Raises:
        MissingPackageError: the package or the weights are not there, or the weights cannot be read safely or are
            those of another network.

    Note:
        Written against the published sources and tested against a small stand-in of their interface. The real models
        have not been run: their packages are in no registry, and their weights come from a network that our machines
        lack.
    """

    higher_is_better = True
    raw_range = (0.0, 1.0)
    needs_reference = False
    run = "not run: its package is in no registry"
    modality = "video"
    weights_name: ClassVar[str]
    weights_key: ClassVar[str | None] = None
    package: ClassVar[str]
    repository: ClassVar[str] = "their repository"
    network: ClassVar[str]
    settings: ClassVar[dict[str, Any]]

    def __init__(self, weights: str | Path | None = None, device: str | None = None) -> None:
        import torch

        super().__init__()
        path = weights_file(self.name, weights_folder(weights), self.weights_name)
        try:
            network = getattr(import_module(f"{self.package}.models"), self.network)
        except (ImportError, RuntimeError) as error:
            raise MissingPackageError(
                f"annotator {self.name!r} needs its authors' package {self.package}, installed from a clone of "
                f"{self.repository}, with torchvision and timm ({type(error).__name__}: {error})"
            ) from error
        finally:  # the import may have failed half way
            _restore_decord()
        with contextlib.redirect_stdout(sys.stderr):  # the packages print while they build a model
            model = network(**self.settings)
        content = read_weights(path)
        try:
            model.load_state_dict(content[self.weights_key] if self.weights_key else content)
        except (RuntimeError, KeyError) as error:
            raise MissingPackageError(f"{path} does not hold the weights of this network: {error}") from error
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.to(self.device).eval()


def _restore_decord() -> None:
    """Undoes what importing the authors' packages does to decord: it would hand out torch tensors everywhere."""
    try:
        import decord
    except ImportError:
        return
    decord.bridge.reset_bridge()
