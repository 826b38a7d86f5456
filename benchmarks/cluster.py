"""Builds and scores on a real Ray cluster of this machine, kills workers, and compares every row: `make cluster`.

    python -m benchmarks.cluster                  2,000 rows and 2,000 pictures
    python -m benchmarks.cluster --rows 200 --pictures 200 --output build/cluster-quick
    python -m benchmarks.cluster --page PAGE      the table of benchmarks/results into a page; measures nothing

A head without CPUs and one or two workers, each a node of `ray start` on the loopback address with a GPU that exists
in Ray's books alone: that suffices to see which stages ask for one. With two workers one process of each task is
killed. Results go to stdout and `cluster.json` of the output folder; copy that to benchmarks/results to publish it.
"""

import argparse
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from modeling_vital.whole_files import write_whole

from .speed_report import markdown_table, put_block


ROOT = Path(__file__).parents[1]
PAPER_ROWS = 4_580_000
"""Rows of the paper's data set, for the estimate."""

ROWS_AN_ORIGINAL = 15
"""At least, with 6 versions each and the defaults of the rest."""

RESULT = ROOT / "benchmarks/results/cluster.json"
BEGIN, END = "<!-- cluster:begin -->\n", "<!-- cluster:end -->"

_HOST = "127.0.0.2"  # loopback too; Ray takes 127.0.0.1 for the address of the machine in its network
_SHARD_ORIGINALS, _SHARD_PICTURES = 4, 50
_ANNOTATE_GPUS = 0.5
_START_TRIES, _START_S, _STOP_S = 4, 300, 60

logger = logging.getLogger("benchmarks.cluster")


class ClusterError(Exception):
    """Something on the cluster is not as it has to be. The message says what."""


# ----------------------------------------------------------------------------------------------------- the cluster
@contextlib.contextmanager
def cluster(workers: int) -> Iterator[str]:
    """Starts a head and `workers` nodes with `ray start --block`, and ends these processes, and no others, afterwards.

    `ray stop` would end every Ray of the machine; a node started with `--block` takes what it has started with it.

    Args:
        workers (`int`): nodes that work, each with a CPU for every stage.

    Yields:
        `str`: address for `ray.init`.

    Raises:
        ClusterError: a node does not come up, or leaves processes behind.
    """
    import psutil

    from dataset_scripts.stages import STAGES

    with socket.socket() as free:
        free.bind((_HOST, 0))
        address = f"{_HOST}:{free.getsockname()[1]}"
    common = ["--block", f"--node-ip-address={_HOST}", "--min-worker-port=0", "--max-worker-port=0"]
    head = ["--head", f"--port={address.split(':')[1]}", "--num-cpus=0", "--num-gpus=0", "--include-dashboard=false"]
    node = [f"--address={address}", f"--num-cpus={len(STAGES)}", "--num-gpus=1"]
    nodes: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory(prefix="ray-") as scratch:
        try:
            for options in ([*head, "--disable-usage-stats", f"--temp-dir={scratch}"], *[node] * workers):
                command = [sys.executable, "-m", "ray.scripts.scripts", "start", *common, *options]
                _start(command, nodes, Path(scratch))
            yield address
        finally:
            theirs = [child for each in nodes for child in _children(psutil, each.pid)]
            for each in reversed(nodes):
                each.terminate()
            for each in nodes:
                try:
                    each.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    each.kill()
            _, left = psutil.wait_procs(theirs, timeout=_STOP_S)
            for process in left:
                process.kill()
    if left:
        raise ClusterError(f"{len(left)} processes outlived the cluster and were ended")


