"""`vital report`: one HTML page about the quality of a folder."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..item_log import SUFFIX, ItemLog
from ..messages import progress_bar
from ..whole_files import write_whole
from .errors import EXIT_SOME_FAILED, Interrupted, UsageError
from .model_loading import fingerprint, load_model, resolve_model
from .options import add_batch_size, add_model, add_reading
from .paths import collect
from .records import complain, prepare_output
from .scoring import Extras, Item, Read, grouped, read_items, score_items


if TYPE_CHECKING:
    from ..modeling_vital import VitalForConditionalGeneration
    from ..report_page import ReportPage

MAP_PX = 480

logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `report` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "report",
        help="write an HTML page about the quality of files",
        description="Scores images and videos and writes one HTML page that needs nothing but itself: histogram, best "
        "and worst, thumbnails, the distortion that the model guesses, clips over time, a table to sort and filter, "
        "and what has no score and why.",
        epilog="Exit code: 0 all scored, 1 some files failed (the page lists them), 2 wrong use, 130 stopped by "
        "Ctrl-C: the page has what was done until then, and with --resume the same command continues; a second Ctrl-C "
        "leaves the page as it was.",
        examples=[
            ("a page about a folder", "vital report holiday/ --output holiday.html"),
            ("continue after a crash, or add what is new", "vital report archive/ --output archive.html --resume"),
            ("where the worst pictures are bad", "vital report holiday/ --maps"),
            ("about what was scored before", "vital report --from scores.jsonl --no-tags --no-curves"),
            ("another model, a GPU", "vital report a/ --model org/vital --device cuda --batch-size 32"),
            (
                "slow files, more readers",
                "vital report nas/ --workers 8 --timeout 600 --video-backend pyav --curves",
            ),
            (
                "what the model guesses of files scored before",
                "vital report --from scores.json --tags --allow-outside",
            ),
        ],
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files and folders, as for `vital score`")
    parser.add_argument(
        "--from",
        dest="rows",
        type=Path,
        metavar="FILE",
        help="what `vital score` wrote as JSON or JSONL, in place of PATH: nothing is scored again, thumbnails are "
        "made where the files still are, in or below the folder of FILE",
    )
    parser.add_argument(
        "--allow-outside",
        action="store_true",
        help="let a list, or --from FILE, name files outside the folder that it is in",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page (default: report.html)")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep scores, guesses and thumbnails in FILE.resume beside --output, and take from there what an earlier "
        "run with --resume kept: only new and changed files are read; another model is refused",
    )
    parser.add_argument("--maps", action="store_true", help="show where the worst pictures are bad")
    add_model(parser)
    add_batch_size(parser)
    add_reading(parser)
    for name, what in (("tags", "let the model name the distortions"), ("curves", "follow clips over time")):
        parser.add_argument(
            f"--{name}",
            action=argparse.BooleanOptionalAction,
            default=None,
            help=f"{what} (default: yes, and no with --from)",
        )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Makes the page and prints where it is.

    Args:
        args (`argparse.Namespace`): see `vital report --help`.

    Returns:
        `int`: 0 when every file has a score, 1 when some have none.

    Raises:
        Interrupted: after Ctrl-C, with a page of what is done; after a second one, without.
        UsageError: for neither or both of paths and `--from`, rows that cannot be read, a model that is not there, or
            an output that cannot be written.
    """
    if bool(args.paths) == bool(args.rows):
        raise UsageError("give files and folders, or --from FILE with what was scored before, and not both")
    if args.rows and (args.resume or args.maps):
        raise UsageError("--resume and --maps are for files and folders: with --from, nothing is scored")
    args.output = args.output or Path("report.html")
    prepare_output(args.output)
    page, interrupted = _page(args), False
    page.folder = args.output.absolute().parent
    with redirect_stdout(sys.stderr):  # stdout is for the page's path alone
        try:
            _fill(page, args)
        except KeyboardInterrupt:
            interrupted = True
            page.notes.append("The run was stopped before its end: what follows is what was done until then.")
        from ..report_page import render_page

        try:
            with _progress("picture") as step:
                text = render_page(page, step, args.workers, args.timeout)
        except KeyboardInterrupt as stop:
            raise Interrupted(f"no page was written{_continues(args)}") from stop
    try:
        write_whole(args.output, text)
    except OSError as error:
        raise UsageError(f"{str(args.output)!r} cannot be written: {error.strerror}") from error
    sys.stdout.write(f"{args.output}\n")
    if interrupted:
        raise Interrupted(f"the page has what was done until then{_continues(args)}")
    complain(page.rows)
    return EXIT_SOME_FAILED if any(row["error"] is not None for row in page.rows) else 0


