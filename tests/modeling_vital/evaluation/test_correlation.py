"""Measures of agreement: hand numbers, definitions written out, scipy, edge cases, intervals that respect groups."""

import math

import numpy as np
import pytest
from scipy import stats

from modeling_vital.evaluation import (
    CORRELATIONS,
    METRIC_FOLDER,
    bootstrap,
    bootstrap_intervals,
    correlations,
    fit_logistic,
    paired_difference,
    subset_correlations,
)
from modeling_vital.evaluation.logistic import _SLOPES, LOGISTICS, LogisticFit, logistic4, logistic5


@pytest.fixture
def opinions():
    rng = np.random.default_rng(0)
    mos = rng.uniform(1, 5, 300)
    return 1 / (1 + np.exp(-(mos - 4) * 3)) + rng.normal(0, 0.05, 300), mos


def test_hand_numbers():
    result = correlations([1, 2, 3, 4], [1, 3, 2, 4])
    assert result["n"] == 4
    assert result["srcc"] == pytest.approx(1 - 6 * 2 / (4 * 15), abs=1e-12)  # one swap: squared rank differences 1 + 1
    assert result["plcc"] == pytest.approx(0.8, abs=1e-12)
    assert result["krcc"] == pytest.approx(4 / 6, abs=1e-12)  # five of six pairs agree
    assert result["rmse"] == pytest.approx(math.sqrt(0.5), abs=1e-12)


def test_ties_have_the_mean_rank_and_tau_b():
    scores, mos = [1, 1, 2, 3], [1, 2, 2, 3]
    result = correlations(scores, mos)
    ranks = np.corrcoef([1.5, 1.5, 3, 4], [1, 2.5, 2.5, 4])[0, 1]
    assert result["srcc"] == pytest.approx(ranks, abs=1e-12)
    assert result["krcc"] == pytest.approx(4 / 5, abs=1e-12)  # 4 agree, one tie on each side: 4 / sqrt(5 * 5)


def test_agrees_with_scipy_and_with_the_definitions(opinions):
    scores, mos = opinions
    scores = np.round(scores, 2)  # with ties
    result = correlations(scores, mos)
    assert result["srcc"] == pytest.approx(stats.spearmanr(scores, mos).statistic, abs=1e-12)
    assert result["plcc"] == pytest.approx(stats.pearsonr(scores, mos).statistic, abs=1e-12)
    assert result["krcc"] == pytest.approx(stats.kendalltau(scores, mos).statistic, abs=1e-12)
    x, y = scores - scores.mean(), mos - mos.mean()
    assert result["plcc"] == pytest.approx((x @ y) / math.sqrt((x @ x) * (y @ y)), abs=1e-12)
    sign = np.sign(scores[:, None] - scores) * np.sign(mos[:, None] - mos)
    untied = [(np.sign(v[:, None] - v) != 0).sum() for v in (scores, mos)]
    assert result["krcc"] == pytest.approx(sign.sum() / math.sqrt(untied[0] * untied[1]), abs=1e-12)
    assert result["rmse"] == pytest.approx(np.sqrt(np.mean((scores - mos) ** 2)), abs=1e-12)


def test_rmse_is_on_the_scale_of_the_opinions():
    result = correlations([0, 0.5, 1], [1, 3, 4], score_range=(0, 1), mos_range=(1, 5))
    assert result["rmse"] == pytest.approx(math.sqrt(1 / 3), abs=1e-12)  # 1, 3, 5 against 1, 3, 4
    with pytest.raises(ValueError, match="together"):
        correlations([0, 0.5, 1], [1, 3, 4], score_range=(0, 1))
    with pytest.raises(ValueError, match="score_range .* 1 to 1"):
        correlations([0, 0.5, 1], [1, 3, 4], score_range=(1, 1), mos_range=(1, 5))


