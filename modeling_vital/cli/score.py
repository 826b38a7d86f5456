"""`vital score`: the quality of files, folders, lists and data sets."""

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .collect import HUB_PREFIX, collect
from .errors import Interrupted, UsageError
from .exit_codes import EXIT_SOME_FAILED
from .filters import Condition, parse_condition
from .loading import fingerprint, load_model, resolve_model
from .options import add_batch_size, add_model, not_negative, positive
from .report import JsonReport, Report, TableReport, printable, terminal_width
from .resume_log import ORDERS, SUFFIX, ResumeLog
from .scoring import Item, score_items
from .tables import FORMATS, CsvReport, JsonlReport, ParquetReport, columns, format_of
from .triage import Triage


if TYPE_CHECKING:
    from tqdm import tqdm

PROGRESS_DELAY_S = 2
MAX_WORKERS = 4

logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `score` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "score",
        help="score images and videos",
        description="Scores images and videos: a score in [0, 1], higher is better, how unsure it is (std), and the "
        "probability of each quality level.",
        epilog="Exit code: 0 all scored, 1 some files failed, 2 wrong use, 130 stopped by Ctrl-C.",
        examples=[
            ("a table of two files and a folder", "vital score photo.jpg clip.mp4 holiday/"),
            ("what a pattern matches, quoted so that the shell leaves it alone", "vital score 'archive/**/*.jpg'"),
            ("a list from another program", "find . -name '*.jpg' -print0 | vital score - --output scores.jsonl"),
            ("files named by a table", "vital score labels.csv --column file --allow-outside --format csv"),
            ("go on after a crash, or score what is new", "vital score archive/ --output scores.csv --resume"),
            ("the worst first", "vital score holiday/ --where 'score < 0.4' --sort=score"),
            ("set the bad ones apart", 'vital score holiday/ --where \'level in ["poor", "low"]\' --copy-to bad'),
            ("the same with links", "vital score holiday/ --where 'std > 0.25' --link-to unsure"),
            ("another model, a GPU", "vital score a/ --model org/vital --device cuda --batch-size 32 --workers 8"),
            ("files on the Hub", "vital score hf://datasets/org/photos/test"),
            (
                "a data set with scores as new columns, of a version and configuration",
                "vital score --dataset org/photos --revision v1 --config raw --split train --column image "
                "--output scored",
            ),
            (
                "a filtered copy, made on a Ray cluster",
                "vital score --dataset photos/ --where 'score >= 0.6' --output good --engine ray --address auto "
                "--shard-rows 5000 --prefix quality_",
            ),
        ],
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="a file, whatever its suffix; a folder, searched with its sub-folders for images and videos (by suffix, "
        "hidden ones left out, links to folders not followed); a quoted pattern with * ? [] or **; a list of files "
        "(.csv .tsv .json .jsonl .parquet, paths relative to it); - for a list on stdin, lines or ended by zero "
        "bytes; hf://datasets/org/name/...; a path that comes up twice is scored once",
    )
    add_model(parser)
    add_batch_size(parser)
    _add_output(parser)
    _add_choice(parser)
    _add_dataset(parser)
    parser.set_defaults(run=run)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="where to write, stdout by default; the file appears when it is complete, until then what was scored is "
        f"in FILE{SUFFIX}; with --dataset, a folder for a copy of the data set",
    )
    parser.add_argument(
        "--format", choices=FORMATS, help="by default that of the suffix of --output, and table on stdout"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help=f"go on with --output where an earlier run stopped; also keeps FILE{SUFFIX}, so that the next such run "
        "scores only new and changed files; another model is refused, failed files are tried again",
    )
    parser.add_argument(
        "--workers",
        type=not_negative,
        default=min(MAX_WORKERS, os.cpu_count() or 1),
        metavar="N",
        help="processes that read files ahead of the model; 0 reads in this one (default: one a core, at most "
        f"{MAX_WORKERS})",
    )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        help="keep only records that meet it, such as 'score < 0.4 and modality == \"image\"'; columns are those of "
        "CSV: path modality score std level prob_high ... prob_low error; failed files have no score and meet no "
        "comparison with it (they are on stderr, and in the exit code)",
    )
    parser.add_argument(
        "--sort",
        choices=ORDERS,
        metavar="COLUMN",
        help=f"{', '.join(ORDERS)}: lowest first, or highest first with a minus; failed files come last; sorted on "
        "disk, so nothing is printed before all is scored",
    )
    triage = parser.add_mutually_exclusive_group()
    triage.add_argument(
        "--copy-to",
        metavar="DIR",
        type=Path,
        help="copy the files that --where keeps; a name that is taken becomes 'name (2)', nothing is overwritten",
    )
    triage.add_argument("--link-to", metavar="DIR", type=Path, help="the same with symbolic links")
    parser.add_argument(
        "--column", metavar="NAME", help="of lists, with the paths (path); of a data set, with the media (the first)"
    )
    parser.add_argument(
        "--allow-outside", action="store_true", help="let a list name files outside the folder that it is in"
    )


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data sets", "need the extra cli")
    group.add_argument("--dataset", metavar="ID_OR_DIR", help="rows of a data set on the Hub or in a folder, streamed")
    group.add_argument("--config", metavar="NAME", help="configuration of the data set")
    group.add_argument("--split", metavar="NAME", help="of the data set; all by default")
    group.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a data set on the Hub")
    group.add_argument(
        "--prefix",
        default="vital_",
        metavar="TEXT",
        help="of the columns that a copy gets: score, std, level, level_probs, error (default: %(default)s)",
    )
    group.add_argument(
        "--shard-rows", type=positive, default=1000, metavar="N", help="rows read for one file (default: %(default)s)"
    )
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="who makes a copy; ray: a cluster that sees --output and the data under the same paths, extra ray; rows "
        "are the same (default: %(default)s)",
    )
    group.add_argument("--address", metavar="ADDRESS", help="of the Ray cluster; by default Ray starts here")


