"""The error about an item, and the names of items in messages. No torch here: decoding processes start fast."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


logger = logging.getLogger(__name__)


class MediaError(ValueError):
    """A picture or video that cannot be used. The message names the item, what is wrong and what to do."""


def is_array(item: Any) -> bool:
    """Returns `True` if an item is a NumPy array or a tensor; without torch imported, nothing is a tensor."""
    torch = sys.modules.get("torch")
    return isinstance(item, np.ndarray) or (torch is not None and isinstance(item, torch.Tensor))


def describe_item(item: Any) -> str:
    """Names an item for a message: its file name where it has one, else its kind and size."""
    if isinstance(item, dict):
        data, path = item.get("bytes"), item.get("path")
        return repr(str(path)) if path else describe_item(data) if data else f"a dict with keys {list(item)}"
    if isinstance(item, str | Path):
        text = str(item)
        return repr(text if len(text) <= 300 else f"{text[:297]}...")
    if isinstance(item, bytes | bytearray | memoryview):
        return f"<{len(item)} bytes>"
    if isinstance(item, Image.Image):
        file = getattr(item, "filename", "")
        return repr(file) if file else f"<{item.mode} image {item.width}x{item.height}>"
    if is_array(item):
        return f"<{str(item.dtype).removeprefix('torch.')} array {list(item.shape)}>"
    if isinstance(item, list | tuple):
        return f"<list of {len(item)}>"
    return getattr(item, "name", None) or f"<{type(item).__name__}>"


@contextlib.contextmanager
def item_errors(item: Any) -> Iterator[None]:
    """Turns whatever is raised inside the block into a [`MediaError`] of the item, with the exception's name.

    One item never ends a run, so everything that reads, decodes, converts or prepares an item happens in such a block:
    [`load_media`], the frames of a `Clip`, `MediaCutter` and the workers of `read_ahead`. A `MediaError` passes
    as it is.

    Args:
        item: a media item, see [`describe_item`].

    Raises:
        MediaError: for any other `Exception` in the block.
    """
    try:
        yield
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaError(f"{describe_item(item)} is too large: {error}; shrink it.") from error
    except MemoryError as error:
        raise MediaError(f"{describe_item(item)} needs more memory than there is (MemoryError); shrink it.") from error
    # A damaged file makes decoders raise almost any type: OSError, SyntaxError, struct.error, IndexError...
    except Exception as error:
        logger.debug("%s cannot be read.", describe_item(item), exc_info=True)
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise MediaError(
            f"{describe_item(item)} cannot be decoded ({reason}); it is damaged or cut short, or of a form that is "
            "not supported: get a whole copy, or convert it."
        ) from error
