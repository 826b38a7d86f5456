"""The audit of a decoder's words: planted faults are found, probabilities are those of one token after another."""

import json
import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dataset_scripts.distortions import DISTORTIONS, SEVERITY_WORDS, tag
from modeling_vital.cli.main import main
from modeling_vital.evaluation import vocabulary_audit as audit


WORDS = ["<unk>", "the", "quality", "is", "high", "low", "fair", "blur", "lens", "motion", "noise", "color", "shift"]
VOCABULARY = {
    "level": ("the quality is", ("high", "low", "fair enough")),
    "distortion": ("the blur is", ("color noise", "color shift", "motion blur", "lens")),
}


@pytest.fixture
def tokenizer():
    words = WORDS + [f"other{i}" for i in range(60)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=73, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForCausalLM(config).eval()


def test_tokens_and_what_begins_alike(tokenizer):
    report = audit.audit_vocabulary(tokenizer, vocabulary=VOCABULARY)
    found = {entry["word"]: entry for entry in report["words"]}
    assert found["high"]["tokens"] == ["high"]
    assert found["color noise"]["n_tokens"] == 2
    assert found["color noise"]["like"] == ["color shift"]
    assert found["motion blur"]["like"] == []
    assert "probability" not in found["high"]
    spots = " ".join(report["blind_spots"])
    assert "'fair enough' has characters that the tokenizer does not know" in spots
    assert "level 'fair enough' is 2 tokens (fair + <unk>); a level word must be one" in spots
    assert "distortion: color noise, color shift begin with the same token" in spots
    assert len(report["blind_spots"]) == 3
    assert report["limits"]


def test_probabilities_are_those_of_one_token_after_another(tokenizer, model):
    texts = [("the quality is", [4]), ("the blur", [11, 12]), ("the", [9, 7, 10])]
    found = audit.log_probabilities(tokenizer, model, texts, batch_size=2)
    for (prefix, ids), value in zip(texts, found, strict=True):
        context, expected = tokenizer(prefix)["input_ids"], 0.0
        for i in ids:
            with torch.no_grad():
                expected += model(torch.tensor([context])).logits[0, -1].log_softmax(-1)[i].item()
            context = [*context, i]
        assert value == pytest.approx(expected, abs=1e-5)


def test_planted_faults_are_found(tokenizer, model):
    with torch.no_grad():
        model.get_input_embeddings().weight[9] *= 50  # motion
    report = audit.audit_vocabulary(tokenizer, model, VOCABULARY)
    found = {entry["word"]: entry for entry in report["words"]}
    assert found["motion blur"]["norm_z"] > 10
    assert abs(found["color noise"]["norm_z"]) < audit.OUTLIER_Z
    unusual = [spot for spot in report["blind_spots"] if "a token with an unusual embedding norm" in spot]
    assert len(unusual) == 1 and unusual[0].startswith("distortion: motion blur (z = +")
    assert 0 < found["high"]["probability"] < 1


def test_rare_words_are_named():
    words = [{"kind": "level", "word": w, "tokens": [w], "n_tokens": 1, "unknown": False, "like": []} for w in "abc"]
    for entry, probability in zip(words, (0.5, 0.4, 1e-5), strict=True):
        entry["probability"] = probability
    (spot,) = audit.blind_spots(words)
    assert spot.startswith("level: c is over 1000 times less probable")
    for entry in words:
        entry.update(norm_z=-9.0, probability=0.5)
    (spot,) = audit.blind_spots(words)  # one sentence a kind, not one a word
    assert spot.startswith("level: a (z = -9.0), b (z = -9.0), c (z = -9.0) have a token with an unusual")


def test_norms_that_are_all_alike_have_no_outliers():
    assert audit.norm_z_scores(torch.ones(10, 4)).tolist() == [0.0] * 10
    z = audit.norm_z_scores(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0])))
    assert z.tolist() == pytest.approx([(v - 3) / 1.4826 for v in (1, 2, 3, 4, 100)], abs=1e-4)


def test_the_vocabulary_is_that_of_the_training_texts():
    severe = SEVERITY_WORDS[-1]
    written = [tag(name, 5).removeprefix(f"{severe} ") for name in DISTORTIONS]
    assert written == [
        word for kind, (_, words) in audit.VOCABULARY.items() if kind.startswith("distortion") for word in words
    ]
    assert audit.VOCABULARY["severity"][1] == SEVERITY_WORDS


# ------------------------------------------------------------------------------------------------- the command line
def test_the_embedded_checkpoint(tmp_path, capsys):
    assert main(["audit", "vocab", "--output", str(tmp_path / "a report")]) == 0
    printed = capsys.readouterr().out
    assert "Blind spots:" in printed
    report = json.loads((tmp_path / "a report" / "vocab.json").read_text())
    levels = [entry for entry in report["words"] if entry["kind"] == "level"]
    assert [entry["n_tokens"] for entry in levels] == [1] * 5
    assert all(0 < entry["probability"] < 1 for entry in levels)  # without a picture it need not expect them
    assert all(math.isfinite(entry["norm_z"]) for entry in report["words"])


def test_any_decoder_and_its_tokenizer_alone(tokenizer, model, tmp_path, capsys):
    tokenizer.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    assert main(["audit", "vocab", "--model", str(tmp_path), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "probability" in report["words"][0]
    assert main(["audit", "vocab", "--model", str(tmp_path), "--tokenizer-only", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert "probability" not in report["words"][0]
    (tmp_path / "config.json").write_text("{}")
    for path in tmp_path.glob("tokenizer*"):
        path.unlink()
    assert main(["audit", "vocab", "--model", str(tmp_path)]) == 2
    assert "no decoder can be loaded" in capsys.readouterr().err
