"""Calibrations: from scores of one model to the scale of one's own ratings, as a table stored as JSON."""

import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from transformers.utils import cached_file

from .outputs_vital import QualityScore


logger = logging.getLogger(__name__)

CALIBRATION_NAME = "calibration.json"
"""File name of a calibration beside a checkpoint's weights; loaded and published with them."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KINDS = {
    "model": str,
    "weights_sha256": str,
    "scoring": dict,
    "method": str,
    "ratings": int,
    "contents": int,
    "errors": dict,
}


@dataclass(frozen=True)
class Calibration:
    """Maps scores of one model to mean opinion scores (MOS) on the scale of the ratings that it was fitted to.

    Fitted by [`fit_calibration`] or `vital calibrate`. Between its scores it interpolates linearly; beyond them it
    keeps the value at the end.

    Args:
        model (`str`): name of the model whose scores it maps.
        weights_sha256 (`str`): hash of that model's weights, see [`weights_sha256`].
        scoring (`dict`): what the scores depend on besides the weights, see [`scoring_settings`].
        modality (`str`): `"image"` or `"video"`, what was rated. Results of the other modality get no MOS.
        method (`str`): name of the curve: `"averaged logistic4"`, the four-parameter logistics of VQEG that suit the
            ratings, averaged, and shrunk towards a line as far as the ratings do not ask for a curve.
        scores (`list[float]`): scores of the table, rising, on the scale of the model.
        mos (`list[float]`): MOS at each of them, in units of the ratings.
        curve_low, curve_high (`list[float]`): simultaneous interval of the curve at each of them: with probability
            `confidence` the mean opinion of all items of a score lies inside at every score.
        margin (`float`): half the width of the interval of one item's MOS, in units of the ratings: the share
            `confidence` of cross-validated errors is smaller.
        confidence (`float`): of all intervals, in (0, 1).
        mos_range (`list[float]`, *optional*): ends of the scale of the ratings, worst first. Intervals end there.
        ratings (`int`): items rated. contents (`int`): groups of items of one content among them.
        errors (`dict`): cross-validated errors, in units of the ratings: `rmse` with its interval `rmse_low` and
            `rmse_high`, `mae`, and the RMSE on the same folds of two simpler maps: `rmse_line` (a least-squares
            line) and `rmse_mean` (the mean rating for every item); and the rank correlation of scores and ratings,
            `srcc` with its interval `srcc_low` and `srcc_high`, positive where higher scores go with better ratings.

    Raises:
        ValueError: if the table is not one, or a field is of another type; it names the field.
    """

    model: str
    weights_sha256: str
    scoring: dict[str, Any]
    modality: str
    method: str
    scores: list[float]
    mos: list[float]
    curve_low: list[float]
    curve_high: list[float]
    margin: float
    confidence: float
    mos_range: list[float] | None
    ratings: int
    contents: int
    errors: dict[str, float]

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            if not isinstance(value := getattr(self, name), kind):
                raise ValueError(f"`{name}` is of the type {kind.__name__}, got {value!r:.80}")
        columns = {name: getattr(self, name) for name in ("scores", "mos", "curve_low", "curve_high")}
        if not all(isinstance(column, list) for column in columns.values()):
            raise ValueError("`scores`, `mos`, `curve_low` and `curve_high` are lists of numbers")
        ends = self.mos_range
        if ends is not None and not (isinstance(ends, list) and len(ends) == 2 and ends[0] != ends[1]):
            raise ValueError(f"`mos_range` is missing or two ends of a scale, got {ends!r:.80}")
        if missing := [name for name in ("rmse", "rmse_low", "rmse_high") if name not in self.errors]:
            raise ValueError(f"`errors` lacks {', '.join(missing)}")
        single = {"margin": [self.margin], "confidence": [self.confidence]}
        for name, values in {**columns, **single, "mos_range": ends or [], "errors": self.errors.values()}.items():
            if not all(isinstance(value, int | float) and abs(value) <= sys.float_info.max for value in values):
                raise ValueError(f"a number of `{name}` is missing or not finite")
        rising = all(before < after for before, after in pairwise(self.scores))
        if len({len(column) for column in columns.values()}) != 1 or len(self.scores) < 2 or not rising:
            raise ValueError("the table needs columns of one length and at least two rising scores")
        if self.modality not in ("image", "video"):
            raise ValueError(f"`modality` is 'image' or 'video', got {self.modality!r}")

    def predict(self, score: float) -> tuple[float, float, float]:
        """Returns the MOS that a score stands for, and the low and high end of the interval of one item's MOS.

        Args:
            score (`float`): a score of the model.

        Returns:
            `tuple[float, float, float]`: `(mos, low, high)`, in units of the ratings.
        """
        # As floats: of whole numbers over 64 bits, which JSON may hold, NumPy makes what it does not interpolate.
        mos = float(np.interp(score, np.array(self.scores, dtype=float), np.array(self.mos, dtype=float)))
        low, high = mos - self.margin, mos + self.margin
        if self.mos_range is not None:
            low, high = max(low, min(self.mos_range)), min(high, max(self.mos_range))
        return mos, low, high

    def apply(self, result: QualityScore) -> QualityScore:
        """Returns a result with `mos`, `mos_low` and `mos_high`; one of the other modality unchanged.

        Args:
            result (`QualityScore`): a score of the model that the calibration is for.
        """
        if result.modality != self.modality:
            return result
        mos, low, high = self.predict(result.score)
        return dataclasses.replace(result, mos=mos, mos_low=low, mos_high=high)

    def check(self, model: Any) -> None:
        """Makes sure that the calibration was fitted to scores of this model.

        Args:
            model (`VitalForConditionalGeneration` or `VitalForQualityProbe`): loaded from a checkpoint. Weights that
                were changed after loading are not noticed: save the model, and calibrate what was saved.

        Raises:
            ValueError: for another model, other weights, or other scoring settings.
        """
        if self.weights_sha256 != weights_sha256(model):
            raise ValueError(
                f"The calibration is for {self.model} with weights {self.weights_sha256[:12]}, and "
                f"{model.config._name_or_path!r} has others ({weights_sha256(model)[:12]}): scores of two models do "
                "not share a scale. Run `vital calibrate` with this model, or take the other one."
            )
        settings = scoring_settings(model)
        if changed := [name for name in settings if settings[name] != self.scoring.get(name)]:
            raise ValueError(
                f"The calibration was fitted with other {' and '.join(changed)} than {self.model} has now: undo "
                "`use_scoring`, or run `vital calibrate` again."
            )

    def save(self, path: str | Path) -> None:
        """Writes the calibration as JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Calibration":
        """Reads a calibration.

        Raises:
            ValueError: if the file cannot be read or holds no calibration.
        """
        try:
            try:
                record = json.loads(Path(path).read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"it is not JSON ({error})") from error
            names = [field.name for field in dataclasses.fields(cls)]
            if not isinstance(record, dict) or not set(names) & set(record):
                raise ValueError("it is JSON of something else")
            if missing := [name for name in names if name not in record]:
                raise ValueError(f"it lacks {', '.join(missing)}")
            if unknown := [name for name in record if name not in names]:
                raise ValueError(f"it has {', '.join(unknown)[:80]}, which no calibration of this version has")
            return cls(**record)
        except OSError as error:
            raise ValueError(f"The calibration {str(path)!r} cannot be read: {error.strerror or error}.") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"{str(path)!r} holds no calibration: {error}; `vital calibrate` writes one.") from error


