"""A file of one's own ratings: what it becomes, what is held out, and what is said of bad rows."""

import io
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dataset_scripts.pmod import pmod_from_moments
from training.collators import RowError
from training.data import DataArguments, load_data, scoring_rows
from training.own_ratings import ManifestError, ManifestSettings, import_manifest, is_manifest
from training.smoke_data import EXAMPLES


PICTURES = sorted(EXAMPLES.glob("*.jpg"))
CLIP = min(EXAMPLES.glob("*.mp4"), key=lambda path: path.stat().st_size)


@pytest.fixture
def folder(tmp_path):
    """Four pictures and a clip in a folder whose name has a space."""
    (tmp_path / "my photos").mkdir()
    for number, path in enumerate(PICTURES[:4]):
        Image.open(path).reduce(4).save(tmp_path / "my photos" / f"{number}.jpg")
    shutil.copy(CLIP, tmp_path / "my photos" / "clip.mp4")
    return tmp_path


def write_csv(folder, text, name="ratings.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows_of(manifest, split="train", **settings):
    made = import_manifest(manifest, manifest.parent / "out", ManifestSettings(**settings))
    return list(scoring_rows(DataArguments(dataset=str(made), allow_outside=True), split, None, 0))


GOOD = "path,mos,std\nmy photos/0.jpg,5,0.4\nmy photos/1.jpg,1,\nmy photos/2.jpg,3.4,0.8\nmy photos/clip.mp4,2,0.8\n"


def test_mean_and_std_become_the_pmod_target(folder):
    rows = {row["id"]: row for row in rows_of(write_csv(folder, GOOD), mos_range=(1.0, 5.0), held_out_share=0.0)}
    row = rows["my photos/2.jpg"]
    assert (row["mos"], row["std"]) == pytest.approx((0.6, 0.2))  # (3.4 - 1) / 4, 0.8 / 4
    expected = pmod_from_moments(np.array([0.6]), np.array([0.2])).level_probs[0]
    np.testing.assert_allclose(row["level_probs"], expected, atol=1e-9)
    assert rows["my photos/0.jpg"]["mos"] == 1.0
    # No spread: all on the lowest level.
    assert rows["my photos/1.jpg"]["std"] is None
    np.testing.assert_allclose(rows["my photos/1.jpg"]["level_probs"], [0, 0, 0, 0, 1])
    clip = rows["my photos/clip.mp4"]
    assert clip["modality"] == "video" and clip["videos"][0]["path"].endswith("clip.mp4") and clip["images"] == []


def test_a_reversed_range_means_less_is_better(folder):
    rows = rows_of(
        write_csv(folder, "path,mos\nmy photos/0.jpg,0\nmy photos/1.jpg,75\n"),
        mos_range=(100.0, 0.0),
        held_out_share=0,
    )
    assert {row["id"]: row["mos"] for row in rows} == {"my photos/0.jpg": 1.0, "my photos/1.jpg": 0.25}


def test_the_range_is_recognised_and_said(folder, caplog):
    rows_of(write_csv(folder, GOOD), held_out_share=0.0)
    assert "from 1 (worst) to 5 (best)" in caplog.text and "mos_range" in caplog.text


def test_an_unusual_range_must_be_given(folder):
    with pytest.raises(ManifestError, match=r"\[-3, 5\].*`mos_range`"):
        rows_of(write_csv(folder, "path,mos\nmy photos/0.jpg,-3\nmy photos/1.jpg,5\n"))


def test_every_bad_row_is_named_at_once(folder):
    (folder / "notes.txt").write_text("no picture")
    (folder / "cut.jpg").write_bytes(PICTURES[0].read_bytes()[:5000])
    lines = ["path,mos,std", "my photos/0.jpg,4,0.5", "my photos/1.jpg,good,0.5", "gone.jpg,3,0.5", "notes.txt,3,0.5"]
    lines += [
        "cut.jpg,3,0.5",
        "my photos/2.jpg,6,0.5",
        "my photos/3.jpg,3,-1",
        "my photos/0.jpg,4,0.5",
        "my photos/3.jpg,3",
    ]
    with pytest.raises(ManifestError) as raised:
        rows_of(write_csv(folder, "\n".join(lines)), mos_range=(1.0, 5.0))
    said = str(raised.value).splitlines()
    assert said[0].endswith("that cannot be used: 8")
    expected = {3: "mos is 'good'", 4: "gone.jpg", 5: "notes.txt", 6: "cut.jpg", 7: "outside [1, 5]", 8: "std is '-1'"}
    expected |= {9: "the same file as line 2", 10: "fewer cells"}
    for number, words in expected.items():
        (line,) = (line for line in said if line.strip().startswith(f"line {number} "))
        assert words in line
    assert not list((folder / "out").glob("*"))  # nothing half-made is left


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,mos\na,1\n", "'?mos.*(file|path)"),
        ("path,mos\n", "no row"),
        ("path,score\na,1\n", "'mos'.* path, score"),
    ],
)
def test_a_file_that_is_no_manifest(folder, text, words):
    with pytest.raises(ManifestError, match=words):
        rows_of(write_csv(folder, text))


