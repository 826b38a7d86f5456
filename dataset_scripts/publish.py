"""Finished stages -> a data set in a folder, checked before anything is put in its place."""

import json
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

from dataset_scripts.build_config import BuildConfig, BuildError
from dataset_scripts.card import render_card
from dataset_scripts.card_samples import draw_samples
from dataset_scripts.plots import PLOT_DIR, draw_plots
from dataset_scripts.schema import CONFIGS
from dataset_scripts.staging import Staging
from dataset_scripts.statistics import describe_folder
from dataset_scripts.validator import DATA_DIR, validate
from dataset_scripts.vital_pairs import VitalPairs


logger = logging.getLogger(__name__)


def write_tables(staging: Staging, config: BuildConfig) -> Path:
    """Writes the Parquet files of every configuration that has rows.

    Returns:
        `Path`: the folder they are in, within the staging folder. Configurations that are there are left as they are.
    """
    export = staging.root / "export"
    for name in CONFIGS:
        builder = VitalPairs(
            config_name=name,
            staging=str(staging.root),
            cache_dir=str(staging.root / "cache"),
            dataset_name="vital_pairs",
        )
        if builder.filled_shards:
            # `datasets` fills a folder beside it and renames: a configuration is there or it is not.
            builder.download_and_prepare(
                str(export / DATA_DIR / name), file_format="parquet", max_shard_size=config.publish.max_shard_size
            )
    return export


def publish(staging: Staging, config: BuildConfig, report: dict[str, Any], output: Path) -> dict[str, Any]:
    """Writes, checks and puts in place.

    Args:
        staging (`Staging`): a build whose stages are finished.
        config (`BuildConfig`): what was built.
        report (`dict`): run report; gets `rows`, `validation` and the stages `validate` and `publish`.
        output (`Path`): folder of the data set. `build.json` is written last: with it the data set is complete.

    Returns:
        `dict`: the report.

    Raises:
        BuildError: the data set has no row, or an error that the message names.
    """
    started = time.monotonic()
    export = write_tables(staging, config)
    if not export.is_dir():
        raise BuildError("the build has no row: every original was skipped; dropped.jsonl in the staging says why")
    written = time.monotonic()
    found = validate(export)
    rows, validated = sum(found.rows.values()), time.monotonic()
    for stage, seconds in (("validate", validated - written), ("publish", written - started)):
        numbers = {"rows_in": rows, "rows_out": rows, "dropped": {}, "seconds": round(seconds, 3)}
        report["stages"][stage] = numbers | {"rows_per_s": round(rows / seconds, 2)}
    report["validation"] = {
        "errors": {kind: finding.count for kind, finding in found.errors.items()},
        "warnings": {kind: finding.count for kind, finding in found.warnings.items()},
    }
    if not found.ok:
        raise BuildError("nothing is published:\n" + "\n".join(found.lines()))
    for line in found.lines():
        logger.info("%s", line)
    report["rows"] = write_about(export, config, report)
    with (export / "dropped.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(drop, ensure_ascii=False) + "\n" for drop in staging.drops())
    for part in sorted(export.iterdir()):
        _put(part, output / part.name)
    return report


def write_about(folder: Path, config: BuildConfig, report: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Writes what tells of the tables in a folder: statistics, sample pictures, plots, card.

    Returns:
        `dict`: configuration -> split -> rows.
    """
    for leftover in [*(folder / DATA_DIR).glob("*.lock"), *(folder / DATA_DIR).glob("*/dataset_info.json")]:
        leftover.unlink()  # what `datasets` needs while it writes
    numbers = describe_folder(folder)
    plots = {**draw_samples(folder, PLOT_DIR), **draw_plots(numbers, folder)}
    for name, text in (
        ("statistics.json", json.dumps(numbers, indent=1) + "\n"),
        ("README.md", render_card(numbers, config, plots, report)),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    return numbers["rows"]


def _put(part: Path, place: Path) -> None:
    """Moves a file or folder to its place, over what a killed run may have put there."""
    if place.is_dir():
        shutil.rmtree(place)
    os.replace(part, place)
