"""The requests of both sides: how many the canary gets, and whether that is what is configured."""

from __future__ import annotations

from canary_judge.config.model import JudgeConfig, TrafficExpectation
from canary_judge.results import TrafficSplit
from canary_judge.samples import CountData, Samples
from canary_judge.stats.counts import Counts
from canary_judge.stats.split import split_finding

__all__ = ["canary_share", "requests", "traffic_split"]

_USUAL_TOLERANCE = TrafficExpectation().tolerance


def requests(config: JudgeConfig, samples: Samples) -> Counts | None:
    """Requests of both sides, interval by interval, from the metric that counts most of them."""
    best, most = None, 0.0
    for metric in config.metrics:
        data = samples.metrics[metric.name].data
        if metric.is_proportion and isinstance(data, CountData):
            total = float(data.counts.exposure_baseline.sum() + data.counts.exposure_canary.sum())
            if total > most:
                best, most = data.counts, total
    return best


def canary_share(config: JudgeConfig, counts: Counts | None) -> float | None:
    """The canary's share of the requests: counted where any metric counts them, else the configured one."""
    if counts is None:
        weight = config.traffic.weight if config.traffic is not None else None
        return None if weight is None else weight / 100
    canary, baseline = float(counts.exposure_canary.sum()), float(counts.exposure_baseline.sum())
    return canary / (canary + baseline)


def traffic_split(config: JudgeConfig, counts: Counts | None, weight: float | None = None) -> TrafficSplit | None:
    """The observed against the configured share of the requests; None where no share is configured or no request seen.

    Args:
        config: Its `traffic` holds the configured weight and the tolerance.
        counts: The requests, as exposures, while the weight held.
        weight: Percent, in place of the config's.
    """
    expected = config.traffic.weight if weight is None and config.traffic is not None else weight
    if expected is None or counts is None:
        return None
    tolerance = config.traffic.tolerance if config.traffic is not None else _USUAL_TOLERANCE
    return split_finding(
        baseline=counts.exposure_baseline, canary=counts.exposure_canary, share=expected / 100, tolerance=tolerance
    )
