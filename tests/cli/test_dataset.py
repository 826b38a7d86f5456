"""`vital score --dataset`: rows to records, and copies of data sets with their scores."""

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Features, Image, List, Value, Video, load_dataset
from PIL import Image as Pillow

from modeling_vital.cli import dataset_copy, score_run
from modeling_vital.cli.errors import UsageError
from modeling_vital.cli.main import main
from tests.fixtures.hub_server import Blob, Repo, serve
from tests.fixtures.stand_in import WORDS, StandIn, install


ROOT = Path(__file__).parents[2]
FEATURES = Features(
    {
        "id": Value("int32"),
        "image": Image(),
        "label": ClassLabel(names=["cat", "dog"]),
        "boxes": List(Value("float32")),
        "note": Value("large_string"),
        "raw": Value("binary"),
        "at": Value("timestamp[us]"),
    }
)
NEW = [f"vital_{name}" for name in ("score", "std", "level", "level_probs", "error")]


def png(shade):
    buffer = io.BytesIO()
    Pillow.linear_gradient("L").resize((40, 40)).point(lambda v: (v + shade) // 2).save(buffer, "PNG")
    return buffer.getvalue()


def rows(first, count):
    for number in range(first, first + count):
        image = {"bytes": png(number * 9), "path": f"{number}.png" if number % 2 else None}
        if number % 11 == 3:
            image = None if number % 2 else {"bytes": b"no picture", "path": None}
        yield {
            "id": number,
            "image": image,
            "label": number % 2,
            "boxes": [number / 3, 1e-30][: number % 3],
            "note": None if number % 4 == 0 else f"ä{number}",
            "raw": bytes([number, 0, 255]),
            "at": number * 10**6,
        }


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """A folder with two files of `train`, and one of `test`."""
    folder = tmp_path_factory.mktemp("set") / "my photos"
    (folder / "data").mkdir(parents=True)
    first = 0
    for name, count in (("train-00000", 13), ("train-00001", 6), ("test-00000", 4)):
        table = pa.Table.from_pylist(list(rows(first, count)), schema=FEATURES.arrow_schema)
        pq.write_table(table, folder / "data" / f"{name}.parquet")
        first += count
    return folder


class Sums(StandIn):
    """Scores encoded pictures by their bytes; what is no PNG is unreadable."""

    def value(self, item):
        data = item["bytes"] if isinstance(item, dict) else open(item, "rb").read()  # noqa: SIM115
        if not data.startswith(b"\x89PNG"):
            raise ValueError("no picture")
        return sum(data) % 1000 / 1000


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return install(monkeypatch, Sums(), score_run, dataset_copy)


def vital(dataset, *argv):
    return main(["score", "--dataset", str(dataset), "--workers", "0", "--batch-size", "2", *map(str, argv)])


def data_files(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "data").iterdir())}


def plain(folder, split):
    """All rows as stored, pictures encoded."""
    data = load_dataset(str(folder), split=split, cache_dir=f"{folder}-cache")
    return data.cast_column("image", Image(decode=False)).with_format("arrow")[:]


def test_copy_has_the_same_rows_and_their_scores(parquet, stand_in, tmp_path):
    assert vital(parquet, "--output", tmp_path / "out", "--shard-rows", 3) == 1
    assert sorted(data_files(tmp_path / "out")) == [
        "test-00000-00000.parquet",
        *(f"train-00000-{part:05d}.parquet" for part in range(4)),  # 13 rows, 4 a file: whole batches of 2
        *(f"train-00001-{part:05d}.parquet" for part in range(2)),
    ]
    assert sorted(os.listdir(tmp_path / "out")) == ["README.md", "data", "scores.json"]
    for split in ("train", "test"):
        was, copy = plain(parquet, split), plain(tmp_path / "out", split)
        assert copy.column_names == [*FEATURES, *NEW]
        assert copy.select(list(FEATURES)).equals(was)
        for row in copy.to_pylist():
            if row["id"] % 11 == 3:
                assert row["vital_score"] is row["vital_level_probs"] is None
                assert row["vital_error"]
            else:
                assert row["vital_score"] == sum(row["image"]["bytes"]) % 1000 / 1000
                assert list(row["vital_level_probs"]) == WORDS
                assert row["vital_error"] is None
    loaded = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"] == FEATURES["label"]
    assert loaded[0]["image"].size == (40, 40)
    counts = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert counts["failed"] == 2
    assert counts["splits"]["train"] == {"rows": 19, "kept": 19, "failed": 2}
    assert "my photos, scored" in (tmp_path / "out" / "README.md").read_text()


