"""The ONNX export of a linear probe: the graphs score pictures and clips as the probe does."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from modeling_vital import zoo
from modeling_vital.export.folders import ExportError
from modeling_vital.export.onnx_probe import export_onnx
from tests.fixtures.doc_blocks import named_block
from tests.fixtures.tiny_probes import tiny_probe


ONNX = ("onnx", "onnxscript", "onnxruntime")


def require_onnx():
    for name in ONNX:
        pytest.importorskip(name)


def picture(width=80, height=50, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def clip(frames, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (frames, 40, 60, 3), dtype=np.uint8)


class TorchSession:
    """Stands in for a session of onnxruntime: runs the module given to the exporter, which takes 8 s itself."""

    def __init__(self, path, **options):
        self.module, self.names, example = torch.load(path, weights_only=False)
        self.example = dict(zip(self.names, example, strict=True))

    @classmethod
    def export(cls, module, inputs, path, input_names, **options):
        torch.save((module, input_names, inputs), path)

    def get_inputs(self):
        return [SimpleNamespace(name=name, shape=list(self.example[name].shape)) for name in self.names]

    @torch.no_grad()
    def run(self, outputs, feed):
        results = self.module(*(torch.from_numpy(feed[name]) for name in self.names))
        return [x.numpy() for x in (results if isinstance(results, tuple) else (results,))]


REAL = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("resnet", "internvl")]


@pytest.fixture(scope="module", params=["in place of the exporter", *REAL])
def exported(request, tmp_path_factory):
    """A probe and the folder it was exported to."""
    folder = tmp_path_factory.mktemp("exported")
    real = request.param != "in place of the exporter"
    probe = tiny_probe(request.param if real else "resnet")
    probe.save_pretrained(folder / "source")
    with pytest.MonkeyPatch.context() as patch:
        if real:
            require_onnx()
        else:
            for name in ONNX:
                patch.setitem(sys.modules, name, SimpleNamespace(InferenceSession=TorchSession))
            patch.setattr("torch.onnx.export", TorchSession.export)
        export_onnx(str(folder / "source"), folder / "a new" / "export")
        yield probe, folder / "a new" / "export"


def test_documented_code_gives_the_probes_scores(exported):
    probe, folder = exported
    code = named_block("docs/serving.md", "onnx", __file__)
    namespace = {}
    exec(code.replace('"vital-probe-onnx"', repr(str(folder))), namespace)
    items = [clip(9), picture(), clip(2, seed=1), picture(30, 90, seed=1), picture(32, 32, seed=2)]
    for batch in (items, items[:1], items[1:2]):  # mixed; one clip; one picture
        scores, stds = namespace["score"](batch)
        results = probe.score(batch)
        assert scores == pytest.approx([result.score for result in results], abs=1e-5)
        assert stds == pytest.approx([result.std for result in results], abs=1e-5)
    assert len({round(score, 5) for score in namespace["score"](items)[0]}) == len(items)


def test_settings_are_enough_without_this_package(exported):
    import onnxruntime

    probe, folder = exported
    settings = json.loads((folder / "vital_onnx.json").read_text())
    tiles = settings["tiles"]
    image = picture(tiles["tile_size"] * 2 // 3, tiles["tile_size"] * 2 // 3)  # one tile
    pixels = (
        np.asarray(image.resize((tiles["tile_size"],) * 2, tiles["resample"]), np.float32) * tiles["rescale_factor"]
    )
    pixels = (pixels - np.array(tiles["image_mean"])) / np.array(tiles["image_std"])
    graph = settings["graphs"]["probe.onnx"]
    session = onnxruntime.InferenceSession(folder / "probe.onnx")
    feed = {
        "pixel_values": pixels.transpose(2, 0, 1)[None].astype(np.float32),
        "tile_item": np.zeros(1, np.int64),
        "motion_features": np.zeros((1, graph["inputs"]["motion_features"][1]), np.float32),
    }
    level_probs, score, std = session.run(list(graph["outputs"]), feed)
    expected = probe.score(image)
    assert score[0] == pytest.approx(expected.score, abs=1e-5)
    assert std[0] == pytest.approx(expected.std, abs=1e-5)
    named = dict(zip(settings["level_words"], level_probs[0].tolist(), strict=True))
    assert named == pytest.approx(expected.level_probs, abs=1e-5)


@pytest.mark.parametrize("exported", REAL, indirect=True)
def test_graphs_are_as_described(exported):
    import onnx
    import onnxruntime

    _, folder = exported
    for name, graph in json.loads((folder / "vital_onnx.json").read_text())["graphs"].items():
        onnx.checker.check_model(folder / name)
        session = onnxruntime.InferenceSession(folder / name)
        assert {x.name: x.shape for x in session.get_inputs()} == graph["inputs"]
        assert [x.name for x in session.get_outputs()] == list(graph["outputs"])
        assert [len(x.shape) for x in session.get_outputs()] == [len(shape) for shape in graph["outputs"].values()]
    assert not list(folder.glob("*.py"))


def test_only_probes_become_onnx(tmp_path):
    require_onnx()
    with pytest.raises(ExportError, match="--layout internvl"):
        export_onnx(zoo.resolve("vital-tiny"), tmp_path / "export")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_wrong_graph_is_not_kept(tmp_path, monkeypatch):
    require_onnx()
    tiny_probe().save_pretrained(tmp_path / "source")
    monkeypatch.setattr("modeling_vital.export.onnx_probe.MAX_DIFFERENCE", -1.0)
    with pytest.raises(ExportError, match="motion.onnx.*motion_features"):
        export_onnx(str(tmp_path / "source"), tmp_path / "export")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_missing_libraries_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"'onnx'.*modeling-vital\[onnx\]"):
        export_onnx("anything", tmp_path / "export")
