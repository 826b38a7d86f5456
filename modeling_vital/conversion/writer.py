"""Writing a checkpoint shard by shard into a folder beside its destination, which it replaces when it is complete."""

import hashlib
import json
import logging
import shutil
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..whole_files import remove_partial, whole_file
from .errors import ConversionError, ConversionUsageError
from .source import DTYPE_NAMES


logger = logging.getLogger(__name__)

_PLAN = "plan.json"


@dataclass(frozen=True)
class Part:
    """One shard to be written.

    Args:
        tensors (`Mapping[str, torch.Tensor]`): name to meta tensor: what it will hold.
        read (`Callable`): gives the tensors themselves, one after the other, in any order.
    """

    tensors: Mapping[str, torch.Tensor]
    read: Callable[[], Iterable[tuple[str, torch.Tensor]]]

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def check_destination(destination: Path) -> None:
    """Makes sure that a conversion would overwrite nothing.

    Raises:
        ConversionUsageError: if there is something at the destination.
    """
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise ConversionUsageError(f"{destination} exists already: name another folder, or remove it.")


class Workspace:
    """The folder beside the destination in which a conversion happens.

    It is named so that nothing takes it for a checkpoint, keeps what is finished when the work is interrupted, and
    becomes the destination in one step at the end.

    Args:
        destination (`Path`): the folder to be made; it must not exist, or be empty.
        plan (`object`): anything JSON can hold that is equal exactly when finished shards can be used again.

    """

    def __init__(self, destination: Path, plan: object):
        self.destination = destination.absolute()
        self.folder = self.destination.parent / f".{self.destination.name}.converting"
        digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
        written = self.folder / _PLAN
        if self.folder.exists() and (not written.is_file() or written.read_text() != digest):
            logger.warning("%s is of another conversion, or of changed files: starting anew", self.folder)
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        written.write_text(digest)

    def write_weights(self, parts: list[Part], advance: Callable[[int], None]) -> None:
        """Writes every part that is not finished yet, and the index.

        Args:
            parts (`list[Part]`): one a shard.
            advance (`Callable[[int], None]`): is told the bytes of each tensor that is done.

        Raises:
            ConversionError: if there is too little room on the disk.
        """
        names = ["model.safetensors"]
        if len(parts) > 1:
            names = [f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors" for i in range(len(parts))]
        finished = [_is_finished(self.folder / name, part) for name, part in zip(names, parts, strict=True)]
        needed = sum(part.size for part, done in zip(parts, finished, strict=True) if not done)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ConversionError(
                f"The weights take another {needed / 1e9:.1f} GB, and {self.folder.parent} has {free / 1e9:.1f} GB."
            )
        for name, part, done in zip(names, parts, finished, strict=True):
            if done:
                advance(part.size)
            else:
                _write_shard(self.folder / name, part, advance)
        if len(parts) > 1:
            weight_map = {key: name for name, part in zip(names, parts, strict=True) for key in part.tensors}
            index = {
                "metadata": {"total_size": sum(part.size for part in parts)},
                "weight_map": dict(sorted(weight_map.items())),
            }
            text = json.dumps(index, indent=2) + "\n"
            (self.folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")

    def finish(self) -> None:
        """Makes the folder the destination."""
        (self.folder / _PLAN).unlink()
        remove_partial(self.folder)
        if self.destination.exists():
            self.destination.rmdir()
        self.folder.rename(self.destination)


def _layout(tensors: Mapping[str, torch.Tensor]) -> tuple[bytes, dict[str, int]]:
    """The header of a safetensors file, and where in the file each tensor begins."""
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    offset, offsets = 0, {}
    # The widest types first, so that every tensor begins at a multiple of its width.
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        tensor = tensors[name]
        offsets[name] = offset
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.nbytes],
        }
        offset += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    return struct.pack("<Q", len(text)) + text, {name: start + offset for name, offset in offsets.items()}


def _write_shard(path: Path, part: Part, advance: Callable[[int], None]) -> None:
    """Writes a safetensors file tensor by tensor: `safetensors.torch.save_file` holds all of it in memory, twice."""
    header, offsets = _layout(part.tensors)
    waiting = set(part.tensors)
    with whole_file(path) as unfinished:
        with open(unfinished, "wb") as file:
            file.write(header)
            for name, tensor in part.read():
                waiting.remove(name)
                planned = part.tensors[name]
                if (tensor.shape, tensor.dtype) != (planned.shape, planned.dtype):
                    raise ConversionError(f"{name} changed in the source during the conversion.")
                file.seek(offsets[name])
                file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
                advance(tensor.nbytes)
        if waiting:
            raise ConversionError(f"{sorted(waiting)} vanished from the source during the conversion.")


def _is_finished(path: Path, part: Part) -> bool:
    if not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            return set(file.keys()) == set(part.tensors)
    except (SafetensorError, OSError):
        return False
