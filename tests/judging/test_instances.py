"""One instance of the canary that is far from all of the baseline's, and instances that move all along."""

from datetime import timedelta

import numpy as np
import pytest

from canary_judge.judging import judge_samples
from canary_judge.judging.doubts.odd_values import not_settled
from canary_judge.judging.instances import _far_off, _of_themselves
from canary_judge.results import Outcome
from tests.builders import config, gauged, samples

N = 40
LEVELS = 100 + np.array([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 0.0])


METRIC = config({"name": "m", "kind": "gauge", "query": "m", "by": "pod", "harm": "increase", "margin": "10%"}).metrics[
    0
]


def rows(levels):
    return np.repeat(np.asarray(levels, dtype=float)[:, None], N, axis=1)


def found(canary, harm="increase", baseline=LEVELS, margin="1%"):
    metric = config({"name": "m", "kind": "gauge", "query": "m", "by": "pod", "harm": harm, "margin": margin}).metrics[
        0
    ]
    return _far_off(metric, rows(baseline), rows(canary))


def test_an_instance_many_margins_away_is_told_with_how_many_and_where():
    assert found([100.0, 110.0]) == "far from all instances of the baseline: 1 of 2, at 110 beside 98 to 102"


@pytest.mark.parametrize(("harm", "level", "told"), [
    ("increase", 110.0, True),
    ("increase", 90.0, False),
    ("decrease", 90.0, True),
    ("decrease", 110.0, False),
    ("either", 110.0, True),
    ("either", 90.0, True),
])  # fmt: skip
def test_only_in_the_harmful_direction(harm, level, told):
    assert (found([100.0, level], harm) is not None) is told


def test_the_level_is_shared_by_all_instances():
    # t = 5.0 at 9 degrees of freedom: p = 0.00037, which three share (0.0011), and two do (0.0007)
    spread = float(np.log(LEVELS).std(ddof=1))
    level = float(np.exp(np.log(LEVELS).mean() + 5.0 * spread * np.sqrt(1.1)))
    assert found([100.0, level]) is not None
    assert found([100.0, 100.0, level]) is None


def test_what_is_within_four_margins_is_an_instance_of_its_own_kind():
    assert found([100.0, 110.0], margin="2%") is not None
    assert found([100.0, 110.0], margin="3%") is None


def test_levels_around_zero_are_compared_as_they_are():
    shifted = LEVELS - 100
    assert found([0.0, 30.0], baseline=shifted, margin="+1") is not None
    assert found([0.0, 3.0], baseline=shifted, margin="+1") is None


def test_of_a_baseline_that_is_the_same_everywhere_any_other_level_is_far():
    assert found([100.0, 105.0], baseline=np.full(5, 100.0)) is not None
    assert found([100.0, 100.0], baseline=np.full(5, 100.0)) is None


def test_a_single_instance_is_the_comparison_itself():
    assert found([110.0]) is None


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("harm", "gone", "held"), [
    ("increase", 0, True),
    ("decrease", 0, True),
    ("increase", 2, True),  # two of four were there throughout
    ("increase", 3, False),
])  # fmt: skip
def test_a_leak_of_instances_has_not_settled(seed, harm, gone, held):
    rng = np.random.default_rng(seed)
    away, slope = (0.66, 0.72) if harm == "increase" else (1.34, -0.72)
    sides = [rng.normal(100, 2, (4, 1)) + rng.normal(0, 2, (4, 60)) for _ in range(2)]
    sides[1] += 100 * (away + slope * np.arange(60) / 60 - 1)
    sides[1][:gone, 30:] = np.nan
    metric = {"name": "m", "kind": "gauge", "query": "m", "by": "pod", "harm": harm, "margin": "10%"}
    result = judge_samples(config(metric), samples(gauged(*sides)))["m"]
    assert ("has not settled: it moves by" in result.reason) is held
    assert result.outcome is not Outcome.SAFE or not held


@pytest.mark.slow
def test_instances_that_stay_as_they_are_have_settled():
    rng, found = np.random.default_rng(5), 0
    for _ in range(500):
        sides = [rng.normal(100, 5, (rows, 1)) + rng.normal(0, 3, (rows, 60)) for rows in (6, 3)]
        both = [_of_themselves(side) for side in sides]
        found += not_settled(METRIC, both[1] - both[0], interval=timedelta(minutes=1)) is not None
    assert found <= 4  # 0.1 %
