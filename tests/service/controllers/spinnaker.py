"""Spinnaker: strict models of what Orca and deck (its UI) read of Kayenta's answers.

Required and non-null is what a Kotlin field needs, what deck reads without looking, and what issue 15 promises.
Integers are integers; unknown fields are ignored.
"""

# ruff: noqa: N815 - the fields are Kayenta's

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints, model_validator

from tests.service.controllers.api import Answer

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
