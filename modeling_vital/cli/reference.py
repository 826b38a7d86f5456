"""The pages about the command line, made from the parser: `python -m modeling_vital.cli.reference OVERVIEW.md`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from .main import build_parser


_HEAD = """# The command line

All commands of `vital`, with every option and an example of each. `vital COMMAND --help` says the same in a terminal.

| command | what it does |
|---|---|
"""
_FOOT = """
Results go to stdout, messages to stderr. Exit codes: 0 all good, 1 some items failed or the work could not be done,
2 wrong use, 130 stopped by Ctrl-C, 141 the reader of stdout went away.

These pages are made by `make reference` from the parser.
"""


def render(folder: str = "command-line") -> dict[str, str]:
    """Renders the overview and a page a command, which do not depend on the terminal or the version of Python.

    Args:
        folder (`str`, *optional*, defaults to `"command-line"`): where the commands' pages are, beside the overview.

    Returns:
        `dict[str, str]`: Markdown by name; the overview's is `""`.
    """
    parser = build_parser()
    commands = subcommands(parser)
    rows = [f"| [`vital {name}`]({folder}/{name}.md) | {_brief(parser, name)} |\n" for name in commands]
    pages = {name: "\n".join(_page(command, "#")).rstrip() + "\n" for name, command in commands.items()}
    return {"": _HEAD + "".join(rows) + _FOOT, **pages}


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Name and parser of each subcommand, in order; none where there are none."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices) if actions else {}


def _brief(parser: argparse.ArgumentParser, name: str) -> str:
    """Returns the line that `--help` shows beside the name of a subcommand."""
    (action,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return next(choice.help or "" for choice in action._choices_actions if choice.dest == name)


def _page(parser: argparse.ArgumentParser, heading: str) -> Iterator[str]:
    yield f"{heading} {parser.prog}\n"
    yield f"{_prose(parser.description)}\n"
    if inner := subcommands(parser):
        for command in inner.values():
            yield from _page(command, heading + "#")
        return
    yield "<!-- not run: read by the parser in tests/cli/test_reference.py -->"
    yield "```bash"
    for what, command in vars(parser)["examples"]:
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
    text = _prose((action.help or "") % values).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
    return f"{text} (required)" if action.option_strings and action.required else text


def main(argv: list[str]) -> int:
    """Writes the overview to the file that is named, and a page a command to the folder of that name beside it."""
    overview = Path(argv[0])
    folder = overview.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name, text in render(folder.name).items():
        (folder / f"{name}.md" if name else overview).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
