"""From a published checkpoint to a folder of ours: everything is checked first, then written shard by shard."""

import logging
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save

from .. import __version__
from ..assessment_vital import VitalScoringMixin
from ..configuration_vital import VitalConfig
from ..conventions_vital import SCORING_CONVENTIONS, scoring_convention
from ..levels_vital import level_token_ids
from ..messages import first_line, progress_bar
from ..modeling_vital import VitalProjector
from .errors import ConversionError, ConversionUsageError
from .layout import Layout
from .registry import find_layout
from .rules import Rule, check, translate
from .slowfast import PRETRAINED
from .source import Shard, Source, open_source
from .tokenizer import load_tokenizer
from .writer import Part, Workspace, check_destination


MOTION_ENCODER, MOTION_PROJECTOR = "model.motion_encoder.", "model.motion_projector."
TURN_END = "<|im_end|>"

logger = logging.getLogger(__name__)


@dataclass
class Conversion:
    """A conversion that has passed every check and only has to be carried out.

    Attributes:
        source (`Source`): what is converted.
        shards (`list[Shard]`): every file that is read.
        config (`PreTrainedConfig`): of the result.
        model (`PreTrainedModel`): the result without its data (device `"meta"`).
        processor: what prepares its inputs, or `None`.
        parts (`list[Part]`): the shards of the result.
        dropped (`dict[str, list[str]]`): keys of the source that have no use, by the reason.
    """

    source: Source
    shards: list[Shard]
    config: PreTrainedConfig
    model: PreTrainedModel
    processor: Any
    parts: list[Part]
    dropped: dict[str, list[str]]


def convert(
    source: str,
    destination: str | Path,
    motion: str | Path | None = None,
    tokenizer: str | None = None,
    scoring: str | None = None,
    revision: str | None = None,
) -> Path:
    """Converts a published checkpoint to a folder that `from_pretrained` loads.

    Args:
        source (`str`): a local folder or a Hub id, in one of the layouts of `registry.LAYOUTS`.
        destination (`str` or `Path`): folder to be made; it must not exist, or be empty.
        motion (`str` or `Path`, *optional*): file of SlowFast-R50 8x8 weights, PyTorchVideo's `SLOWFAST_8x8_R50`; for
            the InternVL layouts, which have no motion encoder.
        tokenizer (`str`, *optional*): folder or Hub id of the tokenizer, where the source has none that can be used.
        scoring (`str`, *optional*): a key of `SCORING_CONVENTIONS`, instead of the layout's own (`"released"` for
            released VITAL checkpoints, `"default"` for the others).
        revision (`str`, *optional*): branch, tag or commit of a Hub source.

    Returns:
        `Path`: the destination.

    Raises:
        ConversionUsageError: for a source, destination or option that cannot be.
        ConversionError: if the source does not match what it says it is; nothing is left at the destination.

    Note:
        Interrupted, it leaves what is finished in `.NAME.converting` beside the destination; the same call resumes
        from there. Memory holds one tensor at a time, and the pages of the shard it is mapped from.
    """
    check_destination(Path(destination))
    opened = open_source(source, revision)
    motion_shard = _motion_shard(motion)
    plan = prepare(opened, motion_shard, load_tokenizer(opened.folder, tokenizer), scoring)
    for reason, keys in plan.dropped.items():
        logger.info("%d tensors have no use (%s), such as %s", len(keys), reason, keys[0])
    return carry_out(plan, Path(destination))


def carry_out(plan: Conversion, destination: Path) -> Path:
    """Writes what `prepare` has worked out.

    Args:
        plan (`Conversion`): the conversion.
        destination (`Path`): folder to be made.

    Returns:
        `Path`: the destination.

    Raises:
        ConversionUsageError: if there is something at the destination.
        ConversionError: if there is too little room on the disk.
    """
    check_destination(destination)
    files = [shard.fingerprint() for shard in plan.shards]
    outline = [[[name, list(t.shape), str(t.dtype)] for name, t in part.tensors.items()] for part in plan.parts]
    workspace = Workspace(destination, [__version__, files, outline])
    total = sum(part.size for part in plan.parts)
    with progress_bar(total=total, unit="B", unit_scale=True, desc="converting") as bar:
        workspace.write_weights(plan.parts, bar.update)
    _write_side_files(plan, workspace.folder)
    workspace.finish()
    return destination


