"""Attention by heads: the same as SDPA up to bfloat16, used by the image encoder, left where it does not fit."""

import pytest
import torch
import torch.nn.functional as F
from transformers import InternVLVisionConfig, Qwen2Config

from modeling_vital import attention_vital
from modeling_vital.attention_vital import ATTENTION_BY_HEADS, attention_by_heads
from modeling_vital.configuration_vital import VitalConfig, VitalMotionConfig
from modeling_vital.modeling_vital import VitalForConditionalGeneration


class Layer(torch.nn.Module):
    is_causal = False


def inputs(dtype=torch.bfloat16, heads=5, length=70):
    torch.manual_seed(0)
    return [torch.randn(2, length, heads, 16).to(dtype).transpose(1, 2) for _ in range(3)]


@pytest.mark.parametrize("heads_at_once", [1, 2, 5, 8])
@pytest.mark.parametrize("scaling", [None, 0.5])
def test_it_is_attention_however_the_heads_are_split(monkeypatch, heads_at_once, scaling):
    monkeypatch.setattr(attention_vital, "_WEIGHTS_AT_ONCE", heads_at_once * 70**2)
    query, key, value = inputs()
    kept = query.clone()
    found, weights = attention_by_heads(Layer(), query, key, value, None, scaling=scaling)
    exact = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), scale=scaling).transpose(1, 2)
    assert weights is None and found.dtype == torch.bfloat16 and found.is_contiguous()
    torch.testing.assert_close(found.float(), exact, atol=0.02, rtol=0.02)
    torch.testing.assert_close(query, kept, rtol=0, atol=0)


@pytest.mark.parametrize("why", ["float32", "mask", "causal", "dropout", "gradient", "fewer key heads"])
def test_sdpa_where_it_does_not_fit(monkeypatch, why):
    monkeypatch.setattr(torch, "bmm", None)  # what it would compute with
    query, key, value = inputs(torch.float32 if why == "float32" else torch.bfloat16, heads=4)
    layer, mask, expected = Layer(), None, {}
    layer.num_key_value_groups = 1
    if why == "mask":
        mask = torch.rand(2, 1, 70, 70) > 0.3
        expected["attn_mask"] = mask
    if why == "causal":
        layer.is_causal = expected["is_causal"] = True
    if why == "dropout":
        expected["dropout_p"] = 1.0
    if why == "gradient":
        query.requires_grad_()
    if why == "fewer key heads":
        key, value, layer.num_key_value_groups = key[:, :2], value[:, :2], 2
        expected["enable_gqa"] = True
    found, _ = attention_by_heads(layer, query, key, value, mask, dropout=expected.get("dropout_p", 0.0))
    exact = F.scaled_dot_product_attention(query, key, value, **expected).transpose(1, 2)
    torch.testing.assert_close(found, exact)


@pytest.fixture
def fast(monkeypatch):
    """As on a processor with bfloat16 units."""
    monkeypatch.setattr(attention_vital, "fast_bf16", lambda: True)


def tiny(**kwargs):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = VitalConfig(
        vision_config=InternVLVisionConfig(**sizes, image_size=56, patch_size=14, attention_bias=True),
        motion_config=VitalMotionConfig(
            stem_channels=4, inner_channels=[2], out_channels=[4], depths=[1], image_size=32
        ),
        text_config=Qwen2Config(**sizes, num_key_value_heads=2, vocab_size=128),
        image_seq_length=4,
    )
    return VitalForConditionalGeneration._from_config(config, **kwargs).eval()


def test_the_image_encoder_uses_it_unless_told_otherwise(fast):
    model = tiny(dtype=torch.bfloat16)
    encoder = model.model.vision_tower
    assert encoder.config._attn_implementation == ATTENTION_BY_HEADS
    assert model.model.language_model.config._attn_implementation == "sdpa"
    tiles = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        found = model.model.encode_tiles(tiles)
        model.set_attn_implementation("sdpa")
        assert encoder.config._attn_implementation == "sdpa"
        torch.testing.assert_close(model.model.encode_tiles(tiles), found, atol=0.03, rtol=0.03)
    assert tiny(attn_implementation="eager").model.vision_tower.config._attn_implementation == "eager"


def test_it_is_left_where_there_is_no_gain(monkeypatch):
    monkeypatch.setattr(attention_vital, "fast_bf16", lambda: False)
    assert tiny(dtype=torch.bfloat16).model.vision_tower.config._attn_implementation == "sdpa"


def test_it_is_not_written_into_a_checkpoint(fast, tmp_path):
    tiny().save_pretrained(tmp_path)
    assert ATTENTION_BY_HEADS not in (tmp_path / "config.json").read_text(encoding="utf-8")
    again = VitalForConditionalGeneration.from_pretrained(tmp_path)
    assert again.model.vision_tower.config._attn_implementation == ATTENTION_BY_HEADS
