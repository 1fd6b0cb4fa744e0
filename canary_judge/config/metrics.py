"""What the user says of one metric: its kind, its queries, the harm, the margin and the limit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from canary_judge.config.units import MARGIN_HELP, TIME, is_margin, read_limit, read_margin
from canary_judge.results import Harm, Role
from canary_judge.series import PerUser, Reading, format_duration, parse_duration
from canary_judge.stats.margins import Margin

__all__ = [
    "Duration",
    "GaugeMetric",
    "LatencyMetric",
    "MeanMetric",
    "Metric",
    "QueryText",
    "RateMetric",
    "RatioMetric",
    "SamplesMetric",
    "SideQueries",
    "StrictModel",
]


def _to_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        found = value
    elif isinstance(value, str):
        found = parse_duration(value)
    else:
        # pydantic turns ValueError, and no other, into one of its own
        raise ValueError(f"{value!r} is no duration; write it with a unit, as in 15s or 6h")  # noqa: TRY004
    if found <= timedelta(0):
        raise ValueError(f"{format_duration(found)} is no positive duration")
    return found


Duration = Annotated[
    timedelta,
    BeforeValidator(_to_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$", "examples": ["15s", "6h"]}),
]


class StrictModel(BaseModel):
    """Frozen; unknown keys, NaN and silent conversions are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True, defer_build=True)


class SideQueries(StrictModel):
    """One query per side, for stores in which the sides differ by more than label values."""

    baseline: str = Field(min_length=1, description="Asked for the stable side.")
    canary: str = Field(min_length=1, description="Asked for the new side.")


QueryText = Annotated[str, Field(min_length=1)] | SideQueries
# One in SQL may give several columns; its comments name none.
_STATEMENT, _COMMENT = re.compile(r"\s*(select|with)\b", re.IGNORECASE), re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LONG = 100


class _MetricModel(StrictModel):
    name: str = Field(min_length=1, description="Unique name, shown in the judgement.")
    harm: Harm = Field(description="The direction in which a change hurts.", strict=False)
    margin: str | None = Field(
        default=None,
        description="Largest tolerated degradation: 10%, 1.5x, +20ms, +0.1pp; of two joined by `or` the larger.",
        examples=["10%", "1.5x or +0.1pp"],
    )
    limit: str | float | None = Field(
        default=None, description="An absolute bound on the canary's own level, judged with evidence."
    )
    unit: str = Field(default="", description="Unit of the values, as in s, ms, bytes; margins are converted to it.")
    role: Role = Field(default=Role.GATE, description="gate, guard, score or watch.", strict=False)
    group: str = Field(default="default", min_length=1, description="Of metrics that share a weight in `groups`.")
    score_weight: float = Field(default=1.0, gt=0, description="Share of the score, within its group.")
    error_weight: float = Field(
        default=1.0,
        ge=1e-3,
        le=1e3,
        description="Share of `false_alarm_rate` that this metric may use, relative to the others.",
    )
    unit_of_replication: Literal["request", "interval", "instance", "user"] | None = Field(
        default=None,
        description="What is drawn at random: `instance` for a gauge averaged over few, `user` where each user stays "
        "on one side (kinds ratio and mean, from a source that knows users).",
    )
    required: bool = Field(default=False, description="Without data on this metric the canary cannot pass.")
    fail_when: Literal["beyond_margin", "any_harm"] = Field(
        default="beyond_margin", description="`any_harm`: harm that is shown fails, also within the margin."
    )
    business: bool = Field(default=False, description="This metric measures what the business wants.")
    source: str = Field(default="default", description="Name of the source that answers its queries.")

    @field_validator("margin", mode="before")
    @classmethod
    def _margin_is_readable(cls, value: object) -> object:
        if value is None:
            return None
        if not is_margin(value):
            raise ValueError(f"{value!r} is no margin; {MARGIN_HELP}")
        return value

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.margin is None and self.limit is None and self.role is not Role.WATCH:
            raise ValueError(f"needs `margin` (what degradation is tolerated?) or `limit`; {MARGIN_HELP}")
        if self.limit is not None and self.harm is Harm.EITHER:
            raise ValueError("`limit` needs `harm: increase` (an upper bound) or `harm: decrease` (a lower one)")
        self.parsed_margin()
        self.parsed_limit()
        self._check_unit()
        return self

    def _check_unit(self) -> None:
        kind = getattr(self, "kind", "")
        if self.unit_of_replication == "user":
            raise ValueError(
                f"unit_of_replication: kind {kind} has no users; use kind: mean with `numerator`, or kind: ratio, of a "
                "source that knows users"
            )

    def per_user(self) -> PerUser | None:
        """What is asked of each user; None where users are not the unit."""
        return None

    def parsed_margin(self) -> Margin | None:
        """The margin in the metric's own unit."""
        if self.margin is None:
            return None
        return read_margin(self.margin, harm=self.harm, unit=self.unit, share=self.is_proportion)

    def parsed_limit(self) -> float | None:
        """The limit in the metric's own unit."""
        if self.limit is None or isinstance(self.limit, float | int):
            return None if self.limit is None else float(self.limit)
        return read_limit(self.limit, unit=self.unit, share=self.is_proportion)

    def texts(self) -> Mapping[str, tuple[Reading, QueryText]]:
        """Query text by part."""
        raise NotImplementedError

    @property
    def is_proportion(self) -> bool:
        """Each unit of exposure is an event or not."""
        return False


