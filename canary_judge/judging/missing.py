"""What is missing, and so forbids to find a metric safe; nothing of it depends on how one looks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from canary_judge.config.metrics import LatencyMetric, Metric, RateMetric, RatioMetric
from canary_judge.judging.doubts.alone import compared_with_nothing
from canary_judge.judging.doubts.made_up import made_up
from canary_judge.judging.look import Look
from canary_judge.judging.silence import fell_silent, heard, improbable_run, longest_run
from canary_judge.results import Quality, Side
from canary_judge.samples import AnyData, CountData, GaugeData, MetricSamples, RawData, UserData
from canary_judge.series import format_duration
from canary_judge.stats.counts import Counts, both_exposed

__all__ = ["objections", "rarer_than_intervals"]

# Below this coverage a series says little on the window; and a canary that reports so much less than the baseline
# may be failing exactly when it is silent.
_LEAST_COVERAGE = 0.5
_WORST_ASYMMETRY = 0.2
# Where so many events are expected, none at all is less likely than a wrong selector.
_TOO_MANY_TO_BE_ABSENT = 10.0
# `or vector(0)`, `or on() vector(0)`, `or 0 * ...`, `or (... * 0)`
_VECTOR = re.compile(r"\bor\b.*?(\bvector\s*\(\s*0(\.0*)?\s*\)|(?<![\w.])0(\.0*)?\s*\*|\*\s*0(?![\w.]))", re.DOTALL)
# A process that begins anew so often (in all, and in an hour: Kubernetes waits five minutes at most), and so many times
# as often as the baseline's, dies of something.
_OFTEN, _AN_HOUR, _OFTENER = 3.0, 4.0, 4.0
# Where a larger share of a side's events may have been left out, they could hide harm.
_MOST_LOST = 0.05
# More undefined values than this may hide the worst ones; a level may be 0 / 0 in an interval without traffic.
_MOST_UNDEFINED, _MOST_UNDEFINED_LEVELS = 0.01, 0.05
# So large a share of the points must be as far apart as they usually are.
_REGULAR = 0.8
# Of events in fewer intervals one cannot tell whether they come in clumps.
_FEWEST_TOGETHER = 3
# From so many on one can tell what the values are like.
_SOME = 3
# Of the mean exposure: with less of it an interval says nothing of events that are missing.
_BUSY = 0.1


class Objection(NamedTuple):
    """Why a metric cannot be found safe.

    Attributes:
        text: In words.
        settles: Nothing can be told of it at all.
        early: There is too little of it yet: no reason to doubt what there is.
    """

    text: str
    settles: bool = False
    early: bool = False


def objections(look: Look, metric: Metric, samples: MetricSamples) -> Iterator[Objection]:
    """Why the metric cannot be found safe."""
    if isinstance(samples.data, UserData):
        return  # of users other things are missing (judging.users)
    quality = samples.quality
    told = samples.complete
    for one in () if quality is None else _of_quality(look, metric, samples, quality):
        told = True
        yield one
    if samples.data is not None and (same := made_up(samples.data)) is not None:
        told = True
        yield Objection(same)
    if samples.data is not None:
        alone = compared_with_nothing(look, metric, samples.data, quality)
        told = told or alone is not None
        yield from () if alone is None else (Objection(alone),)
    if not told:
        yield Objection("the source may have left data out")


def rarer_than_intervals(look: Look, data: GaugeData | CountData | RawData) -> str | None:
    """What to set where points come at every second interval or more rarely, regularly and on both sides; else None."""
    spacing = []
    for side in Side:
        where = np.flatnonzero(heard(data, side))
        # the usual step is 2 only where half of them are, so they must add up
        if where.size <= _SOME or where[-1] - where[0] < 1.5 * (where.size - 1):
            return None
        steps = np.diff(where)
        usual = float(np.median(steps))
        if usual < 2 or (steps == usual).mean() < _REGULAR:
            return None
        spacing.append(usual)
    seconds = look.config.interval.total_seconds() * max(spacing)
    wanted = format_duration(timedelta(seconds=2 * seconds))
    return (
        f"points come every {format_duration(timedelta(seconds=seconds))} only, more rarely than the interval of "
        f"{format_duration(look.config.interval)}; set `interval: {wanted}`"
    )


def _of_quality(look: Look, metric: Metric, samples: MetricSamples, quality: Quality) -> Iterator[Objection]:
    if not isinstance(samples.data, RawData):
        least = min(quality.coverage_baseline, quality.coverage_canary)
        asymmetry = quality.coverage_baseline - quality.coverage_canary
        text = (
            f"{quality.coverage_baseline:.0%} of the baseline's intervals and {quality.coverage_canary:.0%} of the "
            "canary's, each since its first one, have values"
        )
        if isinstance(samples.data, GaugeData) and least < _LEAST_COVERAGE:
            yield Objection(f"data are missing: only {text}", settles=True)
            return
        if least < _LEAST_COVERAGE or asymmetry > _WORST_ASYMMETRY:
            yield Objection(f"data are missing: {text}")
    if isinstance(samples.data, CountData):
        counts = samples.data.counts
        together = int(both_exposed(counts).sum())
        if together < _FEWEST_TOGETHER:
            intervals = "1 interval has" if together == 1 else f"{together} intervals have"
            text = (
                f"{intervals} traffic on both sides: whether events come in clumps, or late, cannot be told of fewer "
                f"than {_FEWEST_TOGETHER}; wait, or set a shorter `interval`"
            )
            yield Objection(text, early=True)
        hours = look.intervals * look.config.interval / timedelta(hours=1)
        wrong = _absent(metric, counts, quality), _lost(counts, quality), _unseen(metric, counts, quality)
        yield from (Objection(text) for text in (*itertools.chain(*wrong), *_dies(quality, hours)))
    yield from (Objection(text) for text in _undefined(metric, samples.data, quality))
    if (silence := fell_silent(samples, quality, look.intervals)) is not None:
        yield Objection(silence)


def _absent(metric: Metric, counts: Counts, quality: Quality) -> Iterator[str]:
    """Event series that are not there: no events, or a misspelt selector?"""
    if not isinstance(metric, RatioMetric | RateMetric) or metric.absent_is_zero:
        return
    rate = counts.events_baseline.sum() / (counts.exposure_baseline.sum() or 1.0)
    expected = rate * counts.exposure_canary.sum()
    text = metric.events if isinstance(metric.events, str) else metric.events.canary
    if (hidden := _VECTOR.search(text)) and not counts.events_canary.any():
        hides = (
            f"and `{hidden[0]}` hides a selector that finds nothing: leave it out, or set `absent_is_zero: true` if "
            "the selector is right"
        )
        if expected >= _TOO_MANY_TO_BE_ABSENT:
            yield f"the canary has no event where {expected:.0f} were to be expected, {hides}"
        elif not counts.events_baseline.any():
            yield f"no event on either side, {hides}"
        return
    baseline, canary = quality.event_series_baseline, quality.event_series_canary
    if baseline is None or canary is None:
        return
    if not baseline and not canary:
        yield (
            "no event series on either side: no events, or a misspelt selector? Create the series at start-up, "
            "or set `absent_is_zero: true` if the selector is right"
        )
    if baseline and not canary:
        if quality.zeros_written:
            yield (
                "the canary has no event series at all, though the baseline has one also where it had no event: a "
                "misspelt selector, or late? Set `absent_is_zero: true` if the selector is right"
            )
        elif expected >= _TOO_MANY_TO_BE_ABSENT:
            yield (
                f"the canary has no event series at all where {expected:.0f} events were to be expected: a misspelt "
                "selector? Set `absent_is_zero: true` if the selector is right"
            )


def _lost(counts: Counts, quality: Quality) -> Iterator[str]:
    """Events and exposure that may have happened and do not count."""
    for side in Side:
        for what, field in (("events", "events"), ("of the total", "exposure")):
            lost = getattr(quality, f"lost_{field}_{side}")
            have = float(getattr(counts, f"{field}_{side}").sum())
            if lost > _MOST_LOST * (have + lost):
                yield (
                    f"{lost:.0f} {what} of the {side} may have been left out beside {have:.0f} that count: first "
                    "values not known to begin at zero (keep the label `instance`), falls, or intervals that have the "
                    "events or the total alone"
                )


def _dies(quality: Quality, hours: float) -> Iterator[str]:
    """A canary that begins anew again and again: what it counts before it dies is not scraped."""
    series = [
        of_total + (of_events or 0)
        for of_total, of_events in (
            (quality.series_baseline, quality.event_series_baseline),
            (quality.series_canary, quality.event_series_canary),
        )
    ]
    baseline, canary = (
        resets / max(number, 1)
        for resets, number in zip((quality.resets - quality.resets_canary, quality.resets_canary), series, strict=True)
    )
    if canary >= max(_OFTEN, _AN_HOUR * hours) and canary > _OFTENER * baseline:
        yield (
            f"each of the canary's counters began anew {canary:.1f} times on average, and {baseline:.1f} times each of "
            "the baseline's: does it crash? What it counted last before each end is unknown"
        )


def _undefined(metric: Metric, data: AnyData | None, quality: Quality) -> Iterator[str]:
    """Values of the canary that are no numbers, and may be its worst ones: time-outs have no latency."""
    bad, most = quality.non_finite_canary, _MOST_UNDEFINED
    if isinstance(data, CountData):
        # of other counts it is the interval that is missing
        good = float(data.counts.exposure_canary.sum()) if isinstance(metric, LatencyMetric) else np.inf
    elif isinstance(data, GaugeData):
        good = float(np.isfinite(data.canary).sum())
        # cells that are empty on both sides alike are those of a table with several rhythms
        theirs, theirs_good = quality.non_finite - bad, float(np.isfinite(data.baseline).sum())
        most = _MOST_UNDEFINED_LEVELS + theirs / max(theirs + theirs_good, 1.0)
    else:
        good = data.canary.size if isinstance(data, RawData) else np.inf
    if bad > max(most * (bad + good), 1):
        share = bad / (bad + good)
        what = "NaN, infinite or negative" if isinstance(metric, LatencyMetric) else "NaN or infinite"
        yield f"{bad} values of the canary are {what}, {share:.1%} of its values: they may be the worst ones"


def _unseen(metric: Metric, counts: Counts, quality: Quality) -> Iterator[str]:
    """Rows of events that are missing, and not because nothing happened."""
    if isinstance(metric, RatioMetric | RateMetric) and metric.absent_is_zero and not quality.zeros_written:
        return
    for side in Side:
        if not (absent := getattr(quality, f"absent_events_{side}")):
            continue
        exposed = getattr(counts, f"exposure_{side}") > 0
        events, exposure = (getattr(counts, f"{what}_{side}")[exposed] for what in ("events", "exposure"))
        some, have = events > 0, events[events > 0]
        busy = some[exposure >= _BUSY * exposure.mean()]  # at night there is little to miss
        # seen in a later look than the hole
        if quality.zeros_written and absent > _MOST_LOST * some.size:
            yield (
                f"the {side} has no value of the events in {absent} intervals with traffic, though zeros are written "
                "in others, so these are holes"
            )
            continue
        longest = longest_run(~busy)
        others = busy.size - longest
        if have.size > 1 and improbable_run(~busy).any():  # one alone tells no rate
            yield (
                f"the {side} has no value of the events in {longest} intervals in a row with traffic, where "
                f"{have.size} of {others} others have one: have they stopped coming? Write zeros if there were none"
            )
        elif min(absent, have.size) >= _SOME and have.min() > max(np.median(have) / 4, 1.0):
            yield (
                f"the {side} has no value of the events in {absent} intervals with traffic, and never fewer than "
                f"{have.min():g} in the others, so these are no zeros; write zeros if there were none"
            )
