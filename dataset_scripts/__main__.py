"""The command line: `python -m dataset_scripts build | validate | report`."""

import argparse
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dataset_scripts.annotators.weights import WEIGHTS_VARIABLE
from dataset_scripts.build_config import BuildConfig, BuildError, SettingsError, load_recipe
from dataset_scripts.sources import SOURCES
from modeling_vital.yaml_file import parse_yaml


EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

logger = logging.getLogger("dataset_scripts")

_BUILD_HELP = r"""
Builds a data set from pictures and clips: skips copies, distorts, asks machine annotators, makes pairs and texts,
checks everything, and writes Parquet files with a card into a folder that load_dataset reads.

A build that was stopped, in whatever way, resumes when the same command is given again.

examples:
  python -m dataset_scripts build --source folder --input photos --output pairs --license CC-BY-4.0
  python -m dataset_scripts build --source manifest --input photos.csv --output pairs --workers 4
  python -m dataset_scripts build --source hub --input org/name --option column=image --items-per-source 1000 \
      --output pairs
  python -m dataset_scripts build --config dataset_scripts/recipes/demo.yaml --output pairs --workers 2
"""


class _Usage(Exception):
    """Wrong use of the command line."""


def build_parser() -> argparse.ArgumentParser:
    """The parser; `args.run` is the function that does the work."""
    parser = argparse.ArgumentParser(prog="python -m dataset_scripts", description="Makes visual quality data sets.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    form = argparse.RawDescriptionHelpFormatter
    build = commands.add_parser(
        "build", help="make a data set", description=_BUILD_HELP.lstrip(), formatter_class=form
    )
    build.set_defaults(run=_build)
    what = build.add_argument_group("what to build")
    what.add_argument("--source", choices=list(SOURCES), help="kind of source; instead of those in the recipe")
    what.add_argument("--input", metavar="PATH", help="the folder, table, data set or shards of --source")
    what.add_argument("--license", help="licence of the items of --source that name none, such as CC-BY-4.0")
    what.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="another option of --source; repeatable"
    )
    what.add_argument("--config", type=Path, metavar="RECIPE", help="recipe (YAML); the options here go before it")
    what.add_argument("--items-per-source", type=int, metavar="N", help="take at most N originals of each source")
    what.add_argument("--variants", type=int, metavar="N", help="distorted versions of each original (default: 6)")
    what.add_argument("--seed", type=int, metavar="S", help="with the originals, decides every row (default: 0)")
    where = build.add_argument_group("where and how; changes no row")
    where.add_argument("--output", type=Path, required=True, metavar="DIR", help="new, empty, or of a build to resume")
    where.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes (default: 1)")
    where.add_argument("--engine", choices=("local", "ray"), default="local", help="who works (default: local)")
    where.add_argument("--ray-address", metavar="ADDRESS", help="of a Ray cluster (default: Ray on this machine)")
    where.add_argument(
        "--annotate-gpus",
        type=float,
        default=0.0,
        metavar="N",
        help="GPUs of each annotating worker on Ray",
    )
    where.add_argument(
        "--weights",
        type=Path,
        metavar="DIR",
        help=f"sets {WEIGHTS_VARIABLE}: a folder with the published weights of annotators, which are then not fetched",
    )
    where.add_argument("--restart", action="store_true", help="throw an unfinished build in --output away first")
    where.add_argument("--keep-staging", action="store_true", help="keep the intermediate shards in DIR/.staging")
    where.add_argument("--verbose", action="store_true", help="say of each original why it was skipped")

    check = commands.add_parser(
        "validate",
        help="check a data set",
        description="Checks every row and medium; exit code 1 on errors.",
    )
    check.set_defaults(run=_validate)
    check.add_argument("folder", type=Path, metavar="DIR")

    report = commands.add_parser(
        "report",
        help="numbers of a build",
        description="Rows, drops by reason, seconds and rows/s of each stage.",
    )
    report.set_defaults(run=_report)
    report.add_argument("folder", type=Path, metavar="DIR", help="of a data set, finished or not")
    report.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    return parser


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise _Usage(f"--option takes NAME=VALUE, got {text!r}")
    try:
        return name, parse_yaml(value)
    except yaml.YAMLError as error:
        raise _Usage(f"--option {name}: {value!r} is not a YAML value") from error


