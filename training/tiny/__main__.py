"""Makes `vital-tiny` from nothing: photos, a model with random weights, and the stages of its recipes.

    python -m training.tiny

A stage that is finished is skipped, one that was stopped is resumed from its last checkpoint. The recipes are those of
the stage scripts and can be run by themselves; here each gets its folders. What ships is in WORK_DIR/models, its
weights in float16; what it cost in WORK_DIR/cost.json. `--only pack` writes code and photos as they are used to
WORK_DIR/vital-tiny.tar.gz, for a machine without network.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.probe_vital import VitalForQualityProbe
from modeling_vital.whole_files import require_output_folder, whole_folder
from modeling_vital.yaml_file import read_yaml
from training.tiny import DATA, fetch_originals, recipe_data
from training.tiny.cost import timed_call, write_cost
from training.tiny.groups import fresh_tables
from training.tiny.model import ModelConfig, build_decoder, build_model
from training.tiny.pack import pack
from training.tiny.sample import write_sample


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
        decoder (`str`, *optional*): step whose decoder stands behind these encoders, or `"new"` for one with random
            weights.
        ships (`str`, *optional*): name under which the result is exported.
    """

    name: str
    script: str
    model: str
    decoder: str | None = None
    ships: str | None = None


STEPS = (
    Step("encoders", "encoders", "start"),
    Step("base", "base", "encoders"),
    Step("pretrain", "pretrain", "base", ships="vital-tiny"),
    Step("align", "warm_up", "base", decoder="new"),
    Step("warmup", "warm_up", "pretrain", decoder="align", ships="vital-tiny-warmup"),
    Step("probe", "linear_probe", "pretrain", ships="vital-tiny-probe"),
)
"""In order."""

SAMPLE = {"tiles": 500, "wholes": 300, "clips": 60}
"""Groups that the probe learns from."""


def make_start(work_dir: Path, step: Step) -> Path:
    """The checkpoint a step begins with; where no earlier step left it, it is made, unless it is there."""
    if step.model != "start" and step.decoder is None:
        return work_dir / step.model
    folder = work_dir / ("start" if step.decoder is None else f"{step.name}-start")
    if (folder / "config.json").exists():
        return folder
    if step.decoder is None:
        model = build_model(ModelConfig.load(FOLDER / "model.yaml"), seed=0)
    elif step.decoder == "new":
        decoder = build_decoder(FOLDER / "warmup_decoder.yaml", seed=0)
        model = VitalForConditionalGeneration.from_parts(work_dir / step.model, *decoder)
    else:
        model = VitalForConditionalGeneration.from_parts(work_dir / step.model, work_dir / step.decoder)
    with whole_folder(folder) as unfinished:
        model.save_pretrained(unfinished)
    return folder


def export(folder: Path, destination: Path) -> None:
    """Writes a model with weights in float16, which load to float32 because `config.json` says so."""
    kind = VitalForQualityProbe if "probe" in destination.name else VitalForConditionalGeneration
    model = kind.from_pretrained(folder).eval().half()
    model.save_pretrained(destination)
    config_file = destination / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def command(step: Step, work_dir: Path, data_dir: Path, more: Sequence[str] = ()) -> list[str]:
    """The command line of a step."""
    recipe = FOLDER / "recipes" / f"{step.name}.yaml"
    options = read_yaml(recipe).get("fresh_options")
    arguments = ["--model", str(make_start(work_dir, step)), "--output_dir", str(work_dir / step.name)]
    if step.script == "linear_probe":
        processor = VitalForConditionalGeneration.from_pretrained(work_dir / step.model).processor
        tables = fresh_tables(processor, 1, str(DATA), str(data_dir))
        arguments += ["--dataset", str(write_sample(tables, SAMPLE, work_dir / "sample"))]
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
        epilog="Anything else is handed to the stage scripts, e.g. --max_steps 100 --save_steps 10.",
    )
    parser.add_argument(
        "--data_dir", type=Path, default=Path("build/registry"), help="photos and clips, fetched if missing"
    )
    parser.add_argument("--work_dir", type=Path, default=Path("build/vital-tiny"), help="models, checkpoints and logs")
    parser.add_argument("--only", choices=["fetch", "pack", *(step.name for step in STEPS)], help="one step")
    arguments, more = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    require_output_folder(parser, "--work_dir", arguments.work_dir)
    fetch_originals(arguments.data_dir)
    if arguments.only == "fetch":
        return 0
    if arguments.only == "pack":
        try:
            pack(arguments.data_dir, recipe_data(), arguments.work_dir / "vital-tiny.tar.gz", ROOT)
        except ValueError as error:
            logger.error("%s", error)
            return 2
        return 0
    for step in STEPS:
        done = arguments.work_dir / step.name / "model.safetensors"
        if arguments.only not in (None, step.name):
            continue
        if done.exists():
            logger.info("%s is finished: %s", step.name, done.parent)
        elif status := timed_call(
            command(step, arguments.work_dir, arguments.data_dir, more), step.name, arguments.work_dir
        ):
            return status
        if step.ships is not None:
            export(done.parent, arguments.work_dir / "models" / step.ships)
    if arguments.only is None:
        try:
            names = [step.name for step in STEPS]
            write_cost(arguments.work_dir, arguments.data_dir, recipe_data(), names, sum(SAMPLE.values()))
        except ValueError as error:
            logger.warning("What it cost is not known. %s", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
