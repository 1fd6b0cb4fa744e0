"""The Hodges-Lehmann shift and its interval equal sorting all differences, to the last bit, by every route."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge.stats import shift
from canary_judge.stats.shift import shift_interval, shift_intervals

KINDS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "lognormal": lambda rng, shape: rng.lognormal(3, 1, shape),
    "integers": lambda rng, shape: np.round(rng.lognormal(3, 1, shape)),
    "few values": lambda rng, shape: rng.integers(-2, 3, shape).astype(float),
    "hundredths": lambda rng, shape: rng.integers(0, 300, shape) / 100,
    "tenths, unclean": lambda rng, shape: np.round(rng.exponential(size=shape) * 100) * 0.1,
    "zero-inflated": lambda rng, shape: rng.lognormal(size=shape) * (rng.random(shape) < 0.3),
    "heavy tails": lambda rng, shape: rng.standard_cauchy(shape),
    "constant": lambda rng, shape: np.full(shape, 3.7),
    "extreme": lambda rng, shape: rng.choice([0.0, 1e-300, 1e300], shape),
    "cancelling": lambda rng, shape: rng.normal(size=shape) * 1e-9 + 1e6,
}
UNLISTED = {"_LISTED": 0, "_FEW_ROWS": 0}
ROUTES = {
    "as shipped": {},
    "parted": {"_LISTED": 0},
    "windows": UNLISTED,
    "windows, searched": {**UNLISTED, "_MERGED": 0},
    "windows, thinned": {**UNLISTED, "_THINNED": 8},
    "brackets": {**UNLISTED, "_WINDOWED": 0},
    "brackets, narrow": {**UNLISTED, "_WINDOWED": 0, "_LISTED_AT_ONCE": 1},
    "small chunks": {**UNLISTED, "_CHUNK": 1},
}


def by_sorting(baseline, canary, half_width):
    differences = np.sort(np.subtract.outer(canary, baseline).ravel())
    pairs = differences.size
    depth = int(np.floor(pairs / 2 - half_width))
    ends = (differences[depth - 1], differences[pairs - depth]) if depth >= 1 else (-np.inf, np.inf)
    return float(np.median(differences)), *map(float, ends)


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=60)
@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 70),
    st.integers(1, 70),
    st.floats(0, 1.05),
    st.integers(0, 2**32 - 1),
)
def test_every_route_equals_sorting_all_differences(route, kind_b, kind_c, n_b, n_c, share, seed):
    rng = np.random.default_rng(seed)
    baseline, canary = KINDS[kind_b](rng, (3, n_b)), KINDS[kind_c](rng, (3, n_c))
    half_width = np.full(3, share * n_b * n_c / 2)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ROUTES[route].items():
            patch.setattr(shift, name, value)
        found = shift_intervals(baseline=baseline, canary=canary, half_width=half_width)
    for row in range(3):
        expected = by_sorting(baseline[row], canary[row], half_width[row])
        assert (found.estimate[row], found.lower[row], found.upper[row]) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n_b", "n_c"), [(240, 240), (1000, 37), (13, 700)])
def test_longer_rows_equal_sorting_all_differences(kind, n_b, n_c):
    rng = np.random.default_rng(n_b)
    baseline, canary = KINDS[kind](rng, (4, n_b)), KINDS[kind](rng, (4, n_c))
    half_width = np.full(4, 1.96 * np.sqrt(n_b * n_c * (n_b + n_c + 1) / 12))
    found = shift_intervals(baseline=baseline, canary=canary, half_width=half_width)
    for row in range(4):
        expected = by_sorting(baseline[row], canary[row], half_width[row])
        assert (found.estimate[row], found.lower[row], found.upper[row]) == expected


def test_rows_may_be_ragged_or_empty():
    rng = np.random.default_rng(2)
    baseline, canary = rng.normal(size=(30, 50)), rng.normal(size=(30, 40))
    baseline[rng.random(baseline.shape) < 0.4] = np.nan
    canary[rng.random(canary.shape) < 0.4] = np.nan
    baseline[7] = np.nan
    found = shift_intervals(baseline=baseline, canary=canary, half_width=np.full(30, 100.0))
    for row in range(30):
        b, c = baseline[row][~np.isnan(baseline[row])], canary[row][~np.isnan(canary[row])]
        if not b.size:
            assert np.isnan(found.estimate[row])
            assert (found.lower[row], found.upper[row]) == (-np.inf, np.inf)
            continue
        assert (found.estimate[row], found.lower[row], found.upper[row]) == by_sorting(b, c, 100.0)


@pytest.mark.parametrize("decimals", [None, 2])
def test_a_long_pair_takes_memory_of_its_own_size_only(decimals):
    rng = np.random.default_rng(6)
    n = 100_000  # all differences would take 80 GB
    baseline, canary = rng.lognormal(3, 1, n), rng.lognormal(3, 1, n) + 0.25
    if decimals is not None:
        baseline, canary = baseline.round(decimals), canary.round(decimals)
    half_width = 1.96 * np.sqrt(n * n * (2 * n + 1) / 12)
    estimate, (low, high) = shift_interval(baseline=baseline, canary=canary, half_width=half_width)
    depth = int(np.floor(n * n / 2 - half_width))
    ordered = np.sort(baseline)
    for value, rank in ((low, depth - 1), (estimate, n * n // 2), (high, n * n - depth)):
        slack = 1e-9 * abs(value)
        below = int((n - np.searchsorted(ordered, canary - (value - slack), side="left")).sum())
        up_to = int((n - np.searchsorted(ordered, canary - (value + slack), side="left")).sum())
        assert below <= rank <= up_to


def test_moving_the_canary_moves_the_interval():
    rng = np.random.default_rng(9)
    baseline, canary = rng.integers(0, 50, 80).astype(float), rng.integers(0, 50, 60).astype(float)
    shift_0, (low_0, high_0) = shift_interval(baseline=baseline, canary=canary, half_width=600.0)
    shift_1, (low_1, high_1) = shift_interval(baseline=baseline, canary=canary + 8, half_width=600.0)
    assert (shift_1, low_1, high_1) == (shift_0 + 8, low_0 + 8, high_0 + 8)
