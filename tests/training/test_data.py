"""Opening a data set: what is counted, what is held out, and what is said when something is missing."""

import contextlib
import io
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from datasets import Dataset, load_dataset
from PIL import Image

from dataset_scripts.schema import check_row, row_features
from modeling_vital.media_vital import picture_size
from tests.fixtures.tiny_models import tiny_model
from training import data as training_data
from training.collators import RowError
from training.data import DataArguments, cache_of, count_tokens, load_data, scoring_rows
from training.smoke_data import ANNOTATORS


def test_counted_tokens_are_those_of_the_batch(data):
    processor = tiny_model().processor
    start = 0
    for name in ("scoring", "pairwise"):
        table = data.tables[name]
        for i in (0, len(table) // 2, *[i for i, m in enumerate(table["modality"]) if m == "video"][:2]):
            row = table[i]
            media = [processor.prepare(m["bytes"]) for m in [*row["images"], *row["videos"]]]
            tokens = max(sum(m.num_tiles) * processor.image_seq_length + sum(m.motion_lengths) for m in media)
            assert data.visual_tokens[start + i] == tokens, row["id"]
        start += len(table)
    assert len(data.visual_tokens) == len(data.train_index) == sum(data.sizes.values())


def test_pictures_on_their_side_are_counted_upright(tmp_path):
    picture = Image.new("RGB", (400, 60))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    file = {"bytes": (tmp_path / "turned.jpg").read_bytes(), "path": None}
    table = Dataset.from_list([{"id": "a", "images": [file], "videos": []}])
    processor = tiny_model().processor
    tiles = processor.image_processor.get_number_of_tiles(400, 60)
    assert count_tokens(table, processor).tolist() == [tiles * processor.image_seq_length]


def test_held_out_rows_are_scoring_rows_of_the_other_split(data):
    train = set(data.tables["scoring"]["content_id"])
    held_out = set(data.tables["eval"]["content_id"])
    assert train
    assert held_out
    assert not train & held_out
    assert set(data.eval_index["table"]) == {"eval"}


def test_fewer_samples_keep_the_ratios(smoke_data):
    args = DataArguments(
        dataset=str(smoke_data), mixture={"scoring": 2, "distortion": 1}, max_samples=12, max_eval_samples=5
    )
    data = load_data(args, tiny_model().processor, seed=0)
    assert data.sizes == {"scoring": 8, "distortion": 4}
    assert len(data.eval_index) == 5
    again = load_data(args, tiny_model().processor, seed=0)
    assert again.tables["scoring"]["id"] == data.tables["scoring"]["id"]
    assert load_data(args, tiny_model().processor, seed=1).tables["scoring"]["id"] != data.tables["scoring"]["id"]


def test_without_a_held_out_split_it_warns(smoke_data, caplog):
    args = DataArguments(dataset=str(smoke_data), mixture={"scoring": 1}, eval_split="nowhere")
    data = load_data(args, tiny_model().processor, seed=0)
    assert data.eval_index is None
    assert "nowhere" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": None}, "`dataset`.*`fresh`"),
        ({"mixture": {"scores": 1}}, "'scores'.* scoring"),
        ({"train_split": "trian"}, "trian"),
    ],
)
def test_what_is_missing_is_named(smoke_data, changes, message):
    args = DataArguments(**{"dataset": str(smoke_data), **changes})
    with pytest.raises(ValueError, match=message):
        load_data(args, tiny_model().processor, seed=0)
    with pytest.raises(ValueError, match="max_samples"):
        DataArguments(max_samples=0)
    with pytest.raises(ValueError, match="mixture"):
        DataArguments(mixture=[1])


def test_an_unreadable_picture_is_named(data):
    broken = data.tables["scoring"].select([0]).map(lambda row: {"images": [{"bytes": b"none", "path": None}]})
    with pytest.raises(ValueError, match=broken[0]["id"]):
        count_tokens(broken, tiny_model().processor)
    assert isinstance(data.visual_tokens, np.ndarray)


def in_format(kind):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


