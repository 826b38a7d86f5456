"""Log on disk of items that are done: their order, and the record of each as soon as it is there.

For single items, by the million, of one process. Parts that several processes finish are in `finished_parts`.

Example:

    >>> from modeling_vital.item_log import ItemLog
    >>> with ItemLog(None, {"model": "a"}) as log:
    ...     added = [log.add(name, stamp="") for name in ("first", "second", "first")]
    ...     for ordinal, name, _ in log.pending():
    ...         log.save([(ordinal, {"score": ordinal / 2, "error": None})])
    ...     list(log.records("-score"))
    [{'path': 'second', 'score': 0.5, 'error': None}, {'path': 'first', 'score': 0.0, 'error': None}]
"""

import contextlib
import functools
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .finished_parts import differing


SUFFIX = ".resume"
_PAGE = 256

# `scored` outlives the run; scores are missing where the work is another. `item` is what this run was asked for; it
# spills to a temporary file, so memory does not grow with the number of items.
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS scored (
    key BLOB PRIMARY KEY, stamp TEXT, failed INTEGER, score REAL, std REAL, record TEXT) WITHOUT ROWID;
CREATE TEMP TABLE item (ordinal INTEGER PRIMARY KEY, key BLOB UNIQUE, path BLOB, stamp TEXT, error TEXT);
CREATE TEMP VIEW done AS SELECT * FROM item JOIN scored USING (key, stamp);
CREATE TEMP VIEW pending AS SELECT item.* FROM item LEFT JOIN scored USING (key, stamp) WHERE scored.key IS NULL;
"""
_ORDERS = {
    None: "ordinal",
    "score": "score IS NULL, score, ordinal",
    "-score": "score IS NULL, score DESC, ordinal",
    "std": "score IS NULL, std, ordinal",
    "-std": "score IS NULL, std DESC, ordinal",
}
ORDERS = tuple(order for order in _ORDERS if order)
"""What records can be sorted by; failed ones come last."""


class ItemLogError(ValueError):
    """A log that cannot be used or written. The message names it and says what to do."""


class ItemLog:
    """Items and their records in a SQLite file; a context manager that closes it.

    A record is there for good when `save` returns, also if the process is killed the moment after. A record is of use
    to a later run while its item has the same stamp; failed items are tried again.

    Args:
        path (`Path`, *optional*): the file, in a folder that is made if it is missing; without one, all is forgotten
            at the end.
        about (`dict`): what records depend on besides the items, ready for JSON; a log about something else is
            refused.
        resume (`bool`, *optional*, defaults to `True`): whether there may be records in it.

    Raises:
        ItemLogError: if the log is about something else, has records and may not, is no log, or is being written.
    """

    def __init__(self, path: Path | None, about: dict[str, Any], resume: bool = True) -> None:
        self.path, self.items = path, 0
        try:
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or "", isolation_level=None, timeout=1)
        except (OSError, sqlite3.Error) as error:
            raise ItemLogError(_why_not(path, error)) from error
        try:
            self._open(about, resume)
        except BaseException:
            self._db.close()  # else the file stays locked as long as the error is kept
            raise

    def _open(self, about: dict[str, Any], resume: bool) -> None:
        path = self.path
        try:
            if path:
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("BEGIN EXCLUSIVE" if path else "BEGIN")
            if path and not path.exists():  # deleted by the run that had it, which ended while this one waited
                raise ItemLogError(f"{path} was in use by another run, which has just ended; give the command again")
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute("DELETE FROM scored WHERE failed")
            kept = self._count("SELECT COUNT(*) FROM scored")
            if kept and not resume:
                raise ItemLogError(
                    f"{path} has {kept} records of an earlier run; add --resume to continue it, or delete it"
                )
            self._check(about, kept)
            self._db.execute("COMMIT")
            self._db.execute("BEGIN")
        except sqlite3.Error as error:
            raise ItemLogError(_why_not(path, error)) from error

    def __enter__(self) -> "ItemLog":
        return self

    def __exit__(self, *error: object) -> None:
        self._db.close()

    def _check(self, about: dict[str, Any], kept: int) -> None:
        there = self._get("about")
        if there is None or not kept:
            self._set("about", json.dumps(about))
        elif names := differing(json.loads(there), about):
            changed = ", ".join(names)
            raise ItemLogError(
                f"{self.path} is of another {changed}: its records cannot be mixed with these; take the same "
                f"{changed}, another --output, or delete it to begin anew"
            )

    def _get(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return row and row[0]

    def _set(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    @property
    def level_words(self) -> tuple[str, ...]:
        """Words of the levels, best first; none as long as no model was there."""
        return tuple(json.loads(self._get("level_words") or "[]"))

    @level_words.setter
    def level_words(self, words: Iterable[str]) -> None:
        self._set("level_words", json.dumps(list(words)))

    def add(self, path: str, error: str | None = None, stamp: str | None = None) -> bool:
        """Adds an item to this run.

        Args:
            path (`str`): a file, or the name of something else.
            error (`str`, *optional*): why there is nothing to do for it.
            stamp (`str`, *optional*): for what is no file of this machine, its version; for a file, its size and time
                of change.

        Returns:
            `bool`: `False` for one that the run has already, also by another spelling of its path or through a link
                to its folder; it is skipped. A link to a file is an item of its own.
        """
        key = os.fsencode(path if stamp is not None else _entry(path))
        row = (self.items, key, os.fsencode(path), _stamp(path) if stamp is None else stamp, error)
        added = self._db.execute("INSERT OR IGNORE INTO item VALUES (?, ?, ?, ?, ?)", row).rowcount == 1
        self.items += added
        return added

    def is_pending(self, ordinal: int) -> bool:
        """Returns `True` if an item, by its place in this run, has no record yet."""
        return self._count("SELECT COUNT(*) FROM pending WHERE ordinal = ?", ordinal) == 1

    def pending(self) -> Iterator[tuple[int, str, str | None]]:
        """Place, path and error of every item without a record, in order. Records may be saved meanwhile."""
        last = -1
        while True:
            rows = self._db.execute(
                f"SELECT ordinal, path, error FROM pending WHERE ordinal > ? ORDER BY ordinal LIMIT {_PAGE}", (last,)
            ).fetchall()
            yield from ((ordinal, os.fsdecode(path), error) for ordinal, path, error in rows)
            if not rows:
                return
            last = rows[-1][0]

    @property
    def needs_model(self) -> bool:
        """`True` if any item without a record is to be worked on, and not an error."""
        return self._count("SELECT EXISTS (SELECT 1 FROM pending WHERE error IS NULL)") == 1

    @property
    def done(self) -> int:
        """Number of items of this run that have a record."""
        return self._count("SELECT COUNT(*) FROM done")

    @property
    def changed(self) -> int:
        """Number of items that have the record of an earlier state of their file."""
        return self._count("SELECT COUNT(*) FROM item JOIN scored USING (key) WHERE scored.stamp != item.stamp")

    @property
    def failed(self) -> int:
        """Number of items of this run that failed."""
        return self._count("SELECT COUNT(*) FROM done WHERE failed")

    def _count(self, query: str, *values: Any) -> int:
        return self._db.execute(query, values).fetchone()[0]

    def save(self, batch: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Keeps the records of some items, each with its place; `error` is not `None` in those that failed."""
        try:
            for ordinal, record in batch:
                text = json.dumps({name: value for name, value in record.items() if name != "path"}, allow_nan=False)
                self._db.execute(
                    "INSERT OR REPLACE INTO scored SELECT key, stamp, ?, ?, ?, ? FROM item WHERE ordinal = ?",
                    (record["error"] is not None, record.get("score"), record.get("std"), text, ordinal),
                )
            self._db.execute("COMMIT")
            self._db.execute("BEGIN")
        except sqlite3.Error as error:  # a full disk, for instance
            raise ItemLogError(f"{self.path or 'a temporary file'} cannot be written: {error}") from error

    def records(self, order: str | None = None) -> Iterator[dict[str, Any]]:
        """The records of this run, in the order of its items or sorted by one of `ORDERS`. SQLite sorts on disk."""
        query = f"SELECT path, record FROM done ORDER BY {_ORDERS[order]}"
        for path, record in self._db.execute(query):
            yield {"path": os.fsdecode(path), **json.loads(record)}

    def delete(self) -> None:
        """Removes the file; the log is closed."""
        if self.path:
            with contextlib.suppress(PermissionError):  # Windows removes no open file
                self.path.unlink()  # while it is locked, so that no run that waits for it takes it over
        self._db.close()
        if self.path:
            self.path.unlink(missing_ok=True)


def _why_not(path: Path | None, error: Exception) -> str:
    """Says why a log cannot be opened, and what to do."""
    if "locked" in str(error):
        return f"{path} is in use by another run; wait for it"
    anew = "not a database" in str(error) or "malformed" in str(error)
    hint = "delete it to begin anew" if anew else "name a place that can be written, and has room"
    return f"{path or 'a temporary file'} cannot be used ({error}); {hint}"


def _entry(path: str) -> str:
    """Returns the one spelling of a path: absolute, its folder without links."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(_real(folder), name)


_real = functools.lru_cache(maxsize=1024)(os.path.realpath)


def _stamp(path: str) -> str:
    """Returns a stamp that changes when the file does."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size}-{status.st_mtime_ns}"
