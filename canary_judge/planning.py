"""How long a canary takes at which weight, before it is started: from what the baseline does now.

The sample sizes are those of `stats.sample_sizes`, at the error that repeated looks with a planned end leave
for it, times the measured dispersion and autocorrelation time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from canary_judge.config.metrics import GaugeMetric
from canary_judge.judging.assessing import raw_tau
from canary_judge.judging.shortfalls import wait
from canary_judge.judging.verdict import fetch
from canary_judge.looks.anytime import Design
from canary_judge.results import Harm, Side
from canary_judge.samples.collecting import CountData, GaugeData, RawData, collect
from canary_judge.series import Form, MetricSource, Query, Reading, Result, Series, Window, format_duration
from canary_judge.stats.counts import instance_dispersion, split_dispersion
from canary_judge.stats.dependence import ranks_tau
from canary_judge.stats.sample_sizes import proportions_sample_size, rank_sample_size, rate_ratio_events, t_sample_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from canary_judge.config.metrics import Metric
    from canary_judge.config.model import JudgeConfig
    from canary_judge.samples.collecting import MetricSamples
    from canary_judge.stats.margins import Margin

    Float = NDArray[np.float64]

__all__ = ["WEIGHTS", "MetricPlan", "Plan", "plan", "plan_to_json"]

WEIGHTS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0)
_DAY = 86400.0
_FEWEST_EFFECTIVE = 6.0


def plan_to_json(found: Plan) -> str:
    """The plan as JSON: seconds by metric and weight, null where no time would do."""
    return json.dumps({**asdict(found), "feasible": found.feasible}, indent=2, allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPlan:
    """What one metric needs.

    Attributes:
        name: The metric.
        measured: What the baseline does, for a person.
        seconds: Time at each weight until safety is shown; None where no time would do.
        problem: Why no time would do, or what else is needed; empty when nothing is.
    """

    name: str
    measured: str
    seconds: tuple[float | None, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Time until a healthy canary is shown to be within every gate's margin.

    Attributes:
        name: The config's name.
        weights: Shares of the traffic, in percent.
        power: Probability that a canary that does no harm is shown to do none by then.
        metrics: One entry per gate.
        start: Start of the measured window.
        end: Its end.
    """

    name: str
    weights: tuple[float, ...]
    power: float
    metrics: tuple[MetricPlan, ...]
    start: str
    end: str

    def seconds(self, weight: float) -> float | None:
        """Time at this weight until every gate is shown; None when one never is."""
        place = self.weights.index(weight)
        times = [metric.seconds[place] for metric in self.metrics]
        known = [time for time in times if time is not None]
        return max(known, default=0.0) if len(known) == len(times) else None

    def bottleneck(self, weight: float) -> str | None:
        """The gate that takes longest at this weight; None without gates."""
        place = self.weights.index(weight)
        times = [(math.inf if (time := one.seconds[place]) is None else time, one.name) for one in self.metrics]
        return max(times)[1] if times else None

    @property
    def feasible(self) -> bool:
        """Some weight shows every gate within a day."""
        times = [self.seconds(weight) for weight in self.weights]
        return any(time is not None and time <= _DAY for time in times)

    def explain(self) -> str:
        """The plan as text."""
        head = ["metric", "measured", *(f"{weight:g} %" for weight in self.weights)]
        rows = [[one.name, one.measured, *(_time(seconds) for seconds in one.seconds)] for one in self.metrics]
        rows.append(["all gates", "", *(_time(self.seconds(weight)) for weight in self.weights)])
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

        def line(row: Sequence[str]) -> str:
            left = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
            return "  ".join([*left, *(cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))])

        lines = [
            f"{self.name}: time until a harmless canary is shown to be within its margins, power {self.power:.0%}",
            f"measured on the baseline, {self.start} to {self.end}",
            "",
            *(line(row).rstrip() for row in (head, *rows)),
            "",
            *self._conclusions(),
        ]
        return "\n".join(lines)

    def _conclusions(self) -> list[str]:
        lines = [f"{one.name}: {one.problem}" for one in self.metrics if one.problem]
        slowest = {weight: self.bottleneck(weight) for weight in self.weights}
        if not self.metrics:
            return ["There is no gate, so nothing has to be shown."]
        groups: dict[str, list[float]] = {}
        for weight, name in slowest.items():
            groups.setdefault(name or "", []).append(weight)
        lines += [
            f"Bottleneck at {', '.join(f'{weight:g}' for weight in weights)} %: {name}"
            for name, weights in groups.items()
        ]
        fits = [weight for weight in self.weights if (time := self.seconds(weight)) is not None and time <= _DAY]
        if not fits:
            lines.append(
                "No weight shows this within a day: use a wider margin, another metric, or another strategy "
                "(a dark launch, a shadow of the traffic, a longer soak)."
            )
        else:
            time = self.seconds(fits[0])
            lines.append(f"The smallest weight that does within a day is {fits[0]:g} %: {_time(time)}.")
        return lines


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return f"> {wait(30 * _DAY)}" if seconds > 30 * _DAY else wait(seconds)


