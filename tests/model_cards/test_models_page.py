"""The page of models shows what configurations, cards' data and benchmarks say, and nothing typed by hand."""

import json

import pytest

from model_cards.__main__ import main
from model_cards.models_page import PAGE, numbers_table, write_models_page, zoo_tables
from model_cards.render import DATA, CardError
from modeling_vital import zoo
from modeling_vital.zoo import presets


EMPTY = "a\n<!-- zoo:begin -->\nold\n<!-- zoo:end -->\nb\n<!-- numbers:begin -->\nold\n<!-- numbers:end -->\nc\n"
MEASURED = json.loads((DATA / "vital-tiny.json").read_text())


@pytest.fixture(scope="module")
def tables():
    return zoo_tables()


def rows(text):
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:3] == "| `"]
    return {row[0].strip("`"): row[1:] for row in cells if len(row) == 7}


def test_the_committed_page_is_current(tables):
    text = PAGE.read_text(encoding="utf-8")
    assert f"<!-- zoo:begin -->\n{tables}<!-- zoo:end -->" in text, "run `python -m model_cards page`"
    assert f"<!-- numbers:begin -->\n{numbers_table(MEASURED)}<!-- numbers:end -->" in text


def test_every_model_has_its_sizes_licence_and_origin(tables):
    found = rows(tables)
    assert list(found) == list(zoo.NAMES)
    for name, (parameters, memory, *_, license, origin) in found.items():
        entry = presets.entry(name)
        assert parameters == presets.format_parameters(entry.parameters["total"])
        assert memory == presets.format_memory(entry.memory_bytes["bf16"]) and origin == entry.weights
        assert license == ("Apache-2.0" if name in zoo.EMBEDDED else "ask-the-authors-of-vital")


def test_speed_and_accuracy_are_shown_where_they_were_measured(tmp_path):
    scores = {"items_per_s": {"from files, start included": 12.34}}
    gpu = {"machine": {"result": {"gpu": "Made-up 9"}}, "scoring, 8b, 7 tiles": {"result": scores}}
    (tmp_path / "gpu.json").write_text(json.dumps({"parts": gpu}))
    others = {"model": "vital-tiny", "machine": {"cpu": "Slow"}, "metrics": [{"ms": 250.0}]}
    (tmp_path / "others.json").write_text(json.dumps(others))
    text = zoo_tables(tmp_path, tmp_path)
    assert rows(text)["vital-tiny"][2:4] == ["0.25 s", "-"]
    assert rows(text)["vital-8b"][2:4] == ["-", "12.3"]
    assert "Made-up 9" in text and "one thread of Slow" in text and "make speed-gpu" not in text
    assert "0.69" not in text  # no data of cards there, so no accuracy
    assert "make speed-gpu" in zoo_tables(tmp_path, tmp_path / "none")


def test_a_page_without_markers_is_refused_before_anything_is_written(tmp_path):
    page = tmp_path / "models.md"
    for text in ("no markers", EMPTY.replace("<!-- numbers:end -->", "")):
        page.write_text(text)
        with pytest.raises(CardError, match="models.md lacks"):
            write_models_page(page)
        assert page.read_text() == text


def test_the_command_makes_the_page(tmp_path, monkeypatch, capsys):
    page = tmp_path / "models.md"
    page.write_text(EMPTY)
    write_models_page(page)
    text = page.read_text()
    assert text.startswith("a\n<!-- zoo:begin -->\n| name |") and text.endswith("<!-- numbers:end -->\nc\n")
    assert "old" not in text.replace("threshold", "")
    monkeypatch.setattr("model_cards.__main__.write_models_page", lambda: page.write_text("made"))
    assert main(["page"]) == 0 and page.read_text() == "made"
    assert capsys.readouterr().out.strip().endswith("models.md")
