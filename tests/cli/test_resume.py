"""`vital score --output`: every format, conditions and order, and what is kept of a run that was cut off."""

import csv
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from modeling_vital.cli import score, score_run
from modeling_vital.cli.errors import UsageError
from modeling_vital.cli.main import main
from modeling_vital.cli.scoring import make_record
from modeling_vital.item_log import ItemLog, ItemLogError
from tests.fixtures.stand_in import PROBS, WORDS, StandIn, install


ROOT = Path(__file__).parents[2]
SCORES = {"a.jpg": "0.5", "b.mp4": "0.25", "bad.png": "oops", "c d.jpg": "0.75", "e.jpg": "0.125"}
HEADER = ["path", "modality", "score", "std", "level", *(f"prob_{word}" for word in WORDS), "error"]


@pytest.fixture
def stand_in(monkeypatch):
    return install(monkeypatch, StandIn(), score_run)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with `in/`, a folder of files."""
    (tmp_path / "in").mkdir()
    for name, content in SCORES.items():
        (tmp_path / "in" / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vital(*argv):
    return main(["score", "in", "--workers", "0", *argv])


def names(output):
    return [os.path.basename(json.loads(line)["path"]) for line in output.read_text().splitlines()]


# -------------------------------------------------------------------------------------------------------- formats
def test_every_format_holds_the_same_records(stand_in, folder, capsys):
    for name in ("s.json", "s.jsonl", "s.csv", "s.parquet", "s.txt"):
        assert vital("--output", name) == 1
    assert capsys.readouterr().out == ""
    assert sorted(os.listdir(folder)) == ["in", "s.csv", "s.json", "s.jsonl", "s.parquet", "s.txt"]
    records = json.loads((folder / "s.json").read_text())
    assert [json.loads(line) for line in (folder / "s.jsonl").read_text().splitlines()] == records
    assert records[0]["level_probs"] == PROBS
    flat = [[r["path"], r["modality"], r["score"], r["std"], r["level"]] for r in records]
    for row, record in zip(flat, records, strict=True):
        row += [*(record["level_probs"] or dict.fromkeys(WORDS)).values(), record["error"]]
    header, *rows = csv.reader((folder / "s.csv").read_text().splitlines())
    assert header == HEADER
    assert rows == [["" if cell is None else str(cell) for cell in row] for row in flat]
    table = pq.read_table(folder / "s.parquet")
    assert table.column_names == HEADER
    assert [list(row.values()) for row in table.to_pylist()] == flat
    assert [line.split("  ")[0].rstrip() for line in (folder / "s.txt").read_text().splitlines()] == [
        "path",
        *(r["path"] for r in records),
    ]


def test_format_on_stdout_and_against_the_suffix(stand_in, folder, capsys):
    assert main(["score", "in/a.jpg", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == ",".join(HEADER)
    assert main(["score", "in/a.jpg", "--format", "jsonl", "--output", "s.csv"]) == 0
    assert json.loads((folder / "s.csv").read_text())["score"] == 0.5


def test_file_names_that_are_not_text_are_written_as_escapes(stand_in, folder):
    path = os.fsencode("in/") + b"\xff.jpg"
    try:
        with open(path, "w") as file:
            file.write("0.5")
    except OSError:
        pytest.skip("this file system takes no such names")
    for name in ("s.csv", "s.parquet", "s.json"):
        vital("--output", name)
    assert "\\udcff.jpg" in (folder / "s.csv").read_text(encoding="utf-8")
    assert any("\\udcff.jpg" in path for path in pq.read_table(folder / "s.parquet")["path"].to_pylist())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "at least one PATH"),
        (["in", "--dataset", "x"], "not both"),
        (["in", "--resume"], "--resume needs --output"),
        (["in", "--format", "parquet"], "needs --output"),
        (["in", "--output", "s.xyz"], "--format"),
        (["in", "--output", "in", "--format", "csv"], "is a folder"),
        (["in", "--where", "score <"], "--where"),
        (["in", "--sort", "length"], "--sort"),
        (["in", "--split", "train"], "--split need"),
        (["hf://datasets/a/b", "--copy-to", "x"], "files of this machine"),
        (["in", "--copy-to", "x", "--link-to", "y"], "--link-to"),
        (["in", "--workers", "-1"], "at least 0"),
        (["in", "--copy-to", "in/a.jpg"], "cannot be made"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_model_is_loaded(argv, message, folder, monkeypatch, capsys):
    monkeypatch.setattr(score_run, "load_model", lambda source, device: pytest.fail("loaded"))
    assert main(["score", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


# ---------------------------------------------------------------------------------------------- choosing, sorting
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["--sort", "score"], ["e.jpg", "b.mp4", "a.jpg", "c d.jpg", "bad.png"]),
        (["--sort", "-score"], ["c d.jpg", "a.jpg", "b.mp4", "e.jpg", "bad.png"]),
        (["--sort=-std"], ["a.jpg", "b.mp4", "c d.jpg", "e.jpg", "bad.png"]),
    ],
)
def test_sort(order, expected, stand_in, folder, capsys):
    vital(*order, "--output", "s.jsonl")
    assert names(folder / "s.jsonl") == expected
    vital(*order)
    assert [re.split(r"  +", line)[0] for line in capsys.readouterr().out.splitlines()][1:] == [
        f"in/{name}" for name in expected
    ]


def test_where_keeps_rows_but_the_exit_code_is_of_all(stand_in, folder, capsys):
    assert vital("--where", "score < 0.4", "--format", "jsonl") == 1
    out, err = capsys.readouterr()
    assert [json.loads(line)["path"] for line in out.splitlines()] == ["in/b.mp4", "in/e.jpg"]
    assert "bad.png" in err
    assert vital("--where", "prob_high > 0.5", "--output", "s.csv") == 1
    assert (folder / "s.csv").read_text().splitlines() == [",".join(HEADER)]


@pytest.mark.parametrize("option", ["--copy-to", "--link-to"])
@pytest.mark.parametrize("output", [[], ["--output", "s.csv"], ["--sort", "score"]])
def test_triage_takes_what_the_condition_keeps(option, output, stand_in, folder):
    for _ in range(2):
        vital("--where", "score < 0.4", option, "low ones", *output)
    assert sorted(os.listdir(folder / "low ones")) == ["b.mp4", "e.jpg"]
    assert (folder / "low ones" / "e.jpg").read_text() == "0.125"


def test_file_that_cannot_be_copied_is_a_failure(stand_in, folder, capsys, monkeypatch):
    (folder / "in" / "bad.png").unlink()
    monkeypatch.setattr("shutil.copy2", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert vital("--copy-to", "out") == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 5
    assert err.count("No space left on device") == 4


# ------------------------------------------------------------------------------------------------------- resuming
class Stop(StandIn):
    """Is interrupted in its third batch."""

    def score(self, items):
        if len(self.calls) == 2:
            raise KeyboardInterrupt
        return super().score(items)


def interrupted(monkeypatch, *argv):
    install(monkeypatch, Stop(), score_run)
    assert vital("--batch-size", "1", *argv) == 130


@pytest.mark.parametrize("name", ["s.json", "s.jsonl", "s.csv", "s.parquet", "s.txt"])
def test_resumed_output_is_the_undisturbed_one(name, stand_in, folder, monkeypatch, capsys):
    vital("--batch-size", "1", "--output", f"whole-{name}")
    stand_in.calls.clear()
    interrupted(monkeypatch, "--output", name)
    assert (
        f"2 of 5 records are kept in {name}.resume; the same command with --resume continues"
        in capsys.readouterr().err
    )
    assert not (folder / name).exists()
    monkeypatch.setattr(score_run, "load_model", lambda source, device: stand_in)
    assert vital("--batch-size", "1", "--output", name, "--resume") == 1
    assert (folder / name).read_bytes() == (folder / f"whole-{name}").read_bytes()
    assert stand_in.calls == [["in/bad.png"], ["in/c d.jpg"], ["in/e.jpg"]]


def test_only_new_changed_and_failed_files_are_scored_by_a_later_run(stand_in, folder, capsys):
    vital("--output", "s.jsonl", "--resume")
    stand_in.calls.clear()
    (folder / "in" / "a.jpg").write_text("0.9375")
    (folder / "in" / "b2.jpg").write_text("1")
    (folder / "in" / "e.jpg").unlink()
    assert vital("--output", "s.jsonl", "--resume") == 1
    assert "1 files have changed since they were scored; they are scored again" in capsys.readouterr().err
    assert sum(stand_in.calls, []) == ["in/a.jpg", "in/b2.jpg", "in/bad.png"]
    assert names(folder / "s.jsonl") == ["a.jpg", "b.mp4", "b2.jpg", "bad.png", "c d.jpg"]
    assert json.loads((folder / "s.jsonl").read_text().splitlines()[0])["score"] == 0.9375


def test_other_condition_on_a_complete_run_costs_nothing(stand_in, folder, monkeypatch):
    (folder / "in" / "bad.png").unlink()
    vital("--output", "s.jsonl", "--resume")
    monkeypatch.setattr(score_run, "load_model", lambda source, device: pytest.fail("loaded"))
    assert vital("--output", "s.jsonl", "--resume", "--where", "score > 0.3") == 0
    assert names(folder / "s.jsonl") == ["a.jpg", "c d.jpg"]
    vital("--output", "s.jsonl", "--resume", "--format", "csv")
    assert (folder / "s.jsonl").read_text().startswith(",".join(HEADER))


def test_scores_of_an_earlier_run_are_neither_lost_nor_mixed(stand_in, folder, monkeypatch, capsys):
    interrupted(monkeypatch, "--output", "s.csv")
    capsys.readouterr()
    assert vital("--output", "s.csv") == 2
    assert "has 2 records of an earlier run; add --resume to continue it, or delete it" in capsys.readouterr().err
    monkeypatch.setattr(score, "fingerprint", lambda source: {"model": "another", "version of modeling-vital": "0"})
    assert vital("--output", "s.csv", "--resume") == 2
    assert "is of another model, version of modeling-vital" in capsys.readouterr().err


def test_scores_by_another_video_decoder_are_not_mixed(stand_in, folder, monkeypatch, capsys):
    interrupted(monkeypatch, "--output", "s.csv", "--video-backend", "pyav")
    capsys.readouterr()
    assert vital("--output", "s.csv", "--resume") == 2
    assert "is of another video backend" in capsys.readouterr().err
    install(monkeypatch, StandIn(), score_run)
    assert vital("--output", "s.csv", "--resume", "--video-backend", "pyav") == 1  # one file has no score


def test_log_that_is_none_and_log_in_use(stand_in, folder, capsys):
    (folder / "s.csv.resume").write_text("no log " * 500)
    assert vital("--output", "s.csv", "--resume") == 2
    assert "delete it to begin anew" in capsys.readouterr().err
    (folder / "s.csv.resume").unlink()
    with ItemLog(folder / "s.csv.resume", {}):
        assert vital("--output", "s.csv", "--resume") == 2
    assert "in use by another run" in capsys.readouterr().err


def test_a_run_that_waited_does_not_work_on_a_log_that_is_deleted(folder):
    path, found = folder / "s.csv.resume", []

    def wait():
        try:
            with ItemLog(path, {}):
                found.append(path.exists())
        except ItemLogError as error:
            found.append(str(error))

    with ItemLog(path, {}) as log:
        other = threading.Thread(target=wait)
        other.start()
        time.sleep(0.2)  # it waits for a second
        log.delete()
        other.join()
    assert found == [f"{path} was in use by another run, which has just ended; give the command again"]


@pytest.mark.parametrize(
    "paths", [["in", "./in"], ["in", "link"], ["in/a.jpg", "link/a.jpg"], ["in/a.jpg", "in/../in/a.jpg"]]
)
def test_a_file_is_scored_once_whatever_its_folder_is_called(paths, stand_in, folder):
    (folder / "link").symlink_to("in")
    main(["score", *paths, "--output", "s.jsonl"])
    assert names(folder / "s.jsonl") == (sorted(SCORES) if "a.jpg" not in paths[0] else ["a.jpg"])


@pytest.mark.parametrize("output", ["taken.csv", f"{'n' * 251}.csv", f"{'n' * 240}.csv"])
def test_a_log_that_cannot_be_made_is_told(stand_in, folder, capsys, output):
    (folder / "taken.csv.resume").mkdir()
    assert vital("--output", output) == 2
    assert f"vital: {output}.resume cannot be used (unable to open" in (err := capsys.readouterr().err)
    assert err.endswith("name a place that can be written, and has room\n") and not stand_in.calls
    with pytest.raises(ItemLogError, match="file/x.resume"):
        (folder / "file").touch()
        ItemLog(folder / "file" / "x.resume", {})


def test_a_condition_is_refused_before_anything_is_scored(stand_in, folder, capsys):
    for where in ("", " ", "prob_best > 0.1", "score < 0.1 and level > 3"):
        assert vital("--where", where) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(f"vital: --where {where!r} is no condition") and not stand_in.calls


def test_sorted_rows_come_out_after_ctrl_c(folder, monkeypatch, capsys):
    interrupted(monkeypatch, "--sort", "score", "--format", "jsonl")
    out, err = capsys.readouterr()
    assert [json.loads(line)["path"] for line in out.splitlines()] == ["in/b.mp4", "in/a.jpg"]
    assert "what was scored so far is on stdout" in err


def test_full_disk_is_told(stand_in, folder, monkeypatch, capsys):
    class Full:
        def execute(self, *args):
            raise sqlite3.OperationalError("database or disk is full")

        def close(self):
            pass

    with ItemLog(folder / "x.resume", {}) as log:
        log.add("a")
        monkeypatch.setattr(log, "_db", Full())
        with pytest.raises(Exception, match="x.resume .*full"):
            log.save([(0, make_record("a", "torn"))])


# --------------------------------------------------------------------------------------------------------- memory
def peak_bytes(count):
    """Memory of Python objects at most, from listing to the last sorted record."""
    tracemalloc.start()
    with ItemLog(None, {}) as log:
        for number in range(count):
            log.add(f"photos/{number:08d}.jpg")
        batch = []
        for ordinal, path, _ in log.pending():
            batch.append((ordinal, make_record(path, "torn")))
            if len(batch) == 8:
                log.save(batch)
                batch = []
        log.save(batch)
        assert sum(1 for _ in log.records("-score")) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_items():
    assert peak_bytes(3000) < 150_000  # 50 bytes an item


# ------------------------------------------------------------------------------------------- the real thing, killed
def write_pictures(folder, count):
    random.seed(0)
    for number in range(count):
        place = folder / f"{number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        shade = random.randrange(256)
        Image.linear_gradient("L").resize((32, 32)).point(lambda v, s=shade: (v + s) // 2).save(
            place / f"photo {number}.png"
        )
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")


def command(folder, output, *options):
    argv = [sys.executable, "-m", "modeling_vital.cli.main", "score", str(folder), "--output", str(output)]
    return [*argv, "--batch-size", "16", *options]


@pytest.mark.slow
def test_run_that_is_killed_three_times_equals_the_undisturbed_one(tmp_path):
    write_pictures(tmp_path / "in", 2000)
    assert subprocess.run(command(tmp_path / "in", tmp_path / "whole.csv"), cwd=ROOT).returncode == 1
    output, log, kept = tmp_path / "killed.csv", tmp_path / "killed.csv.resume", [0]
    rng = random.Random(7)
    for _ in range(3):
        process = subprocess.Popen(command(tmp_path / "in", output, "--resume"), cwd=ROOT, stderr=subprocess.DEVNULL)
        size = log.stat().st_size if log.exists() else 0
        deadline = time.monotonic() + 600
        while not log.exists() or log.stat().st_size <= size + 20_000:  # it is at work
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not output.exists()
        with sqlite3.connect(log) as database:
            kept.append(database.execute("SELECT COUNT(*) FROM scored").fetchone()[0])
    assert kept == sorted(set(kept)) and kept[-1] < 2001
    done = subprocess.run(command(tmp_path / "in", output, "--resume"), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert output.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(output.read_text().splitlines()) == 2002


def test_files_of_an_earlier_run_get_no_map_and_it_is_said(stand_in, folder, caplog):
    (folder / "in" / "bad.png").unlink()
    assert vital("--output", "s.csv", "--resume") == 0
    assert vital("--output", "s.csv", "--resume", "--map", "maps") == 0
    assert [record.args for record in caplog.records if "maps" in record.getMessage()] == [(4,)]


def test_a_run_that_a_wrong_use_ends_late_leaves_whole_json(stand_in, folder, capsys, monkeypatch):
    batches = []

    def full(self, batch):
        batches.append(batch)
        if len(batches) > 1:
            raise UsageError("the disk is full")

    monkeypatch.setattr(score_run.Locator, "write", full)
    assert vital("--format", "json", "--batch-size", "1") == 2
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_addresses_differ_where_paths_would_not(stand_in, folder, capsys):
    addresses = [f"https://h.example/{rest}" for rest in ("img/1", "img/1/", "a?u=b//c", "a?u=b/c")]
    assert main(["score", *addresses, "--workers", "0", "--format", "json"]) == 1
    assert [record["path"] for record in json.loads(capsys.readouterr().out)] == addresses


@pytest.mark.slow
def test_memory_with_20000_files(tmp_path):
    write_pictures(tmp_path / "in", 20)
    data = (tmp_path / "in" / "0" / "photo 0.png").read_bytes()
    peaks = {}
    for count in (1000, 20_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.png").write_bytes(data)
        code = "import resource, sys; from modeling_vital.cli.main import main; code = main(sys.argv[1:]); "
        code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
        argv = command(folder, tmp_path / f"{count}.parquet", "--sort=-score")[3:]
        done = subprocess.run([sys.executable, "-c", code, *argv], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks[count] = int(done.stdout) / 1024
        assert pq.read_metadata(tmp_path / f"{count}.parquet").num_rows == count
    assert peaks[20_000] < peaks[1000] + 60, peaks  # MiB
