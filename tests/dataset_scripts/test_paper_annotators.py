"""The paper's annotators against stand-ins of their packages: the fast tests of our side.

What is proved is what we hand over, what we make of the answer, and what is said when a package is missing.
`test_pyiqa.py` runs the package itself.
"""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from dataset_scripts.annotators import ANNOTATORS, MissingPackageError, get_annotator, shared_annotator
from dataset_scripts.annotators.dover import segment_indices
from dataset_scripts.annotators.fast_vqa import run_indices
from dataset_scripts.annotators.fit_calibration import PUBLISHED_RANGES
from dataset_scripts.annotators.fragments import cut_fragments, network_input
from dataset_scripts.annotators.human_scale import annotate_item, get_calibration


PYIQA = ("topiq_nr", "liqe", "qualiclip", "qalign")
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
CLIP = RNG.integers(0, 256, (70, 240, 300, 3), dtype=np.uint8)


class StandInMetric:
    """As pyiqa 0.1.16's `InferenceModel`: `[B, 3, H, W]` in [0, 1] -> `[B, 1]`; here the mean, 1 to 5."""

    lower_better = False

    def __init__(self, device):
        self.device = torch.device(device or "cpu")
        self.batches: list[torch.Tensor] = []

    def __call__(self, batch):
        self.batches.append(batch)
        if len(batch) > 1 and bool((batch[:, 0, 0, 0] == 1.0).any()):
            raise RuntimeError("out of memory")
        if bool((batch == 0).all()):
            raise RuntimeError("a black picture")
        return 1.0 + 4.0 * batch.mean(dim=(1, 2, 3), keepdim=False)[:, None]


@pytest.fixture
def pyiqa(monkeypatch):
    module = ModuleType("pyiqa")
    module.asked = []

    def create_metric(name, as_loss=False, device=None):
        assert name in PYIQA, f"Metric {name} not implemented yet."
        module.asked.append((name, device))
        return StandInMetric(device)

    module.create_metric = create_metric
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    shared_annotator.cache_clear()  # it may hold those of the real package
    yield module
    shared_annotator.cache_clear()


@pytest.mark.parametrize("name", PYIQA)
def test_a_picture_goes_out_as_pyiqa_wants_it(name, pyiqa):
    annotator = get_annotator(name, device="cpu")
    assert pyiqa.asked == [(name, "cpu")] and annotator.device == "cpu"
    score = annotator.score(PICTURE)
    (batch,) = annotator._model.batches
    assert batch.shape == (1, 3, 40, 50) and batch.dtype == torch.float32
    np.testing.assert_allclose(batch[0].permute(1, 2, 0).numpy(), PICTURE / 255.0, atol=1e-6)
    assert score == pytest.approx(1.0 + 4.0 * PICTURE.mean() / 255.0, abs=1e-4)


def test_pictures_of_one_size_go_together_and_a_failure_costs_only_its_own(pyiqa):
    annotator = get_annotator("liqe")
    other = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    poison = PICTURE.copy()
    poison[0, 0, 0] = 255
    items = [PICTURE, other, PICTURE[::-1], other[:20], other, poison, np.zeros_like(PICTURE)]
    scores = annotator.score_batch(items)
    expected = [1.0 + 4.0 * item.mean() / 255.0 for item in items]
    good = [0, 1, 2, 4, 5]
    np.testing.assert_allclose(scores[good], np.array(expected)[good], atol=1e-4)
    assert np.isnan(scores[[3, 6]]).all() and set(annotator.errors) == {3, 6}
    assert "at least 32 px" in annotator.errors[3] and "a black picture" in annotator.errors[6]
    assert sorted(len(batch) for batch in annotator._model.batches) == [1, 1, 1, 1, 2, 4]
    assert annotator.score_batch([]).shape == (0,) and annotator.errors == {}


def test_qalign_takes_one_at_a_time_and_frames_of_a_clip(pyiqa):
    annotator = get_annotator("qalign")
    annotator.score_batch([PICTURE, PICTURE])
    assert [len(batch) for batch in annotator._model.batches] == [1, 1]
    clip = get_annotator("frame_qalign")
    chosen = CLIP[[4, 13, 21, 30, 39, 48, 56, 65]]
    assert clip.score(CLIP) == pytest.approx(1.0 + 4.0 * chosen.mean() / 255.0, abs=1e-4)
    assert not clip.needs_reference and len(clip._image._model.batches) == 8


