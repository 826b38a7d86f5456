"""The record of finished parts: one a name, whole or absent, and never of two works."""

import os
import subprocess
import sys

import pytest

from modeling_vital import finished_parts
from modeling_vital.finished_parts import LOCK, FinishedParts, InUseError, differing, only_run


def test_a_part_is_finished_once_its_marker_is_whole(tmp_path, monkeypatch):
    parts = FinishedParts(tmp_path / "new" / "folder")
    parts.finish("stage/part-00000", {"rows": 2})

    def stop(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop)
        parts.finish("stage/part-00001", {"rows": 3})
    assert "stage/part-00000" in parts and "stage/part-00001" not in parts
    parts.finish("stage/part-00002", {"rows": 4})
    assert parts.count("stage/part-") == 1 and parts.series("stage/part-") == [{"rows": 2}]
    parts.finish("stage/part-00001", {"rows": 3})
    assert parts.series("stage/part-") == [{"rows": 2}, {"rows": 3}, {"rows": 4}]
    assert parts.count("part-") == 0


def test_another_work_is_named_by_its_settings_and_leaves_what_is_there(tmp_path):
    parts, about = FinishedParts(tmp_path, "settings"), {"seed": 1, "sides": (2, 3), "scale": {"low": 0, "high": 1}}
    assert not parts.begun and parts.begin(about) == [] == parts.begin(about)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"] and parts.begun
    assert parts.begin({"new": 1, "sides": (2, 4), "scale": {"high": 2, "low": 0}}) == [
        "new", "sides", "scale.high", "seed",
    ]  # fmt: skip
    assert parts.begin(about) == []


@pytest.mark.parametrize(
    ("found", "wanted", "names"),
    [
        ({}, {}, []),
        ({"a": None}, {}, []),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ["a"]),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 1}}}, ["a.b.d"]),
    ],
)
def test_differing(found, wanted, names):
    assert differing(found, wanted) == names


def test_a_folder_has_one_run_and_a_killed_one_does_not_block_it(tmp_path, monkeypatch):
    monkeypatch.setattr(finished_parts, "LOCK_TIMEOUT_S", 0.1)
    code = "import sys, pathlib; from modeling_vital.finished_parts import only_run\n"
    code += "with only_run(pathlib.Path(sys.argv[1])): print(flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline()
    with pytest.raises(InUseError, match=f"another run .*{tmp_path}; "), only_run(tmp_path):
        pass
    other.kill()
    other.communicate()
    assert (tmp_path / LOCK).exists()
    with only_run(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError("no flock")])
def test_a_file_system_without_locks_is_worked_on_with_a_warning(tmp_path, monkeypatch, caplog, error):
    def refuse(self, timeout):
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with only_run(tmp_path):
        pass
    assert f"{tmp_path} cannot be locked" in caplog.text
    with pytest.raises(KeyError), only_run(tmp_path):
        raise KeyError
