"""Records which parts of a work are finished, so that it resumes after a stop: a small file a part, beside the parts.

A part's marker is written whole, and after the part itself. Work that was killed finds each part finished or absent,
and makes the absent ones. Markers are files, and no database, so that several processes and machines can write them.

Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from modeling_vital.finished_parts import FinishedParts
    >>> parts = FinishedParts(Path(tempfile.mkdtemp()))
    >>> parts.begin({"seed": 1, "scale": {"low": 0}})
    []
    >>> parts.finish("part-00000", {"rows": 20})
    >>> "part-00000" in parts, parts.count("part-"), parts.read("part-00000")
    (True, 1, {'rows': 20})
    >>> parts.begin({"seed": 1, "scale": {"low": 1}})
    ['scale.low']
"""

import contextlib
import itertools
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .whole_files import write_whole


logger = logging.getLogger(__name__)

LOCK = "_run.lock"
"""Held by the run that works in a folder. Trainers publish no name that begins with `_`."""

LOCK_TIMEOUT_S = 10
"""How long the workers of a killed run may take to notice and let go."""


@dataclass(frozen=True)
class FinishedParts:
    """The finished parts of a work, by name.

    Args:
        folder (`Path`): where the markers are; a name may hold a `/`, for a folder in it.
        about_name (`str`, *optional*, defaults to `"about"`): names the file that says what the work depends on.
    """

    folder: Path
    about_name: str = "about"

    @property
    def begun(self) -> bool:
        """`True` once [`~FinishedParts.begin`] has been called."""
        return self.about_name in self

    def begin(self, about: Mapping[str, Any]) -> list[str]:
        """Writes down what the work depends on, unless there is such a work already.

        Args:
            about (`Mapping`): settings, ready for JSON.

        Returns:
            `list[str]`: dotted names of the settings in which the work that is there differs: if there are any, its
            parts must not be used.
        """
        if self.begun:
            return differing(self.read(self.about_name), about)
        self.finish(self.about_name, about)
        return []

    def __contains__(self, name: str) -> bool:
        return self._marker(name).is_file()

    def finish(self, name: str, content: Mapping[str, Any]) -> None:
        """Marks a part as finished, with what is to be remembered of it, ready for JSON."""
        write_whole(self._marker(name), json.dumps(content, indent=1) + "\n")

    def read(self, name: str) -> dict[str, Any]:
        """Reads what is remembered of a finished part."""
        return json.loads(self._marker(name).read_text(encoding="utf-8"))

    def count(self, prefix: str) -> int:
        """Returns the number of finished parts `{prefix}00000`, `{prefix}00001` and so on, up to the first gap."""
        return next(number for number in itertools.count() if f"{prefix}{number:05d}" not in self)

    def series(self, prefix: str) -> list[dict[str, Any]]:
        """Reads what is remembered of the parts that [`~FinishedParts.count`] counts, in order."""
        return [self.read(f"{prefix}{number:05d}") for number in range(self.count(prefix))]

    def _marker(self, name: str) -> Path:
        return self.folder / f"{name}.json"


class InUseError(Exception):
    """Another run is at work in a folder; the message names it."""


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder.

    The lock is the operating system's: it ends with the process, however that ends. Where the file system has none, a
    warning says so.

    Args:
        folder (`Path`): where the work is done; it is there, and holds the file `LOCK` meanwhile.

    Raises:
        InUseError: if another run is still at work there after `LOCK_TIMEOUT_S`.
    """
    import filelock

    lock = filelock.FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOCK_TIMEOUT_S)
    except filelock.Timeout as error:
        raise InUseError(f"another run is at work in {folder}; wait for it, or give another output") from error
    except (OSError, NotImplementedError) as error:  # file systems of some clusters
        logger.warning("%s cannot be locked (%s): start no second run there", folder, error)
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()  # before it is released, so that nobody waits for a file without a name
        lock.release()


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Returns the dotted names of the settings in which two works differ.

    Args:
        found (`Mapping`): settings as they were read from JSON.
        wanted (`Mapping`): settings, ready for JSON; the names are in their order.
    """
    return list(_differing(json.loads(json.dumps(wanted)), found, ""))


def _differing(a: Any, b: Any, where: str) -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            yield from _differing(a.get(key), b.get(key), f"{where}.{key}" if where else key)
    elif a != b:
        yield where
