"""Evidence that is held between two assessments, so that the cost of a look does not grow with the run.

To assess a metric costs in proportion to the run so far, and one interval more says little new of a long run. So a
metric is assessed when its run has grown by 2 % (half a percent where its answer is near), and at once where the new
intervals are unlike those before, speak for harm, or have a fault. In between it stands as it was last assessed.
Evidence that holds at any look holds at whichever looks it is taken, so no error rate suffers (Ville's inequality);
and no pass rests on held evidence (`observe`). The price is delay, and docs/looks.md has its size.

References:
    Ville, J. (1939), *Etude critique de la notion de collectif* (an e-process is rarely large, whenever one looks).
    Ramdas, A., Grunwald, P., Vovk, V. & Shafer, G. (2023), doi:10.1214/23-STS894, section 2 (stopping times).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from canary_judge.arrays import Float, column_means
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed
from canary_judge.results import Comparison, LimitCheck, MetricResult, Outcome, Quality, Recent, Shortfall
from canary_judge.samples import AnyData, CountData, GaugeData, MetricSamples, RawData, UserData
from canary_judge.special import special
from canary_judge.stats.counts import COLUMNS

__all__ = ["Held", "Key", "as_plain", "calm", "due", "hold", "shows", "standing", "with_held_intervals"]

# Up to so many intervals since the weight changed every look assesses all.
_ALWAYS = 50
_GROWTH, _NEAR_GROWTH, _SHOWN_GROWTH = 0.02, 0.005, 0.1
# So near (in standard deviations) to being shown, or to being no longer shown, is near.
_NEAR = 0.35
# Log of the e-value, or likelihood ratio, from which on a metric is assessed at every look.
_SUSPECT = 3.0
# The newest intervals are unlike the others beyond so many standard errors.
_UNLIKE = 3.5
# Of a mean of equal values.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What evidence depends on besides the data: it is assessed anew when any of it changes.

    Attributes:
        since: The judged interval since which the weight has been the same.
        factor: What is asked of the newest data, as `Newest.factor`.
        level: Of the shown interval.
        objected: Something about the data forbids to find it safe.
        kind: Of the data.
    """

    since: int
    factor: float | None
    level: float
    objected: bool
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One metric as it was last assessed: plain numbers and words.

    Attributes:
        at: Judged intervals then.
        moment: The end of the data then.
        shown_at: Judged intervals when both intervals were looked for; 0 when they were not.
        shown_moment: The end of the data then.
        key: What it depends on.
        usual: What the differences of the sides were like, by which new intervals are told to be unlike.
        outcome: What it led to.
        deciding: The deciding interval.
        comparison: As in `Assessed`; so are the others.
    """

    at: int
    moment: datetime
    shown_at: int
    shown_moment: datetime
    key: Key
    usual: tuple[float, ...]
    outcome: Outcome
    deciding: tuple[float | None, float | None] | None
    comparison: Comparison | None
    limit: LimitCheck | None
    settled: tuple[Outcome, str] | None
    no_safety: str | None
    shortfall: Shortfall | None
    recent: Recent | None
    warnings: tuple[str, ...]
    spaced: bool
    doubt: str | None = None  # a log of an earlier version has none

    def fits(self, intervals: int) -> bool:
        """Whether it may be of a stream of so many intervals."""
        known = [getattr(one, name.name) for one in (self.comparison, self.limit) if one for name in fields(one)]
        finite = all(math.isfinite(one) for one in (*self.usual, *known) if isinstance(one, float))
        return finite and 0 <= self.shown_at <= self.at <= intervals


def hold(
    one: Assessed,
    result: MetricResult,
    data: AnyData | None,
    key: Key,
    *,
    at: int,
    moment: datetime,
    before: Held | None,
) -> Held:
    """What was assessed now, for the looks to come.

    Args:
        one: The evidence.
        result: What it led to.
        data: All judged intervals.
        key: What the evidence depends on.
        at: How many intervals they are.
        moment: Their end.
        before: What was held until now.
    """
    with np.errstate(all="ignore"):  # of values near the end of floats
        usual = () if data is None else _usual(data, one)
    held = Held(
        at=at,
        moment=moment,
        shown_at=at if before is None or one.shown_as_of is None else before.shown_at,
        shown_moment=one.shown_as_of or moment,
        key=key,
        usual=usual if all(math.isfinite(value) for value in usual) else (),
        outcome=result.outcome,
        deciding=result.deciding,
        comparison=one.comparison,
        limit=one.limit,
        settled=one.settled,
        no_safety=one.no_safety,
        shortfall=one.shortfall,
        recent=one.recent,
        warnings=one.warnings,
        spaced=one.spaced,
        doubt=one.doubt,
    )
    return _restored().validate_python(as_plain(held))  # so that a restart changes not even the type of a number


@cache
def _restored() -> TypeAdapter[Held]:
    return TypeAdapter(Held)


@cache
def _field_names(kind: type) -> tuple[str, ...] | None:
    """Those of a dataclass; None of anything else."""
    return tuple(one.name for one in fields(kind)) if is_dataclass(kind) else None


def as_plain(value: Any) -> Any:
    """Dataclasses of plain values as JSON has them, which knows no number beyond floats: those are words."""
    names = _field_names(value.__class__)
    if names is not None:
        return {name: as_plain(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple):
        return [as_plain(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def standing(held: Held, bare: Assessed) -> Assessed:
    """The metric as it was last assessed, with the quality of its data now."""
    return replaced(
        bare,
        comparison=held.comparison,
        limit=held.limit,
        settled=held.settled,
        no_safety=held.no_safety,
        doubt=held.doubt,
        shortfall=held.shortfall,
        recent=held.recent,
        warnings=held.warnings,
        spaced=held.spaced,
        deciding=held.deciding,
        as_of=held.moment,
        shown_as_of=held.shown_moment,
    )


def with_held_intervals(one: Assessed, held: Held) -> Assessed | None:
    """What was assessed at this look, with the intervals of an earlier one; None where they do not fit any more."""
    comparison, before = one.comparison, held.comparison
    if comparison is not None and before is not None:
        low, high = before.interval
        effect = comparison.effect or 0.0
        outside = (low is not None and effect < low) or (high is not None and effect > high)
        if comparison.scale is not before.scale or outside:
            return None
        comparison = replaced(comparison, interval=before.interval, level=before.level)
    return replaced(one, comparison=comparison, deciding=held.deciding, shown_as_of=held.shown_moment)


def calm(new: MetricSamples) -> bool:
    """Whether nothing is odd about newly read data."""
    return new.error is None and new.quality is not None and _clean(new.quality)


def _clean(quality: Quality) -> bool:
    """Silence is no oddity: what it forbids is asked at every look (`Key.objected`)."""
    holes = min(quality.coverage_baseline, quality.coverage_canary) < 1
    odd = quality.resets + quality.falls + quality.births + quality.births_dropped + quality.non_finite + quality.unread
    lost = quality.lost_events_baseline + quality.lost_events_canary
    lost += quality.lost_exposure_baseline + quality.lost_exposure_canary
    return not holes and not odd and not lost


def due(
    held: Held, key: Key, data: AnyData | None, *, at: int, place: float, safety_level: float, check_at: int | None
) -> bool:
    """Whether the metric must be assessed at this look.

    Args:
        held: As it was last assessed.
        key: What it depends on now.
        data: All judged intervals.
        at: How many they are.
        place: Of the metric among all, from 0 to 1: they grow due at different looks.
        safety_level: What is held against the evidence of safety.
        check_at: Intervals at which the next check of evidence that holds at spaced looks only is due: it is taken at
            that look, and not at one that the data choose. None for other evidence.
    """
    if check_at is not None and at >= check_at:
        return True
    if held.key != key or at - key.since <= _ALWAYS or data is None or _suspect(held):
        return True
    if isinstance(data, UserData):  # to assess moments costs nothing that grows
        return True
    growth = _NEAR_GROWTH if _near(held, safety_level) else _GROWTH
    if _steps(at - key.since, growth, place) > _steps(held.at - key.since, growth, place):
        return True
    return bool(held.usual) and _unlike(held, data)


def shows(held: Held | None, key: Key, *, at: int, place: float) -> bool:
    """Whether both intervals must be looked for at this look, where the outcome is as before."""
    if held is None or held.key != key or not held.shown_at or held.settled is not None:
        return True
    return _steps(at - key.since, _SHOWN_GROWTH, place) > _steps(held.shown_at - key.since, _SHOWN_GROWTH, place)


def _steps(intervals: int, growth: float, place: float) -> int:
    """How often so long a run has grown by so much."""
    return math.floor(math.log(max(intervals, 1)) / math.log1p(growth) + place)


def _suspect(held: Held) -> bool:
    """Whether the evidence leans to harm."""
    if held.settled is not None:
        return False
    comparison, recent = held.comparison, held.recent
    found = [0.0]
    if comparison is not None:
        asked = (comparison.log_e_harm, comparison.log_e_beyond_margin)
        found += [one for one in (asked[1:] if held.outcome is Outcome.TOLERABLE else asked) if one is not None]
    if recent is not None and recent.worse is not None:
        found.append(math.log(max(recent.worse, 1.0)))
    if held.limit is not None:
        found.append(-math.log(max(held.limit.p_beyond_limit, 1e-300)))
    return held.outcome is Outcome.DEGRADED or max(found) >= _SUSPECT


def _near(held: Held, level: float) -> bool:
    """Whether little more would change whether it is shown to be safe."""
    known = [] if held.comparison is None else [held.comparison.p_within_margin]
    known += [] if held.limit is None else [held.limit.p_within_limit]
    p_values = [p for p in known if p is not None]
    if not p_values or held.settled is not None or held.no_safety is not None:
        return False
    p_within = min(max(*p_values, 1e-300), 1 - 1e-16)
    return abs(float(special.ndtri(p_within)) - float(special.ndtri(level))) < _NEAR


# --- what is usual, and what is not -------------------------------------------------------------------------------


def _usual(data: AnyData, one: Assessed) -> tuple[float, ...]:
    if isinstance(data, UserData):
        return ()
    if isinstance(data, CountData):
        counts = data.counts
        sums = [float(getattr(counts, name).sum()) for name in COLUMNS]
        events_b, exposure_b, events_c, exposure_c = sums
        if not exposure_b or not exposure_c:
            return ()
        phi = 1.0 if one.comparison is None else one.comparison.dispersion or 1.0
        return ((events_b + 0.5) / exposure_b, (events_c + 0.5) / exposure_c, phi)
    sides = _levels(data, 0)
    tau = 1.0 if one.comparison is None else one.comparison.tau or 1.0
    parts = []
    for values in (sides[1] - sides[0], sides[1]):
        known = values[np.isfinite(values)]
        if known.size <= _ALWAYS / 2:
            return ()
        parts += [float(known.mean()), float(known.std())]
    return (*parts, tau)


def _unlike(held: Held, data: CountData | GaugeData | RawData) -> bool:
    """Whether the newest intervals since the last assessment, or the last few of them, are unlike those before."""
    limited = held.limit is not None
    if isinstance(data, CountData):
        scores = _of_counts(data, held, limited=limited)
    else:
        mean, spread, own, own_spread, tau = held.usual
        sides = _levels(data, held.at)
        scores = [_z_of_means(sides[1] - sides[0], mean, spread, tau)]
        if limited:
            scores.append(_z_of_means(sides[1], own, own_spread, tau))
    return any(bool((np.abs(one) > _UNLIKE).any()) for one in scores)


def _newest(values: Float) -> Float:
    """Sums over the last 1, 2, 4, ... of the values, and over all of them."""
    sums = np.cumsum(values[::-1])
    return sums[_ends(sums.size)]


def _ends(size: int) -> list[int]:
    return [*(2**power - 1 for power in range(size.bit_length() - 1)), size - 1] if size else []


def _of_counts(data: CountData, held: Held, *, limited: bool) -> list[Float]:
    rate_b, rate_c, phi = held.usual
    counts = data.counts.since(held.at)
    canary, total = counts.events_canary, counts.events_canary + counts.events_baseline
    weighed = counts.exposure_canary * rate_c
    share = np.divide(
        weighed, weighed + counts.exposure_baseline * rate_b, out=np.zeros_like(weighed), where=weighed > 0
    )
    expected, variance = _newest(total * share), _newest(total * share * (1 - share))
    found = [_z(_newest(canary) - expected, phi * variance)]
    if limited:
        found.append(_z(_newest(canary) - _newest(weighed), phi * _newest(weighed)))
    return found


def _z(difference: Float, variance: Float) -> Float:
    """In standard errors; what never varied must not begin to."""
    never = np.where(difference != 0, np.inf, 0.0)
    return np.divide(difference, np.sqrt(variance), out=never, where=variance > 0)


def _z_of_means(values: Float, mean: float, spread: float, tau: float) -> Float:
    off = np.where(np.isfinite(values), values - mean, 0.0)
    off[np.abs(off) <= _ROUNDING * abs(mean)] = 0.0
    number = np.array(_ends(off.size), dtype=float) + 1
    # so few intervals may all be off together
    return _z(_newest(off), spread**2 * number * np.minimum(number, max(tau, 1.0)))


def _levels(data: GaugeData | RawData, first: int) -> tuple[Float, Float]:
    """The mean of each side in each interval from one on; NaN where it has none."""
    if isinstance(data, GaugeData):
        sides = [getattr(data, side)[:, first:] for side in ("baseline", "canary")]
        return column_means(sides[0]), column_means(sides[1])
    both = (data.baseline, data.interval_baseline), (data.canary, data.interval_canary)
    size = max((int(interval[-1]) + 1 for _, interval in both if interval.size), default=0) - first
    means = []
    for values, interval in both:
        start = int(np.searchsorted(interval, first))
        place = interval[start:] - first
        number = np.bincount(place, minlength=max(size, 0))
        total = np.bincount(place, weights=values[start:], minlength=max(size, 0))
        means.append(np.divide(total, number, out=np.full(number.size, np.nan), where=number > 0))
    return means[0], means[1]
