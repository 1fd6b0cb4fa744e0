"""Spinnaker: strict models of what Orca and deck (its UI) read of Kayenta's answers, and Orca's canary stage.

Required and non-null is what a Kotlin field needs, what deck reads without looking, and what issue 15 promises.
Integers are integers; unknown fields are ignored.
"""

# ruff: noqa: N815 - the fields are Kayenta's

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints, ValidationError, model_validator

from tests.service.controllers.api import Answer, Api

# ---- words of the answers ----

Text = Annotated[str, StringConstraints(min_length=1)]
# java.time.Instant and Duration, as Java 11 parses them
Instant = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$")]
Duration = Annotated[str, StringConstraints(pattern=r"^P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d{1,9})?S)?)?$", min_length=3)]
NonFinite = Literal["NaN", "Infinity", "-Infinity"]
Label = Literal["Pass", "High", "Low", "Nodata", "NodataFailMetric", "Error"]  # the six that deck colours
OrcaStatus = Literal[
    "not_started",
    "running",
    "paused",
    "suspended",
    "succeeded",
    "failed_continue",
    "terminal",
    "canceled",
    "redirect",
    "stopped",
    "skipped",
    "buffered",
]
UNFINISHED = {"not_started", "running", "paused", "suspended", "buffered"}
HALTED = {"terminal", "canceled", "stopped"}


class Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


M = TypeVar("M", bound=BaseModel)


def read(model: type[M], answer: Answer) -> M:
    """The answer as the client has it: ValueError (ValidationError is one) for what would break it."""
    _ = answer.json  # refuses bare NaN and Infinity, which pydantic's parser lets through
    return model.model_validate_json(answer.text)


# ---- GET /canaryConfig, GET /credentials, POST /canary ----


class CanaryConfigEntry(Model):
    id: Text
    name: Text
    updatedTimestamp: int
    updatedTimestampIso: Instant
    applications: list[str]


class CanaryConfigs(RootModel[list[CanaryConfigEntry]]):
    pass


class Credential(Model):
    name: str
    type: str


class Credentials(RootModel[list[Credential]]):
    pass


class Started(RootModel[dict[str, Annotated[str, Field(strict=True)]]]):
    """Call<Map<String, String>>: a number or a null beside the id breaks it, and Kayenta sends nothing beside it."""

    @model_validator(mode="after")
    def _holds_the_id_only(self) -> "Started":
        if set(self.root) != {"canaryExecutionId"} or not self.root["canaryExecutionId"]:
            raise ValueError(f"the answer is {self.root}; it must hold canaryExecutionId and nothing else")
        return self

    @property
    def execution_id(self) -> str:
        return self.root["canaryExecutionId"]


# ---- GET /canary/{id} ----


class Stats(Model):
    """Deck shows count, mean, min, max; `count` of the control side is read for every result by Orca."""

    count: int
    mean: float | NonFinite
    min: float | NonFinite
    max: float | NonFinite


class SideMetadata(Model):
    stats: Stats


class ResultMetadata(Model):
    ratio: float | NonFinite | None = None


class MetricResult(Model):
    name: Text
    id: Text
    tags: dict[str, str]
    classification: Label
    classificationReason: str | None = None  # absent for most Passes
    groups: list[str]
    experimentMetadata: SideMetadata
    controlMetadata: SideMetadata
    resultMetadata: ResultMetadata | None = None
    critical: bool
    muted: bool


class GroupScore(Model):
    name: Text
    score: float
    classification: str
    classificationReason: str


class Score(Model):
    score: int
    classification: Literal["Pass", "Marginal", "Fail"]
    classificationReason: str


class JudgeResult(Model):
    judgeName: Text
    results: list[MetricResult]
    groupScores: list[GroupScore]
    score: Score


class Result(Model):
    judgeResult: JudgeResult
    canaryDuration: Duration


class Classifier(Model):
    groupWeights: dict[str, float]


class ConfigMetric(Model):
    name: Text
    scopeName: Text
    groups: list[str] = []


