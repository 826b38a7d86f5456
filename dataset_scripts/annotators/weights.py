"""Published weights of annotators: where they lie, and how they are read."""

import os
import pickle
from pathlib import Path
from typing import Any

from dataset_scripts.annotators.base import MissingPackageError


WEIGHTS_VARIABLE = "VITAL_ANNOTATOR_WEIGHTS"
"""Environment variable naming the folder of weights files, under the names they were published with."""


def weights_folder(given: str | Path | None) -> Path | None:
    """Finds the folder of weights.

    Args:
        given (`str` or `Path`, *optional*): what the caller named; by default what `VITAL_ANNOTATOR_WEIGHTS` names.

    Returns:
        `Path` or `None`: the folder, which need not exist; `None` where none is named.
    """
    named = given or os.environ.get(WEIGHTS_VARIABLE)
    return Path(named) if named else None


def weights_file(annotator: str, folder: Path | None, name: str) -> Path:
    """Finds one weights file.

    Args:
        annotator (`str`): for the message.
        folder (`Path`, *optional*): as [`weights_folder`] gives it.
        name (`str`): of the file.

    Raises:
        MissingPackageError: no folder is named, or the file is not in it.
    """
    if folder is None:
        raise MissingPackageError(
            f"annotator {annotator!r} needs the weights its authors published: put {name} into a folder, then give "
            f"weights= (--weights) or set {WEIGHTS_VARIABLE}"
        )
    if not (folder / name).is_file():
        raise MissingPackageError(f"annotator {annotator!r}: there is no weights file {folder / name}")
    return folder / name


def read_weights(path: Path) -> Any:
    """Reads a file of weights. Only tensors and plain containers are read from it, never code.

    Raises:
        MissingPackageError: the file holds more, or is none that torch reads.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MissingPackageError(
            f"{path} holds more than tensors and is not read for safety; where you trust it, save its state dict alone"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise MissingPackageError(f"{path} is no file of weights: {error}") from error
