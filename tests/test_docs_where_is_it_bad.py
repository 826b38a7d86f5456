"""The Python blocks of docs/where-is-it-bad.md run, in order, on the files they name."""

import re
import shutil
from pathlib import Path

from PIL import Image

from modeling_vital.report_page import rendering
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


TEXT = Path("docs/where-is-it-bad.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    assert len(BLOCKS) == 3
    with Image.open(PHOTOS[0]) as photo:
        photo.reduce(2).save(tmp_path / "photo.jpg")
    shutil.copy(CLIPS[0], tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS:
        exec(compile(block, "docs/where-is-it-bad.md", "exec"), names)
    assert names["values"].shape == (names["local"].height, names["local"].width)
    assert (tmp_path / "photo.map.png").is_file() and (tmp_path / "clip.svg").read_text().startswith("<svg")
    assert len(capsys.readouterr().out.splitlines()) == 3 + len(names["curve"].points)


def test_the_limits_are_the_pages():
    limits = f"{rendering.MAX_ROWS:,} rows,\n{rendering.MAX_THUMBNAILS:,} thumbnails and {rendering.MAX_CURVES} curves"
    assert limits in TEXT
