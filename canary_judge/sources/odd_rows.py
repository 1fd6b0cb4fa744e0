"""Numbers of users' rows that are none of what is asked: codes, counted twice, another unit, a side without its zeros.

What the moments of users no longer show is seen here, row by row. Both sides should differ in how large their numbers
are and how often they come; not in which numbers there are at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from canary_judge.arrays import Bool, Float, Int, distinct
from canary_judge.results import Side
from canary_judge.samples.raw import http_statuses
from canary_judge.series import PerUser

__all__ = ["Numbers", "Odd", "odd_numbers"]

# What is written for nothing, in so many rows; and of the others, how many have something.
_CODES = frozenset({-1.0, -9.0, -99.0, -999.0, -9999.0, 9.0, 99.0, 999.0, 9999.0})
_FEWEST_CODES, _HAVE_SOME = 20, 0.3
# What comes on one side only: so many rows were due on the other; a positive code is so many times the largest value.
_MANY_DUE, _FAR_ABOVE = 30.0, 10.0
# Of fewer rows, or users, nothing is said.
_FEWEST_ROWS = 100
# Logarithm of a chance that is none.
_NO_CHANCE = -23.0
# Whole numbers beyond it are not counted in units; and the share of one side's that are the other's, times a unit.
_LARGEST, _THEIRS, _NEARLY_ALL = 2.0**53, 0.9, 1 - 1e-9
# Best grades of scales; the share of a side's that are the best one, and of the wider scale's beyond the other.
_BEST, _AT_THE_EDGE, _BEYOND = frozenset({5.0, 7.0, 10.0, 100.0}), 0.03, 0.2
# Rows of a user, on one side for each one on the other.
_AS_OFTEN = 1.5
# Of a rating the largest value; how many rows are not rated, and how many different ratings there are.
_SCALES, _NOT_RATED, _DIFFERENT = (5.0, 10.0), 0.5, 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Numbers:
    """What is added up, one row each, in order of time, shape (n,).

    Attributes:
        canary: Which rows are the canary's.
        users: A whole number for each user, from 0 on; -1 where there is none.
        numerator: NaN where nothing is known.
        denominator: The same; None where there is none.
    """

    canary: Bool
    users: Int
    numerator: Float
    denominator: Float | None

    def beside(self) -> Numbers:
        """Those in the time of the canary: before it a table may have been written otherwise."""
        here = np.flatnonzero(self.canary)
        when = slice(int(here[0]), int(here[-1]) + 1) if here.size else slice(0)
        return Numbers(
            canary=self.canary[when],
            users=self.users[when],
            numerator=self.numerator[when],
            denominator=None if self.denominator is None else self.denominator[when],
        )


class Odd(NamedTuple):
    """What is odd about numbers.

    Attributes:
        error: Why they cannot be judged; None where they can.
        doubt: Why no canary can be found safe by them, though harm may show; None where it can.
        words: What a reader should know.
    """

    error: str | None = None
    doubt: str | None = None
    words: tuple[str, ...] = ()


def odd_numbers(asked: PerUser, rows: Numbers) -> Odd:
    """Why these numbers are not what they are taken for.

    Args:
        asked: What they are called.
        rows: Rows of both sides.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> likes, canary, users = rng.poisson(2, 4000).astype(float), np.arange(4000) % 4 == 0, np.arange(4000)
        >>> fine = Numbers(canary=canary, users=users, numerator=likes, denominator=None)
        >>> odd_numbers(PerUser(numerator="likes"), fine)
        Odd(error=None, doubt=None, words=())
        >>> twice = Numbers(canary=canary, users=users, numerator=np.where(canary, 2 * likes, likes), denominator=None)
        >>> odd_numbers(PerUser(numerator="likes"), twice).doubt[:71]
        "every 'likes' of the canary is a multiple of 2, and 55% of the baseline"
    """
    rows = rows.beside()
    names = [(asked.numerator, rows.numerator)]
    if asked.denominator is not None and rows.denominator is not None:
        names.append((asked.denominator, rows.denominator))
        if (code := _of_nothing(asked, rows.numerator, rows.denominator)) is not None:
            return Odd(error=code)
    if (statuses := http_statuses(rows.numerator, asked.numerator)) is not None:
        return Odd(error=f"{asked.numerator!r}: {statuses}")
    doubts = [_one_sided(name, values, rows.canary) for name, values in names]
    doubts += [_multiples(asked.numerator, rows), _scales(asked.numerator, rows), _without_zeros(asked, rows)]
    return Odd(doubt=next(filter(None, doubts), None), words=tuple(_worth_a_word(asked, rows)))


def _other(side: Side) -> Side:
    return Side.BASELINE if side is Side.CANARY else Side.CANARY


def _of_nothing(asked: PerUser, x: Float, y: Float) -> str | None:
    """Whether a numerator stands for nothing, as -1 or 99 for what was not rated.

    It is the only numerator of many rows whose denominator is 0, one of those that are written for it, and beyond what
    other rows have for one. Numerators and denominators in rows of their own are no such thing.
    """
    alone, beside = (y == 0) & (x != 0) & ~np.isnan(x), y > 0
    values, others = x[alone], x[beside] / y[beside]
    others = others[~np.isnan(others)]
    if values.size < _FEWEST_CODES or values.min() != values.max() or float(values[0]) not in _CODES:
        return None
    if not others.size or (others != 0).mean() < _HAVE_SOME or others.min() <= float(values[0]) <= others.max():
        return None
    return (
        f"{asked.numerator!r} is {float(values[0]):g} in {values.size:,} rows whose {asked.denominator!r} is 0, and in "
        "no other: a code for nothing? Leave these cells empty, or write 0"
    )


def _one_sided(name: str, values: Float, canary: Bool) -> str | None:
    """Whether one side has a code for nothing in rows in which the other has real values.

    A thumb that points down is no code: where -1 is, 1 is the largest value.
    """
    known = ~np.isnan(values)
    for side in Side:
        own, other = (values[known & (canary == (one is Side.CANARY))] for one in (side, _other(side)))
        if not own.size or not other.size:
            continue
        for code in _CODES & {float(own.min()), float(own.max())}:
            many = np.count_nonzero(own == code)
            rest = own[own != code]
            due = many / own.size * other.size
            if many < _FEWEST_CODES or due < _MANY_DUE or not rest.size or (other == code).any():
                continue
            low, high = min(float(rest.min()), float(other.min())), max(float(rest.max()), float(other.max()))
            if (code < 0 <= low and high > 1) or (code > 0 and 0 < _FAR_ABOVE * high <= code):
                return (
                    f"{name!r} is {code:g} in {many:,} rows of the {side} and in none of the other side, where "
                    f"{due:,.0f} were due; all others are {low:g} to {high:g}: a code for nothing? Leave these cells "
                    "empty"
                )
    return None


def _multiples(name: str, rows: Numbers) -> str | None:
    """Whether one side has the other's numbers times a whole one: counted twice, or in another unit.

    Of the other side's users with any number a share has one that is no such multiple; that none of so many on this
    side has one would be a chance of (1 - share) ^ users. Other prices are other numbers.
    """
    values = rows.numerator
    known = ~np.isnan(values) & (values != 0) & (np.abs(values) < _LARGEST) & (rows.users >= 0)
    for side in Side:
        mine = rows.canary == (side is Side.CANARY)
        these, those = known & mine, known & ~mine
        own, other = values[these], values[those]
        if not own.size or not other.size or (own != np.rint(own)).any():
            continue
        unit = int(np.gcd.reduce(own.astype(np.int64)))
        if unit < 2 or np.isin(own / unit, distinct(other)).mean() < _THEIRS:
            continue
        beyond = those & (values % unit != 0)
        theirs, users = distinct(rows.users[those]).size, distinct(rows.users[these]).size
        share, rest = distinct(rows.users[beyond]).size / theirs, np.count_nonzero(beyond) / other.size
        chances = [n * np.log1p(-min(one, _NEARLY_ALL)) for n, one in ((users, share), (own.size, rest))]
        if theirs >= _FEWEST_ROWS and max(chances) <= _NO_CHANCE:
            return (
                f"every {name!r} of the {side} is a multiple of {unit}, and {rest:.0%} of the {_other(side)}'s are "
                "not: is one side counted several times, or in another unit?"
            )
    return None


def _scales(name: str, rows: Numbers) -> str | None:
    """Whether both sides give grades, up to another best one: a scale has an edge, and many stand on it."""
    if rows.denominator is None:
        return None
    edges: dict[Side, tuple[float, Float]] = {}
    for side in Side:
        own = rows.numerator[(rows.canary == (side is Side.CANARY)) & (rows.numerator > 0)]  # what is not known is not
        if own.size < _FEWEST_ROWS or (own != np.rint(own)).any():
            return None
        best = float(own.max())
        if best not in _BEST or (own == best).mean() < _AT_THE_EDGE:
            return None
        edges[side] = best, own
    low, high = sorted(edges.values(), key=lambda edge: edge[0])
    if low[0] == high[0] or (high[1] > low[0]).mean() < _BEYOND:
        return None
    return (
        f"{name!r} is at most {edges[Side.BASELINE][0]:g} on the baseline and {edges[Side.CANARY][0]:g} on the canary, "
        "and many are as much: are these grades of two scales?"
    )


def _without_zeros(asked: PerUser, rows: Numbers) -> str | None:
    """Whether a side has no user with a numerator of 0, and the other has many: who did nothing was left out."""
    count = int(rows.users.max(initial=-1)) + 1
    named = rows.users >= 0
    number: dict[Side, int] = {}
    none: dict[Side, int] = {}
    often: dict[Side, float] = {}
    for side in Side:
        these = named & (rows.canary == (side is Side.CANARY))
        there = np.bincount(rows.users[these], minlength=count) > 0
        some = these & (rows.numerator != 0)  # also where it is not known
        number[side] = int(np.count_nonzero(there))
        often[side] = np.count_nonzero(these) / max(number[side], 1)
        none[side] = number[side] - int(np.count_nonzero(np.bincount(rows.users[some], minlength=count) > 0))
    for side in Side:
        theirs = none[_other(side)] / max(number[_other(side)], 1)
        if none[side] or number[_other(side)] < _FEWEST_ROWS or theirs == 0:
            continue
        if often[side] > _AS_OFTEN * often[_other(side)]:  # who comes more often does something some time
            continue
        if number[side] * np.log1p(-min(theirs, _NEARLY_ALL)) <= _NO_CHANCE:
            return (
                f"each of {number[side]:,} users of the {side} has some {asked.numerator!r}, and {theirs:.0%} of the "
                f"{_other(side)}'s have none: were those who did nothing left out on one side? Take them in on both"
            )
    return None


def _worth_a_word(asked: PerUser, rows: Numbers) -> Iterator[str]:
    """What counts, too, may look like: codes for yes and no, ratings with 0 for none."""
    if rows.denominator is None:
        return
    asked_of = (rows.denominator > 0) & ~np.isnan(rows.numerator)
    values = rows.numerator[asked_of]
    some = values[values != 0]
    if some.size < _FEWEST_ROWS or (some != np.rint(some)).any() or some.min() < 1:
        return
    different = distinct(some)
    ones = (rows.denominator[asked_of] == 1).all()
    if ones and different.tolist() == [1.0, 2.0] and some.size == values.size:
        yield f"{asked.numerator!r} is 1 or 2 in every row: codes for yes and no? Give 1 and 0"
    usual = different[np.argmax(np.unique(some, return_counts=True)[1])]
    unrated = 1 - some.size / values.size
    rated = different.size >= _DIFFERENT and float(different[-1]) in _SCALES and usual > 1
    if rated and unrated > _NOT_RATED:
        yield (
            f"{asked.numerator!r} is 0 in {unrated:.0%} of the rows and 1 to {different[-1]:g} in the others: ratings, "
            "and 0 where nothing was rated? Leave these cells empty, and divide by the number of ratings"
        )
