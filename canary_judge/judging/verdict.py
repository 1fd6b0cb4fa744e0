"""From samples to a verdict: gate, compare, outcome, score, action. Pure, top to bottom.

Each metric is asked three questions against its margin: is it worse at all, worse than the margin, within the margin?
The first two share `false_alarm_rate` over all metrics that can fail the canary (Holm 1979, family-wise under any
dependence); "within" is an intersection-union test (Berger 1982), so each metric may use all of `false_pass_rate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from canary_judge._version import __version__
from canary_judge.config.advice import Advice, advise
from canary_judge.config.metrics import Metric
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError, DataError
from canary_judge.judging.assessing import Assessed, assess, canary_share, requests, traffic_split
from canary_judge.results import (
    Action,
    Comparison,
    GroupScore,
    Judgement,
    LookInfo,
    MetricResult,
    Outcome,
    Role,
    Scale,
    TrafficSplit,
    Verdict,
)
from canary_judge.samples.collecting import Samples, collect
from canary_judge.series import MetricSource, Query, Result, Window, format_duration
from canary_judge.stats.counts import STRATIFIED

__all__ = ["conclude", "fetch", "holm", "judge", "judge_samples"]

_FAILED, _UNDECIDED, _PASSED = 0.0, 0.5, 1.0
_CREDIT = {Outcome.SAFE: _PASSED, Outcome.TOLERABLE: _PASSED, Outcome.REGRESSED: _FAILED}
_NOT_ENOUGH = frozenset({Outcome.INSUFFICIENT, Outcome.NO_DATA, Outcome.ERROR})


def judge(config: JudgeConfig, source: MetricSource | Mapping[str, MetricSource], window: Window) -> Judgement:
    """Fetch both sides over a finished window and judge the canary at this one planned look.

    Args:
        config: What to compare, and what is tolerated.
        source: Where the metrics are: one source, or one per name used by the metrics' `source:`.
        window: The span to judge; it is aligned to the config's interval, and a `warmup` is left out at its start.

    Raises:
        ConfigError: A `${label}` is undefined, or a metric names a source that is not given.
        DataError: The window is shorter than an interval.
        SourceUnavailable: A source gave no answer at all; nothing was judged.
    """
    if config.warmup is not None:
        if window.duration <= config.warmup:
            raise DataError(
                f"the window of {format_duration(window.duration)} is no longer than the `warmup` of "
                f"{format_duration(config.warmup)}; give a longer window"
            )
        window = Window(window.start + config.warmup, window.end)
    aligned = window.aligned(config.interval)
    answers = fetch(config, source, list(config.queries()), aligned)
    if config.history is not None:
        past = Window(aligned.start - config.history, aligned.start).aligned(config.interval)
        answers += fetch(config, source, list(config.history_queries()), past)
    return judge_samples(config, collect(config, aligned, answers))


def fetch(
    config: JudgeConfig,
    source: MetricSource | Mapping[str, MetricSource],
    queries: Sequence[Query],
    window: Window,
) -> list[tuple[Query, Result]]:
    """Ask each query of the source that its metric names.

    Raises:
        ConfigError: A metric names a source that is not given.
        SourceUnavailable: A source gave no answer at all.
    """
    sources = source if isinstance(source, Mapping) else {"default": source}
    names = {metric.name: metric.source for metric in config.metrics}
    answers: list[tuple[Query, Result]] = []
    for name in dict.fromkeys(names[query.metric] for query in queries):
        if name not in sources:
            raise ConfigError(f"source {name!r} is not given; there are {sorted(sources)}")
        asked = [query for query in queries if names[query.metric] == name]
        answers += zip(asked, sources[name].fetch(asked, window), strict=True)
    return answers


def judge_samples(config: JudgeConfig, samples: Samples) -> Judgement:
    """Judge samples that are already at hand: no I/O, no clock; the same input gives the same bytes.

    Raises:
        ConfigError: Samples of a metric are missing.
    """
    missing = [metric.name for metric in config.metrics if metric.name not in samples.metrics]
    if missing:
        raise ConfigError(
            f"there are no samples of metric {missing[0]!r}; pass MetricSamples(data=None) if it has none"
        )
    share = canary_share(config, samples)
    assessed = [
        assess(config, metric, samples.metrics[metric.name], samples.window, share) for metric in config.metrics
    ]
    return conclude(config, assessed, samples.window, traffic=traffic_split(config, requests(config, samples)))


def conclude(
    config: JudgeConfig,
    assessed: Sequence[Assessed],
    window: Window,
    *,
    traffic: TrafficSplit | None = None,
    look: LookInfo | None = None,
) -> Judgement:
    """From the evidence on each metric, in the config's order, to outcomes, score, verdict and action."""
    worse, beyond = _family_wise(assessed)
    results = tuple(
        _conclude(config, one, p_worse, p_beyond)
        for one, p_worse, p_beyond in zip(assessed, worse, beyond, strict=True)
    )
    groups, score = _score(config, results)
    verdict, reasons, sufficient = _verdict(config, results, score)
    if traffic is not None and traffic.finding:
        # a broken split is no fault of the new version, but nothing may advance on it
        if verdict is Verdict.PASS:
            verdict, reasons = Verdict.MARGINAL, ()
        reasons = (*reasons, f"traffic split: {traffic.finding}")
    return Judgement(
        name=config.name,
        verdict=verdict,
        score=score,
        action={Verdict.PASS: Action.ADVANCE, Verdict.MARGINAL: Action.HOLD, Verdict.FAIL: Action.ROLL_BACK}[verdict],
        sufficient=sufficient,
        reasons=reasons,
        metrics=results,
        groups=groups,
        warnings=_advice(config, results),
        false_alarm_rate=config.false_alarm_rate,
        start=window.start,
        end=window.end,
        interval_seconds=config.interval.total_seconds(),
        baseline=dict(config.baseline),
        canary=dict(config.canary),
        config_hash=config.hash(),
        version=__version__,
        traffic=traffic,
        look=look,
    )


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """p-values adjusted so that rejecting at alpha errs anywhere with probability at most alpha.

    It holds for p-values that are valid at any look too: a false rejection means that some true null had a p-value of
    at most alpha times its share, at some look, and these probabilities add up to alpha.

    Args:
        p_values: One per hypothesis.
        weights: Shares of the error, all positive; equal ones when left out.

    References:
        Holm, S. (1979), Scandinavian Journal of Statistics 6(2), 65-70 (section 4 for the weights).

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
        >>> holm([0.01, 0.01], weights=[3.0, 1.0])
        [0.013333333333333334, 0.013333333333333334]
    """
    shares = [1.0] * len(p_values) if weights is None else list(weights)
    order = sorted(range(len(p_values)), key=lambda index: p_values[index] / shares[index])
    adjusted = [0.0] * len(p_values)
    largest, left = 0.0, math.fsum(shares)
    for index in order:
        largest = max(largest, min(1.0, left * p_values[index] / shares[index]))
        adjusted[index] = largest
        left -= shares[index]
    return adjusted


