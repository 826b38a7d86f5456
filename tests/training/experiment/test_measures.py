"""What is measured, by hand."""

import json

import numpy as np
import pytest

from training.experiment.analysis import analyse
from training.experiment.measures import (
    correlate,
    difference,
    distinct_difference,
    read_tag,
    severity_srcc,
    text_measures,
)


def items_of(contents=12):
    """For each content an original and two severities of two types; opinions fall with the severity."""
    columns = {"content_id": [], "mos": [], "type": [], "severity": []}
    for content in range(contents):
        for kind, severity in ((None, None), ("jpeg", 1), ("jpeg", 4), ("white_noise", 2), ("white_noise", 5)):
            columns["content_id"].append(f"c{content}")
            columns["mos"].append(0.9 - 0.15 * (severity or 0) + 0.001 * content)
            columns["type"].append(kind)
            columns["severity"].append(severity)
    return columns


def test_perfect_reversed_and_useless_scores():
    items = items_of()
    perfect = correlate(items["mos"], items)
    assert perfect["n"] == 60
    assert perfect["srcc"] == perfect["plcc"] == [1.0, 1.0, 1.0]
    assert perfect["severity_srcc"][0] > 0.85 and perfect["severity_srcc"][0] == max(perfect["severity_srcc"][:2])
    reversed_scores = [-value for value in items["mos"]]
    assert correlate(reversed_scores, items)["severity_srcc"][0] == -perfect["severity_srcc"][0]
    assert correlate([0.5] * 60, items)["srcc"] == [None, None, None]
    assert correlate([0.5] * 60, items)["severity_srcc"] == [None, None, None]


def test_severity_counts_within_a_type_only():
    items = items_of()
    damage = np.array([s or 0 for s in items["severity"]], dtype=float)
    kinds = np.array([kind == "jpeg" for kind in items["type"]])
    value, low, high = severity_srcc(-damage + 100 * kinds, items)  # all JPEG above all noise: no matter
    assert (value, low, high) == pytest.approx((1, 1, 1))
    value, low, high = severity_srcc(np.random.default_rng(0).normal(size=60), items)
    assert low < 0 < high and low < value < high


def test_differences_are_paired_and_a_constant_score_counts_as_no_correlation():
    items = items_of()
    rng = np.random.default_rng(0)
    noisy = [value + rng.normal(scale=0.3) for value in items["mos"]]
    assert difference(noisy, noisy, items) == {"difference": 0.0, "low": 0.0, "high": 0.0}
    better = difference(items["mos"], noisy, items)
    assert better["low"] > 0
    constant = difference(items["mos"], [0.5] * 60, items)
    assert 0.6 < constant["low"] < constant["high"] < 1.4


def test_tags_are_read_from_texts():
    assert read_tag("The distortion of the image is relatively severe white noise.") == ("white_noise", 4)
    assert read_tag("The distortion of the image is severe JPEG2000 compression.") == ("jpeg2000", 5)
    assert read_tag("The distortion of the image is none.") == (None, None)
    assert read_tag("mild") == (None, 2)


def test_text_measures_by_hand():
    items = {"subsets": {"in_domain": items_of(1)}, "texts": [1, 2, 4]}
    texts = [
        "The distortion of the image is mild JPEG compression.",  # jpeg 1: right, one step away
        "The distortion of the image is mild JPEG compression.",  # jpeg 4: right, two steps away
        "The distortion of the image is.",  # nothing said
    ]
    found = text_measures(texts, items)
    assert found["type_accuracy"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["severity_within_one"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["distinct_share"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["mean_words"] == pytest.approx((9 + 9 + 6) / 3, abs=1e-4)
    assert text_measures([], items) is None


def test_distinct_texts_are_compared_on_the_same_items():
    varied, same = [f"text {i}" for i in range(40)], ["the same"] * 40
    found = distinct_difference(varied, same)
    assert found["difference"] == pytest.approx(1 - 1 / 40, abs=1e-4) and found["low"] > 0.9
    assert distinct_difference(varied, varied)["high"] == 0


def test_analysis_takes_what_has_not_changed_from_before(tmp_path, monkeypatch):
    items = {"data": {}, "subsets": {"in_domain": items_of()}, "texts": [1, 2]}
    (tmp_path / "items.json").write_text(json.dumps(items))

    def record(name, kind, noise):
        rng = np.random.default_rng(1)
        scores = [value + noise * rng.normal() for value in items["subsets"]["in_domain"]["mos"]]
        run = {"name": name, "kind": kind, "decoder": "a", "seed": 0}
        result = {"run": run, "cpu_seconds": 1.0, "scores": {"in_domain": scores}, "texts": ["a", "b"]}
        (tmp_path / f"{name}.json").write_text(json.dumps(result))

    record("base-a", "base", 1.0)
    record("vital-a-s0", "vital", 0.01)
    first = analyse(tmp_path)
    (found,) = first["claims"]["pre-training"]
    assert found["a"] == "vital-a-s0" and found["low"] > 0 and found["apart"]
    calls = []
    monkeypatch.setattr("training.experiment.analysis.correlate", lambda *a: calls.append(a) or correlate(*a))
    assert analyse(tmp_path) == first and not calls
    record("vital-a-s0", "vital", 2.0)
    again = analyse(tmp_path)
    assert len(calls) == 1 and again["runs"]["base-a"] == first["runs"]["base-a"]
    assert not again["claims"]["pre-training"][0]["apart"]
