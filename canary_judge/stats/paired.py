"""Both sides at the same moments: what moves both of them cancels in the differences.

References:
    Wilcoxon, F. (1945), doi:10.2307/3001968 (signed ranks).
    Lazarus, E., Lewis, D. J., Stock, J. H. & Watson, M. W. (2018), doi:10.1080/07350015.2018.1506926 (EWC).
    Liu, Y. & Xie, J. (2020), doi:10.1080/01621459.2018.1554485 (Cauchy combination).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.arrays import Float, median, variance
from canary_judge.special import special
from canary_judge.stats.dependence import autocorrelation, autocorrelation_time
from canary_judge.stats.questions import Tails
from canary_judge.stats.rank import ranks_of

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["combined_p_value", "combined_tails", "ewc_error", "ewc_t", "rank_scores", "signed_rank", "unsettled"]

# Cosines of a series of n values: this times n^(2/3) (Lazarus et al. 2018, equation 4).
_COSINES = 0.4
# A trend is looked for in so many values, worth so many degrees of freedom, and told at this level: it is looked for at
# every metric and look, and forbids a pass.
_FEWEST_FOR_A_TREND, _FEWEST_DEGREES, _TREND_LEVEL = 20, 4, 0.001


def signed_rank(differences: Float, *, inflation: float = 1.0) -> tuple[float, float]:
    """Wilcoxon's signed ranks of dependent differences.

    Args:
        differences: Canary minus baseline, shape (n,), in order of time; zeros are dropped, as Wilcoxon did.
        inflation: By what factor a longer record has shown tau to be larger than the window alone can tell.

    Returns:
        t (positive when the canary is larger), to be read with n / tau - 1 degrees of freedom, and n / tau: tau is
        that of the signed ranks, the transform that is tested. (0, n) when all are zero.

    Examples:
        >>> t, n = signed_rank(np.array([3.0, 9.0, -1.0, 8.0, 2.0, 7.0, 4.0, 10.0, 5.0, 6.0]))
        >>> round(t, 3), round(n, 2)
        (2.701, 10.0)
    """
    size = differences.size
    ranks = np.zeros(size)
    moved = differences != 0
    ranks[moved] = ranks_of(np.abs(differences[moved])) * np.sign(differences[moved])
    spread = math.sqrt(float((ranks * ranks).sum()))
    if spread == 0:
        return 0.0, float(size)
    # few values tell little of their dependence; a run of equal signs is the effect, not dependence
    tau = float(autocorrelation_time(autocorrelation(ranks[None, :]), np.array([size]))[0])
    tau = min(tau * inflation, size / 2)
    return float(ranks.sum()) / spread / math.sqrt(tau), size / tau


def rank_scores(
    *, baseline: Float, canary: Float, inflation: float = 1.0, tau: float | None = None
) -> tuple[float, float]:
    """The pooled ranks of both sides, interval by interval: what both share cancels.

    Args:
        baseline: Shape (n,), in order of time; infinite where it is beyond all, no NaN.
        canary: Shape (n,), at the same moments.
        inflation: By what factor a longer record has shown tau to be larger than the window alone can tell.
        tau: That of the differences of ranks, where a longer record has told it.

    Returns:
        t (positive when the canary is larger), to be read with n / tau - 1 degrees of freedom, and n / tau: tau is that
        of the differences of ranks. (0, n) when all are equal.

    Examples:
        >>> wave = np.sin(np.arange(40.0))
        >>> t, n = rank_scores(baseline=wave, canary=wave + 0.1 + 0.05 * np.sin(np.arange(40) * 2.4))
        >>> round(t, 1), n > 20
        (11.0, True)
    """
    size = canary.size
    ranks = ranks_of(np.concatenate([canary, baseline]))
    scores = ranks[:size] - ranks[size:]
    spread = math.sqrt(variance(scores, less=1)) if size > 1 else 0.0
    if spread == 0:
        return (float(np.sign(scores.mean())) * np.inf if scores.any() else 0.0), float(size)
    if tau is None:
        tau = inflation * float(autocorrelation_time(autocorrelation(scores[None, :]), np.array([size]))[0])
    tau = min(tau, size / 2)
    return float(scores.sum()) / size / spread * math.sqrt(size / tau), size / tau


def ewc_error(values: Float, *, count: int | None = None) -> tuple[float, int]:
    """Standard error of the mean of a dependent series from its low frequencies, and its degrees of freedom.

    Equal-weighted cosines: no autocorrelation time is estimated. Holds while that is at most about n / 20.

    Args:
        values: Shape (n,), n at least 3.
        count: Cosines; by default 0.4 n^(2/3), at which the error has the least risk (Lazarus et al., equation 4).

    Examples:
        >>> error, df = ewc_error(np.sin(np.arange(60) * 2.4))
        >>> error < 0.03, df
        (True, 6)
    """
    n = values.size
    count = max(round(_COSINES * n ** (2 / 3)), 1) if count is None else count
    frequencies = np.pi * np.arange(1, count + 1)[:, None] * (np.arange(n) + 0.5) / n
    weights = np.sqrt(2 / n) * (np.cos(frequencies) @ (values - values.mean()))
    with np.errstate(over="ignore"):  # of values near the largest there are: an error without bound says nothing
        return float(np.sqrt((weights**2).mean() / n)), count


def ewc_t(differences: Float) -> tuple[float, int]:
    """T statistic of the mean of dependent differences against 0 (see `ewc_error`), and its degrees of freedom."""
    error, df = ewc_error(differences)
    mean = float(differences.mean())
    # rounding leaves something of a constant's spread
    if error <= 1e-14 * float(np.abs(differences).max(initial=0.0)):
        return (float(np.sign(mean)) * np.inf if mean else 0.0), df
    return mean / error, df


def unsettled(differences: Float) -> float | None:
    """Change per interval of differences that have a trend, None where none is shown (at 0.1 %).

    Spearman's correlation with time, read with n / tau values, tau of what the trend leaves over (Hamed & Rao 1998,
    doi:10.1016/S0022-1694(97)00125-X, on trends of dependent series); the change is the median over half
    the length.

    Args:
        differences: Canary minus baseline, shape (n,), in order of time.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> unsettled(rng.normal(size=120)) is None, round(unsettled(rng.normal(size=120) + 0.02 * np.arange(120)), 2)
        (True, 0.02)
    """
    n = differences.size
    if n < _FEWEST_FOR_A_TREND:
        return None
    ranks, time = ranks_of(differences), np.arange(n, dtype=float)
    ranks, time = ranks - ranks.mean(), time - time.mean()
    spread = float((ranks**2).sum())
    if spread == 0:
        return None
    slope = float(ranks @ time) / float((time**2).sum())
    rest = ranks - slope * time
    tau = float(autocorrelation_time(autocorrelation(rest[None, :]), np.array([n]))[0])
    correlation = slope * float(np.sqrt((time**2).sum() / spread))
    df = n / tau - 2
    if df < _FEWEST_DEGREES or abs(correlation) >= 1 - 1e-12:
        return None if df < _FEWEST_DEGREES else float(differences[-1] - differences[0]) / (n - 1)
    t = correlation * np.sqrt(df / (1 - correlation**2))
    if 2 * float(special.stdtr(df, -abs(t))) > _TREND_LEVEL:
        return None
    half = n // 2
    return median(differences[-half:] - differences[:half]) / (n - half)


def combined_p_value(p_values: Sequence[float]) -> float:
    """One p-value of several tests of the same null, however they depend on each other (in the tail).

    Tests that agree are not charged for being several, as Bonferroni's are; the approximation is for small values.

    Examples:
        >>> round(combined_p_value([0.01, 0.01]), 6), round(combined_p_value([0.001, 0.9]), 5)
        (0.01, 0.00202)
    """
    mean = sum(_cauchy(min(max(p, 1e-300), 1 - 1e-12)) for p in p_values) / len(p_values)
    if mean == 0:
        return 0.5
    return math.atan(1 / mean) / math.pi + (mean < 0)


def _cauchy(p: float) -> float:
    # tan((1/2 - p) pi) = 1 / (p pi) to all digits where p is tiny
    return 1 / (p * math.pi) if p < 1e-8 else 1 / math.tan(p * math.pi)


def combined_tails(one: Tails, other: Tails) -> Tails:
    """Both tails of two tests of the same null."""
    return Tails(above=combined_p_value([one.above, other.above]), below=combined_p_value([one.below, other.below]))
