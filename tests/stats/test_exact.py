"""Exact tests over several strata: the law of the split against one binomial, and against fractions."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from canary_judge.stats.counts import Counts, strata
from canary_judge.stats.exact import SplitLaw, rate_ratio_interval, rate_ratio_p_values


def counts(rows):
    e_b, n_b, e_c, n_c = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    return Counts(events_baseline=e_b, exposure_baseline=n_b, events_canary=e_c, exposure_canary=n_c)


quick = settings(max_examples=80, derandomize=True)


@quick
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.floats(0.01, 0.99), st.integers(0, 200))
def test_binomials_with_one_share_add_up_to_one_binomial(trials, share, value):
    n = sum(trials)
    value = min(value, n)
    upper, lower = tails_of(trials, [share] * len(trials), value)
    assert lower == pytest.approx(max(special.bdtr(value, n, share), 1e-14), rel=1e-9, abs=1e-13)
    assert upper == pytest.approx(
        max(special.bdtrc(value - 1, n, share), 1e-14) if value > 0 else 1.0, rel=1e-9, abs=1e-13
    )


def tails_of(trials, share, value):
    """Of a sum of binomials with these shares: strata whose exposures have those odds, at a ratio of 1."""
    odds = np.array([float(p / (1 - p)) for p in share])
    canary = np.zeros(len(odds))
    rest = value
    for place, n in enumerate(trials):  # how the events of a total are spread does not matter
        canary[place] = min(rest, float(n))
        rest -= canary[place]
    made = Counts(
        events_baseline=np.array(trials, dtype=float) - canary,
        exposure_baseline=np.ones(len(odds)),
        events_canary=canary,
        exposure_canary=odds,
    )
    return SplitLaw.of(made).tails(1.0)


@quick
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(50, 500), st.integers(0, 30), st.integers(50, 500)),
        min_size=2,
        max_size=5,
    )
)
def test_the_interval_over_strata_inverts_the_test(rows):
    made = counts(rows)
    _, (low, high) = rate_ratio_interval(made, level=0.9)
    if made.events_canary.sum() > 0:
        assert rate_ratio_p_values(made, ratio=low)[0] == pytest.approx(0.05, rel=1e-6)
    if made.events_baseline.sum() > 0:
        assert rate_ratio_p_values(made, ratio=high)[1] == pytest.approx(0.05, rel=1e-6)


def test_a_billion_requests_in_several_strata_are_judged_in_bounded_memory():
    made = counts([(1e6, 9e8, 1e5, 9e7), (2e6, 5e8, 2e6, 5e8)])
    p = rate_ratio_p_values(made)
    assert sum(p) == pytest.approx(1.0, abs=0.01)
    ratio, (low, high) = rate_ratio_interval(made, level=0.9)
    assert low < ratio < high
    assert ratio == pytest.approx(1.0, abs=1e-9)


@quick
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 500), st.integers(0, 5), st.integers(0, 50)),
        min_size=1,
        max_size=40,
    )
)
def test_strata_lose_nothing_that_both_sides_saw(rows):
    made = counts(rows)
    grouped = strata(made)
    assert (grouped.exposure_canary > 0).all()
    assert (grouped.exposure_baseline > 0).all()
    assert grouped.events_canary.sum() <= made.events_canary.sum()
    if (made.exposure_canary > 0).all() and (made.exposure_baseline > 0).all():
        assert grouped.events_canary.sum() == made.events_canary.sum()
        assert grouped.exposure_baseline.sum() == made.exposure_baseline.sum()


@pytest.mark.parametrize("events", [(0.0, 1e6), (1e6, 0.0), (1e6, 1.0), (5e5, 5e5)])
def test_the_extremes_of_large_strata_are_numbers(events):
    made = counts([(events[0], 9e6, events[1], 9e6), (events[0], 5e6, events[1], 2e6)])
    for p in (
        *rate_ratio_p_values(made),
        *rate_ratio_p_values(made, ratio=1e-9),
        *rate_ratio_p_values(made, ratio=1e9),
    ):
        assert 0 <= p <= 1


def exact_tails(trials, share, value):
    """P(sum >= value) and P(sum <= value), in fractions."""
    mass = [Fraction(1)]
    for n, p in zip(trials, share, strict=True):
        whole = [Fraction(0)] * (len(mass) + n)
        for i, m in enumerate(mass):
            for k in range(n + 1):
                whole[i + k] += m * comb(n, k) * p**k * (1 - p) ** (n - k)
        mass = whole
    return float(sum(mass[value:])), float(sum(mass[: value + 1]))


@pytest.mark.parametrize(
    ("trials", "share"),
    [
        ((30, 40), (Fraction(1, 20), Fraction(1, 10))),
        ((5, 3, 8), (Fraction(1, 20), Fraction(1, 2), Fraction(1, 100))),
        ((60, 30), (Fraction(1, 2), Fraction(1, 3))),
        ((1, 1, 0), (Fraction(1, 2), Fraction(1, 2), Fraction(1, 2))),
        ((2, 3), (Fraction(49, 100), Fraction(51, 100))),
        ((12, 9), (Fraction(1, 1000), Fraction(1, 500))),
        ((12, 9), (Fraction(1, 10**12), Fraction(1, 10**13))),
        ((5, 45), (1 - Fraction(1, 10**12), 1 - Fraction(1, 10**11))),
    ],
)
def test_tails_of_strata_keep_their_digits_however_small_they_are(trials, share):
    """Against fractions: evidence that a dispersion divides needs what lies below the 1e-14 of rounded sums."""
    for value in range(sum(trials) + 1):
        found = tails_of(trials, share, value)
        assert found == pytest.approx(exact_tails(trials, share, value), rel=1e-9), value


def test_overwhelming_evidence_survives_its_dispersion():
    """26 strata of a canary with ten times the errors: certain, even if the errors come in clumps of 12."""
    rng = np.random.default_rng(1)
    exposure_b, exposure_c = rng.integers(2000, 20000, 26).astype(float), rng.integers(100, 900, 26).astype(float)
    counts = Counts(
        events_baseline=rng.poisson(exposure_b * 0.005).astype(float),
        exposure_baseline=exposure_b,
        events_canary=rng.poisson(exposure_c * 0.05).astype(float),
        exposure_canary=exposure_c,
    )
    assert rate_ratio_p_values(counts, phi=12.0)[0] < 1e-12
