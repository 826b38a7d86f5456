"""The running demo: its named endpoints, what visitors leave, requests of any size; and what makes it a Space."""

import importlib.util
import json
import os
import re
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from modeling_vital import VitalForConditionalGeneration
from modeling_vital.local_quality import quality_map
from modeling_vital.publishing.contents import read_contents
from tests.fixtures.demo_server import run_demo
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


SPACE = Path("spaces_demo")


def test_the_folder_is_a_space():
    contents = read_contents("space", SPACE.resolve())
    assert contents.warnings == []
    assert {"app.py", "ui.py", "inference.py", "requirements.txt", "README.md"} <= set(contents.files)
    assert len((SPACE / "app.py").read_text().splitlines()) <= 40
    pinned = re.search(r"^gradio==(.+)$", Path("constraints.txt").read_text(), re.MULTILINE)[1]
    assert f"\nsdk_version: {pinned}\n" in (SPACE / "README.md").read_text()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Address and folder of a running demo: its start takes longer than all that is asked of it."""
    pytest.importorskip("gradio", reason="needs the extra `demo`")
    folder = tmp_path_factory.mktemp("demo")
    (folder / "uploads").mkdir()
    (folder / "uploads" / "of somebody else.txt").write_text("x")
    with run_demo(folder) as url:
        yield url, folder
    left = [path.name for path in (folder / "uploads").rglob("*")]
    assert left == ["of somebody else.txt"], "left behind, or another's removed, at the end"


@pytest.fixture(scope="module")
def client(demo, tmp_path_factory):
    gradio_client = pytest.importorskip("gradio_client", reason="needs the extra `demo`")
    return gradio_client.Client(demo[0], verbose=False, download_files=str(tmp_path_factory.mktemp("answers")))


@pytest.fixture(scope="module")
def ask(client):
    from gradio_client import handle_file

    def ask(endpoint, *arguments):
        def given(argument):
            if isinstance(argument, list):
                return [given(each) for each in argument]
            return handle_file(str(argument)) if isinstance(argument, Path) else argument

        return client.predict(*[given(argument) for argument in arguments], api_name=f"/{endpoint}")

    return ask


@pytest.fixture(scope="module")
def model():
    return VitalForConditionalGeneration.from_pretrained("vital-tiny")


def test_endpoints_are_named_and_nothing_else_is_public(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/score",
        "/where",
        "/describe",
        "/chat",
        "/compare",
        "/zoo",
        "/batch",
    }


@pytest.mark.parametrize("item", [PHOTOS[0], CLIPS[0]], ids=["photo", "clip"])
def test_score_is_the_models_own(ask, model, item):
    record, expected = ask("score", item, "vital-tiny"), model.score(item)
    assert record["score"] == pytest.approx(expected.score, abs=1e-6) and record["level"] == expected.level
    assert record["file"] == item.name and record["modality"] == expected.modality and record["seconds"] > 0
    assert sum(record["level_probs"].values()) == pytest.approx(1)


@pytest.mark.parametrize("item", [PHOTOS[0], CLIPS[0]], ids=["photo", "clip"])
def test_describe_and_answer(ask, model, item):
    assert ask("describe", item, "", "vital-tiny") == model.describe(item)
    assert ask("describe", item) == model.describe(item)
    assert ask("describe", item, "What is wrong?", "vital-tiny") == (
        model.answer(item, "What is wrong?").text or "(the model says nothing)"
    )


def test_where_gives_a_map_of_a_photo_and_a_curve_of_a_clip(ask, model):
    record, drawn, told = ask("where", PHOTOS[0], "vital-tiny")
    expected = quality_map(model, PHOTOS[0])
    assert record["worst"] == list(expected.worst) and re.search("Worst place|Nothing stands out", told)
    assert record["worst_score"] == pytest.approx(expected.worst_score, abs=1e-6)
    with Image.open(drawn) as picture, Image.open(PHOTOS[0]) as photo:
        assert picture.width == min(photo.width, 1024) and picture.height > photo.height * picture.width / photo.width
    record, drawn, told = ask("where", CLIPS[0], "vital-tiny")
    assert len(record["points"]) > 3 and 0 < record["whole_score"] < 1 and record["seconds"] > 0 and "<svg" in told
    with Image.open(drawn) as picture:
        assert picture.size == (480, 270)


def test_a_conversation_goes_on_about_the_same_item(ask, model):
    first = ask("chat", PHOTOS[0], "", [], "vital-tiny")
    assert [turn["role"] for turn in first] == ["user", "assistant"]
    assert said(first[1]) == model.describe(PHOTOS[0])
    more = ask("chat", PHOTOS[0], "Is it <image> sharp? <video>", first, "vital-tiny")
    assert [turn["role"] for turn in more] == ["user", "assistant"] * 2
    assert [said(turn) for turn in more[:3]] == [*map(said, first), "Is it <image> sharp? <video>"] and said(more[3])
    with pytest.raises(Exception, match="question"):
        ask("chat", PHOTOS[0], " ", first, "vital-tiny")
    with pytest.raises(Exception, match="8 questions"):
        ask("chat", PHOTOS[0], "And?", first * 8, "vital-tiny")


def said(turn):
    """What was said in a turn of a conversation, however it is packed."""
    content = turn["content"]
    return content if isinstance(content, str) else " ".join(part["text"] for part in content)


def test_compare(ask, model):
    record, expected = ask("compare", PHOTOS[0], CLIPS[0], "vital-tiny"), model.compare(PHOTOS[0], CLIPS[0])
    assert record["winner"] == expected.winner
    assert record["probability"] == pytest.approx(expected.probability, abs=1e-5)


def test_zoo_gives_a_record_a_model(ask):
    (record,) = ask("zoo", PHOTOS[1], ["vital-tiny"])
    assert record["model"] == "vital-tiny" and record["file"] == PHOTOS[1].name


def test_batch_goes_on_after_a_bad_file(ask, tmp_path):
    bad = tmp_path / "not a picture.jpg"
    bad.write_bytes(b"hello")
    records = ask("batch", [PHOTOS[0], bad, CLIPS[0]], "vital-tiny")
    assert [record["file"] for record in records] == [PHOTOS[0].name, bad.name, CLIPS[0].name]
    assert [record["error"] is None for record in records] == [True, False, True]
    assert "not a picture.jpg" in records[1]["error"] and "/" not in records[1]["error"]


def test_refusals_are_said_in_plain_words(ask, tmp_path):
    with pytest.raises(Exception, match="picture .*clip"):
        ask("score", None, "vital-tiny")
    with pytest.raises(Exception, match="B: .*picture .*clip"):
        ask("compare", PHOTOS[0], None, "vital-tiny")
    with pytest.raises(Exception, match="model"):
        ask("zoo", PHOTOS[0], [])
    with pytest.raises(Exception, match="21 .* 20 "):
        ask("batch", [PHOTOS[0]] * 21, "vital-tiny")
    cut = tmp_path / "cut short.png"
    cut.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(Exception, match="^'cut short.png'"):
        ask("score", cut, "vital-tiny")
    with pytest.raises(Exception, match="^'cut short.png'"):
        ask("describe", cut, "", "vital-tiny")


# --------------------------------------------------------------------- what visitors leave, and requests of any size
def post(url, data, content_type="application/json"):
    request = urllib.request.Request(url, data, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_broken_upload_is_left_by_gradio_and_swept_by_us(demo):
    url, folder = demo
    spec = importlib.util.spec_from_file_location("demo_housekeeping", SPACE / "housekeeping.py")
    housekeeping = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(housekeeping)
    host, port = url.removeprefix("http://").split(":")
    (uploads,) = (folder / "uploads").glob("vital-demo-*")
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 9999999\r\n\r\n" + head + PHOTOS[0].read_bytes()[:200_000]
        )
        deadline = time.monotonic() + 10
        while not list(uploads.glob("tmp*")):
            assert time.monotonic() < deadline, "no part of the upload was kept"
            time.sleep(0.05)
    time.sleep(0.3)
    assert list(uploads.glob("tmp*")), "gradio removes it itself by now: the sweep can go"
    housekeeping.sweep(uploads, age_s=0)
    assert not list(uploads.glob("tmp*"))


@pytest.mark.parametrize("size", [2**20 + 1, 5 * 2**20])
@pytest.mark.parametrize("endpoint", ["describe", "chat", "score"])
def test_a_request_of_any_size_is_refused(demo, endpoint, size):
    url, _ = demo
    status, said = post(f"{url}/gradio_api/call/{endpoint}", json.dumps({"data": ["x" * size]}).encode())
    assert status == 413 and b"too large" in said
    assert post(f"{url}/gradio_api/call/score", b'{"data": [null, "vital-tiny"]}')[0] == 200


def put_in(path):
    """What a program sends in place of an upload."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