def test_filtered_copy(parquet, stand_in, tmp_path):
    vital(parquet, "--output", tmp_path / "out", "--where", "score > 0.5", "--prefix", "q.", "--shard-rows", 2)
    kept = plain(tmp_path / "out", "train").to_pylist()
    expected = [
        row["id"]
        for row in plain(parquet, "train").to_pylist()
        if row["id"] % 11 != 3 and sum(row["image"]["bytes"]) % 1000 / 1000 > 0.5
    ]
    assert [row["id"] for row in kept] == expected
    assert 0 < len(expected) < 17
    assert all(row["q.score"] > 0.5 for row in kept)
    assert vital(parquet, "--output", tmp_path / "none", "--where", "score > 2") == 1
    assert data_files(tmp_path / "none") == {}


class StopAt(Sums):
    """Is interrupted in one of its batches."""

    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def score(self, items):
        if len(self.calls) == self.batch:
            raise KeyboardInterrupt
        return super().score(items)


@pytest.mark.parametrize("where", [[], ["--where", "score > 0.5"]])
def test_copy_that_is_cut_off_and_resumed_is_the_undisturbed_one(
    where, parquet, stand_in, tmp_path, monkeypatch, capsys
):
    out, options = tmp_path / "out", ["--shard-rows", 4, *where]
    vital(parquet, "--output", tmp_path / "whole", *options)
    total = len(stand_in.calls)
    calls = 0
    for batch in (3, 3, 4):
        model = StopAt(batch)
        monkeypatch.setattr(dataset_copy, "load_model", lambda source, device, model=model: model)
        assert vital(parquet, "--output", out, "--resume", *options) == 130
        assert f"whole files are kept in {out}; the same command with --resume continues" in capsys.readouterr().err
        assert not (out / "scores.json").exists()
        calls += len(model.calls)
    monkeypatch.setattr(dataset_copy, "load_model", lambda source, device: stand_in)
    stand_in.calls.clear()
    assert vital(parquet, "--output", out, *options) == 2
    assert "add --resume" in capsys.readouterr().err
    assert vital(parquet, "--output", out, "--resume", *options) == 1
    assert data_files(out) == data_files(tmp_path / "whole")
    assert (out / "scores.json").read_bytes() == (tmp_path / "whole" / "scores.json").read_bytes()
    assert calls + len(stand_in.calls) <= total + 3, "a file that was whole was scored again"
    assert vital(parquet, "--output", out, "--resume", *options) == 1
    assert vital(parquet, "--output", out, *options) == 2


def test_what_a_copy_depends_on_may_not_change_in_between(parquet, stand_in, tmp_path, monkeypatch, capsys):
    assert vital(parquet, "--output", "whole") == 1
    monkeypatch.setattr(dataset_copy, "load_model", lambda source, device: StopAt(3))
    assert vital(parquet, "--output", "out") == 130
    monkeypatch.setattr(dataset_copy, "fingerprint", lambda source: {"model": "b", "version of modeling-vital": "0"})
    for output in ("out", "whole"):
        capsys.readouterr()
        assert vital(parquet, "--output", output, "--resume", "--where", "score > 0", "--prefix", "p") == 2
        assert "another model, version of modeling-vital, where, prefix" in capsys.readouterr().err


def test_changed_data_is_noticed(parquet, stand_in, tmp_path, monkeypatch, capsys):
    shutil.copytree(parquet, tmp_path / "set")
    monkeypatch.setattr(dataset_copy, "load_model", lambda source, device: StopAt(3))
    assert vital("set", "--output", "out") == 130
    os.utime(tmp_path / "set" / "data" / "train-00001.parquet", (1, 1))
    capsys.readouterr()
    assert vital("set", "--output", "out", "--resume") == 2
    assert "another version of the data" in capsys.readouterr().err


