"""Reading ahead: items are decoded in child processes, in order, while the model works on those before.

Why not a pool that there is: with loky, as with `concurrent.futures`, a worker that dies breaks the pool and takes the
items of the others with it, and a task has no time limit. pebble has both, and would still leave to us most of what is
here: results that are not copied by pickling and pipes (48 MB a clip), the bound on the bytes that wait, the order,
and the words for what ended a worker. It would be one more dependency for what is left.
"""

import ctypes
import dataclasses
import logging
import mmap
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from multiprocessing import reduction
from multiprocessing.connection import Connection
from types import GeneratorType
from typing import Any, Generic, TypeVar

import numpy as np

from .media_error_vital import MediaError, describe_item, item_errors
from .video_decoding_vital import slowness


logger = logging.getLogger(__name__)

TIMEOUT_S = 120.0
MAX_WORKER_BYTES = 5 * 2**29
"""Memory that one item may take in a worker, where the system can limit it: 2.5 GiB."""
START_TIMEOUT_S = 120.0
MAX_HELD_BYTES = 2**30

Item = TypeVar("Item")

# A clean interpreter, on every platform. A fork would copy the locks of torch's and the decoders' threads without the
# threads, and hang on them; a fork server would have to be warmed with torch to be any faster than this.
_CONTEXT = multiprocessing.get_context("spawn")
# Starting and waiting for processes keeps lists that are not made for several threads. Reentrant: the garbage
# collector may end a forgotten reader in the thread that is starting the worker of another.
_STARTING = threading.RLock()


def default_workers() -> int:
    """Returns the number of workers that suits this machine: its cores for us but one, at least 1, at most 16.

    A worker makes some 30 photos of a megapixel a second: 16 feed the fastest model there is.
    """
    return min(max(usable_cores() - 1, 1), 16)


def usable_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_ahead(
    items: Iterable[Item],
    load: Callable[[Item], Any],
    *,
    workers: int | None = None,
    timeout_s: float = TIMEOUT_S,
    ahead: int | None = None,
    max_held_bytes: int = MAX_HELD_BYTES,
) -> "ReadAhead[Item]":
    """Loads items ahead of who consumes them, and gives them out in order.

    Work begins at once, not at the first `next`: what the caller does until then (import torch, load a model) costs
    the decoders no time. Workers are fresh interpreters that import what `load` needs and nothing else; with
    [`MediaCutter`] that is a fifth of a second, without torch.

    Args:
        items (`Iterable`): what to load, taken one by one as there is room; each must pickle.
        load (`Callable`): a function of a module, or an instance of a class of one, that pickles. What it returns must
            pickle; arrays in it go over without a copy for pickling. A generator gives its results part by part, for
            items too large to be held whole.
        workers (`int`, *optional*): child processes, [`default_workers`] if left out. 0 loads in this process, item by
            item when asked: then nothing stops a decoder that hangs or crashes.
        timeout_s (`float`, defaults to 120): seconds one item may take. Only with workers.
        ahead (`int`, *optional*): items loaded or being loaded at most, beyond those given out; `2 * workers` if left
            out. The batch size or more keeps workers busy while a batch is computed.
        max_held_bytes (`int`, defaults to 1 GiB): nothing new is begun while loaded items that wait, and those being
            loaded, taken for as large as the others, need more.

    Returns:
        `ReadAhead`: an iterator of `(item, result)`, the result what `load` returned, or a `MediaError` for whatever
        it raised. An item whose decoder hangs, crashes or is killed is a `MediaError` as well, and a fresh worker goes
        on. Of a generator the result is an iterator of its parts, which raises that error: it is to be used up before
        the next item is taken, and what is left then is dropped.

    Raises:
        ValueError: for numbers out of range.
        RuntimeError: while iterating, if a worker cannot be started.
    """
    workers = default_workers() if workers is None else workers
    ahead = max(2 * workers, 1) if ahead is None else ahead
    if workers < 0 or ahead < 1 or timeout_s <= 0:
        raise ValueError(
            f"read_ahead needs workers >= 0, ahead >= 1 and timeout_s > 0; got {workers}, {ahead}, {timeout_s}."
        )
    return ReadAhead(items, load, workers, timeout_s, ahead, max_held_bytes)


