"""A calibration in words."""

from __future__ import annotations

from datetime import timedelta

from canary_judge.history.calibration import Calibration, Line, percent
from canary_judge.history.injecting import FAULTS
from canary_judge.history.suggesting import EFFECTS
from canary_judge.series import format_duration
from canary_judge.stats.trials import independent_to_show
from canary_judge.untrusted import printable

__all__ = ["explained"]


def explained(found: Calibration) -> str:
    """The calibration in words."""
    length = format_duration(timedelta(seconds=found.length))
    dropped = f", {found.dropped} dropped" if found.dropped else ""
    pods = f" (of pods {found.instances})" if any("pod" in line.design for line in found.lines) else ""
    days = dict.fromkeys(f"{one:%d %b %Y}" for one in (found.since, found.until) if one is not None)
    when = f", {' to '.join(days)}" if days else ""
    head = f"{printable(found.name)}: {found.windows} windows of {length}{dropped}{when}, "
    head += f"a canary of {100 * found.share:g} %{pods}, {_looks(found)}"
    lines = [
        f"{head}, declared false-alarm rate {100 * found.declared:g} %",
        "",
        *_rates(found),
        *_powers(found),
        *_finds(found),
        *_suggestions(found),
    ]
    for metric, why in found.missing.items():
        lines.append(f"  {printable(metric)}: {why}")
    return "\n".join([*lines, "", *_close(found)])


def _looks(found: Calibration) -> str:
    """When each canary is judged."""
    warm = f", after a warm-up of {format_duration(timedelta(seconds=found.warmup))}" if found.warmup else ""
    if found.looks is None:
        return f"judged once at its end{warm}"
    but = f" ({', '.join(map(printable, found.at_one_look))} once at its end)" if found.at_one_look else ""
    return f"looked at every {format_duration(timedelta(seconds=found.looks))} until its end{but}{warm}"


def _rates(found: Calibration) -> list[str]:
    rows = [["", "", "alarms", "rate lies in", "what it shows; and not"]]
    before = ""
    for line in found.lines:
        name = printable(line.metric)
        rows.append([name if name != before else "", line.design, *_numbers(line), f"{line.shows}; not {line.blind}"])
        before = name
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    told = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    asked = [one for one in found.lines if one.routed and one.metric not in found.watched]
    said = [
        f"  {printable(one.metric)}, {one.design}: {one.text}; the replays of each of {one.clusters} share their luck"
        for one in asked
    ]
    noisy = [
        f"  {printable(one.metric)}, {one.design}: the effects scatter {one.noise[0]:.1f}x ({one.noise[1]:.1f} to "
        f"{one.noise[2]:.1f}) of what the judge assumes"
        for one in found.lines
        if one.noise is not None and one.noise[1] > 1 and one.routed
    ]
    if any(line.low is None for line in found.lines):
        told.append(
            "  (none): most replays had too little to decide, or pods are too few (a rate takes 7 deployments or 20 "
            "pods in all)"
        )
    return told + (["", "what the designs that draw what is routed say:", *said] if said else []) + noisy


def _numbers(line: Line) -> list[str]:
    unsure = f", {line.unsure} unsure" if line.unsure else ""
    worth = f", worth {line.worth:.0f}" if line.worth < 0.95 * line.total else ""
    span = "(none)" if line.low is None or line.high is None else f"{percent(line.low)} to {percent(line.high)} %"
    return [f"{line.alarms} of {line.total}{unsure}{worth}", span]


def _powers(found: Calibration) -> list[str]:
    known = [one for one in found.suggestions if one.power]
    if not known:
        return []
    names = [f"x{times:g}" for times in EFFECTS]
    width = max(len(printable(one.metric)) for one in known)
    counts = {one.metric: [f"{one.seen_in[name]}/{one.windows}" for name in names] for one in known if one.seen_in}
    each = max([5, *(len(text) for row in counts.values() for text in row)]) + 2
    rows = [f"  {'':{width}}            " + "".join(f"{name:>{each}}" for name in names)]
    for one in known:
        for metric, what, told in ((printable(one.metric), "seen", one.power), ("", "failed", one.fails)):
            rows.append(
                f"  {metric:{width}}  {what:10}" + "".join(f"{100 * told[name]:{each - 1}.0f}%" for name in names)
            )
        if one.seen_in:  # windows differ: where power is found in seven of ten, it is in three at no size
            rows.append(f"  {'':{width}}  {'windows':10}" + "".join(f"{text:>{each}}" for text in counts[one.metric]))
    return [
        "",
        "a regression of so many times would be seen to be worse at all, and fail the canary because it is shown to be",
        "beyond the margin, in this share of windows (from each one's own error, at one look at its end); and in how",
        "many it would more likely be seen than not:",
        *rows,
    ]


def _finds(found: Calibration) -> list[str]:
    """A row a metric, and the holes: faults that no metric finds in most windows."""
    known = [one for one in found.finds if one.found]
    if not known:
        return []
    told = {printable(one.metric): one for one in known}
    width = max(map(len, told))
    names = [fault.name for fault in FAULTS]
    head = f"  {'':{width}}  windows" + "".join(f"{name:>9}" for name in names)
    rows = [
        f"  {metric:{width}}  {one.windows:7}" + "".join(f"{one.found.get(name, '-'):>9}" for name in names)
        for metric, one in told.items()
    ]
    tried = [fault for fault in FAULTS if any(fault.name in one.found for one in known)]
    legend = "; ".join(f"{fault.name}: {fault.text}" for fault in tried if not fault.constant)
    said = [f"  {legend}"] if legend else []
    holes = [fault for fault in tried if not any(2 * one.found.get(fault.name, 0) > one.windows for one in known)]
    if holes:
        said.append(f"  no metric finds in most windows: {', '.join(fault.name for fault in holes)}")
    if any(fault.shape == "longer tail" for fault in holes):
        said.append("  a longer tail would be seen by a bound on latency higher up (`kind: latency`)")
    untried = [fault.name for fault in FAULTS if fault not in tried]
    if untried:
        said.append(f"  not tried, because no metric drawn here can have it: {', '.join(untried)}")
    title = [
        "faults put into one canary of each window, and the windows in which the metric failed it (of a `latency`",
        "metric the requests are so many times as slow, which is not so many times the share of slow ones):",
    ]
    return ["", *title, head, *rows, *said]


def _suggestions(found: Calibration) -> list[str]:
    if not found.suggestions and not found.missing:
        return []
    rows = []
    for one in found.suggestions:
        rows.append(f"  {printable(one.metric)}: {one.text}")
        rows += [f"    {one.measured}"] if one.measured else []
    if found.enough_history:
        rows.append(f"  history: {found.enough_history} of gauges before the canary would do")
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
