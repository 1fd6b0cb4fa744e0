"""The baselines of archived canaries, in windows: a past in which the baseline was watched anyway."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np

from canary_judge.config.metrics import GaugeMetric, Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.history.canary import PastCanary
from canary_judge.history.designs import Piece
from canary_judge.history.replaying import reads_otherwise
from canary_judge.history.store import History
from canary_judge.judging.silence import heard
from canary_judge.looks.streams import Data
from canary_judge.results import Quality, Side
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData, UserData
from canary_judge.series import Window, format_duration
from canary_judge.stats.counts import Counts

__all__ = ["archived_pieces"]

_KINDS = {"gauge": GaugeData, "samples": RawData}


def archived_pieces(config: JudgeConfig, history: History, length: timedelta) -> tuple[list[Piece], int]:
    """The baseline's windows in the archived canaries of this config's name, and how many were left out.

    Canaries that are labelled bad, in which a deploy or an incident fell, or that have other intervals, are left out
    whole; of canaries of the same time with the same baseline each stretch counts once.

    Args:
        config: What is compared; its metrics are found by their names.
        history: The archive.
        length: Of a window.

    Raises:
        DataError: The archive has no such canary, or none that is long enough.
    """
    whole = length // config.interval
    step = max(whole // 2, 1)
    pieces: list[Piece] = []
    dropped, seen, others, intervals = 0, 0, set(), set()
    stretches: set[bytes] = set()
    cluster, until = "", None
    for canary in sorted(history, key=lambda one: (one.start, one.id)):
        if canary.name != config.name:
            others.add(canary.name)
            continue
        seen += 1
        if until is None or canary.start >= until:  # what overlaps shares its luck
            cluster = f"canary {canary.id}"
        until = canary.end if until is None else max(until, canary.end)
        found = list(_windows(config, canary, whole, step, cluster))
        if canary.interval != config.interval:
            intervals.add(format_duration(canary.interval))
        if canary.label.kind == "bad" or canary.spans or canary.interval != config.interval:
            dropped += len(found)
        else:
            new = [one for one in found if _known_by(one) not in stretches]  # archived twice, it is one stretch
            stretches |= set(map(_known_by, new))
            pieces += new
            dropped += len(found) - len(new)
    if not seen:
        known = f"; it has {', '.join(sorted(others)[:5])}" if others else ""
        raise DataError(f"{history.url}: has no canary of {config.name!r}{known}")
    if not pieces:
        why = f"; {dropped} were left out as bad, or for a deploy or an incident" if dropped else ""
        if intervals:
            own = format_duration(config.interval)
            why = f"; some have intervals of {', '.join(sorted(intervals))}, the config has {own}"
        raise DataError(f"none of {seen} canaries of {config.name!r} has a window of {format_duration(length)}{why}")
    return pieces, dropped


def _windows(config: JudgeConfig, canary: PastCanary, whole: int, step: int, cluster: str) -> Iterator[Piece]:
    data = {name: stream.data for name, stream in canary.tape.last.streams.items()}
    then = {metric.name: metric for metric in canary.settings().metrics}
    others = {
        metric.name: reads_otherwise(metric, then[metric.name]) for metric in config.metrics if metric.name in then
    }
    judged = int(canary.tape.intervals()[0][-1])
    for first in range(0, judged - whole + 1, step):
        start = canary.start + first * config.interval
        yield Piece(
            window=Window(start, start + whole * config.interval),
            metrics={
                metric.name: _baseline(metric, data.get(metric.name), first, first + whole, others.get(metric.name))
                for metric in config.metrics
            },
            cluster=canary.deployment or cluster,
        )


def _known_by(piece: Piece) -> bytes:
    """The same for the same stretch of the same baseline."""
    found = hashlib.sha256(piece.window.start.isoformat().encode())
    for name, one in piece.metrics.items():
        found.update(name.encode())
        match one.data:
            case CountData(counts=counts):
                found.update(counts.events_baseline.tobytes() + counts.exposure_baseline.tobytes())
            case GaugeData(baseline=rows):
                found.update(rows.tobytes())
            case RawData(baseline=values, interval_baseline=places):
                found.update(values.tobytes() + places.tobytes())
    return found.digest()


def _baseline(metric: Metric, data: Data | None, first: int, last: int, other: str | None = None) -> MetricSamples:
    """The baseline's intervals, on both sides; `other` is what was read otherwise."""
    if data is None:
        return MetricSamples(data=None, error="the archive has no values of it by interval")
    if isinstance(data, UserData):
        return MetricSamples(data=None, error="it is by user, of whom an archive keeps sums only: draw it from a table")
    if not isinstance(data, _KINDS.get(metric.kind, CountData)):
        return MetricSamples(data=None, error=f"the archive has it as another kind than {metric.kind}")
    if isinstance(data, GaugeData) and isinstance(metric, GaugeMetric) and bool(metric.by) != bool(data.names_baseline):
        kept = "one series of it, and no instances: leave `by` out"
        if not metric.by:
            kept = f"{len(data.baseline)} instances of it: say `by`"
        return MetricSamples(data=None, error=f"the archive keeps {kept}")
    if other is not None:
        return MetricSamples(data=None, error=f"the archive has it with another {other}: calibrate what was read")
    part = _part(data, first, last)
    coverage = np.count_nonzero(heard(part, Side.BASELINE)) / (last - first)
    return MetricSamples(data=part, quality=Quality(coverage_baseline=coverage, coverage_canary=coverage))


def _part(data: Data, first: int, last: int) -> Data:
    """Some intervals of the baseline, as both sides."""
    match data:
        case CountData(counts=counts):
            events, exposure = counts.events_baseline[first:last], counts.exposure_baseline[first:last]
            both = Counts(
                events_baseline=events, exposure_baseline=exposure, events_canary=events, exposure_canary=exposure
            )
            return CountData(counts=both)
        case GaugeData(baseline=rows, names_baseline=names, before_baseline=before):
            own = rows[:, first:last]
            return replace(data, baseline=own, canary=own, names_canary=names, before_canary=before, simultaneous=True)
        case RawData(baseline=values, interval_baseline=places):
            inside = (places >= first) & (places < last)
            own, at = values[inside], places[inside] - first
            return RawData(baseline=own, canary=own, interval_baseline=at, interval_canary=at)
    raise AssertionError(type(data))
