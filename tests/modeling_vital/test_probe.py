"""The linear probe: what its features are, and that it scores as the whole model does."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.internvl.modeling_internvl import InternVLModel

from modeling_vital.media_vital import MediaError
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.probe_vital import VitalForQualityProbe, VitalProbeConfig, VitalProbeProcessor, segment_mean
from modeling_vital.processing_vital import VitalProcessor
from tests.fixtures.tiny_models import MOTION, TILE, vision_config
from tests.fixtures.tiny_probes import tiny_probe


def picture(width=80, height=50, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def clip(frames=9, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (frames, 40, 60, 3), dtype=np.uint8))


def test_transformer_features_are_the_concatenated_layers_unshuffled():
    probe = tiny_probe("internvl")
    pixels = torch.randn(3, 3, TILE, TILE)
    hidden_states = probe.vision_tower(pixel_values=pixels, output_hidden_states=True).hidden_states
    concatenated = torch.cat(hidden_states[1:3], dim=-1)[:, 1:].unflatten(1, (4, 4))
    unshuffled = InternVLModel.pixel_shuffle(None, concatenated, 0.5)  # transformers' own
    torch.testing.assert_close(probe.pool_tiles(pixels), unshuffled.flatten(1, 2).mean(1))


def test_convolutional_features_are_the_stages_means_by_place_in_the_block():
    probe = tiny_probe("resnet")
    pixels = torch.randn(2, 3, TILE, TILE)
    maps = probe.vision_tower(pixel_values=pixels, output_hidden_states=True).hidden_states[1:]
    blocks = [torch.cat([m[:, :, i::2, j::2].mean((2, 3)) for m in maps], 1) for i in (0, 1) for j in (0, 1)]
    features = probe.pool_tiles(pixels)
    assert features.shape == (2, probe.config.image_feature_size) == (2, 4 * (8 + 12))
    torch.testing.assert_close(features, torch.cat(blocks, 1))


@pytest.mark.parametrize("vision", ["internvl", "resnet"])
def test_scores_do_not_depend_on_the_batch(vision):
    probe = tiny_probe(vision)
    items = [clip(9), picture(), clip(3, seed=1), picture(30, 90, seed=1)]
    together = probe.score(items)
    assert [result.modality for result in together] == ["video", "image", "video", "image"]
    for one, many in zip((probe.score([item])[0] for item in items), together, strict=True):
        assert one.score == pytest.approx(many.score, abs=1e-6)
        assert one.std == pytest.approx(many.std, abs=1e-6)
    assert len({round(result.score, 4) for result in together}) == 4
    assert [r.score for r in probe.score(items[::-1], batch_size=3)] == pytest.approx(
        [r.score for r in together[::-1]], abs=1e-6
    )


def test_score_is_the_expectation_over_the_levels():
    result = tiny_probe().score(picture())
    assert list(result.level_probs) == ["high", "good", "fair", "poor", "low"]
    assert sum(result.level_probs.values()) == pytest.approx(1)
    assert result.score == pytest.approx(
        sum(p * v for p, v in zip(result.level_probs.values(), (0.9, 0.7, 0.5, 0.3, 0.1), strict=True))
    )


def test_compares_as_the_whole_model_does():
    probe = tiny_probe()
    a, b = np.stack(clip()), picture()
    comparison = probe.compare(a, b)
    assert (comparison.a, comparison.b) == tuple(probe.score([a, b]))
    assert comparison.probability == pytest.approx(1 - probe.compare(b, a).probability)


def test_motion_counts_for_clips_and_is_zero_for_pictures():
    probe = tiny_probe()
    before = probe.score([picture(), clip()])
    width = MOTION["out_channels"][-1]
    outputs = probe(**probe.processor.score_inputs([picture(), clip()]))
    assert not outputs.features[0, -width:].any() and outputs.features[1, -width:].any()
    torch.nn.init.normal_(probe.motion_encoder.stem_conv.weight)
    after = probe.score([picture(), clip()])
    assert after[0] == before[0]
    assert after[1].score != pytest.approx(before[1].score, abs=1e-4)


def test_motion_feature_is_the_mean_over_all_frames():
    probe = tiny_probe()
    inputs = probe.processor.score_inputs([clip(9)])
    assert inputs["num_windows"].tolist() == [2] and inputs["motion_lengths"].tolist() == [4, 4]
    windows = probe.motion_encoder(inputs["motion_values"].unflatten(0, (2, 4)))
    features = probe(**inputs).features[0, -windows.shape[-1] :]
    torch.testing.assert_close(features, windows.mean(dim=(0, 1)))


def test_level_logits_have_gradients_to_the_pixels():
    probe = tiny_probe()
    inputs = probe.processor.score_inputs([clip(5)])
    for name in ("pixel_values", "motion_values"):
        inputs[name].requires_grad_()
    probe.level_logits(**inputs)[:, 0].sum().backward()
    assert inputs["pixel_values"].grad.abs().sum() > 0
    assert inputs["motion_values"].grad.abs().sum() > 0


@pytest.mark.parametrize("vision", ["internvl", "resnet"])
def test_saved_and_loaded_is_the_same(vision, tmp_path):
    probe = tiny_probe(vision)
    probe.save_pretrained(tmp_path)
    loaded = VitalForQualityProbe.from_pretrained(tmp_path)
    assert loaded.score([picture(), clip()]) == probe.score([picture(), clip()])
    assert loaded.processor.sampling == probe.processor.sampling


def test_processor_takes_pictures_then_clips():
    processor = tiny_probe().processor
    inputs = processor(images=[picture()], videos=[np.stack(clip(9))])
    assert inputs["num_windows"].tolist() == [0, 2]
    with pytest.raises(ValueError, match="no items"):
        processor()
    with pytest.raises(ValueError, match="return_tensors='np'"):
        processor(images=picture(), return_tensors="np")


def test_segment_mean_by_hand():
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
    means = segment_mean(rows, torch.tensor([2, 0, 1]), "tiles")
    assert means.tolist() == [[2.0, 3.0], [0.0, 0.0], [5.0, 9.0]]
    with pytest.raises(ValueError, match=" 2 tiles.* 3"):
        segment_mean(rows, torch.tensor([2]), "tiles")


def test_wrong_inputs_say_what_is_wrong(tmp_path):
    probe = tiny_probe()
    inputs = probe.processor.score_inputs([clip(9)])
    with pytest.raises(ValueError, match=" 1 motion windows.* 2"):
        probe(**{**inputs, "num_windows": torch.tensor([1])})
    with pytest.raises(ValueError, match="`motion_values` .*`num_windows`"):
        probe(**{name: inputs[name] for name in ("pixel_values", "num_tiles", "motion_values")})
    with pytest.raises(MediaError, match="missing.jpg"):
        probe.score(tmp_path / "missing.jpg")
    with pytest.raises(RuntimeError, match="eval"):
        probe.train().score(picture())
    with pytest.raises(ValueError, match="`model.processor`"):
        VitalForQualityProbe(probe.config).eval().score(picture())


@pytest.mark.parametrize("layers", [[0, 2], [-1], []])
def test_layers_that_the_encoder_does_not_have(layers):
    with pytest.raises(ValueError, match="layers 0 to 1"):
        VitalProbeConfig(vision_config("internvl"), MOTION, feature_layers=layers)


def test_a_processor_for_text_says_that_a_probe_has_none(tmp_path):
    tiny_probe().save_pretrained(tmp_path)
    for source in (tmp_path, str(tmp_path), "vital-tiny-probe"):
        with pytest.raises(ValueError, match="tokenizer.*VitalProbeProcessor"):
            VitalProcessor.from_pretrained(source)
    assert type(VitalProbeProcessor.from_pretrained(tmp_path)) is VitalProbeProcessor
    with pytest.raises(ValueError, match="'vital_probe'.*VitalForQualityProbe"):
        VitalForConditionalGeneration.from_pretrained(tmp_path)
    (tmp_path / "processor_config.json").unlink()
    with pytest.raises(OSError, match="preprocessor_config.json|processor_config.json"):
        VitalProcessor.from_pretrained(tmp_path)