def resolve_config(args: argparse.Namespace) -> BuildConfig:
    """The recipe with the options of the command line over it.

    Raises:
        _Usage, SettingsError: options that contradict, or a setting out of range.
    """
    recipe = load_recipe(args.config) if args.config else {}
    where = str(args.config or "the command line")
    if args.source:
        if not args.input:
            raise _Usage("--source needs --input")
        spec = {"kind": args.source, "path": args.input, **dict(map(_option, args.option))}
        recipe["sources"] = [spec | ({"license": args.license} if args.license else {})]
    elif args.input or args.license or args.option:
        raise _Usage("--input, --license and --option belong to --source; name one")
    elif not args.config:
        raise _Usage("name what to build from: --source and --input, or --config")
    for section, name, value in (
        ("collect", "items_per_source", args.items_per_source),
        ("distort", "variants_per_item", args.variants),
    ):
        if value is not None:
            recipe[section] = {**(recipe.get(section) or {}), name: value}
    if args.seed is not None:
        recipe["seed"] = args.seed
    return BuildConfig.from_dict(recipe, where)


def _build(args: argparse.Namespace) -> int:
    from dataset_scripts.engines import LocalEngine, RayEngine
    from dataset_scripts.pipeline import build

    config = resolve_config(args)
    if args.weights:
        os.environ[WEIGHTS_VARIABLE] = str(args.weights.resolve())
    if args.engine == "local" and (args.ray_address or args.annotate_gpus):
        raise _Usage("--ray-address and --annotate-gpus need --engine ray")
    if args.engine == "ray":
        engine = RayEngine(args.ray_address, args.workers, args.annotate_gpus)
    else:
        engine = LocalEngine(args.workers)
    report = build(config, args.output, engine, args.restart, args.keep_staging)
    left_out = Counter()
    for stage in report["stages"].values():
        left_out.update(stage["dropped"])
    if left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        logger.warning("skipped: %s; %s names each", reasons, args.output / "dropped.jsonl")
    rows = ", ".join(f"{sum(splits.values())} {name}" for name, splits in report["rows"].items())
    logger.info("%s: %s rows; its card is %s", args.output, rows, args.output / "README.md")
    return 0


def _validate(args: argparse.Namespace) -> int:
    from dataset_scripts.validator import validate

    try:
        found = validate(args.folder)
    except FileNotFoundError as error:
        raise _Usage(str(error)) from error
    sys.stdout.writelines(f"{line}\n" for line in found.lines())
    return 0 if found.ok else EXIT_FAILED


def _report(args: argparse.Namespace) -> int:
    from dataset_scripts.pipeline import REPORT_FILE, STAGING_DIR, stage_report
    from dataset_scripts.staging import Staging

    file = args.folder / REPORT_FILE
    if file.is_file():
        report = json.loads(file.read_text(encoding="utf-8"))
    elif (args.folder / STAGING_DIR).is_dir():
        report = {"stages": stage_report(Staging(args.folder / STAGING_DIR)), "unfinished": True}
    else:
        raise _Usage(f"{args.folder} holds neither a data set of this program nor an unfinished one")
    if args.format == "json":
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
        return 0
    lines = [f"{'stage':<10} {'rows in':>9} {'rows out':>9} {'seconds':>9} {'rows/s':>8}  dropped"]
    for stage, part in report["stages"].items():
        dropped = ", ".join(f"{count} {reason}" for reason, count in part["dropped"].items())
        rate = "" if part["rows_per_s"] is None else f"{part['rows_per_s']:.1f}"
        numbers = f"{part['rows_in']:>9} {part['rows_out']:>9} {part['seconds']:>9.1f} {rate:>8}"
        lines.append(f"{stage:<10} {numbers}  {dropped}".rstrip())
    for config, splits in report.get("rows", {}).items():
        lines.append(f"{config}: " + ", ".join(f"{count} {split}" for split, count in splits.items()))
    if report.get("unfinished"):
        lines.append("unfinished: give the build command again to resume")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        argv (`Sequence[str]`, *optional*): arguments after the program's name; those of the process by default.

    Returns:
        `int`: exit code. 0: all well. 1: the build failed, or `validate` found errors. 2: wrong use. 130: Ctrl-C.
    """
    args = build_parser().parse_args(argv)
    level = logging.INFO if getattr(args, "verbose", False) else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s %(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    logging.getLogger("dataset_scripts.collect").setLevel(level)
    try:
        return args.run(args)
    except _Usage as error:
        logger.error("%s (see --help)", error)
        return EXIT_USAGE
    except SettingsError as error:
        logger.error("%s", error)
        return EXIT_USAGE
    except BuildError as error:
        logger.error("%s", error)
        return EXIT_FAILED
    except KeyboardInterrupt:
        logger.error("interrupted; give the same command again to resume where it stopped")
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
