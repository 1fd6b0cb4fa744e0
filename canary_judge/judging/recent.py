"""What the newest data say by themselves: is the canary within twice its margin there, and not worse lately?

Evidence over a whole run grows old: hours of health outweigh minutes of harm. So what gives a canary more traffic also
asks the newest data, as few as can tell when nothing changed: they must rule out harm of twice the margin by
themselves. How many they are is chosen by what does not depend on the outcome (all events of both sides, or the number
of values), which keeps the test exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from canary_judge.arrays import Float
from canary_judge.config.metrics import Metric
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed, Lately
from canary_judge.judging.ends import scanned
from canary_judge.judging.look import Look
from canary_judge.judging.silence import improbable_run
from canary_judge.results import Comparison, Harm, Quality, Recent, Scale, Side
from canary_judge.samples import CountData
from canary_judge.series import format_duration
from canary_judge.special import special
from canary_judge.stats.counts import Counts, both_exposed
from canary_judge.stats.dispersion import dispersion
from canary_judge.stats.events import limit_counts, margin_ruled_out
from canary_judge.stats.margins import Margin, wider_share
from canary_judge.stats.questions import directions
from canary_judge.stats.residuals import residual_time
from canary_judge.stats.sample_sizes import limit_sample_size, proportions_sample_size, well_within
from canary_judge.stats.starts import NOT_WORSE_LATELY, StartEvidence, harm_since, recent_dispersion
from canary_judge.wording import count, wait

__all__ = ["newest", "nulls", "tolerated", "widened", "with_newest", "with_recent_counts"]

# So few of the newest intervals may be a burst, or its absence.
_FEWEST_INTERVALS = 2
# What is so far from being shown by all data is not asked of the newest.
_HOPELESS = 0.5
# Harm that began some time ago is that of half of the window, on average.
_OF_A_START = 2.0
# Standard errors of the baseline's rate.
_FAR_BELOW = 3.0
# So much of the data is a beginning with which the rest can be compared in words.
_A_BEGINNING = 0.05


def widened(margin: Margin, factor: float, harm: Harm) -> Margin | None:
    """The margin so many times as wide; None where that tolerates everything."""
    wide = margin.times(factor)
    if harm is Harm.INCREASE or wide.relative is None or wide.relative < 1 or margin.relative is None:
        return wide
    smaller = wider_share(margin.relative, factor, rises=False)
    return replaced(wide, relative=smaller) if smaller < 1 else None


def newest(
    look: Look, *, intervals: int, have: float, required: float | None, p_within: float | None, what: str
) -> Recent:
    """The answer of the newest data, in numbers and in words.

    Args:
        look: What is asked.
        intervals: How many of the newest are looked at.
        have: What they hold, in effective terms.
        required: How much shows the wanted size; None when nothing does.
        p_within: Of harm of that size; None while they hold too little.
        what: What is counted.
    """
    step, factor = look.config.interval, look.newest.factor or 0.0
    length = format_duration(intervals * step)
    shown = p_within is not None and p_within <= look.config.false_pass_rate
    text = ""
    if p_within is None and required is not None and math.isfinite(required):
        more = f", {wait(intervals * step.total_seconds() * (required / have - 1))} more" if have > 0 else ""
        held = f"{count(have)} of {count(required)} {what}"
        text = f"the last {length} by themselves do not yet rule out {factor:g} times the margin: {held}{more}"
    elif not shown:
        p = "" if p_within is None else f" (p = {p_within:.2g})"
        text = f"the last {length} by themselves do not rule out {factor:g} times the margin{p}"
    return Recent(
        seconds=intervals * step.total_seconds(),
        factor=factor,
        shown=shown,
        p_within=p_within,
        have=have,
        required=required if required is not None and math.isfinite(required) else None,
        text=text,
    )


# --- counts ------------------------------------------------------------------------------------------------------


def with_newest(look: Look, found: Assessed) -> Assessed:
    """The evidence, which is not safe where the newest data do not say so and are asked."""
    recent, p_within = found.recent, found.p_within
    if recent is None or recent.shown or not look.newest.decides:
        return found
    # what is not safe anyway has a better reason
    why = recent.change or recent.text or "the newest data speak for harm beyond the margin"
    return found.unsafe(why) if p_within is not None and p_within <= look.config.false_pass_rate else found


def _lately_dispersion(data: CountData, between: float) -> float:
    """The dispersion of counts that takes no late change for clumps: those of the first half tell how they follow."""
    size = data.counts.events_canary.size
    clumps = residual_time(data.counts.select(np.arange(size) < size // 2))
    within = recent_dispersion(data.counts, whole=lambda: dispersion(data.counts))
    return max(within * clumps, between)


def with_recent_counts(
    look: Look, metric: Metric, data: CountData, found: Assessed, *, between: float = 1.0, late: float = 1.0
) -> Assessed:
    """The evidence with what the newest intervals say; of one look, also with that of the ends of its window.

    Args:
        look: What is asked.
        metric: Of counts.
        data: Its counts.
        found: The evidence of all of them.
        between: Dispersion between instances.
        late: Of events that come late (`late_dispersion`), over the whole window. What is under way at its ends is as
            much for a part of it, and so many times as large a part of its variance.
    """
    comparison = found.comparison
    if comparison is None:
        return found
    phi, trusted = _lately_dispersion(data, max(between, late)), _for_harm(metric, data.counts, found.quality)
    of_starts = max(phi, 1 + _OF_A_START * (late - 1))
    starts = tuple(
        harm_since(trusted, null=null, upward=up, phi=of_starts, acts=look.newest.acts)
        for null, up in tolerated(metric.parsed_margin(), comparison, metric.harm)
    )
    found = replaced(found, lately=Lately(phi=of_starts, counts=trusted, starts=starts))
    if metric.margin is None and metric.limit is None:
        return found
    recent = _recent(look, metric, data.counts, found, phi)
    if starts:
        recent = _with_late(look, data.counts, recent, max(starts, key=lambda one: one.worse))
    found = with_newest(look, replaced(found, recent=recent))
    if not look.newest.scan or found.compared is None or found.comparison is None:
        return found
    return found.with_comparison(scanned(metric, trusted, found.compared, phi, late=late))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suffix:
    """How many of the newest intervals hold what is needed, and how much that is.

    Attributes:
        intervals: All that there are, where they do not hold enough.
        have: What they hold.
        required: What is needed of it.
        what: What is counted.
    """

    intervals: int
    have: float
    required: float
    what: str

    @property
    def enough(self) -> bool:
        return self.have >= self.required


def _recent(look: Look, metric: Metric, counts: Counts, found: Assessed, phi: float) -> Recent:
    comparison, factor = found.comparison, look.newest.factor
    p_whole = found.p_within
    if comparison is None or factor is None or p_whole is None or p_whole > _HOPELESS:
        return _nothing(look, shown=False)
    some = counts.since(look.newest.since)
    needs = [_for_margin(look, metric, some, comparison, phi), _for_limit(look, metric, some, comparison, phi)]
    known = [one for one in needs if one is not None]
    if not known:  # no size of it could be told: nothing is asked, and what the whole run shows stands
        return _nothing(look, shown=True)
    longest = max(known, key=lambda one: (one.intervals, one.required / max(one.have, 1e-300)))
    p_within = None
    # one look, or a planned end, has no more than there is
    if longest.enough or look.newest.decides:
        last = some.since(some.events_canary.size - longest.intervals)
        p_within = _p_of(look, metric, last, comparison, phi)
    return newest(
        look,
        intervals=longest.intervals,
        have=longest.have,
        required=longest.required,
        p_within=p_within,
        what=longest.what,
    )


def _nothing(look: Look, *, shown: bool) -> Recent:
    """The newest data are not asked."""
    return Recent(seconds=0.0, factor=look.newest.factor or 0.0, shown=shown, p_within=None, have=0.0, required=None)


def _margin(metric: Metric, comparison: Comparison, factor: float) -> Margin | None:
    """The part of the margin that is in use, so many times as wide."""
    margin = metric.parsed_margin()
    if margin is None:
        return None
    if comparison.scale is Scale.DIFFERENCE and margin.absolute is not None:
        margin = Margin(absolute=margin.absolute)
    elif margin.relative is not None:
        margin = Margin(relative=margin.relative)
    wide = widened(margin, factor, metric.harm)
    if wide is None or wide.absolute is None or not metric.is_proportion:
        return wide
    # a share cannot rise beyond 1, nor fall below 0: half of the way that is left
    rate, once = comparison.baseline or 0.0, margin.absolute or 0.0
    room = rate if metric.harm is Harm.DECREASE else 1 - rate
    return replaced(wide, absolute=min(wide.absolute, max(once, (once + room) / 2)))


def _for_margin(look: Look, metric: Metric, some: Counts, comparison: Comparison, phi: float) -> _Suffix | None:
    margin = _margin(metric, comparison, look.newest.factor or 0.0)
    if margin is None:
        return None
    alpha, power = look.config.false_pass_rate, look.newest.power
    events, share, canary = _held(some)
    if margin.relative is None:
        rate = ((comparison.events_baseline or 0.0) + (comparison.events_canary or 0.0)) / (
            comparison.n_baseline + comparison.n_canary
        )
        bound = rate + (margin.absolute or 0.0) * (-1 if metric.harm is Harm.DECREASE else 1)
        bound = min(max(bound, rate / 2), (1 + rate) / 2)
        if bound == rate:  # everything, or nothing, is an event already
            return None
        per_side = proportions_sample_size(max(rate, 1e-12), bound, alpha=alpha, power=power)
        return _shortest(canary / phi, per_side / 2 / np.maximum(1 - share, 1e-12), "canary requests")
    # given all events, those of the canary are binomial: with its share of the exposure when nothing has changed
    ratio = margin.factor(upward=metric.harm is not Harm.DECREASE)
    worse = share * ratio / (share * ratio + 1 - share)
    spread = special.ndtri(1 - alpha) * np.sqrt(worse * (1 - worse)) + special.ndtri(power) * np.sqrt(
        share * (1 - share)
    )
    required = share * (spread / np.maximum(np.abs(worse - share), 1e-12)) ** 2
    return _shortest(events * share / phi, required, "expected canary events")


def _for_limit(look: Look, metric: Metric, some: Counts, comparison: Comparison, phi: float) -> _Suffix | None:
    limit = metric.parsed_limit()
    if limit is None or comparison.n_canary <= 0:
        return None
    size = limit_sample_size(
        limit=_bound(metric, limit, look.newest.factor or 0.0),
        rate=well_within(limit, harm=metric.harm, proportion=metric.is_proportion),
        proportion=metric.is_proportion,
        alpha=look.config.false_pass_rate,
        power=look.newest.power,
    )
    canary = _held(some)[2]
    return _shortest(canary / phi, np.full(canary.size, size), "canary requests")


def _bound(metric: Metric, limit: float, factor: float) -> float:
    """The limit, exceeded so many times.

    Of a share that must be large, twice as many may be lacking: 90 % becomes 80 %. Where that leaves the range of
    shares, half of what is left of it is asked for.
    """
    if not metric.is_proportion:
        return limit * factor if metric.harm is Harm.INCREASE else limit / factor
    lacking = limit if metric.harm is Harm.INCREASE else 1 - limit
    wide = min(lacking * factor, (1 + lacking) / 2)
    return wide if metric.harm is Harm.INCREASE else 1 - wide


def _held(some: Counts) -> tuple[Float, Float, Float]:
    """Of the newest 1, 2, ... intervals: events of both sides, the canary's share of the exposure, its exposure."""
    both = both_exposed(some)

    def summed(values: Float) -> Float:
        found: Float = np.where(both, values, 0.0)[::-1].cumsum()
        return found

    baseline, canary = summed(some.exposure_baseline), summed(some.exposure_canary)
    share = np.divide(canary, baseline + canary, out=np.zeros_like(canary), where=canary > 0)
    return summed(some.events_baseline + some.events_canary), share, canary


