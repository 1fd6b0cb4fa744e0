"""Threads that end with the process, whatever they wait for.

Those of `concurrent.futures` are joined at exit, so that a server that drips its headers for an hour would keep the
process for an hour.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["in_daemons"]

T = TypeVar("T")


def in_daemons(
    jobs: Sequence[Callable[[], T]], *, workers: int, name: str
) -> tuple[list[Future[T]], Callable[[], None]]:
    """Start the jobs, so many at once.

    Returns:
        A future of each, and what leaves out those that have not begun.
    """
    futures: list[Future[T]] = [Future() for _ in jobs]
    waiting: queue.SimpleQueue[tuple[Future[T], Callable[[], T]]] = queue.SimpleQueue()
    for pair in zip(futures, jobs, strict=True):
        waiting.put(pair)

    def work() -> None:
        while True:
            try:
                future, job = waiting.get_nowait()
            except queue.Empty:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001  (whoever waits for the future is told)
                future.set_exception(error)

    for number in range(min(workers, len(jobs))):
        threading.Thread(target=work, name=f"{name}-{number}", daemon=True).start()

    def leave() -> None:
        for future in futures:
            future.cancel()

    return futures, leave
