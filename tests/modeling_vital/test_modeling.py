import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoConfig, AutoModel

from modeling_vital.configuration_vital import VitalConfig, VitalMotionConfig
from modeling_vital.levels_vital import level_token_ids
from modeling_vital.media_vital import MediaError
from modeling_vital.modeling_vital import VitalForConditionalGeneration, pixel_unshuffle
from modeling_vital.motion_vital import VitalMotionModel, VitalMotionNorm, let_norms_have_two_dtypes
from modeling_vital.outputs_vital import CACHE_NAME, QualityScore
from tests.fixtures.tiny_models import tiny_model


SHAPES = [("internvl", "qwen2"), ("internvl", "llama"), ("resnet", "qwen2")]


def picture(seed=0, width=90, height=40):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def clip(seed=0, frames=12):
    return np.random.default_rng(seed).integers(0, 256, (frames, 40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(params=SHAPES, ids="-".join, scope="module")
def any_model(request):
    return tiny_model(*request.param)


def test_score_is_the_expectation_over_its_levels(any_model):
    results = any_model.score([picture(), clip()])
    assert [r.modality for r in results] == ["image", "video"]
    for result in results:
        assert isinstance(result, QualityScore)
        probs = list(result.level_probs.values())
        assert sum(probs) == pytest.approx(1)
        assert list(result.level_probs) == ["high", "good", "fair", "poor", "low"]
        assert result.score == pytest.approx(np.dot(probs, [0.9, 0.7, 0.5, 0.3, 0.1]))
        assert result.std == pytest.approx(
            np.sqrt(np.dot(probs, (np.array([0.9, 0.7, 0.5, 0.3, 0.1]) - result.score) ** 2))
        )


def test_different_media_get_different_scores(any_model):
    scores = [r.score for r in any_model.score([picture(0), picture(1), clip(0), clip(1)])]
    assert len({round(s, 6) for s in scores}) == 4


@pytest.mark.parametrize("padding_side", ["left", "right"])
def test_batching_order_and_padding_change_nothing(any_model, padding_side):
    items = [picture(0, 200, 40), clip(1), picture(2, 20, 20), clip(3, frames=3), picture(4)]
    single = [any_model.score([item])[0] for item in items]
    any_model.processor.tokenizer.padding_side = padding_side
    for batch_size in (2, 5):
        batched = any_model.score(items, batch_size=batch_size)
        assert [r.modality for r in batched] == [r.modality for r in single]
        assert [r.score for r in batched] == pytest.approx([r.score for r in single], abs=1e-5)
    assert [r.score for r in any_model.score(items[::-1])] == pytest.approx([r.score for r in single[::-1]], abs=1e-5)


def test_score_equals_the_full_forward_at_the_answer(model):
    inputs = model.processor.score_inputs([picture()])
    logits = model(**inputs).logits[0, -1]
    ids = level_token_ids(model.processor.tokenizer)
    assert model.score(picture()).level_probs.values() == pytest.approx(F.softmax(logits[ids], -1).tolist(), abs=1e-5)


def test_pictures_do_not_run_the_motion_encoder(model, monkeypatch):
    def refuse(*args):
        raise AssertionError("the motion encoder ran")

    monkeypatch.setattr(model.model.motion_encoder, "forward", refuse)
    model.score([picture(0), picture(1)])
    with pytest.raises(AssertionError, match="motion encoder ran"):
        model.score([clip()])


def test_motion_frames_reach_the_score(model):
    still = np.repeat(clip()[:1], 12, axis=0)
    moving = still.copy()
    moving[1::2] = 255 - moving[1::2]
    moving[[0, 11]] = still[[0, 11]]  # key frame 0 is the same
    a, b = model.score([still, moving])
    assert abs(a.score - b.score) > 1e-6


def test_save_and_load_give_the_same_scores(any_model, tmp_path):
    any_model.save_pretrained(tmp_path)
    loaded = VitalForConditionalGeneration.from_pretrained(tmp_path)
    items = [picture(), clip()]
    assert [r.score for r in loaded.score(items)] == pytest.approx([r.score for r in any_model.score(items)], abs=1e-6)


def test_merge_refuses_a_count_mismatch(model):
    inputs = model.processor.score_inputs([picture()])
    inputs["pixel_values"] = inputs["pixel_values"][:-1]
    with pytest.raises(ValueError, match="16 .* 12 image tokens"):
        model(**inputs)
    inputs = model.processor.score_inputs([clip()])
    with pytest.raises(ValueError, match="motion_lengths"):
        model(**{**inputs, "motion_lengths": inputs["motion_lengths"][:-1]})


@pytest.mark.parametrize(
    ("inputs", "lacking"),
    [
        ({"motion_values": torch.zeros(2, 3, 8, 8)}, "motion_lengths"),
        ({"tile_index": torch.zeros(1, dtype=torch.long)}, "pixel_values"),
        ({"frame_index": torch.zeros(1, dtype=torch.long)}, "motion_values"),
    ],
)
def test_an_input_without_what_belongs_to_it_is_named(model, inputs, lacking):
    token = model.config.motion_token_id if "motion_values" in inputs else 1
    with pytest.raises(ValueError, match=f"`{next(iter(inputs))}`.*`{lacking}`"):
        model(input_ids=torch.tensor([[token]]), **inputs)


def test_encoded_once_read_twice(model):
    inputs = dict(model.processor.score_inputs([picture()]))
    expected = model(**inputs).logits
    inputs["image_hidden_states"] = model.model.encode_tiles(inputs.pop("pixel_values"))
    assert torch.allclose(model(**inputs).logits, expected, atol=1e-6)


def test_generate_feeds_media_once(model):
    for item in (picture(), clip()):
        inputs = model.processor.score_inputs([item])
        out = model.generate(**inputs, max_new_tokens=3, do_sample=False)
        first = model(**inputs).logits[0, -1].argmax()
        assert out[0, inputs["input_ids"].shape[1]] == first
        assert torch.equal(out, model.generate(**inputs, max_new_tokens=3, do_sample=False, use_cache=False))


def test_the_cache_goes_by_the_names_of_all_versions_of_transformers(model):
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    with torch.no_grad():
        whole = model(input_ids=ids).logits[:, -1]
        for name in ("past_key_values", "cache"):
            first = model(input_ids=ids[:, :4], use_cache=True)
            rest = model(input_ids=ids[:, 4:], attention_mask=torch.ones_like(ids), **{name: first[CACHE_NAME]})
            assert torch.allclose(rest.logits[:, -1], whole, atol=1e-5)
            assert rest[CACHE_NAME].get_seq_length() == 6
            step = model.prepare_inputs_for_generation(ids, **{name: first[CACHE_NAME]})
            assert step[CACHE_NAME] is first[CACHE_NAME]


def test_logits_to_keep_and_loss(model):
    inputs = model.processor.score_inputs([picture(0), picture(1)])
    full = model(**inputs).logits
    assert torch.allclose(model(**inputs, logits_to_keep=2).logits, full[:, -2:], atol=1e-6)
    loss = model(**inputs, labels=inputs["input_ids"]).loss
    assert loss.item() == pytest.approx(
        F.cross_entropy(full[:, :-1].flatten(0, 1), inputs["input_ids"][:, 1:].flatten()).item()
    )


def test_scoring_errors(model, tmp_path):
    missing = tmp_path / "no such photo.jpg"
    with pytest.raises(MediaError, match="no such photo"):
        model.score([picture(), missing])
    good, bad = model.score([picture(), missing], errors="return")
    assert isinstance(good, QualityScore)
    assert isinstance(bad, MediaError)
    assert model.score([]) == []
    with pytest.raises(ValueError, match="errors"):
        model.score([], errors="ignore")
    with pytest.raises(ValueError, match="batch_size"):
        model.score([], batch_size=0)
    model.train()
    try:
        with pytest.raises(RuntimeError, match=r"`model\.eval\(\)`"):
            model.score([picture()])
    finally:
        model.eval()


def test_a_model_without_checkpoint_says_what_is_missing():
    model = tiny_model()
    model.processor = None
    with pytest.raises(ValueError, match="processor"):
        model.score([picture()])


def test_gradients_reach_the_pixels(model):
    inputs = model.processor.score_inputs([picture()])
    inputs["pixel_values"].requires_grad_()
    model.level_logits(**inputs)[0, 0].backward()
    assert inputs["pixel_values"].grad.abs().sum() > 0


def test_pixel_unshuffle_order():
    features = torch.arange(4 * 4 * 2.0).reshape(1, 4, 4, 2)
    out = pixel_unshuffle(features, 2)
    assert out.shape == (1, 2, 2, 8)
    assert out[0, 0, 1].tolist() == [4, 5, 6, 7, 12, 13, 14, 15]  # (0,2) (0,3) (1,2) (1,3)
    assert torch.equal(pixel_unshuffle(features, 1), features)
    with pytest.raises(ValueError, match="3 x 3"):
        pixel_unshuffle(torch.zeros(1, 3, 3, 1), 2)


def test_motion_encoder_is_the_fast_pathway_of_slowfast_r50():
    encoder = VitalMotionModel(VitalMotionConfig())
    assert sum(p.numel() for p in encoder.parameters()) == 514_152
    features = VitalMotionModel(VitalMotionConfig(depths=[1, 1, 1, 1]))(torch.randn(2, 5, 3, 64, 64))
    assert features.shape == (2, 5, 256)


def test_motion_windows_are_independent(model):
    values = torch.randn(12, 3, 16, 16)
    together = model.model.get_motion_features(values, torch.tensor([4, 6, 2]))
    apart = [model.model.get_motion_features(v, torch.tensor([len(v)])) for v in values.split([4, 6, 2])]
    assert torch.allclose(together, torch.cat(apart), atol=1e-5)


def test_channel_major_layout_reads_the_matrix_without_transposing():
    frames, viewed = tiny_model(), tiny_model(motion_token_layout="channel_major")
    viewed.load_state_dict(frames.state_dict())
    values = torch.randn(1, 4, 3, 16, 16)
    captured = []
    for model in (frames, viewed):
        handle = model.model.motion_projector.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
        model.model.get_motion_features(values[0], torch.tensor([4]))
        handle.remove()
    assert torch.allclose(captured[1], captured[0].T.reshape(4, -1), atol=1e-6)


def test_configuration_round_trip_and_errors(tmp_path):
    config = tiny_model().config
    config.save_pretrained(tmp_path)
    loaded = VitalConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert VitalConfig().vision_config.model_type == "internvl_vision"
    with pytest.raises(ValueError, match="motion_token_layout"):
        VitalConfig(motion_token_layout="transposed")
    with pytest.raises(ValueError, match="differ"):
        VitalConfig(image_token_id=5, motion_token_id=5)
    with pytest.raises(ValueError, match="level_words"):
        VitalConfig(level_words=["high"])
    with pytest.raises(ValueError, match="stage"):
        VitalMotionConfig(depths=[1])


@pytest.fixture
def one_process():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(torch.cpu.Stream(), "record_event"), reason="this torch has no FSDP2 on the CPU")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("family", ["resnet", "regnet"])
def test_fsdp2_takes_image_encoders_of_convolutions_in_bfloat16(one_process, family, training):
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
    sizes |= {"layer_type": "basic"} if family == "resnet" else {"groups_width": 8}
    tower = AutoModel.from_config(AutoConfig.for_model(family, **sizes)).train(training)
    names = list(tower.state_dict())
    let_norms_have_two_dtypes(tower)
    assert list(tower.state_dict()) == names
    fully_shard(tower, mesh=one_process, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    tower(pixel_values=torch.randn(2, 3, 32, 32)).last_hidden_state.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.full_tensor().isfinite().all() for p in tower.parameters())


@pytest.mark.parametrize("training", [False, True])
def test_norms_of_motion_take_parameters_in_bfloat16_beside_statistics_in_float32(training):
    """As FSDP2 gives them, which casts parameters and not buffers."""
    expected, norm = VitalMotionNorm(3).train(training), VitalMotionNorm(3).train(training)
    norm.weight.data, norm.bias.data = norm.weight.data.bfloat16(), norm.bias.data.bfloat16()
    values = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    shown = values.bfloat16().requires_grad_()
    found = norm(shown)
    assert torch.allclose(found.float(), expected(values), atol=0.05)
    found.float().square().sum().backward()
    assert shown.grad.isfinite().all() and norm.weight.grad.dtype == torch.bfloat16
    assert torch.allclose(norm.running_mean, expected.running_mean, atol=0.01)
    assert norm.num_batches_tracked == expected.num_batches_tracked == int(training)
