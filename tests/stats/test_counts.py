"""Dispersion, bursts, strata and limits of counts: against R and scipy, by tables, and at their boundaries."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from canary_judge.results import Harm, Scale
from canary_judge.stats.counts import (
    Counts,
    compare_counts,
    dispersion,
    instance_dispersion,
    limit_counts,
    split_dispersion,
    strata,
    without_burst,
)
from canary_judge.stats.margins import Margin
from tests.builders import counts

RELATIVE = Margin(relative=0.5)


def compared(made, margin=RELATIVE, *, harm=Harm.INCREASE, level=0.9, proportion=True, between=1.0):
    return compare_counts(made, harm=harm, margin=margin, level=level, proportion=proportion, between=between)


# --- limits ------------------------------------------------------------------------------------------------------

FROM_R = json.loads((Path(__file__).parents[1] / "data" / "limits.json").read_text())["rows"]


@pytest.mark.parametrize("row", FROM_R, ids=lambda row: f"{row['kind']}-{row['events']}-{row['exposure']}")
@pytest.mark.parametrize("harm", [Harm.INCREASE, Harm.DECREASE])
def test_a_limit_is_the_exact_test_of_r(row, harm):
    proportion = row["kind"] == "share"
    check = limit_counts(
        counts(0, 0, row["events"], row["exposure"]), limit=row["limit"], harm=harm, proportion=proportion
    )
    beyond, within = (row["greater"], row["less"]) if harm is Harm.INCREASE else (row["less"], row["greater"])
    assert check.p_beyond_limit == pytest.approx(beyond, rel=1e-10)
    assert check.p_within_limit == pytest.approx(within, rel=1e-10)
    assert check.canary == row["events"] / row["exposure"]
    assert check.method == ("exact binomial test" if proportion else "exact Poisson test")


def test_a_limit_without_requests_says_nothing():
    assert limit_counts(counts(3, 100, 0, 0), limit=0.05, harm=Harm.INCREASE, proportion=True) is None


def test_clumps_of_the_canary_weaken_what_is_said_of_its_limit():
    """Events that come by fours say, in normal scores, half as much; spread evenly they say all of it."""
    exposure = np.full(40, 50.0)
    even, clumped = np.ones(40), np.tile([4.0, 0.0, 0.0, 0.0], 10)
    found = [
        limit_counts(counts(0, 0, events, exposure), limit=0.01, harm=Harm.INCREASE, proportion=True)
        for events in (even, clumped)
    ]
    exact = stats.binomtest(40, 2000, 0.01, alternative="greater").pvalue
    assert found[0].p_beyond_limit == pytest.approx(exact, rel=1e-12)
    phi = 40 * ((4 - 1) ** 2 / 4 + 1 * 3 / 4) / 39  # Pearson: 10 intervals with 4, 30 with 0, 1 expected in each
    assert stats.norm.isf(found[1].p_beyond_limit) == pytest.approx(stats.norm.isf(exact) / np.sqrt(phi), rel=1e-9)


def test_the_own_dispersion_is_used_only_where_it_is_significant():
    """The threshold is 1.645 standard errors of Pearson's statistic; on either side of it one event decides."""
    exposure = np.full(12, 100.0)
    used = []
    for most in range(3, 12):
        events = np.full(12, 3.0)
        events[0], events[1] = most, max(6.0 - most, 0.0)
        p = limit_counts(
            counts(0, 0, events, exposure), limit=0.02, harm=Harm.INCREASE, proportion=False
        ).p_beyond_limit
        statistic = float(((events - events.mean()) ** 2).sum() / events.mean()) / 11
        threshold = 1 + 1.645 * np.sqrt(2 / 11 * (1 + 1 / (2 * events.mean())))
        plain = stats.poisson.sf(events.sum() - 1, 0.02 * 1200)
        expected = stats.norm.sf(stats.norm.isf(plain) / np.sqrt(statistic)) if statistic > threshold else plain
        assert p == pytest.approx(expected, rel=1e-9)
        used.append(statistic > threshold)
    assert used == sorted(used)
    assert 0 < sum(used) < len(used)


# --- dispersion: which of its views wins -------------------------------------------------------------------------

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
    assert dispersion(quiet) == 1.0  # the sides differ in every interval alike: no clumps, unless a null is asked for
    assert dispersion(quiet, null=0.3) > 10


# --- bursts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "left_out"),
    [
        ([3.0, 3.0, 3.0, 3.0], False),  # exactly a quarter is not more than it
        ([3.0, 3.0, 3.0, 4.0], True),
        ([2.0, 0.0, 0.0, 0.0], False),  # two events are no burst
        ([3.0, 0.0, 0.0, 0.0], True),
        ([9.0, 1.0, 1.0], False),  # of three intervals none is left out
    ],
)
@pytest.mark.parametrize("side", ["baseline", "canary"])
def test_the_interval_with_more_than_a_quarter_of_a_sides_events_is_left_out(events, left_out, side):
    even = np.ones(len(events))
    sides = (np.array(events), even) if side == "baseline" else (even, np.array(events))
    calm = without_burst(counts(sides[0], 100.0, sides[1], 100.0))
    if not left_out:
        assert calm is None
        return
    most = int(np.argmax(events))
    kept = np.arange(len(events)) != most
    assert calm.events_baseline.sum() == sides[0][kept].sum()
    assert calm.exposure_canary.sum() == 100.0 * kept.sum()


