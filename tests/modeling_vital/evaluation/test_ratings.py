"""A folder with a table of people's opinions as a benchmark, by the loader and by the command."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from modeling_vital.cli.main import main
from modeling_vital.evaluation.benchmarks import BenchmarkError
from modeling_vital.evaluation.benchmarks.ratings import load_ratings


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    lines = ["path,mos"]
    for number in range(4):
        noise = rng.normal(128, 8 * number, (96, 96, 3))
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(tmp_path / "photos" / f"{number}.png")
        lines.append(f"photos/{number}.png,{80 - 10 * number}")
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_items_and_scale(folder):
    loaded = load_ratings(folder)
    assert [item.id for item in loaded.items] == [f"photos/{i}.png" for i in range(4)]
    assert [item.mos for item in loaded.items] == [80, 70, 60, 50]
    assert loaded.benchmark.mos_range == (50, 80) and not loaded.partial


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_what_a_spreadsheet_saves_is_read(folder, delimiter):
    path = folder / "ratings.csv"
    path.write_text(path.read_text().replace(",", delimiter), encoding="utf-8-sig", newline="\r\n")
    assert [item.mos for item in load_ratings(folder).items] == [80, 70, 60, 50]


@pytest.mark.parametrize("name", ["a\u2028b.png", "a\x85b.png", "a\nb.png"])
def test_a_name_may_hold_what_ends_a_line_elsewhere(folder, name):
    (folder / "photos" / "0.png").rename(folder / name)
    path = folder / "ratings.csv"
    path.write_text(path.read_text().replace("photos/0.png", f'"{name}"'), encoding="utf-8")
    assert load_ratings(folder).items[0].id == name


def test_command(folder, capsys):
    peer = "dataset_scripts.annotators.sharpness_noise:SharpnessNoise"
    assert main(["evaluate", "--benchmark", "ratings", "--root", str(folder), "--peer", peer, "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    (model,) = result["models"]
    assert model["n"] == 4 and model["correlations"]["srcc"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,mos\nphotos/0.png,3\nphotos/1.png,3\n", "ratings.csv: .*are 3,"),
        ("file,mos\nphotos/0.png,3\n", "ratings.csv: .* path and mos"),
        ("path,mos\nphotos/0.png,good\nphotos/1.png,3\nphotos/2.png,4\n", "photos/0.png"),
        ("path,mos\nphotos/0.png,good\nphotos/1.png,3\n", "photos/0.png"),
        ("path,mos\nphotos/0.png,1\nphotos/9.png,2\nphotos/2.png,3\n", "photos/9.png"),
        pytest.param("path,mos\n" + "x" * 200_000 + ",3\n", "ratings.csv, line 2: ", id="a cell over the limit"),
        (None, "ratings.csv"),
    ],
)
def test_bad_tables_are_named(folder, capsys, table, message):
    path = folder / "ratings.csv"
    path.unlink() if table is None else path.write_text(table)
    with pytest.raises(BenchmarkError, match=message):
        load_ratings(folder)
    assert main(["evaluate", "--benchmark", "ratings", "--root", str(folder), "--model", "vital-tiny"]) == 2
    assert re.search(message, capsys.readouterr().err)
