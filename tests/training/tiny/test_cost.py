"""What making `vital-tiny` cost, and its working set for a machine without network."""

import csv
import json
import os
import subprocess
import sys
import tarfile
import time

import pytest
import yaml
from PIL import Image
from skimage import data

from model_cards.record import TRAINING
from training.tiny import cost
from training.tiny.cost import pictures_of, read_spent, timed_call, write_cost
from training.tiny.originals import DataConfig, load_originals
from training.tiny.pack import TOP, pack


CONFIG = DataConfig(plan={"versions": 3}, test_share=0.0, photo_long_side=256)


@pytest.fixture
def originals(tmp_path):
    """Two photos: one larger than it is used at, one that is smaller as it is."""
    folder = tmp_path / "registry"
    (folder / "images").mkdir(parents=True)
    Image.fromarray(data.astronaut()).save(folder / "images" / "large.png")
    Image.fromarray(data.coffee()[:200, :200]).save(folder / "images" / "small.jpg", quality=30)
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["content_id", "path", "kind", "license", "split", "package", "width", "height"])
        writer.writerow(["large", "images/large.png", "image", "MIT", "", "p", 512, 512])
        writer.writerow(["small", "images/small.jpg", "image", "CC0", "", "p", 200, 200])
    return folder


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "code.py").write_text("x = 1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    for arguments in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(root), *arguments], check=True)
    return root


# ------------------------------------------------------------------------------------------------------------ the cost
def test_times_add_up_also_of_runs_that_fail(tmp_path):
    wait = "import sys, time; time.sleep(0.3); sys.exit(int(sys.argv[1]))"
    assert timed_call([sys.executable, "-c", wait, "0"], "base", tmp_path, every=0.1) == 0
    first = read_spent(tmp_path)["base"]["core"]
    assert first >= 0.3 * os.cpu_count()
    assert timed_call([sys.executable, "-c", wait, "3"], "base", tmp_path) == 3
    assert read_spent(tmp_path)["base"]["core"] >= first + 0.3 * os.cpu_count()
    assert timed_call([sys.executable, "-c", wait, "0"], "probe", tmp_path) == 0
    assert set(read_spent(tmp_path)) == {"base", "probe"}


def test_the_time_that_a_note_takes_is_counted_too(tmp_path, monkeypatch):
    def slow(path, text):
        time.sleep(0.2)
        path.write_text(text)

    monkeypatch.setattr(cost, "write_whole", slow)
    assert timed_call([sys.executable, "-c", "import time; time.sleep(0.3)"], "base", tmp_path, every=0.05) == 0
    assert read_spent(tmp_path)["base"]["core"] >= 0.3 * os.cpu_count()


def trained(folder, steps=(10, 40), batch=4, **recipe):
    for step in steps:
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        state = {"global_step": step, "train_batch_size": batch}
        (folder / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"stage": "base", **recipe}))


def test_pictures_are_steps_by_groups_by_versions(tmp_path):
    trained(tmp_path / "a")
    trained(tmp_path / "b", steps=(100, 9), batch=2, gradient_accumulation_steps=8)
    assert pictures_of(tmp_path / "a", 3) == 40 * 4 * 3
    assert pictures_of(tmp_path / "b", 4) == 100 * 2 * 8 * 4
    with pytest.raises(ValueError, match="none "):
        pictures_of(tmp_path / "none", 3)


def test_the_cost_is_what_a_card_records(tmp_path, originals):
    work = tmp_path / "work"
    trained(work / "base")
    spent = {"base": {"core": 7200.0, "gpu": 1800.0}, "probe": {"core": 1800.0, "gpu": 0.0}, "other": {"core": 1e9}}
    (work / "spent.json").write_text(json.dumps(spent))
    cost = write_cost(work, originals, CONFIG, ["base", "probe"], sample_groups=7)
    assert cost == {
        "core_hours": 2.5,
        "gpu_hours": 0.5,
        "pictures": 40 * 4 * 3 + 7 * 3,
        "photos_by_license": {"CC0": 1, "MIT": 1},
    }
    assert json.loads((work / "cost.json").read_text()) == cost and set(cost) == set(TRAINING)
    with pytest.raises(ValueError, match="spent.json .*encoders, align"):
        write_cost(work, originals, CONFIG, ["encoders", "base", "align"], 7)


# ----------------------------------------------------------------------------------------------------- the working set
def test_the_working_set_has_code_and_the_originals_as_they_are_used(tmp_path, originals, checkout, caplog):
    (checkout / "new.py").write_text("not committed")
    size = pack(originals, CONFIG, tmp_path / "out" / "set.tar.gz", checkout)
    assert "new.py" in caplog.text
    assert size == (tmp_path / "out" / "set.tar.gz").stat().st_size
    with tarfile.open(tmp_path / "out" / "set.tar.gz") as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    root = tmp_path / "unpacked" / TOP
    assert (root / "code.py").read_text() == "x = 1\n" and not (root / "new.py").exists()
    registry = root / "build" / "registry"
    assert (registry / "images" / "small.jpg").read_bytes() == (originals / "images" / "small.jpg").read_bytes()
    there, packed = (load_originals(folder, CONFIG, "train").photos for folder in (originals, registry))
    assert packed["large"].shape == there["large"].shape == (256, 256, 3)
    assert 0 < abs(packed["large"].astype(float) - there["large"]).mean() < 4
    assert sorted(path.name for path in registry.rglob("*.*")) == ["large.webp", "manifest.csv", "small.jpg"]


def test_a_working_set_that_cannot_be_made_leaves_nothing(tmp_path, originals, checkout):
    out = tmp_path / "out" / "set.tar.gz"
    for config, root, largest, message in (
        (CONFIG, checkout, 500, " 0.0005 MB: .*`photo_long_side`, now 256"),
        (DataConfig(held_out_sources=["p"]), checkout, 10**6, "has no original to train on"),
        (CONFIG, tmp_path, 10**6, "git checkout"),
    ):
        with pytest.raises(ValueError, match=message):
            pack(originals, config, out, root, largest)
        assert not list(out.parent.glob("*"))
