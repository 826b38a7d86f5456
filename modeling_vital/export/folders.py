"""Where an export comes from and where it goes: a checkpoint's folder, and a new folder that is whole or not there."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..messages import first_line


class ExportError(ValueError):
    """The export cannot be made: its message says what is wrong and what to do."""


def checkpoint_folder(source: str) -> Path:
    """The local folder of a checkpoint; one on the Hub is downloaded into the cache.

    Args:
        source (`str`): a folder, or a Hub id.

    Raises:
        ExportError: if the Hub has no such checkpoint, or cannot be asked.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ExportError(f"{source!r} cannot be downloaded: {first_line(error)}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed `config.json` of a checkpoint.

    Raises:
        ExportError: if it is missing or not JSON.
    """
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ExportError(f"{folder} holds no checkpoint: its config.json cannot be read ({error}).") from error


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes JSON for people to read."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A folder to write into, beside the destination, which takes the destination's name when all went well.

    An exception, Ctrl-C included, removes it: there is never a half-written destination.

    Args:
        destination (`Path`): what must not exist yet.

    Raises:
        ExportError: if the destination exists, or its parent cannot be written to.
    """
    if os.path.lexists(destination):
        raise ExportError(f"{destination} exists; an export makes a new folder. Remove it or choose another name.")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{destination.name}.partial-", dir=destination.parent))
    except OSError as error:
        raise ExportError(f"{destination} cannot be made: {error.strerror}.") from error
    try:
        yield partial
        mask = _umask()
        partial.chmod(0o777 & ~mask)  # mkdtemp's folder and safetensors' files are for their owner only
        for path in partial.iterdir():
            path.chmod(0o666 & ~mask)
        partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
