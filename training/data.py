"""The data of a run: tables of rows, and the index from which batches are drawn."""

import hashlib
import importlib
import inspect
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Image, List, Video, get_dataset_config_names, load_dataset
from datasets.config import DOWNLOADED_DATASETS_PATH, EXTRACTED_DATASETS_DIR, HF_DATASETS_CACHE
from datasets.exceptions import DatasetsError
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HTTPError
from huggingface_hub.file_download import repo_folder_name
from tqdm.auto import tqdm

from modeling_vital.image_processing_vital import VitalImageProcessor
from modeling_vital.manifest_paths import belongs_to_dataset, missing_folder
from modeling_vital.media_vital import Clip, MediaError, load_media, picture_size
from modeling_vital.processing_vital import VitalProcessor
from modeling_vital.video_processing_vital import FrameSampling, sample_frames
from training.collators import RowError


logger = logging.getLogger(__name__)

EVALUATION = "eval"
"""Name of the table of held-out scoring rows."""

LOAD_ERRORS = (OSError, ValueError, DatasetsError, HTTPError)
"""Errors of opening a data set that is not there, cannot be reached or is not one."""

_FINGERPRINT_BATCH = 100  # rows of a shuffled table are copied, with their media


@dataclass
class DataArguments:
    """Data that a run learns from."""

    dataset: str | None = field(
        default=None,
        metadata={
            "help": "Folder or hub id of a data set with the columns of `vital-pairs`, or a CSV or Parquet file of "
            "your own with the columns path, mos and perhaps std; see docs/fine-tuning.md."
        },
    )
    fresh: str | None = field(
        default=None,
        metadata={
            "help": "Rows made on the fly, beside or instead of a data set: 'module:function', called with the "
            "processor, the seed and `fresh_options`; it returns tables by name. See `training.tiny.groups`."
        },
    )
    fresh_options: dict | str | None = field(default=None, metadata={"help": "Options of `fresh`, a mapping."})
    mos_range: list[float] | None = field(
        default=None,
        metadata={"help": "Worst and best rating in a file of your own, e.g. 1 5; by default recognised, and logged."},
    )
    held_out_share: float = field(
        default=0.2, metadata={"help": "Share of a file of your own that is held out, where it has no column `split`."}
    )
    allow_outside: bool = field(
        default=False,
        metadata={
            "help": "Let a file of your own, and rows of a data set, name pictures and clips outside of their folder."
        },
    )
    mixture: dict | str | None = field(
        default=None,
        metadata={
            "help": 'Ratios at which items of each configuration are drawn, e.g. \'{"scoring": 2, "distortion": 1}\'.'
        },
    )
    train_split: str = field(default="train", metadata={"help": "Split that is learned from."})
    eval_split: str = field(default="validation", metadata={"help": "Split whose scoring rows are held out."})
    max_samples: int | None = field(
        default=None,
        metadata={"help": "Learn from this many rows at most, chosen by the seed, at the set ratios."},
    )
    max_eval_samples: int | None = field(default=None, metadata={"help": "Evaluate on this many rows at most."})
    prompt_decoupling: bool = field(
        default=True, metadata={"help": "Leave the human turn empty but for the picture or clip."}
    )
    bucket_batches: int = field(
        default=16, metadata={"help": "Batches drawn at once and sorted by visual tokens; 1: no bucketing."}
    )
    count_processes: int | None = field(
        default=None, metadata={"help": "Processes that count visual tokens before the first run on a data set."}
    )

    def __post_init__(self):
        for name, what in (("mixture", "maps configurations to ratios"), ("fresh_options", "is a mapping")):
            if isinstance(value := getattr(self, name), str):
                setattr(self, name, value := json.loads(value))
            if not isinstance(value, dict | None):
                raise ValueError(f"`{name}` {what}, got {value!r}.")
        if self.mos_range is not None and (len(self.mos_range) != 2 or self.mos_range[0] == self.mos_range[1]):
            raise ValueError(f"`mos_range` is the worst and the best rating, got {self.mos_range}.")
        if not 0 <= self.held_out_share < 1:
            raise ValueError(f"`held_out_share` is at least 0 and below 1, got {self.held_out_share}.")
        for name in ("max_samples", "max_eval_samples", "bucket_batches"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")


class FreshTable(Protocol):
    """Rows that are made when they are asked for, each a function of its place alone.

    Attributes:
        column_names (`Sequence[str]`): of its rows.
        visual_tokens (`np.ndarray` of shape `(len(table),)`): about how many a row has; sorts rows into batches.
        fingerprint (`str`, *optional*): changes with what the rows follow from; a run resumes where it is the same.
            Without it, `fresh`, the text of its options and the seed stand for that.
    """

    column_names: Sequence[str]
    visual_tokens: np.ndarray

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...


@dataclass
class TrainingData:
    """Tables by name, and the indices into them.

    Attributes:
        tables (`dict[str, Dataset | FreshTable]`): rows; media are encoded bytes until a batch is made.
        ratios (`dict[str, float]`): of the training tables.
        train_index (`Dataset`): one entry a training row, columns `table` and `row`.
        visual_tokens (`np.ndarray` of shape `(len(train_index),)`): of each training row.
        eval_index (`Dataset` or `None`): likewise the held-out scoring rows, if there are any.
        fingerprints (`dict[str, str]`): of each training table, what changes with its rows.
    """

    tables: "dict[str, Dataset | FreshTable]"
    ratios: dict[str, float]
    train_index: Dataset
    visual_tokens: np.ndarray
    eval_index: Dataset | None
    fingerprints: dict[str, str]

    @property
    def sizes(self) -> dict[str, int]:
        """Rows of each training table."""
        return {name: len(table) for name, table in self.tables.items() if name != EVALUATION}


def load_data(args: DataArguments, processor: VitalProcessor, seed: int) -> TrainingData:
    """Opens the tables of a data set and counts the visual tokens of each row; the counts are cached.

    Raises:
        ValueError: a configuration or a split is not there.
        RowError: a picture or clip cannot be opened.
    """
    if args.dataset is None and args.fresh is None:
        raise ValueError("No data: give `dataset`, a folder or hub id with the columns of `vital-pairs`, or `fresh`.")
    if args.dataset is not None and (problem := missing_folder(args.dataset)):
        raise ValueError(f"`dataset`: {problem}.")
    there = [] if args.dataset is None else get_dataset_config_names(args.dataset)
    fresh = {} if args.fresh is None else fresh_tables(args, processor, seed)
    ratios = args.mixture or dict.fromkeys([*there, *fresh], 1.0)
    if unknown := set(ratios) - {*there, *fresh}:
        raise ValueError(
            f"There are no configurations {sorted(unknown)} to mix; there are {', '.join([*there, *fresh])}."
        )
    tables = {
        name: fresh[name] if name in fresh else _open(args, name, args.train_split)
        for name, ratio in ratios.items()
        if ratio
    }
    held_out = _held_out(args, there)
    return make_data(tables, {name: ratios[name] for name in tables}, held_out, processor, args, seed)


def fresh_tables(args: DataArguments, processor: VitalProcessor, seed: int) -> dict[str, FreshTable]:
    """The tables that `args.fresh` names.

    Raises:
        ValueError: there is no such function, or its options are wrong.
    """
    module, _, function = args.fresh.partition(":")
    options = args.fresh_options or {}
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"`fresh` is 'module:function', got {args.fresh!r}: {error}") from error
    try:
        inspect.signature(make).bind(processor, seed, **options)
    except TypeError as error:
        raise ValueError(f"`fresh_options` {options} are not those of {args.fresh}: {error}") from error
    return make(processor, seed, **options)