def plan(
    config: JudgeConfig,
    source: MetricSource | Mapping[str, MetricSource],
    window: Window,
    *,
    weights: Sequence[float] = WEIGHTS,
    power: float = 0.9,
) -> Plan:
    """How long each weight takes, from the baseline's measured traffic, dispersion and autocorrelation time.

    Only the baseline is asked; there need not be a canary yet.

    Args:
        config: Its gates are planned for.
        source: As for `judge`.
        window: The span to measure, long enough to be typical.
        weights: Percent of the traffic, between 0 and 100.
        power: Probability to show that a harmless canary is harmless.

    Raises:
        ConfigError: A `${label}` is undefined, or a metric names a source that is not given.
        SourceUnavailable: A source gave no answer.
    """
    aligned = window.aligned(config.interval)
    alone = config.with_sides(canary=config.baseline)
    asked = [query for query in alone.queries() if query.side is Side.BASELINE]
    answers = fetch(config, source, asked, aligned)
    both, halved = _two_sides(answers)
    samples = collect(alone, aligned, both)
    metrics = []
    for metric in config.metrics:
        if metric.role.value == "gate":
            half = metric.name in halved
            measured, problem, seconds = _needs(
                config, metric, samples.metrics[metric.name], aligned, power, weights, halved=half
            )
            metrics.append(MetricPlan(name=metric.name, measured=measured, problem=problem, seconds=tuple(seconds)))
    return Plan(
        name=config.name,
        weights=tuple(float(weight) for weight in weights),
        power=power,
        metrics=tuple(metrics),
        start=f"{aligned.start:%Y-%m-%d %H:%M} UTC",
        end=f"{aligned.end:%Y-%m-%d %H:%M} UTC",
    )


def _two_sides(answers: Sequence[tuple[Query, Result]]) -> tuple[list[tuple[Query, Result]], set[str]]:
    """The baseline as both sides: half of its instances (or of its single requests) against the other half.

    What shakes all of it at once is then no clump. A metric of one series stands on both sides as it is; the names of
    the others are returned too.
    """
    instances: dict[str, set[str]] = {}
    for query, result in answers:
        instances.setdefault(query.metric, set()).update(_instance(one.labels) for one in result.series)
    second = {metric: set(sorted(names)[1::2]) for metric, names in instances.items()}
    both = []
    halved = set()
    for query, result in answers:
        mine, other = result.series, result.series
        if query.reading in (Reading.COUNTS, Reading.HISTOGRAM) and second[query.metric]:
            other = tuple(one for one in result.series if _instance(one.labels) in second[query.metric])
            mine = tuple(one for one in result.series if _instance(one.labels) not in second[query.metric])
            halved.add(query.metric)
        elif result.form is Form.SAMPLES and query.reading is Reading.HISTOGRAM:
            mine, other = (tuple(_every_second(one, first) for one in result.series) for first in (0, 1))
            halved.add(query.metric)
        else:  # labels tell the two copies apart
            other = tuple(replace(one, labels={**one.labels, "copy": "canary"}) for one in result.series)
        both.append((query, replace(result, series=mine)))
        both.append((replace(query, side=Side.CANARY), replace(result, series=other)))
    return both, halved


