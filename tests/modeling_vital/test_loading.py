"""Precisions, attention implementations, device maps and quantisation, as far as a CPU can show them."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, ResNetConfig

from modeling_vital import VitalForConditionalGeneration, VitalForQualityProbe, VitalModel, zoo
from modeling_vital.metric import VitalMetric
from tests.fixtures.tiny_models import TILE, tiny_model
from tests.fixtures.tiny_probes import tiny_probe
from tests.modeling_vital.test_modeling import SHAPES, clip, picture
from tests.test_embedded_checkpoint import PHOTOS


@pytest.fixture(scope="module", params=SHAPES, ids="-".join)
def saved(request, tmp_path_factory):
    """A folder, and what its model says in float32."""
    model = tiny_model(*request.param)
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    return folder, says(model)


def says(model):
    """Scores, option probabilities and greedy words: every path through the model."""
    items = [picture(0), clip(1)]
    scores = [r.score for r in model.score(items)]
    chosen = [p for a in model.answer(items, "Sharp?", choices=["yes", "no"]) for p in a.choice_probs.values()]
    return scores + chosen, model.describe(items, max_new_tokens=3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(saved, attention):
    folder, (numbers, words) = saved
    model = VitalForConditionalGeneration.from_pretrained(folder, attn_implementation=attention)
    assert model.model.language_model.config._attn_implementation == attention
    got, said = says(model)
    assert got == pytest.approx(numbers, abs=1e-5)
    assert said == words


def test_flex_attention_is_taken_up(saved):
    # Running it compiles for half a minute, and on a CPU not always to the end.
    model = VitalForConditionalGeneration.from_pretrained(saved[0], attn_implementation="flex_attention")
    assert model.model.language_model.config._attn_implementation == "flex_attention"


def test_the_image_encoder_uses_the_attention_asked_for():
    for attention in ("eager", "sdpa"):
        model = tiny_model()
        model.set_attn_implementation(attention)
        assert model.model.vision_tower.config._attn_implementation == attention


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(saved, dtype):
    folder, (numbers, _) = saved
    model = VitalForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    assert says(model)[0] == pytest.approx(numbers, abs=0.02)


def test_dtype_auto_is_the_dtype_that_was_saved(tmp_path):
    tiny_model().to(torch.bfloat16).save_pretrained(tmp_path)
    assert VitalForConditionalGeneration.from_pretrained(tmp_path, dtype="auto").dtype == torch.bfloat16


def test_device_map_auto_and_offload(saved, tmp_path):
    pytest.importorskip("accelerate")
    folder, (numbers, words) = saved
    whole = VitalForConditionalGeneration.from_pretrained(folder, device_map="auto")
    split = VitalForConditionalGeneration.from_pretrained(
        folder, device_map="auto", max_memory={"cpu": "100KB"}, offload_folder=tmp_path
    )
    assert {"cpu", "disk"} <= set(split.hf_device_map.values())
    for model in (whole, split):
        got, said = says(model)
        assert got == pytest.approx(numbers, abs=1e-5)
        assert said == words


class TwoDevices(TorchFunctionMode):
    """Lets `meta` be a second GPU: what is there can come back, and is not indexed by what is elsewhere."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__getitem__ and isinstance(args[1], torch.Tensor):
            assert args[1].device == args[0].device
        if func is torch.Tensor.to and args[0].is_meta:
            args = (torch.zeros(args[0].shape), *args[1:])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("index", ["tile_index", "frame_index", None])
def test_projectors_on_another_device_than_the_inputs(index):
    model = tiny_model()
    inputs = model.processor.score_inputs([clip()])
    for projector in (model.model.multi_modal_projector, model.model.motion_projector):
        projector.register_forward_hook(lambda module, args, output: output.to("meta"))
    if index:
        inputs[index] = torch.arange(len(inputs["pixel_values" if index == "tile_index" else "motion_values"]))
    with TwoDevices(), torch.no_grad():
        assert model.model(**inputs).last_hidden_state.device.type == "cpu"


