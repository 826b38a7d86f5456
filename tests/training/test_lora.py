"""Adapters: what learns, that nothing else changes, what is written, and a decoder in 4 bits."""

import json
import shutil

import pytest
import torch
from datasets import Dataset, Features, Image, List, Value, Video
from transformers import AutoModel

from modeling_vital import zoo
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures.tiny_models import tiny_model
from training.collators import VitalCollator
from training.data import DataArguments, scoring_rows
from training.recipe import Recipe, RecipeError
from training.run import load_model, main, run


QUESTION = "What is wrong with this {}?"


@pytest.fixture(scope="module")
def instructions(smoke_data, tmp_path_factory):
    """The distortions of the example pictures and clips, asked for and told in turns."""
    folder = tmp_path_factory.mktemp("instructions")
    text = Value("string")
    features = dict.fromkeys(("id", "modality"), text) | {
        "images": List(Image()),
        "videos": List(Video(decode=False)),
    }
    features["messages"] = List({"role": text, "content": List({"type": text, "text": text})})
    rows = []
    for row in scoring_rows(DataArguments(dataset=str(smoke_data)), "train", None, 0):
        asked = [{"type": row["modality"], "text": None}, {"type": "text", "text": QUESTION.format(row["modality"])}]
        said = f"It suffers from {row['distortion']['type'] or 'nothing'}."
        turns = [("user", asked), ("assistant", [{"type": "text", "text": said}])]
        turns += [("user", [{"type": "text", "text": "Sure?"}]), ("assistant", [{"type": "text", "text": "Yes."}])]
        messages = [{"role": role, "content": content} for role, content in turns]
        rows.append({**{name: row[name] for name in features if name != "messages"}, "messages": messages})
    (folder / "data").mkdir()
    Dataset.from_list(rows, features=Features(features)).to_parquet(folder / "data" / "train.parquet")
    head = json.dumps({"configs": [{"config_name": "instruction", "data_files": "data/train.parquet"}]})
    (folder / "README.md").write_text(f"---\n{head}\n---\n")
    return folder


@pytest.fixture
def command(instructions, tmp_path):
    tiny_model().save_pretrained(tmp_path / "base")
    options = {"model": tmp_path / "base", "dataset": instructions, "output_dir": tmp_path / "out"}
    options |= {"max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "save_steps": 1}
    options |= {"logging_steps": 1, "use_cpu": "true", "disable_tqdm": "true"}
    return [str(x) for name, value in options.items() for x in (f"--{name}", value)]


def test_questions_are_shown_and_all_answers_learned(instructions, command):
    recipe = Recipe.parse("assistant", command)
    assert recipe.data.prompt_decoupling is False and recipe.loss.focal_beta == 0.0
    model = load_model(recipe)
    table = Dataset.from_parquet(str(instructions / "data" / "train.parquet")).cast_column(
        "images", List(Image(decode=False))
    )
    collator = VitalCollator(model.processor, {"instruction": table}, prompt_decoupling=False)
    (row,) = collator.encode(table[0])
    decode = model.processor.tokenizer.decode
    assert QUESTION.format(table[0]["modality"]) in decode(row.input_ids)
    answers = decode([token for token in row.labels if token != -100])
    assert "It suffers from nothing." in answers and "Yes." in answers and "Sure?" not in answers


def test_full_fine_tuning_changes_every_part(command, tmp_path):
    trainer = run(
        Recipe.parse("assistant", [*command, "--per_device_train_batch_size", "12", "--bucket_batches", "1"])
    )
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())
    before, after = (
        AutoModel.from_pretrained(tmp_path / n, trust_remote_code=True).state_dict() for n in ("base", "out")
    )
    parts = {name.split(".")[1] for name, value in before.items() if not torch.equal(value, after[name])}
    assert {"vision_tower", "language_model", "multi_modal_projector", "motion_projector", "motion_encoder"} <= parts


