"""`vital score --map --curve` and `vital report`, as commands."""

import csv
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.encoding import encode_clip
from modeling_vital import curve_frames, media_vital
from modeling_vital.cli.locator import output_stem
from modeling_vital.cli.main import main
from modeling_vital.media_vital import load_media
from modeling_vital.thumbnails import WatchedClip
from tests.fixtures import loads as loads_fixture
from tests.fixtures.tiny_media import frames, photo


EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two pictures of one name, one with an evil name, a clip and a file that is none."""
    folder = tmp_path_factory.mktemp("media") / "my holiday"
    (folder / "sub").mkdir(parents=True)
    for seed, name in enumerate(("a b.png", "sub/a b.png", EVIL)):
        Image.fromarray(photo(seed)).save(folder / name)
    (folder / "clip.mp4").write_bytes(encode_clip(frames(3, count=36), 12.0, 8))
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


def test_score_writes_maps_and_curves(folder, tmp_path, capsys):
    assert main(["score", str(folder), "--map", str(tmp_path / "m"), "--curve", str(tmp_path / "c")]) == 1
    assert capsys.readouterr().out.count("\n") == 6
    maps = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert len(maps) == 3 and sum(name.startswith("a b.png-") for name in maps) == 2  # of two folders
    assert "_img src=x onerror=alert(1)_.png.map.png" in maps
    with Image.open(tmp_path / "m" / maps[0]) as drawn:
        assert drawn.width == 160 and drawn.height > 120
    stem = tmp_path / "c" / "clip.mp4"
    with open(f"{stem}.curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    scores = [float(each["score"]) for each in rows]
    assert len(rows) > 3 and all(0 <= score <= 1 for score in scores) and float(rows[0]["start_s"]) == 0
    assert sorted(path.suffix for path in (tmp_path / "c").iterdir()) == [".csv", ".png", ".svg"]
    (frame,) = (tmp_path / "c").glob("*.worst-*s.png")
    worst = rows[scores.index(min(scores))]
    assert float(worst["start_s"]) <= float(frame.name.split("worst-")[1][:-5]) <= float(worst["end_s"])


@pytest.fixture
def loads(monkeypatch):
    """How often each file is loaded, with readers in this process."""
    counted = Counter()
    real = media_vital._from_file

    def load(file, name, max_pixels):
        counted[os.path.basename(file)] += 1
        return real(file, name, max_pixels)

    monkeypatch.setattr(media_vital, "_from_file", load)
    return counted


def test_a_report_reads_each_file_once(folder, tmp_path, loads):
    output = tmp_path / "r.html"
    assert main(["report", str(folder), "--output", str(output), "--no-curves", "--workers", "0"]) == 1
    assert set(loads.values()) == {1, 2} and loads["a b.png"] == 2  # two of that name
    assert loads["clip.mp4"] == 1 and loads[EVIL] == 1
    text = output.read_text(encoding="utf-8")
    cards = text.count('<ul class="cards">')
    assert text.count("data:image/webp") == 4 + cards and "The model's guess" in text  # a row each, one a card


def test_tags_and_pictures_of_scores_take_one_reading(folder, tmp_path, loads):
    rows = [
        {"path": str(folder / name), "modality": kind, "score": 0.25, "std": 0.1, "level": "poor", "error": None}
        for name, kind in (("a b.png", "image"), ("clip.mp4", "video"))
    ]
    (tmp_path / "scores.json").write_text(json.dumps(rows))
    options = ["--tags", "--allow-outside", "--workers", "0", "--output", str(tmp_path / "r.html")]
    assert main(["report", "--from", str(tmp_path / "scores.json"), *options]) == 0
    assert loads == {"a b.png": 1, "clip.mp4": 1}


def test_a_map_takes_the_reading_of_the_score(folder, tmp_path, loads, monkeypatch):
    from modeling_vital.cli import scoring

    command = ["score", str(folder / "a b.png"), "--workers", "0", "--map"]
    assert main([*command, str(tmp_path / "m")]) == 0
    assert loads == {"a b.png": 1}
    monkeypatch.setattr(scoring, "MAX_PICTURE_BYTES", 1)  # too large to be held: read again, in a worker
    assert main([*command, str(tmp_path / "n")]) == 0
    assert loads == {"a b.png": 2}
    ((first,), (second,)) = ([path.read_bytes() for path in (tmp_path / name).iterdir()] for name in "mn")
    assert first == second


def test_a_curve_is_read_by_a_worker_with_a_time_limit(folder, tmp_path, loads, caplog, monkeypatch):
    clip = str(folder / "clip.mp4")
    command = ["score", clip, "--workers", "0", "--curve"]
    assert main([*command, str(tmp_path / "c")]) == 0
    assert loads == {"clip.mp4": 1}  # in this process
    monkeypatch.setattr(curve_frames, "CurveFrames", lambda cutter: loads_fixture.sleep_in_parts)
    assert main([*command, str(tmp_path / "n"), "--timeout", "1"]) == 0
    assert "was given up after 1 s" in caplog.text and not list((tmp_path / "n").iterdir())


def test_a_watched_clip_gives_the_frames_it_was_asked_for(folder):
    clip = load_media(str(folder / "clip.mp4"))
    expected = clip.get_frames([1, 5, 9, 7])
    for frame, asked in ((7, [1, 5, 9]), (9, [1, 5]), (1, [1, 5])):
        watched = WatchedClip(load_media(str(folder / "clip.mp4")), frame)
        assert np.array_equal(watched.get_frames(asked), clip.get_frames(asked))
        assert np.array_equal(watched.kept, expected[[1, 5, 9, 7].index(frame)])


@pytest.mark.parametrize("option", ["--map", "--curve"])
@pytest.mark.parametrize("place", ["file", "file/m"])
def test_a_folder_for_maps_that_cannot_be_made_is_wrong_use(folder, tmp_path, caplog, monkeypatch, option, place):
    monkeypatch.setattr("modeling_vital.cli.score_run.load_model", None)  # it is told before that
    (tmp_path / "file").write_text("")
    assert main(["score", str(folder / "a b.png"), option, str(tmp_path / place)]) == 2
    assert "cannot be made" in caplog.text


def test_a_map_that_cannot_be_written_whole_leaves_the_old_one(folder, tmp_path, monkeypatch):
    command = ["score", str(folder / "a b.png"), "--workers", "0", "--map", str(tmp_path / "m")]
    assert main(command) == 0
    (place,) = (tmp_path / "m").iterdir()
    before = place.read_bytes()

    def half(self, path, *args, **kwargs):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", half)
    assert main(command) == 2
    assert [path.read_bytes() for path in (tmp_path / "m").iterdir()] == [before]


def test_a_report_takes_a_file_once(folder, tmp_path, monkeypatch, loads):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder / "sub", tmp_path / "h")
    os.symlink("h", tmp_path / "link")
    paths = ["h", "./h", "h/a b.png", str(tmp_path / "h"), "link", "h/../h"]
    assert main(["report", *paths, "--output", "r.html", "--no-tags", "--workers", "0"]) == 0
    assert loads == {"a b.png": 1}
    os.symlink("a b.png", tmp_path / "h" / "other name.png")  # a name of its own
    assert main(["report", *paths, "--output", "r.html", "--no-tags", "--workers", "0"]) == 0
    assert loads == {"a b.png": 2, "other name.png": 1}


def test_names_of_outputs_do_not_clash_and_fit():
    paths = ("a/x.png", "b/X.png", "a/x.jpg", "a/x.png")
    stems = [output_stem(path, {"x.png"}) for path in paths]
    assert len(set(stems)) == 3 and stems[2] == "x.jpg" and stems[0] == stems[3] != stems[1]
    assert len(output_stem("ä" * 200 + ".png").encode()) < 150
    assert output_stem("d/<b>|:.png") == "_b___.png" and not output_stem(".hidden").startswith(".")
    assert output_stem("x\udcff.png").isprintable()


def test_report_of_a_folder(folder, tmp_path, capsys):
    output = tmp_path / "my report.html"
    assert main(["report", str(folder), "--output", str(output)]) == 1
    assert capsys.readouterr().out == f"{output}\n"
    text = output.read_text(encoding="utf-8")
    assert "Model vital-tiny" in text and "&lt;img src=x onerror=alert(1)&gt;.png" in text and "<img src=x" not in text
    assert text.count("data:image/webp") >= 4 and "The model's guess" in text
    assert ("polyline" in text) != ("Even throughout" in text)  # the one clip
    assert "bad.png" in text and "not a picture" in text


def test_report_from_scores_scores_nothing(folder, tmp_path, capsys, monkeypatch):
    picture = folder / "a b.png"
    rows = [{"path": str(picture), "modality": "image", "score": 0.25, "std": 0.1, "level": "poor", "error": None}]
    (tmp_path / "scores.json").write_text(json.dumps(rows))
    monkeypatch.setattr("modeling_vital.cli.report.load_model", lambda *_: pytest.fail("a model is loaded"))
    options = ["--output", str(tmp_path / "r.html"), "--allow-outside"]
    assert main(["report", "--from", str(tmp_path / "scores.json"), *options]) == 0
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "0.250" in text and "not recorded" in text and "data:image/webp" in text


@pytest.fixture
def secret(tmp_path):
    """A picture outside the folder `in` of a stranger's file, and a link in it that leads there."""
    (tmp_path / "in").mkdir()
    Image.radial_gradient("L").save(tmp_path / "secret.png")
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    Image.radial_gradient("L").save(tmp_path / "in" / "own.png")
    return tmp_path


