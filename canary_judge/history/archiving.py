"""From what there is to a past canary: the log of a run, or a source that can still be asked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from canary_judge.checked_lines import Damaged, Line, read_lines
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import DataError
from canary_judge.history.canary import PastCanary
from canary_judge.history.tape import Tape
from canary_judge.judging.fetching import fetch
from canary_judge.judging.silence import heard, longest_run
from canary_judge.looks.log import Folded
from canary_judge.looks.monitor import Monitor, refuse_what_never_works
from canary_judge.looks.state import MonitorState, check_belongs
from canary_judge.results import Side
from canary_judge.samples import AnyData, UserData, collect, lacks_a_side
from canary_judge.series import MetricSource, Window, duration_from, format_duration, moment_from

if TYPE_CHECKING:
    from canary_judge.sources import FrameSource

__all__ = ["of_lines", "of_log", "record", "refuse_several", "served"]

# Newest intervals without a value of the canary that may be late; more of them, and a larger share, are its end.
_FEW_SILENT, _SILENT_SHARE, _TIMES_AS_SILENT = 3, 0.05, 3
# A canary that is away for so few intervals is the same, and one that is away no longer than so many times as it is
# ever there: its weight was 0 for a night.
_FEW_AWAY, _TIMES_AS_LONG = 10, 4
_SHOWN = 4

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


def refuse_several(source: FrameSource, interval: timedelta) -> None:
    """Refuse a table of several canaries one after the other, which would become one.

    Raises:
        DataError: The canary is away for far longer than it ever is there, while the baseline goes on.
    """
    table = source.table
    times = table.times[table.canary]
    if not times.size:
        return
    step = interval // timedelta(microseconds=1) * 1000
    gaps = np.diff(times)
    stretches = np.split(times, np.flatnonzero(gaps > _FEW_AWAY * step) + 1)
    longest = max(int(one[-1] - one[0]) for one in stretches)
    if sum(one[-1] - one[0] >= _FEW_AWAY * step for one in stretches) < 2:  # thin, or comes in batches
        return
    baseline = table.times[~table.canary]
    away = (
        ((before[-1] < baseline) & (baseline < after[0])).any()
        for before, after in itertools.pairwise(stretches)
        if after[0] - before[-1] > _TIMES_AS_LONG * longest
    )
    begun = [f"{datetime.fromtimestamp(int(one[0]) / 1e9, UTC):%Y-%m-%d %H:%M}" for one in stretches]
    if any(away):
        shown = ", ".join(begun[:_SHOWN]) + (" ..." if len(begun) > _SHOWN else "")
        raise DataError(
            f"the table has rows of the canary in {len(begun)} stretches, which begin at {shown}: are these several "
            "canaries? Archive each by its time: History.from_source(config, source, [start, ...], length=...); if it "
            "is one, history.append(record(config, source, source.window(config.interval)))"
        )


def served(windows: Iterable[Window | datetime | str], length: str | timedelta | None) -> list[Window]:
    """When canaries served, of windows or of moments with a length.

    Raises:
        DataError: One is none of it, or two of them overlap: each would have a part of the other's canary.
    """
    found = [_served(one, length) for one in windows]
    for one, other in itertools.pairwise(sorted(dict.fromkeys(found), key=lambda window: (window.start, window.end))):
        if other.start < one.end:
            raise DataError(
                f"windows: the one from {other.start.isoformat()} begins before the one from {one.start.isoformat()} "
                f"ends, {one.end.isoformat()}: each would have a part of the other's canary. Give each its own end, as "
                "Window(start, end), or a shorter `length`"
            )
    return found


def _served(one: object, length: str | timedelta | None) -> Window:
    """When a canary served, of a window or of the moment of its deployment."""
    if isinstance(one, Window):
        if length is not None:
            raise DataError(f"length is {length!r}, and windows has {one!r}, which has one; give moments, or no length")
        return one
    if not isinstance(one, datetime | str) or length is None:
        raise DataError(f"windows: has {one!r}; give Window(start, end), or moments with length='1h'")
    start = moment_from(one, "windows")
    return Window(start, start + duration_from(length, "length"))


def _silent(state: MonitorState) -> int:
    """The newest intervals in which the canary has no value of any metric; 0 where that is not known."""
    canary = baseline = np.zeros(state.consumed - state.left_out, dtype=bool)
    for stream in state.streams.values():
        if isinstance(stream.data, UserData):  # of which each look has all users so far
            return 0
        if stream.data is not None:
            there = [np.flatnonzero(heard(stream.data, side)) for side in (Side.CANARY, Side.BASELINE)]
            canary, baseline = (
                np.isin(np.arange(canary.size), one) | old for one, old in zip(there, (canary, baseline), strict=True)
            )
    if not canary.any():
        return 0
    last = int(np.flatnonzero(canary)[-1]) + 1
    before = longest_run(~canary[int(canary.argmax()) : last])  # it is silent now and then
    rest = baseline[last:]
    ended = rest.sum() > _TIMES_AS_SILENT * before and 2 * rest.sum() >= rest.size  # else both are quiet
    return rest.size if ended else 0


def _of_one_side(data: AnyData) -> bool:
    """Whether nothing was read of a side."""
    if isinstance(data, UserData):
        return not (data.baseline.whole.users and data.canary.whole.users)
    return lacks_a_side(data)


def _refuse_what_no_judge_takes(config: JudgeConfig, source: Sources, window: Window) -> None:
    """Refuse what one reading of all shows to be nothing that can be judged; a look sees a part of it."""
    whole = window.aligned(config.interval)
    queries = list(config.queries(since=window.start, start=window.start))
    refuse_what_never_works(config, collect(config, whole, fetch(config, source, queries, whole)))


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

    Nothing is judged. Where the canary has no value for the rest of the window, somebody ended it: so does what is
    archived, unless `ended_by` says that it ran to its planned end.

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
        QueryError: What was read is nothing that could be judged, as a column that is cumulative.
        SourceUnavailable: A source gave no answer.
    """
    step = config.interval if every is None else duration_from(every, "every")
    if step < config.interval:
        raise DataError(f"every is {step}, shorter than an interval ({config.interval}); give a longer one")
    pairs = weights.items() if isinstance(weights, Mapping) else weights
    known = sorted((moment_from(moment, "weights"), percent) for moment, percent in pairs)
    for at, _ in known:
        if at >= window.end:
            raise DataError(f"weights: {at.isoformat()} is after the end of the canary, {window.end.isoformat()}")
    _refuse_what_no_judge_takes(config, source, window)
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
    silent = _silent(states[-1])
    if silent > max(_FEW_SILENT, _SILENT_SHARE * states[-1].consumed) and more.get("ended_by") != "the planned end":
        until = states[-1].watermark(config.interval) - silent * config.interval
        known = [(at, percent) for at, percent in known if at < until]
        window = Window(window.start, until)
        return record(config, source, window, every=every, weights=known, horizon=horizon, **more)
    more = {"weights": tuple((at.astimezone(UTC), percent) for at, percent in known), "reconstructed": True, **more}
    streams = states[-1].streams.values()
    if all(stream.data is None or _of_one_side(stream.data) for stream in streams):
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
