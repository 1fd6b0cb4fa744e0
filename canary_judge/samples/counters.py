"""Counters into events per interval: differences, resets, births, and what was not observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from canary_judge.arrays import Bool, Float, Int
from canary_judge.results import Side
from canary_judge.samples.grid import Unusable, intervals
from canary_judge.samples.pace import CUMULATIVE, is_stock, looks_cumulative, looks_like, plausible, rises
from canary_judge.series import Form, Result, Series, selector

__all__ = ["CountedSide", "empty_side", "first_seen", "increments", "note_first_seen"]


@dataclass(slots=True)
class CountedSide:
    """What one side's counters gave, while it is being added up."""

    increments: Float
    covered: Bool
    # instances with a value in each interval; 1 where the labels do not tell instances apart
    reporting: Int
    series: int = 0
    resets: int = 0
    falls: int = 0
    births: int = 0
    dropped: int = 0
    # events that may have happened in first values and below old marks, and do not count
    lost: float = 0.0
    non_finite: int = 0
    # counts without a cumulative record: intervals without a number, and those with one that is infinite
    absent: Bool | None = None
    infinite: Bool | None = None
    # some of them are written as 0, so that one that is absent is not 0
    zeros: bool = False
    by_instance: bool = False
    # events of each instance over the whole window
    totals: dict[str, float] = field(default_factory=dict)

    def of(self, values: Float) -> CountedSide:
        """Other values of the same series; what was odd about those is not told twice."""
        return CountedSide(increments=values, covered=self.covered, reporting=self.reporting, series=self.series)


def empty_side(edges: Int) -> CountedSide:
    """A side on which nothing was counted yet."""
    size = edges.size - 1
    return CountedSide(
        increments=np.zeros(size), covered=np.zeros(size, dtype=bool), reporting=np.zeros(size, dtype=np.int64)
    )


def _is_cumulative(values: Float, beside: Result | None) -> bool:
    others = [] if beside is None or beside.form is not Form.COUNTS else [one.values for one in beside.series]
    return looks_cumulative(values) and not is_stock(values, [other[np.isfinite(other)] for other in others])


def increments(
    result: Result,
    edges: Int,
    first: Mapping[tuple[str, str], int],
    where: str,
    *,
    most: Float | None = None,
    beside: Result | None = None,
) -> CountedSide:
    """Events per interval over all series of a result.

    Args:
        result: Counters, or counts since the point before.
        edges: Of the intervals, in nanoseconds, shape (n + 1,).
        first: The earliest point of any series of each target.
        where: Which side and part, for messages.
        most: How many events each interval can have had at most, shape (n,): then a burst in the first value of a
            series counts up to it, though the series is never so fast again. None: only its own pace tells.
        beside: What is counted out of it, which tells a stock from a counter.
    """
    side = empty_side(edges)
    if result.form not in (Form.COUNTER, Form.COUNTS):
        if not result.series:
            return side
        raise Unusable(f"{where}: the source answered with {result.form.value}, but counts are needed")
    instances: dict[tuple[str, str], Bool] = {}
    for one in result.series:
        finite = np.isfinite(one.values)
        in_window = intervals(one.timestamps, edges)[1]
        side.non_finite += int((in_window & ~finite).sum())
        if not (in_window & finite).any():
            continue
        side.series += 1
        if (one.values[finite] < 0).any():
            least = one.values[finite].min()
            raise Unusable(f"{where}: a count of {least:g} is negative; give a counter, or use kind: gauge")
        if result.form is Form.COUNTER and (why := looks_like(one, one.values[finite])) is not None:
            raise Unusable(f"{where}: {why}")
        if result.form is Form.COUNTS and _is_cumulative(one.values[finite], beside):
            raise Unusable(f"{where}: {CUMULATIVE.format(name=selector(one.labels))}")
        amount = _added(side, one, finite, result.form, edges, first, most)
        seen, inside = intervals(one.timestamps[finite], edges)
        side.covered[seen[inside]] = True
        side.by_instance |= bool(one.instance)
        if one.instance:
            side.totals[one.instance] = side.totals.get(one.instance, 0.0) + amount
        blank = np.zeros(edges.size - 1, dtype=bool)
        reports = instances.setdefault((one.labels.get("job", ""), one.instance), blank)
        reports[seen[inside]] = True
    for reports in instances.values():
        side.reporting += reports
    if result.form is Form.COUNTS and (result.series or not result.sparse):  # also of a look without any row
        side.absent = ~side.covered
    return side