def _children(psutil: Any, pid: int) -> list[Any]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def _start(command: Sequence[str], nodes: list[subprocess.Popen], scratch: Path) -> None:
    """Starts a node; again where it gives up, for Ray's own limit of 30 s is short on a busy machine."""
    for _ in range(_START_TRIES):
        log = scratch / f"node-{len(nodes)}.log"
        with log.open("w") as out:
            nodes.append(subprocess.Popen(command, stdout=out, stderr=out, env=_environment(), cwd=ROOT))
        end = time.monotonic() + _START_S
        while nodes[-1].poll() is None and time.monotonic() < end:
            if "Ray runtime started" in log.read_text():
                return
            time.sleep(0.2)
    raise ClusterError(f"a node did not start in {_START_TRIES} tries; it says:\n{log.read_text()[-2000:]}")


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@contextlib.contextmanager
def connected(address: str, workers: int) -> Iterator[None]:
    """Connects this process, once every node has come up."""
    import ray

    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        end = time.monotonic() + _START_S
        while sum(node["Alive"] for node in ray.nodes()) != workers + 1:
            if time.monotonic() > end:
                raise ClusterError(f"{workers} workers were started, but Ray knows {ray.nodes()}")
            time.sleep(0.2)
        yield
    finally:
        ray.shutdown()


# ----------------------------------------------------------------------------------------------- watching and killing
def recording(base: type, folder: Path, name_of: Callable[..., str]) -> type:
    """A subclass of a Ray worker that writes down its process and what Ray gave it.

    Args:
        base (`type`): the worker's class.
        folder (`Path`): where each writes a file.
        name_of (`Callable`): the name of a worker, of the arguments it is made with.
    """
    place = str(folder)

    class Recording(base):
        def __init__(self, *args: Any) -> None:
            import ray

            gpus = ray.get_runtime_context().get_assigned_resources().get("GPU", 0)
            entry = {"name": name_of(*args), "pid": os.getpid(), "gpus": gpus}
            Path(place, f"{time.time_ns()}-{os.getpid()}.json").write_text(json.dumps(entry))
            super().__init__(*args)

    return Recording


