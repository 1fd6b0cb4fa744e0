"""Processes that look, each with threads: statistics take a processor, and waiting for a source takes none.

What is asked of one run goes to one process, which knows its state already. A process that dies is replaced; what it
was at is lost, and the log of the run is as it was.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Protocol
from zlib import crc32

from canary_judge.errors import CanaryJudgeError, ConfigError, DataError, QueryError
from canary_judge.service.looking import Desk, FindSources, Order, Told, What
from canary_judge.service.store import Store
from canary_judge.untrusted import printable

__all__ = ["Here", "Processes", "Workers"]

_LOG = logging.getLogger(__name__)
# Looks that one process has in hand at once; most of them wait for a source.
_THREADS = 8


class Workers(Protocol):
    """Who looks."""

    def ask(self, what: str, order: Order, about: str) -> Future[Told]:
        """Have something done, in the order in which it is asked for one `about`."""
        ...

    def close(self) -> None:
        """Finish what is in hand, and end."""
        ...


def _line(error: Exception) -> str:
    return printable(str(error)).replace("\n", " ")


def _done(desk: Desk, what: str, order: Order) -> Told:
    """Do it; whatever goes wrong is an answer."""
    begun = time.perf_counter()
    work: Callable[[Order], Told] = getattr(desk, what)
    try:
        told = work(order)
    except (ConfigError, DataError, QueryError) as error:
        told = Told(what=What.BROKEN, text=_line(error))
    except CanaryJudgeError as error:
        told = Told(what=What.UNAVAILABLE, text=_line(error))
    except Exception as error:
        _LOG.exception("a bug in %s", what)
        told = Told(what=What.UNAVAILABLE, text=f"internal error: {type(error).__name__}: {_line(error)}")
    return replace(told, seconds=time.perf_counter() - begun)


class Here:
    """Threads of this process: for an operator of one's own, and for tests."""

    def __init__(self, desk: Desk, threads: int = _THREADS) -> None:
        self._desk = desk
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="look")

    def ask(self, what: str, order: Order, about: str) -> Future[Told]:  # noqa: ARG002
        """Have something done."""
        return self._pool.submit(_done, self._desk, what, order)

    def close(self) -> None:
        """Finish what is in hand, and end."""
        self._pool.shutdown()


class Processes:
    """Processes that are started when they are first needed.

    Args:
        url: Of the database, which each opens for itself.
        number: How many.
        sources: As in `Desk.find_sources`; a function of a module, which each process imports.
    """

    def __init__(self, url: str, number: int, sources: FindSources | None = None) -> None:
        self._lanes = [_Lane(url, sources) for _ in range(number)]

    def ask(self, what: str, order: Order, about: str) -> Future[Told]:
        """Have something done; what is about the same goes to the same process."""
        return self._lanes[crc32(about.encode()) % len(self._lanes)].ask(what, order)

    def close(self) -> None:
        """Finish what is in hand, and end."""
        for lane in self._lanes:
            lane.end()
        for lane in self._lanes:
            lane.join()


class _Lane:
    """One process, and who waits for its answers."""

    def __init__(self, url: str, sources: FindSources | None) -> None:
        self._url, self._sources = url, sources
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Told]] = {}
        self._pipe: Connection | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._reader: threading.Thread | None = None

    def ask(self, what: str, order: Order) -> Future[Told]:
        future: Future[Told] = Future()
        with self._lock:
            try:
                if self._pipe is None:
                    self._start()
                assert self._pipe is not None  # noqa: S101
                number = next(self._numbers)
                self._pipe.send((number, what, order))
                self._waiting[number] = future
            except OSError as error:  # it died just now, and the next question starts another
                future.set_result(Told(what=What.UNAVAILABLE, text=f"the process that looks has ended: {error}"))
        return future

    def _start(self) -> None:
        # a fork of a process with threads may hang
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, self._url, self._sources), daemon=True, name="look")
        self._process.start()
        theirs.close()
        self._pipe, self._waiting = ours, {}
        self._reader = threading.Thread(target=self._read, args=(ours, self._waiting), daemon=True, name="answers")
        self._reader.start()

    def _read(self, pipe: Connection, waiting: dict[int, Future[Told]]) -> None:
        """Hand out answers until the process ends; who still waits then is told so."""
        with suppress(EOFError, OSError):
            while True:
                number, told = pipe.recv()
                with self._lock:
                    future = waiting.pop(number, None)
                if future is not None:
                    future.set_result(told)
        with self._lock:
            if self._pipe is pipe:
                self._pipe = None
            left = list(waiting.values())
            waiting.clear()
        for future in left:
            future.set_result(Told(what=What.UNAVAILABLE, text="the process that looked has ended"))

    def end(self) -> None:
        """Let it finish what it has in hand."""
        with self._lock, suppress(OSError):
            if self._pipe is not None:
                self._pipe.send(None)

    def join(self) -> None:
        """Wait for its end."""
        if self._process is not None:
            self._process.join()
        if self._reader is not None:
            self._reader.join()


def _work(pipe: Connection, url: str, sources: FindSources | None) -> None:
    """The process: questions in, answers out, until it is told to end or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells when to end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    store = Store(url)
    desk, lock = Desk(store, sources), threading.Lock()

    def answer(number: int, what: str, order: Order) -> None:
        told = _done(desk, what, order)
        with lock, suppress(OSError):
            pipe.send((number, told))

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="look") as pool, suppress(EOFError, OSError):
        while (question := pipe.recv()) is not None:
            pool.submit(answer, *question)
    store.close()
