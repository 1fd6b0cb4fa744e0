"""The course of a rollout: the canary's traffic, the verdict of each look, and what happened."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from canary_judge.pictures.lettering import width_of, wrap
from canary_judge.pictures.rows import select
from canary_judge.pictures.words import why
from canary_judge.plots.canvas import Canvas, Mode, Style, all_of, canvas, panels, say
from canary_judge.results import Verdict
from canary_judge.rollout.events import Event, EventKind
from canary_judge.rollout.state import Phase

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["rollout"]

_HEIGHT = {Verdict.MARGINAL: 0.3, Verdict.PASS: 0.66, Verdict.FAIL: 1.0}
_TOLD = {EventKind.BLIND: "blind", EventKind.RESUMED: "resumed", EventKind.TROUBLE: "trouble"}
# A rollout so short has seconds on its axis; and of the axis the last event stands so far from its end.
_SHORT, _WITH_ROOM = timedelta(minutes=7), 1.08


def rollout(events: Iterable[Event], *, theme: Mode = "light", ax: Axes | None = None) -> Axes:
    """Draw a rollout: above the traffic of the canary, below a bar a look whose height is its verdict.

    Args:
        events: Of `Controller.events()`, in order of time.
        theme: `light`, `dark` or `print`.
        ax: Axes that the two panels are put into; None makes a figure of 7.2 x 3.4 inches.

    Raises:
        ValueError: There is no event.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure(figsize=(8, 5)).add_subplot()
        >>> from canary_judge import Controller, RolloutPlan
        >>> from canary_judge.testing import simulated_world
        >>> world = simulated_world(canary_error_rate=0.05, seed=7)
        >>> stages = RolloutPlan(stages=[5, 100])
        >>> controller = Controller(world.config, world.source, world.router, stages, clock=world.clock)
        >>> title = rollout(controller.events(), ax=ax).texts[0].get_text()
        >>> title[:11]
        'rolled back'
    """
    events = all_of(events, Event, "events", "those of Controller.events()")
    with canvas(ax, (7.2, 3.4), theme, sides=(0.75, 0.3, 0.5)) as made:
        finding, every = _finding(events), _every(events)
        seconds = "" if every is None else f", every {every.total_seconds():g} s"
        made.head(finding, f"above: traffic of the canary; below: verdict of each look{seconds}")
        weights, verdicts = panels(made, [(0.0, 0.44, 1.0, 0.53), (0.0, 0.0, 1.0, 0.28)])
        weights.set_zorder(verdicts.get_zorder() + 1)  # words of marks stand between both
        last = events[-1].at + max(0.08 * (events[-1].at - events[0].at), timedelta(seconds=1))
        _weights(made, weights, events, last)
        _looks(made, verdicts, events, every or timedelta(seconds=15))
        _marks(made, weights, events, last)
        for one in (weights, verdicts):
            one.set_xlim(_x(events[0].at), _x(last))
            _clock(one, events[0].at, last)
        weights.tick_params(labelbottom=False)
        return made.ax


def _x(moment: datetime) -> float:
    from matplotlib.dates import date2num

    return float(date2num(moment))  # type: ignore[no-untyped-call]


def _clock(ax: Axes, first: datetime, last: datetime) -> None:
    """Moments on the axis, in the zone of the events."""
    from matplotlib.dates import AutoDateLocator, DateFormatter

    zone, form = first.tzinfo, "%m-%d %H:%M" if last - first > timedelta(days=1) else "%H:%M"
    if last - first < _SHORT:
        form = "%H:%M:%S"
    locator = AutoDateLocator(minticks=3, maxticks=7, tz=zone)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(DateFormatter(form, tz=zone))  # type: ignore[no-untyped-call]


def _finding(events: Sequence[Event]) -> str:
    """The end, and its reason."""
    last = events[-1]
    if last.kind is not EventKind.ENDED:
        judged = [one.judgement for one in events if one.judgement is not None]
        cause = why(judged[-1], select(judged[-1])) if judged else last.text
        return f"running at {last.weight:g} %: {cause}"
    word = {Phase.PROMOTED: "promoted", Phase.ROLLED_BACK: "rolled back"}.get(last.state.phase, last.state.phase.value)
    back = next((number for number, one in enumerate(events) if one.kind is EventKind.ROLLING_BACK), None)
    if back is None:
        return f"{word.replace('_', ' ')} at {last.at:%H:%M}" + (
            "" if last.state.phase is Phase.PROMOTED else f": {last.text}"
        )
    looks = [one.judgement for one in events[:back] if one.judgement is not None]
    cause = events[back].text
    if looks and looks[-1].verdict is Verdict.FAIL:
        cause = why(looks[-1], select(looks[-1]))
    return f"{word.replace('_', ' ')} at {events[back].at:%H:%M}: {cause}"


def _every(events: Sequence[Event]) -> timedelta | None:
    at = [one.at for one in events if one.kind is EventKind.LOOK]
    return min((b - a for a, b in pairwise(at) if b > a), default=None)


def _weights(made: Canvas, ax: Axes, events: Sequence[Event], last: datetime) -> None:
    """Steps, each with its share on it; times without looks stay empty below."""
    steps: list[tuple[datetime, float]] = []
    for one in events:
        if not steps or one.weight != steps[-1][1]:
            steps.append((one.at, one.weight))
    x = [_x(at) for at, _ in steps] + [_x(last)]
    y = [weight for _, weight in steps] + [steps[-1][1]]
    ax.fill_between(x, y, step="post", color=made.blue, alpha=0.18, lw=0)
    ax.step(x, y, where="post", color=made.blue, lw=2.2)
    whole = x[-1] - x[0]
    for start, end, weight in zip(x, x[1:], y, strict=False):
        if weight > 0 and end - start > 0.045 * whole:
            told: Style = {"ha": "center", "va": "bottom", "color": made.blue, "fontweight": "bold"}
            ax.text((start + end) / 2, weight + 3, f"{weight:g} %", **told)
    ax.set_ylim(0, 128)
    ax.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])


def _looks(made: Canvas, ax: Axes, events: Sequence[Event], every: timedelta) -> None:
    """What is undecided is low and hollow, what is decided full."""
    tones = {Verdict.PASS: made.tones["good"], Verdict.FAIL: made.tones["bad"]}
    for one in events:
        if one.kind is not EventKind.LOOK or one.judgement is None:
            continue
        verdict = one.judgement.verdict
        face = tones.get(verdict, made.tones["paper"])
        edge = tones.get(verdict, made.tones["dim"])
        wide = every.total_seconds() / 86400
        ax.bar([_x(one.at)], [_HEIGHT[verdict]], width=-wide, align="edge", color=face, edgecolor=edge, lw=0.7)
    ax.set_ylim(0, 1.05)
    ax.set_yticks([0.15, 0.53, 0.95], ["hold", "pass", "fail"])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _marks(made: Canvas, ax: Axes, events: Sequence[Event], last: datetime) -> None:
    """The rollback, what was found after it, and what people and troubles did."""
    for one in events:
        if one.kind is EventKind.ROLLING_BACK:
            ax.axvline(_x(one.at), color=made.tones["bad"], lw=1.6)
            late = _along(one.at, events, last) > 1 / 2
            beside: Style = {"textcoords": "offset points", "color": made.tones["bad"], "va": "center", "zorder": 5}
            at, side = (-8 if late else 8), "right" if late else "left"
            ax.annotate("all traffic back in one step", (_x(one.at), 118), xytext=(at, 0), ha=side, **beside)
    found = next((one for one in events[::-1] if one.kind is EventKind.AFTERCARE), None)
    if found is not None:
        back = next((one.at for one in events if one.kind is EventKind.ROLLING_BACK), found.at)
        along = _along(back, events, last)
        late = along > 1 / 2
        wide = 72 * made.ax.get_window_extent().width / made.ax.figure.dpi
        line = {"arrowstyle": "-", "color": made.tones["line"], "lw": 0.8}
        text = "\n".join(map(say, wrap(found.text, max(along, 1 - along) * wide - 12, 9.5, 2)))
        place: Style = {"xytext": (-8 if late else 8, 0), "ha": "right" if late else "left", "va": "center"}
        ax.annotate(text, (_x(back), 74), textcoords="offset points", color=made.tones["dim"], fontsize=9.5, **place)
        ax.annotate("", (_x(found.at), 0), xytext=(_x(back), 44), arrowprops=line)
    _told(made, ax, events)


def _along(moment: datetime, events: Sequence[Event], last: datetime) -> float:
    """How far along the axis it is, from 0 to 1."""
    return (_x(moment) - _x(events[0].at)) / (_x(last) - _x(events[0].at))


def _told(made: Canvas, ax: Axes, events: Sequence[Event]) -> None:
    told: list[tuple[datetime, str]] = []
    for one in events:
        word = _TOLD.get(one.kind) or (one.text.split(":")[0] if one.kind is EventKind.COMMAND else "")
        if word and (not told or told[-1][1] != word):
            told.append((one.at, word))
    figure, whole = ax.get_figure(), _x(events[-1].at) - _x(events[0].at)
    wide = 300.0 if figure is None else 72 * ax.get_window_extent().width / figure.dpi
    taken, unnamed = [-math.inf, -math.inf], 0
    for at, word in told:
        ax.plot([_x(at)], [0], "^", color=made.tones["ink"], ms=6, clip_on=False, zorder=6)
        text = word if len(word) <= 24 else f"{word[:22].rstrip()}\u2026"
        left = wide / _WITH_ROOM * (_x(at) - _x(events[0].at)) / whole if whole > 0 else 0.0
        row = next((number for number, right in enumerate(taken) if right < left), None)
        if row is None:
            unnamed += 1
            continue
        taken[row] = left + width_of(text, 9) + 8
        below: Style = {"textcoords": "offset points", "fontsize": 9, "va": "top", "color": made.tones["ink"]}
        ax.annotate(say(text), (_x(at), 0), xytext=(-3, -5 - 10 * row), annotation_clip=False, **below)
    if unnamed:
        more = f"{unnamed} more marks"
        ax.text(1, 0.02, more, transform=ax.transAxes, ha="right", va="bottom", fontsize=9, color=made.tones["dim"])
