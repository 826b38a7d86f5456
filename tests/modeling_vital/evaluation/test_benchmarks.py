"""Loaders of benchmarks: small copies in the distributed layout are read, and those that are not whole refused."""

import re
import zipfile

import pytest

from modeling_vital.evaluation.benchmarks import (
    BENCHMARKS,
    BenchmarkError,
    BenchmarkItem,
    check_no_leak,
    load_benchmark,
)
from tests.fixtures.benchmark_copies import COPIES, put_csv, put_xlsx


# What each small copy must give: split, items, and of the first item id, opinion, group, distortion.
EXPECTED = {
    "koniq10k": ("test", 5, "101.jpg", 27.5, "101.jpg", ""),
    "livec": ("all", 5, "3.bmp", 5 + 7 * 85 / 11, "3.bmp", ""),
    "agiqa3k": ("all", 6, "AttnGAN_normal_000.jpg", 0.4, "a cat, 0", "attngan"),
    "kadid10k": ("test", 12, "I66_01_01.png", 2.4, "i66", "gaussian blur"),
    "csiq": ("all", 10, "AWGN/1600.AWGN.2.png", 0.09, "1600", "noise"),
    "tid2013": ("all", 8, "I01_01_1.bmp", 1.5, "i01", "additive gaussian noise"),
    "bid": ("all", 4, "DatabaseImage0001.JPG", 0.4, "1", ""),
    "uhdiqa": ("test", 4, "5.jpg", 0.3, "5.jpg", ""),
    "lsvq_test": ("test", 5, "yfcc-batch1/0", 30.5, "yfcc-batch1/0", ""),
    "lsvq_1080p": ("all", 4, "yfcc-batch9/0", 30.5, "yfcc-batch9/0", ""),
    "konvid1k": ("all", 4, "3339962845", 1.9, "3339962845", ""),
    "livevqc": ("all", 4, "A001.mp4", 80.2, "A001.mp4", ""),
    "youtube_ugc": ("all", 4, "Gaming_720P-25aa", 2.1, "Gaming_720P-25aa", "gaming"),
    "cgvds": ("all", 4, "Game0_30fps_1920x1080_4M.mp4", 2.0, "Game0_30fps_1920x1080_4M.mp4", ""),
    "live_yt_gaming": ("all", 4, "Game_000", 20, "Game_000", ""),
    "live_yt_hfr": ("all", 8, "1Runner_crf_0_24fps", 30.5, "1Runner", "24fps"),
}


def test_every_benchmark_has_a_copy_to_test_with():
    assert set(COPIES) == set(BENCHMARKS)
    assert set(EXPECTED) == set(BENCHMARKS) - {"spaq", "kvq"}  # those two have tests of their own


@pytest.mark.parametrize("name", EXPECTED)
def test_a_copy_as_distributed_is_read(name, tmp_path):
    COPIES[name](tmp_path / "my copy")
    split, count, first_id, mos, group, distortion = EXPECTED[name]
    loaded = load_benchmark(name, tmp_path, partial=True)
    first = loaded.items[0]
    assert (loaded.split, len(loaded.items)) == (split, count)
    assert (first.id, first.group, first.distortion) == (first_id, group, distortion)
    assert first.mos == pytest.approx(mos)
    assert loaded.missing == []
    assert loaded.partial  # it is smaller than what is published
    low, high = BENCHMARKS[name].mos_range
    for item in loaded.items:
        assert open(item.media).read()
        assert low <= BENCHMARKS[name].oriented(item.mos) <= high


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_copy_that_is_not_whole_is_an_error_that_says_so(name, tmp_path):
    COPIES[name](tmp_path)
    split = "validation" if name == "kvq" else None
    with pytest.raises(BenchmarkError, match=rf"^{re.escape(BENCHMARKS[name].title)} .* \d+ .* \d+\. .*--partial"):
        load_benchmark(name, tmp_path, split)


def test_published_numbers_of_splits_add_up():
    for benchmark in BENCHMARKS.values():
        assert benchmark.default_split in benchmark.counts
        parts = [count for split, count in benchmark.counts.items() if split != "all"]
        if "all" in benchmark.counts and parts:
            assert sum(parts) == benchmark.counts["all"], benchmark.name


def test_lower_is_better_is_mirrored():
    assert BENCHMARKS["csiq"].oriented(0.25) == 0.75
    assert BENCHMARKS["kadid10k"].oriented(4.5) == 4.5  # its file is called dmos, and is none


