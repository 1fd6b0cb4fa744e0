"""When the canary gets more traffic, and when it loses it: a pure step from judgement to weight.

`step` is pure: (plan, state, judgement, now) -> (state, step). It reads no clock and calls no router; the controller
does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from canary_judge.judging.silence import PATIENCE, lost_side, unheard
from canary_judge.results import Action, Judgement, MetricResult, Outcome, Role, Side, Verdict
from canary_judge.rollout.plan import RolloutPlan, Stage
from canary_judge.rollout.state import Phase, RolloutState
from canary_judge.routing import WeightReading, same_weight
from canary_judge.series import format_duration

__all__ = ["NOT_IN_FORCE", "Order", "Step", "only_old", "read_back", "step", "take_back"]


NOT_IN_FORCE = "{:g} % is written, but not in force where requests are routed"
# Without a `ready` of the plan: the revision cannot be told, or the first weight cannot be set.
_LONGEST_UNREADY = timedelta(minutes=30)


class Order(StrEnum):
    """What the controller has to do after a step."""

    SET_WEIGHT = "set_weight"
    HOLD = "hold"
    ROLL_BACK = "roll_back"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do now, and by which rule of docs/rollout.md.

    Attributes:
        order: The action.
        rule: The rule that led to it.
        reason: Why, for a person paged at night.
        weight: The weight to set; None unless `order` is SET_WEIGHT.
    """

    order: Order
    rule: str
    reason: str
    weight: float | None = None


def step(
    plan: RolloutPlan,
    state: RolloutState,
    judgement: Judgement | None,
    now: datetime,
    *,
    reading: WeightReading | None,
    in_force: bool = True,
    unready: str = "",
) -> tuple[RolloutState, Step]:
    """What to do at this look. The table in docs/rollout.md lists every rule, in this order.

    Args:
        plan: The stages.
        state: After the step before.
        judgement: Of all data so far; None when this look brought no new data.
        now: The moment of the look.
        reading: The weight that is written; None when the router could not be read.
        in_force: Whether an intended weight that is written is in force as well (`verify` of the router).
        unready: Why the canary may not get its first traffic yet; empty when it may.

    Returns:
        The next state, and what to do. A weight that is to be set stays `intended` until it is read back.

    Examples:
        >>> from datetime import UTC
        >>> from canary_judge.rollout.state import begin
        >>> now = datetime(2026, 1, 1, tzinfo=UTC)
        >>> plan, state = RolloutPlan(), begin(now)
        >>> state, todo = step(plan, state, None, now, reading=WeightReading(percent=0.0))
        >>> todo.order, todo.weight
        (<Order.SET_WEIGHT: 'set_weight'>, 5.0)
    """
    if state.phase.ended:
        return state, Step(order=Order.END, rule="ended", reason=state.reason)
    if state.phase is Phase.ROLLING_BACK:
        return state, Step(order=Order.ROLL_BACK, rule="rolling back", reason=state.reason)
    if judgement is not None and judgement.action is Action.ROLL_BACK:
        why = "; ".join(judgement.reasons) or "a regression is shown"
        return _roll_back(plan, replace(state, heard=now), "regressed", why)
    judgement = _of_now(plan, judgement)
    state = state if judgement is None else replace(state, heard=now)
    state = read_back(plan, state, now, reading, in_force=in_force)
    if state.phase is Phase.PROMOTED:
        return state, Step(order=Order.END, rule="promoted", reason=state.reason)
    # whoever took the canary's traffic away is the reason why it is not heard
    taken = state.drifted is not None and reading is not None and reading.percent == 0
    if state.phase is Phase.RUNNING and not taken and (silence := _silence(plan, state, judgement, now)):
        if plan.when_blind == "roll_back":
            failed = judgement is None or _unread(plan, judgement) is not None
            return _roll_back(plan, replace(state, source_failed=failed), "blind", silence)
        return _hold(state, "blind", silence)
    if state.phase is Phase.STARTING and (tried := _never_came(plan, state, reading, now)) is not None:
        return tried
    if reading is None:
        return _hold(state, "router", "the router cannot be read; its weight is not raised before it can")
    if state.drifted is not None:
        return _drifted(plan, state, reading, now - state.drifted)
    if state.phase is Phase.STARTING:
        following, todo = _starting(plan, state, unready, now)
    else:
        following, todo = _judged(plan, state, judgement, now)
    return (following, todo) if todo.order is not Order.SET_WEIGHT else _raised(state, following, todo, unready)


def _raised(state: RolloutState, following: RolloutState, todo: Step, unready: str) -> tuple[RolloutState, Step]:
    """A weight is to be set, unless the one before has not come yet, or nobody knows what would get it."""
    if unready:
        return _hold(state, "revision", f"{unready}, so it is not known what would get more traffic")
    if state.intended is not None:
        return _hold(state, "router", NOT_IN_FORCE.format(state.intended))
    return following, todo


