"""PMOD against the published example row, its properties and its speed."""

import time

import numpy as np
import pytest

from dataset_scripts.pmod import LEVEL_CENTRES, linear_adjustment, normal_masses, pmod, pmod_from_moments


EXAMPLE_MU, EXAMPLE_SIGMA = 3.579493, 0.404333


def example_moments():
    return np.array([EXAMPLE_MU / 5]), np.array([EXAMPLE_SIGMA / 5])


def expectation(target):
    return target.level_probs @ LEVEL_CENTRES / 5


def test_published_example_step_by_step():
    mu, sigma = np.array([EXAMPLE_MU]), np.array([EXAMPLE_SIGMA])
    masses = normal_masses(mu, sigma)
    np.testing.assert_allclose(masses[0], [0.148949, 0.774931, 0.075852, 4.68e-5, 8.9e-11], atol=1e-5)
    alpha, beta, _ = linear_adjustment(mu, sigma)
    np.testing.assert_allclose([alpha[0], beta[0]], [1.0062569, -0.0012068], atol=1e-5)
    unnormalised = np.maximum(alpha * masses[0] + beta, 0)
    np.testing.assert_allclose(unnormalised, [0.148674, 0.778573, 0.075120, 0, 0], atol=1e-5)
    assert unnormalised.sum() == pytest.approx(1.0024, abs=1e-4)


def test_published_example_renormalised():
    target = pmod_from_moments(*example_moments())
    published = np.array([0.148674, 0.778573, 0.075120, 0, 0])
    np.testing.assert_allclose(target.level_probs[0], published / published.sum(), atol=1e-5)
    assert not target.fallback[0]
    gap = abs(EXAMPLE_MU - target.level_probs[0] @ LEVEL_CENTRES)
    assert target.residual[0] == pytest.approx(gap, abs=1e-9) and gap < 0.01


def test_published_scores_give_the_published_moments():
    """The example's scores are on [0, 100]; its own [0, 5] map is affine, so the spread ratio is the check."""
    scores = np.array([[63.90106, 69.55915, 68.11500, 60.25841, 66.58319, 72.04355]])
    target = pmod(scores / 100)
    assert target.mean[0] * 100 == pytest.approx(66.743394, abs=1e-5)
    assert target.std[0] * 100 == pytest.approx(3.831034, abs=1e-5)
    assert target.n_opinions[0] == 6


def test_from_moments_equals_from_scores():
    scores = np.random.default_rng(0).uniform(size=(200, 6))
    target = pmod(scores)
    again = pmod_from_moments(scores.mean(axis=1), scores.std(axis=1))
    np.testing.assert_allclose(target.level_probs, again.level_probs, atol=1e-12)


@pytest.fixture(scope="module")
def grid():
    mean, std = np.meshgrid(np.linspace(0, 1, 201), np.linspace(0, 0.5, 101))
    return pmod_from_moments(mean.ravel(), std.ravel())


def test_rows_are_distributions(grid):
    assert grid.valid.all()
    assert (grid.level_probs >= 0).all()
    np.testing.assert_allclose(grid.level_probs.sum(axis=1), 1, atol=1e-12)
    assert 0.05 < grid.fallback.mean() < 0.95


