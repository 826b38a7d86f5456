"""The whole build: one result whoever works and however often it is killed, and a data set that loads without us."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace

import datasets
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard
from PIL import Image

from dataset_scripts.__main__ import main
from dataset_scripts.build_config import BuildConfig, BuildError, SettingsError
from dataset_scripts.distortions import tag
from dataset_scripts.engines import LocalEngine, RayEngine
from dataset_scripts.pipeline import build, run_stages
from dataset_scripts.staging import Staging
from dataset_scripts.validator import data_files, validate
from modeling_vital import whole_files
from modeling_vital.conventions_vital import DEFAULT_DESCRIPTION_PREFIXES
from tests.fixtures.tiny_media import photo, recipe, write_folder


ROOT = Path(__file__).parents[2]


def rows_of(folder):
    """Every row of a data set as bytes of values, by configuration and split."""
    return {
        (config, split): [row for path in paths for row in pq.read_table(path).to_pylist()]
        for config, splits in data_files(folder).items()
        for split, paths in splits.items()
    }


def shards_of(staging):
    """Every row of every stage, in order, whatever the size of the shards; paths are left out."""
    return {
        stage: [row for shard in range(len(staging.finished(stage))) for row in staging.read(stage, shard)]
        for stage in ("distort", "annotate", "interpret", "pair")
    }


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("originals") / "in", photos=6, clips=1)


@pytest.fixture(scope="module")
def published(originals, tmp_path_factory):
    """A data set built in this process, in one go."""
    output = tmp_path_factory.mktemp("published") / "pairs and more"
    build(BuildConfig.from_dict(recipe(originals)), output)
    return output


@pytest.mark.parametrize(
    ("workers", "items_per_shard"),
    [
        pytest.param(2, 2, id="2 workers"),
        pytest.param(3, 1, id="3 workers", marks=pytest.mark.slow),
        pytest.param(1, 100, id="large shards", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("without_plots")
def test_workers_and_shards_change_no_row(originals, published, tmp_path, workers, items_per_shard):
    config = BuildConfig.from_dict(recipe(originals, collect={"items_per_shard": items_per_shard}))
    build(config, tmp_path / "out", LocalEngine(workers))
    assert rows_of(tmp_path / "out") == rows_of(published)


@pytest.mark.slow
def test_ray_makes_the_same_rows(originals, published, tmp_path):
    pytest.importorskip("ray.data", reason="the extra `ray` is not installed")
    build(BuildConfig.from_dict(recipe(originals)), tmp_path / "out", RayEngine(workers=2))
    assert rows_of(tmp_path / "out") == rows_of(published)


def test_ray_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(SettingsError, match=r"pip install \"modeling-vital\[ray\]\""):
        RayEngine()


def test_only_the_stage_that_annotates_asks_ray_for_gpus(originals, tmp_path, monkeypatch):
    """With a stand-in of Ray, which records what it is asked for."""
    asked = {}

    class Rows:
        def map(self, worker, fn_constructor_args, num_cpus, num_gpus, **options):
            asked[fn_constructor_args[0]] = (num_cpus, num_gpus)
            return self

        def iter_rows(self):
            return iter(())

    ray = ModuleType("ray")
    ray.data = ModuleType("ray.data")
    ray.data.from_items = lambda *args, **options: Rows()
    ray.data.ActorPoolStrategy = SimpleNamespace
    ray.exceptions = SimpleNamespace(RayError=RuntimeError)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    RayEngine(annotate_gpus=0.5).run_stages(Staging(tmp_path), 3, BuildConfig.from_dict(recipe(originals)))
    assert asked == {"distort": (1, 0), "annotate": (1, 0.5), "interpret": (1, 0), "pair": (1, 0)}


# What the killed process runs. It is imported once and forked, so that the kills fall into the work, not the imports.
KILLED = """
import json, os, random, signal, sys, time
import dataset_scripts.publish
from dataset_scripts.build_config import BuildConfig
from dataset_scripts.engines import LocalEngine
from dataset_scripts.pipeline import build

