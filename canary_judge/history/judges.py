"""Judges that a past canary is given to: ours, Kayenta's, and limits as Argo Rollouts and Flagger apply them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import numpy as np

from canary_judge import kayenta
from canary_judge.arrays import Float
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.history.canary import PastCanary
from canary_judge.history.replaying import Looks, looks_from, replay
from canary_judge.history.tape import Look
from canary_judge.looks.state import MonitorState
from canary_judge.looks.streams import Stream
from canary_judge.results import Harm, Judgement, Outcome, Role, Side, Verdict
from canary_judge.samples import CountData
from canary_judge.samples.levels import levels
from canary_judge.series import duration_from, format_duration
from canary_judge.special import special

__all__ = ["Decision", "KayentaJudge", "Limit", "LimitRule", "OurJudge", "PastJudge"]

# Of its score, as its own examples have them.
_KAYENTA = kayenta.Thresholds(pass_=95, marginal=75)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a judge would have said of a past canary, and when.

    Attributes:
        verdict: pass, fail, or marginal where it had not decided by the end of what was read.
        seconds: From the canary's start to the decision; None where there was none.
        metric: Which decided; "" where none stands out.
        reason: In the judge's words: why, or what was missing.
        requests: Canary requests in the judged intervals until the decision, or the end; None where none were counted.
        excess: Requests of the canary until then, and to its end where it is not failed, that went wrong, less those
            that the baseline's share would have brought, of the first gate that counts requests; it may be negative.
            None where none does.
        score: Normal score of the strongest evidence of harm; None where the judge has no evidence. It tells how alike
            canaries of one week are.
    """

    verdict: Verdict
    seconds: float | None = None
    metric: str = ""
    reason: str = ""
    requests: float | None = None
    excess: float | None = None
    score: float | None = None

    def to_mapping(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__} | {"verdict": self.verdict.value}

    @classmethod
    def from_mapping(cls, plain: Mapping[str, Any]) -> Decision:
        """What `to_mapping` gave."""
        return cls(**{**plain, "verdict": Verdict(plain["verdict"])})


class PastJudge(Protocol):
    """Somebody who decides on past canaries; workers get a pickled copy."""

    @property
    def name(self) -> str:
        """By which it is told from the others."""
        ...

    def decide(self, canary: PastCanary) -> Decision:
        """What it would have said.

        Raises:
            DataError: It cannot judge this canary: something that it asks for was not read.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OurJudge:
    """This library's judge with a config.

    Attributes:
        config: What is asked.
        name: How it is called in the comparison.
        looks: As for `replay`.
    """

    config: JudgeConfig
    name: str = "canary_judge"
    looks: Looks = "recorded"

    def __post_init__(self) -> None:
        """A length of time may be a text."""
        object.__setattr__(self, "looks", looks_from(self.looks))

    def decide(self, canary: PastCanary) -> Decision:
        """The first failure, or the first pass on data of the last weight; else what was missing at the end.

        One look at the planned end decides nothing of a canary that was ended before.
        """
        last = canary.weights[-1][0] if canary.weights else canary.start
        planned = self.looks != "one" or canary.ran_out
        look, judgement = None, None
        for look, judgement in replay(self.config, canary, looks=self.looks, with_intervals=False):
            passed = judgement.verdict is Verdict.PASS and look.moment > last
            if planned and (judgement.verdict is Verdict.FAIL or passed):
                return _decision(canary, self.config, judgement, look, decided=True)
        if look is None or judgement is None:
            raise DataError(f"canary {canary.id} has no look")
        return _decision(canary, self.config, judgement, look, decided=False)


def _decision(canary: PastCanary, config: JudgeConfig, judgement: Judgement, look: Look, *, decided: bool) -> Decision:
    metric, reason = "", judgement.reasons[0] if judgement.reasons else ""
    failed = [one for one in judgement.metrics if one.outcome is Outcome.REGRESSED]
    shown = (Outcome.SAFE, Outcome.TOLERABLE, Outcome.REGRESSED)
    open_gates = [one for one in judgement.metrics if one.role is Role.GATE and one.outcome not in shown]
    if decided and judgement.verdict is Verdict.FAIL and failed:
        metric = min(failed, key=lambda one: one.decided_at or judgement.end).name
    elif not decided and open_gates:
        metric = open_gates[0].name
    requests, excess = _harmed(config, look.state, None)
    if not (decided and judgement.verdict is Verdict.FAIL):  # who is not failed does harm to its end
        excess = _harmed(config, canary.tape.last, None)[1]
    return Decision(
        verdict=judgement.verdict if decided else Verdict.MARGINAL,
        seconds=(look.moment - canary.start) / timedelta(seconds=1) if decided else None,
        metric=metric,
        reason=reason,
        requests=requests,
        excess=excess,
        score=_score(judgement),
    )


def _score(judgement: Judgement) -> float | None:
    known = [one.comparison.p_harm for one in judgement.metrics if one.comparison is not None]
    return -float(special.ndtri(min(max(min(known), 1e-300), 1 - 1e-16))) if known else None


def _harmed(config: JudgeConfig, state: MonitorState, intervals: int | None) -> tuple[float | None, float | None]:
    """Canary requests of the first so many judged intervals, and those that went wrong beyond the baseline's share."""
    counted = [
        (metric, data.counts)
        for metric in config.metrics
        if metric.is_proportion and isinstance(data := state.streams.get(metric.name, Stream()).data, CountData)
    ]
    if not counted:
        return None, None
    some = slice(0, intervals)
    requests = max(float(counts.exposure_canary[some].sum()) for _, counts in counted)
    gates = [
        (metric, counts) for metric, counts in counted if metric.role is Role.GATE and metric.harm is not Harm.EITHER
    ]
    if not gates:
        return requests, None
    metric, counts = gates[0]
    both = (counts.exposure_baseline[some] > 0) & (counts.exposure_canary[some] > 0)
    share = counts.events_baseline[some][both] / counts.exposure_baseline[some][both]
    excess = float((counts.events_canary[some][both] - counts.exposure_canary[some][both] * share).sum())
    return requests, excess if metric.harm is Harm.INCREASE else -excess


