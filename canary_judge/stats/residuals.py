"""Clumps that reach over several intervals: what is left of the split of the events, as a dependent series.

Retries come after a pause, so a clump of errors lies in several intervals, and the dispersion within intervals sees a
part of it only. What each interval's canary events deviate from their share then follows itself: its autocorrelation
time goes into the dispersion, and safety must also be shown by its low frequencies.

References:
    Box, G. E. P. & Pierce, D. A. (1970), doi:10.1080/01621459.1970.10481180 (portmanteau, here one-sided).
    Lazarus et al. (2018), see `canary_judge.stats.paired` (equal-weighted cosines).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from canary_judge.arrays import Float, in_errors
from canary_judge.special import special
from canary_judge.stats.counts import Counts, stratum_of
from canary_judge.stats.dependence import autocorrelation, autocorrelation_time
from canary_judge.stats.exact import rate_ratio_estimate
from canary_judge.stats.paired import ewc_error

__all__ = ["Residuals", "residual_time"]

# Of fewer intervals, and of fewer of them with canary events, nothing is known of how they follow each other.
_FEWEST, _FEWEST_WITH_EVENTS = 12, 5
# The first lags speak of clumps where their sum is so many standard errors above 0: else their noise costs power.
_LAGS, _STANDARD_ERRORS = 4, 1.645
_FEWEST_COSINES, _MOST_COSINES = 3, 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residuals:
    """What the split of the events leaves over, interval by interval, at the estimated ratio.

    Attributes:
        used: The intervals with exposure on both sides.
        rest: Canary events less their share, shape (n,).
        chance: The sum of squares of chance.
        correlation: Autocorrelation of the rest, shape (1, n).
    """

    used: Counts
    rest: Float
    chance: float
    correlation: Float

    @classmethod
    def of(cls, counts: Counts) -> Residuals | None:
        """Of one entry per interval, in order of time; None where too few are known."""
        used = counts.exposed()
        hits = np.count_nonzero(used.events_canary)
        if used.events_canary.size < _FEWEST or hits < _FEWEST_WITH_EVENTS or not used.events_baseline.any():
            return None
        rest, chance = _left_over(used, _estimated(used))
        return cls(used=used, rest=rest, chance=chance, correlation=autocorrelation(rest[None, :]))

    @property
    def time(self) -> float:
        """Autocorrelation time of what is left over, in intervals; 1 where it is not seen to follow itself.

        Where less is left over than chance leaves, it is that much shorter: what hardly moves is no clump.

        Examples:
            >>> rng = np.random.default_rng(1)
            >>> calm, swing = rng.poisson(20, 60).astype(float), np.repeat(rng.poisson(20, 12), 5).astype(float)
            >>> one = Counts(events_baseline=calm, exposure_baseline=np.full(60, 1e3),
            ...              events_canary=swing, exposure_canary=np.full(60, 1e3))
            >>> Residuals.of(one).time > 3
            True
        """
        if self.correlation[0, 1 : _LAGS + 1].sum() <= _STANDARD_ERRORS * math.sqrt(_LAGS / self.rest.size):
            return 1.0
        return max(self._tau() * min(float((self.rest**2).sum()) / self.chance, 1.0), 1.0)

    def _tau(self) -> float:
        return float(autocorrelation_time(self.correlation, np.array([self.rest.size]))[0])

    def error(self) -> tuple[float, int]:
        """Standard error of the mean of the rest by its low frequencies, and its degrees of freedom.

        At the estimated ratio: away from it the residuals follow the traffic, which is no clump.
        """
        cosines = int(np.clip(round(self.rest.size / (4 * self._tau())), _FEWEST_COSINES, _MOST_COSINES))
        return ewc_error(self.rest, count=cosines)

    def within(self, ratio: float, *, upward: bool, error: tuple[float, int]) -> float:
        """The p-value of "the ratio of rates is beyond this one", by low frequencies of the split.

        Args:
            ratio: Canary / baseline at the margin.
            upward: The margin is an upper one.
            error: What `error` gave.
        """
        mean = float(_left_over(self.used, ratio)[0].mean())
        size, df = error
        t = in_errors(mean, size)
        return float(special.stdtr(df, t if upward else -t))


def residual_time(counts: Counts) -> float:
    """`Residuals.time` of these intervals; 1 where too few are known."""
    found = Residuals.of(counts)
    return 1.0 if found is None else found.time


def _left_over(used: Counts, ratio: Float | float) -> tuple[Float, float]:
    """Canary events less their share at a ratio, and the sum of squares of chance."""
    odds = used.exposure_canary / used.exposure_baseline * ratio
    share, events = odds / (1 + odds), used.events_canary + used.events_baseline
    return np.asarray(used.events_canary - share * events), float((events * share * (1 - share)).sum())


def _estimated(counts: Counts) -> Float:
    """The ratio of rates of each interval, shape (n,): of its stratum, where strata are long enough to tell clumps.

    A weight that is changed may change the ratio, and that is no clump.
    """
    labels = stratum_of(counts)
    pooled = rate_ratio_estimate(counts) or 1.0
    ratios = np.full(labels.size, pooled)
    if np.bincount(labels).min() >= _FEWEST:
        for label in range(labels.max() + 1):
            ratios[labels == label] = rate_ratio_estimate(counts.select(labels == label)) or pooled
    return ratios
