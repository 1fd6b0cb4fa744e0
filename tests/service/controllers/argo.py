"""Argo Rollouts' AnalysisRun for one metric: its counters, its limits, and the two providers that can call us."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tests.service.controllers.api import Answer, Api

Result = Literal["Successful", "Failed", "Inconclusive", "Error"]
Phase = Literal["Pending", "Running", "Successful", "Failed", "Inconclusive", "Error"]
Condition = Callable[[Any], bool]

ERROR_RETRY_SECONDS = 10
KAYENTA_RESUME_SECONDS = 15
DEFAULT_CONSECUTIVE_ERROR_LIMIT = 4


class ProviderError(Exception):
    """The provider has no value: the measurement is an Error."""


class ControllerDied(RuntimeError):
    """A nil pointer in a goroutine without recover takes the whole controller with it."""


# ---- values, as the expression language sees them ----


class Nil:
    """expr-lang's nil: equal to nothing but null, and an error wherever a boolean or a number is needed."""

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, Nil)

    def __hash__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        raise TypeError("nil is no bool")

    def __repr__(self) -> str:
        return "nil"


NIL = Nil()


class Fields(dict):
    """A JSON object read as `result.verdict` or `result["verdict"]`; a missing field is nil and no error."""

    def __missing__(self, key: str) -> Nil:
        return NIL

    def __getattr__(self, key: str) -> Any:
        return self[key]


def _seen(value: Any) -> Any:
    if isinstance(value, dict):
        return Fields({key: _seen(item) for key, item in value.items()})
    if isinstance(value, list):
        return [_seen(item) for item in value]
    return NIL if value is None else value


# ---- the run ----


@dataclass(frozen=True)
class Decided:
    """What a provider answers that judges by itself (kayenta): the conditions are not asked."""

    phase: Result
    value: str


@dataclass(frozen=True)
class Measurement:
    phase: Result
    value: Any
    message: str
    finished_at: float


