"""Follow a canary look by look: a log that a killed watcher can take up, and answers that fail for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from canary_judge.errors import DataError, SourceUnavailable
from canary_judge.judging.silence import heard
from canary_judge.looks.log import StateLog
from canary_judge.looks.monitor import Monitor
from canary_judge.results import Judgement, Side, Verdict
from canary_judge.samples import UserData

if TYPE_CHECKING:
    from datetime import timedelta

    from canary_judge.config.model import JudgeConfig
    from canary_judge.series import MetricSource

__all__ = ["follow", "restore"]

# Looks without any answer after the planned end, before the watch gives up.
_TRIES_AFTER_THE_END = 5


def restore(
    config: JudgeConfig,
    path: Path | None,
    *,
    start: datetime | None,
    horizon: str | timedelta | None,
    stages: int = 1,
) -> tuple[Monitor, StateLog | None]:
    """The monitor whose evidence is in the log, or a new one where it holds none; and the log, which is to be closed.

    Without more `stages` the weight is not planned to change.

    Raises:
        DataError: The log cannot be read, or its evidence is of something else.
    """
    if path is None:
        return Monitor(config, start=start, horizon=horizon, stages=stages), None
    log = StateLog(config, path)
    try:
        if log.state is not None:
            return Monitor(config, state=log.state), log
        return Monitor(config, start=start, horizon=horizon, stages=stages), log
    except BaseException:
        log.close()
        raise


def follow(
    monitor: Monitor,
    source: MetricSource | Mapping[str, MetricSource],
    moments: Iterable[datetime],
    *,
    show: Callable[[Judgement], None],
    complain: Callable[[str], None],
    weight: float | None = None,
    log: StateLog | None = None,
) -> Judgement | None:
    """Look at each moment until the canary passes, fails, or the planned end is reached.

    Args:
        monitor: Holds the evidence.
        source: As for `judge`.
        moments: When to look; the iterator sleeps in between.
        show: Called with the judgement of each look.
        complain: Called when the source gives no answer; the next look tries again.
        weight: Percent of the traffic that the canary gets, where it is known.
        log: Where the evidence is kept after each look. What cannot be kept is shown, and leads to no pass.

    Returns:
        The last judgement; None when there was none.

    Raises:
        SourceUnavailable: There was no answer after the planned end either.
        DataError: The canary passes, but the evidence could not be kept.
    """
    last: Judgement | None = None
    failed, unkept, before = 0, "", _compared(monitor)
    for moment in moments:
        try:
            # a pass that was not kept is no pass yet, so that the next one is of fresh evidence, too
            last = monitor.look(source, moment, weight=weight, fresh="all" if unkept else "pass")
        except SourceUnavailable as error:
            failed += 1
            if monitor.overdue(moment) and failed >= _TRIES_AFTER_THE_END:
                raise
            complain(f"no answer ({error}); the next look tries again")
            continue
        failed = 0
        unkept = _keep(monitor, log)
        if unkept:
            complain(f"{unkept}; the canary cannot pass while its evidence is not kept")
        show(last)
        # what stood already when this began says nothing of what has come since, nor of a weight not yet seen
        passes = last.verdict is Verdict.PASS and not unkept and _compared(monitor) != before and _settled(monitor)
        if passes or last.verdict is Verdict.FAIL or (last.look is not None and last.look.ended):
            break
    if last is not None and last.verdict is Verdict.PASS and unkept:
        raise DataError(f"{unkept}; the canary passes, but its evidence is not kept")
    return last


def _compared(monitor: Monitor) -> dict[str, object]:
    """Of each metric, how much is known of what it compares: a look that finds nothing adds nothing to it."""
    found: dict[str, object] = {}
    streams = {} if monitor.evidence is None else monitor.evidence.streams
    for metric in monitor.config.metrics:
        data = streams[metric.name].data if metric.name in streams else None
        if isinstance(data, UserData):
            found[metric.name] = [(one.users, *one.mean) for one in (data.baseline.whole, data.canary.whole)]
        elif data is not None:
            baseline, canary = (heard(data, side) for side in Side)
            alone = metric.margin is None and metric.limit is not None  # a limit asks nothing of the baseline
            found[metric.name] = int((canary if alone else baseline & canary).sum())
    return found


def _settled(monitor: Monitor) -> bool:
    """Whether intervals were judged in which the split is that of the present weight."""
    state = monitor.evidence
    return state is None or not state.acts or state.consumed > state.split_from


def _keep(monitor: Monitor, log: StateLog | None) -> str:
    """Why the evidence could not be kept; empty when it was."""
    if log is None:
        return ""
    try:
        log.keep(*monitor.steps)
    except DataError as error:
        return str(error)
    return ""
