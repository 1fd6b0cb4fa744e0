"""Rows of what users did, and the moments of each side's users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from canary_judge.arrays import Bool, Float, Int
from canary_judge.errors import DataError
from canary_judge.moments import Moments, UserMoments
from canary_judge.results import Side
from canary_judge.series import PerUser, Query, Window, nanoseconds

__all__ = ["NOBODY", "NO_USERS", "Rows", "codes_of", "moments_by_side", "span_of", "totals_before"]

NO_USERS = (
    "{kind} keeps no users, and sums over users do not tell how they differ; read this metric from a table with a "
    "column `user` (a source of type frame or sql). Or judge requests, without `unit_of_replication: user`; but where "
    "users stay on one side that passes a canary at its margin 14 to 33 % of the time instead of 5"
)
# What stands for no user.
NOBODY = ("", "0", "nan", "none", "null")


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
    """

    times: Int
    canary: Bool
    users: Int
    count: int
    numerator: Float
    denominator: Float | None

    def between(self, start: int, end: int) -> Rows:
        """The rows in (start, end]."""
        first, last = np.searchsorted(self.times, [start, end], side="right")
        part = slice(int(first), int(last))
        return Rows(
            times=self.times[part],
            canary=self.canary[part],
            users=self.users[part],
            count=self.count,
            numerator=self.numerator[part],
            denominator=None if self.denominator is None else self.denominator[part],
        )

    def where(self, these: Bool) -> Rows:
        """Some of the rows."""
        return Rows(
            times=self.times[these],
            canary=self.canary[these],
            users=self.users[these],
            count=self.count,
            numerator=self.numerator[these],
            denominator=None if self.denominator is None else self.denominator[these],
        )

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


def codes_of(column: Sequence[object] | np.ndarray) -> tuple[Int, int]:
    """A whole number for each user (-1: none), and how many users there are.

    Examples:
        >>> codes_of(np.array(["ann", "", "bob", "ann", None], dtype=object))
        (array([ 0, -1,  1,  0, -1]), 2)
    """
    given = np.asarray(column)
    if given.dtype.kind in "fiu":
        nobody = ~np.isfinite(given) | (given == 0) if given.dtype.kind == "f" else given == 0
        values = given
    else:
        values = np.array(["" if one is None else str(one) for one in given.tolist()])
        nobody = np.isin(np.char.lower(values), NOBODY)
    known, places = np.unique(values[~nobody], return_inverse=True)
    codes = np.full(given.size, -1, dtype=np.int64)
    codes[~nobody] = places
    return codes, known.size


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


def totals_before(rows: Rows, asked: PerUser) -> Float:
    """Numerator and denominator of each user in the time before the run, shape (count, 2)."""
    if asked.past is None:
        found = np.zeros((rows.count, 2))
        found[:, 1] = asked.denominator is None
        return found
    past = rows.between(nanoseconds(asked.past.start), nanoseconds(asked.past.end))
    return past.where(past.users >= 0).capped(asked.cap).totals(asked.cap)


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
    known = inside.where(inside.users >= 0).capped(asked.cap)
    seen = {
        side: np.bincount(known.users[known.canary == (side is Side.CANARY)], minlength=rows.count) > 0 for side in Side
    }
    strays = seen[Side.BASELINE] & seen[Side.CANARY]
    first = np.full(rows.count, -1, dtype=np.int64)
    first[known.users[::-1]] = known.canary[::-1]  # the earliest row is written last
    third = (until - since) // 3
    spans = {"whole": (since, until), "early": (since, since + third), "late": (until - third, until)}
    parts = {name: known.between(*span) for name, span in spans.items()}
    found = {}
    for side in Side:
        mine = inside.canary == (side is Side.CANARY)
        own = inside.where(mine)
        anonymous = int((own.users < 0).sum())
        found[side] = UserMoments(
            **{name: _moments(part, before, side, strays, asked) for name, part in parts.items()},
            strays=int((strays & (first == (side is Side.CANARY))).sum()),
            anonymous=anonymous,
            rows=own.users.size - anonymous,
            latest=int(own.times[-1]) if own.times.size else None,
            since=since,
            until=until,
        )
    return found


def _moments(rows: Rows, before: Float, side: Side, strays: Bool, asked: PerUser) -> Moments:
    own = rows.where(rows.canary == (side is Side.CANARY))
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
