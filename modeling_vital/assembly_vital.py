"""A model from two: the encoders of one, the decoder of another ("Zero" in the paper)."""

import copy
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from .levels_vital import level_token_ids
from .processing_vital import VitalProcessor
from .zoo_names_vital import from_zoo


logger = logging.getLogger(__name__)

_PROJECTORS = ("multi_modal_projector", "motion_projector")
_PROJECTORS_OF = {"vital": _PROJECTORS, "internvl": _PROJECTORS[:1]}
_PLACEHOLDERS = ("image_token", "motion_token", "start_image_token", "end_image_token")
_LOGIT_SETTINGS = ("final_logit_softcapping", "logits_scaling", "logit_scale")


@dataclass
class Donor:
    """Description of a model before its weights are read.

    Attributes:
        name (`str`): folder, Hub id or class and its role, for messages.
        source (`str`, `Path` or `PreTrainedModel`): where the weights are.
        config (`PreTrainedConfig`): configuration of the whole model.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer; `None` of a model without a decoder.
        processor (`VitalProcessor`, *optional*): its processor, where it is a VITAL model.
    """

    name: str
    source: object
    config: PreTrainedConfig
    tokenizer: Any
    processor: VitalProcessor | None

    @property
    def projectors(self) -> tuple[str, ...]:
        """`tuple[str]`: names of the projectors it has."""
        return _PROJECTORS_OF.get(self.config.model_type, ())

    def load(self, model_class: Any, **kwargs) -> PreTrainedModel:
        """The model itself."""
        if isinstance(self.source, torch.nn.Module):
            return self.source
        return load_whole(model_class.from_pretrained, self.source, **{"use_safetensors": True, **kwargs})


def load_whole(load: Callable[..., Any], source, *args, **kwargs) -> Any:
    """Loads a model whose weights are all in its checkpoint.

    transformers fills in random ones with a warning, after which every score and answer is one of chance.

    Args:
        load (`Callable`): `from_pretrained` of a class of transformers.
        source (`str` or `os.PathLike`, *optional*): a folder or Hub id; without one, nothing is checked.
        args, kwargs: go to `load`. With `output_loading_info=True` the caller learns what is missing, and decides.

    Raises:
        ValueError: if weights are missing. Counters of batch norms may be.
    """
    if source is None or kwargs.get("output_loading_info"):
        return load(source, *args, **kwargs)
    model, info = load(source, *args, **{**kwargs, "output_loading_info": True})
    missing = sorted(name for name in info["missing_keys"] if not name.endswith("num_batches_tracked"))
    if missing:
        raise ValueError(
            f"The checkpoint {str(source)!r} lacks {len(missing)} weights of a {type(model).__name__}, which would be "
            f"random ({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}): get a whole copy."
        )
    return model


def assemble(model_class: type, vision, decoder, tokenizer=None, **load_kwargs) -> PreTrainedModel:
    """Puts the encoders of one model before the decoder of another.

    See `VitalForConditionalGeneration.from_parts` for the arguments; `model_class` is that class.
    """
    seeing, reading = _inspect(vision, None, "vision"), _inspect(decoder, tokenizer, "decoder")
    if seeing.processor is None:
        kind = seeing.config.model_type
        raise ValueError(f"{seeing.name} is no VITAL model but {kind!r}: there are no encoders to take from it.")
    _check_features(seeing, reading)
    _check_levels(seeing, reading)
    decoder_class = {"vital": model_class, "internvl": AutoModelForImageTextToText}.get(
        reading.config.model_type, AutoModelForCausalLM
    )
    _check_head(reading, decoder_class)
    processor = _processor(seeing, reading)

    encoders = seeing.load(model_class, **load_kwargs)
    language = reading.load(decoder_class, **load_kwargs)
    for donor, part in ((seeing, encoders), (reading, language)):
        if any(parameter.is_meta for parameter in part.parameters()):
            raise ValueError(f"{donor.name} has weights on disk: parts are put together in memory, then saved.")
    if len(processor.tokenizer) > language.get_input_embeddings().num_embeddings:
        language = copy.deepcopy(language) if language is decoder else language
        language.resize_token_embeddings(len(processor.tokenizer))
    model = _join(model_class, seeing, reading, encoders, language, processor)
    if fresh := [name for name in _PROJECTORS if name not in reading.projectors]:
        logger.warning(
            "%s brings no %s: fresh, with random weights. Train them before you trust a score.",
            reading.name,
            " and no ".join(fresh),
        )
    return model


