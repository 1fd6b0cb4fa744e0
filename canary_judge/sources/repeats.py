"""Rows of a table that are repeated, and rows of one moment that are none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from canary_judge.arrays import Int
from canary_judge.errors import DataError
from canary_judge.results import Side
from canary_judge.sources.tables import Appended, Table

__all__ = ["appended_again", "refuse_numbers_that_tell_apart", "told", "without_repeats"]

# Of rows that are repeated in a smaller share of the table nothing is asked.
_FEW_REPEATED = 0.1


def refuse_numbers_that_tell_apart(table: Table, rows: Int, name: str) -> None:
    """Counts of one moment are one where they are repeated, and each its own where another column differs."""
    same = np.flatnonzero(np.diff(table.times[rows]) == 0)
    if same.size <= _FEW_REPEATED * rows.size:  # exports that overlap
        return
    telling = [
        (np.unique(values[rows]).size, other)
        for other, values in table.numbers.items()
        if other != name
        and not other.startswith("Unnamed")
        and not np.array_equal(values[rows[same]], values[rows[same + 1]], equal_nan=True)
    ]
    if telling:  # the fewest values are those of a label
        raise DataError(
            f"several rows of {name!r} have the time {told(table.times[rows[same[0]]])} and differ in "
            f"{min(telling)[1]!r}, a number, which tells no series apart: add them up, or write it as text (r17 for "
            "17); drop it if it only numbers the rows of exports that overlap"
        )


def without_repeats(times: Any, values: Any, name: str, side: Side, *, counted: bool) -> tuple[Any, Any, int]:
    """Values with the same time and value are one; two values at one time cannot both be right.

    Of counts many repeated ones are events of their own.
    """
    same = np.diff(times) == 0
    if not same.any():
        return times, values, 0
    differ = same & ~((values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1])))
    if differ.any():
        row = int(np.argmax(differ))
        when = told(times[row])
        raise DataError(
            f"{name!r} of the {side} has two values at {when} ({values[row]:g} and {values[row + 1]:g}); "
            "keep one, or add a label column (as pod) that tells the series apart"
        )
    keep = np.concatenate([[True], ~same])
    times_there = np.diff(np.append(np.flatnonzero(keep), times.size))
    singles = values.max() <= 1 and np.unique(times_there).size > 1  # of a file that was appended all have as many
    if counted and singles and same.sum() > _FEW_REPEATED * times.size:
        raise DataError(
            f"{int(same.sum())} of {times.size} rows of {name!r} of the {side} have the time and the value of the row "
            "before: single events with coarse times? Add them up for each time, or give one row per request with `ok`"
        )
    return times[keep], values[keep], int(same.sum())


def appended_again(found: Appended, side: Side) -> str:
    """What stands in a table several times, and where."""
    stretch = ""
    if found.since is not None and found.until is not None:
        stretch = f" from {told(found.since)} to {told(found.until)}"
    return f"each row of the {side}{stretch} stands in the table {found.times} times: was a file appended again?"


def told(nanoseconds: int) -> str:
    """A moment as it is told."""
    return datetime.fromtimestamp(int(nanoseconds) / 1e9, UTC).isoformat()
