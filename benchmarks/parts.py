"""Runs parts of a measurement in a process of their own: one that fails, dies or hangs costs itself and no other."""

import contextlib
import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any


START_S = 60.0
"""What a fresh process may take to start and import what its first part needs, before that part's limit begins."""


class NotReached(Exception):
    """Something that a part needs is not there; the message says what."""


@dataclass(frozen=True)
class Part:
    """One thing to measure.

    Attributes:
        name (`str`): of the result.
        work (`str`): `"module:function"`; it returns plain Python values, and is imported where it runs only.
        args (`tuple`): for it; they pickle.
        limit_s (`float`): seconds that it may take.
    """

    name: str
    work: str
    args: tuple = ()
    limit_s: float = 30.0


def run_parts(
    parts: Sequence[Part], seconds: float, report: Callable[[dict[str, dict[str, Any]]], None] = lambda results: None
) -> dict[str, dict[str, Any]]:
    """Runs parts one after the other, as long as there is time.

    They share a process, so that libraries and models are loaded once. After a failed part, a fresh one takes over:
    nobody knows what state the device and its memory were left in.

    Args:
        parts (`Sequence[Part]`): in the order of their worth.
        seconds (`float`): for all of them together.
        report (`Callable`, *optional*): is given the results so far after each part.

    Returns:
        `dict`: by name `status` (`"measured"`, `"failed"` or `"not reached"`), `seconds` where it was begun, and
        `result` or `why`.
    """
    end = time.monotonic() + seconds
    results = {part.name: {"status": "not reached", "why": "the time was over"} for part in parts}
    report(results)
    waiting = list(parts)
    while waiting and time.monotonic() < end:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(sender, waiting))
        process.start()
        sender.close()
        try:
            failed = _wait(process, receiver, START_S, end)  # the answer of one that has started is empty
            while waiting:
                part, begun = waiting.pop(0), time.monotonic()
                result = failed or _wait(process, receiver, part.limit_s, end)
                results[part.name] = {**result, "seconds": round(time.monotonic() - begun, 1)}
                report(results)
                if result["status"] == "failed" or time.monotonic() >= end:
                    break
            else:
                process.join(5)
        finally:
            _stop(process)
            receiver.close()
    return results


def _wait(process: Any, receiver: Connection, limit_s: float, end: float) -> dict[str, Any]:
    """Returns the answer of the process, or why there is none."""
    left = max(0.0, end - time.monotonic())
    try:
        if receiver.poll(min(limit_s, left)):
            return receiver.recv()
    except (EOFError, OSError):
        process.join(5)
        return {"status": "failed", "why": f"its process ended with {process.exitcode}"}
    if left < limit_s:
        return {"status": "not reached", "why": "the time was over while it ran"}
    return {"status": "failed", "why": f"took more than its {limit_s:g} s"}


def _work(sender: Connection, parts: Sequence[Part]) -> None:
    if hasattr(os, "setsid"):
        os.setsid()  # what it starts ends with it
    with contextlib.suppress(Exception):  # the part says what is wrong
        importlib.import_module(parts[0].work.partition(":")[0])
    sender.send({})
    for part in parts:
        try:
            module, _, function = part.work.partition(":")
            answer = {"status": "measured", "result": getattr(importlib.import_module(module), function)(*part.args)}
        except NotReached as error:
            answer = {"status": "not reached", "why": str(error)}
        except Exception as error:  # A compiler, a device or a decoder may raise anything.
            why = (str(error).strip() or "no message").splitlines()[0]
            answer = {"status": "failed", "why": f"{type(error).__name__}: {why}"}
        sender.send(answer)
        if answer["status"] == "failed":
            return


def _stop(process: Any) -> None:
    """Ends the process and all that it started, which may be at work still."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # it ended, or has no group of its own yet
            process.kill()
    else:
        process.kill()
    process.join()
