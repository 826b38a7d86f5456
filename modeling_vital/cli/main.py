"""Entry point of the command `vital`."""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module

from .. import __version__
from ..item_log import ORDERS, ItemLogError
from ..video_backend_vital import BACKEND_VARIABLE, set_video_backend, video_backend
from .errors import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_USAGE, UsageError
from .options import Parser


COMMANDS = (
    "score",
    "compare",
    "describe",
    "answer",
    "report",
    "calibrate",
    "threshold",
    "evaluate",
    "audit",
    "zoo",
    "convert",
    "export",
    "push",
    "completion",
)
"""The subcommands, in the order of `vital --help`; each is the module of its name."""

logger = logging.getLogger("modeling_vital")


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser of `vital`; `args.run` is the function that does the work.

    Args:
        command (`str`, *optional*): the only subcommand to build. All of them by default, and for any other word,
            which the parser then refuses by naming them.
    """
    parser = Parser(prog="vital", description="Quality of images and videos.")
    parser.add_argument("--version", action="version", version=f"vital {__version__}", help="print it and stop")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in [command] if command in COMMANDS else COMMANDS:
        import_module(f".{name}", __package__).add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `vital`.

    Args:
        argv (`Sequence[str]`, *optional*): the arguments after the program's name; those of the process by default.

    Returns:
        `int`: the exit code. 0: all well. 1: some files failed. 2: wrong use. 130: stopped by Ctrl-C. 141: the reader
        of stdout went away.
    """
    words = _joined(sys.argv[1:] if argv is None else argv)
    parser = build_parser(words[0] if words else None)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:  # argparse has printed its help or its complaint
        return int(stop.code or 0)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("vital: %(message)s"))
    logger.addHandler(handler)
    try:
        with _video_backend(args):
            code = args.run(args)
        sys.stdout.flush()
        return code
    except (UsageError, ItemLogError) as error:
        logger.error("%s", error)
        return EXIT_USAGE
    except KeyboardInterrupt as stop:
        logger.error("interrupted%s", f"; {stop}" if str(stop) else "")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more on its way out, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _video_backend(args: argparse.Namespace) -> Iterator[None]:
    """Sets what decodes clips for the time that a command which reads media runs."""
    if not hasattr(args, "video_backend"):
        yield
        return
    before = video_backend()
    try:
        set_video_backend(args.video_backend or before)
    except ValueError as error:
        raise UsageError(f"--video-backend: {error}") from error
    try:
        yield
    finally:
        os.environ[BACKEND_VARIABLE] = before


def _joined(argv: Sequence[str]) -> list[str]:
    """`--sort -score` as `--sort=-score`: argparse would take a value that begins with a minus for an option."""
    joined = list(argv)
    for place, word in enumerate(joined[:-1]):
        if word == "--sort" and joined[place + 1] in ORDERS:
            joined[place : place + 2] = [f"--sort={joined[place + 1]}"]
            break
    return joined


if __name__ == "__main__":
    sys.exit(main())
