"""Agreement of the proxy machine opinion distribution (PMOD) with people: its mean, its spread, annotators' biases.

PMOD takes the mean and standard deviation of annotators' scores for those of human opinions (VITAL, arXiv 2511.17962).
The mean can be checked against any human scores. The spread can be checked in two ways: against the disagreement of
people, where that is known, and as an error bar: does the mean err more where annotators disagree more?
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import require
from .correlation import MIN_ITEMS, bootstrap_intervals, correlations
from .human_labels import Opinions


BINS = 5
MIN_OPINIONS = 3


def audit_pmod(opinions: Opinions, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Compares machine opinions with human ones.

    Args:
        opinions ([`Opinions`]): items with both; those with fewer than 3 machine opinions are skipped and counted.
        resamples (`int`, *optional*, defaults to 1000): bootstrap samples of contents.
        seed (`int`, *optional*, defaults to 0): of these.

    Returns:
        `dict` with `n`, `too_few_opinions`, `unmatched`, `by`; `mean`: [`correlations`] of the machine mean
        with intervals, its `bias` (mean of machine minus human) and `mae`; `annotators`: the same of each one alone;
        `distortions`: bias and error by distortion; `spread`: see [`_spread`]; `blind_spots`, sentences. All scores
        are on [0, 1].

    Raises:
        ValueError: for fewer than 3 items with enough opinions.
    """
    scores = opinions.matrix()
    enough = np.isfinite(scores).sum(axis=1) >= MIN_OPINIONS
    kept = opinions.take(np.flatnonzero(enough).tolist())
    if enough.sum() < MIN_ITEMS:
        raise ValueError(
            f"{enough.sum()} items have {MIN_OPINIONS} machine opinions or more; {MIN_ITEMS} are the least"
        )
    scores = kept.matrix()
    mean, std = np.nanmean(scores, axis=1), np.nanstd(scores, axis=1)
    report = {
        "n": len(mean),
        "too_few_opinions": int((~enough).sum()),
        "unmatched": opinions.unmatched,
        "by": opinions.by,
        "mean": _agreement(mean, kept, resamples, seed),
        "annotators": {name: _agreement(values, kept, resamples, seed) for name, values in kept.annotators.items()},
        "distortions": _by_distortion(mean, std, kept),
        "spread": _spread(mean, std, kept),
    }
    return {**report, "blind_spots": _blind_spots(report)}


def _agreement(scores: np.ndarray, kept: Opinions, resamples: int, seed: int) -> dict[str, Any]:
    given = np.flatnonzero(np.isfinite(scores))
    if len(given) < MIN_ITEMS:
        return {"n": len(given)}
    difference = scores[given] - kept.human[given]
    result = correlations(scores[given], kept.human[given], curves=())
    result |= {"bias": float(difference.mean()), "mae": float(np.abs(difference).mean())}
    groups = [kept.groups[i] for i in given]
    if len(set(groups)) > 1:
        names = ("srcc", "plcc")
        result["intervals"] = bootstrap_intervals(
            scores[given], kept.human[given], groups, names, resamples, seed=seed
        )
    return result


def _by_distortion(mean: np.ndarray, std: np.ndarray, kept: Opinions) -> dict[str, dict[str, Any]]:
    kinds = np.array(kept.distortions)
    result = {}
    for kind in sorted(set(kept.distortions)):
        rows = kinds == kind
        difference = mean[rows] - kept.human[rows]
        result[kind] = {
            "n": int(rows.sum()),
            "bias": float(difference.mean()),
            "mae": float(np.abs(difference).mean()),
            "std": float(std[rows].mean()),
        }
    return result


def _spread(mean: np.ndarray, std: np.ndarray, kept: Opinions) -> dict[str, Any]:
    """PMOD's std against the error of its mean, and against human std where known; coverage; bins of equal size.

    Normal opinions would lie within one std of the mean in 68 % of items and within two in 95 %.
    """
    error = np.abs(mean - kept.human)
    bins = []
    for rows in np.array_split(np.argsort(std, kind="stable"), min(BINS, len(std))):
        entry = {
            "n": len(rows),
            "std": float(std[rows].mean()),
            "rms_error": float(np.sqrt((error[rows] ** 2).mean())),
        }
        if kept.human_std is not None:
            entry["human_std"] = float(np.mean(kept.human_std[rows]))
        bins.append(entry)
    own = correlations(std, error, curves=())
    human = None if kept.human_std is None else correlations(std, kept.human_std, curves=())
    return {
        "with_error": {name: own[name] for name in ("srcc", "plcc")},
        "with_human_std": human and {name: human[name] for name in ("srcc", "plcc", "rmse")},
        "within_1_std": float((error <= std).mean()),
        "within_2_std": float((error <= 2 * std).mean()),
        "bins": bins,
    }


def _blind_spots(report: dict[str, Any]) -> list[str]:
    spots = []
    for name, found in report["annotators"].items():
        if found["n"] < MIN_ITEMS:
            continue
        low = found.get("intervals", {}).get("srcc", (math.nan, math.nan))[0]
        if not low > 0:
            spots.append(f"{name} does not surely follow people: the interval of its SRCC reaches {low:.2f}.")
        if abs(found["bias"]) > 0.1:
            spots.append(f"{name} is {'too kind' if found['bias'] > 0 else 'too harsh'} by {abs(found['bias']):.2f}.")
    for kind, found in report["distortions"].items():
        if abs(found["bias"]) > 0.15:
            word = "better" if found["bias"] > 0 else "worse"
            spots.append(f"{kind} is seen as {word} than people see it, by {abs(found['bias']):.2f} of the scale.")
    spread = report["spread"]
    if not spread["with_error"]["srcc"] > 0.1:
        spots.append(
            f"PMOD's std says little about the error of its mean (SRCC {spread['with_error']['srcc']:.2f}): where "
            "annotators agree they are not nearer to people."
        )
    if spread["with_human_std"] is None:
        spots.append("The spread of human opinions is not in the table, so PMOD's std was not compared with it.")
    if report["by"] == "cell":
        spots.append(
            "Human opinions are means of a distortion at a severity over other pictures, so what differs between "
            "pictures counts as error here. If the annotators were calibrated on this same table, their bias is near "
            "0 by construction."
        )
    return spots


def plot_spread(report: dict[str, Any], path: Path) -> None:
    """Calibration of PMOD's std, as PNG: error of its mean and, where known, the std of people, by bins of its std."""
    require("matplotlib").use("Agg")
    pyplot = require("matplotlib.pyplot")
    bins = report["spread"]["bins"]
    x = [entry["std"] for entry in bins]
    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axes.plot(x, [entry["rms_error"] for entry in bins], "o-", label="RMS error of the machine mean")
    if "human_std" in bins[0]:
        axes.plot(x, [entry["human_std"] for entry in bins], "s-", label="std of human opinions")
    top = 1.1 * max(max(x), max(entry["rms_error"] for entry in bins))
    axes.plot([0, top], [0, top], ":", color="grey", label="calibrated")
    axes.set(xlabel="PMOD std (mean of a fifth of the items)", ylabel="on the scale of [0, 1]")
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
