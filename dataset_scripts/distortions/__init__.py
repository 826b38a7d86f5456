"""Synthetic distortions: the 25 image types of KADID-10k and a set of video types, each at five severities."""

from dataset_scripts.distortions.catalogue import (
    DISTORTIONS,
    IMAGE_DISTORTIONS,
    SEVERITY_WORDS,
    VIDEO_DISTORTIONS,
    Distortion,
    distort_clip,
    distort_image,
    get_distortion,
    tag,
)


__all__ = [
    "DISTORTIONS",
    "IMAGE_DISTORTIONS",
    "SEVERITY_WORDS",
    "VIDEO_DISTORTIONS",
    "Distortion",
    "distort_clip",
    "distort_image",
    "get_distortion",
    "tag",
]
