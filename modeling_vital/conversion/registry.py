"""The layouts that `vital convert` knows, and how a source's is found."""

from collections.abc import Collection
from typing import Any

from .errors import ConversionError
from .internvl import InternVLLayout
from .internvl_hf import InternVLHfLayout
from .layout import Layout
from .probe import ProbeLayout
from .released import ReleasedLayout
from .vision_encoder import VisionEncoderLayout


LAYOUTS: tuple[Layout, ...] = (
    *(ReleasedLayout(), ProbeLayout(), InternVLLayout(), InternVLHfLayout(), VisionEncoderLayout()),
)
"""Every layout, one a file. At most one recognises a source."""


def find_layout(config: dict[str, Any], keys: Collection[str], name: str) -> Layout:
    """The layout of a source.

    Args:
        config (`dict`): its `config.json`.
        keys (`Collection[str]`): the keys of its weights.
        name (`str`): what to call it in the error.

    Raises:
        ConversionError: if it is of none of them.
    """
    for layout in LAYOUTS:
        if layout.recognises(config, keys):
            return layout
    parts = sorted({key.split(".")[0] for key in keys})
    raise ConversionError(
        f"{name} is of no layout known here ({'; '.join(layout.name for layout in LAYOUTS)}): model_type "
        f"{config.get('model_type')!r} with weights of {', '.join(parts[:12]) or 'nothing'}."
    )