class ReadAhead(Generic[Item]):
    """The iterator of [`read_ahead`]. Ends its workers when exhausted, closed, left as a context or forgotten."""

    def __init__(self, items, load, workers, timeout_s, ahead, max_held_bytes) -> None:
        self._items = iter(items)
        self._load = load
        self._ahead = ahead if workers else 1
        self._max_held_bytes, self._usual_bytes = max_held_bytes, 0.0
        self._pending: deque[tuple[Item, Future]] = deque()
        self._jobs: queue.SimpleQueue = queue.SimpleQueue()
        self._parts: _Parts | None = None  # of the item given out last
        self._workers = [_Worker(pickle.dumps(load), timeout_s) for _ in range(workers)]
        # Daemons: an abandoned reader must not keep the interpreter from ending.
        self._threads = [threading.Thread(target=_serve, args=(w, self._jobs), daemon=True) for w in self._workers]
        for thread in self._threads:
            thread.start()
        if self._workers:
            self._fill()

    def __iter__(self) -> Iterator[tuple[Item, Any]]:
        return self

    def __next__(self) -> tuple[Item, Any]:
        if not self._workers:
            item = next(self._items)
            try:
                with item_errors(item):
                    result = self._load(item)
                    return item, _told_apart(item, result) if isinstance(result, GeneratorType) else result
            except MediaError as error:
                return item, error
        try:
            if self._parts is not None:
                self._parts.close()
            self._fill()
            if not self._pending:
                raise StopIteration
            item, future = self._pending[0]
            result = future.result().value
            self._parts = result if isinstance(result, _Parts) else None
            self._pending.popleft()
            self._fill()
        except BaseException:  # Ctrl-C as well
            self.close()
            raise
        return item, result

    def __enter__(self) -> "ReadAhead[Item]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_threads"):
            self._threads = []  # not waited for: this may be one of them, or hold what they wait for
            self.close()

    def close(self) -> None:
        """Ends the workers, whatever they are doing. Nothing more is given out."""
        self._items = iter(())
        self._pending.clear()
        for worker in self._workers:
            worker.close()
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout=10)
        self._threads = []

    def _fill(self) -> None:
        while len(self._pending) < self._ahead and self._has_room():
            try:
                item = next(self._items)
            except StopIteration:
                return
            future: Future = Future()
            self._pending.append((item, future))
            self._jobs.put((item, future))

    def _has_room(self) -> bool:
        sizes = [f.result().num_bytes for _, f in self._pending if f.done() and f.exception() is None]
        if sizes:
            self._usual_bytes = sum(sizes) / len(sizes)
        return sum(sizes) + (len(self._pending) - len(sizes)) * self._usual_bytes <= self._max_held_bytes


@dataclasses.dataclass
class _Loaded:
    value: Any
    num_bytes: int = 0


def _told_apart(item: Any, parts: Iterator[Any]) -> Iterator[Any]:
    """Parts that are made in this process, with errors that name their item."""
    with item_errors(item):
        yield from parts


class _Parts:
    """The parts of one item, fetched from its worker as they are asked for.

    Args:
        worker (`_Worker`): at work on it, and on nothing else until [`close`].
        item: what they are of.
        first (`_Loaded`): the first of them.
        left_s (`float`): seconds that the worker may still take.
    """

    def __init__(self, worker: "_Worker", item: Any, first: "_Loaded", left_s: float) -> None:
        self._worker, self._item, self._left_s = worker, item, left_s
        self._first: _Loaded | None = first
        self._over = False

    def __iter__(self) -> "_Parts":
        return self

    def __next__(self) -> Any:
        if self._first is not None:
            first, self._first = self._first, None
            return first.value
        if self._over:
            raise StopIteration
        loaded, error, more, took_s = self._worker.receive(self._item, self._left_s)
        self._left_s -= took_s
        if not more:
            self._over = True
            self._worker.free.set()
            raise StopIteration if error is None else error
        assert loaded is not None  # what more is to come of has no error
        return loaded.value

    def close(self) -> None:
        """Drops what is left, and the worker with it."""
        if not self._over:
            self._over, self._first = True, None
            self._worker.stop()
            self._worker.free.set()


