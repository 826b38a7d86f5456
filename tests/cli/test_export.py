"""`vital export` as people call it."""

import pytest

from modeling_vital.cli.main import main
from tests.fixtures.tiny_models import tiny_model


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "a checkpoint"
    model = tiny_model("internvl")
    model.processor.image_processor.use_thumbnail = False
    model.save_pretrained(folder)
    return folder


def test_export_prints_the_folder_and_warns_of_differences(source, tmp_path, capfd):
    target = tmp_path / "for engines"
    assert main(["export", str(source), str(target), "--layout", "internvl"]) == 0
    out, err = capfd.readouterr()
    assert out == f"{target}\n"
    assert (target / "model.safetensors").is_file()
    assert "cut pictures otherwise" in err and "leaves out" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vital-tiny", "new", "--layout", "internvl"], "image encoder of this checkpoint is a 'regnet'"),
        (["vital-tinny", "new", "--layout", "internvl"], "Unknown model 'vital-tinny'"),
        (["vital-tiny", ".", "--layout", "internvl"], "exists"),
    ],
)
def test_wrong_use_exits_with_2_and_says_why(arguments, message, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == "" and message in err and "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["vital-tiny", "new"], ["vital-tiny", "new", "--layout", "gguf"]])
def test_the_layout_must_be_named(arguments, capfd):
    assert main(["export", *arguments]) == 2
    assert "--layout" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(KeyboardInterrupt(), 130, "interrupted"), (OSError(28, "No space left on device"), 1, "No space left")],
)
def test_stopped_half_way_leaves_nothing(error, code, message, source, tmp_path, monkeypatch, capfd):
    def stop(*args):
        raise error

    monkeypatch.setattr("modeling_vital.export.internvl._check_shapes", stop)
    assert main(["export", str(source), str(tmp_path / "new"), "--layout", "internvl"]) == code
    out, err = capfd.readouterr()
    assert out == "" and message in err and "was not written" in err
    assert not list(tmp_path.iterdir())