def test_the_larger_pictures_of_koniq_count_and_the_smaller_do_where_they_are_alone(tmp_path):
    COPIES["koniq10k"](tmp_path)
    loaded = load_benchmark("koniq10k", tmp_path, partial=True)
    assert all("1024x768" in item.media for item in loaded.items)
    for path in (tmp_path / "1024x768").iterdir():
        path.unlink()
    loaded = load_benchmark("koniq10k", tmp_path, partial=True)
    assert all("512x384" in item.media for item in loaded.items)


def test_koniq_without_its_splits(tmp_path):
    header = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,MOS_zscore".split(",")
    rows = [[f"{i}.jpg", 0, 0, 0, 1, 0, 100, 3.5, 0.5, 60 + i] for i in range(3)]
    put_csv(tmp_path / "koniq10k_scores_and_distributions.csv", [header, *rows])
    for i in range(3):
        (tmp_path / f"{i}.jpg").write_text("0.5")
    with pytest.raises(BenchmarkError, match="koniq10k_distributions_sets.csv.*--split all"):
        load_benchmark("koniq10k", tmp_path)
    assert [item.mos for item in load_benchmark("koniq10k", tmp_path, "all", partial=True).items] == [60, 61, 62]


def test_spaq_is_split_for_ever_the_same(tmp_path):
    COPIES["spaq"](tmp_path)
    parts = [load_benchmark("spaq", tmp_path, split, partial=True) for split in ("train", "test", "all")]
    train, test, everything = ([item.id for item in part.items] for part in parts)
    assert set(train) | set(test) == set(everything)
    assert not set(train) & set(test)
    assert test == ["00001.jpg", "00005.jpg"] or len(test) > 0
    assert parts[0].list_sha256 != parts[1].list_sha256


def test_kvq_keeps_the_seven_forms_of_an_upload_together(tmp_path):
    COPIES["kvq"](tmp_path)
    loaded = load_benchmark("kvq", tmp_path, "validation", partial=True)
    assert [item.group for item in loaded.items] == ["val/0"] * 7 + ["val/1"] * 7
    with pytest.raises(BenchmarkError, match=r"KVQ \(test\).*test_data.csv"):
        load_benchmark("kvq", tmp_path)
    with pytest.raises(BenchmarkError, match="KVQ .*'all'.* train, validation"):
        load_benchmark("kvq", tmp_path, "all")


# ------------------------------------------------------------------------------------------------ copies gone wrong
def test_missing_files_are_listed_and_never_dropped_silently(tmp_path, caplog):
    COPIES["livevqc"](tmp_path)
    (tmp_path / "Video" / "A002.mp4").unlink()
    with pytest.raises(BenchmarkError, match=r"1 of 4 .*A002\.mp4"):
        load_benchmark("livevqc", tmp_path)
    loaded = load_benchmark("livevqc", tmp_path, partial=True)
    assert loaded.missing == ["A002.mp4"]
    assert "A002.mp4" in caplog.text


@pytest.mark.parametrize("mos", ["5.2", "", "nan", "good"])
def test_an_opinion_that_cannot_be_names_its_item(mos, tmp_path):
    put_csv(tmp_path / "KoNViD_1k_mos.csv", [["flickr_id", "mos"], ["1", 3.0], ["2", mos]])
    with pytest.raises(BenchmarkError, match=f" 2 .*'{mos}'.* 1 to 5"):
        load_benchmark("konvid1k", tmp_path)


def test_items_that_come_twice(tmp_path):
    put_csv(tmp_path / "KoNViD_1k_mos.csv", [["flickr_id", "mos"], ["1", 3.0], ["1", 2.0]])
    with pytest.raises(BenchmarkError, match="twice: 1"):
        load_benchmark("konvid1k", tmp_path)


def test_a_file_that_could_be_two(tmp_path):
    COPIES["livevqc"](tmp_path)
    for copy in ("a", "b"):
        (tmp_path / copy).mkdir()
        (tmp_path / copy / "A001.mp4").write_text("0.5")
    assert load_benchmark("livevqc", tmp_path, partial=True).items[0].media.endswith("Video/A001.mp4")
    (tmp_path / "Video" / "A001.mp4").unlink()
    with pytest.raises(BenchmarkError, match=r"A001\.mp4 .*a/A001.mp4, b/A001.mp4"):
        load_benchmark("livevqc", tmp_path, partial=True)


