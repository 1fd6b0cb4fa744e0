"""Where a rollout stands: a frozen value, what a human may change of it, and how it stands in the journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from canary_judge.errors import DataError

__all__ = [
    "Phase",
    "RolloutState",
    "abort",
    "approve",
    "begin",
    "obey",
    "pause",
    "resume",
    "rolled_back",
    "state_from_json",
    "state_to_json",
]


class Phase(StrEnum):
    """Where a rollout stands; the last five are ends."""

    STARTING = "starting"
    RUNNING = "running"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    PROMOTED = "promoted"
    STOPPED = "stopped"
    FROZEN = "frozen"
    SUPERSEDED = "superseded"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (Phase.STARTING, Phase.RUNNING, Phase.ROLLING_BACK)


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
        trying: Since when the first weight is tried, without being in force.
        approved: Stages up to this index may be left.
        paused: A human holds the rollout.
        drifted: Since when another weight than ours is in force.
        source_failed: It is rolled back because nothing could be read, not for what the canary did.
        reason: Why it stands where it stands.
        back_to: The weight to which a rollback leads: 0, unless the plan freezes.
        then: The end to which it leads.
        by_hand: Somebody has it rolled back.
    """

    phase: Phase
    stage: int
    weight: float
    since: datetime
    heard: datetime
    intended: float | None = None
    trying: datetime | None = None
    approved: int = -1
    paused: bool = False
    drifted: datetime | None = None
    source_failed: bool = False
    reason: str = ""
    back_to: float = 0.0
    then: Phase = Phase.ROLLED_BACK
    by_hand: bool = False


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


def abort(state: RolloutState, reason: str, then: Phase = Phase.ROLLED_BACK) -> RolloutState:
    """Roll back to 0 because somebody says so, or the revision is not the one any more (`SUPERSEDED`)."""
    if state.phase.ended:
        return state
    by_hand = then is Phase.ROLLED_BACK
    return replace(
        state, phase=Phase.ROLLING_BACK, intended=None, reason=reason, back_to=0.0, then=then, by_hand=by_hand
    )


def rolled_back(state: RolloutState, now: datetime, weight: float = 0.0) -> RolloutState:
    """The router has read back the weight to which the rollback leads, or less."""
    return replace(state, phase=state.then, weight=weight, intended=None, since=now)


@cache
def _adapter() -> TypeAdapter[RolloutState]:
    return TypeAdapter(RolloutState)


def state_to_json(state: RolloutState) -> dict[str, Any]:
    """The state as plain JSON data."""
    plain: dict[str, Any] = _adapter().dump_python(state)
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in plain.items()}


def state_from_json(plain: Mapping[str, Any]) -> RolloutState:
    """The state that `state_to_json` gave; DataError when it is none."""
    try:
        return _adapter().validate_python(dict(plain))
    except (TypeError, ValidationError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(f"this is no rollout state: {said}: {json.dumps(plain)[:200]}") from None


def obey(state: RolloutState, name: str, reason: str = "", weight: str = "") -> tuple[RolloutState, str]:
    """The state after a command of a human, and why it is not taken; `stop` changes none.

    Args:
        state: Before it.
        name: The command.
        reason: Theirs.
        weight: Of an approval: at which weight it was given; empty where that is not known.
    """
    if name == "approve" and weight and weight != f"{state.weight:g}":
        return state, f"approve was given at {weight} %, and the canary has {state.weight:g} % now: give it again"
    if name == "abort":
        return abort(state, reason or "aborted by a human"), ""
    if name in _COMMANDS:
        return _COMMANDS[name](state), ""
    return state, "" if name == "stop" else f"command {name!r} is not known"


_COMMANDS: dict[str, Callable[[RolloutState], RolloutState]] = {"approve": approve, "pause": pause, "resume": resume}
