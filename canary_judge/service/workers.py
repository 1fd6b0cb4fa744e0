"""Processes that look, each with threads: statistics take a processor, and waiting for a source takes none.

What is asked of one run goes to one process, which knows its state already. A process that dies is replaced; what it
was at is lost, and the log of the run is as it was.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import queue
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
from canary_judge.service.looking import THREADS, Desk, FindSources, Order, Told, What
from canary_judge.service.shown import one_line
from canary_judge.service.store import Store

__all__ = ["Here", "Processes", "Workers"]

_LOG = logging.getLogger(__name__)
# A process that is asked and says nothing for so many seconds hangs; the slowest source gives up before.
_STUCK = 120.0
# Seconds that looks in flight are waited for at the end.
_CLOSING = 15.0
_ENDED = Told(what=What.UNAVAILABLE, text="the process that looked has ended")


class Workers(Protocol):
    """Who looks."""

    def ask(self, what: str, order: Order, about: str) -> Future[Told]:
        """Have something done, in the order in which it is asked for one `about`."""
        ...

    def close(self) -> None:
        """Finish what is in hand, and end."""
        ...


def _done(desk: Desk, what: str, order: Order) -> Told:
    """Do it; whatever goes wrong is an answer."""
    begun = time.perf_counter()
    work: Callable[[Order], Told] = getattr(desk, what)
    if order.expires is not None and time.time() > order.expires:
        return Told(what=What.UNAVAILABLE, text="nobody waits for it any more")
    try:
        told = work(order)
    except (ConfigError, DataError, QueryError) as error:
        told = Told(what=What.BROKEN, text=one_line(error))
    except CanaryJudgeError as error:
        told = Told(what=What.UNAVAILABLE, text=one_line(error))
    except Exception as error:
        _LOG.exception("a bug in %s", what)
        told = Told(what=What.UNAVAILABLE, text=f"internal error: {type(error).__name__}: {one_line(error)}")
    return replace(told, seconds=time.perf_counter() - begun)


class Here:
    """Threads of this process: for an operator of one's own, and for tests."""

    def __init__(self, desk: Desk, threads: int = THREADS) -> None:
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
        return self._lane(about).ask(what, order)

    def _lane(self, about: str) -> _Lane:
        return self._lanes[crc32(about.encode()) % len(self._lanes)]

    def close(self) -> None:
        """Finish what is in hand, and end."""
        for lane in self._lanes:
            lane.end()
        until = time.monotonic() + _CLOSING
        for lane in self._lanes:
            lane.join(max(until - time.monotonic(), 0.1))


class _Lane:
    """One process, and who waits for its answers.

    Questions go through a queue and a thread of their own, so that a process that does not read keeps nobody waiting;
    one that has said nothing for long is killed, and the next question starts another.
    """

    def __init__(self, url: str, sources: FindSources | None) -> None:
        self._url, self._sources = url, sources
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._life: _Life | None = None

    @property
    def process(self) -> multiprocessing.process.BaseProcess | None:
        """The present one; None before the first question, and after its end."""
        return None if self._life is None else self._life.process

    def ask(self, what: str, order: Order) -> Future[Told]:
        future: Future[Told] = Future()
        with self._lock:
            if self._life is not None and self._life.is_stuck():
                _LOG.error("a process that looks has said nothing for %g s, and is replaced", _STUCK)
                self._life.kill()
            if self._life is None or self._life.over:
                self._life = _Life(self._url, self._sources)
            self._life.put(next(self._numbers), what, order, future)
        return future

    def end(self) -> None:
        """Let it finish what it has in hand."""
        if self._life is not None:
            self._life.questions.put(None)

    def join(self, seconds: float) -> None:
        """Wait for its end so long, and then end it: what a source has not answered by now is not kept."""
        if self._life is not None:
            self._life.join(seconds)


class _Life:
    """A process from its start to its end."""

    def __init__(self, url: str, sources: FindSources | None) -> None:
        # a fork of a process with threads may hang
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, url, sources), daemon=True, name="look")
        self.process.start()
        theirs.close()
        self.over, self._heard = False, time.monotonic()
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Told]] = {}
        self.questions: queue.SimpleQueue[tuple[int, str, Order] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=work, daemon=True, name=name)
            for name, work in (("questions", self._write), ("answers", self._read))
        ]
        for thread in self._threads:
            thread.start()

    def put(self, number: int, what: str, order: Order, future: Future[Told]) -> None:
        """Ask; the future is always answered."""
        with self._lock:
            if not self.over:
                if not self._waiting:
                    self._heard = time.monotonic()
                self._waiting[number] = future
                self.questions.put((number, what, order))
                return
        future.set_result(_ENDED)

    def is_stuck(self) -> bool:
        """Whether somebody waits, and nobody was answered for long."""
        with self._lock:
            return bool(self._waiting) and time.monotonic() - self._heard > _STUCK

    def kill(self) -> None:
        """End it at once; who waits is told so."""
        self.process.kill()
        self._finish()

    def _write(self) -> None:
        with suppress(OSError):
            while (question := self.questions.get()) is not None:
                self._pipe.send(question)
            self._pipe.send(None)

    def _read(self) -> None:
        """Hand out answers until the process ends."""
        with suppress(EOFError, OSError):
            while True:
                number, told = self._pipe.recv()
                with self._lock:
                    self._heard = time.monotonic()
                    future = self._waiting.pop(number, None)
                if future is not None:
                    future.set_result(told)
        self._finish()

    def _finish(self) -> None:
        with self._lock:
            self.over = True
            left = list(self._waiting.values())
            self._waiting.clear()
        self.questions.put(None)
        for future in left:
            future.set_result(_ENDED)

    def join(self, seconds: float) -> None:
        """Wait for its end so long, and then end it."""
        self.process.join(seconds)
        if self.process.is_alive():
            self.kill()
            self.process.join()
        for thread in self._threads:
            thread.join()
        self._pipe.close()


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

    with ThreadPoolExecutor(THREADS, thread_name_prefix="look") as pool:
        try:
            while (question := pipe.recv()) is not None:
                pool.submit(answer, *question)
        except (EOFError, OSError):  # nobody is left to be told, and what is kept is kept in transactions
            os._exit(0)
    store.close()