def test_scores_come_to_the_common_scale_by_the_published_range(pyiqa):
    for name, (low, high) in PUBLISHED_RANGES.items():
        assert get_calibration(name)([low, (low + high) / 2, high]).tolist() == [0.0, 0.5, 1.0]
    found = annotate_item(PICTURE, None, ["liqe", "qalign"])
    assert found["liqe"] == pytest.approx(PICTURE.mean() / 255.0, abs=1e-4) == found["qalign"]


def test_what_pyiqa_lacks_is_said(pyiqa, monkeypatch):
    monkeypatch.setattr(ANNOTATORS["liqe"], "metric", "liqe_of_tomorrow")
    with pytest.raises(MissingPackageError, match="'liqe_of_tomorrow'"):
        get_annotator("liqe")
    monkeypatch.undo()
    module = ModuleType("pyiqa")
    module.create_metric = lambda *args, **options: (_ for _ in ()).throw(OSError("no network"))
    monkeypatch.setitem(sys.modules, "pyiqa", module)
    with pytest.raises(MissingPackageError, match="'liqe'.*no network"):
        get_annotator("liqe")
    module.create_metric = lambda *args, **options: SimpleNamespace(lower_better=True, device="cpu")
    with pytest.raises(RuntimeError, match="'liqe'.* direction"):
        get_annotator("liqe")


@pytest.mark.parametrize("name", [*PYIQA, "frame_qalign"])
def test_without_pyiqa_the_extra_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MissingPackageError, match="extra `annotators`"):
        get_annotator(name)


# --- FAST-VQA and DOVER -----------------------------------------------------------------------------------------


class StandInNetwork(torch.nn.Module):
    """As the authors' evaluators: views by name, `[runs, 3, 32, 224, 224]` each -> a score map a view."""

    def __init__(self, **options):
        super().__init__()
        print("Setting backbone")
        self.options = options
        self.bias = torch.nn.Parameter(torch.zeros(()))

    def forward(self, views):
        self.views = views
        scores = [view.mean(dim=(1, 2, 3, 4)).reshape(-1, 1, 1, 1, 1) + self.bias for view in views.values()]
        return scores if "technical" in views else scores[0]


@pytest.fixture
def packages(monkeypatch, tmp_path):
    for package, cls in (("fastvqa", "DiViDeAddEvaluator"), ("dover", "DOVER")):
        module = ModuleType(f"{package}.models")
        setattr(module, cls, StandInNetwork)
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
        monkeypatch.setitem(sys.modules, f"{package}.models", module)
    state = {"bias": torch.tensor(0.02)}
    torch.save({"state_dict": state}, tmp_path / "FAST_VQA_B_1_4.pth")
    torch.save(state, tmp_path / "DOVER.pth")
    monkeypatch.setenv("VITAL_ANNOTATOR_WEIGHTS", str(tmp_path))
    return tmp_path


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + np.exp(-x))


def test_fast_vqa_by_hand(packages, capsys):
    annotator = get_annotator("fast_vqa", device="cpu")
    score = annotator.score(CLIP)
    view = annotator._model.views["fragments"]
    assert view.shape == (4, 3, 32, 224, 224) and view.dtype == torch.float32
    assert score == pytest.approx(sigmoid((view.mean().item() + 0.02 + 0.110198185) / 0.04178565), abs=1e-5)
    assert score == annotator.score(CLIP)
    assert capsys.readouterr().out == ""  # data goes to stdout, not what a package has to say


def test_dover_by_hand(packages, capsys):
    annotator = get_annotator("dover", device="cpu")
    score = annotator.score(CLIP)
    views = annotator._model.views
    assert list(views) == ["technical", "aesthetic"]
    assert views["technical"].shape == (3, 3, 32, 224, 224) and views["aesthetic"].shape == (1, 3, 32, 224, 224)
    technical, aesthetic = (view.mean().item() + 0.02 for view in views.values())
    fused = (technical - 0.1107) / 0.07355 * 0.6104 + (aesthetic + 0.08285) / 0.03774 * 0.3896
    assert score == pytest.approx(sigmoid(fused), abs=1e-5) and score == annotator.score(CLIP)
    assert capsys.readouterr().out == ""
    assert set(annotate_item(CLIP, None, ["fast_vqa", "dover"])) == {"fast_vqa", "dover"}


