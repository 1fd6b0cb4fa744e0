"""One metric in depth: both series, its effect with the deciding interval, and the evidence, on one time axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.pictures.axis import finite
from canary_judge.pictures.numbers import bound_text, effect_text, level_text, number
from canary_judge.pictures.rows import State, state_of
from canary_judge.pictures.words import outcome_word
from canary_judge.plots.canvas import Canvas, Mode, Style, canvas, panels, say, spread, time_ticks, within
from canary_judge.plots.evidence import draw_evidence, times_of
from canary_judge.plots.intervals import draw_intervals
from canary_judge.results import Harm, Scale, Side
from canary_judge.wording import opposite

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from canary_judge.arrays import Float
    from canary_judge.results import Comparison, Judgement, MetricResult
    from canary_judge.samples import Samples

__all__ = ["depth"]

_RATIOS = (
    (0.01, 0.1, 1.0, 10.0, 100.0),
    tuple(2.0**power for power in range(-9, 10)),
    (0.5, 0.7, 1.0, 1.4, 2.0),
    (0.8, 0.9, 1.0, 1.1, 1.25),
    (0.9, 0.95, 1.0, 1.05, 1.1),
    (0.96, 0.98, 1.0, 1.02, 1.04),
    (0.98, 0.99, 1.0, 1.01, 1.02),
)
_TITLE: Style = {"loc": "left", "fontsize": 10, "pad": 4}


def depth(
    judgement: Judgement,
    metric: str,
    *,
    looks: Iterable[Judgement] = (),
    samples: Samples | None = None,
    theme: Mode = "light",
    ax: Axes | None = None,
) -> Axes:
    """Draw one metric in depth.

    Args:
        judgement: The last look.
        metric: Its name.
        looks: All looks of the run, in order of time; without them only the last one is drawn.
        samples: What was judged; without them there are no dots for single intervals.
        theme: `light`, `dark` or `print`.
        ax: Axes that the panels are put into; None makes a figure of 7.2 x 7 inches.

    Raises:
        KeyError: There is no such metric; the message lists those there are.

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
        >>> len(depth(looks[-1], "errors", looks=looks, ax=ax).child_axes)
        3
    """
    found = judgement[metric]
    known = tuple(looks) or (judgement,)
    begun = {(one.name, one.start) for one in (*known, judgement)}
    if len(begun) > 1 or any(before.end > after.end for before, after in pairwise((*known, judgement))):
        raise ValueError("looks: give those of this run up to this judgement, in their order")
    if known[-1].end != judgement.end:
        known = (*known, judgement)
    with_evidence = len(known) > 1 and all(one.look is not None for one in known)
    with canvas(ax, (7.2, 7.0 if with_evidence else 4.8), theme, sides=(0.85, 0.3, 0.5)) as made:
        comparison = found.comparison
        made.head(
            _finding(found, known), "nothing was compared" if comparison is None else _why(found) or _counts(found)
        )
        if with_evidence:
            boxes = [(0.0, 0.72, 1.0, 0.25), (0.0, 0.385, 1.0, 0.26), (0.0, 0.0, 1.0, 0.31)]
        else:
            boxes = [(0.0, 0.57, 1.0, 0.37), (0.0, 0.0, 1.0, 0.47)]
        axes = panels(made, boxes)
        times, end, unit = times_of(known)
        _levels(made, axes[0], known, metric, samples, times)
        _effects(made, axes[1], known, metric, times, end)
        if with_evidence:
            draw_evidence(made, axes[2], known, [metric])
            axes[2].set_title(
                "evidence, as odds (for harm upward, for safety downward)", color=made.tones["dim"], **_TITLE
            )
        else:
            axes[1].set_xlabel(f"{unit} since the start", color=made.tones["dim"])
        for number_of, one in enumerate(axes):
            _marks(made, one, known, times, end, named=number_of == 0)
            one.set_xlim(0, end)
            time_ticks(one, end)
            if number_of < len(axes) - 1:
                one.tick_params(labelbottom=False)
        return made.ax


def _finding(metric: MetricResult, looks: Sequence[Judgement]) -> str:
    word = outcome_word(metric)
    if metric.decided_at is not None and state_of(metric) is State.BAD:
        unit = times_of(looks)[2]
        passed = (metric.decided_at - looks[0].start).total_seconds() / _seconds(looks)
        word += f" at {unit.removesuffix('s')} {math.ceil(passed):,}"
    effect = effect_text(metric)[0]
    if not effect:
        return f"{metric.name}: {word}"
    ratio = metric.comparison is not None and metric.comparison.scale is Scale.RATIO and effect.endswith("x")
    return f"{metric.name}: {word}, {effect} {'the baseline' if ratio else 'against the baseline'}"


def _why(metric: MetricResult) -> str:
    """Why a metric is undecided whatever its evidence says; empty where it is the evidence."""
    before, withheld, reason = metric.reason.partition("cannot be found safe: ")
    return f"not shown safe: {reason}" if withheld and before and state_of(metric) is State.OPEN else ""


def _counts(metric: MetricResult) -> str:
    comparison, bound = metric.comparison, bound_text(metric)
    if comparison is None:
        return ""
    tolerated = f"; {bound} is tolerated" if bound else ""
    events, of = finite(comparison.events_canary), finite(comparison.events_baseline)
    if events is not None and of is not None:
        mine, other = f"{events:,.0f} of {comparison.n_canary:,.0f}", f"{of:,.0f} of {comparison.n_baseline:,.0f}"
        return f"{mine} canary requests against {other}{tolerated}"
    return f"{level_text(comparison.canary, metric)} against {level_text(comparison.baseline, metric)}{tolerated}"


def _levels(
    made: Canvas, ax: Axes, looks: Sequence[Judgement], name: str, samples: Samples | None, times: Float
) -> None:
    """Dots for each interval, lines for all so far, which is what is judged."""
    last = looks[-1][name]
    factor, unit = (100.0, "%") if last.share else (1.0, last.unit)
    colours = {Side.BASELINE: made.tones["dim"], Side.CANARY: made.blue}
    drawn = _draw_samples(made, ax, looks, name, samples, factor) + _draw_resets(made, ax, looks, name, times)
    ends = []
    for side, colour in colours.items():
        values = np.array([_level(one[name].comparison, side) for one in looks]) * factor
        canary = side is Side.CANARY
        style = "o" if len(looks) == 1 else "-"
        ax.plot(times, values, style, color=colour, lw=2.2 if canary else 1.4, zorder=4 if canary else 3)
        if np.isfinite(values).any():
            ends.append((side.value, float(values[np.isfinite(values)][-1]), colour))
    if not ends:
        ax.text(0.5, 0.5, "nothing was compared", transform=ax.transAxes, ha="center", color=made.tones["ink"])
        ax.set_yticks([])
    low, high = ax.get_ylim()
    if last.share and (low < high / 2 or len(looks) == 1):
        low, high = 0.0, 1.15 * high
        ax.set_ylim(low, high)
    end = max(times_of(looks)[1], float(times[-1]))
    inside = times[-1] < 0.8 * end
    apart = spread([one[1] for one in ends], 0.26 * (high - low))
    for (side_name, value, colour), place in zip(ends, within(apart, low, high, room=0.1 * (high - low)), strict=True):
        ax.annotate(
            say(f"{side_name} {level_text(value / factor, last)}"),
            (times[-1], value),
            xytext=(times[-1] + (0.02 if inside else -0.01) * end, place),
            ha="left" if inside else "right",
            va="center",
            color=colour,
            fontweight="bold" if side_name == "canary" else "normal",
            annotation_clip=False,
            zorder=6,
            bbox={"facecolor": made.tones["paper"], "edgecolor": "none", "pad": 1},
        )
    what = f"{last.name}, {unit} of requests" if last.share else f"{last.name}{f', {unit}' if unit else ''}"
    how = f" ({drawn}lines: all so far)" if len(looks) > 1 else f" ({drawn or 'points: '}all so far)"
    ax.set_title(say(what + how), color=made.tones["dim"], **_TITLE)


def _level(comparison: Comparison | None, side: Side) -> float:
    if comparison is None:
        return math.nan
    return _known(comparison.canary if side is Side.CANARY else comparison.baseline)


def _known(value: float | None) -> float:
    """The number; NaN, which is not drawn, for what is none."""
    known = finite(value)
    return math.nan if known is None else known


def _draw_samples(
    made: Canvas, ax: Axes, looks: Sequence[Judgement], name: str, samples: Samples | None, factor: float
) -> str:
    """What each interval had; in words what the marks are."""
    found = None if samples is None else samples.metrics.get(name)
    if samples is None or found is None or found.data is None:
        return ""
    size = _seconds(looks)
    first = (samples.window.start - looks[0].start).total_seconds() / size
    step = looks[-1].interval_seconds / size
    return draw_intervals(made, ax, found.data, first=first, step=step, factor=factor)


def _draw_resets(made: Canvas, ax: Axes, looks: Sequence[Judgement], name: str, times: Float) -> str:
    """A triangle at each look by which counters had begun anew; in words what they are."""
    counted = [0 if (quality := one[name].quality) is None else quality.resets for one in looks]
    # what one look alone knows of them has no time
    at = times[1:][np.diff(counted) > 0]
    if not at.size:
        return ""
    ax.plot(at, np.full(at.size, 0.02), "^", color=made.tones["dim"], ms=6, mec=made.tones["paper"], mew=0.8,
            transform=ax.get_xaxis_transform(), clip_on=False, zorder=6)  # fmt: skip
    return "triangles: resets; "


def _seconds(looks: Sequence[Judgement]) -> float:
    """Of the unit of the time axis."""
    times = times_of(looks)[0]
    whole = (looks[-1].end - looks[0].start).total_seconds()
    return whole / float(times[-1]) if times[-1] else 1.0


def _margin(made: Canvas, ax: Axes, at: float, scale: _Scale, end: float) -> None:
    """A margin, and what lies beyond it on this axis."""
    falls = at < scale.neutral
    bottom, top = ax.get_ylim()
    ax.axhspan(*((bottom, at) if falls else (at, top)), color=made.tones["beyond"], lw=0)
    ax.axhline(at, color=made.tones["bad"], lw=1.8)
    va = "top" if falls else "bottom"
    ax.text(end, at, f"margin {scale.text(at)}", color=made.tones["bad"], fontweight="bold", ha="right", va=va)


def _effects(made: Canvas, ax: Axes, looks: Sequence[Judgement], name: str, times: Float, end: float) -> None:
    """The estimate with the deciding interval at each look."""
    last = looks[-1][name]
    compared = [one[name].comparison for one in looks]
    known = [one for one in compared if one is not None]
    if not known:
        ax.text(0.5, 0.5, "nothing was compared", transform=ax.transAxes, ha="center", color=made.tones["ink"])
        ax.set_yticks([])
        return
    ratio = known[-1].scale is Scale.RATIO
    factor = 1.0 if ratio else 100.0 if last.share else 1.0
    effect = factor * np.array([_known(None if one is None else one.effect) for one in compared])
    ends = factor * np.array([_interval(one[name]) for one in looks])
    scale, margin = _Scale(ratio=ratio), finite(known[-1].margin)
    margins = [] if margin is None else [margin]
    if margin is not None and last.harm is Harm.EITHER:
        margins.append(opposite(margin, known[-1].scale))
    values = [*effect[np.isfinite(effect)], scale.neutral, *(one * factor for one in margins)]
    settled = ends[len(ends) // 4 :]  # the first looks know next to nothing
    values += list(settled[np.isfinite(settled)])
    bottom, top = scale.limits([one for one in values if np.isfinite(one) and (one > 0 or not ratio)])
    low, high = np.clip(ends[:, 0], bottom, top), np.clip(ends[:, 1], bottom, top)
    ax.set_ylim(bottom, top)
    for at in margins:
        _margin(made, ax, at * factor, scale, end)
    ax.axhline(scale.neutral, color=made.tones["line"], lw=1)
    falls = margin is not None and margin * factor < scale.neutral
    below = "bottom" if falls else "top"
    ax.text(end, scale.neutral, "as the baseline", color=made.tones["dim"], ha="right", va=below)
    if len(looks) > 1:
        ax.fill_between(times, low, high, color=made.blue, alpha=0.22, lw=0)
        ax.plot(times, low, times, high, color=made.blue, lw=0.8)
    else:
        ax.plot([times[0]] * 2, [low[0], high[0]], color=made.blue, lw=7, alpha=0.3, solid_capstyle="butt")
    ax.plot(times, effect, "-" if len(looks) > 1 else "o", color=made.blue, lw=2)
    if ratio:
        ax.set_yscale("log")
        ax.set_ylim(bottom, top)
    ticks = scale.ticks(bottom, top)
    ax.set_yticks(ticks, [scale.text(one) for one in ticks])
    ax.minorticks_off()
    effect_words, interval = effect_text(last)
    told = f"{effect_words} ({interval})" if interval else effect_words
    inside = times[-1] < 0.75 * end
    if np.isfinite(effect[-1]) and inside:
        lines = [scale.neutral, *([] if margin is None else [margin * factor])]
        height = scale.beside(float(np.clip(effect[-1], bottom, top)), lines, (bottom, top))
        ax.text(times[-1] + 0.02 * end, height, say(told), color=made.blue, fontweight="bold", va="center", zorder=6)
    what = "canary / baseline" if ratio else f"canary - baseline, {'pp' if last.share else last.unit}".rstrip(", ")
    band = "deciding interval" if last.deciding is not None else "interval"
    said = f": {told}" if told and not inside and np.isfinite(effect[-1]) else ""
    ax.set_title(say(f"{what}{said} (band: {band} at each look)"), color=made.tones["dim"], **_TITLE)


def _interval(metric: MetricResult) -> tuple[float, float]:
    """The deciding interval, else the one that is shown; an end without bound is infinite, NaN where there is none."""
    comparison = metric.comparison
    ends = metric.deciding
    if ends is None and comparison is not None and comparison.interval != (None, None):
        ends = comparison.interval
    if ends is None:
        return math.nan, math.nan
    return -math.inf if ends[0] is None else _known(ends[0]), math.inf if ends[1] is None else _known(ends[1])


class _Scale:
    """Of an effect: ratios by their logarithm."""

    def __init__(self, *, ratio: bool) -> None:
        self.ratio = ratio
        self.neutral = 1.0 if ratio else 0.0

    def limits(self, values: Sequence[float]) -> tuple[float, float]:
        """The range with some room."""
        if self.ratio:
            logs = np.log([one for one in values if one > 0])
            room = max(0.12 * float(np.ptp(logs)), 0.03)
            return max(math.exp(logs.min() - room), 1e-3), min(math.exp(logs.max() + room), 1e3)
        room = 0.12 * float(np.ptp(values)) or 1.0
        return min(values) - room, max(values) + room

    def ticks(self, low: float, high: float) -> list[float]:
        """About five round numbers."""
        if not self.ratio:
            from matplotlib.ticker import MaxNLocator

            return [float(one) for one in MaxNLocator(5).tick_values(low, high) if low <= one <= high]
        for steps in _RATIOS:
            inside = [one for one in steps if low <= one <= high]
            apart = 0.1 * math.log(high / low)
            if 3 <= len(inside) <= 9 and min(math.log(b / a) for a, b in pairwise(inside)) >= apart:
                return inside
        decades = [part * 10.0**k for k in range(-3, 4) for part in (1, 2, 5)]
        found: list[float] = []
        for one in decades:
            if low <= one <= high and (not found or math.log(one / found[-1]) >= 0.15 * math.log(high / low)):
                found.append(one)
        if len(found) > 1:
            return found
        return [float(one) for one in np.round(np.exp(np.linspace(math.log(low), math.log(high), 5)[1:-1]), 3)]

    def beside(self, value: float, lines: Sequence[float], ends: tuple[float, float]) -> float:
        """A height for the words of a value: its own, or so far from the words of the lines that none is struck."""
        to, back = (math.log, math.exp) if self.ratio else (float, float)
        low, high = (to(end) for end in ends)
        room, own = 0.17 * (high - low), to(value)
        others = [to(one) for one in lines if one > 0 or not self.ratio]
        places = sorted(
            [own, *(one + step for one in others for step in (-room, room))], key=lambda one: abs(one - own)
        )
        free = [one for one in places if low < one < high and all(abs(one - other) >= 0.99 * room for other in others)]
        return back(free[0] if free else own)

    def text(self, value: float) -> str:
        """A tick."""
        if self.ratio:
            return f"{value:.3g}x"
        places = max(0, min(6, 2 - math.floor(math.log10(abs(value))))) if value else 0
        text = number(value, places, sign=True)
        return text.rstrip("0").rstrip(".") if "." in text else text


def _marks(made: Canvas, ax: Axes, looks: Sequence[Judgement], times: Float, end: float, *, named: bool) -> None:
    """What was left out, where the weight changed, and where the run stands."""
    if times[-1] < end:
        ax.axvline(times[-1], color=made.tones["line"], lw=0.8, ls=(0, (2, 3)))
    pairs = zip(looks, looks[1:], times, times[1:], strict=False)
    left = [0 if one.look is None else one.look.left_out for one in looks]
    first_named = named
    for k, (one, two, start, stop) in enumerate(pairs):
        if left[k + 1] > left[k]:
            ax.axvspan(start, stop, color=made.tones["track"], lw=0, zorder=0)
            if first_named:
                ax.text(start, 0.97, " left out", transform=ax.get_xaxis_transform(), va="top", color=made.tones["dim"])
                first_named = False
        weights = [None if split is None else split.configured for split in (one.traffic, two.traffic)]
        if None not in weights and weights[0] != weights[1]:
            ax.axvline(start, color=made.tones["ink"], lw=1, ls=(0, (1, 2)))
            if named:
                told = f" {100 * (weights[0] or 0):g} \u2192 {100 * (weights[1] or 0):g} %"
                ax.text(start, 0.97, told, transform=ax.get_xaxis_transform(), va="top", color=made.tones["ink"])
