"""What every single interval had, as marks behind the lines of all so far, and where there was nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.arrays import median
from canary_judge.plots.canvas import Canvas
from canary_judge.samples import AnyData, CountData, GaugeData, RawData, lacks_a_side

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from canary_judge.arrays import Bool, Float, Int

__all__ = ["draw_intervals"]

_MOST_INSTANCES = 20


def draw_intervals(made: Canvas, ax: Axes, data: AnyData, *, first: float, step: float, factor: float) -> str:
    """Draw what each interval of both sides had.

    Args:
        made: The picture.
        ax: The panel.
        data: What was judged.
        first: Where the first interval begins on the axis of time.
        step: How long an interval is there.
        factor: What the values are multiplied with.

    Returns:
        In words what the marks are; empty where there are none.
    """
    if lacks_a_side(data):
        return ""
    colours = made.tones["dim"], made.blue
    match data:
        case CountData(counts=counts):
            at = _ends(first, step, counts.exposure_canary.size)
            pairs = (
                (counts.events_baseline, counts.exposure_baseline),
                (counts.events_canary, counts.exposure_canary),
            )
            rates = [np.divide(some, of, out=np.full(some.size, math.nan), where=of > 0) for some, of in pairs]
            _dots(ax, at, [factor * one for one in rates], colours)
            _gaps(made, ax, at, baseline=np.isnan(rates[0]), canary=np.isnan(rates[1]))
            return "dots: each interval; "
        case GaugeData(baseline=baseline, canary=canary):
            at = _ends(first, step, canary.shape[1])
            for rows, colour in zip((baseline, canary), colours, strict=True):
                for row in rows[:_MOST_INSTANCES]:  # a gap is a hole in the line
                    ax.plot(at, factor * row, "-", color=colour, lw=0.7, alpha=0.6, zorder=2)
            _gaps(made, ax, at, baseline=_empty(baseline), canary=_empty(canary))
            return "thin: each interval; "
        case RawData() if data.interval_canary.size:
            size = 1 + int(max(data.interval_baseline.max(), data.interval_canary.max()))
            at = _ends(first, step, size)
            middles = [
                _medians(data.baseline, data.interval_baseline, size),
                _medians(data.canary, data.interval_canary, size),
            ]
            _dots(ax, at, [factor * one for one in middles], colours)
            _gaps(made, ax, at, baseline=np.isnan(middles[0]), canary=np.isnan(middles[1]))
            return "dots: median of each interval; "
    return ""


def _ends(first: float, step: float, number: int) -> Float:
    """Of so many intervals."""
    return np.asarray(first + step * np.arange(1, number + 1), dtype=np.float64)


def _dots(ax: Axes, at: Float, sides: list[Float], colours: tuple[str, str]) -> None:
    for values, colour, mark in zip(sides, colours, ".o", strict=True):
        ax.plot(at, values, mark, color=colour, ms=4, alpha=0.75, mec="none", zorder=2)


def _empty(rows: Float) -> Bool:
    """Intervals in which no instance has a value."""
    return np.asarray(np.isnan(rows).all(axis=0), dtype=np.bool_)


def _medians(values: Float, interval: Int, size: int) -> Float:
    """Of each interval; NaN where it has no value."""
    found = np.full(size, math.nan)
    order = np.argsort(interval, kind="stable")
    starts = np.searchsorted(interval[order], np.arange(size + 1))
    for k in np.flatnonzero(np.diff(starts)):
        found[k] = median(values[order[starts[k] : starts[k + 1]]])
    return found


def _gaps(made: Canvas, ax: Axes, at: Float, *, baseline: Bool, canary: Bool) -> None:
    """Ticks on the axis where a side has nothing, with its name."""
    both = baseline & canary
    for missing, name in ((both, "no data"), (canary & ~both, "no canary"), (baseline & ~both, "no baseline")):
        if not missing.any():
            continue
        x = at[missing]
        bottom = ax.get_xaxis_transform()
        ax.plot(x, np.full(x.size, 0.0), "|", color=made.tones["bad"], ms=9, mew=1.6, transform=bottom, clip_on=False)
        ax.text(x[0], 0.05, f" {name}", transform=bottom, color=made.tones["bad"], fontsize=9, va="bottom", zorder=6)
