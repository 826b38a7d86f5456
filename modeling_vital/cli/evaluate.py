"""`vital evaluate`: how well models follow human opinions on a benchmark."""

import argparse
import contextlib
import json
import logging
import sys
from pathlib import Path

from ..item_log import SUFFIX
from ..messages import progress_bar
from ..whole_files import whole_file, write_whole
from .errors import EXIT_SOME_FAILED, Interrupted, UsageError
from .model_loading import load_model, resolve_model
from .options import add_batch_size, add_device, add_format, add_peer, add_video_backend, positive
from .records import prepare_folder


PAIRS = "vital-pairs"
RATINGS = "ratings"
HUB_MIRROR = "chaofengc/IQA-PyTorch-Datasets"

logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `evaluate` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "evaluate",
        help="measure models against human opinions",
        description="Scores a benchmark from your own copy of it, as it was distributed, and prints SRCC, PLCC (of "
        "the scores, and after a fitted curve), KRCC and RMSE with intervals. Needs the extra eval. With --output, an "
        "interrupted run resumes where it stopped.",
        epilog="Exit code: 0 all scored, 1 some items failed, 2 wrong use or an incomplete copy, 130 after Ctrl-C.",
        examples=[
            ("what there is", "vital evaluate --list"),
            (
                "your own copy of a benchmark",
                "vital evaluate --benchmark koniq10k --root koniq --split test --model vital-tiny --output results",
            ),
            (
                "a part of a copy, beside another metric, on a GPU",
                "vital evaluate --benchmark spaq --root spaq --partial --model org/vital --peer my.metrics:Sharpness "
                "--device cuda --batch-size 32 --format json",
            ),
            (
                "clips decoded by PyAV alone",
                "vital evaluate --benchmark konvid1k --root konvid --model vital-tiny --video-backend pyav",
            ),
            ("from a mirror", "vital evaluate --benchmark csiq --mirror --model vital-tiny --resamples 2000 --seed 1"),
            ("your own ratings", "vital evaluate --benchmark ratings --root photos --model vital-tiny"),
            ("questions", "vital evaluate --benchmark qbench --root llvisionqa --model org/vital --method generate"),
            ("results side by side", "vital evaluate --summary results other-results"),
        ],
    )
    parser.add_argument(
        "--benchmark",
        metavar="NAME",
        help=f"name of a benchmark (see --list); {PAIRS} for a folder dataset_scripts made; {RATINGS} for a folder "
        "with a ratings.csv of your own, columns path and mos",
    )
    parser.add_argument("--root", metavar="DIR", type=Path, help="the folder with your copy")
    parser.add_argument(
        "--mirror",
        nargs="?",
        const=HUB_MIRROR,
        metavar="ID_OR_DIR",
        help="instead of --root: an image benchmark from pyiqa's mirror on the Hub, downloaded once, or from a "
        "folder with its files (without a value: %(const)s)",
    )
    parser.add_argument("--list", action="store_true", help="list the benchmarks and what they need, and stop")
    parser.add_argument(
        "--summary",
        nargs="+",
        metavar="OUTPUT",
        type=Path,
        help="put results that --output has got side by side, and stop",
    )
    parser.add_argument("--split", help="by default the one that is usually reported; all for all")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="M",
        help="a name of the zoo, a folder, or a Hub id; repeatable",
    )
    add_peer(parser)
    parser.add_argument("--output", metavar="DIR", type=Path, help="for JSON, Parquet, plots, and to resume later")
    add_format(parser, "table", "json")
    parser.add_argument(
        "--partial",
        action="store_true",
        help="accept missing files or other counts than published; results say so",
    )
    add_batch_size(parser)
    parser.add_argument(
        "--method",
        choices=("likelihood", "generate"),
        default="likelihood",
        help="how a model picks an option of a question (default: %(default)s)",
    )
    add_device(parser)
    add_video_backend(parser)
    parser.add_argument(
        "--resamples", type=positive, default=1000, metavar="N", help="bootstrap samples (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="of the bootstrap, and of the order of options (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Scores a benchmark and prints what was measured.

    Args:
        args (`argparse.Namespace`): see `vital evaluate --help`.

    Returns:
        `int`: 0 when every item was scored by every model, 1 when some failed.

    Raises:
        Interrupted: after Ctrl-C.
        UsageError: for a model, peer or benchmark that is not there, a copy that is not whole, or a missing package.
    """
    from ..evaluation.benchmarks import BenchmarkError
    from ..extras import MissingExtraError

    if args.list:
        sys.stdout.write(_list())
        return 0
    if args.summary:
        sys.stdout.write(_summary(list({folder.resolve(): folder for folder in args.summary}.values())))
        return 0
    if not args.benchmark or not (args.root or args.mirror) or not (args.model or args.peer):
        raise UsageError("give --benchmark, --root (or --mirror) and at least one --model or --peer (or --list)")
    prepare_folder(args.output)
    try:
        return _ask(args) if args.benchmark in _question_files() and not args.mirror else _bench(args)
    except (BenchmarkError, MissingExtraError, OSError) as error:  # the last: an --output that cannot be written
        raise UsageError(str(error)) from error
    except KeyboardInterrupt as stop:
        kept = f"what was scored is in {args.output}; the same command resumes" if args.output else "nothing is kept"
        raise Interrupted(kept) from stop


def _bench(args: argparse.Namespace) -> int:
    from ..evaluation import result_tables
    from ..evaluation.benchmarks import BENCHMARKS, load_benchmark, load_mirrored
    from ..evaluation.benchmarks.pairs import load_pairs
    from ..evaluation.benchmarks.ratings import load_ratings
    from ..evaluation.results import Settings, make_result
    from ..evaluation.runner import score_benchmark

    if args.mirror:
        loaded = load_mirrored(args.benchmark, args.mirror, args.split, args.partial, args.root)
    elif args.benchmark == PAIRS:
        loaded = load_pairs(args.root, args.split)
    elif args.benchmark == RATINGS:
        loaded = load_ratings(args.root, args.split, args.partial)
    elif args.benchmark not in BENCHMARKS:
        raise UsageError(f"no benchmark is called {args.benchmark!r}; `vital evaluate --list` names them")
    else:
        loaded = load_benchmark(args.benchmark, args.root, args.split, args.partial)
    scored = []
    # A library that prints would break the output, so stdout is the result's alone.
    with contextlib.redirect_stdout(sys.stderr):
        for scorer in _scorers(args):
            store = args.output and args.output / "scores" / f"{result_tables.file_name(scorer.name)}{SUFFIX}"
            with progress_bar(total=len(loaded.items), desc=scorer.name, unit="item") as bar:
                scored.append((scorer, score_benchmark(loaded, scorer, store, _chunk(args), bar.update)))
        result = make_result(loaded, scored, Settings(resamples=args.resamples, seed=args.seed))
        failed = sum(len(model["failed"]) for model in result["models"])
        for model in result["models"]:
            for item in model["failed"]:
                logger.error("%s: %s: %s", model["name"], item["id"], item["error"])
        text = json.dumps(result, indent=2, allow_nan=False) + "\n"
        if args.output:
            _write(args.output, loaded, scored, text)
    sys.stdout.write(text if args.format == "json" else result_tables.table(result))
    if failed:
        logger.error("%d scores are missing: the numbers are over the other items only", failed)
    return EXIT_SOME_FAILED if failed else 0


def _question_files() -> dict:
    from ..evaluation.qbench import QUESTION_FILES

    return QUESTION_FILES


def _ask(args: argparse.Namespace) -> int:
    """Asks every question and prints accuracies."""
    from ..evaluation import result_tables
    from ..evaluation.qbench import QuestionScorer, accuracy_report, load_questions
    from ..evaluation.results import versions
    from ..evaluation.runner import score_benchmark

    if args.peer or args.split not in (None, "dev"):
        raise UsageError(f"{args.benchmark} is for models, not peers, and has the split dev only")
    loaded = load_questions(args.benchmark, args.root, args.partial)
    models = []
    with contextlib.redirect_stdout(sys.stderr):
        for name in args.model:
            source = resolve_model(name)
            model = load_model(source, args.device)
            if not hasattr(model, "answer"):
                raise UsageError(f"{name!r} is a linear probe: it cannot answer questions")
            scorer = QuestionScorer(name, source, model, args.batch_size, args.method, args.seed)
            store = args.output and args.output / "answers" / f"{result_tables.file_name(name)}-{args.method}{SUFFIX}"
            with progress_bar(total=len(loaded.items), desc=name, unit="question") as bar:
                records = score_benchmark(loaded, scorer, store, _chunk(args), bar.update)
            models.append(accuracy_report(loaded, scorer, records))
    about = {"name": args.benchmark, "title": loaded.benchmark.title, "questions": len(loaded.items)}
    about |= {"partial": loaded.partial, "not_asked": loaded.missing, "note": loaded.benchmark.note}
    about |= {"list_sha256": loaded.list_sha256}
    result = {"benchmark": about, "models": models, "settings": {"seed": args.seed}, "versions": versions()}
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    if args.output:
        write_whole(args.output / "accuracy.json", text)
    sys.stdout.write(text if args.format == "json" else result_tables.accuracy_table(result))
    failed = [(model["name"], item) for model in models for item in model["failed"]]
    for name, item in failed:
        logger.error("%s: %s: %s", name, item["id"], item["error"])
    return EXIT_SOME_FAILED if failed else 0


def _peers(names: list[str]) -> list:
    from ..evaluation.scorers import PeerScorer

    try:
        return [PeerScorer(name) for name in names]
    except ValueError as error:
        raise UsageError(str(error)) from error


def _chunk(args: argparse.Namespace) -> int:
    """Items between two writes."""
    return 64 if args.batch_size == "auto" else args.batch_size


def _scorers(args: argparse.Namespace) -> list:
    from ..evaluation.scorers import VitalScorer

    scorers = _peers(args.peer)
    sources = [(name, resolve_model(name)) for name in args.model]
    models = [VitalScorer(name, source, load_model(source, args.device), args.batch_size) for name, source in sources]
    names = [scorer.name for scorer in (*models, *scorers)]
    if len(set(names)) < len(names):
        raise UsageError(f"models and peers need names of their own, got {', '.join(names)}")
    return [*models, *scorers]


def _write(output: Path, loaded, scored: list, text: str) -> None:
    from ..evaluation import result_tables

    write_whole(output / "result.json", text)
    with whole_file(output / "items.parquet") as table:
        result_tables.write_items(loaded, scored, table)
    for scorer, records in scored:
        with whole_file(output / f"{result_tables.file_name(scorer.name)}.png") as picture:
            result_tables.plot(loaded, scorer, records, picture)


def _summary(folders: list[Path]) -> str:
    from ..evaluation.result_tables import summary

    missing = [str(folder) for folder in folders if not (folder / "result.json").is_file()]
    if missing:
        raise UsageError(f"no result.json in {', '.join(missing)}; give folders that --output named")
    results = []
    for folder in folders:
        try:
            results.append(json.loads((folder / "result.json").read_text(encoding="utf-8")))
            summary(results[-1:])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{folder / 'result.json'} is no result of vital evaluate ({error!r:.200})") from error
    return summary(results)


def _list() -> str:
    from ..evaluation.benchmarks import BENCHMARKS, MIRRORED

    lines = []
    for benchmark in BENCHMARKS.values():
        counts = ", ".join(f"{split} {count}" for split, count in benchmark.counts.items())
        tables = " or ".join(dict.fromkeys(" with ".join(table.files) for table in benchmark.tables))
        guess = "" if benchmark.verified else " (layout guessed)"
        line = f"{benchmark.name}: {benchmark.title}, {benchmark.modality}; {counts}; labels in {tables}{guess}"
        lines.append(f"{line}; in the mirror" if benchmark.name in MIRRORED else line)
    for name, questions in _question_files().items():
        lines.append(f"{name}: {questions.title}, {questions.count} questions in {questions.file}")
    lines.append(f"{PAIRS}: a folder that dataset_scripts built")
    lines.append(f"{RATINGS}: a folder with ratings.csv, columns path and mos")
    return "\n".join(lines) + "\n"
