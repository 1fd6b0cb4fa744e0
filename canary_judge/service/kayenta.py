"""Kayenta's REST API, as Argo Rollouts, Orca, deck and scripts call it, with our judgements in its answers.

A window is read by a fresh monitor that begins at its start, so that any number of windows with the same start keep
the stated rate. Windows whose start moves share nothing: each is judged for itself, and the answer says so.

References:
    spinnaker/kayenta: CanaryController, CanaryConfigController, StandaloneCanaryAnalysisController; spinnaker/orca:
    KayentaService, MonitorKayentaCanaryTask; argo-rollouts: metricproviders/kayenta.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

import numpy as np

from canary_judge import kayenta
from canary_judge.arrays import Float
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import CanaryJudgeError, DataError
from canary_judge.kayenta.documents import JUDGE_NAME, MetricSetPair, Thresholds
from canary_judge.results import Judgement
from canary_judge.series import Window
from canary_judge.service.bands import JUDGE, band_of, judge_result
from canary_judge.service.canary_configs import CanaryConfigs, Chosen, iso, millis
from canary_judge.service.given import labels_of, moment_of, refuse_what_cannot_be
from canary_judge.service.problems import Busy, UnknownRun
from canary_judge.service.runs import Runs
from canary_judge.service.shown import shown

__all__ = ["BROKEN", "DONE", "RUNNING", "STOPPED", "Facade", "Question", "fresh_row", "times_of"]

_LOG = logging.getLogger(__name__)
RUNNING, DONE, BROKEN, STOPPED = "running", "succeeded", "terminal", "canceled"
# A judgement that another process began, and did not end in this time, is begun again.
_LOST_SECONDS = 150.0
_BUDGET = 120.0
# Seconds between the tries to keep what came of a window.
_PAUSES = (1.0, 2.0, 4.0)
# Windows that are judged at a time, of which one hanging source may have many, and those that wait.
_AT_ONCE, _MOST_WAITING = 40, 200
# A clock may be so far off.
_AHEAD = timedelta(minutes=1)
_STAGES = ("setupContext", "fetchControl0", "fetchExperiment0", "mixMetrics", "judge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One window of one canary, as it was asked for.

    Attributes:
        window: Of the canary, and of the baseline.
        baseline: Labels, by scope where that is not the default one.
        canary: The same.
        step: Length of an interval.
        band: Thresholds of the caller.
        request: As it was sent.
    """

    window: Window
    baseline: dict[str, str]
    canary: dict[str, str]
    step: timedelta
    band: Thresholds
    request: Mapping[str, Any]

    @classmethod
    def of(cls, body: object, scopes: Sequence[str]) -> Question:
        """Read {scopes, thresholds}; DataError names what is wrong."""
        if not isinstance(body, Mapping):
            raise DataError(f"the request is {shown(body)}; it must be an object with scopes and thresholds")
        given = body.get("scopes")
        if not isinstance(given, Mapping) or not given:
            raise DataError("scopes: name at least one, with controlScope and experimentScope")
        thresholds = _thresholds(body.get("thresholds"))
        names = [name if name in given or name != "default" or len(given) > 1 else next(iter(given)) for name in scopes]
        baseline: dict[str, str] = {}
        canary: dict[str, str] = {}
        windows, steps = [], []
        for called, name in zip(scopes, names, strict=True):
            if name not in given:
                raise DataError(f"scopes: there is no {shown(name)}, which metrics of the canary config name")
            for key, labels in (("controlScope", baseline), ("experimentScope", canary)):
                place = f"scopes.{name}.{key}"
                scope = given[name].get(key) if isinstance(given[name], Mapping) else None
                own, window, step = _scope(scope, place)
                windows.append((place, window))
                steps.append(step)
                labels |= {text if called == "default" else f"{called}/{text}": value for text, value in own.items()}
        for place, window in windows:
            if window != windows[0][1]:
                raise DataError(
                    f"{place}: its window is not that of {windows[0][0]}; both versions are compared over the same "
                    "time, for what a day brings changes both"
                )
        return cls(
            window=windows[0][1],
            baseline=labels_of(baseline, "baseline"),
            canary=labels_of(canary, "canary"),
            step=steps[0],
            band=band_of(thresholds),
            request=body,
        )


