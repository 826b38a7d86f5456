"""Scores a large folder of small files, kills the run twice, resumes it, and counts every row.

    python -m benchmarks.large FOLDER                                        200,000 files, vital-tiny
    python -m benchmarks.large FOLDER --files 50000 --model MODEL --batch-size 64

The files are 400 pictures of 64 by 64 under many names (hard links), so what is measured is what grows with their
number: the list, the log, the memory of the run, the resume. They are read in the process that scores. A second call
with the same folder resumes the work as `vital score` does.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from modeling_vital.item_log import SUFFIX

from .speed_report import markdown_table


DIFFERENT = 400
ROW_BYTES = 400
"""About what a row takes in the log; says when a run is far enough to be killed, for the log is locked."""


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


def run_once(command: Sequence[str], log: Path, kill_at: int | None) -> dict[str, Any]:
    """Runs a command; with `kill_at` it is killed once the log has about that many rows.

    Returns:
        `dict`: `killed`, `seconds`, `cpu_seconds`, `peak_mib` of the process, `log_mib` at most.

    Raises:
        RuntimeError: the command fails, or is done before it is killed.
    """
    started, largest, killed = time.monotonic(), 0, False
    process = subprocess.Popen(command)
    while (done := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        size = sum(path.stat().st_size for path in (log, log.with_name(f"{log.name}-journal")) if path.exists())
        largest = max(largest, size)
        if kill_at is not None and size > kill_at * ROW_BYTES and not killed:
            os.kill(process.pid, signal.SIGKILL)
            killed = True
        time.sleep(0.2)
    process.returncode = os.waitstatus_to_exitcode(done[1])
    if process.returncode != (-signal.SIGKILL if kill_at is not None else 0):
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    usage = done[2]
    return {
        "killed": killed,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": usage.ru_maxrss >> 10,
        "log_mib": round(largest / 2**20, 1),
    }


def check(output: Path, files: int) -> None:
    """Sees that every file has one row with a score.

    Raises:
        RuntimeError: with the counts.
    """
    with output.open(newline="", encoding="utf-8") as lines:
        paths = [row["path"] for row in csv.DictReader(lines) if row["score"] and not row["error"]]
    if not len(paths) == len(set(paths)) == files:
        raise RuntimeError(f"{files} files, but {len(paths)} rows with a score, of {len(set(paths))} files")


def main(argv: Sequence[str] | None = None) -> int:
    """Writes `large.json` beside the scores, and the table to stdout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__.split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=200_000, help="how many (default: 200000)")
    parser.add_argument("--model", default="vital-tiny", help="as of `vital score` (vital-tiny)")
    parser.add_argument("--batch-size", default="auto", help="as of `vital score` (auto)")
    args = parser.parse_args(argv)
    files, output = args.folder / "files", args.folder / "scores.csv"
    if not files.exists():
        write_files(files, args.files)
    log, runs = output.with_name(output.name + SUFFIX), []
    command = [sys.executable, "-m", "modeling_vital.cli.main", "score", str(files), "--model", args.model]
    command += ["--output", str(output), "--resume", "--workers", "0", "--batch-size", args.batch_size]
    for kill_at in (args.files * 3 // 10, args.files * 6 // 10, None):
        runs.append(run_once(command, log, kill_at))
        (args.folder / "large.json").write_text(json.dumps({"files": args.files, "runs": runs}, indent=1) + "\n")
    check(output, args.files)
    sys.stdout.write(markdown_table(tuple(runs[0]), [tuple(map(str, run.values())) for run in runs]))
    sys.stdout.write(f"\nevery one of {args.files} files has one row\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
