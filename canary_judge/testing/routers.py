"""The contract of `TrafficRouter`, as plain functions that raise AssertionError, and a cluster in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from canary_judge.errors import Conflict, DriftDetected, RouteNotFound
from canary_judge.routers.kubernetes import Ref
from canary_judge.routers.weighted import patched
from canary_judge.routing import TrafficRouter

__all__ = ["MemoryStore", "OddRouterHarness", "RouterHarness", "router_checks"]


class RouterHarness(Protocol):
    """How the checks reach a router under test."""

    def router(self, percent: float) -> TrafficRouter:
        """A router with this weight in force."""
        ...


class OddRouterHarness(RouterHarness, Protocol):
    """A harness that also knows states in which others leave what is driven (optional)."""

    def odd(self) -> Iterable[tuple[str, TrafficRouter]]:
        """What is odd, and a router over it: a third destination, fractions, units that no rollout writes."""
        ...


class MemoryStore:
    """Objects in memory, with resource versions: a store for tests and examples.

    Args:
        objects: By their references.
    """

    def __init__(self, objects: Mapping[Ref, Mapping[str, Any]]) -> None:
        self._objects = {ref: copy.deepcopy(dict(obj)) for ref, obj in objects.items()}
        self.writes = 0

    def get(self, ref: Ref) -> dict[str, Any]:
        """A copy of the object."""
        if ref not in self._objects:
            raise RouteNotFound(f"{ref}: there is no such object")
        return copy.deepcopy(self._objects[ref])

    def patch_json(self, ref: Ref, operations: list[dict[str, Any]]) -> dict[str, Any]:
        """Apply the patch, or raise Conflict when a test of it fails."""
        return self._put(ref, patched(self.get(ref), operations))

    def replace(self, ref: Ref, obj: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the object, or raise Conflict when it has another resourceVersion."""
        mine = obj.get("metadata", {}).get("resourceVersion")
        if mine is not None and mine != self.get(ref).get("metadata", {}).get("resourceVersion"):
            raise Conflict(f"{ref}: the object has been modified")
        return self._put(ref, copy.deepcopy(dict(obj)))

    def _put(self, ref: Ref, obj: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        self._objects[ref] = obj
        return copy.deepcopy(obj)


def router_checks() -> tuple[Callable[[RouterHarness], None], ...]:
    """Every check; each takes a harness and raises AssertionError with what is wrong."""
    return (
        check_that_the_weight_in_force_is_read,
        check_that_a_weight_is_set_and_read_back,
        check_that_a_second_identical_call_writes_nothing,
        check_that_all_and_nothing_can_be_set,
        check_that_another_weight_than_expected_is_drift_and_nothing_is_written,
        check_that_what_is_no_share_is_refused,
        check_that_a_rollback_ends_at_zero_and_may_be_repeated,
        check_that_a_rollback_asks_for_no_weight,
        check_that_zero_can_always_be_written,
        check_that_verify_tells_one_weight_from_another,
    )


def _expect(condition: bool, message: str) -> None:  # noqa: FBT001
    if not condition:
        raise AssertionError(message)


def _reads(router: TrafficRouter, percent: float) -> None:
    found = router.get_weight().percent
    _expect(found is not None and abs(found - percent) < 0.01, f"{percent} % was set, {found} is read")


def check_that_the_weight_in_force_is_read(harness: RouterHarness) -> None:
    """The reading is the weight in force, in percent."""
    _reads(harness.router(20), 20)


def check_that_a_weight_is_set_and_read_back(harness: RouterHarness) -> None:
    """A weight that was set is read back, upwards and downwards."""
    router = harness.router(0)
    for percent in (5, 25, 50, 10):
        _expect(router.set_weight(percent), f"setting {percent} % says that nothing was written")
        _reads(router, percent)


def check_that_a_second_identical_call_writes_nothing(harness: RouterHarness) -> None:
    """Setting what is in force writes nothing, and says so."""
    router = harness.router(0)
    router.set_weight(25)
    _expect(not router.set_weight(25), "the second call says that it wrote")
    _reads(router, 25)


def check_that_all_and_nothing_can_be_set(harness: RouterHarness) -> None:
    """100 and 0 are weights like others."""
    router = harness.router(50)
    for percent in (100, 0, 100):
        router.set_weight(percent)
        _reads(router, percent)


def check_that_another_weight_than_expected_is_drift_and_nothing_is_written(harness: RouterHarness) -> None:
    """`expect` guards against somebody else's change."""
    router = harness.router(20)
    try:
        router.set_weight(50, expect=5)
    except DriftDetected:
        _reads(router, 20)
        router.set_weight(50, expect=20)
        _reads(router, 50)
        return
    raise AssertionError("20 % was in force, 5 % was expected, and 50 % was set without a word")


def check_that_what_is_no_share_is_refused(harness: RouterHarness) -> None:
    """Percent below 0, above 100 or NaN is a ValueError, and nothing is written."""
    router = harness.router(20)
    for percent in (-1, 100.5, float("nan"), float("inf")):
        try:
            router.set_weight(percent)
        except ValueError:
            _reads(router, 20)
            continue
        raise AssertionError(f"{percent} % was accepted")


def check_that_a_rollback_ends_at_zero_and_may_be_repeated(harness: RouterHarness) -> None:
    """After a rollback the weight is 0; a second one changes nothing and reports the same."""
    router = harness.router(50)
    first = router.rollback()
    _expect(first.changed, "the rollback says that it changed nothing")
    _reads(router, 0)
    second = router.rollback()
    _expect(not second.changed, "the second rollback says that it changed something")
    _expect(first.residuals == second.residuals, "the two rollbacks report different leftovers")


def check_that_a_rollback_asks_for_no_weight(harness: RouterHarness) -> None:
    """A rollback works from any weight, all of the traffic included."""
    for percent in (1, 99, 100):
        router = harness.router(percent)
        router.rollback()
        _reads(router, 0)


def check_that_zero_can_always_be_written(harness: RouterHarness) -> None:
    """No exactness, no foreign destination and no unit stands in the way of a rollback (`OddRouterHarness.odd`)."""
    for what, router in getattr(harness, "odd", tuple)():
        try:
            router.rollback()
        except Exception as error:
            raise AssertionError(f"{what}: the rollback is refused: {error}") from error
        found = router.get_weight().percent
        _expect(found is not None and found < 0.01, f"{what}: {found} % is read after the rollback")
        _expect(not router.rollback().changed, f"{what}: a second rollback says that it changed something")


def check_that_verify_tells_one_weight_from_another(harness: RouterHarness) -> None:
    """`verify` says yes to the weight in force and no, in time, to another."""
    router = harness.router(0)
    router.set_weight(25)
    _expect(router.verify(25, timeout=10), "the weight that was set is not in force")
    _expect(not router.verify(75, timeout=0.2), "a weight that was never set is said to be in force")
