"""The suite `tiny`: its measures by hand, and the whole of it on two photos and a clip."""

import csv
import json
from itertools import islice

import numpy as np
import pytest
from PIL import Image
from skimage import data

from dataset_scripts.distortions import DISTORTIONS
from dataset_scripts.versions import LabelRule
from training.suite.__main__ import main
from training.suite.measurement import NEEDS_ORIGINAL, make_rows
from training.suite.numbers import (
    Row,
    across_originals,
    by_distortion,
    correlations_by_subset,
    pairs_below,
    parse_tag,
    text_shares,
)
from training.tiny import recipe_data
from training.tiny.originals import DataConfig, is_test, load_originals


def rows(*values):
    return [Row(subset, content, name, severity, mos, None) for subset, content, name, severity, mos in values]


def test_correlations_by_hand():
    made = rows(
        ("in_domain", "a", "none", 0, 0.8),
        ("in_domain", "a", "jpeg", 5, 0.3),
        ("in_domain", "b", "none", 0, 0.9),
        ("in_domain", "b", "jpeg", 1, 0.1),
        ("in_domain", "b", "jpeg", 3, 0.05),
    )
    scores = [0.9, 0.2, 0.8, 0.3, 0.1]
    (row,) = correlations_by_subset(made, scores)
    assert row["subset"] == "in_domain" and row["n"] == 5
    assert row["srcc"] == pytest.approx(0.8)  # ranks 5 2 4 3 1 against 4 3 5 2 1: 1 - 6 * 4 / 120
    assert row["low"] <= row["srcc"] <= row["high"]
    assert row["srcc_severity"] == pytest.approx(0.5)  # 5 1 3 against 0.2 0.3 0.1, turned: ranks 3 1 2 and 2 3 1
    assert by_distortion(made, scores) == {"jpeg": row["srcc"]}


def test_a_metric_without_a_score_is_measured_on_the_rest():
    made = rows(*[("in_domain", str(i), "none", 0, i / 10) for i in range(4)], ("video", "v", "none", 0, 0.5))
    (row,) = correlations_by_subset(made, [0.1, None, 0.3, 0.4, None])
    assert row["n"] == 3 and row["srcc"] == 1


def test_pairs_compare_with_their_own_original():
    made = rows(
        ("video", "a", "none", 0, 1.0),
        ("video", "a", "stutter", 3, 0.5),
        ("video", "a", "h264_compression", 1, 0.5),
        ("video", "b", "none", 0, 1.0),
        ("video", "b", "stutter", 5, 0.5),
        ("examples", "a", "none", 0, 1.0),
        ("examples", "a", "jpeg", 5, 1.0),
    )
    pairs = pairs_below(made, [0.5, 0.4, 0.6, 0.3, 0.3, 0.9, 0.8])
    assert pairs["clips"] == {"share": pytest.approx(1 / 3), "low": 0, "high": 0.5, "n": 3}  # equal is not below
    assert pairs["stutter"] == {"share": 0.5, "low": 0, "high": 1, "n": 2}
    assert pairs["compression"] == {"share": None, "low": None, "high": None, "n": 0}  # severity 1 is not visible
    assert pairs["examples"] == {"share": 1.0, "low": None, "high": None, "n": 1}  # one original has no interval


def test_across_originals_versions_of_one_original_are_never_compared():
    def original(content, *marks):
        """Of each version the label, one opinion, and the score."""
        return [
            (Row("authentic", content, "none", 0, mos, None, {"detail": detail, "gmsd": 1.0}), score)
            for mos, detail, score in marks
        ]

    # Within each original the scores are the wrong way round; across originals both lists are in order.
    mine = [
        *original("a", (0.9, 0.1, 0.3), (0.1, 0.3, 0.31), (0.3, 0.2, 0.21)),
        *original("b", (0.8, 0.2, 0.5), (0.2, 0.2, 0.61), (0.4, 0.1, 0.41)),
        *original("c", (0.7, 0.3, 0.8), (0.3, 0.1, 0.91), (0.5, 0.3, 0.71)),
    ]
    found = across_originals(mine)
    assert found["srcc"] == 1 and found["n"] == 3 and found["lists"] == 2
    assert found["parts"]["detail"] == pytest.approx((-1 + 0.5) / 2)  # 3 2 1, and 2 1 3
    assert np.isnan(found["parts"]["gmsd"])  # all alike
    assert found["originals"]["srcc"] == -1 and found["originals"]["parts"]["detail"] == 1
    turned = [(row, -score) for row, score in mine]
    assert across_originals(turned)["srcc"] == -1
    assert across_originals(mine[:-1]) == {}  # an original with a row less does not count, and two are too few
    assert across_originals([]) == {}