class AnalysisRun:
    """One metric of one AnalysisRun.

    `measure(call)` takes the measurement that is due next; `call` gets this run and returns the provider's value,
    a `Decided`, or raises `ProviderError`. Time is the run's own: it moves to the moment that the measurement is due,
    and `wait` is told by how much, so that a test moves its data and its service along.

    Args:
        interval: seconds between measurements; None takes one (and repeats errors only).
        count: of measurements; None with an interval goes on until it is terminated (background).
        failure_limit: more failures than this fail the run.
        inconclusive_limit: more inconclusive ones than this make the run Inconclusive.
        consecutive_error_limit: more errors in a row than this make the run an Error.
        consecutive_success_limit: so many successes in a row end the run; 0 is off.
        success_condition: on `result`; with neither condition each measurement is Successful.
        failure_condition: on `result`.
        initial_delay: seconds; 0 measures before StartedAt is set.
        start: the moment of creation, aware.
        wait: told the seconds that pass.
    """

    def __init__(
        self,
        *,
        interval: float | None = 60,
        count: int | None = None,
        failure_limit: int = 0,
        inconclusive_limit: int = 0,
        consecutive_error_limit: int = DEFAULT_CONSECUTIVE_ERROR_LIMIT,
        consecutive_success_limit: int = 0,
        success_condition: Condition | None = None,
        failure_condition: Condition | None = None,
        initial_delay: float = 0,
        start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.interval = interval
        self.count_limit = 1 if count is None and interval is None else count
        self.failure_limit, self.inconclusive_limit = failure_limit, inconclusive_limit
        self.consecutive_error_limit = consecutive_error_limit
        self.consecutive_success_limit = consecutive_success_limit
        self.success_condition, self.failure_condition = success_condition, failure_condition
        self.created, self.wait = start, wait
        self.seconds = 0.0
        self.due: float = initial_delay
        # StartedAt is set by the assessment that follows the measurements, so only a delay has it set before the first
        self.started_at: datetime | None = start if initial_delay else None
        self.phase: Phase = "Running" if initial_delay else "Pending"
        self.terminating = False
        self.measurements: list[Measurement] = []
        self.successful = self.failed = self.inconclusive = self.error = 0
        self.count = self.consecutive_error = self.consecutive_success = 0

    @property
    def now(self) -> datetime:
        return self.created + timedelta(seconds=self.seconds)

    @property
    def over(self) -> bool:
        return self.phase not in {"Pending", "Running"}

    @property
    def rollout_does(self) -> str:
        """What an inline or background step makes of the run."""
        return {"Successful": "goes on", "Inconclusive": "pauses", "Failed": "aborts", "Error": "aborts"}.get(
            self.phase, "waits"
        )

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        self.wait(seconds)

    def measure(self, call: Callable[["AnalysisRun"], Any]) -> Result | None:
        """Take the next measurement; None when there is none to take any more."""
        if self.over:
            return None
        self.pass_time(max(0.0, self.due - self.seconds))
        try:
            value = call(self)
            phase, message = (value.phase, "") if isinstance(value, Decided) else self._evaluate(_seen(value))
        except ProviderError as error:
            value, phase, message = None, "Error", str(error)
        self.measurements.append(Measurement(phase, value, message, self.seconds))
        self._count(phase)
        self.started_at = self.started_at or self.now
        retry = phase == "Error" or self.interval is None
        self.due = self.seconds + (ERROR_RETRY_SECONDS if retry else self.interval)
        self._assess()
        return phase

    def run(self, call: Callable[["AnalysisRun"], Any], most: int = 1000) -> Phase:
        """Measure until the run is over, `most` times at most."""
        for _ in range(most):
            if self.measure(call) is None:
                break
        return self.phase

    def terminate(self) -> Phase:
        """The step or the rollout has ended, so the analysis is stopped: a pass, unless a limit was broken before."""
        self.terminating = True
        self._assess()
        return self.phase

    def _evaluate(self, result: Any) -> tuple[Result, str]:
        """Failed wins over success; only one condition given decides both ways; neither true is Inconclusive."""
        holds: list[bool | None] = []
        for condition in (self.success_condition, self.failure_condition):
            try:
                answer = None if condition is None else condition(result)
            except Exception as error:  # noqa: BLE001 - any trouble of an expression is an Error of the measurement
                return "Error", f"evaluation failed: {error!r}"
            if condition is not None and not isinstance(answer, bool):
                return "Error", f"the condition gave {answer!r}; it must give a bool"
            holds.append(answer)
        success, failure = holds
        if success is None and failure is None:
            return "Successful", ""
        if failure is None:
            failure = not success
        elif success is None:
            success = not failure
        return ("Failed" if failure else "Successful" if success else "Inconclusive"), ""

    def _count(self, phase: Result) -> None:
        if phase == "Error":  # does not count towards `count`
            self.error += 1
            self.consecutive_error += 1
            self.consecutive_success = 0
            return
        self.count += 1
        self.consecutive_error = 0
        self.consecutive_success = self.consecutive_success + 1 if phase == "Successful" else 0
        self.successful += phase == "Successful"
        self.failed += phase == "Failed"
        self.inconclusive += phase == "Inconclusive"

    def _assess(self) -> None:
        if not self.over:
            self.phase = self._assessed()

    def _assessed(self) -> Phase:
        if not self.measurements:
            return "Successful" if self.terminating else self.phase
        broken: Phase | None = None  # each limit overwrites the one before
        if self.failed > self.failure_limit:
            broken = "Failed"
        if self.inconclusive > self.inconclusive_limit:
            broken = "Inconclusive"
        if self.consecutive_error > self.consecutive_error_limit:
            broken = "Error"
        if broken:
            return broken
        if self.consecutive_success_limit and self.consecutive_success >= self.consecutive_success_limit:
            return "Successful"
        if self.count_limit is not None and self.count >= self.count_limit:
            return "Inconclusive" if self.consecutive_success_limit else "Successful"
        return "Successful" if self.terminating else "Running"


# ---- the providers ----

Provider = Callable[[AnalysisRun], Any]


def _ask(api: Api, method: str, path: str, **given: Any) -> Answer:
    try:
        return api(method, path, **given)
    except OSError as error:
        raise ProviderError(str(error)) from error


def web(
    api: Api,
    path: str,
    body: Any = None,
    json_path: str = "summary",
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Provider:
    """The `web` provider: `json_path` as "summary", "$.summary" or "{$.summary}"; "" is the whole body."""
    keys = re.findall(r"[^.\[\]]+", re.sub(r"^\{?\$?\.?|\}$", "", json_path.strip()))

    def measure(_: AnalysisRun) -> Any:
        answer = _ask(api, method or ("GET" if body is None else "POST"), path, json=body, headers=headers)
        if not 200 <= answer.status < 300:
            raise ProviderError(f"received non 2xx response code: {answer.status}")
        try:
            value = answer.json
        except ValueError:
            return answer.text  # a body that is no JSON is the result, as text
        for key in keys:
            try:
                value = value[int(key)] if isinstance(value, list) else value[key]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise ProviderError(f"Could not find JSONPath in body: {key} is not found") from error
        return value

    return measure


def kayenta(
    api: Api,
    *,
    application: str,
    config_name: str,
    scopes: Sequence[Mapping[str, Any]],
    pass_score: int,
    marginal: int,
    lookback: bool = False,
    metrics_account: str = "any",
    configuration_account: str = "any",
    storage_account: str = "any",
    base: str = "/kayenta",
    most_polls: int = 1000,
) -> Provider:
    """The `kayenta` provider: three calls, and a score cut to an integer.

    `scopes` is what the manifest holds: name, controlScope, experimentScope; their fields (scope, region, step, start,
    end) go out under these very names.
    """

    def found() -> str:
        # it passes the storage account where the configuration account belongs
        params = {"application": application, "configurationAccountName": storage_account}
        for entry in _decoded(_ask(api, "GET", f"{base}/canaryConfig", params=params), list):
            _check_entry(entry)
            if entry.get("name") == config_name:
                return entry.get("id") or ""
        raise ProviderError("Canary config not found")

    def measure(run: AnalysisRun) -> Decided:
        config_id = found()
        params = {
            "application": application,
            "metricsAccountName": metrics_account,
            "configurationAccountName": configuration_account,
            "storageAccountName": storage_account,
        }
        body = {
            "scopes": {scope["name"]: _window(scope, run, lookback=lookback) for scope in scopes},
            "thresholds": {"pass": pass_score, "marginal": marginal},
        }
        started = _decoded(_ask(api, "POST", f"{base}/canary/{config_id}", params=params, json=body), dict)
        execution = _as_go_prints(started.get("canaryExecutionId"))
        if not execution:
            raise ProviderError("Invalid canaryExecutionId")
        for _ in range(most_polls):
            run.pass_time(KAYENTA_RESUME_SECONDS)
            status = _decoded(_ask(api, "GET", f"{base}/canary/{execution}"), dict)
            complete = status.get("complete")
            if not isinstance(complete, bool):
                raise ProviderError(f"complete is {complete!r}; Missing Complete Status")
            if complete:
                score = _score(status)
                phase = "Successful" if score >= pass_score else "Inconclusive" if score >= marginal else "Failed"
                return Decided(phase, str(score))
        raise AssertionError(
            f"execution {execution} is not complete after {most_polls} polls; Argo would poll for ever"
        )

    return measure


def _decoded(answer: Answer, kind: type) -> Any:
    if answer.status != 200:
        raise ProviderError(f"Invalid Response: HTTP {answer.status}")
    try:
        value = answer.json
    except ValueError as error:
        raise ProviderError(str(error)) from error
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise ProviderError(f"json: cannot unmarshal {type(value).__name__} into {kind.__name__}")
    return value


def _check_entry(entry: Any) -> None:
    """Decode one entry as Go's struct does: absent and null are the zero value, another type is an error."""
    if not isinstance(entry, dict):
        raise ProviderError(f"json: {entry!r} is no canaryConfig")
    for key, kind in {"id": str, "name": str, "updatedTimestamp": int, "updatedTimestampIso": str}.items():
        value = entry.get(key)
        if value is not None and type(value) is not kind:
            raise ProviderError(f"json: cannot unmarshal {value!r} into {key} of type {kind.__name__}")
    applications = entry.get("applications") or []
    if not isinstance(applications, list) or not all(isinstance(name, str) for name in applications):
        raise ProviderError(f"json: cannot unmarshal {applications!r} into applications of type []string")


def _window(scope: Mapping[str, Any], run: AnalysisRun, *, lookback: bool) -> dict[str, Any]:
    control, experiment = dict(scope["controlScope"]), dict(scope["experimentScope"])
    for edge in ("start", "end"):
        if bool(control.get(edge)) != bool(experiment.get(edge)):
            raise ProviderError(f"controlScope.{edge} and experimentScope.{edge} must both be set or be empty")
    if not control.get("start"):
        if lookback:
            if run.started_at is None:
                raise ControllerDied("lookback without initialDelay: StartedAt is nil at the first measurement")
            start = run.started_at
        elif run.interval is None:
            raise ProviderError('Invalid duration ""')
        else:
            start = run.now - timedelta(seconds=run.interval)
        control["start"] = experiment["start"] = _rfc3339(start)
    if not control.get("end"):
        control["end"] = experiment["end"] = _rfc3339(run.now)
    return {"controlScope": control, "experimentScope": experiment}


def _rfc3339(moment: datetime) -> str:
    """Go's time.RFC3339: whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_go_prints(value: Any) -> str:
    """fmt.Sprintf("%v"): an absent id becomes the text <nil>, which nothing catches."""
    if value is None:
        return "<nil>"
    return value if isinstance(value, str) else json.dumps(value)


def _score(status: dict[str, Any]) -> int:
    value: Any = status
    for key in ("result", "judgeResult", "score", "score"):
        if not isinstance(value, dict) or key not in value:
            raise ProviderError("Missing Score")
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProviderError(f"score is {value!r}, and no number")
    return int(value)
