"""Measures the image annotators on originals that nothing was fitted on, and writes the table of `MEASURED.md`.

    python -m dataset_scripts.annotators.measure --photos DIR

Photos of the test split are distorted at every type and severity. An annotator is compared with the severities within
each photo and type, and with the mean human scores of KADID-10k over the cells.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from dataset_scripts.annotators import ANNOTATORS, shared_annotator
from dataset_scripts.annotators.fit_calibration import (
    CELLS,
    cell_srcc,
    cell_targets,
    photo_arguments,
    score_photos,
)
from dataset_scripts.annotators.human_scale import get_calibration
from dataset_scripts.annotators.photos import choose_photos
from dataset_scripts.distortions import DISTORTIONS


logger = logging.getLogger(__name__)

MEASURED = Path(__file__).with_name("MEASURED.md")

FAMILIES = tuple(dict.fromkeys(DISTORTIONS[name].family for name, _ in CELLS))


def follows_severity(scores: np.ndarray) -> dict[str, float]:
    """Measures how well scores fall with severity, by family of distortion.

    Args:
        scores (`np.ndarray` of shape `[P, 126]`): 1 best, rows as in `score_photo`; NaN is skipped.

    Returns:
        `dict[str, float]`: family -> mean over photos and types of the Spearman correlation between the score and
        minus the severity, the undistorted photo as severity 0. A photo and type of one constant score counts 0.
    """
    names = np.array([name for name, _ in CELLS])
    found: dict[str, list[float]] = {family: [] for family in FAMILIES}
    for name in dict.fromkeys(names):
        columns = [len(CELLS), *np.flatnonzero(names == name)]
        for row in scores[:, columns]:
            given = np.isfinite(row)
            constant = given.sum() < 3 or np.ptp(row[given]) == 0
            srcc = 0.0 if constant else spearmanr(row[given], -np.arange(len(row))[given])[0]
            found[DISTORTIONS[name].family].append(srcc)
    return {family: float(np.mean(values)) for family, values in found.items()}


def seconds_a_picture(name: str, photo: np.ndarray) -> float:
    """Wall-clock seconds of one score of a 512 x 384 picture, least of five."""
    annotator, other = shared_annotator(name), np.roll(photo, 1, axis=0)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        annotator.score(other, photo)
        taken.append(time.perf_counter() - start)
    return min(taken)


def table(raw: np.ndarray, names: Sequence[str], photo: np.ndarray) -> str:
    """The measurements as a Markdown table.

    Args:
        raw (`np.ndarray` of shape `[P, 126, A]`): of `score_photos`.
        names (`Sequence[str]`): the A annotators.
        photo (`np.ndarray` of shape `[H, W, 3]`): to time them on.
    """
    head = ["annotator", "reference", "ms", *FAMILIES, "human", "human, held out", "error"]
    lines = ["| " + " | ".join(head).replace("_", " ") + " |", "|" + "---|" * len(head)]
    humans = cell_targets()
    for index, name in enumerate(names):
        scores = get_calibration(name)(raw[..., index])
        signed = raw[..., index] * (1 if ANNOTATORS[name].higher_is_better else -1)
        ordered = follows_severity(signed)
        human = cell_srcc(signed)
        error = float(np.nanmean(np.abs(np.nanmean(scores, axis=0) - humans)))
        cells = [
            f"{name} {ANNOTATORS[name].version}",
            "yes" if ANNOTATORS[name].needs_reference else "no",
            f"{1000 * seconds_a_picture(name, photo):.1f}",
            *(f"{ordered[family]:.2f}" for family in FAMILIES),
            *(f"{srcc:.2f}" for srcc in human),
            f"{error:.3f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: scores, measures, writes the table."""
    arguments = photo_arguments(argv, __doc__, MEASURED, 20)
    names = arguments.annotators
    photos = choose_photos(arguments.photos, arguments.count, split="test")
    raw = score_photos(photos, names, arguments.workers, arguments.scores)
    text = f"""# What the image annotators see

Made by `python -m dataset_scripts.annotators.measure` on {len(photos)} photos of the test split, 512 x 384, none of
which any annotator or calibration was fitted on; 25 types of distortion at 5 severities.

- By family: mean Spearman correlation of the raw score, turned so that 1 is best, with minus the severity, within a
  photo and a type; 1 follows every severity, 0 sees nothing.
- human: Spearman correlation of the mean score of a (type, severity) cell with its mean human score in KADID-10k,
  over the 110 fitted cells and over the 15 cells of the held-out types.
- error: mean absolute difference between the calibrated mean of a cell and its mean human score.
- ms: one picture on one thread of a CPU.

{table(raw, names, photos[0][1])}"""
    Path(arguments.output).write_text(text, encoding="utf-8")
    logger.info("wrote %s", arguments.output)


if __name__ == "__main__":
    main()