class _Closed(Exception):
    """The reader was closed while a worker was at work."""


def _serve(worker: "_Worker", jobs: queue.SimpleQueue) -> None:
    """The thread of one worker: hands it job after job until there is a `None`."""
    for item, future in iter(jobs.get, None):
        try:
            result = worker.load(item)
        except _Closed:
            return
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
            worker.free.wait()
    worker.close()


class _Worker:
    """One child process, started when there is work, and anew after it died.

    Attributes:
        free (`threading.Event`): not set while parts of its item are still to come.
    """

    def __init__(self, load: bytes, timeout_s: float) -> None:
        self._load, self._timeout_s = load, timeout_s
        self._process: Any = None
        self._connection: Connection | None = None
        self._closed = False
        self.free = threading.Event()
        self.free.set()

    def load(self, item: Any) -> _Loaded:
        """Has an item loaded; a `MediaError` stands for whatever `load` raised, [`_Parts`] for what comes in parts."""
        message = pickle.dumps(item)
        if self._process is None:
            self._start()
        assert self._connection is not None  # it is started
        try:
            self._connection.send_bytes(message)
        except OSError:  # it ended; why is found out below
            pass
        loaded, error, more, took_s = self.receive(item, self._timeout_s)
        if self._closed:
            raise _Closed
        if more and loaded is not None:
            self.free.clear()
            return _Loaded(_Parts(self, item, loaded, self._timeout_s - took_s), loaded.num_bytes)
        return _Loaded(error) if loaded is None else loaded

    def receive(self, item: Any, limit_s: float) -> tuple[_Loaded | None, MediaError | None, bool, float]:
        """Waits for what is made of an item next.

        Returns:
            `tuple`: it, or an error; whether more is to come; and the seconds that it took.
        """
        process, connection, began_s = self._process, self._connection, time.monotonic()
        assert connection is not None  # it was sent an item
        try:
            if not connection.poll(max(limit_s, 0.0)):
                self.stop()
                problem = f"{describe_item(item)} was given up after {self._timeout_s:g} s: {slowness(item)}"
                return None, MediaError(problem), False, limit_s
            loaded, error, more = _receive(connection)
        except (EOFError, OSError):  # OSError: the pipe broke, at either end of it.
            self.stop()
            return None, MediaError(_last_words(item, process.exitcode, time.monotonic() - began_s)), False, 0.0
        return loaded, error, more, time.monotonic() - began_s

    def close(self) -> None:
        """Ends the process; its thread then finds a broken pipe."""
        with _STARTING:
            self._closed = True
            process = self._process
            if process is not None:
                process.kill()
                process.join()
        self.free.set()

    def _start(self) -> None:
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_work, args=(theirs, self._load, self._timeout_s), daemon=True)
        with _STARTING:
            if self._closed:
                raise _Closed
            process.start()
            self._process, self._connection = process, ours
        theirs.close()
        try:
            problem = ours.recv() if ours.poll(START_TIMEOUT_S) else f"no sign of life in {START_TIMEOUT_S:g} s"
        except (EOFError, OSError):
            problem = 'it ended at once; a script must do its work under `if __name__ == "__main__":`'
        if problem is not None:
            self.stop()
            if self._closed:
                raise _Closed
            raise RuntimeError(f"A worker for reading cannot be started: {problem}. Or read with workers=0.")

    def stop(self) -> None:
        """Ends the process; the next item gets a fresh one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with _STARTING:
                process.join()
            assert self._connection is not None  # a process has one
            self._connection.close()


def _last_words(item: Any, exit_code: int | None, seconds: float) -> str:
    name = f"exit code {exit_code}"
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
    if name == "SIGKILL":
        name += ", as when memory runs out"
    return (
        f"{describe_item(item)} ended its decoder after {seconds:.1f} s ({name}); it is damaged or too large: "
        "re-encode it or get a whole copy."
    )


def _receive(connection: Connection) -> tuple[_Loaded | None, MediaError | None, bool]:
    header, sizes = connection.recv()
    buffers = [_receive_raw(connection, size) if size else bytearray() for size in sizes]
    value, error, more = pickle.loads(header, buffers=buffers)
    return (_Loaded(value, len(header) + sum(sizes)) if error is None else None), error, more


# ------------------------------------------------------------------------------------------------------- the child
def _work(connection: Connection, load: bytes, timeout_s: float) -> None:
    """Runs a worker process: says that it is ready, then loads item after item until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us.
    _be_the_first_to_die()
    try:
        function = pickle.loads(load)
    except Exception as error:  # An import that fails raises anything.
        connection.send(f"{type(error).__name__}: {error}")
        return
    _limit_memory()
    connection.send(None)
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, OSError):
            return
        results = _results(function, message)
        more = True
        while more:
            if hasattr(signal, "setitimer"):  # Ends us, hanging or not, should the parent be killed in the meantime.
                signal.setitimer(signal.ITIMER_REAL, timeout_s + 2)
            value, failure, more = next(results)
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, 0)
            more = _send(connection, (value, failure, more))


