"""When the canary gets more traffic, and when it loses it: a plan, and a pure step from judgement to weight.

`step` is pure: (plan, state, judgement, now) -> (state, step). It reads no clock and calls no router; the controller
does.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from canary_judge.config.metrics import Duration, StrictModel
from canary_judge.config.reading import explain
from canary_judge.errors import ConfigError, DataError
from canary_judge.results import Action, Judgement, MetricResult, Outcome, Role, Verdict
from canary_judge.routing import WeightReading, same_weight
from canary_judge.series import format_duration

__all__ = [
    "Do",
    "Phase",
    "RolloutPlan",
    "RolloutState",
    "Stage",
    "Step",
    "abort",
    "approve",
    "begin",
    "pause",
    "resume",
    "rolled_back",
    "state_from_json",
    "state_to_json",
    "step",
    "take_over",
]

# So many requests must have been missed before a canary counts as silent, and so many intervals pass before one that
# says nothing is no longer free of harm.
_REQUESTS_MISSED = 10
_BREATH = 3

# --- the plan ------------------------------------------------------------------------------------------------------


class Stage(StrictModel):
    """One weight of a rollout, and what it takes to leave it.

    `minimum`, `maximum` and `needs` fall back to those of the plan.
    """

    weight: float = Field(gt=0, le=100, description="Percent of the traffic.")
    minimum: Duration | None = Field(default=None, description="Data of at least this length are judged first.")
    maximum: Duration | None = Field(default=None, description="Deadline: see `at_deadline` of the plan.")
    approval: bool = Field(default=False, description="A human must approve before this stage is left.")
    needs: Literal["pass", "no_harm"] | None = Field(
        default=None,
        description="`pass`: safety is proven. `no_harm`: no gate is degraded, has an error or is without data.",
    )


def _as_stage(value: object) -> object:
    return {"weight": float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else value


_DEFAULT_STAGES = tuple(Stage(weight=weight) for weight in (5.0, 25.0, 50.0, 75.0, 100.0))


class RolloutPlan(StrictModel):
    """The stages of a rollout, and what to do when nothing can be told.

    Raises:
        ConfigError: From `from_mapping`: the field, its value and the remedy.

    Examples:
        >>> plan = RolloutPlan(stages=[5, 25, {"weight": 50, "approval": True}, 100], maximum="2h")
        >>> [stage.weight for stage in plan.stages], plan.at_deadline
        ([5.0, 25.0, 50.0, 100.0], 'hold')
    """

    stages: tuple[Annotated[Stage, BeforeValidator(_as_stage)], ...] = Field(
        default=_DEFAULT_STAGES,
        strict=False,
        min_length=1,
        description="Rising weights, the last one 100; a number, or a mapping with more.",
    )
    minimum: Duration = Field(
        default=timedelta(minutes=2), description="Data of this length are judged at each stage before it is left."
    )
    maximum: Duration | None = Field(default=None, description="Deadline of each stage; none by default.")
    at_deadline: Literal["hold", "roll_back"] = Field(
        default="hold",
        description="When a stage is not decided by its deadline: hold until a human approves, or roll back.",
    )
    needs: Literal["pass", "no_harm"] = Field(default="pass", description="What it takes to leave a stage.")
    patience: Duration = Field(
        default=timedelta(minutes=5), description="How long the canary may run without any new data of it, or drifted."
    )
    when_blind: Literal["hold", "roll_back"] = Field(
        default="roll_back", description="When there is no new data of the canary for longer than `patience`."
    )
    first_stage_at_most: float = Field(default=10.0, gt=0, lt=100, description="Percent; a larger one is an error.")
    aftercare: Duration = Field(
        default=timedelta(minutes=2), description="After a rollback the canary's requests are watched this long."
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        weights = [stage.weight for stage in self.stages]
        for one, other in itertools.pairwise(weights):
            if other <= one:
                raise ValueError(f"stages: {other:g} comes after {one:g}; weights must rise")
        if weights[-1] != 100:
            raise ValueError(f"stages: the last weight is {weights[-1]:g}; end with 100")
        if len(weights) < 2 or weights[0] > self.first_stage_at_most:
            raise ValueError(
                f"stages: the first weight is {weights[0]:g} %, more than {self.first_stage_at_most:g} %: begin with 1 "
                "to 10 %, or raise `first_stage_at_most` if the traffic is too thin for that"
            )
        for stage in self.stages:
            shortest, longest = self.minimum_of(stage), self.maximum_of(stage)
            if longest is not None and longest <= shortest:
                raise ValueError(
                    f"stages: {stage.weight:g} % has a maximum of {format_duration(longest)}, no longer than its "
                    f"minimum of {format_duration(shortest)}"
                )
        return self

    @classmethod
    def from_mapping(cls, data: object, *, name: str = "rollout") -> RolloutPlan:
        """Validate plain data, as under `rollout:` in a config."""
        if not isinstance(data, Mapping):
            raise ConfigError(f"{name}: is {type(data).__name__}; it must be a mapping, as `stages: [5, 25, 50, 100]`")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            lines = explain(error, data, known=[*cls.model_fields, *Stage.model_fields])
            raise ConfigError("\n".join(dict.fromkeys(f"{name}.{line}" for line in lines))) from None

    def minimum_of(self, stage: Stage) -> timedelta:
        """The least data judged at this stage."""
        return stage.minimum or self.minimum

    def maximum_of(self, stage: Stage) -> timedelta | None:
        """The stage's deadline."""
        return stage.maximum or self.maximum


