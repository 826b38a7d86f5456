"""Scores the items of a benchmark, item by item on disk, so that an interrupted run resumes where it stopped."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from ..item_log import ItemLog
from .benchmarks import BenchmarkItem, LoadedBenchmark
from .scorers import Scorer


def score_benchmark(
    loaded: LoadedBenchmark,
    scorer: Scorer,
    store: Path | None = None,
    chunk: int = 8,
    progress: Callable[[int], object] = lambda count: None,
) -> list[dict[str, Any]]:
    """Scores every item, except those that `store` has.

    Args:
        loaded (`LoadedBenchmark`): what to score.
        scorer (`Scorer`): what is measured.
        store (`Path`, *optional*): an [`ItemLog`], written as they come. Items that failed are tried again.
        chunk (`int`, *optional*, defaults to 8): items between two writes.
        progress (`Callable[[int], object]`, *optional*): told how many items are done, as they are.

    Returns:
        `list[dict]`: `id`, `score`, `std`, `error`, in the order of the items; `score` is `None` where there is an
        error.

    Raises:
        ItemLogError: if `store` is of another model, list or settings, or cannot be used.
    """
    with ItemLog(store, {"list of items": loaded.list_sha256, "model": scorer.describe()}) as log:
        for item in loaded.items:
            log.add(item.id, stamp="")  # what it is, the hash of the list says
        progress(log.done)
        pending = log.pending()
        while ordinals := [ordinal for ordinal, *_ in islice(pending, chunk)]:
            results = scorer.score([_media(loaded.items[ordinal]) for ordinal in ordinals])
            log.save((ordinal, _record(result)) for ordinal, result in zip(ordinals, results, strict=True))
            progress(len(ordinals))
        return [{"id": record.pop("path"), **record} for record in log.records()]


def _media(item: BenchmarkItem) -> Any:
    return item.media() if callable(item.media) else item.media


def _record(result: tuple[float, float | None] | str) -> dict[str, Any]:
    score, std, error = (None, None, result) if isinstance(result, str) else (*result, None)
    return {"score": score, "std": std, "error": error}
