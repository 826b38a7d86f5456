"""A calibration and the model it is for: found beside the weights, applied to scores, refused for another model."""

import dataclasses
import logging

import pytest
from PIL import Image

from modeling_vital import VitalForConditionalGeneration
from modeling_vital.calibration_vital import Calibration, find_calibration, scoring_settings, weights_sha256
from tests.fixtures.tiny_models import tiny_model


PICTURE = Image.radial_gradient("L").convert("RGB")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    return folder


@pytest.fixture
def model(folder):
    return VitalForConditionalGeneration.from_pretrained(folder).eval()


def calibration_for(model, **changes):
    table = {"scores": [0.0, 1.0], "mos": [0.0, 100.0], "curve_low": [0.0, 90.0], "curve_high": [10.0, 100.0]}
    about = {"weights_sha256": weights_sha256(model), "scoring": scoring_settings(model), "modality": "image"}
    about |= {"model": "m", "method": "logistic4", "margin": 60.0, "confidence": 0.95, "mos_range": [0.0, 100.0]}
    errors = {"rmse": 30.0, "rmse_low": 20.0, "rmse_high": 40.0}
    return Calibration(**table, **{**about, "ratings": 60, "contents": 60, "errors": errors, **changes})


def test_scores_get_a_mos_and_its_interval(model, tmp_path):
    calibration = calibration_for(model)
    plain, result = model.score(PICTURE), model.score(PICTURE, calibration=calibration)
    assert plain.mos is None and "mos" not in plain.to_dict()
    assert result.mos == pytest.approx(100 * plain.score)
    assert result.mos_low == pytest.approx(max(100 * plain.score - 60, 0))
    assert result.mos_high == pytest.approx(min(100 * plain.score + 60, 100))
    assert result.to_dict()["mos"] == result.mos
    calibration.save(tmp_path / "mine.json")
    assert model.score([PICTURE], calibration=tmp_path / "mine.json") == [result]
    assert model.score([b"nothing"], errors="return", calibration=calibration)[0].args  # an error stays one


def test_a_clip_gets_none_from_ratings_of_pictures(model):
    frames = [PICTURE.resize((32, 32))] * 8
    assert model.score([frames], calibration=calibration_for(model))[0].mos is None
    assert model.score([frames], calibration=calibration_for(model, modality="video"))[0].mos is not None


def test_the_one_beside_the_weights_is_found(model, folder):
    calibration = calibration_for(model)
    calibration.save(folder / "calibration.json")
    try:
        assert find_calibration(str(folder)) == calibration
        found = VitalForConditionalGeneration.from_pretrained(folder).eval()
        assert found.calibration == calibration
        assert found.score(PICTURE).mos is not None
        found.calibration = None
        assert found.score(PICTURE).mos is None
    finally:
        (folder / "calibration.json").unlink()
    assert model.score(PICTURE).mos is None


def test_one_that_suits_no_more_is_left_out_with_a_warning(model, folder, caplog):
    calibration_for(model, weights_sha256="0" * 64).save(folder / "calibration.json")
    try:
        with caplog.at_level(logging.WARNING):
            assert model.score(PICTURE).mos is None
    finally:
        (folder / "calibration.json").unlink()
    assert "get no MOS" in caplog.text and "weights 000000000000" in caplog.text


def test_another_model_is_refused(model, tmp_path):
    other = tiny_model(seed=1)
    other.save_pretrained(tmp_path)
    other = VitalForConditionalGeneration.from_pretrained(tmp_path).eval()
    with pytest.raises(ValueError, match="vital calibrate"):
        other.score(PICTURE, calibration=calibration_for(model))
    with pytest.raises(ValueError, match="vital calibrate"):
        other.calibration = calibration_for(model)


def test_other_scoring_settings_are_refused(model):
    calibration = calibration_for(model)
    model.use_scoring("released")
    with pytest.raises(ValueError, match="level_values.*answer_prefixes.*frame_sampling.*use_scoring"):
        model.score(PICTURE, calibration=calibration)


def test_a_model_from_memory_cannot_be_told_from_others():
    with pytest.raises(ValueError, match=".safetensors"):
        weights_sha256(tiny_model())


def test_the_hash_follows_names_and_contents_of_weights(model, folder, tmp_path):
    before = weights_sha256(model)
    assert before == weights_sha256(VitalForConditionalGeneration.from_pretrained(folder))
    (folder / "more.safetensors").write_bytes(b"x")
    try:
        changed = weights_sha256(model)
        (folder / "more.safetensors").write_bytes(b"yy")
        assert len({before, changed, weights_sha256(model)}) == 3
    finally:
        (folder / "more.safetensors").unlink()
    assert weights_sha256(model) == before


def test_a_calibration_is_immutable(model):
    with pytest.raises(dataclasses.FrozenInstanceError):
        calibration_for(model).margin = 1.0
