"""sources -> distort -> annotate -> interpret -> pair -> validate -> publish, in one call that can be resumed.

Example:

    >>> from dataset_scripts.build_config import BuildConfig
    >>> from dataset_scripts.pipeline import build
    >>> recipe = {"sources": [{"kind": "folder", "path": "photos", "license": "CC0-1.0"}]}
    >>> build(BuildConfig.from_dict(recipe), "pairs")["rows"]  # doctest: +SKIP
"""

import json
import logging
import platform
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
from datasets.exceptions import DatasetGenerationError

from dataset_scripts.annotators.base import MissingPackageError
from dataset_scripts.build_config import BuildConfig, BuildError, SettingsError
from dataset_scripts.collect import STAGE as COLLECT
from dataset_scripts.collect import collect, open_sources
from dataset_scripts.engines import Engine, LocalEngine
from dataset_scripts.stages import STAGES
from dataset_scripts.staging import Staging
from modeling_vital.finished_parts import InUseError, differing, only_run
from modeling_vital.whole_files import make_output_folder, write_whole


logger = logging.getLogger(__name__)

STAGING_DIR = ".staging"
COMPLETE_FILE = "build.json"
REPORT_FILE = "run_report.json"


def run_stages(config: BuildConfig, staging: Staging, engine: Engine) -> int:
    """Everything up to the rows: reads the sources and runs the stages, or resumes a killed build.

    Args:
        config (`BuildConfig`): what to build.
        staging (`Staging`): where shards are kept.
        engine (`Engine`): who does the work; changes no row.

    Returns:
        `int`: number of shards.

    Raises:
        BuildError: a source cannot be read, an annotator cannot be had, or the staging is that of another build.
    """
    staging.prepare(config)
    try:
        shards = collect(config, staging, engine.map)
        engine.run_stages(staging, shards, config)
    except MissingPackageError as error:
        raise BuildError(f"{error}\nThen run the same command again: finished shards are kept.") from error
    return shards


def stage_report(staging: Staging) -> dict[str, dict[str, Any]]:
    """Rows in and out, drops by reason, seconds (summed over workers) and rows a second, of each stage.

    Counted from the markers of finished shards, so that it covers all runs of a build that was interrupted.
    """
    report = {}
    for stage in (COLLECT, *STAGES):
        markers = staging.finished(stage)
        dropped: Counter[str] = Counter()
        for marker in markers:
            dropped.update(marker["dropped"])
        rows_out, seconds = (sum(marker[name] for marker in markers) for name in ("rows_out", "seconds"))
        report[stage] = {
            "rows_in": sum(marker["rows_in"] for marker in markers),
            "rows_out": rows_out,
            "dropped": dict(sorted(dropped.items())),
            "seconds": round(seconds, 3),
            "rows_per_s": round(rows_out / seconds, 2) if seconds else None,
        }
    return report


def build(
    config: BuildConfig,
    output: str | Path,
    engine: Engine | None = None,
    restart: bool = False,
    keep_staging: bool = False,
) -> dict[str, Any]:
    """Builds a data set in a folder.

    Args:
        config (`BuildConfig`): what to build.
        output (`str` or `Path`): new or empty folder, or one in which this same build was interrupted.
        engine (`Engine`, *optional*): execution engine; by default this process.
        restart (`bool`, *optional*, defaults to `False`): throw an unfinished build in `output` away first.
        keep_staging (`bool`, *optional*, defaults to `False`): keep the shards in `output/.staging` afterwards.

    Returns:
        `dict`: the run report, also in `run_report.json`. A data set that is complete is not built again.

    Raises:
        SettingsError: nothing was begun.
        BuildError: see the message; what was finished is kept, and the same call resumes from there.
    """
    output = Path(output)
    staging = Staging(output / STAGING_DIR)
    if _complete(output, config):
        logger.info("%s is complete", output)
    else:
        _begin(config, output, staging)
        with _failures_told(output), only_run(output):
            if not _complete(output, config):  # by a run that this one waited for
                _build(config, output, staging, engine or LocalEngine(), restart)
    if not keep_staging:
        staging.clear()
    return json.loads((output / REPORT_FILE).read_text(encoding="utf-8"))


def _begin(config: BuildConfig, output: Path, staging: Staging) -> None:
    """Refuses what cannot be built, or not there, before anything is written."""
    if not staging.root.is_dir():
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise SettingsError(
                f"{output} is not an empty folder and holds no unfinished build; give another --output"
            )
        open_sources(config)
    try:
        make_output_folder(staging.root)
    except OSError as error:
        raise SettingsError(str(error)) from error


@contextmanager
def _failures_told(output: Path) -> Iterator[None]:
    try:
        yield
    except InUseError as error:
        raise BuildError(str(error)) from error
    except (OSError, DatasetGenerationError) as error:  # a full disk, for instance, here or in `datasets`
        reason = error.__cause__ if isinstance(error, DatasetGenerationError) else error
        raise BuildError(
            f"the build in {output} stopped: {reason}; what is finished is kept, and the same command resumes"
        ) from error


def _build(config: BuildConfig, output: Path, staging: Staging, engine: Engine, restart: bool) -> None:
    # Here, not above: the card and the answers need transformers and matplotlib, the workers of the stages do not.
    from dataset_scripts.publish import publish

    started = time.monotonic()
    if restart:
        staging.clear()
    with engine:
        run_stages(config, staging, engine)
    report = {"stages": stage_report(staging), "versions": _versions(), "engine": type(engine).__name__}
    publish(staging, config, report, output)
    report["wall_seconds_of_last_run"] = round(time.monotonic() - started, 3)
    write_whole(output / REPORT_FILE, json.dumps(report, indent=1))
    write_whole(output / COMPLETE_FILE, json.dumps(config.to_dict(), indent=1, sort_keys=True))


def _complete(output: Path, config: BuildConfig) -> bool:
    file = output / COMPLETE_FILE
    if not file.is_file():
        return False
    if names := differing(json.loads(file.read_text("utf-8")), config.to_dict()):
        raise SettingsError(
            f"{output} holds a data set with other settings ({', '.join(names)}); give another --output"
        )
    return True


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "datasets": datasets.__version__,
    }
