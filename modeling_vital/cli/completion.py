"""`vital completion`: what a shell needs to complete the command line."""

import argparse
import sys
from typing import Any

from ..extras import require
from .errors import UsageError


SHELLS = ("bash", "zsh", "fish")
_FOLDERS = ("DIR", "ID_OR_DIR", "DST")
_FILES = ("PATH", "FILE", "A", "B", "SRC", "CSV", "OUTPUT")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `completion` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "completion",
        help="complete the command line in a shell",
        description="Prints a script that completes subcommands, options and their values. Needs the extra cli.",
        epilog="Exit code: 0 printed, 2 wrong use.",
        examples=[
            ("now, in bash", 'eval "$(vital completion bash)"'),
            ("for good, in zsh", 'vital completion zsh > "${fpath[1]}/_vital"'),
            ("for good, in fish", "vital completion fish > ~/.config/fish/completions/vital.fish"),
        ],
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the script for `args.shell`.

    Args:
        args (`argparse.Namespace`): `shell`.

    Returns:
        `int`: 0.

    Raises:
        UsageError: if shtab is not installed.
    """
    shtab = require("shtab", "cli", UsageError)
    from .main import build_parser

    parser = build_parser()
    _name_files(parser, {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY})
    sys.stdout.write(shtab.complete(parser, args.shell) + "\n")
    return 0


def _name_files(parser: argparse.ArgumentParser, kinds: dict[str, Any]) -> None:
    """Marks the arguments that are files or folders, which a shell completes itself."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _name_files(command, kinds)
        elif action.metavar in _FOLDERS:
            vars(action)["complete"] = kinds["DIR"]  # what shtab reads
        elif action.metavar in _FILES or "--model" in action.option_strings:
            vars(action)["complete"] = kinds["FILE"]
