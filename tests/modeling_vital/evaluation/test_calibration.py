"""Calibrations: what was simulated is found again, and what cannot be fitted is refused."""

import dataclasses

import numpy as np
import pytest

from modeling_vital.calibration_vital import Calibration
from modeling_vital.evaluation.calibration import NothingToFitError, fit_calibration, plot_calibration
from modeling_vital.evaluation.logistic import rising_curve


ABOUT = {"model": "m", "weights_sha256": "0" * 64, "scoring": {}, "modality": "image"}
CURVES = {
    "logistic": lambda s: 1 + 4 / (1 + np.exp(-(s - 0.5) / 0.1)),
    "line": lambda s: 1 + 4 * (s - 0.1) / 0.8,
    "power": lambda s: 1 + 4 * ((s - 0.1) / 0.8) ** 2,
    "nearly flat": lambda s: 2.8 + 0.5 * (s - 0.1) / 0.8,
}


def simulate(curve, count, seed, noise=0.5):
    rng = np.random.default_rng(seed)
    scores = 0.1 + 0.8 * rng.beta(2, 2, count)
    return scores, CURVES[curve](scores) + rng.normal(0, noise, count)


@pytest.mark.parametrize("curve", CURVES)
def test_a_known_curve_lies_within_its_interval_95_times_of_100(curve):
    inside, whole = [], 0
    for seed in range(1, 9):
        found = fit_calibration(*simulate(curve, 200, seed), **ABOUT)
        true = CURVES[curve](np.array(found.scores))
        inside.append((found.curve_low <= true) & (true <= found.curve_high))
        assert np.mean(np.abs(np.array(found.mos) - true)) < 0.2
        assert np.mean(np.array(found.curve_high) - found.curve_low) < 0.7  # and the interval is not empty talk
        whole += inside[-1].all()
    assert np.mean(inside) >= 0.95 and whole >= 7


def test_the_curve_is_the_least_squares_line_unless_the_ratings_ask_for_more():
    """On a straight truth it errs hardly more than the line, on a bent one less than half as much."""
    at, errors = np.linspace(0.2, 0.8, 31), {}
    for curve in ("line", "nearly flat", "power"):
        errors[curve], same = np.zeros(2), 0
        for seed in range(40):
            scores, mos = simulate(curve, 200, seed)
            found, line = rising_curve(scores, mos, at), np.polyval(np.polyfit(scores, mos, 1), at)
            same += np.allclose(found, line)
            errors[curve] += [np.mean((each - CURVES[curve](at)) ** 2) for each in (found, line)]
            assert (np.diff(found) >= 0).all()
        assert same == 0 if curve == "power" else same >= 20
    assert errors["line"][0] < 1.2 * errors["line"][1]
    assert errors["nearly flat"][0] < 1.2 * errors["nearly flat"][1]
    assert errors["power"][0] < 0.25 * errors["power"][1]


def test_of_new_items_95_in_100_lie_within_theirs():
    found = fit_calibration(*simulate("logistic", 300, 0), **ABOUT)
    scores, mos = simulate("logistic", 2000, 1)
    ends = np.array([found.predict(score)[1:] for score in scores])
    assert 0.93 <= np.mean((ends[:, 0] <= mos) & (mos <= ends[:, 1])) <= 0.975


def test_the_curve_beats_a_line_where_the_truth_is_bent_and_both_beat_the_mean():
    errors = fit_calibration(*simulate("power", 400, 0, noise=0.2), **ABOUT).errors
    assert errors["rmse"] < 0.8 * errors["rmse_line"] < errors["rmse_mean"]
    assert errors["rmse_low"] < errors["rmse"] < errors["rmse_high"]
    assert errors["rmse"] == pytest.approx(0.2, abs=0.03)


def test_the_same_input_gives_the_same_calibration():
    items = simulate("logistic", 60, 0)
    assert fit_calibration(*items, **ABOUT) == fit_calibration(*items, **ABOUT)


def test_it_rises_and_keeps_its_ends_beyond_the_scores_of_the_ratings():
    scores, mos = simulate("logistic", 100, 0)
    found = fit_calibration(scores, mos.clip(1, 5), mos_range=(1, 5), **ABOUT)
    assert (np.diff(found.mos) >= 0).all()
    assert found.predict(0.0) == found.predict(found.scores[0])
    assert found.predict(1.0) == found.predict(found.scores[-1])
    ends = [found.predict(score) for score in found.scores]
    assert min(low for _, low, _ in ends) == 1 and max(high for *_, high in ends) == 5


