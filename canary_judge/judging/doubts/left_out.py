"""What of the users' rows is left out (no user, no value, beyond a cap), and whether ids are of users at all."""

from __future__ import annotations

import math
from collections.abc import Iterator

from canary_judge.config.metrics import Metric
from canary_judge.moments import UNEVEN, Moments, UserMoments
from canary_judge.results import Side
from canary_judge.samples import UserData

__all__ = ["MOST_CAPPED", "TOO_MANY_LEFT_OUT", "doubled", "missing_alone", "rows_apart", "sessions", "share_of"]

# The part of the canary's users (of its rows, for those without a user) that may be left out.
TOO_MANY_LEFT_OUT = 0.2
# With more rows of a mean that have nothing to be averaged its level is not that of what is meant.
_MOST_UNDEFINED = 0.5
# Shares of the sides' rows that are left out may differ by so much, and by what chance does.
_APART = 0.01
# Of so many users at least this share was there before, unless ids are of sessions.
_MANY_USERS, _FEW_KNOWN = 1000, 0.02
# Rows of a user where users come again.
_COME_AGAIN = 1.5
# What is left out of a side beside its rows.
_NOT_AMONG_ROWS = ("anonymous", "elsewhere")
# A cap is against a few giants.
MOST_CAPPED = 0.5
_ROUNDING = 1e-9
# Of the rows of a user, what is nearly as many: a join makes half of them, or fewer.
_NEARLY_AS_MANY = 0.75
# So many users have even numbers of rows by no chance; its logarithm.
_FEW_FOR_PAIRS, _NEARLY_ALL, _NO_CHANCE = 30, 1 - 1e-9, -9.2


def rows_apart(metric: Metric, data: UserData) -> Iterator[tuple[str, str]]:
    """What is left out of one side more than of the other may be what went wrong there: what it is, and in words."""
    per_user = metric.per_user()
    cap = "" if per_user is None else f"beyond the cap of {per_user.cap:g}" if per_user.cap is not None else ""
    numerator = "" if per_user is None else per_user.numerator
    left_out = [share_of(getattr(data, side.value), "capped") for side in Side]
    if per_user is not None and max(left_out) > MOST_CAPPED and not all(_yes_or_no(data, side) for side in Side):
        yield (
            "capped",
            (
                f"the cap of {per_user.cap:g} leaves out {left_out[1]:.0%} of the canary's and {left_out[0]:.0%} of "
                "the baseline's: what is left hardly tells them apart; raise `cap`"
            ),
        )
    margin = metric.parsed_margin()
    # a relative margin is the same of whatever is counted
    absolute = margin is not None and margin.absolute is not None and not metric.is_proportion
    over = per_user.denominator if per_user is not None and absolute else None
    for name, what, most, remedy in (
        (
            "elsewhere",
            "rows of its users without a side, or with a third one",
            1.0,
            "name the side in each row, or in a table of `assignments`",
        ),
        ("anonymous", "rows without a user", TOO_MANY_LEFT_OUT, "those left out may be what differs; give them an id"),
        (
            "undefined",
            f"rows without `{numerator}`, which count as 0",
            1.0 if over is None else _MOST_UNDEFINED,
            f"divide by what counts the known ones, and not by `{over}`; or write 0 where it is meant",
        ),
        ("capped", cap, 1.0, ""),
    ):
        shares = [share_of(getattr(data, side.value), name) for side in Side]
        wholes = data.baseline.whole, data.canary.whole
        users: float = min(one.users for one in wholes)
        if name == "capped":  # of which those who have anything to be capped decide
            if all(_yes_or_no(data, side) for side in Side):
                continue
            bearing = 0 if per_user is None or per_user.denominator is None else 1
            users = max(min(one.bearing(bearing) for one in wholes), 1.0)
        pooled = min(max(shares), 0.5)
        # so many users' shares stray so far by chance
        chance = 4 * math.sqrt(pooled * (1 - pooled) / users)
        told = f"{shares[1]:.0%} of the canary and {shares[0]:.0%} of the baseline are {what}"
        if abs(shares[1] - shares[0]) > _APART + chance:
            yield name, f"{told}: why do they differ?"
        elif max(shares) > most:
            yield name, f"{told}, more than {most:.0%}: {remedy}"


