"""FAST-VQA through its authors' package `fastvqa` and the weights they published.

Wu et al.: FAST-VQA: efficient end-to-end video quality assessment with fragment sampling, ECCV 2022.
"""

import numpy as np

from dataset_scripts.annotators.fragments import FragmentNetwork, cut_fragments, network_input


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


class FastVQA(FragmentNetwork):
    """FAST-VQA-B in (0, 1), 1 best: the authors' logistic of the mean score of four runs.

    Note:
        The authors draw the places of the fragments anew at each call; here a clip of given size and length always
        gets the same ones.
    """

    name = "fast_vqa"
    version = "b-1x4"
    license = "MIT"
    reference = "Wu et al., ECCV 2022"
    weights_name = "FAST_VQA_B_1_4.pth"
    weights_key = "state_dict"
    package = "fastvqa"
    repository = "their repository FAST-VQA-and-FasterVQA"
    network = "DiViDeAddEvaluator"
    settings = {
        "backbone": {"fragments": {"checkpoint": False, "pretrained": None}},
        "backbone_size": "swin_tiny_grpb",
        "backbone_preserve_keys": "fragments",
        "divide_head": False,
        "vqa_head": {"in_channels": 768, "hidden_channels": 64},
    }

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        import torch

        rng = np.random.default_rng(0)
        runs = [network_input(cut_fragments(item[indices], rng)) for indices in run_indices(len(item))]
        with torch.inference_mode():
            score = self._model({"fragments": torch.from_numpy(np.stack(runs)).to(self.device)}).mean().item()
        return float(1.0 / (1.0 + np.exp(-(score - _SCORE_MEAN) / _SCORE_STD)))
