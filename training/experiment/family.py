"""The base family before it has learned anything: one pair of encoders, and decoders of other sizes and kinds."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from modeling_vital.modeling_vital import VitalForConditionalGeneration
from training.tiny_model import ModelConfig, build_model, build_tokenizer


@dataclass
class FamilyConfig:
    """Shape of the family.

    Attributes:
        model (`dict`): fields of `training.tiny_model.ModelConfig` but `decoder` and `vocab_size`: encoders and tiles.
        decoders (`dict[str, dict]`): name -> `model_type` of a causal language model of transformers, `vocab_size` of
            a tokenizer of its own, and fields of its configuration. The first is a Qwen2 and learns together with the
            encoders.
    """

    model: dict
    decoders: dict[str, dict]

    def __post_init__(self) -> None:
        if len(self.decoders) < 2:
            raise ValueError("`decoders` needs at least two: one to learn with, one to transfer to.")
        first = next(iter(self.decoders.values()))
        if first.get("model_type") != "qwen2":
            raise ValueError(f"The first decoder is made by `build_model`, a qwen2; got {first.get('model_type')!r}.")


def first_model(config: FamilyConfig, seed: int) -> VitalForConditionalGeneration:
    """Encoders, projectors and the first decoder, with random weights, and their processor."""
    decoder = dict(next(iter(config.decoders.values())))
    decoder.pop("model_type")
    shape = ModelConfig(vocab_size=decoder.pop("vocab_size"), decoder=decoder, **copy.deepcopy(config.model))
    return build_model(shape, seed)


def with_decoder(config: FamilyConfig, name: str, vision: Path, seed: int) -> VitalForConditionalGeneration:
    """The encoders of a checkpoint before another decoder of the family, which has random weights.

    Args:
        config (`FamilyConfig`): the family.
        name (`str`): one of its decoders.
        vision (`Path`): checkpoint that has learned already.
        seed (`int`): of the weights.

    Note:
        Any causal language model that is at hand can stand here instead, with its weights: what
        `VitalForConditionalGeneration.from_parts(vision, "HuggingFaceTB/SmolLM2-135M")` gives has fresh projectors and
        learns them from the captions in the same way. On one CPU core that takes hours, so it is not run.
    """
    fields = dict(config.decoders[name])
    kind, tokenizer = fields.pop("model_type"), build_tokenizer(fields.pop("vocab_size"))
    torch.manual_seed(seed)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = CONFIG_MAPPING[kind](
        vocab_size=len(tokenizer), tie_word_embeddings=True, bos_token_id=None, **ids, **fields
    )
    return VitalForConditionalGeneration.from_parts(vision, AutoModelForCausalLM.from_config(text), tokenizer)
