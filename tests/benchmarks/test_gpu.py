"""The script for a machine with a GPU: parts that guard themselves, and every line of it once on the CPU."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import benchmarks.parts
from benchmarks import gpu, gpu_parts
from benchmarks.parts import Part, run_parts
from modeling_vital.zoo import presets


ROOT = Path(__file__).resolve().parents[2]
needs_groups = pytest.mark.skipif(not hasattr(os, "killpg"), reason="there are no process groups")


def test_parts_that_fail_hang_or_die_cost_themselves_alone():
    parts = [
        Part("first", "builtins:max", (1, 2)),
        Part("fails", "builtins:int", ("x",)),
        Part("hangs", "time:sleep", (60,), limit_s=0.3),
        Part("is not there", "benchmarks.no_such_module:run"),
        Part("dies", "os:_exit", (3,)),
        Part("last", "builtins:min", (1, 2)),
    ]
    written = []
    results = run_parts(parts, 60, lambda so_far: written.append(json.loads(json.dumps(so_far))))
    assert [results[name]["result"] for name in ("first", "last")] == [2, 1]
    whys = {name: result["why"] for name, result in results.items() if result["status"] == "failed"}
    assert whys["fails"].startswith("ValueError: invalid literal")
    assert whys["hangs"] == "took more than its 0.3 s"
    assert whys["is not there"].startswith("ModuleNotFoundError")
    assert whys["dies"] == "its process ended with 3"
    # Results are given out after each part, and before the first.
    assert [sum(r["status"] != "not reached" for r in so_far.values()) for so_far in written] == list(range(7))


def test_what_the_time_does_not_suffice_for_is_named(monkeypatch):
    begun, late = time.monotonic(), 0.0

    def pass_time(results):
        nonlocal late
        if results["first"]["status"] == "measured" and not late:  # .5 s are left, however long the start took
            late = begun + 59.5 - time.monotonic()

    monkeypatch.setattr(benchmarks.parts, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + late))
    parts = [Part("first", "builtins:max", (1, 2)), Part("long", "time:sleep", (60,)), Part("last", "time:time")]
    results = run_parts(parts, 60, pass_time)
    assert results["first"]["status"] == "measured"
    assert results["long"]["why"] == "the time was over while it ran"
    assert results["last"] == {"status": "not reached", "why": "the time was over"}


@needs_groups
def test_what_a_part_started_ends_with_it(tmp_path):
    mark = tmp_path / "mark"
    late = f"import time, pathlib; time.sleep(0.8); pathlib.Path({str(mark)!r}).touch()"
    run_parts([Part("starts", "subprocess:call", ([sys.executable, "-c", late],), limit_s=0.4)], 30)
    time.sleep(1)
    assert not mark.exists()


def test_a_report_of_every_kind_of_result(tmp_path):
    parts = {
        "a": {"status": "measured", "seconds": 1.5, "result": {"items_per_s": {"model only": 123.456}, "peak": None}},
        "b": {"status": "failed", "why": "ValueError: a | b", "seconds": 0.1},
        "c": {"status": "not reached", "why": "the time was over"},
    }
    gpu.write(tmp_path, {"toy": False, "seconds": 3.0, "parts": parts})
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"] == parts
    text = (tmp_path / "gpu.md").read_text()
    assert "| a | 1.5 | items per s (model only 123) |" in text
    assert "| b | 0.1 | **failed**: ValueError: a / b |" in text and "| c |  | **not reached**" in text


def test_the_committed_page_shows_the_committed_numbers():
    report = json.loads((ROOT / "benchmarks" / "results" / "gpu.json").read_text())
    page = (ROOT / "docs" / "speed.md").read_text()
    shown = f"{gpu.BEGIN}{gpu.table(report)}{gpu.END}"
    assert shown in page, "run `python -m benchmarks.gpu --page docs/speed.md`"


def test_a_page_shows_what_was_measured_and_names_what_was_not(tmp_path):
    def measured(**result):
        return {"status": "measured", "seconds": 1.0, "result": result}

    parts = {
        "machine": measured(gpu="Made-up 9", usable_cores=3, torch="9.9", product_tflops=123.4),
        "scoring, 8b, clip": measured(items_per_s={"model only": 1234.5, "from files": 0.25}, peak_gib=12.0),
        "image encoder, 8b": measured(tiles_per_s={"8 at once": 50.0}, share_of_products={"8 at once": 0.5}),
        "training, 1b, warm_up, with checkpointing": measured(samples_per_s=2.5, peak_gib=None),
        "peers, 1b, clip": measured(items_per_s={"ours": 3.0}, peak_gib={"ours": 4.0}),
        "peers, 1b, one photo": {"status": "not reached", "why": "the time was over"},
    }
    report = {"toy": False, "seconds": 3.0, "parts": parts}
    gpu.write(tmp_path, report)
    page = tmp_path / "page.md"
    page.write_text(f"a\n{gpu.BEGIN}old\n{gpu.END}\nb\n")
    assert gpu.main(["--page", str(page), "--output", str(tmp_path)]) == 0
    text = page.read_text()
    for line in (
        "Measured on: Made-up 9, 3 cores, torch 9.9",
        "| 8b | clip | 1,234 | not measured | 0.2 | not measured | 12 |",
        "| tiny | 1 tile | not measured | not measured | not measured | not measured | not measured |",
        "| 8b | 8 at once | 50 | 50% |",
        "| 1b | warm_up | with checkpointing | 2.5 | not measured |",
        "| clip | ours | 3.0 | 4.0 |",
        "Not measured, or not all of it: peers.",
    ):
        assert line in text, line
    assert "old" not in text and text.startswith("a\n") and text.endswith("\nb\n")
    with pytest.raises(ValueError, match="toy"):
        gpu.table({**report, "toy": True})


def test_a_busy_cpu_has_more_time_than_a_gpu():
    assert (
        min(part.limit_s for part in gpu.parts(True, "")) >= 300 > max(part.limit_s for part in gpu.parts(False, ""))
    )


def test_without_a_device_it_says_so(monkeypatch, capsys, tmp_path):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--output", str(tmp_path / "no")]) == 2
    assert "--toy" in capsys.readouterr().err and not (tmp_path / "no").exists()
    assert gpu.main(["--wheels"]) == 0
    assert "transformers" in capsys.readouterr().out and sum(gpu.WHEELS.values()) < 50


@pytest.mark.slow
def test_it_needs_no_more_than_it_lists(tmp_path):
    # With the tests marked `gpu`, whose models come from the fixtures; clips are read nowhere then.
    code = f"""