def test_records_of_rows(parquet, stand_in, tmp_path, capsys):
    assert vital(parquet, "--split", "test", "--format", "jsonl") == 0
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["path"] for record in out] == [f"test/{number:08d}" for number in range(4)]
    assert vital(parquet, "--output", "s.jsonl", "--resume") == 1
    lines = (tmp_path / "s.jsonl").read_text().splitlines()
    assert len(lines) == 23
    stand_in.calls.clear()
    assert vital(parquet, "--output", "s.jsonl", "--resume") == 1
    assert (tmp_path / "s.jsonl").read_text().splitlines() == lines
    assert sum(map(len, stand_in.calls)) == 1, "only the one that was no picture is tried again"


def test_rows_of_another_column_or_data_set_have_records_of_their_own(stand_in, tmp_path):
    pictures = [{"bytes": png(shade), "path": None} for shade in (0, 90, 180)]
    features = Features({"first": Image(), "second": Image()})
    table = pa.Table.from_pydict({"first": pictures, "second": pictures[::-1]}, schema=features.arrow_schema)
    (tmp_path / "set").mkdir()
    pq.write_table(table, tmp_path / "set" / "a.parquet")
    shutil.copytree(tmp_path / "set", tmp_path / "other")  # of the same size and time

    def scores(dataset, *column):
        stand_in.calls.clear()
        assert vital(dataset, *column, "--output", "s.jsonl", "--resume") == 0
        return [json.loads(line)["score"] for line in (tmp_path / "s.jsonl").read_text().splitlines()]

    first = scores("set")
    assert len(set(first)) == 3 and scores("set") == first and not stand_in.calls
    assert scores("set", "--column", "second") == first[::-1]
    assert scores("set", "--column", "first") == first
    assert scores("other") == first and sum(map(len, stand_in.calls)) == 3


def test_folder_of_pictures_becomes_whole(stand_in, tmp_path):
    for number in range(3):
        (tmp_path / "set" / "cats").mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / "cats" / f"{number} a.png").write_bytes(png(number * 40))
    assert vital("set", "--output", "out") == 0
    shutil.rmtree(tmp_path / "set")
    data = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [image.size for image in data["image"]] == [(40, 40)] * 3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--dataset", "{set}", "--column", "picture"], "no column picture; --column is one of: id, image"),
        (["--dataset", "{set}", "--split", "dev"], "cannot be opened"),
        (["--dataset", "no such folder"], "cannot be opened"),
        (["--dataset", "{set}", "--prefix", "no", "--output", "full"], "not empty"),
        (
            ["--dataset", "{set}", "--output", "full/mine.txt/x"],
            "the folder 'full/mine.txt/x' cannot be made or written",
        ),
        (["--dataset", "{set}", "--output", "/proc/x"], "the folder '/proc/x' cannot be made or written"),
        (["--dataset", "{set}", "--copy-to", "x"], "files of this machine"),
    ],
)
def test_wrong_use(argv, message, parquet, stand_in, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    assert main(["score", *(word.replace("{set}", str(parquet)) for word in argv)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_path_that_is_not_utf_8_is_opened_or_named(stand_in, tmp_path, capsys, monkeypatch):
    """A table of paths may spell them as a file system does; types of `datasets` cannot, so the file is named."""
    monkeypatch.chdir(tmp_path)
    named = os.fsdecode(b"caf\xe9.png")
    for folder in ("paths", "pictures"):
        os.makedirs(folder)
        for name in ("a.png", named):
            Path(folder, name).write_bytes(png(40))
    names = pa.array([b"paths/a.png", os.fsencode(f"paths/{named}"), None], pa.binary())
    latin = pa.Array.from_buffers(pa.string(), 3, names.buffers())
    pq.write_table(pa.table({"file": latin}), "paths/train.parquet")
    assert main(["score", "--dataset", "paths", "--column", "file", "--format", "json"]) == 1
    told = [(record["score"] is not None, record["error"]) for record in json.loads(capsys.readouterr().out)]
    assert told == [(True, None), (True, None), (False, "nothing in the column 'file'")]
    for more in ([], ["--output", "out"]):
        assert main(["score", "--dataset", "pictures", *more]) == 2
        assert r"caf\udce9.png' is not UTF-8; rename the file" in capsys.readouterr().err


def test_column_that_is_there_already(parquet, stand_in, tmp_path, capsys):
    table = pq.read_table(parquet / "data" / "test-00000.parquet").append_column("vital_std", pa.array([1.0] * 4))
    (tmp_path / "set").mkdir()
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "set" / "a.parquet")
    assert vital("set", "--column", "image", "--output", "out") == 2
    assert "a column vital_std already; give another --prefix" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ from a Hub, on Ray
def run(*argv, **env):
    command = [sys.executable, "-m", "modeling_vital.cli.main", "score", *map(str, argv)]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_data_set_and_files_of_a_hub(parquet, tmp_path):
    with serve() as server:
        repo = server.repos["dataset", "org/photos"] = Repo("dataset", "org/photos")
        files = {f"data/{name}": Blob(data, True) for name, data in data_files(parquet).items()}
        pictures = {f"some/{number}.png": Blob(png(number * 50), False) for number in range(3)}
        repo.commit("main", {**files, **pictures, "some/notes.txt": Blob(b"text", False)})
        env = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path)}
        listed = run("hf://datasets/org/photos/some", "--format", "jsonl", **env)
        assert listed.returncode == 0, listed.stderr
        records = [json.loads(line) for line in listed.stdout.splitlines()]
        assert [r["path"] for r in records] == [f"hf://datasets/org/photos/some/{n}.png" for n in range(3)]
        missing = run("hf://datasets/org/photos/some/none.png", **env)
        assert missing.returncode == 1
        assert "no image or video files there" in missing.stdout
        copied = run("--dataset", "org/photos", "--output", tmp_path / "hub", "--split", "test", **env)
        assert copied.returncode == 0, copied.stderr
    for argv in (["hf://datasets/org/photos/some"], ["--dataset", "org/photos"]):
        unreachable = run(*argv, **env, HF_HUB_CACHE=str(tmp_path / "empty"), HF_DATASETS_CACHE=str(tmp_path / "none"))
        assert unreachable.returncode == 2
        assert "Traceback" not in unreachable.stderr
        assert "org/photos" in unreachable.stderr
    assert plain(tmp_path / "hub", "test").select(list(FEATURES)).equals(plain(parquet, "test"))


