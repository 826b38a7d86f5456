"""Scores 200,000 small files, or builds 50,000 rows of pairs; kills the run twice, resumes it, and counts every row.

    python -m benchmarks.large score              200,000 files, a model of random weights and toy size
    python -m benchmarks.large build              50,000 rows at least, in one process
    python -m benchmarks.large score --count 5000 --model vital-tiny --output build/large-quick
    python -m benchmarks.large --page PAGE        the table of benchmarks/results into a page; measures nothing

The files to score are 400 pictures of 64 by 64 under many names (hard links), so what is measured is what grows with
their number: the list, the log, the memory of the run, the resume. They are read in the process that scores. The
pictures to build from are all different. Results go to stdout and `large.json` of the output folder; copy that to
benchmarks/results to publish it.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modeling_vital.item_log import SUFFIX
from modeling_vital.whole_files import write_whole

from .cluster import ROWS_AN_ORIGINAL, write_originals
from .machine import describe
from .speed_report import markdown_table, put_block


ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks/results/large.json"
BEGIN, END = "<!-- large:begin -->\n", "<!-- large:end -->"
DIFFERENT = 400
ROW_BYTES = 400
"""About what a row takes in the log; says when a run is far enough to be killed, for the log is locked."""

KILLED_AT = (0.3, 0.6)
"""Parts of the work after which a run is killed, each by the one after it taken up again."""


@dataclass(frozen=True)
class Task:
    """Work that one command does, and again takes up where it was killed.

    Attributes:
        command (`list[str]`): the same for every run.
        done (`Callable[[], float]`): part of the work that is done, in [0, 1].
        places (`list[Path]`): files and folders whose size is that of the work on the disk.
        check (`Callable[[], int]`): counts the rows at the end; `RuntimeError` if one is missing or there twice.
    """

    command: list[str]
    done: Callable[[], float]
    places: list[Path]
    check: Callable[[], int]


# ------------------------------------------------------------------------------------------------------------ scoring
def write_files(folder: Path, count: int) -> None:
    """JPEG files, 500 a folder, under folders of 10,000."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"{number // 10_000:03d}" / f"{number // 500:04d}" / f"{number:07d}.jpg"
        if number % 500 == 0:
            place.parent.mkdir(parents=True)
        if number < DIFFERENT:
            small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            small.resize((64, 64), Image.Resampling.BICUBIC).save(place, quality=int(rng.integers(10, 95)))
        else:
            os.link(folder / "000/0000" / f"{number % DIFFERENT:07d}.jpg", place)


def score_task(folder: Path, count: int, model: str | None) -> Task:
    """`vital score` over so many files; by default with a model that takes next to no time."""
    write_files(folder / "files", count)
    if model is None:
        from tests.fixtures.tiny_models import tiny_model

        made = tiny_model(vision="resnet")
        model = str(folder / "model")
        made.save_pretrained(model)
        made.processor.save_pretrained(model)
    output = folder / "scores.csv"
    log = output.with_name(output.name + SUFFIX)
    places = [log, log.with_name(f"{log.name}-journal")]
    command = [sys.executable, "-m", "modeling_vital.cli.main", "score", str(folder / "files"), "--model", model]
    command += ["--output", str(output), "--resume", "--workers", "0", "--batch-size", "64"]
    return Task(command, lambda: size_of(places) / ROW_BYTES / count, places, lambda: check_scores(output, count))


def check_scores(output: Path, files: int) -> int:
    """Sees that every file has one row with a score.

    Raises:
        RuntimeError: with the counts.
    """
    with output.open(newline="", encoding="utf-8") as lines:
        paths = [row["path"] for row in csv.DictReader(lines) if row["score"] and not row["error"]]
    if not len(paths) == len(set(paths)) == files:
        raise RuntimeError(f"{files} files, but {len(paths)} rows with a score, of {len(set(paths))} files")
    return files


# ----------------------------------------------------------------------------------------------------------- building
def build_task(folder: Path, count: int) -> Task:
    """`build` of at least so many rows of pairs, with the recipe's defaults."""
    from dataset_scripts.pipeline import STAGING_DIR
    from dataset_scripts.stages import STAGES
    from dataset_scripts.staging import Staging

    originals, output = folder / "originals", folder / "pairs"
    write_originals(originals, -(-count // ROWS_AN_ORIGINAL))
    staging, shards = Staging(output / STAGING_DIR), -(-len(list(originals.iterdir())) // _shard_originals())
    command = [sys.executable, "-m", "dataset_scripts", "build", "--source", "folder", "--input", str(originals)]
    command += ["--license", "CC0-1.0", "--output", str(output)]

    def done() -> float:
        return sum(staging.count(stage) for stage in STAGES) / len(STAGES) / shards

    return Task(command, done, [output], lambda: check_pairs(output, count))


def _shard_originals() -> int:
    from dataset_scripts.build_config import BuildConfig

    recipe = {"sources": [{"kind": "folder", "path": "originals", "license": "CC0-1.0"}]}
    return BuildConfig.from_dict(recipe).collect.items_per_shard


def check_pairs(output: Path, least: int) -> int:
    """Sees that no row is there twice, and that there are as many as the build says, and enough.

    Raises:
        RuntimeError: with the counts.
    """
    import pyarrow.parquet as pq

    from dataset_scripts.pipeline import REPORT_FILE

    said = sum(
        sum(splits.values()) for splits in json.loads((output / REPORT_FILE).read_text("utf-8"))["rows"].values()
    )
    ids = [
        (path.parent.name, row)
        for path in sorted((output / "data").rglob("*.parquet"))
        for row in pq.read_table(path, columns=["id"])["id"].to_pylist()
    ]
    if not len(ids) == len(set(ids)) == said >= least:
        raise RuntimeError(
            f"{said} rows by the report, at least {least} wanted, but {len(ids)} rows, {len(set(ids))} ids"
        )
    return said


# ---------------------------------------------------------------------------------------------------------- measuring
def size_of(places: Sequence[Path]) -> int:
    """Bytes of files, and of all files in folders; what vanishes meanwhile counts as none."""
    found = 0
    for place in places:
        # os.walk passes over folders that vanish, Path.rglob raises
        inside = (Path(folder, name) for folder, _, names in os.walk(place) for name in names)
        for path in inside if place.is_dir() else [place]:
            try:
                found += path.stat().st_size
            except FileNotFoundError:
                continue
    return found


def run_once(task: Task, kill_at: float | None) -> dict[str, Any]:
    """Runs a command; with `kill_at` it is killed once that part of the work is done.

    Returns:
        `dict`: `killed_at`, `seconds`, `cpu_seconds`, `peak_mib` of the process, `disk_mib` at most.

    Raises:
        RuntimeError: the command fails, or is done before it is killed.
    """
    started, largest, killed = time.monotonic(), 0, False
    process = subprocess.Popen(task.command)
    try:
        while (done := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            largest = max(largest, size_of(task.places))
            if kill_at is not None and not killed and task.done() > kill_at:
                os.kill(process.pid, signal.SIGKILL)
                killed = True
            time.sleep(0.2)
    except BaseException:  # Ctrl-C too: the command would go on alone
        process.kill()
        raise
    process.returncode = os.waitstatus_to_exitcode(done[1])
    if process.returncode != (-signal.SIGKILL if kill_at is not None else 0):
        raise RuntimeError(f"{' '.join(task.command)} ended with {process.returncode}")
    usage = done[2]
    return {
        "killed_at": kill_at,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": usage.ru_maxrss >> 10,
        "disk_mib": round(largest / 2**20, 1),
    }


def measure(task: Task, about: dict[str, Any]) -> dict[str, Any]:
    """Kills twice, resumes to the end, and counts.

    Returns:
        `dict`: `about`, with `machine`, `rows` and `runs`.
    """
    runs = [run_once(task, kill_at) for kill_at in (*KILLED_AT, None)]
    return {"machine": describe(), **about, "rows": task.check(), "runs": runs}


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown, after a line for each task that says of what and where."""
    lines, rows = [], []
    for name, part in found.items():
        machine = part["machine"]
        lines.append(f"{name}: {part['rows']:,} {part['of']}; {machine['cpu']}, {machine['cores']} cores.\n")
        for number, run in enumerate(part["runs"]):
            parts = ["resumed"] if number else []
            parts.append("to the end" if run["killed_at"] is None else f"killed at {run['killed_at']:.0%}")
            rows.append((name, ", ".join(parts), *(str(value) for key, value in run.items() if key != "killed_at")))
    head = ("task", "run", "seconds", "CPU seconds", "peak memory, MiB", "on disk at most, MiB")
    return "".join(f"- {line}" for line in lines) + "\n" + markdown_table(head, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Writes `large.json`, and the table to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__.split("\n", 1)[0])
    parser.add_argument("task", nargs="?", choices=("score", "build"))
    parser.add_argument("--count", type=int, help="of files (200000), or of rows at least (50000)")
    parser.add_argument("--model", help="of `vital score` (default: of random weights and toy size)")
    parser.add_argument("--output", type=Path, default=Path("build/large"), help="folder (build/large)")
    parser.add_argument("--page", type=Path, help=f"where to put the table of {RESULT.relative_to(ROOT)}")
    args = parser.parse_args(argv)
    if args.page:
        put_block(args.page, BEGIN, table(json.loads(RESULT.read_text("utf-8"))), END)
        return 0
    if args.task is None:
        parser.error("say what to do: score, build, or --page PAGE")
    folder, results = args.output.absolute() / args.task, args.output / "large.json"
    if folder.exists():
        parser.error(f"{folder} is there already; delete it or give another --output")
    folder.mkdir(parents=True)
    if args.task == "score":
        task = score_task(folder, args.count or 200_000, args.model)
        about = {"of": f"files of 64 by 64, {args.model or 'a model of random weights and toy size'}, batches of 64"}
    else:
        task = build_task(folder, args.count or 50_000)
        about = {"of": f"rows of {len(list((folder / 'originals').iterdir())):,} pictures of 256 by 192, one process"}
    found = json.loads(results.read_text("utf-8")) if results.exists() else {}
    found[args.task] = measure(task, about)
    write_whole(results, json.dumps(found, indent=1) + "\n")
    sys.stdout.write(table(found) + "\nevery row is there once\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
