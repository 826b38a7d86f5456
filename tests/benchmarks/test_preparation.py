"""The section of the main process at toy size, and parts that fail alone."""

from benchmarks.cases import Settings
from benchmarks.sections import preparation
from benchmarks.targets import targets
from benchmarks.timing import guarded


def test_every_case_is_measured():
    result = preparation.run(Settings(quick=True))
    assert set(result["ms"]) == set(result["before_ms"])
    assert all(isinstance(value, float) and value > 0 for value in result["ms"].values()), result
    met = targets({"preparation": result})
    assert [target["target"] for target in met.values()] == [5.0, 25.0]


def test_a_part_that_fails_costs_itself():
    results = guarded({"a": lambda: 1, "b": lambda: {}["no"], "c": lambda: 3})
    assert results == {"a": 1, "b": {"failed": "KeyError: 'no'"}, "c": 3}
