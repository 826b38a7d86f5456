"""Limits, previews and the CSV of the demo."""

import csv
import importlib.util
import re
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.encoding import encode_clip
from tests.fixtures.odd_media import CASES
from tests.modeling_vital.test_odd_media import can_be_made
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


def test_models_of_one_name_are_all_there(inference, monkeypatch, tmp_path):
    folders = [tmp_path / name for name in ("a/best", "b/best", "c/vital-tiny", "d/alone")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    best, other, tiny, alone = map(str, folders)
    monkeypatch.setattr(inference, "_loaded", lambda source: source)
    models = inference.Assessor([best, "vital-tiny", other, tiny, alone, f"{alone}/"])._models
    assert models.keys() == {best, "vital-tiny", other, tiny, "alone"}
    assert [models[name] for name in (best, other, tiny)] == [best, other, tiny]
    assert models["vital-tiny"] == inference.zoo.resolve("vital-tiny") and Path(models["alone"]) == Path(alone)


def test_limits(inference, assessor, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "MAX_FILE_MB", 0.01)
    with pytest.raises(inference.Refused, match=f"{PHOTOS[0].name} .* 0.01 MB"):
        assessor.score(str(PHOTOS[0]), "vital-tiny")
    monkeypatch.undo()
    clip = tmp_path / "long.mp4"
    clip.write_bytes(encode_clip(np.zeros((12, 64, 64, 3), np.uint8), 1.0, 30))
    monkeypatch.setattr(inference, "MAX_CLIP_S", 10)
    with pytest.raises(inference.Refused, match="long.mp4 .* 12 s.* 10 s"):
        assessor.score(str(clip), "vital-tiny")
    monkeypatch.setattr(inference, "MAX_PIXELS", 100)
    with pytest.raises(inference.Refused, match=f"{PHOTOS[0].name}.* large"):
        assessor.score(str(PHOTOS[0]), "vital-tiny")
    with pytest.raises(inference.Refused, match="'vital-8b'"):
        inference.Assessor(["vital-tiny"])._model("vital-8b")


def test_the_limits_are_those_of_the_readme(inference):
    limits = " ".join(Path("spaces_demo/README.md").read_text().split("## Limits")[1].split())
    assert f"Files up to {inference.MAX_FILE_MB} MB" in limits and f"{inference.MAX_BATCH} files at a time" in limits
    assert f"questions of up to {inference.MAX_QUESTION_CHARS} characters" in limits
    assert f"{inference.MAX_PIXELS / 1e6:.0f} megapixels" in limits and inference.MAX_CLIP_S == 120  # two minutes


SWEPT = {
    "score": lambda assessor, file: assessor.score(file, "vital-tiny"),
    "where": lambda assessor, file: list(assessor.where(file, "vital-tiny")),
    "describe": lambda assessor, file: list(assessor.describe(file, "", "vital-tiny")),
    "chat": lambda assessor, file: list(assessor.chat(file, "", [], "vital-tiny")),
    "compare": lambda assessor, file: assessor.compare(str(PHOTOS[0]), file, "vital-tiny"),
    "zoo": lambda assessor, file: assessor.zoo(file, ["vital-tiny"]),
}


@pytest.mark.parametrize("ask", SWEPT.values(), ids=SWEPT)
def test_a_file_that_was_swept_is_refused_by_its_name(inference, assessor, ask, tmp_path):
    with pytest.raises(inference.Refused, match="photo.jpg") as refused:
        ask(assessor, str(tmp_path / "photo.jpg"))
    assert str(tmp_path) not in str(refused.value)


def test_a_preview_of_a_file_that_was_swept_is_refused(inference, tmp_path):
    with pytest.raises(inference.Refused, match="photo.jpg"):
        inference.preview(str(tmp_path / "photo.jpg"))


def test_a_batch_does_not_end_with_a_file_that_was_swept(assessor, tmp_path):
    *_, records = assessor.batch([str(tmp_path / "photo.jpg"), str(PHOTOS[0])], "vital-tiny")
    assert [record["error"] is None for record in records] == [False, True] and "photo.jpg" in records[0]["error"]


def turns(*texts):
    return [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 9, texts, strict=False)]


LONG = {
    "question": ("What? " * 100, [], " 500 .* 600"),
    "question of 96,000 characters": ("x" * 96_000, [], " 500 "),
    "no text": (["x"] * 9, [], "is a text"),
    "earlier question": ("And?", turns("x" * 501, "good"), "too long"),
    "earlier answer": ("And?", turns("x", "y" * 2001), "too long"),
    "earlier answer in parts": ("And?", turns("x", [{"text": "y" * 1500}, {"text": "z" * 1500}]), "too long"),
    "many turns": ("And?", turns(*["x"] * 16), "8 questions"),
    "no list": ("And?", {"a": 1}, "no conversation"),
    "no turns": ("And?", ["x", "y"], "no conversation"),
    "another role": ("And?", [{"role": "system", "content": "x"}], "no conversation"),
    "no content": ("And?", [{"role": "user"}], "no conversation"),
    "no answer": ("And?", turns("x"), "answer"),
}


