"""One metric: from samples to evidence, and to what the evidence may be used for."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from canary_judge.config.metrics import GaugeMetric, SamplesMetric
from canary_judge.judging.shortfalls import count_shortfall, time_shortfall
from canary_judge.results import Comparison, Harm, LimitCheck, Outcome, Quality, Shortfall, TrafficSplit
from canary_judge.samples.collecting import CountData, GaugeData, MetricSamples, RawData, Samples
from canary_judge.stats.counts import compare_counts, instance_dispersion, limit_counts
from canary_judge.stats.dependence import cluster_time, ranks_tau
from canary_judge.stats.gauges import compare_instances, compare_means, compare_values, limit_values, series_tau
from canary_judge.stats.paired import unsettled
from canary_judge.stats.rank import mid_ranks
from canary_judge.stats.sample_sizes import rank_sample_size, t_sample_size
from canary_judge.stats.split import split_finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from canary_judge.config.metrics import Metric
    from canary_judge.config.model import JudgeConfig
    from canary_judge.series import Window
    from canary_judge.stats.counts import Counts

    Float = NDArray[np.float64]

__all__ = ["Assessed", "assess", "canary_share", "raw_tau", "requests", "traffic_split"]

_FEWEST_EFFECTIVE = 4.0
# Without a record before the window, tau is an estimate from few effective samples: ask for more of them.
_FEWEST_EFFECTIVE_ALONE = 6.0
_FEWEST_INSTANCES = 5
# Below this coverage a series says little on the window; and a canary that reports so much less than the baseline
# may be failing exactly when it is silent.
_LEAST_COVERAGE = 0.5
_WORST_ASYMMETRY = 0.2
# Per-interval quantiles and ratios of requests are biased once the sides' traffic differs by more than this factor.
_MOST_UNEQUAL_TRAFFIC = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    """Evidence on a metric before error rates are shared out."""

    metric: Metric
    quality: Quality | None = None
    warnings: tuple[str, ...] = ()
    comparison: Comparison | None = None
    limit: LimitCheck | None = None
    # an outcome that the data dictate whatever the evidence says, with its reason
    settled: tuple[Outcome, str] | None = None
    # why this metric cannot be found safe, though it may be found regressed
    no_safety: str | None = None
    shortfall: Shortfall | None = None
    # why this metric was found regressed at an earlier look, which stands
    latched: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What all metrics of a look share."""

    config: JudgeConfig
    window: Window
    level: float
    cost: float


