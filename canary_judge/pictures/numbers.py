"""Numbers of a picture: as many digits as mean something, never an exponent."""

from __future__ import annotations

import math

from canary_judge.pictures.axis import finite
from canary_judge.pictures.lettering import plain
from canary_judge.results import Comparison, Harm, MetricResult, Outcome, Scale
from canary_judge.wording import tolerated as exactly
from canary_judge.wording import unmeasured

__all__ = ["bound_text", "duration", "effect_text", "level_text", "number", "percent", "tolerated"]

_THOUSANDS, _MILLION = 1_000, 1_000_000
_SUFFIXES = ("M", "G", "T", "P", "E")
_NO_BOUND = "no bound yet"


def number(value: float, places: int, *, sign: bool = False) -> str:
    """A number with so many decimals, a true minus, and no exponent.

    Examples:
        >>> number(-0.0004, 3), number(-1234.5, 0), number(12_345_678, 2, sign=True), number(0.5, 2, sign=True)
        ('0', '−1,234', '+12M', '+0.50')
    """
    if not math.isfinite(value):
        return "no number"
    suffix = ""
    for one in _SUFFIXES:
        if abs(value) < _MILLION:
            break
        value, suffix, places = value / (_MILLION if not suffix else _THOUSANDS), one, 0
    if abs(value) >= _MILLION:
        return f"{'−' if value < 0 else ''}> 1,000{suffix}"
    if round(value, places) == 0:
        return "0"
    return (f"{value:+,.{places}f}" if sign else f"{value:,.{places}f}").replace("-", "−") + suffix


def percent(share: float) -> str:
    """A share in percent, two digits of what is left of or above it.

    Examples:
        >>> percent(0.0472), percent(0.05), percent(0.0012), percent(1)
        ('4.7 %', '5 %', '0.12 %', '100 %')
    """
    value = 100 * share
    if not math.isfinite(value):
        return "no number"
    text = number(value, 0 if abs(value) >= 10 else _decimals(abs(value)))
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def _decimals(scale: float, *, most: int = 4) -> int:
    """Decimals that keep two digits of this; more where all of them would be 0."""
    if not 0 < scale < math.inf:
        return 0
    wanted = 1 - math.floor(math.log10(scale))
    return max(0, min(wanted, most if wanted <= most + 1 else 9))


def duration(seconds: float) -> str:
    """A length of time, rounded up.

    Examples:
        >>> duration(45), duration(3400), duration(7300), duration(9e5)
        ('45 s', '57 min', '3 h', '11 days')
    """
    if not math.isfinite(seconds):
        return "no end of time"
    for unit, size, least in (("days", 86400.0, 2.0), ("h", 3600.0, 2.0), ("min", 60.0, 1.0)):
        if seconds > least * size:
            return f"{number(math.ceil(seconds / size - 1e-9), 0)} {unit}"
    return f"{math.ceil(max(seconds, 0))} s"


def level_text(value: float | None, metric: MetricResult) -> str:
    """A level in the metric's unit, shares in percent."""
    if value is None or not math.isfinite(value):
        return "no number"
    if metric.share:
        return percent(value)
    text = number(value, max(0, min(9, 3 - math.floor(math.log10(abs(value))))) if value else 0)
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} {plain(metric.unit)}".rstrip()


def _unit(metric: MetricResult, comparison: Comparison) -> tuple[float, str, bool]:
    """Factor, suffix and whether a sign is shown."""
    if comparison.scale is Scale.RATIO:
        return 1.0, "x", False
    if metric.share:
        return 100.0, " pp", True
    return 1.0, f" {plain(metric.unit)}" if metric.unit else "", True


def effect_text(metric: MetricResult) -> tuple[str, str]:
    """The effect, and the interval for the brackets behind it: the deciding one where the library has one."""
    comparison = metric.comparison
    if comparison is None:
        return "", ""
    factor, suffix, sign = _unit(metric, comparison)
    low, high = (None if end is None else end * factor for end in _told_ends(metric, comparison))
    value, bound = finite(comparison.effect), finite(comparison.margin)
    neutral = 1.0 if comparison.scale is Scale.RATIO else 0.0
    scale = 0.0 if bound is None else abs(bound - neutral) * factor
    if low is not None and high is not None:
        scale = max(scale, abs(high - low) / 2)
    elif value is not None and (low is not None or high is not None):
        scale = max(scale, *(abs(value * factor - end) for end in (low, high) if end is not None))
    scale = scale or max((abs(one) for one in (low, high, value) if one is not None), default=1.0)
    places = _decimals(scale)

    def shown(one: float, at_most: int = places) -> str:
        return number(one, 0 if abs(one) >= 100 else at_most, sign=sign)

    effect = unmeasured(comparison) if value is None else shown(value * factor) + suffix
    if value is None and comparison.scale is not Scale.RATIO:
        effect = "no effect known"
    level = "" if metric.deciding is not None or comparison.level >= 1 else f", {percent(comparison.level)}"
    if low is None and high is None:
        return effect, _NO_BOUND
    if low is None or high is None:
        end = (low if high is None else high) or 0.0
        told = shown(end, _decimals(abs(end))) + suffix
        return effect, f"at {'least' if high is None else 'most'} {told}{level}"
    return effect, f"{shown(low)} to {shown(high)}{level}"


def _told_ends(metric: MetricResult, comparison: Comparison) -> tuple[float | None, float | None]:
    """The ends of the interval that say something: no ratio and no share falls below 0."""
    low, high = (finite(end) for end in (comparison.interval if metric.deciding is None else metric.deciding))
    level = finite(comparison.baseline)
    lowest = 0.0 if comparison.scale is Scale.RATIO else -level if metric.share and level is not None else -math.inf
    if low is not None and low <= lowest:
        low = None
    if metric.harm is Harm.EITHER and (low is None or high is None) and metric.outcome is not Outcome.REGRESSED:
        return None, None  # of one direction alone it bounds no harm
    return low, high


def tolerated(metric: MetricResult) -> str:
    """The margin as it is held against the effect; as it is configured, where nothing was compared."""
    comparison = metric.comparison
    bound = None if comparison is None else finite(comparison.margin)
    if comparison is None or bound is None:
        return plain(metric.margin or "")
    factor, suffix, sign = _unit(metric, comparison)
    if metric.harm is Harm.EITHER:
        if comparison.scale is Scale.RATIO:
            return f"\u00b1{percent(abs(bound - 1))}"
        return f"\u00b1{_short(abs(bound) * factor)}{suffix}"
    if comparison.scale is Scale.RATIO:
        return plain(exactly(bound, comparison.scale, unit="", share=False))
    return _short(bound * factor, sign=sign) + suffix


def _short(value: float, *, sign: bool = False) -> str:
    """Three digits."""
    if value == 0:
        return "0"
    text = number(value, max(0, min(9, 2 - math.floor(math.log10(abs(value))))), sign=sign)
    return text.rstrip("0").rstrip(".") if "." in text else text


def bound_text(metric: MetricResult) -> str:
    """What is tolerated, and the limit."""
    parts = [tolerated(metric)]
    if metric.limit is not None:
        parts.append(f"limit {level_text(metric.limit.limit, metric)}")
    return ", ".join(part for part in parts if part)
