"""What is compared computes the same: the re-enactment, transformers' InternVL and we agree on the same weights."""

import pytest
import torch

from benchmarks.cases import clip, native_model, photos, random_model, use_convention
from benchmarks.plain import PlainInternVL
from benchmarks.released import ReleasedProcedure, SlowFast, eager_attention
from modeling_vital.configuration_vital import VitalMotionConfig
from modeling_vital.motion_vital import VitalMotionModel


@pytest.fixture
def model():
    model = random_model("toy", torch.float32, packed=False)
    use_convention(model, "released")
    return model


def test_pictures_and_clips_score_as_the_re_enacted_procedure_says(model):
    items = [*photos([1, 3], 56), clip("toy")]
    expected = ReleasedProcedure(model).score(items)
    assert [score.score for score in model.score(items)] == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 5) for score in expected}) == 3  # or it would prove nothing


def test_transformers_own_internvl_scores_the_same(model):
    use_convention(model, "default")
    pictures = photos([1, 3, 5], 56)
    native = native_model(model)
    assert native.lm_head.weight.data_ptr() == model.lm_head.weight.data_ptr()
    plain = PlainInternVL(native, model.processor, model.config.level_words, model.config.level_values)
    ours = [score.score for score in model.score(pictures)]
    assert plain.score(pictures) == pytest.approx(ours, abs=1e-5)


def test_both_pathways_have_the_published_size_and_the_slow_one_no_say():
    torch.manual_seed(0)
    fast = VitalMotionModel(VitalMotionConfig()).eval()
    both = SlowFast(fast)
    assert sum(p.numel() for p in both.parameters()) == 33_644_488
    frames = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(both(frames), fast(frames[None])[0])


def test_attention_is_plain_inside_the_block_only(model):
    config = model.model.vision_tower.config
    before = config._attn_implementation
    with eager_attention(model):
        assert config._attn_implementation == "eager"
    assert config._attn_implementation == before != "eager"
