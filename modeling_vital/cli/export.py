"""`vital export`: a checkpoint in the format of another program."""

import argparse
import contextlib
import logging
import sys

from ..export.folders import ExportError
from .errors import EXIT_SOME_FAILED, Interrupted, UsageError
from .model_loading import resolve_model


logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `export` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "export",
        help="write a checkpoint in another format",
        description="Writes a checkpoint for other programs. internvl: the image side of a model as transformers' own "
        "InternVL, for AutoModelForImageTextToText without remote code and for serving engines. onnx: a linear probe "
        "as ONNX graphs. docs/serving.md shows how to score with either.",
        epilog="Exit code: 0 written, 1 it could not be written, 2 wrong use or an unfit checkpoint, 130 stopped by "
        "Ctrl-C. Whatever goes wrong, no half-written folder is left.",
        examples=[
            ("for serving engines", "vital export vital-8b served --layout internvl"),
            ("a linear probe", "vital export probe probe-onnx --layout onnx"),
        ],
    )
    parser.add_argument("source", metavar="SRC", help="a name of the zoo, a folder, or a Hub id")
    parser.add_argument("destination", metavar="DST", help="the folder to make; it must not exist")
    parser.add_argument("--layout", choices=("internvl", "onnx"), required=True, help="the format")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exports `args.source` to `args.destination` and prints where it is.

    Args:
        args (`argparse.Namespace`): `source`, `destination` and `layout`, see `vital export --help`.

    Returns:
        `int`: 0, or 1 if the folder could not be written.

    Raises:
        Interrupted: after Ctrl-C.
        UsageError: if the checkpoint cannot be exported so, or the destination exists.
    """
    source = resolve_model(args.source)
    try:
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        with contextlib.redirect_stdout(sys.stderr):  # libraries print; stdout is for the result alone
            if args.layout == "internvl":
                from ..export.internvl import export_internvl as export
            else:
                from ..export.onnx_probe import export_onnx as export
            export(source, args.destination)
    except ExportError as error:
        raise UsageError(str(error)) from error
    except OSError as error:  # a full disk, for instance
        logger.error("%s was not written: %s", args.destination, error)
        return EXIT_SOME_FAILED
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{args.destination} was not written") from stop
    sys.stdout.write(f"{args.destination}\n")
    return 0
