"""Which runs there are, and that what is finished is not made again."""

import json
from pathlib import Path

import pytest

from training.experiment import ExperimentError
from training.experiment import __main__ as experiment
from training.experiment.__main__ import Experiment, conduct, is_finished, main
from training.experiment.plan import ABLATIONS, Machine, _recipe


RECIPE = Path("training/recipes/tiny_experiment.yaml")


@pytest.fixture
def recipe():
    return Experiment.load(RECIPE)


def test_every_run_comes_after_those_it_starts_from(recipe):
    runs = recipe.plan()
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    for place, run in enumerate(runs):
        assert set(run.start) <= set(names[:place]), run.name
    by_kind = {kind: [run for run in runs if run.kind == kind] for kind in {run.kind for run in runs}}
    assert {run.decoder for run in by_kind["zero"]} == {"b", "c", "d"}
    assert {len(by_kind[kind]) for kind in ("zero", "warm_up")} == {7}
    assert [run.name for run in by_kind["zero"] if run.decoder == "d"] == ["zero-d-s0"]
    assert {len(by_kind[kind]) for kind in ("vital", "full")} == {3} and len(by_kind["base"]) == 4
    large = next(run for run in by_kind["warm_up"] if run.decoder == "d")
    assert {k for k, v in large.settings.items() if v != by_kind["warm_up"][0].settings[k]} == {
        "learning_rate",
        "max_steps",
    }
    assert all(run.settings["max_samples"] == 4000 for run in by_kind["warm_up"])
    assert all("max_samples" not in run.settings for run in by_kind["full"])
    assert {run.stage for run in by_kind["vital"]} == {"pretrain"}


def test_an_ablation_differs_in_one_thing(recipe):
    runs = {run.kind: run for run in recipe.plan()}
    whole = next(run for run in recipe.plan() if run.kind == "vital")
    for kind in ABLATIONS:
        run = runs[kind]
        assert (run.seed, run.start, run.data) == (whole.seed, whole.start, whole.data)
        changed = {k for k in run.settings | whole.settings if run.settings.get(k) != whole.settings.get(k)}
        changed |= {"stage"} if run.stage != whole.stage else set()
        assert changed == set(ABLATIONS[kind])
    assert runs["without_pairs"].settings["mixture"] == {"scoring": 2, "pairwise": 0, "distortion": 1}


def test_the_products_recipe_takes_all_settings(recipe, tmp_path):
    """Also those that a stage has other defaults for."""
    data = {"pairs": tmp_path / "pairs", "captions": tmp_path / "captions"}
    for run in recipe.plan():
        if run.stage in ("zero_shot", "linear_probe"):
            continue
        made = _recipe(run, tmp_path / "model", tmp_path / run.name, data, Machine(workers=3))
        assert made.training.seed == run.seed and made.training.max_steps == run.settings["max_steps"]
        assert made.training.use_cpu and made.training.dataloader_num_workers == 3
        assert made.data.prompt_decoupling and made.loss.focal_beta == run.settings["focal_beta"]
        assert made.loss.hard_levels == (run.kind == "without_pmod")


@pytest.fixture
def pretended(monkeypatch):
    """The experiment without its work: `made` holds the names of the runs."""
    made = []

    def execute(run, family, work, data, machine):
        if run.name in pretend["broken"]:
            raise KeyboardInterrupt
        made.append(run.name)
        (work / run.name / "checkpoint-1").mkdir(parents=True)
        (work / run.name / "config.json").write_text("{}")
        return 1.0

    pretend = {"made": made, "broken": set()}
    monkeypatch.setattr(experiment, "execute", execute)
    monkeypatch.setattr(experiment, "make_data", lambda *a: {})
    monkeypatch.setattr(experiment, "test_rows", lambda data: {})
    monkeypatch.setattr(experiment, "describe_items", lambda rows, n: {"subsets": {}, "texts": []})
    monkeypatch.setattr(experiment, "measure", lambda folder, rows, texts, device: {"scores": {}, "texts": []})
    return pretend


def test_finished_runs_are_skipped_and_a_stopped_one_is_made_again(recipe, pretended, tmp_path):
    work, results = tmp_path / "work", tmp_path / "results"
    names = [run.name for run in recipe.plan()]
    pretended["broken"].add(names[4])
    with pytest.raises(KeyboardInterrupt):
        conduct(recipe, tmp_path, work, results)
    assert pretended["made"] == names[:4]
    assert {path.stem for path in results.glob("*.json")} == {"items", *names[:4]}
    assert not list(work.glob("*/checkpoint-*"))  # of finished runs
    pretended["broken"].clear()
    assert conduct(recipe, tmp_path, work, results) == len(names) - 4
    assert pretended["made"] == names
    assert conduct(recipe, tmp_path, work, results) == 0


