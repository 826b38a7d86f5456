"""Cards say what was measured, quote what was not, and show code that runs."""

import dataclasses
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from benchmarks import pictures
from model_cards.__main__ import main
from model_cards.render import (
    DATA,
    MEASURES,
    PHOTO,
    PICTURES,
    CardError,
    measured_lines,
    photo_credit,
    render_model_card,
)
from modeling_vital import zoo
from modeling_vital.calibration_vital import Calibration, folder_sha256
from modeling_vital.publishing.code_files import code_files
from modeling_vital.publishing.contents import read_card, read_contents
from tests.test_embedded_checkpoint import PHOTOS


LARGE = [name for name in zoo.NAMES if name not in zoo.EMBEDDED]
MEASURED = json.loads((DATA / "vital-tiny.json").read_text())


@pytest.fixture(scope="module")
def cards():
    return {name: render_model_card(name) for name in zoo.NAMES}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_huggingface_hub_accepts_the_card(cards, name, tmp_path):
    (tmp_path / "README.md").write_text(cards[name])
    metadata = read_card("model", tmp_path / "README.md")
    task = "image-classification" if zoo.is_probe(name) else "image-text-to-text"
    assert (metadata["library_name"], metadata["pipeline_tag"]) == ("transformers", task)
    for heading in ("Use", "Size", "Intended use", "Limits", "Training data", "Files", "Citation"):
        assert f"\n## {heading}\n" in cards[name]
    assert "{{" not in cards[name] and "None" not in cards[name] and "\n\n\n" not in cards[name]
    assert f'"ORG/{name}"' in cards[name] and "@article{vital" in cards[name]


def test_the_hub_shows_an_example_and_where_weights_come_from(cards):
    data = ModelCard(cards["vital-tiny"]).data.to_dict()
    assert data["widget"] == [{"src": "example.jpg", "example_title": "A photo whose right third is blurred"}]
    assert data["model-index"][0]["results"] and data["license"] == "apache-2.0" and "base_model" not in data
    for name, card in cards.items():
        table = card.split("\n## Licences\n")[1].split("\n## ")[0]
        assert "| code | Apache-2.0 |" in table
        assert ("| weights | Apache-2.0 |" in table) == (name in zoo.EMBEDDED)
        assert name == "vital-tiny" or "widget" not in ModelCard(card).data.to_dict()


def test_results_of_the_measured_one_are_those_of_the_file(cards):
    results = ModelCard(cards["vital-tiny"]).data.eval_results
    values = {result.dataset_config: result.metric_value for result in results}
    assert {row["subset"]: round(row["srcc"], 4) for row in MEASURED["rows"]}.items() <= values.items()
    assert values["pairs_compression"] == round(MEASURED["pairs"]["compression"]["share"], 4)
    assert len(values) == len(results)
    assert values["across"] == round(MEASURED["across"]["srcc"], 4)
    orders = {name: one["share"] for name, one in MEASURED["orders"].items() if "/" not in name}
    assert {f"orders_{name}": round(share, 4) for name, share in orders.items()}.items() <= values.items()
    in_domain = next(result for result in results if result.dataset_config == "in_domain")
    assert in_domain.metric_type == "spearmanr"
    assert in_domain.metric_args["low_95"] < in_domain.metric_value < in_domain.metric_args["high_95"]


def test_every_measure_of_the_suite_has_words(cards):
    for section in ("rows", "pairs", "orders", "alike"):
        found = MEASURED[section]
        names = {row["subset"] for row in found} if section == "rows" else {name for name in found if "/" not in name}
        assert names - {"clips_visible"} <= set(MEASURES[section]["measures"]), section
    table = cards["vital-tiny"].split("## Measured")[1].split("## ")[0]
    for line in measured_lines(MEASURED):
        assert f"| {' | '.join(line)} |" in table


