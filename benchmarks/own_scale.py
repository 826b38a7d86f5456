"""Calibration and thresholds on held-out halves of a rated set: `python -m benchmarks.own_scale RATINGS.csv PAGE`.

Scores the files of a table with `path` and `mos` once, fits on one half, measures on the other, for twenty divisions
and both halves, and writes the table between the markers of the page.
"""

import argparse
import csv
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from modeling_vital import VitalForConditionalGeneration
from modeling_vital.evaluation.calibration import fit_calibration
from modeling_vital.evaluation.threshold import NothingToFitError, find_threshold

from .sensitivity import LINE, put


BEGIN, END = "<!-- own-scale:begin -->\n", "<!-- own-scale:end -->"
DIVISIONS = 20
PRECISION, RECALL = 0.7, 0.9


def measure(scores: np.ndarray, mos: np.ndarray, mos_range: tuple[float, float], values: Sequence[float]) -> dict:
    """Errors on halves that were held out, in units of the ratings.

    Args:
        scores, mos (`np.ndarray` of shape `[N]`): of the model, and of people.
        mos_range (`tuple[float, float]`): ends of the scale of the ratings, worst first.
        values (`Sequence[float]`): level values of the model, whose ends the uncalibrated line takes to those of the
            ratings.

    Returns:
        `dict`: arrays with one number a half: RMSE of the calibration (`curve`), of the uncalibrated line from end to
        end (`ends`), of a least-squares line (`line`) and of the mean (`mean`), `inside`, the share of ratings within
        their interval, and `precision` and `recall` on the held-out half of thresholds for `PRECISION` and `RECALL`
        of what is in the better half.
    """
    found: dict[str, list[float]] = {name: [] for name in ("curve", "ends", "line", "mean", "inside")}
    found |= {"precision": [], "recall": []}
    about = {"model": "", "weights_sha256": "", "scoring": {}, "modality": "image"}
    low, high = min(values), max(values)
    for division in range(DIVISIONS):
        order = np.random.default_rng(division).permutation(len(scores))
        halves = order[: len(order) // 2], order[len(order) // 2 :]
        for fit, held in (halves, halves[::-1]):
            x, y, u, v = scores[fit], mos[fit], scores[held], mos[held]
            calibration = fit_calibration(x, y, mos_range=mos_range, **about)
            predicted = np.array([calibration.predict(score) for score in u])
            ends = mos_range[0] + (u - low) / (high - low) * (mos_range[1] - mos_range[0])
            line = np.polyval(np.polyfit(x, y, 1), u)
            for name, value in (("curve", predicted[:, 0]), ("ends", ends), ("line", line), ("mean", y.mean())):
                found[name].append(float(np.sqrt(np.mean((v - value) ** 2))))
            found["inside"].append(float(np.mean((predicted[:, 1] <= v) & (v <= predicted[:, 2]))))
            for wanted, value in (("precision", PRECISION), ("recall", RECALL)):
                found[wanted].append(_held_out(x, y >= np.median(mos), u, v >= np.median(mos), wanted, value))
    return {name: np.array(values) for name, values in found.items()}


def _held_out(
    x: np.ndarray, keep: np.ndarray, u: np.ndarray, wanted_of: np.ndarray, wanted: str, value: float
) -> float:
    try:
        taken = u >= find_threshold(x, keep, wanted, value).threshold
    except NothingToFitError:
        return float("nan")
    right = (taken & wanted_of).sum()
    return float(right / (taken.sum() if wanted == "precision" else wanted_of.sum()))


def table(name: str, count: int, found: dict[str, np.ndarray]) -> str:
    """Returns the measurements as Markdown."""
    rows = [
        ("`vital calibrate`", "curve"),
        ("the scores taken linearly from end to end, without ratings", "ends"),
        ("a least-squares line through the same ratings", "line"),
        ("the mean rating for every picture", "mean"),
    ]
    lines = ["| from scores to ratings, error on the other half (RMSE) | |", "|---|---:|"]
    lines += [f"| {what} | {found[key].mean():.4f} |" for what, key in rows]
    better = {key: int((found["curve"] < found[key]).sum()) for key in ("ends", "line")}
    halves = len(found["curve"])
    missed = int(np.isnan(found["precision"]).sum())
    none = f" ({missed} of {halves} halves gave no such threshold)" if missed else ""
    words = (
        f"The calibration is better than the line from end to end on {better['ends']} of {halves} halves, and than "
        f"the fitted line on {better['line']}. {found['inside'].mean():.1%} of the ratings of the other half lie in "
        "their interval of 95 %. With the better-rated half of the photographs as those to keep, a threshold for a "
        f"precision of {PRECISION:g} has one of {np.nanmean(found['precision']):.2f} on the other half{none}, and one "
        f"for a recall of {RECALL:g} has {np.nanmean(found['recall']):.2f}."
    )
    head = f"`{name}`, {count} rated photographs, fitted on one half and measured on the other, {halves} halves:"
    return "\n".join([head, "", *lines, "", textwrap.fill(words, LINE), ""])


def main(argv: Sequence[str] | None = None) -> int:
    """Scores, measures, prints, and writes into a page where one is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ratings", type=Path, help="a CSV file with the columns path, relative to it, and mos")
    parser.add_argument("page", nargs="?", type=Path, help="a page to put the table in, between its markers")
    parser.add_argument("--mos-range", nargs=2, type=float, default=(0.0, 1.0), metavar=("WORST", "BEST"))
    parser.add_argument("--model", default="vital-tiny", help="a name of the zoo, a folder or a Hub id")
    args = parser.parse_args(argv)
    with args.ratings.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    model = VitalForConditionalGeneration.from_pretrained(args.model).eval()
    results = model.score([args.ratings.parent / row["path"] for row in rows])
    scores, mos = np.array([r.score for r in results]), np.array([float(row["mos"]) for row in rows])
    found = measure(scores, mos, tuple(args.mos_range), model.config.level_values)
    text = table(args.model, len(rows), found)
    if args.page:
        page = args.page.read_text(encoding="utf-8")
        args.page.write_text(put(page, text, BEGIN, END), encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
