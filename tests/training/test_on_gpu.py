"""Training on a CUDA device: a stage through the trainer, resuming, the probe, and weights divided among processes.

`VITAL_GPU_TESTS_ON=cpu` runs the same lines on the CPU, which `test_these_tests_run` in tests/modeling_vital does.
Pictures are drawn here and clips are animations, so that no decoder of videos is needed.
"""

import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_vital.levels_vital import level_of
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures.tiny_models import TILE, tiny_model


pytest.importorskip("trl", reason="training needs TRL")
pytest.importorskip("datasets", reason="training needs datasets")

from datasets import Dataset  # noqa: E402

from training.data import DataArguments, make_data  # noqa: E402
from training.freezing import STAGES  # noqa: E402
from training.trainer import VitalTrainer, VitalTrainingConfig  # noqa: E402


ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "training" / "accelerate_configs"
ON = os.environ.get("VITAL_GPU_TESTS_ON", "cuda")
needs_device = pytest.mark.skipif(ON == "cuda" and not torch.cuda.is_available(), reason="no CUDA device")
LEVELS = [[0.6, 0.4, 0, 0, 0], [0, 0.2, 0.5, 0.3, 0], [0, 0, 0.1, 0.4, 0.5], [0.1, 0.8, 0.1, 0, 0]]


def rows():
    """Tables of pictures of one to three tiles and clips, with opinions set by hand."""
    rng = np.random.default_rng(0)
    singles, texts = [], []
    for number in range(8):
        shape = (TILE, TILE, 3) if number % 4 == 3 else (TILE * (1 + number % 3), TILE, 3)
        pixels = [Image.fromarray(rng.integers(0, 256, shape, np.uint8)) for _ in range(8)]
        buffer = io.BytesIO()
        modality = "video" if number % 4 == 3 else "image"
        if modality == "video":
            pixels[0].save(buffer, "GIF", save_all=True, append_images=pixels[1:], duration=40)
        else:
            pixels[0].save(buffer, "PNG")
        file = {"bytes": buffer.getvalue(), "path": None}
        probs = LEVELS[number % 4]
        mos = float(np.dot(probs, [0.9, 0.7, 0.5, 0.3, 0.1]))
        row = {"id": str(number), "modality": modality, "images": [], "videos": [], f"{modality}s": [file]}
        show = {"role": "user", "content": [{"type": modality, "text": None}]}

        def answer(text, show=show):
            return [show, {"role": "assistant", "content": [{"type": "text", "text": text}]}]

        texts.append({**row, "messages": answer(f"The distortion of the {modality} is severe blur.")})
        singles.append({**row, "messages": answer(f"It is {level_of(mos)}"), "level_probs": probs, "mos": mos})
    pairs = []
    for a, b in ((singles[0], singles[1]), (singles[1], singles[2]), (singles[3], singles[7])):
        both = {name: a[name] + b[name] for name in ("images", "videos", "messages")}
        both |= {name: [a[name], b[name]] for name in ("level_probs", "mos")}
        pairs.append({**a, **both, "preference": float(a["mos"] > b["mos"])})
    return {"scoring": singles, "pairwise": pairs, "distortion": texts}


def make_trainer(output_dir, device, model=None, **changes):
    model = model or tiny_model()
    tables = {name: Dataset.from_list(table) for name, table in rows().items()}
    data_args = DataArguments(dataset="in memory", bucket_batches=2)
    data = make_data(tables, dict.fromkeys(tables, 1.0), None, model.processor, data_args, seed=0)
    settings = {
        "output_dir": str(output_dir),
        "max_steps": 3,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": device == "cpu",
        "bf16": False,
        "disable_tqdm": True,
        **changes,
    }
    return VitalTrainer(model, VitalTrainingConfig(**settings), data, data_args)


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.gpu
@needs_device
def test_pretraining_with_a_frozen_decoder_gives_the_curve_of_the_cpu(tmp_path):
    expected = make_trainer(tmp_path / "cpu", "cpu")
    expected.train()
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = make_trainer(tmp_path / "device", ON, model)
    trainer.train()
    assert trainer.model.device.type == ON
    assert losses(trainer) == pytest.approx(losses(expected), rel=0.01)
    learning = tuple(f"{part}." for part in STAGES["pretrain"])
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value.cpu(), before[name])}
    assert changed and all(name.startswith(learning) for name in changed)


@pytest.mark.gpu
@needs_device
@pytest.mark.parametrize("changes", [{"bf16": True}, {"gradient_checkpointing": True}], ids=lambda c: next(iter(c)))
def test_cheaper_ways_give_about_the_same_curve(tmp_path, changes):
    plain, other = make_trainer(tmp_path / "a", ON), make_trainer(tmp_path / "b", ON, **changes)
    plain.train()
    other.train()
    assert losses(other) == pytest.approx(losses(plain), rel=0.05 if "bf16" in changes else 0.01)


