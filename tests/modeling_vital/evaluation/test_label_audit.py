"""The audit of labels: heads learn what they are given, and what machine labels are worth is measured rightly."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dataset_scripts.pmod import pmod
from modeling_vital.cli.main import main
from modeling_vital.evaluation.benchmarks import BenchmarkError
from modeling_vital.evaluation.human_labels import Opinions
from modeling_vital.evaluation.label_audit import audit_labels, extract_features, fit_levels, fit_regression
from modeling_vital.item_log import ItemLogError
from modeling_vital.video_backend_vital import BACKEND_VARIABLE
from tests.fixtures.tiny_models import tiny_model


def part(name, n, rng, machine_noise):
    """Features whose first is the truth; people see it, annotators see it with an error they share."""
    features = rng.normal(size=(n, 8))
    human = 1 / (1 + np.exp(-features[:, 0]))
    shared = np.clip(human + machine_noise * features[:, 1] / 8, 0.05, 0.95)
    annotators = {a: np.clip(shared + rng.normal(0, 0.08, n), 0, 1) for a in ("x", "y", "z")}
    ids = [f"{name}{i}" for i in range(n)]
    groups = [f"{name}{i // 4}" for i in range(n)]
    return Opinions(ids, groups, ["jpeg"] * n, [1] * n, annotators, human, None, 0, "item"), features


def measured(machine_noise):
    rng = np.random.default_rng(0)
    (train, x), (test, y) = part("a", 300, rng, machine_noise), part("b", 200, rng, machine_noise)
    return audit_labels(train, x, pmod(train.matrix()).level_probs, test, y, resamples=50)


def test_good_machine_labels_are_worth_many_human_ones():
    report = measured(machine_noise=0.0)
    assert report["heads"]["pmod"]["srcc"] > 0.98
    assert list(report["heads"])[:4] == ["pmod", "machine mean", "human 25", "human 50"]
    assert report["heads"]["human 300"]["srcc"] > 0.99
    assert report["heads"]["pmod"]["labels"] == report["heads"]["human 300"]["labels"] == 300
    assert (report["train"], report["test"], report["test_contents"]) == (300, 200, 50)


def test_labels_with_a_shared_error_lose_and_it_is_said():
    report = measured(machine_noise=2.0)
    assert report["heads"]["pmod"]["srcc"] < 0.9
    assert report["worth"] == 25  # so few human labels already beat them
    assert report["comparison"]["high"] < 0
    assert any("PMOD labels lose" in spot for spot in report["blind_spots"])


def test_heads_by_themselves():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    target = x @ [0.3, -0.2, 0.0] + 0.5
    assert fit_regression(x, target, 1e-9)(x) == pytest.approx(target, abs=1e-6)
    assert fit_regression(x, target, 1e6)(x) == pytest.approx(np.full(200, target.mean()), abs=1e-4)
    logits = x @ rng.normal(size=(3, 5))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert fit_levels(x, probs, 1e-9)(x) == pytest.approx(probs @ [0.9, 0.7, 0.5, 0.3, 0.1], abs=1e-3)
    constant = np.column_stack([x, np.ones(200)])
    assert np.isfinite(fit_regression(constant, target, 0.1)(constant)).all()


def test_training_and_test_must_be_apart():
    rng = np.random.default_rng(0)
    (train, x), (other, y) = part("a", 40, rng, 0), part("b", 40, rng, 0)
    with pytest.raises(ValueError, match="10 contents.* a0"):
        audit_labels(train, x, pmod(train.matrix()).level_probs, train, x)
    with pytest.raises(ValueError, match="3 items.* 2 contents"):
        audit_labels(train, x, pmod(train.matrix()).level_probs, other.take([0, 1]), y[:2])


# ------------------------------------------------------------------------------------------------------ the features
@pytest.fixture
def model(tmp_path):
    tiny_model().save_pretrained(tmp_path / "model")
    from modeling_vital import VitalForConditionalGeneration

    return VitalForConditionalGeneration.from_pretrained(tmp_path / "model").eval()


def test_no_feature_found_before_a_stop_is_lost(model, tmp_path):
    asked, store = [], tmp_path / "features.resume"

    def media(i, stop=False):
        def get():
            if stop:
                raise KeyboardInterrupt
            asked.append(i)
            return Image.new("RGB", (40, 50), (90 * i, 0, 0))

        return get

    with pytest.raises(KeyboardInterrupt):
        extract_features(model, "abc", [media(0), media(1), media(2, stop=True)], store)
    done = []
    resumed = extract_features(model, "cab", [media(2), media(0), media(1)], store, done.append)
    assert asked == [0, 1, 2] and done == [2, 1]
    assert np.array_equal(resumed[[1, 2, 0]], extract_features(model, "abc", [media(i) for i in range(3)]))


def test_features_are_kept_and_belong_to_one_model(model, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)) for _ in range(3)]
    asked = []

    def media(i):
        return lambda: asked.append(i) or pictures[i]

    names, get = ["a", "b", "c"], [media(i) for i in range(3)]
    store = tmp_path / "out" / "features.resume"
    first = extract_features(model, names[:2], get[:2], store)
    both = extract_features(model, names, get, store)
    assert asked == [0, 1, 2]
    assert np.array_equal(both[:2], first)
    assert both.shape == (3, 3 * model.config.text_config.hidden_size)
    assert not both[:, -model.config.text_config.hidden_size :].any()  # a picture has no motion
    assert np.array_equal(extract_features(model, names[:1], get[:1]), first[:1])
    with monkeypatch.context() as patch:
        patch.setenv(BACKEND_VARIABLE, "pyav")
        with pytest.raises(ItemLogError, match=" video_backend: .*--output"):
            extract_features(model, names, get, store)
    model.config.level_values = [1.0, 0.8, 0.6, 0.4, 0.2]
    with pytest.raises(ItemLogError, match=" level_values: .*--output"):
        extract_features(model, names, get, store)
    with pytest.raises(BenchmarkError, match="gone: .*nowhere.png"):
        extract_features(model, ["gone"], [lambda: str(tmp_path / "nowhere.png")])


def test_an_item_that_is_too_large_is_named(model, monkeypatch):
    def full(media):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(model, "encode_media", full)
    with pytest.raises(BenchmarkError, match="large: .*max_tiles"):
        extract_features(model, ["large"], [lambda: Image.new("RGB", (40, 50))])


def test_the_command(tmp_path, capsys):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    folder = tmp_path / "a data set" / "data" / "scoring"
    folder.mkdir(parents=True)
    lines = ["id,mos"]
    for split, count in (("train", 12), ("test", 8)):
        rows = []
        for i in range(count):
            file, mos = io.BytesIO(), float(rng.uniform(0.2, 0.8))
            Image.new("RGB", (48, 48), (int(255 * mos),) * 3).save(file, "PNG")
            opinions = {name: float(np.clip(mos + rng.normal(0, 0.05), 0, 1)) for name in ("ssim", "piqe", "mdsi")}
            rows.append(
                {
                    "id": f"{split}{i}",
                    "modality": "image",
                    "images": [{"bytes": file.getvalue(), "path": None}],
                    "videos": [],
                    "mos": mos,
                    "std": 0.1,
                    "level_probs": pmod(np.array([list(opinions.values())])).level_probs[0].tolist(),
                    "annotators": opinions,
                    "content_id": f"{split}{i // 2}",
                    "split": split,
                    "distortion": {"type": None, "severity": None},
                }
            )
            lines.append(f"{split}{i},{1 + 4 * mos}")
        pq.write_table(pa.Table.from_pylist(rows), folder / f"vital_pairs-{split}.parquet")
    human = tmp_path / "human.csv"
    human.write_text("\n".join(lines) + "\n")
    args = ["audit", "labels", "--root", str(tmp_path / "a data set"), "--human", str(human), "--resamples", "20"]
    assert main([*args, "--per-stratum", "50", "--output", str(tmp_path / "out")]) == 0
    assert "12 training items, measured against people on 8 items of 4 other contents" in capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert set(report["heads"]) == {"pmod", "machine mean", "human 12"}
    assert (tmp_path / "out" / "features.resume").exists()
    assert main([*args, "--test-split", "validation"]) == 2
    assert "no items in the split 'validation'" in capsys.readouterr().err