def _family_wise(assessed: Sequence[Assessed]) -> tuple[list[float], list[float]]:
    """Adjusted p-values of "worse" and of "beyond the margin or the limit", one per metric.

    The family is fixed by the config: all metrics that can fail the canary, limits included, whether or not there
    are data. Watched metrics decide nothing and are read at the full rate.
    """
    worse, beyond = [1.0] * len(assessed), [1.0] * len(assessed)
    for wanted in (worse, beyond):
        owners: list[int] = []
        p_values: list[float] = []
        weights: list[float] = []
        for index, one in enumerate(assessed):
            usable = one.settled is None
            p_harm = one.comparison.p_harm if usable and one.comparison else 1.0
            p_beyond = 1.0
            if usable and one.comparison and one.comparison.p_beyond_margin is not None:
                p_beyond = one.comparison.p_beyond_margin
            first = p_harm if wanted is worse or one.metric.fail_when == "any_harm" else p_beyond
            candidates = [first] if one.metric.margin is not None or wanted is worse else []
            if wanted is beyond and one.metric.limit is not None:
                candidates.append(one.limit.p_beyond_limit if usable and one.limit else 1.0)
            if one.metric.role is Role.WATCH:
                wanted[index] = min(candidates, default=1.0)
                continue
            owners += [index] * len(candidates)
            p_values += candidates
            weights += [one.metric.error_weight / max(len(candidates), 1)] * len(candidates)
        for index, p_value in zip(owners, holm(p_values, weights), strict=True):
            wanted[index] = min(wanted[index], p_value)
    return worse, beyond


