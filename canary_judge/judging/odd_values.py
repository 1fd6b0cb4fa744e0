"""What is odd about the values of both sides: gaps of one of them, a side that stands still, another unit."""

from __future__ import annotations

import numpy as np

from canary_judge.arrays import Float, Int
from canary_judge.stats.margins import Margin

__all__ = ["beyond_all", "frozen", "one_sided"]

# So many equal values in a row are no chance where others differ.
_FEWEST_STILL = 8
# Whole numbers below are round ones.
_FEW_DIGITS = 1000
# A margin that is so many times what was ever seen is one of another unit.
_FAR = 5.0


def one_sided(sides: tuple[Float, Float]) -> tuple[tuple[Float, Float, Int] | None, float]:
    """Both sides with the gaps of one of them, and their intervals; and what share of the intervals those gaps are.

    Between the first value of both and the silence of either: what comes before or after is no lost scrape.
    """
    present = [np.flatnonzero(~np.isnan(side)) for side in sides]
    index = np.arange(sides[0].size)
    inside = (index >= max(some[0] for some in present)) & (index <= min(some[-1] for some in present))
    missing = np.isnan(sides[0]), np.isnan(sides[1])
    some, lost = inside & ~(missing[0] & missing[1]), inside & (missing[0] ^ missing[1])
    if not lost.any():
        return None, 0.0
    return (sides[0][some], sides[1][some], index[some]), float(lost.sum() / some.sum())


def frozen(baseline: Float, canary: Float) -> bool:
    """Whether the canary stands still where the baseline hardly takes a value twice.

    Not at a round number: 0, a limit, the size of a pool is where something may rest.
    """
    if canary.size < _FEWEST_STILL or (canary != canary[0]).any() or _round(float(canary[0])):
        return False
    return np.unique(baseline).size > baseline.size / 2


def _round(value: float) -> bool:
    """Whether a whole number has few digits, in tens (250, 60000) or in twos (512 MiB)."""
    if value != np.rint(value):
        return False
    for base in (10, 2):
        rest = abs(int(value))
        while rest >= _FEW_DIGITS and not rest % base:
            rest //= base
        if rest < _FEW_DIGITS:
            return True
    return False


def beyond_all(baseline: Float, canary: Float, margin: Margin) -> str | None:
    """What is odd about a margin that is many times what was ever seen."""
    largest = float(max(np.abs(baseline).max(), np.abs(canary).max()))
    if margin.absolute is None or margin.relative is not None or not 0 < largest < margin.absolute / _FAR:
        return None
    return "the margin is more than five times the largest level that was seen: is its unit right?"
