"""What is wrong with an item, and what to call it. No torch here: decoding processes start fast."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


class MediaError(ValueError):
    """A picture or video that cannot be used. The message names the item, what is wrong and what to do."""


def is_array(item: Any) -> bool:
    """Whether an item is a NumPy array or a tensor; without torch imported, nothing is a tensor."""
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
        return (
            repr(item.filename) if getattr(item, "filename", "") else f"<{item.mode} image {item.width}x{item.height}>"
        )
    if is_array(item):
        return f"<{str(item.dtype).removeprefix('torch.')} array {list(item.shape)}>"
    if isinstance(item, list | tuple):
        return f"<list of {len(item)}>"
    return getattr(item, "name", None) or f"<{type(item).__name__}>"
