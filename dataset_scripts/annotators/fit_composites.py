"""Finds the weights of the annotators that are weighted sums of statistics: `sharpness_noise` and `tone`.

    python -m dataset_scripts.annotators.fit_composites --photos DIR

Photos of the training split are distorted as in `fit_calibration`; the weights are those, none negative, whose sum
falls short of the mean human score of each fitted cell by the least squares. They are printed to two decimals, to be
written into `WEIGHTS` of the annotator; its version goes up with them.
"""

import argparse
import logging
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import nnls
from tqdm import tqdm

from dataset_scripts.annotators import sharpness_noise, tone
from dataset_scripts.annotators.fit_calibration import CELLS, cell_targets, fitted_rows
from dataset_scripts.annotators.kadid import PRISTINE_MOS
from dataset_scripts.annotators.photos import choose_photos
from dataset_scripts.distortions import DISTORTIONS, distort_image


@dataclass(frozen=True)
class Composite:
    """An annotator that is a weighted sum.

    Args:
        features (`Callable`): RGB uint8 `[H, W, 3]` -> float64 `[F]`.
        columns (`tuple[str, ...]`): their names.
        families (`tuple[str, ...]`): of the distortions it is to see; it is fitted on these.
    """

    features: Callable[[np.ndarray], np.ndarray]
    columns: tuple[str, ...]
    families: tuple[str, ...]


COMPOSITES = {
    "sharpness_noise": Composite(
        sharpness_noise.sharpness_features,
        sharpness_noise.FEATURES,
        tuple(dict.fromkeys(entry.family for entry in DISTORTIONS.values() if entry.modality == "image")),
    ),
    "tone": Composite(tone.tone_features, tone.FEATURES, ("color", "brightness", "sharpness_contrast")),
}


def fit_weights(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Least-squares weights, none negative, of the loss of quality.

    Args:
        features (`np.ndarray` of shape `[N, F]`): statistics of N pictures.
        targets (`np.ndarray` of shape `[N]`): mos in [0, 1].

    Returns:
        `np.ndarray` of shape `[F]`: weights w with `features @ w` near `PRISTINE_MOS - targets` up to a constant,
        which is not negative either.
    """
    design = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    return nnls(design, PRISTINE_MOS - targets)[0][:-1]


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: measures the statistics, fits, writes the weights to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--photos", required=True, help="folder with undistorted photos")
    parser.add_argument("--count", type=int, default=30, help="photos to use")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")

    cv2.setNumThreads(1)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in COMPOSITES}
    for file_name, photo in tqdm(choose_photos(arguments.photos, arguments.count, split="train"), unit="photo"):
        rng = np.random.default_rng(zlib.crc32(file_name.encode()))
        versions = [distort_image(photo, *cell, rng) for cell in CELLS] + [photo]
        for name, composite in COMPOSITES.items():
            rows[name].append(np.stack([composite.features(version) for version in versions]))
    targets = cell_targets()
    for name, composite in COMPOSITES.items():
        seen = [DISTORTIONS[cell[0]].family in composite.families for cell in CELLS] + [True]
        chosen = fitted_rows() & np.array(seen)
        measured = np.stack(rows[name])[:, chosen]
        weights = fit_weights(measured.reshape(-1, len(composite.columns)), np.tile(targets[chosen], len(measured)))
        sys.stdout.write(f"{name}: {dict(zip(composite.columns, weights.round(2).tolist(), strict=True))}\n")


if __name__ == "__main__":
    main()