def make_data(
    tables: dict[str, Dataset],
    ratios: dict[str, float],
    held_out: Dataset | None,
    processor: VitalProcessor,
    args: DataArguments,
    seed: int,
) -> TrainingData:
    """The same from tables that are already open.

    Args:
        tables (`dict[str, Dataset]`): training rows by configuration.
        ratios (`dict[str, float]`): of these.
        held_out (`Dataset` or `None`): scoring rows for evaluation.
        processor (`VitalProcessor`): of the model to be trained; says how many tokens a picture or clip becomes.
        args (`DataArguments`): limits.
        seed (`int`): chooses the rows where `max_samples` is less than there are.
    """
    tables = {name: _undecoded(table) for name, table in tables.items()}
    fingerprints = {
        name: rows_fingerprint(table) if _is_stored(table) else _fresh_fingerprint(table, args, seed)
        for name, table in tables.items()
    }
    if args.max_samples is not None and (fresh := [n for n, table in tables.items() if not _is_stored(table)]):
        raise ValueError(f"`max_samples` chooses from stored rows; {', '.join(fresh)} are made on the fly.")
    if args.max_samples is not None:
        total = sum(ratios.values())
        wanted = {name: max(1, round(args.max_samples * ratios[name] / total)) for name in tables}
        tables = {
            name: table.shuffle(seed=seed).select(range(min(wanted[name], len(table))))
            for name, table in tables.items()
        }
        fingerprints = {name: f"{of_all} chosen by {seed}" for name, of_all in fingerprints.items()}
    if empty := [name for name, table in tables.items() if len(table) == 0]:
        raise ValueError(f"The configurations {', '.join(empty)} have no row to learn from.")
    counts = [
        count_tokens(table, processor, args.count_processes) if _is_stored(table) else table.visual_tokens
        for table in tables.values()
    ]
    train_index = _index((name, len(table)) for name, table in tables.items())
    eval_index = None
    if held_out is not None and len(held_out):
        if args.max_eval_samples is not None:
            held_out = held_out.shuffle(seed=seed).select(range(min(args.max_eval_samples, len(held_out))))
        tables = {**tables, EVALUATION: _undecoded(held_out)}
        eval_index = _index([(EVALUATION, len(held_out))])
    return TrainingData(tables, ratios, train_index, np.concatenate(counts), eval_index, fingerprints)