recipe, output, seed = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
config, rng = BuildConfig.from_dict(recipe), random.Random(seed)

def start(folder):
    child = os.fork()
    if child == 0:
        try:
            build(config, folder, LocalEngine(2))
        finally:
            os._exit(int(sys.exc_info()[0] is not None))
    return child

started = time.monotonic()
_, status = os.waitpid(start(output + "-undisturbed"), 0)
whole = time.monotonic() - started
assert status == 0, status
kills = []
while len(kills) < 3:
    child = start(output)
    delay = rng.uniform(0.05, 0.9) * whole / 3
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"was done before it was killed, after {delay:.2f} of {whole:.2f} s"
    kills.append(delay)
_, status = os.waitpid(start(output), 0)
assert status == 0, status
print(json.dumps({"whole_s": whole, "kills_s": kills}))
"""


@pytest.mark.slow
def test_three_kills_at_random_moments_change_nothing(originals, published, tmp_path):
    seed = random.SystemRandom().randrange(2**32)
    arguments = [json.dumps(recipe(originals)), str(tmp_path / "out"), str(seed)]
    command = [sys.executable, "-c", KILLED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-3000:]}"
    assert rows_of(tmp_path / "out") == rows_of(tmp_path / "out-undisturbed") == rows_of(published), f"seed {seed}"
    dropped = [(tmp_path / name / "dropped.jsonl").read_text() for name in ("out", "out-undisturbed")]
    assert dropped[0] == dropped[1]
    stages = [
        json.loads((tmp_path / name / "run_report.json").read_text())["stages"] for name in ("out", "out-undisturbed")
    ]
    for stage, numbers in stages[0].items():
        assert {k: numbers[k] for k in ("rows_in", "rows_out", "dropped")} == {
            k: stages[1][stage][k] for k in ("rows_in", "rows_out", "dropped")
        }, stage


@pytest.mark.slow
def test_a_stop_before_any_write_is_made_up_for(originals, tmp_path, monkeypatch):
    config = BuildConfig.from_dict(recipe(originals))
    whole, broken = Staging(tmp_path / "whole"), Staging(tmp_path / "broken")
    with LocalEngine() as engine:
        run_stages(config, whole, engine)
    real, left = whole_files.whole_file, 0

    def write(path):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return real(path)

    stops = 0
    monkeypatch.setattr(whole_files, "whole_file", write)
    for allowed in (*range(0, 9), 12, 17):  # a shard takes three writes: stops fall before each of them
        left = allowed
        with pytest.raises(KeyboardInterrupt), LocalEngine() as engine:
            run_stages(config, broken, engine)
        stops += 1
    monkeypatch.undo()
    with LocalEngine() as engine:
        run_stages(config, broken, engine)
    assert stops == 11 and shards_of(broken) == shards_of(whole)


def test_no_worker_outlives_a_killed_build_nor_waits_for_torch():
    code = """
        import os, signal, sys
        from dataset_scripts.engines import LocalEngine
        assert not {"torch", "transformers"} & set(sys.modules)  # which take ten times as long to import as all else
        with LocalEngine(2):
            print("started", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    # The workers hold the other end of the pipes: this returns when the last of them is gone, or not in time.
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == -9 and done.stdout == "started\n"


def die_on_shard_one(stage, shard, root, config):
    """Takes the place of `run_shard` in a worker."""
    if shard == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return shard


def test_a_worker_that_dies_ends_the_build_with_advice(originals, tmp_path, monkeypatch):
    monkeypatch.setattr("dataset_scripts.engines.run_shard", die_on_shard_one)
    with pytest.raises(BuildError, match="worker.*--workers"), LocalEngine(2) as engine:
        engine.run_stages(Staging(tmp_path), 3, BuildConfig.from_dict(recipe(originals)))


LOADER = """
import json, sys
import datasets
from datasets.distributed import split_dataset_by_node

folder, found = sys.argv[1], {}
for config in datasets.get_dataset_config_names(folder):
    whole = datasets.load_dataset(folder, config)
    for split, rows in whole.items():
        first = rows[0]
        media = [image.size for image in first["images"]] + [len(video["bytes"]) for video in first["videos"]]
        assert media, first
        stream = datasets.load_dataset(folder, config, split=split, streaming=True)
        ids = [row["id"] for row in stream]
        parts = [[row["id"] for row in split_dataset_by_node(stream, rank, 2)] for rank in range(2)]
        assert sorted(parts[0] + parts[1]) == sorted(ids) == sorted(rows["id"]), "nodes share or lose rows"
        found[f"{config}/{split}"] = len(rows)
assert "dataset_scripts" not in sys.modules and "modeling_vital" not in sys.modules
print(json.dumps(found))
"""


@pytest.mark.slow
def test_it_loads_without_our_code(published, tmp_path):
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-I", "-c", LOADER, str(published)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = {f"{config}/{split}": len(rows) for (config, split), rows in rows_of(published).items()}
    assert json.loads(done.stdout) == expected and len(expected) >= 6


def test_the_card_is_what_the_hub_reads(published):
    card = DatasetCard.load(published / "README.md")
    names = [entry["config_name"] for entry in card.data.to_dict()["configs"]]
    assert sorted(names) == ["distortion", "pairwise", "scoring"]
    infos = {info["config_name"]: info for info in card.data.to_dict()["dataset_info"]}
    for (config, split), rows in rows_of(published).items():
        sizes = {entry["name"]: entry for entry in infos[config]["splits"]}
        assert sizes[split]["num_examples"] == len(rows) and sizes[split]["num_bytes"] > 1000
    assert "There is no configuration `description`" in card.text
    for picture in ("scores", "spread", "agreement_image", "agreement_video", "words"):
        assert f"(plots/{picture}.png)" in card.text
        with Image.open(published / "plots" / f"{picture}.png") as image:
            image.verify()
    assert "![Sample rows](plots/samples.jpg)" in card.text.partition("## Configurations")[0]
    with Image.open(published / "plots" / "samples.jpg") as sheet:
        assert sheet.width == 960 and sheet.height % 274 == 0 and len(set(sheet.convert("L").tobytes())) > 100
    files = ("README.md", "build.json", "dropped.jsonl", "run_report.json", "statistics.json")
    assert {path.name for path in published.iterdir()} == {*files, "data", "plots"}


def test_distortion_rows_begin_as_describe_does(published):
    rows = [row for (config, _), part in rows_of(published).items() if config == "distortion" for row in part]
    for row in rows:
        (said,) = (m["content"][0]["text"] for m in row["messages"] if m["role"] == "assistant")
        done = row["distortion"]
        words = tag(done["type"], done["severity"]) if done["type"] else "none"
        assert said == f"{DEFAULT_DESCRIPTION_PREFIXES[row['modality']]} {words}."
    assert {row["modality"] for row in rows} == {"image", "video"}


def test_statistics_agree_with_the_rows(published):
    rows = rows_of(published)
    numbers = json.loads((published / "statistics.json").read_text())
    assert numbers["rows"] == {
        config: {split: len(part) for (c, split), part in rows.items() if c == config}
        for config in dict.fromkeys(c for c, _ in rows)
    }
    scoring = [row for (config, _), part in rows.items() if config == "scoring" for row in part]
    images = [row for row in scoring if row["modality"] == "image"]
    found = numbers["scores"]["image"]
    assert sum(found["mos_histogram"]) == sum(found["levels"].values()) == found["rows"] == len(images)
    assert found["mos_mean"] == pytest.approx(sum(row["mos"] for row in images) / len(images))
    assert numbers["originals_by_modality"] == {"image": 6, "video": 1} and numbers["licenses"] == {"CC0-1.0": 7}
    assert sum(map(sum, numbers["distortions"].values())) == sum(bool(row["distortion"]["type"]) for row in scoring)


@pytest.mark.slow
def test_shards_have_a_sane_size(originals, tmp_path):
    section = {"max_shard_size": "300KB"}
    build(
        BuildConfig.from_dict(recipe(originals, publish=section, distort={"variants_per_item": 40})), tmp_path / "out"
    )
    files = data_files(tmp_path / "out")["scoring"]["train"]
    assert len(files) > 1 and validate(tmp_path / "out").ok
    loaded = datasets.load_dataset(str(tmp_path / "out"), "scoring", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(loaded) == sum(pq.read_metadata(path).num_rows for path in files)


@pytest.mark.usefixtures("without_plots")
def test_descriptions_become_a_configuration(originals, tmp_path):
    section = {"interpreter": "tests.dataset_scripts.test_stages:numbered_interpreter", "options": {"prefix": "Item"}}
    report = build(BuildConfig.from_dict(recipe(originals, interpret=section)), tmp_path / "out")
    rows = [row for (config, _), part in rows_of(tmp_path / "out").items() if config == "description" for row in part]
    assert len(rows) == sum(report["rows"]["description"].values()) == 7 * 3 * 2  # versions 1 and 2 have none
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["messages"][1]["content"][0]["text"] for row in rows} >= {"A second sentence."}
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()]
    assert reasons.count("text: judge") == 7 and reasons.count("no description") == 7
    assert "`description`" in (tmp_path / "out" / "README.md").read_text()


