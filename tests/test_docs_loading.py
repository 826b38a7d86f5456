"""Every Python block of docs/loading.md runs, on the folders and files it names."""

import re
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tests.fixtures.tiny_models import text_config, tiny_model
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


BLOCKS = re.findall(r"^```python\n(.*?)^```$", Path("docs/loading.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_blocks_run_in_order(tmp_path, monkeypatch):
    pytest.importorskip("accelerate")
    pytest.importorskip("bitsandbytes")
    assert len(BLOCKS) >= 10
    model = tiny_model()
    model.save_pretrained(tmp_path / "my-vital")
    tokenizer = model.processor.tokenizer
    decoder = AutoModelForCausalLM.from_config(text_config("llama", len(tokenizer)))
    decoder.save_pretrained(tmp_path / "my-decoder")
    tokenizer.save_pretrained(tmp_path / "my-decoder")
    for source, name in ((PHOTOS[0], "photo.jpg"), (PHOTOS[1], "other.jpg"), (CLIPS[0], "clip.mp4")):
        shutil.copy(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS:
        exec(compile(block, "docs/loading.md", "exec"), names)
    assert [s.modality for s in names["scores"]] == ["image", "video"]
    assert [r["modality"] for r in names["records"]] == ["image", "video"]
    assert names["comparison"].winner in ("a", "b", "tie")
    assert len(names["texts"]) == 2 and set(names["answer"].choice_probs) == {"yes", "no"}
    assert names["pictures"].grad.abs().sum() > 0
    assert (tmp_path / "my-zero" / "config.json").is_file()
    assert names["config"].text_config.hidden_size == 3584
