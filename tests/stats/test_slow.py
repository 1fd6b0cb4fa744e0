"""Large harm in random walks: the quantiles it rests on, its level, and what it is blind to on purpose."""

import numpy as np
import pytest
from scipy import stats

from canary_judge.results import Harm
from canary_judge.stats.margins import Margin
from canary_judge.stats.paired import ewc_error
from canary_judge.stats.slow import slow_limit_tail, slow_p_values, slow_tails


def test_the_quantiles_of_walks_that_start_off_by_what_they_move():
    """20,000 walks of 180 steps whose start is off by a variance of 180 increments, against 8.5 x t of 5.5 degrees."""
    rng, n = np.random.default_rng(1), 180
    walks = np.cumsum(rng.normal(size=(20_000, n)), axis=1) + np.sqrt(n) * rng.normal(size=(20_000, 1))
    p = np.array([slow_tails(walk).above for walk in walks])
    for level in (0.01, 0.001):
        assert np.mean(p <= level) <= level + 4 * np.sqrt(level * (1 - level) / p.size)
    assert np.mean(p <= 0.01) > 0.003


def test_the_statistic_by_hand():
    rng = np.random.default_rng(2)
    values = np.cumsum(rng.normal(size=60)) + 30
    error, cosines = ewc_error(values, count=6)
    assert cosines == 6
    assert slow_tails(values).above == pytest.approx(stats.t.sf(values.mean() / error / 8.5, 5.5), rel=1e-9)


@pytest.mark.parametrize("harm", list(Harm))
def test_28_times_the_memory_is_harm_and_a_third_more_is_not_known(harm):
    rng = np.random.default_rng(3)
    steps = np.exp(0.01 * np.cumsum(rng.normal(size=(2, 180)), axis=1))
    baseline, canary = 100 * steps
    canary = canary / 28 if harm is Harm.DECREASE else canary * 28
    found = slow_p_values(baseline=baseline, canary=canary, harm=harm, margin=Margin(relative=0.1))
    assert max(found.harm, found.beyond) < 1e-4
    assert found.within == 1.0
    near = slow_p_values(baseline=baseline, canary=1.3 * baseline * steps[1], harm=harm, margin=Margin(relative=0.1))
    assert near.beyond > 0.01


def test_a_limit_and_constants():
    rng = np.random.default_rng(4)
    memory = 14_000 + 10 * np.cumsum(rng.normal(size=120))
    assert slow_limit_tail(canary=memory, limit=500.0, harm=Harm.INCREASE) < 1e-6
    assert slow_limit_tail(canary=memory, limit=500.0, harm=Harm.DECREASE) > 0.999
    assert slow_tails(np.zeros(30)) == (0.5, 0.5)
    assert slow_tails(np.full(30, 0.1)) == (0.0, 1.0)
