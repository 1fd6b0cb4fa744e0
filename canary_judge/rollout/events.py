"""What a rollout tells: events while it runs, a result at its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from canary_judge.results import Judgement, TrafficSplit
from canary_judge.rollout.state import Phase, RolloutState
from canary_judge.routing import RollbackReport

__all__ = ["Event", "EventKind", "RolloutResult"]


class EventKind(StrEnum):
    """What has happened."""

    STARTED = "started"
    RESUMED = "resumed"
    LOOK = "look"
    BLIND = "blind"
    WEIGHT = "weight"
    TROUBLE = "trouble"
    ROLLING_BACK = "rolling_back"
    COMMAND = "command"
    AFTERCARE = "aftercare"
    INTERRUPTED = "interrupted"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened in a rollout.

    Attributes:
        kind: What.
        at: When.
        weight: Percent of the traffic that the canary has, as far as known.
        text: In words.
        state: Where the rollout stands.
        judgement: For a look.
        report: For a rollback: what is left.
        rule: For a look: the rule of docs/rollout.md by which it was decided.
    """

    kind: EventKind
    at: datetime
    weight: float
    text: str
    state: RolloutState
    judgement: Judgement | None = None
    report: RollbackReport | None = None
    rule: str = ""

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON: kind, at, weight, phase, text; of a look verdict and score, of a rollback residuals."""
        found: dict[str, Any] = {
            "kind": self.kind.value,
            "at": self.at.isoformat(),
            "weight": self.weight,
            "phase": self.state.phase.value,
            "text": self.text,
        }
        if self.judgement is not None:
            found |= {"verdict": self.judgement.verdict.value, "score": self.judgement.score}
        if self.report is not None:
            found["residuals"] = [{"place": one.place, "reason": one.reason} for one in self.report.residuals]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutResult:
    """How a rollout ended.

    Attributes:
        phase: PROMOTED, ROLLED_BACK, FROZEN, SUPERSEDED, STOPPED; another one when it was interrupted, to be resumed
            from its journal.
        weight: The canary's weight at the end, as last read back.
        reason: Why.
        looks: How many looks brought new data, in this process.
        judgement: The last one.
        report: Of the rollback, if there was one.
        traffic: The canary's requests after the rollback, if they were observed.
        source_failed: It was rolled back because nothing could be read, not for what the canary did.
        by_hand: Somebody had it rolled back.
    """

    phase: Phase
    weight: float
    reason: str
    looks: int
    judgement: Judgement | None
    report: RollbackReport | None
    traffic: TrafficSplit | None
    source_failed: bool = False
    by_hand: bool = False
