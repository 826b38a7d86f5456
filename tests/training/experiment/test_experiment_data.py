"""Crops and clips: of the size asked for, split by content, and never from what is held out."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from training.experiment import ExperimentError
from training.experiment.data import (
    ExperimentData,
    Originals,
    build_config,
    crop,
    make_data,
    read_originals,
    short_clip,
    write_originals,
)


CONFIG = ExperimentData(
    train_crops=2,
    test_crops=1,
    train_clips=2,
    test_clips=1,
    held_out_distortions=["motion_blur"],
    held_out_sources=["held*"],
    image_annotators=["gmsd", "mdsi", "haarpsi"],
    clip_annotators=["frame_gmsd", "frame_mdsi", "frame_haarpsi"],
    clip_distortions=["stutter"],
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty photos as the registry leaves them, one too small, one an example, three of a held-out source."""
    folder = tmp_path_factory.mktemp("originals")
    lines = ["content_id,path,kind,license,tier,split,package_manager,package,version,width,height"]
    rng = np.random.default_rng(0)
    for number in range(20):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        small.resize((100, 90) if number == 5 else (240, 180)).save(folder / f"{number}.png")
        split, package = "example" if number == 6 else "", "held-out" if number < 3 else "seen"
        lines.append(f"photo-{number},{number}.png,image,CC0-1.0,A,{split},pip,{package},1,240,180")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_parts_are_disjoint_and_leave_out_examples_and_small_ones(folder):
    parts = read_originals(folder, CONFIG)
    ids = {name: set(part.photos) for name, part in parts.items()}
    assert ids["held_out_sources"] == {"photo-0", "photo-1", "photo-2"}
    assert not ids["train"] & ids["test"] and ids["train"] and ids["test"]
    assert set().union(*ids.values()) == {f"photo-{n}" for n in range(20)} - {"photo-5", "photo-6"}


def test_a_damaged_file_is_left_out_by_name(folder, tmp_path, caplog):
    (tmp_path / "manifest.csv").write_text((folder / "manifest.csv").read_text().splitlines()[0] + "\n")
    with open(tmp_path / "manifest.csv", "a") as file:
        file.write("bad,bad.png,image,CC0-1.0,A,,pip,seen,1,9,9\n")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert not any(part.photos for part in read_originals(tmp_path, CONFIG).values())
    assert "bad is skipped" in caplog.text


def test_crops_and_clips_have_their_size_and_a_seed_repeats_them():
    photo = np.random.default_rng(0).integers(0, 256, (180, 260, 3), dtype=np.uint8)
    squares = [crop(photo, 128, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert {square.shape for square in squares} == {(128, 128, 3)}
    assert (squares[0] == squares[1]).all() and (squares[0] != squares[2]).any()
    originals = Originals(photos={"p": photo}, clips={"c": np.stack([photo[:60, :80]] * 20)})
    clips = [short_clip(originals, CONFIG, np.random.default_rng(seed)) for seed in range(6)]
    assert {content for content, _ in clips} == {"p", "c"}
    for _, clip in clips:
        assert clip.shape[0] == 16 and max(clip.shape[1:3]) <= 128 and not any(side % 2 for side in clip.shape[1:3])


def test_held_out_sets_have_their_own_distortions_and_sources(folder, tmp_path):
    parts = read_originals(folder, CONFIG)
    found = {}
    for name in ("pairs", "held_out_distortions", "held_out_sources"):
        write_originals(parts, name, CONFIG, tmp_path / f"{name}.csv")
        found[name] = list(csv.DictReader(open(tmp_path / f"{name}.csv")))
    by_split = {s: {r["content_id"] for r in found["pairs"] if r["split"] == s} for s in ("train", "test")}
    assert by_split["train"] <= set(parts["train"].photos) and by_split["test"] <= set(parts["test"].photos)
    assert {row["content_id"] for row in found["held_out_sources"]} == {"photo-0", "photo-1", "photo-2"}
    assert {row["split"] for row in found["held_out_sources"]} == {"test"}
    assert {row["content_id"] for row in found["held_out_distortions"]} == set(parts["test"].photos)
    names = {name: build_config(name, CONFIG, tmp_path / f"{name}.csv").distort.image_distortions for name in found}
    assert names["held_out_distortions"] == ["motion_blur"]
    assert "motion_blur" not in names["pairs"] + names["held_out_sources"] and len(names["pairs"]) == 24


def test_data_of_other_settings_are_not_used(tmp_path):
    (tmp_path / "data.json").write_text(json.dumps({"seed": 7}))
    with pytest.raises(ExperimentError, match=r" \(seed"):
        make_data(CONFIG, tmp_path, tmp_path)
