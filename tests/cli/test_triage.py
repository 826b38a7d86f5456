"""`--copy-to` and `--link-to`: nothing is lost, nothing is overwritten, a repeated run adds nothing."""

import os

import pytest

from modeling_vital.cli.triage import Triage


@pytest.fixture
def files(tmp_path):
    """Three files of one name, two of them alike, in folders of their own."""
    paths = []
    for folder, content in (("a", "1"), ("b", "2"), ("c", "1")):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "my photo.jpg")
        paths[-1].write_text(content)
    return [str(path) for path in paths]


def names(folder):
    return sorted(os.listdir(folder))


def test_clashing_names_are_numbered_and_equal_files_are_kept_once(files, tmp_path):
    for _ in range(2):
        triage = Triage(tmp_path / "out", link=False)
        assert [triage.put(path).name for path in files] == ["my photo.jpg", "my photo (2).jpg", "my photo.jpg"]
    assert names(tmp_path / "out") == ["my photo (2).jpg", "my photo.jpg"]
    assert (tmp_path / "out" / "my photo (2).jpg").read_text() == "2"
    assert [open(path).read() for path in files] == ["1", "2", "1"]


def test_what_is_there_is_never_overwritten(files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "my photo.jpg").write_text("someone else's")
    (tmp_path / "out" / "my photo (2).jpg").symlink_to("nowhere")
    assert Triage(tmp_path / "out", link=False).put(files[0]).name == "my photo (3).jpg"
    assert Triage(tmp_path / "out", link=True).put(files[0]).name == "my photo (4).jpg"
    assert (tmp_path / "out" / "my photo.jpg").read_text() == "someone else's"
    assert (tmp_path / "out" / "my photo (2).jpg").is_symlink()


def test_links_lead_to_the_files_from_anywhere(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        triage = Triage(tmp_path / "out", link=True)
        places = [triage.put(os.path.relpath(path)) for path in files]
    assert [place.name for place in places] == ["my photo.jpg", "my photo (2).jpg", "my photo (3).jpg"]
    assert [os.path.samefile(place, path) for place, path in zip(places, files, strict=True)] == [True] * 3
    assert len(names(tmp_path / "out")) == 3


def test_copy_that_fails_leaves_nothing(files, tmp_path):
    triage = Triage(tmp_path / "out", link=False)
    with pytest.raises(FileNotFoundError):
        triage.put(str(tmp_path / "gone.jpg"))
    assert names(tmp_path / "out") == []
