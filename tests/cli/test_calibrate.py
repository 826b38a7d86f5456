"""`vital calibrate`, and `vital score` with what it wrote."""

import csv
import json
import re
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest

from modeling_vital import reading
from modeling_vital.calibration_vital import Calibration
from modeling_vital.cli import dataset_copy, rated_files, score_run
from modeling_vital.cli.main import main
from modeling_vital.evaluation import calibration
from modeling_vital.video_processing_vital import FrameSampling
from tests.fixtures.stand_in import WORDS, StandIn, install


class Rated(StandIn):
    """The stand-in with what tells a model from others; of a row of a data set it takes the path."""

    def __init__(self, folder):
        super().__init__()
        values = (0.9, 0.7, 0.5, 0.3, 0.1)
        self.config = SimpleNamespace(level_words=WORDS, level_values=values, _name_or_path=str(folder))
        self.processor = SimpleNamespace(cutter=None, sampling=FrameSampling(), answer_prefixes=None)

    def value(self, path):
        return super().value(path["path"] if isinstance(path, dict) else path)


@pytest.fixture(autouse=True)
def no_plot(request, monkeypatch):
    """Plots, which take longer than all else here, are drawn in one test and empty in the others."""
    if request.function is not test_a_calibration_is_fitted_written_and_drawn:
        monkeypatch.setattr(calibration, "plot_calibration", lambda found, scores, mos, path: path.touch())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with 80 files that score by the number in them, and ratings from 1 to 5 of them."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    install(monkeypatch, Rated(model), score_run, rated_files, dataset_copy)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = []
    for number, score in enumerate(rng.uniform(0.1, 0.9, 80)):
        (tmp_path / f"{number}.jpg").write_text(f"{score}")
        rows.append([f"{number}.jpg", f"{1 + 5 * (score - 0.1) + rng.normal(0, 0.3):.3f}", f"photo {number // 2}"])
    write(rows)
    assert reading.default_workers() == 0
    return tmp_path


def write(rows, header=("path", "mos", "photo"), name="ratings.csv"):
    with open(name, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def read(name="ratings.csv"):
    with open(name, newline="") as file:
        return list(csv.reader(file))[1:]


def calibrate(*options):
    return main(["calibrate", "ratings.csv", "--model", "model", "--output", "c.json", *options])


def test_a_calibration_is_fitted_written_and_drawn(place, capsys):
    assert calibrate() == 0
    said = capsys.readouterr().out
    assert "80 ratings, scores of model" in said and "RMSE" in said and "c.png" in said
    found = Calibration.load("c.json")
    assert found.predict(0.5)[0] == pytest.approx(3, abs=0.2)
    assert found.errors["rmse"] == pytest.approx(0.3, abs=0.1)
    assert (found.model, found.modality, found.contents) == ("model", "image", 80)
    assert (place / "c.png").stat().st_size > 5000


def test_columns_groups_and_scales_have_names(place, capsys):
    rows = [[path, f"{6 - float(mos):.3f}", photo] for path, mos, photo in read()]
    write(rows, ("path", "dmos", "photo"))
    assert calibrate("--mos-column", "dmos", "--mos-range", "7", "-1", "--group-column", "photo") == 0
    assert "80 ratings of 40 contents" in capsys.readouterr().out
    assert Calibration.load("c.json").predict(0.9)[0] == pytest.approx(1, abs=0.3)


def test_contents_are_grouped_where_the_rows_of_a_data_set_say_so(place):
    write(read(), ("path", "mos", "content_id"))
    assert calibrate() == 0
    assert Calibration.load("c.json").contents == 40


def test_scores_get_a_mos_in_every_format(place, capsys):
    calibrate()
    (place / "clip.mp4").write_text("0.5")
    (place / "bad.jpg").write_text("oops")
    capsys.readouterr()
    arguments = ["score", "0.jpg", "clip.mp4", "bad.jpg", "--model", "model", "--calibration", "c.json"]
    assert main([*arguments, "--format", "json"]) == 1
    good, clip, bad = json.loads(capsys.readouterr().out)
    mos, low, high = Calibration.load("c.json").predict(good["score"])
    assert [good[name] for name in ("mos", "mos_low", "mos_high")] == [mos, low, high]
    assert list(good)[3:7] == ["std", "mos", "mos_low", "mos_high"]
    assert clip["mos"] is None and bad["mos"] is None  # pictures were rated, and what has no score has no MOS
    main([*arguments, "--format", "csv"])
    table = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert float(table[0]["mos"]) == mos and table[1]["mos"] == ""
    main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:6] == ["path", "score", "std", "mos", "mos_low", "mos_high"]
    assert f"{mos:.3f}" in lines[1] and lines[2].split()[3:6] == ["-", "-", "-"]
    assert main([*arguments, "--output", "scores.parquet"]) == 1
    from pyarrow import parquet

    assert parquet.read_table("scores.parquet")["mos"].to_pylist() == [mos, None, None]


