"""Wait until a weight is in force."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_until"]


def wait_until(holds: Callable[[], bool], timeout: float, *, every: float = 0.05) -> bool:
    """Ask again and again, at least once, for so many seconds; whether it held in the end."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() >= deadline:
            return False
        time.sleep(min(every, timeout))
    return True
