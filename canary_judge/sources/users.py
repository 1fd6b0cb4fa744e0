"""Rows of what users did, and the moments of each side's users."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from canary_judge.arrays import Bool, Float, Int, distinct
from canary_judge.errors import DataError
from canary_judge.moments import LAST, UNEVEN, Moments, UserMoments
from canary_judge.results import Side
from canary_judge.series import PerUser, Query, Window, nanoseconds
from canary_judge.wording import span

__all__ = [
    "NOBODY",
    "NO_USERS",
    "Rows",
    "codes_of",
    "moments_by_side",
    "span_of",
    "starts_of_buckets",
    "totals_before",
]

NO_USERS = (
    "{kind} keeps no users, and sums over users do not tell how they differ; read this metric from a table with a "
    "column `user` (a source of type frame or sql). Or judge requests, without `unit_of_replication: user`; but where "
    "users stay on one side that passes a canary at its margin 13 to 31 % of the time instead of 5"
)
# What stands for no user, in lower case.
NOBODY = (
    "",
    "0",
    "-1",
    "-",
    "nan",
    "none",
    "null",
    "undefined",
    "unknown",
    "anonymous",
    "guest",
    "00000000-0000-0000-0000-000000000000",
)
# Of rows that sum up an hour or more there are many at one time.
_HOUR, _IN_A_BUCKET = 3_600_000_000_000, 10
# Beyond it whole numbers are no longer exact as floats.
_LARGEST_ID = 2.0**53
_WITH_POINT = re.compile(r"\d+\.0")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows in order of time, shape (n,) each.

    Attributes:
        times: Nanoseconds since the epoch.
        canary: Which rows are the canary's.
        users: A whole number for each user, from 0 on; -1 where there is none.
        count: How many users there are.
        numerator: To be added up; 0 where nothing is known.
        denominator: The same; None where there is none.
        undefined: Where the numerator is not known, and should be.
    """

    times: Int
    canary: Bool
    users: Int
    count: int
    numerator: Float
    denominator: Float | None
    undefined: Bool

    def between(self, start: int, end: int) -> Rows:
        """The rows in (start, end]."""
        first, last = np.searchsorted(self.times, [start, end], side="right")
        return self.where(slice(int(first), int(last)))

    def where(self, these: Bool | slice) -> Rows:
        """Some of the rows."""
        return Rows(
            times=self.times[these],
            canary=self.canary[these],
            users=self.users[these],
            count=self.count,
            numerator=self.numerator[these],
            denominator=None if self.denominator is None else self.denominator[these],
            undefined=self.undefined[these],
        )

    def of(self, side: Side) -> Rows:
        """The rows of a side."""
        return self.where(self.canary == (side is Side.CANARY))

    def capped(self, cap: float | None) -> Rows:
        """The same without what follows the cap-th unit of a user's denominator."""
        if self.denominator is None or cap is None:
            return self
        within = _running(self.users, self.times, self.denominator) <= cap
        x, y = (np.where(within, values, 0.0) for values in (self.numerator, self.denominator))
        return replace(self, numerator=x, denominator=y)

    def totals(self, cap: float | None) -> Float:
        """Numerator and denominator of each user, shape (count, 2); the denominator is 1 where there is none.

        Without a denominator no user has more than `cap`.
        """
        x, y = self.numerator, self.denominator
        found = np.ones((self.count, 2))
        found[:, 0] = np.bincount(self.users, weights=x, minlength=self.count)
        if y is not None:
            found[:, 1] = np.bincount(self.users, weights=y, minlength=self.count)
        elif cap is not None:
            found[:, 0] = np.minimum(found[:, 0], cap)
        return found


def _as_whole(texts: np.ndarray) -> Callable[[str], str]:
    """How an id is read: as it is, but for numbers that pandas has written with `.0` beside others without."""
    if not any(isinstance(one, str) and _WITH_POINT.fullmatch(one) for one in texts.tolist()):
        return str
    return lambda one: one[:-2] if _WITH_POINT.fullmatch(one) else one