def test_of_fewer_intervals_one_may_be_left_out_when_that_is_asked_for():
    assert without_burst(counts([9.0], [100.0], [0.0], [100.0]), fewest=1).events_baseline.size == 0
    assert without_burst(counts([9.0, 0.0], 100.0, 0.0, 100.0), fewest=2).events_baseline.sum() == 0


def test_a_burst_on_each_side_leaves_out_both():
    made = counts([9.0, 0, 0, 1, 1], 100.0, [0.0, 0, 9, 1, 1], 100.0)
    calm = without_burst(made)
    assert (calm.events_baseline.sum(), calm.events_canary.sum(), calm.exposure_canary.sum()) == (2.0, 2.0, 300.0)


# --- strata ------------------------------------------------------------------------------------------------------


def test_odds_within_half_a_percent_are_one_stratum_and_five_percent_apart_are_two():
    exposure = np.array([1000.0, 1000.0, 1000.0])
    for factor, expected in ((1.004, 1), (1.05, 2)):
        canary = np.array([100.0, 100.0, 100.0 * factor])
        assert strata(counts(0, exposure, 0, canary)).exposure_canary.size == expected


def test_intervals_in_which_a_side_is_idle_are_left_out():
    made = strata(counts([1.0, 2, 3], [10.0, 0, 10], [0.0, 1, 0], [10.0, 10, 0]))
    assert made.exposure_baseline.tolist() == [10.0]
    assert strata(counts(0, [0.0, 5], 0, [5.0, 0])).exposure_baseline.size == 0
    assert compared(counts(0, [0.0, 5], 0, [5.0, 0])) is None


def test_what_is_no_count_is_refused():
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(ValueError, match="events_canary must be finite and not negative"):
            counts(0, 10, bad, 10)
    assert isinstance(counts(0, 0, 0, 0), Counts)


# --- which test, which margin ------------------------------------------------------------------------------------


def test_more_than_a_tenth_of_events_asks_for_the_score_test_and_a_tenth_does_not():
    at, above = counts(100, 1000, 100, 1000), counts(101, 1000, 100, 1000)
    assert compared(at).method == "exact conditional binomial test"
    assert compared(above).method == "score test of the ratio of proportions"
    assert compared(above, proportion=False).method == "exact conditional binomial test"


@pytest.mark.parametrize(("rate_b", "scale"), [(0.001, Scale.DIFFERENCE), (0.002, Scale.RATIO), (0.003, Scale.RATIO)])
def test_of_two_margins_the_larger_one_is_shown(rate_b, scale):
    """50 % or +0.1 pp: equal at a rate of 0.2 %, where the relative one is taken."""
    found = compared(counts(rate_b * 1e6, 1e6, rate_b * 1e5, 1e5), Margin(relative=0.5, absolute=0.001))
    assert found.scale is scale
    assert found.margin == pytest.approx(0.001 if scale is Scale.DIFFERENCE else 1.5)


@pytest.mark.parametrize(
    ("harm", "margin", "shown"),
    [
        (Harm.INCREASE, Margin(relative=0.5), 1.5), (Harm.DECREASE, Margin(relative=0.2), 0.8),
        (Harm.EITHER, Margin(relative=0.5), 1.5), (Harm.INCREASE, Margin(absolute=0.01), 0.01),
        (Harm.DECREASE, Margin(absolute=0.01), -0.01), (Harm.INCREASE, None, None),
    ],
)  # fmt: skip
def test_the_margin_is_shown_in_the_harmful_direction(harm, margin, shown):
    assert compared(counts(50, 1000, 55, 1000), margin, harm=harm).margin == shown


def test_harm_beyond_two_margins_must_be_beyond_both():
    made = counts(10, 100_000, 40, 100_000)
    both = compared(made, Margin(relative=0.5, absolute=0.001))
    alone = [compared(made, Margin(relative=0.5)), compared(made, Margin(absolute=0.001))]
    assert both.p_beyond_margin == pytest.approx(max(one.p_beyond_margin for one in alone), rel=1e-12)
    assert both.p_within_margin == pytest.approx(alone[1].p_within_margin, rel=1e-12)


def test_a_margin_that_reaches_below_nothing_is_kept_by_any_canary():
    found = compared(counts(50, 1000, 0, 1000), Margin(relative=1.5), harm=Harm.EITHER)
    assert found.p_within_margin < 0.001


def test_safety_also_has_to_hold_without_a_burst():
    calm, burst = np.full(12, 2.0), np.full(12, 2.0)
    burst[3] = 60.0
    exposure = np.full(12, 1000.0)
    found = compared(counts(burst, exposure, calm, exposure))
    rest = np.arange(12) != 3
    assert (
        found.p_within_margin
        >= compared(counts(calm[rest], exposure[rest], calm[rest], exposure[rest])).p_within_margin
    )


def test_the_effective_number_is_that_of_the_events_over_their_dispersion():
    found = compared(counts(STEADY, EXPOSURE, STEADY, EXPOSURE), between=4.0)
    assert found.n_effective == pytest.approx(12 * N / 4)
    assert (found.n_baseline, found.events_canary, found.dispersion) == (1000.0 * N, 6.0 * N, 4.0)
