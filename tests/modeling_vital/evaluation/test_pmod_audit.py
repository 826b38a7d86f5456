"""The audit of machine opinions: planted bias, useless and telling spread are found; tables are joined as they say."""

import csv
import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modeling_vital.cli.main import main
from modeling_vital.evaluation.benchmarks import BenchmarkError
from modeling_vital.evaluation.human_labels import Opinions, load_opinions, stratified
from modeling_vital.evaluation.pmod_audit import audit_pmod


def made(telling=True, bias=0.0, n=400, human_std=True):
    """Opinions of four annotators: where `telling`, they disagree where their mean errs."""
    rng = np.random.default_rng(0)
    human, noise = rng.uniform(0.3, 0.7, n), 10 ** rng.uniform(-2.5, -0.9, n)
    common = 0 if telling else rng.normal(0, 0.1, n)  # an error that all annotators share is in no spread
    scores = human + common + rng.normal(0, 1, (4, n)) * noise
    names = ("a", "b", "c", "d")
    annotators = {
        name: np.clip(row + (bias if name == "a" else 0), 0, 1) for name, row in zip(names, scores, strict=True)
    }
    return Opinions(
        ids=[f"i{i}" for i in range(n)],
        groups=[f"g{i // 4}" for i in range(n)],
        distortions=["blur" if i % 2 else "jpeg" for i in range(n)],
        severities=[i % 5 + 1 for i in range(n)],
        annotators=annotators,
        human=human,
        human_std=noise if human_std else None,
        unmatched=3,
        by="item",
    )


def test_a_spread_that_tells_and_one_that_does_not():
    telling, useless = (audit_pmod(made(t), resamples=50)["spread"] for t in (True, False))
    assert telling["with_error"]["srcc"] > 0.3
    assert telling["with_human_std"]["srcc"] > 0.6
    assert abs(useless["with_error"]["srcc"]) < 0.15
    first, last = telling["bins"][0], telling["bins"][-1]
    assert first["std"] < last["std"]
    assert first["rms_error"] < last["rms_error"]
    assert first["human_std"] < last["human_std"]
    assert telling["within_1_std"] < telling["within_2_std"] <= 1
    spots = audit_pmod(made(False, human_std=False), resamples=50)["blind_spots"]
    assert any("says little about the error" in spot for spot in spots)
    assert any("was not compared" in spot for spot in spots)


def test_bias_is_that_of_the_annotator_who_has_it():
    opinions = made(bias=0.2)
    report = audit_pmod(opinions, resamples=50)
    assert report["annotators"]["a"]["bias"] == pytest.approx(0.2, abs=0.03)
    assert abs(report["annotators"]["b"]["bias"]) < 0.02
    assert report["mean"]["bias"] == pytest.approx(np.mean(opinions.matrix().mean(1) - opinions.human), abs=1e-12)
    assert report["mean"]["intervals"]["srcc"][0] < report["mean"]["srcc"] < report["mean"]["intervals"]["srcc"][1]
    assert [spot for spot in report["blind_spots"] if "too kind" in spot] == [
        f"a is too kind by {report['annotators']['a']['bias']:.2f}."
    ]
    assert report["distortions"]["blur"]["n"] == 200
    assert report["unmatched"] == 3


def test_items_with_too_few_opinions_are_counted():
    opinions = made(n=20)
    for name in ("a", "b"):
        opinions.annotators[name][:5] = math.nan
    report = audit_pmod(opinions, resamples=10)
    assert (report["n"], report["too_few_opinions"]) == (15, 5)
    for name in ("a", "b"):
        opinions.annotators[name][:] = math.nan
    with pytest.raises(ValueError, match="0 items .* 3 "):
        audit_pmod(opinions)


def test_a_stratified_sample_takes_rare_kinds_whole():
    opinions = made(n=100)
    opinions.distortions[0] = "rare"
    sample = stratified(opinions, 3, seed=1)
    assert sample.distortions.count("rare") == 1
    assert max(np.unique(sample.severities, return_counts=True)[1]) <= 7
    assert sample.ids == stratified(opinions, 3, seed=1).ids != stratified(opinions, 3, seed=2).ids
    assert sample.human[0] == opinions.human[opinions.ids.index(sample.ids[0])]


