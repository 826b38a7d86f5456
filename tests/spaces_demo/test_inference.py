"""Limits, previews and the CSV of the demo."""

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.encoding import encode_clip
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


@pytest.fixture(scope="module")
def inference():
    spec = importlib.util.spec_from_file_location("demo_inference", Path("spaces_demo/inference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def assessor(inference):
    return inference.Assessor(["vital-tiny"])


def test_models_come_from_the_environment(inference, monkeypatch):
    monkeypatch.setenv("VITAL_MODELS", " vital-tiny , modeling_vital/zoo/vital-tiny,")
    assert inference.Assessor.from_environment().names == ["vital-tiny"]  # the folder goes by its name
    monkeypatch.setenv("VITAL_MODELS", "vital-unknown")
    with pytest.raises(ValueError, match="vital-unknown"):
        inference.Assessor.from_environment()


def test_limits(inference, assessor, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "MAX_FILE_MB", 0.01)
    with pytest.raises(inference.Refused, match="this demo takes 0.01 MB"):
        assessor.score(str(PHOTOS[0]), "vital-tiny")
    monkeypatch.undo()
    clip = tmp_path / "long.mp4"
    clip.write_bytes(encode_clip(np.zeros((12, 64, 64, 3), np.uint8), 1.0, 30))
    monkeypatch.setattr(inference, "MAX_CLIP_S", 10)
    with pytest.raises(inference.Refused, match="long.mp4 is 12 s long; this demo takes 10 s"):
        assessor.score(str(clip), "vital-tiny")
    monkeypatch.setattr(inference, "MAX_PIXELS", 100)
    with pytest.raises(inference.Refused, match="too large"):
        assessor.score(str(PHOTOS[0]), "vital-tiny")
    with pytest.raises(inference.Refused, match="no model 'vital-8b' here"):
        inference.Assessor(["vital-tiny"])._model("vital-8b")


def test_the_limits_are_those_of_the_readme(inference):
    limits = " ".join(Path("spaces_demo/README.md").read_text().split("## Limits")[1].split())
    assert f"Files up to {inference.MAX_FILE_MB} MB" in limits and f"{inference.MAX_BATCH} files at a time" in limits
    assert f"{inference.MAX_PIXELS / 1e6:.0f} megapixels" in limits and inference.MAX_CLIP_S == 120  # two minutes


def test_text_comes_in_pieces(assessor):
    pieces = list(assessor.describe(str(PHOTOS[0]), "", "vital-tiny"))
    assert len(pieces) > 2 and pieces[-1].startswith("The distortion of the image is")


def test_an_error_of_ours_is_not_swallowed(assessor, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("ours")

    monkeypatch.setattr(assessor._models["vital-tiny"], "describe", fail)
    with pytest.raises(RuntimeError, match="ours"):
        list(assessor.describe(str(PHOTOS[0]), "", "vital-tiny"))


@pytest.mark.parametrize("item", [PHOTOS[0], CLIPS[0]], ids=["photo", "clip"])
def test_preview_is_small(inference, item):
    assert max(inference.preview(str(item)).size) <= inference.PREVIEW_PX
    assert inference.preview(None) is None


def test_csv_holds_the_records_and_no_formula(inference, tmp_path):
    records = [
        {
            "file": "=1+1.jpg",
            "modality": "image",
            "score": 0.5,
            "std": 0.1,
            "level": "fair",
            "model": "m",
            "error": None,
        },
        {"file": "ä, b.jpg", "model": "m", "error": "it is damaged"},
    ]
    with Path(inference.write_csv(records, tmp_path)).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == ["'=1+1.jpg", "ä, b.jpg"]
    assert float(rows[0]["score"]) == 0.5 and rows[1]["score"] == "" and rows[1]["error"] == "it is damaged"


def test_a_lent_gpu_is_asked_for(monkeypatch, tmp_path):
    """With the package `spaces` of such hosts in place, what runs a model goes through its decorator."""
    (tmp_path / "spaces.py").write_text(
        "calls = []\n"
        "def GPU(duration):\n"
        "    calls.append(duration)\n"
        "    return lambda function: ('wrapped', function)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "spaces", raising=False)
    spec = importlib.util.spec_from_file_location("demo_inference_gpu", Path("spaces_demo/inference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert sys.modules.pop("spaces").calls == [60]
    assert module.on_gpu(len) == ("wrapped", len)
    assert isinstance(module.preview(str(PHOTOS[0])), Image.Image)
