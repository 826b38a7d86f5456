"""The examples of a reward and of a loss: they learn what the page says."""

import numpy as np
import pytest
import torch

from modeling_vital.metric import VitalMetric
from training.examples import denoise, quality_reward
from training.examples.quality_reward import EDITS, edit_reward, make_policy, probabilities


EXAMPLES = "spaces_demo/examples"


@pytest.fixture(scope="module")
def photo():
    from modeling_vital import load_media

    picture = load_media(f"{EXAMPLES}/mountain-path.jpg")
    picture.thumbnail((256, 256))
    return picture


def test_words_are_rewarded_and_what_is_none_gets_none(photo):
    rewards = edit_reward(photo, ["keep", "blur ", "", "photo", "keep"])
    assert rewards[2:4] == [None, None]
    assert rewards[0] == rewards[4] > rewards[1]
    kept, *edited = edit_reward(photo, ["keep", *(word for word in EDITS if word != "keep")])
    assert kept > max(edited) + 0.1  # what the policy is to find out


def test_a_new_policy_has_no_favourite():
    before = probabilities(*make_policy())
    assert set(before) == set(EDITS)
    assert max(before.values()) < 0.25


@pytest.mark.slow
def test_the_policy_learns_to_do_no_damage(photo, tmp_path):
    pytest.importorskip("trl")
    before, after = quality_reward.train(photo, 30, tmp_path)
    assert after["keep"] > 0.7 > 2 * before["keep"]


def test_a_denoiser_begins_by_changing_nothing_and_noise_is_what_it_says():
    clean = torch.full((2, 3, 128, 128), 0.5)
    noisy = denoise.with_noise(clean, 0)
    assert denoise.psnr(noisy, clean) == pytest.approx(20, abs=0.2)  # -20 log10(0.1)
    torch.testing.assert_close(denoise.Denoiser()(noisy), noisy, atol=0.2, rtol=0)
    assert torch.equal(noisy, denoise.with_noise(clean, 0)) and not torch.equal(noisy, denoise.with_noise(clean, 1))


@pytest.mark.slow
def test_each_loss_leads_where_it_points():
    photos = [np.random.default_rng(0).integers(0, 256, (140, 150, 3), np.uint8)]
    metric = VitalMetric(as_loss=True, device="cpu")
    pleased = denoise.train(photos, metric, (0.0, 1.0), steps=8)
    close = denoise.train(photos, metric, (1.0, 0.0), steps=8)
    clean = denoise.crops(photos, 2, np.random.default_rng(1))
    noisy = denoise.with_noise(clean, 9)
    with torch.no_grad():
        assert metric(pleased(noisy)).mean() > metric(close(noisy)).mean()
        assert denoise.psnr(close(noisy), clean) > denoise.psnr(pleased(noisy), clean)


def test_the_sheet_shows_every_picture():
    pictures = {name: torch.rand(3, denoise.SIDE, denoise.SIDE) for name in ("clean", "noisy")}
    assert denoise.sheet(pictures, dict.fromkeys(pictures, (0.5, 20.0))).size == (2 * 262 - 6, 256 + 34)


@pytest.mark.parametrize("size, message", [((10, 10), "smaller than 128"), (None, "has 0 .jpg photos")])
def test_photos_that_cannot_serve_are_wrong_use(tmp_path, capsys, size, message):
    from PIL import Image

    for name in "ab" if size else "":
        Image.new("RGB", size).save(tmp_path / f"{name}.jpg")
    with pytest.raises(SystemExit):
        denoise.main([str(tmp_path), str(tmp_path / "out.png")])
    assert message in capsys.readouterr().err
