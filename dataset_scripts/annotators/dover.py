"""DOVER through its authors' package `dover` and the weights they published.

Wu et al.: Exploring video quality assessment on user generated contents from aesthetic and technical perspectives,
ICCV 2023.

Note:
    Written against the published sources and tested against a small stand-in of their interface. The real model has
    not been run: its package is in no registry, and its weights come from a network that our machines lack.
"""

import contextlib
import sys
from pathlib import Path

import cv2
import numpy as np

from dataset_scripts.annotators.base import Annotator, MissingPackageError
from dataset_scripts.annotators.fast_vqa import load_network
from dataset_scripts.annotators.fragments import SIDE, cut_fragments, network_input, restore_decord
from dataset_scripts.annotators.weights import weights_file, weights_folder


WEIGHTS_FILE = "DOVER.pth"

_MODEL = {
    "backbone": {
        "technical": {"type": "swin_tiny_grpb", "checkpoint": True, "pretrained": None},
        "aesthetic": {"type": "conv_tiny"},
    },
    "backbone_preserve_keys": "technical,aesthetic",
    "divide_head": True,
    "vqa_head": {"in_channels": 768, "hidden_channels": 64},
}
_LENGTH, _STEP, _TECHNICAL_RUNS = 32, 2, 3
_TECHNICAL = (0.1107, 0.07355, 0.6104)  # mean, standard deviation and weight of the authors' fusion
_AESTHETIC = (-0.08285, 0.03774, 0.3896)


def segment_indices(total: int, segments: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """A run of frames, every second one, from a random place of each of equal parts of a clip.

    Args:
        total (`int`): frames of the clip, at least 1; it repeats where it is too short.
        segments (`int`): parts.
        length (`int`): frames of a run.
        rng (`np.random.Generator`): draws the places.

    Returns:
        `np.ndarray` of shape `[segments, length]`, int64.
    """
    part = total // segments
    room = part - length * _STEP
    starts = np.arange(segments) * part + (rng.integers(0, room, segments) if room > 0 else 0)
    return (starts[:, None] + np.arange(length) * _STEP) % total


class DOVER(Annotator):
    """DOVER in (0, 1), 1 best: the authors' fusion of the technical and the aesthetic score.

    Args:
        weights (`str` or `Path`, *optional*): folder with `DOVER.pth`; by default what
            `VITAL_ANNOTATOR_WEIGHTS` names.
        device (`str`, *optional*): by default a GPU where there is one.

    Raises:
        MissingPackageError: the package or the weights are not there, or the weights cannot be read safely.

    Note:
        Building the network fetches ImageNet weights that are then overwritten, so the first use needs a network.
        The authors draw frames and fragments anew at each call; here a clip of given size and length always gets the
        same ones.
    """

    name = "dover"
    version = "1"
    license = "S-Lab License 1.0 (non-commercial)"
    higher_is_better = True
    raw_range = (0.0, 1.0)
    needs_reference = False
    run = "not run: its package is in no registry"
    modality = "video"
    reference = "Wu et al., ICCV 2023"

    def __init__(self, weights: str | Path | None = None, device: str | None = None) -> None:
        super().__init__()
        path = weights_file(self.name, weights_folder(weights), WEIGHTS_FILE)
        try:
            from dover.models import DOVER as Network
        except (ImportError, RuntimeError) as error:
            raise MissingPackageError(
                "annotator 'dover' needs its authors' package dover, installed from a clone of their repository, "
                f"with torchvision and timm ({type(error).__name__}: {error})"
            ) from error
        finally:  # the import may have failed half way
            restore_decord()
        with contextlib.redirect_stdout(sys.stderr):  # the package prints while it builds the model
            model = Network(**_MODEL)
        self._model, self.device = load_network(model, path, device)

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        import torch

        rng = np.random.default_rng(0)
        runs = segment_indices(len(item), _TECHNICAL_RUNS, _LENGTH, rng)
        technical = np.stack([network_input(cut_fragments(item[indices], rng)) for indices in runs])
        chosen = item[segment_indices(len(item), _LENGTH, 1, rng)[:, 0]]
        small = np.stack([cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in chosen])
        views = {"technical": technical, "aesthetic": network_input(small)[None]}
        with torch.inference_mode():
            scores = self._model({key: torch.from_numpy(view).to(self.device) for key, view in views.items()})
        total = 0.0
        for score, (mean, std, weight) in zip(scores, (_TECHNICAL, _AESTHETIC), strict=True):
            total += weight * (score.mean().item() - mean) / std
        return float(1.0 / (1.0 + np.exp(-total)))