def _shortest(have: Float, required: Float, what: str) -> _Suffix:
    """The fewest of the newest intervals that hold what is needed; all of them where that is not enough."""
    number = np.arange(1, have.size + 1)
    # where one side has nothing nothing is required, and nothing can be told
    enough = np.flatnonzero((have > 0) & (have >= required) & (number >= _FEWEST_INTERVALS))
    at = int(enough[0]) if enough.size else have.size - 1
    if at < 0:
        return _Suffix(intervals=0, have=0.0, required=math.inf, what=what)
    return _Suffix(intervals=at + 1, have=float(have[at]), required=float(required[at]), what=what)


def _p_of(look: Look, metric: Metric, last: Counts, comparison: Comparison, phi: float) -> float:
    """The p-value of harm of that size in the newest intervals."""
    factor, proportion, limit = look.newest.factor or 0.0, metric.is_proportion, metric.parsed_limit()
    p_values = [0.0]
    margin = _margin(metric, comparison, factor)
    if margin is not None:
        p_values.append(margin_ruled_out(last, harm=metric.harm, margin=margin, proportion=proportion, phi=phi))
    if limit is not None:
        check = limit_counts(last, limit=_bound(metric, limit, factor), harm=metric.harm, proportion=proportion)
        p_values.append(1.0 if check is None else check.p_within_limit)
    return max(p_values)