def test_texts():
    assert parse_tag("The distortion of the image is relatively severe white noise.") == (4, "white_noise")
    assert parse_tag("The distortion of the image is severe JPEG compression.") == (5, "jpeg")
    assert parse_tag("The distortion of the image is severe white severe white.") == (5, None)
    assert parse_tag("The distortion of the image is none.") == (None, None)
    damaged = [("a", "jpeg"), ("b", "pixelate"), ("c", "jpeg")]
    made = rows(
        *(("in_domain", c, name, 4, 0.5) for c, name in damaged), *(("in_domain", c, "none", 0, 0.9) for c in "ab")
    )
    texts = ["It is severe JPEG compression.", "It is slight JPEG compression.", "It is none."]
    found = text_shares(list(zip(made, [*texts, "It is slight JPEG compression.", "It is none."], strict=True)))
    assert found == {
        "type_accuracy": pytest.approx(1 / 3),
        "severity_within_one": pytest.approx(1 / 3),
        "none_of_originals": 0.5,
        "originals": 2,
        "distinct_texts": 1.0,
        "mean_words": pytest.approx(13 / 3),
        "n": 3,
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photos of the test split, and two of a package that is held out."""
    folder = tmp_path_factory.mktemp("originals")
    names = [name for name in (f"photo{i}" for i in range(60)) if is_test(name)][:2]
    listed = [(names[0], "p", data.astronaut()), (names[1], "p", data.coffee())]
    listed += [("other", "psychopy", data.rocket()), ("more", "psychopy", data.chelsea())]
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["content_id", "path", "kind", "license", "split", "package"])
        writer.writeheader()
        for name, package, photo in listed:
            Image.fromarray(photo[:240, :320]).save(folder / f"{name}.png")
            writer.writerow(
                {"content_id": name, "path": f"{name}.png", "kind": "image", "license": "MIT", "package": package}
            )
    return folder


@pytest.mark.slow
def test_the_same_suite_every_time(folder):
    config = DataConfig(**{**vars(recipe_data()), "clip_distortions": []})
    originals = [load_originals(folder, config, split) for split in ("test", "held_out_sources")]
    first, again = (
        [row for group in make_rows(*originals, config, LabelRule(), small=True) for row in group] for _ in range(2)
    )
    assert [r.distortion for r in first] == [r.distortion for r in again]
    assert all(np.array_equal(a.media, b.media) for a, b in zip(first, again, strict=True))
    by_subset = {subset: {r.distortion for r in first if r.subset == subset} for subset in {r.subset for r in first}}
    assert by_subset["held_out_distortions"] <= {"none", *config.held_out_distortions}
    assert not by_subset["in_domain"] & set(config.held_out_distortions)
    assert {r.content_id for r in first if r.subset == "held_out_sources"} == {"other", "more"}
    assert all(0 <= r.mos <= 1 for r in first if r.subset != "examples")
    pristine = [r for r in first if r.subset == "in_domain" and r.distortion == "none"]
    assert len({r.opinions["gmsd"] for r in pristine}) == 1  # fidelity calls all originals perfect
    assert len({r.mos for r in pristine}) == 2  # the label does not


@pytest.mark.slow
def test_command(folder, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("training.suite.measurement.EXAMPLES", tmp_path)  # the photos of the Space are many
    monkeypatch.setattr("training.suite.orders.DRAWINGS", 1)
    assert main(["--root", str(folder), "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    found = {row["subset"]: row for row in result["rows"]}
    assert {"in_domain", "held_out_distortions", "held_out_sources", "authentic"} <= set(found)
    assert found["in_domain"]["n"] == 14 and found["held_out_sources"]["n"] == 14
    assert all(row["low"] <= row["srcc"] <= row["high"] for row in found.values())
    assert result["model"] == "vital-tiny" and result["text"]["n"] == 12
    assert 7 <= result["shown"]["n"] <= 14 and set(NEEDS_ORIGINAL) <= set(DISTORTIONS)
    assert result["across"]["n"] == 4 and result["across"]["lists"] == 6
    assert set(result["across"]["parts"]) == set(recipe_data().rule.annotators)
    assert -1 <= result["across"]["low"] <= result["across"]["srcc"] <= result["across"]["high"] <= 1
    assert result["orders"]["night"]["n"] == 8 and result["orders"]["pages"]["n"] == 9
    assert 0 <= result["alike"]["letterbox"]["share"] <= 1 and result["alike"]["map"]["difference"] > 0
    originals = [load_originals(folder, recipe_data(), split) for split in ("test", "held_out_sources")]
    groups = islice(make_rows(*originals, recipe_data(), LabelRule()), 2)
    made = [row for group in groups for row in group]
    assert {row.subset for row in made} == {"in_domain"}
    shown = [row for row in made if row.distortion not in NEEDS_ORIGINAL]
    assert result["shown"]["n"] == len(shown) and result["text_shown"]["n"] == sum(row.severity > 0 for row in shown)


@pytest.mark.parametrize("arguments", [["--model", "no/such/folder/here"], ["--peer", "no.such.module:Metric"]])
def test_wrong_use(arguments, caplog):
    assert main(arguments) == 2
    assert arguments[1] in caplog.text


def test_a_probe_has_no_texts():
    assert text_shares([]) == {}
