"""`canary-judge judge` and `demo`: a finished window."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import TYPE_CHECKING

from canary_judge.commands.ci import add_ci, checked_ci, exit_code, reported, wait_for
from canary_judge.commands.options import (
    add_output,
    add_source,
    add_window,
    colored,
    config_of,
    duration_of,
    say,
    sources_of,
    width_out,
    window_of,
)
from canary_judge.errors import ConfigError

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.series import MetricSource, Window

__all__ = ["add_demo", "add_judge"]


def add_judge(parser: argparse.ArgumentParser) -> None:
    """`judge CONFIG`."""
    parser.description = "Judge a finished window of a canary."
    parser.epilog = "Exit codes: 0 pass, 2 fail, 3 marginal, 4 not enough evidence, 1 error."
    add_source(parser)
    add_window(parser)
    add_output(parser)
    add_ci(parser, wait="begin now, wait so long, and judge what passed meanwhile: one planned look")
    parser.set_defaults(run=_judge)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """`demo`."""
    parser.add_argument("--color", choices=["auto", "always", "never"], default="auto")
    parser.set_defaults(run=_demo)


def _judge(options: argparse.Namespace) -> int:
    from canary_judge.judging import judge  # `--help` needs no numpy

    checked_ci(options)
    with reported(options) as found:
        config = config_of(options)
        sources = sources_of(options, config)
        window = _window(options, config, sources)
        judgement = judge(config, sources, window)
        found.append(judgement)
        plain = options.format == "json"
        say(judgement.to_json(indent=2) if plain else judgement.explain(color=colored(options), width=width_out()))
    return exit_code(options, judgement)


def _window(options: argparse.Namespace, config: JudgeConfig, sources: dict[str, MetricSource]) -> Window:
    from canary_judge.series import Window

    length = duration_of(options.wait, "--wait")
    if length is None:
        window = window_of(options, config, sources)
        if options.last or options.start:
            _refuse_without_rows(window, "--last" if options.last else "--start and --end", config, sources)
        return window
    if options.last or options.start or options.end or options.data:
        raise ConfigError("--wait judges what passes from now on; leave out --last, --start, --end and --data")
    list(config.queries())  # a label that is missing is told before the wait
    return Window(*wait_for(length, config.interval))


def _refuse_without_rows(window: Window, option: str, config: JudgeConfig, sources: dict[str, MetricSource]) -> None:
    """ConfigError where all that is read are tables, and none has a row in the window."""
    from canary_judge.sources import FrameSource

    spans = [source.span(config.interval) for source in sources.values() if isinstance(source, FrameSource)]
    if (
        spans
        and len(spans) == len(sources)
        and all(one.end <= window.start or window.end <= one.start for one in spans)
    ):
        raise ConfigError(
            f"{option}: the table has rows from {spans[0].start:%Y-%m-%d %H:%M:%S} to {spans[0].end:%Y-%m-%d %H:%M:%S} "
            f"UTC, and none from {window.start:%Y-%m-%d %H:%M:%S} to {window.end:%Y-%m-%d %H:%M:%S}; leave {option} "
            "out to judge all of it"
        )


def _demo(options: argparse.Namespace) -> int:
    from importlib import resources

    from canary_judge.config.model import JudgeConfig
    from canary_judge.judging import judge
    from canary_judge.series import Window
    from canary_judge.sources import FrameSource

    data = resources.files("canary_judge") / "data"
    config = JudgeConfig.parse((data / "demo.yaml").read_text(encoding="utf-8"), name="demo.yaml")
    with resources.as_file(data) as folder:
        healthy = FrameSource(folder / "healthy.csv.gz")
        regressed = FrameSource(folder / "regressed.csv.gz", align="start")
    day = healthy.window(config.interval)
    early = Window(day.start, day.start + timedelta(minutes=12))
    whole = regressed.window(config.interval)
    shown = (
        ("A healthy canary: 5 % of the requests of a shop, drawn at random", healthy, day),
        ("The same canary after 12 minutes: too early to tell", healthy, early),
        ("A canary short of CPU: requests before the fault against requests during it", regressed, whole),
    )
    for title, source, window in shown:
        print(f"=== {title}\n")
        print(judge(config, source, window).explain(color=colored(options), width=width_out()))
        print()
    print(
        "The recordings are real (Online Boutique, Nezha data set, MIT; see canary_judge/data/NOTICE.md).\n"
        "What next:\n"
        "  canary-judge presets                 which meshes and ingresses are known\n"
        "  canary-judge check my.yaml           validate a config and see its queries\n"
        "  canary-judge judge my.yaml --source http://localhost:9090 --last 30m"
    )
    return 0
