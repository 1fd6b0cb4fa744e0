"""One grid for both sides: where a point falls, what is covered, and why a metric cannot be judged at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from canary_judge.arrays import Bool, Float, Int
from canary_judge.results import Side
from canary_judge.series import Form, Result, selector

__all__ = ["HUGE", "Parts", "Unusable", "coverage", "intervals", "late", "pause", "refuse_huge", "refuse_shared_series"]

# Beyond these, sums leave the range of floats, and counts are no longer whole.
HUGE = 1e300

# The answers on one metric, by part and side.
Parts = Mapping[tuple[str, Side], Result]


class Unusable(Exception):
    """The metric cannot be judged; the message says why and what to do."""


def refuse_huge(values: Float, side: Side) -> None:
    """Values that could not even be added up are a unit or a parsing that went wrong."""
    largest = float(np.abs(values).max(initial=0.0, where=np.isfinite(values)))
    if largest > HUGE:
        raise Unusable(
            f"{side}: a value of {largest:.3g} is beyond {HUGE:g}, which cannot be compared; is its unit right?"
        )


def intervals(times: Int, edges: Int) -> tuple[Int, Bool]:
    """Index of the interval (edge, next edge] of each time, and whether it lies on the grid."""
    index = np.searchsorted(edges, times, side="left") - 1
    return index, (index >= 0) & (index < edges.size - 1)


def coverage(present: Bool) -> float:
    """Share of the intervals with a value, from the first one with any: a side may be younger than the window."""
    return float(present[int(np.argmax(present)) :].mean()) if present.any() else 0.0


def late(present: Bool) -> int:
    """Intervals before the first one with a value."""
    return int(np.argmax(present)) if present.any() else present.size


def pause(present: Bool) -> int:
    """Intervals without a value at the end of the window."""
    return int(np.argmax(present[::-1])) if present.any() else present.size


def refuse_shared_series(parts: Parts) -> None:
    """A baseline selector that also matches the canary's series would dilute every difference."""
    seen: dict[tuple[str, frozenset[tuple[str, str]]], Side] = {}
    for (part, side), result in parts.items():
        for one in result.series if result.form is Form.COUNTER else ():
            key = (part, frozenset(one.labels.items()))
            if one.labels and seen.setdefault(key, side) is not side:
                raise Unusable(
                    f"baseline and canary both select the series {selector(one.labels)}; make the selectors exclusive"
                )
