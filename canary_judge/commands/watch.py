"""`canary-judge watch`: look again and again until a canary is decided."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from canary_judge.commands.archiving import kept_for_the_archive
from canary_judge.commands.ci import add_ci, checked_ci, exit_code, reported
from canary_judge.commands.options import (
    add_output,
    add_preflight,
    add_source,
    colored,
    config_of,
    duration_of,
    look_first,
    refuse_the_future,
    say,
    sources_of,
    time_of,
    unicode_out,
    width_out,
)
from canary_judge.errors import ConfigError, DataError
from canary_judge.untrusted import printable

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.looks.monitor import Monitor
    from canary_judge.results import Judgement
    from canary_judge.series import MetricSource, Window

__all__ = ["add_watch"]


def add_watch(parser: argparse.ArgumentParser) -> None:
    """`watch CONFIG`."""
    parser.description = "Look again and again; the false alarm rate holds over all looks together."
    parser.epilog = "Ends when the canary passes or fails, or at the planned end. Exit codes as for `judge`."
    add_source(parser)
    parser.add_argument("--horizon", metavar="DURATION", help="planned length, as 45m; needs less data than no plan")
    parser.add_argument("--start", metavar="TIME", help="when the canary began to serve (default: now)")
    parser.add_argument("--every", metavar="DURATION", help="time between looks (default: the config's interval)")
    parser.add_argument(
        "--weight", type=float, metavar="PERCENT", help="share of the traffic that the canary should get"
    )
    parser.add_argument("--state", metavar="FILE", help="keep the evidence in this file, and go on from it")
    parser.add_argument(
        "--archive", metavar="URL", help="put the canary into this archive at the end: a folder, or s3://bucket/x"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show every look of a replay (--data), not the last only"
    )
    parser.add_argument("--once", action="store_true", help="look once, for cron and CI jobs; needs --state")
    add_output(parser)
    add_preflight(parser)
    add_ci(parser, wait="look for so long at most, and end with what can be said then")
    parser.set_defaults(run=_watch)


def _watch(options: argparse.Namespace) -> int:
    checked_ci(options)
    with reported(options) as found:
        judgement = _watched(options)
        if options.format == "json":
            say(judgement.to_json(indent=2))
        else:
            say(judgement.explain(color=colored(options), width=width_out()))
        found.append(judgement)
    return exit_code(options, judgement)


def _watched(options: argparse.Namespace) -> Judgement:
    if options.archive and options.once:
        raise ConfigError("--archive goes with a watch to its end; archive a state with `canary-judge archive`")
    if options.once and not options.state:
        raise ConfigError("--once needs --state FILE: a single look knows nothing of the ones before without it")
    config = config_of(options)
    sources = sources_of(options, config)
    table = next((source for source in sources.values() if hasattr(source, "window")), None)
    whole = None if table is None else table.window(config.interval)
    if options.once and whole is not None:
        refuse_the_future(whole, config.interval)
    recorded = None if whole is None or options.once else whole.start
    start = time_of(options.start, "--start") if options.start else recorded
    horizon = duration_of(options.horizon, "--horizon")
    if start is not None and table is None and start > (now := datetime.now(UTC)) + config.interval:
        from canary_judge.wording import span

        left = span((start - now).total_seconds())
        print(f"canary-judge: --start is {left} from now; until then nothing is judged", file=sys.stderr)
    with kept_for_the_archive(options, config) as (path, finished):
        judgement = _followed(options, config, sources, path, start=start, horizon=horizon, table=whole)
        finished(judgement)
    return judgement


def _followed(
    options: argparse.Namespace,
    config: JudgeConfig,
    sources: dict[str, MetricSource],
    path: Path | None,
    *,
    start: datetime | None,
    horizon: timedelta | None,
    table: Window | None,
) -> Judgement:
    from canary_judge.looks.watching import follow, restore

    monitor, log = restore(config, path, start=start, horizon=horizon)
    with log or contextlib.nullcontext():
        if log is not None:
            _keep_to(monitor, path, start=start if options.start else None, horizon=horizon)
            if table is not None:
                _of_the_table(monitor, path, table)
                if options.once:
                    _tell_lateness(config, table, datetime.now(UTC))
            else:
                _of_this_day(monitor, path, datetime.now(UTC))
        if monitor.watermark is None or monitor.watermark == monitor.start:  # else it has worked before
            look_first(options, config, sources, horizon=horizon, weight=options.weight)
        every = duration_of(options.every, "--every") or config.interval
        moments: Iterator[datetime]
        if table is not None and not options.once:  # a recording
            begun = monitor.start or table.start
            # wherever it was stopped, the looks stay at their moments
            done = ((monitor.watermark or begun) - begun) // every
            moments = (begun + k * every for k in range(done + 1, -(-(table.end - begun) // every) + 1))
        else:
            most = duration_of(options.wait, "--wait")
            moments = _clock(config.interval if options.once else every, once=options.once, most=most)
        judgement = follow(
            monitor,
            sources,
            moments,
            show=lambda judgement: _show(options, config, judgement),
            complain=lambda text: print(f"canary-judge: {printable(text)}", file=sys.stderr),
            weight=options.weight,
            log=log,
        )
    if judgement is None:
        raise DataError("no look was made; the state is as before")
    if table is None:
        _refuse_late(judgement, config, datetime.now(UTC))
    return judgement


def _keep_to(monitor: Monitor, path: Path | None, *, start: datetime | None, horizon: timedelta | None) -> None:
    """Refuse another beginning or length than those of the looks before: the error rates are of one plan."""
    from canary_judge.series import Window, format_duration

    state, interval = monitor.evidence, monitor.config.interval
    if state is None:
        return
    begun = None if start is None else Window(start, start + interval).aligned(interval).start
    if begun is not None and begun != state.start:
        raise DataError(
            f"--start: {path} began at {state.start:%Y-%m-%d %H:%M:%S} UTC, not at {begun:%Y-%m-%d %H:%M:%S}; leave "
            "--start out to go on from it, or name another --state to start again"
        )
    if horizon is not None and horizon // interval != state.horizon:
        planned = (
            "without a planned end" if state.horizon is None else f"for {format_duration(state.horizon * interval)}"
        )
        raise DataError(
            f"--horizon: {path} is planned {planned}, not for {format_duration(horizon)}; leave --horizon out to go on "
            "from it, or name another --state to start again"
        )


# Rows come late, runs are missed: a table that begins so much later than what is known ended is another canary's.
_LONGEST_GAP = timedelta(hours=6)
# What was found at a planned end stands for so long, or for ten intervals: cron asks every half an hour, too.
_STANDS = timedelta(hours=1)


def _of_the_table(monitor: Monitor, path: Path | None, table: Window) -> None:
    """Refuse evidence that is not of this table's time: tables have no labels, by which another canary is known."""
    state, interval = monitor.evidence, monitor.config.interval
    if state is None or not state.consumed:
        return
    start, watermark = state.start, state.watermark(interval)
    if table.end > start and table.start - watermark <= max(_LONGEST_GAP, 10 * interval):
        return
    raise DataError(
        f"--state: {path} holds {start:%Y-%m-%d %H:%M:%S} to {watermark:%Y-%m-%d %H:%M:%S} UTC, and the table "
        f"{table.start:%Y-%m-%d %H:%M:%S} to {table.end:%Y-%m-%d %H:%M:%S} UTC: is it of another canary, or are its "
        "rows late? Name another --state"
    )


