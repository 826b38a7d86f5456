"""The command: sections are kept, a failure does not cost the others, and a quick run does everything."""

import json

import pytest

from benchmarks import __main__ as command
from benchmarks.sections import cold_start, peak_share


@pytest.fixture
def calls(monkeypatch):
    made = []
    cold = {"wall_s": 1.0, "imports_s": {"modeling_vital": 0.1}}
    monkeypatch.setattr(cold_start, "run", lambda settings: made.append("cold_start") or cold)
    monkeypatch.setattr(peak_share, "run", lambda settings: made.append("peak_share") or 1 / 0)
    return made


def test_a_section_is_measured_once_unless_asked_again(calls, tmp_path, caplog):
    arguments = ["--sections", "cold_start", "--output", str(tmp_path / "my results")]
    assert command.main(arguments) == command.main(arguments) == 0
    assert calls == ["cold_start"]
    assert command.main([*arguments, "--fresh"]) == 0
    assert command.main([*arguments, "--quick"]) == 0  # a quick result is no result
    assert "cold_start: measured with another quick" in caplog.text
    assert len(calls) == 3
    kept = json.loads((tmp_path / "my results" / "cold_start.json").read_text())
    assert kept["quick"] and kept["result"]["wall_s"] == 1.0


def test_a_failed_section_is_named_and_the_others_are_measured(calls, tmp_path, caplog):
    code = command.main(["--sections", "peak_share", "cold_start", "--output", str(tmp_path)])
    assert code == 1 and calls == ["peak_share", "cold_start"]
    assert "failed: peak_share" in caplog.text and "ZeroDivisionError" in caplog.text
    assert len(json.loads((tmp_path / "report.json").read_text())["targets"]) == 2
    assert not (tmp_path / "peak_share.json").exists()


def test_stopped_it_writes_what_there_is(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(peak_share, "run", lambda settings: (_ for _ in ()).throw(KeyboardInterrupt))
    assert command.main(["--sections", "cold_start", "peak_share", "--output", str(tmp_path)]) == 130
    assert (tmp_path / "report.md").exists()


@pytest.mark.slow
def test_a_quick_run_measures_every_section(tmp_path):
    assert command.main(["--quick", "--output", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["quick"] and set(report["machines"]) == set(command.SECTIONS)
    assert len(report["targets"]) == 17
    assert "numbers are arbitrary" in (tmp_path / "report.md").read_text()
