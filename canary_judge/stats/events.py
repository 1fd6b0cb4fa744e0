"""Events out of an exposure, canary against baseline or against a limit: one planned look.

Rare events use the exact test that is conditional on all events, which needs no common rate over time; frequent
events of a proportion use the score test, because the conditional test wastes what the upper bound of a proportion
tells; absolute margins use Farrington-Manning.

References:
    See `canary_judge.stats.exact`, `canary_judge.stats.score` and `canary_judge.stats.dispersion`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from scipy import special

from canary_judge.results import Comparison, Harm, LimitCheck, Scale
from canary_judge.stats.counts import Counts, strata, without_burst
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
from canary_judge.stats.questions import AtMargin, Compared, Interval, Tails, ask
from canary_judge.stats.residuals import residual_time, residual_within
from canary_judge.stats.score import difference_interval, score_p_values, score_ratio_interval

__all__ = ["compare_counts", "limit_counts"]

# Above this share of events the conditional test is needlessly wide and the score test takes its place.
_FREQUENT = 0.1


class _Pooled(NamedTuple):
    """Strata, and the law of their events where the exact test is used on several."""

    strata: Counts
    law: SplitLaw | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """The test that fits these events, of all strata or of some of them.

    Attributes:
        counts: One entry per interval.
        phi: Their dispersion.
        between: Dispersion between the instances of the baseline.
        rate: The baseline's rate.
        frequent: The events are a large share of the exposure.
        by_null: The dispersion depends on the null.
        clumps: How many intervals clumps reach over; the dispersion has it.
    """

    counts: Counts
    phi: float
    between: float
    rate: float
    frequent: bool
    by_null: bool
    clumps: float

    def pooled(self, some: Counts) -> _Pooled:
        """Strata that are to be tested."""
        return _Pooled(some, None if self.frequent or some.events_canary.size == 1 else SplitLaw.of(some))

    def ratio(self, null: float, some: _Pooled) -> Tails:
        """Against a ratio of rates."""
        if null <= 0:  # nothing can be that low, so all is above it
            return Tails(above=0.0, below=1.0)
        if self.frequent:
            return score_p_values(some.strata, ratio=null, phi=self._dispersion(null), guarded=True)
        return rate_ratio_p_values(some.strata, ratio=null, phi=self._dispersion(null), law=some.law)

    def difference(self, null: float, some: _Pooled) -> Tails:
        """Against a difference of rates."""
        ratio = max(1 + null / self.rate, 0.0) if self.rate > 0 else 1.0
        return score_p_values(some.strata, difference=null, phi=self._dispersion(ratio), guarded=True)

    def _dispersion(self, null: float) -> float:
        if not self.by_null:
            return self.phi
        return max(self.phi, dispersion(self.counts, null=null) * self.clumps, self.between)

    def slow_within(self, margin: Margin, scale: Scale, *, upward: bool) -> float:
        """The p-value of "within the margin" by what follows itself from interval to interval; 0 if nothing does."""
        ratio = margin.factor(upward=upward)
        if scale is Scale.DIFFERENCE and margin.absolute is not None:
            change = margin.absolute if upward else -margin.absolute
            ratio = 1 + change / self.rate if self.rate > 0 else 0.0
        return residual_within(self.counts, ratio=ratio, upward=upward) if ratio > 0 else 0.0

    def margin(self, margin: Margin, some: _Pooled, *, upward: bool, proportion: bool) -> list[AtMargin]:
        """Against each part of a margin: the relative one first."""
        found = []
        if margin.relative is not None:
            found.append(self.ratio(margin.factor(upward=upward), some))
        if margin.absolute is not None and proportion:
            found.append(self.difference(margin.absolute if upward else -margin.absolute, some))
        return [AtMargin.of(tails, upward=upward) for tails in found]


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
    grouped = strata(counts)
    if grouped.events_canary.size == 0:
        return None
    by_null, clumps = phi is None and needs_null(counts), 1.0
    if phi is None:
        clumps = residual_time(counts)
        phi = max(dispersion(counts) * clumps, between)
    total = grouped.total()
    events_b, exposure_b = float(total.events_baseline[0]), float(total.exposure_baseline[0])
    events_c, exposure_c = float(total.events_canary[0]), float(total.exposure_canary[0])
    rate_b = events_b / exposure_b
    frequent = proportion and (events_b + events_c) / (exposure_b + exposure_c) > _FREQUENT
    test = _Test(
        counts=counts, phi=phi, between=between, rate=rate_b, frequent=frequent, by_null=by_null, clumps=clumps
    )
    whole = test.pooled(grouped)
    scale = _scale(margin, rate_b, proportion=proportion)
    calm = None if (rest := without_burst(counts)) is None else test.pooled(rest)

    def at_margin(margin: Margin, *, upward: bool) -> AtMargin:
        parts = test.margin(margin, whole, upward=upward, proportion=proportion)
        part = -1 if scale is Scale.DIFFERENCE else 0
        within = parts[part].within
        if calm is not None:  # safety must not rest on one interval
            within = max(within, test.margin(margin, calm, upward=upward, proportion=proportion)[part].within)
        within = max(within, test.slow_within(margin, scale, upward=upward))
        # a margin that is the larger of two is exceeded only when both are
        return AtMargin(beyond=max(one.beyond for one in parts), within=within)

    def measure(level: float) -> tuple[float | None, Interval]:
        if scale is Scale.DIFFERENCE:
            return events_c / exposure_c - rate_b, difference_interval(grouped, level=level, phi=phi)
        if frequent:
            return rate_ratio_estimate(grouped), score_ratio_interval(grouped, level=level, phi=phi)
        return rate_ratio_interval(grouped, level=level, phi=phi, law=whole.law)

    tested = margin if margin is not None and (margin.relative is not None or proportion) else None
    p_values = ask(harm, tested, at_par=test.ratio(1.0, whole), at_margin=at_margin)
    several = grouped.events_canary.size > 1
    return Compared(
        measure=measure,
        evidence=Comparison(
            method=_method(scale, frequent=frequent) + (" by strata of the traffic split" if several else ""),
            exact=scale is Scale.RATIO and not frequent,
            strata=grouped.events_canary.size,
            scale=scale,
            margin=None if margin is None else margin.shown(harm, scale, level=rate_b),
            baseline=rate_b,
            canary=events_c / exposure_c,
            p_harm=p_values.harm,
            p_beyond_margin=p_values.beyond,
            p_within_margin=p_values.within,
            n_baseline=exposure_b,
            n_canary=exposure_c,
            n_effective=(events_b + events_c) / phi,
            dispersion=phi,
            events_baseline=events_b,
            events_canary=events_c,
        ),
    )


def _scale(margin: Margin | None, rate: float, *, proportion: bool) -> Scale:
    """Which part of "1.5x or +0.1pp" is the larger one is read off the baseline, which has most of the traffic."""
    if margin is None or margin.absolute is None or not proportion:
        return Scale.RATIO
    return Scale.DIFFERENCE if margin.absolute > (margin.relative or 0.0) * rate else Scale.RATIO


def _method(scale: Scale, *, frequent: bool) -> str:
    if scale is Scale.DIFFERENCE:
        return "Farrington-Manning score test"
    return "score test of the ratio of proportions" if frequent else "exact conditional binomial test"


def limit_counts(counts: Counts, *, limit: float, harm: Harm, proportion: bool) -> LimitCheck | None:
    """Judge the canary's own rate (or proportion) against an absolute bound, exactly.

    Args:
        counts: One entry per interval.
        limit: The bound on the canary's rate, as a fraction or per unit of exposure.
        harm: `INCREASE`: the bound is an upper one; `DECREASE`: a lower one.
        proportion: As in `compare_counts`.

    Returns:
        The evidence; None when the canary had no exposure.

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