def _tell_lateness(config: JudgeConfig, table: Window, now: datetime) -> None:
    """A table that lags: an interval is consumed once, with the rows that are there by then."""
    from canary_judge.judging.silence import PATIENCE
    from canary_judge.series import format_duration

    age = (now - table.end) // config.interval * config.interval
    if age > PATIENCE * config.interval:
        print(
            f"canary-judge: the newest row of the table is {format_duration(age)} old, and what comes later than "
            f"{PATIENCE} intervals is lost to this watch: export it sooner, or look once it is there",
            file=sys.stderr,
        )


def _of_this_day(monitor: Monitor, path: Path | None, now: datetime) -> None:
    """Refuse a plan that ended long ago: nothing is read any more, so it would answer for all canaries after it."""
    state, interval = monitor.evidence, monitor.config.interval
    if state is None or state.horizon is None or state.consumed < state.horizon:
        return
    end = state.start + state.horizon * interval
    if now - end > max(_LONGEST_GAP, 10 * interval):
        raise DataError(
            f"--state: {path} is of a plan that ended at {end:%Y-%m-%d %H:%M:%S} UTC, and nothing that came after it "
            "is read: is this another canary? Name another --state"
        )


def _refuse_late(judgement: Judgement, config: JudgeConfig, now: datetime) -> None:
    """Refuse a pass at a planned end that was looked at long after it: nothing that came since is in it."""
    from canary_judge.results import Verdict
    from canary_judge.wording import span

    old = now - judgement.end
    ended = judgement.look is not None and judgement.look.ended
    if ended and judgement.verdict is Verdict.PASS and old > max(_STANDS, 10 * config.interval):
        raise DataError(
            f"the planned end was at {judgement.end:%Y-%m-%d %H:%M:%S} UTC, {span(old.total_seconds())} ago: a pass of "
            "then says nothing of now; plan a longer --horizon, or look while it lasts"
        )


def _clock(every: timedelta, *, once: bool, most: timedelta | None) -> Iterator[datetime]:
    """Now, and again each time that `every` has passed; not after `most`."""
    begun = time.monotonic()
    for number in itertools.count(1):
        if most is not None and number > 1 and number * every > most:
            return
        if not once:  # the first interval has to pass first
            time.sleep(max(begun + number * every.total_seconds() - time.monotonic(), 0.0))
        yield datetime.now(UTC)
        if once:
            return


def _show(options: argparse.Namespace, config: JudgeConfig, judgement: Judgement) -> None:
    """The board of a look; of a replay only where all looks are asked for."""
    if options.format == "json" or options.once or (options.data is not None and not options.verbose):
        return
    from canary_judge.report import to_board

    board = to_board(
        judgement,
        false_pass_rate=config.false_pass_rate,
        color=colored(options),
        ascii_only=not unicode_out(),
        width=width_out(),
    )
    clear = "\x1b[2J\x1b[H" if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" else ""
    say(f"{clear}{board}\n")
