"""Machine opinions of a data set put beside human ones: of the same items, or of the same kind of distortion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..extras import require
from ..table_file import TableFile, as_number
from .benchmarks import BenchmarkError
from .benchmarks.definition import readable
from .benchmarks.loading import listed
from .benchmarks.pairs import scoring_files


@dataclass(frozen=True)
class Opinions:
    """Items with machine and human opinions, all on [0, 1], higher is better.

    Attributes:
        ids (`list[str]`), groups (`list[str]`): name and content of each item.
        distortions (`list[str]`), severities (`list[int]`): with what it was made; `"none"` and 0 for originals.
        annotators (`dict[str, np.ndarray]`): name -> scores of shape `[N]`, NaN without an opinion.
        human (`np.ndarray` of shape `[N]`): mean human opinion.
        human_std (`np.ndarray` of shape `[N]`, *optional*): spread of human opinions about one item.
        unmatched (`int`): items that were skipped because no human opinion is known.
        by (`str`): `"item"` or `"cell"`, a distortion at a severity: whose mean the human opinion is.
    """

    ids: list[str]
    groups: list[str]
    distortions: list[str]
    severities: list[int]
    annotators: dict[str, np.ndarray]
    human: np.ndarray
    human_std: np.ndarray | None
    unmatched: int
    by: str

    def matrix(self) -> np.ndarray:
        """Machine scores of shape `[N, A]`, NaN without an opinion."""
        return np.column_stack(list(self.annotators.values()))

    def take(self, rows: Sequence[int]) -> "Opinions":
        """Only these rows."""
        return Opinions(
            [self.ids[i] for i in rows],
            [self.groups[i] for i in rows],
            [self.distortions[i] for i in rows],
            [self.severities[i] for i in rows],
            {name: scores[rows] for name, scores in self.annotators.items()},
            self.human[rows],
            None if self.human_std is None else self.human_std[rows],
            self.unmatched,
            self.by,
        )


def load_opinions(
    root: str | Path, human: str | Path, mos_range: tuple[float, float], std_column: str = "", split: str = "all"
) -> Opinions:
    """Reads the opinions of a data set and joins human ones to them.

    Args:
        root (`str` or `Path`): folder that `python -m dataset_scripts build` wrote.
        human (`str` or `Path`): CSV (lines that begin with # are skipped) with a column `mos` or `mean`, and either
            `id` for items, or `distortion` and `level` or `severity` for cells.
        mos_range (`tuple[float, float]`): ends of the human scale, worst first; reversed for DMOS.
        std_column (`str`, *optional*): column with the spread of the opinions *of people about one item*.
        split (`str`, *optional*, defaults to `"all"`): of the data set.

    Returns:
        [`Opinions`]: items for which no human opinion is known are skipped and counted.

    Raises:
        BenchmarkError: for a table without these columns, an opinion outside the scale, or no item in common.
    """
    known, by = _human_table(Path(human), mos_range, std_column)
    rows = _rows(Path(root), split)
    keys = [row["id"] if by == "item" else (row["distortion"], row["severity"]) for row in rows]
    matched = [(row, known[key]) for row, key in zip(rows, keys, strict=True) if key in known]
    if not matched:
        raise BenchmarkError(
            f"no item of {root} is in {human}, which has {listed([str(key) for key in known])}; the data has "
            f"{listed([str(key) for key in dict.fromkeys(keys)])}"
        )
    names = list(rows[0]["annotators"])
    scores = np.array([[row["annotators"][name] for name in names] for row, _ in matched], dtype=np.float64)
    given = np.atleast_1d(np.isfinite(scores).any(axis=0))
    return Opinions(
        [row["id"] for row, _ in matched],
        [row["content_id"] for row, _ in matched],
        [row["distortion"] for row, _ in matched],
        [row["severity"] for row, _ in matched],
        {name: scores[:, i] for i, name in enumerate(names) if given[i]},
        np.array([mos for _, (mos, _) in matched]),
        np.array([std for _, (_, std) in matched]) if std_column else None,
        len(rows) - len(matched),
        by,
    )


def stratified(opinions: Opinions, per_stratum: int, seed: int) -> Opinions:
    """At most so many items of each distortion at each severity, so that frequent ones do not decide alone.

    Args:
        opinions ([`Opinions`]): all.
        per_stratum (`int`): items of each.
        seed (`int`): of the choice; the same seed, the same items.
    """
    rng = np.random.default_rng(seed)
    strata: dict[tuple[str, int], list[int]] = {}
    for row, key in enumerate(zip(opinions.distortions, opinions.severities, strict=True)):
        strata.setdefault(key, []).append(row)
    chosen = [rng.choice(rows, min(per_stratum, len(rows)), replace=False) for rows in strata.values()]
    return opinions.take(sorted(int(row) for row in np.concatenate(chosen)))


def _human_table(path: Path, mos_range: tuple[float, float], std_column: str) -> tuple[dict, str]:
    wanted = [("mos", "mean"), ("id", "distortion"), *([std_column] if std_column else [])]
    table = TableFile(path, wanted, ["severity", "level"], comment="#", error=BenchmarkError)
    mos = "mos" if "mos" in table.columns else "mean"
    level = "severity" if "severity" in table.columns else "level"
    by = "item" if "id" in table.columns else "cell"
    if by == "cell" and level not in table.columns:
        raise BenchmarkError(f"{path} has no column id, nor severity or level beside distortion")
    low, high = mos_range
    known = {}
    for row in table:
        where = f"{path}, {row.place}"
        if row.error is not None:
            raise BenchmarkError(f"{where}: {row.error}")
        names = (mos, *([std_column] if std_column else []), *([level] if by == "cell" else []))
        cells = {name: found for name in names if (found := as_number(row.get(name))) is not None}
        if bad := [name for name in names if name not in cells]:
            raise BenchmarkError(f"{where}, column {bad[0]!r}: {row.get(bad[0])!r} is no number")
        key = row.get("id") if by == "item" else (row.get("distortion"), int(cells[level]))
        value = (cells[mos] - low) / (high - low)
        if not 0 <= value <= 1:
            raise BenchmarkError(f"{where}: the opinion of {key} is {row.get(mos)}, outside {low:g} to {high:g}")
        known[key] = (value, cells[std_column] / abs(high - low) if std_column else float("nan"))
    return known, by


def _rows(root: Path, split: str) -> list[Mapping]:
    columns = ["id", "content_id", "split", "modality", "annotators", "distortion"]
    parquet = require("pyarrow.parquet")
    rows: list[Mapping] = []
    for path in scoring_files(root):
        with readable(path):
            for row in parquet.read_table(path, columns=columns).to_pylist():
                made = row["distortion"] or {}
                made = {"distortion": made.get("type") or "none", "severity": made.get("severity") or 0}
                if split in ("all", row["split"]):
                    rows.append({**row, **made})
    if not rows:
        raise BenchmarkError(f"{root} has no items in the split {split!r}")
    return rows
