"""Where a metric stands on the one axis of all rows: 0 is the baseline, 1 the margin, and worse is always right.

Ratios are placed by their logarithm, so that 2x and 0.5x lie equally far from the baseline. The bar is the deciding
interval. Where the library has none (instances, limits alone, slow series between their spaced looks) it is the stored
interval, whose ends are moved, as those of a normal statistic, to where the stored p-values decide.

References:
    Kruschke, J. K. (2018), doi:10.1177/2515245918771304 (an interval held against a region of equivalence).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

from canary_judge.results import Comparison, Harm, MetricResult, Outcome, Scale

__all__ = ["FIRST", "LAST", "Place", "finite", "place_of"]

FIRST, LAST = -1.0, 3.0
_USUAL_RATES = 0.01, 0.05
# An end that is moved to the decided side of the margin stands so far from it.
_CLEAR = 1e-3
_SMALLEST_P = 1e-300
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a metric stands.

    Attributes:
        effect: Of the estimate; infinite where a ratio is 0 or to nothing, None where there is none.
        low: The better end of the bar, -inf without a bound.
        high: The worse end, inf without a bound.
        moved: It is no deciding interval of the library, but the stored one, moved.
    """

    effect: float | None
    low: float
    high: float
    moved: bool

    @property
    def unbounded(self) -> bool:
        """Nothing is known of it yet."""
        return math.isinf(self.low) and math.isinf(self.high) and self.low < self.high

    @property
    def shows_harm(self) -> bool:
        """It lies wholly right of the margin; an end at the margin has just decided."""
        return self.low >= 1 - _ROUNDING

    @property
    def rules_out_harm(self) -> bool:
        """It lies wholly left of the margin."""
        return self.high <= 1 + _ROUNDING


def finite(value: float | None) -> float | None:
    """The number; None for what is none."""
    return value if value is not None and math.isfinite(value) else None


def place_of(metric: MetricResult, *, false_alarm_rate: float | None, false_pass_rate: float | None) -> Place | None:
    """Where the metric stands; None where there is nothing that an effect could be held against.

    Args:
        metric: Of a judgement.
        false_alarm_rate: Of the judgement; None is read as 1 %.
        false_pass_rate: The same; None is read as 5 %.
    """
    comparison = metric.comparison
    if comparison is None or (to := _scale(metric, comparison)) is None:
        return None
    effect = finite(comparison.effect)
    at: float | None = None
    if effect is not None:
        at = to(effect)
    elif comparison.scale is Scale.RATIO:  # events where the baseline has none
        at = -math.inf if metric.harm is Harm.DECREASE else math.inf
    if metric.deciding is not None:
        low, high = _ends(metric.harm, to, metric.deciding)
        return _folded(metric.harm, Place(effect=at, low=low, high=high, moved=False))
    low, high = _ends(metric.harm, to, comparison.interval)
    found = _folded(metric.harm, Place(effect=at, low=low, high=high, moved=True))
    return _moved(metric, comparison, found, false_alarm_rate, false_pass_rate)


def _scale(metric: MetricResult, comparison: Comparison) -> Callable[[float], float] | None:
    """From an effect to its place, with a sign also where both directions hurt."""
    bound = finite(comparison.margin)
    if bound is None and metric.limit is not None:
        bound = _limit_as_effect(metric, comparison)
    if bound is None:
        return None
    ratio, falls = comparison.scale is Scale.RATIO, metric.harm is Harm.DECREASE
    neutral = 1.0 if ratio else 0.0
    # on the wrong side of the baseline it bounds no harm
    if bound == neutral or (bound < neutral) is not falls or (ratio and bound <= 0):
        return None
    if not ratio:
        return lambda effect: effect / bound

    def to(effect: float) -> float:
        # both directions hurt: a fall by the margin is one to 1 - share, not to 1 / (1 + share)
        own = max(2 - bound, 1e-9) if metric.harm is Harm.EITHER and effect < 1 else bound
        sign = -1.0 if own != bound else 1.0
        log = math.log(effect) if effect > 0 else -math.inf
        return sign * log / math.log(own)

    return to


def _limit_as_effect(metric: MetricResult, comparison: Comparison) -> float | None:
    """The limit, seen from the baseline's level."""
    level = finite(comparison.baseline)
    if metric.limit is None or level is None:
        return None
    if comparison.scale is Scale.RATIO:
        return finite(metric.limit.limit / level) if level > 0 else None
    return finite(metric.limit.limit - level)


def _ends(harm: Harm, to: Callable[[float], float], ends: tuple[float | None, float | None]) -> tuple[float, float]:
    known = [finite(end) for end in ends]
    if harm is Harm.DECREASE:
        known.reverse()
    low = -math.inf if known[0] is None else to(known[0])
    high = math.inf if known[1] is None else to(known[1])
    return min(low, high), max(low, high)


def _folded(harm: Harm, place: Place) -> Place:
    """Where both directions hurt, harm is the distance from the baseline."""
    if harm is not Harm.EITHER:
        return place
    nearest = 0.0 if place.low <= 0 <= place.high else min(abs(place.low), abs(place.high))
    effect, high = None if place.effect is None else abs(place.effect), max(abs(place.low), abs(place.high))
    if nearest == 0 and math.isinf(high):
        nearest = -math.inf  # nothing is known
    return Place(effect=effect, low=nearest, high=high, moved=place.moved)


def _moved(
    metric: MetricResult, comparison: Comparison, found: Place, alpha: float | None, beta: float | None
) -> Place:
    """The ends, where they would say something else than the p-values do."""
    p_beyond, p_within, level = comparison.p_beyond_margin, comparison.p_within_margin, metric.harm_level
    if finite(comparison.margin) is None and metric.limit is not None:
        p_beyond, p_within, level = metric.limit.p_beyond_limit, metric.limit.p_within_limit, None
    level = finite(level) or finite(alpha) or _USUAL_RATES[0]
    beta = finite(beta) or _USUAL_RATES[1]
    shown = p_beyond is not None and p_beyond <= level
    small = p_within is not None and p_within <= beta
    withheld = small and metric.outcome is Outcome.INSUFFICIENT and metric.limit is None
    ruled_out = small and not withheld and not shown
    low, high = found.low, found.high
    if ruled_out is not found.rules_out_harm:
        high = math.inf if withheld else _end(found.effect, p_within, beta, ruled_out)
    if shown is not found.shows_harm:
        mirrored = None if found.effect is None else 2 - found.effect
        low = 2 - _end(mirrored, p_beyond, level, shown)
    if metric.harm is Harm.EITHER and math.isfinite(high):
        low = max(low, 0.0)
    return Place(effect=found.effect, low=min(low, high), high=max(low, high), moved=True)


def _end(effect: float | None, p: float | None, rate: float, decided: bool) -> float:  # noqa: FBT001
    """The upper end of a normal statistic that is `effect` and has this p-value at 1, at the level that decides."""
    z = NormalDist().inv_cdf
    known = effect is not None and effect < 1 and math.isfinite(effect)
    found = math.inf
    if known and effect is not None and p is not None and 0 <= p < 0.5 and 0 < rate < 0.5:
        found = effect + (1 - effect) * z(rate) / z(max(p, _SMALLEST_P))
    return min(found, 1 - _CLEAR) if decided else max(found, 1 + _CLEAR)
