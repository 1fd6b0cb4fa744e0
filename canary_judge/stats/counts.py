"""Counts of both sides, interval by interval: added up, put into strata, freed of a burst."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

from canary_judge.arrays import Bool, Float, Int

__all__ = [
    "COLUMNS",
    "STRATUM_WIDTH",
    "Counts",
    "both_exposed",
    "kept",
    "strata",
    "stratum_of",
    "within_exposure",
    "without_burst",
]

T = TypeVar("T")

# What is known of each entry.
COLUMNS = ("events_baseline", "exposure_baseline", "events_canary", "exposure_canary")

# Intervals whose odds of exposure lie within this factor form one stratum.
STRATUM_WIDTH = 1.02
# One of at least so many intervals with more than this share of a side's events, and more than so many, may be a burst.
_BURST_INTERVALS, _BURST_SHARE, _BURST_EVENTS = 4, 0.25, 2


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Events and exposure of both sides, one entry per interval or stratum, all of shape (n,)."""

    events_baseline: Float
    exposure_baseline: Float
    events_canary: Float
    exposure_canary: Float

    def __post_init__(self) -> None:
        """Refuse what is no count, and so many that they cannot be added up."""
        with np.errstate(over="ignore"):
            sums = [values.sum() for values in self._arrays()]
        for name, values, total in zip(COLUMNS, self._arrays(), sums, strict=True):
            if not math.isfinite(total) or values.min(initial=0.0) < 0:
                raise ValueError(f"{name} must be finite, also its sum, and not negative; it is {values}")

    @classmethod
    def _of_counts(cls, *arrays: Float) -> Counts:
        """Of parts or sums of counts, which are counts again: nothing is left to be checked."""
        one = object.__new__(cls)
        one.__dict__.update(zip(COLUMNS, arrays, strict=True))
        return one

    def __reduce__(self) -> tuple[Any, ...]:
        """Answers are not sent along: they are found again where they are asked for."""
        return self._of_counts, self._arrays()

    def total(self) -> Counts:
        """All entries as one."""
        if self.events_baseline.size == 1:
            return self
        # in order, as `by` adds them up
        return self._of_counts(*(values.cumsum()[-1:] for values in self._arrays()))

    def exposed(self) -> Counts:
        """The entries with exposure on both sides."""
        part = _exposed(self)
        return self if part is None else part

    def by(self, labels: Int) -> Counts:
        """Entries with the same label added up."""
        # numpy's stubs take sums of weights for whole numbers
        return self._of_counts(*(cast("Float", np.bincount(labels, weights=values)) for values in self._arrays()))

    def select(self, keep: Bool) -> Counts:
        """The entries to keep."""
        return self._of_counts(*(values[keep] for values in self._arrays()))

    def since(self, first: int) -> Counts:
        """The entries from one on."""
        return self._of_counts(*(values[first:] for values in self._arrays()))

    def over_time(self) -> Counts:
        """The baseline against itself: every second interval as the canary of the one before."""
        pairs = self.events_baseline.size // 2 * 2
        events, exposure = self.events_baseline[:pairs], self.exposure_baseline[:pairs]
        return self._of_counts(events[::2], exposure[::2], events[1::2], exposure[1::2])

    def _arrays(self) -> tuple[Float, Float, Float, Float]:
        return self.events_baseline, self.exposure_baseline, self.events_canary, self.exposure_canary


def kept(find: Callable[[Counts], T]) -> Callable[[Counts], T]:
    """Find an answer once for the same counts, which do not change: several tests ask for it."""
    name = f"{find.__module__}.{find.__qualname__}"  # no two answers, and no column, have the same

    @wraps(find)
    def found(counts: Counts) -> T:
        answers = counts.__dict__  # as `functools.cached_property` does
        if name not in answers:
            answers[name] = find(counts)
        return cast("T", answers[name])

    return found


@kept
def both_exposed(counts: Counts) -> Bool:
    """The entries with exposure on both sides, shape (n,)."""
    return np.asarray((counts.exposure_canary > 0) & (counts.exposure_baseline > 0))


