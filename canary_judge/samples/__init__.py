"""From raw series to what is compared: one grid for both sides, exact counts, and what had to be dropped."""

from canary_judge.samples.collecting import collect
from canary_judge.samples.data import CountData, GaugeData, MetricSamples, RawData, Samples

__all__ = ["CountData", "GaugeData", "MetricSamples", "RawData", "Samples", "collect"]
