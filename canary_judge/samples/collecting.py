"""From raw series to what is compared: one grid for both sides, exact counts, and what had to be dropped.

Both sides are put on the same intervals. Gaps stay gaps. A counter becomes events per interval by its differences;
what a fall or a first value inside the window counts is decided in pace.py and counters.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from canary_judge.arrays import Int
from canary_judge.config.metrics import GaugeMetric, MeanMetric, Metric, SamplesMetric
from canary_judge.config.model import JudgeConfig
from canary_judge.results import Side
from canary_judge.samples.counts import count_samples
from canary_judge.samples.data import MetricSamples, Samples
from canary_judge.samples.gauges import gauge_samples
from canary_judge.samples.grid import Parts, Unusable
from canary_judge.samples.raw import raw_samples
from canary_judge.samples.users import user_samples
from canary_judge.series import Form, Query, Result, Series, Window

__all__ = ["collect", "metric_samples"]


def collect(config: JudgeConfig, window: Window, answers: Iterable[tuple[Query, Result]]) -> Samples:
    """Put the answers to `config.queries()` (and `history_queries()`) on the window's grid.

    Args:
        config: The config that made the queries.
        window: Aligned to the config's interval.
        answers: Each query with its result.
    """
    found: dict[str, dict[tuple[str, Side], Result]] = {metric.name: {} for metric in config.metrics}
    for query, result in answers:
        found[query.metric][query.part, query.side] = result
    edges = window.edges(config.interval)
    metrics = {}
    for metric in config.metrics:
        parts = found[metric.name]
        warnings = tuple(dict.fromkeys(text for result in parts.values() for text in result.warnings))
        complete = all(
            result.complete and (result.known_until is None or result.known_until >= window.end)
            for result in parts.values()
        )
        refused = [
            (f"{side} {part}: {r.error}", r.temporary)
            for (part, side), r in parts.items()
            if r.error and part != "history"
        ]
        try:
            if refused:
                raise Unusable(min(refused, key=lambda one: one[1])[0])
            samples = metric_samples(metric, parts, edges)
        except Unusable as error:
            temporary = bool(refused) and all(one for _, one in refused)
            samples = MetricSamples(data=None, error=str(error), temporary=temporary)
        metrics[metric.name] = replace(
            samples,
            warnings=(*warnings, *samples.warnings),
            complete=complete and samples.complete,
            doubt=next((result.doubt for result in parts.values() if result.doubt is not None), samples.doubt),
        )
    return Samples(window=window, metrics=metrics)


def metric_samples(metric: Metric, parts: Parts, edges: Int) -> MetricSamples:
    """Put the answers on one metric on the grid; Unusable says why it cannot be judged."""
    for (part, side), result in parts.items():
        for series in result.series:
            _check_order(series, result.form, f"{side} {part}")
    if metric.per_user() is not None or isinstance(metric, MeanMetric):
        return user_samples(parts, edges)
    if any(result.form is Form.MOMENTS for result in parts.values()):
        raise Unusable("the source gave users where the metric asks for none; set `unit_of_replication: user`")
    if isinstance(metric, GaugeMetric):
        return gauge_samples(metric, parts, edges)
    if isinstance(metric, SamplesMetric):
        return raw_samples(parts, edges)
    return count_samples(metric, parts, edges)


def _check_order(series: Series, form: Form, where: str) -> None:
    steps = np.diff(series.timestamps)
    if (steps < 0).any():
        raise Unusable(f"{where}: the source returned points out of order; it must sort them by time")
    if form is not Form.SAMPLES and (steps == 0).any():
        when = np.datetime64(int(series.timestamps[1:][steps == 0][0]), "ns")
        raise Unusable(f"{where}: the source returned two points of one series at {when}Z; keep one")
