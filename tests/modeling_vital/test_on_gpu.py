"""Scoring on a CUDA device: all four calls, mixed batches, maps, curves, other loaders; the same as on the CPU.

`VITAL_GPU_TESTS_ON=cpu` runs the same lines on the CPU, which `test_these_tests_run` does.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BitsAndBytesConfig

from modeling_vital.local_quality import quality_curve, quality_map
from modeling_vital.modeling_vital import VitalForConditionalGeneration
from modeling_vital.zoo import resolve
from tests.fixtures.tiny_models import TILE, tiny_model
from tests.fixtures.tiny_probes import tiny_probe


DEVICE = os.environ.get("VITAL_GPU_TESTS_ON", "cuda")
needs_device = pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="no CUDA device")


def items():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (TILE * rows, 2 * TILE, 3), np.uint8) for rows in (1, 2, 3)]
    return [*pictures, rng.integers(0, 256, (12, TILE, TILE, 3), np.uint8), pictures[0]]


@pytest.mark.gpu
@needs_device
@pytest.mark.parametrize("make", [tiny_model, tiny_probe])
@pytest.mark.parametrize("batch_size", [1, 2, "auto"])
def test_scores_are_those_of_the_cpu(make, batch_size):
    expected = [result.score for result in make().score(items(), batch_size=1)]
    model = make().to(DEVICE)
    assert [r.score for r in model.score(items(), batch_size=batch_size)] == pytest.approx(expected, abs=1e-4)
    model = model.to(torch.bfloat16)
    assert [r.score for r in model.score(items(), batch_size=batch_size)] == pytest.approx(expected, abs=0.05)


@pytest.mark.gpu
@needs_device
def test_vital_tiny_in_float32():
    cpu, device = (VitalForConditionalGeneration.from_pretrained(resolve("vital-tiny")).to(d) for d in ("cpu", DEVICE))
    expected = [result.score for result in cpu.score(items())]
    assert [result.score for result in device.score(items())] == pytest.approx(expected, abs=1e-4)


@pytest.mark.gpu
@needs_device
def test_the_other_calls():
    cpu, model = tiny_model(), tiny_model().to(DEVICE)
    first, second = items()[0], items()[3]
    assert model.compare(first, second).probability == pytest.approx(cpu.compare(first, second).probability, abs=1e-3)
    assert all(isinstance(text, str) for text in model.describe(items(), max_new_tokens=4))
    asked = [each.answer(items(), "Is it sharp?", choices=["yes", "no"]) for each in (cpu, model)]
    for expected, found in zip(*asked, strict=True):
        assert found.choice_probs == pytest.approx(expected.choice_probs, abs=1e-3)


@pytest.mark.gpu
@needs_device
def test_a_device_map_and_the_batches_of_a_reader(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    model = VitalForConditionalGeneration.from_pretrained(tmp_path, device_map={"": DEVICE})
    media = [model.processor.prepare(item) for item in items()]
    batches = list(model.score_batches([media[:2], media[2:]]))
    expected = [result.score for result in tiny_model().score(items())]
    assert [result.score for batch in batches for result in batch] == pytest.approx(expected, abs=1e-4)


@pytest.mark.gpu
@needs_device
def test_maps_and_curves():
    cpu, model = tiny_model(), tiny_model().to(DEVICE)
    picture, clip = items()[2], items()[3]
    for context in ("neighbours", "alone"):
        expected, found = (quality_map(each, picture, context=context) for each in (cpu, model))
        assert found.scores == pytest.approx(expected.scores, abs=1e-4)
    expected, found = ([point.score for point in quality_curve(each, clip).points] for each in (cpu, model))
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.gpu
@needs_device
def test_compiled_parts():
    if DEVICE == "cuda" and not (importlib.util.find_spec("triton") and (shutil.which("gcc") or shutil.which("cc"))):
        pytest.skip("torch.compile needs triton and a C compiler")
    expected = [result.score for result in tiny_model().score(items()[:2])]
    model = tiny_model().to(DEVICE)
    for part in (model.model.vision_tower, model.model.language_model):
        part.compile(**({"backend": "aot_eager"} if DEVICE == "cpu" else {}))
    assert [result.score for result in model.score(items()[:2])] == pytest.approx(expected, abs=1e-4)


@pytest.mark.gpu
@needs_device
@pytest.mark.parametrize("bits", [4, 8])
def test_a_decoder_of_few_bits(bits):
    pytest.importorskip("bitsandbytes")
    kept = ["vision_tower", "motion_encoder", "multi_modal_projector", "motion_projector", "lm_head"]
    how = BitsAndBytesConfig(**{f"load_in_{bits}bit": True}, llm_int8_skip_modules=kept)
    model = VitalForConditionalGeneration.from_pretrained(
        resolve("vital-tiny"), quantization_config=how, device_map={"": DEVICE}, dtype=torch.bfloat16
    )
    layer = type(model.model.language_model.layers[0].mlp.up_proj).__name__
    assert layer == {4: "Linear4bit", 8: "Linear8bitLt"}[bits]
    whole = VitalForConditionalGeneration.from_pretrained(resolve("vital-tiny"))
    expected = [result.score for result in whole.score(items())]
    assert [result.score for result in model.score(items())] == pytest.approx(expected, abs=0.1)


FILES = [__file__, str(Path(__file__).parents[1] / "training" / "test_on_gpu.py")]


@pytest.mark.slow
@pytest.mark.skipif(DEVICE == "cpu", reason="is one of them")
@pytest.mark.parametrize(("file", "passed"), [(FILES[0], 13), (FILES[1], 7)])
def test_these_tests_run(file, passed):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", file],
        env={**os.environ, "VITAL_GPU_TESTS_ON": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and f"{passed} passed" in done.stdout, done.stdout
