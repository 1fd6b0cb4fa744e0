"""A calibration in words."""

from __future__ import annotations

from datetime import timedelta

from canary_judge.history.calibrating import Calibration, Line
from canary_judge.history.suggesting import EFFECTS
from canary_judge.series import format_duration
from canary_judge.stats.trials import independent_to_show
from canary_judge.untrusted import printable

__all__ = ["explained"]


def explained(found: Calibration) -> str:
    """The calibration in words."""
    length = format_duration(timedelta(seconds=found.length))
    dropped = f", {found.dropped} dropped" if found.dropped else ""
    head = f"{printable(found.name)}: {found.windows} windows of {length}{dropped}, a canary of {100 * found.share:g} %"
    lines = [
        f"{head}, declared false-alarm rate {100 * found.declared:g} %",
        "",
        *_rates(found),
        *_powers(found),
        *_suggestions(found),
    ]
    for metric, why in found.missing.items():
        lines.append(f"  {printable(metric)}: {why}")
    return "\n".join([*lines, "", *_close(found)])


def _rates(found: Calibration) -> list[str]:
    rows = [["", "", "alarms", "rate lies in", "what it shows; and not"]]
    before = ""
    for line in found.lines:
        name = printable(line.metric)
        rows.append([name if name != before else "", line.design, *_numbers(line), f"{line.shows}; not {line.blind}"])
        before = name
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    told = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    refuted = [
        f"  {printable(one.metric)}, {one.design}: {one.text}"
        for one in found.lines
        if one.finding == "refuted" and one.routed
    ]
    noisy = [
        f"  {printable(one.metric)}, {one.design}: the effects scatter {one.noise[0]:.1f}x ({one.noise[1]:.1f} to "
        f"{one.noise[2]:.1f}) of what the judge assumes"
        for one in found.lines
        if one.noise is not None and one.noise[1] > 1 and one.routed
    ]
    return told + (["", "more alarms than declared:", *refuted] if refuted else []) + noisy


def _numbers(line: Line) -> list[str]:
    unsure = f", {line.unsure} unsure" if line.unsure else ""
    worth = f", worth {line.worth:.0f}" if line.worth < 0.95 * line.total else ""
    span = "(none)" if line.low is None or line.high is None else f"{100 * line.low:.2g} to {100 * line.high:.2g} %"
    return [f"{line.alarms} of {line.total}{unsure}{worth}", span]


def _powers(found: Calibration) -> list[str]:
    known = [one for one in found.suggestions if one.power]
    if not known:
        return []
    names = [f"x{times:g}" for times in EFFECTS]
    width = max(len(printable(one.metric)) for one in known)
    head = f"  {'':{width}}  " + "".join(f"{name:>7}" for name in names)
    rows = [
        f"  {printable(one.metric):{width}}  " + "".join(f"{100 * one.power[name]:6.0f}%" for name in names)
        for one in known
    ]
    return [
        "",
        "a regression of so many times would be found in this share of windows (from each one's own error):",
        head,
        *rows,
    ]


def _suggestions(found: Calibration) -> list[str]:
    if not found.suggestions and not found.missing:
        return []
    rows = [f"  {printable(one.metric)}: {one.text}" for one in found.suggestions]
    return ["", "what can be decided (nothing was chosen by its alarms):", *rows]


def _close(found: Calibration) -> list[str]:
    needed = independent_to_show(found.declared)
    declared = f"The declared {100 * found.declared:g} %"
    if found.refuted:
        return [f"{declared} is refuted: make those metrics `role: watch`, or find out why they swing."]
    if not any(line.routed and line.finding != "too little" for line in found.lines):
        return [f"{declared} is the method's promise; this history is too little to say anything on it."]
    if any(line.routed and line.finding == "shown" for line in found.lines):
        return [
            f"{declared} is the method's promise; this history does not contradict it, as far as each design can see."
        ]
    could = f"this history could only have refuted it, and did not ({needed} windows without an alarm would show it)"
    return [f"{declared} is the method's promise; {could}."]
