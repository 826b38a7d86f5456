"""Tile grids, tiles and the image processor, against hand numbers, plain torch arithmetic and a clean process."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from PIL import __version__ as pillow_version
from transformers import AutoImageProcessor
from transformers.dynamic_module_utils import get_imports

from modeling_vital.cutting_vital import choose_grid
from modeling_vital.image_processing_vital import VitalImageProcessor
from modeling_vital.media_vital import MediaError


PILLOW_MAJOR = int(pillow_version.split(".")[0])

# (columns, rows) for 1, 2, ... tiles, a row for each largest count: what the released code was seen to use.
RELEASED_GRIDS = """
1x1
1x1 2x1
1x1 2x1 1x3
1x1 2x1 1x3 2x2
1x1 2x1 1x3 2x2 5x1
1x1 2x1 1x3 2x2 5x1 3x2
1x1 2x1 1x3 2x2 5x1 3x2 1x7
1x1 2x1 1x3 1x4 1x5 2x3 1x7 8x1
1x1 2x1 1x3 1x4 1x5 2x3 1x7 8x1 9x1
1x1 2x1 1x3 1x4 1x5 2x3 1x7 8x1 9x1 1x10
1x1 2x1 1x3 1x4 1x5 2x3 1x7 8x1 9x1 1x10 1x11
1x1 2x1 1x3 1x4 1x5 2x3 1x7 8x1 9x1 1x10 1x11 2x6
"""

# width, height, tiles with the thumbnail, and the first 8 hex digits of the SHA-256 of the first and the last uint8
# tile: what the released code made of `pattern(height, width, width + height)` with Pillow 13.
RELEASED_TILES = [
    (224, 300, 1, "19641e74", "19641e74"),
    (448, 448, 1, "57707610", "57707610"),
    (500, 400, 1, "7ed34a03", "7ed34a03"),
    (600, 600, 3, "0f470966", "d0b07218"),
    (640, 480, 3, "4d9fcf35", "825fee2d"),
    (448, 900, 3, "094953c3", "6ce560da"),
    (1024, 768, 5, "fb978d19", "767ee61c"),
    (768, 1024, 5, "f4c904b9", "3cf65846"),
    (1280, 720, 6, "ab54bac1", "97c65a65"),
]


def pattern(height, width, salt):
    """A test picture of smooth and fine texture in integer arithmetic, uint8 [H, W, 3]; the same on every machine."""
    y = np.arange(height, dtype=np.int64)[:, None, None]
    x = np.arange(width, dtype=np.int64)[None, :, None]
    c = np.arange(3, dtype=np.int64)[None, None, :]
    smooth = (128 * 128 + ((x + 11 * salt) % 211 - 105) * ((y + 5 * salt) % 173 - 86)) // (96 + 8 * c)
    fine = 37 * x + 91 * y + (13 * x * y) // 7 + 17 * c * (x + 2 * y) + 7 * (x * x // 11) + 3 * (y * y // 13)
    return ((smooth + (fine + 101 * salt) % 61) % 256).astype(np.uint8)


def normalize(pixels):
    """Plain torch arithmetic: uint8 [N, H, W, 3] -> float32 [N, 3, H, W]."""
    values = torch.tensor(np.asarray(pixels)).permute(0, 3, 1, 2).float().div(255)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return values.sub(mean[:, None, None]).div(std[:, None, None])


def denormalize(values):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (values * std[:, None, None] + mean[:, None, None]) * 255
    return pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


# ------------------------------------------------------------------------------------------------- choose_grid
def test_area_rule_is_the_released_table():
    for max_tiles, line in enumerate(RELEASED_GRIDS.split("\n")[1:-1], start=1):
        for tiles, cell in enumerate(line.split(), start=1):
            wanted = tuple(int(number) for number in cell.split("x"))
            for width, height in ((448 * tiles, 448), (448, 448 * tiles)):
                assert choose_grid(width, height, max_tiles=max_tiles, rule="area") == wanted
        assert choose_grid(100_000, 448, max_tiles=max_tiles, rule="area") == wanted  # Clamped to the largest count.


def test_area_rule_rounds_half_up_and_clamps():
    assert choose_grid(3, 1, tile_size=1, rule="area") == (1, 3)
    assert choose_grid(3, 5, tile_size=2, rule="area") == (1, 4)  # 3.75
    assert choose_grid(5, 2, tile_size=2, rule="area") == (1, 3)  # 2.5
    assert choose_grid(3, 2, tile_size=2, rule="area") == (2, 1)  # 1.5
    assert choose_grid(1, 1, rule="area") == (1, 1)
    assert choose_grid(1, 1, min_tiles=3, rule="area") == (1, 3)


@pytest.mark.parametrize(
    "width, height, max_tiles, wanted",
    [
        (448, 448, 12, (1, 1)),
        (1920, 1080, 12, (4, 2)),  # Ties with 2x1; 1920 * 1080 > 0.5 * 8 * 448**2 = 802816.
        (800, 600, 12, (4, 3)),
        (600, 800, 12, (3, 4)),
        (100, 100, 12, (1, 1)),  # Ties with 2x2 and 3x3, which are more than twice its area.
        (450, 450, 12, (1, 1)),
        (640, 640, 12, (2, 2)),  # 409600 > 0.5 * 4 * 448**2 = 401408.
        (1000, 1000, 12, (3, 3)),  # 1e6 > 0.5 * 9 * 448**2 = 903168.
        (1000, 1000, 6, (2, 2)),
        (5000, 100, 12, (12, 1)),
    ],
)
def test_aspect_ratio_rule(width, height, max_tiles, wanted):
    assert choose_grid(width, height, max_tiles=max_tiles, rule="aspect_ratio") == wanted


@pytest.mark.parametrize(
    "width, height, max_tiles, wanted",
    [
        (448, 448, 12, (1, 1)),
        (896, 448, 12, (2, 1)),
        (448, 1344, 12, (1, 3)),
        (1792, 1344, 12, (4, 3)),
        (1920, 1080, 12, (4, 2)),
        (1080, 1920, 12, (2, 4)),
        (1280, 720, 12, (3, 2)),
        (640, 480, 12, (1, 1)),
        (100, 100, 12, (1, 1)),
        (8960, 4480, 12, (4, 2)),  # 20x10 tiles, down to 4.9x2.45: 4x2 costs 0.041, 5x2 0.058.
        (3840, 2160, 12, (4, 2)),
        (3840, 2160, 2, (2, 1)),
        (3840, 2160, 1, (1, 1)),
        (20000, 20, 12, (12, 1)),
    ],
)
def test_native_rule(width, height, max_tiles, wanted):
    assert choose_grid(width, height, max_tiles=max_tiles) == wanted


def test_native_rule_minimises_its_stated_cost():
    rng = np.random.default_rng(0)
    for width, height in rng.integers(20, 5000, (200, 2)):
        shrink = min(1.0, np.sqrt(12 * 448**2 / (width * height)))

        def cost(cols, rows, width=width, height=height, shrink=shrink):
            sx, sy = 448 * cols / (width * shrink), 448 * rows / (height * shrink)
            return np.log(sx / sy) ** 2 + np.log(np.sqrt(sx * sy)) ** 2

        best = min(cost(cols, rows) for cols in range(1, 13) for rows in range(1, 13) if cols * rows <= 12)
        assert cost(*choose_grid(int(width), int(height))) == pytest.approx(best, abs=1e-8)


@pytest.mark.parametrize("rule", ["native", "aspect_ratio", "area"])
def test_grids_stay_within_their_limits(rule):
    for width, height in ((1, 1), (448, 449), (3000, 200), (99, 4000), (5000, 5000)):
        for low, high in ((1, 1), (1, 12), (3, 8), (12, 12)):
            cols, rows = choose_grid(width, height, 448, low, high, rule)
            assert low <= cols * rows <= high


def test_native_rule_turns_with_the_picture():
    rng = np.random.default_rng(1)
    for width, height in rng.integers(20, 5000, (100, 2)).tolist():
        if width != height:
            assert choose_grid(width, height) == choose_grid(height, width)[::-1]


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ({"width": 0}, "positive"),
        ({"height": -3}, "positive"),
        ({"tile_size": 0}, "positive"),
        ({"min_tiles": 0}, "min_tiles"),
        ({"min_tiles": 5, "max_tiles": 4}, "min_tiles"),
        ({"rule": "arae"}, "native, aspect_ratio, area"),
        ({"rule": "area", "max_tiles": 13}, "'area' .*max_tiles=12, got 13"),
    ],
)
def test_choose_grid_errors(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        choose_grid(**{"width": 10, "height": 10, **arguments})


# --------------------------------------------------------------------------------------------------- preprocess
@pytest.mark.parametrize("width, height, count, first, last", RELEASED_TILES)
def test_released_tiles_are_matched_bit_for_bit(width, height, count, first, last):
    processor = VitalImageProcessor(tile_rule="area")
    picture = pattern(height, width, width + height)
    out = processor.preprocess(picture)
    tiles = denormalize(out["pixel_values"])
    assert out["num_tiles"].tolist() == [count] == [processor.get_number_of_tiles(height, width)]
    assert torch.equal(out["pixel_values"], normalize(tiles))
    cols, rows = choose_grid(width, height, rule="area")
    whole = np.asarray(Image.fromarray(picture).resize((448 * cols, 448 * rows), Image.Resampling.BICUBIC))
    assert np.array_equal(tiles[0], whole[:448, :448])
    if PILLOW_MAJOR >= 13:  # the released numbers were made with it; 12 resizes a few pixels by one level otherwise
        assert [hashlib.sha256(tiles[index].tobytes()).hexdigest()[:8] for index in (0, -1)] == [first, last]


def test_tiles_go_row_by_row_and_the_thumbnail_is_last():
    colors = np.array([[10, 20, 30], [40, 50, 60]], dtype=np.uint8)
    picture = np.repeat(np.repeat(colors, 8, 0), 8, 1)[..., None].repeat(3, -1)  # 2 rows of 3 plain tiles of 8x8.
    out = VitalImageProcessor(tile_size=8).preprocess(picture)
    tiles = denormalize(out["pixel_values"])
    assert out["num_tiles"].tolist() == [7]
    assert tiles[:6].std(axis=(1, 2, 3)).max() == 0
    assert tiles[:6, 0, 0, 0].tolist() == [10, 20, 30, 40, 50, 60]
    assert np.array_equal(tiles[6], np.asarray(Image.fromarray(picture).resize((8, 8), Image.Resampling.BICUBIC)))


def test_no_thumbnail_for_one_tile_or_when_switched_off():
    assert VitalImageProcessor(tile_size=8).preprocess(pattern(8, 8, 0))["num_tiles"].tolist() == [1]
    off = VitalImageProcessor(tile_size=8, use_thumbnail=False)
    assert off.preprocess(pattern(16, 24, 0))["num_tiles"].tolist() == [6]
    assert off.get_number_of_tiles(16, 24) == 6


def test_a_batch_is_its_pictures_one_after_the_other():
    processor = VitalImageProcessor(tile_size=16, max_tiles=4)
    pictures = [pattern(16, 16, 1), Image.fromarray(pattern(40, 20, 2)), torch.tensor(pattern(9, 50, 3))]
    batch = processor.preprocess(pictures)
    alone = [processor(picture) for picture in pictures]
    assert torch.equal(batch["pixel_values"], torch.cat([out["pixel_values"] for out in alone]))
    assert torch.equal(batch["num_tiles"], torch.cat([out["num_tiles"] for out in alone]))
    assert batch["pixel_values"].dtype == torch.float32
    assert batch["num_tiles"].dtype == torch.int64
    assert batch["pixel_values"].shape == (int(batch["num_tiles"].sum()), 3, 16, 16)


def test_max_tiles_of_one_call():
    processor = VitalImageProcessor(tile_size=16, min_tiles=2, max_tiles=12)
    picture = pattern(64, 48, 0)
    assert processor.preprocess(picture)["num_tiles"].tolist() == [13]
    assert processor.preprocess(picture, max_tiles=1)["num_tiles"].tolist() == [1]
    assert processor.get_number_of_tiles(64, 48, max_tiles=1) == 1
    assert processor.max_tiles == 12


def test_rescaling_mean_std_and_numpy_output():
    processor = VitalImageProcessor(tile_size=4, rescale_factor=1 / 127.5, image_mean=[1] * 3, image_std=[1] * 3)
    out = processor.preprocess(np.array([[[0, 51, 255]] * 4] * 4, dtype=np.uint8), return_tensors="np")
    assert isinstance(out["pixel_values"], np.ndarray)
    assert np.allclose(out["pixel_values"][0, :, 0, 0], [-1, -0.6, 1], atol=1e-6)


def test_pictures_of_other_kinds(tmp_path):
    processor = VitalImageProcessor(tile_size=8)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    white = processor.preprocess(np.full((8, 8), 255, dtype=np.uint8))["pixel_values"]
    for item in (tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()):
        assert torch.equal(processor.preprocess(item)["pixel_values"], white)


def test_preprocess_errors(tmp_path):
    processor = VitalImageProcessor(tile_size=8)
    with pytest.raises(ValueError, match="VitalImageProcessor .*empty"):
        processor.preprocess([])
    with pytest.raises(MediaError, match="video.*`prepare`"):
        processor.preprocess(np.zeros((2, 8, 8, 3), dtype=np.uint8))
    with pytest.raises(MediaError, match="missing.png"):
        processor.preprocess([str(tmp_path / "missing.png")])
    with pytest.raises(ValueError, match="max_tiles"):
        processor.preprocess(pattern(8, 8, 0), max_tiles=0)


# ------------------------------------------------------------------------------------------------------- frames
def test_key_frames_are_tiled_without_thumbnail():
    processor = VitalImageProcessor(tile_size=16)
    frame = Image.fromarray(pattern(32, 48, 1))
    whole = processor.preprocess(frame)["pixel_values"]
    assert len(whole) == 7
    assert torch.equal(processor.normalize(processor.tiling.cut(frame, use_thumbnail=False)), whole[:6])
    squashed = processor.tiling.cut(frame, 1, False)
    assert np.array_equal(squashed, processor.tiling.squash(frame, 16, 16)[None])


def test_motion_frames_are_squashed_like_pillow_does():
    processor = VitalImageProcessor(tile_size=16)
    frames = [Image.fromarray(pattern(30, 50, salt)) for salt in range(4)]
    out = processor.normalize(np.stack([processor.tiling.squash(frame, 12, 12) for frame in frames]))
    wanted = [np.asarray(frame.resize((12, 12), Image.Resampling.BICUBIC)) for frame in frames]
    assert out.dtype == torch.float32
    assert torch.equal(out, normalize(np.stack(wanted)))


# ------------------------------------------------------------------------------------------------ save and load
@pytest.mark.parametrize(
    "settings, error",
    [
        ({"max_tile": 3}, TypeError),
        ({"max_tiles": 0}, ValueError),
        ({"tile_rule": "round"}, ValueError),
        ({"tile_rule": "area", "max_tiles": 24}, ValueError),
        ({"image_mean": [0.5]}, ValueError),
        ({"image_std": [1, 1, 0]}, ValueError),
        ({"rescale_factor": 0}, ValueError),
        ({"resample": 99}, ValueError),
    ],
)
def test_bad_settings_are_errors(settings, error):
    with pytest.raises(error):
        VitalImageProcessor(**settings)


def test_save_and_load_keep_every_setting(tmp_path):
    settings = {
        "tile_size": 32,
        "min_tiles": 2,
        "max_tiles": 5,
        "tile_rule": "area",
        "use_thumbnail": False,
        "resample": 2,
        "rescale_factor": 0.25,
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
    }
    processor = VitalImageProcessor(**settings)
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert {key: saved[key] for key in settings} == settings
    loaded = VitalImageProcessor.from_pretrained(tmp_path)
    assert {key: getattr(loaded, key) for key in settings} == settings
    assert VitalImageProcessor.from_pretrained(tmp_path, max_tiles=3).max_tiles == 3
    assert AutoImageProcessor.from_pretrained(tmp_path, trust_remote_code=True).to_dict() == loaded.to_dict()


@pytest.mark.slow  # Imports transformers anew.
def test_loads_where_the_package_is_not_installed(tmp_path):
    VitalImageProcessor(tile_size=16, tile_rule="area").save_pretrained(tmp_path / "checkpoint")
    program = """
import sys
sys.modules["modeling_vital"] = None  # whatever is installed: importing it fails
import numpy as np
from transformers import AutoImageProcessor
processor = AutoImageProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
out = processor(np.full((20, 60, 3), 7, np.uint8))
print(type(processor).__name__, processor.backend, out["num_tiles"].tolist(), float(out["pixel_values"].sum()))
assert not {"decord", "av"} & set(sys.modules)
"""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env["HF_MODULES_CACHE"] = str(tmp_path / "modules")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "checkpoint")],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    wanted = VitalImageProcessor(tile_size=16, tile_rule="area")(np.full((20, 60, 3), 7, np.uint8))
    name, backend, *rest = done.stdout.split()
    assert (name, backend) == ("VitalImageProcessor", "pil")
    assert rest == [str(wanted["num_tiles"].tolist()), str(float(wanted["pixel_values"].sum()))]


def test_video_decoders_are_not_required_by_the_copied_files():
    from modeling_vital import image_processing_vital, media_vital

    for module in (image_processing_vital, media_vital):
        assert set(get_imports(module.__file__)) <= {"numpy", "torch", "PIL", "transformers", *sys.stdlib_module_names}
