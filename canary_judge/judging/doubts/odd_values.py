"""What is odd about the values of both sides: gaps of one of them, a side that stands still, another unit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import timedelta

import numpy as np

from canary_judge.arrays import Bool, Float, Int, distinct, median
from canary_judge.config.metrics import Metric
from canary_judge.results import Harm
from canary_judge.samples import RawData
from canary_judge.samples.raw import http_statuses, other_unit, zeros_alone
from canary_judge.stats.exact import binomial_tails
from canary_judge.stats.margins import Margin
from canary_judge.stats.paired import unsettled
from canary_judge.stats.rank import ranks_of

__all__ = [
    "beyond_all",
    "drifts",
    "far_better",
    "frozen",
    "heavy_tail",
    "implausible",
    "not_settled",
    "one_sided",
    "run_at_the_end",
    "stands_still",
    "stuck",
]

# So many equal values in a row are no chance where others differ.
_FEWEST_STILL = 8
# Whole numbers below are round ones.
_FEW_DIGITS, _A_MEGABYTE, _PAGES = 1000, 2.0**20, 2.0**16
# A larger share of negative values on one side alone is a code for something else.
_MOST_NEGATIVE, _BY_CHANCE = 0.01, 1e-3
# A margin that is so many times what was ever seen is one of another unit.
_FAR, _FAR_LIMIT = 5.0, 100.0
# So many different values are codes; of no more the others are grades, as stars, each given so often on average; and a
# code is so many times their range away.
_MOST_CODES, _MOST_GRADES, _GRADED, _GRADES_AWAY = 3, 20, 5, 0.9
# A canary that is so many times better is no better one.
_IMPLAUSIBLE = 10.0
# Of the baseline's values, those of its tail; how many times as many of the canary's are a heavier one.
_TAILS, _HEAVIER, _ENOUGH_FOR_A_TAIL = (0.01, 0.001, 0.0), 3.0, 30
# Of a mean that is so many margins away less is asked of chance.
_MANY_MARGINS, _FAR_BY_CHANCE = 5.0, 1e-2
# What most values are like is no tail, and ranks see it.
_NO_TAIL = 0.3
# So far beyond all of the baseline's a value is one of another unit.
_FAR_BEYOND = 100.0
# So many independent values tell a trend of the canary's; a correlation so much larger is one, at 0.1 %.
_FEWEST_TO_DRIFT, _A_DRIFT, _SURELY_DRIFTS = 10, 0.15, 3.29
_NEARLY_ONE = 1 - 1e-9
# What percentages may all be below; a limit of shares is so many times what is seen; and what moved by so much of
# itself is no rate that stays where it is.
_A_PERMILLE, _FAR_PERCENT, _MOVED = 1e-3, 20.0, 0.1
_IN_PERCENT = re.compile(r"percent(?!ile)|(?<![a-z])pct(?![a-z])", re.IGNORECASE)


def one_sided(sides: tuple[Float, Float]) -> tuple[tuple[Float, Float, Int] | None, float]:
    """Both sides with the gaps of one of them, and their intervals; and what share of the intervals those gaps are.

    Between the first value of both and the silence of either: what comes before or after is no lost scrape.
    """
    present = [np.flatnonzero(~np.isnan(side)) for side in sides]
    index = np.arange(sides[0].size)
    inside = (index >= max(some[0] for some in present)) & (index <= min(some[-1] for some in present))
    missing = np.isnan(sides[0]), np.isnan(sides[1])
    some, lost = inside & ~(missing[0] & missing[1]), inside & (missing[0] ^ missing[1])
    if not lost.any():
        return None, 0.0
    return (sides[0][some], sides[1][some], index[some]), float(lost.sum() / some.sum())


def frozen(baseline: Float, canary: Float) -> str | None:
    """Why a side that stands still beside one that moves is no evidence.

    Not at a round number: 0, a limit, the size of a pool is where something may rest; nor at a whole one where it is
    the baseline, for what has settled rests beside what has just begun.
    """
    if stands_still(canary, baseline):
        return "the canary's value never changed while the baseline's did: a frozen exporter?"
    if stands_still(baseline, canary) and float(baseline[0]) != np.rint(baseline[0]):
        return "the baseline's value never changed while the canary's did: a stale export?"
    return None


def stands_still(side: Float, beside: Float) -> bool:
    """Whether a side has one value, no round one, where the other hardly takes a value twice."""
    if side.size < _FEWEST_STILL or (side != side[0]).any():
        return False
    return not _may_rest(float(side[0])) and distinct(beside).size > beside.size / 2


def _may_rest(value: float) -> bool:
    """Whether a level may be one at which something rests: a round number, or next to one."""
    return any(_round(value + off) for off in (-1, 0, 1))


def _round(value: float) -> bool:
    """Whether a number has few digits, in tens (250, 60000, 37.5) or in twos (512 MiB)."""
    if value != np.rint(value):
        return float(f"{value:.3g}") == value
    if abs(value) >= _A_MEGABYTE and not value % _PAGES:  # a heap is given out in pages
        return True
    for base in (10, 2):
        rest = abs(int(value))
        while rest >= _FEW_DIGITS and not rest % base:
            rest //= base
        if rest < _FEW_DIGITS:
            return True
    return False


def beyond_all(
    baseline: Float, canary: Float, margin: Margin | None, limit: float | None, *, unit: str = ""
) -> str | None:
    """What is odd about an absolute margin, or a limit, that is many times what was ever seen."""
    largest = float(max(np.abs(baseline).max(), np.abs(canary).max()))
    absolute = None if margin is None or margin.relative is not None else margin.absolute
    if absolute is not None and unit == "%" and largest < min(absolute, 1.0):
        return "the margin is larger than the largest level that was seen: are these shares, and no percentages?"
    if absolute is not None and 0 < largest < absolute / _FAR:
        return "the margin is more than five times the largest level that was seen: is its unit right?"
    if limit is not None and 0 < largest < abs(limit) / _FAR_LIMIT:
        return "the limit is more than a hundred times the largest level that was seen: is its unit right?"
    return None


def implausible(metric: Metric, baseline: Float, canary: Float) -> Iterator[str]:
    """What forbids to believe that the canary is safe, by the values alone."""
    found = [
        other_unit(baseline, canary) or _far_better(baseline, canary, metric.harm),
        _far_beyond(baseline, canary, metric.harm),
        _negative_alone(baseline, canary),
        _shares_for_percents(metric, baseline, canary),
        None if metric.harm is Harm.DECREASE else zeros_alone(baseline, canary),
        _code_alone(baseline, canary, metric.harm),
    ]
    if metric.kind == "samples":
        found += [_never_falls(side, name) for side, name in ((baseline, "baseline"), (canary, "canary"))]
        found.append(http_statuses(np.concatenate([baseline, canary]), f"{metric.name} {metric.texts()}"))
    yield from (one for one in found if one is not None)


def _never_falls(values: Float, side: str) -> str | None:
    """Whether single values, in order of time, are those of a counter: requests do not take longer and longer."""
    if values.size < _ENOUGH_FOR_A_TAIL or distinct(values).size <= values.size / 2:
        return None
    if (np.diff(values) < 0).any():
        return None
    return f"the {side}'s values never fall, from {values[0]:,.4g} to {values[-1]:,.4g}: are they those of a counter?"


def _negative_alone(baseline: Float, canary: Float) -> str | None:
    """Whether only the canary has negative values, as -1 for none: they would count as its smallest ones."""
    negative = int((canary < 0).sum())
    share, chance = negative / canary.size, (canary.size / (canary.size + baseline.size)) ** negative
    if share <= _MOST_NEGATIVE or chance > _BY_CHANCE or baseline.min() < 0:
        return None
    if distinct(canary[canary < 0]).size > _MOST_CODES:  # a level that goes below 0 takes many values there
        return None
    return f"{share:.0%} of the canary's values are negative and none of the baseline's: a code for something else?"


def _code_alone(baseline: Float, canary: Float, harm: Harm) -> str | None:
    """Whether some of the canary's grades are one far above all others, as 99 for none: it would make it better."""
    usual = distinct(baseline)
    if harm is not Harm.DECREASE or not 1 < usual.size <= _MOST_GRADES or baseline.size < _GRADED * usual.size:
        return None
    beyond = canary[canary > usual[-1]]
    apart = usual[-1] + _GRADES_AWAY * (usual[-1] - usual[0])
    if not beyond.size or beyond.min() != beyond.max() or beyond[0] < apart or 2 * beyond.size > canary.size:
        return None
    share, chance = beyond.size / canary.size, (canary.size / (canary.size + baseline.size)) ** beyond.size
    if share <= _MOST_NEGATIVE or chance > _BY_CHANCE:
        return None
    return (
        f"{share:.0%} of the canary's values are {float(beyond[0]):g} and none of the baseline's, which are "
        f"{usual[0]:g} to {usual[-1]:g}: a code for something else?"
    )


