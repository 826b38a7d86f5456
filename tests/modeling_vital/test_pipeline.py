"""The pipeline gives what `score` gives. That it loads without the package: tests/test_remote_code.py."""

import json
import threading

import pytest
import torch
from transformers import AutoModel, AutoModelForImageTextToText, pipeline

from modeling_vital import cutting_vital
from modeling_vital.media_vital import MediaError
from modeling_vital.pipeline_vital import TASK, VitalQualityPipeline
from tests.fixtures.tiny_models import tiny_model
from tests.fixtures.tiny_probes import tiny_probe
from tests.modeling_vital.test_modeling import clip, picture


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def assess(model):
    return pipeline(TASK, model=model)


def records(model, items):
    return [result.to_dict() for result in model.score(items, batch_size=1)]


def close(result, expected):
    assert result.keys() == expected.keys()
    assert result["score"] == pytest.approx(expected["score"], abs=1e-5)
    assert result["level_probs"] == pytest.approx(expected["level_probs"], abs=1e-5)
    assert result["modality"] == expected["modality"]


def test_one_item(model, assess):
    assert isinstance(assess, VitalQualityPipeline)
    result = assess(picture(0))
    close(result, model.score(picture(0)).to_dict())
    json.dumps(result)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_many_items_in_order(model, assess, batch_size):
    items = [picture(0, 200, 40), clip(1), picture(2, 20, 20), clip(3, frames=3), picture(4)]
    for result, expected in zip(assess(items, batch_size=batch_size), records(model, items), strict=True):
        close(result, expected)
    streamed = assess((item for item in items), batch_size=batch_size)
    assert [r["score"] for r in streamed] == pytest.approx([r["score"] for r in records(model, items)], abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_unreadable_items(assess, batch_size, tmp_path):
    items = [str(tmp_path / "gone.jpg"), picture(0), str(tmp_path / "gone too.jpg")]
    with pytest.raises(MediaError, match="gone.jpg"):
        assess(items, batch_size=batch_size)
    first, second, third = assess(items, batch_size=batch_size, errors="return")
    assert isinstance(first, MediaError) and second["modality"] == "image" and "gone too" in str(third)


def test_items_of_a_list_are_prepared_ahead(assess, monkeypatch):
    threads, load = [], cutting_vital.load_media
    monkeypatch.setattr(
        cutting_vital,
        "load_media",
        lambda item, **kwargs: (threads.append(threading.current_thread().name), load(item, **kwargs))[1],
    )
    items = [picture(0), clip(), picture(1)]
    for result, expected in zip(assess(items), records(assess.model, items), strict=True):
        close(result, expected)
    assert len(threads) == 6 and all(name.startswith("vital-prepare") for name in threads[:3])


def test_a_linear_probe_too():
    probe = tiny_probe()
    items = [picture(0), clip(1), picture(2)]
    for result, expected in zip(pipeline(TASK, model=probe)(items, batch_size=2), records(probe, items), strict=True):
        close(result, expected)


def test_unknown_parameters_are_refused(assess):
    with pytest.raises(TypeError, match="top_k"):
        assess(picture(), top_k=3)
    with pytest.raises(ValueError, match="errors"):
        assess(picture(), errors="ignore")


def test_a_saved_folder_names_its_pipeline(model, assess, tmp_path):
    model.save_pretrained(tmp_path / "by model")
    assess.save_pretrained(tmp_path / "by pipeline")
    for folder in tmp_path.iterdir():
        config = json.loads((folder / "config.json").read_text())
        assert config["custom_pipelines"][TASK]["impl"] == "pipeline_vital.VitalQualityPipeline"
        assert (folder / "pipeline_vital.py").is_file()
        assert (folder / "processor_config.json").is_file()


def test_auto_classes_load_the_model(model, tmp_path):
    model.save_pretrained(tmp_path)
    for auto_class in (AutoModel, AutoModelForImageTextToText):
        loaded = auto_class.from_pretrained(tmp_path)
        assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
        assert loaded.score(picture(0)).score == pytest.approx(model.score(picture(0)).score, abs=1e-6)
