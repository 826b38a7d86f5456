"""The work of one `vital score`: items are listed, read and scored batch by batch, and their records written.

Records go to stdout as they come, to stdout sorted, or to a file that appears when it is complete.
"""

import argparse
import contextlib
import io
import logging
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..item_log import ItemLog
from ..messages import progress_bar
from ..whole_files import whole_file
from .calibrations import checked_calibration, open_calibration, require_calibration, with_mos
from .drawn_pictures import PageCount
from .errors import Interrupted, UsageError
from .filters import Condition
from .locator import Locator, plain_name
from .model_loading import load_model
from .paths import collect
from .records import (
    CsvReport,
    JsonlReport,
    JsonReport,
    ParquetReport,
    Report,
    TableReport,
    columns,
    complain,
    prepare_folder,
    printable,
    terminal_width,
)
from .scoring import Extras, Item, score_items
from .triage import Triage


if TYPE_CHECKING:
    from ..calibration_vital import Calibration


logger = logging.getLogger(__name__)


class Work:
    """Items to be scored and the log that keeps their records.

    Args:
        args (`argparse.Namespace`): what to score and how, see `vital score --help`.
        source (`str`): folder or Hub id of the model.
        log (`ItemLog`): of this run.

    Attributes:
        width (`int`): terminal columns of the longest path, once listed.
        calibration (`Calibration`, *optional*): what turns scores into a MOS; known once the model is.
    """

    def __init__(self, args: argparse.Namespace, source: str, log: ItemLog) -> None:
        self.log, self.width = log, 0
        self.calibration: Calibration | None = None
        self._names: Counter[str] = Counter()  # of files that may get a map or curve
        self._args, self._source = args, source

    def records(self) -> Iterator[list[dict[str, Any]]]:
        """Lists the items, loads the model if there is something for it, and scores what has no record yet.

        Yields:
            `list[dict]`: the records of a batch, which are in the log by then; first an empty one, when `width` and
            the log's `level_words` are known.

        Raises:
            UsageError: for a list, a data set, a model or a device that cannot be used.
        """
        args, log = self._args, self.log
        if args.dataset:
            from .dataset_rows import name_width, pending_rows

            self.width = name_width()
            items: Iterable[Item] = pending_rows(args, log)
        else:
            self._list()
            items = (Item(*each) for each in log.pending())
            if log.done and (args.map or args.curve):
                logger.warning("%d files have a score of an earlier run; maps and curves are of the others", log.done)
        model = None
        calibration = open_calibration(args.calibration, self._source)
        if args.dataset or log.needs_model or calibration is not None:
            model = load_model(self._source, args.device)
            log.level_words = model.config.level_words
            self.calibration = checked_calibration(calibration, model, given=args.calibration is not None)
        require_calibration(args.where, self.calibration)
        repeated = {name for name, count in self._names.items() if count > 1}
        locator, pages = Locator(model, args.map, args.curve, args.timeout, repeated), PageCount()
        yield []
        from .. import reading  # noqa: F401  its import shall not count as slow scoring

        with progress_bar(total=None if args.dataset else log.items, initial=log.done, unit="file") as bar:
            settings = (args.batch_size, args.workers, args.timeout, args.allow_urls)
            for batch in score_items(model, items, *settings, Extras(picture=args.map is not None)):
                for read, _ in batch:
                    if read.error is None:
                        pages.add(read.media)
                locator.write(batch)
                log.save([(read.item.ordinal, record) for read, record in batch])
                records = [record for _, record in batch]
                bar.clear()
                yield records
                bar.update(len(batch))
        pages.warn()

    def _list(self) -> None:
        with progress_bar(desc="listing", unit="file") as bar:
            for target in collect(self._args.paths, self._args.column or "path", self._args.allow_outside):
                if self.log.add(target.path, target.error, target.stamp):
                    if self._args.map or self._args.curve:
                        self._names[plain_name(target.path).casefold()] += 1
                    self.width = max(self.width, terminal_width(printable(target.path)))
                    bar.update()
        if changed := self.log.changed:
            logger.warning("%d files have changed since they were scored; they are scored again", changed)


