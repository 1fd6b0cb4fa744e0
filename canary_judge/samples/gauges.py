"""Gauges on the grid: one row per instance, one column per interval, and the record before the window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from canary_judge.arrays import Float, Int
from canary_judge.config.metrics import GaugeMetric
from canary_judge.results import Quality, Side, Sides
from canary_judge.samples.data import GaugeData, MetricSamples
from canary_judge.samples.grid import Parts, Unusable, coverage, intervals, late, pause, refuse_huge
from canary_judge.series import Form, Result, Series, selector

__all__ = ["gauge_samples"]


def gauge_samples(metric: GaugeMetric, parts: Parts, edges: Int) -> MetricSamples:
    """The levels of both sides on the grid, with the record before the window."""
    read = Sides.of(lambda side: _read(metric, parts, edges, side))
    values, names = read.map(lambda side: side.values), read.map(lambda side: side.names)
    warnings: list[str] = []
    before = Sides.of(
        lambda side: _levels_before(
            parts.get(("history", side), Result()),
            metric.by,
            edges,
            side,
            warnings,
            asked=("history", side) in parts,
        )
    )
    told = tuple(warnings)
    if not values.baseline.size and not values.canary.size:
        return MetricSamples(data=None, warnings=told)
    present = values.map(lambda matrix: np.logical_or.reduce(~np.isnan(matrix), axis=0))
    quality = Quality(
        coverage_baseline=coverage(present.baseline),
        coverage_canary=coverage(present.canary),
        silent_baseline=pause(present.baseline),
        silent_canary=pause(present.canary),
        late_baseline=late(present.baseline),
        late_canary=late(present.canary),
        non_finite=read.baseline.non_finite + read.canary.non_finite,
        non_finite_canary=read.canary.non_finite,
        series_baseline=len(values.baseline),
        series_canary=len(values.canary),
    )
    if not metric.by and all(present[side].any() for side in Side) and not (present.baseline & present.canary).any():
        raise Unusable(
            "the sides have no interval in common; to compare two periods, shift one onto the other "
            "(FrameSource: align='start')"
        )
    past = before.baseline[1]
    data = GaugeData(
        baseline=values.baseline,
        canary=values.canary,
        history=past[0] if not metric.by and len(past) else np.empty(0),
        simultaneous=all(result.simultaneous for result in parts.values()),
        names_baseline=names.baseline,
        names_canary=names.canary,
        before_baseline=_rows_of(names.baseline, *before.baseline),
        before_canary=_rows_of(names.canary, *before.canary),
    )
    return MetricSamples(data=data, quality=quality, warnings=told)


class _Levels(NamedTuple):
    """One side: a row per instance, their names, and how many points were not finite."""

    values: Float
    names: tuple[str, ...]
    non_finite: int


def _read(metric: GaugeMetric, parts: Parts, edges: Int, side: Side) -> _Levels:
    result = parts.get(("value", side), Result())
    if result.form is not Form.LEVEL:
        raise Unusable(f"{side}: the source answered with {result.form.value}, but a gauge needs levels")
    for one in result.series:
        refuse_huge(one.values, side)
    values, bad = _levels(result.series, metric.by, edges, side)
    return _Levels(values=values, names=_instance_names(result.series, metric.by), non_finite=bad)


def _levels_before(
    past: Result, by: tuple[str, ...], edges: Int, side: Side, warnings: list[str], *, asked: bool
) -> tuple[tuple[str, ...], Float]:
    """Names and values of the series before the window, on the grid continued backwards."""
    if past.error:
        warnings.append(f"history of the {side} could not be read: {past.error}")
    elif side is Side.BASELINE and asked and not any(one.timestamps.size for one in past.series):
        warnings.append("`history` was asked for, and nothing of the baseline was read before the window")
    earliest = min((int(one.timestamps[0]) for one in past.series if one.timestamps.size), default=None)
    if past.error or earliest is None or earliest >= edges[0]:
        return (), np.empty((0, 0))
    if not by and len(past.series) > 1:
        warnings.append(
            f"the history of the {side} has {len(past.series)} series where one was expected; it is not used"
        )
        return (), np.empty((0, 0))
    step = int(edges[1] - edges[0])
    count = max(int(np.ceil((edges[0] - earliest) / step)), 1)
    values, _ = _levels(past.series, by, edges[0] - step * np.arange(count, -1, -1), side)
    return _instance_names(past.series, by), values


def _instance_names(series: Sequence[Series], by: tuple[str, ...]) -> tuple[str, ...]:
    """Which instance each series is; nothing where they are not kept apart."""
    return tuple(", ".join(one.labels.get(label, "") for label in by) for one in series) if by else ()


def _rows_of(names: tuple[str, ...], known: tuple[str, ...], values: Float) -> Float:
    """The rows of the named instances; NaN for one that is not known. Empty without names or without any record."""
    if not names or not len(values):
        return np.empty((0, 0))
    place = {name: row for row, name in enumerate(known)}
    blank = np.full(values.shape[1], np.nan)
    return np.array([values[place[name]] if name in place else blank for name in names])


def _levels(series: Sequence[Series], by: tuple[str, ...], edges: Int, side: Side) -> tuple[Float, int]:
    """Mean of the finite points per interval, one row per series; and how many points were not finite."""
    if by:
        keys = [tuple(one.labels.get(label, "") for label in by) for one in series]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            shown = ", ".join(f'{label}="{value}"' for label, value in zip(by, twice, strict=True))
            raise Unusable(
                f"{side}: two series have {shown}; aggregate the query by ({', '.join(by)}) or name more labels in `by`"
            )
    elif len(series) > 1:
        shown = "; ".join(selector(one.labels) for one in series[:3])
        raise Unusable(
            f"{side}: {len(series)} series where one was expected ({shown}{'; ...' if len(series) > 3 else ''}); "
            "aggregate the query, as in avg(...), or keep instances apart with `by: pod`"
        )
    rows = np.full((len(series), edges.size - 1), np.nan)
    bad = 0
    for row, one in zip(rows, series, strict=True):
        interval, inside = intervals(one.timestamps, edges)
        finite = np.isfinite(one.values)
        bad += int((inside & ~finite).sum())
        used = inside & finite
        count = np.bincount(interval[used], minlength=row.size)
        # the largest magnitude is divided out so that sums of huge values stay finite
        scale = float(np.abs(one.values[used]).max(initial=0.0)) or 1.0
        total = np.bincount(interval[used], weights=one.values[used] / scale, minlength=row.size)
        single = count == 1
        np.divide(total * scale, count, out=row, where=count > 0)
        if single.any():  # one point per interval is the rule: keep its value to the last bit
            exact = np.zeros(row.size)
            exact[interval[used]] = one.values[used]
            row[single] = exact[single]
    return rows, bad