def test_adapters_and_projectors_learn_and_the_merged_model_is_written(command, tmp_path):
    trainer = run(Recipe.parse("assistant", [*command, "--lora_rank", "2"]))
    names = {name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad}
    linear = [f"self_attn.{x}_proj" for x in "qkvo"] + [f"mlp.{x}_proj" for x in ("gate", "up", "down")]
    start = "base_model.model.model."
    expected = {
        f"{start}language_model.layers.{i}.{layer}.lora_{side}.default.weight"
        for i in range(2)
        for layer in linear
        for side in "AB"
    }
    for projector in ("multi_modal_projector", "motion_projector"):
        for layer in ("layer_norm", "linear_1", "linear_2"):
            expected |= {f"{start}{projector}.modules_to_save.default.{layer}.{kind}" for kind in ("weight", "bias")}
    assert names == expected

    before, after = (
        AutoModel.from_pretrained(tmp_path / n, trust_remote_code=True).state_dict() for n in ("base", "out")
    )
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed and before.keys() == after.keys()
    assert all("_projector." in name or any(f".{layer}.weight" in name for layer in linear) for name in changed)
    assert not any("vision_tower" in name or "motion_encoder" in name for name in changed)
    assert any("language_model" in name for name in changed)
    # The merged model is the one that was trained.
    layer = trainer.model.get_base_model().model.language_model.layers[0].self_attn.q_proj
    merged = layer.base_layer.weight + layer.get_delta_weight("default")
    torch.testing.assert_close(after["model.language_model.layers.0.self_attn.q_proj.weight"], merged.detach())
    adapter = tmp_path / "out" / "adapter"
    assert (adapter / "adapter_model.safetensors").stat().st_size < (
        tmp_path / "out" / "model.safetensors"
    ).stat().st_size


@pytest.mark.slow
def test_a_run_with_adapters_goes_on_from_its_checkpoint(command, tmp_path):
    whole = run(
        Recipe.parse(
            "assistant", [*command, "--lora_rank", "2", "--max_steps", "3", "--output_dir", str(tmp_path / "w")]
        )
    )
    stopped = [*command, "--lora_rank", "2", "--max_steps", "3", "--output_dir", str(tmp_path / "s")]
    run(Recipe.parse("assistant", stopped))
    shutil.rmtree(tmp_path / "s" / "checkpoint-3")
    again = run(Recipe.parse("assistant", stopped))
    losses = [{e["step"]: e["loss"] for e in t.state.log_history if "loss" in e} for t in (whole, again)]
    assert losses[0] == losses[1]
    for (name, a), b in zip(whole.model.named_parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "saving", [("--gradient_checkpointing", "true"), ("--decoder_dtype", "bfloat16")], ids=" ".join
)
def test_cheaper_ways_give_about_the_same_curve(command, tmp_path, saving):
    losses = []
    for name, options in {"plain": (), "saving": saving}.items():
        options = [*command, "--lora_rank", "2", *options, "--output_dir", str(tmp_path / name)]
        trainer = run(Recipe.parse("assistant", options))
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5 if "checkpointing" in saving[0] else 0.05)


@pytest.mark.slow
def test_a_decoder_in_4_bits(command, tmp_path):
    pytest.importorskip("bitsandbytes")
    options = [*command, "--model", zoo.resolve("vital-tiny"), "--lora_rank", "4", "--decoder_4bit", "true"]
    trainer = run(Recipe.parse("assistant", options))
    base = trainer.model.get_base_model()
    assert base.model.language_model.layers[0].self_attn.q_proj.base_layer.weight.dtype == torch.uint8
    assert base.lm_head.weight.dtype == torch.bfloat16
    assert {p.dtype for p in base.model.vision_tower.parameters()} == {torch.bfloat16}
    merged = VitalForConditionalGeneration.from_pretrained(tmp_path / "out")
    assert {p.dtype for p in merged.parameters()} == {torch.bfloat16}
    # Merged into the weights as they are stored, not into those of 4 bits.
    stored = VitalForConditionalGeneration.from_pretrained(
        zoo.resolve("vital-tiny"), dtype=torch.bfloat16
    ).state_dict()
    for name, value in merged.state_dict().items():
        if "vision_tower" in name:
            assert torch.equal(value, stored[name])
        if name.endswith("q_proj.weight"):
            assert not torch.equal(value, stored[name])
            assert (value - stored[name]).abs().max() < 0.1


def test_settings_that_do_not_go_together(command, caplog):
    assert main("assistant", "", [*command, "--decoder_4bit", "true"]) == 2
    assert "`lora_rank`" in caplog.text
    with pytest.raises(RecipeError, match="`lora_rank` .*'pretrain'"):
        Recipe.parse("pretrain", [*command, "--lora_rank", "2"])
    both = [*command, "--lora_rank", "2", "--decoder_4bit", "true", "--decoder_dtype", "bfloat16"]
    assert main("assistant", "", both) == 2
    assert "not both" in caplog.text
