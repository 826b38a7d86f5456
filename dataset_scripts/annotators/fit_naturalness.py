"""Fits the model of undistorted photos behind the `naturalness` annotator.

    python -m dataset_scripts.annotators.fit_naturalness --photos DIR --output FILE

Only photos of the training split are used, and the first of them are left to `fit_calibration`, so that the two fits
share none.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataset_scripts.annotators.naturalness import PRISTINE_MODEL, fit_pristine
from dataset_scripts.annotators.photos import choose_photos
from modeling_vital.whole_files import require_output_folder


logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: reads photos, fits, writes an npz with `mean`, `covariance` and `n` (photos)."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--photos", required=True, help="folder with undistorted photos")
    parser.add_argument("--output", default=str(PRISTINE_MODEL), help="model file to write")
    parser.add_argument("--count", type=int, default=150, help="photos to use")
    parser.add_argument("--skip", type=int, default=30, help="photos at the beginning to skip")
    arguments = parser.parse_args(argv)
    require_output_folder(parser, "--output", Path(arguments.output).parent)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

    photos = choose_photos(arguments.photos, arguments.count, skip=arguments.skip, split="train")
    if len(photos) < 20:
        raise SystemExit(f"{len(photos)} usable photos; 20 or more are needed")
    mean, covariance = fit_pristine(photo for _, photo in photos)
    np.savez(arguments.output, mean=mean, covariance=covariance, n=len(photos))
    logger.info("fitted on %d photos, wrote %s", len(photos), arguments.output)


if __name__ == "__main__":
    main()