def find_calibration(source: str, revision: str | None = None) -> Calibration | None:
    """Loads the calibration beside a checkpoint's weights, if there is one.

    Args:
        source (`str`): folder or Hub id of the checkpoint.
        revision (`str`, *optional*): of a Hub id.

    Returns:
        `Calibration`, or `None`.

    Raises:
        ValueError: if there is a file of that name that holds none.
    """
    if not source:
        return None
    if os.path.isdir(source):
        path = os.path.join(source, CALIBRATION_NAME)
        return Calibration.load(path) if os.path.isfile(path) else None
    quietly = ("gated_repo", "missing_entries", "connection_errors")
    quiet = {f"_raise_exceptions_for_{name}": False for name in quietly}
    try:
        path = cached_file(source, CALIBRATION_NAME, revision=revision, **quiet)
    except OSError as error:  # neither a folder nor on the Hub any more: the model is in memory alone
        logger.debug("No calibration is looked for beside %s: %s", source, error)
        return None
    return None if path is None else Calibration.load(path)


def weights_sha256(model: Any) -> str:
    """Hashes the files that a model's weights were loaded from.

    Args:
        model (`PreTrainedModel`): loaded from a folder or from the Hub.

    Returns:
        `str`: SHA-256 in hexadecimal over names and hashes of the `.safetensors` files, sorted by name.

    Raises:
        ValueError: if the model was not loaded from a checkpoint.
    """
    source = model.config._name_or_path
    folder = Path(source) if source else None
    if source and not os.path.isdir(source):
        revision = getattr(model.config, "_commit_hash", None)
        folder = Path(cached_file(source, "config.json", revision=revision)).parent
    if folder is None or not any(folder.glob("*.safetensors")):
        raise ValueError(
            "This model was not loaded from a checkpoint with .safetensors files, so nothing tells it from others: "
            "save it and load it before it is calibrated."
        )
    return folder_sha256(folder)


def folder_sha256(folder: Path, patterns: tuple[str, ...] = ("*.safetensors",)) -> str:
    """Hashes files of a checkpoint; by default as [`weights_sha256`] does for a model loaded from this folder.

    Args:
        folder (`Path`): of the checkpoint.
        patterns (`tuple[str, ...]`, *optional*): names of the files.

    Returns:
        `str`: SHA-256 in hexadecimal over names and hashes of the files, sorted by name.
    """
    files = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {_file_sha256(path)}\n".encode())
    return digest.hexdigest()


def scoring_settings(model: Any) -> dict[str, Any]:
    """Returns the settings that the scores of a model depend on besides its weights, ready for JSON.

    Args:
        model (`VitalForConditionalGeneration` or `VitalForQualityProbe`): with its processor.

    Returns:
        `dict`: `level_values`, `answer_prefixes` (`None` for a probe) and `frame_sampling`.
    """
    settings = {
        "level_values": list(model.config.level_values),
        "answer_prefixes": getattr(model.processor, "answer_prefixes", None),
        "frame_sampling": model.processor.sampling.to_dict(),
    }
    return json.loads(json.dumps(settings))


def _file_sha256(path: Path) -> str:
    blob = os.path.basename(os.path.realpath(path))
    if _SHA256.fullmatch(blob):  # the cache of the Hub names large files by their hash
        return blob
    status = os.stat(path)
    return _content_sha256(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _content_sha256(path: Path, size: int, mtime_ns: int) -> str:
    """The hash of a file's content; read once as long as size and time of change stay."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


__all__ = [
    "CALIBRATION_NAME",
    "Calibration",
    "find_calibration",
    "folder_sha256",
    "scoring_settings",
    "weights_sha256",
]