def assess(
    config: JudgeConfig,
    metric: Metric,
    samples: MetricSamples,
    window: Window,
    share: float | None,
    *,
    level: float | None = None,
    cost: float = 1.0,
) -> Assessed:
    """The evidence on one metric at one planned look.

    Args:
        config: For levels, power and minimum samples.
        metric: The metric.
        samples: What is known of it.
        window: The judged window.
        share: The canary's share of the requests, where it is known.
        level: Confidence level of the interval, by default the one that mirrors the error rates; 1 gives the whole
            line, which costs nothing.
        cost: How much more data the design of the looks needs than one planned look, for the shortfall.
    """
    bare = Assessed(metric=metric, quality=samples.quality, warnings=samples.warnings)
    if samples.error is not None:
        return replace(bare, settled=(Outcome.ERROR, samples.error))
    if samples.data is None:
        return replace(bare, settled=(Outcome.NO_DATA, _no_data(samples.quality)))
    quality = samples.quality
    if level is None:
        level = 1 - 2 * max(config.false_alarm_rate, config.false_pass_rate)
    plan = _Plan(config=config, window=window, level=level, cost=cost)
    if isinstance(samples.data, GaugeData):
        if (biased := _biased_gauge(metric, share)) is not None:
            refused, text = biased
            if refused:
                return replace(bare, settled=(Outcome.ERROR, text))
            bare = replace(bare, warnings=(*bare.warnings, text))
        found = _assess_gauge(plan, metric, samples.data, bare, share)
    elif isinstance(samples.data, RawData):
        found = _assess_raw(plan, metric, samples.data, bare)
    else:
        found = _assess_counts(plan, metric, samples.data, bare)
    if metric.unit_of_replication == "user" and metric.is_proportion:
        text = "requests of one user are not independent, so this is weaker evidence than it looks; count users instead"
        found = replace(found, warnings=(*found.warnings, text))
    if found.settled is None and quality is not None and not isinstance(samples.data, RawData):
        least = min(quality.coverage_baseline, quality.coverage_canary)
        asymmetry = quality.coverage_baseline - quality.coverage_canary
        text = (
            f"{quality.coverage_baseline:.0%} of the baseline's intervals and {quality.coverage_canary:.0%} of the "
            "canary's, each since its first one, have values"
        )
        if isinstance(samples.data, GaugeData) and least < _LEAST_COVERAGE:
            found = replace(found, settled=(Outcome.INSUFFICIENT, f"data are missing: only {text}"))
        elif least < _LEAST_COVERAGE or asymmetry > _WORST_ASYMMETRY:
            found = replace(found, no_safety=f"data are missing: {text}")
    if found.settled is None and quality is not None and _fell_silent(samples, quality, config, window):
        what = "traffic" if isinstance(samples.data, CountData) else "value"
        text = f"the canary has no {what} in the last {quality.silent_canary} intervals, the baseline has"
        found = replace(found, no_safety=text)
    if not samples.complete:
        found = replace(found, no_safety="the source may have left data out")
    return found


def _fell_silent(samples: MetricSamples, quality: Quality, config: JudgeConfig, window: Window) -> bool:
    """Whether the canary stopped reporting before the end: it may have died, and the dead make no errors."""
    intervals = window.duration // config.interval
    silent = quality.silent_canary - quality.silent_baseline
    if silent <= max(2, 0.05 * intervals):
        return False
    if isinstance(samples.data, RawData):
        values: float = samples.data.canary.size
    elif isinstance(samples.data, CountData):
        values = float(samples.data.counts.exposure_canary.sum())
    else:
        return True
    # a thin stream of requests has pauses: only one in which many were to be expected counts
    return values / max(intervals - quality.silent_canary, 1) * silent >= 10


def _no_data(quality: Quality | None) -> str:
    if quality is None or not (quality.series_baseline or quality.series_canary):
        return "the queries returned nothing for either side; check the selectors and the window"
    if quality.non_finite:
        return f"no finite value on {_sides_without(quality)}: {quality.non_finite} points are NaN or infinite"
    return f"the query returned nothing for {_sides_without(quality)}"


def _sides_without(quality: Quality) -> str:
    empty = [
        name
        for name, coverage in (
            ("the baseline", quality.coverage_baseline),
            ("the canary", quality.coverage_canary),
        )
        if coverage == 0
    ]
    return " and ".join(empty) or "one side"


def canary_share(config: JudgeConfig, samples: Samples) -> float | None:
    """The canary's share of the requests: counted where any metric counts them, else the configured one."""
    counts = requests(config, samples)
    if counts is None:
        weight = config.traffic.weight if config.traffic is not None else None
        return None if weight is None else weight / 100
    canary, baseline = float(counts.exposure_canary.sum()), float(counts.exposure_baseline.sum())
    return canary / (canary + baseline)


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
    tolerance = config.traffic.tolerance if config.traffic is not None else 0.25
    return split_finding(
        baseline=counts.exposure_baseline, canary=counts.exposure_canary, share=expected / 100, tolerance=tolerance
    )


