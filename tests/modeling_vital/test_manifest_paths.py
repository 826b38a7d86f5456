"""Entries of a manifest stay inside its root."""

import os
import re

import pytest

from modeling_vital.manifest_paths import belongs_to_dataset, missing_folder, resolve_entry
from modeling_vital.media_vital import MediaError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "secret.png").touch()
    (tmp_path / "root" / "a.png").touch()
    os.symlink(tmp_path / "secret.png", tmp_path / "root" / "link.png")
    os.symlink(tmp_path, tmp_path / "root" / "out")
    os.symlink(tmp_path / "root" / "a.png", tmp_path / "root" / "sub" / "in.png")
    return tmp_path / "root"


@pytest.mark.parametrize("entry", ["a.png", "sub/../a.png", "sub/in.png", "not there.png", "..a.png", "./sub/ü.png"])
def test_inside(root, entry):
    assert resolve_entry(root, entry) == root / entry
    assert resolve_entry(str(root), entry) == root / entry


@pytest.mark.parametrize(
    "entry",
    ["../secret.png", "/etc/hostname", "sub/../../secret.png", "link.png", "out/secret.png", "..\\secret.png", ".."],
)
def test_outside(root, entry):
    with pytest.raises(MediaError, match=f"{re.escape(repr(entry))} .*{re.escape(repr(str(root)))}"):
        resolve_entry(root, entry)
    assert resolve_entry(root, entry, allow_outside=True) == root / entry


def test_a_sibling_with_the_roots_name_is_outside(root):
    with pytest.raises(MediaError, match=f"'../root-2/a.png' .*'{root}'"):
        resolve_entry(root, "../root-2/a.png")


def test_a_root_behind_a_link_is_fine(root, tmp_path):
    os.symlink(root, tmp_path / "alias")
    assert resolve_entry(tmp_path / "alias", "a.png") == tmp_path / "alias" / "a.png"


@pytest.mark.parametrize(
    "entry, reason",
    [
        ("http://127.0.0.1/a.png", "address"),
        ("file:///etc/hostname", "address"),
        ("zip://a.zip::b.png", "address"),
        ("C:\\a.png", "drive"),
        ("", "'' .*manifest"),
        ("a\0b", r"'a\\x00b' .*manifest"),
    ],
)
def test_what_is_not_a_path(root, entry, reason):
    with pytest.raises(MediaError, match=reason):
        resolve_entry(root, entry)


@pytest.mark.parametrize(
    ("path", "belongs"),
    [
        ("{root}/a.png", True),
        ("zip://x.png::{root}/a.zip", True),
        ("{root}/../secret.png", False),
        ("{root}/link.png", False),
        ("{root}/out/secret.png", False),
        ("/etc/hostname", False),
        ("zip://x.png::/etc/a.zip", False),
        ("/etc/hostname::{root}/a.png", False),
        ("zip://x.png::/etc/hostname::{root}/a.png", False),
        ("http://127.0.0.1/a.png::{root}/a.png", False),
        ("http://127.0.0.1/a.png", False),
        ("file:///etc/hostname", False),
        ("hf://datasets/org/other@main/a.png", False),
        ("a\0b", False),
    ],
)
def test_rows_of_a_folder_name_its_own_files(path, belongs, root):
    assert belongs_to_dataset(path.format(root=root), str(root)) is belongs


@pytest.mark.parametrize(
    ("path", "belongs"),
    [
        ("hf://datasets/org/set@abc/a.png", True),
        ("zip://a.png::hf://datasets/org/set@abc/a.zip", True),
        ("hf://datasets/org/set-2@abc/a.png", False),
        ("/etc/hostname::hf://datasets/org/set@abc/a.png", False),
        ("http://127.0.0.1/a.png::hf://datasets/org/set@abc/a.png", False),
        ("hf://datasets/org/set@abc/../../other/a.png", False),
        ("a.png", False),
        ("/etc/hostname", False),
        ("http://127.0.0.1/a.png", False),
    ],
)
def test_rows_on_the_hub_name_files_of_their_repository(path, belongs):
    assert belongs_to_dataset(path, "org/set") is belongs


@pytest.mark.parametrize(
    "name", ["phtos", "photos/", "./phtos", "/tmp/gone/x", "a/b/c", "~/photos", "../phtos", "here/phtos"]
)
def test_a_mistyped_folder_is_told_from_an_id(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert f"there is no folder {name!r}" in missing_folder(name)
    assert missing_folder("here") is missing_folder("org/photos") is None
