"""Statistics of a data set, counted from its Parquet files, without opening the media."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import rankdata

from dataset_scripts.validator import data_files
from modeling_vital.levels_vital import LEVEL_WORDS, level_of


SCORE_BINS = 20
STD_BINS, MAX_STD = 20, 0.5

_EVERYWHERE = ("modality", "messages", "source", "license", "content_id")
_COLUMNS = {"scoring": ("distortion", "mos", "std", "annotators"), "pairwise": ("preference",)}


@dataclass
class Tally:
    """Tally of the rows that pass: counts, and three kinds of numbers, never whole rows.

    Attributes:
        originals (`dict[str, tuple]`): `content_id` -> modality, source, licence.
        words (`dict[str, Counter]`): configuration -> how many answers have so many words.
        distortions (`dict[str, list[int]]`): type -> rows at severity 1 .. 5, of rows with one distortion.
        preferences (`Counter`): of pairs.
        moments (`dict[str, list]`): modality -> (mos, std) of each scored row.
        opinions (`dict[str, list]`): modality -> scores of each scored row, NaN without an opinion.
        annotators (`list[str]`): names, in the order of the scores.
    """

    originals: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    words: dict[str, Counter] = field(default_factory=dict)
    distortions: dict[str, list[int]] = field(default_factory=dict)
    preferences: Counter = field(default_factory=Counter)
    moments: dict[str, list] = field(default_factory=dict)
    opinions: dict[str, list] = field(default_factory=dict)
    annotators: list[str] = field(default_factory=list)

    def add(self, config: str, row: dict[str, Any]) -> None:
        """Counts one row."""
        self.originals[row["content_id"]] = (row["modality"], row["source"], row["license"])
        self.words.setdefault(config, Counter()).update(word_counts(row["messages"]))
        if config == "pairwise":
            self.preferences[row["preference"]] += 1
        if config == "scoring":
            distortion = row["distortion"]
            if distortion and distortion["type"]:
                self.distortions.setdefault(distortion["type"], [0] * 5)[distortion["severity"] - 1] += 1
            self.moments.setdefault(row["modality"], []).append((row["mos"], row["std"]))
            self.annotators = list(row["annotators"])
            scores = np.array(list(row["annotators"].values()), dtype=float)  # None becomes NaN
            self.opinions.setdefault(row["modality"], []).append(scores)


def light_rows(path: Path, config: str) -> Iterator[dict[str, Any]]:
    """Rows of a file without the media."""
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(batch_size=1024, columns=[*_EVERYWHERE, *_COLUMNS.get(config, ())]):
            yield from batch.to_pylist()


def word_counts(messages: Sequence[dict[str, Any]]) -> list[int]:
    """Words of every answer."""
    answers = [message for message in messages if message["role"] == "assistant"]
    return [len(part["text"].split()) for message in answers for part in message["content"]]


def agreement(names: Sequence[str], scores: np.ndarray) -> dict[str, Any]:
    """Rank correlations between annotators.

    Args:
        names (`Sequence[str]`): annotators.
        scores (`np.ndarray` of shape `[N, A]`): one row an item, NaN without an opinion.

    Returns:
        `dict`: `annotators` (those with an opinion at all), `srcc` (matrix of Spearman correlations over the items
        both scored; `None` where fewer than three, or where one always says the same), `mean`, `std` and `count` of
        each.
    """
    heard = ~np.isnan(scores).all(axis=0)
    names, scores = list(itertools.compress(names, heard)), scores[:, heard]
    matrix: list[list[float | None]] = [[1.0] * len(names) for _ in names]
    for a, b in itertools.combinations(range(len(names)), 2):
        both = scores[~np.isnan(scores[:, [a, b]]).any(axis=1)]
        ranks = [rankdata(both[:, column]) for column in (a, b)]
        defined = len(both) >= 3 and all(np.ptp(rank) > 0 for rank in ranks)
        matrix[a][b] = matrix[b][a] = float(np.corrcoef(ranks)[0, 1]) if defined else None
    return {
        "annotators": names,
        "srcc": matrix,
        "mean": [float(np.nanmean(column)) for column in scores.T],
        "std": [float(np.nanstd(column)) for column in scores.T],
        "count": [int((~np.isnan(column)).sum()) for column in scores.T],
    }


def describe_folder(folder: str | Path) -> dict[str, Any]:
    """Counts what is in a data set.

    Args:
        folder (`str` or `Path`): as for [`dataset_scripts.validator.validate`].

    Returns:
        `dict`: plain values, for JSON, the card and the plots.
    """
    files, tally = data_files(Path(folder)), Tally()
    for config, splits in files.items():
        for path in itertools.chain.from_iterable(splits.values()):
            for row in light_rows(path, config):
                tally.add(config, row)
    paths = [path for splits in files.values() for part in splits.values() for path in part]
    modality, source, license_ = zip(*tally.originals.values(), strict=True)
    numbers = {
        "rows": _by_split(files, lambda footer: footer.num_rows),
        "table_bytes": _by_split(files, _table_bytes),
        "bytes": sum(path.stat().st_size for path in paths),
        "files": len(paths),
        "originals": len(tally.originals),
        "originals_by_modality": dict(Counter(modality)),
        "sources": dict(Counter(source).most_common()),
        "licenses": dict(Counter(license_).most_common()),
        "words": {config: _spread(counts) for config, counts in tally.words.items()},
        "word_histogram": {
            config: dict(sorted(counts.items()))
            for config, counts in tally.words.items()
            if config in ("distortion", "description")
        },
        "distortions": dict(sorted(tally.distortions.items())),
        "preferences": dict(tally.preferences),
        "scores": {kind: _scores(tally, kind) for kind in sorted(tally.moments)},
    }
    return json.loads(json.dumps(numbers))  # keys as JSON has them, whether read back or not


def _by_split(files: dict[str, dict[str, list[Path]]], measure: Any) -> dict[str, dict[str, int]]:
    """Configuration -> split -> sum of a number in the footers of its files."""
    return {
        config: {split: sum(measure(pq.read_metadata(path)) for path in part) for split, part in splits.items()}
        for config, splits in files.items()
    }


def _table_bytes(footer: pq.FileMetaData) -> int:
    """Size of a file's tables when read."""
    return sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))


def _scores(tally: Tally, modality: str) -> dict[str, Any]:
    mos, std = np.array(tally.moments[modality]).T
    levels = Counter(map(level_of, mos))
    return {
        "rows": len(mos),
        "mos_mean": float(mos.mean()),
        "mos_std": float(mos.std()),
        "std_mean": float(std.mean()),
        "levels": {word: levels[word] for word in LEVEL_WORDS},
        "mos_histogram": np.histogram(mos, SCORE_BINS, (0.0, 1.0))[0].tolist(),
        "std_histogram": np.histogram(std, STD_BINS, (0.0, MAX_STD))[0].tolist(),
        "agreement": agreement(tally.annotators, np.array(tally.opinions[modality])),
    }


def _spread(counts: Counter) -> dict[str, float]:
    """Mean, least and most of a histogram of numbers of words."""
    total = sum(length * count for length, count in counts.items())
    return {"mean": round(total / counts.total(), 2), "least": min(counts), "most": max(counts)}
