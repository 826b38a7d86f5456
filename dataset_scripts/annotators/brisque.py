"""BRISQUE, as OpenCV's contrib module `quality` computes it.

Mittal, Moorthy, Bovik: No-reference image quality assessment in the spatial domain, IEEE TIP 2012.

OpenCV's wheels lack the two model files. They are part of its contrib sources (`modules/quality/samples`) and of
Debian's and Ubuntu's package `opencv-doc`, from which they can be had without root:

    apt-get download opencv-doc && dpkg -x opencv-doc_*.deb opencv-doc
    export VITAL_BRISQUE_DIR=$PWD/opencv-doc/usr/share/doc/opencv-doc/examples/quality
"""

import os
from pathlib import Path

import cv2
import numpy as np

from dataset_scripts.annotators.base import Annotator, MissingPackageError


MODEL_VARIABLE = "VITAL_BRISQUE_DIR"
"""Environment variable naming the folder with the two model files."""

MODEL_FILES = ("brisque_model_live.yml", "brisque_range_live.yml")


class Brisque(Annotator):
    """BRISQUE score in [0, 100], 0 best.

    Args:
        directory (`str` or `Path`, *optional*): folder with `brisque_model_live.yml` and `brisque_range_live.yml`; by
            default the one named by the environment variable `VITAL_BRISQUE_DIR`.

    Raises:
        MissingPackageError: OpenCV has no `quality` module, or the model files are not there.
    """

    name = "brisque"
    version = "opencv-live-1"
    license = "Apache-2.0"
    higher_is_better = False
    raw_range = (0.0, 100.0)
    needs_reference = False
    reference = "Mittal, Moorthy, Bovik, IEEE TIP 2012"

    def __init__(self, directory: str | Path | None = None) -> None:
        super().__init__()
        if not hasattr(cv2, "quality"):
            raise MissingPackageError(
                "annotator 'brisque' needs OpenCV's contrib module quality: install opencv-contrib-python-headless "
                "in place of opencv-python-headless (not beside it)"
            )
        directory = directory or os.environ.get(MODEL_VARIABLE)
        if directory is None:
            raise MissingPackageError(
                f"annotator 'brisque' needs {' and '.join(MODEL_FILES)}, which come with OpenCV's contrib sources and "
                f"the package opencv-doc of Debian and Ubuntu: give their folder as directory= or set {MODEL_VARIABLE}"
            )
        paths = [Path(directory) / file for file in MODEL_FILES]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise MissingPackageError(f"annotator 'brisque' found no {' and '.join(missing)} in {directory}")
        self._model = cv2.quality.QualityBRISQUE_create(*(str(path) for path in paths))

    def _score(self, item: np.ndarray, reference: np.ndarray | None) -> float:
        if (item == item[0, 0]).all():
            raise ArithmeticError("BRISQUE has no value for a picture of one colour (OpenCV would call it flawless)")
        return float(self._model.compute(cv2.cvtColor(item, cv2.COLOR_RGB2BGR))[0])
