"""From what there is to a past canary: the log of a run, or a source that can still be asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from canary_judge.checked_lines import Damaged, Line, read_lines
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.history.canary import PastCanary
from canary_judge.history.tape import Tape
from canary_judge.looks.log import Folded
from canary_judge.looks.monitor import Monitor
from canary_judge.looks.state import MonitorState, check_belongs
from canary_judge.samples import lacks_a_side
from canary_judge.series import MetricSource, Window, duration_from, format_duration, moment_from

__all__ = ["of_log", "record"]

Sources = MetricSource | Mapping[str, MetricSource]


def of_log(config: JudgeConfig, path: Path, **more: Any) -> PastCanary:
    """The canary whose looks a log (`watch --state`, the evidence beside a journal) has kept.

    Args:
        config: Of the run.
        path: The log.
        more: What else is known, as `judgement`, `ended_by`: attributes of `PastCanary`.

    Raises:
        DataError: It cannot be read, is of another config or other versions, or holds no look.
    """
    lines: list[Line] = []
    try:
        read_lines(path, lines.append, chained=True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    except Damaged as error:
        if error.byte == 0:
            raise DataError(f"{path}: is no log of looks; give the file of `watch --state`") from error
        raise DataError(
            f"{path}: {error}, at byte {error.byte}; archive what is before it (truncate -s {error.byte})"
        ) from error
    try:
        return of_lines(config, lines, **more)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def of_lines(config: JudgeConfig, lines: Sequence[Line], **more: Any) -> PastCanary:
    """The canary whose looks these lines have kept (`canary_judge.looks.log.Increments`)."""
    if lines and lines[0].get("what") == "begin":
        check_belongs(config, of=str(lines[0].get("config")), sides_then=lines[0].get("sides", {}))
    Folded(config)  # it is a config that can be followed
    return PastCanary.of(config, Tape.of_lines(lines), **more)


def record(
    config: JudgeConfig,
    source: Sources,
    window: Window,
    *,
    every: str | timedelta | None = None,
    weights: Iterable[tuple[datetime, float]] = (),
    horizon: str | timedelta | None = None,
    **more: Any,
) -> PastCanary:
    """A canary of the past, read from a source that still has it, with looks that are made up.

    Nothing is judged.

    Args:
        config: What was compared, with the labels of both versions.
        source: As for `judge`.
        window: When it served.
        every: Time between the looks; by default the interval. Of one look, give the length of the window.
        weights: Since when it had how many percent of the traffic, where that is known.
        horizon: Planned length.
        more: What else is known: attributes of `PastCanary`.

    Raises:
        DataError: Nothing was read of it.
        SourceUnavailable: A source gave no answer.
    """
    step = config.interval if every is None else duration_from(every, "every")
    if step < config.interval:
        raise DataError(f"every is {step}, shorter than an interval ({config.interval}); give a longer one")
    known = sorted((moment_from(moment, "weights"), percent) for moment, percent in weights)
    for at, _ in known:
        if at >= window.end:
            raise DataError(f"weights: {at.isoformat()} is after the end of the canary, {window.end.isoformat()}")
    monitor = Monitor(config, start=window.start, horizon=horizon, stages=max(len(known), 1))
    states: list[MonitorState] = []
    moment = window.start
    while moment < window.end:
        moment = min(moment + step, window.end)
        since, weight = max(((at, percent) for at, percent in known if at < moment), default=(None, None))
        monitor.take(source, moment, weight=weight, weight_since=since)
        states += [state for state in monitor.steps if not states or state.consumed != states[-1].consumed]
    if not states or not states[-1].consumed:
        raise DataError(f"nothing was read of the canary from {window.start.isoformat()} to {window.end.isoformat()}")
    more = {"weights": tuple((at.astimezone(UTC), percent) for at, percent in known), "reconstructed": True, **more}
    streams = states[-1].streams.values()
    if all(stream.data is None or lacks_a_side(stream.data) for stream in streams):
        why = next((stream.trouble for stream in streams if stream.trouble), "no value of any metric on both sides")
        told = f"{window.start.isoformat()} to {window.end.isoformat()}"
        raise DataError(f"nothing was read of the canary from {told}: {why}; is the clock of one side another one?")
    planned = states[-1].horizon  # rows may be missing at the end, but not half of them
    if more.get("ended_by") == "the planned end" and planned is not None and states[-1].consumed < planned / 2:
        length, read = (format_duration(count * config.interval) for count in (planned, states[-1].consumed))
        raise DataError(f"ended_by: the planned end is at {length}, and {read} were read: who ended it?")
    if not known:
        del more["weights"]
    return PastCanary.of(config, Tape.of_states(config, states), **more)