def _far_beyond(baseline: Float, canary: Float, harm: Harm) -> str | None:
    """Whether some of the canary's values are far on the better side of all of the baseline's: of another unit."""
    if harm is Harm.EITHER or baseline.min() <= 0:
        return None
    lower = harm is Harm.INCREASE
    some = (canary > 0) & (canary < baseline.min() / _FAR_BEYOND) if lower else canary > baseline.max() * _FAR_BEYOND
    beyond = int(some.sum())
    share, chance = beyond / canary.size, (canary.size / (canary.size + baseline.size)) ** beyond
    if share <= _MOST_NEGATIVE or chance > _BY_CHANCE:
        return None
    which = "below a hundredth of the smallest" if lower else "beyond a hundred times the largest"
    return f"{share:.0%} of the canary's values are {which} of the baseline's: are they in another unit" + (
        ", or of requests that fail at once?" if lower else "?"
    )


def _far_better(baseline: Float, canary: Float, harm: Harm) -> str | None:
    """By the quartiles, of which all must say it: of what is now this and now that, the median alone jumps."""
    by_median = far_better(median(baseline), median(canary), harm)
    if by_median is None:
        return None
    quartiles = [np.quantile(side, (0.25, 0.75)).tolist() for side in (baseline, canary)]
    others = [far_better(one, other, harm) for one, other in zip(*quartiles, strict=True)]
    return by_median if all(others) else None


