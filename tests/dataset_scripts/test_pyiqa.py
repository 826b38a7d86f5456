"""TOPIQ, LIQE and QualiCLIP through the real pyiqa, random weights read from a folder: `make annotators`."""

import shutil
import socket

import numpy as np
import pytest
import torch

from dataset_scripts.annotators import ANNOTATORS, MissingPackageError, get_annotator
from dataset_scripts.annotators.__main__ import main
from tests.fixtures.tiny_media import photo


pyiqa = pytest.importorskip("pyiqa", reason="the extra `annotators` is not installed: make annotators")

NAMES = ("topiq_nr", "liqe", "qualiclip")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def tiny_clip(vit: bool) -> dict:
    """Weights of a CLIP of the layout that pyiqa reads, as narrow as it allows."""
    from pyiqa.archs.clip_model import CLIP

    layers, patch = (2, 32) if vit else ((1, 1, 1, 1), None)
    torch.manual_seed(int(vit))
    return CLIP(64, 224, layers, 64, patch, 77, 49408, 64, 1, 1).state_dict()


def save_archive(state: dict, path) -> None:
    """Writes weights as CLIP's are published: a TorchScript archive, of which pyiqa takes the tensors."""
    root = torch.nn.Module()
    for name, value in state.items():
        *parents, last = name.split(".")
        module = root
        for parent in parents:
            if parent not in dict(module.named_children()):
                module.add_module(parent, torch.nn.Module())
            module = getattr(module, parent)
        module.register_buffer(last, value)
    torch.jit.save(torch.jit.script(root), path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of the published names with random weights: TOPIQ in its own size, the others on a small CLIP."""
    from pyiqa.archs.topiq_arch import CFANet

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    topiq = CFANet(use_ref=False, backbone_pretrain=False, pretrained=False)
    torch.save({"params": topiq.state_dict()}, folder / "cfanet_nr_koniq_res50-9a73138b.pth")
    vit, resnet = tiny_clip(True), tiny_clip(False)
    save_archive(vit, folder / "ViT-B-32.pt")
    save_archive(resnet, folder / "RN50.pt")
    torch.save({"params": {f"clip_model.{name}": value for name, value in vit.items()}}, folder / "liqe_koniq.pt")
    texts = torch.nn.functional.normalize(torch.randn(14, 64), dim=-1)
    tensors = {f"clip_model.{name}": value for name, value in resnet.items()}
    torch.save({**tensors, "prompts_features": texts}, folder / "QualiCLIP.pth")
    return folder


@pytest.fixture(scope="module")
def annotators(folder):
    return {name: get_annotator(name, device="cpu", weights=folder) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_what_the_package_gives_and_in_its_range(name, annotators, capsys):
    annotator = annotators[name]
    picture = photo(0, 288, 256)
    score = annotator.score(picture)
    with torch.inference_mode():
        batch = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
        expected = float(annotator._model.net(batch).reshape(-1)[0])
    assert score == pytest.approx(expected, abs=1e-6) and score == annotator.score(picture)
    low, high = ANNOTATORS[name].raw_range
    assert low <= score <= high and annotator.device == "cpu"
    assert score != annotator.score(photo(1, 288, 256))


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_singles_agree_and_a_bad_picture_costs_only_its_own(name, annotators):
    annotator = annotators[name]
    pictures = [photo(seed, 256, 240) for seed in range(3)] + [photo(3, 240, 272)]
    together = annotator.score_batch([*pictures, pictures[0][:20]])
    np.testing.assert_allclose(together[:4], [annotator.score(picture) for picture in pictures], atol=1e-5)
    assert np.isnan(together[4]) and list(annotator.errors) == [4] and "at least 32 px" in annotator.errors[4]


def test_what_the_package_refuses_is_the_reason(annotators):
    assert np.isnan(annotators["liqe"].score_batch([photo(0, 160, 120)])[0])
    assert "less than 224" in annotators["liqe"].errors[0]


def test_the_package_says_the_same_direction(annotators):
    for name in (*NAMES, "qalign"):
        config = pyiqa.default_model_configs.DEFAULT_CONFIGS[ANNOTATORS[name].metric]
        assert config.get("lower_better", False) == (not ANNOTATORS[name].higher_is_better)
        assert config["metric_mode"] == "NR"


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_lacks_a_file_or_holds_another_is_said(name, folder, tmp_path):
    files = ANNOTATORS[name].weights_files
    for missing in files:
        with pytest.raises(MissingPackageError, match=missing):
            get_annotator(name, weights=tmp_path)
        shutil.copy(folder / missing, tmp_path)
    own = tmp_path / files[0]
    content = torch.load(own, weights_only=True)
    tensors = content if name == "qualiclip" else content["params"]
    del tensors[next(key for key in tensors if key.endswith("weight"))]
    torch.save(content, own)
    with pytest.raises(MissingPackageError, match=f"{files[0]} .*weights of this"):
        get_annotator(name, weights=tmp_path)
    torch.save({"other": 1}, own)
    with pytest.raises(MissingPackageError, match=f"{files[0]} .*entry"):
        get_annotator(name, weights=tmp_path)
    torch.save({ANNOTATORS[name].weights_key: print}, own)
    with pytest.raises(MissingPackageError, match=f"{files[0]} .*safety"):
        get_annotator(name, weights=tmp_path)


def test_reading_from_a_folder_leaves_no_trace(folder, annotators):
    from pyiqa.archs import clip_model, liqe_arch
    from pyiqa.utils import download_util

    assert download_util.DEFAULT_CACHE_DIR == liqe_arch.DEFAULT_CACHE_DIR != str(folder)
    assert clip_model._download.__module__ == "pyiqa.archs.clip_model"
    assert not list(folder.glob("*text_feat*"))


def test_qalign_takes_no_folder(folder):
    with pytest.raises(MissingPackageError, match="'qalign'.*cache"):
        get_annotator("qalign", weights=folder)


def test_check_scores_a_photo_with_weights_from_a_folder(folder, tmp_path, monkeypatch, capsys):
    from PIL import Image

    Image.fromarray(photo(0, 288, 256)).save(tmp_path / "photo.png")
    monkeypatch.setenv("VITAL_ANNOTATOR_WEIGHTS", "")  # put back afterwards
    main(["--check", str(tmp_path / "photo.png"), "--weights", str(folder)])
    said = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert all(0 <= float(said[name]) <= 1 for name in NAMES)
    assert "not from a folder" in said["qalign"]