def test_a_condition_may_ask_for_the_mos_where_there_is_one(place, capsys):
    calibrate()
    capsys.readouterr()
    arguments = ["score", *[f"{number}.jpg" for number in range(80)], "--model", "model", "--format", "json"]
    assert main([*arguments, "--calibration", "c.json", "--where", "mos < 2"]) == 0
    kept = json.loads(capsys.readouterr().out)
    assert 0 < len(kept) < 40 and all(record["mos"] < 2 for record in kept)
    assert main([*arguments, "--where", "mos < 2"]) == 2
    assert "--where asks for mos, and there is no calibration" in capsys.readouterr().err


def test_without_a_calibration_nothing_is_new(place, capsys):
    main(["score", "0.jpg", "--model", "model", "--format", "json"])
    assert "mos" not in json.loads(capsys.readouterr().out)[0]


def test_the_one_beside_the_weights_is_used_and_a_stale_one_is_not(place, capsys):
    calibrate("--output", "model/calibration.json")
    capsys.readouterr()
    main(["score", "0.jpg", "--model", "model", "--format", "json"])
    assert json.loads(capsys.readouterr().out)[0]["mos"] is not None
    (place / "model" / "model.safetensors").write_bytes(b"other weights")
    assert main(["score", "0.jpg", "--model", "model", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert "mos" not in json.loads(out)[0]
    assert "scores get no MOS" in err


def test_a_copy_of_a_data_set_follows_the_same_rule(place, capsys):
    """A stale calibration costs a warning where it was found, and is an error where it was named."""
    datasets = pytest.importorskip("datasets")
    picture = datasets.Features({"image": datasets.Image()})
    (place / "set").mkdir()
    made = datasets.Dataset.from_dict({"image": [{"path": str(place / "0.jpg"), "bytes": None}]}, features=picture)
    made.to_parquet(str(place / "set" / "train.parquet"))
    calibrate("--output", "model/calibration.json")
    arguments = ["score", "--dataset", "set", "--model", "model", "--allow-outside", "--output"]
    assert main([*arguments, "with"]) == 0
    (place / "model" / "model.safetensors").write_bytes(b"other weights")
    assert main([*arguments, "without"]) == 0
    assert "scores get no MOS" in capsys.readouterr().err
    columns = [
        pyarrow.parquet.read_schema(next((place / name / "data").iterdir())).names for name in ("with", "without")
    ]
    assert "vital_mos" in columns[0] and "vital_mos" not in columns[1]
    assert main([*arguments, "other", "--where", "mos > 1"]) == 2
    assert "there is no calibration" in capsys.readouterr().err
    assert main([*arguments, "other", "--calibration", "model/calibration.json"]) == 2
    assert "scores of two models do not share a scale" in capsys.readouterr().err
    assert not (place / "other").exists()


def test_one_of_other_weights_is_refused(place, capsys):
    calibrate()
    (place / "model" / "model.safetensors").write_bytes(b"other weights")
    assert main(["score", "0.jpg", "--model", "model", "--calibration", "c.json"]) == 2
    assert "scores of two models do not share a scale" in capsys.readouterr().err
    assert main(["score", "0.jpg", "--model", "model", "--calibration", "ratings.csv"]) == 2
    assert "'ratings.csv' holds no calibration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: "path,mos", "it is not JSON"),
        (lambda found: "[" * 100_000, "it is not JSON"),
        (lambda found: "[]", "JSON of something else"),
        (lambda found: '{"model": {"name": "vital"}, "threshold": 0.4}', "it lacks weights_sha256, scoring, modality"),
        (lambda found: json.dumps({"path": "a.jpg", "score": 0.4}), "JSON of something else"),
        (lambda found: json.dumps(found | {"slope": 2}), "it has slope, which no calibration of this version has"),
        (lambda found: json.dumps({k: v for k, v in found.items() if k != "margin"}), "it lacks margin;"),
        (lambda found: json.dumps(found | {"scores": 0.5}), "are lists of numbers"),
        (lambda found: json.dumps(found | {"scores": ["a", "b"], "mos": None}), "are lists of numbers"),
        (lambda found: json.dumps(found | {"scores": ["a", *found["scores"][1:]]}), "missing or not finite"),
        (lambda found: json.dumps(found | {"model": None}), "`model`"),
        (lambda found: json.dumps(found | {"weights_sha256": None}), "`weights_sha256`"),
        (lambda found: json.dumps(found | {"scoring": None}), "`scoring`"),
        (lambda found: json.dumps(found | {"method": 4}), "`method`"),
        (lambda found: json.dumps(found | {"ratings": "9"}), "`ratings`"),
        (lambda found: json.dumps(found | {"mos_range": "ab"}), "`mos_range`"),
        (lambda found: json.dumps(found | {"mos_range": ["a", "b"]}), "`mos_range`"),
        (lambda found: json.dumps(found | {"mos_range": [1, 3, 5]}), "`mos_range`"),
        (lambda found: json.dumps(found | {"mos_range": [1, 1]}), "`mos_range`"),
        (lambda found: json.dumps(found | {"margin": 10**400}), "`margin`"),
        (lambda found: json.dumps(found | {"scores": [0, 10**400]}), "`scores`"),
        (lambda found: json.dumps(found | {"errors": {}}), "`errors` lacks rmse, rmse_low, rmse_high"),
        (lambda found: json.dumps(found | {"errors": found["errors"] | {"rmse": None}}), "`errors`"),
    ],
)
def test_a_file_that_is_no_calibration_says_why(change, message, tmp_path):
    table = {name: [0.1, 0.9] for name in ("scores", "mos", "curve_low", "curve_high")}
    about = {"model": "m", "weights_sha256": "0" * 64, "scoring": {}, "modality": "image", "method": "line"}
    found = about | table | {"margin": 0.1, "confidence": 0.9, "mos_range": None, "ratings": 9, "contents": 9}
    found |= {"errors": {"rmse": 0.2, "rmse_low": 0.1, "rmse_high": 0.3}}
    (tmp_path / "c.json").write_text(json.dumps(found))
    assert Calibration.load(tmp_path / "c.json").predict(0.5)[0] == pytest.approx(0.5)
    (tmp_path / "c.json").write_text(json.dumps(found | {"mos": [-(10**30), 10**30], "margin": 10**30}))
    assert Calibration.load(tmp_path / "c.json").predict(0.5) == pytest.approx((0, -1e30, 1e30))
    (tmp_path / "c.json").write_text(change(found))
    with pytest.raises(ValueError, match=r"c\.json.*vital calibrate") as caught:
        Calibration.load(tmp_path / "c.json")
    assert message in str(caught.value) and "__init__" not in str(caught.value)


