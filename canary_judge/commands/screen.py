"""What a driver prints: the screen may go away, or stand still, and what is driven must not notice."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable

__all__ = ["Screen"]

_STANDARD = (0, 1, 2)
# What waits to be shown, and seconds for which the end waits for it.
_MOST_WAITING, _LAST_WORDS = 10_000, 5.0


class Screen:
    """A place to print to that may vanish: a closed pipe, a terminal that hung up, a full disk, text it cannot show.

    After the first failure nothing more is shown; the exit code still tells how it ended. One that stands still (a
    pager, a frozen terminal) is waited for by a thread of its own.
    """

    def __init__(self) -> None:
        self.gone = False
        self._waiting: queue.Queue[Callable[[], None] | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._show_all, name="screen", daemon=True)
        self._thread.start()

    def __call__(self, show: Callable[[], None]) -> None:
        """Show something soon, if there is still somewhere to; what finds no room is not shown."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(show)

    def finish(self) -> bool:
        """Show what waits; whether nothing was left when the time for that was over."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(_LAST_WORDS)
        return not self._thread.is_alive()

    def _show_all(self) -> None:
        while (show := self._waiting.get()) is not None:
            if self.gone:
                continue
            try:
                show()
                sys.stdout.flush()
            except Exception as error:  # noqa: BLE001  (whatever it is: a canary is being driven)
                self._leave(error)

    def outlast_hangup(self) -> None:
        """Go on when the terminal hangs up (SIGHUP); where that is ignored already, as under nohup, it stays so."""
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, lambda *_: self._hang_up())

    def _hang_up(self) -> None:
        """Only what was the terminal is let go: a log file stays."""
        for number in _STANDARD:
            try:
                terminal = os.isatty(number)
            except OSError:
                terminal = True
            if terminal:
                _to_nowhere(number)

    def _leave(self, error: Exception) -> None:
        self.gone = True
        _to_nowhere(1)
        try:
            print(f"canary-judge: nothing more is shown: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001
            _to_nowhere(2)


def _to_nowhere(number: int) -> None:
    """What is written there goes nowhere from now on, what is still buffered included."""
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, number)
        os.close(nowhere)
    except OSError:  # no descriptors, no /dev/null: nothing can be done, and nothing depends on it
        pass
