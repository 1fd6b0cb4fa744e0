"""From raw series to what is compared: one grid for both sides, exact counts, and what had to be dropped.

Both sides are put on the same intervals. Gaps stay gaps. A counter becomes events per interval by its differences: a
decrease is a reset, a series that appears inside the window counts from zero only where that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.arrays import Bool, Float, Int
from canary_judge.config.metrics import GaugeMetric, LatencyMetric, RateMetric, RatioMetric, SamplesMetric
from canary_judge.config.model import JudgeConfig
from canary_judge.results import Quality, Side
from canary_judge.samples.counters import (
    CountedSide,
    Unusable,
    first_samples,
    increments,
    intervals,
    note_first,
    nothing,
)
from canary_judge.samples.gauges import instance_names, levels, levels_before, rows_of, selector
from canary_judge.series import Form, Query, Result, Series, Window
from canary_judge.stats.counts import Counts

if TYPE_CHECKING:
    from canary_judge.config.metrics import Metric


__all__ = ["CountData", "GaugeData", "MetricSamples", "RawData", "Samples", "collect"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GaugeData:
    """Values on the grid: shape (instances, intervals), NaN for gaps; history has shape (h,).

    Attributes:
        baseline: One row per instance; a single row without `by`.
        canary: The same for the canary.
        history: The baseline before the window.
        simultaneous: The sides' intervals are the same moments.
        names_baseline: Which instance each row is, with `by`.
        names_canary: The same for the canary.
        before_baseline: Each instance before the window, in the order of the rows; empty when there is no record.
        before_canary: The same for the canary.
    """

    baseline: Float
    canary: Float
    history: Float = field(default_factory=lambda: np.empty(0))
    simultaneous: bool = True
    names_baseline: tuple[str, ...] = ()
    names_canary: tuple[str, ...] = ()
    before_baseline: Float = field(default_factory=lambda: np.empty((0, 0)))
    before_canary: Float = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountData:
    """Events and exposure on the grid, shape (intervals,).

    `instances` has the events and the exposure of each instance of the baseline, where the labels tell them apart.
    """

    counts: Counts
    instances: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawData:
    """Raw values in order of time, shape (n,) each, and the interval of each where it is known."""

    baseline: Float
    canary: Float
    interval_baseline: Int = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    interval_canary: Int = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricSamples:
    """All that is known of one metric.

    Attributes:
        data: What is compared; None when there is nothing, or `error` says why not.
        quality: What had to be dropped.
        warnings: What a reader should know.
        complete: False when the source may have left something out.
        error: Why the metric cannot be judged.
    """

    data: GaugeData | CountData | RawData | None
    quality: Quality | None = None
    warnings: tuple[str, ...] = ()
    complete: bool = True
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Samples of all metrics over one aligned window."""

    window: Window
    metrics: Mapping[str, MetricSamples]


# More undefined raw values than this may hide the worst ones (time-outs have no latency).
_MOST_UNDEFINED = 0.01
# Where so many events are expected, none at all is less likely than a wrong selector.
_MANY_EVENTS = 10.0


def collect(config: JudgeConfig, window: Window, answers: Iterable[tuple[Query, Result]]) -> Samples:
    """Put the answers to `config.queries()` (and `history_queries()`) on the window's grid.

    Args:
        config: The config that made the queries.
        window: Aligned to the config's interval.
        answers: Each query with its result.
    """
    found: dict[str, dict[tuple[str, Side], Result]] = {metric.name: {} for metric in config.metrics}
    for query, result in answers:
        found[query.metric][query.part, query.side] = result
    edges = window.edges(config.interval)
    metrics = {}
    for metric in config.metrics:
        parts = found[metric.name]
        warnings = tuple(dict.fromkeys(text for result in parts.values() for text in result.warnings))
        complete = all(result.complete for result in parts.values())
        try:
            refused = [
                f"{side} {part}: {r.error}" for (part, side), r in parts.items() if r.error and part != "history"
            ]
            if refused:
                raise Unusable(refused[0])
            samples = _metric_samples(metric, parts, edges)
        except Unusable as error:
            samples = MetricSamples(data=None, error=str(error))
        metrics[metric.name] = replace(
            samples, warnings=(*warnings, *samples.warnings), complete=complete and samples.complete
        )
    return Samples(window=window, metrics=metrics)


