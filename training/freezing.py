"""Trainable parts of each stage, and freezing of the rest."""

from collections.abc import Iterator

from torch import nn


ENCODER_STAGE = "encoders"
"""The stage that trains the encoders alone, without a decoder: see [`training.encoder_stage`]."""

_SEEING = ("model.vision_tower", "model.motion_encoder")
_READING = ("model.multi_modal_projector", "model.motion_projector", "model.language_model", "lm_head")

STAGES = {
    ENCODER_STAGE: ("vision_tower", "motion_encoder", "image_head", "motion_head"),
    "base": (*_SEEING, *_READING),
    "pretrain": _SEEING,
    "warm_up": _READING,
    "assistant": (*_SEEING, *_READING),
    "linear_probe": ("head",),
}
"""Parts of the model that learn in each stage; everything else is frozen. The first two make a base family where none
is at hand, the others are those of arXiv 2511.17962."""


def freeze(model: nn.Module, stage: str) -> list[str]:
    """Lets the parts of a stage learn and no others.

    A frozen part has no gradient and no optimiser state. Gradients still flow through it where something before it
    learns: in pre-training the encoders learn through the frozen projectors and decoder. Where nothing before it
    learns, autograd keeps nothing of it.

    Args:
        model (`VitalForConditionalGeneration` or `VitalForQualityProbe`): changed in place.
        stage (`str`): a key of `STAGES`.

    Returns:
        `list[str]`: names of the parameters that learn.

    Raises:
        ValueError: there is no such stage, or the model lacks one of its parts.
    """
    if stage not in STAGES:
        raise ValueError(f"Unknown stage {stage!r}; there are {', '.join(STAGES)}.")
    model.requires_grad_(False)
    for part in STAGES[stage]:
        try:
            model.get_submodule(part).requires_grad_(True)
        except AttributeError as error:
            raise ValueError(f"The stage {stage!r} trains {part!r}, which {type(model).__name__} lacks.") from error
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def still_modules(model: nn.Module, update_batch_norm: bool = False) -> Iterator[nn.Module]:
    """Yields the modules that behave as in evaluation although the model trains: no dropout, fixed batch statistics.

    These are the frozen ones and the batch norms. A batch norm of a part that learns gets a new scale and shift, but
    keeps the statistics it came with: a batch holds a handful of items, too few to estimate them from.

    Args:
        model (`nn.Module`): after [`freeze`], wrapped or not.
        update_batch_norm (`bool`, *optional*, defaults to `False`): lets batch norms that learn use and update the
            statistics of each batch, as the released code does. The loss then depends on how a batch is divided among
            processes and accumulated steps.
    """
    parameters = list(model.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        yield from model.modules()
    elif isinstance(model, nn.modules.batchnorm._BatchNorm) and not update_batch_norm:
        yield model
    else:
        for child in model.children():
            yield from still_modules(child, update_batch_norm)


def set_training_mode(model: nn.Module, update_batch_norm: bool = False) -> None:
    """`model.train()`, but what [`still_modules`] names stays in evaluation mode.

    A frozen layer that recomputes its activations only does so in training mode; it keeps that, its parts do not.
    bitsandbytes' layers keep it too: on a CPU they pass no gradient on in evaluation mode, and nothing else differs.
    """
    model.train()
    for module in still_modules(model, update_batch_norm):
        quantised = type(module).__module__.startswith("bitsandbytes.")
        module.training = quantised or bool(getattr(module, "gradient_checkpointing", False))


__all__ = ["ENCODER_STAGE", "STAGES", "freeze", "set_training_mode", "still_modules"]
