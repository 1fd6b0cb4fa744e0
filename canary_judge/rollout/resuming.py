"""Taking up a rollout from its journal: whose it is, where it stood, and the evidence that was gathered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.looks.log import StateLog
from canary_judge.looks.monitor import Monitor
from canary_judge.looks.watching import restore
from canary_judge.rollout.journal import Record
from canary_judge.rollout.plan import RolloutPlan, Stage
from canary_judge.rollout.state import RolloutState, state_from_json

__all__ = ["TakenUp", "identity", "restored", "take_up"]

_FORMAT = 1


def identity(config: JudgeConfig, plan: RolloutPlan, drives: str) -> dict[str, Any]:
    """What binds a journal to one rollout; `drives` says what the router drives, "" where that is not known."""
    return {
        "format": _FORMAT,
        "config": config.hash(),
        "sides": {"baseline": config.baseline, "canary": config.canary},
        "plan": plan.model_dump(mode="json"),
        **({"router": drives} if drives else {}),
    }


def _completed(plan: dict[str, Any]) -> dict[str, Any]:
    usual = Stage(weight=100).model_dump(mode="json")
    stages = [{**usual, **stage} for stage in plan.get("stages", [])]
    return {**RolloutPlan().model_dump(mode="json"), **plan, "stages": stages}


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenUp:
    """What a journal says of the rollout.

    Attributes:
        state: Where it stood.
        begun: Now, or the last moment of the journal if that is later: time does not run backwards.
        away: How long there was no driver.
        served: When the canary began to serve; None before.
        commands: How many commands were taken.
        commands_sum: Of their lines; None where the journal does not say.
        revision: What was rolled out, where the plan asks for it.
        superseded: Why it is not the rollout that is meant now; empty when it is.
    """

    state: RolloutState
    begun: datetime
    away: timedelta
    served: datetime | None
    commands: int
    commands_sum: str | None
    revision: str | None = None
    superseded: str = ""


def take_up(records: Sequence[Record], mine: dict[str, Any], now: datetime, path: Path | None) -> TakenUp:
    """Where the rollout of these records stood.

    Raises:
        DataError: They belong to another rollout, or their last state cannot be read.
    """
    first, last = records[0], records[-1]
    plain = json.loads(json.dumps(mine))
    if isinstance(first.get("plan"), dict):  # what the version that wrote it did not know yet had its usual value
        first = {**first, "plan": _completed(first["plan"])}
    state = state_from_json(last.get("state", {}))
    differ = [name for name in ("format", "config", "sides", "plan") if first.get(name) != plain[name]]
    if "router" in first and "router" in plain and first["router"] != plain["router"]:
        raise DataError(
            f"{path}: this journal is of a rollout whose `router` drives something else: what has the canary's traffic "
            "would keep it. Give the same router, or another journal; `canary-judge router rollback` takes it back"
        )
    superseded = ""
    now_of, then_of = plain["sides"], first.get("sides", {})
    if differ == ["sides"] and not state.phase.ended:
        versions = (_labels(sides.get("canary", {})) for sides in (now_of, then_of))
        if now_of["canary"] == then_of.get("canary"):  # who mistypes the baseline has no other canary
            was, now_is = (_labels(sides.get("baseline", {})) for sides in (then_of, now_of))
            raise DataError(
                f"{path}: this journal compares with the baseline {was}, and not with {now_is}; give its labels, or "
                "another journal"
            )
        superseded = "superseded: the canary is {} now, {} was judged; start again with another journal".format(
            *versions
        )
        differ = []
    for name, what in (("format", "format"), ("config", "config"), ("sides", "versions"), ("plan", "plan")):
        if name in differ:
            raise DataError(
                f"{path}: this journal is of another rollout: its {what} differs. Use another journal, or "
                "the same config and plan as before"
            )
    written = datetime.fromisoformat(last["at"])
    begun = max(now, written, state.since)
    if not state.phase.ended:
        # patience is spent by looks without data, of this driver and those before it, not by the time between them
        state = replace(state, heard=begun - timedelta(seconds=last.get("silent", 0.0)), drifted=None)
        # what may be in force since then is tried anew
        state = replace(state, trying=None if state.intended is None else begun)
    served = last.get("served")
    return TakenUp(
        state=state,
        begun=begun,
        away=begun - written,
        served=None if served is None else datetime.fromisoformat(served),
        commands=max(record.get("commands", 0) for record in records),
        commands_sum=next((record["commands_sum"] for record in reversed(records) if "commands_sum" in record), None),
        revision=next((record["revision"] for record in reversed(records) if "revision" in record), None),
        superseded=superseded,
    )


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in labels.items()) or "unlabelled"


def restored(
    config: JudgeConfig, evidence: Path | None, served: datetime, *, stages: int
) -> tuple[Monitor, StateLog | None, str]:
    """The monitor with the evidence in the log, and that; or one that reads it again, and a word on that."""
    fresh = Monitor(config, start=served, stages=stages)
    try:
        monitor, log = restore(config, evidence, start=served, horizon=None, stages=stages)
        if monitor.start != fresh.start:
            if log is not None:
                log.close()
            raise DataError(f"{evidence} is of another rollout")
    except DataError as error:
        return fresh, None, f"; the evidence is read again from {served:%H:%M:%S}, because {error}"
    return monitor, log, ""
