"""Stores whose rows come late, or that must not be asked at every look: what is known of a window, and up to when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from canary_judge.series import Query, Result, Window, duration_from
from canary_judge.sources.points import FORMS

__all__ = ["Loading", "time_of_day"]

# So many answers are remembered for `every`.
_MOST_QUERIES = 1000


def time_of_day() -> datetime:
    """Now."""
    return datetime.now(UTC)


class Loading:
    """Cuts a window to what is loaded, and asks no more often than may be asked.

    An interval is consumed once, so that it must not be read before all of its rows are there.

    Args:
        delay: How late rows may be: what is newer is not asked for yet.
        every: How often a query is asked at most, in the time of the data; in between its last answer stands.
        now: The time of day.

    Attributes:
        delay: As given.
        every: As given.
    """

    def __init__(
        self, delay: str | timedelta | None, every: str | timedelta | None, now: Callable[[], datetime]
    ) -> None:
        self.delay = timedelta(0) if delay is None else duration_from(delay, "delay")
        self.every = timedelta(0) if every is None else duration_from(every, "every")
        self._now = now
        self._read: dict[Query, tuple[Window, Result]] = {}

    @property
    def known(self) -> datetime:
        """Up to when all rows are there."""
        return self._now() - self.delay

    def answer(self, query: Query, window: Window, ask: Callable[[Query, Window], Result]) -> Result:
        """The answer for as much of the window as is loaded, and may be asked now.

        Args:
            query: Of any kind but by user.
            window: Aligned.
            ask: Asks the store.
        """
        known = self.known
        if known >= window.end and not self.every:
            return ask(query, window)
        until = window.start + (min(known, window.end) - window.start) // query.step * query.step
        last = self._read.get(query)
        if last is not None and last[0].start <= window.start <= last[0].end and until - last[0].end < self.every:
            # since the last time too little time has passed to ask again
            if last[0].start == window.start and last[0].end <= window.end:
                return replace(last[1], known_until=None if last[0].end == window.end else last[0].end)
            until = window.start
        if until <= window.start:
            return Result(form=FORMS[query.reading], known_until=window.start, provenance="not asked yet")
        part = Window(window.start, until)
        found = replace(ask(query, part), known_until=None if until == window.end else until)
        if len(self._read) >= _MOST_QUERIES:
            self._read.clear()
        self._read[query] = (part, found)
        return found
