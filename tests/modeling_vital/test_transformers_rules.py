"""What code written for any model of transformers relies on: loading, saving, freezing, embeddings in, tuples out."""

import copy
import importlib.util
import logging
import os
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

from modeling_vital import VitalForConditionalGeneration, VitalForQualityProbe, VitalModel, attention_vital
from modeling_vital.local_quality import quality_map
from modeling_vital.metric import VitalMetric
from tests.fixtures.tiny_models import tiny_model
from tests.fixtures.tiny_probes import tiny_probe
from tests.modeling_vital.test_modeling import clip, picture
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


def trained_norms(model):
    """Statistics that an initialisation would not give."""
    for name, buffer in model.named_buffers():
        if "running_" in name:
            buffer.uniform_(0.5, 1.5)
    return model


# ------------------------------------------------------------------------------------------------------------ loading
@pytest.fixture(scope="module")
def trained():
    return VitalForConditionalGeneration.from_pretrained("vital-tiny")


@pytest.mark.parametrize("memory", [pytest.param("1KB", marks=pytest.mark.slow), "4MB"])
def test_what_is_on_disk_scores_as_in_memory(trained, tmp_path, memory):
    pytest.importorskip("accelerate")
    model = VitalForConditionalGeneration.from_pretrained(
        "vital-tiny", device_map="auto", max_memory={"cpu": memory}, offload_folder=tmp_path
    )
    assert "disk" in model.hf_device_map.values() and model.device.type == "cpu"
    for item in (PHOTOS[0], CLIPS[0]):
        assert model.score(item).score == pytest.approx(trained.score(item).score, abs=1e-6)
    assert model.describe(PHOTOS[0]) == trained.describe(PHOTOS[0])
    answers = [m.answer(CLIPS[0], "Sharp?", choices=["yes", "no"]).choice_probs for m in (model, trained)]
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)


def test_the_first_module_on_disk_is_no_obstacle_elsewhere(tmp_path):
    pytest.importorskip("accelerate")
    probe, model = trained_norms(tiny_probe()), trained_norms(tiny_model())
    how = {"device_map": {"": "disk"}}
    for whole, name in ((probe, "probe"), (model, "model")):
        whole.save_pretrained(tmp_path / name)
        split = type(whole).from_pretrained(tmp_path / name, offload_folder=tmp_path / f"{name} on disk", **how)
        assert next(split.parameters()).is_meta
        found, expected = ([r.score for r in m.score([picture(), clip()])] for m in (split, whole))
        assert found == pytest.approx(expected, abs=1e-6)
    assert quality_map(split, picture()).scores == pytest.approx(quality_map(model, picture()).scores, abs=1e-6)
    assert VitalMetric(split)(torch.rand(1, 3, 40, 40)).isfinite().all()
    with pytest.raises(ValueError, match=" disk"):
        VitalForConditionalGeneration.from_parts(split, split)


@pytest.mark.parametrize("kind", ["model", "resnet", "probe", "bare"])
def test_a_missing_counter_resets_nothing(tmp_path, kind):
    model = trained_norms(
        {"model": tiny_model, "resnet": lambda: tiny_model("resnet"), "probe": tiny_probe, "bare": tiny_model}[kind]()
    )
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for key in [key for key in weights if key.endswith("num_batches_tracked")][::2]:
        del weights[key]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = (VitalModel if kind == "bare" else type(model)).from_pretrained(tmp_path)
    kept = {name: buffer for name, buffer in loaded.named_buffers() if "running_" in name}
    expected = dict((model.model if kind == "bare" else model).named_buffers())
    assert kept and all(torch.equal(kept[name], expected[name]) for name in kept)


def test_fresh_motion_encoders_start_with_neutral_norms():
    encoder = tiny_model().model.motion_encoder
    for name, buffer in encoder.named_buffers():
        assert torch.equal(buffer, torch.ones_like(buffer) if name.endswith("var") else torch.zeros_like(buffer))


