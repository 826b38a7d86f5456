"""From a folder with a benchmark, as it was distributed, to its items; whatever is not as published is an error."""

import fnmatch
import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...table_file import as_number
from .definition import Benchmark, BenchmarkError, Row, Table, readable
from .label_tables import cell_of, read_table


logger = logging.getLogger(__name__)

_SHOWN = 10


@dataclass(frozen=True)
class BenchmarkItem:
    """One picture or clip with its opinion.

    Attributes:
        id (`str`): its name in the label table.
        mos (`float`): as published, on the scale and in the direction of the benchmark.
        group (`str`): its content; items of one group are never in two splits.
        split (`str`): the split it is in, `"all"` where there are none.
        distortion (`str`): with what it was made, `""` where that means nothing.
        std (`float`, *optional*): spread of the opinions, as published.
        level_probs (`tuple[float]`): distribution over the levels, best first; empty where none is known.
        media (`Callable[[], object]` or `str`): path of the file, or a function that gives what a model scores.
    """

    id: str
    mos: float
    group: str
    split: str
    distortion: str = ""
    std: float | None = None
    level_probs: tuple[float, ...] = ()
    media: "str | Callable[[], object]" = ""


@dataclass(frozen=True)
class LoadedBenchmark:
    """The items of one split, checked.

    Attributes:
        benchmark (`Benchmark`): its manifest.
        split (`str`): which.
        items (`list[BenchmarkItem]`): in the order of the label table.
        missing (`list[str]`): items without a file, where a partial copy was allowed.
        partial (`bool`): this is not the whole published split.
        list_sha256 (`str`): of the names, opinions and groups: the same list, the same hash.
    """

    benchmark: Benchmark
    split: str
    items: list[BenchmarkItem]
    missing: list[str]
    partial: bool
    list_sha256: str


def load_benchmark(
    benchmark: Benchmark | str,
    root: str | Path,
    split: str | None = None,
    partial: bool = False,
    labels: str | Path | None = None,
) -> LoadedBenchmark:
    """Reads a benchmark from the user's copy of it.

    Args:
        benchmark (`Benchmark` or `str`): a manifest, or the name of one.
        root (`str` or `Path`): the folder with the label table and the media, at any depth.
        split (`str`, *optional*): the one that is usually reported by default; `"all"` for all.
        partial (`bool`, *optional*, defaults to `False`): accept other counts than published, or files
            missing; both are stated in the result.
        labels (`str` or `Path`, *optional*): folder with the label table, where it is not under `root`.

    Returns:
        [`LoadedBenchmark`]

    Raises:
        BenchmarkError: if there is no such benchmark or split; no folder or label table; an opinion is no number or
            outside the scale; a name comes twice; a group is in two splits; files are missing; or counts differ from
            the published ones. The message lists the items.
    """
    benchmark = _by_name(benchmark) if isinstance(benchmark, str) else benchmark
    root = Path(root)
    if not root.is_dir():
        raise BenchmarkError(f"{root} is not a folder; give the one with your copy of {benchmark.title}")
    split = check_split(benchmark, split)
    files = MediaFiles(root)
    table, paths = _find_table(benchmark, split, MediaFiles(Path(labels)) if labels else files)
    others = [(name,) for name in (table.std, table.split) if name]
    rows = read_table(paths, [table.name, table.mos, *others], table.sheet, table.columns)
    labelled = list(_items(benchmark, table, rows, paths[0]))
    _check_unique([item.id for item in labelled], paths[0])
    check_no_leak(labelled)
    chosen = [item for item in labelled if split in ("all", item.split)]
    complaints, differs = [], len(chosen) != benchmark.counts.get(split, len(chosen))
    if differs:
        complaints.append(
            f"{benchmark.title} ({split}) has {len(chosen)} labelled items in {paths[0].name}, published are "
            f"{benchmark.counts[split]}"
        )
    items, missing = [], []
    for item in chosen:
        path = files.find(item.id, benchmark.suffixes, benchmark.folders)
        if path is None:
            missing.append(item.id)
        else:
            items.append(replace(item, media=str(path)))
    if missing:
        complaints.append(f"no file under {root} for {len(missing)} of {len(chosen)} items: {listed(missing)}")
    if complaints and not partial:
        raise BenchmarkError("; ".join(complaints) + ". Complete the copy, or allow a partial one (--partial)")
    for complaint in complaints:
        logger.warning("%s", complaint)
    if not items:
        raise BenchmarkError(f"no item of {benchmark.title} ({split}) is left to score")
    return LoadedBenchmark(benchmark, split, items, missing, bool(complaints), list_hash(items))


def check_split(benchmark: Benchmark, split: str | None) -> str:
    """The split to read: the one asked for, else the one that is usually reported.

    Raises:
        BenchmarkError: if there is no such split.
    """
    split = split or benchmark.default_split
    apart = any(table.of_split for table in benchmark.tables)
    if split not in benchmark.counts and (split != "all" or apart):
        raise BenchmarkError(f"{benchmark.title} has no split {split!r}; it has {', '.join(benchmark.counts)}")
    return split


