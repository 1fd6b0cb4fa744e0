"""`canary-judge check`, `plan`, `presets` and `schema`: before a canary is started."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from canary_judge.commands import exit_codes
from canary_judge.commands.options import (
    add_output,
    add_preflight,
    add_source,
    add_window,
    config_of,
    duration_of,
    look_first,
    plan_of,
    print_advice,
    sources_of,
    window_of,
)
from canary_judge.errors import ConfigError

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.series import MetricSource, Query

__all__ = ["add_check", "add_plan", "add_presets", "add_schema"]


def add_plan(parser: argparse.ArgumentParser) -> None:
    """`plan CONFIG`."""
    parser.description = "Measure the baseline, and tell the time at each weight until safety is shown."
    parser.epilog = "Exit codes: 0 some weight does within a day, 4 none does, 1 error."
    add_source(parser)
    add_window(parser)
    add_output(parser)
    add_preflight(parser)
    parser.set_defaults(run=_plan)


def add_check(parser: argparse.ArgumentParser) -> None:
    """`check CONFIG`."""
    parser.description = (
        "Validate a config and show its queries; with --live (or --source, --data), ask whether they find what they "
        "need."
    )
    parser.epilog = "Exit codes: 0 valid (and ready), 1 error."
    add_source(parser)
    parser.add_argument("--live", action="store_true", help="ask the sources of the config")
    parser.add_argument("--horizon", metavar="DURATION", help="planned length, to tell margins that it cannot show")
    parser.add_argument("--weight", type=float, metavar="PERCENT", help="planned share of the traffic, for the same")
    parser.add_argument("--show-sql", action="store_true", help="show the statements that databases would be sent now")
    add_output(parser)
    parser.set_defaults(run=_check)


def add_presets(parser: argparse.ArgumentParser) -> None:
    """`presets [NAME]`."""
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.set_defaults(run=_presets)


def add_schema(parser: argparse.ArgumentParser) -> None:
    """`schema`."""
    parser.set_defaults(run=_schema)


def _plan(options: argparse.Namespace) -> int:
    from canary_judge.planning import plan, plan_to_json

    config = config_of(options)
    sources = sources_of(options, config)
    if options.start is None and options.end is None:  # what was measured then is not what is there now
        look_first(options, config, sources)
    found = plan(config, sources, window_of(options, config, sources, baseline_alone=True))
    print(plan_to_json(found) if options.format == "json" else found.explain())
    return 0 if found.feasible else exit_codes.INSUFFICIENT


def _check(options: argparse.Namespace) -> int:
    from canary_judge.routers import from_config as router_from_config
    from canary_judge.sources import from_config, refuse_without_users

    config = config_of(options)
    built = {name: from_config(section, name=name) for name, section in config.sources.items()}
    refuse_without_users(config, built)
    if config.rollout:
        plan_of(config)
    if config.router:
        router_from_config(config.router)
    if options.show_sql:
        return _show_sql(config, built)
    # a planned length says nothing without what is there
    if options.live or any(one is not None for one in (options.source, options.data, options.horizon, options.weight)):
        return _check_data(options, config)
    if options.format == "json":
        print(json.dumps({"config": config.hash(), "queries": [_plain(query) for query in config.queries()]}, indent=2))
        return 0
    undefined = sorted({metric.source for metric in config.metrics} - set(config.sources))
    print(f"{options.config}: valid; config hash {config.hash()[:12]}")
    for query in config.queries():
        print(f"\n{query.metric} / {query.part} / {query.side} ({query.reading.value})\n  {query.expression}")
    if undefined:
        print(
            f"\nNote: source {', '.join(map(repr, undefined))} is not in `sources`; pass --source or --data to `judge`."
        )
    if built:
        print(
            f"\nNote: {', '.join(map(repr, built))} was not asked; --live asks the sources for what the config needs."
        )
    print_advice(config)
    return 0


def _show_sql(config: JudgeConfig, sources: Mapping[str, MetricSource]) -> int:
    """The statements of one look over the last day (or the length of `history`, for what users did before)."""
    from canary_judge.series import Window

    window = Window.last("1d", now=datetime.now(UTC)).aligned(config.interval)
    shown = 0
    for name, source in sources.items():
        if not hasattr(source, "statements"):
            continue
        names = {metric.name for metric in config.metrics if metric.source == name}
        asked = [query for query in config.queries(start=window.start) if query.metric in names]
        for text in source.statements(asked, window):
            print(f"-- source {name}\n{text};\n")
            shown += 1
    if not shown:
        raise ConfigError("--show-sql: no source of the config is a database; add one of `type: sql` under `sources:`")
    return 0


def _plain(query: Query) -> dict[str, str]:
    return {
        "metric": query.metric,
        "part": query.part,
        "side": str(query.side),
        "reading": str(query.reading),
        "expression": query.expression,
    }


def _check_data(options: argparse.Namespace, config: JudgeConfig) -> int:
    """What the sources have for the config."""
    from canary_judge.readiness import preflight

    horizon = duration_of(options.horizon, "--horizon")
    found = preflight(config, sources_of(options, config), horizon=horizon, weight=options.weight)
    print(found.to_json() if options.format == "json" else found.explain())
    return 0 if found.ok else exit_codes.ERROR


def _presets(options: argparse.Namespace) -> int:
    from canary_judge.config.presets import presets

    known = presets()
    if options.name is None:
        width = max(map(len, known))
        for name, preset in sorted(known.items()):
            print(f"{name:<{width}}  {preset.about}\n{'':<{width}}  labels: {', '.join(preset.labels)}")
        print("\nUse one with `preset: NAME` in a config; `canary-judge presets NAME` shows its queries.")
        return 0
    if options.name not in known:
        raise ConfigError(f"preset {options.name!r} does not exist; there are {', '.join(sorted(known))}")
    preset = known[options.name]
    print(f"{options.name}: {preset.about}")
    print(f"labels that both sides define: {', '.join(preset.labels)}")
    shown = (("errors, events", preset.bad), ("errors, total", preset.total), ("slow requests", preset.bucket))
    for what, selector in shown:
        if selector is not None:
            print(f"{what}:")
            for side in sorted(preset.sides):
                print(f"  {side:<9} {preset.of(side, selector)}")
    if preset.slower_than is not None:
        change = f"`preset: {{name: {options.name}, slower_than: ...}}`"
        print(f"slower than: {preset.slower_than} (change it with {change})")
    return 0


def _schema(_: argparse.Namespace) -> int:
    from canary_judge.config.model import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0
