"""One level for each interval of a side: what a person would plot, and judges of single numbers look at."""

from __future__ import annotations

import numpy as np

from canary_judge.arrays import Float
from canary_judge.results import Side
from canary_judge.samples.data import AnyData, CountData, GaugeData, RawData

__all__ = ["levels"]


def levels(data: AnyData, side: Side) -> Float:
    """Shape (intervals,): rates of counts, means of instances and of raw values; NaN where there is none.

    Raw values have intervals up to the last one in which either side has any. Metrics by user have none: shape (0,).

    Examples:
        >>> gauge = GaugeData(baseline=np.array([[1.0, 2.0], [3.0, np.nan]]), canary=np.array([[1.0, np.nan]]))
        >>> levels(gauge, Side.BASELINE).tolist(), levels(gauge, Side.CANARY).tolist()
        ([2.0, 2.0], [1.0, nan])
    """
    match data:
        case CountData(counts=counts):
            events, exposure = getattr(counts, f"events_{side}"), getattr(counts, f"exposure_{side}")
            return _ratio(events, exposure)
        case GaugeData():
            rows = getattr(data, side.value)
            known = np.isfinite(rows)
            return _ratio(np.where(known, rows, 0.0).sum(axis=0), known.sum(axis=0).astype(float))
        case RawData():
            interval, values = getattr(data, f"interval_{side}"), getattr(data, side.value)
            if not interval.size:
                return np.empty(0)
            size = int(max(data.interval_baseline.max(initial=-1), data.interval_canary.max(initial=-1))) + 1
            total = np.bincount(interval, weights=values, minlength=size).astype(float)
            return _ratio(total, np.bincount(interval, minlength=size).astype(float))
        case _:
            return np.empty(0)


def _ratio(total: Float, number: Float) -> Float:
    found: Float = np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0)
    return found
