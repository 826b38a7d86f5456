"""Measures, section by section, and writes the report.

    python -m benchmarks                          all that is not measured yet on this machine
    python -m benchmarks --sections scoring --fresh
    python -m benchmarks --quick                  everything once at toy size: to see that it runs

A section's file is kept, so that a run that was stopped resumes with the next one.
"""

import argparse
import importlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .sections import SECTIONS


RESULTS, QUICK_RESULTS = Path("benchmarks/results"), Path("build/benchmarks-quick")

logger = logging.getLogger("benchmarks")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the sections asked for.

    Returns:
        `int`: 0; 1 if a section failed (the others are measured all the same); 130 after Ctrl-C. The report is written
        from what there is in any case.
    """
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here needs the network
    folder = args.output or (QUICK_RESULTS if args.quick else RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    failed, code = [], 0
    try:
        for name in args.sections:
            if not measure(name, args.quick, folder, args.fresh):
                failed.append(name)
    except KeyboardInterrupt:
        logger.error("interrupted; the same command resumes with the section that was stopped")
        code = 130
    from .speed_report import write, write_page

    report = write(folder)
    logger.info("wrote %s", folder / "report.md")
    if args.page and not code and not failed:
        write_page(report, args.page)
    if failed:
        logger.error("failed: %s", ", ".join(failed))
    return code or int(bool(failed))


def measure(name: str, quick: bool, folder: Path, fresh: bool) -> bool:
    """Measures one section, unless its file is there and from this machine. Returns whether it is there now."""
    from modeling_vital.finished_parts import FinishedParts, differing

    from .cases import Settings
    from .machine import describe

    parts, about = FinishedParts(folder), {"machine": describe(), "quick": quick}
    if name in parts and not fresh:
        kept = parts.read(name)
        if not (names := differing({key: kept[key] for key in about}, about)):
            logger.info("%s: kept", name)
            return True
        logger.info("%s: measured with another %s", name, ", ".join(names))
    started = time.monotonic()
    logger.info("%s ...", name)
    try:
        result = importlib.import_module(f"benchmarks.sections.{name}").run(Settings(quick))
    except Exception:  # one section must not cost the others; what went wrong is shown in full
        logger.exception("%s failed", name)
        return False
    about |= {"seconds": round(time.monotonic() - started, 1), "result": result}
    parts.finish(name, about)
    logger.info("%s: %.0f s", name, about["seconds"])
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures speed and memory.")
    parser.add_argument(
        "--sections",
        nargs="+",
        choices=SECTIONS,
        default=SECTIONS,
        metavar="NAME",
        help=f"of {', '.join(SECTIONS)}; default: all",
    )
    parser.add_argument("--quick", action="store_true", help="once, at toy size; into build/benchmarks-quick")
    parser.add_argument("--output", type=Path, help=f"folder of the report; default: {RESULTS}")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--page", type=Path, help="a page to put the numbers in, between its markers")
    return parser


if __name__ == "__main__":
    sys.exit(main())
