"""The comparison with other metrics counts what it says, and README shows the numbers that are kept."""

import json

import numpy as np
import pytest

from benchmarks.others import BEGIN, DAMAGE, END, RESULTS, ROOT, Metric, main, measure, sharpness, table
from benchmarks.sensitivity import put
from tests.fixtures.tiny_media import photo


PHOTOS = [photo(seed)[:64, :64] for seed in range(8)]
MOS = [0.1 * number for number in range(8)]


def test_a_perfect_metric_and_its_opposite():
    known = {pixels.tobytes(): mos for pixels, mos in zip(PHOTOS, MOS, strict=True)}
    right = Metric("right", "nothing", lambda pixels: known.get(pixels.tobytes(), -1.0))
    wrong = Metric("wrong", "nothing", lambda pixels: -known.get(pixels.tobytes(), -1.0))
    good, bad = measure([right, wrong], PHOTOS, MOS)
    assert good["srcc"] == pytest.approx(1) and bad["srcc"] == pytest.approx(-1)
    for kind, distortions in DAMAGE.items():
        assert good["copies"][kind] == {"share": 1.0, "low": 1.0, "high": 1.0, "n": 4 * len(distortions)}
        assert bad["copies"][kind]["share"] == 0.0
    assert good["ms"] >= 0


def test_sharpness_takes_noise_for_detail():
    smooth = np.full((64, 64, 3), 128, np.uint8)
    noisy = np.random.default_rng(0).integers(0, 256, smooth.shape, dtype=np.uint8)
    assert sharpness(smooth) == 0.0 < sharpness(noisy)


def test_the_table_names_whoever_is_ahead():
    one = {"low": 0.1, "high": 0.5, "ms": 9.6, "copies": {kind: {"share": 0.5, "n": 4} for kind in DAMAGE}}
    results = {"photos": 8, "machine": {"cpu": "Slow"}, "metrics": [{"name": "ours", "srcc": 0.3, **one}]}
    results["metrics"] += [{"name": "A (b)", "srcc": 0.4, **one}, {"name": "C", "srcc": 0.2, **one}]
    text = table(results)
    assert "| ours | 0.30 (0.10 to 0.50) | 50 % | 50 % | 50 % | 10 |" in text
    assert "A followed people better than ours" in text and "C " not in text.split("Across")[1]
    results["metrics"][1]["srcc"] = 0.1
    assert "Across" not in table(results)


def test_readme_shows_what_is_kept():
    results, readme = json.loads(RESULTS.read_text("utf-8")), (ROOT / "README.md").read_text("utf-8")
    assert put(readme, table(results), BEGIN, END) == readme, "run python -m benchmarks.others RATED_FOLDER"


def test_a_readme_without_markers_keeps_everything_as_it_was(tmp_path, monkeypatch):
    from PIL import Image

    rows = ["path,mos"]
    for number, (pixels, mos) in enumerate(zip(PHOTOS, MOS, strict=True)):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{mos}")
    (tmp_path / "ratings.csv").write_text("\n".join(rows))
    (tmp_path / "README.md").write_text("none")
    monkeypatch.setattr("benchmarks.others.metrics", lambda: [Metric("sharpness", "OpenCV", sharpness)] * 2)
    command = [str(tmp_path), "--readme", str(tmp_path / "README.md"), "--results", str(tmp_path / "kept.json")]
    with pytest.raises(ValueError, match="others:begin"):
        main(command)
    assert not (tmp_path / "kept.json").exists()
    (tmp_path / "README.md").write_text(f"a\n{BEGIN}{END}\nz\n")
    assert main(command) == 0
    assert "| sharpness |" in (tmp_path / "README.md").read_text() and (tmp_path / "kept.json").is_file()
