"""What decodes clips can be chosen, everywhere at once, and the two that there are agree."""

import json
import os
import sys

import numpy as np
import pytest

from modeling_vital import (
    MediaError,
    VitalForConditionalGeneration,
    load_media,
    set_video_backend,
    video_decoding_vital,
)
from modeling_vital.cli.main import main
from modeling_vital.cutting_vital import MediaCutter
from modeling_vital.reading import read_ahead
from modeling_vital.video_backend_vital import BACKEND_VARIABLE
from tests.modeling_vital.test_media import write_video
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


TOLERANCE = 0.001  # docs/scores.md names it


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    pytest.importorskip("decord")
    pytest.importorskip("av")
    monkeypatch.setenv(BACKEND_VARIABLE, "auto")


@pytest.fixture(scope="module")
def model():
    return VitalForConditionalGeneration.from_pretrained("vital-tiny").eval()


@pytest.fixture(scope="module")
def mpeg4(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "mpeg4.mp4", codec="mpeg4")


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_the_one_asked_for_reads_and_says_so(backend, model):
    set_video_backend(backend)
    clip = load_media(CLIPS[0])
    assert clip.video_backend == backend
    assert model.processor.prepare(clip).video_backend == backend
    assert load_media(np.zeros((3, 8, 8, 3), np.uint8)).video_backend is None


@pytest.mark.slow
def test_the_two_agree_within_the_tolerance_of_the_docs(model, mpeg4):
    assert len(CLIPS) == 2
    scores, frames = {}, {}
    for backend in ("decord", "pyav"):
        set_video_backend(backend)
        results = model.score([*CLIPS, mpeg4])
        assert [result.to_dict()["video_backend"] for result in results] == [backend] * 3
        scores[backend] = [result.score for result in results]
        frames[backend] = [load_media(clip).get_frames([0, 37, 73]) for clip in CLIPS]
    assert np.abs(np.subtract(*scores.values())).max() < TOLERANCE
    assert all(map(np.array_equal, *frames.values()))  # H.264: the very same pixels


def test_workers_follow():
    for backend in ("decord", "pyav"):
        set_video_backend(backend)
        with read_ahead([str(CLIPS[0])], MediaCutter(), workers=1) as reader:
            assert [media.video_backend for _, media in reader] == [backend]


def test_an_unknown_or_missing_one_is_a_clear_error(monkeypatch):
    with pytest.raises(ValueError, match="'ffmpeg'.* auto, decord, pyav"):
        set_video_backend("ffmpeg")
    for name, module, package in (("decord", "decord", "decord2"), ("pyav", "av", "av")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ValueError, match=f"'{name}'.*`pip install {package}`.*'auto'"):
                set_video_backend(name)
            patch.setenv(BACKEND_VARIABLE, name)
            with pytest.raises(MediaError, match=f"{CLIPS[0].name}.*'{name}'"):
                load_media(CLIPS[0])
    assert os.environ[BACKEND_VARIABLE] == "auto"
    monkeypatch.setenv(BACKEND_VARIABLE, "ffmpeg")
    with pytest.raises(MediaError, match=f"{CLIPS[0].name}.*'ffmpeg'"):
        load_media(CLIPS[0])


def test_one_that_is_installed_but_broken_is_a_clear_error(monkeypatch):
    found = video_decoding_vital._decoders()
    monkeypatch.setattr(video_decoding_vital, "_decoders", lambda: {"av": found["av"]})
    set_video_backend("decord")
    with pytest.raises(MediaError, match="'decord'"):
        load_media(CLIPS[0])


def test_one_alone_has_no_spare(tmp_path):
    path = write_video(tmp_path / "a.ts")
    assert load_media(path).video_backend == "pyav"
    set_video_backend("decord")
    with pytest.raises(MediaError, match=r"a\.ts.* mpegts.*'auto'"):
        load_media(path)


@pytest.mark.parametrize(
    "command", ["score", *(pytest.param(name, marks=pytest.mark.slow) for name in ("compare", "describe"))]
)
def test_commands_set_it_and_say_it_of_clips_only(command, capsys):
    paths = [str(CLIPS[0]), str(PHOTOS[0])]
    options = [] if command == "compare" else ["--workers", "1"]
    assert main([command, *paths, "--format", "json", "--video-backend", "pyav", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    clip, photo = (found["a"], found["b"]) if command == "compare" else found
    assert clip["video_backend"] == "pyav" and "video_backend" not in photo
    assert os.environ[BACKEND_VARIABLE] == "auto"


@pytest.mark.parametrize("command", ["score", "compare", "describe"])
def test_commands_refuse_one_that_is_not_there(command, capsys, monkeypatch):
    paths = [str(CLIPS[0])] * 2
    assert main([command, *paths, "--video-backend", "ffmpeg"]) == 2
    assert "invalid choice: 'ffmpeg'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "decord", None)
    assert main([command, *paths, "--video-backend", "decord"]) == 2
    assert "'decord' is not installed; `pip install decord2`" in capsys.readouterr().err
    monkeypatch.setenv(BACKEND_VARIABLE, "decord")  # as the variable says, too
    assert main([command, *paths]) == 2
    assert "'decord' is not installed" in capsys.readouterr().err
