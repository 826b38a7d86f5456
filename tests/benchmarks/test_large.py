"""Files, kills and counts of the large run; the run itself takes minutes."""

import sys

import pytest

from benchmarks import large


def test_files_are_of_400_pictures_under_many_names(tmp_path):
    large.write_files(tmp_path / "files", 1100)
    files = sorted((tmp_path / "files").rglob("*.jpg"))
    assert len(files) == 1100 and len({path.name for path in files}) == 1100
    assert len({path.stat().st_ino for path in files}) == large.DIFFERENT
    assert len({path.read_bytes() for path in files}) == large.DIFFERENT


def test_a_run_is_killed_once_its_log_has_so_many_rows(tmp_path):
    log = tmp_path / "log"
    text = (
        f"import pathlib, time; pathlib.Path({str(log)!r}).write_bytes(bytes({large.ROW_BYTES * 11})); time.sleep(60)"
    )
    run = large.run_once([sys.executable, "-c", text], log, 10)
    assert run["killed"] and run["seconds"] < 50 and run["peak_mib"] > 1
    with pytest.raises(RuntimeError, match="ended with 0"):
        large.run_once([sys.executable, "-c", ""], log.with_name("none"), 10)
    with pytest.raises(RuntimeError, match="ended with 3"):
        large.run_once([sys.executable, "-c", "raise SystemExit(3)"], log, None)


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        (["a,0.5,", "b,0.5,", "b,0.5,"], "3 rows with a score, of 2"),
        (["a,0.5,", "b,0.5,"], "2 rows with a score, of 2"),
        (["a,0.5,", "b,0.5,", "c,,no picture"], "2 rows with a score, of 2"),
    ],
    ids=["a row twice", "a row lost", "a row failed"],
)
def test_every_file_needs_one_row_with_a_score(rows, counts, tmp_path):
    output = tmp_path / "scores.csv"
    output.write_text("\n".join(["path,score,error", "a,0.5,", "b,0.5,", "c,0.5,"]))
    large.check(output, 3)
    output.write_text("\n".join(["path,score,error", *rows]))
    with pytest.raises(RuntimeError, match=f"3 files, but {counts}"):
        large.check(output, 3)
