"""`vital completion`: what a shell needs to complete the command line."""

import argparse
import sys

from .errors import UsageError


SHELLS = ("bash", "zsh", "fish")


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
    try:
        import shtab
    except ImportError as error:
        raise UsageError('completion needs the package shtab: pip install "modeling-vital[cli]"') from error
    from .main import build_parser

    sys.stdout.write(shtab.complete(build_parser(), args.shell) + "\n")
    return 0
