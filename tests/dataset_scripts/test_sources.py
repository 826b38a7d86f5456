"""Every kind of source: what it yields, in which order, and what it says about wrong input."""

import io
import json
import tarfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset_scripts.encoding import encode_clip
from dataset_scripts.fingerprint import fingerprint
from dataset_scripts.sources import SOURCES, SourceError, get_source, packages
from dataset_scripts.sources.base import from_position
from tests.fixtures.tiny_media import frames, photo, write_folder


def png(seed):
    buffer = io.BytesIO()
    Image.fromarray(photo(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def test_folder_yields_media_of_all_folders_in_order(tmp_path):
    write_folder(tmp_path / "in", photos=3, clips=1)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / ".hidden.png").write_bytes(png(9))
    source = get_source("folder", path=str(tmp_path / "in"), license="CC0-1.0")
    items = list(source)
    assert [item.name for item in items] == ["clip0.mp4", "more of them/photo 1.png", "photo 0.png", "photo 2.png"]
    assert {item.license for item in items} == {"CC0-1.0"}
    assert items == list(source)  # again from the start
    assert [(p, item.name) for p, item in from_position(source, 1, 3)] == [
        (1, "more of them/photo 1.png"),
        (2, "photo 0.png"),
    ]


@pytest.mark.parametrize("name", ["a.HEIC", "b.jpe", "c.jfif", "d.m2ts", "e.3gp", "f.ts"])
def test_folder_and_shards_take_every_suffix_that_scoring_takes(name, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(png(1))
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        shard.add(tmp_path / "in" / name, name)
    (item,) = get_source("folder", path=str(tmp_path / "in"))
    (member,) = get_source("webdataset", path=str(tmp_path / "s.tar"))
    assert item.name == name and Path(member.name).name.startswith(name[0])


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_manifest_reads_three_forms_alike(tmp_path, form):
    write_folder(tmp_path, photos=2, clips=0)
    rows = [
        {"path": "photo 0.png", "content_id": "a", "license": "MIT", "split": "test", "camera": "x100"},
        {"path": "missing.png", "content_id": "", "license": "", "split": "", "camera": ""},
    ]
    table = tmp_path / f"list.{form}"
    if form == "csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        table.write_text("\n".join(lines), encoding="utf-8-sig")
    elif form == "jsonl":
        table.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8-sig")
    else:
        datasets.Dataset.from_list(rows).to_parquet(table)
    first, second = get_source("manifest", path=str(table), license="CC0-1.0")
    assert (first.media, first.content_id, first.license, first.split) == (
        tmp_path / "photo 0.png",
        "a",
        "MIT",
        "test",
    )
    assert first.details == {"camera": "x100"}
    assert (second.content_id, second.license, second.split, second.details) == (None, "CC0-1.0", None, {})


def test_manifest_names_the_row_that_is_wrong(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text("file,license\na.png,MIT\n")
    with pytest.raises(SourceError, match=r"list\.csv .*'path'.* file, license"):
        list(get_source("manifest", path=str(table)))
    table.write_text("path,license\na.png,MIT,more\n")
    with pytest.raises(SourceError, match="line 2: .* 3 cells"):
        list(get_source("manifest", path=str(table)))
    lines = tmp_path / "list.jsonl"
    lines.write_text('{"path": "a.png"}\n{"path"\n')
    with pytest.raises(SourceError, match="line 2: .*JSON"):
        list(get_source("manifest", path=str(lines)))


@pytest.mark.parametrize("entry", ["../secret.png", "{}/secret.png", "link.png", "up/secret.png"])
def test_manifest_names_no_files_outside_unless_allowed(entry, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.png").write_bytes(png(1))
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "in" / "up").symlink_to(tmp_path)
    table = tmp_path / "in" / "list.csv"
    table.write_text(f"path\n{entry.format(tmp_path)}\n")
    with pytest.raises(SourceError, match=r"list.csv, line 2: .*`allow_outside`"):
        list(get_source("manifest", path=str(table)))
    (item,) = get_source("manifest", path=str(table), allow_outside=True)
    assert item.media.read_bytes() == png(1)


@pytest.mark.parametrize("bad", ["outside", "gone", "null"])
def test_a_bad_row_of_the_hub_costs_itself(bad, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "secret.png").write_bytes(png(1))
    paths = {"outside": tmp_path / "secret.png", "gone": tmp_path / "set" / "gone.png"}
    cell = {"bytes": None, "path": str(paths[bad])} if bad in paths else None
    features = datasets.Features({"shot": datasets.Image()})
    table = pa.table({"shot": pa.array([cell, {"bytes": png(2), "path": None}], features["shot"].pa_type)})
    pq.write_table(table.replace_schema_metadata(features.arrow_schema.metadata), tmp_path / "set" / "train.parquet")
    first, second = get_source("hub", path=str(tmp_path / "set"))
    assert first.media == b"" and "column shot" in first.problem
    assert (paths[bad].name if bad in paths else "nothing") in first.problem
    assert fingerprint(first).problem == first.problem
    assert second.media == png(2) and not second.problem and not fingerprint(second).problem


def test_hub_opens_no_other_column(tmp_path):
    features = datasets.Features({"shot": datasets.Image(), "mask": datasets.Image()})
    cells = [{"bytes": data, "path": None} for data in (png(1), b"no picture")]
    (tmp_path / "set").mkdir()
    rows = datasets.Dataset.from_list([dict(zip(features, cells, strict=True))], features=features)
    rows.to_parquet(tmp_path / "set" / "train.parquet")
    (item,) = get_source("hub", path=str(tmp_path / "set"), column="shot")
    assert item.media == png(1)


def test_rows_of_the_hub_without_a_content_id_are_no_group(tmp_path):
    features = datasets.Features({"shot": datasets.Image(), "scene": datasets.Value("string")})
    rows = [{"shot": {"bytes": png(seed), "path": None}, "scene": scene} for seed, scene in enumerate(["a", None])]
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "set" / "train.parquet")
    items = get_source("hub", path=str(tmp_path / "set"), content_id_column="scene")
    assert [item.content_id for item in items] == ["a", None]


def test_registry_takes_the_tiers_asked_for_and_keeps_examples_for_the_test_split(tmp_path):
    header = "content_id,path,kind,license,tier,split,package_manager,package,version,width,height"
    rows = ["a,images/a.png,image,CC0,A,,npm,pa,1,9,9", "b,images/b.png,image,MIT,B,,npm,pb,2,9,9"]
    rows.append("c,images/c.png,image,GPL-3,A,example,apt,pc,3,9,9")
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]))
    items = list(get_source("registry", path=str(tmp_path)))
    assert [(i.content_id, i.license, i.split) for i in items] == [("a", "CC0", None), ("c", "GPL-3", "test")]
    assert items[0].details["package"] == "pa" and items[0].details["version"] == "1"
    assert len(list(get_source("registry", path=str(tmp_path), tiers=["A", "B"]))) == 3


