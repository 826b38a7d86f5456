"""`vital zoo`: the table and the JSON say the same."""

import json

from modeling_vital import zoo
from modeling_vital.cli.main import main


def test_table_and_json(capsys):
    assert main(["zoo", "--format", "json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in entries] == list(zoo.NAMES)
    assert set(entries[0]) == {"name", "parameters", "memory_bytes", "weights"}
    assert main(["zoo"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == "name vision motion projectors decoder total bf16 int8 4bit weights".split()
    for entry, row in zip(entries, rows, strict=True):
        assert row.startswith(entry["name"]) and row.endswith(entry["weights"])
        total = entry["parameters"]["total"]
        assert (f"{total / 1e9:.2f} B" if total > 1e9 else f"{total / 1e6:.2f} M") in row
    (row,) = [row for row in rows if row.startswith("vital-8b ")]
    assert "304.01 M" in row and "7.96 B" in row and "14.8 GiB" in row
    assert len({len(row) - len(entry["weights"]) for entry, row in zip(entries, rows, strict=True)}) == 1  # aligned


def test_unknown_format_is_wrong_use(capsys):
    assert main(["zoo", "--format", "yaml"]) == 2
    assert "yaml" in capsys.readouterr().err
