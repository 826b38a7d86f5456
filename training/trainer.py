"""The trainer: TRL's SFTTrainer with mixed batches, the losses of VITAL and checkpoints that can be trusted."""

import json
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from torch import nn
from torch.utils.data import DataLoader
from transformers import EvalPrediction
from transformers.trainer_utils import rotate_checkpoints
from trl import SFTConfig, SFTTrainer

from modeling_vital.levels_vital import expected_score
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.motion_vital import VitalMotionModel
from training.callbacks import GradientGuard
from training.checkpoints import (
    COMPLETE,
    TrainingStopped,
    checkpoint_to_resume,
    complete_checkpoints,
    load_mean,
    stopped_for,
    undone_on_failure,
)
from training.collators import MODEL_INPUTS, VitalCollator
from training.data import DataArguments, TrainingData
from training.encoder_stage import ENCODER_PARTS, EncoderCollator, EncoderLoss, VitalEncodersForPreTraining
from training.freezing import ENCODER_STAGE, STAGES, freeze, set_training_mode
from training.losses import PARTS, LossConfig, MultiTaskLoss
from training.mixing import BucketBatchSampler, TaskMixture


logger = logging.getLogger(__name__)


@dataclass
class VitalTrainingConfig(SFTConfig):
    """Settings of [`VitalTrainer`]: those of `SFTConfig` and these."""

    stage: str = field(default="pretrain", metadata={"help": f"What learns, one of {', '.join(STAGES)}."})
    resume: bool = field(
        default=True, metadata={"help": "Resume from the newest complete checkpoint in output_dir, if there is one."}
    )
    update_batch_norm: bool = field(
        default=False, metadata={"help": "Let batch norms that learn use and update the statistics of each batch."}
    )
    channels_last: bool = field(
        default=False,
        metadata={"help": "Keep the encoders' weights with channels last: convolutions are faster on a CPU."},
    )
    encoder_learning_rate: float | None = field(
        default=None,
        metadata={"help": "Peak of the learning rate of both encoders; by default that of everything else."},
    )
    mirrored: bool = field(
        default=False,
        metadata={
            "help": "Learn from each batch as it is and mirrored, in one step: rows made on the fly cost more to make "
            "than to learn from."
        },
    )
    monitor_samples: int = field(
        default=16, metadata={"help": "Held-out items described at each evaluation to see a collapse; 0: none."}
    )
    output_dir: str | None = field(default="runs/vital", metadata={"help": "Where checkpoints and the result go."})
    learning_rate: float = field(default=2e-5, metadata={"help": "Peak of the learning rate."})
    weight_decay: float = field(default=0.05, metadata={"help": "Of AdamW."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Shape of the learning rate's decay."})
    warmup_steps: float = field(default=0.03, metadata={"help": "Steps of warm-up; below 1, a share of all steps."})
    num_train_epochs: float = field(
        default=1.0, metadata={"help": "How often as many items are drawn as there are rows; `max_steps` goes before."}
    )
    gradient_checkpointing: bool = field(
        default=False, metadata={"help": "Compute activations again instead of keeping them: less memory, more time."}
    )
    bf16: bool | None = field(
        default=None, metadata={"help": "Compute in bfloat16; by default on a GPU that can, and never on a CPU."}
    )
    max_length: int | None = field(
        default=None,
        metadata={"help": "A longer sequence is an error; by default the decoder's own limit."},
    )
    report_to: None | str | list[str] = field(default="none", metadata={"help": "Where logs go, e.g. tensorboard."})
    save_total_limit: int | None = field(default=3, metadata={"help": "Checkpoints kept, the best one besides."})
    average_checkpoints: int | None = field(
        default=None,
        metadata={
            "help": "The result has the mean of the weights of so many last checkpoints, `save_steps` apart, instead "
            "of the last weights: it depends less on where the run happened to end."
        },
    )

    def __post_init__(self):
        if self.stage not in STAGES:
            raise ValueError(f"`stage` is one of {', '.join(STAGES)}, got {self.stage!r}.")
        if self.average_checkpoints is not None:
            self._check_average()
        if self.bf16 is None:
            able = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
            self.bf16 = able and not self.use_cpu and not self.fp16
        elif self.bf16 and not torch.cuda.is_available():
            self.use_cpu = True  # transformers asks for it before it computes in bfloat16 without a GPU
        if hasattr(self, "activation_checkpointing") and self.activation_checkpointing is None:
            self.activation_checkpointing = self.gradient_checkpointing  # the older name alone draws a warning
        # The index that the batches are drawn from has no columns that the model or TRL's preparation knows.
        self.remove_unused_columns = False
        self.dataset_kwargs = {**(self.dataset_kwargs or {}), "skip_prepare_dataset": True}
        super().__post_init__()

    def _check_average(self) -> None:
        if self.average_checkpoints < 2:
            raise ValueError(f"`average_checkpoints` is 2 or more, got {self.average_checkpoints}.")
        if self.save_total_limit is not None and self.save_total_limit < self.average_checkpoints:
            raise ValueError(
                f"`average_checkpoints` {self.average_checkpoints} needs as many checkpoints, and `save_total_limit` "
                f"keeps {self.save_total_limit}."
            )
        if self.load_best_model_at_end:
            raise ValueError("The result is the best checkpoint (`load_best_model_at_end`) or a mean, not both.")
        if self.save_strategy == "no":
            raise ValueError("`average_checkpoints` needs checkpoints, and `save_strategy` is 'no'.")


class VitalTrainer(SFTTrainer):
    """Trains the parts of a stage on mixed data.

    Args:
        model (`VitalForConditionalGeneration`): with its processor; what is not of the stage is frozen.
        args (`VitalTrainingConfig`): settings.
        data (`TrainingData`): see [`training.data.load_data`].
        data_args (`DataArguments`): how the data is shown.
        loss_config (`LossConfig`, *optional*): weights of the losses.
        kwargs: go to `SFTTrainer`; with a `peft_config`, its adapters learn instead of the parts of the stage.

    Raises:
        ValueError: the data or settings do not match; it says how.
    """

    # The loss of a batch is a mean over its items, so accumulated steps are averaged.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: VitalForConditionalGeneration,
        args: VitalTrainingConfig,
        data: TrainingData,
        data_args: DataArguments,
        loss_config: LossConfig | None = None,
        **kwargs,
    ):
        processor = model.processor
        if args.stage == ENCODER_STAGE:
            model = VitalEncodersForPreTraining(model)
        if kwargs.get("peft_config") is None:
            freeze(model, args.stage)
        if args.channels_last:
            tower, motion_encoder = encoders(model)
            tower.to(memory_format=torch.channels_last)
            motion_encoder.to(memory_format=torch.channels_last_3d)
        self.data = data
        items = args.train_batch_size * args.world_size * args.gradient_accumulation_steps
        if args.max_steps <= 0:
            args.max_steps = math.ceil(args.num_train_epochs * len(data.train_index) / items)
        # To transformers the whole run is one epoch: what is wanted after each comes after so many steps instead.
        for what in ("eval", "save", "logging"):
            if getattr(args, f"{what}_strategy") == "epoch":
                setattr(args, f"{what}_strategy", type(getattr(args, f"{what}_strategy"))("steps"))
                setattr(args, f"{what}_steps", math.ceil(len(data.train_index) / items))
        if args.average_checkpoints and args.save_strategy == "steps":
            every = args.save_steps if args.save_steps >= 1 else math.ceil(args.max_steps * args.save_steps)
            if (saved := math.ceil(args.max_steps / every)) < args.average_checkpoints:  # the last step is saved, too
                raise ValueError(
                    f"`average_checkpoints` is {args.average_checkpoints}, and {args.max_steps} steps with "
                    f"`save_steps` {every} leave {saved}: lower one of the two."
                )
        self.batch_sampler = BucketBatchSampler(
            TaskMixture(data.sizes, data.ratios, args.data_seed if args.data_seed is not None else args.seed),
            data.visual_tokens,
            batch_size=args.train_batch_size,
            batches_per_step=args.world_size * args.gradient_accumulation_steps,
            num_steps=args.max_steps,
            bucket_batches=data_args.bucket_batches,
            fingerprints=data.fingerprints,
        )
        loss_config = loss_config or LossConfig()
        if args.stage == ENCODER_STAGE:
            collator = EncoderCollator(processor, data.tables)
            self.item_loss = EncoderLoss(loss_config, len(model.config.level_words))
        else:
            collator = VitalCollator(
                processor,
                data.tables,
                prompt_decoupling=data_args.prompt_decoupling,
                level_words=model.config.level_words,
                max_length=args.max_length or getattr(model.config.get_text_config(), "max_position_embeddings", None),
            )
            self.item_loss = MultiTaskLoss(collator.level_ids, loss_config)
        self._parts: torch.Tensor | None = None
        super().__init__(
            model=model,
            args=args,
            data_collator=collator,
            train_dataset=data.train_index,
            eval_dataset=data.eval_index,
            processing_class=processor,
            compute_metrics=correlations,
            **kwargs,
        )
        if args.average_checkpoints and ("peft_config" in kwargs or self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise ValueError("`average_checkpoints` reads whole checkpoints: not with adapters, FSDP or DeepSpeed.")
        if args.stage == ENCODER_STAGE and (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            raise ValueError(f"The stage {ENCODER_STAGE!r} is written by one process: not with FSDP or DeepSpeed.")
        self.add_callback(GradientGuard())

    # ------------------------------------------------------------------------------------------------------- data
    def get_train_dataloader(self) -> DataLoader:
        """The batches of the whole run as one epoch: the mixture knows no other."""
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.batch_sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            worker_init_fn=_one_thread,
        )
        return self.accelerator.prepare(loader)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The batch on the device, where its pixels are normalised: they come as bytes."""
        return self.processing_class.normalize_inputs(super()._prepare_inputs(inputs), self.args.device)

    # ------------------------------------------------------------------------------------------------------- loss
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The mixed loss of a batch; see [`training.losses.multi_task_loss`]."""
        if model.training:
            set_training_mode(model, self.args.update_batch_norm)
        losses, parts, level_logits = self._losses(model, inputs)
        loss = losses.mean()
        if model.training and self.args.mirrored:
            losses, more, _ = self._losses(model, mirror(inputs))
            loss, parts = (loss + losses.mean()) / 2, parts + more
        if model.training:
            if not torch.isfinite(loss):
                raise stopped_for(f"the loss is {loss.item()}", self.state.global_step, self.args.output_dir)
            self._parts = parts if self._parts is None else self._parts + parts
        return (loss, level_logits) if return_outputs else loss

    def _losses(self, model, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Loss of each item, its parts, and the level logits `(num_rows, 5)` (0 for rows of text)."""
        targets = inputs["targets"]
        if self.args.stage == ENCODER_STAGE:
            return self.item_loss(model(**{name: inputs[name] for name in inputs if name != "targets"}), targets)
        inputs = self._with_motion(model, inputs)
        answer = targets["answer_length"]
        # Answers are at the end of every row: only there does the head work. One position before the first of them.
        logits = model(
            **{name: inputs[name] for name in MODEL_INPUTS if name in inputs},
            use_cache=False,
            logits_to_keep=answer + 1,
        ).logits[:, :-1]
        level_mask = targets["level_mask"][:, -answer:]
        aligned = {**targets, "labels": targets["labels"][:, -answer:], "level_mask": level_mask}
        losses, parts = self.item_loss(logits, aligned)
        level_logits = logits.new_zeros(len(logits), len(self.item_loss.level_ids), dtype=torch.float32)
        level_logits[level_mask.any(-1)] = logits[level_mask][:, self.item_loss.level_ids].detach().float()
        return losses, parts, level_logits

    def _with_motion(self, model: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        """Adds a motion frame that no row shows to a batch without clips, where FSDP or DeepSpeed divides the model.

        There all processes run the same parts together: one that left out the motion encoder would keep another, whose
        batch has a clip, waiting. Its gradients from this frame are 0, and its batch norms do not see it.
        """
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled) or "motion_values" in inputs:
            return inputs
        for module in model.modules():
            if isinstance(module, VitalMotionModel):
                module.eval()
        tiles, size = inputs["pixel_values"], self.processing_class.motion_size
        nowhere = torch.empty(0, dtype=torch.long, device=tiles.device)
        unseen = {"motion_values": tiles.new_zeros(1, 3, size, size), "motion_lengths": [1], "frame_index": nowhere}
        return {**inputs, **unseen}

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns `(score, loss)` of the held-out rows, and beside them `(mos, 1 for a clip)`.

        No loss of the batch is returned: averaged over batches of unequal size, it would depend on the processes.
        """
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            losses, _, level_logits = self._losses(model, inputs)
        predictions = torch.stack([expected_score(level_logits.softmax(-1)), losses], dim=-1)
        targets = inputs["targets"]
        return None, predictions, torch.stack([targets["mos"], targets["is_video"].float()], dim=-1)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, each a mean over the items that have it."""
        if self._parts is not None and "loss" in logs:
            names = ENCODER_PARTS if self.args.stage == ENCODER_STAGE else PARTS
            sums = self.accelerator.reduce(self._parts.clone(), reduction="sum").tolist()
            logs.update({f"loss_{name}": total / n for name, (total, n) in zip(names, sums, strict=True) if n})
            self._parts = None
        super().log(logs, start_time)

    # -------------------------------------------------------------------------------------------------- optimiser
    def create_optimizer(self, model=None):
        """That of transformers, with a learning rate of their own for the encoders if one is set."""
        made = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if made and self.args.encoder_learning_rate is not None:
            module = self.accelerator.unwrap_model(self.model if model is None else model)
            own = {id(p) for encoder in encoders(module) for p in encoder.parameters()}
            groups = []
            for group in optimizer.param_groups:
                sides = ([p for p in group["params"] if (id(p) in own) is inside] for inside in (False, True))
                for params, rate in zip(sides, (group["lr"], self.args.encoder_learning_rate), strict=True):
                    groups += [{**group, "params": params, "lr": rate}] if params else []
            optimizer.param_groups[:] = groups
        return optimizer

    # ------------------------------------------------------------------------------------------------ checkpoints
    def save_model(self, output_dir: str | None = None, _internal_call: bool = False):
        """Writes the model; of the encoder stage the whole one, without the heads that taught its encoders."""
        if self.args.stage == ENCODER_STAGE and not _internal_call:
            if self.args.should_save:
                self.accelerator.unwrap_model(self.model).whole.save_pretrained(output_dir or self.args.output_dir)
            return
        super().save_model(output_dir, _internal_call)

    def resume_point(self) -> Path | None:
        """The newest complete checkpoint of `output_dir`, from which [`train`] resumes; `None` if there is none.

        Raises:
            TrainingStopped: the run may not or cannot resume from it.
        """
        checkpoint = checkpoint_to_resume(Path(self.args.output_dir), self.args.resume)
        if checkpoint is not None:
            try:
                self.batch_sampler.check_state(json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8")))
            except ValueError as error:
                raise TrainingStopped(f"{checkpoint}: {error}") from error
        return checkpoint

    def train(self, resume_from_checkpoint=None, **kwargs):
        """Trains, from [`resume_point`] on unless a checkpoint is given.

        Raises:
            TrainingStopped: the loss or a gradient is not finite, a checkpoint could not be written, or there are
                fewer than are to be averaged; and as [`resume_point`].
        """
        checkpoint = resume_from_checkpoint or self.resume_point()
        if checkpoint is not None:
            logger.warning("Resuming from %s.", checkpoint)
        result = super().train(resume_from_checkpoint=str(checkpoint) if checkpoint else None, **kwargs)
        if self.args.average_checkpoints:
            last = complete_checkpoints(Path(self.args.output_dir))[-self.args.average_checkpoints :]
            if len(last) < self.args.average_checkpoints:
                raise TrainingStopped(
                    f"{self.args.output_dir} holds {len(last)} complete checkpoints, and `average_checkpoints` is "
                    f"{self.args.average_checkpoints}: the same command with a lower one makes the result."
                )
            load_mean(self.model, last)
            logger.info("The weights are the mean of those of %s.", ", ".join(folder.name for folder in last))
        return result

    def _save_checkpoint(self, model, trial):
        step = self.state.global_step
        output_dir = Path(self._get_output_dir(trial=trial))
        folder, limit = output_dir / f"checkpoint-{step}", self.args.save_total_limit
        with undone_on_failure(folder, output_dir):
            self.args.save_total_limit = None  # the older go when this one is known to be whole, not before
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.save_total_limit = limit
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                state = json.dumps(self.batch_sampler.state_dict(step))
                (folder / COMPLETE).write_text(state, encoding="utf-8")
        if self.args.should_save:
            rotate_checkpoints(str(output_dir), limit, self.state.best_model_checkpoint, use_mtime=True)
        self.accelerator.wait_for_everyone()  # else another process might still find one that goes

    # ---------------------------------------------------------------------------------------- switched-off habits
    def _send_telemetry(self):
        """Nothing leaves the machine."""

    def create_model_card(self, *args, **kwargs):
        """Ours is drafted from the run at its end, see [`training.draft_card`]."""


def encoders(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The image encoder and the motion encoder of a model that is trained."""
    inner = getattr(model, "model", model)
    return inner.vision_tower, inner.motion_encoder


def mirror(inputs: dict[str, Any]) -> dict[str, Any]:
    """A batch with every tile and motion frame mirrored left to right, each in its place; labels stay."""
    seen = {name: inputs[name].flip(-1) for name in ("pixel_values", "motion_values") if name in inputs}
    return {**inputs, **seen}


def correlations(prediction: EvalPrediction) -> dict[str, float]:
    """Mean loss, and SRCC and PLCC of scores and opinions: over all held-out rows and, from three on, by modality.

    A constant score has no correlation: 0 then, so that it is never the best.
    """
    (scores, losses), (mos, is_video) = (x.T.astype(float) for x in (prediction.predictions, prediction.label_ids))
    return {"loss": float(losses.mean()), **score_correlations(scores, mos, is_video)}


def score_correlations(scores: np.ndarray, mos: np.ndarray, is_video: np.ndarray) -> dict[str, float]:
    """SRCC and PLCC over all rows and, where there are three, by modality; arrays of shape `(num_rows,)`."""
    metrics = {}
    for suffix, chosen in {"": mos == mos, "_image": is_video == 0, "_video": is_video == 1}.items():
        if chosen.sum() < 3:
            continue
        for name, measure in {"srcc": spearmanr, "plcc": pearsonr}.items():
            constant = np.ptp(scores[chosen]) == 0 or np.ptp(mos[chosen]) == 0
            metrics[name + suffix] = 0.0 if constant else float(measure(scores[chosen], mos[chosen]).statistic)
    return metrics


def _one_thread(worker: int) -> None:
    """A data worker uses one thread: its processes are the parallelism."""
    torch.set_num_threads(1)