def _instance(labels: Mapping[str, str]) -> str:
    return labels.get("instance") or labels.get("pod", "")


def _every_second(one: Series, first: int) -> Series:
    return replace(one, timestamps=one.timestamps[first::2], values=one.values[first::2])


_Needs = tuple[str, str, list[float | None]]


def _needs(
    config: JudgeConfig,
    metric: Metric,
    samples: MetricSamples,
    window: Window,
    power: float,
    weights: Sequence[float],
    *,
    halved: bool,
) -> _Needs:
    never: list[float | None] = [None] * len(weights)
    if samples.error is not None:
        return "-", samples.error, never
    if samples.data is None:
        return "-", "the baseline has no data in this window; check the selectors", never
    error = config.false_pass_rate * (1 - Design.of(1, 0).early)
    if isinstance(samples.data, CountData):
        return _of_counts(config, metric, samples.data, window, power, weights, error, halved=halved)
    if isinstance(samples.data, RawData):
        return _of_raw(metric, samples.data, window, power, weights, error)
    return _of_gauge(config, metric, samples.data, power, weights, error)


def _of_counts(
    config: JudgeConfig,
    metric: Metric,
    data: CountData,
    window: Window,
    power: float,
    weights: Sequence[float],
    error: float,
    *,
    halved: bool,
) -> _Needs:
    counts = data.counts
    events, exposure = float(counts.events_baseline.sum()), float(counts.exposure_baseline.sum())
    if halved:  # a copy adds nothing
        events, exposure = events + float(counts.events_canary.sum()), exposure + float(counts.exposure_canary.sum())
    never: list[float | None] = [None] * len(weights)
    if exposure == 0:
        return "no traffic", "the baseline had no traffic in this window", never
    per_second, rate = exposure / window.duration.total_seconds(), events / exposure
    known = np.array(list(data.instances.values()), dtype=float).reshape(-1, 2).T
    split = counts if halved else counts.over_time()
    phi = max(split_dispersion(split, null=1.0), instance_dispersion(known[0], known[1]))
    shown = f"{100 * rate:.3g} % of {60 * per_second:,.0f}/min" if metric.is_proportion else f"{rate:.3g} per unit"
    measured = shown + (f", phi {phi:.1f}" if phi > 1 else "")
    margin = metric.parsed_margin()
    needs: list[list[float | None]] = []
    problem = ""
    if margin is not None:
        needs.append(
            [
                _margin_seconds(config, metric, margin, rate, per_second, phi, weight / 100, power, error)
                for weight in weights
            ]
        )
        if needs[-1][0] is None:
            problem = "no event was seen, of which a relative margin is nothing; add an absolute part (`or +0.1pp`)"
    limit = metric.parsed_limit()
    if limit is not None:
        room = (limit - rate) * (1 if metric.harm is Harm.INCREASE else -1)
        if room <= 0:
            return measured, f"the baseline itself is beyond the limit of {metric.limit}", never
        spread = [math.sqrt(p * (1 - p) if metric.is_proportion else p) for p in (limit, rate)]
        trials = ((special.ndtri(1 - error) * spread[0] + special.ndtri(power) * spread[1]) / room) ** 2
        needs.append([float(trials) * phi / (per_second * weight / 100) for weight in weights])
    return measured, problem, [_longest([need[place] for need in needs]) for place in range(len(weights))]