def _thresholds(given: object) -> Thresholds:
    if not isinstance(given, Mapping):
        raise DataError("thresholds: give pass and marginal")
    return Thresholds.from_mapping(given, "thresholds")


def _scope(scope: object, place: str) -> tuple[dict[str, str], Window, timedelta]:
    """Labels, window and step of one side."""
    if not isinstance(scope, Mapping):
        raise DataError(f"{place}: is {shown(scope)}; give scope, location, start, end and step")
    ends = [moment_of(scope.get(key), f"{place}.{key}") for key in ("start", "end")]
    step = scope.get("step", 60)
    seconds = float(step) if isinstance(step, str) and step.isascii() and step.isdigit() else step
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 1 <= seconds <= 86_400:
        raise DataError(f"{place}.step is {shown(step)}; give seconds, from 1 to 86400")
    labels = {"step": f"{seconds:g}"}
    where = scope.get("location", scope.get("region"))  # Argo calls it region
    for key, value in (("scope", scope.get("scope")), ("location", where)):
        if value is not None and not isinstance(value, str):
            raise DataError(f"{place}.{key} is {shown(value)}; give a text")
        labels |= {key: value} if value else {}
    more = scope.get("extendedScopeParams") or {}
    if not isinstance(more, Mapping):
        raise DataError(f"{place}.extendedScopeParams is {shown(more)}; give an object of texts")
    labels |= {str(key): str(value) for key, value in more.items() if value is not None}
    return labels, Window(*ends), timedelta(seconds=seconds)


