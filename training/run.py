"""From a recipe to a trained checkpoint: what the scripts of all stages share."""

import dataclasses
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset
from safetensors import SafetensorError
from transformers import set_seed
from transformers.integrations import is_deepspeed_zero3_enabled

from modeling_vital.configuration_vital import VitalConfig
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.whole_files import write_whole
from modeling_vital.zoo import presets, resolve
from training.callbacks import CollapseMonitor
from training.checkpoints import TrainingStopped
from training.collators import RowError
from training.data import LOAD_ERRORS, DataArguments, TrainingData, held_out_texts, load_data
from training.draft_card import CURVES, draft_card, draw_curves
from training.estimate import NF4_BYTES, Estimate, estimate
from training.freezing import ENCODER_STAGE
from training.launching import check_launch, output_folder
from training.lora import ADAPTER, lora_config, merge, quantization_config
from training.own_ratings import ManifestError, ManifestSettings, import_manifest, is_manifest
from training.recipe import Recipe, RecipeError, portable_settings
from training.trainer import VitalTrainer


logger = logging.getLogger(__name__)

SMOKE = "smoke"
"""Name of the data set that is made on first use from the example pictures."""

TEXT_CONFIGS = ("description", "distortion")
"""Configurations whose held-out texts the collapse monitor is measured against, the richest first."""

_BUILD = Path(__file__).resolve().parent.parent / "build"


def main(stage: str, description: str, arguments: Sequence[str] | None = None) -> int:
    """Runs a stage from the command line.

    Args:
        stage (`str`): a key of `training.freezing.STAGES`.
        description (`str`): head of `--help`.
        arguments (`Sequence[str]`, *optional*): the command line.

    Returns:
        `int`: the exit status: 0, 1 where the run had to stop, 2 for a recipe that cannot be used, 130 if it was
        interrupted. What went wrong is on stderr.
    """
    return guarded(lambda: run(Recipe.parse(stage, arguments, description)))