def _continues(args: argparse.Namespace) -> str:
    """Returns the end of a message about a run that was stopped."""
    if args.rows:
        return ""
    return "; the same command continues" if args.resume else "; only with --resume is it kept for another run"


def _page(args: argparse.Namespace) -> "ReportPage":
    """The page without what takes long."""
    from ..report_page import ReportPage, read_rows

    if args.rows is None:
        names = [Path(path).name or Path(path).absolute().name for path in args.paths]
        return ReportPage([], ", ".join(names), args.model)
    try:
        rows = read_rows(args.rows)
    except ValueError as error:
        raise UsageError(str(error)) from error
    page = ReportPage(rows, args.rows.name, "not recorded in the scores that this page is made of")
    outside = 0
    for row in rows:
        if row["error"] is None:
            row["file"] = _file(row["file"], args.rows.parent, args.allow_outside)
            outside += row["file"] is None
    if outside:
        page.notes.append(
            f"{outside:,} files are not below the folder of {args.rows.name} and are not opened; --allow-outside does."
        )
        logger.warning("%s", page.notes[-1])
    return page


def _file(path: str, folder: Path, allow_outside: bool) -> str | None:
    """The file that a record is about; `None` for what it must not name.

    `vital score` writes paths as it was given them, so they start in the folder where it ran: this one, most often, or
    the one that holds the records.
    """
    from ..manifest_paths import resolve_entry
    from ..media_vital import MediaError

    for root in (Path.cwd(), folder):
        try:
            found = resolve_entry(folder, root.absolute() / path, allow_outside=allow_outside)
        except (MediaError, ValueError):
            continue
        if root is folder or os.path.exists(found):
            return str(found)
    return None


def _fill(page: "ReportPage", args: argparse.Namespace) -> None:
    """Scores, tags and curves, as far as they are asked for; the page has at any time what is done so far."""
    tags, curves = (args.rows is None if wanted is None else wanted for wanted in (args.tags, args.curves))
    if args.rows and not (tags or curves):
        return
    with _log(args, tags) as log:
        for target in collect(args.paths, allow_outside=args.allow_outside):
            log.add(target.path, target.error, target.stamp)
        _work(page, args, log, tags, curves)


def _log(args: argparse.Namespace, tags: bool) -> ItemLog:
    """Opens the log of this run, or of earlier ones: of runs with names of distortions, which it keeps, or without."""
    if not args.resume:
        return ItemLog(None, {})
    about = {**fingerprint(resolve_model(args.model)), "--tags": str(tags)}
    return ItemLog(args.output.with_name(args.output.name + SUFFIX), about)


def _work(
    page: "ReportPage",
    args: argparse.Namespace,
    log: ItemLog,
    tags: bool,
    curves: bool,
) -> None:
    from ..report_page import PICTURE_SIDES

    _restore(page, log)
    model: Any = None
    if args.rows or log.needs_model or (log.done and (curves or args.maps)):
        model = load_model(resolve_model(args.model), args.device)
        if (tags or curves) and not hasattr(model, "encode_media"):
            raise UsageError("a linear probe only scores: give --no-tags --no-curves")
        page.revision = getattr(model.config, "_commit_hash", None)
        page.score_range = (min(model.config.level_values), max(model.config.level_values))
        if args.rows:
            page.notes.append(f"The guesses and curves are by {args.model}, which need not have made the scores.")
    sides = Extras(thumbnails=PICTURE_SIDES)
    if args.rows is None:
        items = [Item(*each) for each in log.pending()]
        with _progress("file") as step:
            for scored in score_items(
                model, items, args.batch_size, args.workers, args.timeout, allow_urls=False, extras=sides
            ):
                rows = [{**record, "tag": None} for _, record in scored]
                page.rows += rows
                page.show((row, read.thumbnails) for row, (read, _) in zip(rows, scored, strict=True))
                if tags:
                    _tag(model, rows, [read for read, _ in scored], args.batch_size)
                if args.resume:
                    log.save(
                        (read.item.ordinal, {**row, "thumbnails": read.thumbnails})
                        for row, (read, _) in zip(rows, scored, strict=True)
                    )
                step(len(page.rows), log.items)
        if args.resume:  # in the order of the files, whatever was kept
            order = {record["path"]: place for place, record in enumerate(log.records())}
            page.rows.sort(key=lambda row: order[row["path"]])
        if args.maps:
            _map(page, model)
    elif tags:
        rows = [row for row in page.rows if row["error"] is None and not row["tag"] and row["file"] is not None]
        items = [Item(ordinal, row["file"]) for ordinal, row in enumerate(rows)]
        limit = model.batch_limit(args.batch_size)
        with _progress("guess") as step:
            reads = read_items(model, items, limit.items, args.workers, args.timeout, False, sides)
            for batch in grouped(reads, limit):
                about = [rows[read.item.ordinal] for read in batch]
                page.show((row, read.thumbnails) for row, read in zip(about, batch, strict=True))
                _tag(model, about, batch, args.batch_size)
                step(batch[-1].item.ordinal + 1, len(rows))
    if curves:
        _follow(page, model, args)


