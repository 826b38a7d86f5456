"""A package that an extra brings is named with the extra where it cannot be imported, whatever needs it."""

import sys

import pytest

from modeling_vital.cli.dataset_rows import open_rows
from modeling_vital.cli.errors import UsageError
from modeling_vital.extras import MissingExtraError, require
from modeling_vital.table_file import TableFile


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingExtraError, match=r"'scipy'.*modeling-vital\[eval\]"):
        require("scipy.stats")


def test_a_table_names_its_file_too(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"a\.parquet .*'pyarrow'.*modeling-vital\[cli\]"):
        TableFile(tmp_path / "a.parquet", ["path"])


def test_a_data_set_without_its_package_is_wrong_use(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"'datasets'.*modeling-vital\[cli\]"):
        open_rows(str(tmp_path), None, None, None, None)