def _metric_samples(metric: Metric, parts: Mapping[tuple[str, Side], Result], edges: Int) -> MetricSamples:
    for (part, side), result in parts.items():
        for series in result.series:
            _check_order(series, result.form, f"{side} {part}")
    if isinstance(metric, GaugeMetric):
        return _gauge(metric, parts, edges)
    if isinstance(metric, SamplesMetric):
        return _raw(parts, edges)
    return _counts(metric, parts, edges)


def _check_order(series: Series, form: Form, where: str) -> None:
    steps = np.diff(series.timestamps)
    if (steps < 0).any():
        raise Unusable(f"{where}: the source returned points out of order; it must sort them by time")
    if form is not Form.SAMPLES and (steps == 0).any():
        when = np.datetime64(int(series.timestamps[1:][steps == 0][0]), "ns")
        raise Unusable(f"{where}: the source returned two points of one series at {when}Z; keep one")


# --- gauges and raw values ---------------------------------------------------------------------------------------


def _gauge(metric: GaugeMetric, parts: Mapping[tuple[str, Side], Result], edges: Int) -> MetricSamples:
    matrices: dict[Side, Float] = {}
    names: dict[Side, tuple[str, ...]] = {}
    non_finite = 0
    for side in Side:
        result = parts.get(("value", side), Result())
        if result.form is not Form.LEVEL:
            raise Unusable(f"{side}: the source answered with {result.form.value}, but a gauge needs levels")
        matrices[side], bad = levels(result.series, metric.by, edges, side)
        names[side] = instance_names(result.series, metric.by)
        non_finite += bad
    baseline, canary = matrices[Side.BASELINE], matrices[Side.CANARY]
    warnings: list[str] = []
    before = {
        side: levels_before(parts.get(("history", side), Result()), metric.by, edges, side, warnings) for side in Side
    }
    history = before[Side.BASELINE][1][0] if not metric.by and len(before[Side.BASELINE][1]) else np.empty(0)
    if not baseline.size and not canary.size:
        return MetricSamples(data=None, warnings=tuple(warnings))
    present = {side: np.logical_or.reduce(~np.isnan(matrix), axis=0) for side, matrix in matrices.items()}
    quality = Quality(
        coverage_baseline=_coverage(present[Side.BASELINE]),
        coverage_canary=_coverage(present[Side.CANARY]),
        silent_baseline=_silence(present[Side.BASELINE]),
        silent_canary=_silence(present[Side.CANARY]),
        non_finite=non_finite,
        series_baseline=len(baseline),
        series_canary=len(canary),
    )
    if not all(matrix.size and (~np.isnan(matrix)).any() for matrix in matrices.values()):
        return MetricSamples(data=None, quality=quality, warnings=tuple(warnings))
    if not metric.by:
        both = present[Side.BASELINE] & present[Side.CANARY]
        # only intervals that both sides saw are compared: what one side alone lived through is no effect
        baseline, canary = (np.where(both, matrix, np.nan) for matrix in (baseline, canary))
        if not both.any():
            raise Unusable(
                "the sides have no interval in common; to compare two periods, shift one onto the other "
                "(FrameSource: align='start')"
            )
    return MetricSamples(
        data=GaugeData(
            baseline=baseline,
            canary=canary,
            history=history,
            simultaneous=all(result.simultaneous for result in parts.values()),
            names_baseline=names[Side.BASELINE],
            names_canary=names[Side.CANARY],
            before_baseline=rows_of(names[Side.BASELINE], *before[Side.BASELINE]),
            before_canary=rows_of(names[Side.CANARY], *before[Side.CANARY]),
        ),
        quality=quality,
        warnings=tuple(warnings),
    )


