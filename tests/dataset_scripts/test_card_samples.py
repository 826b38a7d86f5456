"""The sample pictures of a card: versions of an original in a row, with opinion and distortion."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dataset_scripts.card_samples import CAPTION_PX, SIDE_PX, VERSIONS, caption, draw_samples
from tests.fixtures.tiny_media import photo


def row(content, seed, kind="jpeg", mos=0.25):
    file = io.BytesIO()
    Image.fromarray(photo(seed)).save(file, "PNG")
    return {
        "content_id": content,
        "modality": "image",
        "images": [{"bytes": file.getvalue(), "path": None}],
        "mos": mos,
        "license": "CC0-1.0" if content == "a" else "MIT",
        "provenance": {"name": f"{content}.jpg", "steps": [[{"type": kind, "severity": 2}]]},
    }


def write(folder, rows):
    (folder / "data" / "scoring").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "scoring" / "vital-train-00000.parquet")


def test_versions_stand_in_rows_and_originals_are_named_with_their_licence(tmp_path):
    clip = {**row("c", 9), "modality": "video", "images": []}
    write(tmp_path, [clip, *(row("a", seed) for seed in range(6)), row("b", 7)])
    made = draw_samples(tmp_path, "plots")
    assert list(made) == ["plots/samples.jpg"]
    assert "Originals: a.jpg (CC0-1.0); b.jpg (MIT)." in made["plots/samples.jpg"]
    with Image.open(tmp_path / "plots" / "samples.jpg") as sheet:
        assert sheet.size == (VERSIONS * SIDE_PX, 2 * (SIDE_PX + CAPTION_PX))
        right = sheet.crop((SIDE_PX, SIDE_PX + CAPTION_PX, sheet.width, sheet.height))
        assert min(right.convert("L").tobytes()) > 250  # b has one version only


def test_without_pictures_there_is_no_sample(tmp_path):
    assert draw_samples(tmp_path, "plots") == {}
    write(tmp_path, [{**row("c", 9), "images": []}])
    assert draw_samples(tmp_path, "plots") == {} and not (tmp_path / "plots").exists()


def test_a_caption_says_what_was_done():
    assert caption(row("a", 0)) == "0.25: jpeg 2"
    done = [{"type": "jpeg", "severity": 2}, {"type": "white_noise", "severity": 4}]
    assert caption({"mos": 0.9, "provenance": {"steps": [done]}}) == "0.90: jpeg 2\n+ white_noise 4"
    assert caption({"mos": None, "provenance": {"steps": [[]]}}) == "original"
