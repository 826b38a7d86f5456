"""Every Python block of docs/security.md runs, on the folders and files it names."""

import shutil
from pathlib import Path

from modeling_vital import (
    MediaError,
    chat_template_vital,
    clip_vital,
    download_vital,
    manifest_paths,
    media_vital,
    messages,
    reading,
    video_decoding_vital,
)
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


def test_every_limit_is_stated_with_its_number(monkeypatch):
    monkeypatch.syspath_prepend("spaces_demo")
    import housekeeping
    import inference

    limits = Path("docs/security.md").read_text().split("## Limits in numbers")[1]
    for stated in (
        f"| a still picture | {media_vital.MAX_PIXELS:,} pixels |",
        f"| a frame of a clip | {video_decoding_vital.MAX_FRAME_PIXELS:,} pixels",
        f"held at a time | {clip_vital.MAX_TOTAL_BYTES / 2**30:g} GiB |",
        f"for one item (Linux) | {reading.MAX_WORKER_BYTES / 2**30:g} GiB |",
        f"by all workers | {reading.MAX_HELD_BYTES / 2**30:g} GiB |",
        f"| {reading.TIMEOUT_S:g} s (`--timeout`)",
        f"{download_vital.MAX_URL_BYTES // 2**20} MB, {download_vital.DOWNLOAD_TIMEOUT_S:g} s for the whole",
        f"{download_vital.MAX_REDIRECTS} redirects",
        f"{manifest_paths.MAX_ENTRY_CHARS:,} characters, in or below",
        f"| {messages.MAX_MESSAGE_CHARS:,} characters |",
        f"| {chat_template_vital.RENDER_TIMEOUT_S:g} s |",
        f"{inference.MAX_FILE_MB} MB, {inference.MAX_CLIP_S} s, {inference.MAX_PIXELS / 1e6:.0f} megapixels",
        f"{inference.MAX_QUESTION_CHARS} characters, {inference.MAX_TURNS} questions, {inference.MAX_ANSWER_CHARS:,}",
        f"| {housekeeping.MAX_BODY_BYTES // 2**20} MB |",
        f"removed after {housekeeping.UPLOADS_KEPT_S:,} s, looked for every {housekeeping.SWEEP_S} s",
    ):
        assert stated in limits, stated