def test_expectation_stays_close_to_mean(grid):
    reachable = (grid.mean >= 0.1) & (grid.mean <= 0.9)
    gap = np.abs(expectation(grid) - grid.mean)[reachable]
    assert gap.max() < 0.04 + 1e-9
    assert np.sort(gap)[len(gap) // 2] < 1e-6


def test_symmetric_under_flipping():
    scores = np.random.default_rng(1).beta(2, 3, size=(500, 5))
    scores[::7, 1] = np.nan
    up, down = pmod(scores), pmod(1 - scores)
    np.testing.assert_allclose(up.level_probs, down.level_probs[:, ::-1], atol=1e-9)
    np.testing.assert_array_equal(up.fallback, down.fallback)


def test_continuous_across_the_middle():
    mean = 0.5 + np.array([-1e-4, -3e-6, -1e-9, 0, 1e-9, 3e-6, 1e-4])
    target = pmod_from_moments(mean, np.full(7, 0.09))
    assert not target.fallback.any()
    assert np.abs(np.diff(target.level_probs, axis=0)).max() < 1e-3


def test_wider_spread_gives_wider_target():
    target = pmod_from_moments(np.full(3, 0.5), np.array([0.06, 0.12, 0.2]))
    assert (np.diff(target.level_probs[:, 2]) < 0).all()
    assert target.level_probs[0].argmax() == 2


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.7, [0, 1, 0, 0, 0]),
        (0.65, [0, 0.75, 0.25, 0, 0]),
        (0.95, [1, 0, 0, 0, 0]),
        (0.04, [0, 0, 0, 0, 1]),
        (0.14, [0, 0, 0, 0.2, 0.8]),
    ],
)
def test_a_single_opinion_splits_between_neighbours(score, expected):
    target = pmod(np.array([[np.nan, score]]), min_opinions=1)
    assert target.fallback[0] and target.valid[0] and target.n_opinions[0] == 1
    np.testing.assert_allclose(target.level_probs[0], expected, atol=1e-12)


def test_too_few_opinions_are_flagged_not_dropped():
    scores = np.array([[0.5, np.nan, 0.6, np.nan], [0.5, 0.4, 0.6, np.nan], [np.nan] * 4])
    target = pmod(scores, min_opinions=3)
    np.testing.assert_array_equal(target.valid, [False, True, False])
    np.testing.assert_array_equal(target.n_opinions, [2, 3, 0])
    assert np.isnan(target.level_probs[[0, 2]]).all() and np.isnan(target.mean[[0, 2]]).all()
    assert not target.fallback[[0, 2]].any()
    assert np.isfinite(target.level_probs[1]).all()


def test_thresholds_are_arguments():
    mean, std = example_moments()
    assert pmod_from_moments(mean, std, min_std=0.1).fallback[0]
    assert pmod_from_moments(mean, std, max_residual=0.001).fallback[0]


def test_no_rows():
    assert pmod(np.empty((0, 4))).level_probs.shape == (0, 5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pmod(np.zeros(3)), r"\[N, A\]"),
        (lambda: pmod(np.array([[0.5, 0.5], [0.5, 63.9]])), "row 1, annotator 1 is 63.9"),
        (lambda: pmod(np.array([[0.5, np.inf]])), "annotator 1"),
        (lambda: pmod(np.zeros((1, 3)), min_opinions=0), "min_opinions"),
        (lambda: pmod_from_moments(np.zeros(2), np.zeros(3)), "shape"),
        (lambda: pmod_from_moments(np.array([3.5]), np.array([0.1])), "mean"),
        (lambda: pmod_from_moments(np.array([0.5]), np.array([-0.1])), "std"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_million_rows_in_seconds():
    scores = np.random.default_rng(2).uniform(size=(1_000_000, 6))
    start = time.process_time()  # not the clock: a busy machine took 12 s for the one second of work
    target = pmod(scores)
    assert time.process_time() - start < 10
    assert target.level_probs.shape == (1_000_000, 5)


def test_weights_by_hand():
    target = pmod(np.array([[0.2, 0.8, np.nan]]), min_opinions=2, weights=[1, 3, 5])
    assert target.mean[0] == pytest.approx(0.65)  # (0.2 + 3 * 0.8) / 4
    assert target.std[0] == pytest.approx(np.sqrt((0.45**2 + 3 * 0.15**2) / 4))
    assert target.n_opinions[0] == 2
    np.testing.assert_array_equal(pmod(np.array([[0.3, 0.6, 0.5]]), weights=[2, 2, 2]).level_probs,
                                  pmod(np.array([[0.3, 0.6, 0.5]])).level_probs)  # fmt: skip


@pytest.mark.parametrize("weights", [[1, 1], [1, 1, 0], [1, 1, -1], [1, 1, np.nan]])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        pmod(np.array([[0.2, 0.8, 0.5]]), weights=weights)
