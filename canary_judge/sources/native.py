"""Native histograms of Prometheus, read as they were scraped: counters of what is below a bound, and of everything.

`rate` and `histogram_fraction` extrapolate, interpolate inside of a bucket, and count a time-out (infinity) as nothing;
the samples themselves are exact where the bound is one of a bucket. So each sample becomes what a classic histogram
would have said at that moment, and whatever holds for counters holds for it: resets, births, gaps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from canary_judge.errors import QueryError
from canary_judge.series import Query, Series, Window
from canary_judge.sources.promql import refuse_many

__all__ = ["Natives", "buckets_of", "counters_of", "observations_of"]

# Bounds of the finest resolution are 0.27 % apart, and a duration is written to the microsecond.
_NEAR = 1e-3
_FINEST, _COARSEST = 8, -4


class Natives:
    """The native histograms of a server.

    Args:
        instant: Asks the server an instant query.
    """

    def __init__(self, instant: Callable[[str, datetime], list[dict[str, Any]]]) -> None:
        self._instant, self._known = instant, True

    def read(self, query: Query, selector: str, window: Window, span: str) -> list[Series]:
        """Native histograms as the counters that classic ones would have been.

        Args:
            query: For its bound, and how much it may read.
            selector: Of native histograms.
            window: At whose end is asked.
            span: How far back, as PromQL writes it.
        """
        points = self._instant(f"sum(count_over_time({selector}[{span}]))", window.end)
        buckets = buckets_of(self._instant(selector, window.end))  # last_over_time() of 2.42 leaves them out
        refuse_many(selector, float(points[0]["value"][1]) * max(buckets, 1) if points else 0.0, query.max_samples)
        found = self._instant(f"{selector}[{span}]", window.end)
        if not any("histograms" in item for item in found):
            raise QueryError(
                f"{selector} has no label `le`; give the ..._bucket series of a histogram, or a native one"
            )
        return [one for item in found for one in counters_of(item, query.bound or 0.0)]

    def refuse_classic(self, selector: str, moment: datetime) -> None:
        """Where a side has moved to native histograms its buckets are gone, which is no lack of traffic.

        Nor is it where a classic histogram is named without `_bucket`.
        """
        name, opened, rest = selector.partition("{")
        if not name.strip().endswith("_bucket"):
            classic = f"{name.strip()}_bucket{opened}{rest}"
            if self._instant(f"count({classic})", moment):
                raise QueryError(f"{selector} has nothing, but its buckets are there: write `histogram: {classic}`")
            return
        bare, native = self._beside(selector, moment)
        if native:
            raise QueryError(
                f"{selector} has nothing, but without `_bucket` it is a native histogram: write `histogram: {bare}`, "
                "for one side where the other has classic buckets (`{baseline: ..., canary: ...}`)"
            )

    def refuse_half(self, selector: str, span: str, moment: datetime) -> None:
        """Where some instances have moved to native histograms the others are not all of the side."""
        bare, native = self._beside(selector, moment)
        if not native:
            return
        classic = self._instant(f"count by (instance, pod) (count_over_time({selector}[{span}]))", moment)
        have = {_place(one) for one in classic}
        lacking = [one["metric"] for one in native if _place(one) not in have]
        if lacking:
            who = lacking[0].get("instance") or lacking[0].get("pod") or "one"
            raise QueryError(
                f"{who} has native histograms only, and is not among the classic buckets of {selector}: write "
                f"`histogram: {bare}` once all instances have them"
            )

    def _beside(self, selector: str, moment: datetime) -> tuple[str, list[dict[str, Any]]]:
        """The same selector without `_bucket`, and the native histograms that it finds."""
        name, opened, rest = selector.partition("{")
        bare = name.strip().removesuffix("_bucket")
        if bare == name.strip() or not self._known:
            return "", []
        try:
            found = self._instant(f"histogram_count({bare}{opened}{rest})", moment)
        except QueryError as error:
            # a server that does not know the function has none; what it refuses for once is asked again
            self._known = "function" not in str(error)
            return "", []
        # what has buckets in its labels is a classic one, whatever a proxy makes of the question
        return f"{bare}{opened}{rest}", [one for one in found if "value" in one and "le" not in one["metric"]]


def _place(item: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return item["metric"].get("instance"), item["metric"].get("pod")


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
