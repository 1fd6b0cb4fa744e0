"""From raw series to what is compared: one grid for both sides, exact counts, and what had to be dropped."""

from canary_judge.samples.collecting import collect
from canary_judge.samples.data import (
    AnyData,
    CountData,
    GaugeData,
    MetricSamples,
    RawData,
    Samples,
    UserData,
    lacks_a_side,
)

__all__ = [
    "AnyData",
    "CountData",
    "GaugeData",
    "MetricSamples",
    "RawData",
    "Samples",
    "UserData",
    "collect",
    "lacks_a_side",
]
