"""The runs of the experiment, each after those it starts from, and how one is made by the product's own stages."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modeling_vital.whole_files import whole_folder
from training import probe_stage, zero_shot_stage
from training.data import DataArguments
from training.experiment.family import FamilyConfig, first_model, with_decoder
from training.recipe import Recipe
from training.run import run as train


logger = logging.getLogger(__name__)

ABLATIONS = {
    "without_pmod": {"hard_levels": True},
    "without_pairs": {"mixture": {"pairwise": 0}},
    "without_text": {"mixture": {"distortion": 0}},
    "without_focal": {"focal_beta": 0.0},
    "decoder_not_frozen": {"stage": "assistant"},
}
"""What each ablation of the pre-training changes; a mixture is merged into that of the recipe."""


@dataclass
class StageConfig:
    """Length and learning rates of the stages: settings of `training.recipe.Recipe`, over those of `common`.

    Attributes:
        common (`dict`): of every run.
        align_first (`dict`): encoders and the first decoder on captions.
        align (`dict`): another decoder on captions, encoders frozen.
        vital (`dict`): pre-training, decoder frozen; the ablations too.
        warm_up (`dict`): another decoder on few samples.
        full (`dict`): another decoder on all pairs.
        joint (`dict`): the second decoder and the encoders on all pairs.
        pretrained (`dict`): over those of `align` and `warm_up` for decoders that come out of packages.
        probe (`dict`): fields of `training.probe_stage.ProbeArguments`.
    """

    common: dict[str, Any] = field(default_factory=dict)
    align_first: dict[str, Any] = field(default_factory=dict)
    align: dict[str, Any] = field(default_factory=dict)
    vital: dict[str, Any] = field(default_factory=dict)
    warm_up: dict[str, Any] = field(default_factory=dict)
    full: dict[str, Any] = field(default_factory=dict)
    joint: dict[str, Any] = field(default_factory=dict)
    pretrained: dict[str, Any] = field(default_factory=dict)
    probe: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Machine:
    """Machine that it runs on; changes no run but by rounding.

    Attributes:
        use_gpu (`bool`, *optional*, defaults to `False`): train and measure on the GPU.
        workers (`int`, *optional*, defaults to 0): processes that make batches, beside the one that trains.
    """

    use_gpu: bool = False
    workers: int = 0

    @property
    def device(self) -> str:
        """Device of the models."""
        return "cuda" if self.use_gpu else "cpu"


@dataclass(frozen=True)
class Run:
    """One model that is made and measured.

    Attributes:
        name (`str`): of its folder and its result.
        kind (`str`): `base`, `vital`, `zero`, `warm_up`, `warm_up_from_base`, `full`, `joint`, `probe`,
            `zero_from_not_frozen`, `warm_up_from_not_frozen`, or a key of `ABLATIONS`.
        decoder (`str`): name in the family; empty for a probe.
        seed (`int`): of order, samples and new weights.
        stage (`str`): a stage of `training.freezing.STAGES`, or `zero_shot`.
        data (`str`): key of what `make_data` returns.
        start (`tuple[str, ...]`): runs it starts from: encoders first, then decoder where that is another.
        settings (`dict`): of the stage; JSON-like.
    """

    name: str
    kind: str
    decoder: str
    seed: int
    stage: str
    data: str
    start: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def fingerprint(self) -> dict[str, Any]:
        """All that decides the run, as JSON gives it back."""
        return json.loads(json.dumps(asdict(self)))


def plan(stages: StageConfig, decoders: list[str], seeds: list[int], pretrained: Sequence[str] = ()) -> list[Run]:
    """All runs in the order they are made: what is asked first of the method comes first, more seeds come last.

    Args:
        stages (`StageConfig`): their settings.
        decoders (`list[str]`): of the family; the first is the one of pre-training.
        seeds (`list[int]`): of the headline rows; ablations, joint training and probes have the first only.
        pretrained (`Sequence[str]`, *optional*): those of the decoders that come out of packages: large ones, so that
            they have the first seed only, too, and come last of all.
    """
    first, *others = (name for name in decoders if name not in pretrained)
    seed = seeds[0]
    runs = [Run(f"base-{first}", "base", first, seed, "assistant", "captions", (), stages.common | stages.align_first)]
    runs += [
        Run(f"base-{d}", "base", d, seed, "warm_up", "captions", (f"base-{first}",), stages.common | stages.align)
        for d in others
    ]
    runs += _transfer(stages, first, others, seed)
    control = f"warm_up_from_base-{others[0]}-s{seed}"
    start, settings = f"base-{others[0]}", stages.common | stages.warm_up
    runs.append(Run(control, "warm_up_from_base", others[0], seed, "warm_up", "pairs", (start,), settings))
    for start in (f"vital-{first}-s{seed}", f"base-{first}"):
        name = f"probe-of-{start}"
        runs.append(Run(name, "probe", "", seed, "linear_probe", "pairs", (start,), dict(stages.probe)))
    for name, change in ABLATIONS.items():
        settings = _merged(stages.common | stages.vital, change)
        stage = settings.pop("stage", "pretrain")
        runs.append(Run(f"{name}-{first}-s{seed}", name, first, seed, stage, "pairs", (f"base-{first}",), settings))
    not_frozen = f"decoder_not_frozen-{first}-s{seed}"
    zero = f"zero_from_not_frozen-{others[0]}-s{seed}"
    runs.append(
        Run(zero, "zero_from_not_frozen", others[0], seed, "zero_shot", "pairs", (not_frozen, f"base-{others[0]}"))
    )
    name, settings = f"warm_up_from_not_frozen-{others[0]}-s{seed}", stages.common | stages.warm_up
    runs.append(Run(name, "warm_up_from_not_frozen", others[0], seed, "warm_up", "pairs", (zero,), settings))
    for more in seeds[1:]:
        runs += _transfer(stages, first, others, more)
    joint = stages.common | stages.joint
    runs.append(
        Run(
            f"joint-{others[0]}-s{seed}", "joint", others[0], seed, "assistant", "pairs", (f"base-{others[0]}",), joint
        )
    )
    for d in pretrained:
        align = stages.common | stages.align | stages.pretrained
        runs.append(Run(f"base-{d}", "base", d, seed, "warm_up", "captions", (f"base-{first}",), align))
        runs += _read_by(d, f"vital-{first}-s{seed}", seed, stages.common | stages.warm_up | stages.pretrained)
    return runs


def _transfer(stages: StageConfig, first: str, others: list[str], seed: int) -> Iterator[Run]:
    """The headline of one seed: pre-training, and what other decoders make of its encoders."""
    vital = f"vital-{first}-s{seed}"
    yield Run(vital, "vital", first, seed, "pretrain", "pairs", (f"base-{first}",), stages.common | stages.vital)
    for d in others:
        yield from _read_by(d, vital, seed, stages.common | stages.warm_up)
    zero = f"zero-{others[0]}-s{seed}"
    yield Run(
        f"full-{others[0]}-s{seed}", "full", others[0], seed, "warm_up", "pairs", (zero,), stages.common | stages.full
    )


def _read_by(decoder: str, vital: str, seed: int, settings: dict[str, Any]) -> Iterator[Run]:
    """Zero and Warm-up of one decoder before the encoders of a run."""
    zero = f"zero-{decoder}-s{seed}"
    yield Run(zero, "zero", decoder, seed, "zero_shot", "pairs", (vital, f"base-{decoder}"))
    yield Run(f"warm_up-{decoder}-s{seed}", "warm_up", decoder, seed, "warm_up", "pairs", (zero,), settings)


def _merged(settings: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    mixture = {**settings.get("mixture", {}), **change.get("mixture", {})}
    return {**settings, **change, **({"mixture": mixture} if mixture else {})}


def execute(run: Run, family: FamilyConfig, work: Path, data: dict[str, Path], machine: Machine) -> float:
    """Makes the model of a run in `work / run.name`, or resumes it from its last checkpoint.

    Args:
        run (`Run`): what; those it starts from are done.
        family (`FamilyConfig`): the decoders.
        work (`Path`): folder of all runs.
        data (`dict[str, Path]`): what `make_data` returned.
        machine (`Machine`): where.

    Returns:
        `float`: seconds of this process spent on it in this call.
    """
    folder, started = work / run.name, time.process_time()
    if run.stage == "zero_shot":
        vision, decoder = (str(work / name) for name in run.start)
        arguments = zero_shot_stage.ZeroShotArguments(
            vision, decoder, str(folder), batch_size=16, seed=run.seed, use_cpu=not machine.use_gpu
        )
        # All rows are scored afterwards; these few show that the parts work together.
        zero_shot_stage.run(arguments, DataArguments(str(data[run.data]), eval_split="test", max_eval_samples=32))
    elif run.stage == "linear_probe":
        settings = {
            "model": str(work / run.start[0]),
            "output_dir": str(folder),
            "seed": run.seed,
            "use_cpu": not machine.use_gpu,
        }
        arguments = probe_stage.ProbeArguments(
            **settings, **{k: v for k, v in run.settings.items() if k != "max_samples"}
        )
        limit = run.settings.get("max_samples")
        probe_stage.run(
            arguments, DataArguments(str(data[run.data]), eval_split="test", max_samples=limit, max_eval_samples=32)
        )
    else:
        train(_recipe(run, _start(run, family, work), folder, data, machine))
    return time.process_time() - started


def _start(run: Run, family: FamilyConfig, work: Path) -> Path:
    """The checkpoint a training run begins with; a model with new weights is made first."""
    if run.kind != "base":
        return work / run.start[0]
    folder = work / f"{run.name}.start"
    if not folder.exists():
        if run.start:
            model = with_decoder(family, run.decoder, work / run.start[0], run.seed)
        else:
            model = first_model(family, run.seed)
        with whole_folder(folder) as unfinished:
            model.save_pretrained(unfinished)
    return folder


def _recipe(run: Run, model: Path, folder: Path, data: dict[str, Path], machine: Machine) -> Recipe:
    settings = {
        **run.settings,
        "stage": run.stage,
        "seed": run.seed,
        "model": str(model),
        "dataset": str(data[run.data]),
        "output_dir": str(folder),
        "eval_strategy": "no",
        "use_cpu": not machine.use_gpu,
        "dataloader_num_workers": machine.workers,
        "prompt_decoupling": True,
    }
    file = folder.with_suffix(".recipe.yaml")
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Recipe.parse(run.stage, ["--config", str(file)])
