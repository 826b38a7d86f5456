"""`vital threshold`: its last line is a command that keeps what it says."""

import csv
import json
import re
import shlex

import numpy as np
import pytest

from modeling_vital.cli import rated_files, score_run
from modeling_vital.cli.main import main
from tests.fixtures.stand_in import StandIn, install


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with 100 files in `files` that score by the number in them, and labels of them."""
    install(monkeypatch, StandIn(), score_run, rated_files)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "files").mkdir()
    rows = []
    for number, score in enumerate(rng.uniform(0.1, 0.9, 100)):
        (tmp_path / "files" / f"{number}.jpg").write_text(f"{score}")
        rows.append([f"files/{number}.jpg", "yes" if score + rng.normal(0, 0.15) > 0.5 else "No"])
    write(rows)
    return tmp_path


def write(rows, header=("path", "keep")):
    with open("labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def read():
    with open("labels.csv", newline="") as file:
        return list(csv.reader(file))[1:]


def test_the_line_that_is_printed_keeps_what_it_says(place, capsys):
    assert main(["threshold", "labels.csv", "--precision", "0.9"]) == 0
    out = capsys.readouterr().out
    precision, recall = map(float, re.search(r"^precision ([\d.]+) .*recall ([\d.]+) ", out, re.MULTILINE).groups())
    command = shlex.split(out.splitlines()[-1].replace("FOLDER", "files"))
    assert main([*command[1:], "--format", "json"]) == 0
    kept = {record["path"] for record in json.loads(capsys.readouterr().out)}
    wanted = {path for path, keep in read() if keep == "yes"}
    assert len(kept & wanted) / len(kept) == pytest.approx(precision, abs=1e-3) and precision >= 0.9
    assert len(kept & wanted) / len(wanted) == pytest.approx(recall, abs=1e-3)


def test_the_result_is_written_with_its_curve_and_plot(place, capsys):
    assert main(["threshold", "labels.csv", "--recall", "0.95", "--output", "t.json"]) == 0
    found = json.loads((place / "t.json").read_text())
    assert found["wanted"] == {"recall": 0.95} and found["recall"] >= 0.95
    assert len(found["curve"]["threshold"]) == len(found["curve"]["precision"]) == 100
    assert (place / "t.png").stat().st_size > 5000


def test_another_model_is_named_in_the_line(place, capsys):
    (place / "my model").mkdir()
    (place / "my model" / "config.json").write_text("{}")
    assert main(["threshold", "labels.csv", "--recall", "0.95", "--model", "my model"]) == 0
    assert " --model 'my model' --where " in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: rows[:30], r"only \d+ to keep and \d+ to drop among 30 labels"),
        (lambda rows: [[path, "yes"] for path, _ in rows], "only 0 to drop among 100 labels"),
        (lambda rows: [[path, "yes" if i % 2 else "no"] for i, (path, _) in enumerate(rows)], "no better than chance"),
        (lambda rows: rows[:1], "only"),
    ],
)
def test_labels_without_a_threshold_end_with_1_and_say_why(place, capsys, change, message):
    write(change(read()))
    assert main(["threshold", "labels.csv", "--recall", "0.9", "--output", "t.json"]) == 1
    out, err = capsys.readouterr()
    assert re.search(message, err) and not out
    assert not (place / "t.json").exists()


@pytest.mark.parametrize(
    "change, options, message",
    [
        (
            lambda rows: [[rows[0][0], "maybe"], *rows],
            [],
            "line 2, column 'keep': 'maybe' is no label; give yes or no",
        ),
        (lambda rows: [*rows, ["0.jpg", ""]], [], "line 102, column 'keep': there is no label"),
        (lambda rows: rows, ["--keep-column", "ok"], "no column 'ok'"),
        (lambda rows: rows, ["--output", "t.csv"], "must end in .json"),
        (lambda rows: rows, ["--precision", "0.5"], "not allowed with"),
        (lambda rows: rows, ["--recall", "1.5"], "must be a number above 0 and up to 1"),
        (
            lambda rows: rows,
            ["--recall", "90%"],
            "--recall: must be a number above 0 and up to 1, such as 0.9, got 90%",
        ),
        (lambda rows: rows, ["--recall", "0.9", "--workers", "two"], "--workers: must be a whole number, got 'two'"),
        (
            lambda rows: rows,
            ["--recall", "0.9", "--keep-column", "ok"],
            "labels.csv has no column 'ok'.*path, keep",
        ),
        (lambda rows: [], [], "has 0 rows"),
    ],
)
def test_bad_input_is_wrong_use(place, capsys, change, options, message):
    write(change(read()))
    assert main(["threshold", "labels.csv", "--recall", "0.9", *options]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_precision_or_a_recall_is_asked_for(place, capsys):
    assert main(["threshold", "labels.csv"]) == 2
    assert "--precision --recall is required" in capsys.readouterr().err


def test_a_file_without_a_score_is_left_out_and_told(place, capsys):
    (place / "files" / "3.jpg").write_text("oops")
    assert main(["threshold", "labels.csv", "--recall", "0.9"]) == 1
    out, err = capsys.readouterr()
    assert "--where" in out and "3.jpg" in err