def guarded(work: Callable[[], object]) -> int:
    """Runs `work` and says what went wrong; see [`main`]."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        work()
    except RecipeError as error:
        logger.error("%s", error)
        return 2
    except (TrainingStopped, RowError) as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.error("Interrupted; the same command resumes from the last checkpoint.")
        return 130
    return 0


def run(recipe: Recipe) -> VitalTrainer | None:
    """Trains by a recipe, and leaves a checkpoint, its card, a picture and the recipe in `output_dir`.

    Returns:
        `VitalTrainer`, after training; `None` if only an estimate was asked for, which goes to stdout.

    Raises:
        RecipeError: model, data or `output_dir` cannot be used.
        TrainingStopped: see [`VitalTrainer.train`].
    """
    if recipe.run.estimate and recipe.training.stage == ENCODER_STAGE:
        raise RecipeError("An estimate is of a whole model; in the stage 'encoders' there is no decoder.")
    if recipe.run.estimate:
        assumed = f"`max_steps` {recipe.training.max_steps}"
        if recipe.training.max_steps <= 0:
            assumed = f"{recipe.run.expected_rows} rows (`expected_rows`)"
        sys.stdout.write(
            f"{estimate_recipe(recipe)}\nAssumed: {assumed}, {recipe.run.expected_visual_tokens} visual tokens "
            "an item (`expected_visual_tokens`); the data set itself is not read.\n"
        )
        return None
    check_launch(recipe.training.use_cpu)
    with output_folder(Path(recipe.training.output_dir)):
        return _train(recipe)


def _train(recipe: Recipe) -> VitalTrainer:
    data_args = data_at_hand(recipe.data, Path(recipe.training.output_dir), recipe.training.seed)
    set_seed(recipe.training.seed)
    model = load_model(recipe)
    try:
        with PartialState().local_main_process_first():  # the others find what it counted
            data = load_data(data_args, model.processor, recipe.training.seed)
        if data.eval_index is None and recipe.training.eval_strategy != "no":
            raise ValueError(
                f"There is nothing to evaluate on: {data_args.dataset} has no scoring rows in its split "
                f"{data_args.eval_split!r}, which a small data set may lack. Name another (`eval_split`), hold more "
                "out of a file of ratings (`held_out_share`), or set `eval_strategy` to 'no'."
            )
        adapters = {} if recipe.lora.lora_rank is None else {"peft_config": lora_config(model, recipe.lora)}
        trainer = VitalTrainer(model, recipe.training, data, data_args, recipe.loss, **adapters)
        described = _monitored(trainer, data_args)
    except (*LOAD_ERRORS, ImportError, RuntimeError) as error:  # the last two: from `report_to`
        raise RecipeError(str(error)) from error
    trainer.resume_point()  # before anything is written into a folder that may be another run's
    if trainer.is_world_process_zero():
        if recipe.training.stage != ENCODER_STAGE:
            logger.info("%s", estimate_recipe(recipe, model.config, data))
        recipe.save(Path(recipe.training.output_dir) / "recipe.yaml", portable=True)
    if described is not None:
        trainer.add_callback(CollapseMonitor(trainer, described))
    trainer.train()
    finish(trainer, recipe)
    return trainer


def load_model(recipe: Recipe) -> VitalForConditionalGeneration:
    """The checkpoint a run starts from, in float32 but for a frozen decoder with `decoder_dtype` or `decoder_4bit`.

    With adapters on a decoder in 4 bits, all else is in bfloat16.

    Raises:
        RecipeError: it cannot be loaded, or such a setting cannot be or is not for this stage.
    """
    run, stage, adapters = recipe.run, recipe.training.stage, recipe.lora.lora_rank is not None
    if (run.decoder_dtype or run.decoder_4bit) and stage != "pretrain" and not adapters:
        raise RecipeError(
            f"`decoder_dtype` and `decoder_4bit` are for a frozen decoder, in {stage!r} it learns; with adapters "
            "(`lora_rank`) it would stay frozen."
        )
    if run.decoder_dtype and run.decoder_4bit and adapters:
        raise RecipeError("With adapters give `decoder_dtype` or `decoder_4bit`, not both.")
    dtype = getattr(torch, run.decoder_dtype or "float32", None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise RecipeError(f"`decoder_dtype` is the name of a floating-point dtype, got {run.decoder_dtype!r}.")
    how = {"dtype": torch.float32}
    if run.decoder_4bit:
        how["quantization_config"] = quantization_config()
    if run.decoder_4bit and adapters:
        device = "cpu" if recipe.training.use_cpu else PartialState().device
        how |= {"dtype": torch.bfloat16, "device_map": {"": device}}
    try:
        model = VitalForConditionalGeneration.from_pretrained(resolve(run.model), **how)
        model.processor  # noqa: B018  reads it now, so that a missing file is found before training
    except (OSError, ValueError, ImportError) as error:
        raise RecipeError(f"The model {run.model} cannot be loaded: {error}") from error
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            # Else bitsandbytes 0.50 packs the layer anew at the first evaluation on a CPU, and gradients end there.
            layer.support_avx512bf16_for_cpu = False
    if run.decoder_4bit and adapters:
        return model
    if run.decoder_4bit:
        # To TRL and transformers a quantised model is one whose adapters learn. Here the encoders do, in float32.
        model.is_quantized = model.is_loaded_in_4bit = False
    for parameter in [*model.model.language_model.parameters(), *model.lm_head.parameters()]:
        if parameter.is_floating_point():  # not those in 4 bits
            parameter.data = parameter.data.to(dtype)
    return model


def estimate_recipe(recipe: Recipe, config: VitalConfig | None = None, data: TrainingData | None = None) -> Estimate:
    """Estimates what a recipe needs: with `data` for that, without for what the recipe expects."""
    run, training = recipe.run, recipe.training
    config = config or _config(recipe)
    tokens, rows = run.expected_visual_tokens, run.expected_rows
    if data is not None:
        pairs = sum(ratio for name, ratio in data.ratios.items() if "preference" in data.tables[name].column_names)
        tokens = float(data.visual_tokens.mean()) * (1 + pairs / sum(data.ratios.values()))
        rows = len(data.train_index)
    devices = run.num_devices or training.world_size
    items = training.per_device_train_batch_size * devices * training.gradient_accumulation_steps
    if training.max_steps <= 0 and rows is None:
        raise RecipeError("An estimate needs `max_steps` or `expected_rows`.")
    steps = training.max_steps if training.max_steps > 0 else -(-int(training.num_train_epochs * rows) // items)
    return estimate(
        config,
        training.stage,
        tokens,
        training.per_device_train_batch_size,
        devices * training.gradient_accumulation_steps,
        steps,
        devices,
        run.device_tflops,
        decoder_bytes=getattr(torch, run.decoder_dtype).itemsize if run.decoder_dtype else 4,
        layer_bytes=NF4_BYTES if run.decoder_4bit else None,
        lora=recipe.lora,
        mixed_precision=bool(training.bf16 or training.fp16 or run.device_tflops),
        checkpointing=training.gradient_checkpointing,
    )


def _config(recipe: Recipe) -> VitalConfig:
    try:
        return VitalConfig.from_pretrained(resolve(recipe.run.model))
    except (OSError, ValueError) as error:
        if recipe.run.expected_model is None:
            raise RecipeError(f"The model {recipe.run.model} cannot be read: {error}") from error
        logger.warning("%s is not at hand; taking the sizes of %s.", recipe.run.model, recipe.run.expected_model)
    try:
        return presets.config(recipe.run.expected_model)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def finish(trainer: VitalTrainer, recipe: Recipe) -> None:
    """Writes the model, the picture of the curves and the draft of the card into `output_dir`.

    Raises:
        TrainingStopped: they cannot be written.
    """
    output_dir = Path(recipe.training.output_dir)
    adapters = recipe.lora.lora_rank is not None
    try:
        trainer.save_model(str(output_dir / ADAPTER if adapters else output_dir))
        if trainer.is_world_process_zero():
            if adapters:
                half = recipe.run.decoder_4bit or recipe.run.decoder_dtype
                base, dtype = resolve(recipe.run.model), torch.bfloat16 if half else torch.float32
                merge(base, output_dir / ADAPTER, output_dir, dtype)
            draw_curves(trainer.state.log_history, output_dir / CURVES)
            write_whole(output_dir / "README.md", draft_card(trainer, portable_settings(recipe.to_dict())))
    except (OSError, SafetensorError) as error:
        raise TrainingStopped(
            f"The run is over, but its result cannot be written to {output_dir}: {error}. Make room; the same command "
            "then writes it, from the checkpoints that are there."
        ) from error
    if trainer.is_world_process_zero():
        logger.info("Wrote %s", output_dir)


def beside(output_dir: Path) -> Path:
    """The folder for what a run makes for itself: not in `output_dir`, which is the model's and may be published."""
    return output_dir.with_name(f"{output_dir.name}-data")


