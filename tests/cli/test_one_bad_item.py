"""One item that nobody foresaw costs itself, in every command and function that reads items."""

import json

import pytest

from modeling_vital import picture_vital
from modeling_vital.cli import compare, report, score_run, words
from modeling_vital.cli.main import main
from modeling_vital.cli.model_loading import load_model, resolve_model
from modeling_vital.media_vital import MediaError
from tests.fixtures.odd_media import BASE, turned_animation
from training.own_ratings import ManifestError, ManifestSettings, import_manifest


TURNED = {"turned.webp": 6, "turned.png": 5, "again.webp": 8}  # each a width and height away from what its head says
BAD = ("bad.png", "bad.jpg", "bad.webp")


@pytest.fixture(scope="module")
def tiny():
    return load_model(resolve_model("vital-tiny"), "cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny):
    """Sideways animations, sound pictures, and files that our own code stumbles over (in this process)."""
    for module in (compare, report, words, score_run):
        monkeypatch.setattr(module, "load_model", lambda source, device: tiny)
    for name, tag in TURNED.items():
        turned_animation(name[-4:].strip(".").upper(), tag)(tmp_path / name)
    for name in ("ok.png", *BAD):
        BASE.save(tmp_path / name)
    colors = picture_vital._colors

    def stumble(image):
        if "bad" in str(getattr(image, "filename", "")):
            raise LookupError("nobody thought of this")
        return colors(image)

    monkeypatch.setattr(picture_vital, "_colors", stumble)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(records):
    errors = {record["path"]: record["error"] for record in records}
    assert set(errors) == {*TURNED, *BAD, "ok.png"}
    for path, error in errors.items():
        assert (error is not None) == (path in BAD), (path, error)
        assert error is None or ("LookupError: nobody thought of this" in error and path in error)


NAMES = [*BAD, *TURNED, "ok.png"]


@pytest.mark.parametrize("workers", ["0", "1"])
def test_sideways_animations_are_scored(folder, capsys, workers):
    names = [*TURNED, "ok.png"]
    assert main(["score", *names, "--format", "json", "--workers", workers]) == 0
    assert all(record["score"] is not None for record in json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("command", ["score", "describe"])
def test_commands(folder, capsys, command):
    assert main([command, *NAMES, "--format", "json", "--workers", "0"]) == 1
    check(json.loads(capsys.readouterr().out))


def test_report(folder, capsys):
    assert main(["report", *NAMES, "--output", "page.html", "--workers", "0"]) == 1
    text = (folder / "page.html").read_text(encoding="utf-8")
    assert text.count("nobody thought of this") >= len(BAD) and "turned.webp" in text


def test_compare(folder, capsys, caplog):
    assert main(["compare", "ok.png", "turned.webp", "--format", "json"]) == 0
    for bad in BAD:
        assert main(["compare", "ok.png", bad]) == 1
        assert bad in caplog.text and "LookupError" in caplog.text


def test_functions(folder, tiny):
    for function in (tiny.score, tiny.describe):
        results = function([*NAMES], errors="return")
        assert [isinstance(result, MediaError) for result in results] == [name in BAD for name in NAMES]
    with pytest.raises(MediaError, match="bad.png.*LookupError"):
        tiny.score("bad.png")
    with pytest.raises(MediaError, match="bad.png.*LookupError"):
        tiny.processor.prepare("bad.png")


def test_manifest(folder):
    manifest = folder / "ratings.csv"
    manifest.write_text("path,mos\n" + "".join(f"{name},{n}\n" for n, name in enumerate(NAMES)), encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        import_manifest(manifest, folder / "out", ManifestSettings())
    assert all(name in str(caught.value) for name in BAD) and "LookupError" in str(caught.value)
    assert not any(name in str(caught.value) for name in TURNED)
