"""The list of tests that cannot apply is held to: one that fails off it fails the run, and one on it that passes."""

import os

import pytest

from .not_applicable import NOT_APPLICABLE
from .sources import VARIABLE


collect_ignore_glob = [] if VARIABLE in os.environ else ["test_*.py"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Expects the listed tests to fail, and each of them to be there."""
    if VARIABLE not in os.environ:
        return
    found = {item.nodeid.rpartition("/")[2]: item for item in items if "tests/peers/" in item.nodeid}
    for name, reason in NOT_APPLICABLE.items():
        if name in found:
            found[name].add_marker(pytest.mark.xfail(reason=reason, strict=True))
        elif not config.option.keyword and not any("::" in arg or arg.endswith(".py") for arg in config.args):
            raise pytest.UsageError(f"tests/peers/not_applicable.py lists {name!r}, which is no test.")
