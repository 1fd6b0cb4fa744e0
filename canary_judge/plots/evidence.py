"""Evidence over looks: odds for harm upward, for safety downward, each against its own threshold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.looks.design import Design
from canary_judge.pictures.rows import State, state_of
from canary_judge.pictures.words import outcome_word
from canary_judge.plots.canvas import Canvas, Mode, Style, all_of, canvas, spread, time_ticks, time_unit, within
from canary_judge.results import Judgement, Role

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from canary_judge.arrays import Float
    from canary_judge.pictures.tokens import Tone
    from canary_judge.results import MetricResult

__all__ = ["Evidence", "draw_evidence", "evidence", "number_word", "times_of"]

_UP, _DOWN = (1.25, 1.8), (1.5, 2.6)
_USUAL_FALSE_PASSES = 0.05
_WORD, _LEAST_ROOM = 72.0, 120.0  # points of ": undecided", and of a name before it
_MOST_NAMES = 20
_PLANNED = (" (planned end at the right)", " (diamond: decided by the planned end, at the right)")
_WORDS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def evidence(
    looks: Iterable[Judgement],
    *,
    metrics: Sequence[str] | None = None,
    theme: Mode = "light",
    ax: Axes | None = None,
) -> Axes:
    """Draw the evidence on each metric over the looks of one run.

    One signed line a metric: the odds that a bet on harm beyond the margin (up) or on harm within it (down) would have
    won; equal lengths are equal evidence. The thresholds stand at their own heights.

    Args:
        looks: Judgements of one Monitor, in order of time.
        metrics: Which; None takes all gates and guards.
        theme: `light`, `dark` or `print`.
        ax: Where to; None makes a figure of 7.2 x 4.3 inches.

    Raises:
        ValueError: There is no look, or one is no look of a Monitor.
        KeyError: A metric that is not there.

    References:
        Shafer, G. (2021), doi:10.1111/rssa.12647 (evidence as what a bet would have won).

    Examples:
        >>> from datetime import timedelta
        >>> from canary_judge import Monitor
        >>> from canary_judge.testing import simulated_world
        >>> world = simulated_world(seed=1)
        >>> _ = world.router.set_weight(25)
        >>> start = world.clock.now()
        >>> world.clock.seconds = 600.0
        >>> monitor = Monitor(world.config, start=start, horizon="10m")
        >>> looks = [monitor.look(world.source, start + k * timedelta(minutes=1)) for k in (2, 4, 6)]
        >>> from matplotlib.figure import Figure
        >>> ax = Figure(figsize=(8, 5)).add_subplot()
        >>> evidence(looks, ax=ax).texts[0].get_text()
        'errors: safe after 3 looks'
    """
    of = _checked(looks)
    last = of[-1]
    named = [one for one in last.metrics if one.role is not Role.WATCH and one.margin is not None]
    shown = named if metrics is None else [last[name] for name in metrics]
    with canvas(ax, (7.2, 4.3), theme, sides=(0.95, 2.15, 0.55)) as made:
        finding = _finding(f"{len(of)} look{'' if len(of) == 1 else 's'}", shown)
        made.head(finding, "odds a bet on harm (up) or on safety (down) would have won; thresholds as promised")
        draw_evidence(made, made.ax, of, [one.name for one in shown])
        return made.ax


def _finding(after: str, shown: Sequence[MetricResult]) -> str:
    if not shown:
        return f"{after}: no metric has a margin"
    if len(shown) == 1:
        return f"{shown[0].name}: {outcome_word(shown[0])} after {after}"
    safe = sum(state_of(one) is State.GOOD for one in shown)
    bad = sum(state_of(one) is State.BAD for one in shown)
    of_all = f"{number_word(safe)} of {number_word(len(shown))} metrics {'is' if safe == 1 else 'are'} shown safe"
    return f"{after}: {of_all}, {number_word(bad)} harmful"


def number_word(number: int) -> str:
    """A small number as a word."""
    return _WORDS[number] if number < len(_WORDS) else f"{number:,}"


def _checked(looks: Iterable[Judgement]) -> tuple[Judgement, ...]:
    found = all_of(looks, Judgement, "looks", "the judgements of a Monitor, in order of time")
    for number, one in enumerate(found):
        if one.look is None:
            raise ValueError(f"looks[{number}] is one planned look, which has no evidence over time; use a Monitor")
    return found


def times_of(looks: Sequence[Judgement]) -> tuple[Float, float, str]:
    """The end of each look on the time axis, the planned end (or the last look), and the unit."""
    seconds = np.array([(one.end - looks[0].start).total_seconds() for one in looks])
    last = looks[-1].look
    planned = None if last is None else last.horizon_seconds
    end = max(float(seconds[-1]), planned or 0.0)
    size, unit = time_unit(end)
    return seconds / size, end / size, unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One metric's line.

    Attributes:
        metric: At the last look.
        odds: Signed log10 of the odds at each look, NaN where nothing was compared; shape (looks,).
        harm: Height at which harm is shown, log10; None where it cannot be.
        safety: Depth at which it is ruled out.
    """

    metric: MetricResult
    odds: Float
    harm: float | None
    safety: float

    @classmethod
    def of(cls, looks: Sequence[Judgement], name: str) -> Evidence:
        """That of all looks."""
        last = looks[-1]
        metric = last[name]
        early = _early(last)
        passes = last.false_pass_rate or _USUAL_FALSE_PASSES
        level = metric.harm_level
        return cls(
            metric=metric,
            odds=np.array([_signed(one[name]) for one in looks]),
            harm=-math.log10(level * early) if level else None,
            safety=-math.log10(passes * early),
        )


