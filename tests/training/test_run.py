"""The scripts as people run them: recipes, overrides, estimates, several processes, and kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from datasets.exceptions import DatasetGenerationError, DatasetNotFoundError
from huggingface_hub.errors import HTTPError
from PIL import Image
from transformers import AutoModel

from modeling_vital.finished_parts import only_run
from tests.fixtures.tiny_models import tiny_model
from training import probe_stage, zero_shot_stage
from training.collators import RowError
from training.data import DataArguments
from training.recipe import Recipe, RecipeError, portable_settings
from training.run import _monitored, data_at_hand, main, run


ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "training" / "recipes"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny model"
    tiny_model().save_pretrained(folder)
    return folder


@pytest.fixture
def recipe_file(tmp_path, smoke_data, model_dir):
    path = tmp_path / "my recipe.yaml"
    recipe = {
        "model": str(model_dir),
        "dataset": str(smoke_data),
        "mixture": {"scoring": 2, "pairwise": 1, "distortion": 1},
        "bucket_batches": 4,
        "output_dir": str(tmp_path / "out put"),
        "per_device_train_batch_size": 4,
        "max_steps": 4,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_steps": 2,
        "use_cpu": True,
        "disable_tqdm": True,
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


def history(output_dir, key="loss"):
    state = max(Path(output_dir).glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1])) / "trainer_state.json"
    return {e["step"]: e[key] for e in json.loads(state.read_text())["log_history"] if key in e}


def start(script, *arguments, processes=1, **kwargs):
    command = [sys.executable, f"training/{script}.py", *map(str, arguments)]
    if processes > 1:
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", "0"]
        command = [sys.executable, *launcher, "--standalone", *command[1:]]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **kwargs)


def finish(process, timeout=300):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


# ------------------------------------------------------------------------------------------------------------ recipes
def test_the_command_line_overrides_the_recipe(recipe_file):
    arguments = ["--config", str(recipe_file), "--max_steps", "7", "--prefix_weight", "0.2", "--stage", "pretrain"]
    arguments += ["--mixture", '{"scoring": 1}', "--prompt_decoupling", "False", "--learning_rate", "5e-4"]
    recipe = Recipe.parse("pretrain", arguments)
    assert recipe.training.max_steps == 7
    assert recipe.training.learning_rate == 5e-4
    assert recipe.training.save_steps == 2  # from the file
    assert recipe.loss.prefix_weight == 0.2
    assert recipe.data.mixture == {"scoring": 1}
    assert recipe.data.prompt_decoupling is False


def test_a_saved_recipe_gives_the_same_settings(recipe_file, tmp_path):
    recipe = Recipe.parse("pretrain", ["--config", str(recipe_file), "--focal_beta", "1.5", "--bf16", "True"])
    recipe.save(tmp_path / "saved.yaml")
    again = Recipe.parse("pretrain", ["--config", str(tmp_path / "saved.yaml")])
    assert again.to_dict() == recipe.to_dict()
    assert again.loss == recipe.loss
    assert again.data == recipe.data


def test_a_key_twice_in_a_recipe_is_named(recipe_file, caplog):
    recipe_file.write_text(recipe_file.read_text() + "max_steps: 5\n")
    assert main("pretrain", "", ["--config", str(recipe_file)]) == 2
    lines = recipe_file.read_text().splitlines()
    first = next(number for number, line in enumerate(lines, start=1) if line.startswith("max_steps"))
    assert f"the key 'max_steps' is given twice, in line {first} and here" in caplog.text


@pytest.mark.parametrize("place", ["file", "file/inside"])
def test_an_output_that_cannot_be_made_is_told_before_a_model_is_loaded(place, recipe_file, tmp_path, caplog):
    (tmp_path / "file").touch()
    where = ["--output_dir", str(tmp_path / place)]
    own = ["--dataset", "gone", "--use_cpu", "True"]
    for call in (
        lambda: main("pretrain", "", ["--config", str(recipe_file), "--model", "gone", *where]),
        lambda: main("encoders", "", ["--config", str(recipe_file), "--model", "gone", "--stage", "encoders", *where]),
        lambda: probe_stage.main("", ["--model", "gone", *own, *where]),
        lambda: zero_shot_stage.main("", ["--vision", "gone", "--decoder", "gone", *own, *where]),
    ):
        caplog.clear()
        assert call() == 2
        assert f"`output_dir`: the folder '{tmp_path / place}' cannot be made or written" in caplog.text


def test_a_second_run_in_one_folder_is_refused(recipe_file, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("modeling_vital.finished_parts.LOCK_TIMEOUT_S", 0.1)
    (tmp_path / "out put").mkdir()
    with only_run(tmp_path / "out put"):
        assert main("pretrain", "", ["--config", str(recipe_file)]) == 2
        assert probe_stage.main("", ["--dataset", "gone", "--output_dir", str(tmp_path / "out put")]) == 2
    assert caplog.text.count("another run is at work in") == 2


@pytest.mark.parametrize(
    ("value", "portable"),
    [
        ("/home/someone/photos.csv", "photos.csv"),
        ("~/photos.csv", "photos.csv"),
        ("{here}/data/photos.csv", "data/photos.csv"),
        ("org/photos", "org/photos"),
        ("data/photos.csv", "data/photos.csv"),
        (["/mnt/a", {"b": "/mnt/c"}], ["a", {"b": "c"}]),
        (3, 3),
    ],
)
def test_portable_settings_hold_no_absolute_path(value, portable):
    value = value.format(here=Path.cwd()) if isinstance(value, str) else value
    assert portable_settings({"a": value}) == {"a": portable}


def test_rows_made_of_ratings_lie_beside_the_models_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48), (number * 60, 90, 30)).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "ratings.csv").write_text("path,mos\n" + "".join(f"photos/{n}.png,{n + 1}\n" for n in range(3)))
    made = data_at_hand(DataArguments(dataset=str(tmp_path / "ratings.csv")), tmp_path / "runs" / "mine", 0)
    assert Path(made.dataset).parent == tmp_path / "runs" / "mine-data"
    assert not (tmp_path / "runs" / "mine").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1\n", "learning_rat"),
        ("[1, 2]\n", "mapping"),
        ("stage: warm_up\nmodel: x\n", "'warm_up'.*'pretrain'"),
        ("loss_form: papr\nmodel: x\n", "paper, released"),
        ("dataset: x\n", "`model`"),
        ("max_samples: 0\nmodel: x\n", "max_samples"),
        ("a: [\n", "wrong.yaml.* line 2"),
    ],
)
def test_wrong_recipes(tmp_path, text, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        Recipe.parse("pretrain", ["--config", str(path)])


@pytest.mark.parametrize("error", [ConnectionError, DatasetNotFoundError, DatasetGenerationError, HTTPError])
def test_a_data_set_that_cannot_be_opened_ends_with_a_message(recipe_file, smoke_data, caplog, monkeypatch, error):
    def fails(*args, **kwargs):
        raise error("no luck")

    monkeypatch.setattr("training.data.load_dataset", fails)
    assert main("pretrain", "", ["--config", str(recipe_file)]) == 2
    assert "no luck" in caplog.text
    with pytest.raises(RecipeError, match="no luck"):
        probe_stage._rows(DataArguments(dataset=str(smoke_data)), "train", None, 0)


@pytest.mark.parametrize("divided", ["FSDP", "ZeRO-3", None])
def test_weights_that_are_divided_describe_nothing(smoke_data, caplog, monkeypatch, divided):
    monkeypatch.setattr("training.run.is_deepspeed_zero3_enabled", lambda: divided == "ZeRO-3")
    args = SimpleNamespace(monitor_samples=3, eval_strategy="steps", seed=0)
    trainer = SimpleNamespace(args=args, is_fsdp_enabled=divided == "FSDP")
    rows = _monitored(trainer, DataArguments(dataset=str(smoke_data)))
    assert (rows is None) == ("`monitor_samples`" in caplog.text) == (divided is not None)


def test_mistakes_end_with_a_message_and_a_status(recipe_file, tmp_path, caplog, capsys):
    assert main("pretrain", "", ["--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in caplog.text
    assert main("pretrain", "", ["--config", str(recipe_file), "--model", "no/where at all"]) == 2
    assert "no/where at all cannot be loaded" in caplog.text
    assert main("pretrain", "", ["--config", str(recipe_file), "--dataset", str(tmp_path / "nothing")]) == 2
    assert "nothing" in caplog.text
    assert main("pretrain", "", ["--config", str(recipe_file), "--report_to", "comet_ml"]) == 2
    assert "comet" in caplog.text.lower()
    assert main("warm_up", "", ["--config", str(recipe_file), "--decoder_dtype", "bfloat16"]) == 2
    assert "in 'warm_up' it learns" in caplog.text
    assert main("pretrain", "", ["--config", str(recipe_file), "--decoder_dtype", "int8"]) == 2
    assert "floating-point dtype" in caplog.text
    evaluated = ["--config", str(recipe_file), "--eval_strategy", "epoch"]
    assert main("pretrain", "", [*evaluated, "--eval_split", "dev"]) == 2
    assert "no scoring rows in its split 'dev'" in caplog.text and "set `eval_strategy` to 'no'" in caplog.text
    assert main("pretrain", "", ["--config", str(recipe_file), "--max_step", "1"]) == 2
    assert "--max_step" in caplog.text
    with pytest.raises(SystemExit) as error:
        main("pretrain", "What it does.", ["--help"])
    assert error.value.code == 0
    assert "--prompt_decoupling" in capsys.readouterr().out


def test_a_run_leaves_a_model_a_card_a_picture_and_its_recipe(recipe_file, tmp_path):
    arguments = ["--config", str(recipe_file), "--eval_strategy", "steps", "--eval_steps", "2"]
    arguments += ["--monitor_samples", "3"]
    arguments += ["--load_best_model_at_end", "True", "--metric_for_best_model", "srcc"]
    trainer = run(Recipe.parse("warm_up", arguments))
    out = tmp_path / "out put"
    loaded = AutoModel.from_pretrained(out, trust_remote_code=True)
    assert loaded.num_parameters() == trainer.model.num_parameters()
    card = (out / "README.md").read_text()
    best = max(e["eval_srcc"] for e in trainer.state.log_history if "eval_srcc" in e)
    assert f"| all | {best:.3f} |" in card
    assert "| scoring | 24 | 50% |" in card
    assert "Stage `warm_up`" in card
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert yaml.safe_load((out / "recipe.yaml").read_text())["monitor_samples"] == 3
    for name in ("recipe.yaml", "README.md"):
        assert str(tmp_path) not in (out / name).read_text() and str(ROOT) not in (out / name).read_text()
    texts = [e for e in trainer.state.log_history if "eval_text_distinct" in e]
    assert [e["step"] for e in texts] == [2, 4]
    assert all(0 < e["eval_text_distinct"] <= 1 for e in texts)
    assert run(Recipe.parse("warm_up", arguments)).state.global_step == 4  # finished: nothing is done again


@pytest.mark.slow
def test_a_result_that_cannot_be_written_is_said_and_written_later(recipe_file, tmp_path, caplog):
    (tmp_path / "out put").mkdir()
    (tmp_path / "out put" / "curves.png").mkdir()  # in the way
    assert main("pretrain", "", ["--config", str(recipe_file)]) == 1
    assert "its result cannot be written" in caplog.text
    (tmp_path / "out put" / "curves.png").rmdir()
    assert main("pretrain", "", ["--config", str(recipe_file)]) == 0
    assert (tmp_path / "out put" / "README.md").exists()


@pytest.mark.slow
def test_a_decoder_in_four_bits_trains_resumes_and_loads(recipe_file, tmp_path):
    pytest.importorskip("bitsandbytes")
    arguments = ["--config", str(recipe_file), "--model", "vital-tiny", "--decoder_4bit"]
    arguments += ["--learning_rate", "1e-5", "--output_dir"]  # small: curves are compared
    whole = run(Recipe.parse("pretrain", [*arguments, str(tmp_path / "whole")]))
    out = tmp_path / "resumed"
    run(Recipe.parse("pretrain", [*arguments, str(out), "--max_steps", "2", "--lr_scheduler_type", "constant"]))
    trained = run(Recipe.parse("pretrain", [*arguments, str(out)]))
    layer = trained.model.model.language_model.layers[0].mlp.up_proj
    assert type(layer).__name__ == "Linear4bit"
    assert {p.dtype for p in trained.model.parameters() if p.requires_grad} == {torch.float32}
    assert list(history(out)) == [1, 2, 3, 4]
    assert history(out)[1] == pytest.approx(history(tmp_path / "whole")[1], rel=1e-4)
    loaded = AutoModel.from_pretrained(out, trust_remote_code=True)
    assert type(loaded.model.language_model.layers[0].mlp.up_proj).__name__ == "Linear4bit"
    picture = ROOT / "spaces_demo" / "examples" / "beach-jetty.jpg"
    trained.model.eval()
    assert loaded.score(picture).score == pytest.approx(trained.model.score(picture).score, abs=1e-3)
    assert whole.state.global_step == 4
    both = [*arguments, str(tmp_path / "both"), "--decoder_dtype", "bfloat16", "--eval_strategy", "steps"]
    evaluated = run(Recipe.parse("pretrain", [*both, "--eval_steps", "2", "--monitor_samples", "0"]))
    curve = [entry["loss"] for entry in evaluated.state.log_history if "loss" in entry]
    # Also after an evaluation, which once left layers on a CPU without gradients.
    assert curve == pytest.approx(list(history(tmp_path / "whole").values()), rel=0.05)


@pytest.mark.slow
def test_what_is_wanted_each_epoch_comes_each_pass_over_the_rows(recipe_file, tmp_path):
    options = ["--max_steps", "-1", "--num_train_epochs", "2", "--max_samples", "6", "--monitor_samples", "0"]
    options += ["--eval_strategy", "epoch", "--save_strategy", "epoch", "--mixture", '{"scoring": 1}']
    trainer = run(Recipe.parse("pretrain", ["--config", str(recipe_file), *options]))
    assert trainer.state.global_step == 3  # 2 x 6 rows in batches of 4
    assert {path.name for path in (tmp_path / "out put").glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-3"}
    assert [e["step"] for e in trainer.state.log_history if "eval_srcc" in e] == [2, 3]


def test_ctrl_c_says_how_to_go_on(recipe_file, caplog, monkeypatch):
    def interrupted(recipe):
        raise KeyboardInterrupt

    monkeypatch.setattr("training.run.run", interrupted)
    assert main("pretrain", "", ["--config", str(recipe_file)]) == 130
    assert "resumes from the last checkpoint" in caplog.text


def test_a_row_that_cannot_be_read_stops_the_run_and_is_named(recipe_file, tmp_path, caplog, monkeypatch):
    def broken(self, row, *_):
        raise RowError(f"row {row['id']!r}: damaged")

    monkeypatch.setattr("training.collators.VitalCollator.encode", broken)
    assert main("pretrain", "", ["--config", str(recipe_file)]) == 1
    assert "damaged" in caplog.text


def test_estimates(recipe_file, capsys):
    assert main("pretrain", "", ["--config", str(recipe_file), "--estimate"]) == 0
    out = capsys.readouterr().out
    assert "Memory a device" in out
    assert "4 steps" in out
    with pytest.raises(RecipeError, match="expected_rows"):
        run(Recipe.parse("pretrain", ["--config", str(recipe_file), "--estimate", "--max_steps", "-1"]))


@pytest.mark.parametrize("name", ["smoke", "pretrain_8xh200", "pretrain_24gb", "warm_up"])
def test_every_recipe_can_be_read_and_estimated(name, capsys):
    path = RECIPES / f"{name}.yaml"
    stage = yaml.safe_load(path.read_text()).get("stage", "pretrain")
    assert main(stage, "", ["--config", str(path), "--estimate"]) == 0
    out = capsys.readouterr().out
    memory = float(out.split("Memory a device: ")[1].split(" GB")[0])
    assert memory < {"smoke": 1, "pretrain_8xh200": 141, "pretrain_24gb": 22, "warm_up": 22}[name]


# ---------------------------------------------------------------------------------------------------------- processes
@pytest.mark.slow
def test_smoke_as_documented(tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch", "training/pretrain.py", "--config"]
    command += ["training/recipes/smoke.yaml", "--output_dir", str(tmp_path / "smoke"), "--max_steps", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert AutoModel.from_pretrained(tmp_path / "smoke", trust_remote_code=True).config.model_type == "vital"
    assert len(history(tmp_path / "smoke")) == 4


@pytest.mark.slow
def test_killed_and_started_again_it_gives_the_same_curve(recipe_file, tmp_path):
    arguments = ["--config", recipe_file, "--max_steps", "10", "--dataloader_num_workers", "1"]
    code, _, err = finish(start("pretrain", *arguments, "--output_dir", tmp_path / "whole"))
    assert code == 0, err
    process = start("pretrain", *arguments, "--output_dir", tmp_path / "killed", start_new_session=True)
    deadline = time.monotonic() + 240
    while not (tmp_path / "killed" / "checkpoint-4" / "mixture_state.json").exists():
        assert process.poll() is None, finish(process)[2]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "README.md").exists()
    code, _, err = finish(start("pretrain", *arguments, "--output_dir", tmp_path / "killed"))
    assert code == 0, err
    assert "Resuming from" in err
    whole, resumed = history(tmp_path / "whole"), history(tmp_path / "killed")
    assert list(resumed) == list(range(1, 11))
    assert list(resumed.values()) == pytest.approx(list(whole.values()), rel=1e-4)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("script", ["pretrain", "warm_up"])
def test_two_processes_give_the_curve_of_one_with_the_doubled_batch(recipe_file, tmp_path, script):
    """Gradients are summed in another order: 0.1 % after six steps."""
    common = ["--config", recipe_file, "--max_steps", "6", "--eval_strategy", "steps", "--eval_steps", "6"]
    one = start(script, *common, "--output_dir", tmp_path / "one")
    code, _, err = finish(one)
    assert code == 0, err
    two = start(script, *common, "--output_dir", tmp_path / "two", "--per_device_train_batch_size", "2", processes=2)
    code, _, err = finish(two)
    assert code == 0, err
    for key in ("loss", "grad_norm", "loss_kl", "eval_loss", "eval_srcc"):
        a, b = history(tmp_path / "one", key), history(tmp_path / "two", key)
        assert list(a) == list(b)
        assert list(b.values()) == pytest.approx(list(a.values()), rel=1e-3), key
    assert AutoModel.from_pretrained(tmp_path / "two", trust_remote_code=True).config.model_type == "vital"
