"""Ours and a peer back to back in one process, order alternated: the median of the ratios and their spread.

Pairing does not cancel short noise (docs/performance.md), but slow drift of a shared machine falls on both.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ROUNDS = 11


@dataclass(frozen=True)
class Ratio:
    """Peer's time over ours, by round, and the median times in seconds per unit of work."""

    ratios: tuple[float, ...]
    ours: float
    peer: float

    @property
    def median(self) -> float:
        return float(np.median(self.ratios))

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles."""
        low, high = np.quantile(self.ratios, [0.25, 0.75])
        return float(low), float(high)


def paired(ours: Callable[[], object], peer: Callable[[], object], *, units: int = 1, rounds: int = ROUNDS) -> Ratio:
    """Time both `rounds` times; each measurement repeats its call until 20 ms have passed."""
    calls = [(ours, _repeats(ours)), (peer, _repeats(peer))]
    times: list[list[float]] = [[], []]
    gc.disable()
    try:
        for number in range(rounds):
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                call, repeats = calls[which]
                start = time.perf_counter()
                for _ in range(repeats):
                    call()
                times[which].append((time.perf_counter() - start) / repeats / units)
    finally:
        gc.enable()
    ratios = tuple(theirs / own for own, theirs in zip(*times, strict=True))
    return Ratio(ratios=ratios, ours=float(np.median(times[0])), peer=float(np.median(times[1])))


def _repeats(call: Callable[[], object]) -> int:
    call()  # first touch of memory, lazy imports
    start = time.perf_counter()
    call()
    return max(1, int(0.02 / max(time.perf_counter() - start, 1e-9)))
