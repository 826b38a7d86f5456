"""Paths that a manifest names: they stay inside the manifest's root unless the user says otherwise."""

import os
import re
from pathlib import Path

from .media_vital import MediaError, describe_item


MAX_ENTRY_CHARS = 4096
"""Characters of an entry: what Linux takes at most for a path. Resolving a longer one would cost minutes."""

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
