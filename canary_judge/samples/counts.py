"""Events and exposure of both sides, interval by interval: read, what was odd about them, and what that forbids."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from canary_judge.arrays import Bool, Float, Int, distinct
from canary_judge.config.metrics import LatencyMetric, RateMetric, RatioMetric
from canary_judge.results import Quality, Side, Sides
from canary_judge.samples.counters import CountedSide, empty_side, first_seen, increments, note_first_seen
from canary_judge.samples.data import CountData, MetricSamples
from canary_judge.samples.grid import (
    Parts,
    Unusable,
    coverage,
    intervals,
    late,
    pause,
    refuse_huge,
    refuse_shared_series,
)
from canary_judge.samples.makeup import foreign_series, misspelt_matcher
from canary_judge.samples.raw import far_faster, zeros_alone
from canary_judge.series import Form, Result, Series, format_duration, selector
from canary_judge.stats.counts import Counts

__all__ = ["count_samples", "no_counts"]

# Where the total is so large, less than one event an interval is a share.
_MANY = 10.0
# A larger share of requests below a bound than there are requests is no matter of when each was scraped.
_MOST_BEYOND_ALL = 0.01
# So many latencies are what they usually are.
_ENOUGH = 100
# A bound that is so many times all that was seen is one of another unit.
_FAR = 10.0
# So many broken numbers of events are no rounding; those of a percentage end here.
_SOME, _PERCENT = 3, 100.0
# Multiples of less may be rounded percentages; so far a multiple is off after rounding.
_SMALLEST_UNIT, _ROUNDED = 0.1, 0.01
# So many times the total, and so many events, are no part of it, even in one interval.
_NO_PART, _SURELY_NO_PART = 2.0, 100.0
# Larger sums of ones are rounded.
_MOST_COUNTED = 1e15

_Counted = RatioMetric | RateMetric | LatencyMetric


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """Both sides as they were read.

    Attributes:
        events: Of each side.
        exposure: Of each side: requests, another counter, or observed time.
        unlabelled: Observed time is counted, and the events of a side do not tell its instances apart.
        by_row: Rows that are events themselves: an interval without one had no traffic, and is no gap.
    """

    events: Sides[CountedSide]
    exposure: Sides[CountedSide]
    unlabelled: bool
    by_row: bool

    @property
    def sides(self) -> list[Side]:
        """Those of which anything was read: of the other one there is nothing to object to."""
        return [side for side in Side if self.exposure[side].series]

    @property
    def total(self) -> Sides[float]:
        """Exposure over the whole window."""
        return self.exposure.map(lambda side: float(side.increments.sum()))

    @property
    def happened(self) -> Sides[float]:
        """Events over the whole window."""
        return self.events.map(lambda side: float(side.increments.sum()))


def count_samples(metric: _Counted, parts: Parts, edges: Int) -> MetricSamples:
    """Counts on the grid, with the objections to what was read."""
    for (_, side), result in parts.items():
        for one in result.series:
            refuse_huge(one.values, side)
    if not isinstance(metric, LatencyMetric):
        _refuse_buckets(parts)
    if isinstance(metric, RatioMetric):
        _refuse_what_cannot_match(metric, parts)
    read = _read(metric, parts, edges)
    quality = _quality(read)
    oddities = tuple(_oddities(read, quality))
    if isinstance(metric, LatencyMetric):
        oddities += tuple(_far_off(metric, parts))
    foreign, surely = foreign_series(parts)
    oddities += () if foreign is None or surely else (foreign,)
    doubt = foreign if surely else _misspelt(metric, parts)
    if not any(read.exposure[side].series for side in Side):
        return MetricSamples(data=None, quality=quality, warnings=oddities)
    _refuse_what_cannot_be_counted(read, proportion=metric.is_proportion)
    if isinstance(metric, RatioMetric):
        _refuse_fractions(read)
        _refuse_more_events_than_total(read)
    return MetricSamples(data=_data(read), quality=quality, warnings=oddities, doubt=doubt)


def _misspelt(metric: _Counted, parts: Parts) -> str | None:
    """Why there are no events, where a matcher of their selector can find none; whatever `absent_is_zero` says."""
    if not isinstance(metric, RatioMetric) or any(parts.get(("events", side), Result()).series for side in Side):
        return None
    if not isinstance(metric.events, str) or not isinstance(metric.total, str):
        return None
    return misspelt_matcher(metric.events, metric.total, parts)


# --- reading -----------------------------------------------------------------------------------------------------


def _read(metric: _Counted, parts: Parts, edges: Int) -> _Read:
    both = Sides.of(lambda side: _read_side(metric, parts, edges, side))
    events, exposure = both.map(lambda pair: pair[0]), both.map(lambda pair: pair[1])
    refuse_shared_series(parts)
    zeros = any(events[side].zeros for side in Side)
    for side in Side:
        _leave_out_unobserved(events[side], exposure[side], zeros=zeros)
    timed = isinstance(metric, RateMetric) and metric.exposure is None
    return _Read(
        events=events,
        exposure=exposure,
        unlabelled=timed and not all(events[side].by_instance for side in Side),
        by_row=any(result.form is Form.SAMPLES for result in parts.values()),
    )


def _read_side(metric: _Counted, parts: Parts, edges: Int, side: Side) -> tuple[CountedSide, CountedSide]:
    """Events and exposure of one side."""
    if isinstance(metric, LatencyMetric):
        return _slower(parts.get(("histogram", side), Result()), metric.bound(), edges, side)
    first = first_seen(parts, side)
    part = "total" if isinstance(metric, RatioMetric) else "exposure"
    timed = isinstance(metric, RateMetric) and metric.exposure is None
    exposure = (
        empty_side(edges)
        if timed
        else increments(
            parts.get((part, side), Result()), edges, first, f"{side} {part}", beside=parts.get(("events", side))
        )
    )
    # no more events than there were requests; nothing bounds those of a rate
    most = exposure.increments if isinstance(metric, RatioMetric) else np.full(edges.size - 1, np.inf)
    events = increments(parts.get(("events", side), Result()), edges, first, f"{side} events", most=most)
    if timed:
        seconds = float(edges[1] - edges[0]) / 1e9
        # observed time adds up over instances: ten pods have ten times the chances of one
        return events, events.of(seconds * events.reporting.astype(np.float64))
    return events, exposure


def _leave_out_unobserved(events: CountedSide, exposure: CountedSide, *, zeros: bool) -> None:
    """An interval is observed where its exposure is, and its events. Where no zero is written, an absent one is 0."""
    none = np.zeros(exposure.increments.size, dtype=bool)

    def either(one: Bool | None, other: Bool | None) -> Bool:
        return (none if one is None else one) | (none if other is None else other)

    # of a side without any row nothing tells that its zeros are written
    no_events = either(events.infinite, events.absent if zeros and events.series else None)
    no_exposure = either(exposure.infinite, exposure.absent)
    events.lost += float(events.increments[no_exposure].sum())
    exposure.lost += float(exposure.increments[no_events].sum())
    exposure.covered = exposure.covered & ~(no_events | no_exposure)
    for one in (events, exposure):
        one.increments = np.where(no_events | no_exposure, 0.0, one.increments)
    if events.absent is not None:
        events.absent = events.absent & (exposure.increments > 0)


def _data(read: _Read) -> CountData:
    def events(side: Side) -> Float:
        values = read.events[side].increments
        return values if side in read.sides else np.zeros_like(values)  # without any exposure they say nothing

    exposure = read.exposure.map(lambda side: side.increments)
    happened, chances = read.events.baseline.totals, read.exposure.baseline.totals
    return CountData(
        counts=Counts(
            events_baseline=events(Side.BASELINE),
            exposure_baseline=exposure.baseline,
            events_canary=events(Side.CANARY),
            exposure_canary=exposure.canary,
        ),
        instances={name: (happened.get(name, 0.0), amount) for name, amount in chances.items()},
    )


# --- what was odd, and what it forbids ---------------------------------------------------------------------------


def _quality(read: _Read) -> Quality:
    exposure, total = read.exposure, read.total
    counted = [pair[side] for pair in (exposure, read.events) for side in Side]
    whole = total.baseline + total.canary
    return Quality(
        coverage_baseline=1.0 if read.by_row else coverage(exposure.baseline.covered),
        coverage_canary=1.0 if read.by_row else coverage(exposure.canary.covered),
        silent_baseline=pause(exposure.baseline.increments > 0),
        silent_canary=pause(exposure.canary.increments > 0),
        late_baseline=0 if read.by_row else late(exposure.baseline.covered),
        late_canary=0 if read.by_row else late(exposure.canary.covered),
        resets=sum(one.resets for one in counted),
        resets_canary=exposure.canary.resets + read.events.canary.resets,
        falls=sum(one.falls for one in counted),
        births=sum(one.births for one in counted),
        births_dropped=sum(one.dropped for one in counted),
        non_finite=sum(one.non_finite for one in counted),
        non_finite_canary=exposure.canary.non_finite + read.events.canary.non_finite,
        event_series_baseline=read.events.baseline.series,
        event_series_canary=read.events.canary.series,
        absent_events_baseline=_absent(read.events.baseline),
        absent_events_canary=_absent(read.events.canary),
        zeros_written=any(read.events[side].zeros for side in Side),
        lost_events_baseline=_lost_events(read, Side.BASELINE),
        lost_events_canary=_lost_events(read, Side.CANARY),
        lost_exposure_baseline=exposure.baseline.lost,
        lost_exposure_canary=exposure.canary.lost,
        canary_share=total.canary / whole if whole else None,
        series_baseline=exposure.baseline.series,
        series_canary=exposure.canary.series,
    )


def _lost_events(read: _Read, side: Side) -> float:
    """Events that do not count; of a side whose exposure was not read at all none does."""
    return read.events[side].lost + (0.0 if side in read.sides else float(read.events[side].increments.sum()))


def _absent(events: CountedSide) -> int:
    """Intervals in which no value of the events is read as no event."""
    return 0 if events.absent is None else int(events.absent.sum())


def _oddities(read: _Read, quality: Quality) -> Iterator[str]:
    """What a reader should know, and what forbids nothing."""
    if quality.falls:
        yield (
            f"counters fell {quality.falls} times without a restart (replicas that take turns, a pod that left a sum?) "
            "and counted nothing there; deduplicate the replicas, or query each instance"
        )
    if quality.births_dropped:
        yield (
            f"{quality.births_dropped} counter series appeared inside the window without proof that they began at "
            "zero (no `up` or process_start_time_seconds of their target); their first value is left out"
        )
    for side in Side:
        if _absent(read.events[side]):
            yield (
                f"the {side} has intervals with traffic and without a value of the events; none is written as 0, so "
                "they are read as no events"
            )
    if read.unlabelled:
        yield (
            "the events do not tell instances apart (no label `instance` or `pod`), so each side counts as one, "
            "however many it has; if these differ, leave the label in or give `exposure` (as requests)"
        )


def _far_off(metric: LatencyMetric, parts: Parts) -> Iterator[str]:
    """A bound that nothing comes near, or that all is beyond, is one of another unit; no number, for looks differ."""
    answers = [parts.get(("histogram", side), Result()) for side in Side]
    if not all(one.form is Form.SAMPLES for one in answers):
        return
    sides = [np.concatenate([one.values for one in answer.series] or [np.empty(0)]) for answer in answers]
    known = [values[np.isfinite(values)] for values in sides]
    if all(values.size >= _ENOUGH for values in known):
        if (odd := far_faster(*known)) is not None:
            raise Unusable(odd)  # as slow as that it may be
        if zeros_alone(*known) is not None:  # or a cache that is new
            yield "the canary has latencies of 0 where none of the baseline's is even near: a code for something else?"
    if known[0].size >= _ENOUGH and known[1].size >= _ENOUGH:
        shares = [float((values == metric.bound()).mean()) for values in known]
        if shares[1] > max(_MOST_BEYOND_ALL, 2 * shares[0]):
            raise Unusable(
                f"{shares[1]:.0%} of the canary's latencies equal `slower_than` to the last digit, and {shares[0]:.0%} "
                "of the baseline's: time-outs? Set `slower_than` a little below"
            )
    bound = format_duration(metric.slower_than)
    told = f"`slower_than: {bound}` (they are read in {metric.unit or 's'}): is `unit` right?"
    if sum(values.size for values in known) < _ENOUGH:
        return
    largest = max(values.max(initial=0.0) for values in known)
    if not largest:
        yield "all latencies are 0: is it the right column, or are they rounded to more than they take?"
    elif largest < metric.bound() / _FAR:
        yield f"no latency is even a tenth of {told}"
    baseline = known[0]
    if baseline.size and baseline.min() > metric.bound():
        yield f"all latencies of the baseline are beyond {told}"


def _refuse_buckets(parts: Parts) -> None:
    """Buckets of a histogram are cumulative, so that their sum counts a request once for each."""
    for (part, side), result in parts.items():
        bounds = {_bound(one.labels["le"]) for one in result.series if "le" in one.labels}
        if len(bounds) > 1:
            raise Unusable(
                f"{side} {part}: its series are {len(bounds)} buckets (`le`) of a histogram, so each request counts "
                'many times; give the ..._count series, or one bucket, as le="+Inf"'
            )


def _bound(text: str) -> float | str:
    """A bound, which releases of Prometheus write in other ways (1 and 1.0)."""
    try:
        return float(text)
    except ValueError:
        return text


def _refuse_what_cannot_match(metric: RatioMetric, parts: Parts) -> None:
    """A label that `events` asks for, which one side's series of the same metric lack and all of the other's have.

    Renamed in the new version, it would find nothing there whatever fails. A label that only failures carry is on some
    series only (OpenTelemetry's `error.type`).
    """
    for side, other in ((Side.BASELINE, Side.CANARY), (Side.CANARY, Side.BASELINE)):
        texts = [one if isinstance(one, str) else getattr(one, side.value) for one in (metric.events, metric.total)]
        events, total = (_SELECTOR.fullmatch(text.strip()) for text in texts)
        mine, theirs = (parts.get(("total", one), Result()).series for one in (side, other))
        if events is None or total is None or events[1] != total[1] or not (mine and theirs):
            continue
        for label, sign, wanted in _MATCHED.findall(events[2] or ""):
            if not wanted or (sign == "=~" and _finds_nothing(wanted)):
                continue
            if all(label in one.labels for one in theirs) and not any(label in one.labels for one in mine):
                raise Unusable(
                    f"{side}: no series of {total[1]} has the label `{label}`, which `events` asks for and all of the "
                    f"{other} have: renamed between the versions? Give `events` for each side, as {{baseline: ..., "
                    "canary: ...}"
                )


# A bare selector: its name, and its matchers; of those the ones that need the label.
_SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*(?:\{(.*)\})?", re.DOTALL)
_MATCHED = re.compile(r'(\w+)\s*(=~|=)\s*"((?:[^"\\]|\\.)*)"')


def _finds_nothing(pattern: str) -> bool:
    """Whether a regular expression is true of the empty text, and so of series without the label."""
    try:
        return re.fullmatch(pattern, "") is not None
    except re.error:
        return True


def _refuse_what_cannot_be_counted(read: _Read, *, proportion: bool) -> None:
    for side in read.sides:
        for what, amount in (("events", read.happened[side]), ("of the total", read.total[side])):
            if amount > _MOST_COUNTED:
                raise Unusable(
                    f"{side}: {amount:.3g} {what} are more than {_MOST_COUNTED:g}, which is no longer whole; is the "
                    "unit right?"
                )
        if proportion and 0 < read.total[side] < 1:
            raise Unusable(
                f"{side}: a total of {read.total[side]:.3g} over the whole window is no count; give the number of "
                "requests"
            )


def _refuse_fractions(read: _Read) -> None:
    """A share of the total is no count of events, and would be thousands of times too few."""
    for side in read.sides:
        events, total = read.events[side].increments, read.exposure[side].increments
        some = events > 0
        events, total = events[some], total[some]
        if events.size and events.max() < 1 and total.min() >= _MANY:
            raise Unusable(
                f"{side}: events of {events.max():g} an interval and less, of a total of {total.min():g} and more, "
                "are no counts but a rate or a share; give the number of events, or judge it as `kind: gauge`"
            )
        if (why := no_counts(events, total, fewest=_SOME)) is not None:
            raise Unusable(f"{side}: {why}")


def no_counts(events: Float, total: Float, *, fewest: int) -> str | None:
    """Why events above 0, beside their total, shape (n,) each, are no counts; None where it is not seen.

    Args:
        events: Of each interval with any.
        total: Of the same intervals.
        fewest: So many of them must be no whole numbers, and half of all.
    """
    broken = events[events != np.rint(events)]
    if broken.size < max(events.size / 2, fewest) or events.max() > _PERCENT:
        return None
    if (total != np.rint(total)).any() or _is_scaled(events):  # where both were extrapolated
        return None
    return (
        f"events of {broken[0]:g} in an interval, of a total that is whole, are no counts but a percentage or a rate; "
        "give the number of events, or judge it as `kind: gauge`"
    )


def _is_scaled(events: Float) -> bool:
    """Whether they are multiples of one number: of a sample, scaled up, or with a weight."""
    steps = np.diff(distinct(np.append(0.0, events)))
    unit = float(steps.min())
    return unit > _SMALLEST_UNIT and bool((np.abs(events / unit - np.rint(events / unit)) < _ROUNDED).all())


def _refuse_more_events_than_total(read: _Read) -> None:
    """What is no part of the total; a little more may have begun before (`judging.counts`)."""
    for side in read.sides:
        have, total = read.happened[side], read.total[side]
        if have > _NO_PART * total + _SURELY_NO_PART:
            raise Unusable(f"{side}: {have:g} events out of a total of {total:g}; `events` must be a part of `total`")


# --- histograms --------------------------------------------------------------------------------------------------


def _slower(result: Result, bound: float, edges: Int, side: Side) -> tuple[CountedSide, CountedSide]:
    """Requests slower than the bound, and all requests."""
    if result.form is Form.SAMPLES:
        result = _durations(result)
        exposure = increments(_as_counts(result, np.ones_like), edges, {}, str(side))
        exposure.non_finite = sum(
            int((intervals(one.timestamps, edges)[1] & np.isnan(one.values)).sum()) for one in result.series
        )
        events = increments(_as_counts(result, lambda values: (values > bound).astype(float)), edges, {}, str(side))
        return events, exposure
    buckets: dict[float, list[Series]] = {}
    for one in result.series:
        try:
            buckets.setdefault(float(one.labels["le"]), []).append(one)
        except (KeyError, ValueError):
            raise Unusable(
                f"{side}: the series {selector(one.labels)} has no bucket bound `le`; give a ..._bucket selector"
            ) from None
    if not buckets:
        return empty_side(edges), empty_side(edges)
    fits = [le for le in buckets if np.isclose(le, bound, rtol=1e-9, atol=0)]
    if np.inf not in buckets:
        raise Unusable(
            f'{side}: the histogram has no bucket le="+Inf", which counts all requests; keep it when relabelling'
        )
    if not fits:
        raise Unusable(
            f"{side}: {bound:g} is no bucket bound of the histogram; its bounds are "
            f"{', '.join(f'{le:g}' for le in sorted(buckets))} (in the histogram's unit)"
        )
    instances = [
        {frozenset((name, value) for name, value in one.labels.items() if name != "le") for one in buckets[le]}
        for le in (fits[0], np.inf)
    ]
    if instances[0] != instances[1]:
        lacking = selector(dict(min(instances[0] ^ instances[1], key=sorted)))
        raise Unusable(f"{side}: {lacking} has not the bucket {bound:g}; all instances need the same bounds")
    first: dict[tuple[str, str], int] = {}
    note_first_seen(result, first)
    exposure = increments(replace(result, series=tuple(buckets[np.inf])), edges, first, f"{side} histogram")
    faster = increments(replace(result, series=tuple(buckets[fits[0]])), edges, first, f"{side} histogram")
    below, requests = float(faster.increments.sum()), float(exposure.increments.sum())
    if below > (1 + _MOST_BEYOND_ALL) * requests:
        raise Unusable(
            f'{side}: the bucket {bound:g} has {below:.0f} requests, more than the {requests:.0f} of le="+Inf", which '
            "counts all; are buckets of several histograms mixed?"
        )
    slow = np.maximum(exposure.increments - faster.increments, 0.0)
    events = exposure.of(slow)
    events.totals = {name: max(all_ - faster.totals.get(name, 0.0), 0.0) for name, all_ in exposure.totals.items()}
    return events, exposure


def _durations(result: Result) -> Result:
    """With what is below 0 as no number: nothing takes less than no time, and -1 is how time-outs are written."""
    series = (replace(one, values=np.where(one.values < 0, np.nan, one.values)) for one in result.series)
    return replace(result, series=tuple(series))


def _as_counts(result: Result, count: Callable[[Float], Float]) -> Result:
    numbers = [(one, ~np.isnan(one.values)) for one in result.series]
    series = tuple(
        replace(one, timestamps=one.timestamps[number], values=count(one.values[number])) for one, number in numbers
    )
    return replace(result, series=series, form=Form.COUNTS)
