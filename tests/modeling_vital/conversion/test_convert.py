"""`vital convert` as a program: what it refuses, what an interruption leaves, how much memory it takes."""

import copy
import json
import math
import re
import shutil
import subprocess
import sys
import textwrap

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from modeling_vital.cli.main import main
from modeling_vital.conventions_vital import SCORING_CONVENTIONS
from modeling_vital.conversion import writer
from modeling_vital.conversion.convert import convert
from modeling_vital.conversion.errors import ConversionError, ConversionUsageError
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures.clean_process import run_without_the_package
from tests.fixtures.released import random_weights, released_config, released_shapes, tokenizer_of, write_checkpoint
from tests.test_remote_code import SCRIPT


CONFIG = released_config()
STATE = random_weights(released_shapes(CONFIG))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("convert") / "a source", CONFIG, STATE, shards=3)


@pytest.fixture(scope="module")
def converted(source):
    return convert(str(source), source.parent / "converted")


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------------- the result
def test_shards_and_index(source, converted):
    index = json.loads((converted / "model.safetensors.index.json").read_text())
    names = [f"model-{i}-of-00003.safetensors" for i in ("00001", "00002", "00003")]
    assert sorted(set(index["weight_map"].values())) == names
    ours = {key: tensor for name in names for key, tensor in load_file(converted / name).items()}
    assert {key: name for name in names for key in load_file(converted / name)} == index["weight_map"]
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in ours.values())
    # bit for bit, whatever became of the key
    assert torch.equal(ours["lm_head.weight"], STATE["language_model.lm_head.weight"])
    fused = STATE["vision_model.encoder.layers.1.attn.qkv.weight"]
    parts = [ours[f"model.vision_tower.encoder.layer.1.attention.{name}_proj.weight"] for name in "qkv"]
    assert torch.equal(torch.cat(parts), fused)
    assert ours["model.motion_encoder.stem_norm.num_batches_tracked"] == 7
    assert leftovers(source.parent) == ["a source", "converted"]


@pytest.mark.slow
def test_clean_environment(converted, tmp_path):
    picture = tmp_path / "a picture.png"
    Image.radial_gradient("L").convert("RGB").save(picture)
    expected = VitalForConditionalGeneration.from_pretrained(converted).score(picture).score
    result = run_without_the_package(SCRIPT, converted, picture, tmp_path)
    assert result["config"] == "vital"
    assert result["score"] == pytest.approx(expected, abs=1e-6)


