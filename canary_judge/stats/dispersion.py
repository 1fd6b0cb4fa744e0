"""How much more counts vary than independent events would: clumps, instances that differ, moving rates.

References:
    McCullagh, P. & Nelder, J. A. (1989), *Generalized Linear Models*, section 4.5 (dispersion).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from canary_judge.arrays import Float
from canary_judge.special import special
from canary_judge.stats.counts import Counts, kept
from canary_judge.stats.exact import rate_ratio_estimate

__all__ = [
    "clump_size",
    "dispersion",
    "instance_dispersion",
    "late_dispersion",
    "needs_null",
    "own_dispersion",
    "split_dispersion",
]

# A dispersion is used only where it is significantly above 1, at this level: else its noise costs power on calm data.
_LEVEL = 0.05
_STANDARD_ERRORS = 1.645  # normal quantile of the same level
_FEWEST_INSTANCES = 3
# Standard deviations that some dozens of independent values reach over.
_RANGE = 4.5
# Mean square of the range of sums about their share, in units of the variance of the whole.
_OF_THE_SHARE = math.pi**2 / 6


def dispersion(counts: Counts, *, null: float = 0.0, between: float = 1.0) -> float:
    """Variance of the counts over that of independent events; at least 1.

    Three views, of which the largest counts. The split of the events between the sides, interval by interval. The
    baseline's instances against each other (`instance_dispersion`). And the baseline against itself one interval later,
    which has far more events than a small canary, but takes for clumps what shook both sides: so no more of it than
    the split, by what the canary's own intervals with events can rule out, leaves possible. Where the canary has no
    event, the split at the null would take each event of the baseline for a clump: only the baseline over time is left.

    Args:
        counts: One entry per interval.
        null: The ratio under test, as in `split_dispersion`.
        between: Dispersion between the instances of the baseline.

    Examples:
        >>> steady = np.full(30, 5.0)
        >>> dispersion(Counts(events_baseline=steady, exposure_baseline=steady * 100,
        ...                   events_canary=steady, exposure_canary=steady * 100))
        1.0
    """
    split = _Split.of(counts, null=null) if _with_events(counts).events_canary.any() else _Split()
    later = _over_time(counts)
    if later > split.dispersion and split.hits and split.expected > 0:
        # the largest dispersion with which so even a split of so many intervals is not yet surprising
        worst = split.hits / float(special.chdtri(split.hits, 1 - _LEVEL))
        later = min(later, max(split.observed / split.expected, 1.0) * worst)
    return max(split.dispersion, later, between)


def needs_null(counts: Counts) -> bool:
    """Whether the dispersion depends on the ratio under test: only the canary has events, and the split tells none."""
    used = _with_events(counts)
    return bool(used.events_canary.any() and not used.events_baseline.any())


def clump_size(phi: float) -> float:
    """Events of a clump, on average, at this dispersion: of geometric sizes with mean m it is 2 m - 1.

    There must be enough clumps, and the dispersion counts too few of them: large ones weigh by their square.

    Examples:
        >>> clump_size(1.0), clump_size(9.0)
        (1.0, 5.0)
    """
    return (phi + 1) / 2


def instance_dispersion(events: Float, exposure: Float) -> float:
    """Variance of the instances' rates over that of independent events at one rate; at least 1.

    Pearson's statistic over its degrees of freedom, where it is significantly (5 %) above 1: instances that differ for
    good make a canary of few instances differ too.

    Args:
        events: Events of each instance, shape (k,).
        exposure: Exposure of each instance, shape (k,).

    Examples:
        >>> instance_dispersion(np.array([10.0, 12.0, 9.0]), np.full(3, 1000.0))
        1.0
        >>> round(instance_dispersion(np.array([100.0, 20.0, 90.0]), np.full(3, 1000.0)), 1)
        27.1
    """
    used = exposure > 0
    events, exposure = events[used], exposure[used]
    if events.size < _FEWEST_INSTANCES or events.sum() < events.size:
        return 1.0
    expected = events.sum() * exposure / exposure.sum()
    statistic, df = float(((events - expected) ** 2 / expected).sum()), events.size - 1
    return max(statistic / df, 1.0) if special.chdtrc(df, statistic) < _LEVEL else 1.0


def late_dispersion(counts: Counts, *, tolerated: float = 0.0) -> float:
    """Variance of a sum of events that come some time after what they are a share of, over that of the share alone.

    A request is counted when it begins and its event when it ends. What is under way at the beginning and at the end
    of the window makes the sums differ, with a variance of twice that of the number under way. The sum of what came
    less its share, over time, strays from 0 by that number as well: its range over the window is about 4.5 of the
    number's standard deviations (Tippett 1925, of 40 to 60 independent values), beside that of the share itself (Feller
    1951). Of the baseline, for a canary that breaks strays, too.

    Args:
        counts: One entry per interval, as they came.
        tolerated: Change of the share that is tested: where the share is nearly all, or nothing, it is one of this
            size whose variance counts.

    Returns:
        At least 1; 1 where no interval has more events than exposure, so that nothing is seen to come late.

    References:
        Tippett, L. H. C. (1925), doi:10.1093/biomet/17.3-4.364 (range of normal samples);
        Feller, W. (1951), doi:10.1214/aoms/1177729589 (range of sums about their share: its mean square is pi^2 / 6).

    Examples:
        >>> n, under_way = np.full(40, 100.0), np.random.default_rng(1).poisson(9, 41)
        >>> swing = 97.0 + np.diff(under_way)
        >>> one = Counts(events_baseline=swing, exposure_baseline=n, events_canary=swing, exposure_canary=n)
        >>> late_dispersion(one)  # 1 + 2 * 9 / (4000 * 0.97 * 0.03) is 1.15, which the share's own range hides
        1.0
    """
    sides = (counts.events_baseline, counts.exposure_baseline), (counts.events_canary, counts.exposure_canary)
    events, exposure = sides[0]
    half = events.size // 2
    if not exposure[half:].any() or not any((one > of).any() for one, of in sides):
        return 1.0
    # where all began in the window nothing had come at first, on either side
    reach = min(_reach(events, exposure), _reach(events[half:], exposure[half:]))
    total = float(exposure.sum())
    share = min(float(events.sum()) / total, 1.0)
    variance = total * max(share * (1 - share), tolerated * (1 - tolerated))
    under_way = max(reach**2 - _OF_THE_SHARE * total * share * (1 - share), 0.0) / _RANGE**2
    return 1 + 2 * under_way / max(variance, 1.0)


def _reach(events: Float, exposure: Float) -> float:
    """How far the sum of events strays from its share of the exposure."""
    strayed = np.cumsum(events - events.sum() / exposure.sum() * exposure)
    return max(float(strayed.max()), 0.0) - min(float(strayed.min()), 0.0)


def split_dispersion(counts: Counts, *, null: float = 0.0) -> float:
    """Variance of the split of events between the sides, over that of independent events; at least 1.

    Squared deviations of each interval's canary events from their share of all its events, added up and divided by
    the sum of their binomial variances: the ratio by which the variance of the canary's total is larger. A rate that
    both sides share may move as it likes, only clumps that hit one side show. It is used only where it is
    significantly (5 %) above 1, for else its noise would cost power on healthy data.

    Args:
        counts: One entry per interval.
        null: The ratio under test, which takes the place of the estimated one where a side had no event: clumps
            must not go unseen just because none of them hit the canary.

    Examples:
        >>> steady = np.full(30, 5.0)
        >>> split_dispersion(Counts(events_baseline=steady, exposure_baseline=steady * 100,
        ...                         events_canary=steady, exposure_canary=steady * 100))
        1.0
    """
    return _Split.of(counts, null=null).dispersion


def own_dispersion(counts: Counts) -> float:
    """Variance of the canary's events per interval over that of independent ones at one rate; at least 1."""
    used = counts.select(counts.exposure_canary > 0)
    events, exposure = used.events_canary, used.exposure_canary
    if events.size < 2 or events.sum() == 0:
        return 1.0
    expected = events.sum() * exposure / exposure.sum()
    statistic = float(((events - expected) ** 2).sum() / expected.mean()) / (events.size - 1)
    noise = np.sqrt(2 / (events.size - 1) * (1 + 1 / (2 * expected.mean())))
    return statistic if statistic > 1 + _STANDARD_ERRORS * noise else 1.0


