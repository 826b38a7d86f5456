"""Machine annotators: models and formulas that give a picture or a clip one quality score.

Example:

    >>> import numpy as np
    >>> from dataset_scripts.annotators import get_annotator
    >>> original = np.full((64, 64, 3), 128, np.uint8)
    >>> get_annotator("gmsd").score(original, reference=original)
    0.0

How to add one is in CONTRIBUTING.md.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from dataset_scripts.annotators.base import Annotator, MissingPackageError


__all__ = ["ANNOTATORS", "Annotator", "AnnotatorTable", "MissingPackageError", "get_annotator", "shared_annotator"]

_CLASSES = {
    "ssim": "ssim:SSIM",
    "gmsd": "gmsd:GMSD",
    "mdsi": "mdsi:MDSI",
    "haarpsi": "haarpsi:HaarPSI",
    "vsi": "vsi:VSI",
    "naturalness": "naturalness:Naturalness",
    "blockiness": "blockiness:Blockiness",
    "sharpness_noise": "sharpness_noise:SharpnessNoise",
    "brisque": "brisque:Brisque",
    "piqe": "piqe:PIQE",
    "tone": "tone:Tone",
    "detail": "picture:Detail",
    "exposure": "picture:Exposure",
    "topiq_nr": "pyiqa_models:TOPIQ",
    "liqe": "pyiqa_models:LIQE",
    "qualiclip": "pyiqa_models:QualiCLIP",
    "qalign": "pyiqa_models:QAlign",
    "frame_ssim": "temporal:FrameSSIM",
    "frame_gmsd": "temporal:FrameGMSD",
    "frame_mdsi": "temporal:FrameMDSI",
    "frame_haarpsi": "temporal:FrameHaarPSI",
    "frame_naturalness": "temporal:FrameNaturalness",
    "frame_sharpness_noise": "temporal:FrameSharpnessNoise",
    "frame_piqe": "temporal:FramePIQE",
    "frame_detail": "temporal:FrameDetail",
    "temporal_gradient": "temporal:TemporalGradient",
    "jerkiness": "temporal:Jerkiness",
    "flicker": "temporal:Flicker",
    "frame_qalign": "pyiqa_models:FrameQAlign",
    "fast_vqa": "fast_vqa:FastVQA",
    "dover": "dover:DOVER",
}


class AnnotatorTable(Mapping[str, type[Annotator]]):
    """Name -> annotator class; a class is imported when it is first looked up.

    Args:
        classes (`dict[str, str]`): name -> `module:Class`, the module relative to this package.
    """

    def __init__(self, classes: dict[str, str]) -> None:
        self._classes = classes

    def __getitem__(self, name: str) -> type[Annotator]:
        module, _, cls = self._classes[name].partition(":")
        return getattr(import_module(f"{__name__}.{module}"), cls)

    def __contains__(self, name: object) -> bool:
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


ANNOTATORS = AnnotatorTable(_CLASSES)


def get_annotator(name: str, **options: Any) -> Annotator:
    """Makes an annotator.

    Args:
        name (`str`): key in `ANNOTATORS`.
        **options: passed to its class.

    Returns:
        [`Annotator`]: ready to score.

    Raises:
        ValueError: no annotator has this name; the message lists those there are.
        MissingPackageError: its package or files are missing; the message says how to get them.
    """
    if name not in ANNOTATORS:
        raise ValueError(f"unknown annotator {name!r}; known are {', '.join(sorted(ANNOTATORS))}")
    return ANNOTATORS[name](**options)


@cache
def shared_annotator(name: str) -> Annotator:
    """The annotator of this name with its default options: made once a process, for large models take long to load."""
    return get_annotator(name)
