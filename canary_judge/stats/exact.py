"""Exact tests of a rate ratio, conditional on all events: their split between the sides is binomial.

References:
    Przyborowski, J. & Wilenski, H. (1940), doi:10.1093/biomet/31.3-4.313 (conditional binomial test).
    Clopper, C. J. & Pearson, E. S. (1934), doi:10.1093/biomet/26.4.404 (interval).
    Lugannani, R. & Rice, S. (1980), doi:10.2307/1426607 and Daniels, H. E. (1987), doi:10.2307/1403269 (large strata).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from canary_judge.arrays import Float
from canary_judge.stats.counts import Counts
from canary_judge.stats.questions import Interval, Tails

__all__ = [
    "binomial_tails",
    "crossing",
    "deflated",
    "rate_ratio_estimate",
    "rate_ratio_interval",
    "rate_ratio_p_values",
    "ratio_where",
]

# Convolved tails lose their digits near 1e-14, being sums of rounded products: here the saddlepoint takes over.
_SMALLEST_CONVOLVED = 1e-10
_NO_VARIANCE = 1e-9
# Evidence that is divided by a dispersion must not be infinite.
_SMALLEST = 1e-300
_MOST_CONVOLVED_VARIANCE = 2500.0


_LOG_RATIO_BOUND = 40.0


def binomial_tails(events: float, trials: float, share: float) -> Tails:
    """P(X >= events) and P(X <= events) of a binomial; by the incomplete beta function also for what is not whole.

    Examples:
        >>> binomial_tails(2, 3, 0.5)
        Tails(above=0.5, below=0.875)
    """
    return Tails(
        above=float(special.betainc(events, trials - events + 1, share)) if events > 0 else 1.0,
        below=float(special.betainc(trials - events, events + 1, 1 - share)) if events < trials else 1.0,
    )


def rate_ratio_p_values(counts: Counts, *, ratio: float = 1.0, phi: float = 1.0) -> Tails:
    """Exact p-values of "rate ratio at most `ratio`" and "at least `ratio`", conditional on each stratum's events.

    Args:
        counts: Strata.
        ratio: Rate ratio canary / baseline under the null.
        phi: Dispersion; the evidence in normal scores is divided by its square root.

    Returns:
        Each 1 when there was no event.

    Examples:
        >>> from canary_judge.stats.counts import Counts
        >>> one = Counts(events_baseline=np.array([5.0]), exposure_baseline=np.array([900.0]),
        ...              events_canary=np.array([5.0]), exposure_canary=np.array([100.0]))
        >>> round(rate_ratio_p_values(one)[0], 10)
        0.0016349374
    """
    odds = counts.exposure_canary / counts.exposure_baseline * ratio
    share = odds / (1 + odds)
    canary = float(counts.events_canary.sum())
    events = counts.events_canary + counts.events_baseline
    total = float(events.sum())
    if total == 0:
        return Tails(above=1.0, below=1.0)
    if share.size == 1:
        tails = binomial_tails(canary, total, float(share[0]))
    else:
        # counts read off increase() are not whole, and a convolution needs whole ones
        whole = np.rint(counts.events_canary), np.rint(counts.events_baseline)
        tails = _sum_of_binomials_tails(whole[0] + whole[1], share, float(whole[0].sum()))
    return Tails(above=deflated(tails.above, phi), below=deflated(tails.below, phi))


def _sum_of_binomials_tails(trials: Float, share: Float, value: float) -> Tails:
    """P(sum >= value) and P(sum <= value) for independent binomials.

    By convolution, exact to about 1e-14. Tails below 1e-10, and all beyond a standard deviation of 50, by Lugannani and
    Rice's saddlepoint formula, whose relative error is below 1e-3 there, and a few percent in tails of few events.
    """
    upper, lower = 0.0, 0.0
    if float((trials * share * (1 - share)).sum()) <= _MOST_CONVOLVED_VARIANCE:
        offset, mass = 0, np.ones(1)
        for n, p in zip(trials, share, strict=True):
            reach = 12 * np.sqrt(n * p * (1 - p)) + 70  # beyond it the mass is below e^-60 of the mode's
            k = np.arange(max(np.floor(n * p - reach), 0), min(np.ceil(n * p + reach), n) + 1)
            log_mass = (
                special.gammaln(n + 1)
                - special.gammaln(k + 1)
                - special.gammaln(n - k + 1)
                + special.xlogy(k, p)
                + special.xlog1py(n - k, -p)
            )
            mass = np.convolve(mass, np.exp(log_mass))
            offset += int(k[0])
        position = offset + np.arange(mass.size)
        mass /= mass.sum()
        upper, lower = float(mass[position >= value].sum()), float(mass[position <= value].sum())
    if upper < _SMALLEST_CONVOLVED:
        upper = _saddlepoint_tail(trials, share, value)
    if lower < _SMALLEST_CONVOLVED:
        lower = _saddlepoint_tail(trials, 1 - share, trials.sum() - value)
    return Tails(above=min(max(upper, _SMALLEST), 1.0), below=min(max(lower, _SMALLEST), 1.0))


def _saddlepoint_tail(trials: Float, share: Float, value: float) -> float:
    """P(sum >= value) with the second continuity correction (Lugannani & Rice 1980, Daniels 1987)."""
    mean, variance = float((trials * share).sum()), float((trials * share * (1 - share)).sum())
    point = value - 0.5
    if point <= 0:
        return 1.0
    if value >= float(trials.sum()):  # all of them, exactly
        return math.exp(max(float(special.xlogy(trials, share).sum()), -700.0)) if value <= trials.sum() else 0.0
    if variance < _NO_VARIANCE:  # every share is next to 0 or 1
        if mean > point:
            return 1.0
        poisson = value * math.log(mean) - float(special.gammaln(value + 1)) if mean > 0 else -math.inf
        return math.exp(max(poisson, -700.0))
    tilt = float(np.clip((point - mean) / variance, -2.0, 2.0))
    for _ in range(100):
        # logits, so that a strong tilt does not overflow
        tilted = special.expit(special.logit(share) + tilt)
        step = (point - float((trials * tilted).sum())) / float((trials * tilted * (1 - tilted)).sum())
        tilt += float(np.clip(step, -2.0, 2.0))
        if abs(step) < 1e-12:
            break
    curvature = float((trials * tilted * (1 - tilted)).sum())
    generating = float((trials * np.log1p(share * np.expm1(tilt))).sum())
    if abs(tilt) * math.sqrt(variance) < 1e-4:  # at the mean the formula is 0/0: its limit
        skewness = float((trials * share * (1 - share) * (1 - 2 * share)).sum()) / math.pow(variance, 1.5)
        near_half = float(special.ndtr((mean - point) / math.sqrt(variance)))
        return near_half - skewness / (6 * math.sqrt(2 * math.pi))
    w = math.copysign(math.sqrt(max(2 * (tilt * point - generating), 0.0)), tilt)
    if abs(w) > 30:  # nothing left to correct
        return float(special.ndtr(-w))
    u = 2 * math.sinh(tilt / 2) * math.sqrt(curvature)
    density = math.exp(-w * w / 2) / math.sqrt(2 * math.pi)
    return float(special.ndtr(-w)) + density * (1 / u - 1 / w)


def deflated(p: float, phi: float) -> float:
    """The p-value after its normal score is divided by the square root of the dispersion."""
    return p if phi == 1.0 else float(special.ndtr(special.ndtri(max(p, _SMALLEST)) / np.sqrt(phi)))


def rate_ratio_interval(counts: Counts, *, level: float, phi: float = 1.0) -> tuple[float | None, Interval]:
    """Rate ratio canary / baseline and its exact interval.

    Returns:
        The estimate (None without baseline events) and the interval; None marks an end without bound.

    Examples:
        >>> from canary_judge.stats.counts import Counts
        >>> one = Counts(events_baseline=np.array([20.0]), exposure_baseline=np.array([50.0]),
        ...              events_canary=np.array([0.0]), exposure_canary=np.array([50.0]))
        >>> ratio, (low, high) = rate_ratio_interval(one, level=0.95)
        >>> ratio, low, round(high, 6)
        (0.0, 0.0, 0.20255)
    """
    if level == 1:  # the whole line, which costs nothing
        return rate_ratio_estimate(counts), (None, None)
    tail = (1 - level) / 2
    canary, baseline = float(counts.events_canary.sum()), float(counts.events_baseline.sum())
    if counts.events_canary.size == 1 and phi == 1.0:
        odds = float(counts.exposure_canary[0] / counts.exposure_baseline[0])
        low_share = special.betaincinv(canary, baseline + 1, tail) if canary > 0 else 0.0
        low = float(low_share / (1 - low_share) / odds)
        # the complement keeps the digits when the share is close to 1
        rest = special.betaincinv(baseline, canary + 1, tail) if baseline > 0 else 0.0
        high = float((1 - rest) / rest / odds) if rest > 0 else None
    else:
        low = ratio_where(lambda r: rate_ratio_p_values(counts, ratio=r, phi=phi)[0], tail) if canary else 0.0
        high = (
            ratio_where(lambda r: 1 - rate_ratio_p_values(counts, ratio=r, phi=phi)[1], 1 - tail) if baseline else None
        )
    return rate_ratio_estimate(counts), (low, high)


def rate_ratio_estimate(counts: Counts) -> float | None:
    """Maximum likelihood of the common rate ratio over strata; None when the baseline had no event."""
    canary, baseline = float(counts.events_canary.sum()), float(counts.events_baseline.sum())
    if baseline == 0:
        return None
    odds = counts.exposure_canary / counts.exposure_baseline
    if canary == 0 or odds.size == 1:
        return canary / baseline / float(odds[0]) if odds.size == 1 else 0.0
    events = counts.events_canary + counts.events_baseline

    total = canary + baseline

    def expected_share(ratio: float) -> float:
        return float((events * odds * ratio / (1 + odds * ratio)).sum()) / total

    return ratio_where(expected_share, canary / total)


def ratio_where(p_value: Callable[[float], float], target: float) -> float:
    """The ratio at which a p-value that rises with it reaches the target."""
    limits = -_LOG_RATIO_BOUND, _LOG_RATIO_BOUND
    return math.exp(crossing(lambda log_ratio: p_value(math.exp(log_ratio)), target, -0.5, 0.5, limits))


def crossing(
    p_value: Callable[[float], float], target: float, low: float, high: float, limits: tuple[float, float]
) -> float:
    """Where a rising p-value reaches the target: the bracket is widened, then false position (the Illinois rule).

    It works on normal scores, which are nearly linear in a log ratio or a difference.
    """
    wanted = float(special.ndtri(target))

    def distance(at: float) -> float:
        return float(special.ndtri(min(max(p_value(at), 1e-15), 1 - 1e-15))) - wanted

    width = high - low
    f_low, f_high = distance(low), distance(high)
    while f_low > 0 and low > limits[0]:
        high, f_high, width = low, f_low, 2 * width
        low = max(low - width, limits[0])
        f_low = distance(low)
    while f_high < 0 and high < limits[1]:
        low, f_low, width = high, f_high, 2 * width
        high = min(high + width, limits[1])
        f_high = distance(high)
    side = 0
    for _ in range(200):
        if high - low < 1e-11 or f_high == f_low:
            break
        middle = (low * f_high - high * f_low) / (f_high - f_low)
        if not low < middle < high:
            middle = (low + high) / 2
        f_middle = distance(middle)
        if abs(f_middle) < 1e-12:
            return middle
        if f_middle < 0:
            low, f_low = middle, f_middle
            f_high, side = (f_high / 2, -1) if side == -1 else (f_high, -1)
        else:
            high, f_high = middle, f_middle
            f_low, side = (f_low / 2, 1) if side == 1 else (f_low, 1)
    return (low + high) / 2
