"""`python -m tests.peers [pytest's arguments]`: fetches transformers' tests, and runs them and ours of this folder."""

import os
import subprocess
import sys
from pathlib import Path

from .sources import VARIABLE, fetch


def main() -> int:
    """Runs them; returns pytest's exit code."""
    here = Path(__file__).parent
    tests = fetch(here.parents[1] / "build" / "peers")
    command = [sys.executable, "-m", "pytest", "-o", "addopts=", str(here), *sys.argv[1:]]  # their marks are not ours
    return subprocess.run(command, env={**os.environ, VARIABLE: str(tests)}).returncode


if __name__ == "__main__":
    sys.exit(main())
