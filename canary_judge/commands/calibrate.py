"""`canary-judge calibrate`: what the baseline's past says of a config."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from canary_judge.commands import exit_codes
from canary_judge.commands.options import add_source, add_window, config_of, duration_of, sources_of, time_of, window_of
from canary_judge.errors import ConfigError, DataError

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.series import MetricSource, Window

__all__ = ["add_calibrate"]


def add_calibrate(parser: argparse.ArgumentParser) -> None:
    """`calibrate CONFIG`."""
    parser.description = (
        "Judge canaries that are no canaries, drawn from the baseline's past: whether they refute the declared rate, "
        "and what margins windows like these can show."
    )
    parser.epilog = (
        "Exit codes: 0 nothing is refuted and every metric can decide, 2 the declared rate is refuted, 4 too little "
        "history, or a metric cannot decide, 1 error."
    )
    add_source(parser)
    add_window(parser)
    parser.add_argument("--length", metavar="DURATION", required=True, help="how long a canary is judged, as 30m")
    parser.add_argument(
        "--weight", type=float, metavar="PERCENT", required=True, help="a canary's share of the traffic"
    )
    parser.add_argument("--instances", type=int, default=1, metavar="N", help="of a canary, for metrics with `by` (1)")
    parser.add_argument("--draws", type=int, default=20, metavar="N", help="of each window (20)")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="START/END",
        help="a deploy, an incident or a past canary: windows that touch it are left out",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    from canary_judge.history.calibrating import calibrate

    config = config_of(options)
    sources = sources_of(options, config)
    length = duration_of(options.length, "--length")
    assert length is not None  # noqa: S101
    found = calibrate(
        config,
        sources,
        _span(options, config, sources),
        length=length,
        weight=options.weight,
        instances=options.instances,
        draws=options.draws,
        without=[_spell(text) for text in options.without],
    )
    print(found.to_json(indent=2) if options.format == "json" else found.explain())
    if found.refuted:
        return exit_codes.FAIL
    return exit_codes.PASS if found.decides else exit_codes.INSUFFICIENT


def _span(options: argparse.Namespace, config: JudgeConfig, sources: dict[str, MetricSource]) -> Window:
    """The past of the options; of a table all of it, whether or not it has a canary."""
    from canary_judge.sources import FrameSource

    tables = [source for source in sources.values() if isinstance(source, FrameSource)]
    if options.last is None and options.start is None and options.end is None and len(tables) == len(sources):
        return tables[0].span(config.interval)
    return window_of(options, config, sources)


def _spell(text: str) -> Window:
    from canary_judge.series import Window

    start, slash, end = text.partition("/")
    if not slash:
        raise ConfigError(f"--without {text!r}: write it as START/END, as in 2026-01-31T12:00Z/2026-01-31T13:00Z")
    try:
        return Window(time_of(start, "--without"), time_of(end, "--without"))
    except ValueError as error:
        raise DataError(f"--without {text!r}: {error}") from error