def records(folder: Path) -> list[dict[str, Any]]:
    """Reads what workers wrote down, in the order they started."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


class Killer(threading.Thread):
    """Kills one worker process once some of the work is done.

    Args:
        folder (`Path`): of the records.
        name (`str`): which kind of worker.
        done (`Callable[[], int]`): pieces that are finished.
        least (`int`): so many have to be.
    """

    def __init__(self, folder: Path, worker: str, done: Callable[[], int], least: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.worker, self.done, self.least = folder, worker, done, least
        self.stop = threading.Event()
        self.killed: int | None = None
        self.at: int | None = None

    def run(self) -> None:
        """Waits, and kills."""
        while not self.stop.wait(0.05):
            if (done := self.done()) < self.least:
                continue
            for entry in records(self.folder):
                if entry["name"] == self.worker:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(entry["pid"], signal.SIGKILL)
                        self.killed, self.at = entry["pid"], done
                        return


@contextlib.contextmanager
def killing(killer: Killer | None, total: int) -> Iterator[None]:
    """Runs a killer beside the work, and sees that it struck in the middle and another worker took over."""
    if killer is None:
        yield
        return
    killer.start()
    try:
        yield
    finally:
        killer.stop.set()
        killer.join()
    if killer.killed is None or not 0 < killer.at < total:
        raise ClusterError(f"no {killer.worker} was killed in the middle of the work: take more rows")
    logger.info("killed a worker of %s after %d of %d pieces", killer.worker, killer.at, total)
    after = [entry["pid"] for entry in records(killer.folder) if entry["name"] == killer.worker]
    if after[-1] == killer.killed:
        raise ClusterError(f"no other {killer.worker} took over from the one that was killed")


# ------------------------------------------------------------------------------------------------------ the two tasks
def build_once(originals: Path, output: Path, address: str | None, workers: int, kill: bool) -> float:
    """Builds the pairs; returns seconds. Without an address in this process."""
    from dataset_scripts import engines
    from dataset_scripts.build_config import BuildConfig
    from dataset_scripts.pipeline import STAGING_DIR, build
    from dataset_scripts.staging import Staging

    recipe = {
        "sources": [{"kind": "folder", "path": str(originals), "license": "CC0-1.0"}],
        "collect": {"items_per_shard": _SHARD_ORIGINALS},
    }
    config, watch = BuildConfig.from_dict(recipe), output.with_name(f"{output.name}-workers")
    watch.mkdir(parents=True)
    started = time.monotonic()
    if address is None:
        build(config, output, engines.LocalEngine(1))
        return time.monotonic() - started
    staging, total = Staging(output / STAGING_DIR), -(-len(list(originals.iterdir())) // _SHARD_ORIGINALS)
    killer = Killer(watch, "distort", lambda: len(staging.finished("distort")), max(1, total // 3)) if kill else None
    stage = recording(engines._RayStage, watch, lambda stage, *rest: stage)
    with mock.patch.object(engines, "_RayStage", stage), killing(killer, total):
        build(config, output, engines.RayEngine(address, workers, _ANNOTATE_GPUS))
    seconds = time.monotonic() - started
    for entry in records(watch):
        if entry["gpus"] != (wanted := _ANNOTATE_GPUS if entry["name"] == "annotate" else 0):
            raise ClusterError(f"a worker of {entry['name']} had {entry['gpus']} GPUs, not {wanted}")
    return seconds


def score_once(pictures: Path, output: Path, address: str | None, workers: int, kill: bool) -> float:
    """Scores the pictures; returns seconds. Without an address in this process."""
    from modeling_vital.cli import dataset_copy
    from modeling_vital.cli.main import main

    watch, progress = output.with_name(f"{output.name}-workers"), output / ".progress"
    watch.mkdir(parents=True)
    options = ["score", "--dataset", str(pictures), "--output", str(output), "--shard-rows", str(_SHARD_PICTURES)]
    total = len(list(pictures.glob("data/*.parquet")))
    if address is not None:
        options += ["--engine", "ray", "--address", address, "--workers", str(workers)]
    killer = (
        Killer(watch, "score", lambda: len(list(progress.glob("*-*-*.json"))), max(1, total // 3)) if kill else None
    )
    worker = recording(dataset_copy._RayWorker, watch, lambda *args: "score")
    started = time.monotonic()
    with mock.patch.object(dataset_copy, "_RayWorker", worker), killing(killer, total):
        if code := main(options):
            raise ClusterError(f"vital {' '.join(options)} ended with {code}")
    if any(entry["gpus"] != 1 for entry in records(watch)):
        raise ClusterError("a worker that scores had no GPU of its own")
    return time.monotonic() - started


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of a data set, by the folder and split of its files."""
    import pyarrow.parquet as pq

    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted((folder / "data").rglob("*.parquet")):
        name = f"{path.parent.relative_to(folder)}/{path.name.split('-')[0]}"
        found.setdefault(name, []).extend(pq.read_table(path).to_pylist())
    return found


# ------------------------------------------------------------------------------------------------------------ inputs
def write_originals(folder: Path, count: int) -> None:
    """Pictures with structure at all scales, no two alike."""
    import cv2
    from PIL import Image

    folder.mkdir(parents=True)
    for seed in range(count):
        rng, total = np.random.default_rng(seed), np.full((192, 256, 3), 128, np.float32)
        for cells, weight in ((4, 90.0), (9, 45.0), (20, 25.0), (64, 12.0)):
            coarse = rng.normal(size=(cells, cells, 3)).astype(np.float32)
            total += weight * cv2.resize(coarse, (256, 192), interpolation=cv2.INTER_CUBIC)
        Image.fromarray(np.clip(total, 0, 255).astype(np.uint8)).save(folder / f"{seed:05d}.png")


def write_pictures(folder: Path, count: int) -> None:
    """A data set of small JPEG pictures, 50 a file."""
    import io

    import datasets
    from PIL import Image

    (folder / "data").mkdir(parents=True)
    features = datasets.Features({"id": datasets.Value("int32"), "image": datasets.Image()})
    rng = np.random.default_rng(0)
    for first in range(0, count, _SHARD_PICTURES):
        rows = []
        for number in range(first, min(first + _SHARD_PICTURES, count)):
            buffer = io.BytesIO()
            small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
            small.resize((128, 96), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=int(rng.integers(10, 95)))
            rows.append({"id": number, "image": {"bytes": buffer.getvalue(), "path": f"{number}.jpg"}})
        table = datasets.Dataset.from_list(rows, features=features)
        table.to_parquet(folder / "data" / f"train-{first // _SHARD_PICTURES:05d}.parquet")