@pytest.mark.parametrize(
    "entry", ["../secret.jpg", "{}/secret.jpg", "link.jpg", "up/secret.jpg", "deep/../../secret.jpg"]
)
def test_ratings_name_no_files_outside_their_folder_unless_allowed(entry, folder, tmp_path_factory):
    root = folder / "root"
    (root / "a" / "b").mkdir(parents=True)
    Image.open(PICTURES[0]).reduce(4).save(folder / "secret.jpg")
    (root / "link.jpg").symlink_to(folder / "secret.jpg")
    (root / "up").symlink_to(folder)
    (root / "deep").symlink_to(root / "a" / "b")
    entry = entry.format(folder).replace("deep/../../secret", "deep/../../../secret")
    manifest = write_csv(root, f"path,mos\n{entry},3\n")
    with pytest.raises(ManifestError, match="line 2 .*`allow_outside`"):
        rows_of(manifest, held_out_share=0.0)
    assert len(rows_of(manifest, held_out_share=0.0, allow_outside=True)) == 1


def test_rows_that_are_none_cost_themselves(folder):
    text = (
        "path,mos\nmy photos/0.jpg,3\n" + "x" * 200_000 + ",2\na\0b.jpg,2\n" + "y/" * 9000 + ",1\nmy photos/1.jpg,4\n"
    )
    with pytest.raises(ManifestError, match="csv .*: 3\n") as refused:
        rows_of(write_csv(folder, text))
    assert "field larger than" in str(refused.value) and "4,096 at most" in str(refused.value)


def test_a_copy_with_another_rating_is_an_error(folder):
    shutil.copy(folder / "my photos" / "0.jpg", folder / "my photos" / "a copy.jpg")
    shutil.copy(folder / "my photos" / "clip.mp4", folder / "copy.mp4")
    text = (
        "path,mos\nmy photos/0.jpg,3\nmy photos/1.jpg,2\nmy photos/a copy.jpg,{}\nmy photos/clip.mp4,4\ncopy.mp4,{}\n"
    )
    with pytest.raises(ManifestError, match="csv .*: 2\n") as refused:
        rows_of(write_csv(folder, text.format(4, 1)))
    assert "line 4 (my photos/a copy.jpg): byte for byte the file of line 2" in str(refused.value)
    assert "rated otherwise (4 here, 3 there)" in str(refused.value) and "line 6 (copy.mp4)" in str(refused.value)
    # Rated alike, both are one content, which no split parts.
    rows = rows_of(write_csv(folder, text.format(3, 4)), held_out_share=0.0)
    assert [row["content_id"] for row in rows] == [
        "my photos/0.jpg", "my photos/1.jpg", "my photos/0.jpg", "my photos/clip.mp4", "my photos/clip.mp4"
    ]  # fmt: skip


def test_a_copy_inside_parquet_with_another_rating_is_an_error(folder):
    data = {"bytes": (folder / "my photos" / "0.jpg").read_bytes(), "path": None}
    pq.write_table(pa.table({"image": [data, data], "mos": [1.0, 5.0]}), folder / "ratings.parquet")
    with pytest.raises(ManifestError, match=r"row 2 \(inside\): .*row 1"):
        rows_of(folder / "ratings.parquet")


def ratings_of_copies(folder, form, content_ids):
    """Three ratings alike, of a picture, another one and a copy of the first."""
    paths = ["my photos/0.jpg", "my photos/1.jpg", "copy.jpg"]
    shutil.copy(folder / paths[0], folder / paths[2])
    columns = {"mos": [3.0] * 3, **({"content_id": content_ids} if content_ids else {})}
    if form == "csv":
        lines = [",".join(map(str, row)) for row in zip(paths, *columns.values(), strict=True)]
        return write_csv(folder, "\n".join([",".join(["path", *columns]), *lines]))
    media = {"path": paths} if form == "path" else {"image": [(folder / path).read_bytes() for path in paths]}
    pq.write_table(pa.table({**media, **columns}), folder / "ratings.parquet")
    return folder / "ratings.parquet"


@pytest.mark.parametrize("form", ["csv", "path", "image"])
@pytest.mark.parametrize("content_ids", [None, ["", "", "b"], ["a", "", ""]])
def test_copies_rated_alike_are_one_content(folder, form, content_ids):
    manifest = ratings_of_copies(folder, form, content_ids)
    contents = [row["content_id"] for row in rows_of(manifest, held_out_share=0.0)]
    assert contents[0] == contents[2] != contents[1]
    sides = [len(rows_of(manifest, split, held_out_share=0.5)) for split in ("train", "validation")]
    assert sorted(sides) == [1, 2]


@pytest.mark.parametrize("form", ["csv", "image"])
def test_copies_of_different_contents_are_an_error(folder, form):
    with pytest.raises(ManifestError, match=r"(line 4|row 3) .*'b'.*'a'"):
        rows_of(ratings_of_copies(folder, form, ["a", "", "b"]))


