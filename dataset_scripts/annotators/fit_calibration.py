"""Fits the calibration of every image annotator on human scores.

    python -m dataset_scripts.annotators.fit_calibration --photos DIR --output FILE

Photos of the training split are distorted by `dataset_scripts.distortions` (25 types x 5 severities). Each distorted
photo has the mean human score of its (type, severity) cell in KADID-10k as its target, each undistorted one
`PRISTINE_MOS`; the calibration is the monotone curve from the raw score to the target of least squared error, in
effect the human score to expect at that raw score. All annotators so come to one scale, and one that says little
stays near the middle. The held-out types are scored and reported but not fitted. An identical picture is held at
`PRISTINE_MOS` for annotators with a reference, though some of them cannot see colour. Annotators of frames take the
curve of their image annotator; temporal ones have no human table, and take the curves set by hand in
`temporal.py`. Annotators of the extra `annotators` that were never fitted take their published range as a straight
line.

Annotators of the picture itself (`by_rank`) have no human scale: their curve is the rank of a raw score among versions
of training photos with drawn histories, cut at several sizes.

Curves already in the file stay where their annotator is not fitted again.
"""

import argparse
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import nnls
from scipy.stats import spearmanr
from tqdm import tqdm

from dataset_scripts.annotators import ANNOTATORS, shared_annotator
from dataset_scripts.annotators.base import MissingPackageError
from dataset_scripts.annotators.human_scale import (
    DEFAULT_CALIBRATION,
    Calibration,
    load_calibrations,
    save_calibrations,
)
from dataset_scripts.annotators.kadid import HELD_OUT_TYPES, PRISTINE_MOS, human_mos
from dataset_scripts.annotators.photos import choose_photos
from dataset_scripts.annotators.temporal import temporal_calibrations
from dataset_scripts.distortions import IMAGE_DISTORTIONS, distort_image
from dataset_scripts.distortions.authentic import draw
from dataset_scripts.distortions.scene_rendering import render
from dataset_scripts.engines import LocalEngine
from modeling_vital.whole_files import require_output_folder


logger = logging.getLogger(__name__)

KNOTS = 12
RANK_KNOTS = 33
RANK_VERSIONS = 48
SEVERITIES = (1, 2, 3, 4, 5)
CELLS = tuple((name, severity) for name in IMAGE_DISTORTIONS for severity in SEVERITIES)
PUBLISHED_RANGES = {
    "topiq_nr": (0.0, 1.0),
    "liqe": (1.0, 5.0),
    "qualiclip": (0.0, 1.0),
    "qalign": (1.0, 5.0),
    "fast_vqa": (0.0, 1.0),
    "dover": (0.0, 1.0),
}
"""Worst and best raw score by the authors' word, for annotators that may never have run where the file was fitted."""

_PRISTINE_WEIGHT = 5.0
_IDENTITY_WEIGHT = 1e4


def score_photo(photo: np.ndarray, names: Sequence[str], seed: int) -> np.ndarray:
    """Raw scores of a photo and of its 125 distorted versions.

    Args:
        photo (`np.ndarray` of shape `[H, W, 3]`): RGB uint8.
        names (`Sequence[str]`): A image annotators.
        seed (`int`): of the distortions.

    Returns:
        `np.ndarray` of shape `[126, A]`, float64: rows in the order of `CELLS`, the undistorted photo last.
    """
    rng = np.random.default_rng(seed)
    versions = [distort_image(photo, name, severity, rng) for name, severity in CELLS] + [photo]
    references = [photo] * len(versions)
    renderings = versions
    if any(ANNOTATORS[name].of_rendering for name in names):
        renderings = [render(photo, [cell], np.random.default_rng(seed)) for cell in CELLS] + [photo]
    shown = {name: renderings if ANNOTATORS[name].of_rendering else versions for name in names}
    return np.stack([shared_annotator(name).score_batch(shown[name], references) for name in names], axis=1)


def _score_job(job: tuple[str, np.ndarray, Sequence[str]]) -> np.ndarray:
    file_name, photo, names = job
    cv2.setNumThreads(1)
    return score_photo(photo, names, seed=zlib.crc32(file_name.encode()))


def score_photos(
    photos: Sequence[tuple[str, np.ndarray]], names: Sequence[str], workers: int, save: str | None
) -> np.ndarray:
    """[`score_photo`] of P photos: float64 `[P, 126, A]`, also written to `save`. The seed is of the name."""
    jobs = [(file_name, photo, names) for file_name, photo in photos]
    with LocalEngine(workers) as engine:
        scored = tqdm(engine.map(_score_job, jobs), total=len(jobs), desc="scoring photos")
        raw = np.stack([scores for _, scores in scored])
    if save:
        np.savez_compressed(save, raw=raw, names=names, photos=[name for name, _ in photos])
    return raw


