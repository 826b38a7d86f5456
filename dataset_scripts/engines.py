"""Execution engines of a build: this process, worker processes of this machine, or Ray.

Every engine makes the same shards: what is in one does not depend on who made it.
"""

import contextlib
import itertools
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol

from tqdm import tqdm

from dataset_scripts.build_config import BuildConfig, BuildError, SettingsError
from dataset_scripts.stages import STAGES, run_shard
from dataset_scripts.staging import Staging
from modeling_vital.extras import require


logger = logging.getLogger(__name__)

_WINDOW = 4  # items a worker may be ahead of the one that is waited for


class Engine(Protocol):
    """Runs the stages after `collect`, and is a context manager that gives its workers back."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Applies a picklable function; yields (item, result) in the order of the items, taking few ahead."""
        ...

    def run_stages(self, staging: Staging, shards: int, config: BuildConfig) -> None:
        """Makes every shard of every stage that is not there."""
        ...

    def __enter__(self) -> "Engine": ...

    def __exit__(self, *error: object) -> None: ...


class LocalEngine:
    """One stage after the other, its shards in worker processes.

    Args:
        workers (`int`, *optional*, defaults to 1): processes. 1 works in this process.
    """

    def __init__(self, workers: int = 1) -> None:
        if workers < 1:
            raise SettingsError(f"workers must be at least 1, got {workers}")
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "LocalEngine":
        if self.workers > 1:
            # Forked where that exists: a fresh interpreter would import torch anew in every worker.
            method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
            context = multiprocessing.get_context(method)
            self._pool = ProcessPoolExecutor(self.workers, context, _start_worker, (os.getpid(),))
            # Now, while this process has opened nothing: OpenCV's and Arrow's threads do not survive a fork.
            wait([self._pool.submit(time.sleep, 0.05) for _ in range(self.workers)])
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """See [`Engine.map`]."""
        if self._pool is None:
            yield from ((item, function(item)) for item in items)
            return
        source = iter(items)
        running: deque[tuple[Any, Future]] = deque()
        with _worker_deaths():
            while True:
                for item in itertools.islice(source, self.workers * _WINDOW - len(running)):
                    running.append((item, self._pool.submit(function, item)))
                if not running:
                    return
                item, future = running.popleft()
                yield item, future.result()

    def run_stages(self, staging: Staging, shards: int, config: BuildConfig) -> None:
        """See [`Engine.run_stages`]."""
        for stage in STAGES:
            pending = [shard for shard in range(shards) if not staging.is_finished(stage, shard)]
            with tqdm(desc=stage, unit="shard", total=shards, initial=shards - len(pending)) as progress:
                for _ in self._unordered(stage, pending, str(staging.root), config):
                    progress.update()

    def _unordered(self, stage: str, pending: Sequence[int], root: str, config: BuildConfig) -> Iterator[int]:
        if self._pool is None:
            yield from (run_shard(stage, shard, root, config) for shard in pending)
            return
        with _worker_deaths():
            running = {self._pool.submit(run_shard, stage, shard, root, config) for shard in pending}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)


@contextlib.contextmanager
def _worker_deaths() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise BuildError(
            "a worker process died, most likely for want of memory; give fewer --workers and run the same command "
            "again: finished shards are kept"
        ) from error


def _start_worker(parent: int) -> None:
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    """Ends this process when its parent is gone: a worker of a killed build would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class RayEngine:
    """The stages as one Ray Data pipeline over the numbers of the shards, each stage with resources of its own.

    Shards pass from stage to stage through the staging folder. Every machine of the cluster must have this package and
    see that folder, and originals that are files, under the same paths.

    Args:
        address (`str`, *optional*): of a cluster; by default Ray starts on this machine.
        workers (`int`, *optional*, defaults to 1): workers of each stage at most, with a CPU each.
        annotate_gpus (`float`, *optional*, defaults to 0): GPUs, or a share of one, for each worker of the stage
            `annotate`.

    Raises:
        SettingsError: Ray is not installed.
    """

    def __init__(self, address: str | None = None, workers: int = 1, annotate_gpus: float = 0.0) -> None:
        require("ray.data", "ray", SettingsError)
        self.address, self.workers, self.annotate_gpus = address, workers, annotate_gpus
        self._local = LocalEngine(workers)

    def __enter__(self) -> "RayEngine":
        import ray

        self._local.__enter__()  # before Ray starts threads of its own
        self._started = not ray.is_initialized()
        if self._started:
            cpus = None if self.address else self.workers * len(STAGES)
            ray.init(address=self.address, num_cpus=cpus, include_dashboard=False, log_to_driver=False)
        return self

    def __exit__(self, *error: object) -> None:
        import ray

        self._local.__exit__(*error)
        if self._started:
            ray.shutdown()

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """See [`Engine.map`]. Sources are read on this machine."""
        yield from self._local.map(function, items)

    def run_stages(self, staging: Staging, shards: int, config: BuildConfig) -> None:
        """See [`Engine.run_stages`]."""
        import ray

        last = list(STAGES)[-1]
        pending = [shard for shard in range(shards) if not staging.is_finished(last, shard)]
        if not pending:
            return
        data = ray.data.from_items([{"shard": shard} for shard in pending], override_num_blocks=len(pending))
        for stage in STAGES:
            data = data.map(
                _RayStage,
                fn_constructor_args=(stage, str(staging.root.resolve()), config),
                num_cpus=1,
                num_gpus=self.annotate_gpus if stage == "annotate" else 0,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.workers),  # one is enough to begin
            )
        with tqdm(desc="distort to pair", unit="shard", total=shards, initial=shards - len(pending)) as progress:
            try:
                for _ in data.iter_rows():
                    progress.update()
            except ray.exceptions.RayError as error:
                raise BuildError(f"a stage failed on Ray: {error}") from error


class _RayStage:
    """An actor of one stage, so that annotators are loaded once a worker."""

    def __init__(self, stage: str, root: str, config: BuildConfig) -> None:
        self.stage, self.root, self.config = stage, root, config

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"shard": run_shard(self.stage, int(row["shard"]), self.root, self.config)}
