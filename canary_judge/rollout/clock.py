"""The clocks that a rollout goes by: one for time stamps, one that nobody can set."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time, as the controller sees it; tests bring their own."""

    def now(self) -> datetime:
        """The time of the metric store's time stamps."""
        ...

    def monotonic(self) -> float:
        """Seconds that no adjustment of the clock changes."""
        ...

    def wait(self, seconds: float, wake: threading.Event) -> None:
        """Return after so many seconds, or when the event is set."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        """The time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, seconds: float, wake: threading.Event) -> None:
        """Sleep until the time has passed or somebody wakes us."""
        wake.wait(seconds)
