"""The data sets that this project makes (`dataset_scripts`), as something to measure against."""

from functools import lru_cache, partial
from pathlib import Path

from ...extras import require
from .definition import Benchmark, BenchmarkError, readable
from .loading import BenchmarkItem, LoadedBenchmark, check_no_leak, list_hash


PAIRS = Benchmark(
    name="vital-pairs",
    title="vital-pairs",
    modality="image and video",
    mos_range=(0, 1),
    domain="in",
    counts={"train": 0, "validation": 0, "test": 0},
    default_split="test",
    tables=(),
    note="opinions are those of machine annotators, not of people",
)

_COLUMNS = ["id", "modality", "mos", "std", "content_id", "split", "distortion", "level_probs"]


def load_pairs(root: str | Path, split: str | None = None) -> LoadedBenchmark:
    """Reads the configuration `scoring` of a data set folder; pictures and clips are read when they are scored.

    Args:
        root (`str` or `Path`): what `python -m dataset_scripts build --output` wrote.
        split (`str`, *optional*): `"test"` by default; `"all"` for all.

    Returns:
        [`LoadedBenchmark`]: with the distortion of each item, `"none"` for originals.

    Raises:
        BenchmarkError: if there are no such files, no such split, or one content is in two splits.
    """
    split = split or PAIRS.default_split
    if split not in (*PAIRS.counts, "all"):
        raise BenchmarkError(f"vital-pairs has no split {split!r}; it has {', '.join(PAIRS.counts)} and all")
    items = [item for path in scoring_files(Path(root)) for item in _items(path)]
    check_no_leak(items)
    chosen = [item for item in items if split in ("all", item.split)]
    if not chosen:
        raise BenchmarkError(f"{root} has no items in the split {split!r}")
    return LoadedBenchmark(PAIRS, split, chosen, [], False, list_hash(chosen))


def scoring_files(root: Path) -> list[Path]:
    """Finds the Parquet of the configuration `scoring`, sorted.

    Raises:
        BenchmarkError: if the folder has none.
    """
    paths = sorted(root.glob("data/scoring/*.parquet"))
    if not paths:
        raise BenchmarkError(f"{root} has no data/scoring/*.parquet; give a folder that dataset_scripts built")
    return paths


def _items(path: Path) -> list[BenchmarkItem]:
    parquet, items = require("pyarrow.parquet"), []
    with readable(path), parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            for number, row in enumerate(file.read_row_group(group, columns=_COLUMNS).to_pylist()):
                items.append(
                    BenchmarkItem(
                        id=row["id"],
                        mos=row["mos"],
                        group=row["content_id"],
                        split=row["split"],
                        distortion=(row["distortion"] or {}).get("type") or "none",
                        std=row["std"],
                        level_probs=tuple(row["level_probs"] or ()),
                        media=partial(_media, path, group, number),
                    )
                )
    return items


def _media(path: Path, group: int, number: int) -> bytes:
    with readable(path):
        row = _row_group(path, group)[number]
        return (row["images"] or row["videos"])[0]["bytes"]


@lru_cache(maxsize=1)  # items are scored in the order of the file
def _row_group(path: Path, group: int) -> list[dict]:
    return require("pyarrow.parquet").ParquetFile(path).read_row_group(group, columns=["images", "videos"]).to_pylist()
