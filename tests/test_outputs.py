"""Every script whose work takes long tells before it that its output cannot be written."""

from importlib import import_module
from pathlib import Path

import pytest


EXAMPLES = Path(__file__).parents[1] / "spaces_demo" / "examples"
PHOTO = str(EXAMPLES / "beach-jetty.jpg")
FOLDERS = {  # module, the work, and the arguments before the folder
    "training.tiny.__main__": ("fetch_originals", ["--work_dir"]),
    "training.experiment.__main__": ("conduct", ["--work_dir"]),
    "training.suite.__main__": ("load_model", ["--output"]),
    "training.examples.quality_reward": ("train", [PHOTO, "--output"]),
    "dataset_scripts.sources.packages": ("fetch", ["--output"]),
    "model_cards.__main__": ("render_model_card", ["render", "--output"]),
}
FILES = {
    "training.examples.denoise": ("compare", [str(EXAMPLES)]),
    "dataset_scripts.annotators.measure": ("choose_photos", ["--photos", "p", "--output"]),
    "dataset_scripts.annotators.fit_calibration": ("choose_photos", ["--photos", "p", "--output"]),
    "dataset_scripts.annotators.fit_naturalness": ("choose_photos", ["--photos", "p", "--output"]),
    "dataset_scripts.distortions.contact_sheet": ("draw_sheet", [PHOTO, "--output"]),
}


def stopped(*args, **kwargs):
    """Fails: it stands for the work."""
    pytest.fail("worked")


@pytest.mark.parametrize("name", [*FOLDERS, *FILES])
def test_an_output_that_cannot_be_made_is_told_before_the_work(name, tmp_path, monkeypatch, capsys, caplog):
    (tmp_path / "file").touch()
    work, arguments = {**FOLDERS, **FILES}[name]
    monkeypatch.setattr(f"{name}.{work}", stopped)
    output = tmp_path / "file" if name in FOLDERS else tmp_path / "file" / "x.png"
    try:
        code = import_module(name).main([*arguments, str(output)])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert f"{tmp_path / 'file'}' cannot be made or written" in " ".join([capsys.readouterr().err, caplog.text])