def codes_of(column: Sequence[object] | np.ndarray) -> tuple[Int, int]:
    """A whole number for each user (-1: none), and how many users there are.

    Raises:
        DataError: Whole numbers are too large to be told apart as floats.

    Examples:
        >>> codes_of(np.array(["ann", "", "bob", "ann", None], dtype=object))
        (array([ 0, -1,  1,  0, -1]), 2)
    """
    given = np.asarray(column)
    if given.dtype.kind in "fiu":
        values = given.astype(float)
        nobody = ~np.isfinite(values) | (values == 0) | (values == -1)
        if (np.abs(values[~nobody]) >= _LARGEST_ID).any():
            raise DataError(
                "a user is a number beyond 2^53, which cannot be told from its neighbours; give ids as text (in CSV, "
                "whose digits are read as numbers, with a letter before them; or write Parquet)"
            )
        known, places = np.unique(values[~nobody], return_inverse=True)
        codes = np.full(given.size, -1, dtype=np.int64)
        codes[~nobody] = places
        return codes, known.size
    # a dictionary, for one long text would make an array of texts as wide as itself
    found: dict[str, int] = {}
    whole = _as_whole(given)
    places = np.array([found.setdefault("" if one is None else whole(str(one)), len(found)) for one in given.tolist()])
    order = [-1 if name.strip().lower() in NOBODY else 0 for name in found]
    number = np.cumsum([one == 0 for one in order]) - 1
    renamed = np.where(np.array(order) < 0, -1, number).astype(np.int64) if found else np.empty(0, dtype=np.int64)
    return renamed[places] if found else np.empty(0, dtype=np.int64), int((renamed >= 0).sum())


def span_of(query: Query, window: Window) -> tuple[PerUser, int, int]:
    """What a query by user asks, and of which time: nanoseconds, the start not part of it.

    Raises:
        DataError: It asks nothing of users.
    """
    if query.users is None:
        raise DataError(f"{query.metric}: the query asks nothing of users; set `users`")
    until = nanoseconds(window.end)
    since = nanoseconds(query.users.since or window.start)
    return query.users, min(since, until), until


def starts_of_buckets(times: Int, since: int, until: int) -> str | None:
    """Why rows of whole hours or days say when these begin, where a time is taken for their end; None where not.

    Args:
        times: Of the canary's rows, in their order; of which none is before the start, or it was there before.
        since: Start of what is counted, not part of it.
        until: Its end.
    """
    first, after, end, newest = np.searchsorted(times, [since, since + 1, until, until + 1])
    if newest > end or first or not after:
        return None
    known = distinct(times[first:newest])
    step = int(np.gcd.reduce(np.append(np.diff(known), until - known[-1])))
    if (known % _HOUR).any() or step < _HOUR or newest - first < _IN_A_BUCKET * known.size or known[-1] + step != until:
        return None
    return (
        f"its rows are of whole {span(step / 1e9)} each, and the canary's {after:,} at the start itself are left out, "
        "as a time is the end of what it counts: do they say when each begins? Move them to its end"
    )


def totals_before(rows: Rows, asked: PerUser) -> Float:
    """Numerator and denominator of each user in the time before the run, shape (count, 2)."""
    if asked.past is None:
        return np.zeros((rows.count, 2))
    past = _past(rows, asked.past)
    past = past.where(past.users >= 0)
    found = past.capped(asked.cap).totals(asked.cap)
    if asked.denominator is None:  # whom nobody knew yet has no past: not one of nothing
        found[:, 1] = np.bincount(past.users, minlength=rows.count) > 0
    return found


def _past(rows: Rows, past: Window) -> Rows:
    return rows.between(nanoseconds(past.start), nanoseconds(past.end))


