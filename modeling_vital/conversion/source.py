"""Sources of weights: a folder or a Hub repository, read one shard at a time."""

import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..hub_ids import is_hub_id
from ..messages import first_line
from .errors import ConversionError, ConversionUsageError
from .slowfast import state_dict_of


_HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "LICENSE*", "NOTICE*"]
_SAFETENSORS, _PICKLES = ("model.safetensors", "*.safetensors"), ("pytorch_model.bin", "*.bin")

# safetensors' names of the data types of its headers.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Shard:
    """One file of weights: safetensors, or a pickle that holds tensors and nothing else.

    Args:
        path (`Path`): the file.
    """

    def __init__(self, path: Path):
        self.path = path
        self.is_pickle = path.suffix != ".safetensors"

    def headers(self) -> dict[str, torch.Tensor]:
        """Every key with its tensor on the device `"meta"`: shape and dtype without the data.

        Raises:
            ConversionError: if the file cannot be read.
        """
        if self.is_pickle:
            return dict(self._unpickled("meta"))
        try:
            with safe_open(self.path, "pt") as file:
                slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
                return {
                    key: torch.empty(part.get_shape(), dtype=_DTYPES[part.get_dtype()], device="meta")
                    for key, part in slices.items()
                }
        except KeyError as error:
            raise ConversionError(f"{self.path} holds tensors of the type {error}, which is not known here.") from None
        except (SafetensorError, OSError) as error:
            raise ConversionError(f"{self.path} cannot be read as safetensors, download it again: {error}") from error

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every key with its tensor, one after the other, mapped from the file where its format allows."""
        if self.is_pickle:
            yield from self._unpickled("cpu").items()
            return
        with safe_open(self.path, "pt") as file:
            for key in file.keys():  # noqa: SIM118
                yield key, file.get_tensor(key)

    def fingerprint(self) -> list:
        """Fingerprint that tells this file from another, or from a later one of its name, without reading it."""
        status = self.path.resolve().stat()
        return [str(self.path.resolve()), status.st_size, status.st_mtime_ns]

    def _unpickled(self, device: str) -> Mapping[str, torch.Tensor]:
        options: dict[str, Any] = {"map_location": device, "weights_only": True}
        try:
            try:
                loaded = torch.load(self.path, mmap=True, **options)
            except RuntimeError:  # the file format before torch 1.6 cannot be mapped
                loaded = torch.load(self.path, **options)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            first = first_line(error)
            raise ConversionError(
                f"{self.path} cannot be read as weights; files that hold more than tensors are not opened, because "
                f"they can run code: {first}"
            ) from error
        return state_dict_of(loaded, str(self.path))


class Source:
    """A published model in a local folder.

    Args:
        folder (`Path`): with `config.json` and weights.
        name (`str`): how the user called it.

    Attributes:
        config (`dict`): what `config.json` says.
        shards (`list[Shard]`): the files of weights, in order.

    Raises:
        ConversionUsageError: if it is not a folder with a model in it.
        ConversionError: if a file cannot be read or shards are missing.
    """

    def __init__(self, folder: Path, name: str):
        self.folder, self.name = folder, name
        path = folder / "config.json"
        if not path.is_file():
            raise ConversionUsageError(f"{name} holds no model: it has no config.json.")
        self.config: dict[str, Any] = _read_json(path)
        self.shards = [Shard(file) for file in self._weight_files()]

    def _weight_files(self) -> list[Path]:
        for single, pattern in (_SAFETENSORS, _PICKLES):
            indices = sorted(self.folder.glob(f"{single}.index.json"))
            if indices:
                found = _read_json(indices[0]).get("weight_map")
                files: list[Any] = list(found.values()) if isinstance(found, dict) else [None]
                if not all(isinstance(file, str) and Path(file).name == file for file in files):
                    raise ConversionError(f"{indices[0]} has no `weight_map` from tensors to files beside it.")
                names = sorted(set(files))
                missing = [name for name in names if not (self.folder / name).is_file()]
                if missing or not names:
                    raise ConversionError(f"{self.name}: {indices[0].name} names files that are missing: {missing}.")
                return [self.folder / name for name in names]
            if (self.folder / single).is_file():
                return [self.folder / single]
            found = sorted(self.folder.glob(pattern))
            if len(found) == 1:
                return found
        raise ConversionUsageError(
            f"{self.name} holds no weights: neither model.safetensors nor pytorch_model.bin, whole or in shards."
        )

    def headers(self) -> dict[Path, dict[str, torch.Tensor]]:
        """The headers of each shard.

        Raises:
            ConversionError: if a key is in two shards.
        """
        headers: dict[Path, dict[str, torch.Tensor]] = {}
        home: dict[str, Path] = {}
        for shard in self.shards:
            headers[shard.path] = shard.headers()
            twice = headers[shard.path].keys() & home.keys()
            if twice:
                raise ConversionError(f"{self.name}: in more than one shard: {', '.join(sorted(twice))}.")
            home.update(dict.fromkeys(headers[shard.path], shard.path))
        return headers


def open_source(name: str, revision: str | None = None) -> Source:
    """Opens a local folder, or a Hub repository after downloading it.

    Args:
        name (`str`): a folder or a Hub id.
        revision (`str`, *optional*): branch, tag or commit of the Hub repository.

    Raises:
        ConversionUsageError: if there is no such folder or repository.
    """
    if Path(name).is_dir():
        return Source(Path(name), name)
    if not is_hub_id(name):
        raise ConversionUsageError(f"{name!r} is neither a folder nor a Hub id like org/name.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, "*.safetensors"])
        if not any(Path(folder).glob("*.safetensors")):
            folder = snapshot_download(name, revision=revision, allow_patterns=[*_HUB_FILES, "*.bin"])
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = first_line(error)
        raise ConversionUsageError(f"There is no folder {name!r}, and the Hub does not give it: {first}") from error
    return Source(Path(folder), name)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ConversionError(f"{path} has to hold a JSON object.")
    return content