class Config(Model):
    """Deck writes config.id into it, so it must be an object, and finds the metric of a result by its name."""

    classifier: Classifier
    metrics: list[ConfigMetric]


class Scope(Model):
    scope: str | None = None
    location: str | None = None
    start: Instant | None = None
    end: Instant | None = None
    step: int | None = None
    extendedScopeParams: dict[str, str | None] = {}


class ScopePair(Model):
    controlScope: Scope
    experimentScope: Scope


class Thresholds(Model):
    marginal: float
    passing: float = Field(alias="pass")


class ExecutionRequest(Model):
    scopes: dict[str, ScopePair]
    thresholds: Thresholds


class OrcaScope(Scope):
    """Orca's own requests come back, and start, end, step are non-null in its class."""

    start: Instant
    end: Instant
    step: int = 60


class OrcaScopePair(Model):
    controlScope: OrcaScope
    experimentScope: OrcaScope


class OrcaThresholds(Model):
    marginal: int
    passing: int = Field(alias="pass")


class OrcaExecutionRequest(Model):
    scopes: dict[str, OrcaScopePair]
    thresholds: OrcaThresholds


class ExceptionDetails(Model):
    error: str | None = None
    errors: list[str] = []

    @model_validator(mode="after")
    def _says_something(self) -> "ExceptionDetails":
        if not self.error and not self.errors:
            raise ValueError("exception.details holds neither error nor errors; deck has nothing to show")
        return self


class ExecutionException(Model):
    details: ExceptionDetails


class Status(Model):
    """The status answer, for whoever started the run; Argo and a script may have sent no start."""

    application: Text
    complete: bool
    status: OrcaStatus
    config: Config
    canaryExecutionRequest: ExecutionRequest
    metricSetPairListId: Text
    result: Result | None = None
    exception: ExecutionException | None = None
    canaryConfigId: str | None = None
    pipelineId: str | None = None
    parentPipelineExecutionId: str | None = None
    stageStatus: dict[str, OrcaStatus] | None = None
    buildTimeIso: Instant | None = None
    startTimeIso: Instant | None = None
    endTimeIso: Instant | None = None
    storageAccountName: str | None = None
    metricsAccountName: str | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Status":
        if self.complete != (self.status not in UNFINISHED):
            raise ValueError(f"complete is {self.complete} while status is {self.status}")
        if self.status == "succeeded" and self.result is None:
            raise ValueError("status is succeeded and result is null; Orca dereferences it (result!!)")
        if self.status == "terminal" and self.exception is None:
            raise ValueError("status is terminal and exception is null; it must say exception.details.errors")
        self._deck_finds_its_way()
        return self

    def _deck_finds_its_way(self) -> None:
        metrics = {metric.name: metric for metric in self.config.metrics}
        for result in self.result.judgeResult.results if self.result else []:
            if result.name not in metrics:
                raise ValueError(f"results hold {result.name!r}, config.metrics only {sorted(metrics)}")
            scope = metrics[result.name].scopeName
            if scope not in self.canaryExecutionRequest.scopes:
                raise ValueError(f"metric {result.name!r} has scope {scope!r}, which canaryExecutionRequest lacks")


class StatusForOrca(Status):
    canaryExecutionRequest: OrcaExecutionRequest


class Executions(RootModel[list[Status]]):
    """GET /canary/executions."""


# ---- GET /metricSetPairList/{id} ----


class Values(Model):
    control: list[float | NonFinite]
    experiment: list[float | NonFinite]


class PairScope(Model):
    startTimeIso: Instant
    startTimeMillis: int
    stepMillis: int


class PairScopes(Model):
    control: PairScope
    experiment: PairScope


class PairAttributes(Model):
    control: dict[str, str]
    experiment: dict[str, str]


class MetricSetPair(Model):
    name: Text
    id: Text
    tags: dict[str, str]
    values: Values
    scopes: PairScopes
    attributes: PairAttributes