def run(args: argparse.Namespace) -> int:
    """Scores what `args.paths` or `args.dataset` stand for and writes one record an item.

    Args:
        args (`argparse.Namespace`): see `vital score --help`.

    Returns:
        `int`: 0 when every item was scored, 1 when some failed.

    Raises:
        UsageError: for arguments that cannot be, or do not go together.
        Interrupted: after Ctrl-C; says where what was scored is.
    """
    _check(args)
    condition = parse_condition(args.where) if args.where else None
    source = resolve_model(args.model)
    if args.dataset and args.output and args.output.suffix == "" and args.format is None:
        from .dataset_copy import copy_dataset

        return copy_dataset(args, source, condition)
    format_ = format_of(args.output, args.format)
    log_path = args.output and args.output.with_name(args.output.name + SUFFIX)
    if args.output:
        if args.output.is_dir():
            raise UsageError(f"--output {args.output} is a folder; give a file")
        args.output.parent.mkdir(parents=True, exist_ok=True)
    with ResumeLog(log_path, fingerprint(source) if log_path else {}, args.resume) as log:
        write = _write_file if args.output else _write_sorted if args.sort else _write_live
        failed = write(args, source, condition, format_, log)
        if args.output and not args.resume:
            log.delete()
    return EXIT_SOME_FAILED if failed else 0


def _check(args: argparse.Namespace) -> None:
    """Refuses what does not go together before anything is loaded."""
    if bool(args.paths) == bool(args.dataset):
        raise UsageError("give at least one PATH, or --dataset, and not both; see vital score --help")
    if args.resume and not args.output:
        raise UsageError("--resume needs --output: stdout cannot be gone on with")
    if (args.copy_to or args.link_to) and (args.dataset or any(path.startswith(HUB_PREFIX) for path in args.paths)):
        raise UsageError("--copy-to and --link-to are for files of this machine")
    if not args.dataset:
        given = [f"--{name}" for name in ("config", "split", "revision", "address") if getattr(args, name)]
        given += ["--engine"] if args.engine != "local" else []
        if given:
            raise UsageError(f"{' and '.join(given)} need --dataset")


# ------------------------------------------------------------------------------------------------- ways to write
def _write_live(args: argparse.Namespace, source: str, condition: Condition | None, format_: str, log: ResumeLog):
    """Each record to stdout as it comes. Returns whether anything failed."""
    keep = _Keep(args, condition)
    try:
        items, width = _items(args, log)
        # A library that prints would break the output, so stdout is the report's alone from here on.
        with _report(format_, _stdout(), width) as report, contextlib.redirect_stdout(sys.stderr):
            for records in _scored(args, source, items, log, report):
                for record in keep(records):
                    report.row(record)
                report.stream.flush()
                _complain(records)
    except KeyboardInterrupt as stop:
        raise Interrupted("what was scored so far is on stdout") from stop
    return log.failed or keep.failed


def _write_sorted(args: argparse.Namespace, source: str, condition: Condition | None, format_: str, log: ResumeLog):
    """Sorted records to stdout when all are there, or after Ctrl-C those that are."""
    keep, stopped, width = _Keep(args, condition), None, 0
    with _report(format_, _stdout(), 0) as report:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                items, width = _items(args, log)
                for records in _scored(args, source, items, log, report):
                    _complain(records)
        except KeyboardInterrupt as stop:
            stopped = stop
        if isinstance(report, TableReport):
            report.path_width = max(width, report.path_width)
        report.level_words = log.level_words
        for record in keep(log.records(args.sort)):
            report.row(record)
    if stopped:
        raise Interrupted("what was scored so far is on stdout") from stopped
    return log.failed or keep.failed


