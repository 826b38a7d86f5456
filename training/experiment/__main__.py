"""Runs the experiment, or resumes it: what is finished is kept, a killed run resumes from its checkpoint.

    python -m training.experiment --recipe training/recipes/tiny_experiment.yaml

Each finished run leaves a small JSON in --results; docs/experiment.md is made from these alone.
"""

import argparse
import dataclasses
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml

from dataset_scripts.build_config import BuildError, SettingsError
from modeling_vital.finished_parts import FinishedParts, differing
from modeling_vital.whole_files import require_output_folder
from modeling_vital.yaml_file import read_yaml
from training.checkpoints import TrainingStopped
from training.collators import RowError
from training.experiment import ExperimentError
from training.experiment.data import ExperimentData, make_data
from training.experiment.family import FamilyConfig
from training.experiment.measures import describe_items, measure, test_rows
from training.experiment.plan import Machine, Run, StageConfig, execute, plan
from training.recipe import RecipeError


logger = logging.getLogger(__name__)

ITEMS = "items.json"
PAGE = Path("docs/experiment.md")


@dataclass
class Experiment:
    """The whole experiment: see `training/recipes/tiny_experiment.yaml`.

    Attributes:
        seeds (`list[int]`): of the headline rows.
        data (`ExperimentData`), family (`FamilyConfig`), stages (`StageConfig`): by topic.
        num_texts (`int`): test pictures that are described.
    """

    seeds: list[int]
    data: ExperimentData
    family: FamilyConfig
    stages: StageConfig = field(default_factory=StageConfig)
    num_texts: int = 160

    @classmethod
    def load(cls, path: Path) -> "Experiment":
        """Reads a recipe.

        Raises:
            ExperimentError: it is not there, or has a key that is not known or lacks one; names it.
        """
        try:
            raw = read_yaml(path)
            parts = {name: kind(**raw[name]) for name, kind in _SECTIONS.items() if name in raw}
            recipe = cls(**{**raw, **parts})
        except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
            raise ExperimentError(f"The recipe {path} cannot be used: {error}") from error
        if not recipe.seeds:
            raise ExperimentError(f"The recipe {path} names no seed.")
        return recipe

    def plan(self) -> list[Run]:
        """Its runs in order."""
        return plan(self.stages, list(self.family.decoders), self.seeds, self.family.pretrained())


_SECTIONS = {"data": ExperimentData, "family": FamilyConfig, "stages": StageConfig}


def is_finished(run: Run, results: Path) -> bool:
    """Returns `True` if a run has been made and measured.

    Raises:
        ExperimentError: its result is of other settings.
    """
    parts = FinishedParts(results)
    if run.name not in parts:
        return False
    if names := differing(parts.read(run.name)["run"], run.fingerprint()):
        raise ExperimentError(
            f"{results / run.name}.json was made with other settings ({', '.join(names)}): remove it to make it "
            "again, or give --results."
        )
    return True