class Keep:
    """Passes on the records that meet a condition, and copies or links their files.

    Args:
        args (`argparse.Namespace`): `copy_to`, `link_to`.
        condition (*optional*): without one, all are passed on.

    Attributes:
        calibration (`Calibration`, *optional*): adds a MOS and its interval to each record; known with the model.
        failed (`int`): files that could not be copied or linked.

    Raises:
        UsageError: if the folder cannot be made.
    """

    def __init__(self, args: argparse.Namespace, condition: Condition | None) -> None:
        self.failed, self._condition = 0, condition
        self.calibration: Calibration | None = None
        folder = args.copy_to or args.link_to
        prepare_folder(folder)
        self._triage = Triage(folder, link=bool(args.link_to)) if folder else None

    def __call__(self, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yields the records that are kept."""
        for record in records:
            if self.calibration is not None:
                record = with_mos(record, self.calibration)
            if self._condition is None or self._condition(columns(record)):
                if self._triage and record["error"] is None:
                    self._put(self._triage, record["path"])
                yield record

    def _put(self, triage: Triage, path: str) -> None:
        try:
            triage.put(path)
        except OSError as error:
            self.failed += 1
            logger.error("%s was not put into %s: %s", printable(path), triage.folder, error.strerror or error)


def write_live(work: Work, keep: Keep, format_: str) -> None:
    """Each record to stdout as it comes.

    Raises:
        Interrupted: after Ctrl-C.
    """
    try:
        # A library that prints would break the output, so stdout is the report's alone from here on.
        with _report(format_, _stdout()) as report, contextlib.redirect_stdout(sys.stderr):
            for records in work.records():
                _set_up(report, keep, work)
                for record in keep(records):
                    report.row(record)
                report.stream.flush()
                complain(records)
    except KeyboardInterrupt as stop:
        raise Interrupted("what was scored so far is on stdout") from stop


def write_sorted(work: Work, keep: Keep, format_: str, order: str) -> None:
    """Records to stdout, sorted, when all are there; after Ctrl-C, those that are.

    Raises:
        Interrupted: after Ctrl-C.
    """
    stopped = None
    with _report(format_, _stdout()) as report:
        try:
            _score_all(work)
        except KeyboardInterrupt as stop:
            stopped = stop
        _set_up(report, keep, work)
        for record in keep(work.log.records(order)):
            report.row(record)
    if stopped:
        raise Interrupted("what was scored so far is on stdout") from stopped


def write_file(work: Work, keep: Keep, format_: str, order: str | None, output: Path) -> None:
    """All records to a file, which appears when it is complete.

    Raises:
        UsageError: if it cannot be written.
        Interrupted: after Ctrl-C; says where the records are kept.
    """
    log = work.log
    try:
        _score_all(work)
        with whole_file(output) as fresh, contextlib.ExitStack() as stack:
            if format_ == "parquet":
                report: Any = ParquetReport(fresh)
            else:
                report = _report(format_, stack.enter_context(fresh.open("w", encoding="utf-8", newline="")))
            _set_up(report, keep, work)
            stack.enter_context(report)
            for record in keep(log.records(order)):
                report.row(record)
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"{log.done} of {log.items} records are kept in {log.path}; the same command with --resume continues"
        ) from stop
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error}; once it can, resume with --resume") from error


def _score_all(work: Work) -> None:
    with contextlib.redirect_stdout(sys.stderr):
        for records in work.records():
            complain(records)


def _report(format_: str, stream: TextIO) -> Report:
    if format_.startswith("csv"):
        return CsvReport(stream, raw=format_ == "csv-raw")
    return {"table": TableReport, "json": JsonReport, "jsonl": JsonlReport}[format_](stream)


def _set_up(report: Any, keep: Keep, work: Work) -> None:
    """Tells a report and what is kept in it what they have to know before the first row."""
    report.level_words = work.log.level_words
    keep.calibration, report.calibrated = work.calibration, work.calibration is not None
    if isinstance(report, TableReport):
        report.path_width = max(work.width, len("path"))


def _stdout() -> TextIO:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding does not have
    return sys.stdout
