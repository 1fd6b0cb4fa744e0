"""Several routers as one: a service behind more than one object, protocol, namespace or proxy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from canary_judge.errors import CanaryJudgeError, RouterError
from canary_judge.routing import (
    Residual,
    RollbackReport,
    TrafficRouter,
    WeightReading,
    check_percent,
    leftovers,
    same_weight,
    tell_taken_up,
)

__all__ = ["SeveralRouters"]


T = TypeVar("T")


class SeveralRouters:
    """Drives all of them together: raised one by one, lowered all, and none is left raised when one refuses.

    Args:
        routers: By a name that tells them apart in messages.

    Examples:
        >>> from canary_judge.routers import MemoryRouter
        >>> both = SeveralRouters({"http": MemoryRouter(), "tls": MemoryRouter()})
        >>> both.set_weight(5), both.get_weight().percent
        (True, 5.0)
    """

    def __init__(self, routers: Mapping[str, TrafficRouter]) -> None:
        if not routers:
            raise ValueError("there is no router; name one at least")
        self.routers = dict(routers)

    def get_weight(self) -> WeightReading:
        """The weight, None when they disagree; each route with the name of its router."""
        readings = {name: router.get_weight() for name, router in self.routers.items()}
        shares = [reading.percent for reading in readings.values()]
        agreed = all(same_weight(shares[0], share) for share in shares)
        routes = {
            f"{name} {route}".strip(): share
            for name, reading in readings.items()
            for route, share in (reading.per_route or {"": reading.percent or 0.0}).items()
        }
        return WeightReading(percent=shares[0] if agreed else None, per_route=routes)

    def preview(self, percent: float) -> list[dict[str, Any]]:
        """What each would change, as far as it can tell."""
        found: list[dict[str, Any]] = []
        for name, router in self.routers.items():
            show = getattr(router, "preview", None)
            told = show(percent) if show is not None else [{"op": "set", "path": "", "value": percent}]
            found += [{**one, "path": f"{name}{one['path']}"} for one in told]
        return found

    def set_weight(self, percent: float, *, expect: float | None = None) -> bool:
        """Set all; where one refuses a raise, those before it get back what they had.

        Raises:
            RouterError: Which one refused, and why; lowering goes on with the others all the same.
        """
        check_percent(percent)
        before = {name: router.get_weight().percent for name, router in self.routers.items()}
        if any(weight is None or percent > weight for weight in before.values()):
            return self._raised(percent, before, expect)
        written = self._of_all(lambda router: router.set_weight(percent, expect=expect))
        return any(written.values())

    def _raised(self, percent: float, before: Mapping[str, float | None], expect: float | None) -> bool:
        tried: list[str] = []
        written = False
        for name, router in self.routers.items():
            tried.append(name)
            try:
                written |= router.set_weight(percent, expect=expect)
            except Exception as error:
                self._back(tried, before, percent)
                if isinstance(error, CanaryJudgeError):
                    raise type(error)(f"{name}: {error}") from error
                raise
        return written

    def _back(self, names: list[str], before: Mapping[str, float | None], most: float) -> None:
        """What they had, and no more than was wanted; whoever reads them back sees where that failed."""
        for name in reversed(names):
            weight = before[name]
            try:
                self.routers[name].set_weight(0.0 if weight is None else min(weight, most))
            except Exception:  # noqa: BLE001, S112  (the first error is the one to tell)
                continue

    def taken_up(self) -> None:
        """A rollout that was begun with them goes on."""
        for router in self.routers.values():
            tell_taken_up(router)

    def rollback(self) -> RollbackReport:
        """All of them to 0, whichever fails.

        Raises:
            RouterError: Which ones could not be rolled back; the others are.
        """
        reports = self._of_all(lambda router: router.rollback())
        return RollbackReport(
            changed=any(report.changed for report in reports.values()),
            residuals=tuple(
                _named(name, residual) for name, report in reports.items() for residual in report.residuals
            ),
        )

    def lower(self, percent: float) -> bool:
        """Each that has more to this weight, whichever fails; whether anything was written.

        Raises:
            RouterError: Which ones could not be lowered; the others are.
        """

        def one(router: TrafficRouter) -> bool:
            found = router.get_weight().percent
            return (found is None or found > percent) and router.set_weight(percent)

        return any(self._of_all(one).values())

    def leftovers(self) -> tuple[Residual, ...]:
        """What leads to the canary past the weights of any of them."""
        return tuple(_named(name, one) for name, router in self.routers.items() for one in leftovers(router))

    def verify(self, percent: float, *, timeout: float = 10.0) -> bool:
        """Whether it is in force at all of them."""
        return all(router.verify(percent, timeout=timeout) for router in self.routers.values())

    def _of_all(self, do: Callable[[TrafficRouter], T]) -> dict[str, T]:
        """What each answers; the errors of those that fail together, once all were asked."""
        answers: dict[str, T] = {}
        failed: list[tuple[str, Exception]] = []
        for name, router in self.routers.items():
            try:
                answers[name] = do(router)
            except Exception as error:  # noqa: BLE001  (one must not keep another from losing its traffic)
                failed.append((name, error))
        if failed:
            text = "; ".join(f"{name}: {error}" for name, error in failed)
            kinds = {type(error) for _, error in failed if isinstance(error, RouterError)}
            raise (kinds.pop() if len(kinds) == 1 and len(failed) == 1 else RouterError)(text) from failed[0][1]
        return answers


def _named(name: str, residual: Residual) -> Residual:
    return Residual(place=f"{name}: {residual.place}", reason=residual.reason)
