"""A calibration on the command line: `--calibration FILE`, or what lies beside the weights."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .filters import names_in
from .records import MOS_COLUMNS


if TYPE_CHECKING:
    from ..calibration_vital import Calibration

logger = logging.getLogger(__name__)


def add_calibration(parser: argparse.ArgumentParser) -> None:
    """Adds `--calibration`."""
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        type=Path,
        help="what `vital calibrate` wrote: adds the columns mos, mos_low and mos_high, the mean opinion on the scale "
        "of your ratings and its interval; of another model it is refused (default: calibration.json beside the "
        "weights, if there is one)",
    )


def open_calibration(path: Path | None, source: str) -> "Calibration | None":
    """The calibration that was given, else that beside the weights, else none.

    Args:
        path (`Path`, *optional*): as given.
        source (`str`): folder or Hub id of the model.

    Raises:
        UsageError: if the file cannot be read or holds none.
    """
    from ..calibration_vital import Calibration, find_calibration

    try:
        return find_calibration(source) if path is None else Calibration.load(path)
    except ValueError as error:
        raise UsageError(str(error)) from error


def checked_calibration(calibration: "Calibration | None", model: Any, given: bool) -> "Calibration | None":
    """The calibration, if it is one for the model.

    Args:
        calibration (`Calibration`, *optional*): what was found.
        model: the loaded model.
        given (`bool`): whether the user named it. One that merely lies beside the weights and does not suit them any
            more is skipped with a warning.

    Raises:
        UsageError: if it was given and is for another model.
    """
    try:
        if calibration is not None:
            calibration.check(model)
    except ValueError as error:
        if given:
            raise UsageError(str(error)) from error
        logger.warning("scores get no MOS: %s", error)
        return None
    return calibration


def require_calibration(condition: str | None, calibration: "Calibration | None") -> None:
    """Refuses a condition on a MOS where there is no calibration.

    Raises:
        UsageError: then.
    """
    if condition is None or calibration is not None:
        return
    if used := [name for name in MOS_COLUMNS if name in names_in(condition)]:
        raise UsageError(f"--where asks for {used[0]}, and there is no calibration; give --calibration FILE")


def with_mos(record: dict[str, Any], calibration: "Calibration") -> dict[str, Any]:
    """A record with `mos`, `mos_low` and `mos_high` after `std`.

    Args:
        record (`dict`): of [`make_record`].
        calibration (`Calibration`): for the model that made it.

    Returns:
        `dict`: the three are `None` for failed items and the modality that was not rated.
    """
    values: tuple[float | None, ...] = (None, None, None)
    if record["error"] is None and record["modality"] == calibration.modality:
        values = calibration.predict(record["score"])
    found = {}
    for name, value in record.items():
        found[name] = value
        if name == "std":
            found.update(zip(MOS_COLUMNS, values, strict=True))
    return found
