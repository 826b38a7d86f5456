"""The presets have the sizes of the released models, and what they cost is counted right."""

import pytest
import torch
from torch import nn

from modeling_vital import (
    VitalForConditionalGeneration,
    VitalForQualityProbe,
    VitalImageProcessor,
    VitalModel,
    VitalProcessor,
    pipeline,
    zoo,
)
from modeling_vital.configuration_vital import VitalConfig
from modeling_vital.zoo import presets
from tests.fixtures.tiny_probes import tiny_probe


# Sums over the keys of the released state dicts: vision_model, mlp1 + motion_mlp, language_model. Of slowfast_model
# the fast pathway, the only part that the output depends on.
RELEASED = {
    "vital-1b": (304_012_288, 4_482_816 + 1_034_496, 629_697_920),
    "vital-2b": (304_012_288, 8_662_016 + 2_756_096, 1_776_283_136),
    "vital-8b": (304_012_288, 27_540_480 + 13_770_240, 7_612_820_992),
    "vital-14b": (304_012_288, 47_204_352 + 27_535_872, 14_766_040_064),
}
FAST_PATHWAY = 514_152


@pytest.mark.parametrize("name", RELEASED)
def test_parameters_are_those_of_the_released_models(name):
    entry = presets.entry(name)
    vision, projectors, decoder = RELEASED[name]
    parts = {"vision": vision, "motion": FAST_PATHWAY, "projectors": projectors, "decoder": decoder}
    assert entry.parameters == {**parts, "total": sum(parts.values())}
    assert entry.memory_bytes["bf16"] == 2 * sum(parts.values())
    config = presets.config(name)
    assert (config.image_token_id, config.text_config.vocab_size) == (151667, 151674)
    assert not config.tie_word_embeddings and not config.text_config.tie_word_embeddings


def test_every_name_has_a_configuration_that_survives_its_file(tmp_path):
    assert set(zoo.NAMES) == {*zoo.EMBEDDED, *RELEASED}
    for name in zoo.NAMES:
        config = presets.config(name)
        config.save_pretrained(tmp_path / name)
        assert type(config).from_pretrained(tmp_path / name).to_dict() == config.to_dict()
    with pytest.raises(ValueError, match="vital-70b.*vital-tiny, .*vital-14b"):
        presets.config("vital-70b")


@pytest.mark.parametrize("name", zoo.EMBEDDED)
def test_an_embedded_checkpoint_is_counted_as_it_is(name):
    model = (VitalForQualityProbe if zoo.is_probe(name) else VitalForConditionalGeneration).from_pretrained(name)
    assert presets.entry(name).parameters["total"] == sum(p.numel() for p in model.parameters())


def test_memory_by_precision():
    sizes = presets.entry("vital-1b").memory_bytes
    with torch.device("meta"):
        model = VitalForConditionalGeneration(presets.config("vital-1b"))
    int8 = nf4 = 0.0
    for module_name, module in model.named_modules():
        for parameter_name, p in module.named_parameters(recurse=False):
            if isinstance(module, nn.Linear) and parameter_name == "weight" and module_name != "lm_head":
                int8 += p.numel() + 4 * p.shape[0]
                nf4 += p.numel() / 2 + 4 * p.numel() / 64
            else:
                int8 += 2 * p.numel()
                nf4 += 2 * p.numel()
    assert sizes["int8"] == int8
    assert sizes["4bit"] == pytest.approx(nf4, abs=1)
    assert sizes["4bit"] < sizes["int8"] < sizes["bf16"]


def test_a_name_without_weights_says_where_to_get_them():
    with pytest.raises(ValueError, match="vital-8b.*vital zoo"):
        zoo.resolve("vital-8b")


@pytest.mark.parametrize(
    "kind", [VitalForConditionalGeneration, VitalModel, VitalConfig, VitalProcessor, VitalImageProcessor]
)
def test_names_load_wherever_a_folder_does(kind):
    assert isinstance(kind.from_pretrained("vital-tiny"), kind)
    with pytest.raises(ValueError, match="vital-8b.*vital zoo"):
        kind.from_pretrained("vital-8b")
    with pytest.raises(ValueError, match="'vital-tinny'.*vital-tiny"):
        kind.from_pretrained("vital-tinny")
    with pytest.raises((OSError, ValueError), match="no/such/folder"):  # as transformers says it
        kind.from_pretrained("./no/such/folder")


def test_names_serve_in_pipelines_and_as_parts():
    photo = "spaces_demo/examples/beach-jetty.jpg"
    model = VitalForConditionalGeneration.from_parts("vital-tiny", "vital-tiny")
    assess = pipeline("visual-quality-assessment", model="vital-tiny")
    assert assess(photo)["score"] == pytest.approx(model.score(photo).score, abs=1e-6)
    assert pipeline(model=model)(photo) == assess(photo)
    with pytest.raises(ValueError, match="'vital-tinny'.*vital-tiny"):
        pipeline(model="vital-tinny")
    with pytest.raises(ValueError, match="Give a `model`"):
        pipeline()


def test_a_folder_goes_before_a_name_without_weights(tmp_path, monkeypatch):
    VitalConfig.from_pretrained("vital-tiny").save_pretrained(tmp_path / "vital-8b")
    monkeypatch.chdir(tmp_path)
    assert VitalConfig.from_pretrained("vital-8b").text_config.vocab_size < 10_000


def test_a_probe_is_counted_without_a_decoder(tmp_path, monkeypatch):
    name = "vital-tiny-probe"
    probe = tiny_probe()
    probe.save_pretrained(tmp_path / name)
    monkeypatch.setattr(presets, "EMBEDDED", (name,))
    monkeypatch.setattr(presets, "resolve", lambda wanted: str(tmp_path / wanted))
    entry = presets.entry(name)
    assert entry.parameters["projectors"] == 0
    assert entry.parameters["decoder"] == sum(p.numel() for p in probe.head.parameters())
    assert entry.parameters["total"] == sum(p.numel() for p in probe.parameters())
    assert "no decoder" in entry.weights
