"""Checkpoints of a run in progress: written so that a crash in the middle leaves the one before."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import nn


COMPLETE = "mixture_state.json"
"""Written last into a checkpoint of the trainer, which is complete with it. Holds the state of the mixture."""


class TrainingStopped(RuntimeError):
    """The run cannot continue; the message says why, and from which checkpoint it can be taken up again."""


def complete_checkpoints(output_dir: Path) -> list[Path]:
    """The checkpoints of a run that were written whole, the newest last."""
    return sorted((path.parent for path in Path(output_dir).glob(f"checkpoint-*/{COMPLETE}")), key=_step)


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """The newest checkpoint of a run that was written whole, or `None`."""
    return next(reversed(complete_checkpoints(output_dir)), None)


def checkpoint_to_resume(output_dir: Path, resume: bool) -> Path | None:
    """Finds the checkpoint from which a run in `output_dir` resumes; `None` for one that begins.

    What was left of checkpoints that were not written whole, after the one to resume from, is removed.

    Args:
        output_dir (`Path`): of the run.
        resume (`bool`): whether it may resume.

    Raises:
        TrainingStopped: it may not, and there are checkpoints of another run.
    """
    last = last_complete_checkpoint(output_dir)
    if last is None:
        return None
    if not resume:
        raise TrainingStopped(
            f"{output_dir} holds checkpoints of an earlier run, {last} the newest: choose another output_dir, remove "
            "them, or resume from there with `resume`."
        )
    for folder in output_dir.glob("checkpoint-*"):
        if not (folder / COMPLETE).exists() and _step(folder) > _step(last):
            shutil.rmtree(folder, ignore_errors=True)  # of several processes, the first removes it
    return last


def load_mean(model: nn.Module, checkpoints: Sequence[Path]) -> None:
    """Gives a model the mean of the weights of checkpoints of its run; what is the same in all stays bit by bit.

    Averaged weights generalise better than the last ones of a run ([stochastic weight
    averaging](https://arxiv.org/abs/1803.05407)). One tensor at a time is in memory beside the model.

    Args:
        model (`nn.Module`): changed in place.
        checkpoints (`Sequence[Path]`): folders with safetensors.

    Raises:
        ValueError: a checkpoint lacks a parameter that learns.
    """
    own = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for number, folder in enumerate(checkpoints, 1):
        missing = set(learning)
        for file in folder.glob("*.safetensors"):
            with safe_open(file, "pt", device=str(model.device)) as tensors:
                for name in own.keys() & set(tensors.keys()):
                    own[name].lerp_(tensors.get_tensor(name).to(own[name].dtype), 1 / number)
                    missing.discard(name)
        if missing:
            raise ValueError(f"{folder} lacks {sorted(missing)[0]}, and {len(missing) - 1} more parameters that learn")


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def stopped_for(reason: str, steps: int, output_dir: str) -> TrainingStopped:
    """The error for numbers that are no longer numbers.

    Args:
        reason (`str`): what was seen.
        steps (`int`): optimiser steps done before.
        output_dir (`str`): of the run.
    """
    last = last_complete_checkpoint(Path(output_dir))
    kept = f"The last good checkpoint is {last}" if last else "There is no checkpoint yet"
    return TrainingStopped(
        f"Stopped in step {steps + 1}: {reason}. {kept}; the same command resumes from there. A lower learning_rate, "
        "a longer warm-up, a lower max_grad_norm or bf16 in place of fp16 are the usual remedies."
    )


@contextlib.contextmanager
def undone_on_failure(folder: Path, output_dir: Path) -> Iterator[None]:
    """Removes the checkpoint `folder` if it cannot be written whole.

    Raises:
        TrainingStopped: then; it says what is left and how much room there is.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors report a full disk in their ways
        shutil.rmtree(folder, ignore_errors=True)
        last = last_complete_checkpoint(output_dir)
        kept = f"{last} is untouched" if last else "There is no earlier one"
        free = shutil.disk_usage(output_dir).free / 1e9
        raise TrainingStopped(
            f"Could not write the checkpoint {folder} ({error}); {free:.1f} GB are free. {kept}. Make room, lower "
            "save_total_limit, or move output_dir to a larger disk; the same command then resumes."
        ) from error