def rows_fingerprint(table: Dataset) -> str:
    """Changes with what rows hold and with their order; of each picture and clip, with its size in bytes.

    The one that `datasets` keeps follows from the names of folder, configuration and split, and from the README: it
    stays when rows are written anew, and changes with a folder's name. This one leaves out where media are, and does
    not read them.

    Args:
        table (`Dataset`): rows, media undecoded.
    """
    digest = hashlib.sha256()
    batches = table.with_format("arrow").iter(_FINGERPRINT_BATCH)
    for batch in tqdm(batches, total=math.ceil(len(table) / _FINGERPRINT_BATCH), desc="Reading rows", delay=2):
        for name in sorted(batch.column_names):
            digest.update(repr([name, *_plain_columns(batch[name])]).encode())
    return digest.hexdigest()[:16]


def _plain_columns(values: pa.ChunkedArray) -> Iterator[list]:
    """Yields the plain columns that a nested one consists of; of files, their sizes alone."""
    kind = values.type
    if pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"}:
        sizes, paths = pc.binary_length(pc.struct_field(values, "bytes")), pc.struct_field(values, "path")
        yield [
            os.path.getsize(path) if not size and path and os.path.isfile(path) else size
            for size, path in zip(sizes.to_pylist(), paths.to_pylist(), strict=True)
        ]
    elif pa.types.is_struct(kind):
        yield values.is_valid().to_pylist()
        for field in kind:
            yield from _plain_columns(pc.struct_field(values, field.name))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield pc.list_value_length(values).to_pylist()
        yield from _plain_columns(pc.list_flatten(values))
    else:
        yield values.to_pylist()


