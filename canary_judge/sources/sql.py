"""A SQL database as a source, through SQLAlchemy: orders and plays are in a warehouse, not in Prometheus.

A query is a statement that selects a column `time` and one of numbers. Nothing of a label ever becomes text of it:
`'${version}'` is sent beside it as a value.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import sqlalchemy
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from canary_judge.arrays import Int
from canary_judge.config.reading import read_options
from canary_judge.errors import ConfigError, QueryError, SourceError, SourceUnavailable
from canary_judge.samples.pace import CUMULATIVE, looks_cumulative
from canary_judge.series import Form, Query, Reading, Result, Series, Window, nanoseconds
from canary_judge.sources.daemons import in_daemons
from canary_judge.untrusted import printable

__all__ = ["SqlSource"]

TimeIs = Literal["moment", "bucket_start", "bucket_end"]
# Beyond this a number of seconds since 1970 is one of milliseconds.
_LATEST = 1e11
_LONGEST_TEXT = 500
_FORMS = {
    Reading.LEVEL: Form.LEVEL,
    Reading.COUNTS: Form.COUNTS,
    Reading.SAMPLES: Form.SAMPLES,
    Reading.HISTOGRAM: Form.SAMPLES,
}
_STRING = re.compile(r"'(?:[^']|'')*'")
_NAME = re.compile(r"\$\{(\w+)\}")
# Statements that change nothing, by the database; each connection is also rolled back.
_READ_ONLY = {
    "postgresql": ("SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = {ms}"),
    "mysql": ("SET TRANSACTION READ ONLY", "SET SESSION max_execution_time = {ms}"),
    "mariadb": ("SET TRANSACTION READ ONLY", "SET SESSION max_statement_time = {seconds}"),
    "sqlite": ("PRAGMA query_only = ON",),
}


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(min_length=1)
    timeout: float = Field(default=60.0, gt=0, le=86400)
    workers: int = Field(default=4, gt=0, le=64)
    timezone: str | None = None
    time_is: TimeIs | None = None


class SqlSource:
    """Answers queries from a SQL database. A query is a SELECT with `:start` and `:end`.

    As `SELECT created_at AS time, 1 AS value FROM orders WHERE created_at > :start AND created_at <= :end AND
    release = '${version}'`. It gives a column `time` and one named like the part it answers (`events`, `total`, ...) or
    `value`; other columns are labels. `:start_epoch` and `:end_epoch` are the same moments as seconds since 1970,
    `:step` is the length of an interval in seconds.

    Args:
        url: As SQLAlchemy writes it, or an engine of it.
        timeout: Seconds that one fetch may take in all.
        workers: Statements at a time.
        timezone: Of times that the database gives without one; they are refused by default.
        time_is: What `time` says: the moment of a row, or the start or the end of the bucket that it counts. It must be
            said where all times of counts lie on the grid.

    Raises:
        ConfigError: The address is none, or there is no driver for it.

    Examples:
        >>> from canary_judge.results import Side
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
    ) -> None:
        try:
            # no pool: a warehouse ends idle connections, and a watch may last for days
            self._engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool) if isinstance(url, str) else url
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
            # the address may hold a password, and so may what is said of it
            kind = url.split(":", 1)[0] if isinstance(url, str) else ""
            raise ConfigError(
                f"url: is no address of a database that can be reached here ({type(error).__name__} for {kind!r}); "
                "write it as postgresql+psycopg://user@host/name, and install the driver"
            ) from None
        self._timeout, self._workers, self._time_is = timeout, workers, time_is
        try:
            self._zone = None if timezone is None else ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ConfigError(f"timezone: {timezone!r} is none; write it as UTC or Europe/Berlin") from None
        self.url = self._engine.url.render_as_string(hide_password=True)

    def __repr__(self) -> str:
        return f"SqlSource({self.url!r})"

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> SqlSource:
        """Build it from a config's `sources:` section; keys as the arguments."""
        read = read_options(_Options, options)
        return cls(read.url, timeout=read.timeout, workers=read.workers, timezone=read.timezone, time_is=read.time_is)

    def fetch(self, queries: Sequence[Query], window: Window) -> list[Result]:
        """Answer every query for an aligned window; a refused statement is an error of that query alone.

        Raises:
            SourceUnavailable: The database cannot be reached, or no statement was answered in time.
        """
        if not queries:
            return []
        until = time.monotonic() + self._timeout
        jobs = [partial(self._answer, query, window) for query in queries]
        futures, leave = in_daemons(jobs, workers=self._workers, name="sql")
        results: list[Result] = []
        unavailable: list[SourceUnavailable] = []
        try:
            for query, future in zip(queries, futures, strict=True):
                try:
                    results.append(future.result(timeout=max(until - time.monotonic(), 0.0)))
                except TimeoutError:
                    unavailable.append(SourceUnavailable(f"{self.url}: no answer within {self._timeout:g} s"))
                    results.append(self._failed(query, unavailable[-1]))
                except SourceError as error:
                    unavailable += [error] if isinstance(error, SourceUnavailable) else []
                    results.append(self._failed(query, error))
        finally:
            leave()
        if len(unavailable) == len(queries):
            raise unavailable[0]
        return results

    def _failed(self, query: Query, error: SourceError) -> Result:
        return Result(
            error=str(error),
            temporary=isinstance(error, SourceUnavailable),
            complete=False,
            provenance=self._provenance(query),
        )

    def _provenance(self, query: Query) -> str:
        return f"{' '.join((query.template or query.expression).split())} at {self.url}"

    def _answer(self, query: Query, window: Window) -> Result:
        text, values = _bound(query, window)
        names, rows = self._rows(text, values, query.max_samples)
        form = _FORMS[query.reading]
        column = _column(names, query.part)
        place = names.index("time")
        labels = [at for at, name in enumerate(names) if at not in (place, column)]
        found: dict[tuple[str, ...], list[tuple[int, float]]] = {}
        for row in rows:
            key = tuple("" if row[at] is None else str(row[at]) for at in labels)
            found.setdefault(key, []).append((self._time(row[place]), _value(row[column], names[column])))
        moved = self._moved(found, query, form)
        start, end = nanoseconds(window.start), nanoseconds(window.end)
        series, outside = [], 0
        for key in sorted(moved):
            points = sorted(moved[key])
            inside = [point for point in points if start < point[0] <= end]
            outside += sum(not start <= at <= end for at, _ in points)  # one at the start is of the interval before
            if inside:
                one = Series(
                    timestamps=np.array([at for at, _ in inside], dtype=np.int64),
                    values=np.array([value for _, value in inside]),
                    labels={names[at]: part for at, part in zip(labels, key, strict=True)},
                )
                series.append(_checked(one, form, query))
        if form is Form.COUNTS and query.part == "events" and len(series) == 1:
            series = [_with_zeros(series[0], window.edges(query.step))]
        warnings = (f"{outside} rows of {query.part} lie outside of the window and are left out",) if outside else ()
        return Result(
            series=tuple(series),
            form=form,
            warnings=warnings,
            complete=not outside,  # whatever moved them there may have moved others away
            provenance=self._provenance(query),
        )

    def _rows(self, text: str, values: Mapping[str, object], most: int) -> tuple[list[str], list[Sequence[Any]]]:
        """Names of the columns, in lower case, and the rows."""
        statement = sqlalchemy.text(text).bindparams(
            *(
                sqlalchemy.bindparam(name, value, sqlalchemy.DateTime(timezone=True))
                if isinstance(value, datetime)
                else sqlalchemy.bindparam(name, value)
                for name, value in values.items()
            )
        )
        try:
            with self._engine.connect() as connection, _given_back(connection):
                for guard in _READ_ONLY.get(self._engine.dialect.name, ()):
                    milliseconds = max(round(1000 * self._timeout), 1)
                    connection.exec_driver_sql(guard.format(ms=milliseconds, seconds=self._timeout))
                answer = connection.execute(statement)
                if not answer.returns_rows:
                    raise QueryError("the statement gives no rows; write a SELECT")
                names = [str(name).lower() for name in answer.keys()]  # noqa: SIM118  (no mapping)
                rows = answer.fetchmany(most + 1)
        except (OperationalError, InterfaceError) as error:
            if isinstance(error, OperationalError) and not error.connection_invalidated and _is_of_the_statement(error):
                raise QueryError(self._said(error)) from None
            raise SourceUnavailable(f"{self.url}: {self._said(error)}") from None
        except (DBAPIError, SQLAlchemyError) as error:
            raise QueryError(self._said(error)) from None
        if len(rows) > most:
            raise QueryError(f"the statement gives more than max_samples = {most:,} rows; count them in the database")
        return names, [tuple(row) for row in rows]

    def _said(self, error: Exception) -> str:
        """What the database said, without the password and in one line."""
        text = " ".join(printable(str(getattr(error, "orig", None) or error)).split())[:_LONGEST_TEXT]
        password = self._engine.url.password
        return text.replace(str(password), "***") if password else text

    def _time(self, value: object) -> int:
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise QueryError(f"column `time` has {value!r}, which is no time") from None
        if isinstance(value, datetime):
            if value.tzinfo is None:
                if self._zone is None:
                    raise QueryError(
                        f"column `time` has {value}, which has no time zone; select one with a zone, or set `timezone` "
                        "of the source"
                    )
                value = value.replace(tzinfo=self._zone)
            return nanoseconds(value.astimezone(UTC))
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise QueryError(f"column `time` has {value!r}, which is no time") from None
        if isinstance(value, bool) or not abs(seconds) < _LATEST:
            raise QueryError(
                f"column `time` has {value!r}, which is no seconds since 1970; divide milliseconds by 1000"
            )
        return round(seconds * 1e6) * 1000

    def _moved(
        self, found: dict[tuple[str, ...], list[tuple[int, float]]], query: Query, form: Form
    ) -> dict[tuple[str, ...], list[tuple[int, float]]]:
        """Each row at the end of the bucket that it counts, in which it belongs."""
        step = query.step // timedelta(microseconds=1) * 1000
        times = [at for points in found.values() for at, _ in points]
        if form is Form.COUNTS and self._time_is is None and times and all(at % step == 0 for at in times):
            raise QueryError(
                "all times lie on the grid: does `time` name the start of the bucket that a row counts (as of "
                "date_trunc), or its end? Set `time_is: bucket_start`, `bucket_end` or `moment` of the source"
            )
        if self._time_is != "bucket_start" or form is not Form.COUNTS:
            return found
        return {key: [(at + step, value) for at, value in points] for key, points in found.items()}


