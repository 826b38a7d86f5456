"""The cases of a parity folder: what was put into the released code, and what came out, as found in the files."""

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from .errors import ConversionUsageError


@dataclass(frozen=True)
class Constants:
    """Constants that the cases of all folders beside `common/` were made with.

    Attributes:
        mean, std (`tuple[float, ...]`): normalisation of pixels in [0, 1], a channel.
        levels (`list[int]`): ids of the level words, best first.
        context_id (`int`): id of the placeholder of image and motion tokens.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    levels: list[int]
    context_id: int

    @classmethod
    def read(cls, common: Path) -> "Constants":
        """Reads `pattern_and_constants.py` without running it.

        Args:
            common (`Path`): the folder `common/`.

        Raises:
            ConversionUsageError: if it is not there, or does not say what is needed.
        """
        path = common / "pattern_and_constants.py"
        if not path.is_file():
            raise ConversionUsageError(f"There is no {path}: the folder common/ has to be beside the checkpoint's.")
        found = {}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                try:
                    found[node.targets[0].id] = ast.literal_eval(node.value)
                except ValueError:
                    continue  # an expression: none of the constants is
        try:
            return cls(tuple(found["MEAN"]), tuple(found["STD"]), list(found["LEVELS"]), int(found["CTX"]))
        except KeyError as error:
            raise ConversionUsageError(f"{path} does not say what {error} is.") from error


@dataclass(frozen=True)
class Case:
    """One case: inputs, and the released code's numbers.

    Attributes:
        name (`str`): name of its file.
        tensors (`dict[str, torch.Tensor]`): what the file holds.
        pixels (`torch.Tensor` of shape `(num_tiles, 3, height, width)`): uint8 tiles or frames.
        scores (`dict[str, dict]`): the numbers of `scores.json` by position, such as `"position_minus3"`.
    """

    INPUTS: ClassVar[frozenset[str]] = frozenset(
        {"input_ids", "labels", "image_flags", "modality", "attention_mask", "position_ids", "pixel_values"}
    )

    name: str
    tensors: dict[str, torch.Tensor]
    pixels: torch.Tensor
    scores: dict[str, dict] = field(default_factory=dict)

    @property
    def is_video(self) -> bool:
        """`True` if its pixels are frames of a clip; else they are tiles of a picture."""
        return bool(self.tensors["modality"].flatten()[0] != 0)

    @property
    def shown(self) -> torch.Tensor:
        """`torch.BoolTensor` of shape `(num_tiles,)`: which tiles or frames the image encoder sees."""
        return self.tensors["image_flags"].flatten() == 1


def find_cases(folder: Path, common: Path) -> list[Case]:
    """The cases of a folder: each safetensors file with ids, flags and outputs in it.

    Args:
        folder (`Path`): where the case files are, and `scores.json`.
        common (`Path`): where `inputs.safetensors` is, with the pixels `NAME_u8` of the cases `NAME_*`.

    Raises:
        ConversionUsageError: if there is no case, or one without its pixels, or a file cannot be read.
    """
    scores = read_scores(folder)
    cases = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                keys = set(file.keys())
        except (SafetensorError, OSError) as error:
            raise ConversionUsageError(f"{path} cannot be read: {error}") from error
        if {"input_ids", "image_flags", "modality"} <= keys:
            numbers = {
                position: values for position, values in scores.get(path.stem, {}).items() if isinstance(values, dict)
            }
            cases.append(Case(path.stem, load_file(path), _pixels(path.stem, (folder, common)), numbers))
    if not cases:
        raise ConversionUsageError(
            f"{folder} has no case: no safetensors file with input_ids, image_flags and modality. Name the folder "
            "that has them with --numbers."
        )
    return cases


def read_scores(folder: Path) -> dict[str, dict]:
    """Reads `scores.json`, by case; nothing where there is no such file.

    Raises:
        ConversionUsageError: if it cannot be read.
    """
    path = folder / "scores.json"
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionUsageError(f"{path} cannot be read as JSON: {error}") from error


def _pixels(case: str, folders: tuple[Path, ...]) -> torch.Tensor:
    """The pixels whose name is the longest beginning of the case's."""
    for folder in folders:
        path = folder / "inputs.safetensors"
        if path.is_file():
            with safe_open(path, "pt") as file:
                names = [key for key in file.keys() if key.endswith("_u8")]  # noqa: SIM118
                stems = {name.removesuffix("_u8"): name for name in names}
                fitting = [stem for stem in stems if case == stem or case.startswith(stem + "_")]
                if fitting:
                    return file.get_tensor(stems[max(fitting, key=len)])
    raise ConversionUsageError(f"The case {case!r} has no pixels: no inputs.safetensors with a fitting NAME_u8.")
