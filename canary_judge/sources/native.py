"""Native histograms of Prometheus, read as they were scraped: counters of what is below a bound, and of everything.

`rate` and `histogram_fraction` extrapolate, interpolate inside of a bucket, and count a time-out (infinity) as nothing;
the samples themselves are exact where the bound is one of a bucket. So each sample becomes what a classic histogram
would have said at that moment, and whatever holds for counters holds for it: resets, births, gaps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from canary_judge.errors import QueryError
from canary_judge.series import Series

__all__ = ["buckets_of", "counters_of", "observations_of"]

# Bounds of the finest resolution are 0.27 % apart, and a duration is written to the microsecond.
_NEAR = 1e-3
_FINEST, _COARSEST = 8, -4


def buckets_of(items: Sequence[Mapping[str, Any]]) -> int:
    """Most buckets of a sample in the answer to an instant query, for a guess at how much a window holds."""
    return max((len(one["histogram"][1].get("buckets", ())) for one in items if "histogram" in one), default=0)


def observations_of(item: Mapping[str, Any]) -> Series:
    """One native histogram as the counter of its observations.

    Raises:
        QueryError: The series holds floats, too.
    """
    everything = counters_of(item, math.inf)[1]
    labels = {name: value for name, value in everything.labels.items() if name != "le"}
    return Series(timestamps=everything.timestamps, values=everything.values, labels=labels)


def counters_of(item: Mapping[str, Any], bound: float) -> list[Series]:
    """One native histogram as the counters of two classic buckets: the bound's, and that of everything.

    Args:
        item: A series of the answer to a range selector, with `histograms`.
        bound: In the histogram's unit.

    Raises:
        QueryError: The bound lies inside of a bucket, or the series holds floats, too.
    """
    labels = {name: str(value) for name, value in item["metric"].items() if name != "__name__"}
    name = str(item["metric"].get("__name__", "the histogram"))
    if item.get("values"):
        raise QueryError(f"{name} holds floats and native histograms in one series; select one of them")
    times, below, everything = [], [], []
    for when, sample in item["histograms"]:
        buckets = [(float(left), float(right), float(count)) for _, left, right, count in sample.get("buckets", ())]
        _refuse_between(name, bound, buckets)
        times.append(float(when))
        below.append(sum(count for _, right, count in buckets if right <= bound * (1 + _NEAR)))
        # not the sum of the buckets: no number is in none of them, and is no fast request
        everything.append(float(sample["count"]))
    stamps = np.rint(np.array(times) * 1e3).astype(np.int64) * 1_000_000
    return [
        Series(timestamps=stamps, values=np.array(values), labels={**labels, "le": le})
        for le, values in ((f"{bound:.17g}", below), ("+Inf", everything))
    ]


def _refuse_between(name: str, bound: float, buckets: Sequence[tuple[float, float, float]]) -> None:
    for left, right, _ in buckets:
        if left < bound * (1 - _NEAR) and right > bound * (1 + _NEAR):
            raise QueryError(
                f"{bound:g} lies inside of the bucket {left:g} to {right:g} of the native histogram {name}; "
                "take one of these for `slower_than`"
            )
    # whether a bucket that nothing has fallen into yet has such a bound tells the resolution of the others
    schema = _schema(buckets) if math.isfinite(bound) else None
    if schema is None:
        return
    steps = math.log2(bound) * 2.0**schema
    near = [2.0 ** (round_(steps) / 2.0**schema) for round_ in (math.floor, math.ceil)]
    if min(abs(one / bound - 1) for one in near) > _NEAR:
        raise QueryError(
            f"{bound:g} is no bucket bound of the native histogram {name} (schema {schema}); the nearest are "
            f"{near[0]:.6g} and {near[1]:.6g}; powers of two, as 0.25, are bounds of every schema from 0 on"
        )


def _schema(buckets: Sequence[tuple[float, float, float]]) -> int | None:
    """The resolution of exponential buckets; None where the buckets are others, or tell nothing."""
    for left, right, _ in buckets:
        if not 0 < left < right < math.inf:
            continue  # around zero, or up to infinity
        schema = -math.log2(math.log2(right / left))
        whole = round(schema)
        edge = math.log2(right) * 2.0**whole if _COARSEST <= whole <= _FINEST else math.nan
        # custom bounds fit no power of two but by chance
        return whole if abs(schema - whole) < 1e-6 and abs(edge - round(edge)) < 1e-6 else None
    return None
