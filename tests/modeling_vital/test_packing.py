"""Packed linear layers: the same scores, and no way to lose weights or gradients with them."""

from pathlib import Path

import pytest
import torch

from modeling_vital import VitalForConditionalGeneration, packing, zoo
from modeling_vital.cli.model_loading import load_model
from modeling_vital.packing import PackedLinear, fast_bf16, pack_linears
from tests.fixtures.tiny_probes import tiny_probe


PHOTO = Path(__file__).parents[2] / "spaces_demo" / "examples" / "astronaut-portrait.jpg"

needs_bf16 = pytest.mark.skipif(not fast_bf16(), reason="this processor does not multiply in bfloat16")


def tiny(dtype=torch.bfloat16):
    return VitalForConditionalGeneration.from_pretrained("vital-tiny", dtype=dtype).eval()


def packed_layers(model):
    return [name for name, layer in model.named_modules() if isinstance(layer, PackedLinear)]


@needs_bf16
@pytest.mark.parametrize("shape", [(3, 24), (2, 5, 24), (24,), (0, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_gives_what_it_gave(shape, bias):
    layer = torch.nn.Linear(24, 40, bias=bias).bfloat16()
    features = torch.randn(*shape).bfloat16()
    found = PackedLinear(layer)(features)
    assert not found.requires_grad
    torch.testing.assert_close(found, layer(features).detach(), rtol=0.01, atol=0.01)


@needs_bf16
def test_scores_and_words_stay():
    model, other = tiny(), pack_linears(tiny())
    names = packed_layers(other)
    assert any("language_model" in n for n in names) and "model.multi_modal_projector.linear_1" in names
    assert type(other.lm_head) is torch.nn.Linear
    a, b = model.score(PHOTO), other.score(PHOTO)
    assert b.score == pytest.approx(a.score, abs=2e-3)
    assert other.describe([PHOTO]) == model.describe([PHOTO])


@needs_bf16
def test_a_packed_model_is_not_saved(tmp_path):
    with pytest.raises(RuntimeError, match="q_proj.*saved"):
        pack_linears(tiny()).save_pretrained(tmp_path)


@needs_bf16
def test_a_packed_model_has_no_gradients_and_stays_where_it_is():
    model = pack_linears(tiny())
    pixels = torch.rand(1, 3, 128, 128, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match="gradients"):
        model.model.encode_tiles(pixels.requires_grad_())
    with pytest.raises(RuntimeError, match="dtype"):
        model.float()


def test_float32_and_processors_without_bfloat16_are_left(monkeypatch):
    assert packed_layers(pack_linears(tiny(torch.float32))) == []
    monkeypatch.setattr(packing, "fast_bf16", lambda: False)
    assert packed_layers(pack_linears(tiny())) == []


@needs_bf16
def test_commands_score_with_packed_models(tmp_path):
    model = tiny()
    model.config.dtype = torch.bfloat16
    model.save_pretrained(tmp_path)
    model.processor.save_pretrained(tmp_path)
    assert packed_layers(load_model(str(tmp_path), "cpu"))
    probe = tiny_probe().to(torch.bfloat16)
    probe.save_pretrained(tmp_path / "probe")
    packed = load_model(str(tmp_path / "probe"), "cpu")
    assert packed_layers(packed) and packed.dtype == torch.bfloat16
    assert packed.score(PHOTO).score == pytest.approx(probe.score(PHOTO).score, abs=2e-3)
    assert not packed_layers(load_model(str(zoo.resolve("vital-tiny")), "cpu"))