@dataclass
class Job:
    device: str = "cpu"
    workers: int | None = None


@pytest.fixture
def ray(monkeypatch):
    """A stand-in of Ray, which keeps in `asked` what it is asked for."""
    ray = ModuleType("ray")
    ray.asked = {}

    class Shards:
        def map(self, worker, fn_constructor_args, num_cpus, num_gpus, compute):
            models, readers = compute.max_size, fn_constructor_args[0].workers
            ray.asked = {"cpus": num_cpus, "gpus": num_gpus, "models": models, "readers": readers}
            return self

        def iter_rows(self):
            return iter(())

    ray.data = ModuleType("ray.data")
    ray.data.from_items = lambda *args, **options: Shards()
    ray.data.ActorPoolStrategy = SimpleNamespace
    ray.exceptions = SimpleNamespace(RayError=RuntimeError)
    ray.is_initialized = lambda: True
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    return ray


@pytest.mark.parametrize(
    ("device", "there", "asked"), [("cpu", 8, 0), ("auto", 0, 0), ("auto", 1, 1), ("cuda", 0, 1), ("cuda:1", 2, 1)]
)
def test_a_worker_asks_ray_for_a_gpu_where_it_uses_one(device, there, asked, ray):
    ray.cluster_resources = lambda: {"GPU": there} if there else {}
    dataset_copy._run_on_ray(Job(device, 2), None, [("train", 0)], None, None)
    assert ray.asked == {"cpus": 1, "gpus": asked, "models": 2, "readers": 1}


@pytest.mark.parametrize(
    ("workers", "resources", "models", "readers"),
    [
        (None, {"CPU": 64.0, "GPU": 8.0}, 8, 7),
        (None, {"CPU": 12.0}, 12, 1),
        (3, {"CPU": 12.0}, 3, 3),
        (1, {"CPU": 200.0, "GPU": 1.0}, 1, 16),
    ],
)
def test_models_and_their_readers_share_a_cluster(workers, resources, models, readers, ray):
    ray.cluster_resources = lambda: resources
    dataset_copy._run_on_ray(Job("auto", workers), None, [("train", 0)], "auto", None)
    assert (ray.asked["models"], ray.asked["readers"]) == (models, readers)


def test_a_cluster_that_is_not_there_is_named(ray):
    def init(**options):
        raise ConnectionError("nobody answers")

    ray.is_initialized, ray.init = lambda: False, init
    with pytest.raises(UsageError, match="10.0.0.9:6379"):
        dataset_copy._run_on_ray(Job(), None, [("train", 0)], "10.0.0.9:6379", None)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra ray is not installed")