class MetricSetPairs(RootModel[list[MetricSetPair]]):
    def check(self, status: Status) -> None:
        """Deck looks the series of a result up by its id."""
        missing = {result.id for result in status.result.judgeResult.results} - {pair.id for pair in self.root}
        if missing:
            raise ValueError(f"results {sorted(missing)} have no entry in the metricSetPairList")


# ---- standalone canary analysis ----


class StandaloneStarted(RootModel[dict[str, Annotated[str, Field(strict=True)]]]):
    @model_validator(mode="after")
    def _holds_the_id(self) -> "StandaloneStarted":
        if not self.root.get("canaryAnalysisExecutionId"):
            raise ValueError(f"the answer is {self.root}; it must hold canaryAnalysisExecutionId")
        return self

    @property
    def execution_id(self) -> str:
        return self.root["canaryAnalysisExecutionId"]


class Stage(Model):
    type: str
    name: str
    status: Text


class Judgement(Model):
    executionId: Text
    judgementStartTimeIso: Instant
    judgementEndTimeIso: Instant
    warnings: list[str]
    result: Result | None = None
    exception: ExecutionException | None = None


class AnalysisResult(Model):
    didPassThresholds: bool
    hasWarnings: bool
    canaryScoreMessage: str
    canaryScores: list[float]
    canaryExecutionResults: list[Judgement]


class Standalone(Model):
    pipelineId: Text
    stageStatus: list[Stage]
    complete: bool
    executionStatus: Text  # an enum's name, of which `status` is the lower-case text
    status: OrcaStatus
    canaryAnalysisExecutionResult: AnalysisResult | None = None
    exception: ExecutionException | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Standalone":
        if self.executionStatus.lower() != self.status:
            raise ValueError(f"executionStatus is {self.executionStatus} while status is {self.status}")
        if self.complete != (self.status not in UNFINISHED):
            raise ValueError(f"complete is {self.complete} while status is {self.status}")
        if self.status == "succeeded" and self.canaryAnalysisExecutionResult is None:
            raise ValueError("status is succeeded and canaryAnalysisExecutionResult is null")
        return self


# ---- the stage ----


class Terminal(Exception):
    """The stage ends TERMINAL, for a reason that is no score."""


class Window(NamedTuple):
    start: datetime
    end: datetime


RETRIED = {429, *range(500, 600)}  # of a GET; a POST is not repeated
FEW_POINTS = (
    "One of the metrics returned fewer than 50 data points, which can reduce confidence in the final canary score."
)


