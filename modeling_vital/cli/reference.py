"""The page about the command line, made from the parser: `python -m modeling_vital.cli.reference FILE`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from .main import build_parser


_HEAD = """# The command line

Made by `make reference` from the parser; what is here is also in `vital COMMAND --help`. Data go to stdout, messages
to stderr. Exit codes: 0 all good, 1 some items failed or the work could not be done, 2 wrong use, 130 stopped by
Ctrl-C, 141 the reader of stdout went away.
"""


def render() -> str:
    """The page, in Markdown. It does not depend on the width of a terminal or the version of Python."""
    return "\n".join([_HEAD, *_pages(build_parser())])


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name and parser of each subcommand, in order; none where there are none."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


def _pages(parser: argparse.ArgumentParser) -> Iterator[str]:
    for command in subcommands(parser).values():
        yield from _page(command)
        yield from _pages(command)


def _page(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## {parser.prog}\n"
    yield f"{_prose(parser.description)}\n"
    if subcommands(parser):
        return
    yield "<!-- not run: read by the parser in tests/cli/test_reference.py -->"
    yield "```bash"
    for what, command in parser.examples:
        yield f"# {what}"
        yield command
    yield "```\n"
    yield "| argument | meaning |\n|---|---|"
    for action in parser._actions:
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction):
            yield f"| {_invocation(action)} | {_cell(parser, action)} |"
    if parser.epilog:
        yield f"\n{_prose(parser.epilog)}"
    yield ""


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())


def _invocation(action: argparse.Action) -> str:
    value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else None)
    if isinstance(value, tuple):
        value = " ".join(value)
    if not action.option_strings:
        return f"`{value or action.dest}`" + (" ..." if action.nargs in ("*", "+") else "")
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return f"`{names}`"
    value = value or action.dest.upper()
    value = f"[{value}]" if action.nargs == "?" else value
    return f"`{names} {value}" + (" ...`" if action.nargs in ("*", "+") else "`")


def _cell(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = {**vars(action), "prog": parser.prog}
    text = _prose(action.help % values).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
    return f"{text} (required)" if action.option_strings and action.required else text


def main(argv: list[str]) -> int:
    """Writes the page to the file that is named."""
    (path,) = argv
    Path(path).write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
