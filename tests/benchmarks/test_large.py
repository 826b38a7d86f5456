"""Files, kills and counts of the large runs, and their table; the runs themselves take minutes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import large
from benchmarks.large import Task


def test_files_are_of_400_pictures_under_many_names(tmp_path):
    large.write_files(tmp_path / "files", 1100)
    files = sorted((tmp_path / "files").rglob("*.jpg"))
    assert len(files) == 1100 and len({path.name for path in files}) == 1100
    assert len({path.stat().st_ino for path in files}) == large.DIFFERENT
    assert len({path.read_bytes() for path in files}) == large.DIFFERENT


def test_a_run_is_killed_once_so_much_is_done(tmp_path):
    log = tmp_path / "log"
    text = f"import pathlib, time; pathlib.Path({str(log)!r}).write_bytes(bytes(3 << 20)); time.sleep(60)"
    task = Task([sys.executable, "-c", text], lambda: 0.5 if log.exists() else 0.0, [tmp_path], lambda: 0)
    run = large.run_once(task, 0.4)
    assert run["killed_at"] == 0.4 and run["seconds"] < 50 and run["peak_mib"] > 1 and run["disk_mib"] == 3.0
    with pytest.raises(RuntimeError, match=" 0$"):
        large.run_once(Task([sys.executable, "-c", ""], lambda: 0.0, [], lambda: 0), 0.4)
    with pytest.raises(RuntimeError, match="SystemExit.* 3$"):
        large.run_once(Task([sys.executable, "-c", "raise SystemExit(3)"], lambda: 1.0, [], lambda: 0), None)


def test_folders_that_vanish_take_no_room(tmp_path, monkeypatch):
    (tmp_path / "finished.partial").mkdir()
    (tmp_path / "log").write_bytes(b"abc")
    scandir = os.scandir

    def vanishing(path):
        if Path(path).suffix == ".partial":
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing)
    assert large.size_of([tmp_path, tmp_path / "log", tmp_path / "none"]) == 6


def test_a_run_that_cannot_be_watched_is_ended(monkeypatch):
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args: started.append(popen(*args)) or started[0])

    def unreadable():
        raise PermissionError("log")

    task = Task([sys.executable, "-c", "import time; time.sleep(60)"], unreadable, [], lambda: 0)
    with pytest.raises(PermissionError):
        large.run_once(task, 0.4)
    assert started[0].wait(30) != 0


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        (["a,0.5,", "b,0.5,", "b,0.5,"], "3 rows with a score, of 2"),
        (["a,0.5,", "b,0.5,"], "2 rows with a score, of 2"),
        (["a,0.5,", "b,0.5,", "c,,no picture"], "2 rows with a score, of 2"),
    ],
    ids=["a row twice", "a row lost", "a row failed"],
)
def test_every_file_needs_one_row_with_a_score(rows, counts, tmp_path):
    output = tmp_path / "scores.csv"
    output.write_text("\n".join(["path,score,error", "a,0.5,", "b,0.5,", "c,0.5,"]))
    assert large.check_scores(output, 3) == 3
    output.write_text("\n".join(["path,score,error", *rows]))
    with pytest.raises(RuntimeError, match=f"3 files, but {counts}"):
        large.check_scores(output, 3)


@pytest.mark.parametrize(
    ("ids", "least", "counts"),
    [
        (["a", "b", "b"], 3, "but 3 rows, 2 ids"),
        (["a", "b"], 2, "but 2 rows, 2 ids"),
        (["a", "b", "c"], 4, "at least 4 wanted, but 3 rows, 3 ids"),
    ],
    ids=["a row twice", "a row lost", "too few"],
)
def test_every_row_of_pairs_is_there_once(ids, least, counts, tmp_path):
    def write(ids):
        (tmp_path / "data/pairs").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": ids}), tmp_path / "data/pairs/train-00000.parquet")

    (tmp_path / "run_report.json").write_text(json.dumps({"rows": {"pairs": {"train": 2, "test": 1}}}))
    write(["a", "b", "c"])
    assert large.check_pairs(tmp_path, 3) == 3
    write(ids)
    with pytest.raises(RuntimeError, match=counts):
        large.check_pairs(tmp_path, least)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["score", "build"])
def test_a_small_run_is_killed_twice_and_counts_every_row(task, tmp_path, capsys):
    count = {"score": 4000, "build": 1500}[task]
    options = [task, "--count", str(count), "--output", str(tmp_path)]
    assert large.main(options) == 0
    assert f"| {task} | resumed, to the end |" in capsys.readouterr().out
    runs = json.loads((tmp_path / "large.json").read_text())[task]["runs"]
    assert [run["killed_at"] for run in runs] == [*large.KILLED_AT, None]
    with pytest.raises(SystemExit):
        large.main(options)
    assert "is there already" in capsys.readouterr().err


def test_the_table_names_each_task_and_run():
    run = {"killed_at": 0.3, "seconds": 8.5, "cpu_seconds": 7.0, "peak_mib": 400, "disk_mib": 2.5}
    part = {
        "machine": {"cpu": "Some CPU", "cores": 2},
        "of": "files",
        "rows": 2000,
        "runs": [run, run | {"killed_at": None}],
    }
    table = large.table({"score": part})
    assert "- score: 2,000 files; Some CPU, 2 cores.\n" in table
    assert "| score | killed at 30% | 8.5 | 7.0 | 400 | 2.5 |\n| score | resumed, to the end | 8.5 |" in table