def prepare(
    source: Source,
    motion: Shard | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    scoring: str | None = None,
) -> Conversion:
    """Checks a source and works out what it becomes, without writing anything.

    Args:
        source (`Source`): the opened source.
        motion (`Shard`, *optional*): weights of the motion encoder.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): the decoder's.
        scoring (`str`, *optional*): a key of `SCORING_CONVENTIONS`.

    Raises:
        ConversionUsageError, ConversionError: see `convert`.
    """
    headers = source.headers()
    tensors = {key: tensor for shard in headers.values() for key, tensor in shard.items()}
    layout = find_layout(source.config, tensors, source.name)
    _check_options(layout, motion, scoring)
    model = _empty_model(layout, source, tensors)
    config = model.config
    expected = expected_shapes(model)
    new: dict[str, torch.Tensor] = {}
    if motion is not None:
        own = [name for name in expected if name.startswith((MOTION_ENCODER, MOTION_PROJECTOR))]
        new = {name: torch.empty(expected.pop(name), dtype=config.dtype, device="meta") for name in own}
    rules = layout.rules(source.config)
    shards = [*source.shards, *([motion] if motion else [])]
    made = check(rules, tensors, expected)
    _check_kinds(made, model)
    parts = [
        Part({n: t for key in keys for n, t in made[key].items()}, _reader(shard, rules))
        for shard, keys in zip(source.shards, headers.values(), strict=True)
    ]
    if motion is not None:
        parts.append(_motion_part(motion, new, model))
    processor = layout.processor(source.config, config, tokenizer)
    if isinstance(config, VitalConfig) and (convention := scoring or layout.scoring):
        _settle(config, processor, convention)
    parts = [part for part in parts if part.tensors]
    return Conversion(source, shards, config, model, processor, parts, dropped_keys(rules, tensors))


_WRONG_CONFIG = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
"""What libraries raise about settings that cannot be, such as a width of 0."""


