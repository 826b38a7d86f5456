"""Cold start: from nothing to the score of one photo on the command line, and what imports take of it."""

import re
import statistics
import subprocess
import sys
from typing import Any

from ..cases import EXAMPLES, Settings
from ..timing import timed


COMMAND = (sys.executable, "-m", "modeling_vital.cli.main", "score", str(EXAMPLES / "astronaut-portrait.jpg"))
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s*([\w.]+)")
_OF_INTEREST = ("modeling_vital", "torch", "transformers", "numpy", "PIL")


def run(settings: Settings) -> dict[str, Any]:
    """Runs the command some times, and once more with Python's own account of imports."""
    runs = [timed(score_photo)[0] for _ in range(settings.rounds(3))]
    report = score_photo("-X", "importtime")
    return {"wall_s": statistics.median(runs), "wall_runs_s": runs, "imports_s": import_seconds(report)}


def score_photo(*options: str) -> str:
    """Scores one photo in a new process; returns what that wrote to stderr.

    Raises:
        subprocess.CalledProcessError: if the command fails.
    """
    command = (COMMAND[0], *options, *COMMAND[1:])
    return subprocess.run(command, check=True, capture_output=True, text=True).stderr


def import_seconds(report: str) -> dict[str, float]:
    """Seconds spent in the modules of each package themselves, not in what they import.

    Args:
        report (`str`): what `python -X importtime` wrote.

    Returns:
        `dict`: by package, all others together under `other`, and `total`.
    """
    seconds = dict.fromkeys((*_OF_INTEREST, "other"), 0.0)
    for microseconds, module in _LINE.findall(report):
        package = module.partition(".")[0]
        seconds[package if package in _OF_INTEREST else "other"] += int(microseconds) / 1e6
    return {**seconds, "total": sum(seconds.values())}
