"""A folder of your own pictures or clips with people's opinions in a table, as something to measure against."""

import contextlib
import math
from dataclasses import replace
from pathlib import Path

from .definition import Benchmark, BenchmarkError, Table
from .label_tables import cell_of, read_table
from .loading import LoadedBenchmark, load_benchmark


RATINGS = Benchmark(
    name="ratings",
    title="ratings",
    modality="image and video",
    mos_range=(0, 1),
    counts={},
    tables=(Table(files=("ratings.csv",), name=("path",), mos=("mos",)),),
    note="the scale of the opinions is taken to go from the least to the greatest of them",
)


def load_ratings(root: str | Path, split: str | None = None, partial: bool = False) -> LoadedBenchmark:
    """Reads `ratings.csv` in a folder: columns `path`, within the folder, and `mos`, higher is better.

    Args:
        root (`str` or `Path`): the folder.
        split (`str`, *optional*): `"all"`, which is the default, or an error.
        partial (`bool`, *optional*, defaults to `False`): continue with files missing; the result says so.

    Returns:
        [`LoadedBenchmark`]

    Raises:
        BenchmarkError: as [`load_benchmark`]; or if all opinions are alike.
    """
    return load_benchmark(replace(RATINGS, mos_range=_range(Path(root))), root, split, partial)


def _range(root: Path) -> tuple[float, float]:
    (table,), path = RATINGS.tables, root / "ratings.csv"
    if not path.is_file():
        raise BenchmarkError(f"{root} has no ratings.csv with the columns path and mos")
    mos, rows = [], read_table([path], [table.name, table.mos])
    for row in rows:
        with contextlib.suppress(ValueError):  # the reader of the benchmark names the row
            mos.append(float(cell_of(row, table.mos)))
    mos = [value for value in mos if math.isfinite(value)]
    if len(set(mos)) == 1 and len(mos) == len(rows):
        raise BenchmarkError(f"{path}: all opinions are {mos[0]:g}, so no score can follow them")
    return (min(mos), max(mos)) if mos else RATINGS.mos_range
