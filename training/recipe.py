"""Recipes: a YAML file of settings, any of which the command line can override."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from trl import SFTConfig, TrlParser

from modeling_vital.whole_files import write_whole
from modeling_vital.yaml_file import read_yaml
from training.data import DataArguments
from training.lora import STAGES_WITH_LORA, LoraArguments
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


STAGE_DEFAULTS = {"assistant": {"prompt_decoupling": False, "focal_beta": 0.0, "learning_rate": 1e-5}}
"""Settings whose default in a stage is another one than everywhere else."""


class RecipeError(ValueError):
    """A recipe or the command line is wrong; the message says where."""


@dataclass
class RunArguments:
    """Model and output of a run, and what is asked before it starts."""

    model: str | None = field(
        default=None, metadata={"help": "Checkpoint to start from: a folder, hub id or embedded name."}
    )
    decoder_dtype: str | None = field(
        default=None,
        metadata={"help": "Dtype of a frozen decoder, e.g. bfloat16: half the memory. What learns is float32."},
    )
    decoder_4bit: bool = field(
        default=False,
        metadata={
            "help": "Keep the layers of a frozen decoder, adapters or not, in 4 bits (nf4); needs bitsandbytes."
        },
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


def parse_recipe(
    topics: Sequence[type], arguments: Sequence[str] | None, description: str | None, **defaults: Any
) -> tuple[Any, ...]:
    """Reads `--config RECIPE.yaml` and what the command line overrides, into dataclasses.

    Args:
        topics (`Sequence[type]`): dataclasses whose fields are the settings.
        arguments (`Sequence[str]` or `None`): the command line; `None`: of this process.
        description (`str` or `None`): head of `--help`.
        defaults: of single settings, before those of the dataclasses.

    Raises:
        RecipeError: for an unknown key, a value out of range, or a file that is no recipe.
    """
    parser = TrlParser(
        topics,
        description=description,
        epilog="--config RECIPE.yaml is read first; every option above can stand in it, without the dashes.",
        allow_abbrev=False,
    )
    parser.set_defaults(**defaults)
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if "--config" in given[:-1]:
            read_yaml(given[given.index("--config") + 1])  # the parser's own reader takes a key that is given twice
        return parser.parse_args_and_config(given)
    except FileNotFoundError as error:
        raise RecipeError(f"There is no recipe {error.filename!r}.") from error
    except (OSError, ValueError, TypeError, IndexError, yaml.YAMLError) as error:
        reason = str(error).replace(
            "Some specified arguments are not used by the HfArgumentParser:", "unknown options"
        )
        raise RecipeError(f"The recipe cannot be used: {reason}") from error


@dataclass
class Recipe:
    """All settings of a run, by topic; in the file and on the command line they stand side by side.

    Attributes:
        run (`RunArguments`): what is trained.
        data (`DataArguments`): the rows.
        loss (`LossConfig`): the loss.
        training (`VitalTrainingConfig`): how long, how fast, where to.
        lora (`LoraArguments`): adapters.
    """

    run: RunArguments
    data: DataArguments
    loss: LossConfig
    training: VitalTrainingConfig
    lora: LoraArguments = field(default_factory=LoraArguments)

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
        topics = (RunArguments, DataArguments, LossConfig, VitalTrainingConfig, LoraArguments)
        recipe = cls(*parse_recipe(topics, arguments, description, stage=stage, **STAGE_DEFAULTS.get(stage, {})))
        if recipe.training.stage != stage:
            raise RecipeError(f"This is a recipe for {recipe.training.stage!r}, the script is for {stage!r}.")
        if recipe.lora.lora_rank is not None and stage not in STAGES_WITH_LORA:
            raise RecipeError(f"`lora_rank` is for a decoder that learns; in stage {stage!r} it is frozen.")
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
        merged = {**vars(self.run), **vars(self.data), **vars(self.loss), **vars(self.lora), **training}
        return {name: value for name, value in merged.items() if value is not None and name != "estimate"}

    def save(self, path: Path, portable: bool = False) -> None:
        """Writes the resolved recipe; as `--config` it repeats the run.

        Args:
            path (`Path`): the file.
            portable (`bool`, *optional*, defaults to `False`): without absolute paths, as for a file that may be
                published, see [`portable_settings`]. It repeats the run where what lies outside the current folder is
                given anew.
        """
        settings = portable_settings(self.to_dict()) if portable else self.to_dict()
        write_whole(path, yaml.safe_dump(settings, sort_keys=False))


def portable_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Makes settings tell nothing of the machine they were made on.

    Args:
        settings (`dict`): names to values, lists and mappings among them.

    Returns:
        `dict`: the same with every absolute path relative to the current folder, or, outside of it, by its last name.
    """

    def portable(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: portable(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [portable(each) for each in value]
        if not isinstance(value, str | Path):
            return value
        path, here = Path(value), Path.cwd()
        if path.is_absolute() and path.is_relative_to(here):
            return str(path.relative_to(here))
        return path.name if path.is_absolute() or str(value).startswith("~/") else str(value)

    return portable(settings)
