"""Options that several commands share, and what they stand for: config, sources, window, colours."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from canary_judge.errors import ConfigError, DataError

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.rollout.plan import RolloutPlan
    from canary_judge.series import MetricSource, Window

__all__ = [
    "add_output",
    "add_preflight",
    "add_sides",
    "add_source",
    "add_window",
    "colored",
    "config_of",
    "duration_of",
    "look_first",
    "plan_of",
    "print_advice",
    "refuse_the_future",
    "say",
    "sources_of",
    "time_of",
    "unicode_out",
    "width_out",
    "window_of",
]


# Clocks differ by less.
_MOST_AHEAD = timedelta(minutes=5)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Config, and where its metrics are."""
    parser.add_argument("config", metavar="CONFIG", help="a YAML or JSON config")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--source", metavar="URL", help="address of a Prometheus, in place of the config's sources")
    where.add_argument(
        "--data", metavar="FILE", help="a .csv, .csv.gz or .parquet table, in place of the config's sources"
    )
    parser.add_argument(
        "--align",
        choices=["time", "start"],
        default="time",
        help="for --data: compare two periods with `start`",
    )
    add_sides(parser)


def add_preflight(parser: argparse.ArgumentParser) -> None:
    """What is looked at before the start."""
    parser.add_argument(
        "--no-preflight", action="store_true", help="do not ask first whether the queries can work at all"
    )


def look_first(
    options: argparse.Namespace,
    config: JudgeConfig,
    sources: dict[str, MetricSource],
    *,
    horizon: timedelta | None = None,
    weight: float | None = None,
) -> None:
    """The preflight: its errors end the command, its warnings are told."""
    from canary_judge.readiness import check_first, preflight

    if options.no_preflight:
        return
    for text in check_first(preflight(config, sources, horizon=horizon, weight=weight)).warnings:
        print(f"canary-judge: preflight: {text}", file=sys.stderr)


