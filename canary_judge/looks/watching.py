"""Follow a canary look by look: a state file that a killed watcher can take up, and answers that fail for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from canary_judge.errors import DataError, SourceUnavailable
from canary_judge.files import put_file
from canary_judge.looks.monitor import Monitor
from canary_judge.results import Judgement, Verdict

if TYPE_CHECKING:
    from datetime import timedelta

    from canary_judge.config.model import JudgeConfig
    from canary_judge.series import MetricSource

__all__ = ["follow", "restore", "save"]

# Looks without any answer after the planned end, before the watch gives up.
_TRIES_AFTER_THE_END = 5


def restore(
    config: JudgeConfig, path: Path | None, *, start: datetime | None, horizon: str | timedelta | None
) -> Monitor:
    """The monitor whose state is in the file, or a new one where there is no such file.

    Raises:
        DataError: The file cannot be read, or its state belongs to another config.
    """
    if path is None or not path.exists():
        return Monitor(config, start=start, horizon=horizon)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    try:
        return Monitor(config, state=text)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def save(monitor: Monitor, path: Path) -> None:
    """Write the state beside the file and put it in place at once, so that no crash leaves half of it.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        put_file(path, monitor.state())
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error}") from error


def follow(
    monitor: Monitor,
    source: MetricSource | Mapping[str, MetricSource],
    moments: Iterable[datetime],
    *,
    show: Callable[[Judgement], None],
    complain: Callable[[str], None],
    weight: float | None = None,
    state: Path | None = None,
) -> Judgement | None:
    """Look at each moment until the canary passes, fails, or the planned end is reached.

    Args:
        monitor: Holds the evidence.
        source: As for `judge`.
        moments: When to look; the iterator sleeps in between.
        show: Called with the judgement of each look.
        complain: Called when the source gives no answer; the next look tries again.
        weight: Percent of the traffic that the canary gets, where it is known.
        state: File in which the state is kept after each look.

    Returns:
        The last judgement; None when there was none.

    Raises:
        SourceUnavailable: There was no answer after the planned end either.
    """
    last: Judgement | None = None
    failed = 0
    for moment in moments:
        try:
            last = monitor.look(source, moment, weight=weight)
        except SourceUnavailable as error:
            failed += 1
            if monitor.overdue(moment) and failed >= _TRIES_AFTER_THE_END:
                raise
            complain(f"no answer ({error}); the next look tries again")
            continue
        failed = 0
        if state is not None:
            save(monitor, state)
        show(last)
        if last.verdict is not Verdict.MARGINAL or (last.look is not None and last.look.ended):
            break
    return last