def _biased_gauge(metric: Metric, share: float | None) -> tuple[bool, str] | None:
    """Whether a gauge of requests must be refused (or warned about) because the sides' traffic is unequal."""
    statistic = metric.request_statistic() if isinstance(metric, GaugeMetric) else "level"
    if statistic == "level":
        return None
    what = {"quantile": "a quantile", "ratio": "a ratio", "mean": "a mean"}[statistic]
    instead = {
        "quantile": "use kind: latency with slower_than (the share of slow requests)",
        "ratio": "use kind: ratio with the two counters",
        "mean": "use kind: latency with slower_than, or raw samples",
    }[statistic]
    if share is None or not 0 < share < 1:
        return False, (
            f"each point is {what} of the requests of one interval, which is biased when the sides' traffic differs; "
            f"their traffic is not known: {instead}"
        )
    if not _unequal(share):
        return None
    return statistic != "mean", (
        f"each point is {what} of the requests of one interval, and the canary had {share:.1%} of them: such points "
        f"differ between the sides even when nothing changed; {instead}"
    )


def _unequal(share: float | None) -> bool:
    return share is not None and 0 < share < 1 and max(share, 1 - share) > _MOST_UNEQUAL_TRAFFIC * min(share, 1 - share)


def _assess_gauge(plan: _Plan, metric: Metric, data: GaugeData, bare: Assessed, share: float | None) -> Assessed:
    if isinstance(metric, GaugeMetric) and metric.by:
        return _assess_instances(plan, metric, data, bare)
    if metric.unit_of_replication == "instance":
        text = (
            "one averaged series per side, and the instances behind it are the unit: that healthy instances differ for "
            "good cannot be told from an effect; keep them apart with `by: pod`"
        )
        return replace(bare, settled=(Outcome.INSUFFICIENT, text))
    # means of few requests on one side, of many on the other: equal means, but not equal distributions
    means = share is not None and isinstance(metric, GaugeMetric) and metric.request_statistic() == "mean"
    means = means and _unequal(share)
    baseline, canary = data.baseline[0], data.canary[0]
    alone, tau = series_tau(baseline=baseline, canary=canary, history=data.history)
    values_b, values_c = baseline[~np.isnan(baseline)], canary[~np.isnan(canary)]
    if not values_b.size or not values_c.size:
        return replace(bare, settled=(Outcome.NO_DATA, "no interval has a value on both sides"))
    least = _FEWEST_EFFECTIVE if data.history.size > baseline.size else _FEWEST_EFFECTIVE_ALONE
    own = tau
    if metric.limit is not None:
        own = max(tau, ranks_tau(canary[None, :]))
    paired = data.simultaneous and values_b.size == values_c.size
    inflation = tau / alone  # alone, the window may not be long enough to tell how slowly things swing
    if paired and (moved := unsettled(values_c - values_b)) is not None:
        hour = 3600 / plan.config.interval.total_seconds()
        text = (
            f"the difference between the sides has not settled: it moves by {moved * hour:+.3g} {metric.unit}".rstrip()
            + " an hour; a leak, or a warm-up (set `warmup`)?"
        )
        bare = replace(bare, warnings=(*bare.warnings, text), no_safety=text)
    return _assess_ranked(
        plan,
        metric,
        values_b,
        values_c,
        tau,
        least,
        bare,
        needs="intervals",
        own_tau=own,
        paired=paired,
        means=means and paired,
        inflation=inflation,
    )


def _assess_raw(plan: _Plan, metric: Metric, data: RawData, bare: Assessed) -> Assessed:
    taus = [
        raw_tau(side, interval)
        for side, interval in ((data.baseline, data.interval_baseline), (data.canary, data.interval_canary))
    ]
    weights = 1 / data.baseline.size, 1 / data.canary.size
    tau = (taus[0] * weights[0] + taus[1] * weights[1]) / sum(weights)
    return _assess_ranked(
        plan,
        metric,
        data.baseline,
        data.canary,
        tau,
        _FEWEST_EFFECTIVE_ALONE,
        bare,
        needs="values per side",
        own_tau=max(tau, taus[1]),
    )


def raw_tau(values: Float, interval: NDArray[np.int64]) -> float:
    """Tau of raw values in order of time, no less than what they share with the others of their interval."""
    tau = ranks_tau(values[None, :])
    return max(tau, cluster_time(mid_ranks(values[None, :])[0][0], interval)) if interval.size else tau