def tolerated(margin: Margin | None, comparison: Comparison, harm: Harm) -> list[tuple[float, bool]]:
    """The margin as log ratios of rates, each with its direction (upwards or not); none where it is no ratio.

    Of "1.5x or +0.1pp" the larger one counts, so an absolute part needs the baseline's rate: three standard errors
    below the estimate, where a margin is wider and harm is shown later.
    """
    if margin is None:
        return []
    share = margin.relative or 0.0
    if margin.absolute is not None:
        events = comparison.events_baseline or 0.0
        lowest = (events - _FAR_BELOW * math.sqrt(events)) / comparison.n_baseline
        if lowest <= 0:
            return []
        share = max(share, margin.absolute / lowest)
    return nulls(share, harm)


def nulls(share: float, harm: Harm) -> list[tuple[float, bool]]:
    """A relative margin as log ratios, each with its direction."""
    return [(math.log1p(share if up else -share), up) for up in directions(harm) if share > 0 and (up or share < 1)]


def _for_harm(metric: Metric, counts: Counts, quality: Quality | None) -> Counts:
    """The counts of which harm may be said: not where the better side's events are unknown for too long."""
    if quality is None:
        return counts
    stopped = np.zeros(counts.events_canary.size, dtype=bool)
    for side, harm in ((Side.BASELINE, Harm.INCREASE), (Side.CANARY, Harm.DECREASE)):
        if metric.harm in (harm, Harm.EITHER):
            exposed = getattr(counts, f"exposure_{side}") > 0
            none = exposed & (getattr(counts, f"events_{side}") == 0)
            run = improbable_run(none[exposed])
            unknown = getattr(quality, f"absent_events_{side}") >= run.sum() or getattr(quality, f"lost_events_{side}")
            if unknown:  # else they are known to be none
                stopped[exposed] |= run
    if not stopped.any():
        return counts
    exposure = {
        name: np.where(stopped, 0.0, getattr(counts, name)) for name in ("exposure_baseline", "exposure_canary")
    }
    return replaced(counts, **exposure)


