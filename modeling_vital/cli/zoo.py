"""`vital zoo`: the models there are, and what they cost."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from .options import add_format


if TYPE_CHECKING:
    from ..zoo.presets import ZooEntry


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `zoo` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "zoo",
        help="list the models",
        description="Lists the models by name: parameters of each part (the decoder with its head), memory of the "
        "weights by precision (linear layers quantised, the rest in bf16), where the weights come from or how they "
        "were made.",
        epilog="Exit code: 0.",
        examples=[("for a program", "vital zoo --format json")],
    )
    add_format(parser, "table", "json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Counts every model of the zoo and prints one row each.

    Args:
        args (`argparse.Namespace`): `format`, `"table"` or `"json"`.

    Returns:
        `int`: 0.
    """
    from ..zoo import NAMES, presets

    entries = [presets.entry(name) for name in NAMES]
    if args.format == "json":
        json.dump([entry.to_dict() for entry in entries], sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(_table(entries))
    return 0


def _table(entries: "list[ZooEntry]") -> str:
    from ..zoo.presets import format_memory, format_parameters

    rows = [["name", *entries[0].parameters, *entries[0].memory_bytes, "weights"]]
    for entry in entries:
        counts, sizes = entry.parameters.values(), entry.memory_bytes.values()
        rows.append([entry.name, *map(format_parameters, counts), *map(format_memory, sizes), entry.weights])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers, row[-1]]) + "\n")
    return "".join(lines)
