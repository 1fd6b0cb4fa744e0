"""Raw values: every one of them, in order of time."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from canary_judge.arrays import Bool, Float, Int, median
from canary_judge.results import Quality, Side, Sides
from canary_judge.samples.data import MetricSamples, RawData
from canary_judge.samples.grid import Parts, coverage, intervals, late, pause, refuse_huge
from canary_judge.series import Result
from canary_judge.stats.rank import ranks_of

__all__ = ["far_faster", "http_statuses", "other_unit", "raw_samples", "zeros_alone"]

# Of so many series their levels may differ; of so many values that is told, where so many say no more than one, and
# levels vary so many times as much as values within.
_FEWEST_SERIES, _LOOKED_AT, _MUCH_ALIKE, _SURELY_ALIKE = 5, 20_000, 2.0, 4.0
# Factors by which units differ, and how near a ratio comes to one by no chance.
_MUCH_FASTER = 100.0
# Zeros of one side alone, as a share and by chance.
_MOST_ZEROS, _ZEROS_BY_CHANCE = 0.01, 1e-3
# Of the median, what the smallest values are beyond where zeros do not belong to them.
_DETACHED = 0.2
_UNITS, _NEAR, _ALIKE = (1e3, 2.0**10, 1e6, 2.0**20, 1e9), 1.3, 4.0
# Answers of HTTP, those of proxies among them; of fewer values nothing is said.
_OF_HTTP = (*range(200, 209), *range(300, 309), *range(400, 432), 451, 499, *range(500, 512), *range(520, 527))
_STATUSES = frozenset(map(float, _OF_HTTP))
_FEWEST_STATUSES = 100
_STATUS_NAME = re.compile(r"status|code|http|response|(?<![a-z])ok(?![a-z])|success", re.IGNORECASE)


class _Values(NamedTuple):
    """One side: finite values, the interval of each, the intervals with one, and how many were not finite."""

    values: Float
    interval: Int
    covered: Bool
    non_finite: int


def _read(parts: Parts, edges: Int, side: Side) -> _Values:
    series = parts.get(("value", side), Result()).series
    times = np.concatenate([one.timestamps for one in series] or [np.empty(0, dtype=np.int64)])
    points = np.concatenate([one.values for one in series] or [np.empty(0)])
    refuse_huge(points, side)
    order = np.argsort(times, kind="stable")
    interval, inside = intervals(times[order], edges)
    finite = np.isfinite(points[order])
    used = inside & finite
    return _Values(
        values=points[order][used],
        interval=interval[used],
        covered=np.bincount(interval[used], minlength=edges.size - 1) > 0,
        non_finite=int((inside & ~finite).sum()),
    )


def _alike(parts: Parts) -> str | None:
    """Whether the baseline's values are those of a few series, each of which keeps to a level of its own.

    Kish's design effect, 1 + (m - 1) rho, of the intraclass correlation of their ranks (one-way analysis of
    variance; Kish, L. 1965, *Survey Sampling*, section 5.4).
    """
    series = [one for one in parts.get(("value", Side.BASELINE), Result()).series if one.values.size]
    if len(series) < _FEWEST_SERIES:
        return None
    step = max(1, sum(one.values.size for one in series) // _LOOKED_AT)
    values = [one.values[::step][np.isfinite(one.values[::step])] for one in series]
    sizes = np.array([one.size for one in values], dtype=float)
    n, k = float(sizes.sum()), len(values)
    if n < 2 * k:
        return None
    ranks = ranks_of(np.concatenate(values))
    label = np.repeat(np.arange(k), sizes.astype(int))
    sums = np.bincount(label, weights=ranks, minlength=k)
    means = np.divide(sums, sizes, out=np.zeros(k), where=sizes > 0)
    between = float((sizes * (means - ranks.mean()) ** 2).sum()) / (k - 1)
    within = float(((ranks - means[label]) ** 2).sum()) / (n - k)
    each = (n - float((sizes**2).sum()) / n) / (k - 1)
    rho = (between - within) / (between + (each - 1) * within) if between > 0 else 0.0
    effect = 1 + (step * each - 1) * rho
    if effect < _MUCH_ALIKE or between < _SURELY_ALIKE * within:
        return None
    names = sorted({name for one in series for name in one.labels} - {"__name__", "job"})
    apart = next((name for name in names if len({one.labels.get(name) for one in series}) == k), "")
    by = f", `kind: gauge` with `by: {apart}`" if apart else ""
    return (
        f"the values of one series are alike ({k} series{f' by `{apart}`' if apart else ''}): {step * n:,.0f} of the "
        f"baseline's tell no more than {step * n / effect:,.0f} independent ones, and a lasting difference of healthy "
        f"ones cannot be told from an effect; judge each one's level{by}"
    )


def raw_samples(parts: Parts, edges: Int) -> MetricSamples:
    """The values of both sides."""
    read = Sides.of(lambda side: _read(parts, edges, side))
    total = read.baseline.values.size + read.canary.values.size
    series = Sides.of(lambda side: len(parts.get(("value", side), Result()).series))
    quality = Quality(
        coverage_baseline=coverage(read.baseline.covered),
        coverage_canary=coverage(read.canary.covered),
        silent_baseline=pause(read.baseline.covered),
        silent_canary=pause(read.canary.covered),
        late_baseline=late(read.baseline.covered),
        late_canary=late(read.canary.covered),
        non_finite=read.baseline.non_finite + read.canary.non_finite,
        non_finite_canary=read.canary.non_finite,
        canary_share=read.canary.values.size / total if total else None,
        series_baseline=series.baseline,
        series_canary=series.canary,
    )
    if not total:
        return MetricSamples(data=None, quality=quality)
    data = RawData(
        baseline=read.baseline.values,
        canary=read.canary.values,
        interval_baseline=read.baseline.interval,
        interval_canary=read.canary.interval,
    )
    alike = _alike(parts)
    return MetricSamples(data=data, quality=quality, warnings=() if alike is None else (alike,))


def far_faster(baseline: Float, canary: Float) -> str | None:
    """Whether latencies are in another unit, however much slower they have become."""
    levels = [float(np.median(side)) for side in (baseline, canary)]
    if min(levels) <= 0 or levels[0] < _MUCH_FASTER * levels[1]:
        return None
    return (
        f"the canary's values are about {levels[0] / levels[1]:,.0f} times below the baseline's: are they in another "
        "unit?"
    )


def zeros_alone(baseline: Float, canary: Float) -> str | None:
    """Whether only the canary has zeros, far from all other values: as time-outs that took no time."""
    zeros = int((canary == 0).sum())
    share, chance = zeros / canary.size, (canary.size / (canary.size + baseline.size)) ** zeros
    if share <= _MOST_ZEROS or chance > _ZEROS_BY_CHANCE or baseline.min() <= 0:
        return None
    others = np.concatenate([baseline, canary[canary != 0]])
    if others.min() < 0 or np.quantile(others, 0.01) < _DETACHED * np.median(others):
        return None
    return (
        f"{share:.0%} of the canary's values are 0 and none of the baseline's is even near: a code for something else?"
    )


def http_statuses(values: Float, name: str) -> str | None:
    """Why values are statuses of HTTP, whose mean and ranks say nothing; None where they are not.

    200 is the usual one, others say what went wrong, and some are no round number, or the name says what they are.

    Args:
        values: Of both sides, of any shape; NaN marks what is not known.
        name: Of the metric, or of the column.

    Examples:
        >>> http_statuses(np.array([200.0, 200.0, 503.0] * 40), "v")
        'the values are 200, 503: are these statuses of HTTP? Give 1 where it went well and 0 where not'
    """
    known = values[~np.isnan(values)]
    different, number = np.unique(known, return_counts=True)
    if known.size < _FEWEST_STATUSES or different[0] < 200 or not _STATUSES.issuperset(different.tolist()):
        return None
    round_ones = not (different % 100).any() and _STATUS_NAME.search(name) is None
    if different.size < 2 or round_ones or different[-1] < 400 or different[np.argmax(number)] != 200:
        return None
    shown = ", ".join(f"{one:g}" for one in different[:6])
    return f"the values are {shown}: are these statuses of HTTP? Give 1 where it went well and 0 where not"


def other_unit(baseline: Float, canary: Float) -> str | None:
    """Whether the sides are so far apart as units are: seconds and milliseconds, bytes and megabytes."""
    levels = [median(side) for side in (baseline, canary)]
    if min(levels) <= 0:
        return None
    ratio = max(levels) / min(levels)
    for unit in _UNITS:
        if 1 / _NEAR < ratio / unit < _NEAR and _throughout(baseline, canary, unit):
            which = "below" if levels[1] < levels[0] else "above"
            return f"the canary's values are about {unit:,.0f} times {which} the baseline's: are they in another unit?"
    return None


def _throughout(baseline: Float, canary: Float, unit: float) -> bool:
    """Whether the quartiles are so far apart, too: of what is now this and now that, the median alone may jump."""
    ends = [np.quantile(side, (0.25, 0.75)) for side in (baseline, canary)]
    if min(float(one.min()) for one in ends) <= 0:
        return False
    ratios = np.exp(np.abs(np.log(ends[0]) - np.log(ends[1]))) / unit
    return bool((ratios > 1 / _ALIKE).all() and (ratios < _ALIKE).all())