def _margin_seconds(
    config: JudgeConfig,
    metric: Metric,
    margin: Margin,
    rate: float,
    per_second: float,
    phi: float,
    share: float,
    power: float,
    error: float,
) -> float | None:
    sign = -1 if metric.harm is Harm.DECREASE else 1
    if margin.absolute is not None and metric.is_proportion and margin.absolute >= (margin.relative or 0.0) * rate:
        bound = min(max(rate + sign * margin.absolute, 0.0), 1.0)
        if bound == rate:
            return None
        per_side = proportions_sample_size(max(rate, 1e-12), bound, alpha=error, power=power)
        trials = per_side / 2 * phi / (share * (1 - share))
        least = config.min_events / max(bound, rate) / share
        return max(trials, least) / per_second
    if margin.relative is None or rate == 0:
        return None
    ratio = 1 + sign * margin.relative
    events = rate_ratio_events(ratio, canary_share=share, alpha=error, power=power) * phi
    return max(events, config.min_events) / (rate * per_second * share)


def _longest(times: Sequence[float | None]) -> float | None:
    return None if None in times else max((time for time in times if time is not None), default=0.0)


def _of_raw(
    metric: Metric, data: RawData, window: Window, power: float, weights: Sequence[float], error: float
) -> _Needs:
    tau = raw_tau(data.baseline, data.interval_baseline)
    per_second = data.baseline.size / window.duration.total_seconds()
    measured = f"{60 * per_second:,.0f} values/min" + (f", tau {tau:.1f}" if tau > 1 else "")
    size = _rank_size(metric, data.baseline, power, error)
    if size is None:
        return measured, _SAME, [None] * len(weights)
    return measured, "", [size * tau / (2 * per_second * w / 100 * (1 - w / 100)) for w in weights]


_SAME = "the baseline looks the same with and without the margin; widen it or add an absolute part"


def _of_gauge(
    config: JudgeConfig, metric: Metric, data: GaugeData, power: float, weights: Sequence[float], error: float
) -> _Needs:
    interval = config.interval.total_seconds()
    if isinstance(metric, GaugeMetric) and metric.by:
        return _of_instances(config, metric, data, power, weights, error)
    values = data.baseline[0][~np.isnan(data.baseline[0])]
    if values.size < config.min_samples:
        return f"{values.size} intervals", f"measure at least {config.min_samples} intervals", [None] * len(weights)
    tau = ranks_tau(data.baseline)
    measured = (
        f"{np.median(values):.4g} {metric.unit}".rstrip() + f", tau {tau:.1f} x {format_duration(config.interval)}"
    )
    size = _rank_size(metric, values, power, error)
    if size is None:
        return measured, _SAME, [None] * len(weights)
    seconds = max(max(size, _FEWEST_EFFECTIVE) * tau, config.min_samples) * interval
    return measured, "", [seconds] * len(weights)


def _rank_size(metric: Metric, values: Float, power: float, error: float) -> float | None:
    margin = metric.parsed_margin()
    if margin is None:
        return ((0.5 * special.ndtri(1 - error) + 0.4 * special.ndtri(power)) / 0.3) ** 2  # signs, as for the limit
    ways = [True, False] if metric.harm is Harm.EITHER else [metric.harm is Harm.INCREASE]
    sizes = [
        rank_sample_size(baseline=values, shifted=margin.shifted(values, upward=way), alpha=error, power=power)
        for way in ways
    ]
    return _longest(sizes)


def _of_instances(
    config: JudgeConfig, metric: Metric, data: GaugeData, power: float, weights: Sequence[float], error: float
) -> _Needs:
    levels = np.nanmean(data.baseline, axis=1)
    usual, spread = float(levels.mean()), float(levels.std(ddof=1)) if levels.size > 1 else math.nan
    margin = metric.parsed_margin()
    measured = f"{levels.size} instances, {usual:.4g} +- {spread:.2g} {metric.unit}".rstrip()
    if margin is None or not spread > 0 or margin.amount(usual) == 0:
        return measured, "", [config.min_samples * config.interval.total_seconds()] * len(weights)
    needed = math.ceil(t_sample_size(margin.amount(usual), sd=spread, alpha=error, power=power))
    problem = f"needs about {needed} instances per side, whatever the time"
    # the canary's share of the instances is its share of the traffic
    enough = [levels.size * weight / 100 >= needed for weight in weights]
    seconds = config.min_samples * config.interval.total_seconds()
    return measured, problem, [seconds if fits else None for fits in enough]
