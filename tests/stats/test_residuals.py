"""Clumps that reach over intervals: seen where they are, not where errors are independent, and no later than chance."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.hard import Retries
from canary_judge.stats.dependence import autocorrelation, autocorrelation_time
from canary_judge.stats.paired import ewc_error
from canary_judge.stats.residuals import residual_time, residual_within
from tests.builders import counts


def drawn(seed, **how):
    return Retries(**{"share": 0.5, **how})(np.random.default_rng(seed)).data.counts


def test_independent_errors_seldom_look_like_clumps_and_clumps_do():
    calm = [residual_time(drawn(seed)) for seed in range(50)]
    clumped = [residual_time(drawn(seed, clump=5, pause=0.5)) for seed in range(50)]
    assert np.mean(np.equal(calm, 1.0)) > 0.75
    assert np.median(clumped) > 1.8


def test_by_hand():
    one = drawn(3, clump=5, pause=1.0, times=1.4)
    c, b = one.events_canary, one.events_baseline
    share = c.sum() / (c + b).sum()  # equal exposure in all intervals
    rest = c - share * (c + b)
    tau = float(autocorrelation_time(autocorrelation(rest[None, :]), np.array([60]))[0])
    over = (rest**2).sum() / ((c + b) * share * (1 - share)).sum()
    assert residual_time(one) == pytest.approx(max(tau * min(over, 1.0), 1.0), rel=1e-6)
    moved = c - 0.6 * (c + b)
    error, df = ewc_error(moved, count=int(np.clip(round(60 / (4 * tau)), 3, 12)))
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
