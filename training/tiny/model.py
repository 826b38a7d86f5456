"""The shape of `vital-tiny`: its tokenizer, its encoders and its decoder, with random weights."""

import ast
import functools
import inspect
import pkgutil
import sys
import tokenize
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS, tag
from modeling_vital.configuration_vital import VitalConfig, VitalMotionConfig
from modeling_vital.conventions_vital import DEFAULT_ANSWER_PREFIXES, DEFAULT_DESCRIPTION_PREFIXES
from modeling_vital.image_processing_vital import VitalImageProcessor
from modeling_vital.levels_vital import LEVEL_WORDS, level_token_ids
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.processing_vital import VitalProcessor
from modeling_vital.yaml_file import read_yaml


FOLDER = Path(__file__).parent
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<quad>"]
"""Special tokens of the tokenizers, the last four the placeholders of media."""


@dataclass
class ModelConfig:
    """Shape of the model. Sizes in pixels, channels and tokens.

    Attributes:
        vision (`dict`): `model_type` of a convolutional encoder of transformers with stride 32, and its fields.
        motion (`dict`): fields of a `VitalMotionConfig`.
        decoder (`dict`): fields of a `Qwen2Config`.
        tile_size (`int`): side of a tile.
        max_tiles (`int`): tiles of a picture at most.
        max_tiles_per_frame (`int`): tiles of a key frame at most.
        downsample_ratio (`float`): pixel-unshuffle factor.
        tokenizer (`str`): name of a file in `training/tiny/tokenizers`, without `.json`.
        frame_sampling (`dict`): fields of `FrameSampling`.
    """

    vision: dict
    motion: dict
    decoder: dict
    tile_size: int = 192
    max_tiles: int = 12
    max_tiles_per_frame: int = 4
    downsample_ratio: float = 0.5
    tokenizer: str = "vital-tiny"
    frame_sampling: dict = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "ModelConfig":
        """Reads a YAML file of these fields.

        Raises:
            ValueError: it is not there, or a field is not known or missing.
        """
        try:
            return cls(**read_yaml(path))
        except (OSError, yaml.YAMLError, TypeError) as error:
            raise ValueError(f"{path} cannot be used: {error}") from error


@functools.cache
def general_english() -> tuple[str, ...]:
    """The docstrings of Python's standard library, read no further than they go."""
    docs = []
    for module in pkgutil.iter_modules():
        if module.name in sys.stdlib_module_names and not module.name.startswith("_"):
            spec = module.module_finder.find_spec(module.name)
            if spec and spec.origin and spec.origin.endswith(".py"):
                docs.append(_docstring(Path(spec.origin)))
    return tuple(docs)


def _docstring(module: Path) -> str:
    """As `ast.get_docstring` of the module, without parsing what comes after."""
    blank, strings = (tokenize.COMMENT, tokenize.NL), []
    with tokenize.open(module) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.STRING:
                strings.append(token.string)
            elif token.type not in blank:
                break
    if not strings or token.type != tokenize.NEWLINE:
        return ""
    value = ast.literal_eval(" ".join(strings))
    return inspect.cleandoc(value) if isinstance(value, str) else ""


def build_tokenizer(vocab_size: int) -> PreTrainedTokenizerFast:
    """A small byte-level BPE tokenizer with the level words, distortions and severities as whole words.

    Its general English comes from the docstrings of Python's standard library, which every machine has.
    """
    phrases = [f"{prefix} {word}." for prefix in DEFAULT_ANSWER_PREFIXES.values() for word in LEVEL_WORDS]
    for name in DISTORTIONS:
        phrases += [
            f"{DEFAULT_DESCRIPTION_PREFIXES['image']} {tag(name, s)}." for s in range(1, len(SEVERITY_WORDS) + 1)
        ]
    phrases += [
        f"{DEFAULT_DESCRIPTION_PREFIXES['video']} none.",
        "Frame-1: Frame-2: Frame-3: Motion Feature: ",
        "user\n",
        "assistant\n",
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([*phrases * 50, *general_english()], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="right"
    )
    fast.add_special_tokens({"additional_special_tokens": SPECIAL[3:]})
    level_token_ids(fast)
    return fast


def read_tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """A tokenizer of `training/tiny/tokenizers`: byte-level BPE that knows level words, distortions and severities.

    Its file is kept, not made anew: what it was trained on is not the same on every machine.
    """
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(path), eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="right"
    )
    fast.add_special_tokens({"additional_special_tokens": SPECIAL[3:]})
    level_token_ids(fast)
    return fast


