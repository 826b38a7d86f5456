"""Where items come from: patterns, tables of paths, lists on stdin."""

import io
import json
import os
import re
import sys
from types import SimpleNamespace

import pytest

from modeling_vital.cli.errors import UsageError
from modeling_vital.cli.main import main
from modeling_vital.cli.paths import collect, read_list, read_manifest
from modeling_vital.messages import MAX_MESSAGE_CHARS


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """The current folder, with pictures at three depths."""
    for name in ("a.jpg", "b.png", "sub/c.jpg", "sub/deep/d.jpg", "sub/deep/[e].jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*paths, **options):
    return [
        target.path if target.error is None else (target.path, target.error) for target in collect(paths, **options)
    ]


# ------------------------------------------------------------------------------------------------------- patterns
def test_patterns_are_what_a_shell_would_make_of_them(tree):
    assert found("*.jpg") == ["a.jpg"]
    assert found("**/*.jpg") == ["a.jpg", "sub/c.jpg", "sub/deep/[e].jpg", "sub/deep/d.jpg"]
    assert found("?.[jp]*") == ["a.jpg", "b.png"]
    assert found("s*") == ["sub/c.jpg", "sub/deep/[e].jpg", "sub/deep/d.jpg"]
    assert found("*.gif") == [("*.gif", "nothing matches this pattern")]


def test_file_that_looks_like_a_pattern_is_a_file(tree):
    assert found("sub/deep/[e].jpg") == ["sub/deep/[e].jpg"]


# --------------------------------------------------------------------------------------------------------- tables
def write(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "id,path\n1,a.jpg\n2,sub/c.jpg\n"),
        ("list.csv", "id;path;note\r\n1;a.jpg;x,y\r\n2;sub/c.jpg;\r\n"),
        ("list.CSV", "\ufeffpath\na.jpg\n\nsub/c.jpg\n"),
        ("list.tsv", "path\tid\na.jpg\t1\nsub/c.jpg\t2\n"),
        ("list.json", '[{"path": "a.jpg"}, {"path": "sub/c.jpg"}]'),
        ("list.json", '["a.jpg", "sub/c.jpg"]'),
        ("list.jsonl", '{"path": "a.jpg"}\n\n{"path": "sub/c.jpg"}\n'),
        ("list.ndjson", '"a.jpg"\n"sub/c.jpg"\n'),
    ],
)
def test_table_in_any_form(name, text, tree):
    write(tree / name, text)
    assert found(name) == ["a.jpg", "sub/c.jpg"]
    os.chdir(tree / "sub")
    assert found(os.path.join("..", name)) == [os.path.join("..", "a.jpg"), os.path.join("..", "sub", "c.jpg")]


def test_parquet_table(tree):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"file": ["a.jpg", None, "sub/c.jpg"], "n": [1, 2, 3]}), tree / "list.parquet")
    assert found("list.parquet", column="file") == [
        "a.jpg",
        ("list.parquet, row 2", "no path in the column 'file'"),
        "sub/c.jpg",
    ]
    with pytest.raises(UsageError, match="'path'.* file, n"):
        found("list.parquet")


def test_rows_without_a_path_are_errors_of_their_own(tree):
    write(tree / "list.jsonl", '{"path": "a.jpg"}\n{"other": 1}\n{"path": 3}\n{"path": " "}\n')
    paths = found("list.jsonl")
    assert paths[0] == "a.jpg"
    assert [path for path, _ in paths[1:]] == [f"list.jsonl, line {number}" for number in (2, 3, 4)]


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/secret.jpg", "sub/../../secret.jpg", "../{name}-else/x.jpg"])
def test_list_cannot_name_files_outside_its_folder_unless_allowed(path, tree):
    path = path.replace("{name}", tree.name)
    write(tree / "list.json", json.dumps([path, "sub/../a.jpg"]))
    (outside, error), inside = found("list.json")
    assert inside == "a.jpg"
    assert "--allow-outside" in error
    assert found("list.json", allow_outside=True) == [outside, "a.jpg"]