def _raw(parts: Mapping[tuple[str, Side], Result], edges: Int) -> MetricSamples:
    values: dict[Side, Float] = {}
    places: dict[Side, Int] = {}
    covered: dict[Side, Bool] = {}
    bad = 0
    for side in Side:
        result = parts.get(("value", side), Result())
        times = np.concatenate([one.timestamps for one in result.series] or [np.empty(0, dtype=np.int64)])
        points = np.concatenate([one.values for one in result.series] or [np.empty(0)])
        order = np.argsort(times, kind="stable")
        interval, inside = intervals(times[order], edges)
        finite = np.isfinite(points[order])
        bad += int((inside & ~finite).sum())
        values[side] = points[order][inside & finite]
        places[side] = interval[inside & finite]
        covered[side] = np.bincount(interval[inside & finite], minlength=edges.size - 1) > 0
    total = values[Side.BASELINE].size + values[Side.CANARY].size
    quality = Quality(
        coverage_baseline=_coverage(covered[Side.BASELINE]),
        coverage_canary=_coverage(covered[Side.CANARY]),
        silent_baseline=_silence(covered[Side.BASELINE]),
        silent_canary=_silence(covered[Side.CANARY]),
        non_finite=bad,
        canary_share=values[Side.CANARY].size / total if total else None,
        series_baseline=len(parts.get(("value", Side.BASELINE), Result()).series),
        series_canary=len(parts.get(("value", Side.CANARY), Result()).series),
    )
    if not (values[Side.BASELINE].size and values[Side.CANARY].size):
        return MetricSamples(data=None, quality=quality)
    undefined = bad / (bad + total)
    hidden = undefined > _MOST_UNDEFINED
    said = f"{bad} values are NaN or infinite, {undefined:.1%} of all: they may be the worst ones"
    return MetricSamples(
        data=RawData(
            baseline=values[Side.BASELINE],
            canary=values[Side.CANARY],
            interval_baseline=places[Side.BASELINE],
            interval_canary=places[Side.CANARY],
        ),
        quality=quality,
        warnings=(said,) if hidden else (),
        complete=not hidden,
    )


# --- counts ------------------------------------------------------------------------------------------------------


def _counts(
    metric: RatioMetric | RateMetric | LatencyMetric, parts: Mapping[tuple[str, Side], Result], edges: Int
) -> MetricSamples:
    events: dict[Side, CountedSide] = {}
    exposure: dict[Side, CountedSide] = {}
    warnings: list[str] = []
    unlabelled: set[Side] = set()
    for side in Side:
        if isinstance(metric, LatencyMetric):
            result = parts.get(("histogram", side), Result())
            events[side], exposure[side] = _slower(result, metric.bound(), edges, side)
            continue
        first = first_samples(parts, side)
        events[side] = increments(parts.get(("events", side), Result()), edges, first, f"{side} events")
        if isinstance(metric, RateMetric) and metric.exposure is None:
            seconds = float(edges[1] - edges[0]) / 1e9
            # observed time adds up over instances: ten pods have ten times the chances of one
            exposure[side] = events[side].of(seconds * events[side].reporting.astype(np.float64))
            if not events[side].by_instance:
                unlabelled.add(side)
        else:
            part = "total" if isinstance(metric, RatioMetric) else "exposure"
            exposure[side] = increments(parts.get((part, side), Result()), edges, first, f"{side} {part}")
    _refuse_shared_series(parts)
    for side in Side:
        for one in (events[side], exposure[side]):
            if one.unobserved is not None:
                for other in (events[side], exposure[side]):
                    other.increments = np.where(one.unobserved, 0.0, other.increments)
                    other.covered = other.covered & ~one.unobserved
    shared = [exposure[side] for side in Side] + [events[side] for side in Side]
    total = {side: float(exposure[side].increments.sum()) for side in Side}
    # rows that are events themselves have no gaps: an interval without one had no traffic
    by_row = any(result.form is Form.SAMPLES for result in parts.values())
    quality = Quality(
        coverage_baseline=1.0 if by_row else _coverage(exposure[Side.BASELINE].covered),
        coverage_canary=1.0 if by_row else _coverage(exposure[Side.CANARY].covered),
        silent_baseline=_silence(exposure[Side.BASELINE].increments > 0),
        silent_canary=_silence(exposure[Side.CANARY].increments > 0),
        resets=sum(side.resets for side in shared),
        births=sum(side.births for side in shared),
        births_dropped=sum(side.dropped for side in shared),
        non_finite=sum(side.non_finite for side in shared),
        canary_share=total[Side.CANARY] / sum(total.values()) if sum(total.values()) else None,
        series_baseline=exposure[Side.BASELINE].series,
        series_canary=exposure[Side.CANARY].series,
    )
    if quality.births_dropped:
        warnings.append(
            f"{quality.births_dropped} counter series appeared inside the window without proof that they began at "
            "zero (no `up` or process_start_time_seconds of their target); their first value is left out"
        )
    if unlabelled:
        warnings.append(
            "the events do not tell instances apart (no label `instance` or `pod`), so each side counts as one, "
            "however many it has; if these differ, leave the label in or give `exposure` (as requests)"
        )
    if not all(exposure[side].series for side in Side):
        return MetricSamples(data=None, quality=quality, warnings=tuple(warnings))
    if isinstance(metric, RatioMetric):
        for side in Side:
            have = float(events[side].increments.sum())
            if have > total[side] * (1 + 1e-9) and have > 0:
                raise Unusable(
                    f"{side}: {have:g} events out of a total of {total[side]:g}; `events` must be a part of `total`"
                )
    complete = True
    undefined = quality.non_finite / max(int(total[Side.BASELINE] + total[Side.CANARY]), 1)
    if by_row and undefined > _MOST_UNDEFINED:
        complete = False
        warnings.append(f"{quality.non_finite} values are NaN, {undefined:.1%} of all: they may be the slow ones")
    absent = not isinstance(metric, LatencyMetric) and not any(events[side].series for side in Side)
    if absent and not metric.absent_is_zero:  # type: ignore[union-attr]
        complete = False
        warnings.append(
            "no event series on either side: no events, or a misspelt selector? Create the series at start-up, "
            "or set `absent_is_zero: true` if the selector is right"
        )
    if not isinstance(metric, LatencyMetric) and events[Side.BASELINE].series and not events[Side.CANARY].series:
        expected = float(events[Side.BASELINE].increments.sum()) / (total[Side.BASELINE] or 1.0) * total[Side.CANARY]
        if expected >= _MANY_EVENTS and not metric.absent_is_zero:
            complete = False
            warnings.append(
                f"the canary has no event series at all where {expected:.0f} events were to be expected: a misspelt "
                "selector? Set `absent_is_zero: true` if the selector is right"
            )
    proportion = metric.is_proportion
    counts = Counts(
        events_baseline=events[Side.BASELINE].increments,
        exposure_baseline=_at_least(exposure, events, Side.BASELINE, proportion=proportion),
        events_canary=events[Side.CANARY].increments,
        exposure_canary=_at_least(exposure, events, Side.CANARY, proportion=proportion),
    )
    happened, chances = events[Side.BASELINE].totals, exposure[Side.BASELINE].totals
    instances = {name: (happened.get(name, 0.0), amount) for name, amount in chances.items()}
    data = CountData(counts=counts, instances=instances)
    return MetricSamples(data=data, quality=quality, warnings=tuple(warnings), complete=complete)


