"""Any store that answers JSON over HTTP: Datadog, New Relic, Graphite, InfluxDB, CloudWatch, Elasticsearch, SignalFx.

The operator writes the request once, in the config: address, parameters and body, with placeholders for the query of a
metric, the time and the labels of a side; and where in the answer times and values lie, as JMESPath. Recipes are in
docs/http.md. Whoever calls the judge gives names of configs, never an address.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from canary_judge.config.reading import read_options
from canary_judge.errors import ConfigError, DataError, QueryError, SourceError, SourceUnavailable
from canary_judge.series import Query, Result, Window, nanoseconds
from canary_judge.sources.addresses import header_value, refuse_missing, without_user
from canary_judge.sources.auth import auth_from_config
from canary_judge.sources.daemons import in_daemons
from canary_judge.sources.json_requests import Request, Sender
from canary_judge.sources.loading import Loading, time_of_day
from canary_judge.sources.points import Labels, TimeIs, failed, provenance_of, to_result, twins
from canary_judge.sources.users import NO_USERS
from canary_judge.untrusted import printable

__all__ = ["HttpSource"]

_UNITS = {"s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1.0}
# Beyond these a number is of another unit than it is said to be: the years 2001 and 2200.
_EARLIEST, _LATEST = 978_307_200e9, 7_258_118_400e9
_MOST_PAGES = 100
_LONGEST_TEXT = 300
_SECRET = re.compile(r"(?i)pass|secret|token|key|auth|credential")
Points = dict[Labels, list[tuple[int, float]]]
# So many points tell the step in which a store answered.
_SOME = 5


class _Next(BaseModel):
    """The next page: where its token lies in an answer, and where it goes in the request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: str = Field(min_length=1)
    into: str = Field(pattern=r"^(body|parameters)\.\w[\w.-]*$")


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1)
    method: Literal["GET", "POST"] = "GET"
    parameters: dict[str, str] = Field(default_factory=dict)
    body: dict[str, Any] | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    auth: dict[str, Any] | None = None
    series: str | None = Field(default=None, min_length=1)
    rows: str | None = Field(default=None, min_length=1)
    labels: dict[str, str] = Field(default_factory=dict)
    times: str = Field(min_length=1)
    values: str = Field(min_length=1)
    time_unit: Literal["s", "ms", "us", "ns", "iso"]
    time_is: TimeIs
    timezone: str | None = None
    nulls: Literal["gap", "zero"] = "gap"
    failed: str | None = Field(default=None, min_length=1)
    complete: str | None = Field(default=None, min_length=1)
    throttled: str | None = Field(default=None, min_length=1)
    next: _Next | None = None
    per_minute: float | None = Field(default=None, gt=0)
    delay: str | None = None
    every: str | None = None
    timeout: float = Field(default=30.0, gt=0, le=86400)
    workers: int = Field(default=4, gt=0, le=64)
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    insecure: bool = False


