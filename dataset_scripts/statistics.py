"""What is in a data set, in numbers: counted from its Parquet files, without opening the media."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import rankdata

from dataset_scripts.validator import data_files
from modeling_vital.levels_vital import LEVEL_WORDS, level_of


SCORE_BINS = 20
STD_BINS, MAX_STD = 20, 0.5

_LIGHT = ("modality", "messages", "source", "license", "content_id", "distortion", "mos", "std", "annotators")
_MORE = ("preference", "level_probs")


def light_rows(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Rows without the media columns."""
    for path in files:
        with pq.ParquetFile(path) as table:
            columns = [name for name in (*_LIGHT, *_MORE) if name in table.schema_arrow.names]
            for batch in table.iter_batches(batch_size=1024, columns=columns):
                yield from batch.to_pylist()


def agreement(opinions: Sequence[dict[str, float | None]]) -> dict[str, Any]:
    """How alike annotators rank.

    Args:
        opinions (`Sequence[dict]`): annotator -> score, `None` without an opinion; one an item.

    Returns:
        `dict`: `annotators` (those with an opinion at all), `srcc` (matrix of Spearman correlations over the items
        both judged; `None` where fewer than three, or where one always says the same), `mean`, `std` and `count` of
        each.
    """
    names = [name for name in (opinions[0] if opinions else ()) if any(row[name] is not None for row in opinions)]
    scores = np.array([[row[name] for name in names] for row in opinions], dtype=float).reshape(len(opinions), -1)
    matrix: list[list[float | None]] = [[1.0] * len(names) for _ in names]
    for a, b in itertools.combinations(range(len(names)), 2):
        both = scores[~np.isnan(scores[:, [a, b]]).any(axis=1)]
        ranks = [rankdata(both[:, column]) for column in (a, b)]
        defined = len(both) >= 3 and all(np.ptp(r) > 0 for r in ranks)
        matrix[a][b] = matrix[b][a] = float(np.corrcoef(ranks)[0, 1]) if defined else None
    return {
        "annotators": names,
        "srcc": matrix,
        "mean": [float(np.nanmean(column)) for column in scores.T],
        "std": [float(np.nanstd(column)) for column in scores.T],
        "count": [int((~np.isnan(column)).sum()) for column in scores.T],
    }


def word_counts(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Words of every answer."""
    return [
        len(part["text"].split())
        for row in rows
        for message in row["messages"]
        if message["role"] == "assistant"
        for part in message["content"]
    ]


def describe_folder(folder: str | Path) -> dict[str, Any]:
    """Counts what is in a data set.

    Args:
        folder (`str` or `Path`): as for [`dataset_scripts.validator.validate`].

    Returns:
        `dict`: plain values, for JSON, the card and the plots.
    """
    files = data_files(Path(folder))
    rows = {
        config: {split: list(light_rows(paths)) for split, paths in splits.items()} for config, splits in files.items()
    }
    flat = {config: [row for part in splits.values() for row in part] for config, splits in rows.items()}
    everything = list(itertools.chain.from_iterable(flat.values()))
    originals = {row["content_id"]: row for row in everything}
    scoring, pairs = flat.get("scoring", []), flat.get("pairwise", [])
    by_modality = {m: [row for row in scoring if row["modality"] == m] for m in ("image", "video")}
    numbers: dict[str, Any] = {
        "rows": {config: {split: len(part) for split, part in splits.items()} for config, splits in rows.items()},
        "bytes": sum(path.stat().st_size for splits in files.values() for paths in splits.values() for path in paths),
        "table_bytes": {
            config: {split: sum(map(_table_bytes, paths)) for split, paths in splits.items()}
            for config, splits in files.items()
        },
        "files": sum(len(paths) for splits in files.values() for paths in splits.values()),
        "originals": len(originals),
        "originals_by_modality": dict(Counter(row["modality"] for row in originals.values())),
        "sources": dict(Counter(row["source"] for row in originals.values()).most_common()),
        "licenses": dict(Counter(row["license"] for row in originals.values()).most_common()),
        "words": {config: _spread(word_counts(part)) for config, part in flat.items()},
        "word_histogram": {
            config: dict(sorted(Counter(word_counts(part)).items()))
            for config, part in flat.items()
            if config in ("distortion", "description")
        },
        "distortions": _distortions(scoring),
        "preferences": dict(Counter(row["preference"] for row in pairs)),
        "scores": {modality: _scores(part) for modality, part in by_modality.items() if part},
    }
    return json.loads(json.dumps(numbers))  # keys as JSON has them, whether read back or not


def _table_bytes(path: Path) -> int:
    """Size of a Parquet file's tables when read."""
    footer = pq.read_metadata(path)
    return sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))


def _scores(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mos, std = (np.array([row[name] for row in rows]) for name in ("mos", "std"))
    levels = Counter(map(level_of, mos))
    return {
        "rows": len(rows),
        "mos_mean": float(mos.mean()),
        "mos_std": float(mos.std()),
        "std_mean": float(std.mean()),
        "levels": {word: levels[word] for word in LEVEL_WORDS},
        "mos_histogram": np.histogram(mos, SCORE_BINS, (0.0, 1.0))[0].tolist(),
        "std_histogram": np.histogram(std, STD_BINS, (0.0, MAX_STD))[0].tolist(),
        "agreement": agreement([row["annotators"] for row in rows]),
    }


def _distortions(rows: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Type -> rows at severity 1 .. 5, of rows with one distortion."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        if row["distortion"] and row["distortion"]["type"]:
            counts.setdefault(row["distortion"]["type"], [0] * 5)[row["distortion"]["severity"] - 1] += 1
    return dict(sorted(counts.items()))


def _spread(values: Sequence[int]) -> dict[str, float]:
    return {"mean": round(float(np.mean(values)), 2), "least": min(values), "most": max(values)} if values else {}
