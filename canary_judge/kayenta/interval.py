"""Kayenta's Mann-Whitney interval, solver included: its absolute tolerance decides some labels.

References:
    spinnaker/kayenta, kayenta-judge: MannWhitney.scala and BrentSolver.scala (after R's zeroin.c).
    Brent, R. P. (1973), *Algorithms for Minimization Without Derivatives*, chapter 4.
    Bauer, D. F. (1972), doi:10.1080/01621459.1972.10481279 (an interval by inverting the rank test).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from canary_judge.arrays import Float

__all__ = ["KAYENTA_Z", "ShiftEstimate", "shift_estimate"]

# the normal quantile of confLevel 0.98 (fixed in code) as commons-math computes it; two units in the last place
# beside it the solver takes other steps
KAYENTA_Z = 2.326347874040841
_TOLERANCE, _STEPS = 1e-4, 1000


@dataclass(frozen=True, slots=True)
class ShiftEstimate:
    """Kayenta's interval of the shift canary - baseline, in the metric's unit; NaN where a value is infinite."""

    lower: float
    upper: float
    estimate: float


def shift_estimate(*, baseline: Float, canary: Float) -> ShiftEstimate | None:
    """The interval and the estimate as NetflixACAJudge-v1.0 finds them, to its solver's last step.

    Args:
        baseline: Shape (n,), without NaN, not empty.
        canary: Shape (m,), without NaN, not empty.

    Returns:
        None where Kayenta raises and labels the metric `Error`: at some shift all values are tied.

    Examples:
        >>> found = shift_estimate(baseline=np.arange(10.0), canary=np.arange(10.0) + 5)
        >>> round(found.lower, 3), round(found.estimate, 3), round(found.upper, 3)
        (1.0, 5.0, 9.0)
    """
    x, y = np.sort(canary), np.sort(baseline)
    low, high = float(x[0] - y[-1]), float(x[-1] - y[0])
    if not (math.isfinite(low) and math.isfinite(high)):
        # one infinite value leaves no finite bracket, and no later comparison with the result holds
        return ShiftEstimate(math.nan, math.nan, math.nan)
    statistic = _statistic(x, y)
    try:
        return ShiftEstimate(
            lower=_end(statistic, KAYENTA_Z, low, high),
            upper=_end(statistic, -KAYENTA_Z, low, high),
            estimate=_root(statistic, low, high),
        )
    except ZeroDivisionError:
        return None


def _statistic(x: Float, y: Float) -> Callable[[float], float]:
    """Z of the rank test once the shift is taken off x, with corrections for ties and continuity; x and y sorted."""
    m, n = x.size, y.size
    total = m + n
    pairs, square = m * n, total * (total - 1)
    seen: dict[float, float] = {}
    pooled = np.empty(total)
    breaks = np.empty(total + 1, dtype=bool)
    breaks[0] = breaks[-1] = True

    def at(shift: float) -> float:
        if shift in seen:
            return seen[shift]
        moved = x - shift
        u = (int(y.searchsorted(moved).sum()) + int(y.searchsorted(moved, "right").sum())) / 2
        pooled[:m], pooled[m:] = moved, y
        pooled.sort()
        np.not_equal(pooled[1:], pooled[:-1], out=breaks[1:-1])
        edges = np.flatnonzero(breaks)
        ties = 0.0
        if edges.size <= total:
            size = np.diff(edges).astype(float)
            ties = float((size**3 - size).sum())
        excess = u - pairs / 2
        sigma = math.sqrt(pairs / 12 * (total + 1 - ties / square))
        seen[shift] = (excess - math.copysign(0.5, excess) * (excess != 0)) / sigma
        return seen[shift]

    return at


def _end(statistic: Callable[[float], float], z: float, low: float, high: float) -> float:
    if statistic(low) - z <= 0:
        return low
    if statistic(high) - z >= 0:
        return high
    return _root(lambda shift: statistic(shift) - z, low, high)


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    """Brent's root, step by step as in zeroin.c; the sign change is not checked."""
    a, b = low, high
    fa, fb = f(a), f(b)
    if _is_zero(fa):
        return a
    if _is_zero(fb):
        return b
    c, fc = a, fa
    for _ in range(_STEPS):
        previous = b - a
        if abs(fc) < abs(fb):
            a, b, c = b, c, b
            fa, fb, fc = fb, fc, fb
        tolerance = 2 * sys.float_info.epsilon * abs(b) + _TOLERANCE / 2
        step = (c - b) / 2
        if abs(step) <= tolerance or _is_zero(fb):
            return b
        if abs(previous) >= tolerance and abs(fa) > abs(fb):
            step = _interpolated(a, b, c, fa, fb, fc, previous, tolerance, step)
        if abs(step) < tolerance:
            step = math.copysign(tolerance, step)
        a, fa = b, fb
        b += step
        fb = f(b)
        if (fb > 0) == (fc > 0) and fb != 0 and fc != 0:
            c, fc = a, fa
    return b


def _interpolated(
    a: float, b: float, c: float, fa: float, fb: float, fc: float, previous: float, tolerance: float, halving: float
) -> float:
    """The secant or inverse quadratic step where it may be trusted, else the halving one."""
    distance = c - b
    if a == c:
        ratio = fb / fa
        p, q = distance * ratio, 1.0 - ratio
    else:
        q, t1, t2 = fa / fc, fb / fc, fb / fa
        p = t2 * (distance * q * (q - t1) - (b - a) * (t1 - 1.0))
        q = (q - 1.0) * (t1 - 1.0) * (t2 - 1.0)
    if p > 0:
        q = -q
    else:
        p = -p
    trusted = p < 0.75 * distance * q - abs(tolerance * q) / 2 and p < abs(previous * q / 2)
    return p / q if trusted else halving


def _is_zero(value: float) -> bool:
    """Within one unit in the last place of zero, as commons-math's Precision.equals has it."""
    return abs(value) <= 5e-324
