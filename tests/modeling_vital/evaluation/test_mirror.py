"""Benchmarks from pyiqa's mirror: the same items as from a distributed copy, and archives not to be trusted."""

import io
import re
import stat
import tarfile
import zipfile
from pathlib import Path

import huggingface_hub.constants
import pytest

from modeling_vital.evaluation.benchmarks import MIRRORED, BenchmarkError, load_mirrored
from modeling_vital.evaluation.benchmarks.archives import unpack
from tests.fixtures.benchmark_copies import COPIES
from tests.fixtures.benchmark_mirror import LAYOUTS, put_mirror
from tests.fixtures.hub_server import Blob, Repo, serve


WITH_LABELS = [name for name, (_, _, table, _) in LAYOUTS.items() if table]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    return tmp_path / "cache" / "vital-benchmarks"


@pytest.fixture
def hub(monkeypatch):
    with serve() as server:
        address = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        yield server


def upload(hub, folder):
    """What `put_mirror` made, as the two repositories of the mirror."""
    for name, files in (("org/data", folder.glob("*.*")), ("org/data-metainfo", folder.glob("meta_info/*"))):
        repo = hub.repos["dataset", name] = Repo("dataset", name)
        repo.commit("main", {path.name: Blob(path.read_bytes(), path.suffix != ".csv") for path in files})


def seen(items, ids=True):
    return [(item.id if ids else "", item.mos, item.group, item.split, item.distortion) for item in items]


def test_every_mirrored_set_has_a_copy_to_test_with():
    assert set(LAYOUTS) == set(MIRRORED)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_same_items_as_in_a_distributed_copy(name, tmp_path, caplog):
    expected = put_mirror(name, tmp_path / "my mirror")
    labels = None
    if name not in WITH_LABELS:
        labels = tmp_path / "labels"
        COPIES[name](labels)
        for picture in [*labels.rglob("*.jpg"), *labels.rglob("*.JPG")]:
            picture.unlink()
    loaded = load_mirrored(name, str(tmp_path / "my mirror"), "all", partial=True, labels=labels)
    assert seen(loaded.items, ids=name != "csiq") == seen(expected, ids=name != "csiq")
    assert loaded.missing == []
    assert all(Path(item.media).name == item.id.split("/")[-1] for item in loaded.items)
    assert loaded.benchmark.note.endswith(f"from the mirror {tmp_path / 'my mirror'}")
    assert loaded.benchmark.verified == (name in WITH_LABELS) == ("is guessed" not in caplog.text)
    assert loaded.benchmark.higher_is_better == (name != "csiq")


def test_koniq_has_its_official_split_and_the_larger_pictures(tmp_path):
    put_mirror("koniq10k", tmp_path)
    loaded = load_mirrored("koniq10k", str(tmp_path), partial=True)
    assert (loaded.split, len(loaded.items)) == ("test", 5)
    assert all(Path(item.media).parent.name == "1024x768" for item in loaded.items)
    with pytest.raises(BenchmarkError, match="1 .* meta_info_.* 1000"):
        load_mirrored("koniq10k", str(tmp_path), "validation")


def test_missing_pictures_are_listed(tmp_path):
    put_mirror("kadid10k", tmp_path)
    with (tmp_path / "meta_info/meta_info_KADID10kDataset.csv").open("a") as file:
        file.write("I67.png,I67_01_01.png,4.5,0.5\n")
    with pytest.raises(BenchmarkError, match=r"1 of 13 .*I67_01_01\.png"):
        load_mirrored("kadid10k", str(tmp_path))


def test_an_opinion_outside_of_the_scale(tmp_path):
    put_mirror("tid2013", tmp_path)
    with (tmp_path / "meta_info/meta_info_TID2013Dataset.csv").open("a") as file:
        file.write("I03.BMP,I03_01_1.bmp,9.5,0.1\n")
    with pytest.raises(BenchmarkError, match=r"I03_01_1\.bmp.*'9\.5'.* 0 to 9"):
        load_mirrored("tid2013", str(tmp_path), partial=True)


def test_unpacked_once_and_anew_when_the_archive_changes(tmp_path, cache):
    put_mirror("csiq", tmp_path)
    load_mirrored("csiq", str(tmp_path), partial=True)
    (folder,) = cache.iterdir()
    (folder / "CSIQ/dst_imgs/1600.AWGN.2.png").write_text("0.123")
    load_mirrored("csiq", str(tmp_path), partial=True)
    assert (folder / "CSIQ/dst_imgs/1600.AWGN.2.png").read_text() == "0.123"
    put_mirror("csiq", tmp_path)
    load_mirrored("csiq", str(tmp_path), partial=True)
    assert len(list(cache.iterdir())) == 2


def test_a_folder_where_pyiqa_has_unpacked_it(tmp_path, cache):
    put_mirror("livec", tmp_path)
    with tarfile.open(tmp_path / "live_challenge.tgz") as file:
        file.extractall(tmp_path, filter="data")
    loaded = load_mirrored("livec", str(tmp_path), partial=True)
    assert loaded.items[0].media == str(tmp_path / "LIVEC/Images/3.bmp")
    assert not cache.exists()


