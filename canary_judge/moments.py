"""What travels of users: how many, and the moments of their totals. Nothing of a single user is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from canary_judge.arrays import Float

__all__ = ["LAST", "UNEVEN", "Moments", "UserMoments"]

# The numerator, the denominator, and both of them before the run.
_TOTALS = 4
# The newest part of the time is one of so many.
LAST = 12
# So often a join may match, beside twice.
UNEVEN = (3, 5, 7)


def _no_mean() -> Float:
    return np.zeros(_TOTALS)


def _no_covariance() -> Float:
    return np.zeros((_TOTALS, _TOTALS))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Means and covariances of the users' totals: numerator, denominator, and the same two before the run.

    Attributes:
        users: How many users.
        mean: Of each total, shape (4,).
        covariance: Sample covariances (divided by users - 1), shape (4, 4); zeros for fewer than two users.
        largest_share: The largest user's part in the sum of the denominators; of the numerators, where there is no
            denominator.

    Examples:
        >>> found = Moments.of(np.array([[1.0, 10.0, 0.0, 0.0], [3.0, 30.0, 0.0, 0.0]]))
        >>> found.users, found.mean.tolist(), found.largest_share
        (2, [2.0, 20.0, 0.0, 0.0], 0.75)
    """

    users: int = 0
    mean: Float = field(default_factory=_no_mean)
    covariance: Float = field(default_factory=_no_covariance)
    largest_share: float = 0.0

    @classmethod
    def of(cls, totals: Float, *, per_user: bool = False) -> Moments:
        """The moments of totals, one row per user, shape (users, 4); `per_user`: there is no denominator."""
        users = len(totals)
        if not users:
            return cls()
        sizes = np.abs(totals[:, 0 if per_user else 1])
        return cls(
            users=users,
            mean=totals.mean(axis=0),
            covariance=np.cov(totals, rowvar=False) if users > 1 else _no_covariance(),
            largest_share=float(sizes.max() / (sizes.sum() or 1.0)),
        )

    def bearing(self, total: int) -> float:
        """How many users, each with as much of a total as the others, would bear it: of few who have any, few.

        References:
            Kish, L. (1965), *Survey Sampling*, section 11.7 (effective sample size under unequal weights).

        Examples:
            >>> Moments.of(np.array([[0.0, 1.0, 0.0, 0.0]] * 2 + [[0.0, 0.0, 0.0, 0.0]] * 8)).bearing(1)
            2.0
        """
        square = float(self.mean[total]) ** 2
        variance = float(self.covariance[total, total]) * (self.users - 1) / max(self.users, 1)
        return float(round(self.users * square / (square + variance), 6)) if square + variance > 0 else 0.0

    def fits(self) -> bool:
        """Whether they are moments of users at all: numbers of these shapes, no variance below 0, a share."""
        if self.mean.shape != (_TOTALS,) or self.covariance.shape != (_TOTALS, _TOTALS):
            return False
        finite = bool(np.isfinite(self.mean).all() and np.isfinite(self.covariance).all())
        return finite and self.users >= 0 <= self.covariance.diagonal().min() and 0 <= self.largest_share <= 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UserMoments:
    """What a source answers to a question by user, for one side; users seen on both sides are left out of it.

    Attributes:
        whole: The users seen since the weight last changed, with all that they did since.
        early: Those of the first third of that time, with what they did in it; None where it was not asked.
        late: The same of the last third.
        last: The same of the last twelfth.
        strays: Users seen on both sides, of which the first row is of this one.
        strayed: Rows of this side that are left out with them.
        anonymous: Rows without a user, which are left out.
        rows: Rows with a user.
        odd: Users of this side who have an odd number of rows; None where that was not counted.
        uneven: Users of this side whose number of rows is no multiple of 3, 5 and 7; None where that was not counted.
        elsewhere: Rows of users of this side that name no side, or another one than both, and are left out.
        undefined: Rows whose numerator is not known, though there is something to divide it by; they count as 0.
        capped: Share of the denominators (of the numerators, where there is none) that the cap leaves out.
        known: Users of `whole` who were there before the run; None where that was not asked.
        before: Rows of this side in the time before the run, when there should have been no canary.
        earliest: Time of the first row, in nanoseconds since the epoch; None without any.
        latest: The same of the newest row.
        since: Start of what is counted, in nanoseconds, not part of it.
        until: Its end.
    """

    whole: Moments
    early: Moments | None = None
    late: Moments | None = None
    last: Moments | None = None
    strays: int = 0
    strayed: int = 0
    anonymous: int = 0
    rows: int = 0
    odd: int | None = None
    uneven: tuple[int, ...] | None = None
    elsewhere: int = 0
    undefined: int = 0
    capped: float = 0.0
    known: int | None = None
    before: int = 0
    earliest: int | None = None
    latest: int | None = None
    since: int
    until: int

    def fits(self) -> bool:
        """Whether all of it is such an answer."""
        parts = [one for one in (self.whole, self.early, self.late, self.last) if one is not None]
        counts = (
            self.strays,
            self.strayed,
            self.anonymous,
            self.rows,
            self.undefined,
            self.before,
            self.known or 0,
            self.odd or 0,
            *(self.uneven or ()),
            self.elsewhere,
        )
        whole = min(counts) >= 0 and self.since <= self.until and math.isfinite(self.capped)
        return whole and all(one.fits() for one in parts)