def _conclude(config: JudgeConfig, one: Assessed, p_worse: float, p_beyond: float) -> MetricResult:
    metric, comparison = one.metric, one.comparison
    if one.latched is not None:
        outcome, why = Outcome.REGRESSED, one.latched
    elif one.settled is not None:
        outcome, why = one.settled
    else:
        outcome, why = _outcome(config, one, p_worse, p_beyond)
    undecided = outcome not in _CREDIT and outcome is not Outcome.DEGRADED
    counts = metric.role is not Role.WATCH and not (metric.role is Role.GUARD and undecided)
    open_question = outcome in {Outcome.INSUFFICIENT, Outcome.INCONCLUSIVE, Outcome.DEGRADED}
    return MetricResult(
        name=metric.name,
        kind=metric.kind,
        role=metric.role,
        group=metric.group,
        score_weight=metric.score_weight,
        harm=metric.harm,
        unit=metric.unit,
        outcome=outcome,
        credit=_CREDIT.get(outcome, _UNDECIDED) if counts else None,
        reason=why,
        comparison=comparison,
        limit=one.limit,
        shortfall=one.shortfall if open_question and metric.role is not Role.WATCH else None,
        quality=one.quality,
        warnings=one.warnings,
        p_worse=p_worse if comparison is not None and one.settled is None else None,
        p_beyond=p_beyond if (comparison or one.limit) is not None and one.settled is None else None,
        p_within=_p_within(one) if one.settled is None else None,
    )


def _p_within(one: Assessed) -> float | None:
    """The margin and the limit must both be shown."""
    p_margin = one.comparison.p_within_margin if one.comparison is not None else None
    known = [p for p in (p_margin, one.limit.p_within_limit if one.limit is not None else None) if p is not None]
    return max(known, default=None)


def _outcome(config: JudgeConfig, one: Assessed, p_worse: float, p_beyond: float) -> tuple[Outcome, str]:
    metric, comparison, check = one.metric, one.comparison, one.limit
    alpha, beta = config.false_alarm_rate, config.false_pass_rate
    p_margin = None
    facts = "no comparison"  # only the limit can be judged
    if comparison is not None:
        p_margin = comparison.p_beyond_margin
        facts = _facts(metric, comparison)
    if p_beyond <= alpha:
        by_limit = (
            check is not None
            and check.p_beyond_limit <= alpha
            and (p_margin is None or check.p_beyond_limit < p_margin)
        )
        if by_limit and check is not None:
            return Outcome.REGRESSED, (
                f"canary at {_number(check.canary, metric)}, beyond the limit of {_number(check.limit, metric)} "
                f"(p = {check.p_beyond_limit:.2g}, {check.method})"
            )
        return Outcome.REGRESSED, f"{facts}; harm beyond the margin is shown (p = {p_beyond:.2g})"
    if metric.margin is None and check is None:
        return Outcome.INCONCLUSIVE, f"shown only: {facts}"
    bounds = " and ".join(["the margin"] * (metric.margin is not None) + ["the limit"] * (check is not None))
    p_within = _p_within(one)
    assert p_within is not None  # noqa: S101  (there is a margin or a limit)
    if metric.margin is not None and p_worse <= alpha:
        if p_within <= beta and one.no_safety is None:
            return Outcome.TOLERABLE, f"{facts}; worse, but within {bounds} (p = {p_within:.2g})"
        return (
            Outcome.DEGRADED,
            f"{facts}; worse (p = {p_worse:.2g}), not yet known whether beyond the margin",
        )
    if p_within <= beta and one.no_safety is None:
        return Outcome.SAFE, f"{facts}; harm beyond {bounds} is ruled out (p = {p_within:.2g})"
    if one.no_safety is not None:
        return Outcome.INSUFFICIENT, f"{facts}; cannot be found safe: {one.no_safety}"
    if one.shortfall is not None:
        return Outcome.INSUFFICIENT, f"{facts}; neither harm nor safety is shown: {one.shortfall.text}"
    return Outcome.INCONCLUSIVE, (
        f"{facts}; neither harm nor safety is shown (p within {bounds} = {p_within:.2g}) although the planned amount "
        "of data is reached: the effect is close to the margin"
    )


def _facts(metric: Metric, comparison: Comparison) -> str:
    """The measured values in a sentence: effect, interval, margin, sample sizes."""
    low, high = comparison.interval
    margin = ""
    if comparison.scale is Scale.RATIO:
        effect = f"canary {comparison.effect:.3g}x the baseline" if comparison.effect is not None else "new events"
        ends = f"{0 if low is None else low:.3g} to " + ("any" if high is None else f"{high:.3g}x")
        if comparison.margin is not None:
            margin = f", margin {comparison.margin:.4g}x"
    else:
        effect = f"canary {_number(comparison.effect or 0.0, metric, sign=True)} against the baseline"
        lowest, highest = ("any" if end is None else _number(end, metric, sign=True) for end in (low, high))
        ends = f"{lowest} to {highest}"
        if comparison.margin is not None:
            margin = f", margin {_number(comparison.margin, metric, sign=True)}"
    return f"{effect} ({comparison.level:.0%} interval {ends}{margin}; {_sizes(comparison)})"


