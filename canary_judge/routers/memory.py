"""A router that routes nothing: for tests, for trying a plan, and as the shortest example of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

from canary_judge.errors import ConfigError, DriftDetected
from canary_judge.routing import Ahead, RollbackReport, WeightReading, check_percent, same_weight

__all__ = ["MemoryRouter"]


class MemoryRouter:
    """Keeps the weight in memory.

    Args:
        weight: Percent that the canary has at first.
        on_change: Called with each new weight.

    Examples:
        >>> router = MemoryRouter()
        >>> router.set_weight(25, expect=0), router.get_weight().percent
        (True, 25.0)
        >>> router.rollback().changed, router.get_weight().percent
        (True, 0.0)
    """

    supports_ahead = True

    def __init__(self, weight: float = 0.0, *, on_change: Callable[[float], None] | None = None) -> None:
        self._weight, self._on_change = float(weight), on_change
        self._ahead = ""

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """From a config's `router:` section, which has nothing but its type."""
        if options:
            raise ConfigError(f"{next(iter(options))!r} is no option of the memory router; it has none")
        return cls()

    def get_weight(self) -> WeightReading:
        """The weight that was set last."""
        return WeightReading(percent=self._weight, per_route={"memory": self._weight}, ahead=self._ahead)

    def set_weight(self, percent: float, *, expect: float | None = None) -> bool:
        """Remember the weight."""
        check_percent(percent)
        if expect is not None and not same_weight(self._weight, expect):
            raise DriftDetected(f"{self._weight:g} % is in force, {expect:g} % was expected")
        had, self._ahead = self._ahead, ""
        if same_weight(self._weight, percent):
            return bool(had)
        self._weight = float(percent)
        if self._on_change is not None:
            self._on_change(self._weight)
        return True

    def set_ahead(self, ahead: Ahead) -> bool:
        """Remember what stands ahead of the weights."""
        had, self._ahead = self._ahead, ahead.key
        return had != self._ahead

    def rollback(self) -> RollbackReport:
        """Set the weight to 0."""
        return RollbackReport(changed=self.set_weight(0.0))

    def verify(self, percent: float, *, timeout: float = 10.0) -> bool:  # noqa: ARG002
        """Whether this is the weight."""
        return same_weight(self._weight, percent)