def _results(function: Callable[[Any], Any], message: bytes) -> Iterator[tuple[Any, MediaError | None, bool]]:
    """Yields what a function makes of an item: value, error, and whether more is to come."""
    try:
        item = pickle.loads(message)
        with item_errors(item):
            result = function(item)
            if isinstance(result, GeneratorType):
                for part in result:
                    yield part, None, True
                result = None
            yield result, None, False
    except MediaError as error:
        yield None, MediaError(str(error)), False  # Without its cause, which may not pickle.


def _limit_memory() -> None:
    """Lets an allocation fail, as a `MemoryError` of its item, before the machine runs out; on Linux only."""
    try:
        import resource

        with open("/proc/self/status", encoding="ascii") as file:
            used = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = used + MAX_WORKER_BYTES
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    except (ImportError, OSError, StopIteration, ValueError) as error:
        logger.debug("No limit of memory for a worker: %s", error)


def _be_the_first_to_die() -> None:
    """Asks Linux to end this process, not the one with the model, when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("1000")
    except OSError as error:
        logger.debug("No say in what is ended when memory runs out: %s", error)


def _send(connection: Connection, result: tuple[Any, Exception | None, bool]) -> bool:
    """Sends a result; returns whether more is to come, which is not so of what cannot be pickled."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        header = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    except Exception as error:  # What cannot be pickled raises anything.
        buffers.clear()
        result = None, MediaError(f"What was loaded does not pickle ({type(error).__name__}: {error})."), False
        header = pickle.dumps(result)
    raw = [buffer.raw() for buffer in buffers]
    connection.send((header, [part.nbytes for part in raw]))
    for part in raw:
        if part.nbytes:
            _send_raw(connection, part)
    return result[2]


# On Linux the bytes are written into memory that both processes share, and only its handle is sent. A pipe costs this
# process a copy in pieces of a few KB: for a clip, more time than all else that it does for it.
_SHARES_MEMORY = hasattr(os, "memfd_create")


def _send_raw(connection: Connection, part: memoryview) -> None:
    if not _SHARES_MEMORY:
        connection.send_bytes(part)
        return
    shared = os.memfd_create("vital")  # not a file in /dev/shm, which containers keep small
    try:
        while part.nbytes:
            part = part[os.write(shared, part) :]
        reduction.send_handle(connection, shared, os.getppid())
    finally:
        os.close(shared)


def _receive_raw(connection: Connection, size: int) -> Any:
    if not _SHARES_MEMORY:
        buffer = np.empty(size, np.uint8)  # Not a bytearray: that would be filled with zeros first.
        connection.recv_bytes_into(buffer)
        return buffer
    shared = reduction.recv_handle(connection)
    try:
        return _mapped(shared, size)
    finally:
        os.close(shared)


def _mapped(shared: int, size: int) -> Any:
    """Shared memory as a buffer. `mmap.mmap` would keep the handle open, one for each array that waits."""
    system = ctypes.CDLL(None, use_errno=True)
    system.mmap.restype = ctypes.c_void_p
    system.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    system.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = system.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, shared, 0)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    buffer = (ctypes.c_char * size).from_address(address)
    weakref.finalize(buffer, system.munmap, address, size).atexit = False
    return buffer