class _ShareModel(_MetricModel):
    @model_validator(mode="after")
    def _limit_is_a_share(self) -> Self:
        limit = self.parsed_limit()
        if limit is not None and not 0 < limit < 1:
            raise ValueError(f"limit {self.limit!r} must be a share between 0% and 100%")
        return self

    @property
    def is_proportion(self) -> bool:
        return True


class GaugeMetric(_MetricModel):
    """One value per interval and side, or per interval and instance."""

    kind: Literal["gauge"]
    query: QueryText = Field(description="One value at a time, or one of each instance.")
    by: Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)] = Field(
        default=(), strict=False, description="Labels that keep instances apart, as in `by: pod`."
    )
    statistic: Literal["level", "mean", "quantile", "ratio", "sum"] | None = Field(
        default=None,
        description="What one point is of the requests behind it; read off the PromQL when it can be.",
    )

    def texts(self) -> Mapping[str, tuple[Reading, QueryText]]:
        """Query text by part."""
        return {"value": (Reading.LEVEL, self.query)}

    def request_statistic(self) -> str:
        """What each point is: quantile and ratio are biased when the sides have unequal traffic."""
        if self.statistic is not None:
            return self.statistic
        return _statistic_of(self._text(), instances=bool(self.by))

    def _text(self) -> str:
        return self.query if isinstance(self.query, str) else self.query.canary

    def is_name(self) -> bool:
        """Whether it is a column, or a recording rule, of which nothing tells what it is."""
        return _NAME.fullmatch(_bare(self._text())) is not None

    def is_sum(self) -> bool:
        """Whether each point is a sum over whatever a side has: sum(...), divided by nothing."""
        text = _bare(self._text())
        return bool(_SUM.match(text)) and not _COMPOSED.search(text)


@lru_cache(maxsize=1024)  # asked at every look
def _statistic_of(text: str, *, instances: bool) -> Literal["level", "mean", "quantile", "ratio", "sum"]:
    if re.search(r"\b(histogram_quantile|quantile|quantile_over_time)\b|\bquantile\s*=", text):
        return "quantile"
    bare = _bare(text)
    # a column, or a recording rule
    if (named := _ONE_NAME.fullmatch(bare)) and _NAMED_QUANTILE.search(named[1]):
        return "quantile"
    if re.search(r"\b(rate|increase|irate)\b.*/.*\b(rate|increase|irate)\b", text, re.DOTALL):
        if re.search(r"_sum\b.*/.*_count\b", text, re.DOTALL):
            return "mean"
        return "ratio"
    # CPU seconds of instances are no requests, and one series for each instance is no sum over a side
    if not instances and _RATES.match(bare) and not _COMPOSED.search(bare):
        if not _SUM.match(bare) and not re.search(r"error|fail|5xx|request|http|rpc", text):
            return "level"  # of one instance, as its collections of garbage
        return "level" if re.search(r"cpu|bytes|_seconds|restart|switches", text) else "sum"
    return "level"


@lru_cache(maxsize=1024)
def _bare(text: str) -> str:
    """A query without what stands in quotes, which may be a placeholder, and in braces: it names no metric."""
    return _BRACES.sub(" ", _QUOTED.sub("", text))