def _early(judgement: Judgement) -> float:
    """The part of the error that all looks before the planned end share."""
    look = judgement.look
    planned = look is not None and look.horizon_seconds is not None
    return Design.of(1 if planned else None, 0).early


def _signed(metric: MetricResult) -> float:
    comparison = metric.comparison
    if comparison is None or comparison.log_e_beyond_margin is None:
        return math.nan
    harm = max(comparison.log_e_beyond_margin, 0.0) / math.log(10)
    safety = max(comparison.log_e_within_margin or 0.0, 0.0) / math.log(10)
    return harm if harm >= safety else -safety


def draw_evidence(made: Canvas, ax: Axes, looks: Sequence[Judgement], names: Sequence[str]) -> None:
    """The lines of these metrics, thresholds, and what each of them says in the end."""
    tones = made.tones
    lines = [Evidence.of(looks, name) for name in names]
    times, end, unit = times_of(looks)
    harm = max((one.harm for one in lines if one.harm is not None), default=-math.log10(0.01 * _early(looks[-1])))
    safety = lines[0].safety if lines else -math.log10(_USUAL_FALSE_PASSES)
    known = np.concatenate([one.odds[np.isfinite(one.odds)] for one in lines]) if lines else np.zeros(0)
    top = min(max(_UP[0] * harm, 1.08 * float(known.max(initial=0.0))), _UP[1] * harm)
    rim = -min(max(_DOWN[0] * safety, -1.1 * float(known.min(initial=0.0))), _DOWN[1] * safety)
    bottom = rim - 0.1 * (top - rim)  # below it stand the words
    ax.axhspan(harm, top, color=tones["beyond"], lw=0)
    ax.axhspan(bottom, -safety, color=tones["track"], lw=0)
    ax.axhline(harm, color=tones["bad"], lw=1.6)
    ax.axhline(-safety, color=tones["good"], lw=1.6)
    ax.axhline(0, color=tones["line"], lw=0.8)
    for one in lines:
        _line(made, ax, one, times, (rim, top))
    _labels(made, ax, lines, times[-1], end, (rim, top), harm)
    decided = _planned_end(made, ax, looks, lines, times[-1], (rim, top))
    words: Style = {"fontsize": 10, "fontweight": "bold", "zorder": 4}
    ax.text(end * 0.01, harm, " harm beyond the margin is shown", color=tones["bad"], va="bottom", **words)
    ax.text(end * 0.01, bottom, " harm beyond the margin is ruled out", color=tones["small"], va="bottom", **words)
    ticks = [value for value in range(-20, 21) if bottom < value < top]
    step = max(1, math.ceil(len(ticks) / 11))
    ticks = [value for value in ticks if value % step == 0]
    ax.set_yticks(ticks, [_odds(value) for value in ticks])
    ax.set_ylim(bottom, top)
    ax.set_xlim(0, end)
    time_ticks(ax, end)
    if times[-1] < end:
        ax.axvline(times[-1], color=tones["line"], lw=0.8, ls=(0, (2, 3)))
    planned = times[-1] < end or (looks[-1].look is not None and looks[-1].look.ended)
    ax.set_xlabel(f"{unit} since the start" + (_PLANNED[decided] if planned else ""), color=tones["dim"])


def _odds(log10: int) -> str:
    if log10 == 0:
        return "even"
    return f"{10 ** abs(log10):,}:1" if abs(log10) < 6 else f"10^{abs(log10)}:1"


def _tone(metric: MetricResult) -> Tone:
    state = state_of(metric)
    return "bad" if state is State.BAD else "good" if state is State.GOOD else "dim"


