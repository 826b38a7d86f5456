"""Measures of every model: scores and texts of the test rows, by the path users take, and numbers of them."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from scipy.stats import rankdata

from dataset_scripts.distortions import IMAGE_DISTORTIONS, SEVERITY_WORDS, get_distortion
from modeling_vital.evaluation import CORRELATIONS, bootstrap_intervals, paired_difference
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.probe_vital import VitalForQualityProbe
from training.data import DataArguments, scoring_rows
from training.experiment.data import SUBSETS
from training.suite.numbers import tag_shares


logger = logging.getLogger(__name__)

RESAMPLES = 200
DIGITS = 4
"""Of recorded scores."""


def test_rows(data: dict[str, Path]) -> dict[str, Dataset]:
    """The scoring rows of each subset, media undecoded."""
    arguments = {
        name: DataArguments(str(data["pairs" if name in ("in_domain", "video") else name])) for name in SUBSETS
    }
    rows = {name: scoring_rows(arguments[name], "test", None, 0) for name in SUBSETS}
    for name, modality in (("in_domain", "image"), ("video", "video")):
        kinds = rows[name]["modality"][:]
        rows[name] = rows[name].select([i for i, kind in enumerate(kinds) if kind == modality])
    return rows


def describe_items(rows: dict[str, Dataset], num_texts: int) -> dict[str, Any]:
    """Describes the test items without a model: for each subset columns `id`, `content_id`, `mos`, `type`, `severity`.

    Args:
        rows (`dict[str, Dataset]`): see [`test_rows`].
        num_texts (`int`): distorted in-domain pictures that are described; their places are in `texts`.
    """
    items: dict[str, Any] = {}
    for name, table in rows.items():
        found = table["distortion"][:]
        items[name] = {
            "content_id": table["content_id"][:],
            "mos": [round(value, DIGITS) for value in table["mos"][:]],
            "type": [one["type"] for one in found],
            "severity": [one["severity"] for one in found],
        }
    distorted = [i for i, kind in enumerate(items["in_domain"]["type"]) if kind]
    chosen = np.random.default_rng(0).permutation(distorted)[:num_texts]
    return {"subsets": items, "texts": sorted(int(i) for i in chosen)}


def measure(
    folder: Path, rows: dict[str, Dataset], texts: Sequence[int], device: str = "cpu", batch_size: int = 16
) -> dict[str, Any]:
    """Scores all rows and describes those of the in-domain pictures that are named.

    Returns:
        `dict`: `scores` by subset, and `texts`; a probe has none.
    """
    is_probe = '"vital_probe"' in (folder / "config.json").read_text(encoding="utf-8")
    model = (
        (VitalForQualityProbe if is_probe else VitalForConditionalGeneration).from_pretrained(folder).eval().to(device)
    )
    scores = {}
    for name, table in rows.items():
        found = _by_chunks(table, range(len(table)), lambda media: model.score(media, batch_size=batch_size))
        scores[name] = [round(one.score, DIGITS) for one in found]
    said = []
    if not is_probe:
        with torch.no_grad():
            said = _by_chunks(rows["in_domain"], texts, lambda media: model.describe(media, max_new_tokens=16))
    return {"scores": scores, "texts": said}


_CHUNK = 64  # rows held in memory at once


def _by_chunks(table: Dataset, places: Sequence[int], ask: Callable[[list], list]) -> list:
    answers = []
    for start in range(0, len(places), _CHUNK):
        chunk = [table[int(i)] for i in places[start : start + _CHUNK]]
        sources = [(row["images"] or row["videos"])[0] for row in chunk]
        answers += ask([source["bytes"] or source["path"] for source in sources])
    return answers


def correlate(scores: Sequence[float], items: dict[str, list]) -> dict[str, Any]:
    """SRCC and PLCC with the PMOD mean, and [`severity_srcc`], each with an interval.

    Args:
        scores (`Sequence[float]`): of a subset.
        items (`dict[str, list]`): its columns, see [`describe_items`].

    Returns:
        `dict`: `n`, and for `srcc`, `plcc` and `severity_srcc` (higher is better: worse damage, lower score) a list of
        value, low and high of 95 %, bootstrapped over contents; NaN is `None`.
    """
    x, y = np.array(scores), np.array(items["mos"])
    result: dict[str, Any] = {"n": len(x)}
    intervals = bootstrap_intervals(x, y, items["content_id"], ("srcc", "plcc"), RESAMPLES)
    for name, interval in intervals.items():
        value = CORRELATIONS[name](x, y) if np.ptp(x) > 0 else np.nan
        result[name] = _plain([value, *interval])
    result["severity_srcc"] = _plain(severity_srcc(x, items))
    return result


def severity_srcc(scores: np.ndarray, items: dict[str, list]) -> tuple[float, float, float]:
    """Measures how well worse damage of one type means a lower score: correlation of ranks, taken within each type.

    Ranks are centred and scaled by the size of their type, and all types are correlated together, so that no type
    counts for having better scores than another. That is quick to resample: contents only add up.

    Returns:
        `tuple[float, float, float]`: value, and ends of the 95 % interval over contents; NaN if all scores are alike.
    """
    contents = {content: number for number, content in enumerate(dict.fromkeys(items["content_id"]))}
    sums = np.zeros((len(contents), 3))
    kinds = np.array([kind or "" for kind in items["type"]])
    for kind in sorted(set(kinds) - {""}):
        mine = np.flatnonzero(kinds == kind)
        damage = [-items["severity"][i] for i in mine]
        a, b = ((rankdata(v) - (len(mine) + 1) / 2) / len(mine) for v in (scores[mine], damage))
        groups = [contents[items["content_id"][i]] for i in mine]
        np.add.at(sums, groups, np.stack([a * b, a * a, b * b], axis=1))
    if np.ptp(scores) == 0:
        return float("nan"), float("nan"), float("nan")
    times = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=1000)
    with np.errstate(invalid="ignore", divide="ignore"):
        value, *drawn = (xy / np.sqrt(xx * yy) for xy, xx, yy in np.vstack([sums.sum(0), times @ sums]))
    return float(value), *(float(end) for end in np.nanpercentile([value, *drawn], [2.5, 97.5]))


def read_tag(text: str) -> tuple[str | None, int | None]:
    """Type and severity that a text names, `None` where it names none of the image distortions or severities."""
    lowered = text.lower()
    named = [name for name in IMAGE_DISTORTIONS if get_distortion(name).words.lower() in lowered]
    kind = max(named, key=lambda name: len(get_distortion(name).words), default=None)
    said = [word for word in SEVERITY_WORDS if f" {word} " in f" {lowered} "]
    return kind, SEVERITY_WORDS.index(max(said, key=len)) + 1 if said else None


def text_measures(texts: Sequence[str], items: dict[str, Any]) -> dict[str, float] | None:
    """Measures the texts of [`measure`]: share with the right type, share within one step of the severity (of all: one
    that names no severity is wrong), share of distinct texts, mean words."""
    if not texts:
        return None
    table = items["subsets"]["in_domain"]
    right, near = tag_shares(
        [read_tag(text)[::-1] for text in texts], [(table["severity"][i], table["type"][i]) for i in items["texts"]]
    )
    return {
        "type_accuracy": round(right, DIGITS),
        "severity_within_one": round(near, DIGITS),
        "distinct_share": round(len(set(texts)) / len(texts), DIGITS),
        "mean_words": round(float(np.mean([len(text.split()) for text in texts])), DIGITS),
    }


def difference(
    scores_a: Sequence[float], scores_b: Sequence[float], items: dict[str, list]
) -> dict[str, float | None]:
    """SRCC of A minus that of B on the same items, with a paired interval.

    A score that is the same for all items has no correlation; it counts as 0 here, by a drop of noise that is fixed.
    """
    a, b = (_spread(np.array(scores)) for scores in (scores_a, scores_b))
    found = paired_difference(a, b, items["mos"], items["content_id"], "srcc", RESAMPLES)
    return {name: round(found[name], DIGITS) for name in ("difference", "low", "high")}


def distinct_difference(texts_a: Sequence[str], texts_b: Sequence[str]) -> dict[str, float]:
    """Share of distinct texts of A minus that of B, with a paired bootstrap interval over the items."""

    def value(chosen: np.ndarray) -> float:
        return (len({texts_a[i] for i in chosen}) - len({texts_b[i] for i in chosen})) / len(texts_a)

    rng = np.random.default_rng(0)
    # Halves without replacement: drawing an item twice would make its text a copy of itself.
    drawn = [value(rng.permutation(len(texts_a))[: len(texts_a) // 2]) * 2 for _ in range(RESAMPLES)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    whole = value(np.arange(len(texts_a)))
    return {"difference": round(whole, DIGITS), "low": round(float(low), DIGITS), "high": round(float(high), DIGITS)}


def _spread(scores: np.ndarray) -> np.ndarray:
    return scores if np.ptp(scores) > 0 else np.random.default_rng(0).normal(size=len(scores))


def _plain(values: Sequence[float]) -> list[float | None]:
    return [round(float(value), DIGITS) if np.isfinite(value) else None for value in values]