def test_a_picture_of_another_split_is_never_taken(tmp_path):
    COPIES["uhdiqa"](tmp_path)
    (tmp_path / "challenge" / "training" / "5.jpg").write_text("0.5")
    with pytest.raises(BenchmarkError, match=r"5\.jpg .*challenge/test/5.jpg, challenge/tr"):
        load_benchmark("uhdiqa", tmp_path, partial=True)


def test_tables_that_are_something_else(tmp_path):
    with pytest.raises(BenchmarkError, match=r"KADID-10k \(test\).*dmos.csv"):
        load_benchmark("kadid10k", tmp_path)
    put_csv(tmp_path / "dmos.csv", [["picture", "opinion"], ["a", 1]])
    with pytest.raises(BenchmarkError, match="dmos.csv.* dist_img and dmos"):
        load_benchmark("kadid10k", tmp_path)
    (tmp_path / "csiq.DMOS.xlsx").write_bytes(b"no workbook")
    with pytest.raises(BenchmarkError, match="csiq.DMOS.xlsx"):
        load_benchmark("csiq", tmp_path)
    put_xlsx(tmp_path / "csiq.DMOS.xlsx", {"other": [["x"]]})
    with pytest.raises(BenchmarkError, match="'all_by_image'.* other"):
        load_benchmark("csiq", tmp_path)
    (tmp_path / "data.mat").write_bytes(b"no matrix")
    with pytest.raises(BenchmarkError, match="data.mat"):
        load_benchmark("livevqc", tmp_path)


@pytest.mark.parametrize(
    ("name", "table", "row"),
    [
        ("csiq", "csiq.DMOS.xlsx", [None, None, None, "sky", 1, "noise", "x", 0.06, 0.09]),
        ("bid", "DatabaseGrades.xlsx", ["one", 0.4, 0.7]),
        ("kadid10k", "dmos.csv", ["I66.png", "I66.png", 1.2, 0.5]),
        ("kadid10k", "dmos.csv", ["I66_99_01.png", "I66.png", 1.2, 0.5]),
    ],
)
def test_a_row_that_is_something_else_is_named(name, table, row, tmp_path):
    header = {
        "csiq": [None, None, None, "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"],
        "bid": ["Image Number", "Average Subjective Grade", "std"],
        "kadid10k": ["dist_img", "ref_img", "dmos", "var"],
    }[name]
    if table.endswith(".csv"):
        put_csv(tmp_path / table, [header, row])
    else:
        put_xlsx(tmp_path / table, {"all_by_image" if name == "csiq" else "Plan1": [header, row]})
    item = row[header.index(next(cell for cell in header if cell))]
    with pytest.raises(BenchmarkError, match=f"{table}.* {item} "):
        load_benchmark(name, tmp_path, "all", partial=True)


def test_a_workbook_with_a_damaged_sheet(tmp_path):
    COPIES["bid"](tmp_path)
    path = tmp_path / "DatabaseGrades.xlsx"
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w") as damaged:
        for name, content in parts.items():
            damaged.writestr(name, content[:-40] if "worksheets" in name else content)
    with pytest.raises(BenchmarkError, match="DatabaseGrades.xlsx"):
        load_benchmark("bid", tmp_path, partial=True)


def test_wrong_use(tmp_path):
    with pytest.raises(BenchmarkError, match="'koniq'.* koniq10k, spaq"):
        load_benchmark("koniq", tmp_path)
    with pytest.raises(BenchmarkError, match="none .*KonIQ-10k"):
        load_benchmark("koniq10k", tmp_path / "none")
    with pytest.raises(BenchmarkError, match="'dev'.* all, train, validation, test"):
        load_benchmark("koniq10k", tmp_path, "dev")


def test_a_content_in_two_splits_is_a_leak():
    items = [
        BenchmarkItem("a1", 1, "a", "train"),
        BenchmarkItem("a2", 2, "a", "test"),
        BenchmarkItem("b1", 3, "b", "test"),
    ]
    with pytest.raises(BenchmarkError, match=r"split: a \(test, train\)"):
        check_no_leak(items)
    check_no_leak(items[1:])


def test_no_split_of_a_copy_leaks(tmp_path):
    for name, put_copy in COPIES.items():
        put_copy(tmp_path / name)
        splits = ("train", "validation") if name == "kvq" else ("train", "test") if name == "uhdiqa" else ("all",)
        for split in splits:
            check_no_leak(load_benchmark(name, tmp_path / name, split, partial=True).items)
