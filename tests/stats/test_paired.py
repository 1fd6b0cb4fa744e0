"""Same-time differences: cosines against the DCT, signed ranks and trends against scipy, levels by simulation."""

import numpy as np
import pytest
from scipy import fft, special, stats

from canary_judge.stats.paired import combined_p_value, ewc_error, ewc_t, signed_rank, unsettled
from tests.stats.test_dependence import ar1, slow_autocorrelation, slow_time


@pytest.mark.parametrize("n", [3, 10, 27, 60, 500])
def test_the_cosine_error_is_that_of_the_lowest_dct_frequencies(n):
    values = np.random.default_rng(n).normal(3, 2, n)
    count = max(round(0.4 * n ** (2 / 3)), 1)
    weights = fft.dct(values, norm="ortho")[1 : count + 1]
    error, df = ewc_error(values)
    assert df == count
    assert error == pytest.approx(np.sqrt((weights**2).mean() / n), rel=1e-10)
    assert ewc_t(values) == (pytest.approx(values.mean() / error, rel=1e-12), count)


def test_a_constant_difference_is_infinitely_clear_and_none_is_nothing():
    assert ewc_t(np.full(30, 0.1))[0] == np.inf
    assert ewc_t(np.full(30, -0.1))[0] == -np.inf
    assert ewc_t(np.zeros(30))[0] == 0.0


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_cosine_t_test_keeps_its_level_for_moderate_dependence(rho):
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(2000):
        t, df = ewc_t(ar1(rng, 120, rho))
        wrong += 2 * special.stdtr(df, -abs(t)) < 0.05
    assert wrong / 2000 <= 0.058 + 3 * np.sqrt(0.05 * 0.95 / 2000)  # spec 4.1: 5.8 % at rho .6


@pytest.mark.filterwarnings("ignore:Sample size too small")
def test_signed_ranks_are_those_of_wilcoxon_where_nothing_depends():
    rng = np.random.default_rng(6)
    differences = np.concatenate([rng.normal(0.4, 1, 7), [0.0]])  # below 8 that moved tau is 1
    t, n = signed_rank(differences[:7])
    reference = stats.wilcoxon(differences[:7], method="approx", correction=False, alternative="greater")
    ranks = stats.rankdata(np.abs(differences[:7])) * np.sign(differences[:7])
    assert t == pytest.approx(ranks.sum() / np.sqrt((ranks**2).sum()), rel=1e-12)
    assert special.ndtr(-t) == pytest.approx(reference.pvalue, rel=1e-9)
    assert n == 7.0


def test_dependence_of_the_signed_ranks_is_charged_and_a_longer_record_may_charge_more():
    rng = np.random.default_rng(7)
    differences = ar1(rng, 90, 0.7)
    ranks = stats.rankdata(np.abs(differences)) * np.sign(differences)
    tau = slow_time(slow_autocorrelation(ranks), 90)
    plain = ranks.sum() / np.sqrt((ranks**2).sum())
    assert signed_rank(differences) == (pytest.approx(plain / np.sqrt(tau)), pytest.approx(90 / tau))
    assert signed_rank(differences, inflation=2.0)[1] == pytest.approx(max(90 / tau / 2, 2.0))
    assert signed_rank(differences, inflation=1e9)[1] == pytest.approx(2.0)  # never worth less than two


def test_signed_ranks_of_nothing_but_zeros_are_no_evidence():
    assert signed_rank(np.zeros(12)) == (0.0, 12.0)


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.03, 0.06, -0.06])
@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_a_trend_is_what_spearman_shows_with_the_values_that_are_left(slope, rho):
    rng = np.random.default_rng([int(1000 * abs(slope)), int(10 * rho)])
    differences = ar1(rng, 80, rho) + slope * np.arange(80)
    ranks, time = stats.rankdata(differences), np.arange(80.0)
    rest = ranks - np.polyval(np.polyfit(time, ranks, 1), time)
    n = 80 / slow_time(slow_autocorrelation(rest), 80)
    r = stats.spearmanr(differences, time).statistic
    p = 2 * special.stdtr(n - 2, -abs(r) * np.sqrt((n - 2) / (1 - r * r)))
    expected = None if p > 0.001 or n - 2 < 4 else np.median(differences[40:] - differences[:40]) / 40
    assert unsettled(differences) == (None if expected is None else pytest.approx(expected, rel=1e-9))


def test_a_trend_needs_twenty_values_and_some_variation():
    line = np.arange(30.0) ** 3
    assert unsettled(line[:19]) is None
    assert unsettled(line[:20]) == pytest.approx(19**2)  # a perfect order: from the first to the last
    assert unsettled(-line) == pytest.approx(-(29**2))
    assert unsettled(np.ones(30)) is None


def test_trends_are_rarely_seen_where_there_are_none():
    rng = np.random.default_rng(8)
    seen = sum(unsettled(ar1(rng, 80, 0.5)) is not None for _ in range(1500))
    assert seen / 1500 <= 0.006  # twice as many as the 0.1 % meant would be 3; tau is estimated from 80 values


@pytest.mark.parametrize("p", [1e-200, 1e-12, 1e-3, 0.3, 0.5, 0.9, 1.0])
def test_combining_a_p_value_with_itself_changes_nothing(p):
    assert combined_p_value([p, p]) == pytest.approx(min(p, 1 - 1e-12), rel=1e-9)


def test_combined_p_values_are_those_of_scipys_cauchy_tail():
    for p_values in ([0.01, 0.2], [0.5, 0.7], [1e-4, 0.99], [0.2, 0.3, 0.04]):
        mean = np.mean(np.tan((0.5 - np.array(p_values)) * np.pi))
        assert combined_p_value(p_values) == pytest.approx(stats.cauchy.sf(mean), rel=1e-9)
