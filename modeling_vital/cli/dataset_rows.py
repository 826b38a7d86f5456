"""Rows of a `datasets` data set, on the Hub or in a folder, streamed as they are stored: nothing is decoded."""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..messages import first_line
from .collect import Target
from .errors import UsageError
from .scoring import Item


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Features, IterableDataset

    from .resume_log import ResumeLog

_BATCH_ROWS = 64


@dataclasses.dataclass(frozen=True)
class Rows:
    """An opened data set.

    Attributes:
        splits (`dict[str, IterableDataset]`): pictures and clips are left encoded.
        features (`Features`): types of the columns, as they were.
        column (`str`): the one with the media.
        version (`str`): changes when the files behind it do.
    """

    splits: "dict[str, IterableDataset]"
    features: "Features"
    column: str
    version: str


def open_rows(name: str, config: str | None, split: str | None, revision: str | None, column: str | None) -> Rows:
    """Opens a data set to be streamed.

    Args:
        name (`str`): id on the Hub, or a folder that `load_dataset` takes.
        config, split, revision (`str`, *optional*): which part and version of it; all splits by default.
        column (`str`, *optional*): with the media: encoded pictures or clips, their bytes, or paths; by default the
            first of type Image or Video.

    Returns:
        `Rows`: all splits have the same columns.

    Raises:
        UsageError: if there is no such data set, split or column, or the package `datasets` is missing.
    """
    try:
        import datasets
        from huggingface_hub.errors import HTTPError
    except ImportError as error:
        raise UsageError('--dataset needs the package datasets: pip install "modeling-vital[cli]"') from error
    try:
        builder = datasets.load_dataset_builder(name, config, revision=revision)
        opened = builder.as_streaming_dataset(split=split)
        splits = opened if isinstance(opened, dict) else {split: opened}
        files = builder.config.data_files or {}
        version = repr([(key, list(files[key].origin_metadata)) for key in files])
        features = next(iter(splits.values())).features
        if features is None:  # CSV and JSON show their columns only when they are read
            features = next(iter(splits.values()))._resolve_features().features
    except (HTTPError, OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, StopIteration) as error:
        raise UsageError(f"data set {name!r} cannot be opened: {first_line(error)}") from error
    media = [key for key, kind in features.items() if isinstance(kind, datasets.Image | datasets.Video)]
    column = column or (media[0] if media else None)
    if column not in features:
        raise UsageError(
            f"data set {name!r} has no column {column or 'of media'}; --column is one of: {', '.join(features)}"
        )
    for key, kind in features.items():
        if getattr(kind, "decode", False):
            encoded = dataclasses.replace(kind, decode=False)
            splits = {each: rows.cast_column(key, encoded) for each, rows in splits.items()}
    return Rows(dict(splits), features, column, version)


def tables(rows: "IterableDataset", batch_rows: int) -> "Iterator[pa.Table]":
    """The rows, some at a time, with the files that they point to put into them.

    Raises:
        UsageError: if such a file, or the data set itself, cannot be read.
    """
    from datasets.table import embed_table_storage
    from huggingface_hub.errors import HTTPError

    try:
        for table in rows.with_format("arrow").iter(batch_size=batch_rows):
            yield embed_table_storage(table)
    except (HTTPError, OSError, ValueError) as error:
        raise UsageError(f"the data set cannot be read further: {first_line(error)}") from error


def to_items(table: "pa.Table", column: str, split: str, first: int, start: int = 0) -> Iterator[Item]:
    """Items of some rows.

    Args:
        table (`pa.Table`): the rows.
        column (`str`): the one with the media.
        split (`str`): their split.
        first (`int`): number of the first row in its split.
        start (`int`, *optional*, defaults to 0): ordinal of row 0.

    Yields:
        `Item`: one a row; `path` is the split and the number of the row.
    """
    for number, media in enumerate(table.column(column).to_pylist(), start=first):
        empty = media is None or (isinstance(media, dict) and media.get("bytes") is media.get("path") is None)
        error = f"nothing in the column {column!r}" if empty else None
        yield Item(start + number, row_name(split, number), error, media)


def row_name(split: str, number: int) -> str:
    """What a row is called in records."""
    return f"{split}/{number:08d}"


def name_width() -> int:
    """Characters of the longest usual name."""
    return len(row_name("validation", 0))


def pending_rows(args: argparse.Namespace, log: "ResumeLog") -> Iterator[Item]:
    """Adds the rows of a data set to a log as they are read; yields those that have no record yet.

    Args:
        args (`argparse.Namespace`): `dataset`, `config`, `split`, `revision`, `column`.
        log (`ResumeLog`): what has been scored.

    Raises:
        UsageError: see [`open_rows`] and [`tables`].
    """
    rows = open_rows(args.dataset, args.config, args.split, args.revision, args.column)
    for split, data in rows.splits.items():
        first, start = 0, log.items
        for table in tables(data, _BATCH_ROWS):
            for item in to_items(table, rows.column, split, first, start):
                log.add(Target(item.path, item.error, rows.version))
                if log.is_pending(item.ordinal):
                    yield item
            first += table.num_rows
