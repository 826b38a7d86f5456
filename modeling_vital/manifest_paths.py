"""Paths that a manifest names: they stay inside the manifest's root unless the user says otherwise."""

import os
import re
from pathlib import Path

from .hub_ids import is_hub_id
from .media_vital import MediaError, describe_item


MAX_ENTRY_CHARS = 4096
"""Characters of an entry: what Linux takes at most for a path. Resolving a longer one would cost minutes."""

_IN_ARCHIVE = re.compile(r"^(?:zip|tar|gzip|bz2|xz|lz4|zstd)://")
_ADDRESS_OR_DRIVE = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*:")


def resolve_entry(root: str | Path, entry: str | Path, *, allow_outside: bool = False) -> Path:
    """The file that an entry of a manifest stands for.

    A manifest may come from a stranger: an entry must not make a run read, and a report show, other files of the user.

    Args:
        root (`str` or `Path`): the folder that the entries are relative to.
        entry (`str` or `Path`): a path as it stands in the manifest.
        allow_outside (`bool`, defaults to `False`): whether absolute paths, `..` and links may lead out of `root`.

    Returns:
        `Path`: `root / entry`, which need not exist.

    Raises:
        MediaError: for an entry that is empty, too long, no file name, an address, or leads out of `root`, also by a
            link.
    """
    name = describe_item(entry)
    if len(os.fspath(entry)) > MAX_ENTRY_CHARS:
        raise MediaError(f"{name} has {len(os.fspath(entry)):,} characters; a path has {MAX_ENTRY_CHARS:,} at most.")
    try:
        encoded = os.fsencode(entry)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        encoded = b""
    if not encoded or b"\0" in encoded:
        raise MediaError(f"{name} is not a path; mend the manifest.")
    path = Path(root) / entry
    if allow_outside:
        return path
    if _ADDRESS_OR_DRIVE.match(os.fspath(entry)):
        raise MediaError(f"{name} is an address or names a drive; give paths relative to the manifest's folder.")
    # Resolved, not compared as text: `a/../../b` and links lead out as well. A backslash is a separator elsewhere.
    resolved = Path(os.path.realpath(Path(root) / os.fspath(entry).replace("\\", "/")))
    inside = all(Path(os.path.realpath(p)).is_relative_to(os.path.realpath(root)) for p in (resolved, path))
    if not inside:
        raise MediaError(
            f"{name} leads out of {str(root)!r}; move the file below it, or allow paths outside if you trust it."
        )
    return path


def belongs_to_dataset(path: str, dataset: str) -> bool:
    """Says whether a path that stands in a row of a data set is that of one of its files.

    Args:
        path (`str`): as the row has it: a path of this machine, an address on the Hub, or either behind the name of a
            file in an archive (`zip://a.jpg::...`).
        dataset (`str`): the data set's folder, or its id on the Hub.

    Returns:
        `bool`: `False` for any other file of this machine and any other address.
    """
    *members, place = path.split("::")
    if not all(_IN_ARCHIVE.match(member) for member in members):  # what is opened is the first of a chain
        return False
    if not os.path.isdir(dataset):
        return place.startswith((f"hf://datasets/{dataset}@", f"hf://datasets/{dataset}/")) and ".." not in place
    try:
        return resolve_entry(dataset, Path.cwd() / place) is not None
    except MediaError:
        return False


def missing_folder(dataset: str) -> str | None:
    """Says what is wrong with a data set's name that is most likely a mistyped folder, before the Hub is asked.

    Args:
        dataset (`str`): a folder, or an id on the Hub, `org/name`.

    Returns:
        `str`, *optional*: the message; `None` for a folder that is there, and for what may be an id.
    """
    if os.path.exists(dataset):
        return None
    if not is_hub_id(dataset):
        return f"there is no folder {dataset!r}, and an id of a data set on the Hub is org/name"
    if os.path.isdir(parent := os.path.dirname(dataset)):
        return f"there is no folder {dataset!r}, though there is {parent!r}"
    return None
