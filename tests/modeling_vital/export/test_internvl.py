"""The InternVL export: transformers' own classes give the checkpoint's image scores, also through a server."""

import base64
import copy
import io
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from jinja2.exceptions import TemplateError
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer, GenerationConfig
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.processing_utils import ProcessorMixin

from modeling_vital import zoo
from modeling_vital.conversion.convert import convert
from modeling_vital.cutting_vital import choose_grid
from modeling_vital.export.folders import ExportError
from modeling_vital.export.internvl import export_internvl, native_image_processor, tiling_differences
from modeling_vital.image_processing_vital import VitalImageProcessor
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from tests.fixtures.doc_blocks import named_block
from tests.fixtures.released import random_weights, released_config, released_shapes, write_checkpoint
from tests.fixtures.tiny_models import TILE, tiny_model
from tests.fixtures.tiny_probes import tiny_probe


def picture(width=80, height=50, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


PICTURES = [picture(80, 50), picture(30, 90, seed=1), picture(32, 32, seed=2), picture(100, 20, seed=3)]


@pytest.fixture(scope="module")
def model():
    """A model whose level words are likely, as training makes them, so that they are among those an engine reports."""
    model = tiny_model("internvl", level_values=[1.0, 0.8, 0.6, 0.4, 0.2])
    model.processor.image_processor.tile_rule = "aspect_ratio"
    with torch.no_grad():
        state = model.model(**model.processor.score_inputs([PICTURES[0]])).last_hidden_state[0, -1]
        ids = [model.processor.tokenizer(f" {word}")["input_ids"][0] for word in model.config.level_words]
        model.lm_head.weight[ids] += state / state.norm() ** 2 * 25
    return model


@pytest.fixture
def source(model, tmp_path):
    """The model as a checkpoint of several shards, some of them with nothing but motion encoder."""
    model.save_pretrained(tmp_path / "source", max_shard_size="30KB")
    return tmp_path / "source"


class Served:
    """An exported folder behind transformers' own classes, nothing of ours."""

    def __init__(self, folder):
        self.settings = json.loads((folder / "vital_scoring.json").read_text())
        self.model = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        pictures = AutoImageProcessor.from_pretrained(folder, backend="pil")
        size = json.loads((folder / "processor_config.json").read_text())["image_seq_length"]
        self.processor = InternVLProcessor(
            pictures, self.tokenizer, None, image_seq_length=size, chat_template=self.tokenizer.chat_template
        )

    @torch.no_grad()
    def next_logits(self, messages, images=None, tiles=None):
        """Logits after the messages; `tiles` are shown in place of those that InternVL's processor would cut."""
        text = self.processor.apply_chat_template(messages, continue_final_message=True, tokenize=False)
        if tiles is None:
            inputs = self.processor(images=images, text=text, return_tensors="pt")
        else:
            run = self.processor.image_token * (self.processor.image_seq_length * len(tiles))
            text = text.replace(self.processor.image_token, f"<img>{run}</img>")
            inputs = {**self.tokenizer(text, return_tensors="pt", return_token_type_ids=False), "pixel_values": tiles}
        return self.model(**inputs, logits_to_keep=1).logits[0, -1].double()

    def score(self, image, tiles=None):
        answer = {"role": "assistant", "content": self.settings["answer_prefix"]}
        logits = self.next_logits([{"role": "user", "content": [{"type": "image"}]}, answer], [image], tiles)
        probs = logits[self.settings["level_token_ids"]].softmax(-1)
        return (probs @ torch.tensor(self.settings["level_values"], dtype=torch.float64)).item()


@pytest.fixture(autouse=True)
def processor_without_clips(monkeypatch):
    """InternVLProcessor refuses to be made without a video processor, which needs torchvision; pictures do not."""
    check = ProcessorMixin.check_argument_for_proper_class
    monkeypatch.setattr(
        ProcessorMixin,
        "check_argument_for_proper_class",
        lambda self, name, value: None if value is None else check(self, name, value),
    )


def test_image_scores_are_the_checkpoints_own(model, source, tmp_path):
    export_internvl(str(source), tmp_path / "a new" / "export")
    served = Served(tmp_path / "a new" / "export")
    expected = [result.score for result in model.score(PICTURES)]
    assert [served.score(image) for image in PICTURES] == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 4) for score in expected}) == len(PICTURES)


@pytest.mark.parametrize("tile_rule", ["native", "area"])
def test_with_the_checkpoints_own_tiles_under_other_rules(tile_rule, model, source, tmp_path, monkeypatch):
    monkeypatch.setattr(model.processor.image_processor, "tile_rule", tile_rule)
    model.processor.save_pretrained(source)
    export_internvl(str(source), tmp_path / "export")
    served = Served(tmp_path / "export")
    for image in PICTURES:
        score = served.score(image, tiles=model.processor(images=image, text="<image>")["pixel_values"])
        assert score == pytest.approx(model.score(image).score, abs=1e-5)


