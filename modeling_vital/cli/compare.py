"""`vital compare`: which of two files looks better."""

import argparse
import contextlib
import json
import logging
import sys
from typing import TYPE_CHECKING

from .errors import EXIT_SOME_FAILED, UsageError
from .model_loading import load_model, resolve_model
from .options import add_format, add_model, add_video_backend
from .records import printable


if TYPE_CHECKING:
    from ..outputs_vital import Comparison

logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `compare` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "compare",
        help="say which of two files is better",
        description="Scores two pictures or clips and says which is better, by how much, and how probably: "
        "Phi((score A - score B) / sqrt(std A^2 + std B^2)).",
        epilog="Exit code: 0 compared, 1 a file cannot be read, 2 wrong use, 130 stopped by Ctrl-C.",
        examples=[
            ("which is better", "vital compare before.jpg after.jpg"),
            ("for a program", "vital compare a.mp4 b.mp4 --format json --model org/vital --device cuda"),
            ("call it a tie unless it is rather sure", "vital compare a.jpg b.jpg --tie-margin 0.1"),
            ("decode both with decord alone", "vital compare a.mp4 b.mp4 --video-backend decord"),
        ],
    )
    parser.add_argument("a", metavar="A", help="a picture or clip")
    parser.add_argument("b", metavar="B", help="another")
    add_model(parser)
    add_video_backend(parser)
    add_format(parser, "table", "json")
    parser.add_argument(
        "--tie-margin",
        type=float,
        default=0.02,
        metavar="P",
        help="a tie is a probability within this of 0.5 (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compares `args.a` with `args.b` and prints the result.

    Args:
        args (`argparse.Namespace`): see `vital compare --help`.

    Returns:
        `int`: 0, or 1 if a file cannot be read.

    Raises:
        UsageError: for a model, a device or a margin that cannot be.
    """
    from ..media_vital import MediaError

    if not 0 <= args.tie_margin <= 0.5:
        raise UsageError(f"--tie-margin is in [0, 0.5], got {args.tie_margin}")
    with contextlib.redirect_stdout(sys.stderr):  # a library that prints would break the output
        model = load_model(resolve_model(args.model), args.device)
        try:
            result = model.compare(args.a, args.b, tie_margin=args.tie_margin)
        except MediaError as error:
            logger.error("%s", printable(str(error)))
            return EXIT_SOME_FAILED
    if args.format == "json":
        difference = result.a.score - result.b.score
        record = {"path_a": args.a, "path_b": args.b, "difference": difference, **result.to_dict()}
        sys.stdout.write(json.dumps(record, indent=2, allow_nan=False) + "\n")
    else:
        sys.stdout.write(_table(args, result))
    return 0


def _table(args: argparse.Namespace, result: "Comparison") -> str:
    names = {"a": printable(args.a), "b": printable(args.b)}
    lines = [f"{key.upper()}  {names[key]}" for key in names]
    lines += [
        f"{key.upper()}  score {score.score:.3f}  std {score.std:.3f}  {score.level}"
        for key, score in (("a", result.a), ("b", result.b))
    ]
    difference = result.a.score - result.b.score
    verdict = "a tie" if result.winner == "tie" else f"{result.winner.upper()} is better"
    lines.append(f"{verdict}: A scores {difference:+.3f}, and is better with probability {result.probability:.3f}")
    return "\n".join(lines).encode(errors="backslashreplace").decode() + "\n"
