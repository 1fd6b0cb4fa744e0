"""Prometheus (and Thanos, Mimir, Cortex, VictoriaMetrics) as a source, through prometheus-api-client.

The only file that knows the client. Of it, only `custom_query` and `custom_query_range` are used: its other helpers
freeze default times at import, fail on NaN, or forget the time zone. Its HTTP habits (no timeout, retried time-outs,
lost error texts and warnings, parameters of a POST in the URL) are repaired in the session that it is handed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, NoReturn
from urllib.parse import unquote, urlsplit

import numpy as np
from prometheus_api_client import PrometheusConnect
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from requests.auth import AuthBase, HTTPBasicAuth

from canary_judge.bodies import TooMuchError
from canary_judge.config.reading import read_options
from canary_judge.errors import ConfigError, QueryError, SourceError, SourceUnavailable
from canary_judge.series import (
    Form,
    Query,
    Reading,
    Result,
    Series,
    Window,
    nanoseconds,
)
from canary_judge.sources.addresses import header_value, refuse_missing, without_user
from canary_judge.sources.auth import Bearer, auth_from_config
from canary_judge.sources.daemons import in_daemons
from canary_judge.sources.native import Natives, observations_of
from canary_judge.sources.promql import (
    is_selector,
    promql_length,
    refuse_many,
    refuse_unless_per_interval,
    series_of,
    unix_seconds,
    with_position,
    without_overlaps,
    without_shared,
    without_twins,
)
from canary_judge.sources.session import Session, without_collection
from canary_judge.sources.users import NO_USERS

__all__ = ["PrometheusSource"]

_MOST_POINTS = 11_000
# A sample older than this is not the base of a counter: Prometheus itself looks back as far.
_LOOK_BACK = timedelta(minutes=5)

_MOST_TARGETS = 500
# A selector whose last answer was so many times smaller than what may be read is not counted before it is read again.
_FAR_FEWER = 10


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1)
    timeout: float = Field(default=30.0, gt=0, le=86400)
    deadline: float = Field(default=120.0, gt=0, le=86400)
    workers: int = Field(default=8, gt=0, le=64)
    tenant: str | None = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    username: str | None = None
    password: SecretStr | None = None
    bearer_token: SecretStr | None = None
    auth: dict[str, Any] | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    insecure: bool = False


class PrometheusSource:
    """Answers queries from a Prometheus HTTP API.

    A bare counter selector is read as raw samples, because `increase()` loses the first events of a label that is
    born at its first event; any other expression is evaluated once per interval.

    Args:
        url: Base address, with a path prefix where there is one (Mimir: .../prometheus).
        timeout: Seconds that one query may take in all, retries included.
        deadline: Seconds that one `fetch` may take in all.
        workers: Queries at a time.
        tenant: Sent as X-Scope-OrgID.
        headers: More headers; their values are never shown.
        auth: Any `requests` auth object, or (user, password).
        bearer_token: Sent as Authorization: Bearer.
        ca: Path of a CA bundle.
        cert: Path of a client certificate, with its key or beside `key`.
        key: Path of the client certificate's key.
        insecure: Do not verify the server's certificate.
        progress: Called with (queries done, queries in all).

    Raises:
        ConfigError: The address is no http(s) address.
    """

    # to metrics by user, which sums over users cannot answer
    answers_users: ClassVar[bool] = False

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 30.0,
        deadline: float = 120.0,
        workers: int = 8,
        tenant: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: AuthBase | tuple[str, str] | None = None,
        bearer_token: str | None = None,
        ca: str | None = None,
        cert: str | None = None,
        key: str | None = None,
        insecure: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ConfigError(f"url: is no address ({error}); write it as http://localhost:9090") from None
        if parts.query or parts.fragment:
            raise ConfigError("url: has a `?` or `#` part, which would be lost; give the base address only")
        refuse_missing(ca=ca, cert=cert, key=key)
        tenant = None if tenant is None else header_value("tenant", tenant)
        bearer_token = None if bearer_token is None else header_value("bearer_token", bearer_token)
        headers = {name: header_value(f"headers.{name}", value) for name, value in (headers or {}).items()}
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"url: {without_user(url)!r} is no address; write it as http://localhost:9090")
        if parts.username is not None and auth is None:
            auth = (unquote(parts.username), unquote(parts.password or ""))
        self.url = without_user(url)
        self.progress = progress
        self._timeout, self._deadline, self._workers = timeout, deadline, workers
        session = Session(timeout=timeout, workers=workers)
        session.verify = ca if ca is not None else not insecure
        if cert is not None:
            session.cert = cert if key is None else (cert, key)
        session.headers.update({**headers, **({"X-Scope-OrgID": tenant} if tenant else {})})
        if bearer_token is not None:
            auth = Bearer(bearer_token)
        # RFC 7617: as UTF-8; requests would take text for latin-1, and show it where it is not
        session.auth = HTTPBasicAuth(*(part.encode() for part in auth)) if isinstance(auth, tuple) else auth
        session.settle(self.url)
        self._session = session
        # raw samples that a selector had, and the seconds in which it had them
        self._sizes: dict[str, tuple[int, float]] = {}
        self._apart: set[tuple[str, str]] = set()
        self._natives = Natives(self._instant)
        self._client = PrometheusConnect(self.url, session=session, method="POST")

    def __repr__(self) -> str:
        return f"PrometheusSource({self.url!r})"

    def __reduce__(self) -> NoReturn:
        """Refuse: credentials would be in the pickle, and connections cannot be."""
        raise TypeError(
            f"{self!r} is not pickled: build it where it is used, with its credentials from the environment"
        )

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> PrometheusSource:
        """Build it from a config's `sources:` section; keys as the arguments, with `username` and `password`."""
        read = read_options(_Options, options)
        if read.password is not None and read.username is None:
            raise ConfigError("password: stands without a `username`; add it")
        password = read.password.get_secret_value() if read.password else ""
        ways = {"auth": read.auth, "username": read.username, "bearer_token": read.bearer_token}
        if len(given := [name for name, value in ways.items() if value is not None]) > 1:
            raise ConfigError(f"{given[1]}: stands beside `{given[0]}`; there is one way to say who we are")
        auth: AuthBase | tuple[str, str] | None = None
        if read.auth is not None:
            auth = auth_from_config(read.auth)
        elif read.username is not None:
            auth = (read.username, password)
        return cls(
            read.url,
            timeout=read.timeout,
            deadline=read.deadline,
            workers=read.workers,
            tenant=read.tenant,
            headers={name: value.get_secret_value() for name, value in read.headers.items()},
            auth=auth,
            bearer_token=read.bearer_token.get_secret_value() if read.bearer_token else None,
            ca=read.ca,
            cert=read.cert,
            key=read.key,
            insecure=read.insecure,
        )

    @staticmethod
    def is_selector(expression: str) -> bool:
        """Whether an expression is a bare selector, which is read as it was scraped."""
        return is_selector(expression)

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """Answer every query for an aligned window.

        A refused query becomes a result with an error, so that the other metrics are still judged.

        Raises:
            SourceUnavailable: The server cannot be reached, or no query got an answer.
        """
        if not queries:
            return []
        with without_collection():
            return self._fetched(queries, window, time.monotonic() + self._deadline)

    def _fetched(self, queries: Sequence[Query], window: Window, until: float) -> list[Result]:
        results: list[Result | SourceError] = []
        jobs = [partial(self._answer, query, window, until) for query in queries]
        waiting, leave = in_daemons(jobs, workers=self._workers, name="prometheus")
        try:
            for done, future in enumerate(waiting, 1):
                try:
                    results.append(future.result(timeout=max(until - time.monotonic(), 0.0)))
                except SourceError as error:
                    results.append(error)
                except TimeoutError:
                    results.append(
                        SourceUnavailable(f"{self.url}: no answer within the deadline of {self._deadline:g} s")
                    )
                if self.progress is not None:
                    self.progress(done, len(queries))
        finally:
            leave()
        failures = [one for one in results if isinstance(one, SourceUnavailable)]
        if len(failures) == len(queries):
            raise failures[0]
        answers = [self._failed(query, one) for query, one in zip(queries, results, strict=True)]
        answers = without_shared(queries, without_twins(queries, answers))
        asking = partial(self._heard_origins, queries, answers, window, until)
        asked, _ = in_daemons([asking], workers=1, name="prometheus")
        try:
            return asked[0].result(timeout=max(until - time.monotonic(), 0.0))
        except TimeoutError:
            return _unsure_of_origins(answers, f"no answer within the deadline of {self._deadline:g} s")

    def _heard_origins(
        self, queries: Sequence[Query], answers: list[Result], window: Window, until: float
    ) -> list[Result]:
        with self._session.listening(until):
            apart = without_overlaps(queries, answers, lambda pair: self._in_common(pair, window))
            return self._with_origins(apart, window, until)

    def _in_common(self, pair: tuple[str, str], window: Window) -> int:
        """How many series both selectors find; those that are apart are asked for once."""
        if pair in self._apart:
            return 0
        both = " and ".join(f"count_over_time({text}[{promql_length(window.duration)}])" for text in pair)
        with _understanding(both):
            found = self._instant(f"count({both})", window.end)
            if found:
                return int(float(found[0]["value"][1]))
        self._apart.add(pair)
        return 0

    def _failed(self, query: Query, one: Result | SourceError) -> Result:
        if isinstance(one, Result):
            return one
        return Result(
            error=str(one),
            temporary=isinstance(one, SourceUnavailable),
            complete=False,
            provenance=f"{query.expression} at {self.url}",
        )

    # --- one query ---

    def _answer(self, query: Query, window: Window, until: float) -> Result:
        if time.monotonic() > until:
            raise SourceUnavailable(f"{self.url}: not asked, for the deadline of {self._deadline:g} s has passed")
        if query.users is not None:
            raise QueryError(NO_USERS.format(kind="Prometheus"))
        bare = self.is_selector(query.expression)
        provenance = f"{query.expression} at {self.url}"
        own = min(until, time.monotonic() + self._timeout)
        with self._session.listening(own) as warnings, _understanding(query.expression):
            if query.reading is Reading.COUNTS and not bare:
                refuse_unless_per_interval(query)
            if query.reading is Reading.HISTOGRAM:
                series, form = self._histogram(query, window, bare=bare), Form.COUNTER
            elif query.reading is Reading.LEVEL or not bare:
                series = self._range(query.expression, window, query.step)
                form = {Reading.LEVEL: Form.LEVEL, Reading.SAMPLES: Form.SAMPLES}.get(query.reading, Form.COUNTS)
            else:
                series = self._raw(query, query.expression, window)
                form = Form.COUNTER if query.reading is Reading.COUNTS else Form.SAMPLES
        said = list(dict.fromkeys(warnings))
        # Prometheus' own hints begin with PromQL; any other warning means that something may be missing
        complete = not any(text.startswith("warning") and "PromQL" not in text for text in said)
        if form is Form.COUNTS:
            said.append(
                f"{query.part}: {query.expression} is no bare counter selector, so it is evaluated per interval; "
                "increase() loses the first events of a new label: give the counter itself"
            )
        return Result(series=tuple(series), form=form, warnings=tuple(said), complete=complete, provenance=provenance)

    def _histogram(self, query: Query, window: Window, *, bare: bool) -> list[Series]:
        selector = query.expression.strip()
        if not bare:
            raise QueryError(
                f"{selector} must be a bare selector of ..._bucket series, or of a native histogram, without functions"
            )
        span = window.duration + _LOOK_BACK
        found = self._instant(f"count by (le) (count_over_time({selector}[{promql_length(span)}]))", window.end)
        bounds = [item["metric"]["le"] for item in found if "le" in item["metric"]]
        if found and not bounds:
            return self._natives.read(query, selector, window, promql_length(span))
        if not bounds:
            self._natives.refuse_classic(selector, window.end)
            return []
        wanted = [le for le in bounds if np.isclose(float(le), query.bound or 0.0, rtol=1e-9, atol=0)]
        if not wanted:
            shown = ", ".join(sorted(bounds, key=float))
            raise QueryError(f"{query.bound:g} is no bucket bound of {selector}; its bounds are {shown}")
        self._natives.refuse_half(selector, promql_length(span), window.end)
        alternatives = "|".join(re.escape(le).replace("\\", "\\\\") for le in (*wanted, "+Inf"))
        matcher = f'le=~"{alternatives}"'
        opened = selector.endswith("}")
        inner = selector[selector.index("{") + 1 : -1].strip().rstrip(",") if opened else ""
        name = selector[: selector.index("{")] if opened else selector
        return self._raw(query, f"{name}{{{inner + ',' if inner else ''}{matcher}}}", window)

    def _raw(self, query: Query, selector: str, window: Window) -> list[Series]:
        """The scraped samples themselves, by a range vector through the instant endpoint."""
        length = window.duration + _LOOK_BACK
        span = promql_length(length)
        if not self._is_small(selector, length, query.max_samples):
            counted = self._instant(f"sum(count_over_time({selector}[{span}]))", window.end)
            points = float(counted[0]["value"][1]) if counted else 0.0
            refuse_many(selector, points, query.max_samples)
            if not points:
                return []
        counts = query.reading is Reading.COUNTS
        series = [
            observations_of(item) if counts and "histograms" in item else series_of(item)
            for item in self._instant(f"{selector}[{span}]", window.end)
        ]
        found = sum(one.values.size for one in series)
        refuse_many(selector, found, query.max_samples)
        if found:
            self._sizes[selector] = found, length.total_seconds()
        else:  # nobody knows how much it has when it comes back
            self._sizes.pop(selector, None)
        return series

    def _is_small(self, selector: str, length: timedelta, most: int) -> bool:
        """Whether so long a window has by far no more samples than may be read, going by the last answer."""
        found, seconds = self._sizes.get(selector, (0, 0.0))
        return seconds > 0 and found * max(length.total_seconds() / seconds, 1.0) <= most / _FAR_FEWER

    def _instant(self, expression: str, moment: datetime) -> list[dict[str, Any]]:
        found: Any = self._call(
            lambda: self._client.custom_query(expression, {"time": unix_seconds(moment)}), expression
        )
        if not isinstance(found, list) or (found and not isinstance(found[0], dict)):
            raise QueryError(f"{expression} gave a single number; write a query that returns series")
        return found

    def _range(self, expression: str, window: Window, step: timedelta) -> list[Series]:
        """Evaluated at the end of every interval; in pieces where the server's limit of points asks for it."""
        count = window.duration // step
        pieces: dict[tuple[tuple[str, str], ...], list[Series]] = {}
        for first in range(0, count, _MOST_POINTS):
            last = min(first + _MOST_POINTS, count)
            for one in self._piece(expression, window.start, first + 1, last, step):
                pieces.setdefault(tuple(sorted(one.labels.items())), []).append(one)
        return [
            replace(
                parts[0],
                timestamps=np.concatenate([part.timestamps for part in parts]),
                values=np.concatenate([part.values for part in parts]),
            )
            for parts in pieces.values()
        ]

    def _piece(self, expression: str, origin: datetime, first: int, last: int, step: timedelta) -> list[Series]:
        """Grid points first to last; halved when the server says that it is too much."""
        times = {"start": unix_seconds(origin + first * step), "end": unix_seconds(origin + last * step)}
        width = f"{step.total_seconds():.3f}"
        try:
            found: Any = self._call(
                # the client rounds its own times to whole seconds; ours replace them
                lambda: self._client.custom_query_range(expression, origin, origin, width, times),
                expression,
            )
        except TooMuchError:
            if last - first < 2:
                raise
            middle = (first + last) // 2
            return [
                *self._piece(expression, origin, first, middle, step),
                *self._piece(expression, origin, middle + 1, last, step),
            ]
        return [series_of(item) for item in found]

    def _call(self, request: Callable[[], Any], expression: str) -> Any:
        try:
            return request()
        except TooMuchError as error:
            raise type(error)(f"{error} (query: {expression})") from error
        except SourceUnavailable as error:
            raise SourceUnavailable(f"{self.url}: {error} (query: {expression})") from error
        except QueryError as error:
            raise QueryError(with_position(str(error), expression)) from error

    # --- where new counters began ---

    def _with_origins(self, answers: list[Result], window: Window, until: float) -> list[Result]:
        """Counters that appear inside the window, with the time at which they are known to have been zero.

        Known means: their target was scraped before without them, or its process started in the window. A counter
        without such proof may be old and only newly scraped.
        """
        start = nanoseconds(window.start)
        new = [
            one.labels["instance"]
            for result in answers
            for one in result.series
            if result.form is Form.COUNTER
            and one.timestamps.size
            and one.timestamps[0] > start
            and "instance" in one.labels
        ]
        targets = sorted(set(new))
        if not targets or len(targets) > _MOST_TARGETS or time.monotonic() > until:
            return answers
        pattern = "|".join(re.escape(target) for target in targets).replace("\\", "\\\\").replace('"', '\\"')
        span = promql_length(window.duration + _LOOK_BACK)
        try:
            up = self._instant(f'up{{instance=~"{pattern}"}}[{span}]', window.end)
            begun = self._instant(f'process_start_time_seconds{{instance=~"{pattern}"}}[{span}]', window.end)
        except SourceError as error:
            return _unsure_of_origins(answers, error)
        scraped = [(one.labels.items(), one.timestamps[one.values == 1]) for one in map(series_of, up)]
        started = [(one.labels.items(), np.rint(one.values * 1e9)) for one in map(series_of, begun)]

        def origin(one: Series) -> Series:
            if not one.timestamps.size or one.timestamps[0] <= start or "instance" not in one.labels:
                return one
            # all labels of the target must agree: a pod that was relabelled has another past
            mine = one.labels.items()
            for labels, births in started:
                inside = births[(births > start) & (births <= one.timestamps[0])]
                if labels <= mine and inside.size:
                    return replace(one, began_at=int(inside[-1]))
            for labels, seen in scraped:
                before = seen[seen < one.timestamps[0]]
                if labels <= mine and before.size:
                    return replace(one, zero_at=int(before[-1]))
            return one

        return [
            replace(answer, series=tuple(origin(one) for one in answer.series))
            if answer.form is Form.COUNTER
            else answer
            for answer in answers
        ]


def _unsure_of_origins(answers: list[Result], why: object) -> list[Result]:
    note = f"it could not be told when new counters began: {why}"
    return [replace(answer, warnings=(*answer.warnings, note)) for answer in answers]


@contextmanager
def _understanding(expression: str) -> Iterator[None]:
    """An answer of another shape than Prometheus gives is an error of its query, not a crash."""
    try:
        yield
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise QueryError(f"the answer to {expression} has a shape that Prometheus does not give: {error!r}") from error
