"""How long a canary takes at which weight, before it is started: from what the baseline does now.

The sample sizes are those of `stats.sample_sizes`, at the error that repeated looks with a planned end leave
for it, times the measured dispersion and autocorrelation time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from canary_judge.arrays import Float, levels_of_rows
from canary_judge.config.metrics import GaugeMetric, Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.judging.fetching import checked, fetch
from canary_judge.judging.values import FEWEST_EFFECTIVE, raw_tau
from canary_judge.looks.design import Design
from canary_judge.moments import UserMoments
from canary_judge.planning.plans import MetricPlan, Need, Plan
from canary_judge.planning.users import NO_USERS, Seen, lengths_of, time_of_users
from canary_judge.results import Harm, Role, Side
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData, collect
from canary_judge.series import (
    Form,
    MetricSource,
    Query,
    Reading,
    Result,
    Series,
    Window,
    format_duration,
    percent_from,
)
from canary_judge.stats.dependence import ranks_tau
from canary_judge.stats.dispersion import clump_size, instance_dispersion, split_dispersion
from canary_judge.stats.margins import Margin
from canary_judge.stats.sample_sizes import (
    limit_sample_size,
    margin_sample_size,
    proportions_sample_size,
    rate_ratio_events,
    share_ratio_trials,
    sign_sample_size,
    t_sample_size,
)
from canary_judge.wording import span

__all__ = ["WEIGHTS", "plan"]

WEIGHTS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0)
_USUAL_POWER = 0.9
# What is told as measured where nothing was.
_NOTHING = ("-", NO_USERS, "no traffic")
# With less nothing is seen in a life; with more there is no baseline to compare with.
_LEAST_WEIGHT, _MOST_WEIGHT = 0.001, 99.9


def plan(
    config: JudgeConfig,
    source: MetricSource | Mapping[str, MetricSource],
    window: Window,
    *,
    weights: Sequence[float] = WEIGHTS,
    power: float | None = None,
) -> Plan:
    """How long each weight takes, from the baseline's measured traffic, dispersion and autocorrelation time.

    Only the baseline is asked; there need not be a canary yet.

    Args:
        config: Its gates are planned for.
        source: As for `judge`.
        window: The span to measure, long enough to be typical.
        weights: Percent of the traffic, between 0 and 100.
        power: Probability to show that a harmless canary is harmless; by default the config's `power` where it names
            one, else 0.9.

    Raises:
        ConfigError: A `${label}` is undefined, or a metric names a source that is not given.
        SourceUnavailable: A source gave no answer.
        DataError: The baseline has nothing to measure in the window.
    """
    checked(config, window)
    if isinstance(weights, str) or not isinstance(weights, Iterable):
        raise DataError(f"weights is {weights!r}; give percentages of the traffic, as [5, 25]")
    if power is not None and not (isinstance(power, int | float) and 0.5 < power < 1):
        raise DataError(f"power is {power!r}; give a probability between 0.5 and 1, as 0.9")
    weights = [percent_from(weight, "weights", lowest=_LEAST_WEIGHT, highest=_MOST_WEIGHT) for weight in weights]
    if not weights:
        raise DataError("weights is empty; give percentages of the traffic, as [5, 25]")
    aligned = window.aligned(config.interval)
    if power is None:
        power = config.power if "power" in config.model_fields_set else _USUAL_POWER
    alone = config.with_sides(canary=config.baseline)
    asked = [query for query in alone.queries() if query.side is Side.BASELINE and query.users is None]
    both, halved = _two_sides(fetch(config, source, asked, aligned))
    samples = collect(alone, aligned, both)
    aim = _Aim(
        config=config,
        window=aligned,
        shares=tuple(weight / 100 for weight in weights),
        power=power,
        # what the looks leave for the planned end
        error=config.false_pass_rate * (1 - Design.of(1, 0).early),
    )
    gates = [metric for metric in config.metrics if metric.role is Role.GATE]
    users = _users(alone, source, aligned, [metric.name for metric in gates if metric.per_user() is not None])
    metrics = [
        aim.of_users(metric, users[metric.name])
        if metric.name in users
        else aim.planned(metric, samples.metrics[metric.name], halved=metric.name in halved)
        for metric in gates
    ]
    if all(one.measured in _NOTHING for one in metrics):
        raise DataError(
            f"nothing of the baseline can be measured from {aligned.start:%Y-%m-%d %H:%M} to "
            f"{aligned.end:%Y-%m-%d %H:%M} UTC: {metrics[0].name}: {metrics[0].problem}"
        )
    return Plan(
        name=config.name,
        weights=tuple(float(weight) for weight in weights),
        power=power,
        metrics=tuple(metrics),
        start=f"{aligned.start:%Y-%m-%d %H:%M} UTC",
        end=f"{aligned.end:%Y-%m-%d %H:%M} UTC",
    )


# A span is longer where it holds so many times the time of the one before; rows begin late where so much is missing.
_LONGER, _EDGE = 1.1, 0.05


def _users(
    config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource], window: Window, names: Sequence[str]
) -> dict[str, list[Seen] | str]:
    """The baseline's users over several lengths; or why they cannot be counted."""
    found: dict[str, list[Seen] | str] = {name: [] for name in names}
    instant = set()
    for part in lengths_of(window, config.interval) if names else []:
        asked = [query for query in config.queries(start=part.start) if query.metric in found]
        for query, result in fetch(config, source, [one for one in asked if one.side is Side.BASELINE], part):
            seen = found[query.metric]
            if isinstance(seen, list):
                if result.error is not None or result.moments is None:
                    found[query.metric] = result.error or "the source gave no users"
                elif _of_one_moment(result.moments):
                    instant.add(query.metric)
                elif _held(result.moments) > (_LONGER * seen[-1].seconds if seen else 0):
                    seen.append(Seen(_held(result.moments), result.moments.whole))
    for name in instant:
        found[name] = found[name] or (
            "all rows of its users have one time, so that it cannot be told how fast they come: give a row for each "
            "event"
        )
    return found


