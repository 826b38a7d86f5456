"""DOVER through its authors' package `dover` and the weights they published.

Wu et al.: Exploring video quality assessment on user generated contents from aesthetic and technical perspectives,
ICCV 2023.
"""

import cv2
import numpy as np

from dataset_scripts.annotators.fragments import SIDE, FragmentNetwork, cut_fragments, network_input


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


class DOVER(FragmentNetwork):
    """DOVER in (0, 1), 1 best: the authors' fusion of the technical and the aesthetic score.

    Note:
        Building the network fetches ImageNet weights that are then overwritten, so the first use needs a network.
        The authors draw frames and fragments anew at each call; here a clip of given size and length always gets the
        same ones.
    """

    name = "dover"
    version = "1"
    license = "S-Lab License 1.0 (non-commercial)"
    reference = "Wu et al., ICCV 2023"
    weights_name = "DOVER.pth"
    package = "dover"
    network = "DOVER"
    settings = {
        "backbone": {
            "technical": {"type": "swin_tiny_grpb", "checkpoint": True, "pretrained": None},
            "aesthetic": {"type": "conv_tiny"},
        },
        "backbone_preserve_keys": "technical,aesthetic",
        "divide_head": True,
        "vqa_head": {"in_channels": 768, "hidden_channels": 64},
    }

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
