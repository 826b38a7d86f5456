"""The released linear probe: every key has its place, and the numbers are the released ones."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from modeling_vital.conversion.convert import convert, prepare
from modeling_vital.conversion.errors import ConversionError, ConversionUsageError
from modeling_vital.cutting_vital import PreparedMedia
from modeling_vital.probe_vital import VitalForQualityProbe
from tests.fixtures.released import TILE, random_weights, write_checkpoint
from tests.fixtures.tiny_probes import RELEASED_CONFIG, released_probe_reference, released_probe_shapes
from tests.modeling_vital.conversion.test_manifests import MANIFESTS, SIZES, SLOW, HeadersOnly, expand


STATE = random_weights(released_probe_shapes())
CLIPS = [
    tuple(np.random.default_rng(n).integers(0, 256, (n, TILE, TILE, 3), np.uint8) for n in sizes)
    for sizes in ((3, 8), (1, 4))
]
"""Key frames and motion frames of two clips."""


def normalized(clip):
    """Key frames and motion frames as the released code normalises them."""
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    return [(torch.from_numpy(frames).permute(0, 3, 1, 2) / 255 - mean) / std for frames in clip]


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    write_checkpoint(folder / "source", RELEASED_CONFIG, STATE, tokenizer=False)
    convert(str(folder / "source"), folder / "converted")
    return VitalForQualityProbe.from_pretrained(folder / "converted")


def released_keys():
    """Keys and shapes of the released full-size probe: its encoders are those of the other released models."""
    others = expand(SIZES["1b_warmup"]["keys"])
    vision = {key: shape for key, shape in others.items() if key.startswith("vision_model.")}
    head = {"0.weight": [128, 12544], "0.bias": [128], "1.weight": [5, 128], "1.bias": [5]}
    return {**vision, **expand(MANIFESTS["slowfast_model"]), **{f"quality.{k}": shape for k, shape in head.items()}}


def test_full_size_manifest():
    keys = released_keys()
    assert len(keys) == 1004
    plan = prepare(HeadersOnly(SIZES["1b_warmup"]["config"], keys))  # refuses unknown, missing and mis-shaped keys
    (made,) = (piece.tensors for piece in plan.parts)
    ours = plan.model.state_dict()
    assert {name: tensor.shape for name, tensor in made.items()} == {name: t.shape for name, t in ours.items()}
    # What is left out is exactly what cannot reach the output.
    unread = tuple(f"vision_model.encoder.layers.{i}." for i in range(19, 24))
    dropped = [key for group in plan.dropped.values() for key in group]
    assert sorted(dropped) == sorted(key for key in keys if key.startswith(unread) or SLOW.fullmatch(key))


@pytest.mark.slow
def test_the_manifest_is_the_official_one(official):
    manifest = json.loads((official / "keys_vital_linear_probe.json").read_text())
    assert released_keys() == manifest["keys"]


@pytest.mark.slow
def test_official_numbers(official, tmp_path):
    convert(str(official / "probeP"), tmp_path / "converted")
    probe = VitalForQualityProbe.from_pretrained(tmp_path / "converted", dtype=torch.float32)
    outputs = load_file(official / "probeP/outputs.safetensors")
    constants = {}
    exec((official / "common/pattern_and_constants.py").read_text(), constants)
    first, second = (constants["pattern"](t, 448, 448, salt) for t, salt in ((16, 3), (8, 9)))
    media = [
        PreparedMedia("video", first[[0, 6]], [1, 1], first, [16]),
        PreparedMedia("video", second[[0, 3, 5]], [1, 1, 1], second, [8]),
    ]
    with torch.no_grad():
        for name, batch in (("b1", media[:1]), ("b2", media)):
            output = probe(**probe.processor.score_inputs(batch))
            torch.testing.assert_close(output.features, outputs[f"{name}.pooled_feature"], atol=1e-4, rtol=0)
            torch.testing.assert_close(output.logits.flip(1), outputs[f"{name}.quality"], atol=1e-4, rtol=0)
    score = json.loads((official / "probeP/outputs.json").read_text())["b1_score"]
    assert probe.score(media)[0].score == pytest.approx(score, abs=1e-5)


def test_numbers_are_the_released_ones(probe):
    expected = [released_probe_reference(STATE, *normalized(clip)) for clip in CLIPS]
    media = [PreparedMedia("video", keys, [1] * len(keys), motion, [len(motion)]) for keys, motion in CLIPS]
    output = probe(**probe.processor.score_inputs(media))
    for i, (features, logits) in enumerate(expected):
        torch.testing.assert_close(output.features[i], features, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(output.logits[i], logits.flip(0), atol=1e-4, rtol=0)  # ours: best first
        assert features[:-256].std() > 0.01 and features[-256:].std() > 0.01  # neither half is a constant
    for score, (_, logits) in zip(probe.score(media), expected, strict=True):
        released = logits.double().softmax(0) @ torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0], dtype=torch.float64)
        assert score.score == pytest.approx(released.item(), abs=1e-5)
        assert score.level_probs["high"] == pytest.approx(logits.softmax(0)[4].item(), abs=1e-5)


def test_what_is_dropped_changes_nothing_in_the_released_forward():
    clip = normalized(CLIPS[1])
    before = released_probe_reference(STATE, *clip)[1]
    unread = "vision_model.encoder.layers.19."
    changed = {k: t + 1 if k.startswith(unread) or SLOW.fullmatch(k) else t for k, t in STATE.items()}
    assert torch.equal(released_probe_reference(changed, *clip)[1], before)


def test_processor_sees_what_the_released_evaluation_sees(probe):
    sampling = probe.processor.sampling
    assert (sampling.motion_stride, sampling.whole_groups_only, sampling.max_motion_frames) == (1, True, None)
    assert probe.processor.image_processor.tile_size == probe.processor.motion_size == TILE
    assert probe.processor.image_processor.tile_rule == "aspect_ratio"


def test_the_result_carries_its_code(probe):
    folder = Path(probe.config._name_or_path)
    assert json.loads((folder / "config.json").read_text())["auto_map"] == VitalForQualityProbe._auto_map
    assert (folder / "probe_vital.py").is_file() and (folder / "media_vital.py").is_file()


def source(folder, config=RELEASED_CONFIG, state=STATE):
    write_checkpoint(folder / "source", config, state, tokenizer=False)
    return str(folder / "source")


def test_unknown_keys_are_refused(tmp_path):
    extra = {"quality.2.weight": torch.zeros(2), "vision_model.encoder.layers.0.attn.extra.weight": torch.zeros(2)}
    with pytest.raises(ConversionError, match="2 keys") as refused:
        convert(source(tmp_path, state=STATE | extra), tmp_path / "converted")
    assert all(key in str(refused.value) for key in extra)
    assert not (tmp_path / "converted").exists()


def test_configurations_that_are_no_probes(tmp_path):
    config = copy.deepcopy(RELEASED_CONFIG)
    config["vision_config"]["num_hidden_layers"] = 12
    with pytest.raises(ConversionError, match="layer 18.* 12"):
        convert(source(tmp_path, config), tmp_path / "converted")
    shutil.rmtree(tmp_path / "source")
    with pytest.raises(ConversionError, match="no vision_config"):
        convert(source(tmp_path, {"architectures": ["InternVLChatModel"]}), tmp_path / "converted")


def test_a_scoring_convention_is_no_choice_here(tmp_path):
    with pytest.raises(ConversionUsageError, match="linear probe.*--scoring"):
        convert(source(tmp_path), tmp_path / "converted", scoring="released")


def test_a_whole_model_is_not_taken_for_a_probe():
    keys = released_keys() | {k: s for k, s in expand(SIZES["1b_warmup"]["keys"]).items() if "quality" not in k}
    with pytest.raises(ConversionError, match="quality.0.weight"):
        prepare(HeadersOnly(SIZES["1b_warmup"]["config"], keys))