@pytest.fixture
def trap(tree):
    """Beside the list, a link into a folder two levels down: `sub2/..` is `sub`, not the list's folder."""
    (tree / "sub2").symlink_to(tree / "sub" / "deep")
    (tree / "evil.jpg").symlink_to(tree.parent / "secret.jpg")  # what the text of `sub2/../evil.jpg` seems to name
    (tree / "sub" / "evil.jpg").write_bytes(b"inside")
    return tree


@pytest.mark.parametrize("entry", ["sub2/../evil.jpg", "./sub2/../evil.jpg", "sub/../sub2/../evil.jpg"])
@pytest.mark.parametrize("allow_outside", [False, True])
def test_the_path_that_was_checked_is_the_path_that_is_used(entry, allow_outside, trap):
    write(trap / "list.json", json.dumps([entry]))
    (path,) = found("list.json", allow_outside=allow_outside)
    assert os.path.realpath(path) == os.path.realpath(trap / "sub" / "evil.jpg")


@pytest.mark.parametrize("entry", ["sub2/../../evil.jpg", "sub2/../../../secret.jpg", "evil.jpg"])
def test_a_link_then_dots_that_lead_out_are_refused(entry, trap):
    write(trap / "list.json", json.dumps([entry]))
    ((_, error),) = found("list.json")
    assert "leads out of" in error


DEEP = "[" * 100_000 + "]" * 100_000
BAD_ROWS = {
    "NUL in JSON lines": ("list.jsonl", '"a.jpg"\n"a\\u0000b.jpg"\n"b.png"\n'),
    "NUL in CSV": ("list.csv", "path\na.jpg\na\0b.jpg\nb.png\n"),
    "half of a surrogate pair": ("list.json", r'["a.jpg", "\ud800.jpg", "b.png"]'),
    "half of a surrogate pair, in lines": ("list.jsonl", '"a.jpg"\n{"path": "x\\udfff"}\n"b.png"\n'),
    "nested JSON": ("list.json", f'["a.jpg", {DEEP}, "b.png"]'),
    "nested JSON, brackets in texts": ("list.json", f'[{{"path": "a.jpg", "n": "[,\\"]"}}, {DEEP}, "b.png"]'),
    "nested JSON lines": ("list.jsonl", f'"a.jpg"\n{DEEP}\n"b.png"\n'),
    "nested JSON first": ("list.jsonl", f'{DEEP}\n"a.jpg"\n"b.png"\n'),
    "no JSON": ("list.jsonl", '"a.jpg"\n{"path": \n"b.png"\n'),
    "huge cell": ("list.csv", f"path\na.jpg\n{'x' * 200_000}.jpg\nb.png\n"),
    "huge other cell": ("list.csv", f"path,n\na.jpg,1\nc.jpg,{'x' * 200_000}\nb.png,2\n"),
    "long path": ("list.json", json.dumps(["a.jpg", "a/" * 2_500_000, "b.png"])),
    "long path with dots": ("list.jsonl", f'"a.jpg"\n"{"../" * 100_000}x"\n"b.png"\n'),
}


@pytest.mark.parametrize("allow_outside", [False, True])
@pytest.mark.parametrize("name", BAD_ROWS)
def test_one_bad_row_is_one_error(name, allow_outside, tree):
    file, text = BAD_ROWS[name]
    write(tree / file, text)
    good = [target.path for target in collect([file], allow_outside=allow_outside) if target.error is None]
    (bad,) = [target for target in collect([file], allow_outside=allow_outside) if target.error is not None]
    assert good == ["a.jpg", "b.png"]
    assert re.match(rf"{file}, (row|line) \d+$", bad.path) and len(bad.error) <= MAX_MESSAGE_CHARS
    os.fsencode(bad.path)  # else it cannot be logged


EMPTY = {
    "a.csv": ("path\n", "no path in this list"),
    "a.json": ("[]", "no path in this list"),
    "a.jsonl": ("\n", "no path in this list"),
    "-": ("", "no path came on standard input"),
}


@pytest.mark.parametrize("given", EMPTY)
@pytest.mark.parametrize("command", [["score"], ["report", "--output", "r.html"]])
def test_a_list_of_nothing_is_said(given, command, tree, monkeypatch, capsys):
    """Nothing to do is no success: what was to make the list has most likely failed."""
    text, error = EMPTY[given]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    if given != "-":
        write(tree / given, text)
    assert found(given) == [(given, error)]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert main([*command, given]) == 1
    assert f"vital: {given}: {error}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["list.txt", "list.LST", "my files.list"])