# -------------------------------------------------------------------------------------------------------- the curves
def test_curves_by_hand():
    assert logistic4(np.array([2.0, 2 + 3 * math.log(3)]), 5, 1, 2, -3) == pytest.approx([3.0, 4.0])
    assert logistic5(np.array([2.0, 2 + math.log(3) / 4]), 2, 4, 2, 0.5, 1)[0] == pytest.approx(2.0)
    assert logistic5(np.array([2 + math.log(3) / 4]), 2, 4, 2, 0, 1) == pytest.approx([1.5])
    assert np.isfinite(logistic4(np.array([-1e9, 1e9]), 5, 1, 0, 1e-3)).all()


@pytest.mark.parametrize(
    ("curve", "parameters"), [("logistic4", (4.5, 1.2, 0.4, 0.1)), ("logistic5", (3.0, 9.0, 0.5, 0.8, 2.0))]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_curve_is_found_again(curve, parameters, sign):
    scores = np.linspace(0, 1, 60)
    truth = {"logistic4": logistic4, "logistic5": logistic5}[curve](scores, *parameters)
    fit = fit_logistic(sign * scores, truth, curve)
    assert fit(sign * scores) == pytest.approx(truth, abs=1e-5)
    if sign == 1:
        assert fit.parameters == pytest.approx(parameters, rel=1e-3)


@pytest.mark.parametrize("parameters", [(2.0, -1.0, 0.3, 0.5), (2.0, -1.0, 0.3, -0.5), (-3.0, 0.7, 0.2, 0.4, 1.0)])
def test_the_slopes_of_a_fit_are_those_of_its_curve(parameters):
    curve, x = f"logistic{len(parameters)}", np.linspace(-2, 2, 9)
    slopes = _SLOPES[curve](x, *parameters).T
    for step, slope in zip(1e-6 * np.eye(len(parameters)), slopes, strict=True):
        up, down = (LOGISTICS[curve](x, *np.add(parameters, moved)) for moved in (step, -step))
        assert slope == pytest.approx((up - down) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("count", [3, 7, 10, 1000])
def test_what_agrees_or_disagrees_in_all_is_exactly_1(count):
    values = np.random.default_rng(count).normal(size=count)
    for name in ("srcc", "plcc"):
        assert (CORRELATIONS[name](values, values), CORRELATIONS[name](values, -values)) == (1, -1), name


def test_what_a_fit_gains_is_named_apart(opinions):
    result = correlations(*opinions)
    assert result["plcc"] + 0.01 < result["plcc_logistic4"]
    assert result["rmse_logistic4"] < result["rmse"]
    assert result["plcc_logistic5"] >= result["plcc"] - 1e-9  # the straight line is one of its curves
    # In least squares with a free height and level, the residual fixes the correlation.
    mos_variance = np.var(opinions[1])
    assert result["plcc_logistic4"] == pytest.approx(
        math.sqrt(1 - result["rmse_logistic4"] ** 2 / mos_variance), abs=1e-6
    )


def test_fit_does_not_depend_on_units(opinions):
    scores, mos = opinions
    plain, scaled = correlations(scores, mos), correlations(1e4 * scores - 7, 1e-3 * mos)
    for name in ("srcc", "plcc", "krcc", "plcc_logistic4", "plcc_logistic5"):
        assert scaled[name] == pytest.approx(plain[name], abs=1e-6)


def test_measures_of_a_curve_repeat_though_a_fit_does_not_to_the_last_bit(opinions, monkeypatch):
    def almost(scores, mos, curve):
        fit = fit_logistic(scores, mos, curve)
        return LogisticFit(curve, tuple(value * (1 + 1e-13 * next(noise)) for value in fit.parameters))

    noise = iter(range(1000))
    scores, mos = (values[:12] for values in opinions)
    first = correlations(scores, mos)
    monkeypatch.setattr("modeling_vital.evaluation.correlation.fit_logistic", almost)
    assert [correlations(scores, mos) for _ in range(5)] == [first] * 5


def test_fits_that_cannot_be():
    with pytest.raises(ValueError, match="logistic3"):
        correlations([1, 2, 3, 4], [1, 2, 3, 4], curves=["logistic3"])
    with pytest.raises(ValueError, match="cubic"):
        fit_logistic([1, 2, 3, 4], [1, 2, 3, 4], "cubic")
    with pytest.raises(ValueError, match="logistic5 .* 5 .* 4 "):
        fit_logistic([1, 2, 3, 4], [1, 2, 3, 4], "logistic5")
    with pytest.raises(ValueError, match="logistic4 .*mos"):
        fit_logistic([1, 2, 3, 4], [1, 1, 1, 1])


# --------------------------------------------------------------------------------------------------------- the edges
@pytest.mark.parametrize(("scores", "mos"), [([0.5] * 6, [1, 2, 3, 4, 5, 6]), ([1, 2, 3, 4, 5, 6], [2] * 6)])
def test_constants_have_no_correlation_but_an_error(scores, mos, recwarn):
    result = correlations(scores, mos)
    assert result.pop("n") == 6
    assert math.isfinite(result.pop("rmse"))
    assert all(math.isnan(value) for value in result.values())
    assert not recwarn.list


@pytest.mark.parametrize(
    ("scores", "defined"),
    [
        ([0.1, 0.3, 0.2, 0.5], []),
        ([0.1, 0.1, 0.3, 0.3, 0.2, 0.5], []),  # four different ones
        ([0.1, 0.3, 0.2, 0.5, 0.4], ["logistic4"]),
        ([0.1, 0.3, 0.2, 0.5, 0.4, 0.7], ["logistic4", "logistic5"]),
    ],
)
def test_a_curve_that_passes_through_whatever_there_is_says_nothing(scores, defined):
    mos = [4.0, 1.0, 3.0, 2.0, 5.0, 2.5][: len(scores)]
    result = correlations(scores, mos)
    assert math.isfinite(result["plcc"])
    for name in ("plcc_logistic4", "rmse_logistic4", "plcc_logistic5", "rmse_logistic5"):
        assert math.isfinite(result[name]) == (name.split("_")[1] in defined), name


def test_few_items():
    result = correlations([1, 2, 3], [1, 2, 3])
    assert result["srcc"] == pytest.approx(1)
    assert math.isnan(result["plcc_logistic4"])
    with pytest.raises(ValueError, match="2 items"):
        correlations([1, 2], [1, 2])


def test_a_number_that_is_none_names_its_item():
    with pytest.raises(ValueError, match="item 1 .*nan.* 1 more"):
        correlations([1, math.nan, math.inf], [1, 2, 3])
    with pytest.raises(ValueError, match=r"mos .*'b\.png' .*inf"):
        correlations([1, 2, 3], [1, math.inf, 3], ids=["a.png", "b.png", "c.png"])
    with pytest.raises(ValueError, match=r"\(3,\) .*\(4,\)"):
        correlations([1, 2, 3], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="2 ids"):
        correlations([1, 2, 3], [1, 2, 3], ids=["a", "b"])


# ------------------------------------------------------------------------------------------- intervals and comparisons
def test_intervals_of_groups_are_wider_than_those_of_items():
    rng = np.random.default_rng(1)
    content = np.repeat(np.arange(20), 15)
    mos = rng.normal(size=300)
    # Each content has its own slope, so 300 items tell less than 300 independent ones would.
    scores = mos * rng.normal(0.5, 1, 20)[content] + rng.normal(0, 0.2, 300)
    by_item = bootstrap_intervals(scores, mos, resamples=200)["srcc"]
    by_content = bootstrap_intervals(scores, mos, content, resamples=200)["srcc"]
    assert by_content[1] - by_content[0] > 2 * (by_item[1] - by_item[0])
    srcc = correlations(scores, mos)["srcc"]
    assert by_content[0] < srcc < by_content[1]
    assert by_content == bootstrap_intervals(scores, mos, content, resamples=200, statistics=["srcc"])["srcc"]


@pytest.mark.slow
def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    truth, hits = 0.6, 0
    for _ in range(60):
        x = rng.normal(size=150)
        y = truth * x + math.sqrt(1 - truth**2) * rng.normal(size=150)
        low, high = bootstrap_intervals(x, y, statistics=["plcc"], resamples=150, seed=rng)["plcc"]
        hits += low < truth < high
    assert 51 <= hits  # of 60, 57 expected; 51 or fewer has a chance of about 1 %


def test_intervals_that_cannot_be():
    with pytest.raises(ValueError, match="group:"):
        bootstrap_intervals([1, 2, 3], [1, 2, 3], ["a", "a", "a"])
    with pytest.raises(ValueError, match="2 groups"):
        bootstrap_intervals([1, 2, 3], [1, 2, 3], ["a", "b"])
    with pytest.raises(ValueError, match="slcc"):
        bootstrap_intervals([1, 2, 3], [1, 2, 3], statistics=["slcc"])
    low, high = bootstrap_intervals([1, 1, 1], [1, 2, 3], resamples=20)["srcc"]
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_better_model_is_found_and_a_twin_is_not():
    rng = np.random.default_rng(3)
    mos = rng.normal(size=200)
    good, bad = mos + rng.normal(0, 0.5, 200), mos + rng.normal(0, 2, 200)
    result = paired_difference(good, bad, mos, resamples=200)
    assert result["p_value"] == pytest.approx(2 / 201)
    assert 0 < result["low"] < result["difference"] < result["high"]
    back = paired_difference(bad, good, mos, resamples=200)
    assert back["difference"] == -result["difference"]
    assert back["p_value"] == result["p_value"]
    twin = paired_difference(good, 3 * good + 1, mos, resamples=50)
    assert twin == {"difference": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0}


def test_subsets():
    scores, mos = [1, 2, 3, 3, 2, 1, 5, 6], [1, 2, 3, 1, 2, 3, 1, 9]
    result = subset_correlations(scores, mos, ["blur"] * 3 + ["noise"] * 3 + ["jpeg", None])
    assert list(result) == ["blur", "jpeg", "noise"]
    assert result["blur"]["srcc"] == pytest.approx(1)
    assert result["noise"]["srcc"] == pytest.approx(-1)
    assert result["jpeg"] == {"n": 1}
    with pytest.raises(ValueError, match="2 subsets"):
        subset_correlations([1, 2, 3], [1, 2, 3], ["a", "b"])


# ------------------------------------------------------------------------------------------------ libraries around it
def test_the_metric_of_evaluate_loads_from_its_folder(opinions, tmp_path, monkeypatch):
    evaluate = pytest.importorskip("evaluate")
    scores, mos = opinions
    metric = evaluate.load(METRIC_FOLDER, cache_dir=str(tmp_path))
    got = metric.compute(predictions=scores, references=mos, score_range=(0, 1), mos_range=(1, 5))
    assert got == correlations(scores, mos, score_range=(0, 1), mos_range=(1, 5))


def test_intervals_of_a_share_draw_groups_as_a_whole():
    hits = np.array([1, 1, 0, 0, 1, 1, 0, 0], dtype=float)
    alone, pairs, opposite = (
        bootstrap(lambda rows: [hits[rows].mean()], 8, groups, 400)[0]
        for groups in (None, [0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 0, 1, 2, 3, 2, 3])
    )
    assert alone[1] - alone[0] < pairs[1] - pairs[0]  # four that vary together say less than eight
    assert pairs == (0, 1)
    assert opposite == (0.5, 0.5)  # each group has one of both
    with pytest.raises(ValueError, match="8 .* 2 groups"):
        bootstrap(lambda rows: [0.0], 8, [0, 1])