class Facade:
    """What is under `/kayenta`. Answers are plain data; errors are those of `Runs`, and UnknownRun for a 404."""

    def __init__(self, runs: Runs) -> None:
        self._runs, self.configs = runs, CanaryConfigs(runs)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="kayenta")
        self._lock = threading.Lock()
        self._mine: set[str] = set()

    def close(self) -> None:
        """Begin nothing more; what is left is judged again by who is asked for it."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    # --- one window -------------------------------------------------------------------------------------------------

    def start(self, identity: str | None, body: object, *, application: str = "", parent: str = "") -> dict[str, str]:
        """Begin to judge a window; {"canaryExecutionId": text}.

        Args:
            identity: Of the canary config; None: it is in the body, {canaryConfig, executionRequest}.
            body: The request.
            application: Of the caller.
            parent: Its pipeline execution.
        """
        sent = None
        if identity is None:
            if not isinstance(body, Mapping) or "canaryConfig" not in body:
                raise DataError("the body must be {canaryConfig, executionRequest}")
            sent, body = body["canaryConfig"], body.get("executionRequest")
        chosen, question = self._checked(identity, sent, body)
        if question.window.end > self._runs.now() + max(question.step, _AHEAD):
            raise DataError(f"end is {question.window.end.isoformat()}, which is in the future; ask when it has passed")
        about = _about(chosen, question, application)
        execution = uuid.uuid4().hex
        now = self._runs.now().timestamp()
        asked = {
            "config": identity,
            "sent": sent,
            "request": question.request,
            "parent": parent,
            "document": _document(chosen, question),
        }
        with self._lock:
            if len(self._mine) >= _MOST_WAITING:
                raise Busy(f"{_MOST_WAITING} windows are being judged already; ask again in a minute")
            self._mine.add(execution)
        with self._giving_back(execution):
            row = fresh_row(execution, "canary", application, about=about, asked=asked, now=now)
            self._runs.store.put_execution(row)
            self._pool.submit(self._work, row)
        return {"canaryExecutionId": execution}

    @contextmanager
    def _giving_back(self, execution: str) -> Iterator[None]:
        """Hold a place for a window, and give it back where it cannot be begun."""
        try:
            yield
        except BaseException:
            with self._lock:
                self._mine.discard(execution)
            raise

    def check(self, identity: str | None, sent: object, body: object) -> None:
        """Whatever can be said of a request before it is begun, as an error."""
        self._checked(identity, sent, body)

    def _checked(self, identity: str | None, sent: object, body: object) -> tuple[Chosen, Question]:
        """Everything that can be said before anything is asked of a source."""
        first = self.configs.of(sent) if identity is None else self.configs.chosen(identity)
        question = Question.of(body, first.scopes)
        chosen = (
            self.configs.of(sent, step=question.step)
            if identity is None
            else self.configs.chosen(identity, step=question.step)
        )
        config = _sided(chosen, question)
        refuse_what_cannot_be(config, chosen.horizon, self._runs.options(config))
        return chosen, question

    def _work(self, row: Mapping[str, Any]) -> None:
        try:
            result, error = self._judged(row), ""
        except CanaryJudgeError as problem:
            result, error = None, str(problem)
        except Exception as problem:  # noqa: BLE001  (it is an answer, as every other)
            _LOG.exception("a bug in the judging of a window")
            result, error = None, f"internal error: {type(problem).__name__}: {problem}"
        ended = self._runs.now().timestamp()
        values = {"status": BROKEN if error else DONE, "result": result, "error": error, "ended": ended}
        try:
            self._keep(row["id"], values)
        finally:
            with self._lock:
                self._mine.discard(row["id"])

    def _keep(self, execution: str, values: Mapping[str, Any]) -> None:
        """Write what came of it; a database that is busy for a moment is asked again."""
        for pause in (*_PAUSES, None):
            try:
                self._runs.store.change_execution(execution, among=[RUNNING], **values)
            except CanaryJudgeError as problem:
                left = "it is judged again" if pause is None else f"once more in {pause:g} s"
                _LOG.warning("what came of execution %s is not kept, %s: %s", execution, left, problem)
                if pause is not None:
                    time.sleep(pause)
            else:
                return

    def _judged(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The judge's result of a window."""
        asked = row["asked"]
        chosen, question = self._checked(asked["config"], asked["sent"], asked["request"])
        config = _sided(chosen, question)
        note = "; ".join(text for text in (self._moved(row, question), *chosen.notes) if text)
        what = "values" if chosen.compatible else "window"
        window = question.window
        told = self._runs.asked(
            what,
            config,
            start=window.start,
            end=window.end,
            horizon=chosen.horizon,
            once=chosen.once,
            budget=_BUDGET,
        )
        found = json.loads(told.text)
        if chosen.compatible:
            result = _compatible(chosen, question, found)
            values = found
        else:
            judgement = Judgement.from_json(json.dumps(found["judgement"]))
            result = judge_result(judgement, question.band, found["values"], note=note)
            values = found["values"]
        return {"judgeResult": result, "values": values, "queries": _queries(config)}

    def _moved(self, row: Mapping[str, Any], question: Question) -> str:
        """What is to be said where the windows of this canary do not begin at the same time."""
        before = self._runs.store.executions(about=row["about"], limit=20)
        starts = [
            moment_of(_whole(other["asked"]["request"])[1]["experimentScope"]["start"], "start")
            for other in before
            if other["id"] != row["id"] and other["created"] <= row["created"]
        ]
        moved = sum(abs(start - question.window.start) >= question.step for start in starts)
        if not moved:
            return ""
        return (
            f"the start of this canary's windows moves (it did {moved} times before), so that each is judged for "
            "itself, and the stated rate of false alarms holds for one of them, not for all together; keep the start, "
            "and let the window grow"
        )

    def status(self, execution: str) -> dict[str, Any]:
        """What came of it: always with complete, status, config and the request."""
        row = self._row(execution, "canary")
        now = self._runs.now().timestamp()
        with self._lock:
            lost = row["status"] == RUNNING and row["id"] not in self._mine and now - row["started"] > _LOST_SECONDS
            if lost:
                self._mine.add(row["id"])
        if lost:  # by a process that has ended
            with self._giving_back(row["id"]):
                self._runs.store.change_execution(row["id"], among=[RUNNING], started=now)
                self._pool.submit(self._work, row)
        return _status(row)

    def _row(self, execution: str, kind: str) -> dict[str, Any]:
        row = self._runs.store.execution(execution)
        if row is None or row["kind"] != kind:
            raise UnknownRun(f"there is no execution {shown(execution)}")
        return row

    def executions(
        self, *, application: str, limit: int = 20, page: int = 1, statuses: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """The newest executions of an application."""
        skip = (page - 1) * limit
        rows = self._runs.store.executions(application=application, statuses=statuses, limit=limit, skip=skip)
        return [_status(row) for row in rows]

    def cancel(self, execution: str) -> None:
        """Stop it; one that has ended stays as it is."""
        row = self._runs.store.execution(execution)
        if row is None:
            raise UnknownRun(f"there is no execution {shown(execution)}")
        values = {"status": STOPPED, "ended": self._runs.now().timestamp(), "error": "it was cancelled"}
        self._runs.store.change_execution(execution, among=[RUNNING], **values)

    def pairs(self, execution: str) -> list[dict[str, Any]]:
        """What was compared, as metric set pairs; the id of the list is that of the execution."""
        row = self._row(execution, "canary")
        return [] if row["result"] is None else _pairs(row)

    @staticmethod
    def judges() -> list[dict[str, Any]]:
        """Both judges."""
        return [{"name": JUDGE, "visible": True}, {"name": JUDGE_NAME, "visible": True}]

    @staticmethod
    def credentials() -> list[dict[str, Any]]:
        """One account for everything: which source is meant is said by the config."""
        supported = ["CONFIGURATION_STORE", "METRICS_STORE", "OBJECT_STORE"]
        return [{"name": JUDGE, "type": "prometheus", "supportedTypes": supported, "locations": []}]


def fresh_row(
    execution: str, kind: str, application: str, *, about: str, asked: Mapping[str, Any], now: float
) -> dict[str, Any]:
    """Of something that was asked for just now."""
    row: dict[str, Any] = {"id": execution, "kind": kind, "application": application[:200], "about": about}
    row |= {"asked": asked, "status": RUNNING, "created": now, "started": now}
    return {**row, "ended": None, "result": None, "error": ""}


# --- pieces ---------------------------------------------------------------------------------------------------------


def _sided(chosen: Chosen, question: Question) -> JudgeConfig:
    """The config with the labels of the request; the config's own stay where the request has none."""
    return chosen.config.with_sides(baseline=question.baseline, canary=question.canary)


def _document(chosen: Chosen, question: Question) -> dict[str, Any]:
    """The canary config, whose metrics have a scope of the request, as deck wants it."""
    document = dict(chosen.document)
    if chosen.folder:
        name = _whole(question.request)[0]
        document["metrics"] = [{**metric, "scopeName": name} for metric in document["metrics"]]
    return document


def _about(chosen: Chosen, question: Question, application: str) -> str:
    text = json.dumps([application, chosen.id, chosen.config.hash(), question.baseline, question.canary])
    return hashlib.sha256(text.encode()).hexdigest()


def _queries(config: JudgeConfig) -> dict[str, dict[str, str]]:
    shown: dict[str, dict[str, str]] = {}
    for query in config.queries():
        sides = shown.setdefault(query.metric, {})
        sides[query.side.value] = (
            f"{sides[query.side.value]} / {query.expression}" if query.side.value in sides else (query.expression)
        )
    return shown


def _compatible(chosen: Chosen, question: Question, values: Mapping[str, Any]) -> dict[str, Any]:
    """The result of Kayenta's own judge."""
    pairs = [
        MetricSetPair(name=name, id=name, baseline=_array(sides.get("baseline")), canary=_array(sides.get("canary")))
        for name, sides in values.items()
    ]
    given = kayenta.CanaryConfig.from_mapping(chosen.document)
    result = kayenta.judge(given, pairs, question.band).to_mapping()
    for one in result["results"]:
        one.setdefault("classificationReason", "")
        one.setdefault("resultMetadata", {})
    # Orca reads a whole number, and Argo cuts it off
    result["score"] = {**result["score"], "score": int(np.floor(float(result["score"]["score"])))}
    return result


def _array(values: Sequence[float | str] | None) -> Float:
    """From numbers, and the texts that stand for those that JSON cannot write."""
    return np.array([float(value) for value in values or ()], dtype=float)


def _status(row: Mapping[str, Any]) -> dict[str, Any]:
    asked, status = row["asked"], row["status"]
    complete = status != RUNNING
    found: dict[str, Any] = {
        "application": row["application"],
        "parentPipelineExecutionId": asked["parent"],
        "pipelineId": row["id"],
        "stageStatus": dict.fromkeys(_STAGES, status),
        "complete": complete,
        "status": status,
        "config": asked["document"],
        "canaryConfigId": asked["config"] or "",
        "canaryExecutionRequest": asked["request"],
        "metricSetPairListId": row["id"],
        "metricsAccountName": JUDGE,
        "storageAccountName": JUDGE,
        "configurationAccountName": JUDGE,
    }
    found |= times_of(row)
    if row["error"]:
        found["exception"] = {"details": {"error": row["error"], "errors": [row["error"]]}}
    if row["result"] is not None:
        result = row["result"]["judgeResult"]
        duration = _duration(asked["request"])
        found["result"] = {
            "judgeResult": result,
            "canaryDuration": duration,
            "application": row["application"],
            "parentPipelineExecutionId": asked["parent"],
        }
    return found


def times_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """When it was asked for, begun and ended."""
    found: dict[str, Any] = {}
    for name, at in (("build", row["created"]), ("start", row["started"]), ("end", row["ended"])):
        if at is not None:
            found |= {f"{name}TimeMillis": millis(at), f"{name}TimeIso": iso(at)}
    return found


def _whole(request: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The first scope that can be read, with its name: one that no metric names was not looked at, and may be odd."""
    for name, scope in request["scopes"].items():
        with suppress(CanaryJudgeError, AttributeError):
            for key in ("controlScope", "experimentScope"):
                _scope(scope.get(key), key)
            return name, scope
    raise DataError("scopes: none of them has a controlScope and an experimentScope")


def _duration(request: Mapping[str, Any]) -> str:
    scope = _whole(request)[1]["experimentScope"]
    length = moment_of(scope["end"], "end") - moment_of(scope["start"], "start")
    seconds = round(length.total_seconds(), 3)
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{hours:g}H" if hours else "", f"{minutes:g}M" if minutes else "", f"{rest:g}S" if rest else ""]
    return f"PT{''.join(parts) or '0S'}"


def _pairs(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    asked, values, queries = row["asked"], row["result"]["values"], row["result"]["queries"]
    scope = _whole(asked["request"])[1]
    scopes = {}
    for key, name in (("control", "controlScope"), ("experiment", "experimentScope")):
        start = moment_of(scope[name]["start"], "start").astimezone(UTC).timestamp()
        step = round(float(scope[name].get("step", 60)) * 1000)
        scopes[key] = {"startTimeIso": iso(start), "startTimeMillis": millis(start), "stepMillis": step}
    found = []
    for result in row["result"]["judgeResult"]["results"]:
        sides = values.get(result["name"], {})
        both = {"control": sides.get("baseline", []), "experiment": sides.get("canary", [])}
        asked_for = queries.get(result["name"], {})
        found.append(
            {
                "name": result["name"],
                "id": result["id"],
                "tags": result["tags"],
                "values": {key: ["NaN" if one is None else one for one in series] for key, series in both.items()},
                "scopes": scopes,
                "attributes": {
                    "control": {"query": asked_for.get("baseline", "")},
                    "experiment": {"query": asked_for.get("canary", "")},
                },
            }
        )
    return found
