"""The corpus: each bad or odd input gives the right picture or clip, or a `MediaError` that names it."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from modeling_vital.media_vital import Clip, MediaError, load_media
from modeling_vital.reading import read_ahead
from modeling_vital.tiff_vital import RAW_SUFFIXES
from tests.fixtures.loads import read_whole
from tests.fixtures.odd_media import CASES, FRAMES, Case


def check(case: Case, media) -> None:
    if case.error:
        assert isinstance(media, MediaError) and re.search(case.error, str(media)), media
        assert repr(case.name)[1:-1][:200] in str(media) and re.search(r"[;,] \w+", str(media))
        return
    if case.picture:
        assert isinstance(media, Image.Image) and media.mode == "RGB" and media.size == case.picture.size
        difference = np.abs(np.asarray(media).astype(int) - np.asarray(case.picture))
        assert difference.mean() <= case.tolerance
        return
    least, most = case.frames
    if least == 0 and isinstance(media, MediaError):  # damage that one decoder notices and another hides
        assert case.name in str(media)
        return
    assert isinstance(media, Clip) and least <= media.num_frames <= most and 1 <= media.fps <= 60
    if least == most:
        frames = media.get_frames(range(media.num_frames)).astype(int)
        if case.turned:
            frames = np.rot90(frames, 1, (1, 2))
        wanted = np.stack(FRAMES[:most])[:, : frames.shape[1], : frames.shape[2]]
        assert np.abs(frames - wanted).mean() < 6


def can_be_made(case: Case) -> bool:
    return not (case.name == "unreadable.png" and os.access("/etc/shadow", os.R_OK))  # root reads everything


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for case in CASES:
        if can_be_made(case):
            case.make(folder / case.name)
    return folder


def test_the_corpus_is_large():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case.name)[1:40])
def test_each_case(case, corpus):
    if not can_be_made(case):
        pytest.skip("root reads everything")
    try:
        media = load_media(corpus / case.name)
    except MediaError as error:
        media = error
    check(case, media)


def test_all_through_workers(corpus):
    """What is read in a child process is the same, and nothing of the corpus ends a worker."""
    cases = [case for case in CASES if can_be_made(case)]
    with read_ahead([corpus / case.name for case in cases], read_whole, workers=1, ahead=8) as reader:
        for case, (path, media) in zip(cases, reader, strict=True):
            assert path.name == case.name
            check(case, load_media(media[0], fps=media[1]) if isinstance(media, tuple) else media)


@pytest.mark.slow
def test_all_in_one_run_of_the_command(corpus):
    done = subprocess.run(
        [sys.executable, "-m", "modeling_vital.cli.main", "score", str(corpus), "--format", "json"],
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr.decode()
    rows = {os.path.basename(row["path"]): row for row in json.loads(done.stdout)}
    for case in CASES:
        if not can_be_made(case) or case.name in ("folder.png", "holed.mp4"):
            continue
        if os.path.splitext(case.name)[1].lower() in RAW_SUFFIXES:  # not taken for media in a folder, but counted
            assert case.name not in rows
            continue
        row = rows[case.name]
        assert (row["error"] is not None) == (case.error is not None), row
    same = [f"exif-{tag}.png" for tag in range(1, 9)] + ["plain.webp", "plain.bmp", "plain.tiff", "two\nlines.png"]
    plain = rows["plain.png"]["score"]
    assert all(abs(rows[name]["score"] - plain) < 1e-6 for name in same)  # Batches differ in the last bits.
    near = ["cmyk.tiff", "16-bit.png", "alpha-opaque.png", "icc-wide.png"]
    assert all(abs(rows[name]["score"] - plain) < 0.02 for name in near)
    assert abs(rows["16-bit-gray.png"]["score"] - rows["gray.png"]["score"]) < 1e-6
