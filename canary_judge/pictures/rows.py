"""Which metrics are rows of the picture, in which order, and what is folded: never what keeps a canary from passing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from canary_judge.pictures.axis import Place, place_of
from canary_judge.results import Judgement, MetricResult, Outcome, Role, Verdict

__all__ = ["MOST", "MOST_UNSAFE", "Folding", "State", "healthy", "placed", "select", "state_of"]

MOST, MOST_UNSAFE = 8, 20


class State(StrEnum):
    """What the marks of a row say."""

    BAD = "bad"
    WORSE = "worse"
    GOOD = "good"
    OPEN = "open"
    NONE = "none"


_STATE = {
    Outcome.REGRESSED: State.BAD,
    Outcome.DEGRADED: State.WORSE,
    Outcome.SAFE: State.GOOD,
    Outcome.TOLERABLE: State.GOOD,
    Outcome.NO_DATA: State.NONE,
    Outcome.ERROR: State.NONE,
}


def state_of(metric: MetricResult) -> State:
    """That of its outcome."""
    return _STATE.get(metric.outcome, State.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """The rows of a picture.

    Attributes:
        shown: In their order.
        folded: Counted under them.
        unsafe: Of the folded ones those that keep the canary from passing; only where there are more than 20 of them.
    """

    shown: tuple[MetricResult, ...]
    folded: tuple[MetricResult, ...]
    unsafe: tuple[MetricResult, ...]


def blocks(judgement: Judgement, metric: MetricResult) -> bool:
    """Whether it keeps the canary from passing: also a guard or a score metric that the reasons name."""
    if metric.role.decides and metric.outcome in {Outcome.REGRESSED, Outcome.DEGRADED}:
        return True
    if metric.role is Role.GATE and state_of(metric) is not State.GOOD:
        return True
    named = f"{metric.name}: {metric.reason}" in judgement.reasons
    return named and judgement.verdict is not Verdict.PASS and state_of(metric) is not State.GOOD


def healthy(judgement: Judgement) -> bool:
    """A pass, and nothing in the judgement that contradicts it."""
    if judgement.verdict is not Verdict.PASS or (judgement.traffic is not None and judgement.traffic.finding):
        return False
    guards = (one for one in judgement.metrics if one.role is Role.GUARD)
    gates = (one for one in judgement.metrics if one.role is Role.GATE)
    return all(state_of(one) is State.GOOD for one in gates) and all(state_of(one) is not State.BAD for one in guards)


def placed(judgement: Judgement, metric: MetricResult) -> Place | None:
    """Where it stands by the judgement's rates."""
    rates = judgement.false_alarm_rate, judgement.false_pass_rate
    return place_of(metric, false_alarm_rate=rates[0], false_pass_rate=rates[1])


def select(judgement: Judgement) -> Folding:
    """Rows and what is folded.

    First what decides: regressions, then gates that stand in the way, then guards in trouble, then what is shown safe.
    """
    rows = _ranked(judgement)
    must = [metric for metric in rows if blocks(judgement, metric)]
    if len(must) > MOST_UNSAFE:
        shown, unsafe = must[:MOST_UNSAFE], must[MOST_UNSAFE:]
    else:
        wanted = max(MOST, len(must))
        others = [metric for metric in rows if not any(metric is one for one in must)][: wanted - len(must)]
        shown = [metric for metric in rows if any(metric is one for one in (*must, *others))]
        unsafe = []
    folded = [metric for metric in rows if not any(metric is one for one in shown)]
    if len(folded) == 1 and not unsafe:  # a line for one would be no shorter
        shown, folded = rows, []
    return Folding(shown=tuple(shown), folded=tuple(folded), unsafe=tuple(unsafe))


def _ranked(judgement: Judgement) -> list[MetricResult]:
    def key(item: tuple[int, MetricResult]) -> tuple[int, float, float, int]:
        index, metric = item
        state, gate = state_of(metric), metric.role is Role.GATE
        rank = {
            State.BAD: 0,
            State.NONE: 1 if gate else 4,
            State.WORSE: 2 if gate else 4,
            State.OPEN: 3 if gate else 7,
            State.GOOD: 5 if metric.outcome is Outcome.TOLERABLE else 6 if gate else 8,
        }[state]
        if not gate and state is State.OPEN and blocks(judgement, metric):
            rank = 4
        wait = 0.0
        if metric.shortfall is not None:
            seconds = metric.shortfall.seconds
            wait = math.inf if seconds is None or math.isnan(seconds) else seconds
        place = placed(judgement, metric)
        return rank, -wait, 0.0 if place is None else -place.high, index

    rows = [one for one in judgement.metrics if one.role.decides or blocks(judgement, one)]
    return [metric for _, metric in sorted(enumerate(rows), key=key)]