def _of_one_moment(moments: UserMoments) -> bool:
    return moments.rows > 1 and moments.earliest == moments.latest


def _held(moments: UserMoments) -> float:
    """Seconds in which there were users: a store that is younger than the span has not seen how they return."""
    asked = moments.until - moments.since
    missing = 0 if moments.earliest is None else moments.earliest - moments.since
    return (asked - missing if missing > _EDGE * asked else asked) / 1e9


# --- the baseline as both sides ----------------------------------------------------------------------------------


def _two_sides(answers: Sequence[tuple[Query, Result]]) -> tuple[list[tuple[Query, Result]], set[str]]:
    """The baseline as both sides: half of its instances (or of its single requests) against the other half.

    What shakes all of it at once is then no clump. A metric of one series stands on both sides as it is; the names of
    the others are returned too.
    """
    instances: dict[str, set[str]] = {}
    for query, result in answers:
        instances.setdefault(query.metric, set()).update(one.instance for one in result.series)
    second = {metric: set(sorted(names)[1::2]) for metric, names in instances.items()}
    both = []
    halved = set()
    for query, result in answers:
        mine, other = result.series, result.series
        if query.reading in (Reading.COUNTS, Reading.HISTOGRAM) and second[query.metric]:
            other = tuple(one for one in result.series if one.instance in second[query.metric])
            mine = tuple(one for one in result.series if one.instance not in second[query.metric])
            halved.add(query.metric)
        elif result.form is Form.SAMPLES and query.reading is Reading.HISTOGRAM:
            mine, other = (tuple(_every_second(one, first) for one in result.series) for first in (0, 1))
            halved.add(query.metric)
        else:  # labels tell the two copies apart
            other = tuple(replace(one, labels={**one.labels, "copy": "canary"}) for one in result.series)
        both.append((query, replace(result, series=mine)))
        both.append((replace(query, side=Side.CANARY), replace(result, series=other)))
    return both, halved


def _every_second(one: Series, first: int) -> Series:
    return replace(one, timestamps=one.timestamps[first::2], values=one.values[first::2])


# --- one metric --------------------------------------------------------------------------------------------------

