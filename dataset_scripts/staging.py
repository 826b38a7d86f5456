"""Staging folder of a build: finished shards, each with a marker that has the numbers for the report."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataset_scripts.build_config import BuildConfig, SettingsError
from modeling_vital.finished_parts import FinishedParts
from modeling_vital.whole_files import write_whole


logger = logging.getLogger(__name__)

CONFIG_NAME = "build_config"


@dataclass(frozen=True)
class Drop:
    """An item that was skipped.

    Attributes:
        name (`str`): item, or version of one.
        reason (`str`): short and the same for alike cases: what the report counts.
        detail (`str`): what exactly was wrong.
    """

    name: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Staging:
    """The folder of a build that is under way.

    Args:
        root (`Path`): the folder.
    """

    root: Path

    @property
    def parts(self) -> FinishedParts:
        """The stages and shards that are finished."""
        return FinishedParts(self.root, CONFIG_NAME)

    def prepare(self, config: BuildConfig) -> None:
        """Makes the folder, or checks that the build in it is the same.

        Raises:
            SettingsError: it holds a build with other settings; names those that differ.
        """
        if names := self.parts.begin(config.to_dict()):
            raise SettingsError(
                f"{self.root} holds an unfinished build with other settings ({', '.join(names)}); give the same "
                "settings to resume it, another --output, or --restart to throw it away"
            )

    # ------------------------------------------------------------------------------------------------- shards
    def path(self, stage: str, shard: int) -> Path:
        """The shard of a stage: a Parquet file."""
        return self.root / stage / f"{shard:05d}.parquet"

    def is_finished(self, stage: str, shard: int) -> bool:
        """Returns `True` if a shard is finished."""
        return _name(stage, shard) in self.parts

    def stats(self, stage: str, shard: int) -> dict[str, Any]:
        """The numbers of a finished shard."""
        return self.parts.read(_name(stage, shard))

    def finish(
        self,
        stage: str,
        shard: int,
        schema: pa.Schema,
        rows: list[dict[str, Any]],
        drops: Iterable[Drop],
        stats: Mapping[str, Any],
    ) -> None:
        """Writes a shard, what was dropped on the way, and the marker, in this order."""
        drops = list(drops)
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
        write_whole(self.path(stage, shard), buffer.getvalue().to_pybytes())
        lines = [json.dumps({"stage": stage, **vars(drop)}, sort_keys=True) for drop in drops]
        write_whole(self.root / "dropped" / stage / f"{shard:05d}.jsonl", "".join(f"{x}\n" for x in lines))
        content = {**stats, "rows_out": len(rows), "dropped": dict(Counter(drop.reason for drop in drops))}
        self.parts.finish(_name(stage, shard), content)

    def read(self, stage: str, shard: int, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """The rows of a finished shard, all columns by default."""
        return pq.read_table(self.path(stage, shard), columns=columns).to_pylist()

    def count(self, stage: str) -> int:
        """The number of finished shards of a stage, up to the first gap."""
        return self.parts.count(_name(stage))

    def finished(self, stage: str) -> list[dict[str, Any]]:
        """The numbers of the finished shards of a stage, in order, up to the first gap."""
        return self.parts.series(_name(stage))

    def drops(self) -> Iterator[dict[str, str]]:
        """All drops that were written down, by stage and shard."""
        for file in sorted((self.root / "dropped").glob("*/*.jsonl")):
            yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())

    def clear(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.root, ignore_errors=True)


def _name(stage: str, shard: int | None = None) -> str:
    """Name of a shard in the record of finished parts; without `shard`, what the names of the stage begin with."""
    return f"finished/{stage}/" + ("" if shard is None else f"{shard:05d}")