@contextmanager
def _given_back(connection: sqlalchemy.Connection) -> Iterator[None]:
    """Nothing stays as it was set: the connection may be one of somebody else's engine."""
    try:
        yield
    finally:
        connection.rollback()
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = OFF")


def _bound(query: Query, window: Window) -> tuple[str, dict[str, object]]:
    """The statement with names in place of labels, and all values that go with it."""
    template = query.template or query.expression
    labels = dict(query.labels)
    # a label alone in quotes is a value, too; one in the middle of a text would have to become part of it
    text = re.sub(r"'\$\{(\w+)\}'", r"${\1}", template)
    if inside := next((one for one in _STRING.findall(text) if _NAME.search(one)), None):
        raise QueryError(f"a label stands inside of the text {inside}; write it alone, as || ${{version}} ||")
    text = _NAME.sub(r":label_\1", text)
    if not re.match(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(select|with)\b", text, re.IGNORECASE | re.DOTALL):
        raise QueryError("the statement must begin with SELECT or WITH: nothing is written by a judge")
    if not re.search(r":start(_epoch)?\b", text) or not re.search(r":end(_epoch)?\b", text):
        raise QueryError(
            "the statement must say `:start` and `:end` (or `:start_epoch`, `:end_epoch`): rows of (start, end]"
        )
    known: dict[str, object] = {
        "start": window.start,
        "end": window.end,
        "start_epoch": window.start.timestamp(),
        "end_epoch": window.end.timestamp(),
        "step": query.step.total_seconds(),
        **{f"label_{name}": value for name, value in labels.items()},
    }
    asked = set(re.findall(r"(?<![:\w\\]):(\w+)", _STRING.sub("''", text)))
    if unknown := sorted(asked - known.keys()):
        name = unknown[0].removeprefix("label_")
        raise QueryError(f"`{name}` is not defined; there are {', '.join(sorted([*labels, 'start', 'end', 'step']))}")
    return text, {name: known[name] for name in asked}


def _column(names: Sequence[str], part: str) -> int:
    """Which column answers a part."""
    if "time" not in names:
        raise QueryError(f"the statement gives no column `time`; its columns are {', '.join(names)}")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise QueryError(f"the statement gives two columns {twice!r}; rename one")
    for name in (part, "value"):
        if name in names:
            return names.index(name)
    raise QueryError(f"the statement gives no column `{part}` or `value`; its columns are {', '.join(names)}")


def _value(value: object, name: str) -> float:
    if value is None:
        return float("nan")
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise QueryError(f"column {name!r} has {value!r}, which is no number") from None


def _checked(one: Series, form: Form, query: Query) -> Series:
    if form is not Form.SAMPLES and (np.diff(one.timestamps) == 0).any():
        if form is Form.COUNTS:  # rows of single events
            at, place = np.unique(one.timestamps, return_inverse=True)
            sums = np.bincount(place, weights=one.values).astype(np.float64)
            one = Series(timestamps=at, values=sums, labels=one.labels)
        else:
            when = np.datetime64(int(one.timestamps[1:][np.diff(one.timestamps) == 0][0]), "ns")
            raise QueryError(f"two rows of {query.part} have the time {when}Z; aggregate them, or select a label, too")
    if form is Form.COUNTS and looks_cumulative(one.values[np.isfinite(one.values)]):
        raise QueryError(
            CUMULATIVE.format(name=repr(query.part)).replace(
                "name it among `counters:` of the source", "count what is new of each row"
            )
        )
    return one


def _with_zeros(one: Series, edges: Int) -> Series:
    """The database has answered: an interval without a row of events had none; without any row it may be a typo."""
    seen = np.searchsorted(edges, one.timestamps, side="left")
    empty = np.setdiff1d(np.arange(1, edges.size), seen)
    times = np.concatenate([one.timestamps, edges[empty]])
    order = np.argsort(times, kind="stable")
    values = np.concatenate([one.values, np.zeros(empty.size)])
    return Series(timestamps=times[order], values=values[order], labels=one.labels)


def _is_of_the_statement(error: OperationalError) -> bool:
    """SQLite and MySQL call an unknown table an operational error, too."""
    text = str(error.orig).lower()
    return any(
        one in text
        for one in (
            "no such table",
            "no such column",
            "no such function",
            "syntax",
            "unknown column",
            "doesn't exist",
            "readonly",
            "read only",
            "read-only",
        )
    )
