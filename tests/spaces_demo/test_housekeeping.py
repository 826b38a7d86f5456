"""What visitors leave is removed, and nobody's request is of any size, however it comes."""

import importlib.util
import json
import os
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.fixtures.demo_server import run_demo
from tests.test_embedded_checkpoint import PHOTOS


@pytest.fixture(scope="module")
def housekeeping():
    spec = importlib.util.spec_from_file_location("demo_housekeeping", Path("spaces_demo/housekeeping.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill(folder):
    for name in ("tmpab12", "a1b2/photo.jpg", "a1b2/c3/other.jpg", "kept/example.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "link").symlink_to(folder.parent / "outside.txt")
    (folder.parent / "outside.txt").write_text("x")


def left(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_old_files_go_whoever_left_them(housekeeping, tmp_path):
    folder = tmp_path / "uploads"
    fill(folder)
    before = left(folder)
    assert housekeeping.sweep(folder, age_s=60) == 0 and left(folder) == before
    kept = {str(folder / "kept" / "example.jpg")}
    time.sleep(0.05)
    assert housekeeping.sweep(folder, kept, age_s=0.01) == 4
    for _ in range(2):  # a folder changes when it is emptied, and goes the next time
        time.sleep(0.05)
        housekeeping.sweep(folder, kept, age_s=0.01)
    assert left(folder) == {"kept", "kept/example.jpg"}
    assert (tmp_path / "outside.txt").exists()


def test_it_is_done_regularly(housekeeping, tmp_path, monkeypatch):
    folder = tmp_path / "uploads"
    fill(folder)
    monkeypatch.setattr(housekeeping, "sweep", lambda where, kept: swept.append((where, kept)))
    swept = []
    housekeeping.sweep_regularly(folder, lambda: {"a"}, every_s=0.02)
    deadline = time.monotonic() + 5
    while len(swept) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert swept[0] == (folder, {"a"})


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    pytest.importorskip("gradio", reason="needs the extra `demo`")
    folder = tmp_path_factory.mktemp("demo")
    with run_demo(folder) as url:
        yield url, folder
    assert not [path for path in (folder / "uploads").rglob("*") if path.is_file()], "left behind at the end"


def post(url, data, content_type="application/json"):
    request = urllib.request.Request(url, data, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_broken_upload_is_left_by_gradio_and_swept_by_us(demo, housekeeping):
    url, folder = demo
    host, port = url.removeprefix("http://").split(":")
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 9999999\r\n\r\n" + head + PHOTOS[0].read_bytes()[:200_000]
        )
        deadline = time.monotonic() + 10
        while not list((folder / "uploads").glob("tmp*")):
            assert time.monotonic() < deadline, "no part of the upload was kept"
            time.sleep(0.05)
    time.sleep(0.3)
    assert list((folder / "uploads").glob("tmp*")), "gradio removes it itself by now: the sweep can go"
    housekeeping.sweep(folder / "uploads", age_s=0)
    assert not list((folder / "uploads").glob("tmp*"))


@pytest.mark.parametrize("size", [2**20 + 1, 5 * 2**20])
@pytest.mark.parametrize("endpoint", ["describe", "chat", "score"])
def test_a_request_of_any_size_is_refused(demo, endpoint, size):
    url, _ = demo
    status, said = post(f"{url}/gradio_api/call/{endpoint}", json.dumps({"data": ["x" * size]}).encode())
    assert status == 413 and b"too large" in said
    assert post(f"{url}/gradio_api/call/score", b'{"data": [null, "vital-tiny"]}')[0] == 200


def test_an_upload_over_the_limit_is_refused_and_removed(demo):
    url, folder = demo
    before = set((folder / "uploads").rglob("*"))
    data = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    data += os.urandom(1024) * (101 * 1024) + b"\r\n--x--\r\n"
    status, _ = post(f"{url}/gradio_api/upload", data, "multipart/form-data; boundary=x")
    assert status == 413
    assert set((folder / "uploads").rglob("*")) == before