def shown(secret, path, *options):
    rows = [{"path": path, "modality": "image", "score": 0.25, "std": 0.1, "level": "poor", "error": None}]
    (secret / "in" / "scores.json").write_text(json.dumps(rows))
    arguments = ["--from", str(secret / "in" / "scores.json"), "--output", str(secret / "r.html"), "--workers", "0"]
    assert main(["report", *arguments, *options]) == 0
    text = (secret / "r.html").read_text(encoding="utf-8")
    return "data:image/webp" in text, "are not opened" in text


@pytest.mark.parametrize(
    "entry", ["{}/secret.png", "../secret.png", "link.png", "up/secret.png", "{}/in/../secret.png"]
)
def test_a_strangers_scores_show_no_other_pictures(entry, secret, monkeypatch):
    monkeypatch.chdir(secret / "in")
    entry = entry.format(secret)
    assert shown(secret, entry) == (False, True)
    assert shown(secret, entry, "--allow-outside") == (True, False)


@pytest.mark.parametrize(
    ("entry", "cwd"), [("own.png", "in"), ("own.png", "."), ("in/own.png", "."), ("{}/in/own.png", ".")]
)
def test_own_scores_show_their_pictures(entry, cwd, secret, monkeypatch):
    monkeypatch.chdir(secret / cwd)
    assert shown(secret, entry.format(secret)) == (True, False)