# --- Kayenta ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class KayentaJudge:
    """Kayenta's judge, label for label, on the level of each interval, as it would have read it.

    Attributes:
        config: Its canary config, as JSON (or the mapping that it holds); None: all metrics of the canary in one group,
            critical where they are gates, and muted where they are watched.
        thresholds: From which score a canary passes, and is marginal.
        every: How often it judges all data so far; None: once, at the end.
        name: How it is called in the comparison.
    """

    config: str | None = None
    thresholds: kayenta.Thresholds = _KAYENTA
    every: timedelta | None = None
    name: str = "Kayenta"

    def __post_init__(self) -> None:
        """A length of time may be a text, a config a mapping, thresholds a pair."""
        object.__setattr__(self, "every", _every(self.every))
        config: object = self.config
        if isinstance(config, Mapping):
            object.__setattr__(self, "config", json.dumps(dict(config)))
        given: object = self.thresholds
        if isinstance(given, Sequence) and len(given) == 2 and all(isinstance(one, int | float) for one in given):
            object.__setattr__(self, "thresholds", kayenta.Thresholds(pass_=given[0], marginal=given[1]))
        if not isinstance(self.config, str | None):
            raise DataError(f"{self.name!r}: config is {type(config).__name__}; give Kayenta's as JSON, or a mapping")
        if not isinstance(self.thresholds, kayenta.Thresholds) or self.thresholds.pass_ < self.thresholds.marginal:
            raise DataError(f"{self.name!r}: thresholds are {given!r}; give the scores (pass, marginal), as (95, 75)")

    def decide(self, canary: PastCanary) -> Decision:
        """Fail at the first judgement below marginal, pass at the planned end.

        Of a canary that was ended before, what it would have said at the end is not known.
        """
        interval, state = canary.interval, canary.tape.last
        if self.every is None and not canary.ran_out:
            return _undecided(canary, state, "it judges once, at the planned end")
        config = _kayenta_config(canary) if self.config is None else self.config
        parsed = kayenta.CanaryConfig.from_mapping(kayenta.parse_json(config, "Kayenta's config"))
        nothing = (np.empty(0), np.empty(0))
        sides = dict.fromkeys((metric.name for metric in canary.settings().metrics), nothing) | _sides(state)
        if not parsed.metrics:
            raise DataError(f"canary {canary.id} has nothing that Kayenta can judge: it knows no metric by user")
        missing = [metric.name for metric in parsed.metrics if metric.name not in sides]
        if missing:
            raise DataError(f"canary {canary.id} has no metric {missing[0]!r}, which Kayenta's config judges")
        result = None
        for count in _ends(state, interval, self.every):
            pairs = [
                kayenta.MetricSetPair(
                    name=one.name, baseline=sides[one.name][0][:count], canary=sides[one.name][1][:count]
                )
                for one in parsed.metrics
            ]
            try:
                result = kayenta.judge(parsed, pairs, self.thresholds)
            except DataError as error:  # it raises, and its caller tries again
                if count == _judged(state):
                    return _undecided(canary, state, f"Kayenta gives no verdict: {error}")
                continue
            if result.classification == "Fail":
                bad = next((one.name for one in result.results if one.classification in ("High", "Low")), "")
                return _after(
                    canary, state, count, Verdict.FAIL, metric=bad, reason=result.reason or f"score {result.score}"
                )
        if result is None:
            return _undecided(canary, state, "there is nothing to judge")
        passed = result.classification == "Pass" and canary.ran_out
        verdict = Verdict.PASS if passed else Verdict.MARGINAL
        return _after(canary, state, _judged(state), verdict, reason=f"score {result.score}")


