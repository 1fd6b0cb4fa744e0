"""What is compared: values on the grid, counts, raw values; and all that is known of a metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from canary_judge.arrays import Float, Int
from canary_judge.moments import UserMoments
from canary_judge.results import Quality
from canary_judge.series import Window
from canary_judge.stats.counts import Counts

__all__ = ["AnyData", "CountData", "GaugeData", "MetricSamples", "RawData", "Samples", "UserData", "lacks_a_side"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GaugeData:
    """Values on the grid: shape (instances, intervals), NaN for gaps; history has shape (h,).

    Attributes:
        baseline: One row per instance; a single row without `by`.
        canary: The same for the canary.
        history: The baseline before the window.
        simultaneous: The sides' intervals are the same moments.
        names_baseline: Which instance each row is, with `by`.
        names_canary: The same for the canary.
        before_baseline: Each instance before the window, in the order of the rows; empty when there is no record.
        before_canary: The same for the canary.
    """

    baseline: Float
    canary: Float
    history: Float = field(default_factory=lambda: np.empty(0))
    simultaneous: bool = True
    names_baseline: tuple[str, ...] = ()
    names_canary: tuple[str, ...] = ()
    before_baseline: Float = field(default_factory=lambda: np.empty((0, 0)))
    before_canary: Float = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CountData:
    """Events and exposure on the grid, shape (intervals,).

    `instances` has the events and the exposure of each instance of the baseline, where the labels tell them apart.
    """

    counts: Counts
    instances: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawData:
    """Raw values in order of time, shape (n,) each, and the interval of each where it is known."""

    baseline: Float
    canary: Float
    interval_baseline: Int = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    interval_canary: Int = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UserData:
    """What the users of both sides did since the weight last changed, in moments; each look has all of it anew."""

    baseline: UserMoments
    canary: UserMoments


AnyData = GaugeData | CountData | RawData | UserData


def lacks_a_side(data: AnyData) -> bool:
    """Whether a side has nothing that could be compared.

    Examples:
        >>> lacks_a_side(RawData(baseline=np.empty(0), canary=np.array([1.0])))
        True
    """
    match data:
        case GaugeData(baseline=baseline, canary=canary):
            return bool(np.isnan(baseline).all() or np.isnan(canary).all())
        case RawData(baseline=baseline, canary=canary):
            return not (baseline.size and canary.size)
        case CountData(counts=counts):
            return not (counts.exposure_baseline.any() and counts.exposure_canary.any())
    return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricSamples:
    """All that is known of one metric.

    Attributes:
        data: What is compared, perhaps of one side only; None when there is nothing, or `error` says why not.
        quality: What had to be dropped.
        warnings: What a reader should know.
        complete: False when the source may have left something out.
        doubt: Why no canary can be found safe by it, though harm may show.
        error: Why the metric cannot be judged.
        temporary: That may be otherwise when one asks again.
    """

    data: AnyData | None
    quality: Quality | None = None
    warnings: tuple[str, ...] = ()
    complete: bool = True
    doubt: str | None = None
    error: str | None = None
    temporary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Samples of all metrics over one aligned window."""

    window: Window
    metrics: Mapping[str, MetricSamples]
