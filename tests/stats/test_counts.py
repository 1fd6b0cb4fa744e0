"""Counts put into strata and freed of a burst, at their boundaries."""

import pickle
from dataclasses import asdict, replace
from functools import reduce
from operator import add

import numpy as np
import pytest

from canary_judge.stats.counts import COLUMNS, Counts, strata, without_burst
from tests.builders import counts


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


def test_odds_within_half_a_percent_are_one_stratum_and_five_percent_apart_are_two():
    exposure = np.array([1000.0, 1000.0, 1000.0])
    for factor, expected in ((1.004, 1), (1.05, 2)):
        canary = np.array([100.0, 100.0, 100.0 * factor])
        assert strata(counts(0, exposure, 0, canary)).exposure_canary.size == expected


def test_intervals_in_which_a_side_is_idle_are_left_out():
    made = strata(counts([1.0, 2, 3], [10.0, 0, 10], [0.0, 1, 0], [10.0, 10, 0]))
    assert made.exposure_baseline.tolist() == [10.0]
    assert strata(counts(0, [0.0, 5], 0, [5.0, 0])).exposure_baseline.size == 0


def test_what_is_no_count_is_refused():
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(ValueError, match="events_canary must be finite, also its sum, and not negative"):
            counts(0, 10, bad, 10)
    assert isinstance(counts(0, 0, 0, 0), Counts)


def test_answers_are_found_once_and_are_no_part_of_the_counts():
    arrays = [np.array([9.0, 3.0, 1.0]), np.array([100.0, 0.0, 100.0]), np.array([1.0, 2.0, 3.0]), np.full(3, 50.0)]
    asked, unasked = (counts(*arrays) for _ in range(2))
    assert strata(asked) is strata(asked)
    assert pickle.dumps(asked) == pickle.dumps(unasked)
    assert asdict(asked).keys() == set(COLUMNS)
    changed = replace(asked, exposure_baseline=np.full(3, 100.0))
    assert strata(changed).exposure_baseline.sum() == 300


def test_counts_of_which_all_are_exposed_are_themselves_their_exposed_part():
    made = counts([9.0, 3.0], 100.0, [1.0, 2.0], 50.0)
    assert made.exposed() is made
    assert counts([9.0, 3.0], [0.0, 100.0], [1.0, 2.0], 50.0).exposed().events_canary.tolist() == [2.0]


def test_a_total_adds_up_in_order_whatever_the_parts():
    rng = np.random.default_rng(4)
    parts = [rng.gamma(0.3, 1e3, 61) for _ in COLUMNS]
    total = counts(*parts).total()
    # `sum` of Python 3.12 makes up for the rounding
    assert [getattr(total, name)[0] for name in COLUMNS] == [reduce(add, part.tolist()) for part in parts]
