"""Rates over past canaries: against scipy, against likelihoods maximised by search, and by coverage."""

import numpy as np
import pytest
from scipy import optimize, stats

from canary_judge.stats.trials import (
    clopper_pearson,
    effective_number,
    independent_to_show,
    mcnemar,
    restricted_difference,
    tango,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 14), (3, 14), (14, 14), (1, 600), (299, 600)])
def test_the_interval_of_a_rate_is_that_of_scipy(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_so_many_without_a_hit_show_a_rate_and_one_fewer_does_not():
    for rate in (0.01, 0.05, 0.1):
        n = independent_to_show(rate)
        assert clopper_pearson(0, n)[1] <= rate < clopper_pearson(0, n - 1)[1]


@pytest.mark.parametrize(("one", "other"), [(0, 0), (6, 0), (5, 0), (12, 3), (7, 7)])
def test_mcnemar_is_the_exact_binomial_test(one, other):
    expected = stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected, rel=1e-12)


def score_by_search(one, other, n, difference):
    """The score statistic with the nuisance parameter where the likelihood of three cells is largest."""

    def loss(second):
        cells = np.array([second + difference, second, 1 - 2 * second - difference])
        counts = np.array([one, other, n - one - other])
        return -(counts[counts > 0] * np.log(cells[counts > 0])).sum()

    low, high = max(0.0, -difference), (1 - difference) / 2
    second = optimize.minimize_scalar(
        loss, bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-14}
    ).x
    spread = n * (2 * second + difference - difference**2)
    return (one - other - n * difference) / np.sqrt(spread)


@pytest.mark.parametrize(("one", "other", "n"), [(12, 2, 30), (40, 20, 160), (1, 9, 50), (6, 1, 200)])
def test_at_the_ends_of_tangos_interval_the_score_is_the_quantile(one, other, n):
    low, high = tango(one, other, n)
    assert low < (one - other) / n < high
    quantile = stats.norm.ppf(0.975)
    assert score_by_search(one, other, n, low) == pytest.approx(quantile, abs=2e-4)
    assert score_by_search(one, other, n, high) == pytest.approx(-quantile, abs=2e-4)
    assert tango(other, one, n) == pytest.approx((-high, -low))


@pytest.mark.parametrize("settings", [(0.05, 0.01, 0.02), (0.3, 0.1, 0.2), (0.9, 0.02, 0.02)])
def test_tangos_interval_covers(settings):
    both, only_one, only_other = settings
    rng, n, truth = np.random.default_rng(1), 60, only_one - only_other
    inside = 0
    for _ in range(600):
        cells = rng.multinomial(n, [both, only_one, only_other, 1 - sum(settings)])
        low, high = tango(int(cells[1]), int(cells[2]), n)
        inside += low <= truth <= high
    assert inside >= 600 * 0.95 - 3 * np.sqrt(600 * 0.95 * 0.05)


@pytest.mark.parametrize(("correlation", "rate"), [(0.0, 0.05), (0.5, 0.05), (0.95, 0.05), (0.95, 0.01)])
def test_intervals_of_clustered_alarms_cover(correlation, rate):
    """20 alarms share the luck of a window; that they do is found from their scores."""
    rng, windows, splits = np.random.default_rng(2), 30, 20
    threshold, inside, naive = stats.norm.isf(rate), 0, 0
    for _ in range(300):
        shared = np.repeat(rng.normal(size=windows), splits)
        scores = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.normal(size=shared.size)
        alarms = scores > threshold
        worth = effective_number(alarms, scores, np.repeat(np.arange(windows), splits), declared=rate)
        low, high = clopper_pearson(alarms.mean() * worth, worth)
        inside += low <= rate <= high
        low, high = clopper_pearson(alarms.sum(), alarms.size)
        naive += low <= rate <= high
    assert inside >= 300 * 0.95 - 3 * np.sqrt(300 * 0.95 * 0.05)
    if correlation > 0.9:
        assert naive < 300 * 0.85  # what it is for


def test_one_cluster_is_worth_one_and_single_trials_are_worth_themselves():
    assert effective_number([1, 0, 0], [2.0, 0.0, 1.0], [1, 1, 1], declared=0.05) == 1.0
    assert effective_number([1, 0, 0], [2.0, 0.0, 1.0], [1, 2, 3], declared=0.05) == 3.0


def test_times_are_compared_up_to_the_end_and_with_an_interval_where_there_are_enough():
    rng = np.random.default_rng(3)
    ends = np.full(40, 60.0)
    fast, slow = rng.uniform(0, 40, 40), rng.uniform(20, 90, 40)
    mean, interval = restricted_difference(fast, slow, ends)
    gap = np.minimum(fast, 60) - np.minimum(slow, 60)
    expected = stats.t.interval(0.95, 39, gap.mean(), stats.sem(gap))
    assert mean == pytest.approx(gap.mean())
    assert interval == pytest.approx(expected)
    assert restricted_difference(fast[:19], slow[:19], ends[:19])[1] is None


def test_alarms_of_few_clusters_are_worth_korn_and_graubard_s_number():
    """Of 40 trials in 4 clusters all 10 alarms come in one: design effect 13.3, and t quantiles of 39 and of 3."""
    alarms, rng = np.repeat([1, 0, 0, 0], 10), np.random.default_rng(1)
    design = 4 / 3 * (7.5**2 + 3 * 2.5**2) / 40 / (0.25 * 0.75)
    expected = 40 / design * (stats.t.ppf(0.975, 39) / stats.t.ppf(0.975, 3)) ** 2
    worth = effective_number(alarms, rng.normal(size=40), np.repeat(np.arange(4), 10), declared=0.01)
    assert worth == pytest.approx(expected, rel=1e-9)
