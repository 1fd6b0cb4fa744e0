"""Exact tests of a rate ratio, conditional on all events: their split between the sides is binomial.

References:
    Przyborowski, J. & Wilenski, H. (1940), doi:10.1093/biomet/31.3-4.313 (conditional binomial test).
    Clopper, C. J. & Pearson, E. S. (1934), doi:10.1093/biomet/26.4.404 (interval).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from canary_judge.arrays import Float, smooth_length
from canary_judge.special import special
from canary_judge.stats.counts import Counts, kept
from canary_judge.stats.questions import Interval, Tails

__all__ = [
    "SplitLaw",
    "binomial_tails",
    "crossing",
    "deflated",
    "rate_ratio_estimate",
    "rate_ratio_interval",
    "rate_ratio_p_values",
    "ratio_where",
]

# Evidence that is divided by a dispersion must not be infinite.
_SMALLEST = 1e-300
# The law of the events' split is kept this many standard deviations, and this many events, around the observed one.
_DEVIATIONS, _EVENTS_AROUND = 12.0, 40.0
# A wider one need not be listed.
_LISTED_SPREAD = 5000.0
_LOG_RATIO_BOUND = 40.0
_LAST_STEP = 1e-8
_PIECE = 2**14
# Of 1, in a squared modulus.
_MOST_LESS = 0.5


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SplitLaw:
    """The canary's events given all events of each stratum, for every rate ratio at once.

    Each stratum's events fall to the canary with a share whose odds are those of the exposure times the rate ratio. The
    distribution of the canary's total is computed once, where the observed total is most likely; at another ratio it is
    tilted: P_r(k) = P(k) (r / estimate)^k / M, with M in closed form. A small tail is then a sum of small terms that
    keep their digits (1e-13 relative, down to 1e-200), and the other one is its complement. Of hundreds of millions of
    events the signed root of the likelihood is normal to 1e-4, and the distribution is not listed.

    Attributes:
        events: All events of each stratum, whole numbers, shape (j,).
        log_odds: Log odds of the exposure, shape (j,).
        value: The canary's events.
        estimate: Log of the most likely rate ratio; infinite when one side had no event.
        mass: P(value + k) at the estimate, for k from -width to width, shape (2 width + 1,); empty where it is not
            needed.

    References:
        Hong, Y. (2013), doi:10.1016/j.csda.2012.10.006 (sums of binomials by the discrete Fourier transform);
        Siegmund, D. (1976), doi:10.1214/aos/1176343541 (exponential tilting).
    """

    events: Float
    log_odds: Float
    value: float
    estimate: float
    mass: Float

    @classmethod
    def of(cls, counts: Counts) -> SplitLaw:
        """The law of these strata; counts read off increase() are not whole, and are rounded."""
        canary, baseline = np.rint(counts.events_canary), np.rint(counts.events_baseline)
        events, value = canary + baseline, float(canary.sum())
        log_odds = _log_odds(counts)
        if value in (0.0, float(events.sum())):  # its tails are powers: no distribution is needed
            return cls(
                events=events,
                log_odds=log_odds,
                value=value,
                mass=np.empty(0),
                estimate=-math.inf if value == 0 else math.inf,
            )
        whole = (canary == counts.events_canary).all() and (baseline == counts.events_baseline).all()
        estimate = _estimate(counts) if whole else _log_ratio(events, log_odds, value)
        share = special.expit(log_odds + estimate)
        spread = math.sqrt(float(events @ (share * (1 - share))))
        if spread > _LISTED_SPREAD:
            return cls(events=events, log_odds=log_odds, value=value, estimate=estimate, mass=np.empty(0))
        width = int(min(math.ceil(_DEVIATIONS * spread + _EVENTS_AROUND), float(events.sum()) + 1))
        length = smooth_length(2 * width + 2)
        angle = 2 * np.pi * np.arange(length // 2 + 1) / length
        # the characteristic function of (events of the canary - value), in pieces that fit the cache
        modulus, phase = np.zeros(angle.size), value * angle
        step = max(1, _PIECE // angle.size)
        for first in range(0, events.size, step):
            n, p = events[first : first + step], share[first : first + step]
            log_modulus, turn = _characteristic(p, angle)
            modulus += n @ log_modulus
            phase += n @ turn
        exponent = modulus + 1j * phase
        around = np.fft.irfft(np.exp(exponent), length)
        mass = np.maximum(np.concatenate([around[length - width :], around[: width + 1]]), 0.0)
        return cls(events=events, log_odds=log_odds, value=value, estimate=estimate, mass=mass)

    def tails(self, ratio: float) -> Tails:
        """P(at least as many events of the canary), P(at most as many), at this rate ratio; 1 without any event."""
        total = float(self.events.sum())
        if total == 0:
            return Tails(above=1.0, below=1.0)
        logit = self.log_odds + math.log(ratio)
        if self.value == 0:
            return Tails(above=1.0, below=_positive(math.exp(float(self.events @ special.log_expit(-logit)))))
        if self.value == total:
            return Tails(above=_positive(math.exp(float(self.events @ special.log_expit(logit)))), below=1.0)
        tilt = math.log(ratio) - self.estimate
        width = self.mass.size // 2
        share = special.expit(self.log_odds + self.estimate)
        log_norm = float(self.events @ np.log1p(share * np.expm1(tilt))) - tilt * self.value
        if not self.mass.size:
            tail = float(special.ndtr(-math.sqrt(max(2 * log_norm, 0.0))))
            above, below = (tail, 1 - tail) if tilt <= 0 else (1 - tail, tail)
            return Tails(above=_positive(above), below=_positive(below))
        # the tail away from the estimate is small, and is summed; the other one is what is left
        away = self.mass[width:] if tilt <= 0 else self.mass[: width + 1][::-1]
        small = float(away @ np.exp(-abs(tilt) * np.arange(width + 1))) * math.exp(-log_norm)
        rest = 1 - small + float(self.mass[width]) * math.exp(-log_norm)
        above, below = (small, rest) if tilt <= 0 else (rest, small)
        return Tails(above=_positive(above), below=_positive(below))


def _characteristic(share: Float, angle: Float) -> tuple[Float, Float]:
    """Log modulus and phase of 1 + share (exp(-i angle) - 1), shape (shares, angles).

    In real numbers: the complex logarithm costs three times as much.
    """
    falls, turns = 2 * np.sin(angle / 2) ** 2, np.sin(angle)  # 1 - cos, with its digits
    real, imaginary = 1 - np.multiply.outer(share, falls), np.multiply.outer(share, -turns)
    less = np.multiply.outer(-2 * share * (1 - share), falls)  # its squared modulus is 1 + this
    log_modulus = np.log1p(np.maximum(less, -_MOST_LESS)) / 2
    if less.min() < -_MOST_LESS:  # what little is left of 1 has lost its digits
        log_modulus = np.where(less < -_MOST_LESS, np.log(np.hypot(real, imaginary)), log_modulus)
    return log_modulus, np.arctan2(imaginary, real)


def _positive(p: float) -> float:
    return min(max(p, _SMALLEST), 1.0)


def _log_ratio(events: Float, log_odds: Float, value: float) -> float:
    """Log rate ratio at which the expected canary events are the observed ones, by Newton inside a bracket."""
    low, high = -_LOG_RATIO_BOUND, _LOG_RATIO_BOUND
    total = float(events.sum())
    rest = total - value
    ratio = math.log(value / rest) if rest > 0 else math.inf  # of 1e17 events one is lost in rounding
    at = min(max(ratio - float(events @ log_odds) / total, low), high)
    for _ in range(100):
        share = special.expit(log_odds + at)
        excess = float(events @ share) - value
        low, high = (low, at) if excess > 0 else (at, high)
        slope = float(events @ (share * (1 - share)))
        step = at - excess / slope if slope > 0 else math.nan
        by_newton = low < step < high
        following = step if by_newton else (low + high) / 2
        moved = abs(following - at)
        # a step of Newton's squares the error: what is left of so small a one is beyond the digits
        if moved < (_LAST_STEP if by_newton else 1e-13) * max(abs(at), 1.0):
            return following
        at = following
    return at


def rate_ratio_p_values(counts: Counts, *, ratio: float = 1.0, phi: float = 1.0, law: SplitLaw | None = None) -> Tails:
    """Exact p-values of "rate ratio at most `ratio`" and "at least `ratio`", conditional on each stratum's events.

    Args:
        counts: Strata.
        ratio: Rate ratio canary / baseline under the null.
        phi: Dispersion; the evidence in normal scores is divided by its square root.
        law: `SplitLaw.of(counts)`, where several ratios are asked for.

    Returns:
        Each 1 when there was no event.

    Examples:
        >>> from canary_judge.stats.counts import Counts
        >>> one = Counts(events_baseline=np.array([5.0]), exposure_baseline=np.array([900.0]),
        ...              events_canary=np.array([5.0]), exposure_canary=np.array([100.0]))
        >>> round(rate_ratio_p_values(one)[0], 10)
        0.0016349374
    """
    if counts.events_canary.size == 1:  # also of what is not whole
        odds = float(counts.exposure_canary[0] / counts.exposure_baseline[0]) * ratio
        canary = float(counts.events_canary[0])
        total = canary + float(counts.events_baseline[0])
        tails = binomial_tails(canary, total, odds / (1 + odds)) if total > 0 else Tails(above=1.0, below=1.0)
    else:
        tails = (law or SplitLaw.of(counts)).tails(ratio)
    return Tails(above=deflated(tails.above, phi), below=deflated(tails.below, phi))


def deflated(p: float, phi: float) -> float:
    """The p-value after its normal score is divided by the square root of the dispersion."""
    return p if phi == 1.0 else float(special.ndtr(special.ndtri(max(p, _SMALLEST)) / np.sqrt(phi)))


def rate_ratio_interval(
    counts: Counts, *, level: float, phi: float = 1.0, law: SplitLaw | None = None
) -> tuple[float | None, Interval]:
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
        law = law or SplitLaw.of(counts)

        def p_values(ratio: float) -> Tails:
            return rate_ratio_p_values(counts, ratio=ratio, phi=phi, law=law)

        low = ratio_where(lambda ratio: p_values(ratio).above, tail) if canary else 0.0
        high = ratio_where(lambda ratio: 1 - p_values(ratio).below, 1 - tail) if baseline else None
    return rate_ratio_estimate(counts), (low, high)


def _log_odds(counts: Counts) -> Float:
    found: Float = np.log(counts.exposure_canary) - np.log(counts.exposure_baseline)
    return found


@kept
def _estimate(counts: Counts) -> float:
    """Log of the most likely rate ratio of several strata, of which each side had events."""
    events = counts.events_canary + counts.events_baseline
    return _log_ratio(events, _log_odds(counts), float(counts.events_canary.sum()))


@kept
def rate_ratio_estimate(counts: Counts) -> float | None:
    """Maximum likelihood of the common rate ratio over strata; None when the baseline had no event."""
    canary, baseline = float(counts.events_canary.sum()), float(counts.events_baseline.sum())
    if baseline == 0:
        return None
    if counts.events_canary.size == 1:
        return canary / baseline / float(counts.exposure_canary[0] / counts.exposure_baseline[0])
    if canary == 0:
        return 0.0
    return math.exp(_estimate(counts))


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
