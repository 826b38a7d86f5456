"""Answers kept on disk: no question is paid for twice, and what was gone through once can be gone through again."""

import json
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from dataset_scripts.interpretation.chat import ChatModel, Completion, Message, Sampling, Usage, request_key


_WAIT_S = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL, usage TEXT NOT NULL,
    created REAL NOT NULL
)
"""


class AnswerCache:
    """Answers by the hash of model and question, in one SQLite file that threads and processes share.

    Args:
        path (`str` or `Path`): the file; made with its folder if missing. On a local disk: SQLite's locks do not hold
            on many network file systems.

    Raises:
        ValueError: the file is something else, or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._local = threading.local()
        try:
            self._connection()
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} cannot keep answers ({error}): name another file, or remove this one") from error

    def _connection(self) -> sqlite3.Connection:
        """This thread's own connection; one that was made before a fork is left alone."""
        if getattr(self._local, "owner", None) != os.getpid():
            connection = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_SCHEMA)
            self._local.connection, self._local.owner = connection, os.getpid()
        return self._local.connection

    def get(self, key: str) -> Completion | None:
        """The answer kept under a key, or `None`."""
        query = "SELECT text, finish_reason, usage FROM answers WHERE key = ?"
        row = self._connection().execute(query, (key,)).fetchone()
        return None if row is None else Completion(row[0], row[1], Usage(**json.loads(row[2])), cached=True)

    def put(self, key: str, model: str, answer: Completion) -> Completion:
        """Keeps an answer, unless another process was first; returns the one that is kept."""
        row = (key, model, answer.text, answer.finish_reason, json.dumps(asdict(answer.usage)), time.time())
        inserted = self._connection().execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)", row).rowcount
        return answer if inserted else self.get(key) or answer

    def __len__(self) -> int:
        return self._connection().execute("SELECT COUNT(*) FROM answers").fetchone()[0]


class CachedChat:
    """A chat model that asks the cache first.

    Args:
        model (`ChatModel`): who is asked otherwise.
        cache (`AnswerCache`): where answers are kept.
    """

    def __init__(self, model: ChatModel, cache: AnswerCache) -> None:
        self.model, self.cache = model, cache
        self.name = model.name

    def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answers like the model; a kept answer has `cached` set. Failures are not kept."""
        key = request_key(self.name, messages, sampling)
        kept = self.cache.get(key)
        return kept or self.cache.put(key, self.name, self.model.complete(messages, sampling))
