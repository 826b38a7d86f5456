"""Cost of `vital-tiny`: hours of cores and GPUs, pictures made, and the licences of the photos it learned from."""

import json
import logging
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from modeling_vital.whole_files import write_whole
from modeling_vital.yaml_file import read_yaml
from training.tiny.originals import DataConfig, photos_by_license


logger = logging.getLogger(__name__)

COST, SPENT = "cost.json", "spent.json"
_EVERY = 60  # seconds between two notes of the time: as much is lost of a run that is killed


def timed_call(command: Sequence[str], step: str, work_dir: Path, every: float = _EVERY) -> int:
    """Runs a command and adds the time it takes to that of its step, also where it is stopped.

    Returns:
        `int`: the exit status.
    """
    status, noted = None, time.monotonic()
    with subprocess.Popen(command) as process:
        while status is None:
            try:
                status = process.wait(timeout=every)
            except subprocess.TimeoutExpired:
                pass
            finally:
                now = time.monotonic()
                _add_seconds(work_dir, step, now - noted)
                noted = now
    return status


def _add_seconds(work_dir: Path, step: str, seconds: float) -> None:
    spent = read_spent(work_dir)
    before = spent.get(step, {"core": 0.0, "gpu": 0.0})
    now = {"core": seconds * (os.cpu_count() or 1), "gpu": seconds * torch.cuda.is_available()}
    spent[step] = {kind: before[kind] + now[kind] for kind in before}
    write_whole(work_dir / SPENT, json.dumps(spent, indent=2) + "\n")


def read_spent(work_dir: Path) -> dict[str, dict[str, float]]:
    """By step, all runs of it together: seconds times the cores of the machine (`core`), and seconds of a GPU."""
    path = work_dir / SPENT
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def pictures_of(folder: Path, versions: int) -> int:
    """Pictures and clips that a stage of the trainer has made so far: steps, groups a step, versions a group.

    Args:
        folder (`Path`): its `output_dir`, with the last checkpoint and the resolved recipe.
        versions (`int`): in a group.

    Raises:
        ValueError: there is no checkpoint.
    """
    states = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("checkpoint-*/trainer_state.json")]
    if not states:
        raise ValueError(f"{folder} has no checkpoint that says how many steps were made.")
    last = max(states, key=lambda state: state["global_step"])
    recipe = read_yaml(folder / "recipe.yaml")
    groups = last["train_batch_size"] * recipe.get("gradient_accumulation_steps", 1)
    return last["global_step"] * groups * versions


def write_cost(
    work_dir: Path, data_dir: Path, config: DataConfig, steps: Sequence[str], sample_groups: int
) -> dict[str, Any]:
    """Writes `cost.json`, which `python -m model_cards record --training` takes.

    Args:
        work_dir (`Path`): of the run.
        data_dir (`Path`): originals, with `manifest.csv`.
        config (`DataConfig`): the data part of the recipe.
        steps (`Sequence[str]`): names of the stages; of those with a checkpoint the pictures are counted.
        sample_groups (`int`): groups made for the probe.

    Returns:
        `dict`: what was written: `core_hours` (clock times cores of the machine), `gpu_hours`, `pictures`,
            `photos_by_license`.

    Raises:
        ValueError: of a step no time is known.
    """
    spent = read_spent(work_dir)
    if missing := [step for step in steps if step not in spent]:
        raise ValueError(f"{work_dir / SPENT} does not say how long {', '.join(missing)} took.")
    versions = config.plan.versions
    trained = [work_dir / step for step in steps if any((work_dir / step).glob("checkpoint-*"))]
    cost = {
        **{f"{kind}_hours": round(sum(spent[step][kind] for step in steps) / 3600, 2) for kind in ("core", "gpu")},
        "pictures": sum(pictures_of(folder, versions) for folder in trained) + sample_groups * versions,
        "photos_by_license": photos_by_license(data_dir, config),
    }
    write_whole(work_dir / COST, json.dumps(cost, indent=2) + "\n")
    logger.info("Wrote %s", work_dir / COST)
    return cost