def test_a_result_of_other_settings_is_an_error_that_names_it(recipe, pretended, tmp_path):
    conduct(recipe, tmp_path, tmp_path / "work", tmp_path / "results")
    recipe.stages.vital["learning_rate"] = 0.5
    with pytest.raises(ExperimentError, match=r"vital-a-s0\.json.*learning_rate"):
        conduct(recipe, tmp_path, tmp_path / "work", tmp_path / "results")


@pytest.mark.parametrize("only", [(), ("base-a",)])
@pytest.mark.parametrize("again", ["work", "results"])
def test_what_another_family_left_is_an_error_that_names_it(recipe, pretended, tmp_path, again, only):
    conduct(recipe, tmp_path, tmp_path / "work", tmp_path / "results", only=only)
    folders = {name: tmp_path / (name if name == again else f"other {name}") for name in ("work", "results")}
    recipe.family.model["tile_size"] += 1
    with pytest.raises(ExperimentError, match=f"{again}.*family.model.tile_size"):
        conduct(recipe, tmp_path, **folders)
    recipe.family.model["tile_size"] -= 1
    assert conduct(recipe, tmp_path, tmp_path / "work", tmp_path / "results", only=only) == 0


@pytest.mark.parametrize("left", ["base-a", "base-a.start"])
def test_models_of_a_family_that_is_not_known_are_an_error_that_names_them(recipe, pretended, tmp_path, left):
    work = tmp_path / "work"
    (work / left).mkdir(parents=True)
    with pytest.raises(ExperimentError, match=rf"work holds {left} .*family\.json"):
        conduct(recipe, tmp_path, work, tmp_path / "results")
    assert not pretended["made"] and not (work / "family.json").exists()


def test_a_checkpoint_that_is_gone_is_an_error_that_says_what_to_do(recipe, pretended, tmp_path):
    results = tmp_path / "results"
    conduct(recipe, tmp_path, tmp_path / "work", results)
    (results / "zero-b-s0.json").unlink()
    with pytest.raises(ExperimentError, match=r"remove .*vital-a-s0\.json"):
        conduct(recipe, tmp_path, tmp_path / "elsewhere", results)


def test_runs_can_be_made_by_name_and_a_wrong_name_is_an_error(recipe, pretended, tmp_path):
    work, results = tmp_path / "work", tmp_path / "results"
    assert conduct(recipe, tmp_path, work, results, only=["base-a", "base-c"]) == 2
    assert pretended["made"] == ["base-a", "base-c"]
    with pytest.raises(ExperimentError, match="vital-a-s0"):
        conduct(recipe, tmp_path, work, results, only=["zero-b-s0"])
    with pytest.raises(ExperimentError, match="zero-q.*--list"):
        conduct(recipe, tmp_path, work, results, only=["zero-q"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: []", "cannot be used"),
        ("nonsense: 1", "nonsense"),
        ("data: {sides: 1}", "sides"),
        ("seeds: [0\n", "cannot be used"),
    ],
)
def test_a_recipe_that_is_wrong_says_so(tmp_path, caplog, text, message):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    assert main(["--recipe", str(file)]) == 2
    assert message in caplog.text and str(file) in caplog.text


def test_list_says_what_is_open(recipe, pretended, tmp_path, capsys):
    results = tmp_path / "results"
    conduct(recipe, tmp_path, tmp_path / "work", results)
    last = recipe.plan()[-1].name
    (results / f"{last}.json").unlink()
    assert main(["--recipe", str(RECIPE), "--results", str(results), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"open  {last}" and {line[:4] for line in lines[:-1]} == {"done"}


def test_the_fingerprint_survives_json(recipe, tmp_path):
    for run in recipe.plan():
        assert json.loads(json.dumps(run.fingerprint())) == run.fingerprint()
        assert not is_finished(run, tmp_path)


def test_a_page_of_nothing_is_an_error(tmp_path, caplog):
    assert main(["--page", "--results", str(tmp_path), "--page_file", str(tmp_path / "page.md")]) == 2
    assert "No run is recorded" in caplog.text and not (tmp_path / "page.md").exists()
