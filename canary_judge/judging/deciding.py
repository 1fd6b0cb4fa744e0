"""The deciding interval of an effect: its ends are the margins at which the evidence on harm would just decide.

An interval of any one level says something else than the judge does: harm and safety have error rates of their own,
that of harm is shared with other metrics, both may be spread over many looks, and safety may be withheld. So the same
evidence is asked at other margins until it just decides. Left of the margin is what is found safe, right of it what is
found harmful, and what covers it is undecided.

References:
    Casella, G. & Berger, R. L. (2002), Statistical Inference, section 9.2.1 (intervals by inverting tests).
    Dowell, M. & Jarratt, P. (1971), doi:10.1007/BF01934364 (the Illinois root finder).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from canary_judge.judging.assessed import Assessed
from canary_judge.results import Harm, Scale
from canary_judge.special import special
from canary_judge.stats.margins import Margin
from canary_judge.stats.questions import MarginTest, Question

__all__ = ["deciding_interval"]

# An end so many margins away from none, or further, is not looked for: it is no bound.
_FURTHEST = 64.0
# Ends are found to this part of the margin.
_PRECISION = 0.01
# Steps of the search in a margin, many more than the precision asks for.
_GRID = 4096
_MOST_STEPS = 24
_SMALLEST = 1e-9

Interval = tuple[float | None, float | None]


def deciding_interval(one: Assessed, *, harm_level: float, safety_level: float) -> Interval | None:
    """Where the evidence on one metric would just decide.

    Args:
        one: The evidence, and what it is at other margins.
        harm_level: What its p-value of "harm at most the margin" (of none, where any harm fails) is held against: its
            share of `false_alarm_rate`.
        safety_level: The same of "harm at least the margin": `false_pass_rate`.

    Returns:
        Low and high end on the scale of the comparison; None for one without bound. In the harmful direction lies how
        much harm is not ruled out, in the other how little is not shown. No interval where no margin is tested, or the
        evidence cannot be had at other margins (instances, and slow series between their spaced looks).
    """
    comparison, margin = one.comparison, one.metric.parsed_margin()
    if one.settled is not None or comparison is None or comparison.margin is None or margin is None:
        return None
    if one.at_margin is None or comparison.p_beyond_margin is None or comparison.p_within_margin is None:
        return None
    line = _Line(
        margin=margin,
        scale=comparison.scale,
        level=comparison.baseline or 0.0,
        share=one.metric.is_proportion,
        test=one.at_margin,
    )
    withheld = one.no_safety is not None
    shown = comparison.p_within_margin <= safety_level and not withheld
    if one.metric.harm is not Harm.EITHER:
        upward = one.metric.harm is Harm.INCREASE
        asked = (0.0, comparison.p_harm) if one.metric.fail_when == "any_harm" else (1.0, comparison.p_beyond_margin)
        near = line.nearest(upward=upward, level=harm_level, known=asked)
        far = None if withheld else line.farthest(upward=upward, level=safety_level, at_one=comparison.p_within_margin)
        return (near, far) if upward else (far, near)
    return _either(
        line,
        comparison.p_beyond_margin,
        harm_level=harm_level,
        safety_level=safety_level,
        shown=shown,
        withheld=withheld,
    )


def _either(
    line: _Line, p_beyond: float, *, harm_level: float, safety_level: float, shown: bool, withheld: bool
) -> Interval:
    """Both directions hurt, and share the error of harm: the interval is that of the direction that is at stake."""
    up, down = line.test(line.margin, upward=True), line.test(line.margin, upward=False)
    ends = [
        None if withheld else line.farthest(upward=side, level=safety_level, at_one=at.within)
        for side, at in ((True, up), (False, down))
    ]
    if shown:
        return ends[1], ends[0]
    rises = up.within >= down.within if p_beyond > harm_level else up.beyond <= down.beyond
    at_stake = min(p_beyond / 2, 1.0)
    near = line.nearest(upward=rises, level=harm_level / 2, known=(1.0, at_stake))
    return (near, ends[0]) if rises else (ends[1], near)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Margins of any width, as so many times the configured one; below 0 in the harmless direction.

    Attributes:
        margin: The configured one.
        scale: Of the effect.
        level: The baseline's, in the metric's unit.
        share: Levels are shares, which neither fall below 0 nor rise above 1.
        test: The evidence at a margin.
    """

    margin: Margin
    scale: Scale
    level: float
    share: bool
    test: MarginTest

    def at(self, times: float, *, upward: bool, asked: Question) -> float:
        """The p-value at so many margins; "better by at least" is the mirrored "worse by at most"."""
        margin = self._wide(times)
        if margin is None:
            return 1.0
        if times < 0:
            upward, asked = not upward, "within" if asked == "beyond" else "beyond"
        with np.errstate(all="ignore"):  # many margins from values near the end of floats are beyond it
            found = self.test(margin, upward=upward, only=asked)
        p = found.beyond if asked == "beyond" else found.within
        return 1.0 if math.isnan(p) else p

    def effect(self, times: float | None, *, upward: bool) -> float | None:
        """So many margins as an effect."""
        if times is None:
            return None
        upward = upward if times >= 0 else not upward
        wide = self._wide(times)
        direction = Harm.INCREASE if upward else Harm.DECREASE
        shown = None if wide is None else wide.shown(direction, self.scale, level=self.level)
        if shown is None or not math.isfinite(shown):
            return None
        if self.scale is Scale.RATIO:
            return max(shown, 0.0)
        return min(max(shown, 0.0 - self.level), 1 - self.level) if self.share else shown

    def _wide(self, times: float) -> Margin | None:
        """The margin so many times; None beyond the range of floats."""
        try:
            return self.margin.times(max(abs(times), _SMALLEST))
        except ValueError:
            return None

    def nearest(self, *, upward: bool, level: float, known: tuple[float, float]) -> float | None:
        """The largest harm that is shown to be exceeded; `known` is the decision's p-value at so many margins."""

        def p(times: float) -> float:
            return self.at(-times, upward=upward, asked="beyond")

        found = _boundary(p, -known[0], known[1], level, self._ends(upward=upward))
        return self.effect(None if found is None else -found, upward=upward)

    def farthest(self, *, upward: bool, level: float, at_one: float) -> float | None:
        """The smallest harm that is ruled out."""
        ends = self._ends(upward=upward)
        found = _boundary(
            lambda times: self.at(times, upward=upward, asked="within"), 1.0, at_one, level, (-ends[1], -ends[0])
        )
        return self.effect(found, upward=upward)

    def _ends(self, *, upward: bool) -> tuple[float, float]:
        """Minus the largest and the smallest number of margins that mean anything: no ratio falls below 0."""
        furthest = _FURTHEST
        if self.margin.relative is not None and self.scale is Scale.RATIO:
            furthest = min(furthest, max(1 / self.margin.relative, 1.0))
        return (-_FURTHEST, furthest) if upward else (-furthest, _FURTHEST)


