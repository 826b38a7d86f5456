"""Common part of `vital describe` and `vital answer`: files in, one text each out."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

from ..item_log import ItemLog
from .errors import EXIT_SOME_FAILED, Interrupted, UsageError
from .model_loading import load_model, resolve_model
from .options import add_batch_size, add_format, add_model, add_reading, positive
from .paths import collect
from .records import JsonlReport, JsonReport, Report, complain, printable
from .scoring import Item, Read, backend_of, grouped, read_items


if TYPE_CHECKING:
    from ..media_vital import MediaError

Ask = Callable[[Any, list[Any]], "list[dict[str, Any] | MediaError]"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of both."""
    add_model(parser)
    add_batch_size(parser)
    add_reading(parser)
    add_format(parser, "table", "json", "jsonl")
    parser.add_argument(
        "--max-new-tokens", type=positive, default=64, metavar="N", help="length of a text (default: %(default)s)"
    )


class TextReport(Report):
    """The path, and below it, indented, what was said."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)

    def row(self, record: dict) -> None:
        """Writes one record."""
        said = f"error: {record['error']}" if record["error"] is not None else record["text"]
        shares = [f"{share:.3f}  {choice}" for choice, share in (record.get("choice_probs") or {}).items()]
        for line in (record["path"], *(f"  {part}" for part in (said, *shares))):
            self.stream.write(printable(line).encode(errors="backslashreplace").decode() + "\n")

    def close(self) -> None:
        """Text needs no ending."""


def ask_files(args: argparse.Namespace, paths: Iterable[str], ask: Ask) -> int:
    """Asks a model about files and prints one record each, batch by batch.

    Args:
        args (`argparse.Namespace`): the options of [`add_options`].
        paths (`Iterable[str]`): files, folders, patterns or lists.
        ask: from a model and prepared media to what was said of each: `text`, and what else there is; or a
            `MediaError`.

    Returns:
        `int`: 0, or 1 if a file cannot be read or is too large for the device.

    Raises:
        UsageError: for a model that cannot speak, or a device that is not there.
        Interrupted: after Ctrl-C.
    """
    source = resolve_model(args.model)
    report = {"table": TextReport, "json": JsonReport, "jsonl": JsonlReport}[args.format](sys.stdout)
    failed = 0
    try:
        with ItemLog(None, {}) as log, report, contextlib.redirect_stdout(sys.stderr):
            for target in collect(paths):
                log.add(target.path, target.error, target.stamp)
            model = load_model(source, args.device)
            if not hasattr(model, "describe"):
                raise UsageError(f"{args.model!r} is a linear probe: it has scores only, no words")
            items = (Item(*each) for each in log.pending())
            limit = model.batch_limit(args.batch_size)
            read = read_items(model, items, limit.items, args.workers, args.timeout)
            for batch in grouped(read, limit):
                failed += _emit(report, model, batch, ask)
    except KeyboardInterrupt as stop:
        raise Interrupted("what was said so far is on stdout") from stop
    return EXIT_SOME_FAILED if failed else 0


def _emit(report: Report, model: Any, batch: list[Read], ask: Ask) -> int:
    media = [read.media for read in batch if read.error is None]
    said, failed = iter(ask(model, media) if media else ()), 0
    for read in batch:
        answer = next(said) if read.error is None else read.error
        if isinstance(answer, dict):
            record = {"path": read.item.path, **answer, **backend_of(read.media), "error": None}
        else:
            record = {"path": read.item.path, "text": None, "error": str(answer)}
            failed += 1
        report.row(record)
        complain([record])
    report.stream.flush()
    return failed
