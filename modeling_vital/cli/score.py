"""`vital score`: the quality of files and folders."""

import argparse
import contextlib
import io
import logging
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..messages import first_line
from .collect import Target, collect
from .errors import UsageError
from .report import JsonReport, Report, TableReport, printable
from .where import Locator, add_options


if TYPE_CHECKING:
    from tqdm import tqdm

    from ..media_vital import MediaError
    from ..modeling_vital import VitalForConditionalGeneration
    from ..outputs_vital import QualityScore
    from ..probe_vital import VitalForQualityProbe

EXIT_SOME_FAILED = 1
PROGRESS_DELAY_S = 2

logger = logging.getLogger(__name__)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds `score` to the subcommands of `vital`."""
    parser = commands.add_parser(
        "score",
        help="score images and videos",
        description="Scores images and videos: a score in [0, 1], higher is better, how unsure it is (std), and the "
        "probability of each quality level.",
        epilog="Exit code: 0 all scored, 1 some files failed, 2 wrong use, 130 stopped by Ctrl-C.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a file, whatever its suffix, or a folder, searched with its sub-folders for images and videos (by "
        "suffix, hidden ones left out, links to folders not followed); a path that comes up twice is scored once",
    )
    parser.add_argument(
        "--model", default="vital-tiny", help="a name of the zoo, a folder, or a Hub id (default: %(default)s)"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")
    parser.add_argument(
        "--batch-size", type=positive, default=8, metavar="N", help="files at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto (a CUDA device if there is one), cpu, cuda, cuda:1, ... (default: %(default)s)",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Scores what `args.paths` stand for and prints one row a file.

    Args:
        args (`argparse.Namespace`): `paths`, `model`, `format`, `batch_size` and `device`, see `vital score --help`.

    Returns:
        `int`: 0 when every file was scored, 1 when some failed.

    Raises:
        UsageError: for a model or a device that is not there.
    """
    source = resolve_model(args.model)
    targets = collect(args.paths)
    report = JsonReport(sys.stdout) if args.format == "json" else _table(targets)
    failed = 0
    # A library that prints would break the output, so stdout is the report's alone from here on.
    with report, contextlib.redirect_stdout(sys.stderr):
        model = None
        if any(target.error is None for target in targets):
            model = load_model(source, args.device)
            report.level_words = tuple(model.config.level_words)
        locator = Locator(model, args.map, args.curve)
        with _progress(len(targets)) as bar:
            for records in score_targets(model, targets, args.batch_size):
                bar.clear()
                failed += _emit(report, records)
                locator.write(records)
                bar.update(len(records))
    return EXIT_SOME_FAILED if failed else 0


def resolve_model(name: str) -> str:
    """Where the model of that name is.

    Args:
        name (`str`): a name of the zoo, a folder, or a Hub id.

    Returns:
        `str`: a folder or a Hub id.

    Raises:
        UsageError: if it is none of them.
    """
    from .. import zoo

    try:
        return str(zoo.resolve(name))
    except ValueError as error:
        raise UsageError(str(error)) from error


def load_model(source: str, device: str) -> "VitalForConditionalGeneration | VitalForQualityProbe":
    """Loads a model or a linear probe, ready to score.

    Args:
        source (`str`): a folder or a Hub id.
        device (`str`): `"auto"` (the first CUDA device, else the CPU) or a name that torch knows.

    Returns:
        `VitalForConditionalGeneration` or `VitalForQualityProbe`: in evaluation mode, on the device.

    Raises:
        UsageError: if the device cannot be used or there is no loadable model.
    """
    import torch
    from transformers import PreTrainedConfig
    from transformers.utils import logging as transformers_logging

    from ..modeling_vital import VitalForConditionalGeneration
    from ..probe_vital import VitalForQualityProbe, VitalProbeConfig

    transformers_logging.set_verbosity_error()
    if os.path.isdir(source):  # a download keeps its progress bar
        transformers_logging.disable_progress_bar()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {device!r} cannot be used: {first_line(error)}") from error
    try:
        is_probe = PreTrainedConfig.get_config_dict(source)[0].get("model_type") == VitalProbeConfig.model_type
        model = (VitalForQualityProbe if is_probe else VitalForConditionalGeneration).from_pretrained(source)
        model.processor  # noqa: B018  loads it, so that a checkpoint without one is found here
    except (OSError, ValueError) as error:
        raise UsageError(f"no VITAL model can be loaded from {source!r}: {first_line(error)}") from error
    return model.to(device).eval()


def score_targets(
    model: "VitalForConditionalGeneration | None", targets: Sequence[Target], batch_size: int
) -> Iterator[list[dict]]:
    """Scores targets batch by batch.

    Args:
        model (`VitalForConditionalGeneration`, *optional*): needed unless every target is an error.
        targets (`Sequence[Target]`): what to score.
        batch_size (`int`): targets at a time.

    Yields:
        `list[dict]`: the records of one batch, in the order of the targets: `path`, `modality`, `score`, `std`,
        `level`, `level_probs`, `error`.
    """
    for start in range(0, len(targets), batch_size):
        batch = targets[start : start + batch_size]
        paths = [target.path for target in batch if target.error is None]
        results = iter(model.score(paths, batch_size=batch_size, errors="return") if paths else ())
        yield [_record(target.path, target.error or next(results)) for target in batch]


def _record(path: str, result: "QualityScore | MediaError | str") -> dict:
    if isinstance(result, (Exception, str)):
        error = str(result)
    elif not math.isfinite(result.score) or not math.isfinite(result.std):
        error = "the model gave a score that is not a number"
    else:
        return {
            "path": path,
            "modality": result.modality,
            "score": result.score,
            "std": result.std,
            "level": result.level,
            "level_probs": result.level_probs,
            "error": None,
        }
    nothing = dict.fromkeys(("modality", "score", "std", "level", "level_probs"))
    return {"path": path, **nothing, "error": error}


def _emit(report: Report, records: list[dict]) -> int:
    """Writes records, the failed ones on stderr too. Returns how many failed."""
    for record in records:
        report.row(record)
    report.stream.flush()
    failed = [record for record in records if record["error"] is not None]
    for record in failed:
        path, error = printable(record["path"]), printable(record["error"])
        logger.error("%s", error if path in error else f"{path}: {error}")
    return len(failed)


def _table(targets: Sequence[Target]) -> TableReport:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding does not have
    return TableReport(sys.stdout, [target.path for target in targets])


def _progress(total: int) -> "tqdm":
    """A bar on stderr that shows after `PROGRESS_DELAY_S` seconds, and only on a terminal."""
    from tqdm import tqdm

    return tqdm(total=total, unit="file", delay=PROGRESS_DELAY_S, leave=False, disable=None)


def positive(text: str) -> int:
    """Reads a whole number above 0, as an argument's type."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value