def _assess_ranked(
    plan: _Plan,
    metric: Metric,
    baseline: np.ndarray[tuple[int], np.dtype[np.float64]],
    canary: np.ndarray[tuple[int], np.dtype[np.float64]],
    tau: float,
    least: float,
    bare: Assessed,
    *,
    needs: str,
    own_tau: float,
    paired: bool = False,
    means: bool = False,
    inflation: float = 1.0,
) -> Assessed:
    config, level = plan.config, plan.level
    margin, limit = metric.parsed_margin(), metric.parsed_limit()
    comparison = compare_values(
        baseline=baseline,
        canary=canary,
        tau=tau,
        harm=metric.harm,
        margin=margin,
        level=level,
        spreads_differ=isinstance(metric, SamplesMetric),
        paired=paired,
        inflation=inflation,
    )
    if means and baseline.size >= config.min_samples:
        by_means = compare_means(baseline=baseline, canary=canary, harm=metric.harm, margin=margin, level=level)
        comparison = replace(by_means, n_effective=comparison.n_effective, tau=comparison.tau)
    check = None if limit is None else limit_values(canary=canary, tau=own_tau, limit=limit, harm=metric.harm)
    warnings = list(bare.warnings)
    if margin is not None and margin.relative is not None and baseline.min() < 0 < baseline.max():
        warnings.append(
            "the baseline has values of both signs, so a relative margin means little; give an absolute one"
        )
    found = replace(bare, comparison=comparison, limit=check, warnings=tuple(warnings))
    have, tau = comparison.n_effective, comparison.tau or tau
    fewest = min(baseline.size, canary.size)
    planned: float | None = 0.0
    if margin is not None and fewest >= config.min_samples:  # fewer cannot tell how many it takes
        directions = [True, False] if metric.harm is Harm.EITHER else [metric.harm is Harm.INCREASE]
        sizes = [
            rank_sample_size(
                baseline=baseline,
                shifted=margin.shifted(baseline, upward=upward),
                alpha=config.false_pass_rate,
                power=config.power,
            )
            for upward in directions
        ]
        planned = None if None in sizes else max(size for size in sizes if size is not None)
    if limit is not None and planned is not None:
        planned = max(planned, _limit_signs(config))
    shortfall = time_shortfall(config, needs, have, planned, tau, least, fewest, plan.window, plan.cost)
    found = replace(found, shortfall=shortfall)
    if fewest < config.min_samples:
        text = f"{fewest} {needs} on the smaller side, fewer than the {config.min_samples} that a comparison needs"
        return replace(found, settled=(Outcome.INSUFFICIENT, text))
    if have < least:
        text = (
            f"{fewest} {needs} are worth only {have:.1f} independent ones (autocorrelation time {tau:.1f}), fewer than "
            f"the {least:g} that a comparison needs"
        )
        return replace(found, settled=(Outcome.INSUFFICIENT, text))
    if margin is not None and margin.amount(comparison.baseline or 0.0) == 0:
        found = replace(
            found,
            no_safety="the baseline's level is 0, of which a relative margin is 0 too; add an absolute margin",
        )
    return found


def _limit_signs(config: JudgeConfig) -> float:
    """Independent values with which a sign test tells 80 % below the limit from an even split."""
    alpha, beta = special.ndtri(1 - config.false_pass_rate), special.ndtri(config.power)
    return float(((0.5 * alpha + 0.4 * beta) / 0.3) ** 2)