def test_the_folder_of_an_output_is_made(place, capsys):
    assert main(["calibrate", "ratings.csv", "--model", "model", "--output", "new/deep/c.json"]) == 0
    assert (place / "new" / "deep" / "c.json").is_file() and (place / "new" / "deep" / "c.png").is_file()


def test_a_resumed_run_may_take_another_calibration(place, capsys):
    """Records are kept without a MOS, so nothing is scored again for it."""
    calibrate()
    arguments = ["score", "0.jpg", "1.jpg", "--model", "model", "--output", "s.json", "--resume"]
    assert main(arguments) == 0
    assert "mos" not in json.loads((place / "s.json").read_text())[0]
    assert main([*arguments, "--calibration", "c.json"]) == 0
    assert json.loads((place / "s.json").read_text())[0]["mos"] is not None


def test_a_file_without_a_score_is_left_out_and_told(place, capsys):
    (place / "3.jpg").write_text("oops")
    assert calibrate() == 1
    out, err = capsys.readouterr()
    assert "79 ratings" in out and "3.jpg" in err


@pytest.mark.parametrize(
    "change, options, message",
    [
        (lambda rows: rows[:49], [], "49 rows.*50 or more; rate more files"),
        (lambda rows: [["0.jpg", "good", "x"], *rows], [], "line 2, column 'mos': 'good' is not a number"),
        (lambda rows: [*rows, ["0.jpg", "", "x"]], [], "line 82, column 'mos': there is no rating"),
        (lambda rows: [*rows, ["0.jpg", "inf", "x"]], [], "line 82, column 'mos': 'inf' is not a number"),
        (lambda rows: rows, ["--mos-column", "opinion"], "no column 'opinion'"),
        (lambda rows: rows, ["--group-column", "scene"], "no column 'scene'"),
        (lambda rows: rows, ["--mos-range", "1", "2"], "outside the scale from 1 to 2"),
        (lambda rows: rows, ["--output", "c.txt"], "must end in .json"),
        (lambda rows: rows, ["--output", "ratings.csv/c.json"], "cannot be made"),
        (lambda rows: [[f"{row[0]}.gone", *row[1:]] for row in rows], [], "0 of the 80 files.*can be scored"),
        (lambda rows: [[p, "3", g] for p, _, g in rows], [], "all ratings are 3"),
        (lambda rows: [*rows, ["./7.jpg", "3", "x"]], [], "line 82 names .*7.jpg again, as line 9 does"),
    ],
)
def test_bad_input_is_wrong_use(place, capsys, change, options, message):
    write(change(read()))
    assert calibrate(*options) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (place / "c.json").exists()


