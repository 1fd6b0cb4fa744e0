"""Events out of an exposure, canary against baseline or against a limit: one planned look.

Rare events use the exact test that is conditional on all events, which needs no common rate over time; frequent
events of a proportion use the score test, because the conditional test wastes what the upper bound of a proportion
tells; absolute margins use Farrington-Manning.

References:
    See `canary_judge.stats.exact`, `canary_judge.stats.score` and `canary_judge.stats.dispersion`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from canary_judge.arrays import Float
from canary_judge.results import Comparison, Harm, LimitCheck, Scale
from canary_judge.special import special
from canary_judge.stats.counts import STRATUM_WIDTH, Counts, both_exposed, kept, strata, without_burst
from canary_judge.stats.dispersion import dispersion, needs_null, own_dispersion
from canary_judge.stats.exact import (
    SplitLaw,
    binomial_tails,
    deflated,
    rate_ratio_estimate,
    rate_ratio_interval,
    rate_ratio_p_values,
)
from canary_judge.stats.margins import Margin
from canary_judge.stats.questions import (
    AtMargin,
    Compared,
    Interval,
    Once,
    Question,
    Tails,
    ask,
    refuse_either,
    within,
    worse_at_all,
)
from canary_judge.stats.residuals import Residuals
from canary_judge.stats.score import FREQUENT, difference_interval, score_distance, score_p_values, score_ratio_interval

__all__ = ["CountTest", "compare_counts", "limit_counts", "margin_ruled_out", "p_at_least"]

# Of the distance between the distribution of a sum and the normal one.
_BERRY_ESSEEN = 0.56


class _Slow(NamedTuple):
    """What the split leaves over, and the error of its mean."""

    residuals: Residuals
    error: tuple[float, int]

    @classmethod
    def of(cls, residuals: Residuals | None) -> _Slow | None:
        """None where too few intervals are known."""
        return None if residuals is None else cls(residuals, residuals.error())


class _Pooled(NamedTuple):
    """Strata, and the law of their events, found when the exact test is asked of several of them."""

    strata: Counts
    law: Once[SplitLaw]

    @classmethod
    def of(cls, some: Counts) -> _Pooled:
        """Strata that are to be tested."""
        return cls(some, Once(lambda: SplitLaw.of(some)))

    @classmethod
    def calm(cls, counts: Counts) -> _Pooled | None:
        """Those of these intervals without a burst; None where there is none."""
        rest = without_burst(counts)
        return None if rest is None else cls.of(rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountTest:
    """The test that fits these events.

    Attributes:
        counts: One entry per interval.
        whole: All strata.
        calm: Without a burst, where there is one; found when safety is asked.
        total: All of them in one entry.
        scale: Of the effect.
        proportion: As in `compare_counts`.
        phi: Their dispersion.
        between: Dispersion between the instances of the baseline.
        by_null: The dispersion depends on the null.
        clumps: How many intervals clumps reach over; the dispersion has it.
        slow: What follows itself from interval to interval, found when it is asked for.
    """

    counts: Counts
    whole: _Pooled
    calm: Callable[[], _Pooled | None]
    total: Counts
    scale: Scale
    proportion: bool
    phi: float
    between: float
    by_null: bool
    clumps: float
    slow: Callable[[], _Slow | None]

    @classmethod
    def of(
        cls, counts: Counts, *, margin: Margin | None, proportion: bool, between: float, phi: float | None
    ) -> CountTest | None:
        """None without exposure on both sides in any interval."""
        grouped = strata(counts)
        if grouped.events_canary.size == 0:
            return None
        total = grouped.total()
        rest_of_split = Once(lambda: Residuals.of(counts))
        left = rest_of_split() if phi is None else None
        clumps = 1.0 if left is None else left.time
        return cls(
            counts=counts,
            whole=_Pooled.of(grouped),
            calm=Once(lambda: _Pooled.calm(counts)),
            total=total,
            scale=_scale(margin, _rate(total), proportion=proportion),
            proportion=proportion,
            phi=max(dispersion(counts) * clumps, between) if phi is None else phi,
            between=between,
            by_null=phi is None and needs_null(counts),
            clumps=clumps,
            slow=Once(lambda: _Slow.of(rest_of_split())),
        )

    def tested(self, margin: Margin | None) -> Margin | None:
        """The margin, where it can be put to the test: an absolute one of a rate cannot."""
        return margin if margin is not None and (margin.relative is not None or self.proportion) else None

    def worse_at_all(self, harm: Harm) -> float:
        """The p-value of "not worse"."""
        return worse_at_all(harm, self.ratio(1.0, self.whole))

    def unremarkable(self, margin: Margin | None, *, upward: bool) -> bool:
        """Whether the p-value of "harm at most the margin" (None: of "not worse") is surely at least a half.

        The median of a sum of binomials is its mean, rounded down or up (Jogdeo, K. & Samuels, S. M. 1968,
        doi:10.1214/aoms/1177698243), and the normal score of the score test is below 0 where its distance is.
        So a canary with no more events than are expected need not be tested where only small p-values matter.
        """
        if margin is None:
            return self._expected(1.0, upward=upward)
        tested = self.tested(margin)
        if tested is None:
            return True
        if tested.relative is not None and self._expected(tested.factor(upward=upward), upward=upward):
            return True
        if tested.absolute is None or not self.proportion:
            return False
        distance = score_distance(self.whole.strata, difference=tested.absolute if upward else -tested.absolute)
        return distance <= 0 if upward else distance >= 0

    def _expected(self, ratio: float, *, upward: bool) -> bool:
        """Whether the canary's events are no more (upwards) or no fewer than this ratio of rates lets expect."""
        some = self.whole.strata
        if ratio <= 0:
            return False
        if self.frequent:
            distance = score_distance(some, ratio=ratio)
            return distance <= 0 if upward else distance >= 0
        odds = some.exposure_canary / some.exposure_baseline * ratio
        canary, baseline = some.events_canary, some.events_baseline
        if canary.size > 1:  # as the law of several strata does
            canary, baseline = np.rint(canary), np.rint(baseline)
        mean, events = float((canary + baseline) @ (odds / (1 + odds))), float(canary.sum())
        return events <= mean if upward else events >= mean

    @property
    def rate(self) -> float:
        """The baseline's rate."""
        return _rate(self.total)

    @property
    def frequent(self) -> bool:
        """The events are a large share of the exposure."""
        return _is_frequent(self.total, proportion=self.proportion)

    def ratio(self, null: float, some: _Pooled) -> Tails:
        """Against a ratio of rates."""
        if null <= 0:  # nothing can be that low, so all is above it
            return Tails(above=0.0, below=1.0)
        if self.frequent:
            return score_p_values(some.strata, ratio=null, phi=self._dispersion(null), guarded=True)
        law = some.law() if some.strata.events_canary.size > 1 else None
        return rate_ratio_p_values(some.strata, ratio=null, phi=self._dispersion(null), law=law)

    def difference(self, null: float, some: _Pooled) -> Tails:
        """Against a difference of rates."""
        ratio = max(1 + null / self.rate, 0.0) if self.rate > 0 else 1.0
        return score_p_values(some.strata, difference=null, phi=self._dispersion(ratio), guarded=True)

    def _dispersion(self, null: float) -> float:
        if not self.by_null:
            return self.phi
        return max(self.phi, dispersion(self.counts, null=null) * self.clumps, self.between)

    def at_margin(self, margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:
        """Against a margin: one that is the larger of two is exceeded only when both are."""
        parts = self._parts(margin, self.whole, upward=upward)
        if only == "beyond":
            return AtMargin(beyond=max(one.beyond for one in parts), within=1.0)
        shown = -1 if self.scale is Scale.DIFFERENCE else 0
        within = max(parts[shown].within, self._slow_within(margin, upward=upward))
        if (calm := self.calm()) is not None:  # safety must not rest on one interval
            within = max(within, self._parts(margin, calm, upward=upward)[shown].within)
        return AtMargin(beyond=max(one.beyond for one in parts), within=within)

    def _parts(self, margin: Margin, some: _Pooled, *, upward: bool) -> list[AtMargin]:
        """Against each part of a margin: the relative one first."""
        found = []
        if margin.relative is not None:
            found.append(self.ratio(margin.factor(upward=upward), some))
        if margin.absolute is not None and self.proportion:
            found.append(self.difference(margin.absolute if upward else -margin.absolute, some))
        return [AtMargin.of(tails, upward=upward) for tails in found]

    def _slow_within(self, margin: Margin, *, upward: bool) -> float:
        """The p-value of "within the margin" by what follows itself from interval to interval; 0 if nothing does."""
        ratio = margin.factor(upward=upward)
        if self.scale is Scale.DIFFERENCE and margin.absolute is not None:
            change = margin.absolute if upward else -margin.absolute
            ratio = 1 + change / self.rate if self.rate > 0 else 0.0
        if ratio <= 0 or (slow := self.slow()) is None:
            return 0.0
        return slow.residuals.within(ratio, upward=upward, error=slow.error)

    def measure(self, level: float) -> tuple[float | None, Interval]:
        """The effect and its interval at a level of confidence."""
        grouped = self.whole.strata
        if self.scale is Scale.DIFFERENCE:
            effect = float(self.total.events_canary[0] / self.total.exposure_canary[0]) - self.rate
            return effect, difference_interval(grouped, level=level, phi=self.phi)
        if self.frequent:
            return rate_ratio_estimate(grouped), score_ratio_interval(grouped, level=level, phi=self.phi)
        law = self.whole.law() if level < 1 and grouped.events_canary.size > 1 else None
        return rate_ratio_interval(grouped, level=level, phi=self.phi, law=law)

    @property
    def method(self) -> str:
        """As it is shown."""
        if self.scale is Scale.DIFFERENCE:
            name = "Farrington-Manning score test"
        elif self.frequent:
            name = "score test of the ratio of proportions"
        else:
            name = "exact conditional binomial test"
        return name + (" by strata of the traffic split" if self.whole.strata.events_canary.size > 1 else "")


def compare_counts(
    counts: Counts,
    *,
    harm: Harm,
    margin: Margin | None,
    proportion: bool,
    between: float = 1.0,
    phi: float | None = None,
) -> Compared | None:
    """Compare the canary's rate (or proportion) of events with the baseline's at one planned look.

    Args:
        counts: One entry per interval, shape (n,).
        harm: The harmful direction.
        margin: Largest tolerated degradation; None: only "worse at all" is asked.
        proportion: The exposure counts trials of which each is an event or not; else it is any exposure.
        between: Dispersion between the instances of the baseline (`instance_dispersion`).
        phi: Dispersion, where a longer record has told it.

    Returns:
        The evidence; None when no interval had exposure on both sides.

    Examples:
        >>> import numpy as np
        >>> one = Counts(events_baseline=np.array([50.0]), exposure_baseline=np.array([9500.0]),
        ...              events_canary=np.array([12.0]), exposure_canary=np.array([500.0]))
        >>> found = compare_counts(one, harm=Harm.INCREASE, margin=Margin(relative=0.5), proportion=True).at(0.9)
        >>> round(found.effect, 2), round(found.p_beyond_margin, 5)
        (4.56, 0.00161)
    """
    test = CountTest.of(counts, margin=margin, proportion=proportion, between=between, phi=phi)
    if test is None:
        return None
    p_values = ask(harm, test.tested(margin), at_par=test.ratio(1.0, test.whole), at_margin=test.at_margin)
    total = test.total
    events_b, exposure_b = float(total.events_baseline[0]), float(total.exposure_baseline[0])
    events_c, exposure_c = float(total.events_canary[0]), float(total.exposure_canary[0])
    return Compared(
        at_margin=test.at_margin,
        measure=test.measure,
        evidence=Comparison(
            method=test.method,
            exact=test.scale is Scale.RATIO and not test.frequent,
            strata=test.whole.strata.events_canary.size,
            scale=test.scale,
            margin=None if margin is None else margin.shown(harm, test.scale, level=test.rate),
            baseline=test.rate,
            canary=events_c / exposure_c,
            p_harm=p_values.harm,
            p_beyond_margin=p_values.beyond,
            p_within_margin=p_values.within,
            n_baseline=exposure_b,
            n_canary=exposure_c,
            n_effective=(events_b + events_c) / test.phi,
            dispersion=test.phi,
            events_baseline=events_b,
            events_canary=events_c,
        ),
    )


def margin_ruled_out(counts: Counts, *, harm: Harm, margin: Margin, proportion: bool, phi: float) -> float:
    """The p-value of "harm at least the margin" of `compare_counts` alone; 1 where nothing can be said.

    Args:
        counts: One entry per interval.
        harm: The harmful direction.
        margin: Largest tolerated degradation.
        proportion: As in `compare_counts`.
        phi: Dispersion, which a longer record has told.
    """
    test = CountTest.of(counts, margin=margin, proportion=proportion, between=1.0, phi=phi)
    tested = None if test is None else test.tested(margin)
    return 1.0 if test is None or tested is None else within(harm, tested, test.at_margin)


def p_at_least(counts: Counts, firsts: Sequence[int], *, ratio: float, upward: bool, proportion: bool) -> Float:
    """What `CountTest`'s p-values of the newest intervals at a ratio of rates surely are at least, without any strata.

    Within a stratum the odds of the exposure, and with them the canary's share of it and the baseline's, differ by no
    more than `STRATUM_WIDTH` from those of each of its intervals. So what is no more than the intervals by themselves
    let expect, twice that far away, is no more than the strata do: the p-value is at least a half, of the exact test
    and of the score test alike. Of more events than that, the distribution of the exact test differs from the normal
    one by no more than 0.56 over its standard deviation; a dispersion above 1 makes a p-value below a half larger.

    Args:
        counts: One entry per interval.
        firsts: The entries since each of these are asked, in rising order.
        ratio: Canary / baseline.
        upward: Whether more events of the canary are evidence; else fewer.
        proportion: As in `compare_counts`.

    Returns:
        Shape (len(firsts),), between 0 and a half. Counts that are not whole are rounded in strata: never sure.

    References:
        Shevtsova, I. G. (2010), doi:10.1134/S1064562410060062 (the bound of Berry and Esseen for unlike summands).
    """
    if ratio <= 0 or not firsts or (whole := _whole(counts)) is None:
        return np.zeros(len(firsts))
    canary, baseline, exposure, share = whole
    # of the score test, then of the exact one, whose share of the canary's is that at the ratio
    seen, expected = canary * (1 - share), ratio * baseline * share
    at_ratio = 1 - share + ratio * share
    events, tilted = canary + baseline, ratio * share / at_ratio
    mean = events * tilted
    columns = [
        seen,
        expected,
        seen / at_ratio,
        expected / at_ratio,
        events,
        canary,
        mean,
        mean * (1 - tilted),
        exposure,
    ]
    parts = np.add.reduceat(columns, firsts, axis=1)
    sums = np.cumsum(parts[:, ::-1], axis=1)[:, ::-1]
    less, more = (sums[:4:2], sums[1:4:2]) if upward else (sums[1:4:2], sums[:4:2])
    half = (STRATUM_WIDTH**2 * less <= more).all(axis=0)
    events, canary, mean, variance, exposure = sums[4:]
    beyond = canary - mean / STRATUM_WIDTH if upward else mean * STRATUM_WIDTH - canary
    deviation = np.sqrt(np.maximum(variance, 1e-300)) / STRATUM_WIDTH
    exact = special.ndtr(-np.maximum(beyond, 0.0) / deviation) - _BERRY_ESSEEN / deviation
    exact[proportion & (events > FREQUENT * exposure)] = 0.0
    return np.where(half, 0.5, np.maximum(exact, 0.0))


@kept
def _whole(counts: Counts) -> tuple[Float, Float, Float, Float] | None:
    """Events of both sides where both are exposed, the exposure of both, and the canary's share of it; or not whole."""
    both = both_exposed(counts)
    canary, baseline = (np.where(both, one, 0.0) for one in (counts.events_canary, counts.events_baseline))
    if (np.rint(canary) != canary).any() or (np.rint(baseline) != baseline).any():
        return None
    exposure = np.where(both, counts.exposure_canary + counts.exposure_baseline, 0.0)
    return canary, baseline, exposure, np.divide(counts.exposure_canary, exposure, np.zeros_like(exposure), where=both)


def _rate(total: Counts) -> float:
    return float(total.events_baseline[0] / total.exposure_baseline[0])


def _is_frequent(total: Counts, *, proportion: bool) -> bool:
    events = total.events_baseline[0] + total.events_canary[0]
    return proportion and bool(events / (total.exposure_baseline[0] + total.exposure_canary[0]) > FREQUENT)


def _scale(margin: Margin | None, rate: float, *, proportion: bool) -> Scale:
    """Which part of "1.5x or +0.1pp" is the larger one is read off the baseline, which has most of the traffic."""
    if margin is None or margin.absolute is None or not proportion:
        return Scale.RATIO
    return Scale.DIFFERENCE if margin.absolute > (margin.relative or 0.0) * rate else Scale.RATIO


def limit_counts(counts: Counts, *, limit: float, harm: Harm, proportion: bool) -> LimitCheck | None:
    """Judge the canary's own rate (or proportion) against an absolute bound, exactly.

    Args:
        counts: One entry per interval.
        limit: The bound on the canary's rate, as a fraction or per unit of exposure.
        harm: `INCREASE`: the bound is an upper one; `DECREASE`: a lower one.
        proportion: As in `compare_counts`.

    Returns:
        The evidence; None when the canary had no exposure.

    Raises:
        ValueError: A bound has one side; and no proportion has more events than trials.

    Examples:
        >>> import numpy as np
        >>> c = Counts(events_baseline=np.array([0.0]), exposure_baseline=np.array([0.0]),
        ...            events_canary=np.array([9.0]), exposure_canary=np.array([100.0]))
        >>> check = limit_counts(c, limit=0.05, harm=Harm.INCREASE, proportion=True)
        >>> round(check.p_beyond_limit, 4), round(check.p_within_limit, 4)
        (0.0631, 0.9718)
    """
    events, exposure = float(counts.events_canary.sum()), float(counts.exposure_canary.sum())
    if exposure == 0:
        return None
    refuse_either(harm)
    if proportion and events > exposure * (1 + 1e-9):
        raise ValueError(f"the canary has {events:g} events in {exposure:g} trials; a proportion has no more than that")
    if proportion:  # sums of parts are rounded
        events = min(events, exposure)
    phi = max(dispersion(counts), own_dispersion(counts))
    tails = binomial_tails(events, exposure, limit) if proportion else _poisson_tails(events, limit * exposure)
    upward = harm is Harm.INCREASE
    return LimitCheck(
        method="exact binomial test" if proportion else "exact Poisson test",
        limit=limit,
        canary=events / exposure,
        p_beyond_limit=deflated(tails.worse(upward=upward), phi),
        p_within_limit=deflated(tails.better(upward=upward), phi),
    )


def _poisson_tails(events: float, mean: float) -> Tails:
    return Tails(
        above=float(special.gammainc(events, mean)) if events > 0 else 1.0,
        below=float(special.gammaincc(events + 1, mean)),
    )