@pytest.mark.gpu
@needs_device
def test_a_frozen_decoder_in_bfloat16_and_a_resumed_run(tmp_path):
    """As `decoder_dtype: bfloat16`; stopped after its first checkpoint, the run goes on as if it had not been."""

    def run(folder, **changes):
        model = tiny_model()
        model.model.language_model.to(torch.bfloat16)
        model.lm_head.to(torch.bfloat16)
        settings = {"lr_scheduler_type": "constant", "save_strategy": "steps", "save_steps": 2, **changes}
        trainer = make_trainer(tmp_path / folder, ON, model, **settings)
        trainer.train()
        return trainer

    whole = run("whole", max_steps=4)
    run("stopped", max_steps=2)
    resumed = run("stopped", max_steps=4)
    assert resumed.model.lm_head.weight.dtype == torch.bfloat16
    assert [entry["step"] for entry in resumed.state.log_history if "loss" in entry] == [1, 2, 3, 4]
    # Some kernels add in an order of their own each time.
    assert losses(resumed) == pytest.approx(losses(whole), rel=0.01)


@pytest.mark.gpu
@needs_device
def test_a_warm_up_step_leaves_the_encoders_alone(tmp_path):
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    make_trainer(tmp_path, ON, model, stage="warm_up", max_steps=1, bf16=True).train()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value.cpu(), before[name])}
    for part in STAGES["warm_up"]:
        assert any(name.startswith(f"{part}.") for name in changed), part
    assert not any("vision_tower" in name or "motion_encoder" in name for name in changed)


# ---------------------------------------------------------------------------------------------- scripts and launchers
@pytest.fixture(scope="module")
def at_hand(tmp_path_factory):
    """A checkpoint and a file of ratings, as a user has them."""
    folder = tmp_path_factory.mktemp("at hand")
    tiny_model().save_pretrained(folder / "model")
    lines = ["path,mos,split"]
    for number, row in enumerate(rows()["scoring"]):
        (file,) = [*row["images"], *row["videos"]]
        name = f"{number}.{'png' if row['images'] else 'gif'}"
        (folder / name).write_bytes(file["bytes"])
        lines.append(f"{name},{row['mos']},{'validation' if number % 4 == 0 else 'train'}")
    (folder / "ratings.csv").write_text("\n".join(lines))
    return folder


@pytest.mark.gpu
@needs_device
def test_a_probe_learns_from_features_of_the_device(at_hand, tmp_path):
    from training import probe_stage as stage

    args = {"model": str(at_hand / "model"), "epochs": 5, "head_hidden_size": 8, "seed": 3}
    data_args = DataArguments(dataset=str(at_hand / "ratings.csv"))
    arguments = stage.ProbeArguments(**args, output_dir=str(tmp_path / "run"), use_cpu=ON == "cpu")
    probe = stage.run(arguments, data_args)
    picture = str(at_hand / "0.png")
    expected = probe.score(picture).score
    assert probe.to(ON).score(picture).score == pytest.approx(expected, abs=1e-4)


@pytest.mark.gpu
@needs_device
@pytest.mark.parametrize("config", ["fsdp2", "zero2", "zero3"])
def test_one_process_of_a_divided_run(at_hand, tmp_path, config):
    """Pre-training by the script and its launcher; on a CPU, where nothing is divided, by the script alone."""
    if config != "fsdp2" and (ON == "cpu" or importlib.util.find_spec("deepspeed") is None):
        pytest.skip("ZeRO needs deepspeed and a CUDA device")
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{config}.yaml")]
    launch += ["--num_processes", "1", "--main_process_port", "0"]
    settings = {
        "model": at_hand / "model",
        "dataset": at_hand / "ratings.csv",
        "output_dir": tmp_path / "run",
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "logging_steps": 1,
        "save_steps": 2,
        "disable_tqdm": True,
        "use_cpu": ON == "cpu",
    }
    command = [sys.executable, *(launch if ON == "cuda" else []), "training/pretrain.py"]
    command += [str(x) for name, value in settings.items() for x in (f"--{name}", value)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    trained = VitalForConditionalGeneration.from_pretrained(tmp_path / "run", dtype="auto").state_dict()
    before = tiny_model().state_dict()
    assert trained.keys() == before.keys()
    changed = {name for name, value in trained.items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith(("model.vision_tower.", "model.motion_encoder.")) for name in changed)
    assert (tmp_path / "run" / "checkpoint-2" / "model.safetensors").is_file()