class Orca:
    """Orca's canary stage: RunCanaryIntervals, MonitorKayentaCanary, AggregateCanaryResults.

    `run()` goes through the stage and returns "SUCCEEDED" or "TERMINAL"; afterwards `scores`, `windows`, `warnings`,
    `message`, `statuses` tell how. Time is the stage's own; `wait` is told the seconds that pass.

    Args:
        api: the service.
        application: of the pipeline.
        scopes: mappings with scopeName, controlScope, controlLocation, experimentScope, experimentLocation,
            extendedScopeParams.
        thresholds: {"pass": int, "marginal": int}.
        config_id: the stored config; None looks `config_name` up first.
        config_name: its name, which must be unique among the configs of the application.
        lifetime_minutes: of the canary; not needed with `end`.
        interval_minutes: between judgements; None, 0 or more than the lifetime is the lifetime.
        begin_after_minutes: warm-up; it shifts the windows unless `end` is given.
        lookback_minutes: above 0 the window slides, else it grows from the start.
        baseline_offset_minutes: how much earlier the control's window lies.
        start: of the first window; None takes the clock, anew for each interval.
        end: makes it retrospective: no waits between judgements.
        step: seconds.
        execution_id: of the pipeline, constant over its runs.
        metrics_account: with one, the credentials are read at each finished run.
        configuration_account: passed on.
        storage_account: passed on.
        now: the clock at the start of the stage, aware.
        wait: told the seconds that pass.
        monitor_seconds: after which a run that does not end is given up; a poll a second.
        base: path of the facade.
    """

    def __init__(
        self,
        api: Api,
        *,
        application: str,
        scopes: Sequence[Mapping[str, Any]],
        thresholds: Mapping[str, int],
        config_id: str | None = None,
        config_name: str | None = None,
        lifetime_minutes: int | None = None,
        interval_minutes: int | None = None,
        begin_after_minutes: int = 0,
        lookback_minutes: int = 0,
        baseline_offset_minutes: int = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        step: int = 60,
        execution_id: str = "01PIPELINE",
        metrics_account: str | None = None,
        configuration_account: str | None = None,
        storage_account: str | None = None,
        now: datetime = datetime(2026, 1, 1, tzinfo=UTC),
        wait: Callable[[float], None] = lambda _: None,
        monitor_seconds: int = 12 * 3600,
        base: str = "/kayenta",
    ) -> None:
        if end is None and lifetime_minutes is None:
            raise ValueError("Canary stage configuration must include either `endTime` or `lifetimeDuration`.")
        self.api, self.base, self.application, self.execution_id = api, base, application, execution_id
        self.scopes, self.thresholds, self.step = list(scopes), dict(thresholds), step
        self.config_id, self.config_name = config_id, config_name
        self.lifetime_minutes, self.interval_minutes = lifetime_minutes, interval_minutes
        self.warm_up = timedelta(minutes=begin_after_minutes)
        self.lookback = timedelta(minutes=lookback_minutes)
        self.baseline_offset = timedelta(minutes=baseline_offset_minutes)
        self.start, self.end = start, end
        self.accounts = {
            "metricsAccountName": metrics_account,
            "configurationAccountName": configuration_account,
            "storageAccountName": storage_account,
        }
        self.now, self.wait, self.monitor_seconds = now, wait, monitor_seconds
        self.scores: list[int] = []
        self.windows: list[Window] = []
        self.warnings: list[str] = []
        self.statuses: list[StatusForOrca] = []
        self.message = ""

    def run(self) -> Literal["SUCCEEDED", "TERMINAL"]:
        try:
            config_id = self.config_id or self._resolved()
            self.windows = self._planned()
            if self.warm_up:
                self._pass_time(self.warm_up.total_seconds())
            for window in self.windows:
                if self.end is None:
                    self._pass_time(60 * self._minutes()[1])
                score = self._judged(config_id, window)
                self.scores.append(score)
                if score <= self.thresholds["marginal"]:  # at equality too, and nothing comes after it
                    raise Terminal("Canary score is not above the marginal score threshold.")
            return self._aggregated()
        except Terminal as reason:
            self.message = str(reason)
        except ValidationError as broken:
            self.message = f"Orca cannot read the answer: {broken}"
        return "TERMINAL"

    # ---- RunCanaryIntervals ----

    def _instant(self) -> datetime:
        """Instant.now(): never the same twice."""
        self.now += timedelta(milliseconds=1)
        return self.now

    def _minutes(self) -> tuple[int, int]:
        if self.end is None:
            lifetime = self.lifetime_minutes
        else:
            lifetime = int((self.end - (self.start or self.now)).total_seconds() // 60)
        interval = self.interval_minutes or lifetime
        return lifetime, min(interval, lifetime)

    def _planned(self) -> list[Window]:
        """All windows, before the first wait; whatever is left of the lifetime is never judged."""
        lifetime, interval = self._minutes()
        if not interval:
            raise Terminal("/ by zero")
        windows = []
        for k in range(1, lifetime // interval + 1):
            shift = self.warm_up if self.end is None else timedelta(0)
            start = (self.start or self._instant()) + shift
            end = (self.start or self._instant()) + shift + timedelta(minutes=k * interval)
            windows.append(Window(end - self.lookback if self.lookback else start, end))
        return windows

    def _request(self, window: Window) -> dict[str, Any]:
        def side(scope: Mapping[str, Any], which: str, offset: timedelta) -> dict[str, Any]:
            return {
                "scope": scope.get(f"{which}Scope"),
                "location": scope.get(f"{which}Location"),
                "start": _iso(window.start - offset),
                "end": _iso(window.end - offset),
                "step": self.step,
                "extendedScopeParams": dict(scope.get("extendedScopeParams") or {}),
            }

        return {
            "scopes": {
                scope.get("scopeName", "default"): {
                    "controlScope": side(scope, "control", self.baseline_offset),
                    "experimentScope": side(scope, "experiment", timedelta(0)),
                }
                for scope in self.scopes
            },
            "thresholds": self.thresholds,
            "siteLocal": {},
        }

    # ---- the calls ----

    def _pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.wait(seconds)

    def _given(self, **params: str | None) -> dict[str, str]:
        return {key: value for key, value in params.items() if value is not None}

    def _get(self, path: str, model: type[M], **params: str | None) -> M:
        """A GET of a task that is tried again every second on 429 and 5xx; any other refusal ends the stage."""
        for _ in range(self.monitor_seconds):
            try:
                answer = self.api("GET", f"{self.base}{path}", params=self._given(**params) or None)
            except OSError:
                answer = Answer(503, "")
            if answer.status not in RETRIED:
                return self._read(model, answer)
            self._pass_time(1)
        raise Terminal(f"{path}: no answer within {self.monitor_seconds} s")

    def _read(self, model: type[M], answer: Answer) -> M:
        if not 200 <= answer.status < 300:
            raise Terminal(f"Status: {answer.status}, {answer.text}")
        try:
            return read(model, answer)
        except ValidationError:
            raise
        except ValueError as error:
            raise Terminal(f"the answer is no JSON: {error}") from error

    def _resolved(self) -> str:
        """The config by its name: the list is asked for without parameters."""
        found = [
            entry.id
            for entry in self._get("/canaryConfig", CanaryConfigs).root
            if entry.name == self.config_name and self.application in entry.applications
        ]
        if len(found) != 1:
            how = "Found more than one" if found else "Couldn't find a"
            raise Terminal(
                f"{how} canary configId for configName {self.config_name} and application {self.application}"
            )
        return found[0]

    def _judged(self, config_id: str, window: Window) -> int:
        params = self._given(application=self.application, parentPipelineExecutionId=self.execution_id, **self.accounts)
        try:
            answer = self.api("POST", f"{self.base}/canary/{config_id}", params=params, json=self._request(window))
        except OSError as error:
            raise Terminal(str(error)) from error
        execution = self._read(Started, answer).execution_id
        for _ in range(self.monitor_seconds):
            account = self.accounts["storageAccountName"]
            status = self._get(f"/canary/{execution}", StatusForOrca, storageAccountName=account)
            if status.status == "succeeded":
                self.statuses.append(status)
                self._warn(status)
                return status.result.judgeResult.score.score
            if status.status in HALTED:
                self.statuses.append(status)
                raise Terminal(f"the canary is {status.status}: {status.exception}")
            self._pass_time(1)
        raise Terminal(f"execution {execution} did not end within {self.monitor_seconds} s")

    def _warn(self, status: StatusForOrca) -> None:
        kind = ""
        if account := self.accounts["metricsAccountName"]:
            credentials = self._get("/credentials", Credentials).root
            kind = next((credential.type for credential in credentials if credential.name == account), "")
        counts = [result.controlMetadata.stats.count for result in status.result.judgeResult.results]
        if kind != "datadog" and any(count < 50 for count in counts):
            self.warnings.append(FEW_POINTS)

    # ---- AggregateCanaryResults ----

    def _aggregated(self) -> Literal["SUCCEEDED", "TERMINAL"]:
        """The last score decides, and an undecided one (above marginal, below pass) is a failure then."""
        if not self.scores:
            raise Terminal("no judgement was made")
        final = self.scores[-1]
        if final < self.thresholds["pass"]:
            raise Terminal(f"Final canary score {final} is below the pass score threshold.")
        self.message = f"Final canary score {final} met or exceeded the pass score threshold."
        return "SUCCEEDED"


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