def test_from_the_hub_and_again_without_it(hub, tmp_path, monkeypatch):
    expected = put_mirror("koniq10k", tmp_path / "files")
    upload(hub, tmp_path / "files")
    loaded = load_mirrored("koniq10k", "org/data", "all", partial=True)
    assert seen(loaded.items) == seen(expected)
    commit = hub.repos["dataset", "org/data"].branches["main"]
    assert loaded.benchmark.note == f"from the mirror org/data at {commit[:12]}"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert load_mirrored("koniq10k", "org/data", "all", partial=True).list_sha256 == loaded.list_sha256


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network(offline, hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    hub.fail(".*", "cut")
    with pytest.raises(BenchmarkError, match=r"KonIQ-10k .*'org/data'.*koniq10k\.tgz"):
        load_mirrored("koniq10k", "org/data")


def test_a_hub_that_lacks_the_archive(hub, tmp_path):
    put_mirror("csiq", tmp_path)
    (tmp_path / "csiq.tgz").unlink()
    upload(hub, tmp_path)
    with pytest.raises(BenchmarkError, match="CSIQ .*'org/data'.*404"):
        load_mirrored("csiq", "org/data")


def test_wrong_use(tmp_path):
    put_mirror("csiq", tmp_path)
    with pytest.raises(BenchmarkError, match="'uhdiqa'.* koniq10k, spaq.*--root"):
        load_mirrored("uhdiqa", str(tmp_path))
    with pytest.raises(BenchmarkError, match="CSIQ .*'dev'.* all"):
        load_mirrored("csiq", str(tmp_path), "dev")
    with pytest.raises(BenchmarkError, match="none' .* org/name"):
        load_mirrored("csiq", str(tmp_path / "none"))
    with pytest.raises(BenchmarkError, match=r"AGIQA-3K.*data\.csv"):
        load_mirrored("agiqa3k", str(tmp_path))
    with pytest.raises(BenchmarkError, match="CSIQ; .*--root"):
        load_mirrored("csiq", str(tmp_path), labels=tmp_path)
    with pytest.raises(BenchmarkError, match=r"meta_info_SPAQDataset\.csv"):
        load_mirrored("spaq", str(tmp_path))
    (tmp_path / "csiq.tgz").unlink()
    with pytest.raises(BenchmarkError, match=r"csiq\.tgz.*CSIQ"):
        load_mirrored("csiq", str(tmp_path))


def put_tar(path, name, kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as file:
        for each, type_ in (("good.png", tarfile.REGTYPE), (name, kind)):
            member = tarfile.TarInfo(each)
            member.type, member.linkname, member.size = type_, "/etc/hosts", 3 if type_ == tarfile.REGTYPE else 0
            file.addfile(member, io.BytesIO(b"0.5"))


@pytest.mark.parametrize(
    "name", ["../out.png", "a/../../out.png", "/out.png", "..\\out.png", "C:\\out.png", "C:out.png"]
)
@pytest.mark.parametrize("suffix", ["tgz", "zip"])
def test_nothing_is_put_outside(suffix, name, tmp_path):
    archive = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("good.png", "0.5")
            file.writestr(name, "0.5")
    else:
        put_tar(archive, name)
    with pytest.raises(BenchmarkError, match=re.escape(repr(name))):
        unpack(archive, tmp_path / "cache" / "a")
    assert list((tmp_path / "cache").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "cache"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_tar_with_a_link_or_device_is_refused(kind, tmp_path):
    put_tar(tmp_path / "a.tgz", "link.png", kind)
    with pytest.raises(BenchmarkError, match=r"'link\.png'"):
        unpack(tmp_path / "a.tgz", tmp_path / "cache" / "a")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_zip_with_a_link_is_refused(tmp_path):
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/hosts")
    with pytest.raises(BenchmarkError, match="'link.png'"):
        unpack(tmp_path / "a.zip", tmp_path / "cache" / "a")


@pytest.mark.parametrize("name", ["csiq", "bid"])
def test_a_damaged_archive_leaves_nothing(name, tmp_path):
    put_mirror(name, tmp_path)
    archive = tmp_path / LAYOUTS[name][0]
    data = archive.read_bytes()
    for damaged in (data[: len(data) // 2], b"no archive"):
        archive.write_bytes(damaged)
        with pytest.raises(BenchmarkError, match=archive.name):
            unpack(archive, tmp_path / "cache" / "a")
        assert list((tmp_path / "cache").iterdir()) == []


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    put_mirror("csiq", tmp_path)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("modeling_vital.evaluation.benchmarks.archives.shutil.copyfileobj", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unpack(tmp_path / "csiq.tgz", tmp_path / "cache" / "a")
    assert list((tmp_path / "cache").iterdir()) == []
