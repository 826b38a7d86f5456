"""Rows of a `datasets` data set, on the Hub or in a folder, streamed as they are stored: nothing is decoded."""

import argparse
import dataclasses
import logging
import os
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..extras import require
from ..manifest_paths import belongs_to_dataset, missing_folder
from ..messages import first_line
from .errors import UsageError
from .scoring import Item


if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import Features, IterableDataset

    from ..item_log import ItemLog

_BATCH_ROWS = 64

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Rows:
    """An opened data set.

    Attributes:
        splits (`dict[str, IterableDataset]`): pictures and clips are left encoded.
        features (`Features`): types of the columns, as they were.
        column (`str`): the one with the media.
        version (`str`): changes when the files behind it do.
        name (`str`): id on the Hub, or folder.
        allow_outside (`bool`): whether rows may name files that are not the data set's.
    """

    splits: "dict[str, IterableDataset]"
    features: "Features"
    column: str
    version: str
    name: str
    allow_outside: bool = False


def open_rows(
    name: str,
    config: str | None,
    split: str | None,
    revision: str | None,
    column: str | None,
    allow_outside: bool = False,
) -> Rows:
    """Opens a data set to be streamed.

    Args:
        name (`str`): id on the Hub, or a folder that `load_dataset` takes.
        config, split, revision (`str`, *optional*): which part and version of it; all splits by default.
        column (`str`, *optional*): with the media: encoded pictures or clips, their bytes, or paths; by default the
            first of type Image or Video.
        allow_outside (`bool`, *optional*, defaults to `False`): whether rows may name files that are not the data
            set's: other files of this machine, and addresses.

    Returns:
        `Rows`: all splits have the same columns.

    Raises:
        UsageError: if there is no such data set, split or column, or the package `datasets` is missing.
    """
    datasets = require("datasets", "cli", UsageError)
    from huggingface_hub.errors import HTTPError

    if problem := missing_folder(name):
        raise UsageError(f"data set {name!r} cannot be opened: {problem}")
    try:
        builder = datasets.load_dataset_builder(name, config, revision=revision)
        opened = builder.as_streaming_dataset(split=split)
        splits: dict[str, Any] = opened if isinstance(opened, dict) else {str(split): opened}
        files = builder.config.data_files or {}
        version = repr([(key, list(files[key].origin_metadata)) for key in files])
        features = next(iter(splits.values())).features
        if features is None:  # CSV and JSON show their columns only when they are read
            features = next(iter(splits.values()))._resolve_features().features
    except (HTTPError, OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, StopIteration) as error:
        raise UsageError(f"data set {name!r} cannot be opened: {first_line(error)}") from error
    media = [key for key, kind in features.items() if isinstance(kind, datasets.Image | datasets.Video)]
    column = column or (media[0] if media else None)
    if column is None or column not in features:
        raise UsageError(
            f"data set {name!r} has no column {column or 'of media'}; --column is one of: {', '.join(features)}"
        )
    for key, kind in features.items():
        if getattr(kind, "decode", False):
            encoded = dataclasses.replace(kind, decode=False)
            splits = {each: rows.cast_column(key, encoded) for each, rows in splits.items()}
    return Rows(dict(splits), features, column, version, name, allow_outside)


