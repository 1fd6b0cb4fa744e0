"""From raw series to what is compared: one grid for both sides, exact counts, and what had to be dropped."""

from canary_judge.samples.collecting import CountData, GaugeData, MetricSamples, RawData, Samples, collect

__all__ = ["CountData", "GaugeData", "MetricSamples", "RawData", "Samples", "collect"]
