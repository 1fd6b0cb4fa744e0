"""A connection to a SQL database that reads only: its statements, its times, and what it says of errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from canary_judge.errors import ConfigError, QueryError, SourceUnavailable
from canary_judge.series import nanoseconds
from canary_judge.untrusted import printable

__all__ = ["Database"]

# Beyond this a number of seconds since 1970 is one of milliseconds.
_LATEST = 1e11
_LONGEST_TEXT = 500
# Text of this form sorts by time, and is written so by SQLAlchemy.
_SORTABLE = "%Y-%m-%d %H:%M:%S.%f"
# Statements that change nothing, by the database; each connection is also rolled back.
_READ_ONLY = {
    "postgresql": ("SET TRANSACTION READ ONLY", "SET LOCAL statement_timeout = {ms}"),
    "mysql": ("SET TRANSACTION READ ONLY", "SET SESSION max_execution_time = {ms}"),
    "mariadb": ("SET TRANSACTION READ ONLY", "SET SESSION max_statement_time = {seconds}"),
    "sqlite": ("PRAGMA query_only = ON",),
}

# A time without a zone beside a column with one is read in the zone of the connection: that must be `timezone`.
_IN_ZONE = {"postgresql": "SET LOCAL TIME ZONE '{zone}'", "duckdb": "SET TimeZone = '{zone}'"}
# What is set for a connection, and not for a transaction: how it is read, and put back.
_SETTINGS = {
    "mysql": ("SELECT @@max_execution_time", "SET SESSION max_execution_time = {}"),
    "mariadb": ("SELECT @@max_statement_time", "SET SESSION max_statement_time = {}"),
    "sqlite": ("PRAGMA query_only", "PRAGMA query_only = {}"),
    "duckdb": ("SELECT current_setting('TimeZone')", "SET TimeZone = '{}'"),
}


class Database:
    """Answers statements.

    Args:
        url: As SQLAlchemy writes it, or an engine of it.
        timeout: Seconds that one statement may take, where the database has such a bound.
        timezone: Of times that the database gives without one; they are refused by default.
        max_bytes: Most bytes that one statement may read, of a database that has such a bound (BigQuery).

    Attributes:
        url: Without the password.

    Raises:
        ConfigError: The address is none, there is no driver for it, or the time zone is none.
    """

    def __init__(
        self, url: str | sqlalchemy.Engine, *, timeout: float, timezone: str | None, max_bytes: int | None = None
    ) -> None:
        if max_bytes is not None and isinstance(url, str):
            url = _bounded(url, max_bytes)
        try:
            if not isinstance(url, sqlalchemy.Engine):
                # no pool: a warehouse ends idle connections, and a watch may last for days
                kept = url.startswith("duckdb:///") and not url.startswith("duckdb:///:memory:")
                more = {"connect_args": {"read_only": True}} if kept else {}
                url = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool, **more)
                if url.dialect.name == "duckdb":
                    sqlalchemy.event.listen(url, "connect", _quiet)
            self._engine = url
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
            # the address may hold a password, and so may what is said of it
            kind = str(url).split(":", 1)[0]
            raise ConfigError(
                f"url: is no address of a database that can be reached here ({type(error).__name__} for {kind!r}); "
                "write it as postgresql+psycopg://user@host/name, and install the driver"
            ) from None
        self._timeout = timeout
        try:
            self._zone = None if timezone is None else ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ConfigError(f"timezone: {timezone!r} is none; write it as UTC or Europe/Berlin") from None
        # what stands behind a `?` may be a secret, too
        self.url = self._engine.url.set(query={}).render_as_string(hide_password=True)

    @property
    def dialect(self) -> str:
        """Its name."""
        return self._engine.dialect.name

    def text_of(self, statement: Any) -> str:
        """A statement as the database would read it, with its values in it."""
        compiled = statement.compile(self._engine, compile_kwargs={"literal_binds": True})
        return str(compiled)

    def rows(self, statement: Any, most: int) -> tuple[list[str], list[Sequence[Any]]]:
        """Names of the columns, in lower case, and the rows.

        Raises:
            QueryError: The database refuses it, it gives no rows, or more than `most`.
            SourceUnavailable: The database cannot be reached.
        """
        self._refuse_missing_file()
        try:
            with self._engine.connect() as connection, _given_back(connection, zoned=self._zone is not None):
                for guard in _READ_ONLY.get(self.dialect, ()):
                    milliseconds = max(round(1000 * self._timeout), 1)
                    connection.exec_driver_sql(guard.format(ms=milliseconds, seconds=self._timeout))
                if self._zone is not None and self.dialect in _IN_ZONE:
                    connection.exec_driver_sql(_IN_ZONE[self.dialect].format(zone=self._zone.key))
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

    def _refuse_missing_file(self) -> None:
        """A misspelt path would become an empty database."""
        path = self._engine.url.database
        kept = self.dialect in ("sqlite", "duckdb") and path and not path.startswith((":memory:", "file:", "md:"))
        if kept and not Path(str(path)).exists():
            where = "" if Path(str(path)).is_absolute() else f" in {Path.cwd()}, where this runs"
            raise SourceUnavailable(f"{self.url}: there is no such file{where}")

    def _said(self, error: Exception) -> str:
        """What the database said, without the password and in one line."""
        text = " ".join(printable(str(getattr(error, "orig", None) or error)).split())
        url = self._engine.url
        secrets = [
            url.password,
            *(one for value in url.query.values() for one in ([value] if isinstance(value, str) else value)),
        ]
        for secret in secrets:
            if secret and len(str(secret)) > 3:
                text = text.replace(str(secret), "***")
        return text[:_LONGEST_TEXT]

    def time(self, value: object, column: str = "time") -> int:
        """A time of the database, in nanoseconds since the epoch.

        Raises:
            QueryError: It is none, or its zone is not known.
        """
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise QueryError(f"column `{column}` has {value!r}, which is no time") from None
        if isinstance(value, datetime):
            if value.tzinfo is None:
                value = value.replace(tzinfo=self._known_zone(value, column))
            try:
                return nanoseconds(value.astimezone(UTC))
            except OverflowError:
                raise QueryError(f"column `{column}` has {value}, which is beyond all times") from None
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise QueryError(f"column `{column}` has {value!r}, which is no time") from None
        if isinstance(value, bool) or not abs(seconds) < _LATEST:
            raise QueryError(
                f"column `{column}` has {value!r}, which is no seconds since 1970; divide milliseconds by 1000"
            )
        return round(seconds * 1e6) * 1000

    def _known_zone(self, value: object, column: str) -> ZoneInfo:
        if self._zone is None:
            raise QueryError(
                f"column `{column}` has {value}, which has no time zone; select one with a zone, or set `timezone` "
                "of the source"
            )
        return self._zone

    def comparable(self, moment: int, example: object, column: str) -> object:
        """A moment as the column has its times, to be compared with them.

        Args:
            moment: In nanoseconds since the epoch.
            example: A value of the column.
            column: Its name, for messages.

        Raises:
            QueryError: The column holds no times, or texts of them that do not sort by time.
        """
        self.time(example, column)  # it is one
        when = datetime.fromtimestamp(moment // 1000 / 1e6, UTC).replace(microsecond=moment // 1000 % 1_000_000)
        if isinstance(example, datetime):
            if example.tzinfo is not None:
                return when
            self._known_zone(example, column)
            return self.local(when)
        if isinstance(example, str):
            try:
                datetime.strptime(example, _SORTABLE if "." in example else _SORTABLE[:-3])
            except ValueError:
                raise QueryError(
                    f"column `{column}` has the text {example!r}, which does not sort by time; make it a time, or "
                    "seconds since 1970"
                ) from None
            self._known_zone(example, column)
            return self.local(when).strftime(_SORTABLE)
        return moment / 1e9

    def local(self, moment: datetime) -> datetime:
        """A moment as the database has it: without a zone where `timezone` says that its times have none.

        Raises:
            QueryError: The clocks there show this time twice, or are about to.
        """
        if self._zone is None:
            return moment
        here = moment.astimezone(self._zone)
        naive = here.replace(tzinfo=None)
        if len({naive.replace(tzinfo=self._zone, fold=fold).utcoffset() for fold in (0, 1)}) > 1:
            raise QueryError(
                f"{naive} in {self._zone.key} is in the hour in which the clocks are changed, so that times without a "
                "zone cannot be told apart; ask again an hour later, or keep times with a zone"
            )
        return naive


def _bounded(url: str, max_bytes: int) -> str:
    kind = url.split(":", 1)[0].split("+", 1)[0]
    if kind != "bigquery":
        raise ConfigError(f"max_bytes: {kind} has no such bound, only BigQuery has; use `timeout`")
    return f"{url}{'&' if '?' in url else '?'}maximum_bytes_billed={max_bytes}"


@contextmanager
def _given_back(connection: sqlalchemy.Connection, *, zoned: bool) -> Iterator[None]:
    """Nothing stays as it was set: the connection may be one of somebody else's engine."""
    name = connection.dialect.name
    read, back = _SETTINGS.get(name, ("", "")) if zoned or name not in _IN_ZONE else ("", "")
    before = connection.exec_driver_sql(read).scalar() if read else None
    try:
        yield
    finally:
        connection.rollback()
        if back:
            connection.exec_driver_sql(back.format(before))


def _quiet(connection: Any, _: object) -> None:
    """DuckDB would print how far it is where our answer is; in Jupyter the setting may be refused, and is off."""
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall()[0][0]:
        connection.execute("SET enable_progress_bar = false")


def _is_of_the_statement(error: OperationalError) -> bool:
    """SQLite and MySQL call an unknown table an operational error, too."""
    text = str(error.orig).lower()
    if "could not set lock" in text or "conflicting lock" in text:
        return False
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
