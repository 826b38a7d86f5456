"""Measures of time and memory: cases take turns in one process, memory has a process of its own for each case."""

import logging
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


MIB = 2**20

logger = logging.getLogger(__name__)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds that `work` takes: by the clock, and of processor time over all threads of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def interleaved(cases: Mapping[str, Callable[[], Any]], repeats: int, warm_up: bool = True) -> dict[str, dict]:
    """Times cases in turns (A B C A B C ...), so that what else the machine does falls on all of them alike.

    Args:
        cases (`Mapping[str, Callable]`): what to time, by name.
        repeats (`int`): rounds.
        warm_up (`bool`, *optional*, defaults to `True`): one round before, which does not count.

    Returns:
        `dict`: by name the medians `wall_s` and `cpu_s`, and all `wall_runs_s` and `cpu_runs_s` in seconds.
    """
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for number in range(-1 if warm_up else 0, repeats):
        for name, work in cases.items():
            took = timed(work)
            if number >= 0:
                runs[name].append(took)
    result = {}
    for name, took in runs.items():
        walls, cpus = (list(column) for column in zip(*took, strict=True))
        medians = {"wall_s": statistics.median(walls), "cpu_s": statistics.median(cpus)}
        result[name] = {**medians, "wall_runs_s": walls, "cpu_runs_s": cpus}
    return result


def ratio(result: Mapping[str, dict], slow: str, fast: str, clock: str = "wall") -> float:
    """Returns how many times longer `slow` takes than `fast`: the median over rounds of [`interleaved`], pair by pair.

    Args:
        result (`Mapping`): what [`interleaved`] returned.
        slow, fast (`str`): names of cases.
        clock (`str`, *optional*, defaults to `"wall"`): `"wall"` or `"cpu"`.
    """
    pairs = zip(result[slow][f"{clock}_runs_s"], result[fast][f"{clock}_runs_s"], strict=True)
    return statistics.median(a / b for a, b in pairs)


def in_new_process(work: Callable[..., Any], *args: Any) -> Any:
    """Calls `work` in a process of its own, which knows nothing of this one, and returns its result.

    Args:
        work (`Callable`): a function at the top of a module.
        args: for it; they are pickled, and so is what it returns.

    Raises:
        RuntimeError: if the process fails; it has written why to stderr.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, work, args))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"The process of {work.__name__}{args} ended with {process.exitcode}.") from None
    except BaseException:  # Ctrl-C: this process would wait for that one
        process.terminate()
        raise
    finally:
        process.join()


def peak_memory(prepare: Callable[..., Callable[[], Any]], *args: Any) -> dict[str, float]:
    """Memory of one case, in a process of its own.

    Args:
        prepare (`Callable`): a function at the top of a module. Called in the new process with `args`, it loads what
            the case needs and returns the work to measure.
        args: for `prepare`; they are pickled.

    Returns:
        `dict`: in MiB `before` (resident once prepared: interpreter, libraries, weights), `peak` (largest resident
        size during the work) and `working`, the difference.

    Raises:
        RuntimeError: if the process fails; it has written why to stderr.
    """
    return in_new_process(_measure_peak, prepare, *args)


def _send(sender: Any, work: Callable[..., Any], args: tuple) -> None:
    sender.send(work(*args))


def _measure_peak(prepare: Callable[..., Callable[[], Any]], *args: Any) -> dict[str, float]:
    work = prepare(*args)
    _forget_peak()
    before = _resident_bytes()
    work()
    peak = max(_peak_bytes(), before)
    return {"before": before / MIB, "peak": peak / MIB, "working": (peak - before) / MIB}


def _forget_peak() -> None:
    """Makes Linux count the peak from now on: loading may have needed more than the work does."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    if sys.platform == "linux":
        return _status_bytes("VmHWM")
    return _peak_since_start()


def _resident_bytes() -> int:
    return _status_bytes("VmRSS") if sys.platform == "linux" else _peak_since_start()


def _peak_since_start() -> int:
    """Reads what other systems tell: loading counts too, so what the work needs beyond it is a lower bound."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def _status_bytes(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}.")


def guarded(parts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Measures parts one after the other; one that fails says why in its place, and costs no other.

    Args:
        parts (`Mapping[str, Callable]`): what to measure, by name.

    Returns:
        `dict`: by name what each returned, or `{"failed": "reason"}`.
    """
    results: dict[str, Any] = {}
    for name, part in parts.items():
        try:
            results[name] = part()
        except Exception as error:  # A compiler, a device or a decoder may raise anything.
            logger.warning("%s failed", name, exc_info=True)
            results[name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    return results
