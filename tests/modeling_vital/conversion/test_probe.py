"""The released linear probe: every key has its place, and the numbers are the released ones."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from modeling_vital.conversion.probe import convert_tensor, is_probe, probe_config, probe_processor
from modeling_vital.preparation_vital import PreparedMedia
from modeling_vital.probe_vital import VitalForQualityProbe
from tests.fixtures.tiny_probes import RELEASED_CONFIG, released_forward, released_tensors


KEYS = json.loads(gzip.decompress((Path(__file__).parents[2] / "fixtures/released_probe_keys.json.gz").read_bytes()))
"""Names and shapes of the released full-size probe, written down from the released code's own model."""


def converted(tensors) -> VitalForQualityProbe:
    probe = VitalForQualityProbe(probe_config(RELEASED_CONFIG)).eval()
    state = {}
    for name, tensor in tensors.items():
        state |= convert_tensor(name, tensor, probe.config)
    probe.load_state_dict(state)
    probe.processor = probe_processor(RELEASED_CONFIG)
    return probe


def clip(frames, seed):
    return torch.randn(frames, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def test_full_size_manifest():
    vision = RELEASED_CONFIG["vision_config"] | {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 448,
        "patch_size": 14,
    }
    config = probe_config(RELEASED_CONFIG | {"vision_config": vision})
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in VitalForQualityProbe(config).state_dict().items()}
    placed, dead = {}, []
    for name, shape in KEYS.items():
        ours = convert_tensor(name, torch.empty(shape, device="meta"), config)
        assert not placed.keys() & ours.keys(), f"{name} would overwrite another tensor"
        placed |= {key: tensor.shape for key, tensor in ours.items()}
        dead += [] if ours else [name]
    assert len(KEYS) == 1004
    assert placed == expected
    # What is left out is exactly what cannot reach the output.
    unread = tuple(f"vision_model.encoder.layers.{i}." for i in range(19, 24))
    assert all(name.startswith(unread) or "_blocks.0." in name or "_fusion." in name for name in dead)
    assert len([name for name in dead if name.startswith(unread)]) == 5 * 14


def test_numbers_are_the_released_ones():
    tensors = released_tensors(KEYS)
    probe = converted(tensors)
    clips = [(clip(3, 0), clip(8, 1)), (clip(1, 2), clip(4, 3))]
    expected = [released_forward(tensors, keys, motion) for keys, motion in clips]
    output = probe(
        pixel_values=torch.cat([keys for keys, _ in clips]),
        num_tiles=torch.tensor([3, 1]),
        num_windows=torch.tensor([1, 1]),
        motion_values=torch.cat([motion for _, motion in clips]),
        motion_lengths=torch.tensor([8, 4]),
    )
    for i, (features, logits) in enumerate(expected):
        torch.testing.assert_close(output.features[i], features, atol=1e-4, rtol=0)
        torch.testing.assert_close(output.logits[i], logits.flip(0), atol=1e-4, rtol=0)  # ours: best first
        assert features[:96].std() > 0.01 and features[96:].std() > 0.01  # neither half is a constant

    media = [PreparedMedia("video", keys, [1] * len(keys), motion, [len(motion)]) for keys, motion in clips]
    for score, (_, logits) in zip(probe.score(media), expected, strict=True):
        released = logits.double().softmax(0) @ torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0], dtype=torch.float64)
        assert score.score == pytest.approx(released.item(), abs=1e-5)
        assert score.level_probs["high"] == pytest.approx(logits.softmax(0)[4].item(), abs=1e-5)


def test_dead_tensors_change_nothing_in_the_released_forward():
    tensors = released_tensors(KEYS)
    before = released_forward(tensors, clip(1, 0), clip(4, 1))[1]
    config = probe_config(RELEASED_CONFIG)
    dead = {name: tensor + 1 for name, tensor in tensors.items() if not convert_tensor(name, tensor, config)}
    assert torch.equal(released_forward(tensors | dead, clip(1, 0), clip(4, 1))[1], before)


def test_released_frame_sampling():
    sampling = probe_processor(RELEASED_CONFIG).sampling
    assert (sampling.motion_stride, sampling.whole_groups_only, sampling.max_motion_frames) == (1, True, None)


@pytest.mark.parametrize(
    "name",
    [
        "quality.2.weight",
        "mlp1.0.weight",
        "vision_model.encoder.layers.0.attn.extra.weight",
        "vision_model.head.weight",
        "slowfast_model.feature_extraction.0.multipathway_blocks.1.res_blocks.0.branch2.conv_a.weight",
        "slowfast_model.feature_extraction.1.multipathway_blocks.1.res_blocks.0.branch3.weight",
    ],
)
def test_unknown_names_are_refused(name):
    with pytest.raises(KeyError, match="no tensor of a released VITAL probe"):
        convert_tensor(name, torch.zeros(2), probe_config(RELEASED_CONFIG))


def test_which_releases_are_probes():
    assert is_probe(KEYS)
    assert not is_probe([*KEYS, "language_model.lm_head.weight"])
    assert not is_probe(["vision_model.embeddings.class_embedding"])


def test_configurations_that_are_no_probes():
    with pytest.raises(ValueError, match="no `vision_config`"):
        probe_config({"llm_config": {}})
    shallow = RELEASED_CONFIG["vision_config"] | {"num_hidden_layers": 12}
    with pytest.raises(ValueError, match="reads layer 18, but has 12"):
        probe_config({**RELEASED_CONFIG, "vision_config": shallow})
