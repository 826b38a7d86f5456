"""`vital threshold`: from labels of what people keep to a condition for `vital score --where`."""

import argparse
import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .rated_files import add_ratings, fit_table, score_table


if TYPE_CHECKING:
    from ..evaluation.threshold import Threshold

_LABELS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_SHOWN = 9  # points of the curve


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `threshold` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "threshold",
        help="find the score that separates what you keep",
        description="Finds, from files that you would keep or not, the score from which on to keep: for a precision "
        "or a recall that you want, with intervals and the precision-recall curve. Needs the extra eval.",
        epilog="Exit code: 0 found, 1 some files failed, or there is none (too few labels of a kind, a model that is "
        "no better than chance on them, a precision that is never reached), 2 wrong use, 130 stopped by Ctrl-C.",
        examples=[
            ("nine in ten of what is kept are to be good", "vital threshold labels.csv --precision 0.9"),
            (
                "lose one in twenty of the good ones",
                "vital threshold labels.csv --recall 0.95 --output threshold.json",
            ),
            (
                "other columns, several files of one scene, files elsewhere",
                "vital threshold l.csv --recall 0.9 --column file --keep-column ok --group-column scene "
                "--allow-outside",
            ),
            (
                "another model, a GPU",
                "vital threshold l.csv --precision 0.8 --model org/vital --device cuda --batch-size 32 --workers 8 "
                "--timeout 600 --video-backend auto",
            ),
        ],
    )
    add_ratings(
        parser,
        "keep",
        "yes or no (or true, false, 1, 0), 20 or more of each",
        "also write the result with the whole curve; the plot goes beside it as .png",
        required=False,
    )
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--precision", type=_share, metavar="P", help="keep as many as possible, P of which people keep, such as 0.9"
    )
    wanted.add_argument(
        "--recall", type=_share, metavar="R", help="keep as few as possible, among them R of all that people keep"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Finds and prints a threshold.

    Args:
        args (`argparse.Namespace`): see `vital threshold --help`.

    Returns:
        `int`: 0, or 1 if some files had no score or there is no threshold to be had.

    Raises:
        UsageError: for labels, an output or a model that cannot be used.
    """
    from ..evaluation.threshold import MIN_LABELS, find_threshold, plot_threshold

    few = f"a threshold needs {MIN_LABELS} labels of each kind"
    wanted = "recall" if args.precision is None else "precision"
    value = getattr(args, wanted)

    def save(found: "Threshold", path: Path) -> None:
        record = {"model": args.model, "wanted": {wanted: value}, **found.to_dict()}
        path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    return fit_table(
        args,
        lambda: score_table(args, args.keep_column, _label, 1, few),
        lambda scored: find_threshold(scored.scores, scored.values, wanted, value, scored.groups),
        lambda found: summary(found, args.model),
        save,
        lambda found, scored, path: plot_threshold(found, path),
    )


def summary(found: "Threshold", model: str) -> str:
    """A threshold in lines for people, the last of them the command that uses it."""
    share = f"{found.confidence:.0%}"
    contents = "" if found.contents == found.keep + found.drop else f", {found.contents} contents"
    floor = math.floor(found.threshold * 1e6) / 1e6  # never above the threshold itself
    curve, last = found.curve, len(found.curve["threshold"]) - 1
    places = sorted({round(last * step / (_SHOWN - 1)) for step in range(_SHOWN)})
    names = ("threshold", "precision", "recall")
    rows = [" ".join(f"{name:>9}" for name in names)]
    rows += [" ".join(f"{curve[name][place]:9.3f}" for name in names) for place in places]
    which = "" if model == _default_model() else f" --model {shlex.quote(model)}"
    return (
        f"{found.keep} labels to keep, {found.drop} to drop{contents}; a file to keep has the higher score in "
        f"{found.auc:.0%} of pairs ({share} interval {found.auc_low:.0%} to {found.auc_high:.0%})\n"
        + "\n".join(rows)
        + f"\nthreshold {found.threshold:.4f}, {share} interval {found.threshold_low:.4f} to "
        f"{found.threshold_high:.4f}\n"
        f"precision {found.precision:.3f} ({found.precision_low:.3f} to {found.precision_high:.3f}), recall "
        f"{found.recall:.3f} ({found.recall_low:.3f} to {found.recall_high:.3f})\n"
        f"vital score FOLDER{which} --where 'score >= {floor:.6f}'\n"
    )


def _default_model() -> str:
    from ..zoo import DEFAULT_MODEL

    return DEFAULT_MODEL


def _label(cell: Any) -> bool:
    text = "" if cell is None else str(cell).strip().lower()
    if text not in _LABELS:
        raise ValueError(f"{cell!r} is no label; give yes or no" if text else "there is no label; give yes or no")
    return _LABELS[text]


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and up to 1, such as 0.9, got {text}")
    return value