def tables(opened: Rows, rows: "IterableDataset", batch_rows: int) -> "Iterator[pa.Table]":
    """The rows of a split, or of a part of one, some at a time, with the files that they point to put into them.

    A row that names a file which is not the data set's, or is not there, has nothing in that column, with a warning.

    Raises:
        UsageError: if the data set cannot be read.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets.table import embed_table_storage
    from huggingface_hub.errors import HTTPError

    try:
        for table in rows.with_format("arrow").iter(batch_size=batch_rows):
            for place, name in enumerate(table.column_names):
                array = table.column(name).combine_chunks()
                if not hasattr(opened.features[name], "embed_storage"):
                    # A copy of these rows alone: `datasets` 5.0 reads what lies beside the lists of a slice, too.
                    array = pa.concat_arrays([array])
                keep = np.ones(len(array), dtype=bool)
                for row, path in _opened(array, opened.features[name], np.arange(len(array))):
                    if problem := _not_opened(path, opened):
                        logger.warning("column %s: %s", name, problem)
                        keep[row] = False
                safe = array if keep.all() else pc.if_else(pa.array(keep), array, pa.scalar(None, array.type))
                table = table.set_column(place, table.schema.field(place), safe)
            yield embed_table_storage(table)
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        name = os.fsdecode(error.object)[:300]
        raise UsageError(f"{name!r} is not UTF-8; rename the file, or mend the data set") from error
    except (HTTPError, OSError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"the data set cannot be read further: {first_line(error)}") from error


def _opened(array: "pa.Array", feature: Any, rows: "np.ndarray") -> Iterator[tuple[int, str | None]]:
    """Finds what `datasets` would open to put it into a table: row and path of all files without bytes, at any depth.

    Args:
        array (`pa.Array`): values, of shape `(n,)`.
        feature (`FeatureType`): their type.
        rows (`np.ndarray`): the row of each value, shape `(n,)`.

    Yields:
        `tuple[int, str]`: `None` for a path that is not given either.
    """
    import pyarrow.compute as pc

    if hasattr(feature, "embed_storage"):
        unread = pc.and_(array.is_valid(), array.field("bytes").is_null())
        for row, path, opens in zip(rows, array.field("path").to_pylist(), unread.to_pylist(), strict=True):
            if opens:
                yield int(row), path
    elif isinstance(feature, dict):
        for name, each in feature.items():
            yield from _opened(array.field(name), each, rows)
    elif hasattr(feature, "feature"):
        parents = pc.list_parent_indices(array).to_numpy()
        yield from _opened(array.flatten(), feature.feature, rows[parents])


def _not_opened(path: str | None, opened: Rows) -> str | None:
    """Says why a file that a row names is not opened, if it is not."""
    if path is None:
        return "a row has neither bytes nor a path"
    if not opened.allow_outside and not belongs_to_dataset(path, opened.name):
        return f"{path[:300]!r} is no file of the data set and is not opened (--allow-outside)"
    if "://" not in path and not os.path.isfile(path):
        return f"{path[:300]!r} is not there, or no file"
    return None


def to_items(
    table: "pa.Table", column: str, split: str, first: int, start: int = 0, dataset: str | None = None
) -> Iterator[Item]:
    """Items of some rows.

    Args:
        table (`pa.Table`): the rows.
        column (`str`): the one with the media.
        split (`str`): their split.
        first (`int`): number of the first row in its split.
        start (`int`, *optional*, defaults to 0): ordinal of row 0.
        dataset (`str`, *optional*): its folder or id, to which a path in the column must belong; any path will do
            without.

    Yields:
        `Item`: one a row; `path` is the split and the number of the row.
    """
    for number, media in enumerate(_values(table.column(column)), start=first):
        empty = media is None or (isinstance(media, dict) and media.get("bytes") is media.get("path") is None)
        error = f"nothing in the column {column!r}" if empty else None
        if isinstance(media, str) and dataset is not None and not belongs_to_dataset(media, dataset):
            error = f"{media[:300]!r} is no file of the data set (--allow-outside)"
        yield Item(start + number, row_name(split, number), error, media)


def _values(column: "pa.ChunkedArray") -> list[Any]:
    """Python values of a column; a path that is not UTF-8 as the file system spells it."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        values = column.cast(pa.large_binary()).to_pylist()
        return [None if value is None else os.fsdecode(value) for value in values]
    return column.to_pylist()


def row_name(split: str, number: int) -> str:
    """Returns the name of a row in records."""
    return f"{split}/{number:08d}"


def name_width() -> int:
    """Characters of the longest usual name."""
    return len(row_name("validation", 0))


def pending_rows(args: argparse.Namespace, log: "ItemLog") -> Iterator[Item]:
    """Adds the rows of a data set to a log as they are read; yields those that have no record yet.

    Args:
        args (`argparse.Namespace`): `dataset`, `config`, `split`, `revision`, `column`.
        log (`ItemLog`): what has been scored.

    Raises:
        UsageError: see [`open_rows`] and [`tables`].
    """
    rows = open_rows(args.dataset, args.config, args.split, args.revision, args.column, args.allow_outside)
    dataset = None if args.allow_outside else args.dataset
    stamp = repr((rows.name, args.config, rows.column, rows.version))
    for split, data in rows.splits.items():
        first, start = 0, log.items
        for table in tables(rows, data, _BATCH_ROWS):
            for item in to_items(table, rows.column, split, first, start, dataset):
                log.add(item.path, item.error, stamp)
                if log.is_pending(item.ordinal):
                    yield item
            first += table.num_rows