def _assess_instances(plan: _Plan, metric: Metric, data: GaugeData, bare: Assessed) -> Assessed:
    config, level = plan.config, plan.level
    # what one side alone lived through is no effect
    both = ~np.isnan(data.baseline).all(axis=0) & ~np.isnan(data.canary).all(axis=0)
    sides = [side[:, both] for side in (data.baseline, data.canary)]
    long_enough = [np.count_nonzero(~np.isnan(side), axis=1) >= config.min_samples for side in sides]
    baseline, canary = (side[enough] for side, enough in zip(sides, long_enough, strict=True))
    left_out = len(data.canary) - len(canary)
    have = len(baseline) + len(canary)
    if have < _FEWEST_INSTANCES or len(baseline) < 2 or not len(canary):
        text = (
            f"{len(baseline)} baseline and {len(canary)} canary instances have {config.min_samples} intervals or more; "
            f"a comparison needs {_FEWEST_INSTANCES} of them in all, two baseline and one canary"
        )
        need = Shortfall(
            needs="instances",
            have=have,
            required=float(_FEWEST_INSTANCES),
            seconds=None,
            weight_percent=None,
            text=f"needs {_FEWEST_INSTANCES} instances with {config.min_samples} intervals, has {have}",
        )
        return replace(bare, settled=(Outcome.INSUFFICIENT, text), shortfall=need)
    margin, limit = metric.parsed_margin(), metric.parsed_limit()
    before = None
    if len(data.before_baseline) and len(data.before_canary):
        records = zip((data.before_baseline, data.before_canary), long_enough, strict=True)
        past = [record[enough] for record, enough in records]
        if all((np.count_nonzero(~np.isnan(side), axis=1) >= config.min_samples).all() for side in past):
            before = np.nanmean(past[0], axis=1), np.nanmean(past[1], axis=1)
    comparison = compare_instances(
        baseline=baseline, canary=canary, harm=metric.harm, margin=margin, level=level, before=before
    )
    check = None
    if limit is not None:
        check = limit_values(canary=np.nanmean(canary, axis=1), tau=1.0, limit=limit, harm=metric.harm)
    shortfall = None
    spread = float(np.nanmean(baseline, axis=1).std(ddof=1))
    if margin is not None and spread > 0 and margin.amount(comparison.baseline or 0.0) > 0:
        required = t_sample_size(
            margin.amount(comparison.baseline or 0.0),
            sd=spread,
            alpha=config.false_pass_rate,
            power=config.power,
        )
        if required > comparison.n_effective:
            shortfall = Shortfall(
                needs="instances",
                have=comparison.n_effective,
                required=required,
                seconds=None,
                weight_percent=None,
                text=f"needs about {math.ceil(required)} instances per side; more time does not help",
            )
    found = replace(bare, comparison=comparison, limit=check, shortfall=shortfall)
    if left_out:
        text = f"{left_out} of the canary's instances have fewer than {config.min_samples} intervals with values"
        found = replace(found, no_safety=text)
    if margin is not None and margin.amount(comparison.baseline or 0.0) == 0:
        found = replace(
            found,
            no_safety="the baseline's level is 0, of which a relative margin is 0 too; add an absolute margin",
        )
    return found


def _assess_counts(plan: _Plan, metric: Metric, data: CountData, bare: Assessed) -> Assessed:
    config, level = plan.config, plan.level
    margin, limit = metric.parsed_margin(), metric.parsed_limit()
    proportion = metric.is_proportion
    events, exposure = np.array(list(data.instances.values()), dtype=float).reshape(-1, 2).T
    between = instance_dispersion(events, exposure)
    comparison = compare_counts(
        data.counts, harm=metric.harm, margin=margin, level=level, proportion=proportion, between=between
    )
    check = None
    if limit is not None:
        check = limit_counts(data.counts, limit=limit, harm=metric.harm, proportion=proportion)
    if comparison is None:
        text = "no interval has traffic on both sides"
        if check is None:
            return replace(bare, settled=(Outcome.NO_DATA, text))
        return replace(bare, limit=check, no_safety=text)
    found = replace(bare, comparison=comparison, limit=check)
    shortfall, blocked = count_shortfall(config, metric, comparison, plan.window, plan.cost)
    return replace(found, shortfall=shortfall, no_safety=blocked)