def _at_least(
    exposure: dict[Side, CountedSide], events: dict[Side, CountedSide], side: Side, *, proportion: bool
) -> Float:
    """Exposure per interval, never fewer requests than events: a dropped birth may have taken requests away."""
    values = exposure[side].increments
    return np.maximum(values, events[side].increments) if proportion else values


def _slower(result: Result, bound: float, edges: Int, side: Side) -> tuple[CountedSide, CountedSide]:
    """Requests slower than the bound, and all requests."""
    if result.form is Form.SAMPLES:
        exposure = increments(_as_counts(result, np.ones_like), edges, {}, str(side))
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
        return nothing(edges), nothing(edges)
    fits = [le for le in buckets if np.isclose(le, bound, rtol=1e-9, atol=0)]
    if not fits or np.inf not in buckets:
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
    note_first(result, first)
    exposure = increments(replace(result, series=tuple(buckets[np.inf])), edges, first, f"{side} histogram")
    faster = increments(replace(result, series=tuple(buckets[fits[0]])), edges, first, f"{side} histogram")
    slow = np.maximum(exposure.increments - faster.increments, 0.0)
    events = exposure.of(slow)
    events.totals = {name: max(all_ - faster.totals.get(name, 0.0), 0.0) for name, all_ in exposure.totals.items()}
    return events, exposure


def _as_counts(result: Result, count: Callable[[Float], Float]) -> Result:
    series = tuple(
        replace(one, values=np.where(np.isnan(one.values), np.nan, count(one.values))) for one in result.series
    )
    return replace(result, series=series, form=Form.COUNTS)


def _refuse_shared_series(parts: Mapping[tuple[str, Side], Result]) -> None:
    """A baseline selector that also matches the canary's series would dilute every difference."""
    seen: dict[tuple[str, frozenset[tuple[str, str]]], Side] = {}
    for (part, side), result in parts.items():
        for one in result.series if result.form is Form.COUNTER else ():
            key = (part, frozenset(one.labels.items()))
            if one.labels and seen.setdefault(key, side) is not side:
                raise Unusable(
                    f"baseline and canary both select the series {selector(one.labels)}; make the selectors exclusive"
                )


# --- shared ------------------------------------------------------------------------------------------------------


def _coverage(present: Bool) -> float:
    """Share of the intervals with a value, from the first one with any: a side may be younger than the window."""
    return float(present[int(np.argmax(present)) :].mean()) if present.any() else 0.0


def _silence(present: Bool) -> int:
    """Intervals without a value at the end of the window."""
    return int(np.argmax(present[::-1])) if present.any() else present.size
