"""Interface of a source, which yields originals, lazily and always in the same order."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from modeling_vital import media_suffixes


UNKNOWN_LICENSE = "unknown"

MEDIA_SUFFIXES = media_suffixes.MEDIA_SUFFIXES | {".ts"}  # what is given as data is not searched for among code


class SourceError(ValueError):
    """A source that cannot be read at all, or is described wrongly. One bad item is no `SourceError`."""


@dataclass(frozen=True)
class SourceItem:
    """One original picture or clip, not yet opened: whether it is one or the other is decided by its content.

    Attributes:
        name (`str`): what messages and the provenance call it; the same on every machine.
        media (`Path` or `bytes`): the file.
        license (`str`): of this item.
        content_id (`str`, *optional*): what groups items made from one original, where the source knows. Without it
            the item is an original of its own, named by the hash of its bytes.
        split (`str`, *optional*): split the source demands.
        details (`dict[str, str]`): what else is known of where it comes from.
        problem (`str`): why the source cannot give its media, which are empty then; empty if it can.
    """

    name: str
    media: Path | bytes
    license: str = UNKNOWN_LICENSE
    content_id: str | None = None
    split: str | None = None
    details: dict[str, str] = field(default_factory=dict)
    problem: str = ""


class Source(Protocol):
    """A source: an iterable of [`SourceItem`] with a name.

    Iterating anew starts from the beginning, in the same order. Errors of the source as a whole are [`SourceError`];
    an item that cannot be read is yielded all the same, for the pipeline to write down why it was dropped.
    """

    name: str

    def __iter__(self) -> Iterator[SourceItem]: ...


def from_position(source: Iterable[SourceItem], start: int, limit: int | None) -> Iterator[tuple[int, SourceItem]]:
    """The items of a source with their positions, from `start` on, up to `limit` items in all."""
    return itertools.islice(enumerate(source), start, limit)


def text_details(row: dict[str, Any], leave_out: Iterable[str]) -> dict[str, str]:
    """The scalar fields of a row as text, without empty ones and those in `leave_out`."""
    skip = set(leave_out)
    return {
        key: str(value)
        for key, value in row.items()
        if key not in skip and isinstance(value, str | int | float | bool) and value != ""
    }
