"""Every recipe and every configuration of accelerate that is shipped: readable, known, and fit for its machine."""

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_multi_gpu_env

from modeling_vital.zoo import presets
from tests.fixtures.tiny_models import tiny_model
from training.data import DataArguments
from training.experiment.__main__ import Experiment
from training.launching import check_launch
from training.probe_stage import ProbeArguments
from training.recipe import Recipe, RecipeError, parse_recipe
from training.run import estimate_recipe, main
from training.zero_shot_stage import ZeroShotArguments


TRAINING = Path(__file__).resolve().parents[2] / "training"
RECIPES = sorted([*(TRAINING / "recipes").glob("*.yaml"), *(TRAINING / "tiny" / "recipes").glob("*.yaml")])
CONFIGS = sorted((TRAINING / "accelerate_configs").glob("*.yaml"))
OTHER = {"linear_probe": ProbeArguments, "probe": ProbeArguments, "zero_shot": ZeroShotArguments}
WHOLE = {"tiny_experiment": Experiment.load}
SIZES = {  # gigabytes of a device that must hold it, and how many share weights, gradients and optimiser state
    "assistant_8xh200": ("vital-8b", 141, 8),
    "assistant_24gb": ("vital-8b", 24, 1),
    "own_pictures_24gb": ("vital-1b", 24, 1),
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path):
    if path.stem in WHOLE:
        assert WHOLE[path.stem](path)
    elif path.stem in OTHER:
        assert parse_recipe((OTHER[path.stem], DataArguments), ["--config", str(path)], None)
    else:
        stage = yaml.safe_load(path.read_text()).get("stage", "pretrain")
        assert Recipe.parse(stage, ["--config", str(path)]).training.stage == stage


@pytest.mark.parametrize(("name", "size"), SIZES.items(), ids=SIZES)
def test_a_recipe_fits_the_machine_it_is_for(name, size):
    model, gigabytes, shared = size
    path = TRAINING / "recipes" / f"{name}.yaml"
    stage = yaml.safe_load(path.read_text())["stage"]
    needs = estimate_recipe(Recipe.parse(stage, ["--config", str(path)]))
    assert needs.total == presets.entry(model).parameters["total"]
    assert (needs.memory - needs.activations) / shared + needs.activations < gigabytes


def test_adapters_need_less_than_the_decoder(tmp_path):
    path = str(TRAINING / "recipes" / "assistant_24gb.yaml")
    whole = Recipe.parse("assistant", ["--config", path, "--expected_model", "vital-1b", "--decoder_4bit", "false"])
    lora = estimate_recipe(whole)
    whole.lora.lora_rank = None
    full = estimate_recipe(whole)
    assert full.trainable == full.total == lora.total
    decoder = 24 * 16 * (4 * (896 + 896) - 2 * (896 - 128) + 3 * (896 + 4864))  # rank 16, keys and values 128 wide
    projectors = sum(2 * n for n in (4096, 256)) + sum((n + 1) * 896 + 897 * 896 for n in (4096, 256))
    assert lora.trainable == decoder + projectors


def launch_arguments(path):
    """What `accelerate launch` makes of a configuration, and the arguments it knows."""
    parser = launch_command_parser()
    args = parser.parse_args(["--config_file", str(path), "script.py"])
    known = set(vars(args))
    args.nondefault = set()
    return _validate_launch_command(args)[0], known


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_accelerate_knows_every_key(path):
    config = load_config_from_file(str(path))  # refuses unknown keys at the top
    _, known = launch_arguments(path)
    for key in [*config.fsdp_config, *config.deepspeed_config]:
        assert key in known, key


def test_what_the_configurations_ask_for():
    assert [path.stem for path in CONFIGS] == ["ddp", "fsdp2", "zero2", "zero3"]
    args = {path.stem: launch_arguments(path)[0] for path in CONFIGS}
    assert args["ddp"].multi_gpu and not args["ddp"].use_fsdp and not args["ddp"].use_deepspeed
    assert args["fsdp2"].use_fsdp and args["fsdp2"].fsdp_version == 2
    assert [args[name].zero_stage for name in ("zero2", "zero3")] == [2, 3]
    assert all(args[name].use_deepspeed and args[name].mixed_precision == "bf16" for name in ("zero2", "zero3"))


def test_the_fsdp_plugin_takes_what_the_launcher_passes_on(monkeypatch):
    args, _ = launch_arguments(TRAINING / "accelerate_configs" / "fsdp2.yaml")
    for name, value in prepare_multi_gpu_env(args).items():
        if name.startswith("FSDP_"):
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2 and plugin.reshard_after_forward is True
    assert "FULL" in str(plugin.state_dict_type)


def test_the_wrapped_layers_are_those_of_the_models():
    wanted = yaml.safe_load((TRAINING / "accelerate_configs" / "fsdp2.yaml").read_text())["fsdp_config"]
    classes = {type(module).__name__ for module in tiny_model().modules()}
    assert set(wanted["fsdp_transformer_layer_cls_to_wrap"].split(",")) <= classes


def test_fsdp_on_a_cpu_is_refused(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(RecipeError, match="FSDP.*`torchrun"):
        check_launch(use_cpu=True)
    command = ["--config", str(TRAINING / "recipes" / "own_pictures_cpu.yaml"), "--output_dir", str(tmp_path)]
    assert main("pretrain", "", command) == 2
    assert "torchrun --nproc_per_node N" in caplog.text


def test_one_process_where_several_were_meant_is_said(monkeypatch, caplog):
    for name in ("WORLD_SIZE", "ACCELERATE_USE_FSDP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    check_launch(use_cpu=True)
    assert "one process, whatever --num_processes says" in caplog.text
    caplog.clear()
    monkeypatch.delenv("MASTER_ADDR")
    check_launch(use_cpu=True)
    assert not caplog.text