def _inspect(source, tokenizer: PreTrainedTokenizerBase | None, role: str) -> Donor:
    """Reads configuration, processor and tokenizer; no weights."""
    source = from_zoo(source)
    loaded = isinstance(source, torch.nn.Module)
    if not loaded and PreTrainedConfig.get_config_dict(source)[0].get("model_type") == "vital_probe":
        raise ValueError(f"`{role}` {str(source)!r} is a linear probe, made to score by itself: name a VITAL model.")
    config = source.config if loaded else AutoConfig.from_pretrained(source)
    label = config._name_or_path or type(source).__name__ if loaded else str(source)
    name = f"`{role}` {label!r}"
    processor = None
    if config.model_type == "vital":
        processor = source.processor if loaded else VitalProcessor.from_pretrained(source)
        if tokenizer is not None:
            raise ValueError(f"{name} is a VITAL model and keeps its own tokenizer: leave out `tokenizer`.")
        tokenizer = processor.tokenizer
    elif role == "decoder" and tokenizer is None:
        if loaded:
            raise ValueError(f"{name} is a model, which does not know its tokenizer: give it as `tokenizer`.")
        tokenizer = AutoTokenizer.from_pretrained(source)
    return Donor(name, source, config, tokenizer, processor)


def _check_features(seeing: Donor, reading: Donor) -> None:
    """Raises unless the projectors that are kept take what the encoders put out."""
    ours, theirs = seeing.config, reading.config
    sizes = []
    if "multi_modal_projector" in reading.projectors:
        width = getattr(theirs, "vision_hidden_size", None) or theirs.vision_config.hidden_size
        sizes += [("image encoder's hidden size", ours.vision_hidden_size, width)]
        sizes += [("downsample ratio", ours.downsample_ratio, theirs.downsample_ratio)]
    if "motion_projector" in reading.projectors:
        sizes += [("motion encoder's hidden size", ours.motion_config.hidden_size, theirs.motion_config.hidden_size)]
    for what, a, b in sizes:
        if a != b:
            raise ValueError(
                f"The {what} is {a} in {seeing.name}, but the projectors of {reading.name} are made for {b}. Choose a "
                "decoder made for such an encoder, or a language model without projectors."
            )


def _check_levels(seeing: Donor, reading: Donor) -> None:
    """Raises unless both know the same level words, each a token of its own."""
    words = seeing.config.level_words
    theirs = getattr(reading.config, "level_words", words)
    if theirs != words:
        raise ValueError(
            f"{seeing.name} has the level words {words}, {reading.name} has {theirs}: the encoders were trained to "
            "call up the first. Set the same `level_words` in both configurations if you mean it."
        )
    try:
        level_token_ids(reading.tokenizer, words)
    except ValueError as error:
        raise ValueError(f"{reading.name} cannot say the level words of {seeing.name}. {error}") from error


def _check_head(reading: Donor, decoder_class: Any) -> None:
    """Raises unless logits are the head's matrix times the last state, as they are in VITAL."""
    if reading.processor is not None:
        return
    text_config = reading.config.get_text_config()
    extras = [name for name in _LOGIT_SETTINGS if getattr(text_config, name, None) not in (None, 1)]
    skeleton: Any = reading.source
    if not isinstance(skeleton, torch.nn.Module):
        with torch.device("meta"):
            skeleton = decoder_class.from_config(reading.config)
    if getattr(skeleton.get_output_embeddings(), "bias", None) is not None:
        extras.append("a bias")
    if extras:
        raise ValueError(
            f"The head of {reading.name} has {' and '.join(extras)}, which VITAL's has not: its words would come out "
            "differently. Choose another decoder."
        )