def conduct(
    recipe: Experiment,
    originals: Path,
    work: Path,
    results: Path,
    machine: Machine | None = None,
    only: Sequence[str] = (),
) -> int:
    """Makes and measures what is missing.

    Args:
        recipe (`Experiment`): the experiment.
        originals (`Path`): for what `dataset_scripts.sources.packages` fetches, if it is needed and not there.
        work (`Path`): for data and checkpoints.
        results (`Path`): for one JSON a run.
        machine (`Machine`, *optional*): where; one CPU core by default.
        only (`Sequence[str]`, *optional*): names of the runs to make; all by default. So several processes, or
            machines with one folder, share the work.

    Returns:
        `int`: runs made in this call.
    """
    machine = machine or Machine()
    settings = {"data": dataclasses.asdict(recipe.data), "family": dataclasses.asdict(recipe.family)}
    parts = FinishedParts(results, Path(ITEMS).stem)
    if parts.begun:
        _refuse(
            results / ITEMS, differing({name: parts.read(parts.about_name).get(name) for name in settings}, settings)
        )
    runs = recipe.plan()
    if unknown := set(only) - {run.name for run in runs}:
        raise ExperimentError(f"There are no runs {', '.join(sorted(unknown))}; --list names those there are.")
    missing = [run for run in runs if not is_finished(run, results) and (not only or run.name in only)]
    if not missing:
        return 0
    family = FinishedParts(work, "family")
    names = [name for run in runs for name in (f"{run.name}.start", run.name)]
    if not family.begun and (made := [name for name in names if (work / name).exists()]):
        raise ExperimentError(
            f"{work} holds {', '.join(made)} and no {family.about_name}.json, so that their family is not known: give "
            "another --work_dir, or remove what is there."
        )
    _refuse(work, family.begin({"family": settings["family"]}))
    data = make_data(recipe.data, originals, work / "data")
    rows = test_rows(data)
    items = describe_items(rows, recipe.num_texts)
    _refuse(results / ITEMS, parts.begin({**settings, **items}))
    for run in missing:
        logger.info("run %s (%d of %d)", run.name, runs.index(run) + 1, len(runs))
        for needed in run.start:
            if not (work / needed / "config.json").exists():
                raise ExperimentError(
                    f"{run.name} starts from {work / needed}, which is not there: make {needed} first, and remove "
                    f"{results / needed}.json if that is there."
                )
        seconds = execute(run, recipe.family, work, data, machine)
        measured = measure(work / run.name, rows, items["texts"], machine.device)
        result = {"run": run.fingerprint(), "cpu_seconds": round(seconds, 1), **measured}
        parts.finish(run.name, result)
        for checkpoint in (work / run.name).glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    return len(missing)


def _refuse(place: Path, names: list[str]) -> None:
    """
    Raises:
        ExperimentError: there are `names` of settings in which what is there differs from the recipe.
    """
    if names:
        raise ExperimentError(
            f"{place} is of another recipe ({', '.join(names)}): give other --results and another --work_dir, or "
            "remove what is there."
        )


def main(argv: list[str] | None = None) -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m training.experiment", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--recipe", type=Path, default=Path("training/recipes/tiny_experiment.yaml"), help="what to do"
    )
    parser.add_argument(
        "--data_dir", type=Path, default=Path("build/registry"), help="photos and clips, fetched if missing"
    )
    parser.add_argument("--work_dir", type=Path, default=Path("build/tiny-experiment"), help="data and checkpoints")
    parser.add_argument(
        "--results", type=Path, default=Path("training/results/tiny_experiment"), help="one JSON a run"
    )
    parser.add_argument(
        "--page", action="store_true", help="only make the page again, from the results that are there"
    )
    parser.add_argument("--page_file", type=Path, default=PAGE, help="the page (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="RUN", help="make these runs alone, and no page")
    parser.add_argument("--gpu", action="store_true", help="train and measure on the GPU")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="only say which runs there are, and which are finished")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    torch.set_num_threads(1)  # models this small are slower with more
    if not (arguments.list or arguments.page):
        require_output_folder(parser, "--work_dir", arguments.work_dir)
        require_output_folder(parser, "--results", arguments.results)
    try:
        recipe = Experiment.load(arguments.recipe)
        if arguments.list:
            for run in recipe.plan():
                sys.stdout.write(f"{'done' if is_finished(run, arguments.results) else 'open'}  {run.name}\n")
            return 0
        if not arguments.page:
            machine = Machine(arguments.gpu, arguments.workers)
            conduct(recipe, arguments.data_dir, arguments.work_dir, arguments.results, machine, arguments.only)
            if arguments.only:
                return 0
        if not (arguments.results / ITEMS).exists():
            raise ExperimentError(f"No run is recorded in {arguments.results}: there is nothing to make a page of.")
        from training.experiment.page import write_page

        write_page(recipe.plan(), arguments.results, arguments.page_file)
    except (ExperimentError, SettingsError, RecipeError) as error:
        logger.error("%s", error)
        return 2
    except (BuildError, TrainingStopped, RowError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("Interrupted; the same command resumes from here.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