def test_tags_and_curves_open_no_other_files(secret, monkeypatch):
    from modeling_vital.cli import report

    monkeypatch.chdir(secret / "in")
    monkeypatch.setattr(report, "read_items", lambda model, items, *_: iter(opened.append(i.path) for i in items))
    opened = []
    assert shown(secret, "../secret.png", "--tags", "--curves") == (False, True)
    assert opened == []


def test_thumbnails_are_made_in_workers(secret, monkeypatch):
    from modeling_vital.report_page import rendering

    asked = []

    def read_ahead(items, load, *, workers, timeout_s):
        asked.append((workers, timeout_s))
        return real(items, load, workers=0, timeout_s=timeout_s)

    real = rendering.read_ahead
    monkeypatch.setattr(rendering, "read_ahead", read_ahead)
    monkeypatch.chdir(secret / "in")
    shown(secret, "own.png", "--workers", "3", "--timeout", "7")
    assert asked == [(3, 7)]


def test_report_after_ctrl_c_has_what_was_done(folder, tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling_vital.cli.report._tag", stop)
    command = ["report", str(folder / "a b.png"), "--output", str(tmp_path / "new" / "r.html")]
    assert main(command) == 130
    text = (tmp_path / "new" / "r.html").read_text(encoding="utf-8")
    assert "The run was stopped before its end" in text and "a b.png" in text
    assert "the page has what was done until then; only with --resume is it kept" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 130
    assert "; the same command continues" in capsys.readouterr().err
    monkeypatch.setattr("modeling_vital.report_page.render_page", stop)
    assert main([*command, "--resume"]) == 130
    assert "no page was written; the same command continues" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "new").iterdir() if file.suffix == ".html"] == ["r.html"]


