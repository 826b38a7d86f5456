"""The report follows from the sections' files and nothing else; docs/speed.md gets its numbers from it."""

import json
from pathlib import Path

import pytest

from benchmarks.sections.cold_start import import_seconds
from benchmarks.speed_report import BEGIN, END, flatten, load, write, write_page
from benchmarks.targets import targets


ROOT = Path(__file__).resolve().parents[2]
MACHINE = {"cpu": "Made-up 3000", "cores": 2, "threads": 2, "torch": "2.13", "bf16": True}


@pytest.fixture
def folder(tmp_path):
    results = {
        "cold_start": {"wall_s": 7.25, "imports_s": {"modeling_vital": 0.125, "total": 3.0}},
        "peak_share": {
            "dtype": "torch.bfloat16",
            "forward_share": 0.625,
            "parts": {"image encoder": {"wall_s": 1.5, "share": 0.6, "operators": {"addmm": 0.55, "sdpa": 0.45}}},
        },
        "growth": {"items_memory_mib": {"values": {"16": 100.0, "64": 100.5}, "slope": 0.01}},
    }
    for name, result in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({"machine": MACHINE, "quick": False, "result": result}))
    return tmp_path


def test_targets_say_what_is_met(folder):
    report = write(folder)
    assert json.loads((folder / "report.json").read_text()) == report
    judged = {name: (t["ratio"], t["target"], t["met"]) for name, t in report["targets"].items()}
    assert judged == {
        "cold start of `vital score photo`, seconds": (7.25, 6.0, False),
        "of these in our own modules' imports, seconds": (0.125, 0.5, True),
        "forward: share of the matrix-product peak": (0.625, 0.7, False),
        "memory a further item, MiB": (0.01, 0.05, True),
    }
    assert targets({}) == {}


def test_files_beside_the_sections_are_no_sections(folder):
    sections = load(folder)
    for name in ("others", "gpu"):
        (folder / f"{name}.json").write_text(json.dumps({"machine": MACHINE}))
    assert load(folder) == sections and write(folder)["quick"] is False
    assert load(ROOT / "benchmarks" / "results").keys() >= {"scoring", "cold_start"}


def test_markdown_and_plots_are_made_of_the_numbers(folder):
    write(folder)
    text = (folder / "report.md").read_text()
    assert "| forward: share of the matrix-product peak | 0.625 | at least 0.7 | no |" in text
    assert "| image encoder | 100% | 60% | addmm 55%, sdpa 45% |" in text
    assert "Made-up 3000, 2 cores" in text
    assert all((folder / name).stat().st_size > 1000 for name in ("targets.png", "growth.png"))
    assert "report" not in load(folder)  # written again, it does not read itself


def test_what_there_is_to_compute_explains_a_ratio(folder):
    one = {
        "over_ours": {"released procedure": 1.75, "plain transformers": 1.25},
        "over_same_scores": 1.5,
        "gflop": {"released procedure": 300.0, "ours": 200.0, "ours, released conventions": 240.0},
    }
    scoring = {**dict.fromkeys(("one photo", "eight photos", "clip"), one), "memory_mib": {}}
    (folder / "scoring.json").write_text(json.dumps({"machine": MACHINE, "quick": False, "result": scoring}))
    write(folder)
    assert "| eight photos | 300 | 200 | 1.50 | 1.25 |" in (folder / "report.md").read_text()


def test_a_page_is_filled_between_its_markers(folder, tmp_path):
    report, page = write(folder), tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}stale numbers\n{END}\nafter\n")
    write_page(report, page)
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}Measured on: Made-up 3000") and text.endswith(f"{END}\nafter\n")
    assert "stale" not in text
    with pytest.raises(ValueError, match="--quick"):
        write_page({**report, "quick": True}, page)
    page.write_text("no markers")
    with pytest.raises(ValueError, match="page.md.*speed:begin"):
        write_page(report, page)


def test_the_page_on_speed_shows_the_results_that_are_kept(tmp_path):
    results, page = ROOT / "benchmarks" / "results" / "report.json", (ROOT / "docs" / "speed.md").read_text("utf-8")
    if not results.exists():
        assert f"{BEGIN}Not measured yet" in page
        return
    written = tmp_path / "page.md"
    written.write_text(page, "utf-8")
    write_page(json.loads(results.read_text("utf-8")), written)
    assert written.read_text("utf-8") == page


def test_nested_results_become_rows():
    nested = {"a": {"b": 1, "runs": [1, 2], "operators": {"c": 2}}, "d": "text"}
    assert flatten(nested) == [("a / b", 1), ("d", "text")]


def test_import_times_are_summed_by_package():
    lines = ["import time: self [us] | cumulative | imported package"]
    lines += [
        "import time:    500000 |    2000000 |   torch.nn",
        "import time:       250 |       1000 | modeling_vital.cli",
    ]
    lines += [
        "import time:       750 |        750 |     modeling_vital",
        "import time:   1000000 |    1000000 | sympy",
    ]
    seconds = import_seconds("\n".join(lines))
    assert seconds["torch"] == 0.5 and seconds["other"] == 1.0
    assert seconds["modeling_vital"] == pytest.approx(0.001)
    assert seconds["total"] == pytest.approx(1.501)
