"""Kayenta's JSON: canary config, metric set pairs, the remote judge's request, the result. Its words end here.

Kayenta says control and experiment; from here on it is baseline and canary. Unknown fields are ignored, as Kayenta
does. Non-finite numbers are the strings "NaN", "Infinity" and "-Infinity", and are read in either form.

References:
    spinnaker/kayenta: CanaryConfig, CanaryMetricConfig, MetricSetPair, CanaryJudgeResult, RemoteJudgeRequest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from canary_judge.arrays import Float
from canary_judge.errors import DataError
from canary_judge.kayenta.interval import ShiftEstimate

__all__ = [
    "JUDGE_NAME",
    "CanaryConfig",
    "CanaryJudgeResult",
    "GroupScore",
    "MetricClassification",
    "MetricConfig",
    "MetricSetPair",
    "Request",
    "SideStatistics",
    "Thresholds",
    "as_json",
    "parse_json",
    "to_json",
]

JUDGE_NAME = "NetflixACAJudge-v1.0"
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "+Infinity": math.inf}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricConfig:
    """One entry of `metrics`.

    Attributes:
        name: Joins it to the pairs.
        groups: Groups in which it is scored; None where the field is missing, which Kayenta cannot judge.
        analysis: `analysisConfigurations.canary`, unread: a wrong type raises only once a pair needs it.
        query: `query` as it stands.
    """

    name: str
    groups: tuple[str, ...] | None
    analysis: Mapping[str, Any] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From which score a canary passes, and from which it is marginal."""

    pass_: float
    marginal: float

    @classmethod
    def from_mapping(cls, data: object, what: str = "scoreThresholds") -> Thresholds:
        """Read {"pass": 95, "marginal": 75}."""
        fields = _mapping(data, what)
        return cls(pass_=_number(fields, "pass", what), marginal=_number(fields, "marginal", what))


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryConfig:
    """What a judgement needs of a canary config.

    Attributes:
        name: Its name; "" where there is none.
        metrics: In the order of the file; a second metric of a name is never found.
        group_weights: `classifier.groupWeights`; None where there is no classifier, which Kayenta cannot judge.
        thresholds: `classifier.scoreThresholds`, which the judge does not read; None where there are none to read.
        templates: Named query templates.
        judge: Name of the judge; "" where none is named.
    """

    name: str
    metrics: tuple[MetricConfig, ...]
    group_weights: Mapping[str, float] | None
    thresholds: Thresholds | None = None
    templates: Mapping[str, str] = field(default_factory=dict)
    judge: str = ""

    @classmethod
    def from_mapping(cls, data: object) -> CanaryConfig:
        """Read a canary config.

        Raises:
            DataError: A field that is needed has another type; the message names it.
        """
        fields = _mapping(data, "the canary config")
        inner = fields.get("canaryConfig")
        if isinstance(inner, Mapping) and "metrics" not in fields:  # the body of an ad-hoc request
            fields = inner
        judge = fields.get("judge")
        metrics = tuple(
            _metric(item, f"metrics[{index}]") for index, item in enumerate(_sequence(fields.get("metrics"), "metrics"))
        )
        classifier = fields.get("classifier")
        weights: dict[str, float] | None = None
        thresholds = None
        if classifier is not None:
            classifier = _mapping(classifier, "classifier")
            given = _mapping(classifier.get("groupWeights") or {}, "classifier.groupWeights")
            weights = {str(name): _number(given, name, "classifier.groupWeights") for name in given}
            with suppress(DataError):  # nobody in Kayenta reads them, so nothing wrong with them may stop a judgement
                thresholds = Thresholds.from_mapping(classifier.get("scoreThresholds"), "classifier.scoreThresholds")
        templates = _mapping(fields.get("templates") or {}, "templates")
        return cls(
            name=_text(fields, "name", "the canary config", default=""),
            metrics=metrics,
            group_weights=weights,
            thresholds=thresholds,
            templates={str(name): str(text) for name, text in templates.items()},
            judge=str(judge.get("name") or "") if isinstance(judge, Mapping) else "",
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MetricSetPair:
    """The data of one metric and one set of tags.

    Attributes:
        name: Name of its metric.
        id: Its own id.
        tags: Labels that both sides share.
        baseline: `values.control`, shape (n,), NaN for a missing value.
        canary: `values.experiment`, shape (m,).
        scopes: Start and step of each side as they stand; {} where there are none.
        attributes: Where the data came from, as it stands.
    """

    name: str
    baseline: Float
    canary: Float
    id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    scopes: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, data: object, what: str = "metricSetPair") -> MetricSetPair:
        """Read one metric set pair."""
        fields = _mapping(data, what)
        values = _mapping(fields.get("values"), f"{what}.values")
        return cls(
            name=_text(fields, "name", what),
            id=_text(fields, "id", what, default=""),
            tags={str(key): str(value) for key, value in _mapping(fields.get("tags") or {}, f"{what}.tags").items()},
            baseline=_values(values, "control", what),
            canary=_values(values, "experiment", what),
            scopes=_mapping(fields.get("scopes") or {}, f"{what}.scopes"),
            attributes=_mapping(fields.get("attributes") or {}, f"{what}.attributes"),
        )

    def to_mapping(self) -> dict[str, Any]:
        """As Kayenta writes it."""
        return {
            "name": self.name,
            "id": self.id,
            "tags": dict(self.tags),
            "values": {
                "control": [as_json(value) for value in self.baseline.tolist()],
                "experiment": [as_json(value) for value in self.canary.tolist()],
            },
            "scopes": dict(self.scopes),
            "attributes": dict(self.attributes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What Kayenta's `RemoteJudge-v1.0` posts to a judge."""

    config: CanaryConfig
    thresholds: Thresholds
    pairs: tuple[MetricSetPair, ...]

    @classmethod
    def from_mapping(cls, data: object) -> Request:
        """Read {canaryConfig, scoreThresholds, metricSetPairList}."""
        fields = _mapping(data, "the request")
        if "canaryConfig" not in fields:
            raise DataError(
                "the request has no `canaryConfig`; it must be {canaryConfig, scoreThresholds, metricSetPairList}"
            )
        config = CanaryConfig.from_mapping(fields["canaryConfig"])
        pairs = _sequence(fields.get("metricSetPairList"), "metricSetPairList", required=True)
        return cls(
            config=config,
            thresholds=Thresholds.from_mapping(fields.get("scoreThresholds")),
            pairs=tuple(
                MetricSetPair.from_mapping(pair, f"metricSetPairList[{index}]") for index, pair in enumerate(pairs)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SideStatistics:
    """Descriptive statistics of one side after preprocessing; all 0 for an empty side."""

    count: int
    mean: float
    min: float
    max: float
    std: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricClassification:
    """Kayenta's CanaryAnalysisResult.

    Attributes:
        name: Name of the metric.
        id: Id of the pair.
        tags: Tags of the pair.
        classification: Pass, High, Low, Nodata, NodataFailMetric or Error.
        reason: Why, where Kayenta gives a reason.
        groups: Groups in which it is scored.
        baseline: Statistics of the control.
        canary: Statistics of the experiment.
        ratio: mean(canary) / mean(baseline), NaN if either is 0; None for Error.
        critical: It fails the canary by itself, here and now.
        muted: It is shown only.
        shift: The interval behind the label, which Kayenta does not return; None where none was needed.
        effect: The effect size that decided; None likewise.
    """

    name: str
    id: str
    tags: Mapping[str, str]
    classification: str
    reason: str | None
    groups: tuple[str, ...]
    baseline: SideStatistics
    canary: SideStatistics
    ratio: float | None
    critical: bool
    muted: bool
    shift: ShiftEstimate | None = None
    effect: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScore:
    """Score of one group, 0 to 100."""

    name: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryJudgeResult:
    """Kayenta's answer.

    Attributes:
        results: One per pair.
        group_scores: One per group with a live metric.
        score: Usually 0 to 100; weights beyond 100 give more, and a negative remainder gives less.
        classification: Pass, Marginal or Fail.
        reason: Why the canary failed, or "".
    """

    results: tuple[MetricClassification, ...]
    group_scores: tuple[GroupScore, ...]
    score: float
    classification: str
    reason: str

    def to_mapping(self) -> dict[str, Any]:
        """As Kayenta writes it, with non-finite numbers as strings."""
        return {
            "judgeName": JUDGE_NAME,
            "results": [_result(result) for result in self.results],
            "groupScores": [
                {"name": group.name, "score": as_json(group.score), "classification": "", "classificationReason": ""}
                for group in self.group_scores
            ],
            "score": {
                "score": as_json(self.score),
                "classification": self.classification,
                "classificationReason": self.reason,
            },
        }

    @classmethod
    def from_mapping(cls, data: object) -> CanaryJudgeResult:
        """Read what `to_mapping`, or Kayenta, wrote."""
        fields = _mapping(data, "the result")
        score = _mapping(fields.get("score"), "score")
        return cls(
            results=tuple(
                _classification(item, f"results[{index}]")
                for index, item in enumerate(_sequence(fields.get("results"), "results"))
            ),
            group_scores=tuple(
                GroupScore(name=_text(item, "name", "groupScores"), score=_number(item, "score", "groupScores"))
                for item in _sequence(fields.get("groupScores"), "groupScores")
            ),
            score=_number(score, "score", "score"),
            classification=_text(score, "classification", "score"),
            reason=_text(score, "classificationReason", "score", default=""),
        )


def parse_json(text: str | bytes, what: str = "input") -> object:
    """Read JSON; DataError says where it is broken."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{what}: is no valid JSON: {error}") from error


def to_json(data: object, *, indent: int | None = None) -> str:
    """Write JSON that every parser reads: a bare NaN is an error of ours."""
    return json.dumps(data, indent=indent, allow_nan=False)


# --- one object in, one object out -------------------------------------------------------------------------------


def _metric(data: object, what: str) -> MetricConfig:
    fields = _mapping(data, what)
    groups = fields.get("groups")
    analysis = fields.get("analysisConfigurations")
    canary = analysis.get("canary") if isinstance(analysis, Mapping) else None
    return MetricConfig(
        name=_text(fields, "name", what),
        groups=None if groups is None else tuple(map(str, _sequence(groups, f"{what}.groups"))),
        analysis=canary if isinstance(canary, Mapping) else {},
        query=_mapping(fields.get("query") or {}, f"{what}.query"),
    )


def _result(result: MetricClassification) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": result.name,
        "id": result.id,
        "tags": dict(result.tags),
        "classification": result.classification,
        "groups": list(result.groups),
        "experimentMetadata": {"stats": _statistics(result.canary)},
        "controlMetadata": {"stats": _statistics(result.baseline)},
        "critical": result.critical,
        "muted": result.muted,
    }
    if result.reason is not None:
        data["classificationReason"] = result.reason
    if result.ratio is not None:
        data["resultMetadata"] = {"ratio": as_json(result.ratio)}
    return data


def _statistics(side: SideStatistics) -> dict[str, Any]:
    return {
        "count": side.count,
        "mean": as_json(side.mean),
        "min": as_json(side.min),
        "max": as_json(side.max),
        "std": as_json(side.std),
    }


def _classification(data: object, what: str) -> MetricClassification:
    fields = _mapping(data, what)

    def side(key: str) -> SideStatistics:
        stats = _mapping(_mapping(fields.get(key), f"{what}.{key}").get("stats"), f"{what}.{key}.stats")
        numbers = {name: _number(stats, name, what) for name in ("mean", "min", "max", "std")}
        return SideStatistics(count=int(_number(stats, "count", what)), **numbers)

    metadata = fields.get("resultMetadata")
    reason = fields.get("classificationReason")
    return MetricClassification(
        name=_text(fields, "name", what),
        id=_text(fields, "id", what, default=""),
        tags=_mapping(fields.get("tags") or {}, f"{what}.tags"),
        classification=_text(fields, "classification", what),
        reason=None if reason is None else str(reason),
        groups=tuple(map(str, _sequence(fields.get("groups"), f"{what}.groups"))),
        ratio=None if metadata is None else _number(_mapping(metadata, what), "ratio", what),
        critical=fields.get("critical") is True,
        muted=fields.get("muted") is True,
        baseline=side("controlMetadata"),
        canary=side("experimentMetadata"),
    )


# --- fields -------------------------------------------------------------------------------------------------------


def as_json(value: float) -> float | str:
    """A number, or the string that stands for one that JSON cannot write."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _mapping(data: object, what: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise DataError(f"{what}: is {_shown(data)}; it must be an object")
    return data


def _sequence(data: object, what: str, *, required: bool = False) -> Sequence[Any]:
    if data is None and not required:
        return ()
    if not isinstance(data, list | tuple):
        raise DataError(f"{what}: is {_shown(data)}; it must be a list")
    return data


def _text(fields: Mapping[str, Any], key: str, what: str, *, default: str | None = None) -> str:
    value = _mapping(fields, what).get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise DataError(f"{what}.{key}: is {_shown(value)}; it must be a text")
    return value


def _number(fields: Mapping[str, Any], key: str, what: str) -> float:
    return _float(_mapping(fields, what).get(key), f"{what}.{key}")


def _float(value: object, what: str) -> float:
    if isinstance(value, str):
        if value in _NON_FINITE:
            return _NON_FINITE[value]
        try:
            return float(value)
        except ValueError:
            pass
    elif isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    raise DataError(f"{what}: is {_shown(value)}; it must be a number")


def _values(fields: Mapping[str, Any], key: str, what: str) -> Float:
    given = fields.get(key)
    if not isinstance(given, list | tuple):
        raise DataError(f"{what}.values.{key}: is {_shown(given)}; it must be a list of numbers")
    if all(type(value) is float for value in given):  # the rule, and quick
        return np.array(given, dtype=float)
    return np.array([_float(value, f"{what}.values.{key}[{index}]") for index, value in enumerate(given)], dtype=float)


def _shown(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