def _boundary(
    p: Callable[[float], float], start: float, p_start: float, level: float, ends: tuple[float, float]
) -> float | None:
    """The smallest x at which p(x), which falls, is at most the level; None where that is at no x within the ends."""
    wanted = -float(special.ndtri(level))

    def short(value: float) -> float:  # negative where it is shown
        return wanted + float(special.ndtri(min(max(value, 1e-300), 1 - 1e-16)))

    x, y = start, short(p_start)
    known, direction, step = y <= 0, -1.0 if y <= 0 else 1.0, 0.5
    while True:
        beyond = min(max(_on_grid(x + direction * step), ends[0]), ends[1])
        if beyond == x:
            return x if known else None
        value = short(p(beyond))
        if (value <= 0) != known:
            break
        # as far as the two last ones say, and a little more
        left = value * (beyond - x) / (y - value) if y != value else 0.0
        step = min(max(1.2 * left * direction, 0.05), 4 * step) if left * direction > 0 else 2 * step
        x, y = beyond, value
    low, high = ((beyond, value), (x, y)) if known else ((x, y), (beyond, value))
    return _illinois(lambda at: short(p(at)), low, high)


def _on_grid(x: float) -> float:
    """Near x: a step that does not follow the last digits of the p-values that led to it."""
    return round(x * _GRID) / _GRID


def _illinois(f: Callable[[float], float], low: tuple[float, float], high: tuple[float, float]) -> float:
    """The end of the bracket at which f is negative, once the bracket is narrow; f(low) > 0 >= f(high)."""
    (a, f_a), (b, f_b) = low, high
    last = 0
    for _ in range(_MOST_STEPS):
        if b - a <= _PRECISION:
            break
        x = (a * f_b - b * f_a) / (f_b - f_a) if f_a != f_b else (a + b) / 2
        # half a step of the precision beyond the root, so that both sides close in
        x = _on_grid(min(max(x, a + _PRECISION / 2), b - _PRECISION / 2))
        y = f(x)
        if y > 0:
            a, f_a, f_b = x, y, f_b / 2 if last > 0 else f_b
            last = 1
        else:
            b, f_b, f_a = x, y, f_a / 2 if last < 0 else f_a
            last = -1
    return b
