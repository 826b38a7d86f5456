"""The first stage: reads the sources, skips copies, and gives every original its name and its split."""

import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from dataset_scripts.build_config import SPLITS, BuildConfig, BuildError, CollectConfig, SettingsError
from dataset_scripts.fingerprint import CopyIndex, Fingerprint, fingerprint
from dataset_scripts.sources import Source, SourceError, SourceItem, get_source
from dataset_scripts.sources.base import from_position
from dataset_scripts.splits import is_test
from dataset_scripts.staging import Drop, Staging


logger = logging.getLogger(__name__)

STAGE = "collect"
_TOTAL = f"finished/{STAGE}"
ID_DIGITS = 16

ITEM_SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "content_id": pa.string(),
        "modality": pa.string(),
        "name": pa.string(),
        "source": pa.string(),
        "license": pa.string(),
        "split": pa.string(),
        "details": pa.string(),
        "sha256": pa.string(),
        "hashes": pa.list_(pa.uint64()),
        "path": pa.string(),
        "data": pa.large_binary(),
    }
)
"""One original. `data` is its file where the source gave bytes, `path` where it gave a file."""


def split_of(content_id: str, config: CollectConfig) -> str:
    """Split of an original, by a hash of its `content_id` alone: adding data never moves what is there.

    At the default shares `test` is the side that nothing else here is fitted or trained on either
    (`dataset_scripts.splits`).
    """
    if is_test(content_id, config.test_share):
        return "test"
    return "validation" if is_test(content_id, config.test_share + config.validation_share) else "train"


@dataclass
class Known:
    """The originals taken so far, and whether another one may join them.

    Args:
        config (`CollectConfig`): distance and shares.
    """

    config: CollectConfig
    digests: set[str] = field(default_factory=set)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.index = CopyIndex(self.config.hash_distance)

    def enter(self, row: dict[str, Any]) -> None:
        """Adds an original, a row of [`ITEM_SCHEMA`]."""
        self.digests.add(row["sha256"])
        self.names[row["item_id"]] = (f"{row['source']}/{row['name']}", row["content_id"])
        self.splits[row["content_id"]] = row["split"]
        self.index.add(row["item_id"], row["hashes"])

    def row_or_drop(self, source: str, item: SourceItem, print_: Fingerprint) -> dict[str, Any] | Drop:
        """The row of an original, or why it is skipped.

        Copies with one stated `content_id` are a group that belongs together and stay. A turned copy stays as well: it
        looks otherwise to a model, and gets its original's `content_id`, so that no split parts them.
        """
        name, details = f"{source}/{item.name}", json.dumps(item.details, ensure_ascii=False, sort_keys=True)
        path = str(item.media.resolve()) if isinstance(item.media, Path) else None
        try:
            f"{name}{path}{item.license}{item.content_id}{details}".encode()
        except UnicodeEncodeError as error:  # a file name in another encoding, or half of a surrogate pair
            unwritable = f"{ascii(error.object[error.start : error.end])} cannot be written as UTF-8"
            return Drop(ascii(name)[1:-1], "not UTF-8", f"{unwritable}: rename the file, or mend what is said of it")
        if print_.problem:
            return Drop(name, "unreadable", print_.problem)
        if item.split is not None and item.split not in SPLITS:
            return Drop(name, "unknown split", f"{item.split!r} is none of {', '.join(SPLITS)}")
        if print_.sha256 in self.digests:
            return Drop(name, "exact copy", "the same file is there already")
        item_id = print_.sha256[:ID_DIGITS]
        content_id = item.content_id or item_id
        for hashes, how in ((print_.hashes, "looks like"), (print_.mirrored, "is a mirror image of")):
            for other in self.index.find(hashes):
                other_name, other_content = self.names[other]
                if other_content != content_id:
                    return Drop(name, "near copy", f"{how} {other_name}")
        if (original := self._turned_from(print_, content_id)) is not None:
            if item.content_id is not None:
                return Drop(name, "near copy", f"is a turn of {original}, not of its group {content_id}")
            content_id = original
        split = self.splits.get(content_id) or item.split or split_of(content_id, self.config)
        if item.split not in (None, split):
            return Drop(name, "split contradicts its group", f"{content_id} is in {split}, asks for {item.split}")
        return {
            "item_id": item_id,
            "content_id": content_id,
            "modality": print_.modality,
            "name": item.name,
            "source": source,
            "license": item.license,
            "split": split,
            "details": details,
            "sha256": print_.sha256,
            "hashes": list(print_.hashes),
            "path": path,
            "data": item.media if isinstance(item.media, bytes) else None,
        }

    def _turned_from(self, print_: Fingerprint, content_id: str) -> str | None:
        """Another `content_id`, of an original that this one is a turn of."""
        for hashes in print_.turned:
            for other in self.index.find(hashes):
                if self.names[other][1] != content_id:
                    return self.names[other][1]
        return None


Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[tuple[Any, Any]]]
"""Applies a function to items, perhaps in other processes; yields (item, result) in the order of the items."""