class HttpSource:
    """Answers queries from a store that speaks JSON over HTTP; it is built from its section of a config.

    Examples:
        >>> source = HttpSource.from_options({
        ...     "url": "https://graphite.example/render", "time_unit": "s", "time_is": "bucket_start",
        ...     "parameters": {"target": "${query}", "from": "${start:s}", "until": "${end:s}", "format": "json"},
        ...     "series": "@", "labels": {"target": "target"},
        ...     "times": "map(&[1], datapoints)", "values": "map(&[0], datapoints)"})
        >>> source
        HttpSource('https://graphite.example/render')
    """

    # to metrics by user, whose rows such a store does not have
    answers_users: ClassVar[bool] = False

    def __init__(self, options: _Options, *, now: Callable[[], datetime] = time_of_day) -> None:
        self._options = options
        refuse_missing(ca=options.ca, cert=options.cert, key=options.key)
        headers = {
            name: header_value(f"headers.{name}", value.get_secret_value()) for name, value in options.headers.items()
        }
        self._request = Request(
            method=options.method, url=options.url, parameters=options.parameters, body=options.body
        )
        self.url = without_user(options.url)
        self._loading = Loading(options.delay, options.every, now)
        try:
            self._zone = None if options.timezone is None else ZoneInfo(options.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ConfigError(f"timezone: {options.timezone!r} is none; write it as UTC or Europe/Berlin") from None
        if options.series is not None and options.rows is not None:
            raise ConfigError("rows: stands beside `series`; an answer has series of points, or rows of one point each")
        self._paths = {
            name: _path(name, text)
            for name in ("series", "rows", "times", "values", "failed", "complete", "throttled")
            if (text := getattr(options, name)) is not None
        }
        self._labels = {name: _path(f"labels.{name}", text) for name, text in options.labels.items()}
        self._next = None if options.next is None else _path("next.token", options.next.token)
        self._sender = Sender(
            headers=headers,
            auth=None if options.auth is None else auth_from_config(options.auth),
            verify=options.ca if options.ca is not None else not options.insecure,
            cert=None if options.cert is None else options.cert if options.key is None else (options.cert, options.key),
            workers=options.workers,
            per_minute=options.per_minute,
            throttled=self._paths.get("throttled"),
            secrets=[*_secrets(options.parameters), *_secrets(options.body)],
        )

    def __repr__(self) -> str:
        return f"HttpSource({self.url!r})"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> HttpSource:
        """Build it from a config's `sources:` section."""
        try:
            return cls(read_options(_Options, options))
        except DataError as error:
            raise ConfigError(str(error)) from None

    @property
    def delay(self) -> timedelta:
        """How late points may be."""
        return self._loading.delay

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """Answer every query for an aligned window; a refused one is an error of that query alone.

        Raises:
            SourceUnavailable: The store cannot be reached, or answered nothing in time.
        """
        if not queries:
            return []
        until = time.monotonic() + self._options.timeout
        same = twins(queries, [self._sent(query, window) for query in queries])
        jobs = [partial(self._ask, query, window, until, same.get(at, "")) for at, query in enumerate(queries)]
        futures, leave = in_daemons(jobs, workers=self._options.workers, name="http")
        results: list[Result] = []
        unavailable: list[SourceUnavailable] = []
        try:
            for query, future in zip(queries, futures, strict=True):
                try:
                    results.append(future.result(timeout=max(until - time.monotonic(), 0.0)))
                except TimeoutError:
                    unavailable.append(SourceUnavailable(f"{self.url}: no answer within {self._options.timeout:g} s"))
                    results.append(failed(query, unavailable[-1], self.url))
                except SourceError as error:
                    unavailable += [error] if isinstance(error, SourceUnavailable) else []
                    results.append(failed(query, error, self.url))
        finally:
            leave()
        if len(unavailable) == len(queries):
            raise unavailable[0]
        return results

    def _sent(self, query: Query, window: Window) -> Request | None:
        try:
            return None if query.users is not None else self._request.filled(query, window)
        except QueryError:
            return None

    def _ask(self, query: Query, window: Window, until: float, refused: str) -> Result:
        if refused:
            raise QueryError(refused)
        if query.users is not None:
            raise QueryError(NO_USERS.format(kind="A store of this kind"))
        return self._loading.answer(query, window, lambda asked, part: self._answer(asked, part, until))

    def _answer(self, query: Query, window: Window, until: float) -> Result:
        request, token = self._request.filled(query, window), None
        found: Points = {}
        complete = True
        for _ in range(_MOST_PAGES):
            if token is not None and self._options.next is not None:
                request = request.with_token(self._options.next.into, token)
            answer = self._sender.send(request, until, self.url)
            self._refuse_failed(answer)
            complete = complete and self._is_complete(answer)
            self._add(self._collected(answer), found)
            if sum(map(len, found.values())) > query.max_samples:
                raise QueryError(f"the answer has more than max_samples = {query.max_samples:,} points")
            token = None if self._next is None else _search(self._next, answer, "next.token")
            if not token:
                break
        else:
            raise QueryError(f"the answer has more than {_MOST_PAGES} pages; ask for less at once")
        result = to_result(
            found, query, window, time_is=self._options.time_is, provenance=provenance_of(query, self.url), lenient=True
        )
        if complete:
            return result
        text = "the store says that its answer is not complete"
        return replace(result, complete=False, warnings=(*result.warnings, text))

    def _refuse_failed(self, answer: Any) -> None:
        if "failed" not in self._paths:
            return
        said = _search(self._paths["failed"], answer, "failed")
        if said:
            raise QueryError(f"the store says: {self._sender.shown(said)}")

    def _is_complete(self, answer: Any) -> bool:
        return "complete" not in self._paths or bool(_search(self._paths["complete"], answer, "complete"))

    # --- points ---

    @staticmethod
    def _add(page: Points, found: Points) -> None:
        """The points of a page, which must not be those of a page before."""
        for labels, points in page.items():
            known = {at for at, _ in found.get(labels, ())}
            if any(at in known for at, _ in points):
                raise QueryError("a page repeats points of a page before; is `next` the token of the next one?")
            found.setdefault(labels, []).extend(points)

    def _collected(self, answer: Any) -> Points:
        """The points of one answer."""
        found: Points = {}
        if (rows := self._paths.get("rows")) is not None:
            for row in self._items(rows, answer, "rows"):
                at, value = (_search(self._paths[name], row, name) for name in ("times", "values"))
                found.setdefault(self._labels_of(row), []).append((self._time(at), self._value(value)))
            return found
        series = self._paths.get("series")
        for item in [answer] if series is None else self._items(series, answer, "series"):
            times, values = (self._items(self._paths[name], item, name) for name in ("times", "values"))
            if len(times) != len(values):
                raise QueryError(
                    f"`times` finds {len(times)} and `values` {len(values)}; a projection as [*] leaves nulls out, "
                    "write map(&value, points)"
                )
            points = [(self._time(at), self._value(value)) for at, value in zip(times, values, strict=True)]
            if self._options.time_is != "moment" and len({at for at, _ in points}) < len(points):
                raise QueryError("one series has two points at one time; name its `labels`, or give `time_is: moment`")
            found.setdefault(self._labels_of(item), []).extend(points)
        return found

    def _items(self, path: Any, answer: Any, name: str) -> list[Any]:
        items = _search(path, answer, name)
        if items is None:
            return []
        if not isinstance(items, list):
            raise QueryError(f"`{name}` finds no list but {self._sender.shown(items)}: is the answer of another shape?")
        return items

    def _labels_of(self, item: Any) -> Labels:
        found = {name: _search(path, item, f"labels.{name}") for name, path in self._labels.items()}
        return tuple((name, "" if value is None else str(value)) for name, value in found.items())

    def _time(self, value: Any) -> int:
        unit = self._options.time_unit
        if unit == "iso":
            return self._iso(value)
        try:
            if isinstance(value, bool):
                raise TypeError
            at = float(value) * _UNITS[unit]
        except (TypeError, ValueError, OverflowError):
            raise QueryError(f"`times` finds {self._sender.shown(value)}, which is no number") from None
        if not _EARLIEST <= at <= _LATEST:
            raise QueryError(f"`times` finds {value!r}, which is no time in {unit} since 1970; see `time_unit`")
        return round(at / 1000) * 1000

    def _iso(self, value: Any) -> int:
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            raise QueryError(f"`times` finds {self._sender.shown(value)}, which is no time in ISO 8601") from None
        if moment.tzinfo is None:
            if self._zone is None:
                raise QueryError(f"`times` finds {value!r}, which has no time zone; set `timezone` of the source")
            moment = moment.replace(tzinfo=self._zone)
        try:
            return nanoseconds(moment.astimezone(UTC))
        except OverflowError:
            raise QueryError(f"`times` finds {value!r}, which is beyond all times") from None

    def _value(self, value: Any) -> float:
        if value is None:
            return 0.0 if self._options.nulls == "zero" else math.nan
        try:
            if isinstance(value, bool):
                raise TypeError
            return float(value)
        except (TypeError, ValueError, OverflowError):
            text = self._sender.shown(repr(value) if isinstance(value, str) else value)
            raise QueryError(f"`values` finds {text}, which is no number") from None


def _secrets(value: Any, name: str = "") -> list[str]:
    """Values of parameters and of a body whose names say that they are secrets."""
    if isinstance(value, Mapping):
        return [one for key, inner in value.items() for one in _secrets(inner, str(key))]
    return [value] if isinstance(value, str) and _SECRET.search(name) else []


def _path(name: str, text: str) -> Any:
    try:
        import jmespath
    except ImportError as error:
        raise ConfigError("type: http needs jmespath; pip install 'canary-judge[http]'") from error
    try:
        return jmespath.compile(text)
    except (jmespath.exceptions.JMESPathError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"{name}: {text!r} is no JMESPath: {first}") from None


def _search(path: Any, answer: Any, name: str) -> Any:
    from jmespath.exceptions import JMESPathError

    try:
        return path.search(answer)
    except JMESPathError as error:
        raise QueryError(
            f"`{name}` does not fit the answer ({printable(str(error).splitlines()[0])[:_LONGEST_TEXT]}): is it of "
            "another shape?"
        ) from None
