"""Results of the suite become the data of a card and the page of models, or say why not."""

import json
import re

import pytest

from model_cards.__main__ import main
from model_cards.models_page import numbers_table
from model_cards.record import record
from model_cards.render import DATA, CardError
from tests.model_cards.test_models_page import EMPTY


MEASURED = json.loads((DATA / "vital-tiny.json").read_text())
TRAINING = {"core_hours": 3.5, "gpu_hours": 0.25, "pictures": 100, "photos_by_license": {"MIT": 3, "CC0-1.0": 2}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models.md").write_text(EMPTY)
    results = {key: value for key, value in MEASURED.items() if key != "training"}
    (tmp_path / "result.json").write_text(json.dumps({"model": "mine", **results}))
    (tmp_path / "cost.json").write_text(json.dumps({**TRAINING, "more": 1}))
    return tmp_path


def test_card_data_and_page(folder):
    page = folder / "models.md"
    written = record("vital-tiny", folder / "result.json", folder / "cost.json", data=folder, page=page)
    assert written == [folder / "vital-tiny.json", page]
    kept = json.loads(written[0].read_text())
    assert kept == {**MEASURED, "training": TRAINING}
    assert f"<!-- numbers:begin -->\n{numbers_table(kept)}<!-- numbers:end -->" in page.read_text()


def test_another_model_leaves_the_numbers_of_the_default_one_alone(folder):
    page = folder / "models.md"
    assert record("other", folder / "result.json", data=folder, page=page)[0] == folder / "other.json"
    assert "training" not in json.loads((folder / "other.json").read_text())
    assert "<!-- numbers:begin -->\nold\n" in page.read_text() and "| name |" in page.read_text()


def test_nothing_is_written_where_something_is_wrong(folder, capsys):
    page = folder / "models.md"
    (folder / "half.json").write_text('{"suite": "tiny", "rows": []}')
    for name, message in (("half.json", "half.json .*orders, pairs"), ("none.json", "none.json .*JSON")):
        result = folder / name
        with pytest.raises(CardError, match=message):
            record("vital-tiny", result, data=folder, page=page)
        assert main(["record", "vital-tiny", str(result)]) == 2
        assert re.search(message, capsys.readouterr().err)
    with pytest.raises(CardError, match="half.json .*core_hours"):
        record("vital-tiny", folder / "result.json", folder / "half.json", data=folder, page=page)
    page.write_text("no markers")
    with pytest.raises(CardError, match="zoo:begin"):
        record("vital-tiny", folder / "result.json", data=folder, page=page)
    assert not (folder / "vital-tiny.json").exists()
