"""Harm since any interval: against sums over all starts, by exact enumeration, and its false alarms."""

from itertools import product

import numpy as np
import pytest
from scipy import special, stats

from canary_judge.stats.starts import (
    WHOLE,
    _alternatives,
    _start_weights,
    _without_one,
    _without_one_by_logs,
    harm_since,
    recent_dispersion,
)
from tests.builders import counts

MARGIN = float(np.log(1.5))


def gains(made, null, sign=1.0):
    """Log likelihood ratios of each interval and alternative, written as binomials."""
    delta, _ = _alternatives()
    events, total = made.events_canary, made.events_canary + made.events_baseline
    odds = made.exposure_canary / made.exposure_baseline
    there, at_null = (odds[:, None] * np.exp(null + x) for x in (sign * delta, 0 * delta))
    p, q = there / (1 + there), at_null / (1 + at_null)
    return stats.binom.logpmf(events[:, None], total[:, None], p) - stats.binom.logpmf(
        events[:, None], total[:, None], q
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("upward", [True, False])
def test_the_evidence_is_the_sum_over_all_starts_without_the_most_harmful_interval(seed, upward):
    rng = np.random.default_rng(seed)
    n, phi, acts = int(rng.integers(1, 25)), 1 + rng.random(), (0, 3, 7)
    made = counts(rng.poisson(5, n), np.full(n, 950.0), rng.poisson(1, n), rng.choice([50.0, 60.0], n))
    gain = gains(made, MARGIN if upward else -MARGIN, 1.0 if upward else -1.0) / phi
    _, log_weights = _alternatives()
    pi = _start_weights(n, acts)

    def over_starts(kept):
        some = np.where(kept[:, None], gain, 0.0)
        return sum(pi[s] * np.exp(some[s:].sum(axis=0)) for s in range(n))

    every = np.ones(n, dtype=bool)
    sums = [over_starts(every), *(over_starts(every & (np.arange(n) != k)) for k in range(n))]
    expected = float(np.log(np.exp(log_weights) @ np.min(sums, axis=0)))
    found = harm_since(made, null=MARGIN if upward else -MARGIN, upward=upward, phi=phi, acts=acts)
    assert found.log_e == pytest.approx(expected, abs=1e-9)
    tails = np.array([gain[s:].sum(axis=0) for s in range(n)])
    assert found.worse == pytest.approx(float(np.exp(special.logsumexp(log_weights + tails.max(axis=0)))), rel=1e-9)
    best = int(np.argmax(log_weights + tails.max(axis=0)))
    assert tails[found.since, best] == pytest.approx(tails[:, best].max(), abs=1e-9)


def test_at_the_margin_the_expected_evidence_is_no_more_than_the_weights_that_were_spent():
    totals, odds = (3, 2, 4), 50 / 950 * 1.5
    share, expected = odds / (1 + odds), 0.0
    for events in product(*(range(total + 1) for total in totals)):
        chance = np.prod([stats.binom.pmf(k, m, share) for k, m in zip(events, totals, strict=True)])
        made = counts(np.subtract(totals, events), 950.0, events, 50.0)
        expected += chance * np.exp(harm_since(made, null=MARGIN, upward=True, phi=1.0).log_e)
    assert 0 < expected <= _start_weights(3, ()).sum()


def test_the_weights_of_an_endless_run_add_up_to_no_more_than_what_the_whole_run_leaves():
    acts = tuple(range(1, 2000))
    assert 0.98 * (1 - WHOLE) < _start_weights(200_000, acts).sum() <= 1 - WHOLE


def test_an_interval_in_which_a_side_had_no_traffic_says_nothing():
    rng = np.random.default_rng(1)
    events, exposed = rng.poisson(2, 12), np.full(12, 50.0)
    whole = harm_since(counts(8.0, 950.0, events, exposed), null=MARGIN, upward=True, phi=1.0)
    gap = np.insert(exposed, 12, 0.0)
    padded = harm_since(counts(8.0, 950.0, np.insert(events, 12, 0), gap), null=MARGIN, upward=True, phi=1.0)
    assert padded.log_e == pytest.approx(np.logaddexp(whole.log_e, np.log(_start_weights(13, ())[12])), abs=1e-6)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_false_alarms_of_a_whole_run_at_the_margin(share):
    """240 intervals at 1 %: the largest evidence of a run is 100 in fewer than 1 % of them (Ville), whatever the share."""
    alarms, runs = 0, 100
    for seed in range(runs):
        rng = np.random.default_rng([7, seed])
        made = counts(
            rng.poisson(5 * (1 - share), 240), 1000 * (1 - share), rng.poisson(7.5 * share, 240), 1000 * share
        )
        alarms += any(
            harm_since(made.select(np.arange(240) < n), null=MARGIN, upward=True, phi=1.0).log_e >= np.log(100)
            for n in range(10, 241, 10)
        )
    assert alarms <= stats.binom.ppf(0.999, runs, 0.01)


# --- its dispersion ------------------------------------------------------------------------------------------------


def test_a_step_is_no_clump_but_clumps_are():
    rng = np.random.default_rng(2)
    n, step = 160, np.repeat([0.5, 5.0], 80)
    baseline = rng.poisson(9.5, n)
    assert recent_dispersion(counts(baseline, 950.0, rng.poisson(step), 50.0), whole=lambda: 1.0) < 1.3
    clumped = 5.0 * rng.poisson(0.4, n), 5.0 * rng.poisson(1.9, n)
    assert recent_dispersion(counts(clumped[1], 950.0, clumped[0], 200.0), whole=lambda: 1.0) == pytest.approx(
        5, rel=0.35
    )


def test_while_few_blocks_have_events_on_both_sides_no_less_than_the_whole_run_is_believed():
    few = counts(5.0, 950.0, np.tile([1.0, 0.0], 16), 50.0)
    assert recent_dispersion(few, whole=lambda: 3.0) == 3.0
    many = counts(5.0, 950.0, np.tile([1.0, 0.0], 20), 50.0)
    assert recent_dispersion(many, whole=lambda: 3.0) == 1.0
    assert recent_dispersion(counts(0.0, 950.0, np.zeros(80), 50.0), whole=lambda: 1.0) == 1.0


def test_a_change_of_weight_inside_a_block_is_no_clump():
    """Few events each interval, so that chance alone is far from the bound; the shares differ tenfold."""
    exposed = np.tile(np.repeat([50.0, 500.0], 4), 20)
    made = counts(np.full(160, 20.0), 950.0, exposed / 50, exposed)
    assert recent_dispersion(made, whole=lambda: 1.0) == 1.0


@pytest.mark.parametrize("seed", range(20))
def test_the_sum_without_an_interval_is_that_by_logarithms_also_where_numbers_end(seed):
    rng = np.random.default_rng(seed)
    n, scale = int(rng.integers(1, 40)), rng.choice([0.1, 5.0, 900.0])
    gain = rng.normal(0, scale, (6, n))
    started = np.log(_start_weights(n, ())) - np.hstack([np.zeros((6, 1)), np.cumsum(gain, axis=1)[:, :-1]])
    expected = [_without_one_by_logs(*row) for row in zip(started, gain, strict=True)]
    np.testing.assert_allclose(_without_one(started, gain), expected, rtol=1e-10, atol=1e-10)
    assert np.isfinite(expected).all()
