"""Every Python block of docs/security.md runs, on the folders and files it names."""

import shutil

from modeling_vital import MediaError
from tests.fixtures.doc_blocks import named_block
from tests.fixtures.tiny_models import tiny_model
from tests.test_embedded_checkpoint import PHOTOS


BLOCKS = (
    named_block("docs/security.md", "reading", __file__),
    named_block("docs/security.md", "addresses", __file__),
    named_block("docs/security.md", "lists", __file__),
    named_block("docs/security.md", "checkpoints", __file__),
    named_block("docs/security.md", "hashes", __file__),
)


def test_the_blocks_run_in_order(tmp_path, monkeypatch):
    tiny_model().save_pretrained(tmp_path / "my-vital")
    shutil.copy(PHOTOS[0], tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    for block in BLOCKS:
        exec(compile(block, "docs/security.md", "exec"), names)
    picture, missing = names["results"]
    assert picture.modality == "image" and isinstance(missing, MediaError)
    assert "not public" in names["reason"]
    assert len(names["hashes"]["model.safetensors"]) == 64
