"""`vital compare`, `vital describe`, `vital answer`: with the embedded checkpoint, and what they refuse."""

import json

import pytest
from PIL import ImageFilter

from modeling_vital.cli import compare, words
from modeling_vital.cli.main import main
from modeling_vital.cli.model_loading import load_model, resolve_model
from modeling_vital.media_vital import load_media
from tests.fixtures.stand_in import StandIn, install


@pytest.fixture(scope="module")
def tiny():
    return load_model(resolve_model("vital-tiny"), "cpu")


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny):
    """The current folder, with a picture, a blurred copy and a torn file; the model is loaded once for all tests."""
    for module in (compare, words):
        monkeypatch.setattr(module, "load_model", lambda source, device: tiny)
    sharp = load_media("spaces_demo/examples/beach-jetty.jpg").resize((384, 256))
    sharp.save(tmp_path / "my photo.png")
    sharp.filter(ImageFilter.GaussianBlur(4)).save(tmp_path / "soft.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "soft.png").read_bytes()[:200])
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -------------------------------------------------------------------------------------------------------- compare
def test_compare(folder, tiny, capsys):
    assert main(["compare", "my photo.png", "soft.png", "--format", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    a, b = tiny.score(["my photo.png", "soft.png"])
    assert record["winner"] == "a"
    assert record["probability"] == pytest.approx(tiny.compare("my photo.png", "soft.png").probability)
    assert record["difference"] == pytest.approx(a.score - b.score)
    assert [record["path_a"], record["path_b"]] == ["my photo.png", "soft.png"]
    assert main(["compare", "soft.png", "my photo.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == (
        f"B is better: A scores {b.score - a.score:+.3f}, and is better with probability "
        f"{1 - record['probability']:.3f}"
    )


def test_compare_a_picture_with_itself_is_a_tie(folder, capsys):
    assert main(["compare", "soft.png", "soft.png"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("a tie: A scores +0.000,")
    assert main(["compare", "my photo.png", "soft.png", "--tie-margin", "0.5"]) == 0
    assert "a tie" in capsys.readouterr().out


def test_compare_fails(folder, capsys):
    assert main(["compare", "my photo.png", "torn.png"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "torn.png" in err and len(err.splitlines()) == 1
    assert main(["compare", "my photo.png", "soft.png", "--tie-margin", "0.6"]) == 2
    assert main(["compare", "my photo.png"]) == 2


# ----------------------------------------------------------------------------------------------- describe, answer
def test_describe(folder, tiny, capsys):
    argv = ["describe", "my photo.png", "torn.png", "*soft*", "--max-new-tokens", "6", "--workers", "0"]
    assert main([*argv, "--format", "jsonl"]) == 1
    out, err = capsys.readouterr()
    good, torn, soft = map(json.loads, out.splitlines())
    assert good == {
        "path": "my photo.png",
        "text": tiny.describe("my photo.png", max_new_tokens=6),
        "error": None,
    }
    assert torn["text"] is None and "torn.png" in torn["error"]
    assert soft["path"] == "soft.png"
    assert "torn.png" in err and len(err.splitlines()) == 1
    assert main(argv) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["my photo.png", f"  {good['text']}", "torn.png"]
    assert main([*argv[:2], "--prefix", "It is", "--prompt", "How?", "--max-new-tokens", "2", "--format", "json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["text"].startswith("It is")


def test_answer(folder, tiny, capsys):
    argv = ["answer", "soft.png", "What is wrong?", "--choices", "blur", "noise", "--workers", "0"]
    assert main([*argv, "--format", "json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    expected = tiny.answer("soft.png", "What is wrong?", ["blur", "noise"])
    assert record["text"] == expected.text
    assert record["choice_probs"] == pytest.approx(expected.choice_probs)
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"  {expected.text}"
    assert lines[2:] == [f"  {share:.3f}  {choice}" for choice, share in record["choice_probs"].items()]
    assert main(["answer", "soft.png", "Sharp?", "--max-new-tokens", "3", "--workers", "0"]) == 0


@pytest.mark.parametrize("choices", [["blur"], ["blur", "blur"], ["blur", ""]])
def test_choices_that_are_none(choices, folder, capsys):
    assert main(["answer", "soft.png", "What?", "--choices", *choices]) == 2
    assert "at least two different answers" in capsys.readouterr().err


def test_linear_probe_has_no_words(folder, monkeypatch, capsys):
    install(monkeypatch, StandIn(), words)
    assert main(["describe", "soft.png"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "linear probe" in err


def test_ctrl_c_says_what_there_is(folder, monkeypatch, capsys):
    class Stop:
        def __call__(self, *args):
            raise KeyboardInterrupt

    for module in (compare, words):
        monkeypatch.setattr(module, "load_model", Stop())
    assert main(["describe", "soft.png", "--format", "json"]) == 130
    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert err == "vital: interrupted; what was said so far is on stdout\n"
    assert main(["compare", "soft.png", "soft.png"]) == 130
    assert capsys.readouterr().err == "vital: interrupted\n"
