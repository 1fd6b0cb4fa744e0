"""Tests of means of skewed values: the larger an effect the clearer, and no oftener wrong than Johnson's t."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from canary_judge.results import Harm
from canary_judge.stats.margins import Margin
from canary_judge.stats.means import bent, compare_means, compare_raw_means

NOWHERE = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(-5, 5))
def test_a_larger_t_stays_the_larger_one(t, more, skewed):
    assert bent(t + more, skewed) >= bent(t, skewed) - 1e-9 * abs(t)


@given(st.floats(-3, 3), st.floats(-0.4, 0.4))
def test_small_ones_are_johnsons(t, skewed):
    assert bent(t, skewed) == pytest.approx(t + skewed / 6 * (1 + 2 * t**2), abs=1e-12)


@pytest.mark.parametrize("by_interval", [False, True])
def test_the_worse_the_ratings_the_clearer(by_interval):
    rng = np.random.default_rng(5)
    good = rng.choice([1.0, 2, 3, 4, 5], 2000, p=[0.03, 0.02, 0.05, 0.2, 0.7])
    intervals = (np.sort(rng.integers(0, 60, 2000)), np.sort(rng.integers(0, 60, 600))) if by_interval else NOWHERE
    found = []
    for share in (0.1, 0.3, 0.6, 0.9):
        canary = np.where(rng.random(600) < share, 1.0, rng.choice(good, 600))
        compared = compare_raw_means(
            baseline=good, canary=canary, intervals=intervals, harm=Harm.DECREASE, margin=Margin(absolute=0.1)
        )
        found.append(compared.evidence.p_beyond_margin)
    assert found[0] > found[1] > max(found[2:])
    assert max(found[2:]) < 1e-5


@pytest.mark.parametrize("level", [3.0, 0.1, 1e6 / 3])
def test_two_constants_that_are_equal_are_within_any_margin(level):
    same = np.full(61, level)
    for harm in Harm:
        compared = compare_means(baseline=same, canary=same.copy(), harm=harm, margin=Margin(relative=0.1))
        assert compared.evidence.p_within_margin < 1e-6
        assert compared.evidence.p_beyond_margin > 0.5


@pytest.mark.parametrize(("draw", "most"), [("exponential", 1.4), ("lognormal", 2.1)])
def test_the_level_of_skewed_means_is_near_johnsons(draw, most):
    """At the margin: of 4,000 samples of 30, 5 % may seem to lie below it; plain t says 2 and 3 times as many."""
    rng = np.random.default_rng(8)
    values = getattr(rng, draw)(size=(4000, 30))
    mean = 1.0 if draw == "exponential" else math.exp(0.5)
    centred = values - values.mean(axis=1, keepdims=True)
    spread = values.std(axis=1)
    t = (values.mean(axis=1) - mean) / spread * math.sqrt(29)
    skewed = (centred**3).mean(axis=1) / spread**3 / math.sqrt(30)
    moved = np.array([bent(*one) for one in zip(t.tolist(), skewed.tolist(), strict=True)])
    shown, plain = (float((special.stdtr(29, each) <= 0.05).mean()) for each in (np.maximum(t, moved), t))
    assert shown < most * 0.05 < plain
