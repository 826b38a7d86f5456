"""Low-rank adapters: a decoder that learns on a GPU which could not hold its gradients.

The adapters sit on the decoder's linear layers, the projectors learn whole, encoders and head stay as they are. The
decoder may be kept in 4 bits meanwhile.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel
from torch import nn
from transformers import BitsAndBytesConfig

from modeling_vital.modeling_vital import VitalForConditionalGeneration


ADAPTER = "adapter"
"""Folder beside the merged model in which the adapter is, alone."""

PROJECTORS = ["multi_modal_projector", "motion_projector"]
STAGES_WITH_LORA = ("warm_up", "assistant")
"""Stages in which the decoder learns."""


@dataclass
class LoraArguments:
    """Adapters of the decoder, if it learns through them."""

    lora_rank: int | None = field(
        default=None,
        metadata={"help": "Rank of adapters on the decoder's linear layers; by default the decoder itself learns."},
    )
    lora_alpha: float | None = field(
        default=None, metadata={"help": "Scale of the adapters; by default twice the rank."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters."})

    def __post_init__(self):
        if self.lora_rank is not None and self.lora_rank < 1:
            raise ValueError(f"`lora_rank` must be at least 1, got {self.lora_rank}.")


def lora_config(model: VitalForConditionalGeneration, args: LoraArguments) -> LoraConfig:
    """Returns the configuration with which PEFT adds the adapters.

    Args:
        model (`VitalForConditionalGeneration`): its decoder's linear layers are the targets.
        args (`LoraArguments`): with a `lora_rank`.
    """
    decoder = model.model.language_model
    linear = {name.rpartition(".")[2] for name, part in decoder.named_modules() if isinstance(part, nn.Linear)}
    return LoraConfig(
        r=args.lora_rank,
        lora_alpha=2 * args.lora_rank if args.lora_alpha is None else args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=rf".*\blanguage_model\..*\b({'|'.join(sorted(linear))})",
        modules_to_save=PROJECTORS,
    )


def quantization_config() -> BitsAndBytesConfig:
    """4 bits (NF4) for the decoder's layers, and for nothing else."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        # From the root: transformers matches from the start of a name.
        llm_int8_skip_modules=[
            "lm_head",
            *(f"model.{part}" for part in ("vision_tower", "motion_encoder", *PROJECTORS)),
        ],
    )


def merge(base: str, adapter: Path, output_dir: Path, dtype: torch.dtype) -> None:
    """Writes the model that an adapter makes of its base, whole, on the CPU.

    The base is read again as it is stored: added to weights of 4 bits, what was learned would be rounded away.

    Args:
        base (`str`): checkpoint that the adapter was trained on.
        adapter (`Path`): folder of the adapter.
        output_dir (`Path`): where the model goes.
        dtype (`torch.dtype`): of the model that is written.
    """
    model = VitalForConditionalGeneration.from_pretrained(base, dtype=dtype)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(output_dir)
