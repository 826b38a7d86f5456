"""Memory and time, counted by hand on a small model and against what a large one is known to be."""

import pytest

from modeling_vital.configuration_vital import VitalConfig
from tests.fixtures.tiny_models import tiny_model
from training.estimate import estimate, measured_tflops
from training.freezing import freeze


def test_a_small_model_by_hand():
    model = tiny_model()
    count = len(freeze(model, "pretrain"))
    assert count
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    need = estimate(model.config, "pretrain", 20, 4, 2, steps=100, devices=2, device_tflops=1.0)
    assert (need.trainable, need.total) == (trainable, total)
    assert need.weights == pytest.approx(4 * total / 1e9)
    assert need.gradients == pytest.approx(4 * trainable / 1e9)
    assert need.optimizer == pytest.approx(8 * trainable / 1e9)
    vision = sum(p.numel() for p in model.model.vision_tower.parameters())
    decoder = sum(p.numel() for p in model.model.language_model.parameters())
    operations = 2 * (6 * vision * 4 * 20 * 4 + 4 * decoder * 4 * (20 + 48))  # two batches of four items
    assert need.step_tflop == pytest.approx(operations / 1e12)
    assert need.hours == pytest.approx(100 * need.step_tflop / (0.4 * 2) / 3600)
    assert f"{trainable:,} of {total:,}" in str(need)


def test_choices_change_it_the_right_way():
    config = tiny_model().config
    base = {"visual_tokens": 20, "batch_size": 4, "batches_per_step": 1, "steps": 10, "devices": 1}
    base["device_tflops"] = 1.0
    plain = estimate(config, "pretrain", **base)
    assert estimate(config, "pretrain", **base, decoder_bytes=2).weights < plain.weights
    layers = sum(p.numel() for p in tiny_model().model.language_model.layers.parameters())
    quantised = estimate(config, "pretrain", **base, layer_bytes=0.5)
    assert plain.weights - quantised.weights == pytest.approx(3.5 * layers / 1e9)
    recomputed = estimate(config, "pretrain", **base, checkpointing=True)
    assert recomputed.activations < plain.activations
    assert recomputed.hours > plain.hours
    assert estimate(config, "pretrain", **base, mixed_precision=True).activations < plain.activations
    assert estimate(config, "assistant", **base).optimizer > plain.optimizer
    assert estimate(config, "pretrain", **{**base, "device_tflops": None}).hours > 0
    assert measured_tflops(size=64, seconds=0.01) > 0


def test_the_papers_size_is_counted_without_memory():
    """8B: 304 M in the image encoder; 1,920 GPU hours for 4.58 M items on H200 are of this order."""
    text = {"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
    text |= {"num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 151674}
    need = estimate(
        VitalConfig(text_config=text),
        "pretrain",
        visual_tokens=1280,
        batch_size=2,
        batches_per_step=8,
        steps=4_580_000 // 16,
        devices=8,
        device_tflops=989,
        decoder_bytes=2,
        mixed_precision=True,
        checkpointing=True,
    )
    assert need.trainable == pytest.approx(304.5e6, rel=0.01)
    assert need.total == pytest.approx(7.96e9, rel=0.01)
    assert 18 < need.memory < 30
    assert 100 < 8 * need.hours < 1920
