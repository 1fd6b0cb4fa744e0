"""Who wants to know that a run has ended is told once, also where the database gave no answer just then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from canary_judge.service.problems import StoreDown
from canary_judge.service.store import Run, Store

__all__ = ["Ends"]


class Ends:
    """Ends of runs, and who is told of them.

    Args:
        store: Where runs are kept.
        hooks: Called with each run that has ended.
    """

    def __init__(self, store: Store, hooks: Sequence[Callable[[Run], None]]) -> None:
        self._store, self._hooks = store, hooks
        self._lock = threading.Lock()
        self._looked_at: set[str] = set()

    def tell(self, *looked_at: str) -> None:
        """Tell of those that have ended among these, and those that could not be read before."""
        if not self._hooks:
            return
        with self._lock:  # each is told once
            mine, self._looked_at = {*self._looked_at, *looked_at}, set()
        try:
            for ended in [one for one in map(self._store.get, mine) if one is not None and one.ended]:
                for hook in self._hooks:
                    hook(ended)
        except StoreDown:
            with self._lock:
                self._looked_at |= mine