def _line(made: Canvas, ax: Axes, one: Evidence, times: Float, ends: tuple[float, float]) -> None:
    tone = _tone(one.metric)
    ax.plot(times, np.clip(one.odds, *ends), color=made.tones[tone], lw=1.4 if tone == "dim" else 2, zorder=3)
    for sign, rim, mark in ((1, ends[1], "^"), (-1, ends[0], "v")):
        outside = sign * one.odds > sign * rim
        if outside.any():  # where it leaves the picture
            at = times[outside & ~np.concatenate([[False], outside[:-1]])]
            ax.plot(at, np.full(at.size, rim), mark, color=made.tones[tone], ms=5, clip_on=False, zorder=5)


def _labels(
    made: Canvas, ax: Axes, lines: Sequence[Evidence], now: float, end: float, ends: tuple[float, float], harm: float
) -> None:
    """What each line is, at its end and moved apart, between the words of both thresholds."""
    known = [one for one in lines if np.isfinite(one.odds).any()]
    if not known:
        ax.text(end / 2, 0, "nothing compared yet", color=made.tones["ink"], ha="center", va="bottom")
        return
    more = len(known) - _MOST_NAMES
    if more > 0:  # who decides has a name
        known = sorted(known, key=lambda one: ("bad", "dim", "good").index(_tone(one.metric)))[: _MOST_NAMES - 1]
    last = [float(np.clip(one.odds[np.isfinite(one.odds)][-1], ends[0], ends[1])) for one in known]
    high = min(harm, ends[1]) - 0.03 * (ends[1] - ends[0])
    gap = min(0.065 * (ends[1] - ends[0]), 0.96 * (high - ends[0]) / len(known))
    size = 10.0 if gap > 0.05 * (ends[1] - ends[0]) else 8.5
    low = ends[0] + gap / 2
    places = within(spread([min(max(one, low), high) for one in last], gap), low, high)
    if more > 0:
        beside: Style = {"transform": ax.get_yaxis_transform(), "color": made.tones["dim"], "fontsize": 8.5}
        ax.text(1.02, ends[0] - 0.09 * (ends[1] - ends[0]), f"and {more + 1} more", **beside)
    for one, y, place in zip(known, last, places, strict=True):
        tone = _tone(one.metric)
        colour = made.tones[tone]
        face = made.tones["paper"] if tone == "dim" else colour
        mark = "X" if tone == "bad" else "o"
        ax.plot([now], [y], mark, ms=8 if mark == "X" else 6.5, mfc=face, mec=colour, mew=1.4, zorder=6, clip_on=False)
        word = {"bad": "regressed", "good": one.metric.outcome.value}.get(tone, "undecided")
        wide = 72 * made.ax.get_window_extent().width / _dpi(made.ax)
        ahead = made.beside + wide * (end - now) / end
        left = ahead < _LEAST_ROOM  # of an ended run there is more room before the mark than behind it
        free = wide * now / end if left else ahead
        told = f"{made.name(one.metric.name, inside=free - made.beside - _WORD)}: {word}"
        ax.annotate(
            told,
            (now, y),
            xytext=(now + (-0.022 if left else 0.022) * end, place),
            ha="right" if left else "left",
            va="center",
            color=made.tones["dim" if tone == "dim" else "ink"],
            fontsize=size,
            annotation_clip=False,
            zorder=7,
            bbox={"facecolor": made.tones["paper"], "edgecolor": "none", "pad": 1.2},
        )


def _dpi(ax: Axes) -> float:
    figure = ax.get_figure()
    return 100.0 if figure is None else figure.dpi


def _planned_end(
    made: Canvas,
    ax: Axes,
    looks: Sequence[Judgement],
    lines: Sequence[Evidence],
    now: float,
    ends: tuple[float, float],
) -> bool:
    """What the planned end decided, as the odds of its p-value: it has most of the error for itself; whether any."""
    look, drawn = looks[-1].look, False
    if look is None or not look.ended:
        return drawn
    early = _early(looks[-1])
    for one in lines:
        comparison = one.metric.comparison
        if comparison is None:
            continue
        for sign, p, log_e in (
            (1, comparison.p_beyond_margin, comparison.log_e_beyond_margin),
            (-1, comparison.p_within_margin, comparison.log_e_within_margin),
        ):
            decided = state_of(one.metric) is (State.BAD if sign > 0 else State.GOOD)
            if not decided or p is None or log_e is None or not 0 < p < 0.99 * math.exp(-max(log_e, 0.0)) / early:
                continue
            height = float(np.clip(-sign * math.log10(p * (1 - early)), *ends))
            ax.plot([now], [height], "D", ms=6, color=made.tones[_tone(one.metric)], zorder=6, clip_on=False)
            drawn = True
    return drawn
