"""Rates over past canaries or replays: intervals, what clusters of them are worth, and two judges on the same ones.

References:
    Clopper, C. J. & Pearson, E. S. (1934), doi:10.1093/biomet/26.4.404 (interval of a proportion).
    Korn, E. L. & Graubard, B. I. (1998), Survey Methodology 24, 193-201 (the same with an effective number).
    Owen, D. B. (1956), doi:10.1214/aoms/1177728074 (the T function: two correlated normal scores).
    Wilks, S. S. (1941), doi:10.1214/aoms/1177731788 (tolerance limits by order statistics).
    McNemar, Q. (1947), doi:10.1007/BF02295996 (paired proportions; here exact, by the binomial).
    Tango, T. (1998), doi:10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B (their difference).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from canary_judge.arrays import Float, Int, in_errors, variance
from canary_judge.special import special
from canary_judge.stats.exact import binomial_tails

__all__ = [
    "FEWEST_DISCORDANT",
    "FEWEST_PAIRS",
    "clopper_pearson",
    "effective_number",
    "independent_to_show",
    "mcnemar",
    "noise_factor",
    "planned_power",
    "restricted_difference",
    "tango",
    "tolerance_rank",
]

# Of fewer canaries on which two judges differ, no outcome is significant at 5 %: 2 / 2^5 is .0625.
FEWEST_DISCORDANT = 6
# Of fewer pairs a t interval of times to a decision says nothing.
FEWEST_PAIRS = 20
_STEPS = 60


def clopper_pearson(hits: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion; hits and n may be those of an effective number, which are not whole.

    Raises:
        ValueError: The hits are not between 0 and n, or n is not positive.

    References:
        Clopper, C. J. & Pearson, E. S. (1934), doi:10.1093/biomet/26.4.404.

    Examples:
        >>> [round(end, 4) for end in clopper_pearson(0, 14)]
        [0.0, 0.2316]
    """
    if not (n > 0 and 0 <= hits <= n):
        raise ValueError(f"{hits:g} of {n:g} is no share; give hits between 0 and a positive number")
    tail = (1 - level) / 2
    low = float(special.betaincinv(hits, n - hits + 1, tail)) if hits > 0 else 0.0
    high = float(special.betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def independent_to_show(rate: float, level: float = 0.95) -> int:
    """How many independent trials without a single hit show that the rate is no higher.

    Examples:
        >>> independent_to_show(0.01), independent_to_show(0.05)
        (368, 72)
    """
    return math.ceil(math.log((1 - level) / 2) / math.log1p(-rate))


def effective_number(alarms: ArrayLike, scores: ArrayLike, clusters: ArrayLike, *, declared: float) -> float:
    """How many independent trials the trials of clusters are worth, that share their luck.

    The smaller of two. Korn and Graubard's, from the alarms. And that which the scores imply: their correlation within
    clusters (analysis of variance) gives that of two alarms (Owen's T). Without an alarm, or with nothing else, the
    alarms say nothing on clusters, and the scores decide.

    Args:
        alarms: Which trials raised an alarm, shape (m,).
        scores: A normal score of each, large where it was near an alarm, shape (m,).
        clusters: What each shares its luck with, shape (m,).
        declared: The rate of alarms that is promised.

    Returns:
        Between 1 and m; 1 of a single cluster, whose trials say nothing on how clusters differ.

    Examples:
        >>> luck = np.repeat(np.random.default_rng(1).normal(size=14), 20)
        >>> round(effective_number(luck > 2.3, luck, np.repeat(np.arange(14), 20), declared=0.01))
        14
    """
    hit, score = np.asarray(alarms, dtype=float), np.asarray(scores, dtype=float)
    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    k, m = int(place.max()) + 1, hit.size
    if k < 2:
        return 1.0
    if m == k:
        return float(m)
    size = np.bincount(place).astype(float)
    rate = float(hit.mean())
    correlation = _alarm_correlation(_within(score, np.asarray(place), size), min(max(rate, declared), 0.5))
    by_scores = m / (1 + (float((size**2).sum()) / m - 1) * max(correlation, 0.0))
    if rate in (0.0, 1.0):
        return by_scores
    sums = np.bincount(place, weights=hit - rate)
    design = max(k / (k - 1) * float((sums**2).sum()) / m / (rate * (1 - rate)), 1.0)
    quantiles = special.stdtrit(m - 1, 0.975) / special.stdtrit(k - 1, 0.975)
    return float(min(by_scores, m / design * quantiles**2, m))


def _within(scores: Float, place: Int, size: Float) -> float:
    """Correlation of scores within clusters of unequal size, by one-way analysis of variance; at least 0."""
    k, m = size.size, scores.size
    mean = np.bincount(place, weights=scores) / size
    typical = (m - float((size**2).sum()) / m) / (k - 1)
    between = float((size * (mean - scores.mean()) ** 2).sum()) / (k - 1)
    within = float(((scores - mean[place]) ** 2).sum()) / (m - k)
    if between + within <= 0:
        return 1.0
    return max((between - within) / (between + (typical - 1) * within), 0.0)


def _alarm_correlation(rho: float, rate: float) -> float:
    """Correlation of two one-sided alarms of this rate, whose normal scores have correlation rho."""
    rho = min(max(rho, 0.0), 1.0)
    both = rate - 2 * float(special.owens_t(float(special.ndtri(rate)), math.sqrt((1 - rho) / (1 + rho))))
    return (both - rate**2) / (rate * (1 - rate))


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p-value of "both judges have the same rate", from the canaries on which they differ.

    Examples:
        >>> mcnemar(6, 0), mcnemar(5, 0), mcnemar(0, 0)
        (0.03125, 0.0625, 1.0)
    """
    n = only_first + only_second
    return min(1.0, 2 * binomial_tails(min(only_first, only_second), n, 0.5).below) if n else 1.0


def tango(only_first: int, only_second: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of the difference of two judges' rates on the same n canaries.

    Examples:
        >>> [round(end, 4) for end in tango(12, 2, 30)]
        [0.0998, 0.5346]
    """
    z, difference = float(special.ndtri((1 + level) / 2)), (only_first - only_second) / n

    def score(at: float) -> float:
        b = (2 * n - only_first + only_second) * at - only_first - only_second
        shared = (math.sqrt(max(b * b + 8 * n * only_second * at * (1 - at), 0.0)) - b) / (4 * n)
        spread, distance = n * (2 * shared + at * (1 - at)), only_first - only_second - n * at
        return in_errors(distance, math.sqrt(spread) if spread > 1e-15 else 0.0)

    def end(sign: int) -> float:
        far, near = -sign * (1 - 1e-9), difference
        for _ in range(_STEPS):
            middle = (far + near) / 2
            far, near = (middle, near) if sign * score(middle) > z else (far, middle)
        return near

    return end(1), end(-1)


def restricted_difference(
    first: Sequence[float], second: Sequence[float], ends: Sequence[float], level: float = 0.95, *, worth: float = 1.0
) -> tuple[float, tuple[float, float] | None]:
    """Mean difference of two judges' times to a decision on the same canaries, undecided ones until their end.

    Times that are left out because a judge did not decide would flatter the slower one.

    Args:
        first: Seconds of one judge, shape (n,).
        second: Those of the other.
        ends: When each canary ended.
        level: Of the interval.
        worth: How many independent pairs each pair is worth, for canaries that share their luck.

    Returns:
        The mean, and its t interval; None of fewer than 20 independent pairs.

    Examples:
        >>> restricted_difference([5.0, 9.0], [7.0, float("inf")], [10.0, 10.0])
        (-1.5, None)
    """
    limit = np.asarray(ends, dtype=float)
    gap = np.minimum(np.asarray(first, dtype=float), limit) - np.minimum(np.asarray(second, dtype=float), limit)
    mean = float(gap.mean())
    pairs = gap.size * worth
    if pairs < FEWEST_PAIRS:
        return mean, None
    half = float(special.stdtrit(pairs - 1, (1 + level) / 2)) * math.sqrt(variance(gap, less=1) / pairs)
    return mean, (mean - half, mean + half)


def tolerance_rank(n: float, share: float, level: float = 0.95) -> tuple[int, float]:
    """Which of n sorted values at least a share of the future stays below, whatever the distribution (Wilks 1941).

    Returns:
        The rank, from 1, and how sure that is. Of too few values it is the largest, with less confidence than asked.

    Examples:
        >>> tolerance_rank(29, 0.9)[0], tolerance_rank(14, 0.9)[0], round(tolerance_rank(14, 0.9)[1], 2)
        (29, 14, 0.77)
    """
    count = max(math.floor(n), 1)
    ranks = np.arange(1, count + 1)
    sure = special.betainc(count - ranks + 1, ranks, 1 - share)  # P(Beta(rank, n - rank + 1) >= share)
    good = np.flatnonzero(sure >= level)
    at = int(good[0]) if good.size else count - 1
    return int(ranks[at]), float(sure[at])


def noise_factor(scores: Sequence[float], worth: float, level: float = 0.95) -> tuple[float, float, float]:
    """How many times as far as they should normal scores scatter around 0, and its interval (chi-squared).

    A scale only: it says nothing on how often a score is far out.

    Examples:
        >>> [round(value, 2) for value in noise_factor([-2.0, 2.0] * 10, 20)]
        [2.0, 1.53, 2.89]
    """
    values = np.asarray(scores, dtype=float)
    square = float((values * values).mean())
    tail = (1 - level) / 2
    ends = [math.sqrt(worth * square / float(special.chdtri(worth, p))) for p in (tail, 1 - tail)]
    return math.sqrt(square), ends[0], ends[1]


def planned_power(errors: Sequence[float], effect: float, *, alpha: float) -> float:
    """Share of windows like these in which an effect would be found: each by its own standard error, then averaged.

    The power of the average window is not the average power: windows differ, and most of the power is that of the calm
    ones.

    Examples:
        >>> round(planned_power([0.05, 0.05, 0.9], 0.223, alpha=0.01), 2)
        0.66
    """
    own = np.asarray(errors, dtype=float)
    return float(special.ndtr(effect / own + special.ndtri(alpha)).mean())