def _kayenta_config(canary: PastCanary) -> str:
    config = canary.settings()
    names = [metric.name for metric in config.metrics if metric.per_user() is None]
    kinds = {metric.name: metric for metric in config.metrics}
    metrics = [
        {
            "name": name,
            "groups": ["all"],
            "analysisConfigurations": {
                "canary": {
                    "direction": {Harm.INCREASE: "increase", Harm.DECREASE: "decrease"}.get(kinds[name].harm, "either"),
                    "critical": kinds[name].role is Role.GATE,
                    "muted": kinds[name].role is Role.WATCH,
                }
            },
        }
        for name in names
    ]
    return json.dumps({"metrics": metrics, "classifier": {"groupWeights": {"all": 100}}})


# --- limits ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on one metric of the canary, as an AnalysisTemplate or a Canary resource has it.

    Attributes:
        metric: Name of the metric.
        most: Above it a check fails.
        least: Below it a check fails.

    Examples:
        >>> Limit("errors", most=0.01).broken(0.02)
        True
    """

    metric: str
    most: float | None = field(default=None, kw_only=True)
    least: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse a bound that bounds nothing."""
        bounds = [one for one in (self.most, self.least) if one is not None]
        if not bounds or not all(isinstance(one, float | int) and math.isfinite(one) for one in bounds):
            raise DataError(f"limit of {self.metric!r}: give `most`, `least` or both, as finite numbers")
        if self.most is not None and self.least is not None and self.most < self.least:
            raise DataError(f"limit of {self.metric!r}: no value is at least {self.least:g} and at most {self.most:g}")

    def broken(self, value: float) -> bool:
        """Whether a check of this value fails."""
        return (self.most is not None and value > self.most) or (self.least is not None and value < self.least)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """Fixed limits, checked again and again: what Argo Rollouts (failureLimit) and Flagger (threshold) do.

    Attributes:
        limits: On the canary's level, the mean of the intervals of a check.
        failures: So many failed checks are borne; one more rolls back.
        every: Time between checks; by default an interval.
        name: How it is called in the comparison.
    """

    limits: tuple[Limit, ...]
    failures: int = 0
    every: timedelta | None = None
    name: str = "limits"

    def __post_init__(self) -> None:
        """Refuse a rule that rolls back whatever happens, or checks nothing."""
        given = [self.limits] if isinstance(self.limits, Limit) else self.limits
        limits = tuple(given) if isinstance(given, Iterable) else (given,)
        if strange := [one for one in limits if not isinstance(one, Limit)]:
            raise DataError(f"{self.name!r}: limits has {strange[0]!r}; give a list of Limit('errors', most=0.01)")
        object.__setattr__(self, "limits", limits)
        object.__setattr__(self, "every", _every(self.every))
        if not isinstance(self.failures, int) or self.failures < 0 or not self.limits:
            raise DataError(f"{self.name!r}: give a limit or more, and failures of 0 or more, not {self.failures}")

    def decide(self, canary: PastCanary) -> Decision:
        """Fail once more checks have failed than are borne, pass at the planned end; without any value undecided.

        A check fails where any of the limits is broken.
        """
        interval, state = canary.interval, canary.tape.last
        sides = _sides(state)
        shares = {metric.name for metric in canary.settings().metrics if metric.is_proportion}
        for limit in self.limits:
            for bound, never in ((limit.most, "broken"), (limit.least, "kept")):
                if limit.metric in shares and bound is not None and bound >= 1:
                    raise DataError(
                        f"{self.name!r} limits {limit.metric!r}, a share of 0 to 1, to {bound:g}, which is never "
                        f"{never}; did you mean {bound:g} %, {bound / 100:g}?"
                    )
            one = next((metric for metric in canary.settings().metrics if metric.name == limit.metric), None)
            if one is not None and one.per_user() is not None:
                why = "is by user, and has no values by interval that a limit could be held against"
                raise DataError(f"canary {canary.id}: metric {limit.metric!r} {why}: leave it out of {self.name!r}")
            if limit.metric not in sides:
                raise DataError(f"canary {canary.id} has no metric {limit.metric!r}, which {self.name!r} limits")
        failed, before, checks = 0, 0, 0
        for count in _ends(state, interval, self.every or interval):
            values = {limit: sides[limit.metric][1][before:count] for limit in self.limits}
            levels = {limit: float(np.nanmean(one)) for limit, one in values.items() if np.isfinite(one).any()}
            broken = [limit for limit, level in levels.items() if limit.broken(level)]
            checks += bool(levels)
            failed += bool(broken)
            if broken and failed > self.failures:
                metric = broken[0].metric
                text = f"{metric} is {levels[broken[0]]:.4g}, the check that failed as number {failed}"
                return _after(canary, state, count, Verdict.FAIL, metric=metric, reason=text)
            before = count
        if not checks:
            return _undecided(canary, state, "there was no value to be checked")
        verdict = Verdict.PASS if canary.ran_out else Verdict.MARGINAL
        return _after(canary, state, _judged(state), verdict, reason=f"{failed} checks failed")


