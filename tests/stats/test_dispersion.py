"""Which view of the dispersion wins, by tables and at their boundaries; when it is believed; its false alarms."""

import numpy as np
import pytest
from scipy import stats

from canary_judge.stats.dispersion import dispersion, instance_dispersion, own_dispersion, split_dispersion
from tests.builders import counts

N = 40
STEADY = np.full(N, 6.0)
EXPOSURE = np.full(N, 1000.0)
BY_TURNS = np.tile([12.0, 0.0], N // 2)  # on the canary and on the baseline in turns: the split sees it
RUNS = np.tile([24.0, 0.0, 0.0, 0.0], N // 4)  # hits the baseline alone: it sees itself change


def test_steady_counts_are_not_dispersed():
    assert dispersion(counts(STEADY, EXPOSURE, STEADY, EXPOSURE)) == 1.0


def test_the_split_wins_where_clumps_hit_one_side():
    made = counts(STEADY, EXPOSURE, BY_TURNS, EXPOSURE)
    # half of all events are the canary's: 12 of 18 where 9 are expected, 0 of 6 where 3 are; variances 4.5 and 1.5
    assert split_dispersion(made) == pytest.approx(9 / 3 * N / (N - 1), rel=1e-12)
    assert dispersion(made) == split_dispersion(made)
    assert dispersion(made, between=50.0) == 50.0


def test_the_baseline_against_itself_wins_while_the_canary_has_few_events():
    made = counts(RUNS, 20 * EXPOSURE, np.zeros(N), EXPOSURE)
    later = split_dispersion(made.over_time(), null=1.0)
    assert split_dispersion(made) == 1.0
    assert dispersion(made) == later > 5  # no canary event: nothing is known that would bound it


def test_the_baseline_against_itself_is_bounded_by_what_the_split_leaves_possible():
    """An incident of both sides: the baseline moves a lot, its split against the canary not at all."""
    wave = np.tile([60.0, 2.0, 2.0, 60.0], N // 4)
    made = counts(wave, EXPOSURE, wave, EXPOSURE)
    later = split_dispersion(made.over_time(), null=1.0)
    assert split_dispersion(made) == 1.0
    assert later > 20
    # every interval has canary events and the split is even: so many degrees of freedom rule out more than this
    assert dispersion(made) == pytest.approx(N / stats.chi2.ppf(0.05, N), rel=1e-9)


@pytest.mark.parametrize("hits", [1, 2, 5])
def test_the_fewer_intervals_with_canary_events_the_less_they_rule_out(hits):
    wave = np.tile([60.0, 2.0, 2.0, 60.0], N // 4)
    canary = np.where(np.arange(N) < hits, 3.0, 0.0)
    made = counts(wave, EXPOSURE, canary, EXPOSURE / 20)
    share = canary.sum() / (wave + canary).sum()  # one common rate ratio, equal odds
    events = wave + canary
    moved = ((canary - events * share) ** 2).sum() / (events * share * (1 - share)).sum() * N / (N - 1)
    bound = max(moved, 1.0) * hits / stats.chi2.ppf(0.05, hits)
    later = split_dispersion(made.over_time(), null=1.0)
    assert dispersion(made) == pytest.approx(max(min(later, bound), split_dispersion(made)), rel=1e-9)
    assert (bound < later) == (hits > 2)


def test_the_instances_of_the_baseline_win_where_they_differ_for_good():
    assert dispersion(counts(STEADY, EXPOSURE, STEADY, EXPOSURE), between=3.5) == 3.5
    events, exposure = np.array([100.0, 20.0, 90.0]), np.full(3, 1000.0)
    assert instance_dispersion(events, exposure) == pytest.approx(stats.chisquare(events).statistic / 2, rel=1e-12)
    assert dispersion(counts(BY_TURNS, EXPOSURE, BY_TURNS[::-1], EXPOSURE), between=2.0) > 10


def test_instances_are_believed_to_differ_only_at_five_percent_and_from_three_of_them_on():
    exposure = np.full(4, 1000.0)
    for extra in range(20):
        events = np.array([20.0 + extra, 20.0, 20.0, 20.0 - extra])
        statistic = stats.chisquare(events)
        expected = statistic.statistic / 3 if statistic.pvalue < 0.05 else 1.0
        assert instance_dispersion(events, exposure) == pytest.approx(max(expected, 1.0), rel=1e-12)
    assert instance_dispersion(np.array([100.0, 1.0]), exposure[:2]) == 1.0
    assert instance_dispersion(np.array([100.0, 1.0, 0.0]), np.array([10.0, 10.0, 0.0])) == 1.0  # the third is idle
    assert instance_dispersion(np.array([2.0, 0.0, 0.0]), exposure[:3]) == 1.0  # fewer events than instances
    assert instance_dispersion(np.array([3.0, 0.0, 0.0]), exposure[:3]) == pytest.approx(3.0)  # chi2 6 on 2: p = .0498


def test_the_split_is_dispersed_only_where_that_is_significant():
    """The noise of the statistic is that of sums of binomial squares, by enumeration; 1.645 of it is the threshold."""
    exposure = np.full(30, 100.0)
    outcomes = []
    for odd in range(16):
        canary = np.full(30, 2.0)
        canary[:odd] = np.where(np.arange(odd) % 2 == 0, 4.0, 0.0)
        made = counts(4.0 - canary, exposure, canary, exposure)
        share = canary.sum() / (4.0 * 30)
        variance = 4 * share * (1 - share)
        k = np.arange(5)
        squares = (k - 4 * share) ** 2
        mass = stats.binom.pmf(k, 4, share)
        noise = 30 * float((mass * squares**2).sum() - (mass * squares).sum() ** 2)
        observed, expected = float(((canary - 4 * share) ** 2).sum()), 30 * variance * 29 / 30
        significant = observed - expected > 1.645 * np.sqrt(noise)
        assert split_dispersion(made) == pytest.approx(observed / expected if significant else 1.0, rel=1e-9)
        outcomes.append(significant)
    assert 0 < sum(outcomes) < len(outcomes)


def test_the_null_stands_in_for_a_ratio_that_cannot_be_estimated():
    bursts = counts(np.tile([30.0, 0.0, 0.0], 10), np.full(30, 1000.0), np.zeros(30), np.full(30, 100.0))
    assert split_dispersion(bursts) == 1.0  # no canary event, no ratio, nothing to see
    assert split_dispersion(bursts, null=1.5) > 2
    assert split_dispersion(bursts.select(np.arange(30) < 1), null=1.5) == 1.0  # one interval tells nothing
    quiet = counts(np.full(30, 60.0), 1000.0, np.zeros(30), 10_000.0)
    assert dispersion(quiet) == dispersion(quiet, null=0.3) == 1.0  # steady: no event on the canary is no clump
    loud = counts(np.zeros(30), 10_000.0, np.full(30, 60.0), 1000.0)
    assert dispersion(loud) == 1.0  # the sides differ in every interval alike: no clumps, unless a null is asked for
    assert dispersion(loud, null=3.0) > 10
    assert dispersion(bursts) > 10  # what the baseline does over time is all there is


def test_instances_that_differ_for_good_are_dispersed_events():
    rng = np.random.default_rng(6)
    exposure = np.full(8, 5000.0)
    same = [instance_dispersion(rng.poisson(0.01 * exposure).astype(float), exposure) for _ in range(400)]
    assert np.mean(np.array(same) > 1) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    apart = rng.poisson(0.01 * exposure * rng.lognormal(0, 0.8, 8)).astype(float)
    assert instance_dispersion(apart, exposure) > 3


def test_what_shakes_both_sides_is_no_clump():
    rng = np.random.default_rng(7)
    rate = 0.02 * np.exp(rng.normal(0, 1, 60))
    exposure = np.full(60, 1000.0)
    shared = counts(rng.poisson(rate * exposure), exposure, rng.poisson(rate * exposure), exposure)
    assert dispersion(shared.over_time()) > 5
    assert dispersion(shared) < 2


@pytest.mark.parametrize(("deviation", "believed"), [(1.62, False), (1.72, True)])
def test_the_canary_against_itself_is_believed_from_the_significance_level_on(deviation, believed):
    """n = 40, mean 6: the noise of the statistic is sqrt(2 / 39 (1 + 1 / 12)) = 0.2357, and 1.645 of it are 0.388."""
    events = 6.0 + np.tile([1.0, -1.0], N // 2) * np.sqrt(6 * 39 / 40 * (1 + deviation * 0.2357))
    made = counts(STEADY, EXPOSURE, events, EXPOSURE)
    assert own_dispersion(made) == (pytest.approx(1 + deviation * 0.2357, rel=1e-4) if believed else 1.0)


def test_nothing_is_known_of_a_canary_without_events():
    assert own_dispersion(counts(STEADY, EXPOSURE, np.zeros(N), EXPOSURE)) == 1.0
    assert own_dispersion(counts(STEADY, EXPOSURE, 4.0 * (np.arange(N) == 3), EXPOSURE)) == pytest.approx(4.0)