def test_a_scale_whose_lower_end_is_better_is_the_mirror_image():
    scores, mos = simulate("logistic", 100, 0)
    up = fit_calibration(scores, mos, mos_range=(-2, 8), **ABOUT)
    down = fit_calibration(scores, 6 - mos, mos_range=(8, -2), **ABOUT)
    assert down.mos == pytest.approx([6 - value for value in up.mos])
    assert down.curve_low == pytest.approx([6 - value for value in up.curve_high])
    assert down.errors == pytest.approx(up.errors)
    low, high = down.predict(0.5)[1:]
    assert low < high


def test_copies_of_one_content_count_as_one():
    scores, mos = simulate("logistic", 60, 0)
    groups = np.arange(60)
    one = fit_calibration(scores, mos, groups.tolist(), **ABOUT)
    tripled = fit_calibration(np.tile(scores, 3), np.tile(mos, 3), np.tile(groups, 3).tolist(), **ABOUT)
    unaware = fit_calibration(np.tile(scores, 3), np.tile(mos, 3), **ABOUT)
    width = [np.mean(np.array(c.curve_high) - c.curve_low) for c in (one, tripled, unaware)]
    assert width[1] == pytest.approx(width[0], rel=0.2)  # more rows shrink the curve itself a little less
    assert width[2] < 0.75 * width[1]
    assert (tripled.ratings, tripled.contents, unaware.contents) == (180, 60, 180)


def test_scores_without_a_word_about_the_ratings_are_refused():
    refused = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        try:
            fit_calibration(rng.random(100), rng.random(100), **ABOUT)
        except NothingToFitError as error:
            refused.append(str(error))
    assert len(refused) >= 7  # one in forty is let through by chance
    assert sum("tell nothing about these ratings that is more than chance" in message for message in refused) >= 6
    scores, mos = simulate("line", 100, 0)
    with pytest.raises(NothingToFitError, match="--mos-range"):
        fit_calibration(scores, -mos, **ABOUT)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s, m: {"scores": s[:49], "mos": m[:49]}, "49 ratings.* 50 "),
        (lambda s, m: {"scores": s, "mos": [*m[:-1], np.nan]}, "mos .*59 .*nan"),
        (lambda s, m: {"scores": s, "mos": m, "mos_range": (1, 3)}, r"3\.0\d+, .* 1 to 3"),
        (lambda s, m: {"scores": s, "mos": m, "mos_range": (2, 2)}, "both 2"),
        (lambda s, m: {"scores": s, "mos": [3.0] * 60}, "ratings are 3"),
        (lambda s, m: {"scores": [0.5] * 60, "mos": m}, "scores are 0.5"),
        (lambda s, m: {"scores": s, "mos": m, "groups": ["a"] * 59}, "60 .* 59 groups"),
        (lambda s, m: {"scores": s, "mos": m, "groups": list("abcdef") * 10}, "6 contents"),
    ],
)
def test_what_cannot_be_fitted_says_why(change, message):
    with pytest.raises(ValueError, match=message):
        fit_calibration(**change(*simulate("line", 60, 0)), **ABOUT)


def test_a_file_gives_back_what_was_written_and_anything_else_is_refused(tmp_path):
    found = fit_calibration(*simulate("logistic", 60, 0), mos_range=(-2, 8), **ABOUT)
    path = tmp_path / "calibration.json"
    found.save(path)
    assert Calibration.load(path) == found
    with pytest.raises(ValueError, match="missing.json"):
        Calibration.load(tmp_path / "missing.json")
    for text in ("not JSON", "{}", "[1]", path.read_text().replace('"margin": ', '"margin": null, "x": ')):
        path.write_text(text)
        with pytest.raises(ValueError, match="calibration.json'.*vital calibrate"):
            Calibration.load(path)
    for change in ({"scores": found.scores[::-1]}, {"mos": found.mos[1:]}, {"margin": np.inf}, {"modality": "sound"}):
        with pytest.raises(ValueError):
            dataclasses.replace(found, **change)


def test_the_plot_is_written(tmp_path):
    items = simulate("logistic", 60, 0)
    plot_calibration(fit_calibration(*items, **ABOUT), *items, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000
