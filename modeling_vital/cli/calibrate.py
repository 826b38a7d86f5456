"""`vital calibrate`: from scores to the scale of one's own ratings."""

import argparse
import math
from typing import TYPE_CHECKING, Any

from ..table_file import as_number
from .rated_files import Scored, add_ratings, fit_table, score_table


if TYPE_CHECKING:
    from ..calibration_vital import Calibration


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `calibrate` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "calibrate",
        help="fit scores to the scale of your ratings",
        description="Fits a rising curve from scores to your ratings (the four-parameter logistic of VQEG, averaged "
        "over its shapes and shrunk to a line where the ratings do not ask for a curve), with cross-validated errors, "
        "intervals and a plot. `vital score --calibration` and `model.score` then give the mean opinion that a score "
        "stands for. Needs the extra eval.",
        epilog="Exit code: 0 fitted, 1 some files failed, or the scores say nothing about the ratings (nothing is "
        "written then), 2 wrong use, 130 stopped by Ctrl-C.",
        examples=[
            ("ratings of any range, higher is better", "vital calibrate ratings.csv --output calibration.json"),
            (
                "versions of photos, on a scale whose lower end is better",
                "vital calibrate dmos.csv --mos-column dmos --group-column photo --mos-range 100 0 --output dmos.json",
            ),
            ("beside the weights, where it is found", "vital calibrate r.csv --model M --output M/calibration.json"),
            (
                "files elsewhere, a GPU",
                "vital calibrate r.csv --column file --allow-outside --device cuda --batch-size 32 --workers 8 "
                "--timeout 600 --video-backend auto --output r.json",
            ),
        ],
    )
    add_ratings(
        parser,
        "mos",
        "mean ratings, 50 or more",
        "where to write; the plot goes beside it as .png. As calibration.json beside the weights of a model it is "
        "found without --calibration, and published with them",
        required=True,
    )
    parser.add_argument(
        "--mos-range",
        nargs=2,
        type=float,
        metavar=("WORST", "BEST"),
        help="ends of the scale of the ratings: intervals end there, and a rating outside is an error; reversed where "
        "lower is better (default: higher is better, no ends)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fits, writes and prints a calibration.

    Args:
        args (`argparse.Namespace`): see `vital calibrate --help`.

    Returns:
        `int`: 0, or 1 if some files had no score or the scores say nothing about the ratings.

    Raises:
        UsageError: for ratings, an output or a model that cannot be used.
    """
    from ..calibration_vital import scoring_settings, weights_sha256
    from ..evaluation.calibration import MIN_RATINGS, fit_calibration, plot_calibration

    low, high = sorted(args.mos_range or (-math.inf, math.inf))

    def rating(cell: Any) -> float:
        value = _rating(cell)
        if not low <= value <= high:
            raise ValueError(f"{value:g} is outside the scale from {low:g} to {high:g} of --mos-range")
        return value

    few = f"a curve of four parameters and its interval need {MIN_RATINGS} or more; rate more files"

    def fit(scored: Scored) -> "Calibration":
        return fit_calibration(
            scored.scores,
            scored.values,
            scored.groups,
            tuple(args.mos_range) if args.mos_range else None,
            model=args.model,
            weights_sha256=weights_sha256(scored.model),
            scoring=scoring_settings(scored.model),
            modality=scored.modality,
        )

    return fit_table(
        args,
        lambda: score_table(args, args.mos_column, rating, MIN_RATINGS, few),
        fit,
        summary,
        lambda found, path: found.save(path),
        lambda found, scored, path: plot_calibration(found, scored.scores, scored.values, path),
    )


def summary(calibration: "Calibration") -> str:
    """A calibration in lines for people, which end with a newline."""
    errors, share = calibration.errors, f"{calibration.confidence:.0%}"
    contents = "" if calibration.contents == calibration.ratings else f" of {calibration.contents} contents"
    low, high = calibration.scores[0], calibration.scores[-1]
    return (
        f"{calibration.ratings} ratings{contents}, scores of {calibration.model} from {low:.3f} to {high:.3f}\n"
        f"a score of {low:.3f} stands for {calibration.mos[0]:.3g}, one of {high:.3f} for {calibration.mos[-1]:.3g} "
        f"({calibration.method})\n"
        f"error on held-out files (RMSE): {errors['rmse']:.3g}, {share} interval {errors['rmse_low']:.3g} to "
        f"{errors['rmse_high']:.3g}; a straight line {errors['rmse_line']:.3g}, the mean rating "
        f"{errors['rmse_mean']:.3g}\n"
        f"one file's mean rating lies within {calibration.margin:.3g} of what its score stands for ({share})\n"
    )


def _rating(cell: Any) -> float:
    value = as_number(cell)
    if value is None:
        raise ValueError(
            f"{cell!r:.80} is not a number such as 3.5" if cell not in (None, "") else "there is no rating"
        )
    return value
