"""FAST-VQA through its authors' package `fastvqa` and the weights they published.

Wu et al.: FAST-VQA: efficient end-to-end video quality assessment with fragment sampling, ECCV 2022.

Note:
    Written against the published sources and tested against a small stand-in of their interface. The real model has
    not been run: its package is in no registry, and its weights come from a network that our machines lack.
"""

import contextlib
import sys
from pathlib import Path

import numpy as np

from dataset_scripts.annotators.base import Annotator, MissingPackageError
from dataset_scripts.annotators.fragments import cut_fragments, network_input, restore_decord
from dataset_scripts.annotators.weights import read_weights, weights_file, weights_folder


WEIGHTS_FILE = "FAST_VQA_B_1_4.pth"

_MODEL = {
    "backbone": {"fragments": {"checkpoint": False, "pretrained": None}},
    "backbone_size": "swin_tiny_grpb",
    "backbone_preserve_keys": "fragments",
    "divide_head": False,
    "vqa_head": {"in_channels": 768, "hidden_channels": 64},
}
_RUNS, _LENGTH, _STEP = 4, 32, 2
_SCORE_MEAN, _SCORE_STD = -0.110198185, 0.04178565


def run_indices(total: int) -> np.ndarray:
    """Frames of four runs of 32, every second frame, evenly over a clip that repeats where it is too short.

    Args:
        total (`int`): frames of the clip, at least 1.

    Returns:
        `np.ndarray` of shape `[4, 32]`, int64.
    """
    span = _LENGTH * _STEP
    gap = (total - span + 1) / _RUNS
    starts = (np.arange(_RUNS) * gap + gap / 2).astype(np.int64) if total >= span else np.zeros(_RUNS, np.int64)
    return (starts[:, None] + np.arange(_LENGTH) * _STEP) % total


class FastVQA(Annotator):
    """FAST-VQA-B in (0, 1), 1 best: the authors' logistic of the mean score of four runs.

    Args:
        weights (`str` or `Path`, *optional*): folder with `FAST_VQA_B_1_4.pth`; by default what
            `VITAL_ANNOTATOR_WEIGHTS` names.
        device (`str`, *optional*): by default a GPU where there is one.

    Raises:
        MissingPackageError: the package or the weights are not there, or the weights cannot be read safely.

    Note:
        The authors draw the places of the fragments anew at each call; here a clip of given size and length always
        gets the same ones.
    """

    name = "fast_vqa"
    version = "b-1x4"
    license = "MIT"
    higher_is_better = True
    raw_range = (0.0, 1.0)
    needs_reference = False
    run = "not run: its package is in no registry"
    modality = "video"
    reference = "Wu et al., ECCV 2022"

    def __init__(self, weights: str | Path | None = None, device: str | None = None) -> None:
        super().__init__()
        path = weights_file(self.name, weights_folder(weights), WEIGHTS_FILE)
        try:
            from fastvqa.models import DiViDeAddEvaluator
        except (ImportError, RuntimeError) as error:
            raise MissingPackageError(
                "annotator 'fast_vqa' needs its authors' package fastvqa, installed from a clone of their repository "
                f"FAST-VQA-and-FasterVQA, with torchvision and timm ({type(error).__name__}: {error})"
            ) from error
        finally:  # the import may have failed half way
            restore_decord()
        with contextlib.redirect_stdout(sys.stderr):  # the package prints while it builds the model
            model = DiViDeAddEvaluator(**_MODEL)
        self._model, self.device = load_network(model, path, device, key="state_dict")

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        import torch

        rng = np.random.default_rng(0)
        runs = [network_input(cut_fragments(item[indices], rng)) for indices in run_indices(len(item))]
        with torch.inference_mode():
            score = self._model({"fragments": torch.from_numpy(np.stack(runs)).to(self.device)}).mean().item()
        return float(1.0 / (1.0 + np.exp(-(score - _SCORE_MEAN) / _SCORE_STD)))


def load_network(model, path: Path, device: str | None, key: str | None = None) -> tuple:
    """Puts published weights into a network.

    Args:
        model (`torch.nn.Module`): the network.
        path (`Path`): weights file; only tensors and plain containers are read from it, never code.
        device (`str`, *optional*): by default a GPU where there is one.
        key (`str`, *optional*): entry of the file that holds the weights; by default the file is the weights.

    Returns:
        `tuple`: the network, in evaluation mode on its device, and the name of the device.

    Raises:
        MissingPackageError: the file holds more than weights, or not the network's.
    """
    import torch

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    content = read_weights(path)
    try:
        model.load_state_dict(content[key] if key else content)
    except (RuntimeError, KeyError) as error:
        raise MissingPackageError(f"{path} does not hold the weights of this network: {error}") from error
    return model.to(device).eval(), device
