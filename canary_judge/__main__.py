"""The command line: judge, watch, rollout, router, control, plan, check, presets, schema, demo, kayenta.

Exit codes of `judge` and `watch`: 0 pass, 2 fail, 3 marginal, 4 marginal for want of evidence, 1 error. Of `rollout`:
0 promoted, 2 rolled back, 3 stopped or interrupted, 1 error.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from canary_judge._version import __version__
from canary_judge.errors import CanaryJudgeError, ConfigError, DataError
from canary_judge.results import Judgement, Verdict
from canary_judge.series import MetricSource, Window, parse_duration

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig

__all__ = ["main"]

_EXIT_ERROR, _EXIT_INSUFFICIENT = 1, 4
_EXIT = {Verdict.PASS: 0, Verdict.FAIL: 2, Verdict.MARGINAL: 3}


class _Parser(argparse.ArgumentParser):
    """Usage errors exit with 1: 2 means that the canary failed."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(_EXIT_ERROR, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; nothing but a bug ends in a traceback."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except CanaryJudgeError as error:
        print(f"canary-judge: error: {error}", file=sys.stderr)
    except BrokenPipeError:
        # the reader of our output has gone; do not complain at shutdown either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("canary-judge: interrupted", file=sys.stderr)
    except Exception as error:
        if os.environ.get("CANARY_JUDGE_TRACEBACK"):
            raise
        print(
            f"canary-judge: internal error: {type(error).__name__}: {error}\n"
            "This is a bug. Run again with CANARY_JUDGE_TRACEBACK=1 and report what it prints.",
            file=sys.stderr,
        )
    return _EXIT_ERROR


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="canary-judge", description="A statistical canary judge.")
    parser.add_argument("--version", action="version", version=f"canary-judge {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser, dest="command")

    judge = commands.add_parser(
        "judge", help="judge a finished window", description="Judge a finished window of a canary.",
        epilog="Exit codes: 0 pass, 2 fail, 3 marginal, 4 not enough evidence, 1 error.",
    )  # fmt: skip
    _source_options(judge)
    _window_options(judge)
    _output_options(judge)
    judge.set_defaults(run=_judge)

    watch = commands.add_parser(
        "watch", help="look at a running canary until it is decided",
        description="Look again and again; the false alarm rate holds over all looks together.",
        epilog="Ends when the canary passes or fails, or at the planned end. Exit codes as for `judge`.",
    )  # fmt: skip
    _source_options(watch)
    watch.add_argument("--horizon", metavar="DURATION", help="planned length, as 45m; needs less data than no plan")
    watch.add_argument("--start", metavar="TIME", help="when the canary began to serve (default: now)")
    watch.add_argument("--every", metavar="DURATION", help="time between looks (default: the config's interval)")
    watch.add_argument(
        "--weight", type=float, metavar="PERCENT", help="share of the traffic that the canary should get"
    )
    watch.add_argument("--state", metavar="FILE", help="keep the evidence in this file, and go on from it")
    watch.add_argument("--once", action="store_true", help="look once, for cron and CI jobs; needs --state")
    _output_options(watch)
    watch.set_defaults(run=_watch)

    from canary_judge.commands import rollout as rollout_commands  # noqa: PLC0415

    rollout = commands.add_parser(
        "rollout", help="drive a canary through its stages, and back to 0 at once",
        description="Look, judge and set the weight, until the canary has all of the traffic or none.",
        epilog="Exit codes: 0 promoted, 2 rolled back, 3 stopped or interrupted, 1 error.",
    )  # fmt: skip
    _source_options(rollout)
    rollout_commands.add_rollout(rollout)
    _output_options(rollout)
    rollout.set_defaults(run=_rollout)

    router = commands.add_parser(
        "router", help="read, set or take back a weight by hand",
        epilog="Exit codes: 0 done, 3 rolled back but something still leads to the canary, 1 error.",
    )  # fmt: skip
    rollout_commands.add_router(router)
    rollout_commands.add_control(
        commands.add_parser("control", help="approve, pause, resume, abort or stop a running rollout")
    )

    plan = commands.add_parser(
        "plan", help="how long a canary takes at which weight",
        description="Measure the baseline, and tell the time at each weight until safety is shown.",
        epilog="Exit codes: 0 some weight does within a day, 4 none does, 1 error.",
    )  # fmt: skip
    _source_options(plan)
    _window_options(plan)
    _output_options(plan)
    plan.set_defaults(run=_plan)

    check = commands.add_parser("check", help="validate a config and show its queries")
    check.add_argument("config", metavar="CONFIG")
    _side_options(check)
    check.set_defaults(run=_check)

    presets = commands.add_parser("presets", help="list the presets, or show one")
    presets.add_argument("name", nargs="?", metavar="NAME")
    presets.set_defaults(run=_presets)

    schema = commands.add_parser("schema", help="print the JSON Schema of a config")
    schema.set_defaults(run=_schema)

    from canary_judge.commands.kayenta import add_commands  # noqa: PLC0415

    add_commands(commands.add_parser("kayenta", help="Kayenta's judge, its configs, and both judges side by side"))

    demo = commands.add_parser("demo", help="judge bundled real recordings, without any server")
    demo.add_argument("--color", choices=["auto", "always", "never"], default="auto")
    demo.set_defaults(run=_demo)
    return parser


def _source_options(parser: argparse.ArgumentParser) -> None:
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
    _side_options(parser)


def _window_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", metavar="DURATION", help="the last 30m, 2h ... (ends one interval ago)")
    parser.add_argument("--start", metavar="TIME", help="start of the window, as 2026-01-31T12:00:00Z")
    parser.add_argument("--end", metavar="TIME", help="end of the window")


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.add_argument("--color", choices=["auto", "always", "never"], default="auto")


def _side_options(parser: argparse.ArgumentParser) -> None:
    for side in ("baseline", "canary"):
        parser.add_argument(
            f"--{side}",
            action="append",
            default=[],
            metavar="LABEL=VALUE",
            help=f"a label of the {side}, for ${{LABEL}}",
        )


# --- commands ----------------------------------------------------------------------------------------------------


def _judge(options: argparse.Namespace) -> int:
    from canary_judge.judging import judge  # noqa: PLC0415  (`--help` needs no numpy)

    config = _config(options)
    sources = _sources(options, config)
    judgement = judge(config, sources, _window(options, config, sources))
    if options.format == "json":
        print(judgement.to_json(indent=2))
    else:
        print(judgement.explain(color=_colored(options)))
    return _exit_code(judgement)


def _watch(options: argparse.Namespace) -> int:
    from canary_judge.looks.watching import follow, restore  # noqa: PLC0415

    if options.once and not options.state:
        raise ConfigError("--once needs --state FILE: a single look knows nothing of the ones before without it")
    config = _config(options)
    sources = _sources(options, config)
    table = next((source for source in sources.values() if hasattr(source, "window")), None)
    replayed = None if table is None or options.once else table.window(config.interval)
    start = _time(options.start, "--start") if options.start else replayed.start if replayed else None
    path = None if options.state is None else Path(options.state)
    monitor = restore(config, path, start=start, horizon=_duration(options.horizon, "--horizon"))
    every = _duration(options.every, "--every") or config.interval
    moments: Iterator[datetime]
    if replayed is not None:
        first = monitor.watermark or replayed.start
        moments = (first + k * every for k in range(1, -(-(replayed.end - first) // every) + 1))
    else:
        moments = _clock(config.interval if options.once else every, once=options.once)
    judgement = follow(
        monitor,
        sources,
        moments,
        show=lambda judgement: _show(options, config, judgement, live=not options.once),
        complain=lambda text: print(f"canary-judge: {text}", file=sys.stderr),
        weight=options.weight,
        state=path,
    )
    if judgement is None:
        raise DataError("no look was made; the state is as before")
    if options.format == "json":
        print(judgement.to_json(indent=2))
    elif options.once or judgement.verdict is not Verdict.MARGINAL:
        print(("" if options.once else "\n") + judgement.explain(color=_colored(options)))
    return _exit_code(judgement)


def _clock(every: timedelta, *, once: bool) -> Iterator[datetime]:
    """Now, and again each time that `every` has passed."""
    begun = time.monotonic()
    for number in itertools.count(1):
        if not once:  # the first interval has to pass first
            time.sleep(max(begun + number * every.total_seconds() - time.monotonic(), 0.0))
        yield datetime.now(UTC)
        if once:
            return


def _show(options: argparse.Namespace, config: JudgeConfig, judgement: Judgement, *, live: bool) -> None:
    if options.format == "json" or not live:
        return
    from canary_judge.report import to_board  # noqa: PLC0415

    encoding = (sys.stdout.encoding or "ascii").lower()
    board = to_board(
        judgement,
        false_pass_rate=config.false_pass_rate,
        color=_colored(options),
        ascii_only=not encoding.startswith("utf"),
    )
    clear = "\x1b[2J\x1b[H" if sys.stdout.isatty() else ""
    print(f"{clear}{board}\n", flush=True)


def _rollout(options: argparse.Namespace) -> int:
    from canary_judge.commands.rollout import run_rollout  # noqa: PLC0415

    config = _config(options)
    every = _duration(options.every, "--every")
    sources = {} if options.dry_run else _sources(options, config)
    return run_rollout(options, config, sources, every=every, colored=_colored(options))


def _plan(options: argparse.Namespace) -> int:
    from canary_judge.planning import plan, plan_to_json  # noqa: PLC0415

    config = _config(options)
    sources = _sources(options, config)
    found = plan(config, sources, _window(options, config, sources))
    print(plan_to_json(found) if options.format == "json" else found.explain())
    return 0 if found.feasible else _EXIT_INSUFFICIENT


def _check(options: argparse.Namespace) -> int:
    from canary_judge.commands.rollout import rollout_plan  # noqa: PLC0415
    from canary_judge.config.advice import advise  # noqa: PLC0415
    from canary_judge.routers import from_config as router_from_config  # noqa: PLC0415
    from canary_judge.sources import from_config  # noqa: PLC0415

    config = _config(options)
    for name, section in config.sources.items():
        from_config(section, name=name)
    if config.rollout:
        rollout_plan(config)
    if config.router:
        router_from_config(config.router)
    undefined = sorted({metric.source for metric in config.metrics} - set(config.sources))
    print(f"{options.config}: valid; config hash {config.hash()[:12]}")
    for query in config.queries():
        print(f"\n{query.metric} / {query.part} / {query.side} ({query.reading.value})\n  {query.expression}")
    if undefined:
        print(
            f"\nNote: source {', '.join(map(repr, undefined))} is not in `sources`; pass --source or --data to `judge`."
        )
    if advice := advise(config):
        print("\nAdvice:")
        for one in advice:
            print(f"  - {one} [{one.code}]")
    return 0


def _presets(options: argparse.Namespace) -> int:
    from canary_judge.config.presets import presets  # noqa: PLC0415

    known = presets()
    if options.name is None:
        width = max(map(len, known))
        for name, preset in sorted(known.items()):
            print(f"{name:<{width}}  {preset['about']}\n{'':<{width}}  labels: {', '.join(preset['labels'])}")
        print("\nUse one with `preset: NAME` in a config; `canary-judge presets NAME` shows its queries.")
        return 0
    if options.name not in known:
        raise ConfigError(f"preset {options.name!r} does not exist; there are {', '.join(sorted(known))}")
    preset = known[options.name]
    print(f"{options.name}: {preset['about']}")
    print(f"labels that both sides define: {', '.join(preset['labels'])}")
    for what, key in (("errors, events", "bad"), ("errors, total", "total"), ("slow requests", "bucket")):
        if preset[key]:
            print(f"{what}:")
            for side, matchers in sorted(preset["sides"].items()):
                print(f"  {side:<9} {preset[key].replace('@', matchers)}")
    if preset["slower_than"]:
        print(
            f"slower than: {preset['slower_than']} "
            f"(change it with `preset: {{name: {options.name}, slower_than: ...}}`)"
        )
    return 0


def _schema(_: argparse.Namespace) -> int:
    from canary_judge.config.model import json_schema  # noqa: PLC0415

    print(json.dumps(json_schema(), indent=2))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from canary_judge.config.model import JudgeConfig  # noqa: PLC0415
    from canary_judge.judging import judge  # noqa: PLC0415
    from canary_judge.sources import FrameSource  # noqa: PLC0415

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
        print(judge(config, source, window).explain(color=_colored(options)))
        print()
    print(
        "The recordings are real (Online Boutique, Nezha data set, MIT; see canary_judge/data/NOTICE.md).\n"
        "What next:\n"
        "  canary-judge presets                 which meshes and ingresses are known\n"
        "  canary-judge check my.yaml           validate a config and see its queries\n"
        "  canary-judge judge my.yaml --source http://localhost:9090 --last 30m"
    )
    return 0


# --- their parts -------------------------------------------------------------------------------------------------


def _config(options: argparse.Namespace) -> JudgeConfig:
    from canary_judge.config.model import JudgeConfig  # noqa: PLC0415

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


def _sources(options: argparse.Namespace, config: JudgeConfig) -> dict[str, MetricSource]:
    from canary_judge import sources  # noqa: PLC0415  (each source is imported when it is used)

    used = list(dict.fromkeys(metric.source for metric in config.metrics))
    live = options.command in ("watch", "rollout")  # whose table would be torn by it
    progress = _progress if sys.stderr.isatty() and not live else None
    if options.data is not None:
        return dict.fromkeys(used, sources.FrameSource(Path(options.data), align=options.align))
    if options.source is not None:
        return dict.fromkeys(used, sources.PrometheusSource(options.source, progress=progress))
    if missing := sorted(set(used) - set(config.sources)):
        raise ConfigError(
            f"source {missing[0]!r} is nowhere given: add it under `sources:` in the config, "
            "or pass --source URL or --data FILE"
        )
    found = {name: sources.from_config(config.sources[name], name=name) for name in used}
    for source in found.values():
        if hasattr(source, "progress"):
            source.progress = progress
    return found


def _progress(done: int, total: int) -> None:
    end = "\r\x1b[K" if done == total else ""
    print(f"\rfetching {done}/{total} queries{end}", end="", file=sys.stderr, flush=True)


def _window(options: argparse.Namespace, config: JudgeConfig, sources: dict[str, MetricSource]) -> Window:
    from canary_judge.sources import FrameSource  # noqa: PLC0415

    if options.last is not None:
        if options.start or options.end:
            raise ConfigError("--last and --start/--end exclude each other; give one of them")
        length = _duration(options.last, "--last")
        assert length is not None  # noqa: S101
        # the last scrapes may still be on their way
        return Window.last(length, now=datetime.now(UTC) - config.interval)
    if options.start or options.end:
        if not (options.start and options.end):
            raise ConfigError("--start and --end go together; give both, or --last")
        return Window(_time(options.start, "--start"), _time(options.end, "--end"))
    tables = [source for source in sources.values() if isinstance(source, FrameSource)]
    if len(tables) == len(sources):
        return tables[0].window(config.interval)
    raise ConfigError("which window? give --last 30m, or --start and --end")


def _duration(text: str | None, option: str) -> timedelta | None:
    if text is None:
        return None
    try:
        length = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from error
    if length <= timedelta(0):
        raise ConfigError(f"{option} {text!r} is no positive duration")
    return length


def _time(text: str, option: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise DataError(f"{option} {text!r} is no time; write it as 2026-01-31T12:00:00Z") from error


def _colored(options: argparse.Namespace) -> bool:
    if options.color != "auto":
        return bool(options.color == "always")
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _exit_code(judgement: Judgement) -> int:
    if judgement.verdict is Verdict.MARGINAL and not judgement.sufficient:
        return _EXIT_INSUFFICIENT
    return _EXIT[judgement.verdict]


if __name__ == "__main__":
    sys.exit(main())
