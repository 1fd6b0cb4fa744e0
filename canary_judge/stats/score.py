"""Score tests of two proportions against a margin, combined over strata.

References:
    Farrington, C. P. & Manning, G. (1990), doi:10.1002/sim.4780091208 (score tests against a margin).
    Miettinen, O. & Nurminen, M. (1985), doi:10.1002/sim.4780040211 (score test of a ratio).
"""

from __future__ import annotations

import numpy as np

from canary_judge.arrays import Float
from canary_judge.special import special
from canary_judge.stats.counts import Counts
from canary_judge.stats.exact import binomial_tails, crossing, deflated, ratio_where
from canary_judge.stats.questions import Interval, Tails

__all__ = ["FREQUENT", "difference_interval", "score_distance", "score_p_values", "score_ratio_interval"]

# Above this share of events the conditional test is needlessly wide and the score test takes its place.
FREQUENT = 0.1


def score_p_values(
    counts: Counts, *, ratio: float = 1.0, difference: float = 0.0, phi: float = 1.0, guarded: bool = False
) -> Tails:
    """Score-test p-values of "p_canary <= ratio * p_baseline + difference" and of ">=".

    One of `ratio` and `difference` is at its neutral value. Strata are combined with Mantel-Haenszel weights.

    Args:
        counts: Strata.
        ratio: Ratio under the null.
        difference: Difference under the null.
        phi: Dispersion.
        guarded: Take no less than the binomial tail of the smaller side's own events at the null's most likely
            proportion. The normal tail is far too thin for a handful of events; Farrington-Manning as published is
            without it. (Of the larger side it would say nothing: that side makes the null's proportion its own.)

    Examples:
        >>> from canary_judge.stats.counts import Counts
        >>> one = Counts(events_baseline=np.array([9.0]), exposure_baseline=np.array([1000.0]),
        ...              events_canary=np.array([10.0]), exposure_canary=np.array([1000.0]))
        >>> round(score_p_values(one, difference=0.01)[1], 6)
        0.029118
    """
    x_1, n_1 = counts.events_canary, counts.exposure_canary
    x_0, n_0 = counts.events_baseline, counts.exposure_baseline
    p_1, p_0 = _constrained_proportions(x_1, n_1, x_0, n_0, ratio=ratio, difference=difference)
    distance, weight = score_distance(counts, ratio=ratio, difference=difference), _weight(counts)
    variance = float((weight**2 * (p_1 * (1 - p_1) / n_1 + ratio**2 * p_0 * (1 - p_0) / n_0)).sum())
    if variance <= 0:
        return Tails(above=float(distance <= 0), below=float(distance >= 0))
    z = distance / np.sqrt(variance * phi)
    above, below = float(special.ndtr(-z)), float(special.ndtr(z))
    if not guarded:
        return Tails(above=above, below=below)
    of_canary = n_1.sum() <= n_0.sum()
    trials, events, share = (n_1, x_1, p_1) if of_canary else (n_0, x_0, p_0)
    n, x, p = float(trials.sum()), float(events.sum()), float((trials * share).sum() / trials.sum())
    own = binomial_tails(x, n, p)
    higher, lower = own if of_canary else (own.below, own.above)  # evidence for a canary that is
    return Tails(above=max(above, deflated(higher, phi)), below=max(below, deflated(lower, phi)))


def score_distance(counts: Counts, *, ratio: float = 1.0, difference: float = 0.0) -> float:
    """How far the canary's proportion lies above the null, over all strata: the numerator of the score test."""
    of_canary = counts.events_canary / counts.exposure_canary
    of_baseline = ratio * counts.events_baseline / counts.exposure_baseline
    return float((_weight(counts) * (of_canary - of_baseline - difference)).sum())


def _weight(counts: Counts) -> Float:
    """Mantel's and Haenszel's, of each stratum."""
    n_1, n_0 = counts.exposure_canary, counts.exposure_baseline
    return n_1 * n_0 / (n_1 + n_0)


def _constrained_proportions(
    x_1: Float, n_1: Float, x_0: Float, n_0: Float, *, ratio: float, difference: float
) -> tuple[Float, Float]:
    """Maximum likelihood of both proportions under the null (Farrington & Manning 1990, appendix)."""
    if difference == 0.0:
        a = (n_1 + n_0) * ratio
        b = -(n_1 * ratio + x_1 + n_0 + x_0 * ratio)
        c = x_1 + x_0
        p_0 = (-b - np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))) / (2 * a)
        return _clipped(p_0 * ratio, 0.0, 1.0), _clipped(p_0, 0.0, 1.0)
    theta = n_0 / n_1
    p_1, p_0 = x_1 / n_1, x_0 / n_0
    a = 1 + theta
    b = -(1 + theta + p_1 + theta * p_0 + difference * (theta + 2))
    c = difference**2 + difference * (2 * p_1 + theta + 1) + p_1 + theta * p_0
    d = -p_1 * difference * (1 + difference)
    v = (b / (3 * a)) ** 3 - b * c / (6 * a**2) + d / (2 * a)
    u = np.where(v >= 0, 1.0, -1.0) * np.sqrt(np.maximum((b / (3 * a)) ** 2 - c / (3 * a), 0.0))
    cosine = np.divide(v, u**3, out=np.zeros_like(v), where=u != 0)
    w = (np.pi + np.arccos(_clipped(cosine, -1.0, 1.0))) / 3
    canary = _clipped(2 * u * np.cos(w) - b / (3 * a), max(difference, 0.0), min(1.0, 1 + difference))
    return canary, _clipped(canary - difference, 0.0, 1.0)


def _clipped(values: Float, low: float, high: float) -> Float:
    """At a third of the cost of numpy's own for a few values."""
    return np.minimum(np.maximum(values, low), high)


def difference_interval(counts: Counts, *, level: float, phi: float) -> Interval:
    """Interval of p_canary - p_baseline: the differences that the score test does not reject."""
    if level == 1:
        return None, None
    tail = (1 - level) / 2
    limits = -1 + 1e-9, 1 - 1e-9

    def p_values(difference: float) -> Tails:
        return score_p_values(counts, difference=difference, phi=phi)

    low = crossing(lambda d: p_values(d)[0], tail, -1e-3, 1e-3, limits)
    high = crossing(lambda d: 1 - p_values(d)[1], 1 - tail, -1e-3, 1e-3, limits)
    return low, high


def score_ratio_interval(counts: Counts, *, level: float, phi: float) -> Interval:
    """Interval of p_canary / p_baseline; None marks an end without bound."""
    if level == 1:
        return None, None
    tail = (1 - level) / 2
    low = ratio_where(lambda r: score_p_values(counts, ratio=r, phi=phi)[0], tail)
    high = ratio_where(lambda r: 1 - score_p_values(counts, ratio=r, phi=phi)[1], 1 - tail)
    return low, high if counts.events_baseline.sum() > 0 else None
