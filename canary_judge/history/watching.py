"""A drawn canary as `watch` and `rollout` see it: look by look, to its planned end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from canary_judge.arrays import Bool
from canary_judge.config.model import JudgeConfig
from canary_judge.history.designs import Draw
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from canary_judge.results import MetricResult, Outcome, Quality, Side
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData, Samples
from canary_judge.series import Window

__all__ = ["can_be_watched", "watched"]


def can_be_watched(draw: Draw) -> bool:
    """Whether what is known of a draw can be told apart by time: moments of users, and values without one, cannot."""
    data = draw.samples.data
    if isinstance(data, RawData):
        return all(getattr(data, f"interval_{side}").size == getattr(data, str(side)).size for side in Side)
    return isinstance(data, CountData | GaugeData)


def watched(config: JudgeConfig, draw: Draw, every: int) -> MetricResult:
    """The metric at the look that failed it, else at the planned end.

    Args:
        config: Of this metric alone.
        draw: A canary whose samples can be told apart by time (`can_be_watched`).
        every: Intervals from one look to the next.
    """
    count = draw.window.duration // config.interval
    state = MonitorState(start=draw.window.start, horizon=count)
    for first in range(0, count, every):
        last = min(first + every, count)
        window = Window(state.start + first * config.interval, state.start + last * config.interval)
        samples = Samples(window=window, metrics={config.metrics[0].name: _part(draw.samples, first, last)})
        state, judgement = observe(config, state, samples, with_intervals=False)
        if judgement.metrics[0].outcome is Outcome.REGRESSED:
            break
    return judgement.metrics[0]


def _part(samples: MetricSamples, first: int, last: int) -> MetricSamples:
    """What was known of some intervals; of what was lost in the whole window none is told, for it has no time."""
    match samples.data:
        case CountData(counts=counts, instances=instances):
            part = np.zeros(counts.events_canary.size, dtype=bool)
            part[first:last] = True
            # how instances differ is asked of the whole run, and is the same on both sides
            data = CountData(counts=counts.select(part), instances=instances if not first else {})
            heard = {side: getattr(data.counts, f"exposure_{side}") > 0 for side in Side}
            return _told(samples, data, heard)
        case GaugeData() as whole:
            gauges = replace(whole, baseline=whole.baseline[:, first:last], canary=whole.canary[:, first:last])
            return _told(samples, gauges, {side: np.isfinite(getattr(gauges, str(side))).any(axis=0) for side in Side})
        case RawData() as raw:
            inside = {side: _inside(getattr(raw, f"interval_{side}"), first, last) for side in Side}
            of_part = {f"{side}": getattr(raw, str(side))[inside[side]] for side in Side}
            places = {f"interval_{side}": getattr(raw, f"interval_{side}")[inside[side]] - first for side in Side}
            heard = {
                side: np.bincount(places[f"interval_{side}"], minlength=last - first).astype(bool) for side in Side
            }
            return _told(samples, RawData(**of_part, **places), heard)
    return samples


def _inside(intervals: np.ndarray[tuple[int], np.dtype[np.int64]], first: int, last: int) -> Bool:
    return np.asarray((intervals >= first) & (intervals < last))


def _told(samples: MetricSamples, data: CountData | GaugeData | RawData, heard: dict[Side, Bool]) -> MetricSamples:
    whole = samples.quality or Quality(coverage_baseline=1.0, coverage_canary=1.0)
    quality = Quality(
        coverage_baseline=float(heard[Side.BASELINE].mean()),
        coverage_canary=float(heard[Side.CANARY].mean()),
        event_series_baseline=whole.event_series_baseline,
        event_series_canary=whole.event_series_canary,
        zeros_written=whole.zeros_written,
        series_baseline=whole.series_baseline,
        series_canary=whole.series_canary,
    )
    return replace(samples, data=data, quality=quality)
