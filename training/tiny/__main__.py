"""Makes `vital-tiny` from nothing: photos, a model with random weights, and the stages of its recipes.

    python -m training.tiny

A stage that is finished is skipped, one that was stopped is resumed from its last checkpoint. The recipes are those of
the stage scripts and can be run by themselves; here each gets its folders.
"""

import argparse
import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from training.tiny import DATA, fetch_originals
from training.tiny.model import ModelConfig, build_model


logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent


@dataclass(frozen=True)
class Step:
    """One stage of the family.

    Attributes:
        name (`str`): of its recipe and of its folder.
        script (`str`): stage script in `training/`.
        model (`str`): folder of the step it starts from.
    """

    name: str
    script: str
    model: str


STEPS = (
    Step("encoders", "encoders", "start"),
    Step("base", "base", "encoders"),
)
"""In order."""


def make_start(folder: Path, seed: int = 0) -> None:
    """Writes the model with random weights that the first stage starts from, unless it is there."""
    if not (folder / "config.json").exists():
        build_model(ModelConfig.load(FOLDER / "model.yaml"), seed).save_pretrained(folder)


def command(step: Step, work_dir: Path, data_dir: Path, more: Sequence[str] = ()) -> list[str]:
    """The command line of a step."""
    recipe = FOLDER / "recipes" / f"{step.name}.yaml"
    options = yaml.safe_load(recipe.read_text(encoding="utf-8")).get("fresh_options")
    arguments = ["--model", str(work_dir / step.model), "--output_dir", str(work_dir / step.name)]
    if options is not None:
        options = {**options, "config": str(DATA), "data_dir": str(data_dir)}
        arguments += ["--fresh_options", json.dumps(options)]
    script = ROOT / "training" / f"{step.script}.py"
    return [sys.executable, str(script), "--config", str(recipe), *arguments, *more]


def main(argv: list[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m training.tiny",
        description=__doc__.split("\n")[0],
        epilog="Anything else is handed to the stage scripts, e.g. --max_steps 100.",
    )
    parser.add_argument(
        "--data_dir", type=Path, default=Path("build/registry"), help="photos and clips, fetched if missing"
    )
    parser.add_argument("--work_dir", type=Path, default=Path("build/vital-tiny"), help="models, checkpoints and logs")
    parser.add_argument("--only", choices=["fetch", *(step.name for step in STEPS)], help="one step")
    arguments, more = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    fetch_originals(arguments.data_dir)
    if arguments.only == "fetch":
        return 0
    make_start(arguments.work_dir / "start")
    for step in STEPS:
        done = arguments.work_dir / step.name / "model.safetensors"
        if arguments.only not in (None, step.name):
            continue
        if done.exists():
            logger.info("%s is finished: %s", step.name, done.parent)
            continue
        status = subprocess.call(command(step, arguments.work_dir, arguments.data_dir, more), cwd=Path.cwd())
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
