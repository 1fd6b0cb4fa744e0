"""What was made, and not measured: a side that is a copy of the other, and gaps that were filled in."""

from __future__ import annotations

import numpy as np

from canary_judge.arrays import Bool, Float, distinct
from canary_judge.judging.doubts.odd_values import run_at_the_end
from canary_judge.judging.silence import runs
from canary_judge.results import Side
from canary_judge.samples import AnyData, CountData, GaugeData, RawData

__all__ = ["filled_in", "made_up"]

# So many equal values in a row are no chance where others differ.
_FEWEST_STILL = 8
# What is a multiple, or lies on a straight line, to the last digits.
_ROUNDED, _FAR_OFF = 1e-9, 1e-6
# Of the intervals, what may lie on straight lines; of the others, what does so by chance; rounded ones of so many.
_MOST_FILLED, _BY_CHANCE, _ROUNDED_FROM = 0.1, 0.1, 100.0
_FILLED = (
    "{0} of {1} of the {side}'s {what} lie on straight lines between others that do not: were gaps filled in? Leave "
    "them empty"
)


def made_up(data: AnyData) -> str | None:
    """Why the numbers were not measured, at least not the newest; None where that is not seen. Asked at every look."""
    return _copied(data) or _filled(data)


def _copied(data: AnyData) -> str | None:
    """Whether both sides have the same numbers, or one a multiple of the other's, which vary: one is made of it."""
    if isinstance(data, CountData):
        counts = data.counts
        if not counts.events_baseline.any():  # mirrored requests are the same ones
            return None
        pairs = [(counts.exposure_baseline, counts.exposure_canary), (counts.events_baseline, counts.events_canary)]
    elif isinstance(data, GaugeData | RawData):
        pairs = [(data.baseline, data.canary)]
    else:
        return None
    if any(one.shape != other.shape for one, other in pairs):
        return None
    one, other = pairs[0]
    if one.size and abs(float(one.flat[0])) > 0:  # what is no multiple at its ends is none
        as_first = float(other.flat[0]) / float(one.flat[0]) * float(one.flat[-1])
        if abs(float(other.flat[-1]) - as_first) > _FAR_OFF * abs(float(other.flat[-1])):
            return None
    largest = [float(np.nanmax(np.abs(side), initial=0.0)) for side in pairs[0]]
    if not min(largest):
        return None
    times = largest[1] / largest[0]
    same = all(np.allclose(one * times, other, rtol=_ROUNDED, atol=0.0, equal_nan=True) for one, other in pairs)
    values = pairs[0][0][~np.isnan(pairs[0][0])]
    if not same or values.size < _FEWEST_STILL or distinct(values).size <= values.size / 2:
        return None
    if abs(times - 1) <= _ROUNDED:
        return "both sides have the same values in every interval: is one a copy of the other?"
    return f"the canary's values are {times:.4g} times the baseline's in every interval: are they made of them?"


def _filled(data: AnyData) -> str | None:
    """Whether a side's newest requests, and its events, are two numbers that are repeated: filled forward."""
    if not isinstance(data, CountData):
        return None
    counts = data.counts
    for side, events, exposure in (
        ("canary", counts.events_canary, counts.exposure_canary),
        ("baseline", counts.events_baseline, counts.exposure_baseline),
    ):
        if exposure.size < 2 * _FEWEST_STILL or not events[-1] or exposure[-1] != exposure[-_FEWEST_STILL]:
            continue
        last = min(run_at_the_end(exposure), run_at_the_end(events))
        before = exposure[:-last] if last else exposure
        if last >= _FEWEST_STILL and distinct(before).size > before.size / 2:
            return (
                f"the {side}'s requests and events are the same numbers in its last {last} intervals: has it died, and "
                "were they filled forward?"
            )
    return None


def filled_in(data: AnyData) -> str | None:
    """Whether many values of a side lie on straight lines between others that do not: gaps were interpolated.

    What was measured moves; a rate that is constant, or rises in steps, is one of a load test, and so is a whole level.
    Of counts requests and events do so at once, also rounded to whole ones where chance would make them differ.
    """
    if isinstance(data, CountData):
        for side in Side:
            values, beside = (getattr(data.counts, f"{what}_{side}") for what in ("exposure", "events"))
            if (lines := _lines(values, beside)) is not None:
                return _FILLED.format(*lines, side=side, what="counts")
    elif isinstance(data, GaugeData):
        found = {side: next(filter(None, (_lines(row, None) for row in getattr(data, side))), None) for side in Side}
        for side, lines in found.items():
            if lines is not None and None in found.values():  # what rises by itself does so on both sides
                return _FILLED.format(*lines, side=side, what="values")
    return None


def _lines(values: Float, beside: Float | None) -> tuple[int, int] | None:
    """How many of how many values lie on straight lines, with what was counted beside them; None if that is chance."""
    whole = bool(((values == np.rint(values)) | np.isnan(values)).all())
    if beside is None:
        off = 0.0
    else:
        whole = whole and bool((beside == np.rint(beside)).all())
        off = 1.0 if whole and values.sum() >= _ROUNDED_FROM * values.size else 0.0
    straight = _straight(values, off=off)
    if np.count_nonzero(straight) <= _MOST_FILLED * straight.size or (whole and not off):
        return None
    both = straight if beside is None else straight & _straight(beside, off=off)
    # of a load that is made to rise in whole steps nothing is rounded
    filled = _in_long_runs(both, values, other=~_straight(values, off=0.0) if off else values[1:] != values[:-1])
    if beside is not None and filled.any() and beside[filled].min() == beside[filled].max():
        return None  # no event is on any line
    if _one_slope(filled, values):
        return None
    rest = ~filled
    number = int(filled.sum())
    if number <= _MOST_FILLED * filled.size or rest.sum() < _FEWEST_STILL or straight[rest].mean() > _BY_CHANCE:
        return None
    return number, filled.size


def _one_slope(filled: Bool, values: Float) -> bool:
    """Whether several lines rise alike, as an age does from each new beginning, and a load from each of its steps."""
    slopes = [(values[end - 1] - values[begin]) / (end - 1 - begin) for begin, end in runs(filled)]
    return len(slopes) > 1 and max(slopes) - min(slopes) <= _FAR_OFF * max(abs(one) for one in slopes)


def _straight(values: Float, *, off: float) -> Bool:
    """The values that lie in the middle of both neighbours, or no further off than so much."""
    found = np.zeros(values.size, dtype=bool)
    if values.size > 2:
        largest = float(np.nanmax(np.abs(values), initial=0.0))
        found[1:-1] = np.abs(values[:-2] - 2 * values[1:-1] + values[2:]) <= off + _ROUNDED * largest
    return found


def _in_long_runs(of: Bool, values: Float, *, other: Bool) -> Bool:
    """What is true so often in a row that it is no chance, while the values move, and the other is true of some."""
    found = np.zeros(of.size, dtype=bool)
    for begin, end in runs(of):
        inside = values[begin:end]
        found[begin:end] = end - begin >= _FEWEST_STILL and inside.min() != inside.max() and other[begin:end].any()
    return found