def _sizes(comparison: Comparison) -> str:
    if comparison.events_canary is not None and comparison.events_baseline is not None:
        clumps = comparison.dispersion is not None and comparison.dispersion > 1
        apart = STRATIFIED in comparison.method  # what repeated looks add stands behind it
        return (
            f"{comparison.events_canary:,.0f} of {comparison.n_canary:,.0f} against "
            f"{comparison.events_baseline:,.0f} of {comparison.n_baseline:,.0f}"
            + (", like intervals with like" if apart else "")
            + (f", events clump {comparison.dispersion:.1f}-fold" if clumps else "")
        )
    dependent = comparison.tau is not None and comparison.tau > 1
    return (
        f"n = {comparison.n_canary:g} and {comparison.n_baseline:g}, worth {comparison.n_effective:.1f} independent"
        + (f" (tau {comparison.tau:.1f})" if dependent else "")
    )


def _number(value: float, metric: Metric, *, sign: bool = False) -> str:
    prefix = "+" if sign and value >= 0 else ""
    if metric.is_proportion:
        return f"{prefix}{100 * value:.3g} {'pp' if sign else '%'}"
    return f"{prefix}{value:.4g}" + (f" {metric.unit}" if metric.unit else "")


def _score(config: JudgeConfig, results: Sequence[MetricResult]) -> tuple[tuple[GroupScore, ...], float]:
    groups = []
    for name in dict.fromkeys(result.group for result in results):
        counted = [result for result in results if result.group == name and result.credit is not None]
        weight = config.groups.get(name, sum(result.score_weight for result in counted))
        groups.append(
            GroupScore(
                name=name,
                weight=weight,
                score=_weighted([(r.score_weight, 100 * (r.credit or 0.0)) for r in counted]),
            )
        )
    total = _weighted([(group.weight, group.score) for group in groups if group.score is not None])
    return tuple(groups), 100 * _UNDECIDED if total is None else total


def _weighted(items: Sequence[tuple[float, float]]) -> float | None:
    weight = math.fsum(weight for weight, _ in items)
    return round(math.fsum(weight * value for weight, value in items) / weight, 6) if weight > 0 else None


def _verdict(
    config: JudgeConfig, results: Sequence[MetricResult], score: float
) -> tuple[Verdict, tuple[str, ...], bool]:
    regressed = [r for r in results if r.outcome is Outcome.REGRESSED and r.role is not Role.WATCH]
    decisive = [r for r in regressed if r.role in {Role.GATE, Role.GUARD}]
    required = {metric.name for metric in config.metrics if metric.required}
    holding = [r for r in results if r.role is Role.GATE and r.outcome not in {Outcome.SAFE, Outcome.TOLERABLE}]
    holding += [r for r in results if r not in holding and r.name in required and r.outcome in _NOT_ENOUGH]
    if decisive or (regressed and score < config.score.marginal):
        failing = decisive or regressed
        return Verdict.FAIL, tuple(f"{r.name}: {r.reason}" for r in failing), True
    if not holding and score >= config.score.pass_:
        return Verdict.PASS, ("every gate is shown to be within its margin",), True
    reasons = [f"{r.name}: {r.reason}" for r in holding]
    if not holding:
        reasons = [f"score {score:g} is below the {config.score.pass_:g} that pass needs"]
        reasons += [f"{r.name}: {r.reason}" for r in regressed]
    return Verdict.MARGINAL, tuple(reasons), not any(r.outcome in _NOT_ENOUGH for r in holding)


def _advice(config: JudgeConfig, results: Sequence[MetricResult]) -> tuple[str, ...]:
    """Advice on the config, of each kind once; none on a metric whose own warnings or errors say more."""
    told = {result.name for result in results if result.comparison is None}
    kinds: dict[str, list[Advice]] = {}
    for advice in advise(config):
        if advice.metric not in told and (advice.metric is None or advice.code == "averaged"):
            kinds.setdefault(advice.code, []).append(advice)
    found = []
    for same in kinds.values():
        names = [advice.metric for advice in same if advice.metric is not None]
        shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        found.append(f"{shown}: {same[0].text}" if names else same[0].text)
    return tuple(found)
