"""How long a canary takes at which weight: a line a gate, the slowest in ink."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.pictures.lettering import width_of
from canary_judge.pictures.numbers import duration
from canary_judge.planning.plans import DAY, Plan
from canary_judge.plots.canvas import Canvas, Mode, Style, canvas, spread

if TYPE_CHECKING:
    from datetime import timedelta

    from matplotlib.axes import Axes

    from canary_judge.arrays import Float
    from canary_judge.planning.plans import MetricPlan

__all__ = ["planning"]

_MOST_NAMED = 6
_TIMES = (1, 10, 60, 600, 1800, 3600, 10800, 43200, 86400, 345600, 2592000, 31536000)


def planning(
    plan: Plan,
    *,
    weight: float | None = None,
    length: timedelta | None = None,
    theme: Mode = "light",
    ax: Axes | None = None,
) -> Axes:
    """Draw the time until a harmless canary is shown harmless, by its share of the traffic; both axes logarithmic.

    Args:
        plan: Of `canary_judge.plan`, with two weights or more.
        weight: The weight that is set, in percent; one of the plan's. None: the smallest one.
        length: The planned length of the run.
        theme: `light`, `dark` or `print`.
        ax: Where to; None makes a figure of 7.2 x 4.4 inches.

    Raises:
        ValueError: The plan has less than two weights, or not this one.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure(figsize=(8, 5)).add_subplot()
        >>> from canary_judge.planning.plans import MetricPlan, Plan
        >>> gates = (
        ...     MetricPlan(name="errors", measured="", seconds=(5400.0, 1200.0)),
        ...     MetricPlan(name="heap", measured="", seconds=(600.0, 600.0)),
        ... )
        >>> plan = Plan(name="shop", weights=(5, 25), power=0.9, metrics=gates, start="", end="")
        >>> planning(plan, weight=5, ax=ax).texts[0].get_text()
        'errors needs 90 min at 5 %; the other gates are done in 10 min'
    """
    if len(plan.weights) < 2:
        raise ValueError(f"the plan has the weights {list(plan.weights)}; a curve needs two or more")
    at = min(plan.weights) if weight is None else weight
    if at not in plan.weights:
        raise ValueError(f"weight is {at:g}; the plan has {', '.join(f'{one:g}' for one in plan.weights)}")
    with canvas(ax, (7.2, 4.4), theme, sides=(0.85, 1.9, 0.55)) as made:
        what = f"time until a harmless canary is shown harmless (power {plan.power:.0%}), by traffic; logarithmic axes"
        made.head(_finding(plan, at), what)
        axes = made.ax
        axes.set_xscale("log")
        axes.set_yscale("log")
        order = np.argsort(plan.weights)
        weights = np.asarray(plan.weights, dtype=float)[order]
        rows = [
            (one, np.array([math.nan if s is None else s for s in one.seconds], float)[order]) for one in plan.metrics
        ]
        known = [value for _, times in rows for value in times[np.isfinite(times)]]
        planned = None if length is None else length.total_seconds()
        every = [*known, *([planned] if planned else [])] or [60.0, DAY]
        low, high = min(every) / 1.8, max(*every, DAY if max(every) > DAY / 8 else 0.0) * 2.2
        axes.set_ylim(low, high)
        axes.set_xlim(weights[0], weights[-1])
        if high > DAY:
            axes.axhspan(DAY, high, color=made.tones["beyond"], lw=0)
            axes.axhline(DAY, color=made.tones["bad"], lw=1.4)
            told: Style = {"color": made.tones["bad"], "fontweight": "bold", "va": "bottom", "ha": "right"}
            axes.text(weights[-1] * 0.97, DAY * 1.06, "longer than a day", **told)
        _lines(made, weights, rows, plan.bottleneck(at), (low, high))
        _configured(made, plan, at, planned, low)
        axes.set_xticks(weights, _weights(weights))
        ticks = [one for one in _TIMES if low <= one <= high]
        axes.set_yticks(ticks, [_tick(one) for one in ticks])
        axes.minorticks_off()
        axes.set_xlabel("traffic of the canary", color=made.tones["dim"])
        return axes


def _weights(weights: Float) -> list[str]:
    """None so near to the one after it that both could not be read."""
    span = 0.1 * math.log(weights[-1] / weights[0])
    texts, next_one = [], math.inf
    for value in weights[::-1]:
        far = math.log(next_one / value) > span
        texts.append(f"{value:g} %" if far else "")
        next_one = value if far else next_one
    return texts[::-1]


def _tick(seconds: float) -> str:
    if seconds >= DAY:
        days = seconds / DAY
        return "1 day" if days == 1 else f"{days:.0f} days"
    return f"{seconds / 3600:g} h" if seconds >= 3600 else duration(seconds)


def _finding(plan: Plan, weight: float) -> str:
    if not plan.metrics:
        return "no gate: nothing has to be shown"
    slowest, time = plan.bottleneck(weight), plan.seconds(weight)
    if time is None:
        return f"{slowest}: no time would do at {weight:g} %"
    place = plan.weights.index(weight)
    others = [one.seconds[place] or 0.0 for one in plan.metrics if one.name != slowest]
    rest = f"; the other gates are done in {duration(max(others))}" if others else ""
    return f"{slowest} needs {duration(time)} at {weight:g} %{rest}"


def _lines(
    made: Canvas,
    weights: Float,
    rows: list[tuple[MetricPlan, Float]],
    slowest: str | None,
    ends: tuple[float, float],
) -> None:
    """The slowest last and in front; at most six named, the rest counted."""
    ranked = sorted(rows, key=lambda row: (row[0].name == slowest, float(np.nan_to_num(row[1], nan=np.inf).max())))
    named = ranked[-_MOST_NAMED:]
    finite = [row for row in named if np.isfinite(row[1]).any()]
    places = spread([math.log(row[1][np.isfinite(row[1])][-1]) for row in finite], 0.055 * math.log(ends[1] / ends[0]))
    impossible: list[float] = []
    for plan, times in ranked:
        slow = plan.name == slowest
        tone = made.tones["ink" if slow else "dim"]
        made.ax.plot(weights, times, "-o", color=tone, lw=2.6 if slow else 1.3, ms=5 if slow else 4, clip_on=False)
        some = np.isfinite(times)
        if not some.all():
            at, rim = weights[np.flatnonzero(~some)], ends[1] / 1.12
            made.ax.plot(at, np.full(at.size, rim), "x", color=made.tones["bad"], ms=7, mew=2, clip_on=False)
            impossible.append(float(at[0]))
    for (plan, _), place in zip(finite, places, strict=True):
        slow = plan.name == slowest
        _name(made, weights[-1], math.exp(place), plan.name, ": the slowest" if slow else "", bold=slow)
    never = [row[0].name for row in named if not np.isfinite(row[1]).any()]
    for number, name in enumerate(never):
        _name(made, weights[-1], ends[1] / 1.15 ** (2 * number), name, ": never", bold=name == slowest)
    if impossible:
        corner = (min(impossible), ends[1] / 1.12)
        told: Style = {"xytext": (9, 0), "textcoords": "offset points", "va": "center", "color": made.tones["bad"]}
        back = {"facecolor": made.tones["beyond" if ends[1] > DAY else "paper"], "edgecolor": "none", "pad": 1}
        made.ax.annotate("no time would do", corner, zorder=6, bbox=back, **told)
    if len(ranked) > len(named):
        rest = len(ranked) - len(named)
        _name(made, weights[-1], ends[0] * 1.1, f"{rest} more, faster", "", bold=False)


def _name(made: Canvas, x: float, y: float, name: str, more: str, *, bold: bool) -> None:
    made.ax.annotate(
        made.name(name, inside=-width_of(more, 10, bold=bold), bold=bold) + more,
        (x, y),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        color=made.tones["ink" if bold else "dim"],
        fontweight="bold" if bold else "normal",
        annotation_clip=False,
    )


def _configured(made: Canvas, plan: Plan, weight: float, planned: float | None, low: float) -> None:
    """The cross of what is set, and a ring where the slowest gate meets it."""
    dashed: Style = {"color": made.blue, "lw": 1.2, "ls": (0, (4, 3))}
    made.ax.axvline(weight, **dashed)
    made.ax.text(weight * 1.03, low * 1.08, f"set: {weight:g} %", color=made.blue, va="bottom")
    if planned is not None:
        made.ax.axhline(planned, **dashed)
        told = f"planned: {duration(planned)}"
        made.ax.text(plan.weights[0] * 1.02, planned * 0.93, told, color=made.blue, va="top")
    time = plan.seconds(weight)
    if time:
        made.ax.plot(
            [weight], [time], "o", ms=9, mfc=made.tones["paper"], mec=made.blue, mew=2, zorder=6, clip_on=False
        )
        right = weight <= min(plan.weights)
        made.ax.annotate(
            f"{duration(time)} for all gates",
            (weight, time),
            xytext=(9 if right else -9, -15),
            textcoords="offset points",
            ha="left" if right else "right",
            color=made.blue,
            fontweight="bold",
            zorder=7,
            bbox={"facecolor": made.tones["paper"], "edgecolor": "none", "pad": 1},
        )
