"""One grid for both sides: where a point falls, what is covered, and why a metric cannot be judged at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from canary_judge.arrays import Bool, Int
from canary_judge.results import Side
from canary_judge.series import Result

__all__ = ["Parts", "Unusable", "coverage", "intervals", "pause"]

# The answers on one metric, by part and side.
Parts = Mapping[tuple[str, Side], Result]


class Unusable(Exception):
    """The metric cannot be judged; the message says why and what to do."""


def intervals(times: Int, edges: Int) -> tuple[Int, Bool]:
    """Index of the interval (edge, next edge] of each time, and whether it lies on the grid."""
    index = np.searchsorted(edges, times, side="left") - 1
    return index, (index >= 0) & (index < edges.size - 1)


def coverage(present: Bool) -> float:
    """Share of the intervals with a value, from the first one with any: a side may be younger than the window."""
    return float(present[int(np.argmax(present)) :].mean()) if present.any() else 0.0


def pause(present: Bool) -> int:
    """Intervals without a value at the end of the window."""
    return int(np.argmax(present[::-1])) if present.any() else present.size