def test_a_whole_number_that_no_float_holds_is_no_rating(place, capsys):
    rows = [{"path": f"{i}.jpg", "mos": 10**400 if i == 7 else i} for i in range(60)]
    (place / "ratings.json").write_text(json.dumps(rows))
    assert main(["calibrate", "ratings.json", "--model", "model", "--output", "c.json"]) == 2
    assert re.search(r"row 8, column 'mos': 10+ is not a number", capsys.readouterr().err)


def test_a_rating_outside_the_scale_is_told_before_anything_is_scored(place, capsys, monkeypatch):
    monkeypatch.setattr(rated_files, "load_model", lambda source, device: pytest.fail("loaded"))
    write([*read()[:60], ["60.jpg", "-9", "x"]])
    assert calibrate("--mos-range", "0", "7") == 2
    assert "ratings.csv, line 62, column 'mos': -9 is outside the scale from 0 to 7" in capsys.readouterr().err


def test_pictures_and_clips_are_not_rated_together(place, capsys):
    (place / "clip.mp4").write_text("0.5")
    write([*read(), ["clip.mp4", "3", "x"]])
    assert calibrate() == 2
    assert "pictures and clips" in capsys.readouterr().err


def test_scores_that_say_nothing_write_nothing(place, capsys):
    rng = np.random.default_rng(1)
    write([[path, f"{rng.uniform(1, 5):.3f}", photo] for path, _, photo in read()])
    assert calibrate() == 1
    assert "tell nothing about these ratings" in capsys.readouterr().err
    assert not (place / "c.json").exists()
