"""Measures a model on photos and clips of package registries that our own models never saw, and distorted copies.

    python -m training.suite --model vital-tiny --output results

The labels are machine opinions, by the rule of the training data. `python -m model_cards record` puts the result into
README and card.
"""

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modeling_vital.cli.errors import EXIT_USAGE, UsageError
from modeling_vital.cli.model_loading import load_model, resolve_model
from modeling_vital.cli.options import add_device, add_format, add_peer
from modeling_vital.cli.records import prepare_folder
from modeling_vital.evaluation.result_tables import aligned, number
from modeling_vital.evaluation.results import plain
from modeling_vital.evaluation.scorers import PeerScorer
from modeling_vital.whole_files import write_whole
from training.suite.measurement import measure
from training.tiny import fetch_originals, recipe_data


logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        `int`: 0, or 2 for a model or peer that is not there.
    """
    parser = argparse.ArgumentParser(prog="python -m training.suite", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--model", default="vital-tiny", metavar="M", help="a name of the zoo, a folder, or a Hub id (%(default)s)"
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("build/registry"),
        metavar="DIR",
        help="where the originals are, fetched if missing (default: %(default)s)",
    )
    add_peer(parser)
    parser.add_argument("--output", metavar="DIR", type=Path, help="folder for result.json")
    add_format(parser, "table", "json")
    add_device(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        prepare_folder(args.output)
        with contextlib.redirect_stdout(sys.stderr):  # a library that prints would break the output
            peers = [PeerScorer(name) for name in args.peer]
            model = load_model(resolve_model(args.model), args.device)
            results = {"model": args.model, **measure(model, fetch_originals(args.root), recipe_data(), peers)}
    except (UsageError, ValueError) as error:
        logger.error("%s", error)
        return EXIT_USAGE
    text = json.dumps(plain(results), indent=2, allow_nan=False) + "\n"
    if args.output:
        write_whole(args.output / "result.json", text)
    sys.stdout.write(text if args.format == "json" else suite_table(results))
    return 0


def suite_table(results: dict[str, Any]) -> str:
    """Returns what the suite measured as text.

    Args:
        results (`dict`): what `training.suite.measurement.measure` returns, and the name of the `model`.
    """
    rows = [("subset", "metric", "n", "srcc", "95 %", "plcc", "srcc with severity")]
    for name, measured in {results["model"]: results["rows"], **results["peers"]}.items():
        for row in measured:
            span = f"{row['low']:.3f} to {row['high']:.3f}"
            numbers = (number(row["srcc"]), span, number(row["plcc"]), number(row["srcc_severity"]))
            rows.append((row["subset"], name, str(row["n"]), *numbers))
    across = [("across originals", "metric", "n", "srcc", "95 %")]
    for name, found in {results["model"]: results["across"], **results["peers_across"]}.items():
        for kind, one in (("damaged", found), ("as they are", found.get("originals"))):
            if one:
                span = f"{one['low']:.3f} to {one['high']:.3f}"
                across.append((kind, name, str(one["n"]), number(one["srcc"]), span))
    parts = [f"with {name} alone: {number(value)}" for name, value in results["across"].get("parts", {}).items()]
    sections = {
        "copies below their original:": _shares(results["pairs"]),
        "pairs in order:": _shares(results["orders"]),
        "pairs that score alike:": _shares(results["alike"]),
        "descriptions:": [f"{what}: {value:g}" for what, value in results["text"].items()],
    }
    lines = [*aligned(rows), "", *aligned(across), *parts]
    for title, found in sections.items():
        lines += ["", title, *found]
    return "\n".join(lines) + "\n"


def _shares(found: dict[str, dict[str, Any]]) -> list[str]:
    return [f"{name}: {one['share']:.1%} of {one['n']}" for name, one in found.items() if one["n"]]


if __name__ == "__main__":
    sys.exit(main())