@pytest.mark.parametrize("name", LONG)
def test_texts_have_limits_on_the_server(inference, assessor, name, monkeypatch):
    question, history, message = LONG[name]
    monkeypatch.setattr(inference, "_read", lambda *args: pytest.fail("a file is read for a question that is refused"))
    with pytest.raises(inference.Refused, match=message):
        list(assessor.chat(str(PHOTOS[0]), question, history, "vital-tiny"))
    if not history:
        with pytest.raises(inference.Refused, match=message):
            list(assessor.describe(str(PHOTOS[0]), question, "vital-tiny"))


def test_a_model_is_asked_once_and_its_name_is_not_echoed_at_length(inference, assessor):
    with pytest.raises(inference.Refused, match="model once"):
        assessor.zoo(str(PHOTOS[0]), ["vital-tiny"] * 1000)
    for name in ("x" * 10_000, ["vital-tiny"], None):
        with pytest.raises(inference.Refused) as refused:
            assessor.score(str(PHOTOS[0]), name)
        assert len(str(refused.value)) < 200


def test_text_comes_in_pieces(assessor):
    pieces = list(assessor.describe(str(PHOTOS[0]), "", "vital-tiny"))
    assert len(pieces) > 2 and pieces[-1].startswith("The distortion of the image is")


def test_an_error_of_ours_is_not_swallowed(assessor, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("ours")

    monkeypatch.setattr(assessor._models["vital-tiny"], "describe", fail)
    with pytest.raises(RuntimeError, match="ours"):
        list(assessor.describe(str(PHOTOS[0]), "", "vital-tiny"))


PROGRAMMERS = re.compile(r"`|\bpip\b|max_pixels|register_|\w\(\)|Error\b|\w_\w|--\w|/|bomb DOS")


def test_errors_speak_to_visitors(inference, tmp_path):
    """Every bad file of the corpus: no word for programmers, no place on this machine, and what to do."""
    names, told = [case for case in CASES if case.error and can_be_made(case)], {}
    assert len(names) > 30
    for case in names:
        case.make(tmp_path / case.name)
        if not (tmp_path / case.name).exists():  # a link to nowhere cannot be uploaded
            continue
        with pytest.raises(inference.Refused) as refused:
            inference._read(str(tmp_path / case.name))
        told[case.name] = str(refused.value)
    wrong = {name: text for name, text in told.items() if PROGRAMMERS.search(text.replace(repr(name), ""))}
    assert wrong == {}
    assert all(repr(name) in text and text.endswith(".") and len(text) > len(name) + 30 for name, text in told.items())


def test_heic_without_its_package_is_said_to_visitors(inference, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    (tmp_path / "IMG.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    with pytest.raises(inference.Refused) as refused:
        inference._read(str(tmp_path / "IMG.heic"))
    assert "HEIC" in str(refused.value) and not PROGRAMMERS.search(str(refused.value).replace("'IMG.heic'", ""))


def test_a_clip_that_breaks_off_is_scored_with_a_warning(inference, assessor, tmp_path):
    pages = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (96, 96, 3), dtype=np.uint8)) for i in range(20)
    ]
    pages[0].save(tmp_path / "a.gif", save_all=True, append_images=pages[1:], duration=100)
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "cut.gif").write_bytes(data[: len(data) // 2])
    record = assessor.score(str(tmp_path / "cut.gif"), "vital-tiny")
    assert record["score"] > 0 and record["warning"].startswith("'cut.gif' breaks off after ")
    assert "warning" not in assessor.score(str(tmp_path / "a.gif"), "vital-tiny")


def test_work_stops_when_nobody_waits_for_it(inference):
    steps, ended = [], threading.Event()

    def work(tell):
        try:
            for step in range(1000):
                steps.append(step)
                tell(step)
                time.sleep(0.01)
        finally:
            ended.set()

    told = inference._in_steps(work)
    assert [next(told) for _ in range(3)] == [(False, 0), (False, 1), (False, 2)]
    told.close()
    assert ended.wait(5) and len(steps) < 20
    assert list(inference._in_steps(lambda tell: 7)) == [(True, 7)]
    with pytest.raises(LookupError, match="mine"):
        list(inference._in_steps(lambda tell: {}["mine"]))


def test_a_map_tells_how_far_it_is(assessor):
    steps = list(assessor.where(str(PHOTOS[0]), "vital-tiny"))
    shares = [share for share, _ in steps]
    assert [found is None for _, found in steps] == [True] * (len(steps) - 1) + [False]
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) > 3


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
