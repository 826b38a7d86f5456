"""Source and destination of an export: a checkpoint's folder, and a new folder that is whole or not there."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..messages import first_line
from ..whole_files import whole_folder


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
    with contextlib.ExitStack() as stack:
        try:
            partial = stack.enter_context(whole_folder(destination))
        except OSError as error:
            raise ExportError(f"{destination} cannot be made: {error.strerror}.") from error
        yield partial
        for path in partial.iterdir():
            path.chmod(0o666 & ~_umask())  # safetensors' files are for their owner only


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
