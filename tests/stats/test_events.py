"""Limits and comparisons of counts: against R, by tables, and at their boundaries."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from canary_judge.results import Harm, Scale
from canary_judge.stats.dispersion import dispersion
from canary_judge.stats.events import compare_counts, limit_counts
from canary_judge.stats.margins import Margin
from canary_judge.stats.sample_sizes import share_ratio_trials
from tests.builders import counts

RELATIVE = Margin(relative=0.5)
STEADY = np.full(40, 6.0)
EXPOSURE = np.full(40, 1000.0)
FROM_R = json.loads((Path(__file__).parents[1] / "data" / "limits.json").read_text())["rows"]


def compared(made, margin=RELATIVE, *, harm=Harm.INCREASE, proportion=True, between=1.0):
    found = compare_counts(made, harm=harm, margin=margin, proportion=proportion, between=between)
    return None if found is None else found.at(0.9)


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
    with pytest.raises(ValueError, match="9 events in 8 trials"):
        limit_counts(counts(3, 100, 9, 8), limit=0.05, harm=Harm.INCREASE, proportion=True)
    with pytest.raises(ValueError, match="harm is either"):
        limit_counts(counts(3, 100, 3, 8), limit=0.05, harm=Harm.EITHER, proportion=True)


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
        (Harm.INCREASE, Margin(relative=0.5), 1.5),
        (Harm.DECREASE, Margin(relative=0.2), 0.8),
        (Harm.EITHER, Margin(relative=0.5), 1.5),
        (Harm.INCREASE, Margin(absolute=0.01), 0.01),
        (Harm.DECREASE, Margin(absolute=0.01), -0.01),
        (Harm.INCREASE, None, None),
    ],
)
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
    assert found.n_effective == pytest.approx(12 * 40 / 4)
    assert (found.n_baseline, found.events_canary, found.dispersion) == (40_000.0, 240.0, 4.0)


def test_without_an_interval_of_both_sides_nothing_is_compared():
    assert compared(counts(0, [0.0, 5], 0, [5.0, 0])) is None


def test_clumps_of_the_baseline_are_believed_while_the_canary_has_few_events():
    rng = np.random.default_rng(8)
    clumps = np.array([rng.geometric(0.2, k).sum() for k in rng.poisson(1.0, 60)], dtype=float)
    few = counts(clumps, np.full(60, 950.0), np.zeros(60), np.full(60, 50.0))
    assert dispersion(few) > 3
    assert compared(few).dispersion > 3


@pytest.mark.parametrize(
    ("rate", "ratio", "share"), [(0.279, 1.25, 0.05), (0.999, 0.99, 0.05), (0.9, 0.95, 0.1), (0.15, 1.5, 0.02)]
)
def test_frequent_events_need_as_many_requests_as_are_said(rate, ratio, share):
    rng, runs, passed = np.random.default_rng(3), 400, 0
    harm = Harm.INCREASE if ratio > 1 else Harm.DECREASE
    n_c = round(share_ratio_trials(ratio, rate=rate, canary_share=share, alpha=0.05, power=0.9))
    n_b = round(n_c * (1 - share) / share)
    for _ in range(runs):
        one = counts(rng.binomial(n_b, rate), n_b, rng.binomial(n_c, rate), n_c)
        evidence = compare_counts(one, harm=harm, margin=Margin(relative=abs(ratio - 1)), proportion=True).evidence
        passed += evidence.p_within_margin <= 0.05
    assert passed / runs == pytest.approx(0.9, abs=0.12)  # a normal law of a share near 1 is off by as much
