"""Outputs for the records of `vital score`: stdout as they come, stdout sorted, or a file that is complete."""

import argparse
import contextlib
import io
import logging
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..whole_files import whole_file
from .calibrations import with_mos
from .errors import Interrupted, UsageError
from .filters import Condition
from .printing import JsonReport, Report, TableReport, complain, printable
from .tables import CsvReport, JsonlReport, ParquetReport, columns
from .triage import Triage
from .work import Work


if TYPE_CHECKING:
    from ..calibration_vital import Calibration


logger = logging.getLogger(__name__)


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
        try:
            self._triage = Triage(folder, link=bool(args.link_to)) if folder else None
        except OSError as error:
            raise UsageError(f"{folder} cannot be made: {error.strerror}") from error

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
