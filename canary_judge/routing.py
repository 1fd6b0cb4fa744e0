"""What a rollout needs of a traffic router: a protocol of four verbs, and the values they speak in."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Protocol

from canary_judge.errors import AmbiguousRoute, NotEnoughWeight, NotWeighted, RouterError

__all__ = [
    "Ahead",
    "Residual",
    "RollbackReport",
    "RouterWithAhead",
    "TrafficRouter",
    "WeightReading",
    "check_percent",
    "leftovers",
    "lowered",
    "same_weight",
    "tell_taken_up",
]

# Weights are equal when no router could tell them apart: the finest steps in use are hundredths of a percent.
_SAME = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightReading:
    """The weight that a router has in force.

    Attributes:
        percent: Share of the canary in percent; None when the selected routes disagree.
        per_route: The share in each selected route.
        ahead: The key of what stands ahead of the weights (`Ahead.key`); empty where nothing does.
    """

    percent: float | None
    per_route: Mapping[str, float] = field(default_factory=dict)
    ahead: str = ""

    def checked(self) -> WeightReading:
        """Itself; RouterError where a share is no number from 0 to 100, which a plug-in may give all the same."""
        for share in (self.percent, *self.per_route.values()):
            if share is not None and (
                isinstance(share, bool) or not isinstance(share, Real) or not -_SAME <= share <= 100 + _SAME
            ):
                raise RouterError(f"it says that the canary has {share!r}, which is no percentage from 0 to 100")
        return self

    def __str__(self) -> str:
        if self.percent is not None:
            return f"{self.percent:g} %"
        return "routes that disagree: " + ", ".join(f"{name} {share:g} %" for name, share in self.per_route.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What brings the canary requests ahead of any weight: those with a header or a cookie, or copies (a mirror).

    For routers that can have it (`RouterWithAhead`).

    Attributes:
        header: Name and value.
        cookie: Name and value.
        mirror: Percent of the requests that are copied; the canary's answers are thrown away.

    Examples:
        >>> print(Ahead(header=("x-canary", "always")))
        requests with the header x-canary: always go to the canary
    """

    header: tuple[str, str] | None = None
    cookie: tuple[str, str] | None = None
    mirror: float | None = None

    @property
    def key(self) -> str:
        """What tells it from another one, as a part of a name."""
        kind = "mirror" if self.mirror is not None else "match"
        return f"{kind}-{zlib.crc32(str(self).encode()):08x}"

    def __str__(self) -> str:
        if self.mirror is not None:
            return f"{self.mirror:g} % of the requests are copied to the canary, whose answers are thrown away"
        name, value = self.header or self.cookie or ("", "")
        what = f"header {name}: {value}" if self.header is not None else f"cookie {name}={value}"
        return f"requests with the {what} go to the canary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """A way by which requests still reach the canary although its weight is 0."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackReport:
    """What a rollback did, and what it could not undo.

    Attributes:
        changed: Whether anything had to be written.
        residuals: Routes that still lead to the canary (header, cookie, mirror, affinity); a human must remove them.
    """

    changed: bool
    residuals: tuple[Residual, ...] = ()

    def left(self) -> str:
        """What still leads to the canary, a line each; empty when nothing does."""
        return "".join(f"\n  still leads to the canary: {one}" for one in self.residuals)


class TrafficRouter(Protocol):
    """What drives the traffic: four verbs. `canary_judge.testing.router_checks` tests an implementation."""

    def get_weight(self) -> WeightReading:
        """The weight in force. RouterError when it cannot be told."""
        ...

    def set_weight(self, percent: float, *, expect: float | None = None) -> bool:
        """Give the canary this share, 0 to 100, and the stable version what is left.

        Idempotent. Nothing else changes. Where two writes are needed the one that raises comes first.

        Args:
            percent: Share of the canary.
            expect: The share that must be in force now; DriftDetected and no write when it is another.

        Returns:
            Whether anything was written.

        Raises:
            RouterError: Nothing was written, or (RouterUnavailable) it is not known; reading back tells.
        """
        ...

    def rollback(self) -> RollbackReport:
        """Give the canary no traffic, whatever weight it has, and tell which routes still lead to it."""
        ...

    def verify(self, percent: float, *, timeout: float = 10.0) -> bool:
        """Whether this weight is in force where requests are routed, waiting at most so many seconds."""
        ...


class RouterWithAhead(TrafficRouter, Protocol):
    """A router that can also put a match or a mirror before its weights.

    `WeightReading.ahead` says what stands there; `set_weight` above 0 and `rollback` take it away.
    """

    @property
    def supports_ahead(self) -> bool:
        """Whether it can, as it is set up."""
        ...

    def set_ahead(self, ahead: Ahead) -> bool:
        """Put it there, with a weight of 0; whether anything was written. Idempotent; errors as of `set_weight`."""
        ...


def tell_taken_up(router: TrafficRouter) -> None:
    """Tell a router that a rollout goes on that was begun with it; most need not know."""
    known = getattr(router, "taken_up", None)
    if known is not None:
        known()


def leftovers(router: TrafficRouter) -> tuple[Residual, ...]:
    """What leads to the canary past its weight, where a router can tell (`leftovers()`); that it cannot is one, too.

    A router's `rollback` asks it after the weight is 0, so that no trouble in telling stands in the way of that.
    """
    find = getattr(router, "leftovers", None)
    if find is None:
        return ()
    try:
        return tuple(find())
    except Exception as error:  # noqa: BLE001  (whatever it is: the weight is written, and this is said)
        return (Residual(place="leftovers", reason=f"cannot be told: {type(error).__name__}: {error}"),)


def lowered(router: TrafficRouter, percent: float) -> RollbackReport:
    """Bring the canary back to a weight; what has less already keeps that.

    Where the router cannot write it, a whole percent below is written, and else 0. A router over others has a
    `lower(percent)` of its own, which goes to each of them.
    """
    if percent == 0:
        return router.rollback()

    def lower(most: float) -> bool:
        found = router.get_weight().percent
        return (found is None or found > most) and router.set_weight(most)

    for most in dict.fromkeys((percent, float(math.floor(percent)))):
        try:
            changed = bool(getattr(router, "lower", lower)(most))
        except (NotEnoughWeight, NotWeighted, AmbiguousRoute):
            continue
        return RollbackReport(changed=changed, residuals=leftovers(router))
    return router.rollback()


def same_weight(one: float | None, other: float | None) -> bool:
    """Whether two readings are the same weight; unknown weights are never the same."""
    return one is not None and other is not None and abs(one - other) < _SAME


def check_percent(percent: float) -> None:
    """Refuse what is no share; for routers.

    Raises:
        ValueError: Not a number of 0 to 100.
    """
    if not 0 <= percent <= 100:  # NaN included
        raise ValueError(f"percent is {percent}; give a share of 0 to 100")
