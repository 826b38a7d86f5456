"""Scores the items of a benchmark, item by item on disk, so that an interrupted run resumes where it stopped."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..whole_files import write_whole
from .benchmarks import BenchmarkError, BenchmarkItem, LoadedBenchmark
from .scorers import Scorer


logger = logging.getLogger(__name__)


def score_items(
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
        store (`Path`, *optional*): JSON lines, one an item, written as they come. Items that failed are tried again.
        chunk (`int`, *optional*, defaults to 8): items between two writes.
        progress (`Callable[[int], object]`, *optional*): told how many items are done, as they are.

    Returns:
        `list[dict]`: `id`, `score`, `std`, `error`, in the order of the items; `score` is `None` where there is an
        error.

    Raises:
        BenchmarkError: if `store` was written with another model, list or settings.
    """
    header = {"list_sha256": loaded.list_sha256, "model": scorer.describe()}
    done = _read(store, header) if store and store.exists() else {}
    todo = [item for item in loaded.items if item.id not in done]
    progress(len(loaded.items) - len(todo))
    with _writer(store, header, list(done.values())) as write:
        for start in range(0, len(todo), chunk):
            batch = todo[start : start + chunk]
            for item, result in zip(batch, scorer.score([_media(item) for item in batch]), strict=True):
                done[item.id] = _record(item, result)
                write(done[item.id])
            progress(len(batch))
    return [done[item.id] for item in loaded.items]


def _media(item: BenchmarkItem) -> Any:
    return item.media() if callable(item.media) else item.media


def _record(item: BenchmarkItem, result: tuple[float, float | None] | str) -> dict[str, Any]:
    if isinstance(result, str):
        return {"id": item.id, "score": None, "std": None, "error": result}
    return {"id": item.id, "score": result[0], "std": result[1], "error": None}


def _read(store: Path, header: dict[str, Any]) -> dict[str, dict[str, Any]]:
    lines = store.read_text(encoding="utf-8").splitlines()
    records = []
    for number, line in enumerate(lines):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number + 1 < len(lines):
                raise BenchmarkError(f"{store} is damaged in line {number + 1}; delete it to score anew") from None
    if not records or records[0] != json.loads(json.dumps(header)):
        raise BenchmarkError(
            f"{store} was written for another model, list of items, video backend or settings; give another --output, "
            "or delete it"
        )
    return {record["id"]: record for record in records[1:] if record["error"] is None}


@contextmanager
def _writer(
    store: Path | None, header: dict[str, Any], done: Sequence[dict[str, Any]]
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Writes what is there anew (without a last line that a crash cut off), then takes one record after another."""
    if store is None:
        yield lambda record: None
        return
    write_whole(store, "".join(json.dumps(record) + "\n" for record in (header, *done)))
    with store.open("a", encoding="utf-8") as file:

        def write(record: dict[str, Any]) -> None:
            file.write(json.dumps(record) + "\n")
            file.flush()

        yield write