def _restore(page: "ReportPage", log: ItemLog) -> None:
    """Puts what earlier runs kept of this run's files into the page."""
    for record in log.records():
        thumbnails = record.pop("thumbnails", ())
        page.rows.append(record)
        page.show([(record, thumbnails)])
    if page.rows:
        logger.info("%d of %d files are kept in %s", len(page.rows), log.items, log.path)


def _map(page: "ReportPage", model: "VitalForConditionalGeneration") -> None:
    """Draws where the worst pictures are bad."""
    from ..local_quality import draw_map, quality_map
    from ..media_vital import MediaError, load_media
    from ..thumbnails import data_uri

    rows = [row for row in page.worst_rows() if row["modality"] == "image"]
    with _progress("map") as step:
        for done, row in enumerate(rows, start=1):
            try:
                picture: Any = load_media(row["path"])  # a picture: its row says so
                drawn = draw_map(picture, quality_map(model, picture), max_side=MAP_PX)
                page.maps[row["path"]] = data_uri(drawn, drawn.width)
            except MediaError as error:  # it was there a moment ago, or is too large for the device
                page.notes.append(f"No map of {row['path']}: {error}")
            step(done, len(rows))


def _tag(
    model: "VitalForConditionalGeneration", rows: list[dict[str, Any]], batch: list[Read], batch_size: int | str
) -> None:
    """Lets the model continue its description prefix, and keeps what it says in the rows, without the prefix."""
    from ..media_vital import MediaError

    readable = [(row, read.media) for row, read in zip(rows, batch, strict=True) if row["error"] is read.error is None]
    if not readable:  # then there need not be a model
        return
    prefixes = model.processor.description_prefixes
    texts = model.describe([media for _, media in readable], batch_size=batch_size, errors="return")
    for (row, _), text in zip(readable, texts, strict=True):
        if not isinstance(text, MediaError):
            row["tag"] = text.removeprefix(prefixes.get(row["modality"], "")).strip(" .")


def _follow(page: "ReportPage", model: "VitalForConditionalGeneration", args: argparse.Namespace) -> None:
    """Curves of the clips. They look at many more frames than scores do, which workers hand over one by one."""
    from ..curve_frames import CurveFrames
    from ..local_quality import read_curve
    from ..media_vital import MediaError
    from ..reading import read_ahead

    rows = [
        row
        for row in page.rows
        if row["error"] is None and row["modality"] == "video" and row.get("file", "") is not None
    ]
    if not rows:  # then there need not be a model
        return
    files = [row.get("file", row["path"]) for row in rows]
    reader = CurveFrames(model.processor.cutter)
    with (
        _progress("clip") as step,
        read_ahead(files, reader, workers=args.workers, timeout_s=args.timeout) as read,
    ):
        for done, (row, (_, frames)) in enumerate(zip(rows, read, strict=True), start=1):
            try:
                if isinstance(frames, MediaError):
                    raise frames
                page.curves[row["path"]] = read_curve(model, frames, partial(itemgetter("score"), row))
            except MediaError as error:
                page.notes.append(f"No curve of {row['path']}: {error}")
            step(done, len(rows))


@contextmanager
def _progress(unit: str) -> Iterator[Any]:
    """A bar on stderr, moved by a function of how many are done and of how many."""
    with progress_bar(unit=unit) as bar:

        def step(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield step
