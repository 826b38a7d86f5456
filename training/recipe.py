"""Recipes: a YAML file of settings, any of which the command line can override."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from trl import SFTConfig, TrlParser

from training.data import DataArguments
from training.losses import LossConfig
from training.trainer import VitalTrainingConfig


_FOLLOWS = (
    "accelerator_config",
    "dataset_kwargs",
    "do_eval",
    "activation_checkpointing",
    "gradient_checkpointing_kwargs",
)
"""Settings that the training configuration derives from others."""


class RecipeError(ValueError):
    """A recipe or the command line is wrong; the message says where."""


@dataclass
class RunArguments:
    """What is trained, and what is asked before it starts."""

    model: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: a folder, hub id or embedded name."}
    )
    decoder_dtype: str | None = field(
        default=None,
        metadata={"help": "Dtype of a frozen decoder, e.g. bfloat16: half the memory. What learns is float32."},
    )
    decoder_4bit: bool = field(
        default=False, metadata={"help": "Keep the layers of a frozen decoder in 4 bits (nf4); needs bitsandbytes."}
    )
    estimate: bool = field(default=False, metadata={"help": "Print the memory and time the run needs, and stop."})
    num_devices: int | None = field(
        default=None, metadata={"help": "Devices the estimate is for; by default the processes that run."}
    )
    device_tflops: float | None = field(
        default=None,
        metadata={"help": "Peak bfloat16 TFLOP/s of a device, for the estimate; by default this one is measured."},
    )
    expected_model: str | None = field(
        default=None,
        metadata={"help": "Zoo name whose sizes the estimate assumes where `model` is not at hand."},
    )
    expected_rows: int | None = field(
        default=None, metadata={"help": "Rows the estimate assumes where the data set is not at hand."}
    )
    expected_visual_tokens: int = field(
        default=1280, metadata={"help": "Visual tokens of an item that the estimate assumes then."}
    )


@dataclass
class Recipe:
    """All settings of a run.

    Attributes:
        run (`RunArguments`), data (`DataArguments`), loss (`LossConfig`), training (`VitalTrainingConfig`): by topic;
            in the file and on the command line they stand side by side.
    """

    run: RunArguments
    data: DataArguments
    loss: LossConfig
    training: VitalTrainingConfig

    @classmethod
    def parse(cls, stage: str, arguments: Sequence[str] | None = None, description: str | None = None) -> "Recipe":
        """Reads `--config RECIPE.yaml` and what the command line overrides.

        Args:
            stage (`str`): of the script; a recipe for another one is an error.
            arguments (`Sequence[str]`, *optional*): the command line.
            description (`str`, *optional*): head of `--help`.

        Raises:
            RecipeError: for an unknown key, a value out of range, or a file that is no recipe.
        """
        parser = TrlParser(
            (RunArguments, DataArguments, LossConfig, VitalTrainingConfig),
            description=description,
            epilog="--config RECIPE.yaml is read first; every option above can stand in it, without the dashes.",
            allow_abbrev=False,
        )
        parser.set_defaults(stage=stage)
        try:
            recipe = cls(*parser.parse_args_and_config(arguments))
        except (OSError, ValueError, TypeError, IndexError, yaml.YAMLError) as error:
            raise RecipeError(f"The recipe cannot be used: {error}") from error
        if recipe.training.stage != stage:
            raise RecipeError(f"This is a recipe for {recipe.training.stage!r}, the script is for {stage!r}.")
        if recipe.run.model is None:
            raise RecipeError("No model: give `model`, the folder or hub id of the checkpoint to start from.")
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """The recipe as one flat mapping: all of this package's settings, and what else differs from its default."""
        fields = {f.name: f for f in dataclasses.fields(VitalTrainingConfig)}
        own = fields.keys() - {f.name for f in dataclasses.fields(SFTConfig)}
        training = {
            name: value
            for name, value in self.training.to_dict().items()
            if name in own
            or name == "output_dir"
            or (name in fields and value != fields[name].default and name not in _FOLLOWS and "token" not in name)
        }
        merged = {**vars(self.run), **vars(self.data), **vars(self.loss), **training}
        return {name: value for name, value in merged.items() if value is not None and name != "estimate"}

    def save(self, path: Path) -> None:
        """Writes the resolved recipe; as `--config` it repeats the run."""
        path.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False), encoding="utf-8")