def _fresh_fingerprint(table: FreshTable, args: DataArguments, seed: int) -> str:
    """The fingerprint that a table states, else one of its function's name, options and seed.

    An option that names a file counts by the file's content, any other as it is written: a folder by its path, not by
    what is in it.
    """
    if of_table := getattr(table, "fingerprint", None):
        return of_table
    stated = [args.fresh, seed]
    for name, value in sorted((args.fresh_options or {}).items()):
        is_file = isinstance(value, str) and Path(value).is_file()
        stated.append([name, hashlib.sha256(Path(value).read_bytes()).hexdigest() if is_file else value])
    return hashlib.sha256(json.dumps(stated, sort_keys=True, default=str).encode()).hexdigest()[:16]


def count_tokens(table: Dataset, processor: VitalProcessor, processes: int | None = None) -> np.ndarray:
    """Visual tokens of every row of a table, from the sizes in the files' heads; nothing is decoded for that.

    Of a pair it is those of the longer one: it decides how much padding the row brings into a batch.

    Returns:
        `np.ndarray` of shape `(len(table),)`, int64.
    """
    media = table.select_columns(["id", "images", "videos"])
    # All that the counts depend on is an argument: `datasets` keeps them under a hash of these.
    settings = {
        "image_processor": processor.image_processor,
        "sampling": processor.frame_sampling,
        "tokens_per_tile": processor.image_seq_length,
        "single_tile_copies": processor.single_tile_copies,
        "max_tiles_per_frame": processor.max_tiles_per_frame,
    }
    counted = media.map(
        _count_row,
        fn_kwargs=settings,
        remove_columns=media.column_names,
        num_proc=processes,
        desc="Counting visual tokens",
    )
    return np.asarray(counted["visual_tokens"], dtype=np.int64)


def _count_row(
    row: dict[str, Any],
    image_processor: VitalImageProcessor,
    sampling: dict[str, Any],
    tokens_per_tile: int,
    single_tile_copies: int,
    max_tiles_per_frame: int,
) -> dict[str, int]:
    try:
        lengths = []
        for picture in row["images"]:
            tiles = image_processor.get_number_of_tiles(*picture_size(picture["bytes"] or picture["path"]))
            lengths.append(tokens_per_tile * (tiles if tiles > 1 else single_tile_copies))
        for video in row["videos"]:
            clip = load_media(video["bytes"] or video["path"])
            if not isinstance(clip, Clip):
                raise MediaError("a picture where a clip is meant")
            choice = sample_frames(clip.num_frames, clip.fps, FrameSampling.from_dict(sampling))
            tiles = image_processor.get_number_of_tiles(clip.height, clip.width, max_tiles_per_frame)
            tiles -= 1 if image_processor.use_thumbnail and tiles > 1 else 0  # key frames have no thumbnail
            lengths.append(len(choice.key_frames) * tiles * tokens_per_tile + choice.num_motion_frames)
    except (OSError, ValueError) as error:
        raise RowError(f"row {row['id']!r}: {error}") from error
    return {"visual_tokens": max(lengths, default=0)}


def scoring_rows(args: DataArguments, split: str, limit: int | None, seed: int) -> Dataset:
    """The scoring rows of a split, media undecoded; `limit` of them, chosen by the seed, if there are more.

    Raises:
        ValueError: the data set has no such configuration or split.
    """
    if args.dataset is None:
        raise ValueError("No data: give `dataset`.")
    if problem := missing_folder(args.dataset):
        raise ValueError(f"`dataset`: {problem}.")
    table = _open(args, "scoring", split)
    return table if limit is None else table.shuffle(seed=seed).select(range(min(limit, len(table))))


def held_out_texts(args: DataArguments, configs: Iterable[str], count: int, seed: int) -> Dataset | None:
    """Held-out rows with a text, from the first of `configs` that the data set has; `None` if it has none of them."""
    there = get_dataset_config_names(args.dataset)
    for config in configs:
        if config not in there:
            continue
        try:
            table = _open(args, config, args.eval_split)
        except RowError:
            raise
        except ValueError:  # no such split: the next may have one
            continue
        return table.shuffle(seed=seed).select(range(min(count, len(table)))) if len(table) else None
    return None