@kept
def _exposed(counts: Counts) -> Counts | None:
    """Those with exposure on both sides; None where all have it, for counts that keep themselves are freed late."""
    both = both_exposed(counts)
    return None if both.all() else counts.select(both)


@kept
def strata(counts: Counts) -> Counts:
    """Merge intervals whose exposure is shared alike, so that a change of traffic weight stays apart.

    Pooling over a change of weight while the error rate moves with the hour is Simpson's paradox, so only intervals
    with the same odds (within 2 %) are added up. That single requests move the odds at random does no harm: the tests
    are conditional on the exposure. Intervals in which a side had none say nothing on the ratio and are left out.

    Examples:
        >>> n = np.array([90.0, 90.0, 50.0, 70.0]), np.array([10.0, 10.0, 50.0, 0.0])
        >>> zero = np.zeros(4)
        >>> merged = strata(Counts(events_baseline=zero, exposure_baseline=n[0],
        ...                        events_canary=zero, exposure_canary=n[1]))
        >>> merged.exposure_canary.tolist(), merged.exposure_baseline.tolist()
        ([20.0, 50.0], [180.0, 50.0])
    """
    both = counts.exposed()
    return both.by(stratum_of(both)) if both.exposure_canary.size else both


@kept
def stratum_of(counts: Counts) -> Int:
    """The stratum of each entry, shape (n,), counted from 0; both exposures are above 0, and n is not 0."""
    odds = np.log(counts.exposure_canary / counts.exposure_baseline)
    # equal odds stay together whatever their last digit: bins are cut half a width from the smallest
    width = np.floor((odds - odds.min()) / np.log(STRATUM_WIDTH) + 0.5).astype(np.int64)
    numbers = (np.bincount(width) > 0).cumsum() - 1  # those in use, counted
    return np.asarray(numbers[width])


def within_exposure(counts: Counts) -> Counts:
    """Counts in which no interval has more events than exposure: what is more is counted in the intervals after it.

    A request is often counted when it begins and its event when it ends, so that events come an interval late. What
    none of those after it can hold is of the newest ones before: no event is lost that the whole exposure can hold.

    Examples:
        >>> n = np.array([5.0, 5.0, 5.0])
        >>> made = Counts(events_baseline=np.array([3.0, 7.0, 2.0]), exposure_baseline=n,
        ...               events_canary=n, exposure_canary=n)
        >>> within_exposure(made).events_baseline.tolist()
        [3.0, 5.0, 4.0]
    """
    sides = (counts.events_baseline, counts.exposure_baseline), (counts.events_canary, counts.exposure_canary)
    if not any((events > exposure).any() for events, exposure in sides):
        return counts
    return replace(counts, events_baseline=_carried(*sides[0]), events_canary=_carried(*sides[1]))


def _carried(events: Float, exposure: Float) -> Float:
    """What is too much waits as in a queue, whose length is how far the sum of it lies above its lowest value."""
    more = np.cumsum(events - exposure)
    waiting = more - np.minimum(np.minimum.accumulate(more), 0.0)
    taken = np.clip(events - np.diff(waiting, prepend=0.0), 0.0, exposure)
    room = exposure - taken
    after = np.cumsum(room[::-1])[::-1] - room
    return taken + np.clip(waiting[-1:] - after, 0.0, room)


def without_burst(counts: Counts, *, fewest: int = _BURST_INTERVALS) -> Counts | None:
    """The strata without the interval that has most of a side's events, maybe none; None where none stands out.

    Args:
        counts: One entry per interval.
        fewest: Of fewer intervals none is left out.
    """
    left_out = np.zeros(counts.events_canary.size, dtype=bool)
    if left_out.size >= fewest:
        for events in (counts.events_baseline, counts.events_canary):
            most = int(np.argmax(events))
            if events[most] > max(_BURST_SHARE * events.sum(), _BURST_EVENTS):
                left_out[most] = True
    return strata(counts.select(~left_out)) if left_out.any() else None
