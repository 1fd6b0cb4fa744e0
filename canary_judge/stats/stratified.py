"""Raw values compared within intervals: what shakes both sides in an interval cancels, what shakes one side counts.

Each interval has one score: the rank sum of its canary values over what their share of the interval's ranks would be.
The scores depend on each other as intervals do, so their sum has the error of a dependent series, no less than that of
a permutation within intervals.

References:
    Lehmann, E. L. (1975), *Nonparametrics*, section 3.3 (ranks after alignment within strata).
    van Elteren, P. (1960), Bulletin of the International Statistical Institute 37, 351-361 (Wilcoxon by strata).
    Sokal (1997), see `canary_judge.stats.dependence` (tau of the scores).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from canary_judge.arrays import Float, Int, in_errors
from canary_judge.special import special
from canary_judge.stats.dependence import autocorrelation, autocorrelation_time
from canary_judge.stats.questions import Tails
from canary_judge.stats.rank import ranks_of

__all__ = ["FEWEST_STRATA", "StratifiedRanks", "stratified_ranks"]

# Of fewer intervals the scores do not tell how they depend on each other.
FEWEST_STRATA = 10
_SPARSE = 10


class StratifiedRanks(NamedTuple):
    """A rank comparison within intervals.

    Attributes:
        tails: Both one-sided p-values.
        tau: Autocorrelation time of the scores, in intervals.
        intervals: Intervals with both sides, over the autocorrelation time of their scores.
        design_effect: Variance of the sum of the scores over that of independent values; at least 1.
    """

    tails: Tails
    tau: float
    intervals: float
    design_effect: float


def stratified_ranks(
    *, baseline: Float, canary: Float, intervals: tuple[Int, Int], tau: float | None = None
) -> StratifiedRanks | None:
    """Compare raw values within their intervals; None where fewer than 10 intervals have values of both sides.

    Args:
        baseline: Shape (n_b,), finite.
        canary: Shape (n_c,), finite.
        intervals: The interval of each value of the baseline and of the canary.
        tau: Autocorrelation time of the scores, where a longer record has told it.

    Examples:
        >>> minute = np.repeat(np.arange(30), 4)
        >>> swing = np.repeat(np.sin(np.arange(30.0)), 4)
        >>> wave = np.sin(np.arange(120.0) * 2.4)
        >>> found = stratified_ranks(baseline=swing + 0.1 * wave, canary=swing + 0.1 * wave[::-1] + 0.1,
        ...                          intervals=(minute, minute))
        >>> found.tails.above < 1e-6, found.intervals > 20
        (True, True)
    """
    ranks = ranks_of(np.concatenate([baseline, canary]))
    # centred, so that squares keep their digits
    ranks -= ranks.mean()
    label = np.concatenate(intervals)
    label -= label.min()  # numbers without values are harmless, unless there are very many of them
    if label.max() > _SPARSE * label.size:
        _, label = np.unique(label, return_inverse=True)
    canary_only, size = slice(baseline.size, None), int(label.max()) + 1

    def summed(weights: Float, these: slice = slice(None)) -> Float:
        return np.bincount(label[these], weights=weights, minlength=size).astype(np.float64)

    number, mine = (np.bincount(label[these], minlength=size).astype(float) for these in (slice(None), canary_only))
    both = (mine > 0) & (mine < number)
    if np.count_nonzero(both) < FEWEST_STRATA:
        return None
    total, squares, own = summed(ranks)[both], summed(ranks**2)[both], summed(ranks[canary_only], canary_only)[both]
    number, mine = number[both], mine[both]
    scores = own - mine * total / number
    chance = mine * (number - mine) / (number * (number - 1)) * (squares - total**2 / number)
    count, independent = scores.size, float(np.maximum(chance, 0.0).sum())
    spread = scores - scores.mean()
    if tau is None:
        tau = float(autocorrelation_time(autocorrelation(spread[None, :]), np.array([count]))[0])
    tau = min(tau, count / 2)
    variance = max(float((spread**2).sum()) * count / (count - 1) * tau, independent)
    gap = float(scores.sum())
    t = in_errors(gap, math.sqrt(variance))
    df = max(count / tau - 1, 1.0)
    return StratifiedRanks(
        tails=Tails(above=float(special.stdtr(df, -t)), below=float(special.stdtr(df, t))),
        tau=tau,
        intervals=count / tau,
        design_effect=variance / independent if independent > 0 else 1.0,
    )