# ------------------------------------------------------------------------------------------------------------- saving
@pytest.mark.parametrize("make", [tiny_model, tiny_probe])
@pytest.mark.parametrize("loss", ["no processor", "no folder"])
def test_saving_keeps_the_weights_where_the_processor_is_lost(tmp_path, caplog, make, loss):
    model = make()
    model.save_pretrained(tmp_path / "source")
    model = type(model).from_pretrained(tmp_path / "source")
    if loss == "no folder":
        shutil.rmtree(tmp_path / "source")
    else:
        (tmp_path / "source" / "processor_config.json").unlink()
        for file in (tmp_path / "source").glob("token*"):
            file.unlink()
    with caplog.at_level(logging.WARNING):
        model.save_pretrained(tmp_path / "saved")
    assert "without a processor" in caplog.text
    again = type(model).from_pretrained(tmp_path / "saved")
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True)
    )
    with pytest.raises(ValueError, match="processor"):
        again.score(picture())


@pytest.mark.parametrize("load", [VitalForConditionalGeneration, VitalForQualityProbe, AutoModel])
def test_the_working_directory_may_change_before_the_processor_is_read(tmp_path, monkeypatch, load):
    monkeypatch.chdir(tmp_path)
    (tiny_probe() if load is VitalForQualityProbe else tiny_model()).save_pretrained("source")
    model = load.from_pretrained("source")
    os.mkdir("elsewhere")
    monkeypatch.chdir("elsewhere")
    model.save_pretrained("saved")
    assert type(model).from_pretrained("saved").score(picture()).score == pytest.approx(model.score(picture()).score)


# ----------------------------------------------------------------------------------------------------------- freezing
@pytest.mark.parametrize("make", [tiny_model, lambda: tiny_model("resnet"), tiny_probe, lambda: tiny_probe("resnet")])
def test_frozen_norms_do_not_follow_the_batches(make):
    model = make()
    inputs = model.processor.score_inputs([picture(), clip()])
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()
    for parameter in model.parameters():
        parameter.requires_grad = False
    model(**inputs)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    model.requires_grad_(True).train()
    model(**inputs)
    moved = [name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])]
    assert any("running_mean" in name for name in moved)


