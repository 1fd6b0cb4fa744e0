"""How many samples a comparison needs: planned sample sizes, each for a one-sided test.

References:
    Happ, M., Bathke, A. C. & Brunner, E. (2019), doi:10.1002/sim.7983 (rank tests).
    Fleiss, J. L. (1981), *Statistical Methods for Rates and Proportions*, section 3.2.
    Noether, G. E. (1987), doi:10.1080/01621459.1987.10478478.
"""

from __future__ import annotations

import math

import numpy as np

from canary_judge.arrays import Float, moved_onto, variance
from canary_judge.results import Harm
from canary_judge.special import special
from canary_judge.stats.margins import Margin
from canary_judge.stats.questions import directions
from canary_judge.stats.rank import ranks_of
from canary_judge.stats.score import FREQUENT

__all__ = [
    "by_student",
    "limit_sample_size",
    "margin_sample_size",
    "proportions_sample_size",
    "rank_sample_size",
    "rate_ratio_events",
    "share_ratio_trials",
    "sign_sample_size",
    "t_sample_size",
    "well_within",
]

# Of a fixed point that is found at once.
_ROUNDS = 8


def rank_sample_size(*, baseline: Float, shifted: Float, alpha: float, power: float) -> float | None:
    """Values per side with which a one-sided rank test tells `shifted` from `baseline`.

    Args:
        baseline: Shape (n,), a sample of the baseline.
        shifted: Shape (m,), the baseline as it would look at the margin.
        alpha: One-sided level.
        power: Wanted power.

    Returns:
        Values per side, not rounded; None when the two cannot be told apart by ranks at any size.

    Examples:
        >>> scores = special.ndtri((np.arange(200) + 0.5) / 200)
        >>> round(rank_sample_size(baseline=scores, shifted=scores + 1, alpha=0.02, power=0.8), 3)
        18.516
    """
    n, m = baseline.size, shifted.size
    if n < 2 or m < 2:
        return None
    pooled = ranks_of(np.concatenate([shifted, baseline]))
    place_shifted = pooled[:m] - ranks_of(shifted)
    place_baseline = pooled[m:] - ranks_of(baseline)
    effect = float(place_shifted.sum()) / m / n
    if abs(effect - 0.5) < 1e-9:
        return None
    overall = math.sqrt(float(((pooled - (n + m + 1) / 2) ** 2).sum()) / (n + m) ** 3)
    spread = (variance(place_shifted) / n**2 + variance(place_baseline) / m**2) / 2
    quantiles = overall * float(special.ndtri(1 - alpha)) + float(special.ndtri(power)) * math.sqrt(spread)
    return quantiles**2 / (0.25 * (effect - 0.5) ** 2) / 2


def margin_sample_size(*, baseline: Float, margin: Margin, harm: Harm, alpha: float, power: float) -> float | None:
    """Values per side with which ranks show that a harmless canary is within the margin, in each harmful direction.

    Args:
        baseline: Shape (n,), a sample of the baseline.
        margin: Largest tolerated degradation.
        harm: The harmful direction.
        alpha: One-sided level.
        power: Wanted power.

    Returns:
        Values per side; None when the baseline looks the same with and without the margin.
    """
    shifted = (
        moved_onto(margin.shifted(baseline, upward=upward), baseline, before=baseline) for upward in directions(harm)
    )
    sizes = [rank_sample_size(baseline=baseline, shifted=one, alpha=alpha, power=power) for one in shifted]
    known = [size for size in sizes if size is not None]
    return max(known) if len(known) == len(sizes) else None


def by_student(size: float, *, fewest: float, alpha: float, power: float) -> float:
    """A sample size of normal quantiles, for a test that is read with Student's t of as many values.

    Examples:
        >>> [round(by_student(size, fewest=6.0, alpha=0.05, power=0.97), 1) for size in (8.0, 800.0)]
        [10.2, 802.1]
    """
    usual = float(special.ndtri(1 - alpha) + special.ndtri(power))
    n = max(size, fewest)
    for _ in range(_ROUNDS):
        df = n - 1
        quantiles = float(special.stdtrit(df, 1 - alpha) + special.stdtrit(df, power))
        n = max(size * (quantiles / usual) ** 2, fewest)
    return n


def sign_sample_size(*, alpha: float, power: float) -> float:
    """Independent values with which a sign test tells 80 % below a limit from an even split.

    Examples:
        >>> round(sign_sample_size(alpha=0.05, power=0.8), 1)
        14.9
    """
    return float(((0.5 * special.ndtri(1 - alpha) + 0.4 * special.ndtri(power)) / 0.3) ** 2)