def far_better(baseline: float, canary: float, harm: Harm) -> str | None:
    """Whether a level is so much better that it is no better one: another unit, or one that grows with traffic."""
    if min(baseline, canary) <= 0 or harm is Harm.EITHER:  # either way it is harm then
        return None
    ratio = baseline / canary if harm is Harm.INCREASE else canary / baseline
    if ratio < _IMPLAUSIBLE:
        return None
    which = "below" if harm is Harm.INCREASE else "above"
    return (
        f"the canary's values are {ratio:,.0f} times {which} the baseline's: are they in another unit, or of a level "
        "that grows with traffic?"
    )


def heavy_tail(metric: Metric, baseline: Float, canary: Float) -> str | None:
    """Whether many of the canary's values are where few of the baseline's are, and take its mean beyond the margin.

    Ranks ask whether most values are worse, and some may be a hundred times as large. Those of a gauge that follow each
    other are one burst.
    """
    margin, upward = metric.parsed_margin(), metric.harm is Harm.INCREASE
    if margin is None or metric.harm is Harm.EITHER or min(baseline.size, canary.size) < _ENOUGH_FOR_A_TAIL:
        return None
    sign = 1.0 if upward else -1.0
    largest = float(max(np.abs(baseline).max(), np.abs(canary).max())) or 1.0
    usual, new = (float((side / largest).mean()) * largest for side in (baseline, canary))
    beyond, amount = sign * (new - usual), margin.amount(usual)
    if beyond <= amount:
        return None
    by_chance = _BY_CHANCE if beyond < _MANY_MARGINS * amount else _FAR_BY_CHANCE
    for tail in _TAILS:
        bound = float(np.quantile(sign * baseline, 1 - tail))
        for beyond_it in (np.greater, np.greater_equal):  # time-outs have one value, beyond which there is none
            theirs, ours = (
                _number_of(beyond_it(sign * side, bound), runs=metric.kind == "gauge") for side in (baseline, canary)
            )
            if not _HEAVIER * max(theirs, 1) / baseline.size <= ours / canary.size <= _NO_TAIL:
                continue
            if binomial_tails(ours, ours + theirs, canary.size / (canary.size + baseline.size)).above > by_chance:
                continue
            return (
                f"{ours / canary.size:.1%} of the canary's values are worse than all but {theirs / baseline.size:.1%} "
                f"of the baseline's, and its mean is {new:.3g} beside {usual:.3g}: ranks do not see such a tail"
                + ("; judge it with `kind: latency`" if metric.kind == "samples" else "")
            )
    return None


