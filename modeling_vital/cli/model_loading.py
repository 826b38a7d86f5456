"""From a model's name to a model that can score."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..messages import first_line, short
from ..video_backend_vital import video_backend
from .errors import UsageError


if TYPE_CHECKING:
    from ..modeling_vital import VitalForConditionalGeneration
    from ..probe_vital import VitalForQualityProbe


def resolve_model(name: str) -> str:
    """Finds the model of a name.

    Args:
        name (`str`): a name of the zoo, a folder, or a Hub id.

    Returns:
        `str`: a folder or a Hub id.

    Raises:
        UsageError: if it is none of them.
    """
    from .. import zoo

    try:
        return str(zoo.resolve(name))
    except ValueError as error:
        raise UsageError(str(error)) from error


def load_model(source: str, device: str) -> "VitalForConditionalGeneration | VitalForQualityProbe":
    """Loads a model or a linear probe, ready to score.

    Args:
        source (`str`): a folder or a Hub id.
        device (`str`): `"auto"` (the first CUDA device, else the CPU) or a name that torch knows.

    Returns:
        `VitalForConditionalGeneration` or `VitalForQualityProbe`: in evaluation mode, on the device; packed.

    Raises:
        UsageError: if the device cannot be used or hold the model, or there is no loadable model.
    """
    import torch
    from transformers import PreTrainedConfig
    from transformers.utils import logging as transformers_logging

    from ..modeling_vital import VitalForConditionalGeneration
    from ..packing import pack_linears
    from ..probe_vital import VitalForQualityProbe, VitalProbeConfig

    transformers_logging.set_verbosity_error()
    if os.path.isdir(source):  # a download keeps its progress bar
        transformers_logging.disable_progress_bar()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(f"device {device!r} cannot be used: {first_line(error)}") from error
    try:
        is_probe = PreTrainedConfig.get_config_dict(source)[0].get("model_type") == VitalProbeConfig.model_type
        model = (VitalForQualityProbe if is_probe else VitalForConditionalGeneration).from_pretrained(source)
        if not is_probe:
            model.processor.score_prompt("image")  # a checkpoint without a processor or a sound template is found here
        model.processor  # noqa: B018
    except Exception as error:  # a damaged or hostile checkpoint makes libraries raise almost anything
        raise UsageError(_not_loaded(source, error)) from error
    return pack_linears(move(model, device).eval())


def move(model: Any, device: str) -> Any:
    """Moves a model to a device.

    Args:
        model (`PreTrainedModel`): moved in place.
        device (`str`): a name that torch knows.

    Returns:
        `PreTrainedModel`: the same.

    Raises:
        UsageError: if the device has too little memory.
    """
    import torch

    try:
        return model.to(device)
    except torch.OutOfMemoryError as error:
        raise UsageError(f"device {device!r} cannot hold the model: {first_line(error)}") from error


def _not_loaded(source: str, error: Exception) -> str:
    """Explains why a checkpoint cannot be loaded, and names the file that is to blame where that can be told."""
    said = short(first_line(error))
    if not isinstance(error, OSError | ValueError):
        said = f"{type(error).__name__}: {said}"
    damaged = [name for name in _damaged_files(Path(source)) if name not in said] if os.path.isdir(source) else []
    return f"no VITAL model can be loaded from {source!r}: {said}" + (
        f" (damaged: {', '.join(damaged)}; get a whole copy)" if damaged else ""
    )


def _damaged_files(folder: Path) -> list[str]:
    """Files of a checkpoint that are not what their suffix says."""
    from safetensors import SafetensorError, safe_open

    damaged = []
    for path in sorted(folder.iterdir()):
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    pass
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        except (SafetensorError, OSError, ValueError, RecursionError, MemoryError):
            damaged.append(path.name)
    return damaged


def fingerprint(source: str) -> dict[str, str]:
    """Fingerprint of all that scores depend on besides the media: the model's content, our version, and the decoder.

    Args:
        source (`str`): a folder or a Hub id.

    Returns:
        `dict[str, str]`: `model`, the hash of a folder's weights and configuration or the commit on the Hub,
        `version of modeling-vital`, and `video backend`, the one that is set.

    Raises:
        UsageError: if a model on the Hub cannot be found.
    """
    from .. import __version__

    if os.path.isdir(source):
        from ..calibration_vital import folder_sha256
        from ..evaluation.scorers import SCORING_FILES

        content = folder_sha256(Path(source), SCORING_FILES)
    else:
        content = f"{source}@{_config(source).get('_commit_hash')}"
    return {"model": content, "version of modeling-vital": __version__, "video backend": video_backend()}


def level_words(source: str) -> list[str]:
    """Reads the level words of a model, best first; nothing else is loaded.

    Args:
        source (`str`): a folder or a Hub id.

    Raises:
        UsageError: if a model on the Hub cannot be found, or its configuration cannot be read.
    """
    from ..levels_vital import LEVEL_WORDS

    return _config(source).get("level_words") or list(LEVEL_WORDS)


def _config(source: str) -> dict[str, Any]:
    from transformers import PreTrainedConfig

    try:
        return PreTrainedConfig.get_config_dict(source)[0]
    except Exception as error:  # as above
        raise UsageError(_not_loaded(source, error)) from error