def cell_targets() -> np.ndarray:
    """Human score of each row of [`score_photo`]: float64 `[126]` in [0, 1]."""
    return np.array([human_mos(*cell) for cell in CELLS] + [PRISTINE_MOS])


def fitted_rows() -> np.ndarray:
    """Rows of [`score_photo`] that are fitted on: bool `[126]`, False for the held-out types."""
    return np.array([name not in HELD_OUT_TYPES for name, _ in CELLS] + [True])


def fit_monotone(
    raw: np.ndarray, target: np.ndarray, weight: np.ndarray, direction: int, best: float
) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares monotone broken line.

    Args:
        raw (`np.ndarray` of shape `[N]`): raw scores, finite.
        target (`np.ndarray` of shape `[N]`): in [0, 1], 1 best.
        weight (`np.ndarray` of shape `[N]`): of each pair, > 0.
        direction (`int`): 1 where higher raw is better, else -1.
        best (`float`): raw score of a flawless item; where finite it is a knot.

    Returns:
        `tuple`: knots `[K]`, at most 12, on quantiles of `raw` and strictly rising, and their
            scores `[K]` in [0, 1], monotone in `direction`.
    """
    x, end = raw * direction, best * direction
    places = np.quantile(x, np.linspace(0.0, 1.0, KNOTS - 1))
    if np.isfinite(end):
        places = np.append(places[places < end], end)
    spread = places[-1] - places[0]
    places = places[np.concatenate([np.diff(places) > 1e-4 * spread, [True]])]
    # The line is a start value plus a step from each knot to the next; steps that are not negative make it rise.
    lower, width = places[:-1], np.diff(places)
    rise = np.clip((x[:, None] - lower) / width, 0.0, 1.0)
    design = np.concatenate([np.ones((len(x), 1)), rise], axis=1)
    root = np.sqrt(weight)
    steps, _ = nnls(design * root[:, None], target * root)
    score = np.clip(np.cumsum(steps), 0.0, 1.0)
    return (places, score) if direction == 1 else (-places[::-1], score[::-1])


def fit_annotator(name: str, raw: np.ndarray, fitted_on: str) -> Calibration:
    """Calibration of one annotator.

    Args:
        name (`str`): image annotator.
        raw (`np.ndarray` of shape `[P, 126]`): its column of [`score_photos`].
        fitted_on (`str`): description of the photos.

    Raises:
        ArithmeticError: more than a tenth of the pictures could not be scored.
    """
    rows = fitted_rows()
    targets = np.broadcast_to(cell_targets(), raw.shape)[:, rows].ravel()
    annotator = ANNOTATORS[name]
    weights = np.ones(raw.shape)
    weights[:, -1] = _IDENTITY_WEIGHT if annotator.needs_reference else _PRISTINE_WEIGHT
    values, weights = raw[:, rows].ravel(), weights[:, rows].ravel()
    scored = np.isfinite(values)
    if scored.mean() < 0.9:
        raise ArithmeticError(f"annotator {name!r} failed on {np.sum(~scored)} of {len(values)} pictures")
    direction = 1 if annotator.higher_is_better else -1
    best = annotator.raw_range[direction == 1] if annotator.needs_reference else np.inf
    knots, score = fit_monotone(values[scored], targets[scored], weights[scored], direction, best)
    params = {"raw": [float(f"{x:.6g}") for x in knots], "score": [round(float(y), 4) for y in score]}
    return Calibration(annotator.version, "piecewise_linear", params, direction, fitted_on, int(scored.sum()))


def rank_scores(photos: Sequence[tuple[str, np.ndarray]], names: Sequence[str], versions: int) -> np.ndarray:
    """Raw scores of versions of photos as training sees them: a part of a photo, with a drawn history.

    Args:
        photos (`Sequence[tuple[str, np.ndarray]]`): name and RGB uint8 `[H, W, 3]`.
        names (`Sequence[str]`): A annotators with `of_rendering`.
        versions (`int`): of each photo; a sixth of them undamaged.

    Returns:
        `np.ndarray` of shape `[P * versions, A]`, float64.
    """
    rows = []
    for file_name, photo in tqdm(photos, desc="drawing histories"):
        rng = np.random.default_rng(zlib.crc32(file_name.encode()))
        for number in range(versions):
            side = int(rng.choice((128, 192, 256, 384)))
            top, left = (int(rng.integers(0, max(1, length - side + 1))) for length in photo.shape[:2])
            part = np.ascontiguousarray(photo[top : top + side, left : left + side])
            rendering = part if number % 6 == 0 else draw(rng).render(part, rng)
            rows.append([shared_annotator(name).score(rendering) for name in names])
    return np.array(rows)


def fit_rank(name: str, raw: np.ndarray, fitted_on: str) -> Calibration:
    """Calibration by rank: the share of `raw` (`np.ndarray` of shape `[N]`) that is worse, as a broken line."""
    direction = 1 if ANNOTATORS[name].higher_is_better else -1
    knots, first = np.unique(np.quantile(raw, np.linspace(0, 1, RANK_KNOTS)), return_index=True)
    score = np.linspace(0, 1, RANK_KNOTS)[first]
    score = score if direction == 1 else 1 - score
    params = {"raw": [float(f"{x:.6g}") for x in knots], "score": [round(float(y), 4) for y in score]}
    return Calibration(ANNOTATORS[name].version, "piecewise_linear", params, direction, fitted_on, len(raw))


def published_calibrations() -> dict[str, Calibration]:
    """Straight lines over `PUBLISHED_RANGES`: annotator name -> [`Calibration`] with n = 0."""
    return {
        name: Calibration(
            ANNOTATORS[name].version,
            "piecewise_linear",
            {"raw": [low, high], "score": [0.0, 1.0]},
            1,
            "published range, not fitted; where the package runs, fit it with fit_calibration",
            0,
        )
        for name, (low, high) in PUBLISHED_RANGES.items()
    }


def cell_srcc(scores: np.ndarray) -> tuple[float, float]:
    """Agreement with human cell means.

    Args:
        scores (`np.ndarray` of shape `[P, 126]`): 1 best; NaN is skipped.

    Returns:
        `tuple`: Spearman correlation of the means over photos with the human means, over the 110 fitted cells and
        over the 15 held-out cells.
    """
    means, humans, fitted = np.nanmean(scores, axis=0)[:-1], cell_targets()[:-1], fitted_rows()[:-1]
    return spearmanr(means[fitted], humans[fitted])[0], spearmanr(means[~fitted], humans[~fitted])[0]


def available_image_annotators() -> list[str]:
    """Image annotators whose packages and files are there, but for those of the extra `annotators`: name these."""
    names = []
    for name, annotator in ANNOTATORS.items():
        if annotator.modality != "image" or name in PUBLISHED_RANGES:
            continue
        try:
            shared_annotator(name)
            names.append(name)
        except MissingPackageError as error:
            logger.warning("skipped: %s", error)
    return names


def photo_arguments(argv: Sequence[str] | None, description: str, output: Path, count: int) -> argparse.Namespace:
    """Reads the command line of a program that scores photos; its docstring and two defaults are its own."""
    parser = argparse.ArgumentParser(description=description.split("\n", 1)[0])
    parser.add_argument("--photos", required=True, help="folder with undistorted photos")
    parser.add_argument("--output", default=str(output), help="file to write (default: %(default)s)")
    parser.add_argument("--count", type=int, default=count, help="photos to use (default: %(default)s)")
    parser.add_argument("--annotators", nargs="+", help="names; by default all that run here but those of the extra")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--scores", help="also save the raw scores as .npz")
    arguments = parser.parse_args(argv)
    require_output_folder(parser, "--output", Path(arguments.output).parent)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    arguments.annotators = arguments.annotators or available_image_annotators()
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: scores, fits, reports, writes."""
    arguments = photo_arguments(argv, __doc__, DEFAULT_CALIBRATION, 30)
    names = arguments.annotators
    photos = choose_photos(arguments.photos, arguments.count, split="train")
    ranked, names = [n for n in names if ANNOTATORS[n].by_rank], [n for n in names if not ANNOTATORS[n].by_rank]
    raw = score_photos(photos, names, arguments.workers, arguments.scores) if names else np.empty((len(photos), 0, 0))
    fitted_on = f"{len(photos)} training photos of 512 x 384 x 22 KADID-10k types x 5 levels against mean human scores"
    output = Path(arguments.output)
    calibrations = {**published_calibrations(), **(load_calibrations(output) if output.is_file() else {})}
    calibrations.update(temporal_calibrations())
    for index, name in enumerate(names):
        calibrations[name] = fit_annotator(name, raw[..., index], fitted_on)
        fitted, held_out = cell_srcc(calibrations[name](raw[..., index]))
        logger.info("%-16s SRCC with human cell means %.3f, held-out types %.3f", name, fitted, held_out)
    if ranked:
        drawn = rank_scores(photos, ranked, RANK_VERSIONS)
        seen = f"rank among {len(drawn)} versions with drawn histories of {len(photos)} training photos, 128 to 384 px"
        calibrations.update({name: fit_rank(name, drawn[:, i], seen) for i, name in enumerate(ranked)})
    calibrations.update({f"frame_{n}": c for n, c in calibrations.items() if f"frame_{n}" in ANNOTATORS})
    save_calibrations(calibrations, output)
    logger.info("wrote %s", output)


if __name__ == "__main__":
    main()
