"""Data sets of this project as benchmarks: rows are read, media only when they are scored."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modeling_vital.evaluation.benchmarks import BenchmarkError
from modeling_vital.evaluation.benchmarks.pairs import load_pairs
from modeling_vital.evaluation.human_labels import load_opinions


def put_pairs(root, rows):
    """A data set folder with these `(id, content_id, split, mos, type)`; the bytes of an item are its id."""
    for split in sorted({row[2] for row in rows}):
        mine = [row for row in rows if row[2] == split]
        media = [[{"bytes": row[0].encode(), "path": None}] for row in mine]
        images = [m if i % 2 == 0 else [] for i, m in enumerate(media)]
        videos = [m if i % 2 else [] for i, m in enumerate(media)]
        table = pa.table(
            {
                "id": [row[0] for row in mine],
                "modality": ["video" if v else "image" for v in videos],
                "images": images,
                "videos": videos,
                "mos": [row[3] for row in mine],
                "std": [0.1] * len(mine),
                "level_probs": [[0.2] * 5] * len(mine),
                "content_id": [row[1] for row in mine],
                "split": [row[2] for row in mine],
                "distortion": [{"type": row[4], "family": None, "severity": None} for row in mine],
            }
        )
        path = root / "data" / "scoring" / f"vital_pairs-{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=2)


ROWS = [
    ("a0", "a", "test", 0.9, None),
    ("a1", "a", "test", 0.4, "jpeg"),
    ("b0", "b", "test", 0.8, None),
    ("c0", "c", "train", 0.7, None),
]


def test_rows_and_media(tmp_path):
    put_pairs(tmp_path, ROWS)
    loaded = load_pairs(tmp_path)
    assert [(i.id, i.group, i.mos, i.distortion) for i in loaded.items] == [
        ("a0", "a", 0.9, "none"),
        ("a1", "a", 0.4, "jpeg"),
        ("b0", "b", 0.8, "none"),
    ]
    assert [item.media() for item in loaded.items] == [b"a0", b"a1", b"b0"]
    assert len(load_pairs(tmp_path, "all").items) == 4
    assert load_pairs(tmp_path, "all").list_sha256 != loaded.list_sha256


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(BenchmarkError, match=r" data/scoring/\*\.parquet"):
        load_pairs(tmp_path)
    put_pairs(tmp_path, ROWS)
    with pytest.raises(BenchmarkError, match="vital-pairs .*'dev'.* train, validation"):
        load_pairs(tmp_path, "dev")
    with pytest.raises(BenchmarkError, match="'validation'"):
        load_pairs(tmp_path, "validation")
    put_pairs(tmp_path, [*ROWS, ("c1", "c", "test", 0.2, "jpeg")])
    with pytest.raises(BenchmarkError, match=r"c \(test, train\)"):
        load_pairs(tmp_path)


@pytest.fixture(params=["cut", "empty", "of another layout"])
def damaged(request, tmp_path):
    put_pairs(tmp_path, ROWS)
    (path,) = tmp_path.glob("data/scoring/*-test.parquet")
    if request.param == "of another layout":
        pq.write_table(pa.table({"picture": ["a"]}), path)
    else:
        path.write_bytes(path.read_bytes()[: 500 if request.param == "cut" else 0])
    return tmp_path


def test_a_damaged_file_is_named(damaged):
    with pytest.raises(BenchmarkError, match="vital_pairs-test.parquet"):
        load_pairs(damaged)
    (damaged / "human.csv").write_text("id,mos\na0,3\n")
    with pytest.raises(BenchmarkError, match="vital_pairs-test.parquet"):
        load_opinions(damaged, damaged / "human.csv", (1, 5))


def test_a_file_that_is_damaged_meanwhile_is_named(tmp_path):
    put_pairs(tmp_path, ROWS)
    item = load_pairs(tmp_path).items[0]
    (path,) = tmp_path.glob("data/scoring/*-test.parquet")
    path.write_bytes(b"")
    with pytest.raises(BenchmarkError, match="vital_pairs-test.parquet"):
        item.media()
