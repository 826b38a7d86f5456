"""Tables from strangers: forms, names of columns, and what is said of what is wrong, by every caller alike."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataset_scripts.sources import SourceError, get_source
from modeling_vital.cli.errors import UsageError
from modeling_vital.cli.paths import read_manifest
from modeling_vital.table_file import TableFile, as_number
from training.own_ratings import ManifestError, ManifestSettings, import_manifest


def table(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text", ["path,mos\na,1\n", "\ufeffMOS;note, long;Path \r\n1;x;a\r\n\r\n", "mos\tpath\n1\ta\n"]
)
def test_delimiters_and_names_of_columns(text, tmp_path):
    read = TableFile(table(tmp_path, text), ["path", ("mean", "mos")])
    (row,) = read
    assert (row.place, row.get("path"), row.get("mos"), row.error) == ("line 2", "a", "1", None)
    assert {"path", "mos"} <= set(read.columns)


def test_an_exact_name_is_that_column(tmp_path):
    (row,) = TableFile(table(tmp_path, "mos,MOS\n1,2\n"), ["MOS"])
    assert row.cells == {"mos": "1", "MOS": "2"}
    with pytest.raises(ValueError, match="'MOS' twice"):
        TableFile(table(tmp_path, "MOS,MOS\n1,2\n"), ["MOS"])
    with pytest.raises(ValueError, match="'mos' twice"):
        TableFile(table(tmp_path, "MOS,Mos\n1,2\n"), ["mos"])


def test_rows_name_their_line(tmp_path):
    text = 'path,note\na,"two\nlines"\n\nb,c,d\ne\nf,g,,\n' + "x" * 200_000 + ",\nh,\n"
    rows = list(TableFile(table(tmp_path, text), ["path"]))
    assert [row.place for row in rows] == [f"line {number}" for number in (3, 5, 6, 7, 8, 9)]
    assert [row.get("path") for row in rows] == ["a", None, "e", "f", None, "h"]
    assert "3 cells" in rows[1].error and rows[2].get("note") is None and "limit" in rows[4].error


def test_only_what_was_asked_for_is_read_from_parquet(tmp_path):
    pq.write_table(pa.table({"Path": ["a"], "image": [b"x" * 1000]}), tmp_path / "t.parquet")
    read = TableFile(tmp_path / "t.parquet", ["path"])
    assert read.columns == ["path", "image"] and [row.cells for row in read] == [{"path": "a"}]
    (row,) = TableFile(tmp_path / "t.parquet", ["path"], others=True)
    assert (row.place, row.cells) == ("row 1", {"path": "a", "image": b"x" * 1000})


def test_numbers():
    cells = ("1.5", 2, " 3 ", "", None, "nan", "inf", "x", 10**400)
    assert [as_number(cell) for cell in cells] == [1.5, 2, 3, *[None] * 6]


CALLERS = {
    "a list": (UsageError, lambda path: list(read_manifest(str(path)))),
    "a source": (SourceError, lambda path: list(get_source("manifest", path=str(path)))),
    "ratings": (ManifestError, lambda path: import_manifest(path, path.parent / "out", ManifestSettings())),
}


@pytest.mark.parametrize("caller", CALLERS)
def test_every_caller_reads_what_spreadsheets_write_and_names_file_and_column(caller, tmp_path):
    error, call = CALLERS[caller]
    with pytest.raises(error, match=r"t\.csv .*(path|mos).*file"):
        call(table(tmp_path, "file;n\na.jpg;1\n"))
    with pytest.raises(error, match=r"t\.csv .*UTF-8"):
        (tmp_path / "t.csv").write_bytes("path,mos\nä.jpg,1\n".encode("latin-1"))
        call(tmp_path / "t.csv")
    path = table(tmp_path, "\ufeffMOS;Path\r\n1;gone.jpg;more\r\n")
    if caller == "a list":
        (target,) = call(path)
        assert target.path == f"{path}, line 2" and "3 cells" in target.error
    else:
        with pytest.raises(error, match=r"line 2.*3 cells"):
            call(path)