def check_no_leak(items: Iterable[BenchmarkItem]) -> None:
    """Makes sure that splits never cut a group.

    Raises:
        BenchmarkError: naming groups that are in several splits.
    """
    splits: dict[str, set[str]] = {}
    for item in items:
        splits.setdefault(item.group, set()).add(item.split)
    leaks = [f"{group} ({', '.join(sorted(found))})" for group, found in splits.items() if len(found) > 1]
    if leaks:
        raise BenchmarkError(f"{len(leaks)} contents are in more than one split: {listed(leaks)}")


def list_hash(items: Sequence[BenchmarkItem]) -> str:
    """SHA-256 of what is measured against: names, opinions and groups, whatever their order."""
    lines = sorted(json.dumps([item.id, item.mos, item.group], ensure_ascii=True) for item in items)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def listed(names: Sequence[str]) -> str:
    """The first few of many names."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


class MediaFiles:
    """All files under a folder, to be found by the end of their path whatever its case."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.by_name: dict[str, list[str]] = {}
        for parent, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                relative = os.path.relpath(os.path.join(parent, name), root).replace(os.sep, "/")
                self.by_name.setdefault(name.lower(), []).append(relative)

    def matching(self, pattern: str) -> list[Path]:
        """Files whose name matches, those least deep first."""
        found = [path for name in fnmatch.filter(self.by_name, pattern.lower()) for path in self.by_name[name]]
        return [self.root / path for path in sorted(found, key=lambda path: (path.count("/"), path))]

    def find(self, name: str, suffixes: Sequence[str] = ("",), folders: Sequence[str] = ()) -> Path | None:
        """The file whose path ends so, with the first suffix that there is; `None` if there is none.

        Raises:
            BenchmarkError: if there are several, and `folders` does not say which counts.
        """
        end = name.replace("\\", "/").lower()
        for suffix in suffixes:
            found = [
                path
                for path in self.by_name.get(f"{end}{suffix}".rsplit("/", 1)[-1], [])
                if f"/{path.lower()}".endswith(f"/{end}{suffix}")
            ]
            if len(found) > 1:
                found = self._preferred(found, name, folders)
            if found:
                return self.root / found[0]
        return None

    def _preferred(self, found: list[str], name: str, folders: Sequence[str]) -> list[str]:
        for folder in folders:
            inside = [path for path in found if folder.lower() in path.lower().split("/")[:-1]]
            if len(inside) == 1:
                return inside
        raise BenchmarkError(f"{name} could be any of {listed(found)}; leave one of them")


def _by_name(name: str) -> Benchmark:
    from . import BENCHMARKS

    if name not in BENCHMARKS:
        raise BenchmarkError(f"no benchmark is called {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def _find_table(benchmark: Benchmark, split: str, files: MediaFiles) -> tuple[Table, list[Path]]:
    tables = [table for table in benchmark.tables if split == "all" or table.of_split in ("", split)]
    for table in tables:
        found = [files.matching(name) for name in table.files]
        if not all(found):
            continue
        paths = [matches[0] for matches in found]
        if not benchmark.verified:
            logger.warning(
                "the layout of %s is guessed: opinions come from %s; check that this is right",
                benchmark.title,
                paths[0],
            )
        if split not in ("all", table.of_split) and not (table.split or table.of_split or benchmark.split_of):
            raise BenchmarkError(
                f"{paths[0]} does not say which items are in the split {split!r}; "
                f"{' or '.join(t.files[0] for t in tables if t.split)} would, or take --split all"
            )
        return table, paths
    names = sorted({" with ".join(table.files) for table in tables})
    raise BenchmarkError(f"no label table of {benchmark.title} ({split}) under {files.root}: {' or '.join(names)}")


def _items(benchmark: Benchmark, table: Table, rows: Sequence[Row], path: Path) -> Iterable[BenchmarkItem]:
    low, high = benchmark.mos_range
    for row in rows:
        name = cell_of(row, table.name)
        if not name or (benchmark.exclude and re.fullmatch(benchmark.exclude, name)):
            continue
        text = cell_of(row, table.mos)
        mos = as_number(text)
        if mos is None or not low <= mos <= high:
            raise BenchmarkError(f"{path}: the opinion of {name} is {text!r}, not a number from {low} to {high}")
        with readable(f"{path}: the row of {name}"):
            group = benchmark.group(row, name) if benchmark.group else name
            item = BenchmarkItem(
                id=benchmark.file(row, name) if benchmark.file else name,
                mos=mos,
                group=group,
                split=_split(benchmark, table, row, name, group),
                distortion=benchmark.distortion(row, name) if benchmark.distortion else "",
                std=as_number(cell_of(row, (table.std,))) if table.std else None,
            )
        yield item


def _split(benchmark: Benchmark, table: Table, row: Row, name: str, group: str) -> str:
    if table.of_split:
        return table.of_split
    if table.split:
        value = cell_of(row, (table.split,)).strip()
        if value.lower() not in table.splits:
            raise BenchmarkError(f"unknown split {value!r} in the column {table.split!r} of {table.files[0]}")
        return table.splits[value.lower()]
    return benchmark.split_of(name, group) if benchmark.split_of else "all"


def _check_unique(ids: Sequence[str], path: Path) -> None:
    twice = sorted(name for name, count in Counter(ids).items() if count > 1)
    if twice:
        raise BenchmarkError(f"{path} has items twice: {listed(twice)}")
