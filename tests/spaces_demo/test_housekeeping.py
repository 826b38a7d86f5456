"""What visitors leave is removed, and that regularly."""

import asyncio
import importlib.util
import time
from pathlib import Path

import pytest


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


@pytest.mark.parametrize(
    ("path", "passed"),
    [
        ("/gradio_api/upload", True),
        ("/behind/a/proxy/gradio_api/upload", True),
        ("/gradio_api/upload/", False),
        ("/gradio_api/call/upload", False),
        ("/gradio_api/run/upload", False),
        ("/gradio_api/api/upload", False),
        ("/upload", False),
    ],
)
def test_only_uploads_are_of_any_size(housekeeping, path, passed):
    sent, given = [], []

    async def app(scope, receive, send):
        given.append(scope["path"])

    async def receive():
        return {"type": "http.request", "body": bytes(housekeeping.MAX_BODY_BYTES + 1)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path}
    asyncio.run(housekeeping.LimitedBodies(app)(scope, receive, send))
    assert bool(given) == passed and [each["status"] for each in sent[:1]] == ([] if passed else [413])


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