_SAME = "the baseline looks the same with and without the margin; widen it or add an absolute part"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Aim:
    """What a plan is made for.

    Attributes:
        config: The config.
        window: The measured window.
        shares: The canary's shares of the traffic.
        power: Wanted probability to show that a harmless canary is harmless.
        error: The error rate that is left for it.
    """

    config: JudgeConfig
    window: Window
    shares: tuple[float, ...]
    power: float
    error: float

    def planned(self, metric: Metric, samples: MetricSamples, *, halved: bool) -> MetricPlan:
        """The plan of one metric."""
        return self._plan(metric, self._needs(metric, samples, halved=halved))

    def of_users(self, metric: Metric, seen: list[Seen] | str) -> MetricPlan:
        """The plan of a metric by user."""
        if isinstance(seen, str):
            return self._plan(metric, self.never("-", seen))
        return self._plan(metric, time_of_users(metric, seen, self.shares, error=self.error, power=self.power))

    def never(self, measured: str, problem: str) -> Need:
        """No time would do."""
        return Need(measured=measured, seconds=(None,) * len(self.shares), problem=problem)

    def _plan(self, metric: Metric, found: Need) -> MetricPlan:
        half, double = (_length_at(metric, factor) for factor in (0.5, 2.0))
        return MetricPlan(
            name=metric.name,
            measured=found.measured,
            seconds=found.seconds,
            problem=found.problem,
            halved=half,
            doubled=double,
        )

    def always(self, measured: str, seconds: float, problem: str = "") -> Need:
        """The same time at every weight."""
        return Need(measured=measured, seconds=(seconds,) * len(self.shares), problem=problem)

    def told(self, seconds: float) -> str:
        """How much of the window has data, where that is not all but its ends."""
        whole = self.window.duration.total_seconds()
        missing = whole - seconds > 2 * self.config.interval.total_seconds()
        return f", in {span(seconds)} of {span(whole)} that have data" if missing else ""

    def _needs(self, metric: Metric, samples: MetricSamples, *, halved: bool) -> Need:
        if samples.error is not None:
            return self.never("-", samples.error)
        if samples.data is None:
            return self.never("-", "the baseline has no data in this window; check the selectors")
        if isinstance(samples.data, CountData):
            return _of_counts(self, metric, samples.data, halved=halved)
        if isinstance(samples.data, RawData):
            return _of_raw(self, metric, samples.data)
        if not isinstance(samples.data, GaugeData):
            return self.never("-", "users are planned for by themselves")
        if isinstance(metric, GaugeMetric) and metric.by:
            return _of_instances(self, metric, samples.data)
        return _of_gauge(self, metric, samples.data)


def _length_at(metric: Metric, factor: float) -> float | None:
    """Times the length at so many times the margin: it goes by the square of the effect, on the scale of its test."""
    margin = metric.parsed_margin()
    if margin is None:
        return None
    if margin.relative is None:
        return factor**-2
    upward = metric.harm is not Harm.DECREASE
    wide = margin.times(factor).factor(upward=upward)
    return None if wide <= 0 else (math.log(margin.factor(upward=upward)) / math.log(wide)) ** 2


def _longest(times: Sequence[float | None]) -> float | None:
    return None if None in times else max((time for time in times if time is not None), default=0.0)


# --- counts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """Events as the baseline has them: their rate, the exposure per second, and the dispersion."""

    rate: float
    per_second: float
    phi: float


def _of_counts(aim: _Aim, metric: Metric, data: CountData, *, halved: bool) -> Need:
    counts = data.counts
    events, exposure = float(counts.events_baseline.sum()), float(counts.exposure_baseline.sum())
    if halved:  # a copy adds nothing
        events, exposure = events + float(counts.events_canary.sum()), exposure + float(counts.exposure_canary.sum())
    if exposure == 0:
        return aim.never("no traffic", "the baseline had no traffic in this window")
    known = np.array(list(data.instances.values()), dtype=float).reshape(-1, 2).T
    some = np.flatnonzero(counts.exposure_baseline + counts.exposure_canary > 0)
    seconds = int(some[-1] - some[0] + 1) * aim.config.interval.total_seconds()
    split = counts if halved else counts.over_time()
    stream = _Stream(
        rate=events / exposure,
        per_second=exposure / seconds,
        phi=max(split_dispersion(split, null=1.0), instance_dispersion(known[0], known[1])),
    )
    shown = f"{stream.rate:.3g} per unit"
    if metric.is_proportion:
        shown = f"{100 * stream.rate:.3g} % of {60 * stream.per_second:,.0f}/min"
    measured = shown + (f", phi {stream.phi:.1f}" if stream.phi > 1 else "") + aim.told(seconds)
    times: list[Sequence[float | None]] = []
    problem = ""
    margin, limit = metric.parsed_margin(), metric.parsed_limit()
    if margin is not None:
        times.append([_margin_seconds(aim, metric, margin, stream, share) for share in aim.shares])
        if times[-1][0] is None:
            problem = "no event was seen, of which a relative margin is nothing; add an absolute part (`or +0.1pp`)"
    if limit is not None:
        room = limit - stream.rate if metric.harm is Harm.INCREASE else stream.rate - limit
        if room <= 0:
            return aim.never(measured, f"the baseline itself is beyond the limit of {metric.limit}")
        trials = limit_sample_size(
            limit=limit, rate=stream.rate, proportion=metric.is_proportion, alpha=aim.error, power=aim.power
        )
        times.append([trials * stream.phi / (stream.per_second * share) for share in aim.shares])
    return Need(measured=measured, problem=problem, seconds=tuple(_longest(both) for both in zip(*times, strict=True)))