def test_tied_embeddings_and_another_decoder(tmp_path):
    model = tiny_model("internvl", decoder="llama", tie_word_embeddings=True)
    model.processor.image_processor.tile_rule = "aspect_ratio"
    model.save_pretrained(tmp_path / "source")
    export_internvl(str(tmp_path / "source"), tmp_path / "export")
    assert Served(tmp_path / "export").score(PICTURES[0]) == pytest.approx(model.score(PICTURES[0]).score, abs=1e-5)
    assert AutoConfig.from_pretrained(tmp_path / "export").text_config.architectures == ["LlamaForCausalLM"]


def test_a_converted_released_checkpoint(tmp_path, caplog):
    config = released_config()
    write_checkpoint(tmp_path / "released", config, random_weights(released_shapes(config)))
    convert(str(tmp_path / "released"), tmp_path / "source")
    export_internvl(str(tmp_path / "source"), tmp_path / "export")
    assert "not 'area'" in caplog.text and "shown once, not 2 times" in caplog.text
    model, served = VitalForConditionalGeneration.from_pretrained(tmp_path / "source"), Served(tmp_path / "export")
    assert "InternVL" in served.tokenizer.chat_template  # the released system turn
    for image in PICTURES:
        score = served.score(image, tiles=model.processor(images=image, text="<image>")["pixel_values"])
        assert score == pytest.approx(model.score(image).score, abs=1e-5)


def test_files_say_what_engines_look_for(source, tmp_path):
    export_internvl(str(source), tmp_path / "export")
    folder = tmp_path / "export"
    assert not list(folder.glob("*.py")) and "auto_map" not in (folder / "config.json").read_text()
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["InternVLForConditionalGeneration"]
    assert config["vision_config"]["architectures"] == ["InternVisionModel"]
    assert config["text_config"]["rope_theta"] == config["text_config"]["rope_parameters"]["rope_theta"]
    assert AutoTokenizer.from_pretrained(folder).video_token_id == 6  # one spare token, as InternVLProcessor needs
    assert GenerationConfig.from_pretrained(folder)
    settings = json.loads((folder / "vital_scoring.json").read_text())
    assert settings["level_values"] == [1.0, 0.8, 0.6, 0.4, 0.2]
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shards = {name: load_file(folder / name) for name in sorted(set(index["weight_map"].values()))}
    assert len(shards) > 2
    assert {key: name for name, tensors in shards.items() for key in tensors} == index["weight_map"]
    size = sum(tensor.nbytes for tensors in shards.values() for tensor in tensors.values())
    assert index["metadata"]["total_size"] == size
    assert not [key for key in index["weight_map"] if "motion" in key]
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in folder.iterdir()) or folder.stat().st_mode & 0o22


def test_a_clip_in_the_chat_is_an_error(source, tmp_path):
    export_internvl(str(source), tmp_path / "export")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "export")
    with pytest.raises(TemplateError, match="still pictures"):
        tokenizer.apply_chat_template([{"role": "user", "content": [{"type": "video"}]}], tokenize=False)


