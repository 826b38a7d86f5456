"""Brings raw scores to one human-anchored scale: [0, 1], 1 best.

A calibration is a monotone curve for one annotator in one version, stored in `data/calibration.json` and written by
`python -m dataset_scripts.annotators.fit_calibration`.

Example:

    >>> from dataset_scripts.annotators.human_scale import annotate_item
    >>> annotate_item(distorted, original, ["gmsd", "mdsi", "haarpsi"])  # doctest: +SKIP
    {'gmsd': 0.41, 'mdsi': 0.38, 'haarpsi': 0.44}
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dataset_scripts.annotators import ANNOTATORS, shared_annotator


DEFAULT_CALIBRATION = Path(__file__).parent / "data" / "calibration.json"
FORMAT = 1

VERSION = "2"
"""Of the curves as a whole, stored with them; goes up with every refit. 2: fitted on training originals only."""


class CalibrationError(ValueError):
    """A calibration is missing, malformed or for another version of the annotator."""


@dataclass(frozen=True)
class Calibration:
    """A monotone curve from the raw score of one annotator to [0, 1], 1 best.

    Args:
        version (`str`): of the annotator whose raw scores it maps.
        kind (`str`):
            `"piecewise_linear"`: params `{"raw": [K], "score": [K]}`, `raw` rising; constant beyond the end knots.
            `"logistic4"`: params `{"low", "high", "centre", "width"}`, with `width` > 0:
            `low + (high - low) / (1 + exp(-s (raw - centre) / width))`, s = 1 where higher raw is better, else -1.
        params (`dict`): see `kind`.
        direction (`int`): 1 where a higher raw score is better, -1 where a lower one is.
        fitted_on (`str`): what it was fitted on, in words.
        n (`int`): number of pictures behind it, 0 for a curve set by hand.
    """

    version: str
    kind: Literal["piecewise_linear", "logistic4"]
    params: dict[str, Any]
    direction: int
    fitted_on: str
    n: int

    def __post_init__(self) -> None:
        if self.direction not in (1, -1):
            raise CalibrationError(f"direction must be 1 or -1, got {self.direction!r}")
        if self.kind == "piecewise_linear":
            raw, score = np.asarray(self.params["raw"], float), np.asarray(self.params["score"], float)
            if raw.ndim != 1 or raw.shape != score.shape or len(raw) < 2 or (np.diff(raw) <= 0).any():
                raise CalibrationError("piecewise_linear needs two or more knots, raw strictly rising")
            ends = np.concatenate([score, [0.0, 1.0]])
            if (np.diff(score) * self.direction < 0).any() or ends.min() < 0 or ends.max() > 1:
                raise CalibrationError("piecewise_linear scores must be monotone in the stated direction, in [0, 1]")
        elif self.kind == "logistic4":
            low, high, width = self.params["low"], self.params["high"], self.params["width"]
            if not 0 <= low <= high <= 1 or width <= 0:
                raise CalibrationError("logistic4 needs 0 <= low <= high <= 1 and width > 0")
        else:
            raise CalibrationError(f"unknown kind of calibration {self.kind!r}")

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Maps raw scores, any shape, to float64 in [0, 1], same shape; NaN stays NaN."""
        raw = np.asarray(raw, dtype=np.float64)
        if self.kind == "piecewise_linear":
            return np.interp(raw, self.params["raw"], self.params["score"])
        low, high = self.params["low"], self.params["high"]
        exponent = np.clip(-self.direction * (raw - self.params["centre"]) / self.params["width"], -700, 700)
        return low + (high - low) / (1.0 + np.exp(exponent))


def load_calibrations(path: str | Path = DEFAULT_CALIBRATION) -> dict[str, Calibration]:
    """Reads a calibration file.

    Returns:
        `dict`: annotator name -> [`Calibration`].

    Raises:
        CalibrationError: the file is missing, or not of this format.
    """
    path = Path(path)
    if not path.is_file():
        raise CalibrationError(
            f"{path} does not exist; write it with python -m dataset_scripts.annotators.fit_calibration"
        )
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != FORMAT:
        raise CalibrationError(f"{path} has format {content.get('format')!r}, this code reads {FORMAT}")
    return {name: Calibration(**entry) for name, entry in content["annotators"].items()}


def save_calibrations(calibrations: dict[str, Calibration], path: str | Path = DEFAULT_CALIBRATION) -> None:
    """Writes a calibration file, names in order, so that two fits can be compared line by line."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "annotators": {name: asdict(calibrations[name]) for name in sorted(calibrations)},
    }
    Path(path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@lru_cache(maxsize=1)
def _default_calibrations() -> dict[str, Calibration]:
    return load_calibrations()


def get_calibration(name: str, calibrations: dict[str, Calibration] | None = None) -> Calibration:
    """Finds the calibration of an annotator and checks that it is for the annotator's version.

    Raises:
        CalibrationError: there is none, or it is for another version.
    """
    known = _default_calibrations() if calibrations is None else calibrations
    if name not in known:
        raise CalibrationError(f"annotator {name!r} has no calibration; there are {', '.join(sorted(known))}")
    calibration = known[name]
    if name in ANNOTATORS and ANNOTATORS[name].version != calibration.version:
        raise CalibrationError(
            f"annotator {name!r} is version {ANNOTATORS[name].version}, its calibration is for {calibration.version}; "
            "run python -m dataset_scripts.annotators.fit_calibration"
        )
    return calibration


def annotate_item(
    item: np.ndarray,
    reference: np.ndarray | None,
    names: Iterable[str],
    errors: dict[str, str] | None = None,
    rendering: np.ndarray | None = None,
) -> dict[str, float]:
    """Asks several annotators about one picture or clip.

    Args:
        item (`np.ndarray` of shape `[H, W, 3]` or `[T, H, W, 3]`): RGB uint8.
        reference (`np.ndarray` of the same shape, or `None`): the original, where it is known.
        names (`Iterable[str]`): annotators of pictures or of clips.
        errors (`dict[str, str]`, *optional*): filled with the reason for each annotator that gave no opinion.
        rendering (`np.ndarray` of the same shape, *optional*): RGB uint8, what annotators of the picture itself
            look at where the history is known, see [`dataset_scripts.distortions.scene_rendering.render`].

    Returns:
        `dict[str, float]`: name -> calibrated score in [0, 1], 1 best; NaN where the annotator failed or lacks the
        reference it needs. Ready to be a row of [`dataset_scripts.pmod.pmod`].

    Raises:
        ValueError: an unknown annotator, or one for the other modality.
        CalibrationError: an annotator without a fitting calibration.
        MissingPackageError: an annotator whose package is missing.
    """
    modality, scores = "video" if item.ndim == 4 else "image", {}
    for name in names:
        annotator = shared_annotator(name)
        if annotator.modality != modality:
            raise ValueError(f"annotator {name!r} scores a {annotator.modality}, this is a {modality}")
        calibration = get_calibration(name)
        if annotator.needs_reference and reference is None:
            scores[name], reason = float("nan"), "no reference"
        else:
            shown = item if rendering is None or not annotator.of_rendering else rendering
            raw = annotator.score_batch([shown], [reference])
            scores[name], reason = float(calibration(raw)[0]), annotator.errors.get(0)
        if reason is not None and errors is not None:
            errors[name] = reason
    return scores
