"""InternVL3 in both layouts with SlowFast's weights, and an image encoder alone."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, InternVLConfig, InternVLForConditionalGeneration

from modeling_vital.conversion.convert import convert
from modeling_vital.conversion.errors import ConversionError, ConversionUsageError
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures.released import (
    TILE,
    part,
    random_weights,
    released_config,
    released_reference,
    released_shapes,
    slowfast_reference,
    slowfast_shapes,
    tokenizer_of,
    vision_shapes,
    vit_reference,
    write_checkpoint,
)
from tests.fixtures.tiny_models import text_config, vision_config


@pytest.fixture(scope="module")
def slowfast(tmp_path_factory):
    """The weights file as PyTorchVideo publishes it, and its blocks' weights by released name."""
    blocks = random_weights(dict(slowfast_shapes()), seed=3)
    state = {f"blocks.{key}": tensor for key, tensor in blocks.items()}
    state |= {"blocks.6.proj.weight": torch.zeros(400, 2304), "blocks.6.proj.bias": torch.zeros(400)}
    path = tmp_path_factory.mktemp("slowfast") / "SLOWFAST_8x8_R50.pyth"
    torch.save({"model_state": state, "epoch": 196}, path)
    return path, blocks


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """An InternVL3 in its original layout: folder, configuration, weights."""
    config = released_config()
    state = {k: t for k, t in random_weights(released_shapes(config)).items() if not k.startswith(("slow", "motion"))}
    return write_checkpoint(tmp_path_factory.mktemp("original") / "source", config, state), config, state


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """The same kind of model as transformers saves it, with the model itself."""
    torch.manual_seed(0)
    tokenizer = tokenizer_of(800)
    config = InternVLConfig(
        vision_config=vision_config("internvl"),
        text_config=text_config("qwen2", len(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    model = InternVLForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("native") / "source"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, model


def test_original_layout_becomes_a_starting_point(original, slowfast, tmp_path):
    folder, config, state = original
    model = VitalForConditionalGeneration.from_pretrained(convert(str(folder), tmp_path / "ours", motion=slowfast[0]))
    assert model.config.motion_token_layout == "frames"
    assert model.config.level_values == [0.9, 0.7, 0.5, 0.3, 0.1]
    assert model.processor.video_prompt == "line_per_key_frame"

    ids = torch.randint(10, 700, (20,), generator=torch.Generator().manual_seed(0))
    ids[3:11] = model.config.image_token_id
    pixels = torch.randn(2, 3, TILE, TILE, generator=torch.Generator().manual_seed(0))
    reference = released_reference(state, config, ids, model.config.image_token_id, pixels)
    with torch.no_grad():
        logits = model.eval()(input_ids=ids[None], pixel_values=pixels).logits[0]
        frames = torch.randn(6, 3, TILE, TILE)
        motion = model.model.motion_encoder(frames[None])[0]
    assert torch.allclose(logits, reference["logits"], atol=1e-4, rtol=0)
    assert torch.allclose(motion, slowfast_reference(slowfast[1], frames)[0, :, :, 0, 0].T, atol=1e-4)

    projector = model.model.motion_projector
    assert projector.linear_1.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert projector.linear_1.bias.abs().max() == 0
    assert projector.layer_norm.weight.eq(1).all()


def test_the_new_projector_is_the_same_each_time(original, slowfast, tmp_path):
    one, two = (convert(str(original[0]), tmp_path / name, motion=slowfast[0]) for name in ("one", "two"))
    for name in sorted(path.name for path in one.glob("*.safetensors")):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize("names", ["version 5", "version 4"])
def test_native_layout_becomes_a_starting_point(native, slowfast, names, tmp_path):
    folder, reference = native
    if names == "version 4":
        folder = tmp_path / "version 4"
        folder.mkdir()
        for file in native[0].glob("*.json"):
            (folder / file.name).write_bytes(file.read_bytes())
        old = {}
        for key, tensor in load_file(native[0] / "model.safetensors").items():
            key = "language_model.lm_head.weight" if key == "lm_head.weight" else key
            key = key.replace("model.language_model.", "language_model.model.")
            old[key.removeprefix("model.")] = tensor
        save_file(old, folder / "model.safetensors")
    model = VitalForConditionalGeneration.from_pretrained(convert(str(folder), tmp_path / "ours", motion=slowfast[0]))
    ids = torch.randint(10, 700, (1, 20), generator=torch.Generator().manual_seed(0))
    ids[0, 3:11] = model.config.image_token_id
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference(input_ids=ids, pixel_values=pixels).logits
        logits = model.eval()(input_ids=ids, pixel_values=pixels).logits
    assert expected.std() > 0.1
    assert torch.allclose(logits, expected, atol=1e-4, rtol=0)
    assert not model.config.tie_word_embeddings


def test_motion_weights_are_needed_for_internvl_and_refused_elsewhere(original, slowfast, tmp_path):
    with pytest.raises(ConversionUsageError, match="--motion"):
        convert(str(original[0]), tmp_path / "ours")
    with pytest.raises(ConversionUsageError, match="nothing.pyth"):
        convert(str(original[0]), tmp_path / "ours", motion=tmp_path / "nothing.pyth")
    config = released_config()
    source = write_checkpoint(tmp_path / "released", config, random_weights(released_shapes(config)), tokenizer=False)
    with pytest.raises(ConversionUsageError, match="VITAL, released.*--motion"):
        convert(str(source), tmp_path / "ours", motion=slowfast[0])
    assert not (tmp_path / "ours").exists()


class Payload:
    """What a malicious pickle runs."""

    def __reduce__(self):
        return exec, ("raise SystemExit('the pickle ran')",)


def test_pickles_that_hold_code_are_not_run(original, tmp_path):
    for content in ({"model_state": Payload()}, Payload()):
        bad = tmp_path / "bad.pyth"
        torch.save(content, bad)
        with pytest.raises(ConversionError, match="bad.pyth.*tensors"):
            convert(str(original[0]), tmp_path / "ours", motion=bad)
    torch.save({"epoch": 1}, bad)
    with pytest.raises(ConversionError, match="bad.pyth.*'model_state'"):
        convert(str(original[0]), tmp_path / "ours", motion=bad)
    torch.save({"model_state": {"blocks.0.other": torch.zeros(1)}}, bad)
    with pytest.raises(ConversionError, match="bad.pyth[^$]*blocks.0.other"):
        convert(str(original[0]), tmp_path / "ours", motion=bad)


def test_features_before_the_last_layer(original, slowfast, tmp_path):
    _, config, state = original
    folder = write_checkpoint(tmp_path / "source", {**config, "select_layer": -2}, state)
    model = VitalForConditionalGeneration.from_pretrained(convert(str(folder), tmp_path / "ours", motion=slowfast[0]))
    pixels = torch.randn(1, 3, TILE, TILE)
    with torch.no_grad():
        features = model.model.vision_tower(pixel_values=pixels).last_hidden_state
    _, layers = vit_reference(part(state, "vision_model."), config, pixels)
    assert torch.allclose(features, layers[-2], atol=1e-4)


@pytest.mark.parametrize("change", [{"ps_version": "v1"}, {"pad2square": True}, {"select_layer": -9}])
def test_kinds_of_internvl_that_ours_cannot_be(original, slowfast, change, tmp_path):
    _, config, state = original
    folder = write_checkpoint(tmp_path / "source", {**config, **change}, state)
    with pytest.raises(ConversionError, match="v1|pad2square|-9"):
        convert(str(folder), tmp_path / "ours", motion=slowfast[0])


@pytest.mark.parametrize("kind", [{}, {"norm": "rms_norm", "qk_norm": True, "qkv_bias": False}], ids=["300M", "6B"])
@pytest.mark.parametrize("prefix", ["", "vision_model."])
def test_an_image_encoder_alone(kind, prefix, tmp_path):
    config = released_config(**kind)
    state = random_weights(dict(vision_shapes(config)))
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config["vision_config"]))
    save_file({prefix + key: tensor for key, tensor in state.items()}, folder / "model.safetensors")
    encoder = AutoModel.from_pretrained(convert(str(folder), tmp_path / "ours")).eval()
    pixels = torch.randn(2, 3, TILE, TILE)
    with torch.no_grad():
        features = encoder(pixel_values=pixels).last_hidden_state
    assert torch.allclose(features, vit_reference(state, config, pixels)[0], atol=1e-4)
    with pytest.raises(ConversionUsageError, match="--scoring"):
        convert(str(folder), tmp_path / "other", scoring="released")


def test_an_encoder_that_transformers_cannot_run_alone_is_refused(tmp_path):
    config = released_config(qk_norm=True, eps=1e-3)
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config["vision_config"]))
    save_file(random_weights(dict(vision_shapes(config))), folder / "model.safetensors")
    with pytest.raises(ConversionError, match="epsilon 0.001"):
        convert(str(folder), tmp_path / "ours")