def missing_alone(data: UserData) -> float:
    """What rows without a user take from the mean of one side beside the other's, and what chance may."""
    shares = [share_of(getattr(data, side.value), "anonymous") for side in Side]
    kept = [1 - share for share in shares]
    if min(kept) <= 0:
        return math.inf
    users = min(data.baseline.whole.users, data.canary.whole.users)
    return max(kept) / min(kept) - 1 + 4 * math.sqrt(max(shares) * (1 - max(shares)) / max(users, 1))


def share_of(moments: UserMoments, name: str) -> float:
    """Of the rows of a side, or of what is added up."""
    if name == "capped":
        return moments.capped
    number = float(getattr(moments, name))
    rows = moments.rows + (number if name in _NOT_AMONG_ROWS else 0.0)
    return number / rows if rows else 0.0


def doubled(data: UserData) -> Iterator[str]:
    """Rows of one side that stand twice or more: all its users have a multiple of them, and the other's do not."""
    for side, other in ((Side.CANARY, Side.BASELINE), (Side.BASELINE, Side.CANARY)):
        mine, theirs = getattr(data, side.value), getattr(data, other.value)
        for times, own, others in zip((2, *UNEVEN), _uneven(mine), _uneven(theirs), strict=False):
            if own or not others or mine.whole.users < _FEW_FOR_PAIRS:
                continue
            if _alike(mine, theirs):
                continue
            share = min(others / max(theirs.whole.users + theirs.strays, 1), _NEARLY_ALL)
            if mine.whole.users * math.log1p(-share) > _NO_CHANCE:
                continue
            number = "an even number" if times == 2 else f"a multiple of {times}"
            which = "twice, as after a join that matches two" if times == 2 else f"{times} times, as after a join"
            yield (
                f"every user of the {side} has {number} of rows, and {others:,} of the {other} have not: does each row "
                f"stand {which}?"
            )
            break


def _alike(mine: UserMoments, theirs: UserMoments) -> bool:
    """Whether all users of a side have one number of rows, which is also that of the other's: one a day."""
    unit = math.prod(times for times, own in zip((2, *UNEVEN), _uneven(mine), strict=False) if not own)
    users = mine.whole.users
    return mine.rows == unit * users and theirs.rows * users > _NEARLY_AS_MANY * mine.rows * theirs.whole.users


def _uneven(one: UserMoments) -> tuple[int, ...]:
    """Users whose number of rows is no multiple of 2, 3, 5, 7, as far as that was counted."""
    return () if one.odd is None else (one.odd, *(one.uneven or ()))


def sessions(data: UserData) -> Iterator[str]:
    """Ids that nobody had before are no users, nor are those that come once on one side, and again on the other."""
    for side, other in ((Side.CANARY, Side.BASELINE), (Side.BASELINE, Side.CANARY)):
        mine, theirs = getattr(data, side.value), getattr(data, other.value)
        again = theirs.rows / max(theirs.whole.users, 1)
        if _MANY_USERS <= mine.whole.users == mine.rows and again >= _COME_AGAIN:
            yield (
                f"every user of the {side} has one row, and those of the {other} have {again:.1f} on average: are "
                f"these ids of sessions on the {side}?"
            )
    known = [getattr(data, side.value).known for side in Side]
    users = data.baseline.whole.users
    if known == [0, 0] and users >= _MANY_USERS:
        yield (
            "no user of either side was there in `history`: has the source no rows before the run? Give it those, or "
            "leave `history` out; or are these ids of sessions?"
        )
    elif known[0] is not None and users >= _MANY_USERS and known[0] < _FEW_KNOWN * users:
        yield (
            f"{known[0]:,} of {users:,} users of the baseline were there in `history`: are these ids of sessions? If "
            "all users are new, leave `history` out"
        )


def _yes_or_no(data: UserData, side: Side) -> bool:
    """Whether a cap of 1 asks who did it at all: each user has 0 or 1, whose variance is that of a coin."""
    whole: Moments = getattr(data, side.value).whole
    mean, variance = float(whole.mean[0]), float(whole.covariance[0, 0])
    coin = mean * (1 - mean) * whole.users / max(whole.users - 1, 1)
    return abs(variance - coin) <= _ROUNDING * max(coin, _ROUNDING)
