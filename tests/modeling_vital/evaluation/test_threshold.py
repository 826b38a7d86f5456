"""Thresholds: hand-computed curves, wanted precision and recall reached, and what has none refused."""

import numpy as np
import pytest

from modeling_vital.evaluation.threshold import (
    NothingToFitError,
    find_threshold,
    plot_threshold,
    precision_recall_curve,
)


def simulate(count=200, apart=1.5, seed=0):
    rng = np.random.default_rng(seed)
    keep = rng.random(count) < 0.5
    return rng.normal(0, 1, count) + apart * keep, keep


def test_the_curve_is_as_computed_by_hand():
    curve = precision_recall_curve([0.1, 0.4, 0.4, 0.8, 0.9], [False, True, False, False, True])
    assert curve["threshold"].tolist() == [0.1, 0.4, 0.8, 0.9]
    assert curve["precision"].tolist() == [2 / 5, 2 / 4, 1 / 2, 1]
    assert curve["recall"].tolist() == [1, 1, 0.5, 0.5]
    assert curve["items"].tolist() == [5, 4, 2, 1]


@pytest.mark.parametrize("value", [0.7, 0.8, 0.9])
def test_the_precision_is_reached_by_the_threshold_that_keeps_most(value):
    scores, keep = simulate(apart=2.5)
    found = find_threshold(scores, keep, "precision", value)
    taken = scores >= found.threshold
    assert taken.sum() >= 10
    assert keep[taken].mean() == pytest.approx(found.precision)
    assert found.precision >= value
    assert found.precision_low < found.precision < found.precision_high
    lower = [t for t in scores if t < found.threshold]
    assert all(keep[scores >= t].mean() < value for t in lower)


@pytest.mark.parametrize("value", [0.5, 0.9, 1.0])
def test_the_recall_is_reached_by_the_highest_threshold(value):
    scores, keep = simulate()
    found = find_threshold(scores, keep, "recall", value)
    assert (keep & (scores >= found.threshold)).sum() / keep.sum() == pytest.approx(found.recall)
    assert found.recall >= value
    assert (keep & (scores > found.threshold)).sum() / keep.sum() < value
    assert found.threshold_low <= found.threshold <= found.threshold_high


@pytest.mark.slow
def test_intervals_hold_the_truth_of_new_labels():
    population, truth = simulate(100_000, seed=9)
    inside = 0
    for seed in range(8):
        found = find_threshold(*simulate(200, seed=seed), "recall", 0.9)
        precision = truth[population >= found.threshold].mean()
        inside += found.precision_low <= precision <= found.precision_high
    assert inside >= 6


def test_a_share_of_all_is_not_taken_for_certain():
    found = find_threshold(np.arange(60.0), np.arange(60) >= 30, "precision", 1.0)
    assert (found.threshold, found.precision, found.recall) == (30.0, 1.0, 1.0)
    assert found.precision_low == pytest.approx(30 / (30 + 1.959964**2))  # Wilson's formula for 30 of 30
    assert found.precision_high == 1


def test_copies_of_one_content_do_not_make_it_surer():
    scores, keep = simulate(60)
    copies = [np.tile(values, 4) for values in (scores, keep)]
    grouped = find_threshold(*copies, "recall", 0.9, groups=np.tile(np.arange(60), 4).tolist())
    unaware = find_threshold(*copies, "recall", 0.9)
    assert grouped.auc == unaware.auc
    assert unaware.auc_high - unaware.auc_low < 0.7 * (grouped.auc_high - grouped.auc_low)
    assert (grouped.contents, unaware.contents) == (60, 240)


@pytest.mark.parametrize(
    "scores, keep, message",
    [
        (np.arange(100.0), np.arange(100) > 80, "19 .* 100 labels: .* 20 "),
        (np.arange(30.0), np.arange(30) > 14, " 15 .* 15 .* 30 labels"),
        (*simulate(100, apart=0.0), "chance .*59%.*model"),
        (-simulate(100)[0], simulate(100)[1], "chance .*11%"),
    ],
)
def test_labels_that_give_no_threshold(scores, keep, message):
    with pytest.raises(NothingToFitError, match=message):
        find_threshold(scores, keep, "precision", 0.6)


def test_a_precision_that_is_never_reached_says_how_far_it_goes():
    scores, keep = simulate(400, apart=0.7)
    scores[:5], keep[:5] = 9.0, False  # the highest scores are no good
    with pytest.raises(NothingToFitError, match="precision .*0.99.* 0.[678]"):
        find_threshold(scores, keep, "precision", 0.99)


@pytest.mark.parametrize("wanted, value", [("accuracy", 0.9), ("precision", 0), ("recall", 1.1)])
def test_what_is_wanted_must_make_sense(wanted, value):
    with pytest.raises(ValueError, match=wanted):
        find_threshold(*simulate(), wanted, value)


def test_the_plot_is_written(tmp_path):
    plot_threshold(find_threshold(*simulate(), "recall", 0.9), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