def add_window(parser: argparse.ArgumentParser) -> None:
    """The judged span."""
    parser.add_argument("--last", metavar="DURATION", help="the last 30m, 2h ... (ends one interval ago)")
    parser.add_argument("--start", metavar="TIME", help="start of the window, as 2026-01-31T12:00:00Z")
    parser.add_argument("--end", metavar="TIME", help="end of the window")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Format and colour."""
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--color", choices=["auto", "always", "never"], default="auto")


def add_sides(parser: argparse.ArgumentParser) -> None:
    """Labels of the sides."""
    for side in ("baseline", "canary"):
        parser.add_argument(
            f"--{side}",
            action="append",
            default=[],
            metavar="LABEL=VALUE",
            help=f"a label of the {side}, for ${{LABEL}}",
        )


def config_of(options: argparse.Namespace) -> JudgeConfig:
    """The config of the options, with the labels of its sides."""
    from canary_judge.config.model import JudgeConfig

    config = JudgeConfig.load(options.config)
    return config.with_sides(baseline=_labels(options.baseline, "baseline"), canary=_labels(options.canary, "canary"))


def _labels(pairs: Sequence[str], side: str) -> dict[str, str]:
    labels = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--{side} {pair!r}: write it as LABEL=VALUE, as in --{side} version=1.5.0")
        labels[name] = value
    return labels


def sources_of(options: argparse.Namespace, config: JudgeConfig) -> dict[str, MetricSource]:
    """The source of each name that the metrics use."""
    from canary_judge import sources  # each source is imported when it is used

    used = list(dict.fromkeys(metric.source for metric in config.metrics))
    live = options.command in ("watch", "rollout")  # whose table would be torn by it
    progress = _progress if sys.stderr.isatty() and not live else None
    if options.data is not None:
        return _tables(options, config, used)
    if options.source is not None:
        prometheus: MetricSource = sources.PrometheusSource(options.source, progress=progress)
        found = dict.fromkeys(used, prometheus)
        sources.refuse_without_users(config, found)
        return found
    if missing := sorted(set(used) - set(config.sources)):
        raise ConfigError(
            f"source {missing[0]!r} is nowhere given: add it under `sources:` in the config, "
            "or pass --source URL or --data FILE"
        )
    found = {name: sources.from_config(config.sources[name], name=name) for name in used}
    sources.refuse_without_users(config, found)
    for source in found.values():
        if hasattr(source, "progress"):
            source.progress = progress
    return found


def _tables(options: argparse.Namespace, config: JudgeConfig, used: Sequence[str]) -> dict[str, MetricSource]:
    """The table of --data, read once; which of its columns are cumulative, and name users, the config may say."""
    from canary_judge.sources import FrameSource

    whole = FrameSource(Path(options.data), align=options.align)
    found: dict[str, MetricSource] = {}
    for name in used:
        known = config.sources.get(name, {})
        if known.get("type") != "frame" or not {"counters", "user"} & known.keys():
            found[name] = whole
            continue
        counters = known.get("counters", [])
        if isinstance(counters, list):  # another table may have some of them only
            counters = [one for one in counters if one in whole.names]
        user = str(known.get("user", "user"))
        found[name] = FrameSource(whole.table, align=options.align, counters=counters, user=user)
    return found


def refuse_the_future(table: Window, interval: timedelta) -> None:
    """A table that is read up to now and has rows of later: its newest rows would be left out."""
    from canary_judge.series import format_duration

    ahead = table.end - interval - datetime.now(UTC)  # the newest row lies in the last interval
    if ahead > _MOST_AHEAD:
        told = format_duration(timedelta(seconds=round(ahead.total_seconds())))
        raise ConfigError(
            f"the newest row of the table is {told} in the future ({table.end:%Y-%m-%d %H:%M:%S} UTC): are local times "
            "written as UTC? Correct them, or give --start and --end in the table's own time"
        )


def _progress(done: int, total: int) -> None:
    end = "\r\x1b[K" if done == total else ""
    print(f"\rfetching {done}/{total} queries{end}", end="", file=sys.stderr, flush=True)


def window_of(
    options: argparse.Namespace,
    config: JudgeConfig,
    sources: dict[str, MetricSource],
    *,
    baseline_alone: bool = False,
) -> Window:
    """The window of the options; of a table the whole of it, where it may also be the baseline's alone."""
    from canary_judge.series import Window
    from canary_judge.sources import FrameSource

    if options.last is not None:
        if options.start or options.end:
            raise ConfigError("--last and --start/--end exclude each other; give one of them")
        for source in sources.values():
            if isinstance(source, FrameSource):
                refuse_the_future(source.span(config.interval), config.interval)
        length = duration_of(options.last, "--last")
        assert length is not None  # noqa: S101
        # the last scrapes may still be on their way
        return Window.last(length, now=datetime.now(UTC) - config.interval)
    if options.start or options.end:
        if not (options.start and options.end):
            raise ConfigError("--start and --end go together; give both, or --last")
        return Window(time_of(options.start, "--start"), time_of(options.end, "--end"))
    tables = [source for source in sources.values() if isinstance(source, FrameSource)]
    if len(tables) == len(sources):
        return tables[0].window(config.interval, baseline_alone=baseline_alone)
    raise ConfigError("which window? give --last 30m, or --start and --end")


def duration_of(text: str | None, option: str) -> timedelta | None:
    """A positive duration; None without one."""
    if text is None:
        return None
    from canary_judge.series import parse_duration  # with numpy; `--help` needs none

    try:
        length = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
    if length <= timedelta(0):
        raise ConfigError(f"{option} {text!r} is no positive duration")
    return length


def time_of(text: str, option: str) -> datetime:
    """A moment."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{option} {text!r} is no time; write it as 2026-01-31T12:00:00Z") from error


def colored(options: argparse.Namespace) -> bool:
    """Whether the output gets colours."""
    if options.color != "auto":
        return bool(options.color == "always")
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def width_out() -> int | None:
    """The terminal's width; None where the output goes into a file or a pipe, whose lines stay whole."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def unicode_out() -> bool:
    """Whether the terminal knows more than ASCII."""
    return (sys.stdout.encoding or "ascii").lower().startswith("utf")


def plan_of(config: JudgeConfig, stages: str | None = None) -> RolloutPlan:
    """The plan of a config, with other stages where they are given."""
    from canary_judge.rollout.plan import RolloutPlan

    plain = dict(config.rollout)
    if stages is not None:
        try:
            plain["stages"] = [float(one) for one in stages.split(",")]
        except ValueError:
            raise ConfigError(f"--stages is {stages!r}; write it as 5,25,50,100") from None
    return RolloutPlan.from_mapping(plain)


def print_advice(config: JudgeConfig) -> None:
    """What is likely to be wrong with a config, if anything."""
    from canary_judge.config.advice import advise

    if advice := advise(config):
        print("\nAdvice:")
        for one in advice:
            print(f"  - {one} [{one.code}]")


def say(text: str) -> None:
    """Print it; where the reader has gone (`| head`), the exit code still tells the verdict."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
