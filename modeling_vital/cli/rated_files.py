"""Tables of what people said about files, and the model's scores of the same files."""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..extras import require
from ..messages import progress_bar
from ..table_file import TableFile
from ..whole_files import whole_file
from .errors import EXIT_SOME_FAILED, UsageError
from .model_loading import load_model, resolve_model
from .options import add_batch_size, add_model, add_reading
from .paths import target_of
from .records import complain, prepare_output
from .scoring import Item, score_items


GROUP_COLUMN = "content_id"
"""Column with the content of each file, used where a table has it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """Ratings by people and scores by the model, of the files that have both.

    Attributes:
        model: the loaded model.
        modality (`str`): of the files, all of one.
        values (`list`): what people said, one a file.
        scores (`list[float]`): of the model, in the same order.
        groups (`list[str]`, *optional*): content of each file.
        failed (`int`): files without a score, which are skipped.
    """

    model: Any
    modality: str
    values: list
    scores: list[float]
    groups: list[str] | None
    failed: int


def add_ratings(parser: argparse.ArgumentParser, value: str, what: str, output: str, required: bool) -> None:
    """Adds the table, its columns, how its files are scored, and `--output`.

    Args:
        parser (`argparse.ArgumentParser`): of the subcommand.
        value (`str`): default name of the column with what people said.
        what (`str`): what it holds, for the help.
        output (`str`): the help of `--output`. required (`bool`): whether it must be given.
    """
    parser.add_argument(
        "table",
        metavar=f"{'RATINGS' if value == 'mos' else 'LABELS'}.csv",
        help=f"a table (.csv .tsv .json .jsonl .parquet) with the columns path, relative to it, and {value}, {what}",
    )
    parser.add_argument("--column", default="path", metavar="NAME", help="with the paths (default: %(default)s)")
    parser.add_argument(f"--{value}-column", default=value, metavar="NAME", help=f"with {what} (default: %(default)s)")
    parser.add_argument(
        "--group-column",
        metavar="NAME",
        help="with what each file shows: files of one content are held out and drawn together (default: "
        f"{GROUP_COLUMN}, if there is one)",
    )
    parser.add_argument(
        "--allow-outside", action="store_true", help="let the table name files outside the folder that it is in"
    )
    add_model(parser)
    add_batch_size(parser)
    add_reading(parser)
    parser.add_argument("--output", type=Path, required=required, metavar="FILE.json", help=output)


def score_table(args: argparse.Namespace, column: str, parse: Callable[[Any], Any], least: int, few: str) -> Scored:
    """Reads a table and scores its files.

    Args:
        args (`argparse.Namespace`): see [`add_ratings`].
        column (`str`): with what people said.
        parse (`Callable`): makes a value of a cell, or raises `ValueError` with what is wrong with it.
        least (`int`): rows that there must be.
        few (`str`): what a message says after the number of rows where there are fewer.

    Returns:
        [`Scored`]

    Raises:
        UsageError: for a table that cannot be read, a cell without a value, a file that comes twice, too few
            rows or files that can be read, pictures and clips in one table, or a model that cannot be loaded.
    """
    rows = list(_rows(args, column, parse))
    if len(rows) < least:
        raise UsageError(f"{args.table} has {len(rows)} rows: {few}")
    model = load_model(resolve_model(args.model), args.device)
    records = _score(model, [Item(place, row.path, row.error) for place, (row, *_) in enumerate(rows)], args)
    complain(records)
    kept = [(r, value, group) for r, (_, value, group) in zip(records, rows, strict=True) if r["error"] is None]
    if len(kept) < least:
        raise UsageError(f"{len(kept)} of the {len(rows)} files of {args.table} can be scored: {few}")
    modalities = {record["modality"] for record, *_ in kept}
    if len(modalities) > 1:
        raise UsageError(
            f"{args.table} has pictures and clips, whose scores do not share a scale; give a table of each"
        )
    groups = [group for *_, group in kept]
    return Scored(
        model,
        modalities.pop(),
        [value for _, value, _ in kept],
        [record["score"] for record, *_ in kept],
        None if None in groups else groups,
        len(rows) - len(kept),
    )


def _rows(args: argparse.Namespace, column: str, parse: Callable[[Any], Any]) -> Iterator[tuple]:
    """Target, value and content of each row."""
    group_column = args.group_column or GROUP_COLUMN
    needed = [args.column, column, *([args.group_column] if args.group_column else [])]
    rows = list(TableFile(args.table, needed, [GROUP_COLUMN], error=UsageError))
    # JSON has no header: a key that some lack is no column.
    grouped = args.group_column or all(row.error or row.get(group_column) is not None for row in rows)
    first: dict[str, str] = {}
    for row in rows:
        where = f"{args.table}, {row.place}"
        if row.error is not None:
            raise UsageError(f"{where}: {row.error}")
        group = row.get(group_column) if grouped else None
        if group is None and args.group_column:
            raise UsageError(f"{where} has nothing in the column {group_column!r}")
        try:
            value = parse(row.get(column))
        except ValueError as error:
            raise UsageError(f"{where}, column {column!r}: {error}") from error
        target = target_of(args.table, row, args.column, args.allow_outside)
        before = first.setdefault(target.path, row.place)
        if before != row.place:
            raise UsageError(
                f"{where} names {target.path} again, as {before} does: give each file once, with the mean of its "
                "ratings"
            )
        yield target, value, None if group is None else str(group)


def _score(model: Any, items: list[Item], args: argparse.Namespace) -> list[dict[str, Any]]:
    records = []
    with progress_bar(total=len(items), unit="file") as bar:
        for batch in score_items(model, items, args.batch_size, args.workers, args.timeout):
            records += [record for _, record in batch]
            bar.update(len(batch))
    return records


def fit_table(
    args: argparse.Namespace,
    scored: Callable[[], Scored],
    fit: Callable[[Scored], Any],
    summary: Callable[[Any], str],
    save: Callable[[Any, Path], None],
    plot: Callable[[Any, Scored, Path], None],
) -> int:
    """Scores a table, fits something to it, prints that, and writes it with its plot where `args.output` says.

    Args:
        args (`argparse.Namespace`): see [`add_ratings`].
        scored (`Callable`): calls [`score_table`].
        fit (`Callable`): makes something of what was scored, or raises `NothingToFitError`.
        summary (`Callable`): says it in lines, each with its end.
        save, plot (`Callable`): write it as JSON, and draw it.

    Returns:
        `int`: 0, or 1 if some files had no score or there is nothing to fit (nothing is written then).

    Raises:
        UsageError: as [`score_table`]; for an output that cannot be written, before anything is scored where that can
            be known; for a missing package; for values that cannot be fitted.
    """
    from ..evaluation.correlation import NothingToFitError

    if args.output:
        if args.output.suffix.lower() != ".json":
            raise UsageError(f"--output {args.output} must end in .json; the plot goes beside it as .png")
        prepare_output(args.output)
    for module in ("scipy.stats", "matplotlib"):
        require(module, error=UsageError)
    items = scored()
    try:
        found = fit(items)
    except NothingToFitError as error:
        logger.error("%s: %s", args.table, error)
        return EXIT_SOME_FAILED
    except ValueError as error:
        raise UsageError(f"{args.table}: {error}") from error
    sys.stdout.write(summary(found))
    if args.output:
        picture = args.output.with_suffix(".png")
        try:
            with whole_file(args.output) as unfinished:
                save(found, unfinished)
            with whole_file(picture) as unfinished:
                plot(found, items, unfinished)
        except OSError as error:
            raise UsageError(f"{args.output} cannot be written: {error.strerror or error}") from error
        sys.stdout.write(f"written: {args.output}, {picture}\n")
    return EXIT_SOME_FAILED if items.failed else 0