def data_at_hand(data_args: DataArguments, output_dir: Path, seed: int) -> DataArguments:
    """The same with the data set made where that is to be done first: the smoke data, and files of one's own.

    Raises:
        RecipeError: rows of such a file cannot be used.
    """
    if data_args.dataset is None or (data_args.dataset != SMOKE and not is_manifest(data_args.dataset)):
        return data_args
    with PartialState().local_main_process_first():
        if data_args.dataset == SMOKE:
            from training.smoke_data import make_smoke_data

            return dataclasses.replace(data_args, dataset=str(make_smoke_data(_BUILD / "smoke-pairs")))
        settings = ManifestSettings(
            mos_range=tuple(data_args.mos_range) if data_args.mos_range else None,
            held_out_share=data_args.held_out_share,
            train_split=data_args.train_split,
            eval_split=data_args.eval_split,
            seed=seed,
            allow_outside=data_args.allow_outside,
        )
        try:
            made = import_manifest(Path(data_args.dataset), beside(output_dir), settings)
            # Its paths were checked there; its rows name files beside the ratings.
            return dataclasses.replace(data_args, dataset=str(made), allow_outside=True)
        except ManifestError as error:
            raise RecipeError(str(error)) from error


def _monitored(trainer: VitalTrainer, data_args: DataArguments) -> Dataset | None:
    """Held-out items with a text for the collapse monitor, if it is wanted and can be, and the data has any."""
    training = trainer.args
    if not training.monitor_samples or training.eval_strategy == "no":
        return None
    if trainer.is_fsdp_enabled or is_deepspeed_zero3_enabled():
        logger.warning("Held-out items are not described (`monitor_samples`): FSDP and ZeRO-3 divide the weights.")
        return None
    return held_out_texts(data_args, TEXT_CONFIGS, training.monitor_samples, training.seed)
