"""The checkpoint in the package does what README says of it, on the example media in the repository."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dataset_scripts.distortions import distort_image
from modeling_vital.media_vital import load_media
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.zoo import DEFAULT_MODEL, EMBEDDED, resolve


EXAMPLES = Path("spaces_demo/examples")
PHOTOS = sorted(EXAMPLES.glob("*.jpg"))
CLIPS = sorted(EXAMPLES.glob("*.mp4"))


@pytest.fixture(scope="module")
def model():
    return VitalForConditionalGeneration.from_pretrained(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def scores(model):
    return dict(zip(PHOTOS, [r.score for r in model.score(PHOTOS)], strict=True))


@pytest.mark.parametrize(
    "severity", [3, pytest.param(4, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("photo", PHOTOS, ids=lambda path: path.stem)
def test_blurred_noisy_and_compressed_copies_score_below_their_photo(model, scores, photo, severity):
    pixels = np.asarray(load_media(photo))
    rng = np.random.default_rng(0)
    damage = ("gaussian_blur", "white_noise", "jpeg")
    copies = [Image.fromarray(distort_image(pixels, name, severity, rng)) for name in damage]
    damaged = {name: r.score for name, r in zip(damage, model.score(copies), strict=True)}
    assert {name: score for name, score in damaged.items() if score >= scores[photo]} == {}


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda path: path.stem)
def test_everyday_damage_scores_below_the_photo(model, scores, photo, tmp_path):
    """Damage done by Pillow, not by the functions that made the training data."""
    picture = load_media(photo)
    picture.save(tmp_path / "a tenth of the quality.jpg", quality=10)
    noise = np.random.default_rng(1).normal(0, 25, (picture.height, picture.width, 3))
    noisy = Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))
    blurred = picture.filter(ImageFilter.GaussianBlur(4))
    small = picture.resize((picture.width // 4, picture.height // 4)).resize(picture.size)
    damaged = model.score([tmp_path / "a tenth of the quality.jpg", noisy, blurred, small])
    assert [r.score for r in damaged if r.score >= scores[photo]] == []


def test_clips_are_scored(model):
    results = model.score(CLIPS)
    assert [r.modality for r in results] == ["video"] * len(CLIPS)
    assert all(0.1 <= r.score <= 0.9 for r in results)


def test_resolve_names_folders_and_hub_ids(tmp_path):
    assert all(Path(resolve(name), "config.json").is_file() for name in EMBEDDED)
    assert resolve("org/vital-8b") == "org/vital-8b"
    with pytest.raises(ValueError, match="config.json"):
        resolve(str(tmp_path))
    with pytest.raises(ValueError, match="vital-tiny"):
        resolve("vital-huge")