def well_within(limit: float, *, harm: Harm, proportion: bool) -> float:
    """The rate of a canary that keeps its limit with ease: half of an upper one, twice a lower one.

    Where twice a share is nearly all, or more, half as much is lacking.

    Examples:
        >>> well_within(0.05, harm=Harm.INCREASE, proportion=True)
        0.025
        >>> [round(well_within(limit, harm=Harm.DECREASE, proportion=True), 3) for limit in (0.005, 0.95)]
        [0.01, 0.975]
    """
    if harm is Harm.INCREASE:
        return limit / 2
    return min(2 * limit, (1 + limit) / 2) if proportion else 2 * limit


def limit_sample_size(*, limit: float, rate: float, proportion: bool, alpha: float, power: float) -> float:
    """Exposure with which a one-sided test tells a rate (or proportion) from a limit.

    Examples:
        >>> round(limit_sample_size(limit=0.05, rate=0.025, proportion=True, alpha=0.05, power=0.8))
        384
    """
    spread = [math.sqrt(p * (1 - p) if proportion else p) for p in (limit, rate)]
    quantiles = special.ndtri(1 - alpha) * spread[0] + special.ndtri(power) * spread[1]
    return float((quantiles / (limit - rate)) ** 2)


def proportions_sample_size(p_1: float, p_2: float, *, alpha: float, power: float) -> float:
    """Trials per side with which a one-sided test tells two proportions apart.

    Examples:
        >>> round(proportions_sample_size(0.1, 0.2, alpha=0.05, power=0.9), 2)
        216.5
    """
    middle = (p_1 + p_2) / 2
    null = special.ndtri(1 - alpha) * np.sqrt(2 * middle * (1 - middle))
    alternative = special.ndtri(power) * np.sqrt(p_1 * (1 - p_1) + p_2 * (1 - p_2))
    return float(((null + alternative) / (p_1 - p_2)) ** 2)


def t_sample_size(delta: float, *, sd: float, alpha: float, power: float) -> float:
    """Values per side with which a one-sided t test sees a difference `delta` of means.

    Examples:
        >>> round(t_sample_size(1.5, sd=1.0, alpha=0.025, power=0.9), 3)
        10.401
    """

    def power_at(n: float) -> float:
        df = 2 * (n - 1)
        return 1 - float(special.nctdtr(df, np.sqrt(n / 2) * delta / sd, special.stdtrit(df, 1 - alpha)))

    low, high = 1 + 1e-6, 2.0
    while power_at(high) < power:
        high *= 2
        if high > 1e7:
            return high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if power_at(middle) < power else (low, middle)
    return (low + high) / 2


def share_ratio_trials(ratio: float, *, rate: float, canary_share: float, alpha: float, power: float) -> float | None:
    """Canary trials with which the score test rules out (or shows) a ratio of frequent events when the truth is 1.

    Where events are frequent what they leave of the total tells more than they do: of 99.9 % successes a fall to 99 %
    is ten times the failures. None where they are rare, and events are what counts (`rate_ratio_events`).

    References:
        Farrington, C. P. & Manning, G. (1990), doi:10.1002/sim.4780091208, section 4 (the null's own variance).

    Args:
        ratio: Canary / baseline at the margin.
        rate: Events out of the total, 0 to 1.
        canary_share: Of all trials.
        alpha: One-sided level.
        power: Wanted power.

    Examples:
        >>> round(share_ratio_trials(0.99, rate=0.999, canary_share=0.05, alpha=0.05, power=0.8))
        381
        >>> share_ratio_trials(1.5, rate=0.001, canary_share=0.05, alpha=0.05, power=0.8) is None
        True
    """
    if not FREQUENT < rate < 1 or ratio <= 0 or ratio == 1:
        return None
    of_baseline = ratio**2 * canary_share / (1 - canary_share)
    baseline = rate / (1 + canary_share * (ratio - 1))
    canary = min(ratio * baseline, 1.0)
    null = special.ndtri(1 - alpha) * np.sqrt(canary * (1 - canary) + of_baseline * baseline * (1 - baseline))
    alternative = special.ndtri(power) * np.sqrt(rate * (1 - rate) * (1 + of_baseline))
    return float(((null + alternative) / (rate * (ratio - 1))) ** 2)


def rate_ratio_events(ratio: float, *, canary_share: float, alpha: float, power: float) -> float:
    """Canary events with which a one-sided test rules out (or shows) a rate ratio when the truth is 1.

    The variance of the log ratio is 1/canary events + 1/baseline events.

    Examples:
        >>> round(rate_ratio_events(1.5, canary_share=0.0, alpha=0.05, power=0.8))
        38
    """
    quantiles = special.ndtri(1 - alpha) + special.ndtri(power)
    return float((quantiles / np.log(ratio)) ** 2 / (1 - canary_share))