def test_registry_is_fetched_where_it_is_not_there_yet(tmp_path, monkeypatch):
    def fetch(path, allow_missing):
        assert allow_missing
        header = "content_id,path,kind,license,tier,split,package_manager,package,version,width,height"
        (tmp_path / "manifest.csv").write_text(f"{header}\na,images/a.png,image,CC0,A,,npm,pa,1,9,9\n")

    monkeypatch.setattr(packages, "fetch", fetch)
    assert [item.content_id for item in get_source("registry", path=str(tmp_path))] == ["a"]


def test_hub_streams_clips_undecoded(tmp_path):
    features = datasets.Features({"clip": datasets.Video(decode=False)})
    data = encode_clip(frames(0, 8), 12.0, 20)
    rows = datasets.Dataset.from_list([{"clip": {"bytes": data, "path": "a.mp4"}}], features=features)
    (tmp_path / "set").mkdir()
    rows.to_parquet(tmp_path / "set" / "train.parquet")
    (item,) = get_source("hub", path=str(tmp_path / "set"))
    assert item.media == data and item.details == {"file": "a.mp4"}


def test_hub_streams_a_column_undecoded(tmp_path):
    features = datasets.Features({"shot": datasets.Image(), "who": datasets.Value("string")})
    rows = [{"shot": {"bytes": png(seed), "path": None}, "who": f"by{seed}"} for seed in range(3)]
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "set" / "train.parquet")
    source = get_source("hub", path=str(tmp_path / "set"), license_column="who")
    items = list(source)
    assert [item.media for item in items] == [png(seed) for seed in range(3)]
    assert [item.license for item in items] == ["by0", "by1", "by2"]
    assert [item.name for item in items] == ["train/00000000", "train/00000001", "train/00000002"]
    with pytest.raises(SourceError, match="sound.* shot, who"):
        list(get_source("hub", path=str(tmp_path / "set"), column="sound"))
    with pytest.raises(SourceError, match="nothing'.*org/name"):
        list(get_source("hub", path=str(tmp_path / "nothing")))


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def test_webdataset_groups_files_into_samples(tmp_path):
    for shard in range(2):
        with tarfile.open(tmp_path / f"s-{shard}.tar", "w") as tar:
            add(tar, "x/0001.png", png(10 * shard))
            about = {"license": "CC0-1.0", "content_id": f"c{shard}", "lens": "35mm"}
            add(tar, "x/0001.json", json.dumps(about).encode())
            add(tar, "x/0002.txt", b"a caption")
            add(tar, "x/0002.png", png(10 * shard + 1))  # without a .json
    items = list(get_source("webdataset", path=str(tmp_path), license="MIT"))
    assert [item.name for item in items] == [f"s-{s}.tar/x/000{n}.png" for s in range(2) for n in (1, 2)]
    assert [(i.license, i.content_id) for i in items] == [
        ("CC0-1.0", "c0"),
        ("MIT", None),
        ("CC0-1.0", "c1"),
        ("MIT", None),
    ]
    assert items[0].details == {"lens": "35mm"} and items[1].media == png(1)


def test_webdataset_says_which_shard_is_damaged(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        add(tar, "0001.png", png(0))
    whole = (tmp_path / "s.tar").read_bytes()
    (tmp_path / "s.tar").write_bytes(whole[: len(png(0)) // 2])
    with pytest.raises(SourceError, match="s.tar"):
        list(get_source("webdataset", path=str(tmp_path / "s.tar")))


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind not in ("registry", "hub")])
def test_a_missing_input_is_named(kind, tmp_path):
    with pytest.raises(SourceError, match="nowhere"):
        get_source(kind, path=str(tmp_path / "nowhere"))


def test_wrong_options_are_refused_by_name(tmp_path):
    with pytest.raises(SourceError, match="'zip'.* folder"):
        get_source("zip", path="x")
    with pytest.raises(SourceError, match="'depth'.* path"):
        get_source("folder", path=str(tmp_path), depth=2)
    with pytest.raises(SourceError, match="'folder' needs .*license"):
        get_source("folder")
    with pytest.raises(SourceError, match=f"{tmp_path}.*known"):
        get_source("folder", path=str(tmp_path))
    with pytest.raises(SourceError, match=r"tiers .*\['C'\]"):
        get_source("registry", path=str(tmp_path), tiers=["C"])