def test_a_text_file_points_to_standard_input(name, tree):
    write(tree / name, "a.jpg\nb\xe4.png\r\n\tc".encode("latin-1"))
    ((path, error),) = found(name)
    assert path == name and error.endswith(f"give it on standard input: - < {name}")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\0\0\0", b"\xff\xd8\xff\xe0\0\x10JFIF"])
def test_a_picture_may_be_called_txt(content, tree):
    write(tree / "photo.txt", content)
    assert found("photo.txt", "missing.txt") == ["photo.txt", "missing.txt"]


def test_a_path_of_50_mb_on_stdin_is_one_error(tree, monkeypatch):
    data = b"a.jpg\n" + b"x" * 50_000_000 + b"\nb.png\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
    first, (path, error), last = found("-")
    assert (first, last) == ("a.jpg", "b.png") and len(path) < 100 and "50,000,000 characters" in error


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/a.jpg?size=large",
        "https://[::1]/a.jpg",
        "http://127.0.0.1/*.jpg",
        "http://127.0.0.1/a?b=c.csv",
    ],
)
def test_an_address_is_neither_a_pattern_nor_a_list(address, tree):
    assert found(address) == [address]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.csv", "name\na.jpg\n", r"list\.csv.*'path'.*columns"),
        ("list.csv", "", r"list\.csv.*'path'.*columns"),
        ("list.csv", "path\nfoto_\xe4.jpg\n".encode("latin-1"), "UTF-8"),
        ("list.json", "[", "list.json"),
        ("list.json", "{}", "list.json.*array"),
        ("list.jsonl", "a.jpg\n", "list.jsonl"),
        ("list.parquet", "PAR1", "list.parquet"),
        ("missing.csv", None, "missing.csv"),
    ],
)
def test_table_that_cannot_be_read_is_wrong_use(name, text, message, tree):
    if text is not None:
        write(tree / name, text)
    with pytest.raises(UsageError, match=message):
        list(read_manifest(name))


# ---------------------------------------------------------------------------------------------------------- stdin
class OneByteAtATime(io.BytesIO):
    def read(self, size=-1):
        return super().read(1)


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"a.jpg\nb c.jpg\n", ["a.jpg", "b c.jpg"]),
        (b"a.jpg\r\n\r\nb.jpg", ["a.jpg", "b.jpg"]),
        (b"\xef\xbb\xbfa.jpg\nb.jpg", ["a.jpg", "b.jpg"]),
        (b"a\nb.jpg\0c.jpg\0", ["a\nb.jpg", "c.jpg"]),
        (b"", []),
        (b"\xff.jpg\n", [os.fsdecode(b"\xff.jpg")]),
    ],
)
def test_list_on_stdin(data, paths):
    assert list(read_list(io.BytesIO(data))) == paths


def test_long_list_is_read_in_pieces():
    data = b"".join(b"%d.jpg\n" % number for number in range(20_000))
    assert list(read_list(io.BytesIO(data))) == [f"{number}.jpg" for number in range(20_000)]
    assert list(read_list(OneByteAtATime(b"a.jpg\nb.jpg\n"))) == ["a.jpg", "b.jpg"]


def test_names_on_stdin_are_files_and_folders_not_patterns(tree, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"sub\n*.jpg\nb.png\n")))
    assert found("-") == ["sub/c.jpg", "sub/deep/[e].jpg", "sub/deep/d.jpg", "*.jpg", "b.png"]


def test_camera_raws_in_a_folder_are_counted(tmp_path, caplog):
    for name in ("a.DNG", "b.nef", ".hidden.cr2"):
        (tmp_path / name).write_bytes(b"II*\0")
    (found,) = collect([str(tmp_path)])
    assert "2 camera raw files skipped" in found.error and "develop" in found.error
    (tmp_path / "c.png").touch()
    (found,) = collect([str(tmp_path)])
    assert found.path.endswith("c.png") and "2 camera raw files skipped" in caplog.text
