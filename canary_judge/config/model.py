"""What the user writes: a strict config, read from YAML, JSON or Python.

Unknown keys are errors that name the nearest known key. Nothing here talks to a metric store.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, ValidationError, field_serializer, model_validator

from canary_judge.config.metrics import (
    Duration,
    GaugeMetric,
    LatencyMetric,
    MeanMetric,
    Metric,
    QueryText,
    RateMetric,
    RatioMetric,
    SamplesMetric,
    SideQueries,
    StrictModel,
)
from canary_judge.config.presets import PresetOptions, preset_metrics
from canary_judge.config.reading import explain, nearest, read_yaml
from canary_judge.config.templates import placeholders, render
from canary_judge.errors import ConfigError
from canary_judge.results import Role, Side
from canary_judge.series import Query, Reading, Window, format_duration
from canary_judge.untrusted import printable

__all__ = ["JudgeConfig", "ScoreThresholds", "TrafficExpectation", "json_schema"]

# Keys of options that hold what must not be kept.
_MAY_BE_SECRET = re.compile(r"(?i)pass|secret|token|key|auth|credential|header|cookie|tenant|user")

# A rate of less is none: it would let everything pass, or nothing.
Rate = Annotated[float, Field(ge=1e-6, lt=0.5)]


class ScoreThresholds(StrictModel):
    """From which score a canary may pass, and below which a regressed one fails."""

    pass_: float = Field(
        default=95.0, alias="pass", ge=0, le=100, description="A canary whose gates are safe passes from here on."
    )
    marginal: float = Field(
        default=50.0, ge=0, le=100, description="Below it any metric that counts and regressed fails the canary."
    )

    model_config = ConfigDict(populate_by_name=True)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.marginal > self.pass_:
            raise ValueError(f"marginal {self.marginal:g} is above pass {self.pass_:g}; swap them")
        return self


class TrafficExpectation(StrictModel):
    """What share of the requests the canary should get."""

    weight: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None, description="Percent of the requests; a monitor may be told another one with each look."
    )
    tolerance: float = Field(default=0.25, gt=0, lt=1, description="Largest relative deviation that is no finding.")


# Versions change with every deploy, and where data come from, and who is driven, decides nothing.
_NOT_DECIDING = {"baseline", "canary", "sources", "router", "rollout"}


class JudgeConfig(StrictModel):
    """Everything a judgement depends on but the data.

    Raises:
        ConfigError: From `load`, `parse` and `from_mapping`: the field's path, its value and the remedy.

    Examples:
        >>> config = JudgeConfig.from_mapping({
        ...     "name": "shop", "interval": "15s",
        ...     "metrics": [{"name": "errors", "kind": "ratio", "events": "errors", "total": "requests",
        ...                  "harm": "increase", "margin": "1.5x or +0.1pp"}]})
        >>> config.metrics[0].parsed_margin()
        Margin(relative=0.5, absolute=0.001)
    """

    name: str = Field(min_length=1, description="Of the config; it stands in every judgement.")
    false_alarm_rate: Rate = Field(
        default=0.01, description="How often a canary within its margins may be failed, over all metrics."
    )
    false_pass_rate: Rate = Field(default=0.05, description="How often a metric at its margin may be found safe.")
    power: float = Field(default=0.8, gt=0.5, lt=1, description="Wanted power of the planned sample size.")
    score: ScoreThresholds = ScoreThresholds()
    baseline: dict[str, str] = Field(default_factory=dict, description="Labels of the stable side, for ${label}.")
    canary: dict[str, str] = Field(default_factory=dict, description="Labels of the new side, for ${label}.")
    interval: Duration = Field(description="Length of one interval of the grid, at least twice the scrape interval.")
    history: Duration | None = Field(
        default=None,
        description="Length of the record before the run: autocorrelation of gauges; what users did before (CUPED).",
    )
    warmup: Duration | None = Field(
        default=None,
        description="Left out after the start and after each change of weight: caches fill, code is compiled.",
    )
    traffic: TrafficExpectation | None = Field(
        default=None, description="The canary's configured share of the requests."
    )
    min_samples: int = Field(default=10, ge=10, description="Fewest intervals (or raw values) per side.")
    min_events: float = Field(default=5.0, ge=5, description="Fewest expected canary events to find a count safe.")
    max_samples: int = Field(default=2_000_000, gt=0, description="Most raw points one query may read.")
    preset: str | PresetOptions | None = Field(default=None, description="Adds the metrics of a mesh or ingress.")
    metrics: tuple[Metric, ...] = Field(
        default=(), strict=False, description="What is compared; at least one must be a gate."
    )
    groups: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="Score weight of each group; without it metrics count by themselves.",
    )
    sources: dict[str, dict[str, Any]] = Field(
        default_factory=dict, repr=False, description="Validated by the sources."
    )
    router: dict[str, Any] | list[dict[str, Any]] = Field(
        default_factory=dict,
        repr=False,
        description="What drives the traffic in a rollout; a list is driven together; validated by the routers.",
    )
    rollout: dict[str, Any] = Field(
        default_factory=dict, description="Stages and policy of a rollout; validated by RolloutPlan."
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or data.get("preset") is None:
            return data
        chosen = data["preset"]
        options = PresetOptions(name=chosen) if isinstance(chosen, str) else PresetOptions.model_validate(chosen)
        return {**data, "preset": None, "metrics": [*preset_metrics(options), *(data.get("metrics") or ())]}

    @model_validator(mode="after")
    def _whole_fits(self) -> Self:
        names = [metric.name for metric in self.metrics]
        if not names:
            raise ValueError("there are no metrics; add `metrics:` or a `preset:`")
        if self.history is not None and self.history < self.interval:
            length, step = format_duration(self.history), format_duration(self.interval)
            raise ValueError(f"history: {length} is less than an interval of {step}, and holds nothing; give hours")
        if (
            repeated := sorted({name for name in names if names.count(name) > 1})
            if len(set(names)) < len(names)
            else []
        ):
            raise ValueError(f"two metrics are named {repeated[0]!r}; names must be unique")
        if not any(metric.role is Role.GATE for metric in self.metrics):
            raise ValueError("no metric has `role: gate`, so nothing could ever pass; make one a gate")
        if self.groups:
            for metric in self.metrics:
                if metric.group not in self.groups:
                    raise ValueError(
                        f"metric {metric.name!r} is in group {metric.group!r}, which has no weight in `groups`"
                        f"{nearest(metric.group, self.groups)}"
                    )
        return self

    @classmethod
    def load(cls, path: str | Path) -> JudgeConfig:
        """Read a YAML or JSON file."""
        if not isinstance(path, str | Path):
            raise ConfigError(f"the path is {type(path).__name__}; give one, or plain data to JudgeConfig.from_mapping")
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        return cls.parse(text, name=str(path))

    @classmethod
    def parse(cls, text: str, *, name: str = "config") -> JudgeConfig:
        """Read YAML or JSON text; `name` stands in front of messages."""
        if not isinstance(text, str):
            raise ConfigError(f"{name}: is {type(text).__name__}; give a text, or a path to JudgeConfig.load")
        return cls.from_mapping(read_yaml(text, name), name=name)

    @classmethod
    def from_mapping(cls, data: object, *, name: str = "config") -> JudgeConfig:
        """Validate plain Python data."""
        if not isinstance(data, Mapping):
            raise ConfigError(f"{name}: is {type(data).__name__}; it must be a mapping with name, interval and metrics")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            found = explain(
                error,
                data,
                known=_known_keys(),
                see="; see `canary-judge schema` for what there is",
                secret=lambda path: path[:1] in (["sources"], ["router"]),
            )
            lines = [f"{name}: {line}" for line in found]
            raise ConfigError("\n".join(dict.fromkeys(lines))) from None  # the cause shows all input, secrets too

    def with_sides(
        self, *, baseline: Mapping[str, str] | None = None, canary: Mapping[str, str] | None = None
    ) -> JudgeConfig:
        """The same config with labels of the sides added or replaced; versions change with every deploy.

        Raises:
            ConfigError: A label's value is no text; or its name is misspelt, so that the config's would be judged.
        """
        given = {Side.BASELINE: _of_side(baseline, "baseline"), Side.CANARY: _of_side(canary, "canary")}
        for side, labels in given.items():
            self._refuse_unused(side, labels)
        sides = {side.value: {**self.labels(side), **labels} for side, labels in given.items()}
        return self.model_copy(update=sides)

    def _refuse_unused(self, side: Side, given: Mapping[str, str]) -> None:
        asked = [self._placeholders(metric, side) for metric in self.metrics]
        placed = set().union(*asked)
        left = sorted(name for name in placed if name in self.labels(side) and name not in given)
        # of a table, or a database, a label is a column, which no placeholder tells; and others are there to be shown
        for name in given if all(asked) else ():
            if name not in placed and (meant := get_close_matches(name, left, n=1, cutoff=_ALIKE)):
                raise ConfigError(
                    f"{side}: no query asks for the label {printable(name)!r}; did you mean {meant[0]!r}? "
                    f"{meant[0]}={printable(self.labels(side)[meant[0]])} would be judged, as the config says"
                )

    def _placeholders(self, metric: Metric, side: Side) -> set[str]:
        """Labels that the queries of a metric, and the request of its source, ask for."""
        texts = [text if isinstance(text, str) else getattr(text, side.value) for _, text in metric.texts().values()]
        texts.append(str(self.sources.get(metric.source, "")))
        return {name for text in texts for name in placeholders(text)} - _OF_REQUESTS

    def __str__(self) -> str:
        """Name, and how many metrics."""
        many = "" if len(self.metrics) == 1 else "s"
        return f"{self.name}: {len(self.metrics)} metric{many}, every {format_duration(self.interval)}"

    def _repr_html_(self) -> str:
        from canary_judge import report

        return report.config_to_html(self)

    @property
    def interval_level(self) -> float:
        """Two-sided confidence level of the intervals that are shown: it mirrors the larger of the error rates."""
        return 1 - 2 * max(self.false_alarm_rate, self.false_pass_rate)

    def labels(self, side: Side) -> dict[str, str]:
        """Labels of one side."""
        return self.baseline if side is Side.BASELINE else self.canary

    def queries(self, *, since: datetime | None = None, start: datetime | None = None) -> Iterator[Query]:
        """All queries for the judged window; ConfigError when a `${label}` is undefined.

        Args:
            since: When the weight last changed, for metrics by user; by default at the start of the window.
            start: Start of the run, for what its users did before; None: nothing is asked of that.
        """
        past = None if self.history is None or start is None else Window(start - self.history, start)
        for metric in self.metrics:
            for part, (reading, text) in metric.texts().items():
                for side in (Side.BASELINE, Side.CANARY):
                    query = self._query(metric, part, reading, text, side)
                    if query.users is not None:
                        query = replace(query, users=replace(query.users, since=since, past=past))
                    yield query

    def history_queries(self) -> Iterator[Query]:
        """Queries for the record before the window: of a gauge the baseline's, with `by` those of both sides.

        Instances that served before the change are compared with themselves.
        """
        for metric in self.metrics:
            if self.history is not None and isinstance(metric, GaugeMetric):
                for side in Side if metric.by else (Side.BASELINE,):
                    yield self._query(metric, "history", Reading.LEVEL, metric.query, side)

    def _query(self, metric: Metric, part: str, reading: Reading, text: QueryText, side: Side) -> Query:
        template = text if isinstance(text, str) else getattr(text, side.value)
        labels = {**self.labels(side), "interval": format_duration(self.interval)}
        try:
            expression = render(template, labels)
        except ValueError as error:
            raise ConfigError(f"metric {metric.name!r}, {part} of the {side}: {error}") from error
        return Query(
            metric=metric.name,
            part=part,
            side=side,
            reading=reading,
            expression=expression,
            step=self.interval,
            by=metric.by if isinstance(metric, GaugeMetric) else (),
            bound=metric.bound() if isinstance(metric, LatencyMetric) else None,
            max_samples=self.max_samples,
            template=template,
            labels=tuple(self.labels(side).items()),
            users=metric.per_user(),
        )

    @field_serializer("sources", "router")
    def _plain(self, options: dict[str, Any] | list[dict[str, Any]]) -> Any:
        """What is dumped tells where, and no secret: a reference to the environment stays one."""
        return _without_secrets("", options)

    def __getstate__(self) -> dict[Any, Any]:
        """As it is dumped: a pickle holds no secret either."""
        state = super().__getstate__()
        hidden = {key: self._plain(state["__dict__"][key]) for key in ("sources", "router")}
        return {**state, "__dict__": {**state["__dict__"], **hidden}}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; what decides may be another thing then."""
        copied = super().model_copy(update=update, deep=deep)
        if set(update or ()) <= _NOT_DECIDING:
            copied.__dict__["_hashed"] = self._hashed
        else:
            copied.__dict__.pop("_hashed", None)
        return copied

    def hash(self) -> str:
        """SHA-256 of all that decides: no sides (they change with every deploy), no sources, no rollout."""
        return self._hashed

    @cached_property
    def _hashed(self) -> str:
        data = self.model_dump(mode="json", exclude=_NOT_DECIDING)
        for metric in data["metrics"]:  # what is not set says nothing, and states of before know no such key
            if metric.get("cap") is None:
                metric.pop("cap", None)
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a config file."""
    schema = JudgeConfig.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "canary_judge config"
    return schema


def _without_secrets(key: str, value: Any) -> Any:
    """A value of a source's or a router's options as it may be kept."""
    if isinstance(value, Mapping):
        return {name: _without_secrets(f"{key}.{name}", inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets(key, inner) for inner in value]
    if not isinstance(value, str) or "${env:" in value:
        return value
    if _MAY_BE_SECRET.search(key):
        return "**********"
    return f"**********@{value.rpartition('@')[2]}" if "@" in value else value


# Placeholders that are no labels.
_OF_REQUESTS = frozenset({"interval", "query", "start", "end", "step"})
# Names that are surely meant to be one: verison and version, and not region and version.
_ALIKE = 0.8


def _of_side(given: Mapping[str, str] | None, side: str) -> dict[str, str]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f"{side}: is {given!r}; give its labels as a mapping, as {{'version': '1.5.0'}}")
    for name, value in (given or {}).items():
        if not isinstance(value, str):
            raise ConfigError(f"{side}.{name}: is {value!r}, which is no text; put quotes around it as you wrote it")
    return dict(given or {})


@cache
def _known_keys() -> tuple[str, ...]:
    models: list[type[StrictModel]] = [
        JudgeConfig,
        ScoreThresholds,
        TrafficExpectation,
        PresetOptions,
        SideQueries,
        GaugeMetric,
        RatioMetric,
        RateMetric,
        SamplesMetric,
        LatencyMetric,
        MeanMetric,
    ]
    return tuple(sorted({field.alias or name for model in models for name, field in model.model_fields.items()}))
