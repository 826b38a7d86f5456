"""Checkpoints of a run in progress: written so that a crash in the middle leaves the one before."""

from pathlib import Path

import torch


def save_state(path: Path, parts: dict, **numbers: float) -> None:
    """Writes the state of `parts` and `numbers` to `path`, which is replaced only once the new file is whole.

    Args:
        path (`Path`): file to write.
        parts (`dict`): name -> anything with a `state_dict()`: model, optimiser, schedule.
        numbers (`float`): what else to keep, such as the step.
    """
    torch.save({**{name: part.state_dict() for name, part in parts.items()}, **numbers}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def load_state(path: Path, parts: dict) -> dict:
    """Restores `parts` in place from what [`save_state`] wrote.

    Returns:
        `dict`: the numbers that were kept; empty if there is no such file.
    """
    if not path.exists():
        return {}
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state.pop(name))
    return state
