"""The originals of `vital-tiny`: which are loaded, and how many there are of each licence."""

import csv

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.encoding import encode_clip
from training.tiny.originals import DataConfig, listed_originals, load_originals, photos_by_license


LISTED = {
    # content_id: kind, licence, split, width, height
    "photo": ("image", "MIT", "", 400, 240),
    "free": ("image", "CC0-1.0", "", 320, 200),
    "freer": ("image", "CC0 (file name; package MIT)", "", 300, 200),
    "small": ("image", "CC0-1.0", "", 300, 150),
    "panorama": ("image", "MIT", "", 1600, 170),
    "clip": ("video", "GPL-3", "", 64, 48),
    "shown": ("image", "MIT", "example", 300, 200),
}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["content_id", "path", "kind", "license", "split", "package", "width", "height"])
        for name, (kind, license_name, split, width, height) in LISTED.items():
            path = tmp_path / f"{name}.{'png' if kind == 'image' else 'mp4'}"
            if kind == "image":
                Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
            else:
                path.write_bytes(encode_clip(np.zeros((6, height, width, 3), np.uint8), 24, 20))
            writer.writerow([name, path.name, kind, license_name, split, "package", width, height])
    return tmp_path


def config_of(*licenses, **changes):
    return DataConfig(licenses=list(licenses), test_share=0.0, **changes)


@pytest.mark.parametrize(
    ("licenses", "photos", "clips"),
    [
        ((), {"photo", "free", "freer"}, {"clip"}),
        (("MIT",), {"photo"}, set()),
        (("CC0-1.0",), {"free"}, set()),
        (("CC0*",), {"free", "freer"}, set()),
        (("CC0 (file name; package MIT)", "GPL-3"), {"freer"}, {"clip"}),
    ],
)
def test_only_originals_of_the_licences_are_loaded_and_counted(folder, licenses, photos, clips):
    config = config_of(*licenses)
    loaded = load_originals(folder, config, "train")
    assert (set(loaded.photos), set(loaded.clips)) == (photos, clips)
    counted = photos_by_license(folder, config)
    assert sum(counted.values()) == len(photos | clips)
    assert set(counted) == {LISTED[name][1] for name in photos | clips}
    assert list(counted.values()) == sorted(counted.values(), reverse=True)
    assert load_originals(folder, config, "test").photos == {}


@pytest.mark.parametrize("name", ["CC-BY-9.0", "cc0*", "MIT*x"])
def test_an_unknown_licence_is_an_error_that_lists_those_there_are(folder, name):
    with pytest.raises(ValueError, match=r"`licenses`.*CC0 \(file.*CC0-1.0, GPL-3, MIT") as e:
        listed_originals(folder, config_of("MIT", name), "train")
    assert f"has {name};" in str(e.value)


def test_held_out_sources_are_filtered_too(folder):
    config = config_of("MIT", held_out_sources=["package"])
    assert set(load_originals(folder, config, "held_out_sources").photos) == {"photo"}
    assert photos_by_license(folder, config) == {}


def test_originals_are_loaded_at_the_size_they_are_used_at(folder):
    loaded = load_originals(folder, config_of(photo_long_side=320, clip_long_side=32), "train")
    assert loaded.photos["photo"].shape == (192, 320, 3)
    assert loaded.clips["clip"].shape == (6, 24, 32, 3)
