"""Metrics by user: margins that bound nothing, and rows that nobody can be named for."""

import numpy as np
import pytest

from canary_judge.results import Outcome
from tests.judging.test_users import METRIC, judged, of, side, totals

# --- margins that tolerate everything -------------------------------------------------------------------------------


@pytest.mark.parametrize("users", [(12_000, 3_000), (2_400, 600)])
def test_a_margin_in_points_that_is_larger_than_the_share_is_no_bound(users):
    rows = [totals(seed, count, rate=0.05) for seed, count in enumerate(users)]
    rows[1][:, 0] = 0.0  # nobody clicks any more
    found = of(*rows, {**METRIC, "margin": "+6pp"})
    assert found.outcome is not Outcome.TOLERABLE
    assert "the margin +6pp tolerates everything: the baseline's share is" in found.reason
    assert of(*rows, {**METRIC, "margin": "+1pp"}).outcome is Outcome.REGRESSED


MEAN = {
    "name": "minutes",
    "kind": "mean",
    "numerator": "minutes",
    "unit_of_replication": "user",
    "harm": "decrease",
    "margin": "5%",
}
OVER = {**MEAN, "denominator": "visits", "margin": "+1"}


def of_each(seed, users, level, spread=0.5):
    rng = np.random.default_rng(seed)
    x = rng.gamma(1 / spread**2, level * spread**2, users) if level > 0 else rng.normal(level, 1, users)
    return np.column_stack([x, np.ones(users), np.zeros(users), np.zeros(users)])


def test_a_margin_of_a_mean_that_is_larger_than_its_level_is_no_bound():
    healthy, gone = of_each(1, 4_000, 3.8), of_each(2, 1_000, 1.0)
    metric = {**OVER, "margin": "+5"}
    found = of(healthy, gone, metric)
    assert "the margin +5 tolerates everything: the baseline's level is 3." in found.reason
    assert found.outcome is not Outcome.TOLERABLE
    assert of(healthy, of_each(2, 1_000, 3.8), {**metric, "margin": "+1"}).outcome is Outcome.SAFE


def test_a_mean_that_may_be_negative_may_have_a_margin_larger_than_its_level():
    rng = np.random.default_rng(3)
    sides = []
    for users in (8_000, 4_000):  # a score of -100 to 100 that is near 0
        x = rng.normal(3.0, 40.0, users)
        sides.append(np.column_stack([x, np.ones(users), np.zeros(users), np.zeros(users)]))
    assert of(*sides, {**OVER, "margin": "+5"}).outcome is Outcome.SAFE


# --- rows without a user ------------------------------------------------------------------------------------------


def test_a_mean_that_misses_rows_without_a_user_is_neither_good_nor_bad():
    baseline, canary = side(of_each(1, 20_000, 10.0)), side(of_each(2, 5_000, 8.9), anonymous=2_000)
    assert 0.1 < canary.anonymous / (canary.rows + canary.anonymous) < 0.13
    found = judged(baseline, canary, MEAN)["minutes"]
    assert found.outcome is Outcome.INSUFFICIENT
    assert "rows without a user: why do they differ?" in found.reason
    alike = side(of_each(1, 20_000, 10.0), anonymous=20_000), side(of_each(2, 5_000, 8.9), anonymous=5_000)
    assert judged(*alike, MEAN)["minutes"].outcome is Outcome.REGRESSED  # as many on both sides explain nothing
    worse = side(of_each(2, 5_000, 6.0), anonymous=2_000)  # by more than those rows can explain
    assert judged(baseline, worse, MEAN)["minutes"].outcome is Outcome.REGRESSED


def test_history_of_a_source_that_has_none_is_told_as_such():
    rows = totals(1, 4_000), totals(2, 1_000)
    sides = [side(one, known=0) for one in rows]
    found = judged(*sides)["clicks"]
    assert "has the source no rows before the run?" in found.reason


def test_a_rise_is_bounded_by_a_margin_as_large_as_the_level():
    alike = of_each(1, 4_000, 3.8), of_each(2, 1_000, 3.8)
    assert of(*alike, {**OVER, "harm": "either", "margin": "+4"}).outcome is Outcome.SAFE