@pytest.mark.parametrize(("name", "file"), [("fast_vqa", "FAST_VQA_B_1_4.pth"), ("dover", "DOVER.pth")])
def test_missing_packages_and_weights_are_said(name, file, packages, monkeypatch, tmp_path):
    for folder, content in (
        ("other", {"state_dict": {"weight": torch.zeros(1)}}),
        ("unsafe", {"state_dict": {}, "run": SimpleNamespace()}),
    ):
        (tmp_path / folder).mkdir()
        torch.save(content, tmp_path / folder / file)
    with pytest.raises(MissingPackageError, match=f"other/{file} .*weights of this"):
        get_annotator(name, weights=tmp_path / "other")
    with pytest.raises(MissingPackageError, match=f"unsafe/{file} .*safety"):
        get_annotator(name, weights=tmp_path / "unsafe")
    (tmp_path / "other" / file).write_bytes(b"")
    with pytest.raises(MissingPackageError, match=f"other/{file} is no"):
        get_annotator(name, weights=tmp_path / "other")
    with pytest.raises(MissingPackageError, match=f"none/{file}"):
        get_annotator(name, weights=tmp_path / "none")
    package = "fastvqa" if name == "fast_vqa" else name
    monkeypatch.setitem(sys.modules, f"{package}.models", None)
    with pytest.raises(MissingPackageError, match=package):
        get_annotator(name)
    monkeypatch.delenv("VITAL_ANNOTATOR_WEIGHTS")
    with pytest.raises(MissingPackageError, match=f"{file} .*VITAL_ANNOTATOR_WEIGHTS"):
        get_annotator(name)


def test_decord_is_as_it_was(packages, monkeypatch):
    decord = pytest.importorskip("decord")
    decord.bridge.set_bridge("torch")  # what importing the authors' packages does
    monkeypatch.setitem(sys.modules, "fastvqa.models", None)  # an import that failed half way
    with pytest.raises(MissingPackageError):
        get_annotator("fast_vqa", device="cpu")
    clip = next((Path(__file__).parents[2] / "spaces_demo" / "examples").glob("*.mp4"))
    assert isinstance(decord.VideoReader(str(clip))[0].asnumpy(), np.ndarray)


def test_runs_by_hand():
    runs = run_indices(163)  # (163 - 64 + 1) / 4 = 25: runs begin at 12, 37, 62, 87
    assert runs.shape == (4, 32) and runs[:, 0].tolist() == [12, 37, 62, 87]
    assert (np.diff(runs, axis=1) == 2).all() and runs.max() == 87 + 62
    short = run_indices(20)
    assert (short == short[0]).all() and short[0, :12].tolist() == [*range(0, 20, 2), 0, 2]
    segments = segment_indices(300, 3, 32, np.random.default_rng(0))
    assert all(100 * i <= run[0] and run[-1] < 100 * (i + 1) for i, run in enumerate(segments))
    assert segment_indices(5, 32, 1, np.random.default_rng(0)).shape == (32, 1)
    assert segment_indices(5, 32, 1, np.random.default_rng(0)).max() < 5


def test_fragments_by_hand():
    """Pixels carry the number of their grid cell: each piece must come from its own cell, the same in every frame."""
    cells = np.arange(49, dtype=np.uint8).reshape(7, 7).repeat(40, axis=0).repeat(50, axis=1)
    frames = np.stack([np.repeat(cells[..., None], 3, axis=2)] * 2)
    pieces = cut_fragments(frames, np.random.default_rng(0))
    expected = np.arange(49, dtype=np.uint8).reshape(7, 7).repeat(32, axis=0).repeat(32, axis=1)
    np.testing.assert_array_equal(pieces[..., 0], np.stack([expected] * 2))
    noise = RNG.integers(0, 256, (1, 300, 400, 3), dtype=np.uint8).repeat(2, axis=0)
    first = cut_fragments(noise, np.random.default_rng(1))
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.array_equal(first, cut_fragments(noise, np.random.default_rng(2)))
    assert cut_fragments(noise[:, :60, :100], np.random.default_rng(0)).shape == (2, 224, 224, 3)


def test_network_input_by_hand():
    frames = np.full((2, 4, 5, 3), (124, 0, 255), np.uint8)
    found = network_input(frames)
    assert found.shape == (3, 2, 4, 5)
    expected = [(124 - 123.675) / 58.395, -116.28 / 57.12, (255 - 103.53) / 57.375]
    np.testing.assert_allclose(found[:, 0, 0, 0], expected, rtol=1e-5)