def test_a_finished_or_other_build_is_left_alone(originals, published, tmp_path):
    before = (published / "run_report.json").read_text()
    assert build(BuildConfig.from_dict(recipe(originals)), published) == json.loads(before)
    with pytest.raises(SettingsError, match=r"pairs and more .*\(seed\).*--output"):
        build(BuildConfig.from_dict(recipe(originals, seed=1)), published)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear to somebody")
    with pytest.raises(SettingsError, match="full .*empty.*--output"):
        build(BuildConfig.from_dict(recipe(originals)), tmp_path / "full")
    Staging(tmp_path / "begun" / ".staging").prepare(BuildConfig.from_dict(recipe(originals, seed=1)))
    with pytest.raises(SettingsError, match=r"\(seed\)"):
        build(BuildConfig.from_dict(recipe(originals)), tmp_path / "begun")


def test_another_build_in_the_same_folder_is_refused(originals, tmp_path, monkeypatch):
    monkeypatch.setattr("modeling_vital.finished_parts.LOCK_TIMEOUT_S", 0.1)
    config = BuildConfig.from_dict(recipe(originals))
    found = []

    class Nested(LocalEngine):
        def run_stages(self, staging, shards, config):
            with pytest.raises(BuildError, match="another run .*out; "):
                build(config, tmp_path / "out")
            found.append(shards)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(config, tmp_path / "out", Nested())
    assert found == [4]