def _starting(plan: RolloutPlan, state: RolloutState, unready: str, now: datetime) -> tuple[RolloutState, Step]:
    """The canary has no traffic yet."""
    if state.paused:
        return _hold(_untried(state), "paused", "paused by a human")
    if unready:
        return _unready(plan, _untried(state), unready, now)
    first = plan.stages[0]
    state = replace(state, trying=state.trying or now)
    return _set(state, first.weight, "start", f"the first stage: {first.told()}")


def _untried(state: RolloutState) -> RolloutState:
    """The state while the first weight waits, unless it may be in force, which a wait must not hide."""
    return state if state.intended is not None else replace(state, trying=None)


def _never_came(
    plan: RolloutPlan, state: RolloutState, reading: WeightReading | None, now: datetime
) -> tuple[RolloutState, Step] | None:
    """The first weight was tried for too long, and is not in force; None while it may still come."""
    tried = timedelta(0) if state.trying is None else now - state.trying
    nothing = reading is not None and same_weight(reading.percent, 0.0) and not reading.ahead
    # what may be in force is judged by nobody; where nothing is there is no haste
    longest = max(plan.patience, _LONGEST_UNREADY) if nothing else plan.patience
    if tried < longest:
        return None
    first, length = plan.stages[0].told(), format_duration(longest)
    if nothing:
        reason = f"{first} could not be set within {length}, as told before; nothing is changed"
        stopped = replace(state, phase=Phase.STOPPED, intended=None, reason=reason)
        return stopped, Step(order=Order.END, rule="never set", reason=reason)
    why = f"{first} was tried for {length} and is not in force, and {reading} is written"
    if reading is None:
        why = f"the router cannot be read, and {first} may be in force, which nobody judges"
    return _roll_back(plan, state, "router", why)


def _unready(plan: RolloutPlan, state: RolloutState, why: str, now: datetime) -> tuple[RolloutState, Step]:
    """What must hold before the first weight does not hold."""
    longest = plan.ready.within if plan.ready is not None else _LONGEST_UNREADY
    if now - state.since < longest:
        return _hold(state, "ready", f"not ready for traffic: {why}")
    reason = f"not ready for traffic within {format_duration(longest)}: {why}"
    return replace(state, phase=Phase.STOPPED, reason=reason), Step(order=Order.END, rule="never ready", reason=reason)


def _drifted(
    plan: RolloutPlan, state: RolloutState, reading: WeightReading, since: timedelta
) -> tuple[RolloutState, Step]:
    """Somebody else changed the weight, so long ago."""
    other = f"somebody else changed the weight: {reading} is in force, {state.weight:g} % was set"
    if same_weight(reading.percent, state.weight):
        other = "somebody else changed what stands before the weights"
    if since < plan.patience:
        return _hold(state, "drift", f"{other}; put it back, or abort")
    # more than was judged is not left to a canary that nobody watches
    more = max((reading.percent or 0.0, *reading.per_route.values())) > state.weight
    if more and plan.when_raised == "roll_back":
        return _roll_back(plan, state, "raised", other)
    if more and plan.when_raised == "bring_back":
        reason = f"{other}; brought back to what was judged"
        todo = Step(order=Order.SET_WEIGHT, rule="raised", reason=reason, weight=state.weight)
        return replace(state, intended=None, reason=reason), todo
    stopped = replace(state, phase=Phase.STOPPED, intended=None, reason=other)
    return stopped, Step(order=Order.END, rule="drift stays", reason=other)


def _silence(plan: RolloutPlan, state: RolloutState, judgement: Judgement | None, now: datetime) -> str:
    """Why nothing can be told any more, and was not for longer than patience; empty while something can."""
    patience = f"patience is {format_duration(plan.patience)}"
    if judgement is None:
        late = now - state.heard >= plan.patience
        return f"no new data to judge since {state.heard:%H:%M:%S}, {patience}" if late else ""
    deciding = [metric for metric in judgement.metrics if metric.role.decides]
    if (unread := _unread(plan, judgement)) is not None:
        why = next((text for text in unread.warnings if "could not be read" in text), unread.reason)
        return f"{unread.name} can no longer be read, {patience}: {why}"
    if deciding and all(unheard(judgement, metric, plan.patience) for metric in deciding):
        least = min(metric.quality.silent_canary for metric in deciding if metric.quality is not None)
        length = format_duration(timedelta(seconds=least * judgement.interval_seconds))
        return f"nothing was heard of the canary for {length}, {patience}: has it died?"
    return ""