def test_an_adapter_holds_all_that_training_changed(tmp_path):
    peft = pytest.importorskip("peft")
    model, items = tiny_model("resnet"), [picture(0), picture(1), clip(2)]
    base = copy.deepcopy(model)
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=2, target_modules=r".*language_model.*(q_proj|v_proj)", task_type="CAUSAL_LM")
    )
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    inputs = model.processor.score_inputs(items)
    for _ in range(3):
        adapted.train()
        adapted(**inputs, labels=inputs["input_ids"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapted.eval().save_pretrained(tmp_path)
    expected = adapted(**inputs).logits
    loaded = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    torch.testing.assert_close(loaded(**inputs).logits, expected, atol=1e-6, rtol=0)
    assert not torch.allclose(tiny_model("resnet")(**inputs).logits, expected, atol=1e-3)


# ----------------------------------------------------------------------------------------------------------- the forms
@pytest.mark.parametrize("items", [[picture()], [clip()], [picture(), clip()]], ids=["picture", "clip", "both"])
def test_embeddings_in_the_place_of_ids(items):
    model = tiny_model()
    inputs = model.processor.score_inputs(items)
    ids = inputs.pop("input_ids")
    embeds = model.get_input_embeddings()(ids)
    with torch.no_grad():
        expected = model(input_ids=ids, **inputs).logits
        torch.testing.assert_close(model(inputs_embeds=embeds, **inputs).logits, expected)
        bare = model.model(inputs_embeds=embeds, **inputs).last_hidden_state
        torch.testing.assert_close(bare, model.model(input_ids=ids, **inputs).last_hidden_state)
    for how in ({}, {"num_beams": 2}, {"num_return_sequences": 2, "num_beams": 2}):
        written = model.generate(inputs_embeds=embeds, **inputs, max_new_tokens=3, do_sample=False, **how)
        plain = model.generate(input_ids=ids, **inputs, max_new_tokens=3, do_sample=False, **how)
        assert torch.equal(written, plain[:, ids.shape[1] :])


def test_prompts_can_be_tuned():
    peft = pytest.importorskip("peft")
    model = tiny_model()
    inputs = model.processor.score_inputs([picture(), clip()])
    tuned = peft.get_peft_model(
        model,
        peft.PromptTuningConfig(
            task_type="CAUSAL_LM", num_virtual_tokens=3, num_layers=2, token_dim=24, num_attention_heads=4
        ),
    )
    tuned(**inputs, labels=inputs["input_ids"]).loss.backward()
    (gradient,) = [p.grad for p in tuned.parameters() if p.requires_grad]
    assert gradient.abs().sum() > 0


def test_tuples_where_they_are_asked_for():
    model = tiny_model()
    inputs = model.processor.score_inputs([picture(), clip()])
    with torch.no_grad():
        outputs, bare = model(**inputs), model.model(**inputs)
        assert torch.equal(model(**inputs, return_dict=False)[0], outputs.logits)
        assert torch.equal(model.model(**inputs, return_dict=False)[0], bare.last_hidden_state)
        tiles = inputs["pixel_values"]
        assert torch.equal(model.get_image_features(tiles, return_dict=False)[1], model.model.encode_tiles(tiles))
        model.config.return_dict = False
        assert torch.equal(model(**inputs)[0], outputs.logits)
        probe = tiny_probe()
        given = probe.processor.score_inputs([picture()])
        assert torch.equal(probe(**given, return_dict=False)[0], probe(**given).logits)
        assert model.score(picture()).score == pytest.approx(tiny_model().score(picture()).score)


@pytest.mark.parametrize("vision", ["internvl", "resnet"])
def test_image_features_have_transformers_form(vision):
    model = tiny_model(vision)
    tiles = torch.randn(3, 3, 32, 32)
    for part in (model, model.model):
        outputs = part.get_image_features(tiles, output_hidden_states=True)
        assert torch.equal(outputs.pooler_output, model.model.encode_tiles(tiles))
        assert outputs.last_hidden_state.shape[0] == 3 and len(outputs.hidden_states) == 3
    assert outputs.pooler_output.shape == (3, 4, 24)


def test_placeholder_masks_name_what_does_not_match():
    model = tiny_model()
    inputs = model.processor.score_inputs([clip()])
    ids = inputs["input_ids"]
    embeds = model.get_input_embeddings()(ids)
    motion = torch.zeros(int((ids == model.config.motion_token_id).sum()), 24)
    for given in (ids, None):
        image, found = model.model.get_placeholder_mask(given, embeds, motion_features=motion)
        assert image is None and torch.equal(found[..., 0], ids == model.config.motion_token_id)
        with pytest.raises(ValueError, match="motion placeholders"):
            model.model.get_placeholder_mask(given, embeds, motion_features=motion[1:])


def test_placeholders_are_counted_before_the_encoders_are_begun(monkeypatch):
    """Behind them, the host would wait for the encoders with the numbers."""
    model, order = tiny_model(), []
    for name in ("find_placeholders", "encode_tiles", "get_motion_features"):
        real = getattr(model.model, name)
        monkeypatch.setattr(
            model.model, name, lambda *args, name=name, real=real: (order.append(name), real(*args))[1]
        )
    model(**model.processor.score_inputs([clip()]))
    assert order == ["find_placeholders", "find_placeholders", "encode_tiles", "get_motion_features"]


@pytest.mark.parametrize("tied", [True, False])
def test_the_head_has_a_tensor_parallel_plan(tied):
    assert tiny_model(tie_word_embeddings=tied)._tp_plan["lm_head"] == "colwise_gather_output"


def test_the_chat_template_marks_what_the_assistant_says():
    processor = tiny_model().processor
    turns = [("user", "Is it sharp?"), ("assistant", "It is good."), ("user", "Why?"), ("assistant", "Because.")]
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    row = processor.tokenizer.apply_chat_template(
        messages,
        chat_template=processor.chat_template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    marked = [i for i, mask in zip(row["input_ids"], row["assistant_masks"], strict=True) if mask]
    assert processor.tokenizer.decode(marked) == "It is good.<|im_end|>Because.<|im_end|>"


# ------------------------------------------------------------------------------------------------ what may be renamed
@pytest.mark.parametrize(
    "lost", ["transformers.integrations.sdpa_attention", "transformers.masking_utils", "transformers.modeling_utils"]
)
def test_a_renamed_module_costs_speed_alone(monkeypatch, lost):
    monkeypatch.setitem(sys.modules, lost, None)
    spec = importlib.util.spec_from_file_location("attention_without", attention_vital.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.undo()
    monkeypatch.setattr(module, "fast_bf16", lambda: True)
    encoder = tiny_model().model.vision_tower
    encoder.config._attn_implementation = "sdpa"
    module.prefer_heads(encoder)
    assert encoder.config._attn_implementation == "sdpa"


def test_a_renamed_question_about_the_processor_is_answered_with_no(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name)
    assert not attention_vital.fast_bf16()
    tiny_model()
