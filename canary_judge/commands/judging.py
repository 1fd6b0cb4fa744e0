"""`canary-judge judge` and `demo`: a finished window."""

from __future__ import annotations

import argparse
from datetime import timedelta
from importlib import resources

from canary_judge.commands import exit_codes
from canary_judge.commands.options import (
    add_output,
    add_source,
    add_window,
    colored,
    config_of,
    sources_of,
    width_out,
    window_of,
)

__all__ = ["add_demo", "add_judge"]


def add_judge(parser: argparse.ArgumentParser) -> None:
    """`judge CONFIG`."""
    parser.description = "Judge a finished window of a canary."
    parser.epilog = "Exit codes: 0 pass, 2 fail, 3 marginal, 4 not enough evidence, 1 error."
    add_source(parser)
    add_window(parser)
    add_output(parser)
    parser.set_defaults(run=_judge)


def add_demo(parser: argparse.ArgumentParser) -> None:
    """`demo`."""
    parser.add_argument("--color", choices=["auto", "always", "never"], default="auto")
    parser.set_defaults(run=_demo)


def _judge(options: argparse.Namespace) -> int:
    from canary_judge.judging import judge  # `--help` needs no numpy

    config = config_of(options)
    sources = sources_of(options, config)
    judgement = judge(config, sources, window_of(options, config, sources))
    if options.format == "json":
        print(judgement.to_json(indent=2))
    else:
        print(judgement.explain(color=colored(options), width=width_out()))
    return exit_codes.tell(judgement)


def _demo(options: argparse.Namespace) -> int:
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