def _number_of(some: Bool, *, runs: bool) -> int:
    return int(some[:1].sum() + (some[1:] & ~some[:-1]).sum()) if runs else int(some.sum())


def _shares_for_percents(metric: Metric, baseline: Float, canary: Float) -> str | None:
    """Whether values that should be percentages are all shares, so that a margin or a limit is 100 times too wide."""
    largest = max(float(baseline.max()), float(canary.max()))
    if not _A_PERMILLE < largest <= 1 or min(float(baseline.min()), float(canary.min())) < 0:
        return None
    said = metric.unit == "%"
    if not said and not _IN_PERCENT.search(
        " ".join((metric.name, *(str(text) for _, text in metric.texts().values())))
    ):
        return None
    margin, limit = metric.parsed_margin(), metric.parsed_limit()
    absolute = None if margin is None or margin.relative is not None else margin.absolute
    usual, new = float(baseline.mean()), float(canary.mean())
    moved = {Harm.INCREASE: new - usual, Harm.DECREASE: usual - new}.get(metric.harm, abs(new - usual))
    # a rate may be below 1 %, and stays where it is
    factors = (1.0, _FAR) if moved > _MOVED * usual else (_FAR, _FAR_PERCENT)
    if (absolute or 0.0) <= factors[0] * largest and (limit or 0.0) <= factors[1] * largest:
        return None
    what, remedy = ("`unit` is %", "leave `unit` out") if said else ("its name says percent", "name it otherwise")
    return f"{what}, and no value is above {largest:.3g}: are these shares? Multiply them by 100, or {remedy}"


def stuck(baseline: Float, canary: Float) -> tuple[str, bool] | None:
    """Whether the canary's newest values are one that is repeated, after it had moved as the baseline still does.

    Returns:
        What is odd, and whether that is sure: what has just begun may have settled, as a heap does, at an odd number.
    """
    if canary.size != baseline.size or canary.size < 2 * _FEWEST_STILL or canary[-1] != canary[-_FEWEST_STILL]:
        return None
    last = run_at_the_end(canary)
    if last < _FEWEST_STILL or _may_rest(float(canary[-1])):
        return None
    before, beside = canary[:-last], baseline[-last:]
    if distinct(beside).size <= beside.size / 2 or distinct(before).size <= before.size / 2:
        return None
    text = f"the canary's value has not changed in its last {last} intervals while the baseline's did: has it died?"
    return text, before.size >= _FEWEST_STILL


def run_at_the_end(values: Float) -> int:
    """How many of the newest values are equal; none where all are."""
    moves = values[1:] != values[:-1]
    return int(values.size - np.flatnonzero(moves)[-1] - 1) if moves.any() else 0


def not_settled(metric: Metric, differences: Float, *, interval: timedelta) -> str | None:
    """That the difference between the sides moves, and how fast.

    Args:
        metric: For its unit.
        differences: Canary minus baseline, one an interval, shape (n,); NaN where one of them is not known.
        interval: From one to the next.
    """
    moved = unsettled(differences[~np.isnan(differences)])
    if moved is None:
        return None
    pace = f"{moved * (timedelta(hours=1) / interval):+.3g} {metric.unit}".rstrip()
    return (
        f"the difference between the sides has not settled: it moves by {pace} an hour; a leak, or a warm-up (set "
        "`warmup`)?"
    )


def drifts(data: RawData, tau: float) -> bool:
    """Whether the canary's values follow time otherwise than the baseline's: their correlations (Spearman) differ.

    By Fisher's transform (1915, doi:10.2307/2331838), of as many independent values as the baseline's tau leaves.
    """
    seen, error = [], 0.0
    for values, interval in ((data.baseline, data.interval_baseline), (data.canary, data.interval_canary)):
        ranks, time = ranks_of(values), interval.astype(float)
        ranks, time = ranks - ranks.mean(), time - time.mean()
        spread = float(np.sqrt((ranks @ ranks) * (time @ time)))
        worth = values.size / tau - 3
        if spread == 0 or worth < _FEWEST_TO_DRIFT:
            return False
        seen.append(float(ranks @ time) / spread)
        error += 1 / worth
    apart = abs(float(np.subtract(*np.arctanh(np.clip(seen, -_NEARLY_ONE, _NEARLY_ONE)))))
    return abs(seen[1] - seen[0]) > _A_DRIFT and apart > _SURELY_DRIFTS * math.sqrt(error)
