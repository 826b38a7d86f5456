"""Which parameters learn in each stage, by name, and what stays still."""

import pytest
import torch

from modeling_vital.motion_vital import VitalImageNorm, VitalMotionNorm
from tests.fixtures.tiny_models import tiny_model
from training.freezing import STAGES, freeze, set_training_mode


PARTS = {
    "model.vision_tower": 38,
    "model.motion_encoder": 0,
    "model.multi_modal_projector": 6,
    "model.motion_projector": 6,
    "model.language_model": 26,
    "lm_head": 1,
}


@pytest.mark.parametrize(
    ("stage", "learning", "frozen"),
    [
        (
            "pretrain",
            ["model.vision_tower.", "model.motion_encoder."],
            ["model.multi_modal_projector.", "model.motion_projector.", "model.language_model.", "lm_head."],
        ),
        (
            "warm_up",
            ["model.multi_modal_projector.", "model.motion_projector.", "model.language_model.", "lm_head."],
            ["model.vision_tower.", "model.motion_encoder."],
        ),
        (
            "assistant",
            [
                "model.vision_tower.",
                "model.motion_encoder.",
                "model.multi_modal_projector.",
                "model.motion_projector.",
                "model.language_model.",
                "lm_head.",
            ],
            [],
        ),
    ],
)
def test_what_learns_in_each_stage(stage, learning, frozen):
    model = tiny_model()
    names = freeze(model, stage)
    every = [name for name, _ in model.named_parameters()]
    assert names == [name for name in every if name.startswith(tuple(learning))]
    assert {name for name in every if name not in names} == {
        n for n in every if frozen and n.startswith(tuple(frozen))
    }
    for prefix in learning:
        assert any(name.startswith(prefix) for name in names), prefix


def test_exact_names_of_a_stage():
    names = freeze(tiny_model(vision="resnet"), "warm_up")
    projector = ["layer_norm.weight", "layer_norm.bias", "linear_1.weight", "linear_1.bias"]
    projector += ["linear_2.weight", "linear_2.bias"]
    layer = ["self_attn.q_proj.weight", "self_attn.q_proj.bias", "self_attn.k_proj.weight", "self_attn.k_proj.bias"]
    layer += ["self_attn.v_proj.weight", "self_attn.v_proj.bias", "self_attn.o_proj.weight"]
    layer += ["mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"]
    layer += ["input_layernorm.weight", "post_attention_layernorm.weight"]
    expected = {f"model.multi_modal_projector.{name}" for name in projector}
    expected |= {f"model.motion_projector.{name}" for name in projector}
    expected |= {f"model.language_model.layers.{i}.{name}" for i in range(2) for name in layer}
    expected |= {"model.language_model.embed_tokens.weight", "model.language_model.norm.weight", "lm_head.weight"}
    assert set(names) == expected


def test_a_frozen_part_is_in_evaluation_mode_with_all_that_is_in_it():
    model = tiny_model(vision="resnet")
    freeze(model, "warm_up")
    set_training_mode(model)
    assert not any(module.training for module in model.model.vision_tower.modules())
    assert not any(module.training for module in model.model.motion_encoder.modules())
    assert all(module.training for module in model.model.language_model.modules())
    freeze(model, "pretrain")
    set_training_mode(model)
    assert not any(module.training for module in model.model.language_model.modules())
    kinds = (torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)
    norms = [module for module in model.modules() if isinstance(module, kinds)]
    assert {type(norm) for norm in norms} == {VitalImageNorm, VitalMotionNorm}
    encoders = [*model.model.vision_tower.modules(), *model.model.motion_encoder.modules()]
    assert all(module.training for module in encoders if not isinstance(module, kinds))
    assert not any(norm.training for norm in norms)
    assert all(norm.weight.requires_grad for norm in norms)
    set_training_mode(model, update_batch_norm=True)
    assert all(norm.training for norm in norms)


def test_frozen_layers_still_recompute_when_asked_to():
    model = tiny_model()
    freeze(model, "pretrain")
    model.gradient_checkpointing_enable()
    set_training_mode(model)
    layer = model.model.language_model.layers[0]
    assert layer.training
    assert not layer.self_attn.training


def test_nothing_is_kept_of_what_neither_learns_nor_comes_after_what_learns():
    model = tiny_model()
    freeze(model, "warm_up")
    set_training_mode(model)
    features = model.model.vision_tower(torch.randn(1, 3, 32, 32)).last_hidden_state
    assert not features.requires_grad
    freeze(model, "pretrain")
    features = model.model.encode_tiles(torch.randn(1, 3, 32, 32))
    features.sum().backward()
    assert model.model.vision_tower.embeddings.cls_token.grad is not None
    assert all(p.grad is None for p in model.model.multi_modal_projector.parameters())


def test_unknown_stage():
    with pytest.raises(ValueError, match=", ".join(STAGES)):
        freeze(tiny_model(), "pretraining")