def _empty_model(layout: Layout, source: Source, tensors: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    """The model that the source's configuration describes, on the device `"meta"`."""
    try:
        _check_depth(source.config, len(tensors))
        config = layout.config(source.config, tensors.keys())
        config.dtype = _main_dtype(tensors.values())
        with torch.device("meta"):
            return layout.model_class()(config)
    except (*_WRONG_CONFIG, StrictDataclassError) as error:
        first = first_line(error)
        raise ConversionError(
            f"{source.name}: config.json does not describe a model ({layout.name}): {type(error).__name__}: {first}"
        ) from error


def _check_depth(settings: Mapping[str, Any], tensors: int, place: str = "") -> None:
    """Refuses more layers than there are tensors, before minutes and memory go into them.

    Raises:
        ValueError: naming the setting.
    """
    for name, value in settings.items():
        if isinstance(value, Mapping):
            _check_depth(value, tensors, f"{place}{name}.")
        elif name == "num_hidden_layers" and isinstance(value, int) and value > tensors:
            raise ValueError(f"{place}{name} is {value}, and there are {tensors} tensors")


def expected_shapes(model: PreTrainedModel) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter and buffer that a checkpoint of this model holds, by name."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if getattr(model.config, "tie_word_embeddings", False):
        for name in getattr(model, "_tied_weights_keys", None) or {}:
            shapes.pop(name, None)
    return shapes


def _check_kinds(made: Mapping[str, Mapping[str, torch.Tensor]], model: PreTrainedModel) -> None:
    """Refuses whole numbers where the model has floating-point ones.

    Raises:
        ConversionError: naming every such tensor.
    """
    own = model.state_dict()
    wrong = [
        f"  {key} holds {str(piece.dtype).removeprefix('torch.')}"
        for key, pieces in made.items()
        for name, piece in pieces.items()
        if own[name].is_floating_point() and not piece.is_floating_point()
    ]
    if wrong:
        head = (
            f"{len(wrong)} tensors hold whole numbers or truth values, as quantised weights do; nothing was written."
        )
        raise ConversionError("\n".join([head, "Convert the weights in floating point:", *wrong]))


def dropped_keys(rules: Sequence[Rule], keys: Collection[str]) -> dict[str, list[str]]:
    """The keys that the rules drop, by the reason they give; each key is known to one of them."""
    dropped: dict[str, list[str]] = {}
    for key in keys:
        rule = next(rule for rule in rules if re.fullmatch(rule.pattern, key))
        if not rule.targets:
            dropped.setdefault(rule.reason, []).append(key)
    return dropped


def _check_options(layout: Layout, motion: Shard | None, scoring: str | None) -> None:
    if layout.needs_motion_weights and motion is None:
        raise ConversionUsageError(
            f"The source ({layout.name}) has no motion encoder: give the file of SLOWFAST_8x8_R50 weights (--motion)."
        )
    if motion is not None and not layout.needs_motion_weights:
        raise ConversionUsageError(f"The source ({layout.name}) takes no other motion encoder: leave --motion out.")
    if scoring is not None and layout.scoring is None:
        raise ConversionUsageError(f"The source ({layout.name}) has no choice of scoring: leave --scoring out.")
    if scoring is not None and scoring not in SCORING_CONVENTIONS:
        raise ConversionUsageError(f"--scoring is one of {', '.join(SCORING_CONVENTIONS)}, got {scoring!r}.")


def _motion_shard(motion: str | Path | None) -> Shard | None:
    if motion is None:
        return None
    if not Path(motion).is_file():
        raise ConversionUsageError(f"There is no file {str(motion)!r} of motion weights.")
    return Shard(Path(motion))


def _main_dtype(tensors: Iterable[torch.Tensor]) -> torch.dtype:
    """The floating-point type that most bytes are of."""
    sizes: dict[torch.dtype, int] = {}
    for tensor in tensors:
        if tensor.is_floating_point():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.nbytes
    if not sizes:
        raise ConversionError("The source holds no floating-point weights.")
    return max(sizes, key=sizes.__getitem__)


def _reader(shard: Shard, rules: list[Rule]) -> Callable[[], Iterator[tuple[str, torch.Tensor]]]:
    def read() -> Iterator[tuple[str, torch.Tensor]]:
        for key, tensor in shard.tensors():
            _check_finite(shard, key, tensor)
            yield from (translate(rules, key, tensor) or {}).items()

    return read


def _check_finite(shard: Shard, key: str, tensor: torch.Tensor) -> None:
    """Refuses NaN and infinity; a sum finds both, and reads a tensor once.

    Raises:
        ConversionError: naming file and tensor.
    """
    if tensor.is_floating_point() and not tensor.sum(dtype=torch.float32).isfinite():
        raise ConversionError(
            f"{shard.path}: {key} holds NaN or infinite values, as after a training run that diverged or a damaged "
            "download; a model with them scores nothing."
        )


def _motion_part(motion: Shard, new: Mapping[str, torch.Tensor], model: PreTrainedModel) -> Part:
    """The shard of a starting point's motion side: SlowFast's fast pathway, and a new projector."""
    encoder = {name: tuple(t.shape) for name, t in new.items() if name.startswith(MOTION_ENCODER)}
    try:
        made = check(PRETRAINED, motion.headers(), encoder)
        _check_kinds(made, model)
    except ConversionError as error:
        raise ConversionError(f"{motion.path}: {error}") from error
    pieces = {name: tensor for part in made.values() for name, tensor in part.items()}
    dtype = model.config.dtype
    cast = {
        name: torch.empty_like(tensor, dtype=dtype if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in pieces.items()
    }

    def read() -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in _reader(motion, PRETRAINED)():
            yield name, tensor.to(cast[name].dtype)
        for name, tensor in _new_projector(model).items():
            yield MOTION_PROJECTOR + name, tensor.to(dtype)

    return Part({**cast, **{name: t for name, t in new.items() if name.startswith(MOTION_PROJECTOR)}}, read)


def _new_projector(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """An untrained motion projector, the same at every call.

    Note:
        The released code draws these weights from U(0, 0.01); here they are as every new weight of the model is.
    """
    config = model.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        projector = VitalProjector(
            config.motion_config.hidden_size, config.text_config.hidden_size, config.projector_hidden_act
        )
        for module in projector.modules():
            model._init_weights(module)
    return dict(projector.state_dict())


def _settle(config: VitalConfig, processor: ProcessorMixin | None, scoring: str) -> None:
    """Makes a configuration and its processor agree on tokens and on the scoring convention."""
    config.level_values = list(scoring_convention(scoring).level_values)
    if processor is None:
        logger.warning(
            "the source has no tokenizer: the result has no processor and cannot score; give one with --tokenizer"
        )
        return
    processor.use_scoring(scoring)
    tokenizer = processor.tokenizer
    vocabulary = config.text_config.vocab_size
    if len(tokenizer) > vocabulary:
        raise ConversionError(f"The tokenizer has {len(tokenizer)} tokens, and the decoder embeds {vocabulary}.")
    try:
        level_token_ids(tokenizer, config.level_words)
    except ValueError as error:
        raise ConversionError(str(error)) from error
    config.image_token_id = tokenizer.convert_tokens_to_ids(processor.image_token)
    config.motion_token_id = tokenizer.convert_tokens_to_ids(processor.motion_token)
    config.pad_token_id = tokenizer.pad_token_id


def _write_side_files(plan: Conversion, folder: Path) -> None:
    """Everything but the weights; `config.json` last, because it is what makes a folder a checkpoint."""
    if plan.processor is not None:
        plan.processor.save_pretrained(folder)
    if isinstance(plan.model, VitalScoringMixin):  # a class of ours, which brings its code
        plan.model.name_code(plan.config)
        custom_object_save(plan.model, folder, config=plan.config)
    if isinstance(plan.config, VitalConfig):
        _generation_config(plan).save_pretrained(folder)
    for pattern in ("LICENSE*", "NOTICE*"):
        for file in plan.source.folder.glob(pattern):
            if file.is_file():  # no folder of licences
                shutil.copyfile(file, folder / file.name)
    plan.config.architectures = [type(plan.model).__name__]
    plan.config.save_pretrained(folder)


def _generation_config(plan: Conversion) -> GenerationConfig:
    """The source's, ending where a turn ends."""
    folder = plan.source.folder
    has_file = (folder / "generation_config.json").is_file()
    try:
        config = GenerationConfig.from_pretrained(folder) if has_file else GenerationConfig()
        config.validate(strict=True)
    except (*_WRONG_CONFIG, OSError) as error:
        logger.warning("generation_config.json is wrong or contradicts itself and is ignored: %s", error)
        config = GenerationConfig()
    if plan.processor is not None:
        tokenizer = plan.processor.tokenizer
        ends = [tokenizer.convert_tokens_to_ids(TURN_END), tokenizer.eos_token_id]
        config.eos_token_id = sorted({token for token in ends if token not in (None, tokenizer.unk_token_id)}) or None
        config.pad_token_id = tokenizer.pad_token_id
        plan.config.eos_token_id = config.eos_token_id
    return config
