"""`vital score`: the quality of files, folders, lists and data sets."""

import argparse
from pathlib import Path

from ..item_log import ORDERS, SUFFIX, ItemLog
from .calibrations import add_calibration
from .errors import EXIT_SOME_FAILED, UsageError
from .filters import parse_condition
from .locator import add_options
from .model_loading import fingerprint, level_words, resolve_model
from .options import add_batch_size, add_model, add_reading, positive
from .paths import HUB_PREFIX
from .records import FORMATS, format_of, is_table, prepare_folder, prepare_output
from .score_run import Keep, Work, write_file, write_live, write_sorted


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `score` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "score",
        help="score images and videos",
        description="Scores images and videos: a score, higher is better, how unsure it is (std), and the "
        "probability of each quality level.",
        epilog="Exit code: 0 all scored, 1 some files failed, 2 wrong use, 130 stopped by Ctrl-C.",
        examples=[
            ("a table of two files and a folder", "vital score photo.jpg clip.mp4 holiday/"),
            ("what a pattern matches, quoted so that the shell leaves it alone", "vital score 'archive/**/*.jpg'"),
            ("a list from another program", "find . -name '*.jpg' -print0 | vital score - --output scores.jsonl"),
            ("files named by a table", "vital score labels.csv --column file --allow-outside --format csv"),
            ("resume after a crash, or score what is new", "vital score archive/ --output scores.csv --resume"),
            ("the worst first", "vital score holiday/ --where 'score < 0.4' --sort=score"),
            ("set the bad ones apart", 'vital score holiday/ --where \'level in ["poor", "low"]\' --copy-to bad'),
            ("the same with links", "vital score holiday/ --where 'std > 0.25' --link-to unsure"),
            ("where in a picture and when in a clip it is bad", "vital score holiday/ --map maps --curve curves"),
            ("on the scale of your ratings", "vital score holiday/ --calibration calibration.json --where 'mos < 2'"),
            ("another model, a GPU", "vital score a/ --model org/vital --device cuda --batch-size 32 --workers 8"),
            ("slow files on a slow disk, clips by PyAV alone", "vital score nas/ --timeout 600 --video-backend pyav"),
            ("a picture on the web", "vital score https://example.org/photo.jpg --allow-urls"),
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
        "hidden ones skipped, links to folders not followed); a quoted pattern with * ? [] or **; a list of files "
        "(.csv .tsv .json .jsonl .parquet, paths relative to it); - for a list on stdin, lines or ended by zero "
        "bytes; hf://datasets/org/name/...; a path that comes up twice is scored once",
    )
    add_model(parser)
    add_batch_size(parser)
    add_reading(parser)
    add_calibration(parser)
    parser.add_argument(
        "--allow-urls",
        action="store_true",
        help="let a PATH be an http(s) address, fetched from public machines only, up to 200 MB and two minutes",
    )
    _add_output(parser)
    _add_choice(parser)
    add_options(parser)
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
        "--format",
        choices=FORMATS,
        help="by default that of the suffix of --output, and table on stdout; csv puts an apostrophe before a text "
        "that a spreadsheet would run as a formula, csv-raw does not, for programs",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help=f"resume --output where an earlier run stopped; also keeps FILE{SUFFIX}, so that the next such run "
        "scores only new and changed files; another model is refused, failed files are tried again",
    )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--where",
        metavar="CONDITION",
        help="keep only records that meet it, such as 'score < 0.4 and modality == \"image\"'; columns are those of "
        "CSV: path modality score std (mos mos_low mos_high) level prob_high ... prob_low error; failed files have no "
        "score and meet no comparison with it (they are on stderr, and in the exit code)",
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
        "--allow-outside",
        action="store_true",
        help="let a list name files outside the folder that it is in, and rows of --dataset files not its own",
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
        help="execution engine of a copy; ray: a cluster that sees --output and the data under the same paths, extra "
        "ray, with --workers as the number of models (default: one a GPU, or one a core); rows are the same (default: "
        "%(default)s)",
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
    source = resolve_model(args.model)
    condition = None if args.where is None else parse_condition(args.where, level_words(source))
    if args.dataset and args.output and args.format is None and not is_table(args.output):
        from .dataset_copy import copy_dataset

        return copy_dataset(args, source)
    format_ = format_of(args.output, args.format)
    if args.output:
        prepare_output(args.output)
    log_path = args.output and args.output.with_name(args.output.name + SUFFIX)
    with ItemLog(log_path, fingerprint(source) if log_path else {}, args.resume) as log:
        work, keep = Work(args, source, log), Keep(args, condition)
        if args.output:
            write_file(work, keep, format_, args.sort, args.output)
        elif args.sort:
            write_sorted(work, keep, format_, args.sort)
        else:
            write_live(work, keep, format_)
        failed = log.failed + keep.failed
        if args.output and not args.resume:
            log.delete()
    return EXIT_SOME_FAILED if failed else 0


def _check(args: argparse.Namespace) -> None:
    """Refuses what does not go together before anything is loaded."""
    if bool(args.paths) == bool(args.dataset):
        raise UsageError("give at least one PATH, or --dataset, and not both; see vital score --help")
    if args.resume and not args.output:
        raise UsageError("--resume needs --output: stdout cannot be resumed")
    elsewhere = args.dataset or any(path.startswith((HUB_PREFIX, "http://", "https://")) for path in args.paths)
    if (args.copy_to or args.link_to or args.map or args.curve) and elsewhere:
        raise UsageError("--copy-to, --link-to, --map and --curve are for files of this machine")
    for folder in (args.map, args.curve):
        prepare_folder(folder)
    if not args.dataset:
        given = [f"--{name}" for name in ("config", "split", "revision", "address") if getattr(args, name)]
        given += ["--engine"] if args.engine != "local" else []
        if given:
            raise UsageError(f"{' and '.join(given)} need --dataset")