def _of_now(plan: RolloutPlan, judgement: Judgement | None) -> Judgement | None:
    """The judgement, and None where it ends with a silence of both sides that is longer than `patience`.

    The source has lost both: the canary need not be dead, and what was shown before says nothing of it now. Not where
    the baseline was never heard: beside a limit alone nobody misses it.
    """
    deciding = [] if judgement is None else [metric for metric in judgement.metrics if metric.role.decides]
    if judgement is None or not deciding:
        return judgement
    once = all(metric.quality is not None and metric.quality.coverage_baseline > 0 for metric in deciding)
    both = (unheard(judgement, metric, plan.patience, side=side) for metric in deciding for side in Side)
    return None if once and all(both) else judgement


def _unread(plan: RolloutPlan, judgement: Judgement) -> MetricResult | None:
    """A deciding metric whose queries have failed for longer than patience."""
    for metric in judgement.metrics:
        failed = metric.quality.unread if metric.quality is not None else 0
        if metric.role.decides and failed * judgement.interval_seconds >= plan.patience.total_seconds():
            return metric
    return None


def _judged(
    plan: RolloutPlan, state: RolloutState, judgement: Judgement | None, now: datetime
) -> tuple[RolloutState, Step]:
    """The rules of a stage whose weight is in force."""
    if state.paused:
        return _hold(state, "paused", "paused by a human")
    if state.stage == len(plan.stages) - 1:
        return _watched(plan, state, judgement, now)
    stage, following = plan.stages[state.stage], plan.stages[state.stage + 1]
    longest = plan.maximum_of(stage)
    late = longest is not None and now - state.since >= longest
    approved = state.approved >= state.stage
    shortest = plan.minimum_of(stage)
    # by the data's clock and by ours: one of them may have jumped
    covered = judgement is not None and min(judgement.end, now) - state.since >= shortest
    reason = "" if judgement is None or not covered else _fit(stage.needs or plan.needs, following, judgement)
    old = _only_old(plan, stage, judgement) if reason and judgement is not None else ""
    if reason and not old:
        if (stage.approval or (late and plan.at_deadline == "hold")) and not approved:
            return _hold(state, "approval", f"{reason}; a human must approve {following.told()}")
        return _set(state, following.weight, "advance", reason)
    if late and longest is not None:
        overdue = f"not decided within {format_duration(longest)} at {stage.told()}"
        if plan.at_deadline == "roll_back":
            return _roll_back(plan, state, "deadline", overdue)
        return _hold(state, "deadline", f"{overdue}; held until it is decided and a human approves")
    if old:
        return _hold(state, "recent", f"safe over the whole run, but {old}")
    if judgement is None:
        return _hold(state, "no new data", "no new data at this look")
    if not covered:
        return _hold(state, "minimum", f"{stage.told()} has not been judged for {format_duration(shortest)} yet")
    return _hold(state, "undecided", "; ".join(judgement.reasons) or "not decided yet")


def _watched(
    plan: RolloutPlan, state: RolloutState, judgement: Judgement | None, now: datetime
) -> tuple[RolloutState, Step]:
    """The canary has all of the traffic, and is watched for `after`."""
    length = plan.after or timedelta(0)
    step_length = timedelta(seconds=judgement.interval_seconds) if judgement is not None else length
    # a whole period of the watch, by the data's clock, and none of the time before; a driver that was away judges the
    # period in which it came back
    own = judgement is not None and judgement.start >= state.since - step_length
    if judgement is not None and own and judgement.end - judgement.start >= length - step_length / 2:
        unjudged = _unjudged(judgement)
        if not unjudged:
            reason = f"promoted: {format_duration(length)} with all of the traffic are judged, and no harm is shown"
            ended = replace(state, phase=Phase.PROMOTED, reason=reason)
            return ended, Step(order=Order.END, rule="promoted", reason=reason)
        why = f"the canary has all of the traffic, and it cannot be judged: {unjudged}"
        if plan.when_blind == "roll_back" and now - state.since >= plan.patience:
            return _roll_back(plan, replace(state, source_failed=True), "blind", why)
        return _hold(state, "blind", why)
    return _hold(state, "after", f"the canary has all of the traffic, and is watched for {format_duration(length)}")


def _unjudged(judgement: Judgement) -> str:
    """What should decide and has nothing to decide by, or fell silent; empty where all can."""
    quiet = timedelta(seconds=PATIENCE * judgement.interval_seconds)
    deciding = [metric for metric in judgement.metrics if metric.role.decides]
    for metric in deciding:
        one = metric.comparison
        nothing = metric.margin is not None and (one is None or not min(one.n_baseline, one.n_canary) > 0)
        if nothing or metric.outcome in (Outcome.NO_DATA, Outcome.ERROR) or unheard(judgement, metric, quiet):
            return f"{metric.name}: {metric.reason or metric.outcome.value}"
    return "" if deciding else "no metric decides"


