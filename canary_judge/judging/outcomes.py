"""From evidence to outcomes: error rates shared out over all metrics, and what each of them shows.

Each metric is asked three questions against its margin: is it worse at all, worse than the margin, within the margin?
The first two share `false_alarm_rate` over all metrics that can fail the canary (Holm 1979, family-wise under any
dependence); "within" is an intersection-union test (Berger 1982), so each metric may use all of `false_pass_rate`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from canary_judge.config.model import JudgeConfig
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.deciding import deciding_interval
from canary_judge.results import Comparison, Harm, MetricResult, Outcome, Role, Scale
from canary_judge.stats.multiplicity import holm
from canary_judge.wording import facts, level

__all__ = ["UNDECIDED", "family_wise", "outcome_of"]

_FAILED, UNDECIDED, _PASSED = 0.0, 0.5, 1.0
_CREDIT = {Outcome.SAFE: _PASSED, Outcome.TOLERABLE: _PASSED, Outcome.REGRESSED: _FAILED}


class Family(NamedTuple):
    """All metrics together, each list with one entry per metric.

    Attributes:
        worse: Adjusted p-values of "worse".
        beyond: The same of "beyond the margin or the limit".
        levels: What the unadjusted p-value of "beyond the margin" is held against, a part of `false_alarm_rate`.
    """

    worse: list[float]
    beyond: list[float]
    levels: list[float]


def family_wise(assessed: Sequence[Assessed], *, alpha: float) -> Family:
    """Adjusted p-values of all metrics, and each one's part of the error.

    The family is fixed by the config: all metrics that can fail the canary, limits included, whether or not there
    are data. Watched metrics decide nothing and are read at the full rate.
    """
    worse, beyond = [1.0] * len(assessed), [1.0] * len(assessed)
    levels = [alpha] * len(assessed)
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
        adjusted = holm(p_values, weights)
        for index, p_value in zip(owners, adjusted, strict=True):
            wanted[index] = min(wanted[index], p_value)
        # Holm: those that are not rejected share the error; the last that is rejected had all of it
        left = math.fsum(w for w, p_value in zip(weights, adjusted, strict=True) if p_value > alpha)
        for index, weight in zip(owners, weights, strict=True):
            levels[index] = alpha * min(weight / (left or weight), 1.0)
    return Family(worse, beyond, levels)


def outcome_of(
    config: JudgeConfig, one: Assessed, p_worse: float, p_beyond: float, harm_level: float, *, end: datetime
) -> MetricResult:
    """What the evidence on one metric shows, given the p-values of all metrics together; `end` is that of its data."""
    metric, comparison, found = one.metric, one.comparison, one.latched
    deciding = None
    if found is not None:
        deciding = found.deciding
    elif one.shown_as_of is not None:
        deciding = one.deciding
    elif comparison is not None and comparison.level < 1:  # else no interval is asked for
        deciding = deciding_interval(one, harm_level=harm_level, safety_level=config.false_pass_rate)
    if found is not None:
        outcome, why = Outcome.REGRESSED, found.reason
    elif one.settled is not None:
        outcome, why = one.settled
    else:
        outcome, why = _shown(config, one, p_worse, p_beyond)
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
        share=metric.is_proportion,
        outcome=outcome,
        credit=_CREDIT.get(outcome, UNDECIDED) if counts else None,
        reason=why,
        comparison=comparison,
        limit=one.limit,
        shortfall=one.shortfall if open_question and metric.role is not Role.WATCH else None,
        quality=one.quality,
        recent=one.recent,
        warnings=one.warnings,
        p_worse=p_worse if comparison is not None and one.settled is None else None,
        p_beyond=p_beyond if (comparison or one.limit) is not None and one.settled is None else None,
        p_within=one.p_within if one.settled is None else None,
        margin=metric.margin,
        harm_level=None if metric.margin is None else harm_level,
        deciding=deciding,
        decided_at=None if outcome is not Outcome.REGRESSED else end if found is None else found.at,
    )


def _shown(config: JudgeConfig, one: Assessed, p_worse: float, p_beyond: float) -> tuple[Outcome, str]:
    """The outcome that the evidence leads to, and why."""
    metric = one.metric
    measured = "no comparison"  # only the limit can be judged
    if one.comparison is not None:
        either = metric.harm is Harm.EITHER
        measured = facts(one.comparison, unit=metric.unit, share=metric.is_proportion, either=either)
    if p_beyond <= config.false_alarm_rate:
        broken = _broken_limit(config, one)
        shown = f"{measured}; harm beyond the margin is shown (p = {p_beyond:.2g})" + _lately(one)
        return Outcome.REGRESSED, (broken or shown) + _doubt(one)
    p_within = one.p_within
    if p_within is None:
        return Outcome.INCONCLUSIVE, f"shown only: {measured}"
    bounds = " and ".join(["the margin"] * (metric.margin is not None) + ["the limit"] * (one.limit is not None))
    safe = p_within <= config.false_pass_rate and one.no_safety is None
    if metric.margin is not None and p_worse <= config.false_alarm_rate:
        if safe:
            return Outcome.TOLERABLE, f"{measured}; worse, but within {bounds} (p = {p_within:.2g})"
        known = "not yet known whether beyond the margin" + _doubt(one)
        if p_within <= config.false_pass_rate and one.no_safety is not None:
            known = f"and cannot be found within {bounds}: {one.no_safety}"
        return Outcome.DEGRADED, f"{measured}; worse (p = {p_worse:.2g}), {known}" + _lately(one)
    if safe:
        return Outcome.SAFE, f"{measured}; harm beyond {bounds} is ruled out (p = {p_within:.2g})"
    if one.no_safety is not None:
        return Outcome.INSUFFICIENT, f"{measured}; cannot be found safe: {one.no_safety}"
    if one.shortfall is not None:
        return Outcome.INSUFFICIENT, f"{measured}; neither harm nor safety is shown: {one.shortfall.text}"
    near = one.comparison is not None and _near_the_margin(one.comparison)
    why = "the effect is close to the margin" if near else "the data tell less than was planned for"
    return Outcome.INCONCLUSIVE, (
        f"{measured}; neither harm nor safety is shown (p within {bounds} = {p_within:.2g}) although the planned "
        f"amount of data is reached: {why}"
    )


def _near_the_margin(comparison: Comparison) -> bool:
    """Whether the effect is nearer to the margin than to none."""
    effect, margin = comparison.effect, comparison.margin
    if effect is None or not margin or comparison.interval == (None, None):
        return False
    if comparison.scale is Scale.RATIO:
        return effect > 0 and margin != 1 and abs(math.log(effect)) > abs(math.log(margin)) / 2
    return abs(effect) > abs(margin) / 2


def _lately(one: Assessed) -> str:
    """Since when it is worse, where that is not from the start."""
    return f"; {one.recent.change}" if one.recent is not None and one.recent.change else ""


def _doubt(one: Assessed) -> str:
    """Why the numbers may not be what they should be: whoever is told of harm must know it."""
    return "" if one.doubt is None else f"; but {one.doubt}"


def _broken_limit(config: JudgeConfig, one: Assessed) -> str | None:
    """How the limit is broken, where that is shown, and more clearly than harm beyond the margin."""
    check, metric = one.limit, one.metric
    if check is None or check.p_beyond_limit > config.false_alarm_rate:
        return None
    p_margin = one.comparison.p_beyond_margin if one.comparison is not None else None
    if p_margin is not None and check.p_beyond_limit >= p_margin:
        return None
    own, bound = (level(value, unit=metric.unit, share=metric.is_proportion) for value in (check.canary, check.limit))
    return f"canary at {own}, beyond the limit of {bound} (p = {check.p_beyond_limit:.2g}, {check.method})"
