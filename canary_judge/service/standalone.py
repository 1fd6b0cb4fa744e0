"""Kayenta's standalone canary analysis: several windows of one canary, one after the other.

Judgement k covers [start, start + k * interval], or the last `lookbackMins` of it; a score of at most `marginal` ends
it at once, and the last one must reach `pass`. With an end time it is retrospective, and all are judged at once.

References:
    spinnaker/kayenta: StandaloneCanaryAnalysisController, SetupAndExecuteCanariesStage.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from canary_judge.errors import CanaryJudgeError, ConfigError, DataError
from canary_judge.service.canary_configs import iso
from canary_judge.service.given import moment_of
from canary_judge.service.kayenta import BROKEN, DONE, RUNNING, STOPPED, Facade, fresh_row, times_of
from canary_judge.service.problems import UnknownRun
from canary_judge.service.runs import Runs
from canary_judge.service.shown import shown

__all__ = ["Standalone"]

_LOG = logging.getLogger(__name__)
_MOST_JUDGEMENTS = 1000
# Kayenta's only safeguard of sample size: a warning.
_FEW = 50


@dataclass(frozen=True, slots=True)
class _Part:
    """One judgement: its window, and when it is due."""

    start: datetime
    end: datetime
    due: datetime


class Standalone:
    """What is under `/kayenta/standalone_canary_analysis`."""

    def __init__(self, runs: Runs, facade: Facade) -> None:
        self._runs, self._facade = runs, facade
        self._lock = threading.Lock()

    def start(self, identity: str | None, body: object, *, application: str = "", parent: str = "") -> dict[str, str]:
        """Begin; {"canaryAnalysisExecutionId": text}."""
        sent = None
        if identity is None:
            if not isinstance(body, Mapping) or "canaryConfig" not in body:
                raise DataError("the body must be {canaryConfig, executionRequest}")
            sent, body = body["canaryConfig"], body.get("executionRequest")
        if not isinstance(body, Mapping):
            raise DataError(f"the request is {shown(body)}; it must be an object with scopes and thresholds")
        now = self._runs.now()
        parts = _parts(body, now)
        request = _request(body, parts[0])
        self._facade.check(identity, sent, request)
        execution = uuid.uuid4().hex
        asked = {"config": identity, "sent": sent, "request": body, "parent": parent, "began": now.isoformat()}
        row = fresh_row(execution, "standalone", application, about="", asked=asked, now=now.timestamp())
        self._runs.store.put_execution({**row, "result": {"executions": []}})
        self.advance(row["id"])
        return {"canaryAnalysisExecutionId": execution}

    def tick(self) -> None:
        """Go on with all that are running."""
        for row in self._runs.store.executions(kind="standalone", statuses=[RUNNING], limit=500):
            try:
                self.advance(row["id"])
            except CanaryJudgeError as error:
                _LOG.warning("standalone analysis %s: %s", row["id"], error)

    def advance(self, execution: str) -> dict[str, Any]:
        """Begin the judgement that is due, take in the one that has ended; the row."""
        with self._lock:
            row = self._row(execution)
            if row["status"] != RUNNING:
                return row
            parts = _parts(row["asked"]["request"], datetime.fromisoformat(row["asked"]["began"]))
            begun: list[str] = list(row["result"]["executions"])
            scores, error = self._scores(begun)
            band = row["asked"]["request"]["thresholds"]
            failed = any(score <= float(band["marginal"]) for score in scores)
            if error or failed or len(scores) == len(parts):
                return self._end(row, error)
            if len(scores) == len(begun) and self._runs.now() >= parts[len(begun)].due:
                asked = row["asked"]
                request = _request(asked["request"], parts[len(begun)])
                body = request if asked["config"] else {"canaryConfig": asked["sent"], "executionRequest": request}
                try:
                    started = self._facade.start(
                        asked["config"], body, application=row["application"], parent=asked["parent"] or execution
                    )
                except (UnknownRun, ConfigError, DataError) as problem:  # it began well: its config has changed since
                    return self._end(row, f"judgement {len(begun) + 1} cannot begin any more: {problem}")
                begun.append(started["canaryExecutionId"])
                result = {"executions": begun}
                self._runs.store.change_execution(execution, among=[RUNNING], result=result)
                row = {**row, "result": result}
            return row

    def _scores(self, begun: list[str]) -> tuple[list[float], str]:
        """Scores of the judgements that have ended, and why one has none."""
        scores: list[float] = []
        for execution in begun:
            status = self._facade.status(execution)
            if not status["complete"]:
                break
            if "result" not in status:
                return scores, status["exception"]["details"]["error"]
            scores.append(status["result"]["judgeResult"]["score"]["score"])
        return scores, ""

    def _end(self, row: Mapping[str, Any], error: str) -> dict[str, Any]:
        values = {"status": BROKEN if error else DONE, "error": error, "ended": self._runs.now().timestamp()}
        self._runs.store.change_execution(row["id"], among=[RUNNING], **values)
        return {**row, **values}

    def _row(self, execution: str) -> dict[str, Any]:
        row = self._runs.store.execution(execution)
        if row is None or row["kind"] != "standalone":
            raise UnknownRun(f"there is no standalone analysis {shown(execution)}")
        return row

    def status(self, execution: str) -> dict[str, Any]:
        """What came of it so far."""
        row = self.advance(execution)
        asked, status = row["asked"], row["status"]
        begun = [self._facade.status(one) for one in row["result"]["executions"]]
        scores, _ = self._scores(row["result"]["executions"])
        band = asked["request"]["thresholds"]
        # as in Orca, a score at `marginal` is not above it, even where that is `pass`, too
        wanted = max(float(band["pass"]), float(band["marginal"]) + 1)
        passed = status == DONE and bool(scores) and scores[-1] >= wanted
        results = [_result(one) for one in begun]
        document = begun[0]["config"] if begun else {}
        stages = [
            ("setupCanaryAnalysis", DONE),
            *((f"runCanary #{k}", one["status"]) for k, one in enumerate(begun, 1)),
        ]
        found: dict[str, Any] = {
            "application": row["application"],
            "user": "anonymous",
            "parentPipelineExecutionId": asked["parent"],
            "pipelineId": row["id"],
            "stageStatus": [{"type": name, "name": name, "status": state} for name, state in stages],
            "complete": status != RUNNING,
            "executionStatus": status,
            "status": status,
            "canaryAnalysisExecutionRequest": asked["request"],
            "canaryConfig": document,
            "canaryConfigId": asked["config"] or "",
            **times_of(row),
        }
        if row["error"]:
            found["exception"] = {"details": {"error": row["error"], "errors": [row["error"]]}}
        if status != RUNNING:
            found["canaryAnalysisExecutionResult"] = {
                "didPassThresholds": passed,
                "hasWarnings": any(one["warnings"] for one in results),
                "canaryScoreMessage": _message(status, scores, passed=passed),
                "canaryScores": scores,
                "canaryExecutionResults": results,
                **times_of(row),
            }
        return found


def _message(status: str, scores: list[float], *, passed: bool) -> str:
    if status == STOPPED:
        return "it was cancelled"
    if not scores:
        return "there is no score"
    return f"the last score is {scores[-1]:g}, which {'passes' if passed else 'does not pass'}"


def _result(status: Mapping[str, Any]) -> dict[str, Any]:
    """One of its judgements."""
    scope = next(iter(status["canaryExecutionRequest"]["scopes"].values()))["experimentScope"]
    found = {
        "executionId": status["pipelineId"],
        "executionStatus": status["status"],
        "judgementStartTimeIso": scope["start"],
        "judgementEndTimeIso": scope["end"],
        "metricSetPairListId": status["metricSetPairListId"],
        "warnings": [],
        **{key: status[key] for key in status if key.endswith(("TimeMillis", "TimeIso"))},
    }
    if "result" in status:
        found["result"] = status["result"]
        found["warnings"] = [
            f"the baseline of {one['name']} has {one['controlMetadata']['stats']['count']} values, fewer than {_FEW}"
            for one in found["result"]["judgeResult"]["results"]
            if one["controlMetadata"]["stats"]["count"] < _FEW
        ]
    return found


def _minutes(body: Mapping[str, Any], key: str) -> float:
    """A number of minutes; 0 where there is none."""
    value = body.get(key)
    if value is None:
        return 0.0
    number = float(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number <= 100_000:
        raise DataError(f"{key} is {shown(value)}; give minutes")
    return float(number)


def _scopes(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    scopes = body.get("scopes")
    if not isinstance(scopes, list) or not scopes or not all(isinstance(one, Mapping) for one in scopes):
        raise DataError("scopes: give a list of at least one, with controlScope and experimentScope")
    for number, scope in enumerate(scopes):
        if _minutes(scope, "controlOffsetInMinutes"):
            raise DataError(
                f"scopes[{number}].controlOffsetInMinutes: both versions are compared over the same time; leave it out"
            )
    return scopes


def _parts(body: Mapping[str, Any], began: datetime) -> list[_Part]:
    """All judgements, as the first scope's times have them."""
    first = _scopes(body)[0]
    start = began if first.get("startTimeIso") is None else moment_of(first["startTimeIso"], "startTimeIso")
    end = None if first.get("endTimeIso") is None else moment_of(first["endTimeIso"], "endTimeIso")
    lifetime = _minutes(body, "lifetimeDurationMins")
    if end is not None:
        lifetime = (end - start) // timedelta(minutes=1)
    if lifetime < 1:
        raise DataError(
            "give lifetimeDurationMins, or endTimeIso of the first scope, so that there is a minute at least"
        )
    wanted = _minutes(body, "analysisIntervalMins")
    every = wanted if 0 < wanted <= lifetime else lifetime
    number = int(lifetime // every)
    if number > _MOST_JUDGEMENTS:
        raise DataError(f"that makes {number} judgements; give a longer analysisIntervalMins, for {_MOST_JUDGEMENTS}")
    lookback = timedelta(minutes=_minutes(body, "lookbackMins"))
    later = timedelta(0) if end is not None else timedelta(minutes=_minutes(body, "beginAfterMins"))
    parts = []
    for k in range(1, number + 1):
        until = start + later + timedelta(minutes=k * every)
        since = until - lookback if lookback else start + later
        due = until if end is not None else began + later + timedelta(minutes=k * every)
        parts.append(_Part(since, until, max(due, began)))
    return parts


def _request(body: Mapping[str, Any], part: _Part) -> dict[str, Any]:
    """The request for one of the judgements."""
    ends = {"start": iso(part.start.astimezone(UTC).timestamp()), "end": iso(part.end.astimezone(UTC).timestamp())}
    scopes = {}
    for scope in _scopes(body):
        common = {**ends, "step": scope.get("step", 60), "extendedScopeParams": scope.get("extendedScopeParams") or {}}
        scopes[str(scope.get("scopeName") or "default")] = {
            f"{side}Scope": {"scope": scope.get(f"{side}Scope"), "location": scope.get(f"{side}Location"), **common}
            for side in ("control", "experiment")
        }
    return {"scopes": scopes, "thresholds": body.get("thresholds")}
