"""A training step, against the same step without what frozen parts, answer positions and bucketing save."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.data import DataArguments, load_data
from training.smoke_data import make_smoke_data
from training.trainer import VitalTrainer, VitalTrainingConfig

from ..cases import Settings, tiny_model
from ..timing import interleaved, peak_memory, ratio


STAGES = ("pretrain", "warm_up")
BATCH, BUCKETS = 4, 16


class PlainTrainer(VitalTrainer):
    """The same losses from logits of every position."""

    def _losses(self, model, inputs):
        length = inputs["input_ids"].shape[1]
        targets = {**inputs["targets"], "answer_length": length - 1}
        return super()._losses(model, {**inputs, "targets": targets})


def run(settings: Settings) -> dict[str, Any]:
    """Times the steps of a whole bucket of `vital-tiny` in two stages, and takes their memory."""
    with tempfile.TemporaryDirectory() as folder:
        data = make_smoke_data(Path(folder) / "data")
        steps = 2 if settings.quick else BUCKETS
        result: dict[str, Any] = {"batch": BATCH, "steps": steps}
        for stage in STAGES[: 1 if settings.quick else None]:
            args = (stage, str(data), folder)
            cases = {
                "ours": steps_work(*args, steps),
                "without savings": steps_work(*args, steps, savings=False),
            }
            if stage == "pretrain":
                cases["encoder alone"] = encoder_work(*args, steps)
            times = interleaved(cases, settings.rounds(3))
            result[stage] = {
                "samples_per_s": {name: BATCH * steps / case["wall_s"] for name, case in times.items()},
                "ratio": ratio(times, "without savings", "ours"),
                "ratio_cpu": ratio(times, "without savings", "ours", "cpu"),
                "memory_mib": {
                    name: peak_memory(steps_work, *args, 2, name == "ours")["working"]
                    for name in ("ours", "without savings")
                },
            }
            if "encoder alone" in cases:
                result[stage]["most_possible"] = ratio(times, "without savings", "encoder alone")
    return result


def steps_work(stage: str, data: str, folder: str, steps: int, savings: bool = True) -> Callable[[], None]:
    """Optimiser steps on batches that are made beforehand.

    Args:
        stage (`str`): what learns.
        data (`str`): folder of the data set.
        folder (`str`): where the trainer may write.
        steps (`int`): number of steps.
        savings (`bool`, *optional*, defaults to `True`):
            Whether frozen parts are left out of autograd, only answer positions go through the head, batches hold
            items of like length, and convolutions have channels last.
    """
    model, trainer, batches = prepared(stage, data, folder, steps, savings)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    if not savings:
        model.requires_grad_(True)

    def work() -> None:
        for batch in batches:
            trainer.compute_loss(model, batch).backward()
            optimizer.step()
            model.zero_grad()

    return work


def encoder_work(stage: str, data: str, folder: str, steps: int) -> Callable[[], None]:
    """Runs what no saving elsewhere reduces: the tiles of the same batches through the image encoder, and back."""
    model, _, batches = prepared(stage, data, folder, steps, savings=True)

    def work() -> None:
        for batch in batches:
            model.model.encode_tiles(batch["pixel_values"]).sum().backward()
            model.zero_grad()

    return work


def prepared(stage: str, data: str, folder: str, steps: int, savings: bool) -> tuple[Any, VitalTrainer, list[dict]]:
    """`vital-tiny` with a trainer and the batches of so many steps; see [`steps_work`]."""
    torch.manual_seed(0)
    model = tiny_model().float()
    data_args = DataArguments(
        dataset=data,
        mixture={"scoring": 2, "pairwise": 1},
        bucket_batches=BUCKETS if savings else 1,
        count_processes=1,
    )
    args = VitalTrainingConfig(
        stage=stage,
        output_dir=folder,
        per_device_train_batch_size=BATCH,
        max_steps=steps,
        use_cpu=True,
        seed=0,
        channels_last=savings,
    )
    rows = load_data(data_args, model.processor, 0)
    trainer = (VitalTrainer if savings else PlainTrainer)(model, args, rows, data_args)
    model.train()
    return model, trainer, [trainer._prepare_inputs(batch) for batch in trainer.get_train_dataloader()]