def _fit(needs: str, following: Stage, judgement: Judgement) -> str:
    """Why the stage may be left; empty when it may not. All of the traffic is given only to what is proven."""
    if judgement.action is Action.ADVANCE:
        return "safety is shown"
    if needs != "no_harm" or following.weight >= 100 or judgement.verdict is Verdict.FAIL:
        return ""
    if judgement.traffic is not None and judgement.traffic.finding:
        return ""
    lost = lost_side(judgement)
    if lost is not None and lost[1] >= PATIENCE:
        return ""
    unfit = {Outcome.REGRESSED, Outcome.DEGRADED, Outcome.NO_DATA, Outcome.ERROR}
    quiet = timedelta(seconds=PATIENCE * judgement.interval_seconds)
    for metric in judgement.metrics:
        bad = metric.outcome in unfit or unheard(judgement, metric, quiet)
        if metric.role.decides and bad:
            return ""
    return "no harm is shown, and this stage asks for no more"


def _only_old(plan: RolloutPlan, stage: Stage, judgement: Judgement) -> str:
    if (stage.recent or plan.recent) == "off":
        return ""
    return only_old(judgement, wanted=plan.recent_of(stage) is not None)


def only_old(judgement: Judgement, *, wanted: bool = True) -> str:
    """Why the newest data by themselves do not allow what the whole run does; empty where they do.

    Args:
        judgement: Of a look.
        wanted: Gates must be shown safe by the newest data; else only be no worse lately.
    """
    for metric in judgement.metrics:
        recent = metric.recent
        if recent is None or not metric.role.decides:
            continue
        worse = recent.worse_seconds is not None
        if worse or (wanted and metric.role is Role.GATE and not recent.shown):
            why = recent.change or recent.text or "the newest data speak for harm beyond the margin"
            return f"{metric.name}: {why}"
    return ""


def read_back(
    plan: RolloutPlan, state: RolloutState, now: datetime, reading: WeightReading | None, *, in_force: bool = True
) -> RolloutState:
    """The state in the light of the weight that is written: the intended one, ours, or somebody else's (drifted).

    One that is written and not in force is still intended.
    """
    if reading is None:
        return state
    arrived = state.intended
    following = plan.stages[state.stage + 1].ahead_key if state.stage + 1 < len(plan.stages) else ""
    if arrived is not None and same_weight(reading.percent, arrived) and reading.ahead == following:
        if not in_force:
            return replace(state, drifted=None)
        stage = state.stage + 1
        last = stage == len(plan.stages) - 1
        phase = Phase.PROMOTED if last and plan.after is None else Phase.RUNNING
        reason = "promoted: the canary has all of the traffic" if phase is Phase.PROMOTED else state.reason
        return replace(
            state,
            phase=phase,
            stage=stage,
            weight=arrived,
            intended=None,
            trying=None,
            since=now,
            heard=now,
            drifted=None,
            reason=reason,
        )
    here = plan.stages[state.stage].ahead_key if state.stage >= 0 else ""
    if same_weight(reading.percent, state.weight) and reading.ahead == here:
        # a watch at 100 % begins anew where somebody had taken the traffic away
        again = state.drifted is not None and state.stage == len(plan.stages) - 1
        return replace(state, intended=None, drifted=None, since=now if again else state.since)
    return replace(state, drifted=state.drifted or now)


def _set(state: RolloutState, weight: float, rule: str, reason: str) -> tuple[RolloutState, Step]:
    return replace(state, intended=weight, reason=reason), Step(
        order=Order.SET_WEIGHT, rule=rule, reason=reason, weight=weight
    )


def _hold(state: RolloutState, rule: str, reason: str) -> tuple[RolloutState, Step]:
    return replace(state, reason=reason), Step(order=Order.HOLD, rule=rule, reason=reason)


def take_back(plan: RolloutPlan, state: RolloutState, reason: str) -> RolloutState:
    """The state in which the canary loses its traffic; where the plan freezes, what it has beyond the bound."""
    if state.phase is Phase.ROLLING_BACK or state.phase.ended:  # whoever began it has said where it leads
        return state
    frozen = plan.freeze is not None and state.weight > 0
    return replace(
        state,
        phase=Phase.ROLLING_BACK,
        intended=None,
        reason=reason,
        back_to=min(state.weight, plan.freeze.at_most) if frozen and plan.freeze is not None else 0.0,
        then=Phase.FROZEN if frozen else Phase.ROLLED_BACK,
    )


def _roll_back(plan: RolloutPlan, state: RolloutState, rule: str, reason: str) -> tuple[RolloutState, Step]:
    return take_back(plan, state, reason), Step(order=Order.ROLL_BACK, rule=rule, reason=reason)
