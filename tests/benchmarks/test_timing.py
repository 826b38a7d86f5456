"""The harness measures what it says: sleeps of known length, allocations of known size."""

import time

import numpy as np
import pytest

from benchmarks.timing import interleaved, peak_memory, ratio, timed


def test_a_sleep_takes_its_time_and_no_processor():
    wall, cpu = timed(lambda: time.sleep(0.1))
    assert 0.1 <= wall < 1.0
    assert cpu < 0.05


def test_work_takes_processor_time():
    end = time.process_time() + 0.05
    _, cpu = timed(lambda: [None for _ in iter(lambda: time.process_time() < end, False)])
    assert 0.045 <= cpu < 0.2


def test_cases_take_turns_and_the_first_round_does_not_count():
    order = []
    cases = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    result = interleaved(cases, 2)
    assert order == ["a", "b"] * 3
    assert [len(case["wall_runs_s"]) for case in result.values()] == [2, 2]


def test_the_ratio_is_that_of_pairs():
    result = {
        "slow": {"wall_runs_s": [2.0, 60.0, 8.0], "cpu_runs_s": [3.0, 3.0, 3.0]},
        "fast": {"wall_runs_s": [1.0, 10.0, 2.0], "cpu_runs_s": [1.0, 1.0, 1.0]},
    }
    assert ratio(result, "slow", "fast") == 4.0  # of 2, 6 and 4; that of the medians would also be 4
    assert ratio(result, "slow", "fast", "cpu") == 3.0


def test_a_longer_sleep_is_longer_by_the_known_factor():
    result = interleaved({"long": lambda: time.sleep(0.15), "short": lambda: time.sleep(0.05)}, 3, warm_up=False)
    assert result["long"]["wall_s"] == pytest.approx(0.15, abs=0.1)
    assert ratio(result, "long", "short") > 1.3


def allocate(before_mib: int, during_mib: int):
    """Needs four times as much while it loads; keeps `before_mib`, and uses `during_mib` at work."""
    kept = np.ones(before_mib << 20, np.uint8)
    np.ones(4 * during_mib << 20, np.uint8)
    return lambda: np.ones(during_mib << 20, np.uint8).sum() + kept[0]


def test_memory_is_that_of_the_work_alone():
    memory = peak_memory(allocate, 30, 64)
    assert memory["working"] == pytest.approx(64, abs=12)
    assert memory["before"] >= 30
    assert memory["peak"] == pytest.approx(memory["before"] + memory["working"])


def fail():
    raise ValueError("broken on purpose")


def test_a_process_that_fails_is_an_error_that_names_it():
    with pytest.raises(RuntimeError, match=r"fail.* ended with 1"):
        peak_memory(fail)
