"""`vital score --dataset ... --output FOLDER`: a copy of a data set with scores as columns, or a part of it."""

import argparse
import contextlib
import json
import logging
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..extras import require
from ..finished_parts import LOCK, FinishedParts, InUseError, differing, only_run
from ..messages import first_line, progress_bar
from ..publishing.data_card import card_text
from ..video_backend_vital import set_video_backend, video_backend
from ..whole_files import remove_partial, whole_file, write_whole
from .calibrations import checked_calibration, open_calibration, require_calibration, with_mos
from .dataset_rows import Rows, open_rows, tables, to_items
from .errors import EXIT_SOME_FAILED, Interrupted, UsageError
from .filters import Condition, parse_condition
from .model_loading import fingerprint, load_model
from .records import MOS_COLUMNS, columns, prepare_folder
from .scoring import Item, score_items


if TYPE_CHECKING:
    import pyarrow as pa

    from ..calibration_vital import Calibration

_PROGRESS = ".progress"
_ROWS_A_GROUP = 100
_TABLE_ROWS = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CopyJob:
    """Settings of a copy that a worker, here or on a cluster, needs.

    Attributes:
        dataset, config, split, revision, column: see [`open_rows`].
        model (`str`): folder or Hub id. device (`str`): as for `load_model`.
        output (`str`): absolute path of the folder.
        where (`str`, *optional*): rows that do not meet it are skipped.
        prefix (`str`): of the new columns.
        table_rows (`int`): rows read and written together, a multiple of the batch size where that is a number.
        part_rows (`int`): rows read for one file, a multiple of `table_rows`.
        batch_size, workers, timeout_s: as for [`score_items`].
        threads (`int`): of torch; other numbers of threads may change the last bits of a score.
        calibration (`Calibration`, *optional*): what adds a MOS to each score.
        version (`str`): of the data; a worker that finds another stops.
        allow_outside (`bool`): see [`open_rows`].
        video_backend (`str`): as for [`set_video_backend`]; other machines do not share our environment.
    """

    dataset: str
    config: str | None
    split: str | None
    revision: str | None
    column: str | None
    model: str
    device: str
    output: str
    where: str | None
    prefix: str
    table_rows: int
    part_rows: int
    batch_size: int | str
    workers: int | None
    timeout_s: float
    threads: int
    calibration: "Calibration | None" = None
    version: str = ""
    allow_outside: bool = False
    video_backend: str = "auto"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that a row gets, without the prefix."""
        mos = MOS_COLUMNS if self.calibration is not None else ()
        return ("score", "std", *mos, "level", "level_probs", "error")

    def open(self) -> Rows:
        """Opens the data set, see [`open_rows`]."""
        return open_rows(self.dataset, self.config, self.split, self.revision, self.column, self.allow_outside)


def copy_dataset(args: argparse.Namespace, source: str) -> int:
    """Scores a data set into a folder that `load_dataset` reads.

    Args:
        args (`argparse.Namespace`): see `vital score --help`.
        source (`str`): folder or Hub id of the model.

    Returns:
        `int`: 0 when every row was scored, 1 when some failed.

    Raises:
        UsageError: for arguments that cannot be, or an output that is of something else.
        Interrupted: after Ctrl-C.
    """
    require("pyarrow.parquet", "cli", UsageError)
    import torch

    output = Path(args.output)
    table_rows = _TABLE_ROWS if args.batch_size == "auto" else args.batch_size
    part_rows = -(-args.shard_rows // table_rows) * table_rows
    dataset = os.path.abspath(args.dataset) if os.path.exists(args.dataset) else args.dataset
    model, calibration = None, open_calibration(args.calibration, source)
    if calibration is not None:  # which columns there are depends on whether it suits the model
        model = load_model(source, "cpu" if args.engine == "ray" else args.device)
        calibration = checked_calibration(calibration, model, given=args.calibration is not None)
    require_calibration(args.where, calibration)
    job = CopyJob(
        dataset, args.config, args.split, args.revision, args.column, source, args.device, str(output.absolute()),
        args.where, args.prefix, table_rows, part_rows, args.batch_size, args.workers, args.timeout,
        torch.get_num_threads(), calibration, allow_outside=args.allow_outside, video_backend=video_backend(),
    )  # fmt: skip
    with contextlib.redirect_stdout(sys.stderr):
        rows = job.open()
        if clash := [name for name in job.columns if args.prefix + name in rows.features]:
            raise UsageError(f"the data set has a column {args.prefix}{clash[0]} already; give another --prefix")
        about = _about(job, rows)
        if (output / "scores.json").exists():
            return _already(output, about, args.resume)
        job = replace(job, version=rows.version)
        shards = [(split, index) for split, data in rows.splits.items() for index in range(data.num_shards)]
        run = _run_on_ray if args.engine == "ray" else _run_here
        try:
            prepare_folder(output)
            with only_run(output):
                _begin(output, about, args.resume)
                pending = [shard for shard in shards if _name(*shard) not in _parts(output)]
                run(job, rows, pending, args.address, model)
                counts = _finish(output, job, rows, about)
        except InUseError as error:
            raise UsageError(str(error)) from error
        except KeyboardInterrupt as stop:
            raise Interrupted(f"whole files are kept in {output}; the same command with --resume continues") from stop
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error}; once it can, resume with --resume") from error
    return EXIT_SOME_FAILED if counts["failed"] else 0


def _already(output: Path, about: dict[str, Any], resume: bool) -> int:
    if not resume:
        raise UsageError(f"{output} holds a complete copy; give another --output, or delete it")
    made = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    _require_same(output, differing(made["made with"], about))
    logger.warning("%s is complete", output)
    return EXIT_SOME_FAILED if made["failed"] else 0


def _require_same(output: Path, changed: list[str]) -> None:
    if changed:
        raise UsageError(f"{output} was made with another {', '.join(changed)}; take the same, or another --output")


def _about(job: CopyJob, rows: Rows) -> dict[str, Any]:
    """Returns the settings that the rows of the copy depend on."""
    settings = {name: value for name, value in asdict(job).items() if name in ("dataset", "config", "split", "where")}
    if job.calibration is not None:
        settings["calibration"] = asdict(job.calibration)
    settings |= {"prefix": job.prefix, "column": rows.column, "rows a file": job.part_rows}
    return {**fingerprint(job.model), "batch size": job.batch_size, **settings, "version of the data": rows.version}


def _begin(output: Path, about: dict[str, Any], resume: bool) -> None:
    parts = _parts(output)
    if parts.begun and not resume:
        raise UsageError(f"{output} holds an unfinished copy; add --resume to continue it, or delete it")
    if not parts.begun and output.exists() and any(each.name not in (_PROGRESS, LOCK) for each in output.iterdir()):
        raise UsageError(f"{output} is not empty; give a folder that does not exist")
    _require_same(output, parts.begin(about))
    (output / "data").mkdir(exist_ok=True)


def _parts(output: Path) -> FinishedParts:
    return FinishedParts(output / _PROGRESS)


def _name(split: str, index: int) -> str:
    """Name of a file of the data set; its parts are this, a hyphen and their number."""
    return f"{split}-{index:05d}"


# --------------------------------------------------------------------------------------------------- the engines
def _run_here(job: CopyJob, rows: Rows, pending: list[tuple[str, int]], address: str | None, model: Any) -> None:
    if not pending:
        return
    model = model or load_model(job.model, job.device)
    with progress_bar(unit="row") as bar:
        for split, index in pending:
            _copy_shard(job, model, rows, split, index, bar.update)


def _run_on_ray(job: CopyJob, rows: Rows, pending: list[tuple[str, int]], address: str | None, model: Any) -> None:
    ray, _ = require("ray", "ray", UsageError), require("ray.data", "ray", UsageError)
    if not pending:
        return
    started = not ray.is_initialized()
    if started:
        cpus = None if address else job.workers or None
        try:
            ray.init(address=address, num_cpus=cpus, include_dashboard=False, log_to_driver=False)
        except ConnectionError as error:
            raise UsageError(f"there is no Ray cluster at {address!r}: {first_line(error)}") from error
    try:
        cluster = ray.cluster_resources()
        on_gpu = job.device.startswith("cuda") or (job.device == "auto" and cluster.get("GPU", 0) > 0)
        workers = job.workers or max(int(cluster.get("GPU" if on_gpu else "CPU", 1)), 1)
        readers = min(max(int(cluster.get("CPU", 0)) // workers - 1, 1), 16)  # the cores are theirs together
        shards = [{"split": split, "index": index} for split, index in pending]
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=workers)
        done = ray.data.from_items(shards, override_num_blocks=len(shards)).map(
            _RayWorker,
            fn_constructor_args=(replace(job, workers=readers),),
            num_cpus=1,
            num_gpus=int(on_gpu),
            compute=pool,
        )
        with progress_bar(total=len(shards), unit="shard") as bar:
            for _ in done.iter_rows():
                bar.update()
    except ray.exceptions.RayError as error:
        raise UsageError(f"a worker failed on Ray: {error}; continue with --resume") from error
    finally:
        if started:
            ray.shutdown()


class _RayWorker:
    """An actor, so that the model is loaded once a worker."""

    def __init__(self, job: CopyJob) -> None:
        import torch

        torch.set_num_threads(job.threads)
        set_video_backend(job.video_backend)
        self._job, self._rows, self._model = job, job.open(), load_model(job.model, job.device)
        checked_calibration(job.calibration, self._model, given=True)
        if self._rows.version != job.version:
            raise UsageError(f"{job.dataset} differs from worker to worker; pin it with --revision")

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        _copy_shard(self._job, self._model, self._rows, shard["split"], int(shard["index"]), lambda count: None)
        return shard


# ----------------------------------------------------------------------------------------------------- one shard
def _copy_shard(
    job: CopyJob, model: Any, rows: Rows, split: str, index: int, progress: Callable[[int], object]
) -> None:
    """Scores one file of the data set into files of `job.part_rows` rows, after those that are there."""
    parts = _parts(Path(job.output))
    part = parts.count(f"{_name(split, index)}-")
    data = rows.splits[split]
    first = part * job.part_rows
    data = data.shard(num_shards=data.num_shards, index=index).skip(first)
    condition = None if job.where is None else parse_condition(job.where, model.config.level_words)
    writer = None
    for table, records in _score_tables(job, model, rows, split, data, first):
        if writer is None:
            writer = _PartWriter(job, rows, model.config.level_words, split, index, part)
        writer.add(table, records, condition)
        progress(table.num_rows)
        if writer.counts["rows"] >= job.part_rows:
            writer.close()
            writer, part = None, part + 1
    if writer is not None:
        writer.close()
    parts.finish(_name(split, index), {})


def _score_tables(
    job: CopyJob, model: Any, rows: Rows, split: str, data: Any, first: int
) -> Iterator[tuple["pa.Table", list[dict[str, Any]]]]:
    """Tables of `job.table_rows` rows with their records; media are read further ahead than that."""
    read: deque[pa.Table] = deque()
    scored: list[dict[str, Any]] = []

    def items() -> Iterator[Item]:
        start = first
        for table in tables(rows, data, job.table_rows):
            read.append(table)
            yield from to_items(table, rows.column, split, start, dataset=None if job.allow_outside else job.dataset)
            start += table.num_rows

    for batch in score_items(model, items(), job.batch_size, job.workers, job.timeout_s):
        for _, record in batch:
            scored.append(record if job.calibration is None else with_mos(record, job.calibration))
        while read and len(scored) >= read[0].num_rows:
            table = read.popleft()
            yield table, scored[: table.num_rows]
            del scored[: table.num_rows]


class _PartWriter:
    """Writes one file of a copy; it is there when it is whole, and then a marker says so."""

    def __init__(self, job: CopyJob, rows: Rows, level_words: list[str], split: str, index: int, part: int) -> None:
        self._arrow, parquet = require("pyarrow.lib"), require("pyarrow.parquet")
        self._features = _features(job, rows, level_words)
        self._names = job.columns
        self._prefix, self._parts = job.prefix, _parts(Path(job.output))
        self._name = f"{_name(split, index)}-{part:05d}"
        self._place = Path(job.output, "data", f"{self._name}.parquet")
        self._file = contextlib.ExitStack()
        self._schema = self._features.arrow_schema
        self._writer = parquet.ParquetWriter(self._file.enter_context(whole_file(self._place)), self._schema)
        self._waiting: list[pa.Table] = []
        self.counts = {"rows": 0, "kept": 0, "failed": 0}

    def add(self, table: "pa.Table", records: list[dict[str, Any]], condition: Condition | None) -> None:
        """Adds rows, their scores beside them, except those that do not meet the condition."""
        from datasets.table import table_cast

        for name in self._names:
            values = [record[name] for record in records]
            kind = self._schema.field(self._prefix + name).type
            table = table.append_column(self._prefix + name, self._arrow.array(values, type=kind))
        if condition is not None:
            table = table.filter(self._arrow.array([condition(columns(record)) for record in records]))
        self.counts["rows"] += len(records)
        self.counts["kept"] += table.num_rows
        self.counts["failed"] += sum(record["error"] is not None for record in records)
        self._waiting.append(table_cast(table, self._schema))
        if sum(each.num_rows for each in self._waiting) >= _ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        if any(each.num_rows for each in self._waiting):
            self._writer.write_table(self._arrow.concat_tables(self._waiting))
        self._waiting = []

    def close(self) -> None:
        """Puts the file in its place, unless it has no row."""
        self._flush()
        self._writer.close()
        self._file.close()
        if not self.counts["kept"]:
            self._place.unlink()
        self._parts.finish(self._name, self.counts)


def _features(job: CopyJob, rows: Rows, level_words: list[str]) -> Any:
    from datasets import Features, Value

    number, text = Value("float64"), Value("string")
    kinds = {**dict.fromkeys(("score", "std", *MOS_COLUMNS), number), "level": text, "error": text}
    kinds["level_probs"] = dict.fromkeys(level_words, number)
    return Features({**rows.features, **{job.prefix + name: kinds[name] for name in job.columns}})


# ----------------------------------------------------------------------------------------------------- the ending
def _finish(output: Path, job: CopyJob, rows: Rows, about: dict[str, Any]) -> dict[str, Any]:
    """Counts, writes the card and `scores.json`, which says that the copy is complete, and tidies up."""
    parts, splits = _parts(output), {}
    for split, data in rows.splits.items():
        found = [part for index in range(data.num_shards) for part in parts.series(f"{_name(split, index)}-")]
        splits[split] = {name: sum(part[name] for part in found) for name in ("rows", "kept", "failed")}
    counts = {"failed": sum(each["failed"] for each in splits.values()), "splits": splits}
    remove_partial(output / "data")
    write_whole(output / "README.md", _card(job, about, splits))
    write_whole(output / "scores.json", json.dumps({**counts, "made with": about}, indent=1) + "\n")
    shutil.rmtree(output / _PROGRESS)
    for name, each in splits.items():
        logger.warning("%s: %d rows, %d kept, %d failed", name, each["rows"], each["kept"], each["failed"])
    return counts


def _card(job: CopyJob, about: dict[str, Any], splits: dict[str, dict[str, int]]) -> str:
    from huggingface_hub import DatasetCardData

    files = {name: f"data/{name}-*.parquet" for name, each in splits.items() if each["kept"]}
    lines = [f"| {name} | {each['rows']} | {each['kept']} | {each['failed']} |" for name, each in splits.items()]
    kept = f", the rows with `{job.where}`" if job.where else ""
    name = os.path.basename(job.dataset) if os.path.isabs(job.dataset) else job.dataset
    text = (
        f"# {name}, scored\n\nMade by `vital score` from `{name}`, column "
        f"`{about['column']}`{kept}. The columns `{job.prefix}score` (.1 to .9, higher is better), "
        f"`{job.prefix}std`, `{job.prefix}level`, `{job.prefix}level_probs` and `{job.prefix}error` are new; the "
        "others are as they were, and so is their licence. `scores.json` says what the scores depend on.\n\n"
        "| split | rows read | rows kept | failed |\n|---|---:|---:|---:|\n" + "\n".join(lines)
    )
    data = DatasetCardData(tags=["image-quality-assessment", "vital"])
    return card_text({"default": files} if files else {}, text, data)
