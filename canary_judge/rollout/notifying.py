"""Telling people: a command or a URL that is given what matters of a rollout, and can hold nothing up."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from canary_judge.plugins import from_environment
from canary_judge.rollout.events import Event, EventKind

__all__ = ["Notifier"]

_TOLD = frozenset({EventKind.ROLLING_BACK, EventKind.INTERRUPTED, EventKind.ENDED})
_SECONDS = 10.0


class Notifier:
    """A callback of `Controller` that tells of a rollback, of a hold past its deadline, and of the end.

    What is told is the event as JSON (`Event.to_mapping`) and `event`: rolling_back, held, interrupted or ended. It is
    sent by a thread of its own, so that neither a rollback nor a look waits for it; what could not be sent is raised at
    the next event, and the controller reports it.

    Args:
        to: The address of a POST, or a command as a list, which gets it at its standard input; `${env:NAME}` is
            replaced from the environment.

    Raises:
        ConfigError: A variable of it is not set.

    Examples:
        >>> from canary_judge.testing import simulated_world
        >>> from canary_judge import Controller, RolloutPlan
        >>> world = simulated_world(error_rate=0.005, canary_error_rate=0.05, seed=1)
        >>> notifier = Notifier(["cat"])
        >>> plan = RolloutPlan(stages=[5, 100])
        >>> driver = Controller(world.config, world.source, world.router, plan, clock=world.clock, callbacks=[notifier])
        >>> result = driver.run()
        >>> notifier.finish(), notifier.sent
        ('', 2)
    """

    def __init__(self, to: str | Sequence[str]) -> None:
        self._to: str | list[str] = from_environment(to if isinstance(to, str) else list(to), "notify")
        self._waiting: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._failed = ""
        self._held: int | None = None
        self.sent = 0
        self._thread = threading.Thread(target=self._send_all, name="notifier", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Send what matters; of a hold past its deadline once.

        Raises:
            RuntimeError: Something before could not be sent.
        """
        late = event.rule == "deadline" and event.kind is not EventKind.ROLLING_BACK
        if event.kind in _TOLD or (late and self._held != event.state.stage):
            self._held = event.state.stage if late else self._held
            self._waiting.put({"event": "held" if late else event.kind.value, **event.to_mapping()})
        if self._failed:
            text, self._failed = self._failed, ""
            raise RuntimeError(text)

    def finish(self) -> str:
        """Wait for what is still to be sent, ten seconds at most; why something was not, or nothing."""
        self._waiting.put(None)
        self._thread.join(_SECONDS)
        return self._failed or ("a notification takes longer than 10 s" if self._thread.is_alive() else "")

    def _send_all(self) -> None:
        while (told := self._waiting.get()) is not None:
            try:
                self._send(json.dumps(told))
                self.sent += 1
            except Exception as error:  # noqa: BLE001  (told at the next event)
                self._failed = f"the notification of {told['event']!r} was not sent: {_said(error)}"

    def _send(self, text: str) -> None:
        if isinstance(self._to, str):
            import requests

            answer = requests.post(
                self._to,
                data=text.encode(),
                headers={"Content-Type": "application/json"},
                timeout=_SECONDS,
                allow_redirects=False,
            )
            if answer.status_code >= 300:
                raise RuntimeError(f"HTTP {answer.status_code}")
            return
        ended = subprocess.run(self._to, input=text.encode(), capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603  (the operator's own)
        if ended.returncode:
            raise RuntimeError(f"exit code {ended.returncode}")


def _said(error: Exception) -> str:
    """An error without the address, which may hold a token."""
    if type(error) is RuntimeError:  # one of ours
        return str(error)
    return getattr(error, "strerror", None) or type(error).__name__
