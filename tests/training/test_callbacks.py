"""Collapse is seen, by hand and on a model that says the same of everything; curves and cards show what happened."""

import math
import subprocess
import sys

import pytest
import torch

from tests.fixtures.tiny_models import tiny_model
from training.callbacks import CollapseMonitor, collapsed, variety
from training.data import TrainingData, held_out_texts
from training.draft_card import draw_curves
from training.trainer import VitalTrainer, VitalTrainingConfig


def test_variety_by_hand():
    measured = variety(["a b", "a b", "a c d e"])
    assert measured["distinct"] == pytest.approx(2 / 3)
    assert measured["length"] == pytest.approx(8 / 3)
    shares = [3 / 8, 2 / 8, 1 / 8, 1 / 8, 1 / 8]
    assert measured["entropy"] == pytest.approx(-sum(p * math.log2(p) for p in shares))
    assert variety(["", ""]) == {"distinct": 0.5, "length": 0.0, "entropy": 0}


def test_what_counts_as_collapsed():
    truth = variety(["slight blur", "severe white noise", "none"])
    assert collapsed(variety(["slight blur", "strong noise", "none at all"]), truth, 0.5) == []
    same = collapsed(variety(["good", "good", "good"]), truth, 0.5)
    assert len(same) == 2
    assert "share of different texts is 0.33, in the data 1.00" in same[0]
    assert "entropy" in same[1]
    assert "number of words" in collapsed(variety(["", "", ""]), truth, 0.5)[1]


@pytest.fixture
def watched(data: TrainingData, data_args, tmp_path):
    model = tiny_model()
    args = VitalTrainingConfig(output_dir=str(tmp_path), max_steps=1, use_cpu=True, disable_tqdm=True)
    trainer = VitalTrainer(model, args, data, data_args)
    rows = held_out_texts(data_args, ("description", "distortion"), 6, seed=0)
    trainer.add_callback(CollapseMonitor(trainer, rows, max_new_tokens=8))
    return trainer


def test_a_model_that_says_the_same_of_everything_is_noticed(watched, caplog):
    with torch.no_grad():
        watched.model.lm_head.weight.zero_()  # every token is as likely, whatever is seen
    watched.evaluate()
    logged = [entry for entry in watched.state.log_history if "eval_text_distinct" in entry]
    assert logged[0]["eval_text_distinct"] == pytest.approx(1 / 6)
    assert "the answers may have collapsed" in caplog.text


@pytest.mark.distributed
def test_a_sharded_gradient_that_is_not_finite_is_noticed(tmp_path):
    """FSDP2 on one process: gradients are DTensors."""
    code = """
import sys, torch, torch.distributed as dist
from types import SimpleNamespace
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from training.callbacks import GradientGuard
from training.checkpoints import TrainingStopped
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/rendezvous", rank=0, world_size=1)
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
model(torch.randn(2, 4)).sum().backward()
args, state = SimpleNamespace(fp16=False, output_dir=sys.argv[1]), SimpleNamespace(global_step=0)
GradientGuard().on_pre_optimizer_step(args, state, None, model=model)
model[1].weight.grad.to_local()[0, 0] = float("nan")
try:
    GradientGuard().on_pre_optimizer_step(args, state, None, model=model)
except TrainingStopped as error:
    print(error)
dist.destroy_process_group()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert "the gradient of 1.weight is not finite" in done.stdout, done.stderr


@pytest.mark.distributed
def test_a_divided_model_in_bfloat16_has_gradients_in_all_that_learns(tmp_path):
    """FSDP2 on one process, as `fsdp2.yaml` divides the model: the norms of the motion encoder failed."""
    code = """
import sys, numpy as np, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from tests.fixtures.tiny_models import TILE, tiny_model
from training.freezing import freeze, set_training_mode
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/rendezvous", rank=0, world_size=1)
model = tiny_model()
names = freeze(model, "pretrain")
set_training_mode(model)
how = {"mesh": init_device_mesh("cpu", (1,)), "mp_policy": MixedPrecisionPolicy(param_dtype=torch.bfloat16)}
for module in [*model.model.language_model.layers, *model.model.vision_tower.encoder.layer, model]:
    fully_shard(module, **how)
rng = np.random.default_rng(0)
items = [rng.integers(0, 256, (count, TILE, TILE, 3), np.uint8) for count in (1, 12)]
with torch.autocast("cpu", torch.bfloat16):
    logits = model(**model.processor.score_inputs([items[0][0], items[1]])).logits
logits.float().square().mean().backward()
print({name for name, p in model.named_parameters() if p.grad is not None} == set(names))
dist.destroy_process_group()
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=400)
    assert done.stdout.strip() == "True", done.stderr


def test_varied_answers_are_not_warned_of(watched, caplog, monkeypatch):
    answers = [f"The distortion of the image is strong {name} noise." for name in ("a", "b", "c", "d", "e", "f")]
    monkeypatch.setattr(watched.model, "describe", lambda media, **kwargs: answers[: len(media)])
    was = watched.model.training
    watched.evaluate()
    assert "collapsed" not in caplog.text
    assert watched.model.training == was


def test_held_out_texts_come_from_the_first_configuration_that_there_is(data_args):
    rows = held_out_texts(data_args, ("description", "distortion"), 4, seed=0)
    assert len(rows) == 4
    assert {row["split"] for row in rows} == {"validation"}
    assert held_out_texts(data_args, ("description",), 4, seed=0) is None


def test_curves_are_drawn_of_whatever_there_is(tmp_path):
    from PIL import Image

    train = [{"step": i, "loss": 1 / i, "loss_kl": 0.5 / i} for i in range(1, 9)]
    draw_curves(train, tmp_path / "plain.png")
    evaluated = [*train, {"step": 8, "eval_loss": 0.2, "eval_srcc": 0.5, "eval_plcc": 0.4}]
    draw_curves(evaluated, tmp_path / "evaluated.png")
    draw_curves([], tmp_path / "empty.png")
    plain, more = (Image.open(tmp_path / f"{name}.png") for name in ("plain", "evaluated"))
    assert more.width > plain.width
    assert len(more.convert("RGB").getcolors(1 << 24)) > 20