def _added(
    side: CountedSide,
    one: Series,
    finite: Bool,
    form: Form,
    edges: Int,
    first: Mapping[tuple[str, str], int],
    most: Float | None,
) -> float:
    """Add the events of one series to its side; their sum."""
    times, values = one.timestamps[finite], one.values[finite]
    if form is Form.COUNTER:
        times, values = _differences(one, times, values, edges, side, first, most)
    else:
        broken = np.zeros(edges.size - 1, dtype=bool) if side.infinite is None else side.infinite
        at, on_grid = intervals(one.timestamps[np.isinf(one.values)], edges)
        broken[at[on_grid]] = True
        side.infinite = broken
        side.zeros |= bool((values == 0).any())
    interval, inside = intervals(times, edges)
    added = np.bincount(interval[inside], weights=values[inside], minlength=edges.size - 1)
    side.increments += added
    return float(added.sum())


def _differences(
    one: Series,
    times: Int,
    values: Float,
    edges: Int,
    side: CountedSide,
    first: Mapping[tuple[str, str], int],
    most: Float | None,
) -> tuple[Int, Float]:
    """Events of a counter, each at the time at which it was seen."""
    place, inside = intervals(times, edges)
    bounds = None if most is None else np.where(inside, most[np.clip(place, 0, most.size - 1)], 0.0)
    found = rises(times, values, None if bounds is None else bounds[1:])
    in_window = times[1:] > edges[0]
    side.resets += int((found.restarts & in_window).sum())
    side.falls += int((found.falls & in_window).sum())
    side.lost += float(found.uncounted[in_window].sum())
    if not (times.size and times[0] > edges[0]):
        return times[1:], found.steps
    # born inside the window
    spacing = float(np.median(np.diff(times))) / 1e9 if times.size > 1 else 0.0
    limit = None if bounds is None else float(bounds[0])
    burst = limit is not None and values[0] <= limit < np.inf
    if _zero_before(one, first, times, values, spacing, found.pace, burst=burst):
        side.births += 1
        return times, np.concatenate([values[:1], found.steps])
    side.dropped += 1
    if limit is not None:
        side.lost += min(float(values[0]), limit)
    elif plausible(values[0], spacing, found.pace):
        side.lost += float(values[0])
    return times[1:], found.steps


def _zero_before(
    one: Series,
    first: Mapping[tuple[str, str], int],
    times: Int,
    values: Float,
    spacing: float,
    pace: float,
    *,
    burst: bool,
) -> bool:
    """Whether a series that appears inside the window is known to have been zero before its first point."""
    if values[0] == 0 or (one.began_at is not None and one.began_at <= times[0]):
        return True
    target = _target(one.labels)
    known = one.zero_at
    if known is None and target is not None:
        known = first.get(target)
    if known is None or known >= times[0]:
        return False
    # a series that is old, under a new label, brings all of its past
    since = (times[0] - known) / 1e9
    return burst or plausible(float(values[0]), min(since, spacing) if spacing else since, pace)


def first_seen(parts: Mapping[tuple[str, Side], Result], side: Side) -> dict[tuple[str, str], int]:
    """The earliest point of any series of each target: when a label set is born later, it was zero until then."""
    first: dict[tuple[str, str], int] = {}
    for (_, of), result in parts.items():
        if of is side:
            note_first_seen(result, first)
    return first


def note_first_seen(result: Result, first: dict[tuple[str, str], int]) -> None:
    """Note the earliest point of each target of a result."""
    for one in result.series:
        target = _target(one.labels)
        if target is not None and one.timestamps.size:
            first[target] = min(first.get(target, int(one.timestamps[0])), int(one.timestamps[0]))


def _target(labels: Mapping[str, str]) -> tuple[str, str] | None:
    return (labels.get("job", ""), labels["instance"]) if "instance" in labels else None