# --------------------------------------------------------------------------------------------------------------- main
def measure(output: Path, rows: int, pictures: int) -> dict[str, Any]:
    """Does both tasks here and on clusters of one and two workers, and compares.

    Returns:
        `dict`: numbers for the table.

    Raises:
        ClusterError: a row differs, a stage has GPUs it must not have or lacks them, or a kill was not survived.
    """
    write_originals(output / "originals", -(-rows // ROWS_AN_ORIGINAL))
    write_pictures(output / "pictures", pictures)
    tasks = {"build": (build_once, output / "originals"), "score": (score_once, output / "pictures")}
    from .machine import describe  # imports torch: processes that read pictures import this module as well

    found: dict[str, Any] = {"machine": describe(), "rows": {}, "seconds": {name: {} for name in tasks}}
    expected = {}
    for name, (task, source) in tasks.items():
        found["seconds"][name]["one process, no Ray"] = task(source, output / f"{name}-here", None, 1, False)
        expected[name] = rows_of(output / f"{name}-here")
        found["rows"][name] = sum(map(len, expected[name].values()))
    for workers in (1, 2):
        with cluster(workers) as address:
            for name, (task, source) in tasks.items():
                folder, label = (
                    output / f"{name}-{workers}",
                    "Ray, one worker" if workers == 1 else "Ray, two workers, one killed",
                )
                with connected(address, workers):
                    found["seconds"][name][label] = task(source, folder, address, workers, kill=workers == 2)
                if rows_of(folder) != expected[name]:
                    raise ClusterError(f"{folder} has other rows than {output / f'{name}-here'}")
    return found


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown, after a line that says of what and where."""
    machine, rows = found["machine"], []
    for task, by_place in found["seconds"].items():
        for place, seconds in by_place.items():
            speed = found["rows"][task] / seconds
            rows.append((task, place, f"{seconds:.1f}", f"{speed:.0f}", f"{PAPER_ROWS / speed / 3600:.0f}"))
    intro = (
        f"Measured on: {machine['cpu']}, {machine['cores']} cores. {found['rows']['build']:,} rows of pairs and "
        f"{found['rows']['score']:,} pictures of 128 by 96\nwith `vital-tiny`, starts included. "
        "Made by `make cluster`.\n\n"
    )
    head = ("task", "where", "seconds", "rows a second", "hours for the paper's 4.58 M rows")
    return intro + markdown_table(head, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 where something is not as it has to be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=2000, help="of pairs, at least (default: 2000)")
    parser.add_argument("--pictures", type=int, default=2000, help="to score (default: 2000)")
    parser.add_argument("--output", type=Path, default=Path("build/cluster"), help="a new folder (build/cluster)")
    parser.add_argument("--page", type=Path, help=f"where to put the table of {RESULT.relative_to(ROOT)}")
    args = parser.parse_args(argv)
    if args.page:
        put_block(args.page, BEGIN, table(json.loads(RESULT.read_text("utf-8"))), END)
        return 0
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logger.setLevel(logging.INFO)
    os.environ.update(HF_HUB_OFFLINE="1", RAY_USAGE_STATS_ENABLED="0", HF_DATASETS_CACHE=str(args.output / "cache"))
    # Ray's port is open to the network, and a token of the user's is not ours to use. One for all clusters of a run,
    # because Ray reads it once a process.
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    if args.output.exists():
        parser.error(f"{args.output} is there already; delete it or give another --output")
    try:
        found = measure(args.output.absolute(), args.rows, args.pictures)
    except ClusterError as error:
        logger.error("%s", error)
        return 1
    write_whole(args.output / "cluster.json", json.dumps(found, indent=1) + "\n")
    sys.stdout.write(table(found) + "\nevery row is the same in all places\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
