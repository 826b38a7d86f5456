"""Checks how the processes of a run were started."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import PartialState

from modeling_vital.finished_parts import InUseError, only_run
from modeling_vital.whole_files import make_output_folder
from training.recipe import RecipeError


logger = logging.getLogger(__name__)


def check_launch(use_cpu: bool) -> None:
    """Says what accelerate passes over in silence.

    Args:
        use_cpu (`bool`): the run is to stay off a GPU that may be there.

    Raises:
        RecipeError: FSDP is asked for on a CPU, where accelerate ignores it.
    """
    on_cpu = use_cpu or not torch.cuda.is_available()
    if on_cpu and os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise RecipeError(
            "accelerate ignores FSDP on a CPU: every process would hold the whole model. Start the processes with "
            "`torchrun --nproc_per_node N` (DDP), or run on GPUs."
        )
    # `accelerate launch --cpu --num_processes N` announces a group of processes and starts one.
    alone = "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ
    if alone and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
        logger.warning(
            "This run has one process, whatever --num_processes says: `accelerate launch --cpu` starts no more. Use "
            "`torchrun --nproc_per_node N` for several."
        )


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Makes the folder of a run, and keeps other runs out of it; the processes of one run share it.

    A folder that is new and still empty at the end, because the run could not begin, is removed.

    Raises:
        RecipeError: it cannot be made or written, or another run is at work in it.
    """
    with contextlib.ExitStack() as stack:
        if not folder.exists():
            stack.callback(_remove_empty, folder)
        try:
            make_output_folder(folder)
            if PartialState().is_main_process:
                stack.enter_context(only_run(folder))
        except (OSError, InUseError) as error:
            raise RecipeError(f"`output_dir`: {error}") from error
        yield


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def start_processes(use_cpu: bool) -> PartialState:
    """Joins the processes that torchrun or accelerate started, for a script that has no trainer to do so.

    Left to itself, accelerate takes each of several processes on a machine without a GPU for the only one.
    """
    return PartialState(cpu=use_cpu or not torch.accelerator.is_available())
