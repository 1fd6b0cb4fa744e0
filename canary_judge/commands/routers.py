"""`canary-judge router`: read, set or take back a weight by hand; and routers from options on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from canary_judge.commands.exit_codes import ERROR, LEFTOVERS
from canary_judge.errors import ConfigError

if TYPE_CHECKING:
    from canary_judge.routing import Residual, TrafficRouter

__all__ = ["add_router", "pairs", "preview", "print_leftovers"]


def add_router(parser: argparse.ArgumentParser) -> None:
    """`router get`, `set` and `rollback`."""
    parser.epilog = "Exit codes: 0 done, 3 rolled back but something still leads to the canary, 1 error."
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
            "--option",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="any other option of the router, as store=lightkube, address=/run/haproxy.sock, backend=app",
        )
        one.add_argument("--format", choices=["text", "json"], default="text")
        one.set_defaults(run=run)


def pairs(items: Sequence[str], place: str) -> dict[str, Any]:
    """KEY=VALUE pairs; a key given again makes a list; true, false and the numbers among them are read."""
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


def _router(options: argparse.Namespace) -> TrafficRouter:
    from canary_judge.routers import from_config

    plain: dict[str, Any] = {"type": options.kind, **pairs(options.option, "--option")}
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
    router = _router(options)
    from canary_judge.routing import leftovers

    reading, past = router.get_weight(), leftovers(router)
    if options.format == "json":
        print(json.dumps({"percent": reading.percent, "per_route": dict(reading.per_route), "leftovers": _plain(past)}))
    else:
        print(reading)
        print_leftovers(past)
    return 0


def print_leftovers(past: Sequence[Residual]) -> None:
    """What leads to the canary past its weight, a line each."""
    for one in past:
        print(f"leads to the canary whatever its weight: {one}")


def _plain(past: Sequence[Residual]) -> list[dict[str, str]]:
    return [{"place": one.place, "reason": one.reason} for one in past]


def _set(options: argparse.Namespace) -> int:
    router = _router(options)
    if not 0 <= options.percent <= 100:
        raise ConfigError(f"PERCENT is {options.percent:g}; give a share of 0 to 100")
    before = router.get_weight()
    if options.dry_run:
        preview(router, options.percent)
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
    return 0 if in_force else ERROR


def _rollback(options: argparse.Namespace) -> int:
    router = _router(options)
    report = router.rollback()
    in_force = router.verify(0.0)
    if options.format == "json":
        left = _plain(report.residuals)
        print(json.dumps({"percent": 0.0, "changed": report.changed, "in_force": in_force, "residuals": left}))
    else:
        print("rolled back: the canary has 0 %" if report.changed else "the canary has 0 % already")
        for one in report.residuals:
            print(f"still leads to the canary: {one}")
    if not in_force:
        print("canary-judge: 0 % is written, but not in force where requests are routed", file=sys.stderr)
        return ERROR
    return LEFTOVERS if report.residuals else 0


def preview(router: TrafficRouter, percent: float) -> None:
    """Print what setting this weight would change."""
    operations = getattr(router, "preview", None)
    if operations is None:
        print(f"would set {percent:g} %")
        return
    for operation in operations(percent) or [{"op": "nothing"}]:
        if operation["op"] != "test":
            place = f" {operation['path']} = {json.dumps(operation['value'])}" if "path" in operation else ""
            print(f"would {operation['op']}{place}")