def _processor(seeing: Donor, reading: Donor) -> VitalProcessor:
    """The encoders' processor around the decoder's tokenizer, with the placeholders that a plain one lacks."""
    names = [name for name in inspect.signature(VitalProcessor).parameters if hasattr(seeing.processor, name)]
    settings = {name: getattr(seeing.processor, name) for name in names}
    if reading.processor is not None:
        settings |= {name: getattr(reading.processor, name) for name in (*_PLACEHOLDERS, "chat_template")}
    tokenizer, rows = reading.tokenizer, reading.config.get_text_config().vocab_size
    if len(tokenizer) > rows:
        raise ValueError(
            f"The tokenizer of {reading.name} has {len(tokenizer)} tokens, but its decoder embeds only {rows}: they "
            f"do not belong together, and could not read {seeing.name}."
        )
    for name in ("image_token", "motion_token"):
        token, expected = settings[name], getattr(reading.config, f"{name}_id", None)
        found = tokenizer.get_vocab().get(token)
        if expected is not None and found != expected:
            raise ValueError(
                f"The placeholder {token!r} for what {seeing.name} sees is token {found} in the tokenizer of "
                f"{reading.name}, but {expected} in its configuration."
            )
    missing = [settings[name] for name in _PLACEHOLDERS if settings[name] not in tokenizer.get_vocab()]
    if missing:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.add_tokens(missing, special_tokens=True)
    return VitalProcessor(**{**settings, "tokenizer": tokenizer})


def _join(
    model_class: type,
    seeing: Donor,
    reading: Donor,
    encoders: PreTrainedModel,
    language: PreTrainedModel,
    processor: VitalProcessor,
) -> PreTrainedModel:
    """One model around the parts, which are taken over, not copied."""
    text_model = language.model.language_model if reading.projectors else language.base_model
    head = language.get_output_embeddings()
    config = copy.deepcopy(seeing.config)
    config._name_or_path = ""
    config.text_config = text_model.config
    config.tie_word_embeddings = head.weight is language.get_input_embeddings().weight
    config.text_config.tie_word_embeddings = config.tie_word_embeddings
    config.image_token_id = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    config.motion_token_id = processor.tokenizer.convert_tokens_to_ids(processor.motion_token)
    config.pad_token_id, config.eos_token_id = processor.tokenizer.pad_token_id, processor.tokenizer.eos_token_id
    config.projector_hidden_act = getattr(reading.config, "projector_hidden_act", config.projector_hidden_act)
    with torch.device("meta"):
        model = model_class(config)
    model.model.vision_tower = _placed(encoders.model.vision_tower, head.weight)
    model.model.motion_encoder = _placed(encoders.model.motion_encoder, head.weight)
    model.model.language_model = text_model
    model.lm_head = head
    for name in _PROJECTORS:
        if name in reading.projectors:
            setattr(model.model, name, getattr(language.model, name))
        else:
            _start(getattr(model.model, name).to_empty(device=head.weight.device).to(head.weight.dtype))
    model.generation_config = copy.deepcopy(language.generation_config)
    model.processor = processor
    return model.eval()


def _placed(module: torch.nn.Module, like: torch.Tensor) -> torch.nn.Module:
    """The module in the dtype and on the device of the decoder; a copy only where it has to be changed."""
    parameter = next(module.parameters())
    if parameter.dtype == like.dtype and parameter.device == like.device:
        return module
    return copy.deepcopy(module).to(like.device, like.dtype)


@torch.no_grad()
def _start(projector: torch.nn.Module) -> None:
    """Random weights that keep the scale of what goes through."""
    for module in projector.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=module.in_features**-0.5)
            torch.nn.init.zeros_(module.bias)
        elif isinstance(module, torch.nn.LayerNorm):
            module.reset_parameters()


__all__ = ["assemble", "load_whole"]