def test_lines_show_interval_and_goal_and_leave_out_what_was_not_measured():
    results = {
        "rows": [{"subset": "video", "srcc": 0.5, "low": 0.25, "high": 0.75, "n": 9}],
        "pairs": {"clips": {"share": 0.5, "low": None, "high": None, "n": 2}, "examples": {"share": None, "n": 0}},
        "orders": {"night": {"share": 0.75, "low": 0.5, "high": 1.0, "n": 4}},
        "alike": {"map": {"share": 1.0, "low": 1.0, "high": 1.0, "n": 2, "difference": 0.05}},
        "across": {},
        "text": {},
    }
    assert [line[1:] for line in measured_lines(results)] == [
        ("0.500 (0.250 to 0.750, n = 9)", "0.80"),
        ("50.0 % (n = 2)", "95 %"),
        ("75.0 % (50.0 to 100.0, n = 4)", "90 %"),
        ("100.0 % (100.0 to 100.0, n = 2); 0.050 apart on average", ""),
    ]


def test_weak_distortions_are_named_as_limits(cards):
    weak = re.search(r"It is weak on (.*):", cards["vital-tiny"])[1].split(", ")
    assert set(weak) == {name.replace("_", " ") for name, value in MEASURED["by_distortion"].items() if value < 0.5}
    assert weak