def moments_by_side(rows: Rows, asked: PerUser, before: Float, *, since: int, until: int) -> dict[Side, UserMoments]:
    """Moments of both sides' users in (since, until]; who was seen on both is left out of either.

    Args:
        rows: Rows in order of time.
        asked: What is asked of each user.
        before: Totals of each user before the run.
        since: Start, in nanoseconds.
        until: Its end.
    """
    inside = rows.between(since, until)
    whole = inside.where(inside.users >= 0)
    known = whole.capped(asked.cap)
    seen = {side: np.bincount(known.of(side).users, minlength=rows.count) > 0 for side in Side}
    strays = seen[Side.BASELINE] & seen[Side.CANARY]
    first = np.full(rows.count, -1, dtype=np.int64)
    first[known.users[::-1]] = known.canary[::-1]  # the earliest row is written last
    third = (until - since) // 3
    spans = {
        "whole": (since, until),
        "early": (since, since + third),
        "late": (until - third, until),
        "last": (until - (until - since) // LAST, until),
    }
    parts = {name: known.between(*span) for name, span in spans.items()}
    # the time in which there should have been no canary, and who was there in it
    past = None if asked.past is None else _past(rows, asked.past)
    there = None if past is None else np.bincount(past.users[past.users >= 0], minlength=rows.count) > 0
    found = {}
    for side in Side:
        own, named = inside.of(side), whole.of(side)
        number = np.bincount(named.users, minlength=rows.count)
        found[side] = UserMoments(
            **{name: _moments(part, before, side, strays, asked) for name, part in parts.items()},
            strays=int((strays & (first == (side is Side.CANARY))).sum()),
            strayed=int(strays[named.users].sum()),
            anonymous=own.users.size - named.users.size,
            rows=named.users.size,
            odd=int((number % 2).sum()),
            uneven=tuple(int(np.count_nonzero(number % times)) for times in UNEVEN),
            elsewhere=0,  # a table with such rows is refused
            undefined=int(named.undefined.sum()),
            capped=_left_out(named, known.of(side), asked),
            known=None if there is None else int((seen[side] & ~strays & there).sum()),
            before=0 if past is None or side is Side.BASELINE else int(past.of(side).times.size),
            earliest=int(own.times[0]) if own.times.size else None,
            latest=int(own.times[-1]) if own.times.size else None,
            since=since,
            until=until,
        )
    return found


def _left_out(rows: Rows, capped: Rows, asked: PerUser) -> float:
    """The share of what is added up that the cap leaves out."""
    if asked.cap is None:
        return 0.0
    place = 0 if asked.denominator is None else 1
    whole, rest = (float(one[:, place].sum()) for one in (rows.totals(None), capped.totals(asked.cap)))
    return 1 - rest / whole if whole else 0.0


def _moments(rows: Rows, before: Float, side: Side, strays: Bool, asked: PerUser) -> Moments:
    own = rows.of(side)
    seen = (np.bincount(own.users, minlength=rows.count) > 0) & ~strays
    totals = np.hstack([own.totals(asked.cap)[seen], before[seen]])
    return Moments.of(totals, per_user=asked.denominator is None)


def _running(users: Int, times: Int, values: Float) -> Float:
    """Sums of each user's values so far, the row's own and all at the same time included."""
    order = np.lexsort((times, users))
    user, time = users[order], times[order]
    sums = np.cumsum(values[order])
    starts = np.r_[True, user[1:] != user[:-1]] if user.size else np.empty(0, dtype=bool)
    base = np.maximum.accumulate(np.where(starts, np.arange(user.size), 0))
    before = np.where(base > 0, sums[base - 1], 0.0)
    # the last row of equal times has the sum of all of them
    last = np.r_[(user[1:] != user[:-1]) | (time[1:] != time[:-1]), True] if user.size else starts
    ends = np.flatnonzero(last)
    running = sums[ends[np.searchsorted(ends, np.arange(user.size))]] - before
    found = np.empty(user.size)
    found[order] = running
    return found
