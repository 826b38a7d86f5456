"""peft, Trainer, TRL and accelerate, as their users would write it, against models of ours."""

import copy
from pathlib import Path

import pytest
import torch
from datasets import Dataset, Image, List
from transformers import Trainer, TrainingArguments

from modeling_vital import VitalForConditionalGeneration
from tests.fixtures.demo_server import run_demo
from tests.fixtures.tiny_models import tiny_model
from tests.modeling_vital.test_modeling import clip, picture
from tests.test_embedded_checkpoint import CLIPS, PHOTOS


peft = pytest.importorskip("peft")
trl = pytest.importorskip("trl")

ATTENTION = r".*language_model.*(q_proj|v_proj)"


def batch_of(model, items):
    inputs = model.processor.score_inputs(items)
    return {**inputs, "labels": inputs["input_ids"].clone()}


def learn(model, batch, steps=3):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    losses = []
    for _ in range(steps):
        model.train()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


# --------------------------------------------------------------------------------------------------------------- peft
CONFIGS = {
    "lora": peft.LoraConfig(r=2, target_modules=ATTENTION, task_type="CAUSAL_LM"),
    "dora": peft.LoraConfig(r=2, target_modules=ATTENTION, task_type="CAUSAL_LM", use_dora=True),
    "lora of the image encoder": peft.LoraConfig(r=2, target_modules=r".*vision_tower.*(q_proj|v_proj)"),
    "lora and the projectors": peft.LoraConfig(
        r=2, target_modules=ATTENTION, modules_to_save=["multi_modal_projector", "motion_projector"]
    ),
    "ia3": peft.IA3Config(target_modules=ATTENTION, feedforward_modules=[], task_type="CAUSAL_LM"),
    "prompt tuning": peft.PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=3, num_layers=2, token_dim=24, num_attention_heads=4
    ),
}


@pytest.mark.parametrize("vision", ["internvl", "resnet"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_peft_trains_saves_loads_and_merges(tmp_path, kind, vision):
    if vision == "resnet" and "image encoder" in kind:
        pytest.skip("convolutions have no q_proj")
    model = tiny_model(vision)
    base, batch = copy.deepcopy(model), batch_of(model, [picture(0), clip(1)])
    adapted = peft.get_peft_model(model, copy.deepcopy(CONFIGS[kind]))
    losses = learn(adapted, batch)
    assert losses[-1] < losses[0]
    adapted.eval().save_pretrained(tmp_path)
    expected = adapted(**batch).logits
    loaded = peft.PeftModel.from_pretrained(base, tmp_path).eval()
    torch.testing.assert_close(loaded(**batch).logits, expected, atol=1e-5, rtol=1e-5)
    if kind != "prompt tuning":
        merged = loaded.merge_and_unload()
        torch.testing.assert_close(merged(**batch).logits, expected, atol=1e-4, rtol=1e-4)
        merged.processor = model.processor
        merged.save_pretrained(tmp_path / "merged")
        again = VitalForConditionalGeneration.from_pretrained(tmp_path / "merged")
        assert again.score(picture(0)).score == pytest.approx(merged.score(picture(0)).score, abs=1e-5)


# ---------------------------------------------------------------------------------------------------- Trainer and TRL
def test_plain_trainer_trains_saves_and_resumes(tmp_path):
    model = tiny_model()
    rows = [batch_of(model, [picture(i), clip(i)]) for i in range(4)]
    args = {"output_dir": tmp_path, "use_cpu": True, "report_to": "none", "remove_unused_columns": False}
    args |= {"per_device_train_batch_size": 1, "max_steps": 4, "save_steps": 2, "logging_steps": 1}
    trainer = Trainer(model, TrainingArguments(**args), train_dataset=rows, data_collator=lambda batch: batch[0])
    trainer.train()
    saved = VitalForConditionalGeneration.from_pretrained(tmp_path / "checkpoint-4")
    assert saved.score(picture(0)).score == pytest.approx(model.eval().score(picture(0)).score, abs=1e-6)
    again = Trainer(tiny_model(), TrainingArguments(**args), train_dataset=rows, data_collator=lambda batch: batch[0])
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    expected = model.state_dict()
    for name, value in again.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "lora"])
def test_trl_trains_on_messages_with_pictures(tmp_path, adapter):
    model = tiny_model()
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How is it?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is good."}]},
    ]
    pictures = []
    for i in range(4):
        picture(i).save(tmp_path / f"{i}.png")
        pictures.append([str(tmp_path / f"{i}.png")])
    rows = Dataset.from_dict({"messages": [messages] * 4, "images": pictures}).cast_column("images", List(Image()))
    args = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none", "max_length": None}
    args |= {"per_device_train_batch_size": 2, "max_steps": 2, "learning_rate": 1e-2, "save_strategy": "no"}
    trainer = trl.SFTTrainer(
        model,
        args=trl.SFTConfig(**args),
        train_dataset=rows,
        processing_class=model.processor,
        peft_config=copy.deepcopy(CONFIGS["lora"]) if adapter else None,
    )
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and (not adapter or all("lora_" in name for name in moved))


# --------------------------------------------------------------------------------------------------------- accelerate
PARTS = ("vision_tower", "motion_encoder", "multi_modal_projector", "motion_projector")
ENCODERS = [f"model.{name}" for name in PARTS]


@pytest.mark.parametrize(
    "how",
    [
        {"device_map": "auto", "max_memory": {"cpu": "1KB"}},
        {"device_map": "auto", "max_memory": {"cpu": "4MB"}},
        {"device_map": {**dict.fromkeys(ENCODERS, "disk"), "model.language_model": "cpu", "lm_head": "cpu"}},
    ],
    ids=["all on disk", "some on disk", "by hand"],
)
def test_offloaded_models_say_the_same(tmp_path, how):
    whole = VitalForConditionalGeneration.from_pretrained("vital-tiny")
    split = VitalForConditionalGeneration.from_pretrained("vital-tiny", offload_folder=tmp_path, **how)
    assert "disk" in split.hf_device_map.values()
    for item in (PHOTOS[0], CLIPS[0]):
        assert split.score(item).score == pytest.approx(whole.score(item).score, abs=1e-6)
    assert split.describe(PHOTOS[0]) == whole.describe(PHOTOS[0])


# ------------------------------------------------------------------------------------------------------ gradio_client
def test_the_demo_answers_its_own_client(tmp_path):
    gradio_client = pytest.importorskip("gradio_client")
    model = VitalForConditionalGeneration.from_pretrained("vital-tiny")
    photo, clip_ = (gradio_client.handle_file(str(Path(name).resolve())) for name in (PHOTOS[0], CLIPS[0]))
    with run_demo(tmp_path) as url:
        client = gradio_client.Client(url, verbose=False, download_files=str(tmp_path))
        endpoints = client.view_api(return_format="dict")["named_endpoints"]
        for name, endpoint in endpoints.items():
            required = [p["parameter_name"] for p in endpoint["parameters"] if not p["parameter_has_default"]]
            assert set(required) <= {"file", "files", "a", "b"}, name
        for item, file in ((PHOTOS[0], photo), (CLIPS[0], clip_)):
            score = client.predict(file, api_name="/score")
            assert score["score"] == pytest.approx(model.score(item).score, abs=1e-6)
            assert client.predict(file, api_name="/describe") == model.describe(item)
        comparison = client.predict(photo, clip_, api_name="/compare")
        assert comparison["probability"] == pytest.approx(model.compare(PHOTOS[0], CLIPS[0]).probability, abs=1e-6)