def test_layers_of_a_probes_encoder_on_several_devices():
    probe = tiny_probe()

    def split(module, args, output):
        first, *others = output.hidden_states[1:]
        output.hidden_states = (output.hidden_states[0], first.to("meta"), *others)

    probe.vision_tower.register_forward_hook(split)
    with TwoDevices(), torch.no_grad():
        assert probe.pool_tiles(torch.zeros(2, 3, TILE, TILE)).device.type == "cpu"


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
def test_bitsandbytes_on_a_cpu(bits, tmp_path):
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    from transformers import BitsAndBytesConfig

    source = zoo.resolve(zoo.DEFAULT_MODEL)
    config = {
        8: BitsAndBytesConfig(load_in_8bit=True),
        4: BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32),
    }[bits]
    full = VitalForConditionalGeneration.from_pretrained(source)
    model = VitalForConditionalGeneration.from_pretrained(source, quantization_config=config)
    model.save_pretrained(tmp_path)  # before its first use: on a CPU, 4-bit weights are rearranged then
    assert model.get_memory_footprint() < 0.8 * full.get_memory_footprint()
    assert model.lm_head.weight.is_floating_point()  # the level words are read off unquantised
    scores = [r.score for r in model.score(PHOTOS)]
    assert scores == pytest.approx([r.score for r in full.score(PHOTOS)], abs=0.05)
    assert model.describe(Image.open(PHOTOS[0])).startswith("The distortion of the image is ")
    again = VitalForConditionalGeneration.from_pretrained(tmp_path)
    assert [r.score for r in again.score(PHOTOS)] == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize(
    "load", [VitalForConditionalGeneration.from_pretrained, VitalMetric, VitalModel.from_pretrained]
)
@pytest.mark.parametrize("kind", ["vital_probe", "resnet"])
def test_a_model_of_another_type_is_refused(tmp_path, monkeypatch, load, kind):
    monkeypatch.setattr(VitalModel, "__init__", lambda *_: pytest.fail("a model of 8B with random weights"))
    if kind == "resnet":
        ResNetConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"'{kind}'.*'vital'"):
        load(str(tmp_path) if kind == "resnet" else "vital-tiny-probe")


def test_a_probe_is_not_made_of_a_model_with_a_decoder():
    with pytest.raises(ValueError, match="'vital'.*'vital_probe'"):
        VitalForQualityProbe.from_pretrained("vital-tiny")


def without(folder, part):
    """The weights of a folder but those whose names have a part."""
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if part not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("make", "part"),
    [(tiny_model, "multi_modal_projector"), (tiny_model, "lm_head"), (tiny_probe, "head."), (tiny_probe, "running_")],
)
def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path, make, part):
    model = make()
    model.save_pretrained(tmp_path)
    without(tmp_path, part)
    with pytest.raises(ValueError, match=rf"\d+ .* {type(model).__name__}, .*{part}"):
        type(model).from_pretrained(tmp_path)
    _, info = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert any(part in name for name in info["missing_keys"])


def test_the_body_of_a_model_is_no_model_that_scores(tmp_path):
    tiny_model().model.save_pretrained(tmp_path)
    assert VitalModel.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="lacks 1 weights .*lm_head"):
        VitalForConditionalGeneration.from_pretrained(tmp_path)


def test_a_decoder_that_lacks_weights_is_refused(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path / "vital")
    AutoModelForCausalLM.from_config(model.config.text_config).save_pretrained(tmp_path / "decoder")
    model.processor.tokenizer.save_pretrained(tmp_path / "decoder")
    assert VitalForConditionalGeneration.from_parts(tmp_path / "vital", tmp_path / "decoder")
    without(tmp_path / "decoder", "lm_head")
    with pytest.raises(ValueError, match="decoder.* lacks 1 weights .*lm_head"):
        VitalForConditionalGeneration.from_parts(tmp_path / "vital", tmp_path / "decoder")