def _with_late(look: Look, counts: Counts, recent: Recent, late: StartEvidence) -> Recent:
    recent = replaced(recent, worse=late.worse)
    if late.worse < NOT_WORSE_LATELY:
        return recent
    index = np.arange(counts.events_canary.size)
    both = both_exposed(counts)
    after, before = (counts.select(both & part).total() for part in (index >= late.since, index < late.since))
    length = (index.size - late.since) * look.config.interval
    change = ""
    # a fault that was there from nearly the beginning has no "before"
    if _ratio(before) is not None and late.since >= index.size * _A_BEGINNING:
        earlier = f"{_told(before)} in the {format_duration(late.since * look.config.interval)} before"
        change = f"worse in the last {format_duration(length)} ({_told(after)}), {earlier}"
    return replaced(recent, shown=False, worse_seconds=length / timedelta(seconds=1), change=change)


def _ratio(one: Counts) -> float | None:
    if not one.events_baseline.size or one.events_baseline[0] == 0:
        return None
    rates = one.events_canary[0] / one.exposure_canary[0], one.events_baseline[0] / one.exposure_baseline[0]
    return float(rates[0] / rates[1])


def _told(one: Counts) -> str:
    ratio = _ratio(one)
    numbers = (one.events_canary, one.exposure_canary, one.events_baseline, one.exposure_baseline)
    c, n_c, b, n_b = (f"{values[0]:,.0f}" for values in numbers)
    return ("" if ratio is None else f"{ratio:.3g}x, ") + f"{c} of {n_c} against {b} of {n_b}"