@pytest.mark.parametrize("name", LARGE)
def test_the_others_claim_nothing_as_ours(cards, name):
    card = ModelCard(cards[name])
    assert card.data.eval_results is None and "model-index" not in card.data.to_dict()
    assert card.data.license == "other" and card.data.base_model.startswith("OpenGVLab/InternVL3-")
    assert "The weights are the authors', or yours to convert." in cards[name]
    assert "## Measured" not in cards[name]
    quoted = json.loads((DATA / "paper.json").read_text())[name]["results"]
    section = cards[name].split("## What the paper reports")[1].split("## ")[0]
    assert ("Not measured by us" in section) == bool(quoted)
    rows = [f"| {row['model']} | {row['set']} | {row['reported']} |" for row in quoted]
    assert [line for line in section.splitlines() if line.startswith("| VITAL")] == rows
    # No correlation outside of what is marked as quoted.
    assert not re.findall(r"0\.\d{3}", cards[name].replace(section, ""))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder with what the code of the cards needs: the embedded checkpoint, as it is published, and two photos."""
    folder = tmp_path_factory.mktemp("cards")
    shutil.copy(PHOTOS[0], folder / "photo.jpg")
    shutil.copy(PHOTOS[1], folder / "other.jpg")
    (folder / "published").mkdir()
    embedded = {path.name: path for path in Path(zoo.resolve("vital-tiny")).iterdir()}
    for file, path in (embedded | code_files(embedded)).items():
        shutil.copy(path, folder / "published" / file)
    return folder


def code_of(card, name, folder):
    """The code of a card, run with the model that is here."""
    blocks = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    return "".join(blocks).replace(f"ORG/{name}", str(folder / "published"))


def test_the_code_runs(cards, published, monkeypatch, capsys):
    """The cards of all sizes have one of very few programs: each is run once."""
    monkeypatch.chdir(published)
    programs = {code_of(cards[name], name, published): name for name in zoo.NAMES}
    assert 1 <= len(programs) < len(zoo.NAMES)
    for code, name in programs.items():
        names = {}
        exec(compile(code, name, "exec"), names)
        assert 0 <= names["result"].score <= 1 and names["comparison"].winner in ("a", "b", "tie")
        assert names["result"].level in capsys.readouterr().out


def test_the_card_has_the_hashes_of_code_and_weights(cards):
    folder = Path(zoo.resolve("vital-tiny"))
    listed = dict(line.split("  ")[::-1] for line in re.findall(r"^[0-9a-f]{64}  \S+$", cards["vital-tiny"], re.M))
    assert {"config.json", "model.safetensors", "modeling_vital.py", "media_vital.py"} <= set(listed)
    code = code_files({path.name: path for path in folder.iterdir()})
    assert set(code) == {name for name in listed if name.endswith(".py")}
    for name, digest in listed.items():
        assert hashlib.sha256(code.get(name, folder / name).read_bytes()).hexdigest() == digest
    for name in LARGE:
        assert not re.search(r"[0-9a-f]{64}", cards[name]) and "sha256sum" in cards[name]
    assert all("revision=" in card for card in cards.values())


@pytest.fixture
def calibrated(tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(zoo.resolve("vital-tiny"), folder)
    about = {"model": "m", "weights_sha256": folder_sha256(folder), "scoring": {}, "modality": "image"}
    table = {"scores": [0.0, 1.0], "mos": [1.0, 5.0], "curve_low": [1.0, 4.0], "curve_high": [2.0, 5.0]}
    errors = {"rmse": 0.4321, "rmse_low": 0.4, "rmse_high": 0.475}
    numbers = {"margin": 0.9, "confidence": 0.9, "mos_range": [1.0, 5.0], "ratings": 312, "contents": 104}
    found = Calibration(**about, **table, **numbers, method="averaged logistic4", errors=errors)
    found.save(folder / "calibration.json")
    return folder, found


def test_the_card_shows_the_calibration_beside_the_weights(cards, calibrated, tmp_path):
    folder, found = calibrated
    command = ["render", "vital-tiny", "--weights", str(folder), "--output", str(tmp_path / "cards")]
    assert main(command) == 0
    card = (tmp_path / "cards" / "vital-tiny.md").read_text()
    assert "\n\n\n" not in card and "## Calibration" in card
    for line in (
        "| method | logistics of VQEG, averaged and shrunk to a line |",
        "| ratings | 312 pictures of 104 contents |",
        "| scale | 1 (worst) to 5 (best) |",
        "| cross-validated error (RMSE) | 0.432 (0.4 to 0.475) at 90 % |",
    ):
        assert f"\n{line}\n" in card
    digest = hashlib.sha256((folder / "calibration.json").read_bytes()).hexdigest()
    assert f"{digest}  calibration.json" in card
    assert not any("## Calibration" in card for card in cards.values())
    dataclasses.replace(found, modality="video", mos_range=None).save(folder / "calibration.json")
    card = render_model_card(LARGE[0], weights=folder)  # of converted weights as well
    assert "| ratings | 312 clips of 104 contents |" in card and "| scale | that of the ratings |" in card


def test_a_calibration_of_other_weights_is_refused(calibrated, tmp_path, capsys):
    folder, found = calibrated
    command = ["render", "vital-tiny", "--output", str(tmp_path / "cards"), "--weights"]
    dataclasses.replace(found, weights_sha256="0" * 64).save(folder / "calibration.json")
    assert main([*command, str(folder)]) == 2 and "is for other weights" in capsys.readouterr().err
    (folder / "calibration.json").write_text("{}")
    assert main([*command, str(folder)]) == 2 and "holds no calibration" in capsys.readouterr().err
    assert main([*command, str(tmp_path)]) == 2 and "holds no .safetensors" in capsys.readouterr().err
    assert main(["render", "--weights", str(folder), "--output", "cards"]) == 2
    assert "give its NAME" in capsys.readouterr().err


def test_pictures_of_a_card_are_credited_as_the_example_that_they_show():
    assert PICTURES["example.jpg"] == pictures.BLURRED and PHOTO == pictures.PHOTO
    author, licence = photo_credit()
    assert author == "Nevit Dilmen, 2008" and "creativecommons.org/licenses/by/3.0/" in licence
    card = render_model_card("vital-tiny")
    assert f"from a photo by {author}" in card and licence in card


def test_command(tmp_path, capsys):
    assert main(["render", "vital-tiny", "--org", "someone", "--output", str(tmp_path / "my cards")]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "my cards" / "vital-tiny.md"
    assert '"someone/vital-tiny"' in path.read_text()
    assert sorted(each.name for each in path.parent.iterdir()) == ["example.jpg", "hero.jpg", "vital-tiny.md"]
    contents = read_contents("model", Path(zoo.resolve("vital-tiny")), path)
    assert {"hero.jpg", "example.jpg", "README.md"} <= set(contents.files)
    assert main(["render", "vital-9b", "--output", str(tmp_path)]) == 2
    assert "vital-14b" in capsys.readouterr().err


def test_unknown_name():
    with pytest.raises(CardError, match="vital-9b"):
        render_model_card("vital-9b")


def test_licences_of_training_are_counted_and_no_photo_is_said_to_be_included(cards):
    section = cards["vital-tiny"].split("## Training data")[1].split("\n## ")[0]
    counts = MEASURED["training"]["photos_by_license"]
    assert "**No photo and no clip is included**" in section
    assert f"{sum(counts.values())} of them are for training" in section
    assert [line for line in section.splitlines() if re.search(r"\| \d+ \|$", line)] == [
        f"| {name} | {count} |" for name, count in counts.items()
    ]
    assert "photos and clips |" not in cards[LARGE[0]]