import sys
sys.modules |= dict.fromkeys(["trl", "datasets", "pyarrow", "av", "decord", "gradio", "matplotlib", "torchmetrics"])
import benchmarks.gpu_parts, tests.modeling_vital.test_on_gpu
print(benchmarks.gpu_parts.scoring(True, {str(tmp_path)!r}, "1b", "clip"))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert "'from files': 'not reached: no decoder of clips: decord or PyAV'" in done.stdout, done.stderr
    assert "'from memory': " in done.stdout


ONCE = (
    "machine",
    "scoring, 1b, 7 tiles",
    "scoring, 1b, clip",
    "scoring, tiny, 1 tile",
    "image encoder, 1b",
    "training, 1b, pretrain, without checkpointing",
    "training, 1b, warm_up, with checkpointing",
    "peers, 1b, eight photos",
    "peers, 1b, clip",
)
"""Parts that run all lines of all parts but `run_tests`, which takes longer than the rest."""


@pytest.mark.parametrize("name", ONCE)
def test_a_part_runs_at_toy_size(name, tmp_path):
    """In this process; `make slow` runs every part as the command does."""
    (part,) = (part for part in gpu.parts(True, str(tmp_path)) if part.name == name)
    module, _, function = part.work.partition(":")
    result = getattr(importlib.import_module(module), function)(*part.args)
    assert json.loads(json.dumps(result)) == result and "not reached" not in str(result)


def test_the_parts_that_run_do_all_that_any_part_does():
    parts = [part for part in gpu.parts(True, "") if part.work != "benchmarks.gpu_parts:run_tests"]
    asked = {(part.work, argument) for part in parts for argument in part.args}
    run = {(part.work, argument) for part in parts if part.name in ONCE for argument in part.args}
    # At toy size 8b is the model of 1b, and one photo is one of the eight.
    assert {argument for _, argument in asked - run} == {"8b", "one photo"}
    assert {presets.config(f"vital-{size}").model_type for size in gpu.SIZES if size != "tiny"} == {"vital"}


def test_the_part_of_the_tests_tells_what_failed_and_what_was_skipped(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(gpu_parts, "ROOT", tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # most of the start of a pytest
    file = tmp_path / "tests" / "test_a.py"
    file.parent.mkdir()
    head = "import pytest\npytestmark = pytest.mark.gpu\n"
    file.write_text(f"{head}def test_a(): pass\ndef test_b(): pytest.skip('no such device')\n")
    told = gpu_parts.run_tests(True, 60.0)
    assert told["summary"].startswith("1 passed, 1 skipped") and "no such device" in told["skipped"]
    file.write_text(f"{head}def test_a(): assert 0, 'no such luck'\n")
    with pytest.raises(RuntimeError, match="1 failed.*tests/test_a.py::test_a"):
        gpu_parts.run_tests(True, 60.0)
    assert "no such luck" in capfd.readouterr().err


@pytest.mark.slow
def test_every_line_runs_at_toy_size(tmp_path):
    code = gpu.main(["--toy", "--seconds", "900", "--output", str(tmp_path)])
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert code == 0, report
    assert set(report["parts"]) == {part.name for part in gpu.parts(True, "")}
    assert {name: part for name, part in report["parts"].items() if part["status"] != "measured"} == {}
    assert "the numbers are arbitrary" in (tmp_path / "gpu.md").read_text()
