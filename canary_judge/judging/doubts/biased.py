"""Gauges and rates that tell of the traffic behind them, of how many instances there are, or of a bucket bound."""

from __future__ import annotations

import numpy as np

from canary_judge.arrays import Float, distinct, median
from canary_judge.config.metrics import GaugeMetric, Metric, RateMetric
from canary_judge.judging.traffic import unequal
from canary_judge.results import Quality
from canary_judge.samples import CountData, GaugeData

__all__ = ["at_a_bound", "biased_gauge", "grows_with_requests", "summed_gauge", "vary_as_few"]

# Sums that differ by so much, the way the traffic does, differ by it or by the instances.
_FOLLOWS = 1.5
# Levels that differ by the traffic, but for so much harm, where it differs by so much.
_NEAR_TRAFFIC, _VERY_UNEQUAL = 2.5, 5.0
# Of so many points nearly all are on one side of the other's where they are sums.
_FEWEST_SUMS, _ALWAYS = 10, 0.95
# Of fewer points it is not asked how they vary, and so much more is no chance.
_FEWEST_VARYING, _VARY = 20, 1.5
# Fewer values of one number are chance, and in so many intervals a quantile is beyond the largest bound.
_FEWEST_AT_A_BOUND, _OFTEN = 5, 0.5
# Of the baseline's events by time, what a canary has that gets few requests, where so many were due.
_FEW_BY_TIME, _DUE_BY_TIME = 1 / 3, 10.0


def biased_gauge(metric: Metric, share: float | None, quality: Quality | None) -> tuple[bool, str] | None:
    """Whether a gauge of requests must be refused (or warned about) because the sides' traffic is unequal."""
    if not isinstance(metric, GaugeMetric) or (statistic := metric.request_statistic()) == "level":
        return None
    several = quality is not None and max(quality.series_baseline, quality.series_canary) > 1
    if statistic == "sum" and several and metric.statistic is None and not metric.is_sum():
        return None  # rates of instances, averaged
    what, instead = {
        "quantile": ("a quantile", "use kind: latency with slower_than (the share of slow requests)"),
        "ratio": ("a ratio", "use kind: ratio with the two counters"),
        "mean": ("a mean", "use kind: latency with slower_than, or raw samples"),
        "sum": ("a sum", "use kind: ratio, or avg(...) by instance with `by`"),
    }[statistic]
    if share is None or not 0 < share < 1:
        return False, (
            f"each point is {what} of the requests of one interval, which is biased when the sides' traffic differs; "
            f"their traffic is not known: {instead}"
        )
    if not unequal(share):
        return None
    return statistic != "mean", (
        f"each point is {what} of the requests of one interval, and the canary had {share:.1%} of them: such points "
        f"differ between the sides even when nothing changed; {instead}"
    )


def grows_with_requests(metric: Metric, data: CountData, share: float | None) -> tuple[str, bool] | None:
    """Why events by time tell of the requests behind them; and whether that forbids to believe them.

    A side has as many requests as it has time where each instance gets as many; a router by weights gives them others.
    Events that do not come of requests, as restarts, are well by the time of each instance.
    """
    if not isinstance(metric, RateMetric) or metric.exposure is not None:
        return None
    counts = data.counts.exposed()
    events, time = counts.events_canary.sum(), counts.exposure_canary.sum()
    theirs, their_time = counts.events_baseline.sum(), counts.exposure_baseline.sum()
    if min(time, their_time) <= 0:
        return None
    instances = bool(data.instances) or time != their_time
    if share is not None and 0 < share < 1:
        requests = share / (1 - share) / float(time / their_time)
        if not unequal(requests / (1 + requests)):
            return None
        of = "of instances" if instances else "of a side"
        rest = "" if instances else ", or leave the label `instance` in"
        text = f"events by time {of} that had {share:.1%} of the requests grow with them, if they come of requests: "
        text += f"make it a ratio, or give `exposure` (as requests){rest}"
        if not instances:
            return text, True
    else:
        text = (
            "events by time, and the canary has far fewer than the baseline: does it get as many requests? Make it a "
            "ratio, give `exposure` (as requests), or set `traffic: {weight: ...}`"
        )
    due = float(theirs / their_time * time)
    far = due >= _DUE_BY_TIME and float(events) < _FEW_BY_TIME * due
    if share is None:  # it may be as much better
        return (text, False) if far else None
    return text, far


