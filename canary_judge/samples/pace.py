"""What a counter or a column of counts may count, from its own pace. What is not proven counts nothing.

A counter falls when its process restarts; but also when two replicas take turns, when a pod leaves a sum, and when it
is none. A series appears when its first event happens; but also when running pods get another label, with all of their
past. The pace at which the series itself rises tells these apart, and where it cannot, nothing is counted, and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from canary_judge.arrays import Bool, Float, Int
from canary_judge.series import Series, selector
from canary_judge.special import special

__all__ = [
    "CUMULATIVE",
    "Rises",
    "climbs_evenly",
    "climbs_with",
    "is_stock",
    "looks_cumulative",
    "looks_like",
    "plausible",
    "rises",
]

# A step may be so many times the fastest one of the series, and so many events more.
_FASTER, _MORE = 5.0, 10.0
# So many falls, and in this share of the steps, make a series no counter.
_MANY_FALLS, _MANY_FALLS_SHARE = 5, 0.25
CUMULATIVE = (
    "{name} never falls where counts of its size must now and then: it is cumulative; name it among `counters:` of the "
    "source"
)

# Counts that must fall so many times by chance and never do, though they rise so many times, are no counts.
_FALLS_EXPECTED, _RISES = 10.0, 5
# What rises in few intervals, and by so much of itself, goes up stairs.
_STAIRS, _A_STAIR = 0.5, 0.1
# Counts of each interval fall at least so often.
_FALLS = 3
# Counts climb so evenly by chance in this share of cases.
_TOO_EVEN = 1e-6


class Rises(NamedTuple):
    """A counter as events.

    Attributes:
        steps: Events since the point before, shape (n - 1,).
        restarts: At these steps the counter began again at zero.
        falls: At these steps it fell otherwise.
        uncounted: Events that may have happened besides, where a fall was no certain restart, shape (n - 1,).
        pace: Fastest rise, in events a second.
    """

    steps: Float
    restarts: Bool
    falls: Bool
    uncounted: Float
    pace: float


def plausible(amount: float, seconds: float, pace: float) -> bool:
    """Whether so many events may have happened in this time.

    Examples:
        >>> plausible(40.0, 30.0, pace=0.5), plausible(1_000_000.0, 30.0, pace=5.0)
        (True, False)
    """
    return amount <= _FASTER * pace * seconds + _MORE


def rises(times: Int, values: Float, most: Float | None = None) -> Rises:
    """Events between the points of a counter, by its own pace.

    A fall is a restart where at most half is left, no more than may have happened since, and where the counter does not
    come back faster than it ever rose. Else it counts nothing, nor does what follows until the old mark is passed.

    Args:
        times: Nanoseconds, increasing, shape (n,).
        values: Finite, shape (n,).
        most: How many events each step can have had at most, shape (n - 1,), whatever the pace; infinite where nothing
            bounds them, and None where only the pace tells.

    Examples:
        >>> minute = np.arange(6) * 60_000_000_000
        >>> rises(minute, np.array([7000.0, 7010, 7009, 7020, 7031, 7040])).steps.tolist()
        [10.0, 0.0, 10.0, 11.0, 9.0]
        >>> rises(minute, np.array([7000.0, 7010, 7020, 4, 15, 24])).steps.tolist()
        [10.0, 10.0, 4.0, 11.0, 9.0]
    """
    steps, seconds = np.diff(values), np.diff(times) / 1e9
    fell = steps < 0
    none = np.zeros(steps.size, dtype=bool)
    # what follows a fall may be the way back
    own = (steps > 0) & ~np.concatenate([[False], fell[:-1]]) if steps.size else none
    pace = float((steps[own] / seconds[own]).max()) if own.any() else 0.0
    if not fell.any():
        return Rises(steps=steps, restarts=none, falls=none, uncounted=np.zeros(steps.size), pace=pace)
    counted, restarts, falls, uncounted = steps.copy(), none.copy(), none.copy(), np.zeros(steps.size)
    mark = values[0]
    for k in range(steps.size):
        value = values[k + 1]
        possible = max(steps[k], 0.0)
        if fell[k]:
            back, after = (steps[k + 1], seconds[k + 1]) if k + 1 < steps.size else (0.0, 0.0)
            regained = value + back >= values[k] and not plausible(back, after, pace)
            bound = 0.0 if most is None else most[k]
            since = not regained and (plausible(value, seconds[k], pace) or value <= bound < np.inf)
            restarts[k] = since and value <= values[k] / 2
            falls[k] = not restarts[k]
            possible = value if since or (bound == np.inf and not regained) else 0.0
        if restarts[k]:
            counted[k], mark = value, value
        else:
            counted[k], mark = max(value - mark, 0.0), max(value, mark)
        uncounted[k] = possible - counted[k]
    return Rises(steps=counted, restarts=restarts, falls=falls, uncounted=uncounted, pace=pace)


def looks_like(one: Series, values: Float) -> str | None:
    """Why a series is no counter, what it looks like, and what to write instead; None where it may be one."""
    steps = np.diff(values)
    falls = int((steps < 0).sum())
    if falls < _MANY_FALLS or falls < _MANY_FALLS_SHARE * steps.size:
        return None
    said = f"{selector(one.labels)} falls at {falls} of {steps.size} points, so it is no counter"
    if (values != np.rint(values)).any():
        return f"{said}: it looks like a rate or a gauge; give the raw counter, or use `kind: gauge`"
    third = max(values.size // 3, 1)
    if np.median(values[-third:]) > 1.1 * np.median(values[:third]):
        return (
            f"{said}: several workers or replicas behind one target take turns (give each its own `instance`, or let "
            "them share one registry: multiprocess mode), or the process crashes again and again"
        )
    return (
        f"{said}: it looks like counts per scrape (delta temporality), a gauge, or a process that crashes after every "
        "few scrapes; export it as cumulative counter"
    )


def looks_cumulative(values: Float) -> bool:
    """Whether counts per interval are a cumulative counter: they never fall, where counts of their size must.

    Two Poisson counts of mean v differ by 0 +- sqrt(2 v), so where they rise by s they fall in a share
    Phi(-s / sqrt(2 v)) of the intervals; other noise only adds to that.

    Args:
        values: In order of time, shape (n,).

    Examples:
        >>> looks_cumulative(50_000.0 + 9 * np.arange(90)), looks_cumulative(np.full(90, 950.0))
        (True, False)
        >>> looks_cumulative(np.repeat([300.0, 600, 900, 1200, 1500, 1800], 20))
        False
    """
    steps = np.diff(values)
    rises = steps > 0
    if (steps < 0).any() or rises.sum() < _RISES:
        return False
    if rises.mean() < _STAIRS and (steps[rises] >= _A_STAIR * values[:-1][rises]).all():
        return False  # the stages of a load test
    noise = np.sqrt(2 * np.maximum(values[:-1], 1.0))
    return float(special.ndtr(-steps / noise).sum()) >= _FALLS_EXPECTED


def climbs_evenly(values: Float) -> bool:
    """Whether counts per interval that never fall also climb more evenly than counts of their size can.

    What a young counter has counted grows by its rate from interval to interval, as counts of a traffic that is driven
    up may. But Poisson counts of mean v have second differences of variance 6 v, and other noise adds to it; those of
    a counter have only twice its rate. What climbs more evenly than even that is the ramp of a load test. And this is
    evidence only where nothing that was counted beside it climbs with it (`climbs_with`).

    Args:
        values: In order of time, shape (n,).

    Examples:
        >>> drawn = np.random.default_rng(1).poisson(600, 20).astype(float)
        >>> climbs_evenly(np.cumsum(drawn)), climbs_evenly(drawn)
        (True, False)
    """
    steps = np.diff(values)
    if (steps < 0).any() or (steps > 0).sum() < _RISES:
        return False
    bends = np.diff(steps) ** 2
    # a generator's steps do not even vary as the events of a counter do
    exact = float(special.chdtr(bends.size, bends.sum() / (2 * steps.mean()))) < _TOO_EVEN
    even = float(special.chdtr(bends.size, (bends / (6 * np.maximum(values[1:-1], 1.0))).sum())) < _TOO_EVEN
    return even and not exact


def climbs_with(counts: Float, other: Float) -> bool:
    """Whether counts, which fall now and then, grow with others that climb: their second half has as much of them.

    Args:
        counts: In order of time, shape (n,).
        other: What climbs, shape (m,).

    Examples:
        >>> up = np.arange(1.0, 41.0)
        >>> errors = np.random.default_rng(1).poisson(up).astype(float)
        >>> climbs_with(errors, 100 * up), climbs_with(errors[::-1], 100 * up), climbs_with(up, 100 * up)
        (True, False, False)
    """
    if not (np.diff(counts) < 0).any() or not counts.any():
        return False
    late, usual = (float(one[one.size // 2 :].sum() / one.sum()) for one in (counts, other))
    return late > (usual + 0.5) / 2


def is_stock(values: Float, others: Sequence[Float]) -> bool:
    """Whether more is counted beside it than it grew by: subscribers, of whom some leave, and no counter of events.

    Args:
        values: In order of time, shape (n,).
        others: What is counted out of it, each in order of time; a counter says nothing.

    Examples:
        >>> members, leaving = 5000 + np.arange(60.0), np.random.default_rng(1).poisson(50, 60).astype(float)
        >>> is_stock(members, [leaving]), is_stock(members, [leaving / 100]), is_stock(leaving, [members])
        (True, False, False)
    """
    if values.size < 2:
        return False
    grown = float(values[-1] - values[0])
    # what falls now and then is counted anew each time
    fresh = [other for other in others if np.count_nonzero(np.diff(other) < 0) >= _FALLS]
    return grown > 0 and any(float(other.sum()) > grown for other in fresh)
