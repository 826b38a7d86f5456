"""From scores and opinions to a result: measures, intervals, subsets, comparisons, and all they depend on."""

import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .. import __version__
from .benchmarks import LoadedBenchmark
from .correlation import (
    MIN_ITEMS,
    bootstrap_intervals,
    correlations,
    paired_difference,
    subset_correlations,
)
from .scorers import Scorer


_PACKAGES = "torch transformers numpy scipy pillow decord decord2 av".split()


@dataclass(frozen=True)
class Settings:
    """Settings of the computation of results.

    Args:
        resamples (`int`): bootstrap samples of contents.
        confidence (`float`): share of samples inside an interval.
        seed (`int`): of the samples.
    """

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0


def make_result(
    loaded: LoadedBenchmark, scored: Sequence[tuple[Scorer, list[dict[str, Any]]]], settings: Settings
) -> dict[str, Any]:
    """The result of one benchmark, ready for JSON (what is not defined is `None`).

    Args:
        loaded (`LoadedBenchmark`): the items.
        scored (`Sequence`): models with their records, as `score_benchmark` returns them.
        settings (`Settings`): of the intervals.

    Returns:
        `dict` with `benchmark`, `models` (measures are over the items that the model scored; `failed` lists the
        others), `comparisons` of the first model with each other one over the items that both scored, `settings`,
        and `versions`.
    """
    benchmark = loaded.benchmark
    models = [_model(loaded, scorer, records, settings) for scorer, records in scored]
    comparisons = [_comparison(loaded, scored[0], other, settings) for other in scored[1:]]
    return plain(
        {
            "benchmark": {
                "name": benchmark.name,
                "title": benchmark.title,
                "split": loaded.split,
                "modality": benchmark.modality,
                "domain": benchmark.domain,
                "mos_range": benchmark.mos_range,
                "higher_is_better": benchmark.higher_is_better,
                "items": len(loaded.items),
                "groups": len({item.group for item in loaded.items}),
                "media_folder": _media_folder(loaded),
                "partial": loaded.partial,
                "missing": loaded.missing,
                "list_sha256": loaded.list_sha256,
                "layout_verified": benchmark.verified,
                "note": benchmark.note,
            },
            "protocol": "ours: see docs/evaluation.md; not comparable digit by digit with published tables",
            "models": models,
            "comparisons": [comparison for comparison in comparisons if comparison],
            "settings": vars(settings),
            "versions": versions(),
        }
    )


def _media_folder(loaded: LoadedBenchmark) -> str | None:
    """Name of the folder that all media are in: KonIQ-10k comes in two sizes. `None` where they are in no files."""
    paths = [item.media for item in loaded.items if isinstance(item.media, str)]
    return os.path.basename(os.path.dirname(os.path.commonprefix(paths))) if paths else None


def versions() -> dict[str, str]:
    """Versions of what a number depends on."""
    found = {"python": platform.python_version(), "modeling-vital": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # a video decoder that is not installed
            continue
    return found


def _model(
    loaded: LoadedBenchmark, scorer: Scorer, records: list[dict[str, Any]], settings: Settings
) -> dict[str, Any]:
    failed = [{"id": r["id"], "error": r["error"]} for r in records if r["error"] is not None]
    model = {**scorer.describe(), "score_range": scorer.score_range, "failed": failed, "n": len(records) - len(failed)}
    model["higher_is_better"] = scorer.higher_is_better
    if model["n"] < MIN_ITEMS:
        return {**model, "correlations": None, "intervals": None, "subsets": None}
    rows = [(item, r) for item, r in zip(loaded.items, records, strict=True) if r["error"] is None]
    scores = oriented(scorer, [record["score"] for _, record in rows])
    mos = [loaded.benchmark.oriented(item.mos) for item, _ in rows]
    groups = [item.group for item, _ in rows]
    span = scorer.score_range
    if span is not None and not scorer.higher_is_better:
        span = (-span[1], -span[0])
    measured = correlations(
        scores, mos, [item.id for item, _ in rows], span, loaded.benchmark.mos_range if span else None
    )
    if span is None:
        measured["rmse"] = math.nan  # the scores have no scale that could be taken to that of the opinions
    intervals = None
    if len(set(groups)) > 1:
        intervals = bootstrap_intervals(scores, mos, groups, **vars(settings))
    kinds = [item.distortion or None for item, _ in rows]
    subsets = subset_correlations(scores, mos, kinds) if any(kinds) else {}
    return {**model, "correlations": measured, "intervals": intervals, "subsets": subsets}


def oriented(scorer: Scorer, scores: Iterable[float]) -> list[float]:
    """Scores with higher as better: negated where the scorer's are the other way."""
    return list(scores) if scorer.higher_is_better else [-score for score in scores]


def _comparison(loaded: LoadedBenchmark, first: tuple, other: tuple, settings: Settings) -> dict[str, Any] | None:
    (a, records_a), (b, records_b) = first, other
    rows = [
        (item, x["score"], y["score"])
        for item, x, y in zip(loaded.items, records_a, records_b, strict=True)
        if x["error"] is None and y["error"] is None
    ]
    if len(rows) < MIN_ITEMS or len({item.group for item, _, _ in rows}) < 2:
        return None
    mos = [loaded.benchmark.oriented(item.mos) for item, _, _ in rows]
    scores_a, scores_b = oriented(a, [row[1] for row in rows]), oriented(b, [row[2] for row in rows])
    difference = paired_difference(
        scores_a, scores_b, mos, [item.group for item, _, _ in rows], "srcc", **vars(settings)
    )
    return {"a": a.name, "b": b.name, "statistic": "srcc", "n": len(rows), **difference}


def plain(value: Any) -> Any:
    """Values that JSON has: what is not a number becomes `None`."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