@pytest.mark.parametrize("options", [[], ["--no-tags"], ["--no-curves"], ["--maps"], ["--resume"]])
@pytest.mark.parametrize("given", ["empty", "none/*.png"])
def test_a_report_of_nothing_needs_no_model_and_says_why(given, options, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("modeling_vital.cli.report.load_model", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["report", given, "--output", "r.html", *options]) == 1
    assert f"vital: {given}: no" in capsys.readouterr().err
    assert "No file has a score." in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments,said",
    [
        ([], "give files and folders, or --from"),
        (["x.png", "--from", "y.json"], "not both"),
        (["--from", "gone.json"], "'gone.json' cannot be read"),
        (
            ["x.png", "--output", "file/r.html"],
            "the folder 'file' cannot be made or written (File exists); name another place",
        ),
        (["x.png", "--output", "."], "is a folder; give a file"),
        (["x.png", "--output", "pipe"], "is no regular file"),
    ],
)
def test_wrong_use(arguments, said, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    assert main(["report", *arguments]) == 2
    assert said in caplog.text


def test_a_report_continues_with_what_is_kept(folder, tmp_path, loads, capsys):
    shutil.copytree(folder, tmp_path / "h")
    command = ["report", str(tmp_path / "h"), "--output", str(tmp_path / "r.html"), "--no-curves", "--workers", "0"]
    assert main([*command, "--resume"]) == 1
    first = (tmp_path / "r.html").read_text(encoding="utf-8")
    loads.clear()
    Image.fromarray(photo(7)).save(tmp_path / "h" / "sub" / "new.png")
    assert main([*command, "--resume"]) == 1
    assert set(loads) == {"new.png", "bad.png"}  # what failed is tried again
    again = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert first.count("<tr data-kind") == 4 and again.count("<tr data-kind") == 5
    assert again.count("data:image/webp") == first.count("data:image/webp") + 1
    capsys.readouterr()
    assert main([*command, "--resume", "--no-tags"]) == 2 and "another --tags" in capsys.readouterr().err
    assert main(["report", "--from", str(tmp_path / "h" / "none.json"), "--resume"]) == 2
    assert "--resume and --maps are for files" in capsys.readouterr().err


def test_maps_of_the_worst_pictures_come_on_request(tmp_path, monkeypatch):
    from modeling_vital.report_page import ReportPage

    Image.fromarray(photo(0)).save(tmp_path / "a.png")
    monkeypatch.setattr(ReportPage, "worst_rows", lambda page: page.rows)
    command = ["report", str(tmp_path), "--output", str(tmp_path / "r.html"), "--workers", "0", "--no-tags"]
    assert main(command) == 0 and "Quality map" not in (tmp_path / "r.html").read_text()
    assert main([*command, "--maps"]) == 0 and 'alt="Quality map of a.png"' in (tmp_path / "r.html").read_text()
