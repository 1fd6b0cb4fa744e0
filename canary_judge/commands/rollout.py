"""`canary-judge rollout` and `control`: drive the weights by a plan, and talk to whoever does."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from canary_judge.commands.archiving import archive_log
from canary_judge.commands.exit_codes import ERROR, FAIL, PASS, STOPPED, SUPERSEDED
from canary_judge.commands.options import (
    add_output,
    add_preflight,
    add_source,
    colored,
    config_of,
    duration_of,
    look_first,
    plan_of,
    print_advice,
    sources_of,
    unicode_out,
    width_out,
)
from canary_judge.commands.routers import pairs, preview, print_leftovers
from canary_judge.commands.screen import Screen
from canary_judge.errors import ConfigError
from canary_judge.rollout.inbox import COMMANDS, send_command
from canary_judge.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from canary_judge.config.model import JudgeConfig
    from canary_judge.rollout.controller import Controller
    from canary_judge.rollout.events import Event, RolloutResult
    from canary_judge.rollout.plan import RolloutPlan, Stage
    from canary_judge.routing import TrafficRouter

__all__ = ["add_control", "add_rollout"]

# Events that stay in sight below the board.
_SHOWN_EVENTS = 8
# Percent, from which on what is called the canary looks like the stable version.
_LIKE_STABLE = 50.0


def add_rollout(parser: argparse.ArgumentParser) -> None:
    """`rollout CONFIG`."""
    parser.description = "Look, judge and set the weight, until the canary has all of the traffic or none."
    parser.epilog = (
        "Exit codes: 0 promoted, 2 rolled back or frozen, 3 stopped or interrupted, 5 superseded by another revision, "
        "1 error (also: rolled back because nothing could be read)."
    )
    add_source(parser)
    parser.add_argument(
        "--router",
        action="append",
        metavar="TYPE[,KEY=VALUE...]",
        help="in place of the config's `router:`, as istio,name=app,stable=app-v1,canary=app-v2; given again, several "
        "are driven together",
    )
    parser.add_argument("--stages", metavar="LIST", help="in place of the config's, as 5,25,50,100")
    parser.add_argument("--every", metavar="DURATION", help="time between looks (default: the config's interval)")
    parser.add_argument(
        "--journal", metavar="FILE", help="write down every step; a killed driver goes on from it with the same command"
    )
    parser.add_argument(
        "--archive",
        metavar="URL",
        help="put the canary into this archive at the end (needs --journal): a folder, or a URL",
    )
    parser.add_argument(
        "--metrics",
        metavar="FILE|HOST:PORT",
        help="the rollout as Prometheus metrics: a .prom file for node_exporter, or an address to be scraped at",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, change nothing")
    add_output(parser)
    add_preflight(parser)
    parser.set_defaults(run=_rollout)


def add_control(parser: argparse.ArgumentParser) -> None:
    """`control JOURNAL COMMAND`."""
    parser.add_argument("journal", metavar="JOURNAL", help="of the running rollout")
    parser.add_argument("order", metavar="COMMAND", choices=COMMANDS)
    parser.add_argument("--reason", default="", metavar="TEXT")
    parser.add_argument("--weight", type=float, metavar="PERCENT", help="of approve: which weight may be left")
    parser.set_defaults(run=_control)


def _router_of(options: argparse.Namespace, config: JudgeConfig) -> TrafficRouter:
    from canary_judge.routers import from_config

    if options.router is not None:
        given = [text.split(",") for text in options.router]
        built = [{"type": kind, **pairs(rest, "--router")} for kind, *rest in given]
        return from_config(built[0] if len(built) == 1 else built, place="--router")
    if not config.router:
        raise ConfigError(
            "router: is missing; say in the config what drives the traffic, as `router: {type: istio, name: app, "
            "stable: app-v1, canary: app-v2}`, or pass --router"
        )
    return from_config(config.router)


def _drives(options: argparse.Namespace, config: JudgeConfig) -> str:
    """What the router drives, as a hash: its options may hold secrets; how long it is waited for is another matter."""
    given = options.router if options.router is not None else config.router
    many = given if isinstance(given, list | tuple) else [given]
    plain = [{k: v for k, v in one.items() if k != "timeout"} if isinstance(one, Mapping) else one for one in many]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _rollout(options: argparse.Namespace) -> int:
    from canary_judge.rollout.controller import Controller
    from canary_judge.rollout.exposition import Exposition
    from canary_judge.rollout.notifying import Notifier
    from canary_judge.rollout.state import Phase

    config = config_of(options)
    every = duration_of(options.every, "--every")
    sources = {} if options.dry_run else sources_of(options, config)
    plan = plan_of(config, options.stages)
    router = _router_of(options, config)
    if options.dry_run:
        return _dry_run(config, plan, router)
    journal = None if options.journal is None else Path(options.journal)
    if options.archive is not None:
        _can_archive(options.archive, journal)
    if journal is None or not journal.exists() or not journal.stat().st_size:  # else it has worked before
        look_first(options, config, sources, weight=next(stage.weight for stage in plan.stages if stage.weight))
    notifier = None if plan.notify is None else Notifier(plan.notify)
    callbacks: list[Callable[[Event], None]] = [] if notifier is None else [notifier]
    if options.metrics is not None:
        callbacks.append(Exposition(config.name, options.metrics))
    controller = Controller(config, sources, router, plan, journal=journal, every=every, callbacks=callbacks)
    controller.note = "without preflight" if options.no_preflight else ""
    controller.drives = _drives(options, config)
    _stop_on_signals(controller)
    screen, show = Screen(), _Display(config, plan, options.format, colored=colored(options))
    screen.outlast_hangup()
    try:
        for event in controller.events():
            screen(partial(show, event))
    except BaseException:
        if not screen.finish():  # nor could the error be shown; the exit code tells it
            os._exit(ERROR)
        raise
    result = controller.result()
    if notifier is not None and (complaint := notifier.finish()):
        screen(lambda: print(f"canary-judge: {complaint}", file=sys.stderr))
    screen(lambda: _print_result(result, options))
    shown = screen.finish()
    if options.archive is not None and journal is not None:
        _archive(options.archive, config, journal, result)
    codes = {Phase.PROMOTED: PASS, Phase.ROLLED_BACK: FAIL, Phase.FROZEN: FAIL, Phase.SUPERSEDED: SUPERSEDED}
    code = codes.get(result.phase, STOPPED)
    if result.phase is Phase.ROLLED_BACK and result.source_failed:
        code = ERROR
    if not shown:  # an orderly exit would wait for the screen
        os._exit(code)
    return code


def _can_archive(url: str, journal: Path | None) -> None:
    from canary_judge.history import History

    if journal is None:
        raise ConfigError("--archive needs --journal FILE: what was read of the canary is kept beside it")
    History.lasting(url)


def _archive(url: str, config: JudgeConfig, journal: Path, result: RolloutResult) -> None:
    """The canary, with what became of it, where it has ended."""
    from canary_judge.rollout.state import Phase

    if not result.phase.ended or result.phase is Phase.STOPPED:  # what was stopped goes on
        return
    failed = result.judgement is not None and result.judgement.verdict == "fail"
    ended = (Phase.ROLLED_BACK, Phase.FROZEN)
    ours = result.phase is Phase.PROMOTED or (result.phase in ended and failed and not result.by_hand)
    archive_log(
        url,
        config,
        journal.with_name(f"{journal.name}.evidence"),
        result.judgement,
        did=str(result.phase).replace("_", " "),
        ended_by="a person" if result.by_hand else "this judge" if ours else "unknown",
        ended_why=result.reason,
    )


def _print_result(result: RolloutResult, options: argparse.Namespace) -> None:
    if options.format == "json":
        return
    if result.judgement is not None:
        print(f"\n{result.judgement.explain(color=colored(options), width=width_out())}")
    print(f"\n{str(result.phase).replace('_', ' ').upper()} at {result.weight:g} %: {printable(result.reason)}")


def _stop_on_signals(controller: Controller) -> None:
    """The first SIGTERM or SIGINT ends the loop in order; a second one ends the process."""

    def stop(*_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        controller.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def _dry_run(config: JudgeConfig, plan: RolloutPlan, router: TrafficRouter) -> int:
    from canary_judge.rollout.after import told
    from canary_judge.rollout.asking import refuse_hasty
    from canary_judge.routing import leftovers
    from canary_judge.series import format_duration

    refuse_hasty(plan, config.interval)
    reading = router.get_weight()
    print(f"{config.name}: the canary has {reading}; nothing is changed")
    if reading.percent is None or reading.percent > 0:
        swapped = reading.percent is not None and reading.percent >= _LIKE_STABLE
        why = "are stable and canary swapped in `router`?" if swapped else "set it to 0 first, or give its journal"
        print(f"  a rollout starts from 0 and would refuse: {why}")
    for stage in plan.stages:
        print(f"\n{stage.told()}{_conditions(plan, stage)}")
        if stage.ahead is None:
            preview(router, stage.weight)
        else:
            print(f"  would put before the weights: {stage.ahead}")
    if plan.after is not None:
        print(f"\n{told(config, plan.after)}")
    if plan.ready is not None:
        what = plan.ready.query or " ".join(plan.ready.command or [])
        print(f"\nnot before it is ready, within {format_duration(plan.ready.within)}: {what}")
    if plan.freeze is not None:
        print(f"\n{plan.freeze.told()}")
    print_leftovers(leftovers(router))
    print_advice(config)
    return 0


def _conditions(plan: RolloutPlan, stage: Stage) -> str:
    """What it takes to leave a stage, in words."""
    from canary_judge.series import format_duration

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
        self._live = form == "text" and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._lines: list[str] = []
        self._board = ""
        self._last = ""

    def __call__(self, event: Event) -> None:
        if self._form == "json":
            print(json.dumps(event.to_mapping()), flush=True)
            return
        kind = str(event.kind).replace("_", " ")
        line = f"{event.at:%H:%M:%S}  {event.weight:>5g} %  {kind:<12}  {printable(event.text)}"
        if self._live:
            self._draw(event, line)
        elif event.text != self._last:  # the same reason need not be told every minute
            print(line, flush=True)
        self._last = event.text

    def _draw(self, event: Event, line: str) -> None:
        from canary_judge.report import to_board
        from canary_judge.rollout.events import EventKind

        if event.judgement is not None:
            self._board = to_board(
                event.judgement,
                false_pass_rate=self._config.false_pass_rate,
                color=self._colored,
                ascii_only=not unicode_out(),
                width=width_out(),
            )
        if event.kind is not EventKind.LOOK:  # what a look says is on the board
            self._lines = [*self._lines, line][-_SHOWN_EVENTS:]
        stages = "  ".join(
            f"[{stage.told()}]" if index == event.state.stage else stage.told()
            for index, stage in enumerate(self._plan.stages)
        )
        print(f"\x1b[2J\x1b[H{stages}\n\n{self._board}\n\n" + "\n".join(self._lines), flush=True)


def _control(options: argparse.Namespace) -> int:
    from canary_judge.rollout.journal import is_driven, read_journal

    send_command(options.journal, options.order, options.reason, weight=options.weight)
    if is_driven(options.journal):
        print(f"{options.order} is left for the driver of {options.journal}; it obeys at its next look")
        return 0
    if read_journal(Path(options.journal))[0]:
        heard = f"{options.order} waits for the one that takes it up (the same `canary-judge rollout` goes on)"
    else:
        heard = f"nothing has begun there, and a rollout that begins passes over {options.order}"
    print(
        f"canary-judge: no driver is running on {options.journal} on this machine: {heard}; `canary-judge router "
        "rollback` takes the canary's traffic at once",
        file=sys.stderr,
    )
    return ERROR if options.order == "abort" else 0
