"""`vital push`, from the command line to a local Hub and back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

from dataset_scripts.build_config import BuildConfig
from dataset_scripts.pipeline import build
from modeling_vital import zoo
from modeling_vital.cli.main import main
from tests.fixtures.hub_server import TOKEN, serve
from tests.fixtures.tiny_media import recipe, write_folder


@pytest.fixture
def hub(monkeypatch):
    with serve() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def clean_run(hub, code, cwd, home):
    """The last line that code prints, where there is neither a token, a cache nor the source tree."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_dry_run_checks_shows_and_sends_nothing(hub, capsys):
    assert main(["push", "model", "vital-tiny", "org/vital-tiny", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("model org/vital-tiny: ") and "  model.safetensors\n" in said.out
    assert "no README.md" in said.err
    assert hub.requests == []


def test_dry_run_lists_all_that_is_sent_and_all_that_is_not(hub, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("modeling_vital.publishing.trial.run_trial", lambda *args: {"score": 0.5})
    shutil.copytree(zoo.resolve("vital-tiny"), tmp_path / "mine")
    for number in range(70):
        (tmp_path / "mine" / f"checkpoint-{number}").mkdir()
        (tmp_path / "mine" / f"checkpoint-{number}" / "optimizer.pt").write_text("x")
    (tmp_path / "mine" / os.fsdecode(b"caf\xe9 \x1b[2J.dat")).touch()
    assert main(["push", "model", str(tmp_path / "mine"), "org/mine", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("not sent: checkpoint-") == 70
    assert r"not sent: caf\udce9 \x1b[2J.dat" in said
    (tmp_path / "mine" / "chat_template.json").write_text('{"key": "hf_' + "a1B2" * 9 + '"}')
    assert main(["push", "model", str(tmp_path / "mine"), "org/mine"]) == 2
    assert "chat_template.json (a key or token stands in it)" in capsys.readouterr().err and hub.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "vital-tiny", "no-org"], "give org/name"),
        (["model", "nowhere", "org/a"], "nowhere is not a folder"),
        (["model", "vital-tiny", "org/a", "--card", "nowhere.md"], "nowhere.md is not a file"),
        (["dataset", "tests/fixtures", "org/a"], "no README.md"),
        (["thing", "vital-tiny", "org/a"], "thing"),
    ],
)
def test_wrong_use(hub, arguments, message, capsys):
    assert main(["push", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert hub.requests == []


def test_a_space_is_published(hub, capsys):
    assert main(["push", "space", "spaces_demo", "org/vital", "--private"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{hub.url}/spaces/org/vital"
    repo = hub.repos["space", "org/vital"]
    assert repo.private and repo.files()["app.py"] == Path("spaces_demo/app.py").read_bytes()
    assert "examples/beach-jetty.jpg" in repo.files()
    assert not [name for name in repo.files() if "__pycache__" in name]


def test_a_card_goes_along(hub, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("modeling_vital.publishing.trial.run_trial", lambda *args: {"score": 0.5})
    card = tmp_path / "vital-tiny.md"
    card.write_text("---\ntags: [vital]\n---\n")
    assert main(["push", "model", "vital-tiny", "org/tiny", "--card", str(card)]) == 0
    assert hub.repos["model", "org/tiny"].files()["README.md"] == card.read_bytes()
    assert "no README.md" not in capsys.readouterr().err


def test_a_model_that_differs_from_there_is_reported(hub, capsys, monkeypatch):
    answers = iter([{"score": 0.5}, {"score": 0.7}])
    monkeypatch.setattr("modeling_vital.publishing.trial.run_trial", lambda *args: next(answers))
    assert main(["push", "model", "vital-tiny", "org/tiny"]) == 1
    assert "was published, but gives {'score': 0.7} and not {'score': 0.5}" in capsys.readouterr().err


def test_ctrl_c(hub, capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling_vital.publishing.upload.upload", interrupt)
    assert main(["push", "space", "spaces_demo", "org/vital"]) == 130
    assert "interrupted" in capsys.readouterr().err and hub.repos == {}


@pytest.mark.slow
def test_a_published_model_scores_where_the_package_is_not(hub, tmp_path, capsys):
    hub.fail(r"POST .*/commit/", 403, times=1)
    assert main(["push", "model", "vital-tiny", "org/vital-tiny"]) == 1
    assert "nothing was published" in capsys.readouterr().err
    assert main(["push", "model", "vital-tiny", "org/vital-tiny"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{hub.url}/org/vital-tiny"
    code = (
        "import sys, json, importlib.abc\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'modeling_vital':\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from transformers import AutoModel\n"
        "model = AutoModel.from_pretrained('org/vital-tiny', trust_remote_code=True)\n"
        "result = model.score('photo of a beach.jpg')\n"
        "print(json.dumps(result.to_dict()))\n"
    )
    shutil.copy("spaces_demo/examples/beach-jetty.jpg", tmp_path / "photo of a beach.jpg")
    found = json.loads(clean_run(hub, code, tmp_path, tmp_path / "home"))
    from modeling_vital import VitalForConditionalGeneration

    model = VitalForConditionalGeneration.from_pretrained("vital-tiny")
    expected = model.score(tmp_path / "photo of a beach.jpg")
    assert found["score"] == pytest.approx(expected.score, abs=1e-5) and found["level"] == expected.level


@pytest.mark.slow
def test_a_published_dataset_loads_where_the_package_is_not(hub, tmp_path, capsys):
    build(BuildConfig.from_dict(recipe(write_folder(tmp_path / "in"))), tmp_path / "pairs of it")
    assert main(["push", "dataset", str(tmp_path / "pairs of it"), "org/vital-pairs"]) == 0, capsys.readouterr().err
    code = (
        "import json\n"
        "from datasets import load_dataset\n"
        "rows = load_dataset('org/vital-pairs', 'scoring')\n"
        "first = rows['train'][0]\n"
        "print(json.dumps([sum(map(len, rows.values())), sorted(rows), first['mos'], len(first['images'])]))\n"
    )
    count, splits, mos, _ = json.loads(clean_run(hub, code, tmp_path, tmp_path / "home"))
    assert count == 25 and "train" in splits and 0 <= mos <= 1
    names = set(hub.repos["dataset", "org/vital-pairs"].files())
    assert {"README.md", "statistics.json"} <= names
    assert not [name for name in names if name.startswith(".")]
