"""Rows of a table that are repeated, or stand for several, and rows of one moment that are none."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from canary_judge.arrays import Bool, Float, Int, distinct
from canary_judge.errors import DataError
from canary_judge.results import Side
from canary_judge.sources.tables import Table
from canary_judge.sources.users import codes_of

__all__ = [
    "appended",
    "appended_again",
    "comparable",
    "rather_by_user",
    "refuse_aggregated",
    "refuse_numbers_that_tell_apart",
    "told",
    "weighed",
    "without_repeats",
]

# Of rows that are repeated in a smaller share of the table nothing is asked.
_FEW_REPEATED = 0.1
# So many rows are compared with each other, and this share of them is nearly all.
_FEWEST_COMPARED, _MOST_COMPARED, _NEARLY_ALL = 20, 1 << 22, 0.98
# Of fewer rows that stand there twice nothing is said.
_FEWEST_SHARE, _BY_CHANCE = 0.01, 1e-6
# Rows of a file in between two items of one page.
_OF_A_PAGE = 50
# Rows of a user, from which on they are told, unless so many of the canary's users are on both sides.
_SEVERAL, _ON_BOTH = 1.2, 0.5
# Columns that are called like this name users.
_IDS_OF_USERS = re.compile(
    r"(?:user|visitor|customer|member|account|client|player|viewer|shopper|subscriber)_?(?:id|key|hash|uuid|guid)",
    re.IGNORECASE,
)
# Of the rows of a table of counts by `ok`, how many stand beside one of the other outcome; and names of such counts.
_IN_PAIRS, _A_COARSE_TIME = 0.5, 10_000_000_000
_A_COUNT = re.compile(
    r"(n|cnt|count(_star|_1)?|hits|calls|rows)|(n|num|number_of|total)_?(requests|calls|hits|rows)"
    r"|(requests?|calls?|hits?|rows?)_?(count|cnt|number)",
    re.IGNORECASE,
)
# Counts are so large on average; and what has another text in so many rows tells no group apart.
_LARGE, _A_GROUP = 5.0, 0.25
# Columns that say for how many requests a row stands.
_WEIGHTS = ("sample_rate", "sampling_rate", "samplerate", "sample_weight")


class Appended(NamedTuple):
    """Rows that stand in a table several times.

    Attributes:
        times: How often.
        since: Nanoseconds of the first of them; None where it is nearly every row.
        until: Those of the last one.
        near: They stand beside each other in the file, as the items of a page do; who appends sets them far apart.
    """

    times: int
    since: int | None
    until: int | None
    near: bool


def comparable(table: Table) -> bool:
    """Whether the rows of both sides are looked through."""
    return all(_FEWEST_COMPARED <= np.count_nonzero(table.side(side)) <= _MOST_COMPARED for side in Side)


def appended(table: Table, side: Side) -> Appended | None:
    """Where each row of a side stands in the table twice, or three times: nearly all, or those of a stretch.

    Rows that are alike by chance are so in odd numbers as well as in even ones.
    """
    rows = np.flatnonzero(table.side(side))
    if not _FEWEST_COMPARED <= rows.size <= _MOST_COMPARED:
        return None
    times = table.times[rows]
    if not _multiples(times[1:] != times[:-1]):  # which is told without sorting
        return None
    columns: list[Float | Int] = [np.nan_to_num(values[rows]) for values in table.numbers.values()]
    columns += [] if table.ok is None else [table.ok[rows].astype(float)]
    columns += [np.unique(texts[rows].astype(str), return_inverse=True)[1] for texts in table.texts.values()]
    # probes of one second are alike in all but what tells single rows apart
    apart = (times % 1_000_000_000).any() or any(distinct(one).size > rows.size / 8 for one in columns)
    if not apart:
        return None
    columns.append(times)  # the first one to sort by
    order = np.lexsort(columns)
    changes = np.logical_or.reduce([column[order][1:] != column[order][:-1] for column in columns])
    alike = _multiples(changes)
    if not alike:
        return None
    many, first, last = max(alike, key=lambda found: found[2] - found[1])
    stretch = order[first : last + 1]
    since, until = int(times[stretch[0]]), int(times[stretch[-1]])
    whole = stretch.size >= _NEARLY_ALL * rows.size
    near = False
    if table.places is not None:
        apart_by = np.abs(np.diff(table.places[rows][stretch]))
        near = bool(np.mean(apart_by[~changes[first:last]] <= _OF_A_PAGE) >= _NEARLY_ALL)
    return Appended(many, None if whole else since, None if whole else until, near)


def _multiples(changes: Bool) -> list[tuple[int, int, int]]:
    """Stretches in which 2, or 3, divides the lengths of nearly all runs between changes, with their first and last.

    The longest one of each, where it has more than a few elements.
    """
    ends = np.concatenate([np.flatnonzero(changes), [changes.size]])
    lengths = np.diff(ends, prepend=-1)
    found = []
    for many in (2, 3):
        # one run that does not fit costs what so many elements that do fit bring in
        gain = np.cumsum(np.where(lengths % many, -lengths * _NEARLY_ALL / (1 - _NEARLY_ALL), lengths))
        before = np.minimum.accumulate(np.concatenate([[0.0], gain[:-1]]))
        last = int(np.argmax(gain - before))
        first = int(np.flatnonzero(np.concatenate([[0.0], gain[:-1]]) == before[last])[0])
        start = int(ends[first] - lengths[first]) + 1
        outside = np.concatenate([lengths[:first], lengths[last + 1 :]])
        usual = (np.count_nonzero(outside % many == 0) + 1) / (outside.size + 2)
        # of as many stretches as there are one such may come by chance
        if outside.size and lengths.size * usual ** (last - first + 1) > _BY_CHANCE:
            continue
        if ends[last] - start + 1 >= max(_FEWEST_COMPARED, _FEWEST_SHARE * (changes.size + 1)):
            found.append((many, start, int(ends[last])))
    return found


def refuse_aggregated(table: Table) -> None:
    """Refuse requests that were counted by their outcome: each time has one row that is `ok`, and one that is not.

    Raises:
        DataError: A column says how many requests a row stands for.
    """
    if table.ok is None or not _FEWEST_COMPARED <= len(table) <= _MOST_COMPARED:
        return
    counts = [name for name, values in table.numbers.items() if name != "latency" and _are_counts(values)]
    if not counts:
        return
    groups = [table.times, table.canary.astype(np.int64)]
    for texts in table.texts.values():
        different, of_each = np.unique(texts.astype(str), return_inverse=True)
        if different.size <= _A_GROUP * len(table):  # ids of requests are no groups
            groups.append(of_each)
    order = np.lexsort([table.ok, *groups])
    same = np.logical_and.reduce([one[order][1:] == one[order][:-1] for one in groups])
    if (same & (table.ok[order][1:] == table.ok[order][:-1])).any():  # single requests share a moment
        return
    pairs = 2 * np.count_nonzero(same) / len(table)
    named = [name for name in counts if _A_COUNT.fullmatch(name.removesuffix("()"))]
    if pairs < _IN_PAIRS and not (named and not (table.times % _A_COARSE_TIME).any()):
        return
    name = (named or counts)[0]
    raise DataError(
        f"no two rows of a side have the same time and the same `ok`, and {name!r} is a number above 1: are they "
        "counts of requests? Each row counts as one; give columns `requests` and `errors` in place of `ok`, or drop "
        f"{name!r} if it is something else"
    )


def weighed(table: Table) -> str | None:
    """Why a row may stand for several requests: slow or failed ones are often kept more of; else None."""
    for name in _WEIGHTS:
        values = table.numbers.get(name)
        if values is not None and values.size and (values != values[0]).any():
            return f"column {name!r} says that rows stand for different numbers of requests: weigh them before"
    return None


def _are_counts(values: Float) -> bool:
    known = values[~np.isnan(values)]
    whole = known.size and (known == np.rint(known)).all() and known.min() >= 0
    return bool(whole and known.mean() >= _LARGE)


def refuse_numbers_that_tell_apart(table: Table, rows: Int, name: str) -> None:
    """Counts of one moment are one where they are repeated, and each its own where another column differs."""
    same = np.flatnonzero(np.diff(table.times[rows]) == 0)
    if same.size <= _FEW_REPEATED * rows.size:  # exports that overlap
        return
    telling = [
        (distinct(values[rows]).size, other)
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
            "keep one, or add a label column (as pod) that tells the series apart; where each row is one request or "
            "job, name its columns `ok` and `latency`"
        )
    keep = np.concatenate([[True], ~same])
    times_there = np.diff(np.append(np.flatnonzero(keep), times.size))
    singles = values.max() <= 1 and distinct(times_there).size > 1  # of a file that was appended all have as many
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


def rather_by_user(table: Table, user: str) -> tuple[str, ...]:
    """What to say of counts of rows that have a user each, where a user has several rows.

    Args:
        table: Its rows, in order of time.
        user: The column that names them; where it has none, one that is called like users' ids.
    """
    columns = {**table.numbers, **table.texts}
    column = user if user in columns else next(filter(_IDS_OF_USERS.fullmatch, columns), None)
    here = np.flatnonzero(table.canary)
    if column is None or not here.size:
        return ()
    codes, canary = codes_of(columns[column])[0], table.canary
    beside = slice(int(here[0]), int(here[-1]) + 1)  # before, all users were on the baseline
    codes, canary = codes[beside], canary[beside]
    if np.count_nonzero(codes >= 0) <= _SEVERAL * distinct(codes[codes >= 0]).size:
        return ()
    sides = [np.bincount(codes[one & (codes >= 0)], minlength=int(codes.max()) + 1) > 0 for one in (canary, ~canary)]
    if np.count_nonzero(sides[0] & sides[1]) > _ON_BOTH * np.count_nonzero(sides[0]):
        return ()  # requests were drawn, and not users
    named = "" if column == user else f", and the source `user: {column}`"
    text = (
        f"the rows have a user each (column {column!r}), and what one user does is alike: chance is larger than counts "
        f"of rows tell. Where users stay on one side, give the metric `unit_of_replication: user`{named}"
    )
    return (text,)