ADDRESS = put_in("https://pictures.invalid/endless.jpg")
COMPONENT = {"type": "component", "component": "file", "constructor_args": {}, "props": {}}
NOT_UPLOADED = {
    "score": ([ADDRESS, "vital-tiny"], "addresses"),
    "batch": ([[ADDRESS], "vital-tiny"], "addresses"),
    "compare": ([None, ADDRESS, "vital-tiny"], "addresses"),
    "chat": ([None, "x", [{"role": "user", "content": [{"type": "file", "file": ADDRESS}]}], None], "addresses"),
    "zoo": ([None, [ADDRESS]], "addresses"),
    "chat, a component": (
        [None, "x", [{"role": "user", "content": [{**COMPONENT, "value": {"path": "app.py"}}]}], None],
        "no conversation",
    ),
}


@pytest.mark.parametrize("case", NOT_UPLOADED)
def test_what_was_not_uploaded_is_refused_before_gradio_fetches_or_builds_it(demo, case):
    (data, word), call = NOT_UPLOADED[case], f"{demo[0]}/gradio_api/call/{case.split(',')[0]}"
    status, said = post(call, json.dumps({"data": data}).encode())
    assert status == 200
    with urllib.request.urlopen(f"{call}/{json.loads(said)['event_id']}", timeout=60) as answer:
        events = answer.read().decode()
    assert "event: error" in events and word in events


def test_an_address_is_not_passed_on(demo):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{demo[0]}/gradio_api/file=https://pictures.invalid/x.jpg", timeout=60)
    assert refused.value.code == 403 and b"addresses" in refused.value.read()


def test_an_upload_over_the_limit_is_refused_and_removed(demo):
    url, folder = demo
    before = set((folder / "uploads").rglob("*"))
    data = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    data += os.urandom(1024) * (101 * 1024) + b"\r\n--x--\r\n"
    status, _ = post(f"{url}/gradio_api/upload", data, "multipart/form-data; boundary=x")
    assert status == 413
    assert set((folder / "uploads").rglob("*")) == before