@torch.no_grad()
def watch_changes(stem: torch.nn.Conv3d) -> None:
    """Makes half of a motion encoder's first filters differences of neighbouring frames, both ways, slightly blurred.

    From random filters, which see mostly what stands still, 6,400 clips taught it nothing about stutter.

    Args:
        stem (`torch.nn.Conv3d`): weights `(channels, 3, time, height, width)`, changed in place.
    """
    channels, colors, time, height, width = stem.weight.shape
    rows, cols = (torch.hann_window(size + 2, periodic=False)[1:-1] for size in (height, width))
    blur = torch.outer(rows, cols) / (rows.sum() * cols.sum() * colors)
    scale = stem.weight.std() * (colors * height * width) ** 0.5 / blur.norm()
    for i in range(channels // 2):
        change = torch.zeros(time)
        later = time // 2 + i // 2 % 2
        change[later - 1], change[later] = (-1.0, 1.0) if i % 2 else (1.0, -1.0)
        stem.weight[i] = scale * change[:, None, None] * blur


def build_model(
    config: ModelConfig, seed: int, tokenizer: PreTrainedTokenizerFast | None = None
) -> VitalForConditionalGeneration:
    """A model with random weights, its processor attached.

    Args:
        config (`ModelConfig`): its shape.
        seed (`int`): of the weights.
        tokenizer (`PreTrainedTokenizerFast`, *optional*): instead of the one that `config` names.
    """
    torch.manual_seed(seed)
    if tokenizer is None:
        tokenizer = read_tokenizer(FOLDER / "tokenizers" / f"{config.tokenizer}.json")
    image_seq_length = round(config.tile_size / 32 * config.downsample_ratio) ** 2  # the encoder's stride is 32
    motion = VitalMotionConfig(**config.motion)
    processor = VitalProcessor(
        VitalImageProcessor(tile_size=config.tile_size, max_tiles=config.max_tiles, tile_rule="native"),
        tokenizer,
        image_seq_length=image_seq_length,
        motion_size=motion.image_size,
        max_tiles_per_frame=config.max_tiles_per_frame,
        frame_sampling=config.frame_sampling,
    )
    vision = dict(config.vision)
    vital = VitalConfig(
        vision_config=CONFIG_MAPPING[vision.pop("model_type")](**vision),
        motion_config=motion,
        text_config=Qwen2Config(vocab_size=len(tokenizer), **config.decoder),
        image_token_id=tokenizer.convert_tokens_to_ids(processor.image_token),
        motion_token_id=tokenizer.convert_tokens_to_ids(processor.motion_token),
        image_seq_length=image_seq_length,
        downsample_ratio=config.downsample_ratio,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = VitalForConditionalGeneration(vital)
    model.processor = processor
    watch_changes(model.model.motion_encoder.stem_conv)
    for projector in (model.model.multi_modal_projector, model.model.motion_projector):
        for linear in (projector.linear_1, projector.linear_2):
            torch.nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
    return model


def build_decoder(path: Path, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A language model with random weights, and its tokenizer, by a YAML file of its configuration.

    Args:
        path (`Path`): with `tokenizer`, a file in `training/tiny/tokenizers`, `model_type` and fields of that.
        seed (`int`): of the weights.
    """
    fields = read_yaml(path)
    tokenizer = read_tokenizer(FOLDER / "tokenizers" / f"{fields.pop('tokenizer')}.json")
    ids = {"bos_token_id": None, "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = CONFIG_MAPPING[fields.pop("model_type")](
        vocab_size=len(tokenizer), tie_word_embeddings=True, **ids, **fields
    )
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config), tokenizer