def _every(value: timedelta | str | None) -> timedelta | None:
    return None if value is None else duration_from(value, "every")


def _sides(state: MonitorState) -> dict[str, tuple[Float, Float]]:
    """The levels of both sides by metric, where it has any."""
    known = {name: stream.data for name, stream in state.streams.items() if stream.data is not None}
    found = {name: (levels(data, Side.BASELINE), levels(data, Side.CANARY)) for name, data in known.items()}
    return {name: sides for name, sides in found.items() if sides[0].size or sides[1].size}


def _judged(state: MonitorState) -> int:
    return state.consumed - state.left_out


def _ends(state: MonitorState, interval: timedelta, every: timedelta | None) -> list[int]:
    """How many intervals there are at each check; at the last one all of them."""
    last = _judged(state)
    if every is None:
        return [last]
    step = every // interval
    if step < 1 or every % interval:
        raise DataError(
            f"every is {format_duration(every)}; give a multiple of the interval, which is {format_duration(interval)}"
        )
    return [*range(step, last, step), last]


def _after(
    canary: PastCanary, state: MonitorState, count: int, verdict: Verdict, *, metric: str = "", reason: str
) -> Decision:
    requests, excess = _harmed(canary.settings(), state, count)
    if verdict is not Verdict.FAIL:  # who is not failed does harm to its end
        excess = _harmed(canary.settings(), state, None)[1]
    decided = verdict is not Verdict.MARGINAL
    return Decision(
        verdict=verdict,
        seconds=_seconds(canary, count) if decided else None,
        metric=metric,
        reason=reason,
        requests=requests,
        excess=excess,
    )


def _undecided(canary: PastCanary, state: MonitorState, reason: str) -> Decision:
    return _after(canary, state, _judged(state), Verdict.MARGINAL, reason=reason)


def _seconds(canary: PastCanary, count: int) -> float:
    """From the start to the end of so many judged intervals; what was left out as warm-up before counts."""
    judged, passed = canary.tape.intervals()
    at = int(np.searchsorted(judged, count))
    at = min(at, judged.size - 1)
    return float(int(passed[at]) - (int(judged[at]) - count)) * (canary.interval / timedelta(seconds=1))
