"""A folder of files that want all memory: the run stays small, and scores their neighbours."""

import json
import subprocess
import sys
import time

import pytest
from PIL import Image

from tests.fixtures.odd_media import BASE, orientation


MOST_BYTES = 4 * 10**9


@pytest.mark.slow
def test_all_processes_together_stay_under_4_gb(tmp_path):
    psutil = pytest.importorskip("psutil")
    first, *rest = [Image.new("RGB", (8000, 8000), (level, 0, 0)) for level in range(3)]
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest, lossless=True, quality=0, method=0)
    Image.new("RGBA", (13_000, 13_000), (9, 9, 9, 99)).save(tmp_path / "b.png", compress_level=1)
    Image.new("RGB", (13_000, 13_000), (9, 9, 9)).save(tmp_path / "c.jpg", exif=orientation(6))
    for name in ("neighbour.png", "z.png"):
        BASE.save(tmp_path / name)
    command = ["-m", "modeling_vital.cli.main", "score", str(tmp_path), "--format", "json", "--workers", "2"]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE) as run:
        most, process = 0, psutil.Process(run.pid)
        while run.poll() is None:
            try:
                family = [process, *process.children(recursive=True)]
                most = max(most, sum(each.memory_info().rss for each in family))
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.05)
        records = {record["path"].rpartition("/")[2]: record for record in json.loads(run.stdout.read())}
    assert most < MOST_BYTES
    assert "8000x8000" in records["a.webp"]["error"]
    assert all(records[name]["error"] is None for name in ("b.png", "c.jpg", "neighbour.png", "z.png"))