# ------------------------------------------------------------------------------------------------------- the tables
@pytest.fixture
def data_set(tmp_path):
    """A data set folder whose annotators say what the human tables beside it say."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        kind, severity = [("jpeg", i % 5 + 1), ("blur", i % 5 + 1), (None, None)][i % 3]
        human = 0.9 if kind is None else 0.9 - 0.15 * severity
        scores = {name: float(np.clip(human + rng.normal(0, 0.05), 0, 1)) for name in ("ssim", "piqe", "mdsi")}
        rows.append((f"i{i}", f"c{i // 6}", scores | {"silent": None}, {"type": kind, "severity": severity}, human))
    table = pa.table(
        {
            "id": [row[0] for row in rows],
            "content_id": [row[1] for row in rows],
            "split": ["test"] * len(rows),
            "modality": ["image"] * len(rows),
            "annotators": [row[2] for row in rows],
            "distortion": [row[3] for row in rows],
        }
    )
    folder = tmp_path / "a data set"
    (folder / "data" / "scoring").mkdir(parents=True)
    pq.write_table(table, folder / "data" / "scoring" / "vital_pairs-test.parquet")
    with (tmp_path / "cells.csv").open("w", newline="") as file:
        file.write("# of people\n")
        writer = csv.writer(file)
        writer.writerow(["distortion", "level", "mean", "n"])
        writer.writerows(
            [kind, level, 1 + 4 * (0.9 - 0.15 * level), 30] for kind in ("jpeg",) for level in range(1, 6)
        )
    with (tmp_path / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "mos", "sd"])
        writer.writerows([row[0], 1 + 4 * row[4], 0.4] for row in rows[:30])
    return folder


def test_by_cell_and_by_item(data_set, tmp_path):
    by_cell = load_opinions(data_set, tmp_path / "cells.csv", (1, 5))
    assert (len(by_cell.ids), by_cell.unmatched, by_cell.by) == (20, 40, "cell")
    assert set(by_cell.distortions) == {"jpeg"}
    assert by_cell.human[0] == pytest.approx(0.75)
    assert by_cell.human_std is None
    assert set(by_cell.annotators) == {"ssim", "piqe", "mdsi"}  # the one that said nothing is left out
    by_item = load_opinions(data_set, tmp_path / "items.csv", (1, 5), std_column="sd")
    assert (len(by_item.ids), by_item.unmatched, by_item.by) == (30, 30, "item")
    assert by_item.human_std[0] == pytest.approx(0.1)
    mirrored = load_opinions(data_set, tmp_path / "items.csv", (5, 1), std_column="sd")
    assert mirrored.human == pytest.approx(1 - by_item.human)
    assert mirrored.human_std[0] == pytest.approx(0.1)


def test_tables_that_do_not_fit(data_set, tmp_path):
    with pytest.raises(BenchmarkError, match=r"line 3: .*\('jpeg', 1\) is 4.0, .* 1 to 3"):
        load_opinions(data_set, tmp_path / "cells.csv", (1, 3))
    with pytest.raises(BenchmarkError, match="'var'.* distortion, level, mean, n"):
        load_opinions(data_set, tmp_path / "cells.csv", (1, 5), std_column="var")
    for text, place in [
        ("distortion;level;mean\n# of people\njpeg;one;3\n", "line 3, column 'level': 'one'"),
        ("id,mos\ni0,good\n", "line 2, column 'mos': 'good'"),
        ("id,mos\ni0\n", "line 2, column 'mos': None"),
        ("id,mos\ni0,3,4\n", "line 2: has 3 cells"),
    ]:
        (tmp_path / "other.csv").write_text(text)
        with pytest.raises(BenchmarkError, match=f"other.csv, {place}"):
            load_opinions(data_set, tmp_path / "other.csv", (1, 5))
    (tmp_path / "other.csv").write_text("id,mos\nnobody,3\n")
    with pytest.raises(BenchmarkError, match="other.csv.* nobody.* i0"):
        load_opinions(data_set, tmp_path / "other.csv", (1, 5))
    with pytest.raises(BenchmarkError, match="'dev'"):
        load_opinions(data_set, tmp_path / "cells.csv", (1, 5), split="dev")
    with pytest.raises(BenchmarkError, match=" data/scoring/"):
        load_opinions(tmp_path, tmp_path / "cells.csv", (1, 5))


def test_the_command(data_set, tmp_path, capsys):
    args = ["audit", "pmod", "--root", str(data_set), "--human", str(tmp_path / "items.csv"), "--resamples", "20"]
    out = tmp_path / "a report"
    assert main([*args, "--std-column", "sd", "--output", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "30 items with human opinions of their item; 0 with too few machine opinions and 30 without" in printed
    report = json.loads((out / "pmod.json").read_text())
    assert report["mean"]["srcc"] > 0.9
    assert len(report["human"]["sha256"]) == 64
    assert (out / "pmod_spread.png").stat().st_size > 10_000
    assert main([*args, "--mos-range", "1", "1"]) == 2
    assert main(["audit", "pmod", "--root", str(data_set), "--human", str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
