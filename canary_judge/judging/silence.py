"""When does a side that reports nothing count as silent? A thin stream has pauses, and the dead make no errors."""

from __future__ import annotations

from datetime import timedelta

from canary_judge.results import Judgement, MetricResult, Quality, Side
from canary_judge.samples import CountData, MetricSamples, RawData

__all__ = ["PATIENCE", "all_silent", "fell_silent", "given_up", "silent", "unheard"]

# Intervals that a late point is waited for; after that it is a gap.
PATIENCE = 3
# In a pause so many values must have been expected before it is a silence.
_MISSED = 10
# Pauses of a few intervals, or of this share of the window, are none.
_SHORTEST, _SHORTEST_SHARE = 2, 0.05


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
    """Why the canary may have died before the end; None when it reports like the baseline."""
    pause = quality.silent_canary - quality.silent_baseline
    if pause <= max(_SHORTEST, _SHORTEST_SHARE * intervals):
        return None
    data = samples.data
    if isinstance(data, RawData | CountData):
        seen = data.canary.size if isinstance(data, RawData) else float(data.counts.exposure_canary.sum())
        if not _is_silence(seen, intervals - quality.silent_canary, pause):
            return None
    what = "traffic" if isinstance(data, CountData) else "value"
    return f"the canary has no {what} in the last {quality.silent_canary} intervals, the baseline has"


def unheard(judgement: Judgement, metric: MetricResult, length: timedelta) -> bool:
    """Whether the canary has been silent on this metric for so long, although it should have been heard."""
    quality, comparison = metric.quality, metric.comparison
    if quality is None or quality.silent_canary * judgement.interval_seconds < length.total_seconds():
        return False
    if quality.coverage_canary == 0 or metric.kind == "gauge":
        return True
    intervals = (judgement.end - judgement.start).total_seconds() / judgement.interval_seconds
    requests = comparison.n_canary if comparison is not None else 0
    return _is_silence(requests, intervals - quality.silent_canary, quality.silent_canary)


def all_silent(judgement: Judgement, intervals: int) -> bool:
    """Whether the last intervals hold nothing of either side: the store lost its targets, or a clock jumped."""
    if judgement.look is not None and judgement.look.intervals == 0:
        return False  # all of it was warm-up, which is not kept
    known = [metric.quality for metric in judgement.metrics if metric.quality is not None]
    return all(min(silent(one, side) for side in Side) >= intervals for one in known)
