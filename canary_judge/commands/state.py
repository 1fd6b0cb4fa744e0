"""`canary-judge state`: what a log of looks holds, for people and for jq."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from canary_judge.untrusted import printable

__all__ = ["add_state"]


def add_state(parser: argparse.ArgumentParser) -> None:
    """`state show`."""
    parser.description = "Show the evidence that `watch --state` and a rollout keep; another process may be writing it."
    what = parser.add_subparsers(required=True, metavar="COMMAND", dest="state_command")
    show = what.add_parser("show", help="what the log holds, metric by metric")
    show.add_argument("file", metavar="FILE", help="the log")
    show.add_argument("--format", choices=("text", "json"), default="text", help="json: all but the data themselves")
    show.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    import json

    from canary_judge.looks.log import read_log

    path = Path(options.file)
    found = read_log(path)
    if options.format == "json":
        print(json.dumps({"head": found.head, "looks": found.looks, "state": found.small}, indent=2))
        return 0
    for line in _lines(path, found.head or {}, found.small):
        print(printable(line))
    return 0


def _lines(path: Path, head: dict[str, Any], state: dict[str, Any]) -> list[str]:
    from canary_judge.series import format_duration
    from canary_judge.wording import sides

    lines = [f"{path}: {sides(**head['sides'])}, format {head['format']}, written by {head['version']}"]
    if not state:
        return [*lines, "no look was kept yet"]
    step = timedelta(seconds=head["interval"])
    consumed, left_out = state["consumed"], state["left_out"]
    start = datetime.fromisoformat(state["start"])
    of = "" if state["horizon"] is None else f" of {state['horizon']}"
    lines.append(
        f"{consumed}{of} intervals of {format_duration(step)} from {start:%Y-%m-%d %H:%M:%S} to "
        f"{start + consumed * step:%Y-%m-%d %H:%M:%S} {start:%Z}, {state['looks']} looks"
        + (f", {left_out} intervals left out as warm-up" if left_out else "")
    )
    if state["weight"] is not None:
        acts = f", changed {len(state['acts'])} times" if state["acts"] else ""
        lines.append(f"weight {state['weight']:g} %{acts}")
    width = max(map(len, state["streams"]), default=0)
    return lines + [f"  {name:{width}}  {_metric(stream)}" for name, stream in state["streams"].items()]


def _metric(stream: dict[str, Any]) -> str:
    said = [f"{stream['intervals']} intervals"]
    held = stream["held"]
    if stream["latched"] is not None:
        said.append(f"regressed: {stream['latched']['reason']}")
    elif held is not None:
        said.append(f"{held['outcome']} as of {datetime.fromisoformat(held['moment']):%H:%M:%S}")
    said.append(f"log e of harm beyond the margin at most {stream['log_e_beyond']:.2f}")
    if stream["lost"]:
        said.append(f"{stream['lost']} could not be read: {stream['trouble']}")
    return ", ".join(said)
