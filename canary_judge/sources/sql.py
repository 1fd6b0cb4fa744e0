"""A SQL database as a source, through SQLAlchemy: orders and plays are in a warehouse, not in Prometheus.

A query is a statement that selects a column `time` and one of numbers (`sql_statements`), or a count of users
(`sql_users`).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, NamedTuple

import sqlalchemy
from pydantic import BaseModel, ConfigDict, Field

from canary_judge.config.reading import read_options
from canary_judge.errors import ConfigError, DataError, QueryError, SourceError, SourceUnavailable
from canary_judge.moments import LAST, UserMoments
from canary_judge.results import Side
from canary_judge.series import Form, PerUser, Query, Result, Window, nanoseconds
from canary_judge.sources.daemons import in_daemons
from canary_judge.sources.loading import Loading, time_of_day
from canary_judge.sources.points import Labels, TimeIs, failed, provenance_of, to_result, twins
from canary_judge.sources.sql_database import Database
from canary_judge.sources.sql_sides import Names
from canary_judge.sources.sql_statements import NO_LABELS, bound, column_of, odd_text, prepared, sent_of, value_of
from canary_judge.sources.sql_tables import Activity, Assignments, divisions, plain_columns, table_of
from canary_judge.sources.sql_users import Span, statement, to_moments
from canary_judge.sources.users import span_of
from canary_judge.untrusted import printable

__all__ = ["SqlSource"]

# Of a count of users, five rows are read for each side.
_MOST_ROWS = 100
# So many rows tell what the columns hold; and texts that sort by time look so.
_EXAMPLES, _SORTABLE = 100, "____-__-__ __:__:__%"
# So many counts are remembered for `every`.
_MOST_COUNTS = 50


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1)
    timeout: float = Field(default=60.0, gt=0, le=86400)
    workers: int = Field(default=4, gt=0, le=64)
    timezone: str | None = None
    time_is: TimeIs | None = None
    table: str | None = Field(default=None, min_length=1)
    user: str = Field(default="user", min_length=1)
    timestamp: str = Field(default="timestamp", min_length=1)
    side: str | None = Field(default=None, min_length=1)
    assignments: Assignments | None = None
    delay: str | None = None
    every: str | None = None
    max_bytes: int | None = Field(default=None, gt=0)


class _Count(NamedTuple):
    """One count of users, in nanoseconds; and how the sides are called in the table.

    Attributes:
        since: Start, not part of it.
        until: Its end.
        past: The time before the run.
        sides: Baseline and canary.
    """

    since: int
    until: int
    past: tuple[int, int] | None
    sides: tuple[str, ...]


class _Last(NamedTuple):
    """The last count of a metric, which stands until it may be asked again."""

    asked: PerUser
    until: int
    moments: dict[Side, UserMoments]
    told: tuple[str, ...]
    wrong: str | None


class SqlSource:
    """Answers queries from a SQL database. A query is a SELECT with `:start` and `:end`.

    As `SELECT created_at AS time, 1 AS value FROM orders WHERE created_at > :start AND created_at <= :end AND
    release = '${version}'`. It gives a column `time` and one named like the part it answers (`events`, `total`, ...) or
    `value`; other columns are labels. One statement may answer both counts of a metric. `:start_epoch` and
    `:end_epoch` are the same moments as seconds since 1970, `:step` is the length of an interval in seconds.

    Args:
        url: As SQLAlchemy writes it, or an engine of it.
        timeout: Seconds that one fetch may take in all.
        workers: Statements at a time.
        timezone: Of times that the database gives without one; they are refused by default.
        time_is: What `time` says: the moment of a row, or the start or the end of the bucket that it counts. It must be
            said where all times of counts lie on the grid.
        activity: The table of what users did, for metrics by user.
        delay: How late rows may be: what is newer is not asked for yet.
        every: How often the database is asked at most, in the time of the data; in between its last answer stands.
        max_bytes: Most bytes that one statement may read (BigQuery).
        now: The time of day.

    Raises:
        ConfigError: The address is none, or there is no driver for it.

    Examples:
        >>> from datetime import UTC
        >>> from canary_judge.results import Side
        >>> from canary_judge.series import Reading
        >>> engine = sqlalchemy.create_engine(
        ...     "sqlite://", poolclass=sqlalchemy.StaticPool, connect_args={"check_same_thread": False})
        >>> with engine.begin() as connection:
        ...     _ = connection.exec_driver_sql("create table orders (at real, release text)")
        ...     _ = connection.exec_driver_sql("insert into orders values (1767268810, '2'), (1767268811, '2')")
        >>> query = Query(metric="orders", part="value", side=Side.CANARY, reading=Reading.COUNTS,
        ...               expression="", step=timedelta(minutes=1), labels=(("version", "2"),),
        ...               template="select at as time, 1 as value from orders "
        ...                        "where at > :start_epoch and at <= :end_epoch and release = '${version}'")
        >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
        >>> (found,) = SqlSource(engine).fetch([query], Window(noon, noon + timedelta(minutes=1)))
        >>> found.series[0].values.tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        url: str | sqlalchemy.Engine,
        *,
        timeout: float = 60.0,
        workers: int = 4,
        timezone: str | None = None,
        time_is: TimeIs | None = None,
        activity: Activity | None = None,
        delay: str | timedelta | None = None,
        every: str | timedelta | None = None,
        max_bytes: int | None = None,
        now: Callable[[], datetime] = time_of_day,
    ) -> None:
        self._database = Database(url, timeout=timeout, timezone=timezone, max_bytes=max_bytes)
        self._timeout, self._workers, self._time_is = timeout, workers, time_is
        self._activity = activity
        self._loading = Loading(delay, every, now)
        self._lock = threading.Lock()
        self._counted: dict[_Count, dict[str, _Last]] = {}
        self.url = self._database.url
        self._names = None
        if activity is not None:
            example = partial(self._time_of, activity.table, activity.timestamp, [])
            self._names = Names(self._database, activity, example)

    def __repr__(self) -> str:
        return f"SqlSource({self.url!r})"

    @property
    def delay(self) -> timedelta:
        """How late rows may be."""
        return self._loading.delay

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> SqlSource:
        """Build it from a config's `sources:` section; keys as the arguments, those of `activity` beside them."""
        read = read_options(_Options, options)
        if read.side is not None and read.assignments is not None:
            raise ConfigError("side: `side` and `assignments` both say on which side a user is; give one of them")
        activity = None
        if read.table is not None:
            activity = Activity(
                table=read.table,
                user=read.user,
                timestamp=read.timestamp,
                side=read.side,
                assignments=read.assignments,
                starts=read.time_is == "bucket_start",
            )
        elif read.assignments is not None or read.side is not None:
            raise ConfigError("table: is missing; name the table of what users did")
        try:
            return cls(
                read.url,
                timeout=read.timeout,
                workers=read.workers,
                timezone=read.timezone,
                time_is=read.time_is,
                activity=activity,
                delay=read.delay,
                every=read.every,
                max_bytes=read.max_bytes,
            )
        except DataError as error:
            raise ConfigError(str(error)) from None

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """Answer every query for an aligned window; a refused statement is an error of that query alone.

        Raises:
            SourceUnavailable: The database cannot be reached, or no statement was answered in time.
        """
        if not queries:
            return []
        until = time.monotonic() + self._timeout
        sent = [None if query.users is not None else sent_of(query, window) for query in queries]
        refused = {id(queries[place]): text for place, text in twins(queries, sent).items()}
        alike: dict[object, list[Query]] = {}
        for query, what in zip(queries, sent, strict=True):
            if query.users is None and id(query) not in refused:
                alike.setdefault(id(query) if what is None else (what, query.max_samples), []).append(query)
        asked: list[tuple[list[Query], Callable[[], list[Result]]]] = [
            (same, partial(self._ask, same, window)) for same in alike.values()
        ]
        for count, same in self._counts(queries, window).items():
            asked.append((same, partial(self._users, count, same)))
        futures, leave = in_daemons([job for _, job in asked], workers=self._workers, name="sql")
        results: dict[int, Result] = {}
        unavailable: list[SourceUnavailable] = []
        try:
            for (group, _), future in zip(asked, futures, strict=True):
                try:
                    found = future.result(timeout=max(until - time.monotonic(), 0.0))
                except TimeoutError:
                    unavailable.append(SourceUnavailable(f"{self.url}: no answer within {self._timeout:g} s"))
                    found = [failed(query, unavailable[-1], self.url) for query in group]
                except SourceError as error:
                    unavailable += [error] if isinstance(error, SourceUnavailable) else []
                    found = [failed(query, error, self.url) for query in group]
                results |= zip(map(id, group), found, strict=True)
        finally:
            leave()
        if asked and len(unavailable) == len(asked):
            raise unavailable[0]
        for query in queries:
            if id(query) in refused:
                results[id(query)] = failed(query, QueryError(refused[id(query)]), self.url)
        return [results[id(query)] for query in queries]

    def statements(self, queries: Sequence[Query], window: Window) -> list[str]:
        """What `fetch` would send, as the database reads it.

        Raises:
            SourceError: A query cannot be sent, or the database cannot be asked what its times are like.
        """
        texts = [self._database.text_of(prepared(*bound(query, window))) for query in queries if query.users is None]
        for count, same in self._counts(queries, window).items():
            texts.append(self._database.text_of(self._statement(count, list(_by_metric(same).values()))[0]))
        return list(dict.fromkeys(texts))

    # --- users ---

    def _counts(self, queries: Sequence[Query], window: Window) -> dict[_Count, list[Query]]:
        """Queries by user, of which each group is one statement."""
        labels: dict[Side, dict[str, str]] = {query.side: dict(query.labels) for query in queries}
        found: dict[_Count, list[Query]] = {}
        known = nanoseconds(self._loading.known)  # once, for time goes on
        for query in queries:
            if query.users is None:
                continue
            asked, since, until = span_of(query, window)
            until = min(until, known)
            past = None if asked.past is None else (nanoseconds(asked.past.start), nanoseconds(asked.past.end))
            names = tuple(self._called(side, labels.get(side, {})) for side in Side)
            found.setdefault(_Count(min(since, until), until, past, names), []).append(query)
        return found

    def _called(self, side: Side, labels: Mapping[str, str]) -> str:
        """How a side is called in the table: as its label of the column's name says, or by its name here."""
        return labels.get(self._names.column if self._names else "side", side.value)

    def _users(self, count: _Count, queries: Sequence[Query]) -> list[Result]:
        key = count._replace(until=0)
        with self._lock:
            if len(self._counted) > _MOST_COUNTS:
                self._counted.clear()  # of weights before
            known = self._counted.setdefault(key, {})
        every = self._loading.every // timedelta(microseconds=1) * 1000
        metrics = _by_metric(queries)
        fresh = all(
            (last := known.get(metric)) is not None
            and last.asked == _text(users)
            and 0 <= count.until - last.until < every
            for metric, users in metrics.items()
        )
        if not fresh:
            select, moments_of = self._statement(count, list(metrics.values()))
            found = moments_of(self._database.rows(select, _MOST_ROWS)[1])
            told = self._names.unknown(count.since, count.sides, found[0]) if self._names else ()
            wrong = self._names.misspelt(count.since, count.sides, found[0]) if self._names else None
            for (metric, users), moments in zip(metrics.items(), found, strict=True):
                known[metric] = _Last(_text(users), count.until, moments, told, wrong)
        return [
            Result(
                form=Form.MOMENTS,
                moments=known[query.metric].moments[query.side],
                warnings=known[query.metric].told,
                error=known[query.metric].wrong,
                provenance=f"users of {self._activity.table if self._activity else ''} at {self.url}",
            )
            for query in queries
        ]

    def _statement(
        self, count: _Count, metrics: Sequence[PerUser | None]
    ) -> tuple[Any, Callable[[Sequence[Sequence[Any]]], list[dict[Side, UserMoments]]]]:
        """What counts the users, and what reads its rows."""
        activity = self._activity
        if activity is None:
            raise QueryError("a metric by user needs the `table` of the source (and its user, timestamp, side)")
        if len(set(count.sides)) == 1:
            raise QueryError(f"both sides are called {count.sides[0]!r} in the table; give each its own label")
        time_of = partial(self._database.time, column=activity.timestamp)
        asked = [one for one in metrics if one is not None]
        example = self._example(activity, asked)

        def comparable(moment: int) -> object:
            return self._database.comparable(moment, example, activity.timestamp)

        third = (count.until - count.since) // 3
        span = Span(
            since=comparable(count.since),
            until=comparable(count.until),
            early=comparable(count.since + third),
            late=comparable(count.until - third),
            last=comparable(count.until - (count.until - count.since) // LAST),
            past=None if count.past is None else (comparable(count.past[0]), comparable(count.past[1])),
        )
        select = statement(
            activity, asked, span, dict(zip(Side, count.sides, strict=True)), dialect=self._database.dialect
        )
        return select, partial(
            to_moments,
            metrics=len(asked),
            since=count.since,
            until=count.until,
            past=count.past is not None,
            moment=time_of,
        )

    def _example(self, activity: Activity, metrics: Sequence[PerUser]) -> object:
        """A time of the table, which tells how times are compared with it; columns that hold texts are refused."""
        names, parts = plain_columns(metrics), divisions(metrics)
        example = self._time_of(activity.table, activity.timestamp, names, parts)
        if (given := activity.assignments) is not None:
            other = self._time_of(given.table, given.timestamp, [])
            kinds = [(type(one), getattr(one, "tzinfo", None) is None) for one in (example, other)]
            if isinstance(example, int | float) and isinstance(other, int | float):
                kinds = kinds[:1] * 2
            if kinds[0] != kinds[1]:
                raise QueryError(
                    f"{given.table}.{given.timestamp} has times as {other!r}, {activity.table}.{activity.timestamp} as "
                    f"{example!r}; they cannot be compared: make them alike, as in a view"
                )
        return example

    def _time_of(self, name: str, timestamp: str, columns: Sequence[str], parts: Sequence[str] = ()) -> object:
        table = table_of(name, timestamp, *columns)
        column = table.c[timestamp]
        divided: list[Any] = [sqlalchemy.literal_column(f"({text})") for text in parts]
        chosen = sqlalchemy.select(column, *(table.c[one] for one in columns), *divided).where(column.is_not(None))
        _, rows = self._database.rows(chosen.limit(_EXAMPLES), _EXAMPLES)
        if not rows:
            raise QueryError(f"the table {name} has no row with a {timestamp}")
        for place, one in enumerate(columns, 1):
            if texts := [row[place] for row in rows if isinstance(row[place], str | bytes)]:
                raise QueryError(f"column {one!r} has the text {printable(repr(texts[0]))}, which cannot be added up")
        for place, one in enumerate(parts, 1 + len(columns)):
            known = [row[place] for row in rows if row[place] is not None]
            if known and all(isinstance(value, int) and not isinstance(value, bool) for value in known):
                raise QueryError(
                    f"{one!r} gives whole numbers: this database divides whole columns without a remainder. Write "
                    f"1.0 * {one}"
                )
        example: object = rows[0][0]
        if isinstance(example, str):  # compared as text, so that all of them must be of one form
            odd = sqlalchemy.select(column).where(sqlalchemy.not_(column.like(_SORTABLE))).limit(1)
            if strange := self._database.rows(odd, 1)[1]:
                example = strange[0][0]
        return example

    # --- queries ---

    def _ask(self, same: Sequence[Query], window: Window) -> list[Result]:
        """The answers to queries that send the same statement, which is sent once."""
        read = cache(partial(self._rows, same[0]))
        parts = Counter((query.metric, query.side) for query in same)
        answers = [partial(self._answer, read=read, alone=parts[query.metric, query.side] == 1) for query in same]
        return [self._loading.answer(query, window, one) for query, one in zip(same, answers, strict=True)]

    def _rows(self, query: Query, window: Window) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        text, values = bound(query, window)
        values = {
            name: self._database.local(value) if isinstance(value, datetime) else value
            for name, value in values.items()
        }
        return self._database.rows(prepared(text, values), query.max_samples)

    def _answer(self, query: Query, window: Window, *, read: Callable[[Window], Any], alone: bool) -> Result:
        names, rows = read(window)
        column, place = column_of(names, query.part, alone=alone), names.index("time")
        labels = [at for at, name in enumerate(names) if at != column and name not in NO_LABELS]
        found: dict[Labels, list[tuple[int, float]]] = {}
        for row in rows:
            key = tuple((names[at], "" if row[at] is None else str(row[at])) for at in labels)
            found.setdefault(key, []).append((self._database.time(row[place]), value_of(row[column], names[column])))
        result = to_result(found, query, window, time_is=self._time_is, provenance=provenance_of(query, self.url))
        if self._database.dialect == "sqlite" and (odd := odd_text(row[place] for row in rows)) is not None:
            result = replace(result, complete=False, warnings=(*result.warnings, odd))
        return result


def _by_metric(queries: Sequence[Query]) -> dict[str, PerUser | None]:
    """What is counted: the same for both sides of a metric."""
    return {query.metric: query.users for query in queries}


def _text(asked: PerUser | None) -> PerUser:
    """What is asked, without the time."""
    if asked is None:
        raise QueryError("the query asks nothing of users")
    return replace(asked, since=None, past=None)
