"""Zero-shot transfer: nothing changes, the numbers are those of the model that is written, misfits are said early."""

import json
import shutil

import pytest
import torch

from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures.tiny_models import tiny_model
from training import zero_shot_stage as stage
from training.data import DataArguments, scoring_rows
from training.recipe import RecipeError
from training.smoke_data import EXAMPLES
from training.zero_shot_stage import ZeroShotArguments, evaluate


@pytest.fixture
def parts(tmp_path):
    for name, seed in {"vision": 0, "decoder": 1}.items():
        tiny_model(seed=seed).save_pretrained(tmp_path / name)
    return {name: str(tmp_path / name) for name in ("vision", "decoder")}


@pytest.mark.slow
def test_the_encoders_of_one_and_all_else_of_the_other(parts, smoke_data, tmp_path):
    data_args = DataArguments(dataset=str(smoke_data), max_eval_samples=6)
    stage.run(ZeroShotArguments(**parts, output_dir=str(tmp_path / "run"), use_cpu=True), data_args)
    made = VitalForConditionalGeneration.from_pretrained(tmp_path / "run")
    sides = {name: VitalForConditionalGeneration.from_pretrained(path).state_dict() for name, path in parts.items()}
    for key, value in made.state_dict().items():
        side = "vision" if key.startswith(("model.vision_tower", "model.motion_encoder")) else "decoder"
        assert torch.equal(value, sides[side][key]), key
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    again = evaluate(made.eval(), scoring_rows(data_args, "validation", 6, 0), 4)
    assert again["rows"] == 6
    assert {name: results[name] for name in again} == pytest.approx(again, abs=1e-5)


def test_what_does_not_fit_is_said_before_anything_is_written(parts, smoke_data, tmp_path):
    tiny_model(vision="resnet").save_pretrained(tmp_path / "decoder")
    args = ZeroShotArguments(**parts, output_dir=str(tmp_path / "run"), use_cpu=True)
    with pytest.raises(RecipeError, match=" 16 .* 12"):
        stage.run(args, DataArguments(dataset=str(smoke_data)))
    assert not (tmp_path / "run").exists()


def test_results_name_the_data_as_it_was_given(parts, tmp_path, monkeypatch):
    for path in sorted(EXAMPLES.glob("*.jpg"))[:2]:
        shutil.copy(path, tmp_path)
    rows = [f"{path.name},{number}" for number, path in enumerate(sorted(tmp_path.glob("*.jpg")), 1)]
    (tmp_path / "ratings.csv").write_text("\n".join(["path,mos", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "evaluate", lambda model, rows, batch_size: {"rows": len(rows)})
    args = ZeroShotArguments(**parts, output_dir="run", use_cpu=True)
    stage.run(args, DataArguments(dataset="ratings.csv", mos_range=[1, 5], held_out_share=0.5))
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["dataset"], results["rows"]) == ("ratings.csv", 1)


def test_both_parts_and_data_must_be_given(parts, tmp_path):
    with pytest.raises(ValueError, match="`vision`.*`decoder`"):
        ZeroShotArguments(vision="x")
    with pytest.raises(RecipeError, match="`dataset`"):
        stage.run(ZeroShotArguments(**parts, output_dir=str(tmp_path / "run")), DataArguments())