def test_decoder_configuration_keeps_the_architecture_and_nothing_else(converted):
    config = json.loads((converted / "config.json").read_text())
    text = config["text_config"]
    assert text["rope_parameters"] == {"rope_theta": 10000.0, "rope_type": "default"}  # see ReleasedLayout
    assert text["use_cache"] is True
    assert "flash_attention_2" not in json.dumps(config)
    assert config["dtype"] == "float32"
    assert config["architectures"] == ["VitalForConditionalGeneration"]
    generation = json.loads((converted / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [tokenizer_of(800).convert_tokens_to_ids("<|im_end|>")]


@pytest.mark.parametrize("name", SCORING_CONVENTIONS)
def test_scoring_conventions_by_name(source, converted, name, tmp_path):
    by_option = VitalForConditionalGeneration.from_pretrained(convert(str(source), tmp_path / "ours", scoring=name))
    switched = VitalForConditionalGeneration.from_pretrained(converted)
    switched.use_scoring(name)
    convention = SCORING_CONVENTIONS[name]
    for model in (by_option, switched):
        assert model.config.level_values == list(convention.level_values)
        assert model.processor.answer_prefixes == convention.answer_prefixes
        assert model.processor.sampling == convention.frame_sampling
        assert model.processor.video_prompt == convention.video_prompt
    clip = torch.randint(0, 256, (40, 3, 56, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert by_option.score([clip]) == switched.score([clip])
    with pytest.raises(ValueError, match="released_less_token"):
        switched.use_scoring("relaesed")


def test_a_generation_configuration_that_contradicts_itself_is_left_out(source, tmp_path, caplog):
    folder = tmp_path / "source"
    shutil.copytree(source, folder)
    (folder / "generation_config.json").write_text('{"do_sample": false, "temperature": 0.3, "top_k": 3}')
    generation = json.loads((convert(str(folder), tmp_path / "ours") / "generation_config.json").read_text())
    assert "temperature" not in generation
    assert "contradicts itself" in caplog.text


@pytest.mark.parametrize("content", ["[]", "{", '{"temperature": "hot"}'])
def test_a_generation_configuration_that_is_none_is_left_out(source, tmp_path, caplog, content):
    folder = tmp_path / "source"
    shutil.copytree(source, folder)
    (folder / "generation_config.json").write_text(content)
    convert(str(folder), tmp_path / "ours")
    assert "generation_config.json is wrong" in caplog.text
    assert (tmp_path / "ours" / "generation_config.json").is_file()


def test_licences_travel_and_a_folder_of_them_is_left(source, tmp_path):
    folder = tmp_path / "source"
    shutil.copytree(source, folder)
    (folder / "LICENSE.txt").write_text("mine")
    (folder / "LICENSES").mkdir()
    ours = convert(str(folder), tmp_path / "ours")
    assert (ours / "LICENSE.txt").read_text() == "mine" and not (ours / "LICENSES").exists()


def test_weights_in_a_pickle(source, converted, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
    torch.save(STATE, folder / "pytorch_model.bin")
    ours = load_file(convert(str(folder), tmp_path / "ours") / "model.safetensors")
    shards = {key: tensor for path in converted.glob("*.safetensors") for key, tensor in load_file(path).items()}
    assert ours.keys() == shards.keys()
    assert all(torch.equal(ours[key], shards[key]) for key in ours)


# ------------------------------------------------------------------------------------------------------ the refusals
def broken(source, folder, change):
    """A copy of the source in which `change` has been made to the weights of its first shard."""
    shutil.copytree(source, folder)
    path = folder / "model-00001-of-00003.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)
    return folder


def test_unknown_missing_and_misshaped_keys_are_all_listed(source, tmp_path):
    keys = sorted(load_file(source / "model-00001-of-00003.safetensors"))
    gone = [key for key in keys if "self_attn" in key or "fc1" in key]
    qkv = next(key for key in keys if key.endswith("qkv.weight"))
    embedding = "language_model.model.embed_tokens.weight"

    def change(state):
        for key in gone:
            del state[key]
        state["language_model.model.layers.9.mlp.up_proj.weight"] = torch.zeros(2, 2)
        state["another.thing"] = torch.zeros(3)
        state[qkv] = torch.zeros(10, 16)

    with pytest.raises(ConversionError) as caught:
        convert(str(broken(source, tmp_path / "bad", change)), tmp_path / "ours")
    message = str(caught.value)
    assert "2 keys that have no place in the model" in message
    assert "another.thing [3]" in message
    assert "layers.9.mlp.up_proj.weight [2, 2]" in message
    assert f"{qkv} gives model.vision_tower" in message
    assert f"{len(gone)} parameters that no key gives" in message
    assert len(gone) >= 3
    assert embedding not in message
    assert leftovers(tmp_path) == ["bad"]


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool])
def test_weights_that_are_whole_numbers_are_named(source, tmp_path, dtype):
    key = "language_model.lm_head.weight"
    home = next(i for i in (1, 2, 3) if key in load_file(source / f"model-0000{i}-of-00003.safetensors"))
    folder = tmp_path / "bad"
    shutil.copytree(source, folder)
    path = folder / f"model-0000{home}-of-00003.safetensors"
    save_file({**load_file(path), key: STATE[key].to(dtype)}, path)
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(ConversionError, match=f"whole numbers[^$]*{key} holds {kind}"):
        convert(str(folder), tmp_path / "ours")
    assert leftovers(tmp_path) == ["bad"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_named(source, tmp_path, value):
    folder = tmp_path / "bad"
    shutil.copytree(source, folder)
    path = folder / "model-00002-of-00003.safetensors"
    tensors = load_file(path)
    key = sorted(tensors)[-1]
    tensors[key].view(-1)[-1] = value
    save_file(tensors, path)
    with pytest.raises(ConversionError, match=f"00002-of-00003.*{re.escape(key)} "):
        convert(str(folder), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("found", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 3}}'])
def test_an_index_that_names_no_files_is_told(source, tmp_path, found):
    folder = tmp_path / "bad"
    shutil.copytree(source, folder)
    (folder / "model.safetensors.index.json").write_text(found)
    with pytest.raises(ConversionError, match="index.json .*(weight_map|JSON object)"):
        convert(str(folder), tmp_path / "ours")


@pytest.mark.parametrize("place", ["../source/{}", "{}/../../source/{}"])
def test_an_index_that_leads_out_of_the_folder_is_refused(source, tmp_path, place):
    folder = tmp_path / "bad"
    shutil.copytree(source, folder)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] = {key: place.format(name, name) for key, name in index["weight_map"].items()}
    path.write_text(json.dumps(index))
    with pytest.raises(ConversionError, match="weight_map.*files beside"):
        convert(str(folder), tmp_path / "ours")


def test_two_sources_for_one_parameter(source, tmp_path):
    extra = "vision_model.embeddings.class_embedding"
    with pytest.raises(ConversionError, match=f"shard: {extra}"):
        home = next(i for i in (1, 2, 3) if extra in load_file(source / f"model-0000{i}-of-00003.safetensors"))
        folder = tmp_path / "bad"
        shutil.copytree(source, folder)
        path = folder / f"model-0000{home % 3 + 1}-of-00003.safetensors"
        save_file({**load_file(path), extra: STATE[extra]}, path)
        convert(str(folder), tmp_path / "ours")


def test_broken_files_are_named(source, tmp_path):
    for number, (name, damage, message) in enumerate(
        [
            ("model-00002-of-00003.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-100]), "00002-of"),
            ("model-00002-of-00003.safetensors", lambda path: path.unlink(), "missing.*00002-of"),
            ("config.json", lambda path: path.write_text("{"), "config.json .*JSON"),
            ("config.json", lambda path: path.write_text('{"model_type": "other"}'), "'other'"),
        ]
    ):
        folder = tmp_path / str(number)
        shutil.copytree(source, folder)
        damage(folder / name)
        with pytest.raises(ConversionError, match=message):
            convert(str(folder), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"llm_config": {}}, "'nothing'"),
        ({"vision_config": {"num_attention_heads": 3}}, "config.json .*divisible"),
        ({"vision_config": {"hidden_size": "large"}}, "config.json .*hidden_size"),
        ({"vision_config": {**CONFIG["vision_config"], "patch_size": 0}}, "config.json .*zero"),
        ({"llm_config": {**CONFIG["llm_config"], "hidden_size": 0}}, "config.json .*power"),
        ({"downsample_ratio": 0}, "config.json .*zero"),
        ({"llm_config": {**CONFIG["llm_config"], "num_hidden_layers": 10**9}}, "llm_config.num_hidden_layers"),
        ({"vision_config": {**CONFIG["vision_config"], "num_hidden_layers": 10**9}}, "vision_config.num_hidden"),
    ],
)
def test_a_configuration_that_makes_no_model(change, message, tmp_path):
    folder = write_checkpoint(tmp_path / "source", {**CONFIG, **change}, STATE, tokenizer=False)
    with pytest.raises(ConversionError, match=message):
        convert(str(folder), tmp_path / "ours")


def test_tokenizers(source, tmp_path, caplog):
    bare = tmp_path / "no tokenizer"
    shutil.copytree(source, bare, ignore=shutil.ignore_patterns("token*", "special*"))
    folder = convert(str(bare), tmp_path / "without")
    assert "no tokenizer" in caplog.text
    assert not (folder / "processor_config.json").exists()
    folder = convert(str(bare), tmp_path / "with", tokenizer=str(source))
    assert VitalForConditionalGeneration.from_pretrained(folder).processor.image_token == "<IMG_CONTEXT>"
    with pytest.raises(ConversionUsageError, match="nowhere"):
        convert(str(bare), tmp_path / "ours", tokenizer=str(tmp_path / "nowhere"))
    larger = copy.deepcopy(tokenizer_of(800))
    larger.add_tokens(["<one more>"])
    larger.save_pretrained(tmp_path / "large")
    with pytest.raises(ConversionError, match="801 tokens.* 800"):
        convert(str(bare), tmp_path / "ours", tokenizer=str(tmp_path / "large"))


def test_usage(source, converted, tmp_path):
    with pytest.raises(ConversionUsageError, match="converted "):
        convert(str(source), converted)
    with pytest.raises(ConversionUsageError, match="'no/such/folder' .* org/name"):
        convert("no/such/folder", tmp_path / "ours")
    with pytest.raises(ConversionUsageError, match="released_less_token"):
        convert(str(source), tmp_path / "ours", scoring="new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConversionUsageError, match="config.json"):
        convert(str(tmp_path / "empty"), tmp_path / "ours")
    assert convert(str(source), tmp_path / "empty").is_dir()


# -------------------------------------------------------------------------------------------------- the interruptions
def test_an_interrupted_conversion_goes_on(source, converted, tmp_path, monkeypatch):
    write, written = writer._write_shard, []

    def interrupted(path, part, advance):
        if len(written) == 1:
            (path.parent / ".killed.1.partial").mkdir()
            (path.parent / ".killed.1.partial" / path.name).write_bytes(b"half of it")
            raise KeyboardInterrupt
        write(path, part, advance)
        written.append(path.name)

    monkeypatch.setattr(writer, "_write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert(str(source), tmp_path / "ours")
    (work,) = tmp_path.iterdir()
    assert work.name == ".ours.converting"
    assert not (work / "config.json").exists()
    assert [path.name for path in work.glob("*.safetensors")] == written

    monkeypatch.setattr(writer, "_write_shard", lambda *args: (written.append(args[0].name), write(*args)))
    convert(str(source), tmp_path / "ours")
    assert written == [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]  # none of them twice
    assert leftovers(tmp_path) == ["ours"]
    assert leftovers(tmp_path / "ours") == leftovers(converted)
    for name in leftovers(converted):
        assert (tmp_path / "ours" / name).read_bytes() == (converted / name).read_bytes()


def test_leftovers_of_another_conversion_are_not_used(source, converted, tmp_path):
    work = tmp_path / ".ours.converting"
    work.mkdir()
    (work / "plan.json").write_text("of another")
    shutil.copy(converted / "model-00001-of-00003.safetensors", work)
    (work / "stray.txt").write_text("stray")
    folder = convert(str(source), tmp_path / "ours")
    assert leftovers(folder) == leftovers(converted)


def test_a_full_disk_is_noticed_before_the_work(source, tmp_path, monkeypatch):
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ConversionError, match="has 0.0 GB"):
        convert(str(source), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


# ------------------------------------------------------------------------------------------------------------ memory
MEASURE = """
    import sys
    from modeling_vital.conversion.convert import convert

    def peak():
        lines = open("/proc/self/status").read().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024

    small, large, out = sys.argv[1:]
    convert(small, out + "/small converted")  # what the libraries take by themselves
    before = peak()
    convert(large, out + "/large converted")
    print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_stays_within_one_shard(source, tmp_path):
    config = json.loads(json.dumps(CONFIG))
    config["llm_config"] |= {"intermediate_size": 40960, "num_hidden_layers": 8}  # 16 MB a layer
    shapes = released_shapes(config)
    state = {key: torch.zeros(shape, dtype=torch.float32) for key, shape in shapes.items()}
    folder = write_checkpoint(tmp_path / "large", config, state, shards=8, tokenizer=False)
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")]
    script = tmp_path / "measure.py"
    script.write_text(textwrap.dedent(MEASURE))
    command = [sys.executable, str(script), str(source), str(folder), str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    grown = int(run.stdout.strip().splitlines()[-1])
    assert sum(sizes) > 4 * max(sizes) > 60e6
    assert grown < max(sizes) + 15e6, f"{grown / 1e6:.0f} MB more, the largest shard has {max(sizes) / 1e6:.0f} MB"


# -------------------------------------------------------------------------------------------------- the command line
def test_command_line(source, tmp_path, capfd, monkeypatch):
    assert main(["convert", str(source), str(tmp_path / "a folder"), "--scoring", "released_less_token"]) == 0
    messages = capfd.readouterr().err
    assert "a folder is complete" in messages
    assert "tensors have no use (fusion leads from fast to slow only" in messages
    assert main(["convert", str(source), str(tmp_path / "a folder")]) == 2
    assert "exists already" in capfd.readouterr().err
    assert main(["convert", "org/name", str(tmp_path / "other")]) == 2  # no network here
    assert "org/name" in capfd.readouterr().err
    assert main(["convert"]) == 2
    bad = broken(source, tmp_path / "bad", lambda state: state.update({"another.thing": torch.zeros(1)}))
    assert main(["convert", str(bad), str(tmp_path / "other")]) == 1
    assert "another.thing" in capfd.readouterr().err

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "_write_shard", interrupt)
    assert main(["convert", str(source), str(tmp_path / "other")]) == 130
    streams = capfd.readouterr()
    assert "the same command resumes" in streams.err
    assert streams.out == ""
    assert not (tmp_path / "other").exists()
