"""What workers are asked at once: of each run one look, and no more in all than there may be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import replace

from canary_judge.errors import DataError, SourceUnavailable
from canary_judge.service.looking import Order, Told, What
from canary_judge.service.problems import Busy
from canary_judge.service.workers import Workers

__all__ = ["Questions", "kept"]


class Questions:
    """Questions to workers, counted; its methods may be called from any thread.

    Args:
        workers: Who answers.
        most: Questions that are taken at once.
    """

    def __init__(self, workers: Workers, most: int) -> None:
        self._workers, self._most = workers, most
        self._lock = threading.Lock()
        self._looks: dict[str, Future[Told]] = {}
        self._others = 0

    @property
    def going(self) -> int:
        """Those that are being answered."""
        return len(self._looks) + self._others

    def takes(self, run: str) -> bool:
        """Whether a look at this run would be begun now: none is going on, and there is room for it."""
        with self._lock:
            return run not in self._looks and self.going < self._most

    def look(self, run: str, order: Order, *, ended: Callable[[Told], None]) -> Future[Told]:
        """The look at this run that is going on, or a new one.

        Args:
            run: Its id.
            order: What is asked of a new one.
            ended: Called with what a new one told, once its future has it.

        Raises:
            Busy: Too much is asked at once.
        """
        ours: Future[Told] = Future()
        with self._lock:
            if (going := self._looks.get(run)) is not None:
                return going
            self._refuse_beyond_the_limit()
            self._looks[run] = ours

        def end(told: Told) -> None:
            with self._lock:
                self._looks.pop(run, None)
            ours.set_result(told)
            ended(told)

        try:
            future = self._workers.ask("look", order, run)
        except Exception as error:  # noqa: BLE001  (no process can be started: nobody must wait for its answer)
            end(Told(what=What.UNAVAILABLE, text=f"nobody can look: {error}"))
            return ours
        future.add_done_callback(lambda done: end(_told(done)))
        return ours

    def answered(self, what: str, order: Order, budget: float) -> Told:
        """What a worker told of anything but a run, within so many seconds.

        Raises:
            Busy: Too much is asked at once.
            SourceUnavailable: There was no answer in time.
        """
        with self._lock:
            self._refuse_beyond_the_limit()
            self._others += 1
        try:
            order = replace(order, expires=time.time() + budget)
            future = self._workers.ask(what, order, f"{what} {order.until} {order.baseline}")
        except Exception as error:
            self._one_less()
            raise SourceUnavailable(f"nobody can look: {error}") from error
        future.add_done_callback(lambda _: self._one_less())
        try:
            return future.result(budget)
        except NotInTime:
            raise SourceUnavailable(f"there was no answer within {budget:g} s") from None

    def _one_less(self) -> None:
        with self._lock:
            self._others -= 1

    def _refuse_beyond_the_limit(self) -> None:
        if self.going >= self._most:
            raise Busy(f"{self._most} questions are being answered already; ask again in a few seconds")


def _told(done: Future[Told]) -> Told:
    """What a worker told; nobody waits for ever for one that told nothing."""
    if done.cancelled() or (error := done.exception()) is not None:
        return Told(what=What.UNAVAILABLE, text="nobody looked" if done.cancelled() else f"nobody looked: {error}")
    return done.result()


def kept(told: Told) -> Told:
    """What was told where it was kept.

    Raises:
        DataError: It can never work.
        SourceUnavailable: There was no answer.
    """
    if told.what is What.BROKEN:
        raise DataError(told.text)
    if told.what is not What.KEPT:
        raise SourceUnavailable(told.text)
    return told
