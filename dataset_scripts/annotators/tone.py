"""Tone: exposure and saturation in one number, the annotator of what the other no-reference ones hardly see.

Own composite of elementary statistics; no publication. CIELAB from OpenCV.
"""

import cv2
import numpy as np

from dataset_scripts.annotators.base import Annotator, shrink, viewing_factor


FEATURES = ("bright", "clipped", "gray")
"""Names of the columns of [`tone_features`]."""

WEIGHTS = np.array([0.12, 0.39, 0.14])
"""Of each feature in the score; least squares on the KADID-10k cell means, by `fit_composites`."""

_BRIGHT = 60.0
_GRAY = 12.0


def tone_features(image: np.ndarray) -> np.ndarray:
    """Distance of a picture from the range of ordinary photos, statistic by statistic.

    Args:
        image (`np.ndarray` of shape `[H, W, 3]`, uint8): RGB.

    Returns:
        `np.ndarray` of shape `[3]`, float64, each about 0 for an ordinary photo and 1 at its worst: mean lightness
        above 60; share of the pixels with a channel at 0 or 255; mean chroma below 12.

    Note:
        Darkness, gaudiness, low contrast and banding were tried beside these: clipping already tells of the first two,
        and the human scores mind the others little. Least squares gave them no weight.
    """
    lab = cv2.cvtColor(shrink(image, viewing_factor(image)) / 255.0, cv2.COLOR_RGB2LAB)
    lightness, chroma = (
        float(plane.mean(dtype=np.float64)) for plane in (lab[..., 0], cv2.magnitude(lab[..., 1], lab[..., 2]))
    )
    return np.array(
        [
            max(lightness - _BRIGHT, 0.0) / (100.0 - _BRIGHT),
            float(((image == 0) | (image == 255)).any(axis=2).mean()),
            max(_GRAY - chroma, 0.0) / _GRAY,
        ]
    )


class Tone(Annotator):
    """Weighted sum of the three deviations of [`tone_features`]; 0 best, about .5 for the worst.

    Note:
        Without the original nobody can tell a grey photo from one whose colour was taken away: photos that are dark,
        pale or gaudy on purpose are scored down. Blur takes away clipped pixels, and so is scored up a little: one
        annotator among others, never alone.
    """

    name = "tone"
    version = "1"
    license = "own"
    higher_is_better = False
    raw_range = (0.0, np.inf)
    needs_reference = False

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        return float(tone_features(item) @ WEIGHTS)
