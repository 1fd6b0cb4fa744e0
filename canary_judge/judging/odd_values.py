"""What is odd about the values of both sides: gaps of one of them, a side that stands still, another unit."""

from __future__ import annotations

import numpy as np

from canary_judge.arrays import Float, Int
from canary_judge.samples import AnyData, CountData, GaugeData, RawData
from canary_judge.stats.margins import Margin

__all__ = ["beyond_all", "copied", "frozen", "negative_alone", "one_sided"]

# So many equal values in a row are no chance where others differ.
_FEWEST_STILL = 8
# Whole numbers below are round ones.
_FEW_DIGITS, _A_MEGABYTE, _PAGES = 1000, 2.0**20, 2.0**16
# A larger share of negative values on one side alone is a code for something else.
_MOST_NEGATIVE, _BY_CHANCE = 0.01, 1e-3
# A margin that is so many times what was ever seen is one of another unit.
_FAR, _FAR_LIMIT = 5.0, 100.0


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
    if (
        canary.size < _FEWEST_STILL
        or (canary != canary[0]).any()
        or any(_round(float(canary[0]) + off) for off in (-1, 0, 1))
    ):
        return False
    return np.unique(baseline).size > baseline.size / 2


def _round(value: float) -> bool:
    """Whether a whole number has few digits, in tens (250, 60000) or in twos (512 MiB)."""
    if value != np.rint(value):
        return False
    if abs(value) >= _A_MEGABYTE and not value % _PAGES:  # a heap is given out in pages
        return True
    for base in (10, 2):
        rest = abs(int(value))
        while rest >= _FEW_DIGITS and not rest % base:
            rest //= base
        if rest < _FEW_DIGITS:
            return True
    return False


def beyond_all(baseline: Float, canary: Float, margin: Margin | None, limit: float | None) -> str | None:
    """What is odd about an absolute margin, or a limit, that is many times what was ever seen."""
    largest = float(max(np.abs(baseline).max(), np.abs(canary).max()))
    absolute = None if margin is None or margin.relative is not None else margin.absolute
    if absolute is not None and 0 < largest < absolute / _FAR:
        return "the margin is more than five times the largest level that was seen: is its unit right?"
    if limit is not None and 0 < largest < abs(limit) / _FAR_LIMIT:
        return "the limit is more than a hundred times the largest level that was seen: is its unit right?"
    return None


def negative_alone(baseline: Float, canary: Float) -> str | None:
    """Whether only the canary has negative values, as -1 for none: they would count as its smallest ones."""
    negative = int((canary < 0).sum())
    share, chance = negative / canary.size, (canary.size / (canary.size + baseline.size)) ** negative
    if share <= _MOST_NEGATIVE or chance > _BY_CHANCE or baseline.min() < 0:
        return None
    return f"{share:.0%} of the canary's values are negative and none of the baseline's: a code for something else?"


def copied(data: AnyData) -> str | None:
    """Whether both sides have the same numbers, which vary: one of them is a copy."""
    if isinstance(data, CountData):
        counts = data.counts
        if not counts.events_baseline.any():  # mirrored requests are the same ones
            return None
        pairs = [(counts.exposure_baseline, counts.exposure_canary), (counts.events_baseline, counts.events_canary)]
    elif isinstance(data, GaugeData | RawData):
        pairs = [(data.baseline, data.canary)]
    else:
        return None
    if not all(np.array_equal(one, other, equal_nan=True) for one, other in pairs):
        return None
    values = pairs[0][0][~np.isnan(pairs[0][0])]
    if values.size < _FEWEST_STILL or np.unique(values).size <= values.size / 2:
        return None
    return "both sides have the same values in every interval: is one a copy of the other?"