@pytest.mark.usefixtures("without_plots")
@pytest.mark.parametrize("place", ["dataset_scripts.staging.pq.write_table", "datasets.arrow_writer.pq.ParquetWriter"])
def test_a_full_disk_is_told_and_the_build_resumes(place, originals, tmp_path, monkeypatch):
    config = BuildConfig.from_dict(recipe(originals))

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place, full)
        with pytest.raises(BuildError, match="out stopped: .*No space .*finished"):
            build(config, tmp_path / "out")
    assert build(config, tmp_path / "out")["rows"]
    assert not (tmp_path / "out" / ".staging").exists()


@pytest.mark.usefixtures("without_plots")
def test_nothing_is_published_that_does_not_pass(originals, tmp_path, monkeypatch):
    monkeypatch.setattr("dataset_scripts.vital_pairs.score_text", lambda modality, mos: "It is what it is")
    with pytest.raises(BuildError, match="(?s)ERROR: answer: 77"):
        build(BuildConfig.from_dict(recipe(originals)), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".staging"]


# ------------------------------------------------------------------------------------------------- command line
def run(*arguments):
    """The command in this process: exit code."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


@pytest.mark.usefixtures("without_plots")
def test_command_line_builds_validates_and_reports(originals, tmp_path, capsys):
    config = {name: part for name, part in recipe(originals).items() if name != "sources"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(config))
    output = tmp_path / "out put"
    arguments = ["--source", "folder", "--input", originals, "--license", "CC0-1.0", "--option", "name=tiny"]
    arguments += ["--config", tmp_path / "recipe.yaml", "--items-per-source", 3, "--seed", 5, "--variants", 2]
    assert run("build", *arguments, "--output", output) == 0
    capsys.readouterr()
    assert run("validate", output) == 0
    assert capsys.readouterr().out.endswith("the data set is sound\n")
    assert run("report", output) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[1].split()[:3] == ["collect", "3", "3"] and "scoring: " in table
    assert run("report", output, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["stages"]["distort"]["rows_out"] == 9
    built = json.loads((output / "build.json").read_text())
    assert (built["seed"], built["collect"]["items_per_source"], built["distort"]["variants_per_item"]) == (5, 3, 2)
    data_files(output)["scoring"]["train"][0].write_bytes(b"PAR1")
    assert run("validate", output) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "--output", "out"], "name what to build from"),
        (["build", "--source", "folder", "--output", "out"], "--source needs --input"),
        (["build", "--input", "x", "--output", "out"], "belong to --source"),
        (["build", "--source", "folder", "--input", "nowhere", "--output", "out"], "'nowhere' is not a folder"),
        (["build", "--source", "zip", "--input", "x", "--output", "out"], "invalid choice: 'zip'"),
        (["build", "--config", "nowhere.yaml", "--output", "out"], "nowhere.yaml cannot be read"),
        (["build", "--config", "odd.yaml", "--output", "out"], "has no setting 'sauces'"),
        (["build", "--config", "list.yaml", "--output", "out"], "list.yaml must be dict"),
        (
            ["build", "--source", "folder", "--input", "in", "--output", "out", "--option", "name=["],
            "not a YAML value",
        ),
        (["build", "--source", "folder", "--input", "in", "--output", "out", "--workers", "0"], "workers must be"),
        (["build", "--source", "folder", "--input", "in", "--output", "out", "--option", "x"], "NAME=VALUE"),
        (["build", "--source", "folder", "--input", "in", "--output", "out", "--annotate-gpus", "1"], "--engine ray"),
        (["build", "--source", "folder", "--input", "in", "--output", "in"], "not an empty folder"),
        (["build", "--source", "folder", "--input", "in", "--output", "out", "--seed", "-1"], "seed must not be"),
        (["validate", "nowhere"], "holds no data/"),
        (["report", "nowhere"], "neither a data set"),
        ([], "COMMAND"),
    ],
)
def test_wrong_use_exits_2_and_says_why(arguments, message, tmp_path, monkeypatch, capfd, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    Image.fromarray(photo(0)).save(tmp_path / "in" / "a.png")
    (tmp_path / "odd.yaml").write_text("sauces: [{kind: folder, path: in}]\nsources: [{}]\n")
    (tmp_path / "list.yaml").write_text("- a\n")
    assert run(*arguments) == 2
    assert message in capfd.readouterr().err + caplog.text
    assert not (tmp_path / "out").exists()


def test_ctrl_c_exits_130_and_the_report_shows_what_is_done(originals, tmp_path, monkeypatch, capsys):
    def stop(self, staging, shards, config):
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalEngine, "run_stages", stop)
    assert run("build", "--source", "folder", "--input", originals, "--output", tmp_path / "out") == 130
    assert run("report", tmp_path / "out") == 0
    assert "unfinished: give the build command again" in capsys.readouterr().out


def test_help_names_every_source_and_command(capsys):
    assert run("build", "--help") == 0
    text = capsys.readouterr().out
    for word in (
        "folder",
        "manifest",
        "hub",
        "webdataset",
        "registry",
        "--items-per-source",
        "resumes when the same command",
    ):
        assert word in text
