"""`canary-judge rollout`, `router` and `control`: drive the weights, by a plan or by hand."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from canary_judge.errors import ConfigError
from canary_judge.series import MetricSource, format_duration

if TYPE_CHECKING:
    from canary_judge.config.model import JudgeConfig
    from canary_judge.rollout.controller import Controller
    from canary_judge.rollout.events import Event
    from canary_judge.rollout.policy import RolloutPlan, Stage
from canary_judge.routing import TrafficRouter

__all__ = ["add_control", "add_rollout", "add_router", "rollout_plan", "run_rollout"]

_LEFTOVERS = 3
# Events that stay in sight below the board.
_SHOWN_EVENTS = 8


# --- options ---------------------------------------------------------------------------------------------------------


def add_rollout(parser: argparse.ArgumentParser) -> None:
    """Options of `rollout`, besides those of config, source and output."""
    parser.add_argument(
        "--router", metavar="TYPE[,KEY=VALUE...]",
        help="in place of the config's `router:`, as istio,name=app,stable=app-v1,canary=app-v2",
    )  # fmt: skip
    parser.add_argument("--stages", metavar="LIST", help="in place of the config's, as 5,25,50,100")
    parser.add_argument("--every", metavar="DURATION", help="time between looks (default: the config's interval)")
    parser.add_argument(
        "--journal", metavar="FILE", help="write down every step; a killed driver goes on from it with the same command"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, change nothing")


def add_router(parser: argparse.ArgumentParser) -> None:
    """`router get`, `set` and `rollback`."""
    verbs = parser.add_subparsers(required=True, metavar="VERB", parser_class=type(parser), dest="verb")
    for verb, about, run in (
        ("get", "print the canary's weight", _get),
        ("set", "set the canary's weight", _set),
        ("rollback", "give the canary no traffic, and tell what still leads to it", _rollback),
    ):
        one = verbs.add_parser(verb, help=about, description=about.capitalize() + ".")
        if verb == "set":
            one.add_argument("percent", type=float, metavar="PERCENT")
            one.add_argument(
                "--expect", type=float, metavar="PERCENT", help="change nothing unless this weight is in force"
            )
            one.add_argument("--dry-run", action="store_true", help="show the change, make none")
        one.add_argument(
            "--kind", required=True, metavar="KIND", help="as istio, gateway-api, ingress-nginx, haproxy ..."
        )
        one.add_argument("--stable", metavar="NAME", help="the stable destination")
        one.add_argument("--canary", metavar="NAME", help="the canary's destination")
        one.add_argument("--route", action="append", default=[], metavar="NAME", help="a route's name or position")
        where = one.add_mutually_exclusive_group()
        where.add_argument("--manifest", metavar="FILE", help="edit this YAML file, and nothing else in it")
        where.add_argument("--kubernetes", metavar="NAMESPACE/NAME", help="the object in the cluster")
        one.add_argument(
            "--option", action="append", default=[], metavar="KEY=VALUE",
            help="any other option of the router, as store=lightkube, address=/run/haproxy.sock, backend=app",
        )  # fmt: skip
        one.add_argument("--format", choices=["text", "json"], default="text")
        one.set_defaults(run=run)


def add_control(parser: argparse.ArgumentParser) -> None:
    """`control JOURNAL COMMAND`."""
    parser.add_argument("journal", metavar="JOURNAL", help="of the running rollout")
    parser.add_argument("order", metavar="COMMAND", choices=["approve", "pause", "resume", "abort", "stop"])
    parser.add_argument("--reason", default="", metavar="TEXT")
    parser.set_defaults(run=_control)


def _pairs(items: Sequence[str], place: str) -> dict[str, Any]:
    """KEY=VALUE pairs; a key that is given again makes a list, and true, false and numbers are what they look like."""
    found: dict[str, Any] = {}
    for item in items:
        key, sign, text = item.partition("=")
        if not (sign and key):
            raise ConfigError(f"{place}: {item!r} is no KEY=VALUE")
        value: Any = {"true": True, "false": False}.get(text, text)
        key = key.replace("-", "_")
        if key in found:
            found[key] = [*(found[key] if isinstance(found[key], list) else [found[key]]), value]
        else:
            found[key] = value
    for key in ("timeout", "default_weight"):
        if key in found:
            try:
                found[key] = float(found[key])
            except (TypeError, ValueError):
                raise ConfigError(f"{place}: {key} is {found[key]!r}, which is no number") from None
    for key in ("routes", "command"):
        if key in found:
            found[key] = found[key] if isinstance(found[key], list) else [found[key]]
    return found


# --- router by hand ------------------------------------------------------------------------------------------------


def _router(options: argparse.Namespace) -> TrafficRouter:
    from canary_judge.routers import from_config  # noqa: PLC0415

    plain: dict[str, Any] = {"type": options.kind, **_pairs(options.option, "--option")}
    for name in ("stable", "canary", "manifest"):
        if getattr(options, name) is not None:
            plain[name] = getattr(options, name)
    if options.route:
        plain["routes"] = options.route
    if options.kubernetes is not None:
        namespace, slash, name = options.kubernetes.partition("/")
        plain |= {"namespace": namespace, "name": name} if slash else {"name": namespace}
    return from_config(plain)


def _get(options: argparse.Namespace) -> int:
    reading = _router(options).get_weight()
    if options.format == "json":
        print(json.dumps({"percent": reading.percent, "per_route": dict(reading.per_route)}))
    else:
        print(reading)
    return 0


def _set(options: argparse.Namespace) -> int:
    router = _router(options)
    if not 0 <= options.percent <= 100:
        raise ConfigError(f"PERCENT is {options.percent:g}; give a share of 0 to 100")
    before = router.get_weight()
    if options.dry_run:
        _preview(router, options.percent)
        return 0
    written = router.set_weight(options.percent, expect=options.expect)
    in_force = router.verify(options.percent)
    if options.format == "json":
        print(
            json.dumps({"before": before.percent, "percent": options.percent, "written": written, "in_force": in_force})
        )
    else:
        print(f"{before} -> {options.percent:g} %" if written else f"{options.percent:g} % is in force already")
    if not in_force:
        print("canary-judge: the weight is written, but not in force where requests are routed", file=sys.stderr)
    return 0 if in_force else 1


def _rollback(options: argparse.Namespace) -> int:
    router = _router(options)
    report = router.rollback()
    in_force = router.verify(0.0)
    if options.format == "json":
        left = [{"place": one.place, "reason": one.reason} for one in report.residuals]
        print(json.dumps({"percent": 0.0, "changed": report.changed, "in_force": in_force, "residuals": left}))
    else:
        print("rolled back: the canary has 0 %" if report.changed else "the canary has 0 % already")
        for one in report.residuals:
            print(f"still leads to the canary: {one}")
    if not in_force:
        print("canary-judge: 0 % is written, but not in force where requests are routed", file=sys.stderr)
        return 1
    return _LEFTOVERS if report.residuals else 0


def _preview(router: TrafficRouter, percent: float) -> None:
    preview = getattr(router, "preview", None)
    if preview is None:
        print(f"would set {percent:g} %")
        return
    for operation in preview(percent) or [{"op": "nothing"}]:
        if operation["op"] != "test":
            place = f" {operation['path']} = {json.dumps(operation['value'])}" if "path" in operation else ""
            print(f"would {operation['op']}{place}")


# --- rollout -------------------------------------------------------------------------------------------------------


def rollout_plan(config: JudgeConfig, stages: str | None = None) -> RolloutPlan:
    """The plan of a config, with other stages where they are given."""
    from canary_judge.rollout.policy import RolloutPlan  # noqa: PLC0415

    plain = dict(config.rollout)
    if stages is not None:
        try:
            plain["stages"] = [float(one) for one in stages.split(",")]
        except ValueError:
            raise ConfigError(f"--stages is {stages!r}; write it as 5,25,50,100") from None
    return RolloutPlan.from_mapping(plain)


def _router_of(options: argparse.Namespace, config: JudgeConfig) -> TrafficRouter:
    from canary_judge.routers import from_config  # noqa: PLC0415

    if options.router is not None:
        kind, *rest = options.router.split(",")
        return from_config({"type": kind, **_pairs(rest, "--router")}, place="--router")
    if not config.router:
        raise ConfigError(
            "router: is missing; say in the config what drives the traffic, as `router: {type: istio, name: app, "
            "stable: app-v1, canary: app-v2}`, or pass --router"
        )
    return from_config(config.router)


def run_rollout(
    options: argparse.Namespace,
    config: JudgeConfig,
    sources: dict[str, MetricSource],
    *,
    every: timedelta | None,
    colored: bool,
) -> int:
    """Drive a rollout to its end, and return the exit code."""
    from canary_judge.rollout.controller import Controller  # noqa: PLC0415
    from canary_judge.rollout.policy import Phase  # noqa: PLC0415

    plan = rollout_plan(config, options.stages)
    router = _router_of(options, config)
    if options.dry_run:
        return _dry_run(config, plan, router)
    controller = Controller(config, sources, router, plan, journal=options.journal, every=every)
    _stop_on_signals(controller)
    show = _Display(config, plan, options.format, colored=colored)
    for event in controller.events():
        show(event)
    result = controller.result()
    show.end()
    if options.format == "text":
        if result.judgement is not None:
            print(f"\n{result.judgement.explain(color=colored)}")
        print(f"\n{str(result.phase).replace('_', ' ').upper()} at {result.weight:g} %: {result.reason}")
    return {Phase.PROMOTED: 0, Phase.ROLLED_BACK: 2}.get(result.phase, 3)


def _stop_on_signals(controller: Controller) -> None:
    """The first SIGTERM or SIGINT ends the loop in order; a second one ends the process."""

    def stop(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        controller.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _dry_run(config: JudgeConfig, plan: RolloutPlan, router: TrafficRouter) -> int:
    from canary_judge.config.advice import advise  # noqa: PLC0415

    print(f"{config.name}: the canary has {router.get_weight()}; nothing is changed")
    for stage in plan.stages:
        print(f"\n{stage.weight:g} %{_conditions(plan, stage)}")
        _preview(router, stage.weight)
    if advice := advise(config):
        print("\nAdvice:")
        for one in advice:
            print(f"  - {one} [{one.code}]")
    return 0


def _conditions(plan: RolloutPlan, stage: Stage) -> str:
    """What it takes to leave a stage, in words."""
    if stage.weight >= 100:
        return ""
    shown = "safety" if (stage.needs or plan.needs) == "pass" else "no harm"
    text = f": left when {shown} is shown on {format_duration(plan.minimum_of(stage))} of its data or more"
    text += " and a human approves" if stage.approval else ""
    longest = plan.maximum_of(stage)
    if longest is not None:
        action = "rolled back" if plan.at_deadline == "roll_back" else "held for a human"
        text += f"; undecided after {format_duration(longest)}, it is {action}"
    return text


class _Display:
    """What is printed while it runs: a line per event, on a terminal a board, or JSON lines."""

    def __init__(self, config: JudgeConfig, plan: RolloutPlan, form: str, *, colored: bool) -> None:
        self._config, self._plan, self._form, self._colored = config, plan, form, colored
        self._live = form == "text" and sys.stdout.isatty() and "TERM" in os.environ
        self._lines: list[str] = []
        self._board = ""
        self._last = ""

    def __call__(self, event: Event) -> None:
        if self._form == "json":
            print(json.dumps(_plain(event)), flush=True)
            return
        kind = str(event.kind).replace("_", " ")
        line = f"{event.at:%H:%M:%S}  {event.weight:>5g} %  {kind:<12}  {event.text}"
        if self._live:
            self._draw(event, line)
        elif event.text != self._last:  # the same reason need not be told every minute
            print(line, flush=True)
        self._last = event.text

    def _draw(self, event: Event, line: str) -> None:
        from canary_judge.report import to_board  # noqa: PLC0415

        encoding = (sys.stdout.encoding or "ascii").lower()
        if event.judgement is not None:
            self._board = to_board(
                event.judgement, false_pass_rate=self._config.false_pass_rate, color=self._colored,
                ascii_only=not encoding.startswith("utf"),
            )  # fmt: skip
        if event.kind != "look":  # what a look says is on the board
            self._lines = [*self._lines, line][-_SHOWN_EVENTS:]
        stages = "  ".join(
            f"[{stage.weight:g} %]" if index == event.state.stage else f"{stage.weight:g} %"
            for index, stage in enumerate(self._plan.stages)
        )
        print(f"\x1b[2J\x1b[H{stages}\n\n{self._board}\n\n" + "\n".join(self._lines), flush=True)

    def end(self) -> None:
        """Leave the last board."""
        if self._live:
            print()


def _plain(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": event.kind.value, "at": event.at.isoformat(), "weight": event.weight, "phase": event.state.phase.value,
        "text": event.text,
    }  # fmt: skip
    if event.judgement is not None:
        found |= {"verdict": event.judgement.verdict.value, "score": event.judgement.score}
    if event.report is not None:
        found["residuals"] = [{"place": one.place, "reason": one.reason} for one in event.report.residuals]
    return found


def _control(options: argparse.Namespace) -> int:
    from canary_judge.rollout.journal import send_command  # noqa: PLC0415

    send_command(options.journal, options.order, options.reason)
    print(f"{options.order} is left for the driver of {options.journal}; it obeys at its next look")
    return 0