def collect(config: BuildConfig, staging: Staging, mapper: Mapper) -> int:
    """Runs the stage, or resumes it.

    Args:
        config (`BuildConfig`): what to build.
        staging (`Staging`): where shards of originals go.
        mapper (`Mapper`): see there.

    Returns:
        `int`: number of shards.

    Raises:
        SettingsError: see [`open_sources`].
        BuildError: a source breaks off, or no original is left.
    """
    if _TOTAL in staging.parts:
        return staging.parts.read(_TOTAL)["shards"]
    sources = open_sources(config)
    names = [source.name for source in sources]
    known = Known(config.collect)
    finished = staging.finished(STAGE)
    for shard in range(len(finished)):
        for row in staging.read(STAGE, shard):
            known.enter(row)
    shard = _Shard(staging, config, len(finished), finished[-1]["consumed"] if finished else [0] * len(sources))
    with _as_build_errors(), tqdm(desc=STAGE, unit="item", initial=len(known.names)) as progress:
        for number, source in enumerate(sources):
            items = from_position(source, shard.consumed[number], config.collect.items_per_source)
            for (position, item), print_ in mapper(_fingerprint_at, items):
                shard.add(number, position, known.row_or_drop(source.name, item, print_), known)
                progress.update()
    shards = shard.close()
    if not known.names:
        raise BuildError(f"no usable original in {', '.join(names)}; {staging.root / 'dropped'} says why of each")
    staging.parts.finish(_TOTAL, {"shards": shards})
    return shards


def open_sources(config: BuildConfig) -> list[Source]:
    """The sources of a build, in order.

    Raises:
        SettingsError: a source is not there or described wrongly, or two go by one name.
    """
    try:
        sources = [get_source(**spec) for spec in config.sources]
    except SourceError as error:
        raise SettingsError(str(error)) from error
    names = [source.name for source in sources]
    if len(set(names)) != len(names):
        raise SettingsError(f"two sources are called alike ({', '.join(names)}); give each a `name`")
    return sources


def _fingerprint_at(placed: tuple[int, SourceItem]) -> Fingerprint:
    return fingerprint(placed[1])


@contextlib.contextmanager
def _as_build_errors() -> Iterator[None]:
    try:
        yield
    except SourceError as error:
        raise BuildError(str(error)) from error


class _Shard:
    """The shard that is being filled."""

    def __init__(self, staging: Staging, config: BuildConfig, number: int, consumed: Sequence[int]) -> None:
        self.staging, self.size, self.number = staging, config.collect.items_per_shard, number
        self.consumed = list(consumed)
        self._begin()

    def _begin(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.drops: list[Drop] = []
        self.started = time.monotonic()

    def add(self, source: int, position: int, found: dict[str, Any] | Drop, known: Known) -> None:
        self.consumed[source] = position + 1
        if isinstance(found, Drop):
            logger.info("%s is skipped: %s (%s)", found.name, found.reason, found.detail)
            self.drops.append(found)
            return
        known.enter(found)
        self.rows.append(found)
        if len(self.rows) == self.size:
            self._finish()

    def _finish(self) -> None:
        stats = {
            "rows_in": len(self.rows) + len(self.drops),
            "seconds": time.monotonic() - self.started,
            "consumed": self.consumed,
        }
        self.staging.finish(STAGE, self.number, ITEM_SCHEMA, self.rows, self.drops, stats)
        self.number += 1
        self._begin()

    def close(self) -> int:
        if self.rows or self.drops:
            self._finish()
        return self.number
