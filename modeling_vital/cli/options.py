"""The words that subcommands share, each with one spelling, one meaning and one default."""

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from ..video_backend_vital import BACKEND_VARIABLE, VIDEO_BACKENDS
from ..zoo import DEFAULT_MODEL


class Parser(argparse.ArgumentParser):
    """Parser of a subcommand: paragraphs of its texts are wrapped, and its help ends with examples.

    Args:
        examples (`Sequence[tuple[str, str]]`): what a command does, and the command.
        kwargs: as for `argparse.ArgumentParser`.
    """

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", _Paragraphs)
        super().__init__(*args, **kwargs)
        self.examples = list(examples)

    def format_help(self) -> str:
        """The help, with the examples after the options."""
        text = super().format_help()
        if not self.examples:
            return text
        return f"{text}\nexamples:\n" + "".join(f"  # {what}\n  {command}\n" for what, command in self.examples)


class _Paragraphs(argparse.HelpFormatter):
    """Wraps every paragraph by itself; lines that are indented stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = []
        for paragraph in text.split("\n\n"):
            if "\n  " in paragraph:
                parts.append(textwrap.indent(paragraph, indent))
            else:
                parts.append(textwrap.fill(" ".join(paragraph.split()), width, initial_indent=indent))
        return "\n\n".join(parts)


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model` and `--device`."""
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="a name of the zoo, a folder, or a Hub id (default: %(default)s)"
    )
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`."""
    parser.add_argument(
        "--device",
        default="auto",
        help="auto (a CUDA device if there is one), cpu, cuda, cuda:1, ... (default: %(default)s)",
    )


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    """`--batch-size`."""
    parser.add_argument(
        "--batch-size",
        type=_batch_size,
        default="auto",
        metavar="N",
        help="items a forward pass; auto: 8 on a CPU, and on a CUDA device what its memory has room for (default: "
        "%(default)s)",
    )


def add_reading(parser: argparse.ArgumentParser) -> None:
    """`--workers`, `--timeout` and `--video-backend`."""
    parser.add_argument(
        "--workers",
        type=not_negative,
        metavar="N",
        help="processes that read files ahead of the model; 0 reads in this one, which a file that crashes its "
        "decoder then ends (default: one a core but one, 1 to 16)",
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=120,
        metavar="SECONDS",
        help="a file that takes longer to read has failed; not with --workers 0 (default: %(default)s)",
    )
    add_video_backend(parser)


def add_video_backend(parser: argparse.ArgumentParser) -> None:
    """`--video-backend`, which [`main`] sets before it runs a command."""
    parser.add_argument(
        "--video-backend",
        choices=VIDEO_BACKENDS,
        help="what decodes clips; auto: decord where it reads them well, else PyAV; decord, pyav: that one alone "
        f"(default: the environment variable {BACKEND_VARIABLE}, or auto)",
    )


def add_format(parser: argparse.ArgumentParser, *formats: str) -> None:
    """`--format`, on stdout; the first format is the default."""
    parser.add_argument("--format", choices=formats, default=formats[0], help="on stdout (default: %(default)s)")


def positive(text: str) -> int:
    """Reads a whole number above 0, as an argument's type."""
    return _at_least(text, 1)


def not_negative(text: str) -> int:
    """Reads a whole number of at least 0, as an argument's type."""
    return _at_least(text, 0)


def _batch_size(text: str) -> int | str:
    return text if text == "auto" else positive(text)


def _at_least(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
    if value < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
    return value


def add_peer(parser: argparse.ArgumentParser) -> None:
    """Adds `--peer`, other metrics to measure beside the models."""
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="MODULE:CLASS",
        help="another metric by its importable name, such as dataset_scripts.annotators.piqe:PIQE; repeatable",
    )
