"""An open database: its connections, its form, and what is told where it gives no answer."""

from __future__ import annotations

import functools
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, create_engine, event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from canary_judge.errors import ConfigError
from canary_judge.service import tables
from canary_judge.service.problems import StoreDown

__all__ = ["Database", "address_of", "in_time"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_MIGRATIONS = Path(__file__).with_name("migrations")
# Seconds that a database may take to let us in, to answer, and that another writer may hold SQLite.
_PATIENCE = 2
_DEADLINE = 2.0 * _PATIENCE
# After a failure so many seconds pass before it is asked again, so that no caller waits for each of its questions.
_PAUSE = 1.0
# PostgreSQL's words for a row that somebody else holds, which says nothing of other rows.
_BUSY = ("57014", "55P03")
_NO_ANSWER = (OperationalError, InterfaceError, PoolTimeout)
# Questions that a server is asked at once, each in a thread: one that hangs is not waited for.
_AT_ONCE = 32


def _kind(error: Exception) -> str:
    """Without the text of SQLAlchemy's, which shows the address."""
    return f"{error.name} is not installed" if isinstance(error, ImportError) else type(error).__name__


def address_of(store: str | Path) -> str:
    """The address of a database; of a file, that of SQLite."""
    text = str(store)
    return text if "://" in text else f"sqlite:///{text}"


def in_time(method: F) -> F:
    """A question to a database server, which may hang, while it is asked in a file of its own.

    What was begun may still be done later: who is told of no answer reads again before it goes on.
    """

    @functools.wraps(method)
    def asked(self: Database, *args: Any, **kwargs: Any) -> Any:
        if self.in_a_file:
            return method(self, *args, **kwargs)
        return self.within(_DEADLINE, lambda: method(self, *args, **kwargs))

    return cast("F", asked)


class Database:
    """An open database.

    Args:
        url: As SQLAlchemy writes it: `sqlite:///judge.db`, `postgresql+psycopg://...`.

    Raises:
        ConfigError: The address is none, or its driver is missing.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._down: dict[str, tuple[float, str]] = {}
        self._writer = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="store")
        try:
            parsed = make_url(url)
            self._sqlite = parsed.get_backend_name() == "sqlite"
            if self._sqlite and parsed.database in (None, "", ":memory:"):
                raise ArgumentError("in memory")
            more: dict[str, Any] = {"timeout": _PATIENCE} if self._sqlite else {}
            if parsed.get_backend_name() == "postgresql":
                more = {
                    "connect_timeout": _PATIENCE,
                    "options": f"-c statement_timeout={2 * _PATIENCE}s -c lock_timeout={_PATIENCE}s",
                }
            self._engine = create_engine(
                parsed,
                pool_pre_ping=not self._sqlite,
                connect_args=more,
                pool_size=16,
                max_overflow=16,
                pool_timeout=_PATIENCE,
            )
        except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
            # the message of SQLAlchemy shows the address, which may hold a password
            raise ConfigError(
                f"the address of the database is none that can be used ({_kind(error)}): write it as "
                "sqlite:///judge.db (a file) or postgresql+psycopg://user@host/name, and install its driver"
            ) from None
        if self._sqlite:
            event.listen(self._engine, "connect", _prepare)
            event.listen(self._engine, "begin", _begin)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for questions."""
        with self._guarded(writes=False), self._engine.connect() as connection:
            yield connection.execution_options(only_reads=True)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction, which is kept where it ends well."""
        with self._turn(), self._guarded(writes=True), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """SQLite lets one writer in, and picks among those that wait at random; within a process they queue."""
        if not self._sqlite:
            yield
            return
        if not self._writer.acquire(timeout=_PATIENCE):
            raise StoreDown("the database gave no answer: others write, and do not end")
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def _guarded(self, *, writes: bool) -> Iterator[None]:
        """Errors as StoreDown; for a moment after one, nobody waits again: who reads may still while none can write."""
        for kind in ("reading", "writing") if writes else ("reading",):
            until, why = self._down.get(kind, (0.0, ""))
            if time.monotonic() < until:
                raise StoreDown(why)
        try:
            yield
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            orig = getattr(error, "orig", None)
            # the first line: what follows in PostgreSQL's tells of tables and addresses
            reason = str(orig or type(error).__name__).strip().split("\n")[0]
            busy = getattr(orig, "sqlstate", None) in _BUSY or "locked" in reason
            raise self._failed(reason, writes=writes, pause=isinstance(error, _NO_ANSWER) and not busy) from None

    def _failed(self, reason: str, *, writes: bool, pause: bool = True) -> StoreDown:
        why = f"the database gave no answer: {reason}"
        if pause:
            self._down["writing" if writes else "reading"] = (time.monotonic() + _PAUSE, why)
        return StoreDown(why)

    def upgrade(self) -> None:
        """Bring the tables to the present form."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        try:
            with self.writing() as connection:
                if not self._sqlite:  # of replicas that start together one does it, however long it takes
                    connection.execute(text("SET LOCAL statement_timeout = 0"))
                    connection.execute(text("SET LOCAL lock_timeout = '60s'"))
                    connection.execute(text("SELECT pg_advisory_xact_lock(724186535)"))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigError(
                f"the database is of another version of canary-judge: {error}; use that version, or another database"
            ) from error

    @in_time
    def ping(self) -> None:
        """StoreDown where the tables cannot be read."""
        with self.reading() as connection:
            connection.execute(select(tables.runs.c.id).limit(1)).all()

    @property
    def in_a_file(self) -> bool:
        """Whether it is SQLite."""
        return self._sqlite

    def within(self, seconds: float, work: Callable[[], T]) -> T:
        """Do it in time; StoreDown where it takes longer."""
        for until, why in self._down.values():
            if time.monotonic() < until:
                raise StoreDown(why)
        future = self._pool.submit(work)
        try:
            return future.result(seconds)
        except NotInTime:
            future.cancel()
            raise self._failed(f"none within {seconds:g} s", writes=False) from None

    def close(self) -> None:
        """Let go of all connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()


def _prepare(connection: Any, _: Any) -> None:
    """SQLite with a write-ahead log, on the disk before a transaction ends, and our own transactions."""
    connection.isolation_level = None
    _write_ahead(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    """Change a new file to the write-ahead log; SQLite refuses that at once while another one does it."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(connection: Connection) -> None:
    """Who is going to write says so at once: a reader that wants to write later would be refused."""
    reads = connection.get_execution_options().get("only_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
