"""What is asked of a metric store, and what it answers: windows, queries, raw series, and the Protocol of a source.

A source is a dumb reader. It returns raw points with their timestamps; grids, counter arithmetic and everything
that could turn missing data into good news happen in `canary_judge.samples.collecting`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from numbers import Real
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from canary_judge.errors import DataError
from canary_judge.moments import UserMoments
from canary_judge.results import Side

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Form",
    "MetricSource",
    "PerUser",
    "Query",
    "Reading",
    "Result",
    "Series",
    "Window",
    "by_name",
    "duration_from",
    "format_duration",
    "moment_from",
    "nanoseconds",
    "parse_duration",
    "percent_from",
    "selector",
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MOST_INTERVALS = 1_000_000
# Labels that tell instances apart, the closest to them first.
_INSTANCES = ("exported_pod", "pod", "k8s_pod_name", "exported_instance", "service_instance_id", "instance")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")


def parse_duration(text: str) -> timedelta:
    """Read `15s`, `500ms`, `6h` or `1h30m`; ValueError says what is allowed.

    Examples:
        >>> parse_duration("1h30m")
        datetime.timedelta(seconds=5400)
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; write a number and a unit (ms, s, m, h, d), as in 15s or 6h")
    parts = re.findall(r"([\d.]+)(ms|s|m|h|d)", text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if seconds > 3650 * 86400:
        raise ValueError(f"{text!r} is more than ten years")
    return timedelta(seconds=seconds)


def duration_from(value: object, what: str) -> timedelta:
    """A duration given as text or timedelta; DataError names what is neither, or not positive.

    Examples:
        >>> duration_from("45m", "horizon") == duration_from(timedelta(minutes=45), "horizon")
        True
    """
    if isinstance(value, str):
        try:
            value = parse_duration(value.replace(" ", ""))
        except ValueError as error:
            raise DataError(f"{what}: {error}") from None
    if not isinstance(value, timedelta):
        raise DataError(f"{what} is {value!r}; give a duration as '45m' or timedelta(minutes=45)")
    if value <= timedelta(0):
        raise DataError(f"{what} is {value}; give a positive duration")
    return value


def percent_from(value: object, what: str, *, lowest: float = 0.0, highest: float = 100.0) -> float:
    """A share of the traffic in percent; DataError names what is none.

    Examples:
        >>> percent_from(5, "weight")
        5.0
    """
    number = isinstance(value, Real) and not isinstance(value, bool)  # numpy's numbers are such
    if not number or not lowest <= float(value) <= highest:  # type: ignore[arg-type]
        raise DataError(f"{what} is {value!r}; give a percentage between {lowest:g} and {highest:g}")
    return float(value)  # type: ignore[arg-type]


def moment_from(value: object, what: str) -> datetime:
    """A moment with a time zone, in UTC: where clocks are put forward, an hour more by the clock is none.

    Raises:
        DataError: It is none; the message names it.

    Examples:
        >>> moment_from("2026-03-29T01:30:00+01:00", "start").isoformat()
        '2026-03-29T00:30:00+00:00'
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise DataError(f"{what} is {value!r}, which is no time; write it as 2026-01-31T12:00:00Z") from None
    if not isinstance(value, datetime):
        raise DataError(f"{what} is {value!r}; pass a datetime with a time zone")
    if value.tzinfo is None or value.utcoffset() is None:
        shown = value.isoformat()
        raise DataError(
            f"{what} is {shown}, which has no time zone; add one, as in {shown}+00:00 or tzinfo=datetime.UTC"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise DataError(f"{what} is {value.isoformat()}; give a time between 1970 and 2200") from None


def format_duration(duration: timedelta) -> str:
    """Write a duration as `parse_duration` reads it.

    Examples:
        >>> format_duration(timedelta(minutes=90)), format_duration(timedelta(seconds=0.25))
        ('1h30m', '250ms')
    """
    rest = round(duration.total_seconds() * 1000)
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def nanoseconds(moment: datetime) -> int:
    """Nanoseconds since the epoch of an aware datetime, exact to the microsecond."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, in UTC.

    Raises:
        DataError: An end is naive (its time zone would be guessed), or the end is not after the start.

    Examples:
        >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        >>> Window.last("30m", now=noon).start.isoformat()
        '2026-01-01T11:30:00+00:00'
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Convert to UTC; refuse naive times."""
        for name in ("start", "end"):
            moment = moment_from(getattr(self, name), f"window {name}")
            if not 1970 <= moment.year <= 2200:
                raise DataError(f"window {name} is {moment.isoformat()}; give a time between 1970 and 2200")
            object.__setattr__(self, name, moment)
        if self.end <= self.start:
            raise DataError(
                f"window end {self.end.isoformat()} is not after its start {self.start.isoformat()}; "
                "swap them or give a later end"
            )

    @classmethod
    def last(cls, duration: str | timedelta, *, now: datetime | None = None) -> Window:
        """The window of this length that ends now (or at `now`)."""
        length = duration_from(duration, "the window's length")
        end = datetime.now(UTC) if now is None else moment_from(now, "now")
        return cls(end - length, end)

    @property
    def duration(self) -> timedelta:
        """Length of the window."""
        return self.end - self.start

    def aligned(self, step: timedelta) -> Window:
        """Both ends moved back to multiples of the step since the epoch, so that every look has the same grid.

        Raises:
            DataError: Not one whole interval is left.
        """
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        start, end = (epoch + (moment - epoch) // step * step for moment in (self.start, self.end))
        if end <= start:
            raise DataError(
                f"window of {format_duration(self.duration)} holds no whole interval of {format_duration(step)}; "
                "give a longer window or a shorter `interval`"
            )
        if (end - start) // step > _MOST_INTERVALS:
            raise DataError(
                f"window of {format_duration(end - start)} has more than {_MOST_INTERVALS:,} intervals of "
                f"{format_duration(step)}; give a shorter window or a longer `interval`"
            )
        return Window(start, end)

    def edges(self, step: timedelta) -> NDArray[np.int64]:
        """Edges of the intervals in nanoseconds, shape (n + 1,); interval k is (edge k, edge k + 1]."""
        count = self.duration // step
        size = step // timedelta(microseconds=1) * 1000
        return nanoseconds(self.start) + size * np.arange(count + 1, dtype=np.int64)


def selector(labels: Mapping[str, str]) -> str:
    """Labels as a selector, for messages."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


class Reading(StrEnum):
    """What a query is read for."""

    LEVEL = "level"
    COUNTS = "counts"
    SAMPLES = "samples"
    HISTOGRAM = "histogram"
    USERS = "users"


class Form(StrEnum):
    """What the values of a result are.

    LEVEL: the quantity itself at that time. COUNTER: a cumulative count since the process started. COUNTS: events
    since the previous point. SAMPLES: raw observations, of which several may share a timestamp. MOMENTS: no series, but
    `Result.moments` of the users.
    """

    LEVEL = "level"
    COUNTER = "counter"
    COUNTS = "counts"
    SAMPLES = "samples"
    MOMENTS = "moments"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerUser:
    """What a question by user asks: each user's totals in (since, end of the window], and before the run.

    Attributes:
        numerator: What is added up of each user, in the source's own language: the name of a column, or an expression.
        denominator: The same of what it is divided by; None: by the number of users.
        cap: Most of the numerator that a user can have; with a denominator, of that: what follows is left out.
        since: When the weight last changed; the start of the window where it is None.
        past: The time before the run in which the same is added up for the same users; None: it is not known.
    """

    numerator: str
    denominator: str | None = None
    cap: float | None = None
    since: datetime | None = None
    past: Window | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question to a source.

    Attributes:
        metric: Name of the metric it serves, for messages.
        part: Its part: value, events, total, exposure, histogram, history or users.
        side: Baseline or canary.
        reading: What it is read for.
        expression: In the source's own language: PromQL, or the name of a column.
        step: Length of one interval of the grid.
        by: Labels that keep instances apart.
        bound: For histograms, the threshold in the histogram's unit.
        max_samples: Most raw points this query may read.
        template: The expression before the labels were put into it, for languages in which they are sent as values.
        labels: Of the side.
        users: What is asked of users, where these are the unit.
    """

    metric: str
    part: str
    side: Side
    reading: Reading
    expression: str
    step: timedelta
    by: tuple[str, ...] = ()
    bound: float | None = None
    max_samples: int = 2_000_000
    template: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    users: PerUser | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One series of raw points.

    Attributes:
        timestamps: Nanoseconds since the epoch, int64, shape (n,), increasing (strictly, but for SAMPLES).
        values: float64, shape (n,). NaN is a point that is present but undefined; absence is no point at all.
        labels: Its labels.
        zero_at: For counters: a time in nanoseconds at which the target was read and had no such series. It was zero
            then, unless the series is an old one under a new label; its pace tells.
        began_at: For counters: a time at which the process is known to have begun, and the counter with it.
    """

    timestamps: NDArray[np.int64]
    values: NDArray[np.float64]
    labels: Mapping[str, str] = field(default_factory=dict)
    zero_at: int | None = None
    began_at: int | None = None

    @property
    def instance(self) -> str:
        """The instance (or pod) that it is of; empty where the labels do not tell.

        `instance` alone is whoever was scraped: of kube-state-metrics, a collector or a federation one for all pods.
        """
        return next((self.labels[name] for name in _INSTANCES if self.labels.get(name)), "")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """The answer to one query.

    Attributes:
        series: What was found; empty when nothing matched.
        form: What the values are.
        warnings: What the store said about its answer.
        complete: False when the store may have left something out; then the metric cannot be found safe.
        doubt: Why no canary can be found safe by what was found, though it may show harm: its numbers are odd.
        simultaneous: False when the series were moved in time, as to compare two periods.
        error: The store refused this query, and why; the other queries are still judged.
        temporary: The error is one of the moment: asking again may help.
        provenance: The rendered query and where it was sent, without secrets.
        moments: Of the users, for the form MOMENTS.
        sparse: An interval without a row had none, as where a statement counts what happened.
        known_until: Up to when the store has all rows, where that is not the end of the window: later intervals are
            asked for again, however late they are.
    """

    series: tuple[Series, ...] = ()
    form: Form = Form.LEVEL
    warnings: tuple[str, ...] = ()
    complete: bool = True
    doubt: str | None = None
    simultaneous: bool = True
    error: str | None = None
    temporary: bool = False
    provenance: str = ""
    moments: UserMoments | None = None
    sparse: bool = False
    known_until: datetime | None = None


@runtime_checkable
class MetricSource(Protocol):
    """Whatever can answer queries: one method."""

    def fetch(self, queries: Sequence[Query], window: Window) -> Sequence[Result]:
        """Answer every query, in order, for (start, end] of an aligned window.

        Counters also return their last point at or before the start, which is the base of the first interval.

        Raises:
            SourceUnavailable: The store gives no answer at all. A refused query is a `Result` with `error`.
        """
        ...


def by_name(source: MetricSource | Mapping[str, MetricSource]) -> Mapping[str, MetricSource]:
    """Sources by the names that metrics call them by; a single one is that of metrics that name none."""
    return source if isinstance(source, Mapping) else {"default": source}
