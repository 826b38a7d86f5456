"""`vital evaluate`: small copies of benchmarks, a stand-in model, and once the real one, from copy to result files."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import pearsonr, spearmanr

from modeling_vital.cli import evaluate
from modeling_vital.cli.main import main
from modeling_vital.evaluation import result_tables
from modeling_vital.media_vital import MediaError
from modeling_vital.outputs_vital import QualityScore
from tests.fixtures.benchmark_copies import COPIES
from tests.fixtures.benchmark_mirror import put_mirror


class StandIn:
    """Scores a file by the number in it, and remembers what it was asked."""

    config = SimpleNamespace(model_type="vital", level_values=(0.9, 0.7, 0.5, 0.3, 0.1), _commit_hash="abc123")
    dtype = "torch.float32"
    processor = SimpleNamespace(frame_sampling={"max_key_frames": 4}, image_processor=SimpleNamespace(to_dict=dict))

    def __init__(self):
        self.asked, self.stop_after, self.kill_after, self.bend = [], None, None, 1.0

    def score(self, items, batch_size, errors):
        if self.stop_after is not None and len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        if self.kill_after is not None and len(self.asked) >= self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        self.asked += items
        return [self._score(item) for item in items]

    def _score(self, path):
        try:
            value = float(Path(path).read_text()) ** self.bend
        except ValueError:
            return MediaError(f"{path} is damaged.")
        return QualityScore(value, 0.1, "fair", {}, "image")


@pytest.fixture
def model(monkeypatch):
    model = StandIn()
    monkeypatch.setattr(evaluate, "load_model", lambda source, device: model)
    return model


@pytest.fixture(autouse=True)
def drawn(request, monkeypatch):
    """Paths of the plots, which take longer than all else here; `test_table_and_files` draws one."""
    paths = []
    if request.function is not test_table_and_files:

        def plot(loaded, scorer, records, path):
            paths.append(path)
            path.touch()

        monkeypatch.setattr(result_tables, "plot", plot)
    return paths


def call(*args):
    return main(["evaluate", "--resamples", "50", "--partial", *map(str, args)])


def test_numbers_are_those_of_scipy_on_what_was_scored(model, tmp_path, capsys):
    COPIES["csiq"](tmp_path)
    assert call("--benchmark", "csiq", "--root", tmp_path, "--model", "vital-tiny", "--format", "json") == 0
    result = json.loads(capsys.readouterr().out)
    dmos = [round(0.09 * number, 3) for number in range(1, 6)] * 2  # lower is better, so the result is mirrored
    scores = [float(Path(path).read_text()) for path in model.asked]
    measured = result["models"][0]["correlations"]
    assert measured["srcc"] == pytest.approx(-spearmanr(scores, dmos).statistic, abs=1e-12)
    assert measured["plcc"] == pytest.approx(-pearsonr(scores, dmos).statistic, abs=1e-12)
    assert measured["rmse"] == pytest.approx(np.sqrt(np.mean((np.array(scores) - 1 + dmos) ** 2)), abs=1e-12)
    assert result["benchmark"]["groups"] == 2
    assert result["benchmark"]["media_folder"] == "dst_imgs"
    assert result["models"][0]["subsets"]["noise"] == {"n": 2}
    assert result["models"][0]["revision"] == "abc123"
    assert result["models"][0]["frame_policy"] == {"max_key_frames": 4}
    assert result["settings"] == {"resamples": 50, "confidence": 0.95, "seed": 0}
    assert {"torch", "transformers", "numpy", "scipy"} <= set(result["versions"])


def test_table_and_files(model, tmp_path, capsys):
    COPIES["kadid10k"](tmp_path / "KADID 10k")
    out = tmp_path / "a result"
    assert (
        call("--benchmark", "kadid10k", "--root", tmp_path / "KADID 10k", "--model", "vital-tiny", "--output", out)
        == 0
    )
    printed = capsys.readouterr()
    assert "KADID-10k (test): 12 items of 2 contents" in printed.out
    assert "a partial copy, 0 files missing: not the published set" in printed.out
    assert "gaussian blur  6" in printed.out
    assert "published are 2000" in printed.err
    rows = pq.read_table(out / "items.parquet").to_pylist()
    assert [row["id"] for row in rows][:2] == ["I66_01_01.png", "I66_01_03.png"]
    assert rows[0]["mos"] == pytest.approx(2.4)
    assert rows[0]["vital-tiny.score"] == float(Path(model.asked[0]).read_text())
    assert rows[0]["vital-tiny.std"] == 0.1
    result = json.loads((out / "result.json").read_text())
    assert result["models"][0]["n"] == 12
    with Image.open(out / "vital-tiny.png") as picture:
        assert min(picture.size) > 500


def test_an_interrupted_run_goes_on(model, tmp_path, capsys):
    COPIES["livevqc"](tmp_path / "copy")
    args = ["--benchmark", "livevqc", "--root", tmp_path / "copy", "--model", "vital-tiny", "--batch-size", 1]
    args += ["--output", tmp_path / "out"]
    model.stop_after = 2
    assert call(*args) == 130
    assert "the same command resumes" in capsys.readouterr().err
    assert os.listdir(tmp_path / "out" / "scores") == ["vital-tiny.resume"]
    model.stop_after = None
    assert call(*args) == 0
    assert len(model.asked) == len(set(model.asked)) == 4
    resumed = (tmp_path / "out" / "result.json").read_text()
    assert call(*args) == 0
    assert len(model.asked) == 4  # nothing was scored again
    assert (tmp_path / "out" / "result.json").read_text() == resumed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is forked to be killed")
def test_a_run_that_is_killed_at_each_item_loses_none_and_scores_none_twice(model, tmp_path, capsys):
    COPIES["livevqc"](tmp_path / "copy")
    args = ["--benchmark", "livevqc", "--root", tmp_path / "copy", "--model", "vital-tiny", "--batch-size", 1]
    assert call(*args, "--output", tmp_path / "whole") == 0
    model.asked, model.kill_after = [], 1
    for _ in range(3):
        if not (child := os.fork()):
            call(*args, "--output", tmp_path / "out")
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    model.kill_after = None
    assert call(*args, "--output", tmp_path / "out") == 0
    assert len(model.asked) == 1  # each of the three that were killed had scored one
    whole, resumed = (pq.read_table(tmp_path / name / "items.parquet") for name in ("whole", "out"))
    assert resumed == whole
    assert (tmp_path / "out" / "result.json").read_text() == (tmp_path / "whole" / "result.json").read_text()


def test_scores_of_another_model_are_not_taken(model, tmp_path, capsys):
    COPIES["livevqc"](tmp_path / "copy")
    args = [
        "--benchmark",
        "livevqc",
        "--root",
        tmp_path / "copy",
        "--model",
        "vital-tiny",
        "--output",
        tmp_path / "out",
    ]
    assert call(*args) == 0
    model.processor = SimpleNamespace(**{**vars(model.processor), "frame_sampling": {"max_key_frames": 8}})
    assert call(*args) == 2
    assert "vital-tiny.resume is of another model.frame_policy.max_key_frames:" in capsys.readouterr().err


def test_scores_by_another_video_decoder_are_not_taken(model, tmp_path, capsys):
    COPIES["livevqc"](tmp_path / "copy")
    args = ["--benchmark", "livevqc", "--root", tmp_path / "copy", "--output", tmp_path / "out", "--format", "json"]
    args += ["--model", "vital-tiny"]
    assert call(*args, "--video-backend", "pyav") == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["video_backend"] == "pyav"
    assert call(*args) == 2
    assert "another model.video_backend:" in capsys.readouterr().err


def test_items_that_fail_are_listed_and_tried_again(model, tmp_path, capsys):
    COPIES["bid"](tmp_path / "copy")
    damaged = tmp_path / "copy" / "ImageDatabase" / "DatabaseImage0004.JPG"
    damaged.write_text("no number")
    args = ["--benchmark", "bid", "--root", tmp_path / "copy", "--model", "vital-tiny", "--output", tmp_path / "out"]
    assert call(*args) == 1
    printed = capsys.readouterr()
    assert "DatabaseImage0004.JPG is damaged" in printed.err
    assert "over the other items only" in printed.err
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["models"][0]["n"] == 3
    assert [item["id"] for item in result["models"][0]["failed"]] == ["DatabaseImage0004.JPG"]
    damaged.write_text("0.7")
    assert call(*args) == 0
    assert model.asked[-1].endswith("DatabaseImage0004.JPG")


class Peer:
    """Lower is better; has no ends of its scale."""

    name, version, modality, higher_is_better, raw_range = "darkness", "1", "image", False, (0.0, float("inf"))

    def score(self, pixels):
        assert pixels.dtype == np.uint8
        return 255.0 - float(pixels.mean())


def put_pictures(root):
    """A BID copy with flat pictures that get brighter as their opinions rise."""
    COPIES["bid"](root)
    for index, path in enumerate(sorted((root / "ImageDatabase").iterdir())):
        Image.new("RGB", (48, 40), (40 * index + 20,) * 3).save(path)


def test_a_peer_beside_the_real_model(tmp_path, capsys, monkeypatch):
    put_pictures(tmp_path)
    monkeypatch.chdir(Path(__file__).parents[2])
    args = ["--benchmark", "bid", "--root", tmp_path, "--model", "vital-tiny", "--format", "json"]
    assert call(*args, "--peer", "tests.cli.test_evaluate:Peer") == 0
    result = json.loads(capsys.readouterr().out)
    real, peer = result["models"]
    assert len(real["sha256"]) == 64
    assert real["level_values"] == [0.9, 0.7, 0.5, 0.3, 0.1]
    assert peer["correlations"]["srcc"] == pytest.approx(1)  # lower is better was taken into account
    assert peer["correlations"]["rmse"] is None
    (comparison,) = result["comparisons"]
    assert (comparison["a"], comparison["b"], comparison["n"]) == ("vital-tiny", "darkness", 4)
    assert comparison["difference"] == pytest.approx(real["correlations"]["srcc"] - 1)


def test_our_annotators_are_peers(tmp_path, capsys, monkeypatch):
    put_pictures(tmp_path)
    rng = np.random.default_rng(0)
    for path in (tmp_path / "ImageDatabase").iterdir():
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    monkeypatch.chdir(Path(__file__).parents[2])
    assert call("--benchmark", "bid", "--root", tmp_path, "--peer", "dataset_scripts.annotators.piqe:PIQE") == 0
    assert "piqe" in capsys.readouterr().out


def test_wrong_use(model, tmp_path, capsys):
    def complaint(*args):
        assert call(*args) == 2
        return capsys.readouterr().err

    COPIES["bid"](tmp_path)
    args = ["--benchmark", "bid", "--root", tmp_path]
    assert "give --benchmark" in complaint("--benchmark", "bid")
    unknown = complaint("--benchmark", "live", "--root", tmp_path, "--model", "vital-tiny")
    assert "no benchmark is called 'live'; `vital evaluate --list` names them" in unknown
    assert "package.module:Class" in complaint(*args, "--peer", "piqe")
    assert "cannot be made" in complaint(*args, "--peer", "nowhere.at.all:Piqe")
    assert "has no name, modality" in complaint(*args, "--peer", "fractions:Fraction")
    assert "compares with an original" in complaint(*args, "--peer", "dataset_scripts.annotators.ssim:SSIM")
    assert "names of their own" in complaint(*args, "--model", "vital-tiny", "--model", "vital-tiny")
    assert "Unknown model" in complaint(*args, "--model", "vital-huge")


@pytest.mark.parametrize("place", ["file", "file/inside"])
def test_an_output_that_cannot_be_made_is_told_before_a_model_is_loaded(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    output = ["--output", str(tmp_path / place)]
    for module in ("evaluate", "audit"):
        monkeypatch.setattr(f"modeling_vital.cli.{module}.load_model", None)
    data = ["--root", str(tmp_path), "--human", str(tmp_path / "h.csv")]
    commands = [
        ["evaluate", "--benchmark", "bid", "--root", str(tmp_path), "--model", "vital-tiny"],
        ["evaluate", "--benchmark", "qbench", "--root", str(tmp_path), "--model", "vital-tiny"],
        ["audit", "vocab"],
        ["audit", "pmod", *data],
        ["audit", "labels", *data],
    ]
    for command in commands:
        assert main([*command, *output]) == 2
        assert f"{place}' cannot be made or written" in capsys.readouterr().err


def test_results_are_replaced_whole_or_not_at_all(model, tmp_path, monkeypatch, capsys):
    COPIES["csiq"](tmp_path)
    command = ("--benchmark", "csiq", "--root", tmp_path, "--model", "vital-tiny", "--output", tmp_path / "r")
    assert call(*command) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.is_file()}
    assert set(before) == {"result.json", "items.parquet", "vital-tiny.png"}

    def half(*args):
        args[-1].write_text("half")
        raise OSError(28, "No space left on device")

    for name in ("write_items", "plot"):
        with monkeypatch.context() as patch:
            patch.setattr(f"modeling_vital.evaluation.result_tables.{name}", half)
            assert call(*command) == 2
        assert "No space left on device" in capsys.readouterr().err
        assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir() if path.is_file()} == before


def test_a_result_is_summed_up_once_whatever_its_folder_is_called(model, tmp_path, capsys, monkeypatch):
    COPIES["csiq"](tmp_path)
    monkeypatch.chdir(tmp_path)
    assert call("--benchmark", "csiq", "--root", ".", "--model", "vital-tiny", "--output", "r") == 0
    os.symlink("r", "link")
    capsys.readouterr()
    assert main(["evaluate", "--summary", "r"]) == 0
    once = capsys.readouterr().out
    assert main(["evaluate", "--summary", "r", "./r", "link"]) == 0
    assert capsys.readouterr().out == once


def test_results_side_by_side(model, tmp_path, capsys, drawn):
    srcc = {}
    for name in ("kadid10k", "csiq", "livevqc"):
        COPIES[name](tmp_path / name)
        args = [
            "--benchmark",
            name,
            "--root",
            tmp_path / name,
            "--model",
            "vital-tiny",
            "--output",
            tmp_path / "out" / name,
        ]
        assert call(*args) == 0
        srcc[name] = json.loads((tmp_path / "out" / name / "result.json").read_text())["models"][0]["correlations"][
            "srcc"
        ]
    assert len(drawn) == 3 and all((tmp_path / "out" / name / "vital-tiny.png").exists() for name in srcc)
    capsys.readouterr()
    assert main(["evaluate", "--summary", *(str(tmp_path / "out" / name) for name in srcc)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{srcc['kadid10k']:.3f} / " in next(line for line in lines if line.startswith("KADID-10k (test), partial"))
    assert f"{srcc['kadid10k']:.3f} / " in next(line for line in lines if line.startswith("mean, in domain"))
    mean = (srcc["csiq"] + srcc["livevqc"]) / 2
    assert f"{mean:.3f} / " in next(line for line in lines if line.startswith("mean, out of domain"))
    assert main(["evaluate", "--summary", str(tmp_path)]) == 2
    assert "no result.json" in capsys.readouterr().err
    for other in ("{", "[]", '{"models": []}', '{"benchmark": 1, "models": [{"name": "a"}]}'):
        (tmp_path / "result.json").write_text(other)
        assert main(["evaluate", "--summary", str(tmp_path)]) == 2, other
        assert f"{tmp_path / 'result.json'} is no result of vital evaluate" in capsys.readouterr().err


def test_the_list_names_all(capsys):
    assert main(["evaluate", "--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in COPIES)
    assert "cgvds: CGVDS, video; all 357; labels in *.xlsx or *.csv (layout guessed)" in listed


@pytest.mark.parametrize("name", COPIES)
def test_every_benchmark_runs(name, model, tmp_path):
    COPIES[name](tmp_path)
    split = ["--split", "validation"] if name == "kvq" else []
    assert call("--benchmark", name, "--root", tmp_path, "--model", "vital-tiny", *split) == 0


def test_a_benchmark_from_a_mirror(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "cache"))
    put_mirror("csiq", tmp_path / "mirror")
    args = ["--mirror", tmp_path / "mirror", "--model", "vital-tiny", "--format", "json"]
    assert call("--benchmark", "csiq", *args) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["benchmark"]["items"], result["benchmark"]["groups"]) == (10, 2)
    assert result["benchmark"]["note"].endswith(f"mirrored here; from the mirror {tmp_path / 'mirror'}")
    dmos = [round(0.09 * number, 3) for number in range(1, 6)] * 2
    scores = [float(Path(path).read_text()) for path in model.asked]
    assert result["models"][0]["correlations"]["srcc"] == pytest.approx(-spearmanr(scores, dmos).statistic, abs=1e-12)
    for name in ("konvid1k", "qbench", "vital-pairs"):
        assert call("--benchmark", name, *args) == 2
        assert f"the mirror has no '{name}', only koniq10k" in capsys.readouterr().err
