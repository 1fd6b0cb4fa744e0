"""Autocorrelation times against their definition written out, against AR(1) theory, and at their edges."""

import numpy as np
import pytest
from scipy import signal

from canary_judge.stats.dependence import (
    autocorrelation,
    autocorrelation_time,
    cluster_time,
    rank_autocorrelation_time,
    ranks_tau,
)
from canary_judge.stats.rank import mid_ranks


def slow_autocorrelation(values):
    """Sums over pairs, lag by lag; divided by (pairs + lag) as in R's `acf` with na.pass."""
    present = ~np.isnan(values)
    centred = np.where(present, values - np.nanmean(values), 0.0)
    n = values.size
    covariance = []
    for lag in range(n):
        pairs = int((present[: n - lag] & present[lag:]).sum())
        covariance.append((centred[: n - lag] * centred[lag:]).sum() / (pairs + lag) if pairs else 0.0)
    return np.array(covariance) / covariance[0] if covariance[0] > 0 else np.eye(1, n)[0]


def slow_time(correlation, n):
    """The larger of AR(1) by Kendall's correction and Sokal's window with Wolff's; 1 below 8 values."""
    if n < 8:
        return 1.0
    lag_1 = min(max((correlation[1] * n + 1) / (n - 3), -0.99), 1 - 1 / n)
    width = len(correlation)
    for window in range(1, width):
        running = 1 + 2 * sum(correlation[1 : window + 1])
        if window >= 5 * running or window >= width // 2:
            break
    return max((1 + lag_1) / (1 - lag_1), running * (1 + (2 * window + 1) / n), 1.0)


def ar1(rng, n, rho):
    return signal.lfilter([1], [1, -rho], rng.normal(size=n + 200))[200:]


@pytest.mark.parametrize("n", [2, 3, 7, 8, 9, 20, 61, 200])
@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.5, 0.95])
def test_the_time_is_its_definition(n, rho):
    rng = np.random.default_rng([n, int(100 * rho) + 100])
    values = ar1(rng, n, rho)
    fast = autocorrelation(values[None, :])
    slow = slow_autocorrelation(values)
    assert fast[0] == pytest.approx(slow, abs=1e-12)
    assert float(autocorrelation_time(fast, np.array([n]))[0]) == pytest.approx(slow_time(slow, n), rel=1e-9)


def test_gaps_are_left_out_of_the_sums():
    rng = np.random.default_rng(1)
    values = ar1(rng, 80, 0.7)
    values[rng.random(80) < 0.3] = np.nan
    fast = autocorrelation(values[None, :])
    assert fast[0] == pytest.approx(slow_autocorrelation(values), abs=1e-12)
    count = int((~np.isnan(values)).sum())
    assert float(autocorrelation_time(fast, np.array([count]))[0]) == pytest.approx(slow_time(fast[0], count), rel=1e-9)


def test_the_lag_one_correlation_is_held_below_one():
    """A staircase: corrected for its bias the correlation would be above 1."""
    slope = np.arange(20.0)
    fast = autocorrelation(slope[None, :])
    assert float(autocorrelation_time(fast, np.array([20]))[0]) == pytest.approx(slow_time(fast[0], 20), rel=1e-9)
    assert float(
        autocorrelation_time(np.array([[1.0, 0.99, 0.9, 0.0, 0, 0, 0, 0, 0, 0]]), np.array([10]))[0]
    ) == pytest.approx(19.0)


@pytest.mark.parametrize(("rho", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.9, 19.0)])
def test_the_time_of_a_long_ar1_is_that_of_theory(rho, expected):
    rng = np.random.default_rng(2)
    found = [ranks_tau(ar1(rng, 20_000, rho)[None, :]) for _ in range(5)]
    assert np.mean(found) == pytest.approx(expected, rel=0.15)


def test_rows_are_judged_by_themselves():
    rng = np.random.default_rng(3)
    for n in (1, 2, 7, 8, 50, 121):
        rows = np.array([*(ar1(rng, n, rho) for rho in (0.0, 0.9, 0.4, -0.9)), np.full(n, 0.1), np.arange(n) * 1.0])
        number = rng.integers(0, n + 1, len(rows))
        together = autocorrelation_time(autocorrelation(rows), number)
        apart = [float(autocorrelation_time(autocorrelation(rows[i : i + 1]), number[i : i + 1])[0]) for i in range(6)]
        assert together.tolist() == apart


def test_a_row_with_gaps_changes_no_other():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(3, 40))
    whole = autocorrelation(rows[[0, 2]])
    rows[1, 5] = np.nan
    found = autocorrelation(rows)
    assert found[[0, 2]].tolist() == whole.tolist()
    assert found[1] == pytest.approx(slow_autocorrelation(rows[1]), abs=1e-12)


def test_a_constant_depends_on_nothing():
    assert ranks_tau(np.full((1, 30), 0.1)) == pytest.approx(
        1 + 11 / 30
    )  # Sokal's window is five lags, and Wolff's correction
    assert autocorrelation(np.full((1, 4), 1e9 / 3)).tolist() == [[1.0, 0.0, 0.0, 0.0]]


def test_the_sides_are_ranked_apart_and_weighted_by_their_lengths():
    rng = np.random.default_rng(4)
    b, c = ar1(rng, 60, 0.8), 100 + ar1(rng, 60, 0.3)
    c[40:] = np.nan
    parts = [slow_autocorrelation(np.where(np.isnan(x), np.nan, mid_ranks(x[None, :])[0][0])) for x in (b, c)]
    pooled = (parts[0] / 60 + parts[1] / 40) / (1 / 60 + 1 / 40)
    found = rank_autocorrelation_time(baseline=b[None, :], canary=c[None, :])
    assert float(found[0]) == pytest.approx(slow_time(pooled, 50), rel=1e-9)
    flat = np.full(60, 3.0)  # says nothing: the other side speaks for both
    alone = rank_autocorrelation_time(baseline=b[None, :], canary=flat[None, :])
    assert float(alone[0]) == pytest.approx(slow_time(parts[0], 60), rel=1e-9)


def test_the_design_effect_of_clusters_is_the_ratio_of_variances():
    rng = np.random.default_rng(5)
    cluster = np.repeat(np.arange(10), 4)
    values = rng.normal(size=40) + np.repeat(2 * rng.normal(size=10), 4)
    centred = values - values.mean()
    sums = centred.reshape(10, 4).sum(axis=1)
    assert cluster_time(values, cluster) == pytest.approx((sums**2).sum() * 10 / 9 / (centred**2).sum())
    assert cluster_time(values, np.zeros(40, dtype=int)) == 1.0
    assert cluster_time(np.ones(40), cluster) == 1.0
