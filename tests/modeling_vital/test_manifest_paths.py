"""Entries of a manifest stay inside its root."""

import os

import pytest

from modeling_vital.manifest_paths import resolve_entry
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
    with pytest.raises(MediaError, match="leads out of"):
        resolve_entry(root, entry)
    assert resolve_entry(root, entry, allow_outside=True) == root / entry


def test_a_sibling_with_the_roots_name_is_outside(root):
    with pytest.raises(MediaError, match="leads out of"):
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
        ("", "not a path"),
        ("a\0b", "not a path"),
    ],
)
def test_what_is_not_a_path(root, entry, reason):
    with pytest.raises(MediaError, match=reason):
        resolve_entry(root, entry)