_QUOTED, _BRACES = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|`[^`]*`"), re.compile(r"\{[^{}]*\}")
_NAME = re.compile(r"\s*[\w:.\-]+\s*")
# A sum, maybe of rates, maybe in another unit (60 * sum(...)); and rates of which nothing is made.
_FACTOR, _OF = r"[\s(]*(?:[\d.]+\s*\*[\s(]*)?", r"\s*(?:(?:by|without)\s*\([^)]*\)\s*)?\("
_SUM = re.compile(rf"{_FACTOR}sum{_OF}")
_RATES = re.compile(rf"{_FACTOR}(?:sum{_OF}[\s(]*)?(?:rate|increase|irate)\s*\(")
_ONE_NAME = re.compile(rf"[\s(]*(?:(?:avg|max|min){_OF}\s*)?([\w:.]+)[\s)]*")
_COMPOSED = re.compile(r"[/<>]|\b(and|or|unless)\b")
# p99, latency_p95_ms, request_latency:p99, quantile_90
_NAMED_QUANTILE = re.compile(r"(?i)(^|[_:.])(p(50|75|9\d{1,2})|quantile\w*|percentile\w*|median)([_:.]|$)")


def _checked_cap(value: float | None) -> float | None:
    if value is not None and value <= 0:
        raise ValueError(f"is {value:g}; give the most that one user can have, above 0, or leave it out")
    return value


Cap = Annotated[float | None, AfterValidator(_checked_cap)]
_CAP = "Of a metric by user: most that one user can have (of the denominator, where there is one)."
_NO_LIMIT = "limit: is not judged by user, for what users do adds up while they are counted; give a `margin`"


def _refuse_the_same(events: QueryText, other: QueryText, name: str, remedy: str) -> None:
    """One query for two counts, unless it is a statement that names a column for each."""
    for side in ("baseline", "canary"):
        text, second = (one if isinstance(one, str) else getattr(one, side) for one in (events, other))
        sent = _COMMENT.sub(" ", text)
        both = all(re.search(rf"\b{column}\b", sent, re.IGNORECASE) for column in ("time", "events", name))
        if text == second and not (both and _STATEMENT.match(sent)):
            shown = text if len(text) <= _LONG else f"{text[:_LONG]} ..."
            raise ValueError(f"`events` and `{name}` are both {shown!r}; {remedy}")


class RatioMetric(_ShareModel):
    """Events out of a total: errors of requests, orders of sessions. By user: the same of each user's totals."""

    kind: Literal["ratio"]
    events: QueryText = Field(description="Counts, a part of the total.")
    total: QueryText = Field(description="Counts of what may be an event, as requests.")
    absent_is_zero: bool = Field(
        default=False,
        description="No event series on either side means no events; else it may be a misspelt selector.",
    )
    cap: Cap = Field(default=None, description=_CAP)

    def _check_unit(self) -> None:
        if self.unit_of_replication != "user":
            if self.cap is not None:
                raise ValueError("cap: needs `unit_of_replication: user`; requests have none")
            return
        if self.limit is not None:
            raise ValueError(_NO_LIMIT)
        if not isinstance(self.events, str) or not isinstance(self.total, str):
            # pydantic turns ValueError, and no other, into one of its own
            text = "events, total: by user both sides are read from one table; write one text each"
            raise ValueError(text)  # noqa: TRY004

    def per_user(self) -> PerUser | None:
        """What is asked of each user."""
        if self.unit_of_replication != "user" or not isinstance(self.events, str) or not isinstance(self.total, str):
            return None
        return PerUser(numerator=self.events, denominator=self.total, cap=self.cap)

    @model_validator(mode="after")
    def _a_part_of_the_total(self) -> Self:
        _refuse_the_same(self.events, self.total, "total", "`events` must select a part of `total`")
        return self

    def texts(self) -> Mapping[str, tuple[Reading, QueryText]]:
        """Query text by part."""
        if self.unit_of_replication == "user":
            return {"users": (Reading.USERS, self.events)}
        return {"events": (Reading.COUNTS, self.events), "total": (Reading.COUNTS, self.total)}


class MeanMetric(_MetricModel):
    """A mean over users: minutes per user; or of what they did: minutes per visit, stars per rating."""

    kind: Literal["mean"]
    numerator: str = Field(min_length=1, description="What is added up of each user, as `minutes`.")
    denominator: str | None = Field(
        default=None, min_length=1, description="What it is divided by, as `visits`; the number of users if left out."
    )
    cap: Cap = Field(default=None, description=_CAP)

    def _check_unit(self) -> None:
        if self.unit_of_replication not in (None, "user"):
            raise ValueError(
                f"unit_of_replication: is {self.unit_of_replication!r}; kind mean is by user: leave it out"
            )
        if self.limit is not None:
            raise ValueError(_NO_LIMIT)
        if self.denominator == self.numerator:
            raise ValueError(f"`numerator` and `denominator` are both {self.numerator!r}; divide by something else")
        margin = self.parsed_margin()
        if self.denominator is None and margin is not None and margin.absolute is not None:
            raise ValueError(
                f"margin {self.margin!r} of a mean per user must be relative, as in 2%: what a user has adds up while "
                "he is counted, so that no amount of it is large or small; or divide it by a `denominator`"
            )

    def per_user(self) -> PerUser | None:
        """What is asked of each user."""
        return PerUser(numerator=self.numerator, denominator=self.denominator, cap=self.cap)

    def texts(self) -> Mapping[str, tuple[Reading, QueryText]]:
        """Query text by part."""
        return {"users": (Reading.USERS, self.numerator)}


class RateMetric(_MetricModel):
    """Events per exposure: restarts per second of each instance's time, messages per batch."""

    kind: Literal["rate"]
    events: QueryText = Field(description="Counts.")
    exposure: QueryText | None = Field(default=None, description="A counter; observed time, in seconds, when left out.")
    absent_is_zero: bool = Field(default=False, description="As for `ratio`.")

    @model_validator(mode="after")
    def _margin_is_relative(self) -> Self:
        if self.exposure is not None:
            _refuse_the_same(self.events, self.exposure, "exposure", "leave `exposure` out for events per second")
        margin = self.parsed_margin()
        if margin is not None and margin.absolute is not None:
            raise ValueError(f"margin {self.margin!r} of a rate must be relative, as in 1.5x; use `limit` for a bound")
        limit = self.parsed_limit()
        if limit is not None and limit <= 0:
            raise ValueError(f"limit {self.limit!r} of a rate must be above 0: no data show that nothing ever happens")
        return self

    def texts(self) -> Mapping[str, tuple[Reading, QueryText]]:
        """Query text by part."""
        parts: dict[str, tuple[Reading, QueryText]] = {"events": (Reading.COUNTS, self.events)}
        if self.exposure is not None:
            parts["exposure"] = (Reading.COUNTS, self.exposure)
        return parts


class SamplesMetric(_MetricModel):
    """Raw values, as the latency of every request."""

    kind: Literal["samples"]
    query: QueryText = Field(description="A value of each request.")

    def texts(self) -> Mapping[str, tuple[Reading, QueryText]]:
        """Query text by part."""
        return {"value": (Reading.SAMPLES, self.query)}


def _unit_of_histogram(text: str) -> str | None:
    """By the name that the query begins with."""
    name = re.match(r"[\w:]*", text.strip())
    found = re.search(r"_(seconds|milliseconds|ms)(_bucket)?$", name[0] if name else "")
    if not found:
        return None
    return "s" if found[1] == "seconds" else "ms"


class LatencyMetric(_ShareModel):
    """The share of requests slower than a bound, read off a histogram (or raw latencies)."""

    kind: Literal["latency"]
    histogram: QueryText = Field(description="Its buckets, a native histogram, or raw latencies.")
    slower_than: Duration = Field(description="Must be a bucket bound of the histogram.")
    harm: Harm = Field(default=Harm.INCREASE, strict=False)

    @field_validator("harm")
    @classmethod
    def _slow_hurts(cls, value: Harm) -> Harm:
        if value is not Harm.INCREASE:
            raise ValueError(f"is {value.value!r}; more slow requests are what hurts: leave `harm` out")
        return value

    @model_validator(mode="after")
    def _unit_is_known(self) -> Self:
        self.bound()
        return self

    def bound(self) -> float:
        """The threshold in the histogram's unit."""
        unit = self.unit
        if not unit:
            both = self.histogram
            texts = (both,) if isinstance(both, str) else (both.baseline, both.canary)
            units = [_unit_of_histogram(text) for text in texts]
            if None in units:
                raise ValueError("`unit` is needed (s or ms): the histogram's name does not end in _seconds or _ms")
            if units[0] != units[-1]:
                raise ValueError(
                    f"histogram: the baseline's is in {units[0]} and the canary's in {units[-1]} by their names; one "
                    "bound cannot be both: convert one of them in its query, and set `unit`"
                )
            unit = str(units[0])
        seconds = TIME.get(unit)
        if seconds is None:
            raise ValueError(f"unit {unit!r} of a histogram of latencies must be a unit of time, as s or ms")
        return float(f"{self.slower_than.total_seconds() / seconds:.12g}")

    def texts(self) -> Mapping[str, tuple[Reading, QueryText]]:
        """Query text by part."""
        return {"histogram": (Reading.HISTOGRAM, self.histogram)}


Metric = Annotated[
    GaugeMetric | RatioMetric | RateMetric | SamplesMetric | LatencyMetric | MeanMetric, Field(discriminator="kind")
]
