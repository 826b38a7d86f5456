"""Results of the suite become the data of a card and the table of README, or say why not."""

import json

import pytest

from model_cards.__main__ import main
from model_cards.record import numbers_table, record
from model_cards.render import DATA, CardError


MEASURED = json.loads((DATA / "vital-tiny.json").read_text())
TRAINING = {"core_hours": 3.5, "gpu_hours": 0.25, "pictures": 100, "photos_by_license": {"MIT": 3, "CC0-1.0": 2}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("a\n<!-- numbers:begin -->\nold\n<!-- numbers:end -->\nz\n")
    results = {key: value for key, value in MEASURED.items() if key != "training"}
    (tmp_path / "result.json").write_text(json.dumps({"model": "mine", **results}))
    (tmp_path / "cost.json").write_text(json.dumps({**TRAINING, "more": 1}))
    return tmp_path


def test_card_data_and_readme(folder):
    written = record("vital-tiny", folder / "result.json", folder / "cost.json", data=folder, root=folder)
    assert written == [folder / "vital-tiny.json", folder / "README.md"]
    kept = json.loads(written[0].read_text())
    assert kept == {**MEASURED, "training": TRAINING}
    text = (folder / "README.md").read_text()
    assert text == f"a\n<!-- numbers:begin -->\n{numbers_table(kept)}<!-- numbers:end -->\nz\n"


def test_another_model_leaves_readme_alone(folder):
    assert record("other", folder / "result.json", data=folder, root=folder) == [folder / "other.json"]
    assert "training" not in json.loads((folder / "other.json").read_text())
    assert "old" in (folder / "README.md").read_text()


def test_nothing_is_written_where_something_is_wrong(folder, capsys):
    (folder / "half.json").write_text('{"suite": "tiny", "rows": []}')
    for result, message in ((folder / "half.json", "has no orders, pairs"), (folder / "none.json", "cannot be read")):
        with pytest.raises(CardError, match=message):
            record("vital-tiny", result, data=folder, root=folder)
        assert main(["record", "vital-tiny", str(result)]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(CardError, match="has no core_hours"):
        record("vital-tiny", folder / "result.json", folder / "half.json", data=folder, root=folder)
    (folder / "README.md").write_text("no markers")
    with pytest.raises(CardError, match="numbers:begin"):
        record("vital-tiny", folder / "result.json", data=folder, root=folder)
    assert not (folder / "vital-tiny.json").exists()
