"""From the outcomes of all metrics to score, verdict and action. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from canary_judge._version import __version__
from canary_judge.config.advice import Advice, advise
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.assessing import assess
from canary_judge.judging.look import Look, Newest
from canary_judge.judging.outcomes import UNDECIDED, family_wise, outcome_of
from canary_judge.judging.traffic import MOST_FOR_A_CANARY, canary_share, most_users, requests, traffic_split
from canary_judge.results import (
    Action,
    GroupScore,
    Judgement,
    LookInfo,
    MetricResult,
    Outcome,
    Role,
    TrafficSplit,
    Verdict,
)
from canary_judge.samples import Samples
from canary_judge.series import Window

__all__ = ["conclude", "judge_samples"]

_NOT_ENOUGH = frozenset({Outcome.INSUFFICIENT, Outcome.NO_DATA, Outcome.ERROR})
_ACTION = {Verdict.PASS: Action.ADVANCE, Verdict.MARGINAL: Action.HOLD, Verdict.FAIL: Action.ROLL_BACK}


def judge_samples(config: JudgeConfig, samples: Samples, *, with_intervals: bool = True) -> Judgement:
    """Judge samples that are already at hand: no I/O, no clock; the same input gives the same bytes.

    Args:
        config: What to compare.
        samples: Of every metric.
        with_intervals: Give each effect its intervals; without them a judgement costs less.

    Raises:
        ConfigError: Samples of a metric are missing.
    """
    if not isinstance(config, JudgeConfig):
        raise ConfigError(f"the config is {type(config).__name__}; make one with JudgeConfig.load or .from_mapping")
    if not isinstance(samples, Samples):
        raise ConfigError(f"samples is {type(samples).__name__}; give Samples, as `collect` does, or call `judge`")
    missing = [metric.name for metric in config.metrics if metric.name not in samples.metrics]
    if missing:
        raise ConfigError(
            f"there are no samples of metric {missing[0]!r}; pass MetricSamples(data=None) if it has none"
        )
    counts = requests(config, samples)
    look, share = _one_look(config, samples), canary_share(config, counts)
    level = config.interval_level if with_intervals else 1.0
    assessed = [assess(look, metric, samples.metrics[metric.name], share).measured(level) for metric in config.metrics]
    return conclude(config, assessed, samples.window, traffic=traffic_split(config, counts, users=most_users(samples)))


def _one_look(config: JudgeConfig, samples: Samples) -> Look:
    return Look(config=config, window=samples.window, newest=Newest.of_one_look())


def conclude(
    config: JudgeConfig,
    assessed: Sequence[Assessed],
    window: Window,
    *,
    traffic: TrafficSplit | None = None,
    look: LookInfo | None = None,
) -> Judgement:
    """From the evidence on each metric, in the config's order, to outcomes, score, verdict and action."""
    family = family_wise(assessed, alpha=config.false_alarm_rate)
    results = tuple(
        outcome_of(config, one, p_worse, p_beyond, level, end=window.end)
        for one, p_worse, p_beyond, level in zip(assessed, *family, strict=True)
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
        action=_ACTION[verdict],
        sufficient=sufficient,
        reasons=reasons,
        metrics=results,
        groups=groups,
        warnings=(*_not_judged(results), *_advice(config, results), *_swapped(results, traffic)),
        false_alarm_rate=config.false_alarm_rate,
        false_pass_rate=config.false_pass_rate,
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
    return tuple(groups), 100 * UNDECIDED if total is None else total


def _weighted(items: Sequence[tuple[float, float]]) -> float | None:
    weight = math.fsum(weight for weight, _ in items)
    return round(math.fsum(weight * value for weight, value in items) / weight, 6) if weight > 0 else None


def _verdict(
    config: JudgeConfig, results: Sequence[MetricResult], score: float
) -> tuple[Verdict, tuple[str, ...], bool]:
    regressed = [r for r in results if r.outcome is Outcome.REGRESSED and r.role is not Role.WATCH]
    decisive = [r for r in regressed if r.role.decides]
    required = {metric.name for metric in config.metrics if metric.required}
    holding = [r for r in results if r.role is Role.GATE and r.outcome not in {Outcome.SAFE, Outcome.TOLERABLE}]
    held = {r.name for r in holding}
    holding += [r for r in results if r.name in required - held and r.outcome in _NOT_ENOUGH]
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


def _not_judged(results: Sequence[MetricResult]) -> Iterator[str]:
    """What holds nothing up, and yet guards nothing: wrong queries, and guards that find nothing."""
    for one in results:
        nothing = one.outcome is Outcome.ERROR or (one.role is Role.GUARD and one.outcome is Outcome.NO_DATA)
        if one.role is not Role.GATE and nothing:
            yield f"{one.name} ({one.role}) is not judged: {one.reason}"


def _swapped(results: Sequence[MetricResult], traffic: TrafficSplit | None) -> tuple[str, ...]:
    """What is odd about a canary with most of the requests, where no weight says that it should have them."""
    shares = [one.quality.canary_share for one in results if one.quality is not None and one.kind != "gauge"]
    most = max((share for share in shares if share is not None), default=0.0)
    # with all of them there is no baseline, which is told
    if not MOST_FOR_A_CANARY < most < 1 or traffic is not None:
        return ()
    text = f"the canary has {most:.0%} of the requests: are baseline and canary swapped? If not, set `traffic: weight`"
    return (text,)


# Advice on a metric that a judgement repeats.
_TOLD = frozenset(
    {"averaged", "limit-per-second", "grows-with-traffic", "harm-direction", "percent-margin", "wide-margin"}
)


def _advice(config: JudgeConfig, results: Sequence[MetricResult]) -> tuple[str, ...]:
    """Advice on the config, of each kind once; none on a metric whose own warnings or errors say more."""
    told = {result.name for result in results if result.comparison is None}
    kinds: dict[str, list[Advice]] = {}
    for advice in advise(config):
        if advice.metric not in told and (advice.metric is None or advice.code in _TOLD):
            kinds.setdefault(advice.code, []).append(advice)
    found = []
    for same in kinds.values():
        names = [advice.metric for advice in same if advice.metric is not None]
        shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        found.append(f"{shown}: {same[0].text}" if names else same[0].text)
    return tuple(found)
