"""Sources of pictures and clips: one file a kind of source.

To add one: a dataclass with a `name` that iterates over [`SourceItem`], and a line in the table below.
"""

import dataclasses
from importlib import import_module
from typing import Any

from dataset_scripts.sources.base import Source, SourceError, SourceItem


__all__ = ["SOURCES", "Source", "SourceError", "SourceItem", "get_source"]

SOURCES = {
    "folder": "folder:FolderSource",
    "manifest": "manifest:ManifestSource",
    "hub": "hub:HubSource",
    "webdataset": "webdataset:WebDatasetSource",
    "registry": "package_source:PackageSource",
}
"""Kind -> `module:Class`, the module relative to this package; imported when it is first used."""


def get_source(kind: str = "", **options: Any) -> Source:
    """Makes a source.

    Args:
        kind (`str`): key in `SOURCES`.
        **options: arguments of its class.

    Returns:
        [`Source`]: ready to iterate.

    Raises:
        SourceError: the kind or an option is unknown, or the source cannot be read.
    """
    if kind not in SOURCES:
        raise SourceError(f"unknown kind of source {kind!r}; known are {', '.join(SOURCES)}")
    module, _, name = SOURCES[kind].partition(":")
    cls = getattr(import_module(f"{__name__}.{module}"), name)
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    unknown = sorted(set(options) - set(known))
    if unknown or "path" not in options:
        problem = f"has no option {', '.join(map(repr, unknown))}" if unknown else "needs a path"
        raise SourceError(f"source {kind!r} {problem}; its options are {', '.join(known)}")
    return cls(**options)