# --- the state -----------------------------------------------------------------------------------------------------


class Phase(StrEnum):
    """Where a rollout stands; the last three are ends."""

    STARTING = "starting"
    RUNNING = "running"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    PROMOTED = "promoted"
    STOPPED = "stopped"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (Phase.ROLLED_BACK, Phase.PROMOTED, Phase.STOPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """All that a rollout needs to know of its past.

    Attributes:
        phase: Where it stands.
        stage: Index of the stage in force; -1 before the first.
        weight: The weight in force, as read back.
        since: When it came into force.
        heard: When there was new data to judge.
        intended: A weight that is being written and was not read back yet.
        approved: Stages up to this index may be left.
        paused: A human holds the rollout.
        drifted: Since when another weight than ours is in force.
        reason: Why it stands where it stands.
    """

    phase: Phase
    stage: int
    weight: float
    since: datetime
    heard: datetime
    intended: float | None = None
    approved: int = -1
    paused: bool = False
    drifted: datetime | None = None
    reason: str = ""


class Do(StrEnum):
    """What the controller has to do after a step."""

    SET_WEIGHT = "set_weight"
    HOLD = "hold"
    ROLL_BACK = "roll_back"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do now, and by which rule of docs/rollout.md.

    Attributes:
        do: The action.
        rule: The rule that led to it.
        reason: Why, for a person paged at night.
        weight: The weight to set; None unless `do` is SET_WEIGHT.
    """

    do: Do
    rule: str
    reason: str
    weight: float | None = None


def begin(now: datetime) -> RolloutState:
    """The state of a rollout that has not given the canary any traffic."""
    return RolloutState(phase=Phase.STARTING, stage=-1, weight=0.0, since=now, heard=now)


def approve(state: RolloutState) -> RolloutState:
    """A human approves that the present stage is left, once it is judged safe."""
    return replace(state, approved=max(state.approved, state.stage))


def pause(state: RolloutState) -> RolloutState:
    """Hold the weight; a regression still rolls back."""
    return replace(state, paused=True)


def resume(state: RolloutState) -> RolloutState:
    """Take a pause back."""
    return replace(state, paused=False)


def abort(state: RolloutState, reason: str) -> RolloutState:
    """Roll back because a human says so."""
    return state if state.phase.ended else replace(state, phase=Phase.ROLLING_BACK, intended=None, reason=reason)


def rolled_back(state: RolloutState, now: datetime) -> RolloutState:
    """The router has read back a weight of 0."""
    return replace(state, phase=Phase.ROLLED_BACK, weight=0.0, intended=None, since=now)


def state_to_json(state: RolloutState) -> dict[str, Any]:
    """The state as plain JSON data."""
    plain = {name: getattr(state, name) for name in RolloutState.__slots__}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in plain.items()}


def state_from_json(plain: Mapping[str, Any]) -> RolloutState:
    """The state that `state_to_json` gave; DataError when it is none."""
    try:
        values = {name: plain[name] for name in RolloutState.__slots__}
        for name in ("since", "heard", "drifted"):
            values[name] = None if values[name] is None else datetime.fromisoformat(values[name])
        return RolloutState(**{**values, "phase": Phase(values["phase"])})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"this is no rollout state: {type(error).__name__}: {error}: {json.dumps(plain)[:200]}"
        ) from None


# --- the policy ----------------------------------------------------------------------------------------------------


def step(
    plan: RolloutPlan,
    state: RolloutState,
    judgement: Judgement | None,
    now: datetime,
    *,
    reading: WeightReading | None,
) -> tuple[RolloutState, Step]:
    """What to do at this look. The table in docs/rollout.md lists every rule, in this order.

    Args:
        plan: The stages.
        state: After the step before.
        judgement: Of all data so far; None when this look brought no new data.
        now: The moment of the look.
        reading: The weight in force; None when the router could not be read.

    Returns:
        The next state, and what to do. A weight that is to be set stays `intended` until it is read back.

    Examples:
        >>> from datetime import UTC
        >>> now = datetime(2026, 1, 1, tzinfo=UTC)
        >>> plan, state = RolloutPlan(), begin(now)
        >>> state, todo = step(plan, state, None, now, reading=WeightReading(percent=0.0))
        >>> todo.do, todo.weight
        (<Do.SET_WEIGHT: 'set_weight'>, 5.0)
    """
    if state.phase.ended:
        return state, Step(do=Do.END, rule="ended", reason=state.reason)
    if state.phase is Phase.ROLLING_BACK:
        return state, Step(do=Do.ROLL_BACK, rule="rolling back", reason=state.reason)
    if judgement is not None:
        state = replace(state, heard=now)
        if judgement.action is Action.ROLL_BACK:
            why = "; ".join(judgement.reasons) or "a regression is shown"
            return _roll_back(state, "regressed", why)
    state = take_over(plan, state, now, reading)
    if state.phase is Phase.PROMOTED:
        return state, Step(do=Do.END, rule="promoted", reason=state.reason)
    if state.phase is Phase.RUNNING and (silence := _silence(plan, state, judgement, now)):
        if plan.when_blind == "roll_back":
            return _roll_back(state, "blind", silence)
        return _hold(state, "blind", silence)
    if reading is None:
        return _hold(state, "router", "the router cannot be read; its weight is not raised before it can")
    if state.drifted is not None:
        other = f"somebody else changed the weight: {reading} is in force, {state.weight:g} % was set"
        if now - state.drifted >= plan.patience:
            stopped = replace(state, phase=Phase.STOPPED, intended=None, reason=other)
            return stopped, Step(do=Do.END, rule="drift stays", reason=other)
        return _hold(state, "drift", f"{other}; put it back, or abort")
    if state.phase is Phase.STARTING:
        first = plan.stages[0].weight
        return _set(state, first, "start", f"the first stage: {first:g} %")
    return _judged(plan, state, judgement, now)


def _silence(plan: RolloutPlan, state: RolloutState, judgement: Judgement | None, now: datetime) -> str:
    """Why nothing can be told any more, and was not for longer than patience; empty while something can."""
    patience = f"patience is {format_duration(plan.patience)}"
    if judgement is None:
        late = now - state.heard >= plan.patience
        return f"no new data to judge since {state.heard:%H:%M:%S}, {patience}" if late else ""
    deciding = [metric for metric in judgement.metrics if metric.role in (Role.GATE, Role.GUARD)]
    if deciding and all(_unheard(judgement, metric, plan.patience) for metric in deciding):
        least = min(metric.quality.silent_canary for metric in deciding if metric.quality is not None)
        length = format_duration(timedelta(seconds=least * judgement.interval_seconds))
        return f"nothing was heard of the canary for {length}, {patience}: has it died?"
    return ""


def _unheard(judgement: Judgement, metric: MetricResult, length: timedelta) -> bool:
    """Whether the canary has been silent on this metric for so long, although it should have been heard."""
    quality, comparison = metric.quality, metric.comparison
    if quality is None or quality.silent_canary * judgement.interval_seconds < length.total_seconds():
        return False
    if quality.coverage_canary == 0 or metric.kind == "gauge":
        return True
    # a thin stream of requests has pauses: only one in which many were to be expected is a silence
    heard = (judgement.end - judgement.start).total_seconds() / judgement.interval_seconds - quality.silent_canary
    requests = comparison.n_canary if comparison is not None else 0
    return requests * quality.silent_canary >= _REQUESTS_MISSED * max(heard, 1)


def _judged(
    plan: RolloutPlan, state: RolloutState, judgement: Judgement | None, now: datetime
) -> tuple[RolloutState, Step]:
    """The rules of a stage whose weight is in force."""
    stage, following = plan.stages[state.stage], plan.stages[state.stage + 1]
    if state.paused:
        return _hold(state, "paused", "paused by a human")
    longest = plan.maximum_of(stage)
    late = longest is not None and now - state.since >= longest
    approved = state.approved >= state.stage
    shortest = plan.minimum_of(stage)
    # by the data's clock and by ours: one of them may have jumped
    covered = judgement is not None and min(judgement.end, now) - state.since >= shortest
    if judgement is not None and covered and (reason := _fit(stage.needs or plan.needs, following, judgement)):
        if (stage.approval or (late and plan.at_deadline == "hold")) and not approved:
            return _hold(state, "approval", f"{reason}; a human must approve {following.weight:g} %")
        return _set(state, following.weight, "advance", reason)
    if late and longest is not None:
        overdue = f"not decided within {format_duration(longest)} at {stage.weight:g} %"
        if plan.at_deadline == "roll_back":
            return _roll_back(state, "deadline", overdue)
        return _hold(state, "deadline", f"{overdue}; held until it is decided and a human approves")
    if judgement is None:
        return _hold(state, "no new data", "no new data at this look")
    if not covered:
        return _hold(state, "minimum", f"{stage.weight:g} % has not been judged for {format_duration(shortest)} yet")
    return _hold(state, "undecided", "; ".join(judgement.reasons) or "not decided yet")


def _fit(needs: str, following: Stage, judgement: Judgement) -> str:
    """Why the stage may be left; empty when it may not. All of the traffic is given only to what is proven."""
    if judgement.action is Action.ADVANCE:
        return "safety is shown"
    if needs != "no_harm" or following.weight >= 100 or judgement.verdict is Verdict.FAIL:
        return ""
    if judgement.traffic is not None and judgement.traffic.finding:
        return ""
    unfit = {Outcome.REGRESSED, Outcome.DEGRADED, Outcome.NO_DATA, Outcome.ERROR}
    breath = timedelta(seconds=_BREATH * judgement.interval_seconds)
    for metric in judgement.metrics:
        bad = metric.outcome in unfit or _unheard(judgement, metric, breath)
        if metric.role in (Role.GATE, Role.GUARD) and bad:
            return ""
    return "no harm is shown, and this stage asks for no more"


def take_over(plan: RolloutPlan, state: RolloutState, now: datetime, reading: WeightReading | None) -> RolloutState:
    """The state in the light of the weight in force: the intended one, ours, or somebody else's (drifted)."""
    if reading is None:
        return state
    arrived = state.intended
    if arrived is not None and same_weight(reading.percent, arrived):
        stage = state.stage + 1
        phase = Phase.PROMOTED if stage == len(plan.stages) - 1 else Phase.RUNNING
        reason = "promoted: the canary has all of the traffic" if phase is Phase.PROMOTED else state.reason
        return replace(
            state, phase=phase, stage=stage, weight=arrived, intended=None, since=now, heard=now, drifted=None,
            reason=reason,
        )  # fmt: skip
    if same_weight(reading.percent, state.weight):
        return replace(state, intended=None, drifted=None)
    return replace(state, drifted=state.drifted or now)


def _set(state: RolloutState, weight: float, rule: str, reason: str) -> tuple[RolloutState, Step]:
    return replace(state, intended=weight, reason=reason), Step(
        do=Do.SET_WEIGHT, rule=rule, reason=reason, weight=weight
    )


def _hold(state: RolloutState, rule: str, reason: str) -> tuple[RolloutState, Step]:
    return replace(state, reason=reason), Step(do=Do.HOLD, rule=rule, reason=reason)


def _roll_back(state: RolloutState, rule: str, reason: str) -> tuple[RolloutState, Step]:
    state = replace(state, phase=Phase.ROLLING_BACK, intended=None, reason=reason)
    return state, Step(do=Do.ROLL_BACK, rule=rule, reason=reason)
