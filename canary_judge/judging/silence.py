"""When does a side that reports nothing count as silent? A thin stream has pauses, and the dead make no errors."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from canary_judge.arrays import Bool, Int
from canary_judge.results import Judgement, MetricResult, Quality, Side
from canary_judge.samples import AnyData, CountData, GaugeData, MetricSamples, RawData

__all__ = [
    "PATIENCE",
    "all_silent",
    "both_heard",
    "fell_silent",
    "given_up",
    "heard",
    "improbable_run",
    "longest_of",
    "longest_run",
    "lost_side",
    "runs",
    "silent",
    "unheard",
]

# Intervals that a late point is waited for; after that it is a gap.
PATIENCE = 3
# A pause so improbable (logarithm) is none.
_BY_CHANCE = -10.0
# In a pause so many values must have been expected before it is a silence.
_MISSED = 10
# Pauses of a few intervals, or of this share of the window, are none.
_SHORTEST, _SHORTEST_SHARE = 2, 0.05
# A pause in the middle, of this share of the window, is a hole in the evidence.
_LONGEST_SHARE = 0.1


def silent(quality: Quality, side: Side) -> int:
    """Intervals without a value at the end."""
    return quality.silent_canary if side is Side.CANARY else quality.silent_baseline


def given_up(quality: Quality | None, side: Side) -> bool:
    """Whether this side was waited for long enough already, and need not be at every look."""
    return quality is not None and silent(quality, side) >= PATIENCE


def _is_silence(seen: float, before: float, pause: float) -> bool:
    """Whether a pause is too long for a stream of so many values in the intervals before it."""
    return seen * pause >= _MISSED * max(before, 1)


def fell_silent(samples: MetricSamples, quality: Quality, intervals: int) -> str | None:
    """Why the canary may have been dead, at the end or for a while; None when it was heard throughout."""
    what = "traffic" if isinstance(samples.data, CountData) else "value"
    canary = heard(samples.data, Side.CANARY)

    def is_silence(pause: int, share: float) -> bool:
        if pause <= max(_SHORTEST, share * intervals):
            return False
        seen = _amount(samples.data)
        return seen is None or _is_silence(seen, intervals - pause, pause)

    if is_silence(quality.silent_canary, _SHORTEST_SHARE):
        other = "nor has the baseline" if quality.silent_baseline > _SHORTEST else "the baseline has"
        return f"the canary has no {what} in the last {quality.silent_canary} intervals, {other}"
    if canary.all():
        return None
    unheard = ~canary & (np.cumsum(canary) > 0)
    longest = longest_run(unheard)
    if (
        1 - quality.coverage_canary
    ) * canary.size < longest:  # there was nothing to hear where the baseline is mute, too
        longest = longest_run(unheard & heard(samples.data, Side.BASELINE))
    if is_silence(longest, _LONGEST_SHARE):
        return f"the canary has no {what} to compare in {longest} intervals in a row"
    return None


def heard(data: AnyData | None, side: Side) -> Bool:
    """The intervals in which a side has a value."""
    if isinstance(data, CountData):
        return np.asarray(getattr(data.counts, f"exposure_{side}") > 0)
    if isinstance(data, RawData):
        size = max(data.interval_baseline.max(initial=-1), data.interval_canary.max(initial=-1)) + 1
        return np.bincount(getattr(data, f"interval_{side}"), minlength=size) > 0
    if isinstance(data, GaugeData):
        return np.asarray(np.logical_or.reduce(~np.isnan(getattr(data, str(side))), axis=0))
    return np.empty(0, dtype=np.bool_)


def both_heard(data: GaugeData | CountData | RawData, intervals: int) -> int | None:
    """Intervals since the younger side's first value; None where that is not known.

    Args:
        data: What was read.
        intervals: Of the window, which raw values do not tell.
    """
    sides = [heard(data, side) for side in Side]
    if not all(side.any() for side in sides):
        return None
    size = max(intervals, sides[0].size) if isinstance(data, RawData) else sides[0].size
    return size - max(int(np.argmax(side)) for side in sides)


def _amount(data: AnyData | None) -> float | None:
    """How many values the canary has, where it may have none for being thin."""
    if isinstance(data, CountData):
        return float(data.counts.exposure_canary.sum())
    return data.canary.size if isinstance(data, RawData) else None


def longest_run(of: Bool) -> int:
    """Most elements in a row that are true.

    Examples:
        >>> longest_run(np.array([True, False, True, True]))
        2
    """
    found = longest_of(of)
    return int(found.stop - found.start)


def longest_of(of: Bool) -> slice:
    """Where the first of the longest runs of what is true lies; an empty slice where nothing is.

    Examples:
        >>> longest_of(np.array([True, False, True, True]))
        slice(2, 4, None)
    """
    found = runs(of)
    if not found.size:
        return slice(0, 0)
    begin, end = found[np.argmax(found[:, 1] - found[:, 0])].tolist()
    return slice(begin, end)


def runs(of: Bool) -> Int:
    """Where each run of what is true begins, and where it has ended, shape (runs, 2).

    Examples:
        >>> runs(np.array([True, False, True, True])).tolist()
        [[0, 1], [2, 4]]
    """
    return np.flatnonzero(np.diff(np.concatenate([[False], of, [False]]).astype(np.int8))).reshape(-1, 2)


def improbable_run(of: Bool) -> Bool:
    """The elements of the longest run, where it is too long to be one of chance beside the others; else none.

    Examples:
        >>> int(improbable_run(np.array([True, False] * 20 + [True] * 20)).sum())
        20
        >>> bool(improbable_run(np.array([True, False] * 20)).any())
        False
    """
    every, found = runs(of), np.zeros(of.size, dtype=bool)
    lengths = every[:, 1] - every[:, 0]
    longest = int(lengths.max(initial=0))
    others = of.size - longest
    if not longest or longest * np.log1p(-(of.size - of.sum()) / (others + 1.0)) >= _BY_CHANCE:
        return found
    for begin, end in every[lengths == longest]:
        found[begin:end] = True
    return found


def unheard(judgement: Judgement, metric: MetricResult, length: timedelta, *, side: Side = Side.CANARY) -> bool:
    """Whether a side has been silent on this metric for so long, although it should have been heard."""
    quality, comparison = metric.quality, metric.comparison
    if quality is None or (pause := silent(quality, side)) * judgement.interval_seconds < length.total_seconds():
        return False
    if getattr(quality, f"coverage_{side}") == 0 or metric.kind == "gauge":
        return True
    intervals = (judgement.end - judgement.start).total_seconds() / judgement.interval_seconds
    requests = getattr(comparison, f"n_{side}") if comparison is not None else 0
    return _is_silence(requests, intervals - pause, pause)


def lost_side(judgement: Judgement) -> tuple[Side, int] | None:
    """The side that has fallen silent on all that decides, beside one that goes on, and for how many intervals.

    A broken canary cannot be told from a healthy one where there is nothing left to compare it with.
    """
    deciding = [one for one in judgement.metrics if one.role.decides and one.quality is not None]
    step = timedelta(seconds=judgement.interval_seconds)
    pauses = {side: min((silent(one.quality, side) for one in deciding if one.quality), default=0) for side in Side}
    for side, other in ((Side.BASELINE, Side.CANARY), (Side.CANARY, Side.BASELINE)):
        once = all(one.quality is not None and getattr(one.quality, f"coverage_{side}") > 0 for one in deciding)
        if pauses[side] > pauses[other] and once and all(unheard(judgement, one, step, side=side) for one in deciding):
            return side, pauses[side]
    return None


def all_silent(judgement: Judgement, intervals: int) -> bool:
    """Whether the last intervals hold nothing of either side: the store lost its targets, or a clock jumped."""
    if judgement.look is not None and judgement.look.intervals == 0:
        return False  # all of it was warm-up, which is not kept
    known = [metric.quality for metric in judgement.metrics if metric.quality is not None]
    return all(min(silent(one, side) for side in Side) >= intervals for one in known)
