"""The linear probe: what learns, its losses by hand, its features, and what it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.probe_vital import VitalForQualityProbe
from modeling_vital.zoo import presets
from training import probe_stage as stage
from training import zero_shot_stage
from training.data import DataArguments, scoring_rows
from training.freezing import freeze
from training.probe_stage import (
    Features,
    ProbeArguments,
    build_probe,
    default_layers,
    head_loss,
    level_classes,
    train_head,
)
from training.recipe import RecipeError
from training.zero_shot_stage import evaluate


@pytest.fixture
def checkpoint(model, tmp_path):
    model.save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def args(checkpoint, tmp_path):
    return ProbeArguments(
        model=str(checkpoint),
        output_dir=str(tmp_path / "run"),
        epochs=40,
        learning_rate=1e-2,
        head_hidden_size=16,
        use_cpu=True,
        seed=3,
    )


def test_only_the_head_learns(args):
    assert freeze(build_probe(args), "linear_probe") == [
        "head.linear_1.weight",
        "head.linear_1.bias",
        "head.linear_2.weight",
        "head.linear_2.bias",
    ]


def test_classes_are_those_of_the_released_code():
    mos = torch.tensor([0.0, 0.19, 0.2, 0.6, 0.79, 0.8, 1.0])
    # 100 mos // 20, worst first, is 0 0 1 3 3 4 and fails at 100.
    assert level_classes(mos).tolist() == [4, 4, 3, 1, 1, 0, 0]


def test_losses_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.125, 0.0625, 0.0625]]))
    target = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]])
    mos = torch.tensor([0.9])
    assert head_loss(logits, target, mos, "pmod_kl").item() == pytest.approx(np.log(4), abs=1e-6)
    assert head_loss(logits, target, mos, "cross_entropy").item() == pytest.approx(np.log(2), abs=1e-6)


def test_the_encoders_are_those_of_the_checkpoint(args, checkpoint):
    probe, model = build_probe(args), VitalForConditionalGeneration.from_pretrained(checkpoint)
    for name in ("vision_tower", "motion_encoder"):
        theirs = getattr(model.model, name).state_dict()
        for key, value in getattr(probe, name).state_dict().items():
            assert torch.equal(value, theirs[key])


def test_layers_behind_the_last_that_is_read_are_left_out(args):
    args.feature_layers = [0]
    probe = build_probe(args)
    assert probe.config.vision_config.num_hidden_layers == 1 and len(probe.vision_tower.encoder.layer) == 1


def test_default_layers():
    assert default_layers(presets.config("vital-8b").vision_config) == [6, 12, 18]
    assert default_layers(presets.config("vital-tiny").vision_config) == [0, 1, 2, 3]


def test_what_was_learned_on_standardised_features_holds_for_plain_ones(args):
    torch.manual_seed(0)
    probe = build_probe(args)
    width = probe.head.linear_1.in_features
    values = torch.randn(40, width) * 100 + 1000
    values[:, 0] = 7.0  # never changes
    mos = (values[:, 1] - values[:, 1].min()) / (values[:, 1].max() - values[:, 1].min())
    level_probs = torch.nn.functional.one_hot(level_classes(mos), 5).float()
    history = train_head(probe, Features(values, level_probs, mos, torch.zeros(40, dtype=torch.bool)), args)
    with torch.no_grad():
        loss = head_loss(probe.head(values), level_probs, mos, "pmod_kl").item()
    assert history[-1] < 0.5 * history[0]
    assert loss <= history[-1] * 1.05  # of the last weights, folded
    assert probe.head.linear_1.weight[:, 0].abs().max() == 0


def test_the_run_leaves_a_probe_that_automodel_loads_and_scores_alike(args, smoke_data, tmp_path):
    data_args = DataArguments(dataset=str(smoke_data))
    before = {k: v.clone() for k, v in build_probe(args).state_dict().items() if not k.startswith("head")}
    probe = stage.run(args, data_args)
    after = probe.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    loaded = AutoModel.from_pretrained(tmp_path / "run", trust_remote_code=True)
    assert loaded.config.model_type == VitalForQualityProbe.config_class.model_type
    # Scored from the files, without the features that were kept.
    again = evaluate(loaded.eval(), scoring_rows(data_args, "validation", None, 0), 4)
    assert again == pytest.approx(results["held_out"], abs=1e-4)
    assert results["train"]["srcc"] > 0.5


def test_features_are_computed_once(args, smoke_data, monkeypatch):
    data_args = DataArguments(dataset=str(smoke_data))
    stage.run(args, data_args)

    def refuse(*_, **__):
        raise AssertionError("encoded again")

    monkeypatch.setattr(VitalForQualityProbe, "pool_tiles", refuse)
    args.loss, args.head_hidden_size = "cross_entropy", 8
    assert stage.run(args, data_args).head.linear_1.out_features == 8
    args.feature_layers = [1]
    with pytest.raises(AssertionError, match="encoded again"):
        stage.run(args, data_args)


def test_features_of_rows_that_were_written_anew_are_others(args, smoke_data):
    rows = scoring_rows(DataArguments(dataset=str(smoke_data)), "train", None, 0)
    other = rows.map(lambda row: {"images": [{"bytes": b"other", "path": None} for _ in row["images"]]})
    probe = build_probe(args)
    first = stage._fingerprint(args, probe, rows)
    for values, alike in ((other, False), (rows, True)):
        values._fingerprint = "of folder and README"
        assert (stage._fingerprint(args, probe, values) == first) is alike


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "mse"}, "`loss` .*'mse'"),
        ({"epochs": 0}, "`epochs`"),
        ({"encoder_dtype": "f8"}, "`encoder_dtype`"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        ProbeArguments(**options)


def test_a_layer_that_is_not_there(args):
    args.feature_layers = [7]
    with pytest.raises(RecipeError, match="layers"):
        build_probe(args)


def test_no_such_model(args, tmp_path):
    args.model = str(tmp_path / "none")
    with pytest.raises(RecipeError, match=args.model):
        build_probe(args)


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_share_the_features_and_give_the_same_probe(args, smoke_data, tmp_path):
    stage.run(args, DataArguments(dataset=str(smoke_data), max_samples=20))
    options = {"model": args.model, "dataset": smoke_data, "output_dir": tmp_path / "two", "epochs": args.epochs}
    options |= {"learning_rate": args.learning_rate, "head_hidden_size": 16, "seed": 3, "max_samples": 20}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "training/linear_probe.py"]
    command += [str(x) for name, value in options.items() for x in (f"--{name}", value)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("INFO training.probe_stage: Wrote") == 1  # the second process only helped
    one, two = (AutoModel.from_pretrained(tmp_path / n, trust_remote_code=True).state_dict() for n in ("run", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_two_processes_are_refused_where_they_would_do_the_same(monkeypatch, tmp_path):
    class Two:
        num_processes = 2

    monkeypatch.setattr(zero_shot_stage, "start_processes", lambda use_cpu: Two())
    with pytest.raises(RecipeError, match="`python`"):
        zero_shot_stage.run(zero_shot_stage.ZeroShotArguments(vision="x", decoder="y"), DataArguments())