def _margin_seconds(aim: _Aim, metric: Metric, margin: Margin, stream: _Stream, share: float) -> float | None:
    rate, least, clump = stream.rate, aim.config.min_events, clump_size(stream.phi)
    upward = metric.harm is not Harm.DECREASE
    if margin.absolute is not None and metric.is_proportion and margin.absolute >= (margin.relative or 0.0) * rate:
        bound = min(max(rate + margin.absolute if upward else rate - margin.absolute, 0.0), 1.0)
        if bound == rate:
            return None
        per_side = proportions_sample_size(max(rate, 1e-12), bound, alpha=aim.error, power=aim.power)
        trials = per_side / 2 * stream.phi / (share * (1 - share))
        return max(trials, least * clump / max(bound, rate) / share) / stream.per_second
    if margin.relative is None or rate == 0:
        return None
    ratio = margin.factor(upward=upward)
    requests = share_ratio_trials(ratio, rate=rate, canary_share=share, alpha=aim.error, power=aim.power)
    if metric.is_proportion and requests is not None:
        return requests * stream.phi / share / stream.per_second
    events = rate_ratio_events(ratio, canary_share=share, alpha=aim.error, power=aim.power) * stream.phi
    return max(events, least * clump) / (rate * stream.per_second * share)


# --- values ------------------------------------------------------------------------------------------------------


def _of_raw(aim: _Aim, metric: Metric, data: RawData) -> Need:
    tau = raw_tau(data.baseline, data.interval_baseline)
    when = data.interval_baseline
    covered = int(when.max() - when.min() + 1) if when.size else aim.window.duration // aim.config.interval
    seconds_with = covered * aim.config.interval.total_seconds()
    per_second = data.baseline.size / seconds_with
    measured = f"{60 * per_second:,.0f} values/min" + (f", tau {tau:.1f}" if tau > 1 else "") + aim.told(seconds_with)
    size = _rank_size(aim, metric, data.baseline)
    if size is None:
        return aim.never(measured, _SAME)
    # n values in all at a share s are worth 2 n s (1 - s) a side
    seconds = tuple(size * tau / (2 * per_second * share * (1 - share)) for share in aim.shares)
    return Need(measured=measured, seconds=seconds)


def _of_gauge(aim: _Aim, metric: Metric, data: GaugeData) -> Need:
    least, interval = aim.config.min_samples, aim.config.interval
    values = data.baseline[0][~np.isnan(data.baseline[0])]
    if values.size < least:
        return aim.never(f"{values.size} intervals", f"measure at least {least} intervals")
    tau = ranks_tau(data.baseline)
    measured = f"{np.median(values):.4g} {metric.unit}".rstrip() + f", tau {tau:.1f} x {format_duration(interval)}"
    size = _rank_size(aim, metric, values)
    if size is None:
        return aim.never(measured, _SAME)
    return aim.always(measured, max(max(size, FEWEST_EFFECTIVE) * tau, least) * interval.total_seconds())


def _rank_size(aim: _Aim, metric: Metric, values: Float) -> float | None:
    margin = metric.parsed_margin()
    if margin is None:
        return sign_sample_size(alpha=aim.error, power=aim.power)
    return margin_sample_size(baseline=values, margin=margin, harm=metric.harm, alpha=aim.error, power=aim.power)


def _of_instances(aim: _Aim, metric: Metric, data: GaugeData) -> Need:
    levels = levels_of_rows(data.baseline)
    usual, spread = float(levels.mean()), float(levels.std(ddof=1)) if levels.size > 1 else math.nan
    margin = metric.parsed_margin()
    measured = f"{levels.size} instances, {usual:.4g} +- {spread:.2g} {metric.unit}".rstrip()
    seconds = aim.config.min_samples * aim.config.interval.total_seconds()
    if margin is None or not spread > 0 or margin.amount(usual) == 0:
        return aim.always(measured, seconds)
    needed = math.ceil(t_sample_size(margin.amount(usual), sd=spread, alpha=aim.error, power=aim.power))
    return Need(
        measured=measured,
        problem=f"needs about {needed} instances per side, whatever the time",
        # the canary's share of the instances is its share of the traffic
        seconds=tuple(seconds if levels.size * share >= needed else None for share in aim.shares),
    )