def summed_gauge(metric: Metric, data: GaugeData, share: float | None) -> tuple[str, bool] | None:
    """Why levels that go as the traffic does are sums over what a side has; and whether its query says so.

    What only the numbers say forbids a pass, and no alarm: a worse canary may lie there, too.
    """
    if not isinstance(metric, GaugeMetric) or metric.by or metric.statistic is not None:
        return None
    if share is None or not unequal(share):
        return None
    told = metric.is_sum()
    if not (told or metric.is_name()):
        return None
    sides = _known(data.baseline), _known(data.canary)
    if min(side.size for side in sides) < _FEWEST_SUMS:
        return None
    levels = [median(side) for side in sides]
    if min(levels) <= 0:
        levels = [float(side.mean()) for side in sides]  # of what is mostly 0
    if min(levels) <= 0:
        return None
    apart, traffic = levels[1] / levels[0], share / (1 - share)
    if share < 0.5:
        apart, traffic = 1 / apart, 1 / traffic
    # of what a name says nothing of, only what is near a traffic that differs much is taken for it
    near = traffic >= _VERY_UNEQUAL and traffic / _NEAR_TRAFFIC <= apart <= traffic * _NEAR_TRAFFIC
    if apart < _FOLLOWS or not (told or near):
        return None
    few, many = (data.canary, data.baseline) if share < 0.5 else (data.baseline, data.canary)
    if few.shape == many.shape:
        both = ~np.isnan(few + many)
        if (few <= many)[both].sum() < _ALWAYS * both.sum():
            return None
    what, instead = (
        ("a sum over the instances of a side", "write avg(...), or divide by what it grows with")
        if told
        else ("a sum over the requests of a side, it seems", "use kind: rate or ratio, or divide by the requests")
    )
    text = (
        f"each point is {what} ({levels[0]:.3g} and {levels[1]:.3g}), and the canary had {share:.1%} of the traffic: "
        f"{instead}; or, where it does not grow with the traffic, set `statistic: level`"
    )
    return text, told


def vary_as_few(metric: Metric, data: GaugeData, share: float | None) -> str | None:
    """What to tell where points vary on the side with less traffic as averages of fewer requests do.

    Their ranks differ though nothing changed; but a noisier canary looks the same, so that nothing is withheld.
    """
    if not isinstance(metric, GaugeMetric) or metric.by or metric.statistic is not None:
        return None
    if share is None or not unequal(share) or not metric.is_name():
        return None
    sides = [_known(data.baseline), _known(data.canary)]
    if share > 0.5:
        sides.reverse()
    if min(side.size for side in sides) < _FEWEST_VARYING:
        return None
    many, few = (median(np.abs(np.diff(side))) for side in sides)
    # standard deviations of averages are apart by the square root of what they are of
    if not many or few / many <= max((max(share, 1 - share) / min(share, 1 - share)) ** 0.25, _VARY):
        return None
    return (
        f"its points vary as averages of few requests do (the canary had {share:.1%} of them), whose ranks differ "
        "though nothing changed: set `statistic: mean` if they are such, or use kind: ratio with both counts"
    )


def at_a_bound(metric: Metric, baseline: Float, canary: Float) -> str | None:
    """Why quantiles of buckets say no more: of one beyond the largest finite bound, Prometheus gives the bound."""
    if not isinstance(metric, GaugeMetric) or metric.request_statistic() != "quantile":
        return None
    most = float(canary.max())
    count = int((canary == most).sum())
    if count < max(_FEWEST_AT_A_BOUND, _OFTEN * canary.size) or (baseline == most).mean() >= _OFTEN:
        return None
    # whole milliseconds come again and again
    if most <= median(baseline) or distinct(baseline).size < baseline.size / 2:
        return None
    return (
        f"the canary's quantile is {most:.6g} to the last digit in {count} of {canary.size} intervals: the largest "
        "bound of the histogram, beyond which nothing can be told apart? Use kind: latency, or larger buckets"
    )


def _known(rows: Float) -> Float:
    return rows[~np.isnan(rows)]