def test_ray_makes_the_same_rows(parquet, tmp_path):
    options = ["--dataset", parquet, "--shard-rows", 4, "--batch-size", 2, "--where", "std > 0"]
    local = run(*options, "--output", tmp_path / "local", "--workers", 0)
    assert local.returncode == 1, local.stderr
    on_ray = run(*options, "--output", tmp_path / "ray", "--engine", "ray", "--workers", 2)
    assert on_ray.returncode == 1, on_ray.stderr
    assert data_files(tmp_path / "ray") == data_files(tmp_path / "local")


# ------------------------------------------------------------------------------------------ rows from strangers
@pytest.fixture
def pointing(tmp_path, monkeypatch):
    """A data set whose second row names a file beside its folder, and whose third names its own."""
    (tmp_path / "set").mkdir()
    for name in ("secret.png", "set/own"):
        (tmp_path / name).write_bytes(png(3))
    (tmp_path / "set" / "link").symlink_to(tmp_path / "secret.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("entry", ["{}/secret.png", "secret.png", "{}/set/link", "{}/set/../secret.png"])
@pytest.mark.parametrize("column", ["image", "path"])
def test_rows_open_no_files_that_are_not_the_data_sets(entry, column, pointing, stand_in, capsys):
    paths = [None, entry.format(pointing), str(pointing / "set" / "own")]
    images = [{"bytes": png(1), "path": None}, *({"bytes": None, "path": path} for path in paths[1:])]
    data = {"image": images, "path": [str(pointing / "set" / "own"), *paths[1:]]}
    features = Features({"image": Image(), "path": Value("string")})
    pq.write_table(pa.Table.from_pylist(pa.table(data).to_pylist(), schema=features.arrow_schema), "set/a.parquet")
    assert vital("set", "--column", column, "--format", "json") == 1
    refused = [record["error"] is not None for record in json.loads(capsys.readouterr().out)]
    assert refused == [False, True, False]
    assert vital("set", "--column", column, "--format", "json", "--allow-outside") == 0


@pytest.mark.parametrize("entry", ["{}/secret.png", "{}/secret.png::{}/set/own", "file://{}/secret.png"])
@pytest.mark.parametrize(
    ("feature", "within"),
    [
        (Image(), lambda file: file),
        (Audio(), lambda file: file),
        ({"deep": {"x": Video()}}, lambda file: {"deep": {"x": file}}),
        (List(Image()), lambda file: [file]),
        (List(List({"x": Image()})), lambda file: [[], [{"x": file}]]),
    ],
)
def test_a_copy_holds_no_files_that_are_not_the_data_sets(feature, within, entry, pointing, stand_in):
    """However deep a column holds them."""
    Path("secret.png").write_bytes(b"SECRET" * 9)
    own, other = str(pointing / "set" / "own"), entry.format(*[pointing] * entry.count("{}"))
    rows = [
        {"image": {"bytes": png(1), "path": None}, "more": within({"bytes": None, "path": path})}
        for path in (own, other)
    ]
    features = Features({"image": Image(), "more": feature})
    pq.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), "set/a.parquet")
    assert vital("set", "--column", "image", "--output", "out") == 0
    table = pq.read_table("out/data")
    assert table.num_rows == 2
    assert "SECRET" not in str(table.column("more").to_pylist())
    assert str(png(3))[2:-1] in str(table.column("more").to_pylist()[0])


def test_a_row_whose_file_is_gone_is_the_only_one_without_a_score(pointing, stand_in, capsys):
    own, gone = str(pointing / "set" / "own"), str(pointing / "set" / "gone.png")
    rows = [{"image": {"bytes": None, "path": path}} for path in (own, gone, str(pointing / "set"), own)]
    pq.write_table(pa.Table.from_pylist(rows, schema=Features({"image": Image()}).arrow_schema), "set/a.parquet")
    assert vital("set", "--format", "json") == 1
    assert [record["error"] is None for record in json.loads(capsys.readouterr().out)] == [True, False, False, True]


def test_a_mistyped_folder_is_told_at_once(tmp_path, stand_in, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.load_dataset_builder", lambda *_, **__: pytest.fail("the Hub is asked"))
    for name in ("phtos", "./phtos", str(tmp_path / "phtos")):
        assert vital(name, "--format", "json") == 2
        assert f"there is no folder {name!r}" in capsys.readouterr().err