@kept
def _over_time(counts: Counts) -> float:
    """Of the baseline against itself one interval later."""
    return split_dispersion(counts.over_time(), null=1.0)


def _with_events(counts: Counts) -> Counts:
    """Intervals with events, and with exposure on both sides."""
    used = counts.exposed()
    part = _part_with_events(used)
    return used if part is None else part


@kept
def _part_with_events(used: Counts) -> Counts | None:
    """None where all have events."""
    events = used.events_canary + used.events_baseline > 0
    return None if events.all() else used.select(events)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """How the events of each interval fall to the sides.

    Attributes:
        observed: Sum of squared deviations of the canary's events from their share.
        expected: What independent events would give.
        noise: Variance of that sum.
        hits: Intervals with canary events.
    """

    observed: float = 0.0
    expected: float = 0.0
    noise: float = 0.0
    hits: int = 0

    @classmethod
    def of(cls, counts: Counts, *, null: float) -> _Split:
        """At the estimated ratio, or at the null where there is none; nothing is known of one interval."""
        used = _with_events(counts)
        ratio = (rate_ratio_estimate(used) or null) if used.events_canary.size > 1 else None
        if not ratio:
            return cls()
        odds = used.exposure_canary / used.exposure_baseline * ratio
        share = odds / (1 + odds)
        events = used.events_canary + used.events_baseline
        spread = events * share * (1 - share)
        return cls(
            observed=float(((used.events_canary - events * share) ** 2).sum()),
            expected=float(spread.sum()) * (events.size - 1) / events.size,  # one degree of freedom went into the ratio
            noise=float((2 * spread**2 + spread * (1 - 6 * share * (1 - share))).sum()),
            hits=int(np.count_nonzero(used.events_canary)),
        )

    @property
    def dispersion(self) -> float:
        """Observed over expected, where that is significantly above 1."""
        if self.expected <= 0 or self.observed - self.expected <= _STANDARD_ERRORS * math.sqrt(max(self.noise, 0.0)):
            return 1.0
        return max(self.observed / self.expected, 1.0)
