"""Clumps that reach over intervals: seen where they are, not where errors are independent, and no later than chance."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.hard import Retries
from canary_judge.stats.dependence import autocorrelation, autocorrelation_time
from canary_judge.stats.paired import ewc_error
from canary_judge.stats.residuals import Residuals, residual_time
from tests.builders import counts


def drawn(seed, **how):
    return Retries(**{"share": 0.5, **how})(np.random.default_rng(seed)).data.counts


def test_independent_errors_seldom_look_like_clumps_and_clumps_do():
    calm = [residual_time(drawn(seed)) for seed in range(50)]
    clumped = [residual_time(drawn(seed, clump=5, pause=0.5)) for seed in range(50)]
    assert np.mean(np.equal(calm, 1.0)) > 0.75
    assert np.median(clumped) > 1.8


def residual_within(one, *, ratio, upward):
    found = Residuals.of(one)
    return 0.0 if found is None else found.within(ratio, upward=upward, error=found.error())


def test_by_hand():
    one = drawn(3, clump=5, pause=1.0, times=1.4)
    c, b = one.events_canary, one.events_baseline
    share = c.sum() / (c + b).sum()  # equal exposure in all intervals
    rest = c - share * (c + b)
    tau = float(autocorrelation_time(autocorrelation(rest[None, :]), np.array([60]))[0])
    over = (rest**2).sum() / ((c + b) * share * (1 - share)).sum()
    assert residual_time(one) == pytest.approx(max(tau * min(over, 1.0), 1.0), rel=1e-6)
    moved = c - 0.6 * (c + b)
    error, df = ewc_error(rest, count=int(np.clip(round(60 / (4 * tau)), 3, 12)))
    assert residual_within(one, ratio=1.5, upward=True) == pytest.approx(
        stats.t.cdf(moved.mean() / error, df), rel=1e-6
    )
    assert residual_within(one, ratio=1.5, upward=False) == pytest.approx(
        stats.t.sf(moved.mean() / error, df), rel=1e-6
    )


def test_what_hardly_moves_is_no_clump_although_it_follows_itself():
    halves = np.repeat([5.1, 4.9], 30)
    assert residual_time(counts(5.0, 1000.0, halves, 1000.0)) == 1.0


@pytest.mark.parametrize("hits", [0, 1, 4])
def test_a_handful_of_canary_events_says_nothing_of_how_they_follow_each_other(hits):
    one = counts(np.full(60, 1.0), 1e4, 1.0 * (np.arange(60) < hits), 1e3)
    assert residual_time(one) == 1.0
    assert residual_within(one, ratio=1.5, upward=True) == 0.0


def test_a_margin_is_not_ruled_out_at_the_margin_more_often_than_it_may():
    found = [residual_within(drawn(seed, times=1.5, clump=5, pause=0.5), ratio=1.5, upward=True) for seed in range(150)]
    assert np.mean(np.less_equal(found, 0.05)) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)


def test_a_swing_of_the_traffic_does_not_hide_that_a_canary_is_far_from_the_margin():
    """Seen from the margin, the residuals of a healthy canary rise and fall with the traffic."""
    total = 10_000 * 10 ** (np.arange(240) / 240)
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        events = rng.poisson(0.005 * 0.95 * total), rng.poisson(0.005 * 0.05 * total)
        one = counts(1.0 * events[0], 0.95 * total, 1.0 * events[1], 0.05 * total)
        found.append(residual_within(one, ratio=1.5, upward=True))
    assert np.max(found) < 1e-6  # 4e-4 where the error is taken at the margin


def test_a_ratio_that_changes_with_the_weight_is_no_clump():
    one = counts(5.0, np.repeat([950.0, 500.0], 30), np.repeat([1.0, 5.0], 30), np.repeat([50.0, 500.0], 30))
    assert residual_time(one) == 1.0
    at_one_weight = counts(5.0, 1000.0, np.repeat([2.0, 5.0], 30), 1000.0)
    assert residual_time(at_one_weight) > 2.0
