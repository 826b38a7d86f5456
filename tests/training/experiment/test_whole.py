"""The whole experiment with a handful of steps, killed once while it trains and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from training.experiment.__main__ import Experiment
from training.experiment.page import write_page


ROOT = Path(__file__).parents[3]


def photos(folder, count=36):
    """Registry-like originals: smooth random pictures, some of a held-out source."""
    (folder / "images").mkdir(parents=True)
    rows = ["content_id,path,kind,license,tier,split,package_manager,package,version,width,height"]
    rng = np.random.default_rng(0)
    for number in range(count):
        small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        path = folder / "images" / f"photo {number}.png"
        Image.fromarray(small).resize((260, 200), Image.Resampling.BICUBIC).save(path)
        package = "held-out" if number < 3 else "seen"
        rows.append(f"photo-{number},images/{path.name},image,CC0-1.0,A,,pip,{package},1,260,200")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


def tiny_recipe(path):
    recipe = yaml.safe_load((ROOT / "training/recipes/tiny_experiment.yaml").read_text())
    recipe["seeds"], recipe["num_texts"] = [0], 4
    recipe["data"] |= {"train_crops": 1, "test_crops": 2, "train_clips": 2, "test_clips": 3, "train_variants": 4}
    recipe["data"] |= {"test_variants": 4, "caption_crops": 20, "caption_clips": 2, "held_out_sources": ["held-*"]}
    common = recipe["stages"]["common"]
    common |= {"per_device_train_batch_size": 4, "save_steps": 2, "bucket_batches": 1}
    for name, settings in recipe["stages"].items():
        if name not in ("common", "probe"):
            recipe["stages"][name] = {**settings, "max_steps": 4}
    recipe["stages"]["warm_up"]["max_samples"] = 8
    recipe["stages"]["probe"] |= {"max_samples": 8, "epochs": 2}
    path.write_text(yaml.safe_dump(recipe))


@pytest.mark.slow
def test_killed_once_and_resumed_to_the_end(tmp_path):
    photos(tmp_path / "originals")
    tiny_recipe(tmp_path / "recipe.yaml")
    work, results = tmp_path / "work", tmp_path / "results"
    command = [sys.executable, "-m", "training.experiment", "--recipe", str(tmp_path / "recipe.yaml")]
    command += ["--data_dir", str(tmp_path / "originals"), "--work_dir", str(work), "--results", str(results)]
    command += ["--page_file", str(tmp_path / "docs.md")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 400
        while not list(work.glob("vital-a-s0/checkpoint-2/mixture_state.json")):
            assert process.poll() is None, process.stderr.read().decode()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    first = {path.name: path.stat().st_mtime_ns for path in results.glob("base-*.json")}
    assert len(first) == 3 and not (results / "vital-a-s0.json").exists()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Resuming from" in done.stderr
    assert {name: (results / name).stat().st_mtime_ns for name in first} == first  # not made again
    plan = Experiment.load(tmp_path / "recipe.yaml").plan()
    recorded = {run.name: json.loads((results / f"{run.name}.json").read_text()) for run in plan}
    assert all(
        set(one["scores"]) == {"in_domain", "held_out_distortions", "held_out_sources", "video"}
        for one in recorded.values()
    )
    assert recorded["zero-b-s0"]["scores"] != recorded["base-b"]["scores"]
    text = (tmp_path / "docs.md").read_text()
    assert f"All {len(plan)} runs are finished" in text and "**not run**" not in text
    write_page(plan, results, tmp_path / "again.md")
    assert (tmp_path / "again.md").read_text() == text