def of_size(width, height):
    """A PNG that says so; it has no pixels."""
    data = in_format("PNG")
    chunk = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: of_size(20_000, 20_000), "too large"),  # an error of Pillow's
        (lambda: of_size(14_000, 14_000), "too large"),  # none of Pillow's, and ours
        (lambda: in_format("SGI"), "not a picture"),
        (lambda: "pipe", "pipe or device"),
        (lambda: ".", "folder"),
    ],
)
def test_what_scoring_refuses_is_refused_where_sizes_are_read(made, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    source = made()
    file = {"bytes": source, "path": None} if isinstance(source, bytes) else {"bytes": None, "path": source}
    table = Dataset.from_list([{"id": "mine", "images": [file], "videos": []}])
    with pytest.raises(RowError, match=f"row 'mine': .*{words}"):
        count_tokens(table, tiny_model().processor)


@pytest.mark.parametrize("config", ["scoring", "pairwise", "distortion"])
def test_smoke_data_keeps_the_contract_of_the_data_sets(smoke_data, config):
    for split in ("train", "validation"):
        table = load_dataset(str(smoke_data), config, split=split)
        assert table.features == row_features(config, sorted(n for names in ANNOTATORS.values() for n in names))
        assert len(table) > 8
        for row in table:
            assert list(check_row(config, row)) == []


def test_another_folder_of_that_name_is_another_data_set(smoke_data, tmp_path):
    """`datasets` knows folders by their names: what it kept of the first must not be taken for the second."""
    import pyarrow.parquet as pq

    counts = []
    for number, part in enumerate(("one", "two", "two")):
        folder = tmp_path / part / "pairs"
        if not folder.exists():
            shutil.copytree(smoke_data, folder)
        for file in folder.rglob("*.parquet"):
            table = pq.read_table(file)
            pq.write_table(table.slice(0, table.num_rows - number), file)  # the third time, the same folder anew
        counts.append(len(scoring_rows(DataArguments(dataset=str(folder)), "validation", None, 0)))
    assert counts == [counts[0], counts[0] - 1, counts[0] - 3]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of the Hub with two data sets, files linked as there, and what was extracted of archives."""
    for number, name in enumerate(("datasets--org--set", "datasets--org--other")):
        snapshot = tmp_path / "hub" / name / "snapshots" / "0a1b" / "photos"
        snapshot.mkdir(parents=True)
        blob = tmp_path / "hub" / name / "blobs" / f"{number}"
        blob.parent.mkdir()
        blob.write_bytes(in_format("PNG"))
        (snapshot / "a.png").symlink_to(os.path.relpath(blob, snapshot))
    (tmp_path / "hub" / "datasets--org--set" / "snapshots" / "0a1b" / "out.png").symlink_to(tmp_path / "secret.png")
    for folder in (tmp_path, tmp_path / "downloads" / "extracted" / "2c", tmp_path / "elsewhere" / "2c"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "secret.png").write_bytes(in_format("PNG"))
    monkeypatch.setattr(training_data, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(training_data, "DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")
    monkeypatch.setattr(training_data, "EXTRACTED_DATASETS_PATH", tmp_path / "elsewhere", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "belongs"),
    [
        ("hub/datasets--org--set/snapshots/0a1b/photos/a.png", True),
        ("downloads/extracted/2c/secret.png", True),
        ("hub/datasets--org--set/snapshots/0a1b/out.png", False),
        ("hub/datasets--org--set/../datasets--org--other/snapshots/0a1b/photos/a.png", False),
        ("hub/datasets--org--other/snapshots/0a1b/photos/a.png", False),
        ("elsewhere/2c/secret.png", False),
        ("secret.png", False),
    ],
)
def test_rows_of_a_data_set_on_the_hub_name_files_of_its_cache(hub, monkeypatch, path, belongs):
    row = {"id": "mine", "images": [{"bytes": None, "path": str(hub / path)}], "videos": []}
    monkeypatch.setattr(training_data, "load_dataset", lambda *_, **__: Dataset.from_list([row]))
    args = DataArguments(dataset="org/set")
    with contextlib.nullcontext() if belongs else pytest.raises(RowError, match="'mine' .*org/set"):
        assert len(scoring_rows(args, "train", None, 0)) == 1


def test_the_files_of_a_folder_are_listed_once_a_table(smoke_data, monkeypatch):
    listed = []
    monkeypatch.setattr(training_data, "cache_of", lambda dataset: listed.append(dataset) or cache_of(dataset))
    scoring_rows(DataArguments(dataset=str(smoke_data)), "train", None, 0)
    assert listed == [str(smoke_data)]


def change_file(folder, name):
    """Writes rows of `scoring` anew, as many as before; the README stays."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = folder / "data" / "scoring" / "train.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    if name == "order":
        rows = rows[::-1]
    elif name == "images":
        for row in rows:
            row["images"] = [{**one, "bytes": in_format("PNG")} for one in row["images"]]
    elif name == "messages":
        rows[0]["messages"][1]["content"][0]["text"] = "The quality of the image is poor"
    else:
        rows[0][name] = None
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


@pytest.mark.parametrize("changed", ["mos", "distortion", "messages", "images", "order"])
def test_a_run_resumes_on_the_same_rows_wherever_they_are(smoke_data, tmp_path, changed):
    def fingerprint(folder, **limits):
        args = DataArguments(dataset=str(folder), mixture={"scoring": 1}, **limits)
        return load_data(args, tiny_model().processor, seed=0).fingerprints["scoring"]

    first, other = tmp_path / "pairs", tmp_path / "more" / "renamed"
    for folder in (first, other):
        shutil.copytree(smoke_data, folder, copy_function=shutil.copyfile)  # with a time of its own
    before = fingerprint(first)
    assert fingerprint(other) == before
    assert fingerprint(first, max_samples=10**6) != before  # shuffled
    change_file(first, changed)
    assert fingerprint(first) != before


@pytest.mark.parametrize(("tag", "size"), [(1, (6, 9)), (6, (9, 6)), (None, (6, 9))])
def test_size_of_a_picture_is_upright_and_needs_no_readable_exif(tag, size, monkeypatch):
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = tag or 6
    Image.new("RGB", (9, 6)).save(file, "JPEG", exif=exif)
    if tag is None:

        def broken(self):
            raise SyntaxError("not a TIFF file")

        monkeypatch.setattr(Image.Image, "getexif", broken)
    assert picture_size(file.getvalue()) == size
