"""Files and folders that are there whole or not at all."""

import os
import subprocess
import sys

import pytest

from modeling_vital.whole_files import make_output_folder, remove_partial, whole_file, whole_folder, write_whole


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_at_the_end(tmp_path):
    place = tmp_path / "new" / "table.csv"
    with whole_file(place) as path:
        path.write_text("half")
        assert not place.exists() and path.name == "table.csv" and not list(place.parent.glob("*.csv"))
        path.write_text("whole")
    assert names(place.parent) == ["table.csv"] and place.read_text() == "whole"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    write_whole(tmp_path / "state.json", "old")
    with pytest.raises(error), whole_file(tmp_path / "state.json") as path:
        path.write_text("new")
        raise error
    assert names(tmp_path) == ["state.json"] and (tmp_path / "state.json").read_text() == "old"


@pytest.mark.parametrize(("content", "read"), [("ä\n", "ä\n".encode()), (b"\xff\r\n", b"\xff\r\n")])
def test_text_and_bytes_are_written_as_they_are(tmp_path, content, read):
    write_whole(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == read


def test_a_file_may_be_read_by_those_the_mask_allows(tmp_path):
    mask = os.umask(0o022)
    try:
        write_whole(tmp_path / "a", "")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_a_folder_takes_its_place_at_the_end(tmp_path):
    with whole_folder(tmp_path / "new" / "data") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "new" / "data").exists()
    assert names(tmp_path / "new") == ["data"] and names(tmp_path / "new" / "data") == ["a"]


def test_a_failure_leaves_no_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "data") as folder:
        (folder / "a").write_text("1")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_folder_with_content_is_kept(tmp_path):
    write_whole(tmp_path / "data" / "a", "theirs")
    with pytest.raises(OSError), whole_folder(tmp_path / "data") as folder:
        (folder / "a").write_text("ours")
    assert names(tmp_path) == ["data"] and (tmp_path / "data" / "a").read_text() == "theirs"


def test_what_a_killed_process_left_is_apart_and_can_be_removed(tmp_path):
    code = (
        "import os, pathlib\nfrom modeling_vital.whole_files import whole_file\n"
        f"with whole_file(pathlib.Path({str(tmp_path)!r}, 'a')) as path:\n    path.write_text('half')\n    os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    write_whole(tmp_path / "a", "whole")
    assert len(names(tmp_path)) == 2
    remove_partial(tmp_path)
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("place", ["file", "file/inside", "new/folder", "read only"])
def test_a_folder_that_cannot_be_written_is_told(tmp_path, place, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "read only").mkdir()
    if place == "new/folder":
        make_output_folder(tmp_path / place)
        assert names(tmp_path / place) == []
        return
    if place == "read only":  # a mode does not stop root
        monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: open(dir / "gone" / "x"))
    with pytest.raises(OSError, match=f"folder .*{place}' .*place"):
        make_output_folder(tmp_path / place)


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match="Errno 28.*'.*a.json'"), whole_file(tmp_path / "a.json"):
        raise OSError(28, "No space left on device")