def test_a_content_may_be_called_0(folder):
    contents = [row["content_id"] for row in rows_of(ratings_of_copies(folder, "path", [0, 0, 0]), held_out_share=0.0)]
    assert contents == ["0", "0", "0"]


def test_a_missing_file(tmp_path):
    with pytest.raises(ManifestError, match="none.csv"):
        import_manifest(tmp_path / "none.csv", tmp_path, ManifestSettings())


def test_what_is_held_out_never_parts_a_content(folder):
    lines = ["path,mos,content_id"] + [f"my photos/{n}.jpg,{n + 1},{'ab'[n // 2]}" for n in range(4)]
    manifest = write_csv(folder, "\n".join(lines))
    train = {row["content_id"] for row in rows_of(manifest, held_out_share=0.5)}
    held_out = [row["content_id"] for row in rows_of(manifest, "validation", held_out_share=0.5)]
    assert len(train) == 1 and len(held_out) == 2 and train.isdisjoint(held_out)


def test_a_given_split_is_kept(folder):
    manifest = write_csv(folder, "path;mos;split\nmy photos/0.jpg;4;train\nmy photos/1.jpg;2;validation\n")
    assert [row["id"] for row in rows_of(manifest, "validation")] == ["my photos/1.jpg"]


def test_parquet_with_media_inside(folder):
    def encoded(path):
        file = io.BytesIO()
        Image.open(path).reduce(8).save(file, format="PNG")
        return {"bytes": file.getvalue(), "path": None}

    manifest = folder / "ratings.parquet"
    columns = {"image": [encoded(path) for path in PICTURES[:2]], "mos": [20.0, 80.0], "std": [10.0, None]}
    pq.write_table(pa.table(columns), manifest)
    rows = rows_of(manifest, mos_range=(0.0, 100.0), held_out_share=0.0)
    assert [row["mos"] for row in rows] == [0.2, 0.8] and rows[0]["std"] == pytest.approx(0.1)
    assert rows[0]["images"][0]["bytes"] == columns["image"][0]["bytes"]


def test_it_is_made_once_and_again_when_a_file_changes(folder):
    manifest = write_csv(folder, GOOD)
    first = import_manifest(manifest, folder / "out", ManifestSettings())
    stamp = (first / "README.md").stat().st_mtime_ns
    assert import_manifest(manifest, folder / "out", ManifestSettings()) == first
    assert (first / "README.md").stat().st_mtime_ns == stamp
    Image.open(PICTURES[5]).reduce(4).save(folder / "my photos" / "0.jpg")
    assert import_manifest(manifest, folder / "out", ManifestSettings()) != first


def test_the_trainers_data_reads_it(folder, model):
    made = import_manifest(write_csv(folder, GOOD), folder / "out", ManifestSettings(held_out_share=0.25))
    data = load_data(DataArguments(dataset=str(made), allow_outside=True), model.processor, seed=0)
    assert data.sizes == {"scoring": 3} and len(data.eval_index) == 1 and (data.visual_tokens > 0).all()


def test_corrected_ratings_are_other_rows_to_a_run_that_resumes(folder, model):
    def fingerprints(text, root=folder, **settings):
        made = import_manifest(write_csv(root, text), folder / "out", ManifestSettings(**settings))
        return load_data(DataArguments(dataset=str(made), allow_outside=True), model.processor, seed=0).fingerprints

    first = fingerprints(GOOD)
    assert fingerprints(GOOD) == first and first.keys() == {"scoring"}
    assert fingerprints(GOOD.replace("jpg,5", "jpg,4")) != first
    assert fingerprints(GOOD, held_out_share=0.5) != first
    os.utime(folder / "my photos" / "0.jpg", (0, 0))
    assert fingerprints(GOOD) == first
    shutil.copytree(folder / "my photos", folder / "copy" / "my photos")
    assert fingerprints(GOOD, folder / "copy", allow_outside=True) == first
    for number in range(3):
        Image.open(PICTURES[number]).reduce(3).save(folder / "my photos" / f"{number}.jpg")
    assert fingerprints(GOOD) != first


@pytest.mark.parametrize("name", ["0.jpg", "clip.mp4"])
def test_rows_of_a_data_set_name_no_other_files_unless_allowed(folder, model, name):
    made = import_manifest(
        write_csv(folder, f"path,mos\nmy photos/{name},3\n"), folder / "out", ManifestSettings(held_out_share=0.0)
    )
    args = DataArguments(dataset=str(made), eval_split="train")
    for opened in (lambda: scoring_rows(args, "train", None, 0), lambda: load_data(args, model.processor, seed=0)):
        with pytest.raises(RowError, match=f"row 'my photos/{name}' .*`allow_outside`"):
            opened()
    file = folder / "my photos" / name
    file.rename(made / name)
    file.symlink_to(made / name)  # a link into the folder is a file of it
    assert len(scoring_rows(args, "train", None, 0)) == 1


def test_which_data_sets_are_manifests():
    assert is_manifest("a/ratings.CSV") and is_manifest("x.parquet")
    assert not is_manifest("org/data") and not is_manifest(None)