# ----------------------------------------------------------------------------------------- what docs/serving.md says
class Handler(BaseHTTPRequestHandler):
    """`/v1/chat/completions` of one token with log-probabilities, as OpenAI defines them and engines extend them."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/chat/completions" and request["logprobs"] and request["max_tokens"] == 1
        assert request["continue_final_message"] and not request["add_generation_prompt"]
        images = []
        for message in request["messages"]:
            for part in message["content"] if isinstance(message["content"], list) else []:
                content = part.pop("image_url")["url"].split("base64,")[1]
                images.append(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))
                part["type"] = "image"
        served = self.server.served
        logprobs, ids = served.next_logits(request["messages"], images).log_softmax(-1).topk(request["top_logprobs"])
        top = [
            {"token": served.tokenizer.decode([i]), "logprob": logprob}
            for i, logprob in zip(ids.tolist(), logprobs.tolist(), strict=True)
        ]
        body = {"choices": [{"index": 0, "logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args):
        pass


def test_documented_client_gives_the_checkpoints_scores(model, source, tmp_path):
    export_internvl(str(source), tmp_path / "export")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.served = Served(tmp_path / "export")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        code = named_block("docs/serving.md", "client", __file__)
        code = code.replace("localhost:8000", f"127.0.0.1:{server.server_port}")
        namespace = {}
        exec(code.replace('"vital-8b-internvl"', repr(str(tmp_path / "export"))), namespace)
        for i, image in enumerate(PICTURES):
            image.save(tmp_path / f"picture {i}.png")
            score, std = namespace["score"](tmp_path / f"picture {i}.png")
            expected = model.score(image)
            assert (score, std) == pytest.approx((expected.score, expected.std), abs=1e-5)
    finally:
        server.shutdown()
        server.server_close()


def test_documented_grid_is_found_by_internvl():
    namespace = {}
    exec(named_block("docs/serving.md", "tiles", __file__), namespace)
    for tile_rule in ("native", "area"):
        processor = VitalImageProcessor(TILE, tile_rule=tile_rule)
        tiles = {"tile_size": TILE, "min_tiles": 1, "max_tiles": 12, "tile_rule": tile_rule}
        for size in [(80, 50), (30, 90), (32, 32), (200, 20), (97, 96), (128, 64), (100, 130), (33, 300)]:
            image = picture(*size)
            sent = namespace["in_its_grid"](image, tiles)
            grid = get_optimal_tiled_canvas((sent.height, sent.width), (TILE, TILE), 1, 12)
            assert grid == choose_grid(*size, TILE, 1, 12, tile_rule)
            theirs = native_image_processor(processor)(sent, return_tensors="pt")["pixel_values"]
            ours = processor.preprocess(image)["pixel_values"]
            cut = grid[0] * grid[1]
            assert len(theirs) == len(ours)
            torch.testing.assert_close(theirs[:cut], ours[:cut], atol=1e-6, rtol=0)


# ---------------------------------------------------------------------------------------------------------- refusals
def test_other_image_encoders_are_refused(tmp_path):
    with pytest.raises(ExportError, match="'regnet'"):
        export_internvl(zoo.resolve("vital-tiny"), tmp_path / "export")
    assert not list(tmp_path.iterdir())


def test_an_encoder_with_an_epsilon_of_its_own_is_refused(source, tmp_path):
    path = tmp_path / "source/config.json"
    config = json.loads(path.read_text())
    config["vision_config"]["qk_norm_eps"] = 1e-3
    path.write_text(json.dumps(config))
    with pytest.raises(ExportError, match="epsilon 0.001"):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")


def test_a_probe_is_sent_to_the_other_layout(tmp_path):
    tiny_probe().save_pretrained(tmp_path / "source")
    with pytest.raises(ExportError, match="--layout onnx"):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")


def test_an_existing_destination_is_kept(tmp_path):
    (tmp_path / "export").mkdir()
    (tmp_path / "export/mine.txt").write_text("mine")
    with pytest.raises(ExportError, match="exists"):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")
    assert (tmp_path / "export/mine.txt").read_text() == "mine"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_is_left_when_stopped(error, source, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise error("stopped")

    monkeypatch.setattr("modeling_vital.export.internvl._check_shapes", stop)
    with pytest.raises(error):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_broken_checkpoints_name_what_is_broken(source, tmp_path):
    shard = tmp_path / "source/model-00001-of-00006.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100])
    with pytest.raises(ExportError, match="model-00001-of-00006"):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")
    shard.unlink()
    with pytest.raises(ExportError, match="model-00001-of-00006"):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")
    shard.write_bytes(whole)
    index = tmp_path / "source/model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.sound_encoder.weight"] = shard.name
    index.write_text(json.dumps(content))
    with pytest.raises(ExportError, match="model.sound_encoder.weight"):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")
    index.unlink()
    with pytest.raises(ExportError, match="source has .*model.safetensors"):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")
    (tmp_path / "source/config.json").write_text("{")
    with pytest.raises(ExportError, match="config.json"):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")


def test_missing_and_mis_shaped_tensors_are_named(model, source, tmp_path):
    state = model.state_dict()
    del state["model.vision_tower.embeddings.cls_token"]
    state["lm_head.weight"] = state["lm_head.weight"][:-1]
    save_file(state, tmp_path / "source/model.safetensors")
    with pytest.raises(ExportError, match="2 tensors .*cls_token.*lm_head"):
        export_internvl(str(tmp_path / "source"), tmp_path / "export")


def test_tiling_differences_are_found(model):
    processor = copy.deepcopy(model.processor)
    assert tiling_differences(processor) == []
    processor.image_processor.tile_rule = "native"
    assert tiling_differences(processor) == ["the grid is chosen by 'aspect_ratio', not 'native'"]
    processor.image_processor.use_thumbnail = False
    processor.single_tile_copies = 2
    assert len(tiling_differences(processor)) == 3
    processor.image_processor.max_tiles, processor.single_tile_copies = 1, 1
    assert tiling_differences(processor) == []


# ------------------------------------------------------------------------------------------------------------ at scale
EXPORT_AND_MEASURE = """
import re, sys
from modeling_vital.export.internvl import export_internvl
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024
export_internvl(sys.argv[1], sys.argv[2])  # loads every library that is loaded lazily
before = peak()
export_internvl(sys.argv[3], sys.argv[4])
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_stays_within_a_shard(source, model, tmp_path):
    config = copy.deepcopy(model.config)
    config.text_config.hidden_size, config.text_config.intermediate_size = 768, 3072
    config.text_config.num_hidden_layers, config.text_config.layer_types = 8, None
    config.text_config = type(config.text_config)(**config.text_config.to_dict())
    large = VitalForConditionalGeneration(config)
    large.processor = model.processor
    large.save_pretrained(tmp_path / "large", max_shard_size="64MB")
    total = sum(path.stat().st_size for path in (tmp_path / "large").glob("*.safetensors")) / 2**20
    folders = [str(folder) for folder in (source, tmp_path / "one", tmp_path / "large", tmp_path / "two")]
    command = [sys.executable, "-c", EXPORT_AND_MEASURE, *folders]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert total > 200
    assert int(run.stdout.split()[-1]) < 64 + 20  # MB: a shard, and some for the copy