def _write_file(args: argparse.Namespace, source: str, condition: Condition | None, format_: str, log: ResumeLog):
    """All records to `args.output`, which is there only when it is complete."""
    keep, width = _Keep(args, condition), 0
    try:
        with contextlib.redirect_stdout(sys.stderr):
            items, width = _items(args, log)
            for records in _scored(args, source, items, log, None):
                _complain(records)
        fresh = args.output.with_name(args.output.name + ".new")
        with contextlib.ExitStack() as stack:
            if format_ == "parquet":
                report: Any = ParquetReport(fresh)
            else:
                report = _report(format_, stack.enter_context(fresh.open("w", encoding="utf-8", newline="")), width)
            report.level_words = log.level_words
            stack.enter_context(report)
            for record in keep(log.records(args.sort)):
                report.row(record)
        os.replace(fresh, args.output)
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"{log.done} of {log.items} records are kept in {log.path}; the same command with --resume goes on"
        ) from stop
    except OSError as error:
        raise UsageError(f"{args.output} cannot be written: {error}; --resume goes on once it can") from error
    return log.failed or keep.failed


class _Keep:
    """Passes on the records that meet the condition, and copies or links their files.

    Attributes:
        failed (`int`): files that could not be copied or linked.
    """

    def __init__(self, args: argparse.Namespace, condition: Condition | None) -> None:
        self.failed, self._condition = 0, condition
        folder = args.copy_to or args.link_to
        try:
            self._triage = Triage(folder, link=bool(args.link_to)) if folder else None
        except OSError as error:
            raise UsageError(f"{folder} cannot be made: {error.strerror}") from error

    def __call__(self, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for record in records:
            if self._condition is None or self._condition(columns(record)):
                if self._triage and record["error"] is None:
                    self._put(record["path"])
                yield record

    def _put(self, path: str) -> None:
        try:
            self._triage.put(path)
        except OSError as error:
            self.failed += 1
            logger.error("%s was not put into %s: %s", printable(path), self._triage.folder, error.strerror or error)


def _report(format_: str, stream: TextIO, width: int) -> Report:
    if format_ == "table":
        return TableReport(stream, width)
    return {"json": JsonReport, "jsonl": JsonlReport, "csv": CsvReport}[format_](stream)


def _stdout() -> TextIO:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding does not have
    return sys.stdout


# --------------------------------------------------------------------------------------------------- the scoring
def _items(args: argparse.Namespace, log: ResumeLog) -> tuple[Iterable[Item], int]:
    """What is still to be scored, and the columns of a terminal that the longest path takes."""
    if args.dataset:
        from .dataset_rows import name_width, pending_rows

        return pending_rows(args, log), name_width()
    width = 0
    with _progress("listing", None) as bar:
        for target in collect(args.paths, args.column or "path", args.allow_outside):
            if log.add(target):
                width = max(width, terminal_width(printable(target.path)))
                bar.update()
    if changed := log.changed:
        logger.warning("%d files have changed since they were scored; they are scored again", changed)
    return (Item(ordinal, target.path, target.error) for ordinal, target in log.pending()), width


def _scored(
    args: argparse.Namespace, source: str, items: Iterable[Item], log: ResumeLog, report: Report | None
) -> Iterator[list[dict[str, Any]]]:
    """Scores, keeps and yields the records of one batch after another."""
    total = None if args.dataset else log.items
    model, to_do = None, _Lookahead(items)
    if to_do.find(lambda item: item.error is None):
        model = load_model(source, args.device)
        log.level_words = model.config.level_words
    if report:
        report.level_words = log.level_words
    with _progress(None, total, log.done) as bar:
        for batch in score_items(model, to_do, args.batch_size, args.workers):
            log.save(batch)
            bar.clear()
            yield [record for _, record in batch]
            bar.update(len(batch))


class _Lookahead:
    """An iterator that can be searched ahead of where it is; what was passed over still comes."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._rest, self._seen = iter(items), []

    def find(self, wanted: Callable[[Item], bool]) -> bool:
        for item in self._rest:
            self._seen.append(item)
            if wanted(item):
                return True
        return False

    def __iter__(self) -> Iterator[Item]:
        yield from self._seen
        yield from self._rest


def _complain(records: Iterable[dict[str, Any]]) -> None:
    for record in records:
        if record["error"] is not None:
            path, error = printable(record["path"]), printable(record["error"])
            logger.error("%s", error if path in error else f"{path}: {error}")


def _progress(what: str | None, total: int | None, done: int = 0) -> "tqdm":
    """A bar on stderr that shows after `PROGRESS_DELAY_S` seconds, and only on a terminal."""
    from tqdm import tqdm

    options = {"unit": "file", "delay": PROGRESS_DELAY_S, "leave": False, "disable": None}
    return tqdm(desc=what, total=total, initial=done, **options)