def cache_of(dataset: str) -> str | None:
    """Folder for the copy that `datasets` keeps of a local folder; `None`, the usual place, for any other data set.

    `datasets` knows a folder by its name alone: of two folders called `pairs`, or of one that was made anew, it would
    give out the copy it made first. So the place is named after the path, sizes and times of the files.
    """
    folder = Path(dataset)
    if not folder.is_dir():
        return None
    stated = [str(folder.resolve())]
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            about = file.stat()
            stated.append(f"{file.relative_to(folder)} {about.st_size} {about.st_mtime_ns}")
    name = hashlib.sha256("\n".join(stated).encode()).hexdigest()[:16]
    return str(Path(HF_DATASETS_CACHE) / f"folder-{name}")


def _open(args: DataArguments, config: str, split: str) -> Dataset:
    """A split of a data set, its media undecoded.

    Raises:
        ValueError: it is not there.
        RowError: a row names a file that is not the data set's, and `args.allow_outside` is false.
    """
    cache = cache_of(args.dataset)
    try:
        table = load_dataset(args.dataset, config, split=split, cache_dir=cache)
    except ValueError as error:
        raise ValueError(f"Cannot open the split {split!r} of {config!r} in {args.dataset}: {error}") from error
    table = _undecoded(table)
    if not args.allow_outside:
        roots = _roots(args.dataset, cache)
        for name in ("images", "videos"):
            _check_paths(table.select_columns(["id", name]), name, args.dataset, roots)
    return table


def _roots(dataset: str, cache: str | None) -> list[str]:
    """Folders in which the files of a data set are: its own, and that to which `datasets` extracts archives."""
    if cache is not None:
        return [dataset, f"{cache}/downloads"]
    repository = f"{HF_HUB_CACHE}/{repo_folder_name(repo_id=dataset, repo_type='dataset')}"
    # Not `EXTRACTED_DATASETS_PATH`: `load_dataset` extracts beside what it downloads, whatever that says.
    return [repository, os.path.expanduser(f"{DOWNLOADED_DATASETS_PATH}/{EXTRACTED_DATASETS_DIR}")]


def _check_paths(table: Dataset, column: str, dataset: str, roots: Sequence[str]) -> None:
    """Makes sure that rows name files of the data set alone; where a row has the bytes, no file is opened."""
    for batch in table.with_format("arrow").iter(1000):
        files, rows = pc.list_flatten(batch[column]), pc.list_parent_indices(batch[column])
        path, size = pc.struct_field(files, "path"), pc.binary_length(pc.struct_field(files, "bytes"))
        named = pc.and_(pc.is_valid(path), pc.equal(pc.fill_null(size, 0), 0))
        for row, file in zip(rows.filter(named).to_pylist(), path.filter(named).to_pylist(), strict=True):
            if not any(belongs_to_dataset(file, root) for root in roots):
                raise RowError(
                    f"row {batch['id'][row].as_py()!r} names {file[:300]!r}, which is no file of {dataset}; if you "
                    "trust it, let it be opened (`allow_outside`)"
                )


def _held_out(args: DataArguments, there: list[str]) -> Dataset | None:
    if "scoring" not in there:
        return None
    try:
        return _open(args, "scoring", args.eval_split)
    except RowError:
        raise
    except ValueError as error:
        logger.warning("No evaluation in this run. %s", error)
        return None


def _is_stored(table: Dataset | FreshTable) -> bool:
    return isinstance(table, Dataset)


def _undecoded(table: Dataset | FreshTable) -> Dataset | FreshTable:
    """Media as the bytes they are stored in, so that worker processes decode them, and once."""
    if not _is_stored(table):
        return table
    for name, encoded in (("images", List(Image(decode=False))), ("videos", List(Video(decode=False)))):
        if table.features.get(name) != encoded:
            table = table.cast_column(name, encoded)
    return table


def _index(sizes: Iterable[tuple[str, int]]) -> Dataset:
    names, rows = [], []
    for name, size in sizes:
        names += [name] * size
        rows += range(size)
    return Dataset.from_dict({"table": names, "row": rows})
