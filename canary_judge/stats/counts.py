"""Events out of an exposure, canary against baseline: one planned look.

Rare events use the exact test that is conditional on all events, which needs no common rate over time; frequent
events of a proportion use the score test, because the conditional test wastes what the upper bound of a proportion
tells; absolute margins use Farrington-Manning.

References:
    McCullagh, P. & Nelder, J. A. (1989), *Generalized Linear Models*, section 4.5 (dispersion).
    See `canary_judge.stats.exact` and `canary_judge.stats.score` for the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from canary_judge.results import Comparison, Harm, LimitCheck, Scale
from canary_judge.stats.exact import deflated, rate_ratio_estimate, rate_ratio_interval, rate_ratio_p_values
from canary_judge.stats.margins import ask
from canary_judge.stats.score import difference_interval, score_p_values, score_ratio_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from canary_judge.stats.margins import Margin

    Float = NDArray[np.float64]

__all__ = [
    "EXACT", "STRATIFIED", "Counts", "compare_counts", "dispersion", "instance_dispersion", "limit_counts",
    "split_dispersion", "strata", "without_burst",
]  # fmt: skip

# How a method is named that compares like intervals with like: its effect is not the ratio of the totals.
STRATIFIED = " by strata of the traffic split"
# The test of rare events.
EXACT = "exact conditional binomial test"
# Above this share of events the conditional test is needlessly wide and the score test takes its place.
_FREQUENT = 0.1


# Intervals whose odds of exposure lie within this factor form one stratum.
_STRATUM_WIDTH = np.log(1.02)
# One of at least so many intervals with more than this share of a side's events may be a single burst.
_BURST_INTERVALS, _BURST_SHARE = 4, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Events and exposure of both sides, one entry per interval or stratum, all of shape (n,)."""

    events_baseline: Float
    exposure_baseline: Float
    events_canary: Float
    exposure_canary: Float

    def __post_init__(self) -> None:
        """Refuse what is no count."""
        for name in ("events_baseline", "exposure_baseline", "events_canary", "exposure_canary"):
            values = getattr(self, name)
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise ValueError(f"{name} must be finite and not negative; it is {values}")

    def total(self) -> Counts:
        """All entries as one."""
        return self.by(np.zeros(self.events_baseline.size, dtype=np.int64))

    def by(self, labels: NDArray[np.int64]) -> Counts:
        """Entries with the same label added up."""
        sums = (np.bincount(labels, weights=values).astype(np.float64) for values in self._arrays())
        return Counts(**dict(zip(self.__slots__, sums, strict=True)))

    def select(self, keep: NDArray[np.bool_]) -> Counts:
        """The entries to keep."""
        kept = (values[keep] for values in self._arrays())
        return Counts(**dict(zip(self.__slots__, kept, strict=True)))

    def over_time(self) -> Counts:
        """The baseline against itself: every second interval as the canary of the one before."""
        pairs = self.events_baseline.size // 2 * 2
        events, exposure = self.events_baseline[:pairs], self.exposure_baseline[:pairs]
        return Counts(
            events_baseline=events[::2], exposure_baseline=exposure[::2],
            events_canary=events[1::2], exposure_canary=exposure[1::2],
        )  # fmt: skip

    def _arrays(self) -> tuple[Float, Float, Float, Float]:
        return self.events_baseline, self.exposure_baseline, self.events_canary, self.exposure_canary


def strata(counts: Counts) -> Counts:
    """Merge intervals whose exposure is shared alike, so that a change of traffic weight stays apart.

    Pooling over a change of weight while the error rate moves with the hour is Simpson's paradox, so only intervals
    with the same odds (within 2 %) are added up. That single requests move the odds at random does no harm: the tests
    are conditional on the exposure. Intervals in which a side had none say nothing on the ratio and are left out.

    Examples:
        >>> n = np.array([90.0, 90.0, 50.0, 70.0]), np.array([10.0, 10.0, 50.0, 0.0])
        >>> zero = np.zeros(4)
        >>> merged = strata(Counts(events_baseline=zero, exposure_baseline=n[0],
        ...                        events_canary=zero, exposure_canary=n[1]))
        >>> merged.exposure_canary.tolist(), merged.exposure_baseline.tolist()
        ([20.0, 50.0], [180.0, 50.0])
    """
    both = counts.select((counts.exposure_canary > 0) & (counts.exposure_baseline > 0))
    if both.exposure_canary.size == 0:
        return both
    odds = np.log(both.exposure_canary / both.exposure_baseline)
    # equal odds stay together whatever their last digit: bins are cut half a width from the smallest
    width = np.floor((odds - odds.min()) / _STRATUM_WIDTH + 0.5)
    return both.by(np.unique(width, return_inverse=True)[1])


def dispersion(counts: Counts, *, null: float = 0.0, between: float = 1.0) -> float:
    """Variance of the counts over that of independent events; at least 1.

    Three views, of which the largest counts. The split of the events between the sides, interval by interval. The
    baseline's instances against each other (`instance_dispersion`). And the baseline against itself one interval later,
    which has far more events than a small canary, but takes for clumps what shook both sides: so no more of it than
    the split, by what the canary's own intervals with events can rule out, leaves possible.

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
    split = split_dispersion(counts, null=null)
    later = split_dispersion(counts.over_time(), null=1.0)
    if later > split:
        used, observed, expected, _ = _split_moments(counts, null=null or 1.0)
        hits = float(np.count_nonzero(used.events_canary))
        if hits and expected > 0:
            # the largest dispersion with which so even a split of so many intervals is not yet surprising
            later = min(later, max(observed / expected, 1.0) * hits / float(special.chdtri(hits, 0.95)))
    return max(split, later, between)


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
    if events.size < 3 or events.sum() < events.size:
        return 1.0
    expected = events.sum() * exposure / exposure.sum()
    statistic, df = float(((events - expected) ** 2 / expected).sum()), events.size - 1
    return max(statistic / df, 1.0) if special.chdtrc(df, statistic) < 0.05 else 1.0


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
    _, observed, expected, noise = _split_moments(counts, null=null)
    if expected <= 0 or observed - expected <= 1.645 * np.sqrt(max(noise, 0.0)):
        return 1.0
    return max(observed / expected, 1.0)


def _split_moments(counts: Counts, *, null: float) -> tuple[Counts, float, float, float]:
    """Intervals with events, the sum of squared deviations of their split, what is expected of it, and its variance."""
    events = counts.events_canary + counts.events_baseline
    used = counts.select((events > 0) & (counts.exposure_canary > 0) & (counts.exposure_baseline > 0))
    ratio = (rate_ratio_estimate(used) or null) if used.events_canary.size > 1 else None
    if not ratio:
        return used, 0.0, 0.0, 0.0
    odds = used.exposure_canary / used.exposure_baseline * ratio
    share = odds / (1 + odds)
    events = used.events_canary + used.events_baseline
    spread = events * share * (1 - share)
    expected = float(spread.sum()) * (events.size - 1) / events.size  # one degree of freedom went into the ratio
    observed = float(((used.events_canary - events * share) ** 2).sum())
    noise = float((2 * spread**2 + spread * (1 - 6 * share * (1 - share))).sum())
    return used, observed, expected, noise


def compare_counts(
    counts: Counts, *, harm: Harm, margin: Margin | None, level: float, proportion: bool, between: float = 1.0
) -> Comparison | None:
    """Compare the canary's rate (or proportion) of events with the baseline's at one planned look.

    Args:
        counts: One entry per interval, shape (n,).
        harm: The harmful direction.
        margin: Largest tolerated degradation; None: only "worse at all" is asked.
        level: Two-sided confidence level of the interval.
        proportion: The exposure counts trials of which each is an event or not; else it is any exposure.
        between: Dispersion between the instances of the baseline (`instance_dispersion`).

    Returns:
        The evidence; None when no interval had exposure on both sides.
    """
    grouped = strata(counts)
    if grouped.events_canary.size == 0:
        return None
    phi = dispersion(counts, between=between)
    calm = without_burst(counts)
    total = grouped.total()
    events_b, exposure_b = float(total.events_baseline[0]), float(total.exposure_baseline[0])
    events_c, exposure_c = float(total.events_canary[0]), float(total.exposure_canary[0])
    rate_b, rate_c = events_b / exposure_b, events_c / exposure_c
    frequent = proportion and (events_b + events_c) / (exposure_b + exposure_c) > _FREQUENT

    def against(null: float, some: Counts) -> tuple[float, float]:
        if null <= 0:  # nothing can be that low, so all is above it
            return 0.0, 1.0
        scale = max(phi, dispersion(counts, null=null, between=between))
        if frequent:
            return score_p_values(some, ratio=null, phi=scale, guarded=True)
        return rate_ratio_p_values(some, ratio=null, phi=scale)

    relative = margin.relative if margin else None
    absolute = margin.absolute if margin and proportion else None
    # which part of "1.5x or +0.1pp" is the larger one is read off the baseline, which has most of the traffic
    use_absolute = absolute is not None and (relative is None or absolute > relative * rate_b)

    def at_margin(some: Counts, *, upward: bool) -> list[tuple[float, float]]:
        """(beyond, within) for each part of the margin."""
        worse, better = (0, 1) if upward else (1, 0)
        found = []
        if relative is not None:
            both = against(1 + relative if upward else 1 - relative, some)
            found.append((both[worse], both[better]))
        if absolute is not None:
            change = absolute if upward else -absolute
            ratio = max(1 + change / rate_b, 0.0) if rate_b > 0 else 1.0
            scale = max(phi, dispersion(counts, null=ratio, between=between))
            both = score_p_values(some, difference=change, phi=scale, guarded=True)
            found.append((both[worse], both[better]))
        return found

    def questions(*, upward: bool) -> tuple[float, float | None, float | None]:
        p_harm = against(1.0, grouped)[0 if upward else 1]
        found = at_margin(grouped, upward=upward)
        if not found:
            return p_harm, None, None
        part = -1 if use_absolute else 0
        within = found[part][1]
        if calm is not None:  # safety must not rest on one interval
            within = max(within, at_margin(calm, upward=upward)[part][1])
        return p_harm, max(p for p, _ in found), within

    p_harm, p_beyond, p_within = ask(questions, harm)
    if use_absolute:
        method = "Farrington-Manning score test"
        effect: float | None = rate_c - rate_b
        interval: tuple[float | None, float | None] = difference_interval(grouped, level=level, phi=phi)
    elif frequent:
        method = "score test of the ratio of proportions"
        effect = rate_ratio_estimate(grouped)
        interval = score_ratio_interval(grouped, level=level, phi=phi)
    else:
        method = EXACT
        effect, interval = rate_ratio_interval(grouped, level=level, phi=phi)
    return Comparison(
        method=method + (STRATIFIED if grouped.events_canary.size > 1 else ""),
        scale=Scale.DIFFERENCE if use_absolute else Scale.RATIO,
        effect=effect,
        interval=interval,
        level=level,
        margin=_shown_margin(margin, harm, use_absolute=use_absolute),
        baseline=rate_b,
        canary=rate_c,
        p_harm=p_harm,
        p_beyond_margin=p_beyond,
        p_within_margin=p_within,
        n_baseline=exposure_b,
        n_canary=exposure_c,
        n_effective=(events_b + events_c) / phi,
        dispersion=phi,
        events_baseline=events_b,
        events_canary=events_c,
    )


def without_burst(counts: Counts, *, fewest: int = _BURST_INTERVALS) -> Counts | None:
    """The strata without the interval that has most of a side's events, maybe none; None where none stands out.

    Args:
        counts: One entry per interval.
        fewest: Of fewer intervals none is left out.
    """
    left_out = np.zeros(counts.events_canary.size, dtype=bool)
    if left_out.size >= fewest:
        for events in (counts.events_baseline, counts.events_canary):
            most = int(np.argmax(events))
            if events[most] > max(_BURST_SHARE * events.sum(), 2):
                left_out[most] = True
    return strata(counts.select(~left_out)) if left_out.any() else None


def _shown_margin(margin: Margin | None, harm: Harm, *, use_absolute: bool) -> float | None:
    if margin is None:
        return None
    sign = -1.0 if harm is Harm.DECREASE else 1.0
    if use_absolute:
        return sign * margin.absolute if margin.absolute is not None else None
    return 1 + sign * margin.relative if margin.relative is not None else None


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
        >>> c = Counts(events_baseline=np.array([0.0]), exposure_baseline=np.array([0.0]),
        ...            events_canary=np.array([9.0]), exposure_canary=np.array([100.0]))
        >>> check = limit_counts(c, limit=0.05, harm=Harm.INCREASE, proportion=True)
        >>> round(check.p_beyond_limit, 4), round(check.p_within_limit, 4)
        (0.0631, 0.9718)
    """
    events, exposure = float(counts.events_canary.sum()), float(counts.exposure_canary.sum())
    if exposure == 0:
        return None
    phi = max(dispersion(counts), _own_dispersion(counts))
    if proportion:
        at_least = float(special.betainc(events, exposure - events + 1, limit)) if events > 0 else 1.0
        rest = exposure - events
        at_most = float(special.betainc(rest, events + 1, 1 - limit)) if rest > 0 else 1.0
    else:
        at_least = float(special.gammainc(events, limit * exposure)) if events > 0 else 1.0
        at_most = float(special.gammaincc(events + 1, limit * exposure))
    beyond, within = (at_least, at_most) if harm is Harm.INCREASE else (at_most, at_least)
    return LimitCheck(
        method="exact binomial test" if proportion else "exact Poisson test",
        limit=limit,
        canary=events / exposure,
        p_beyond_limit=deflated(beyond, phi),
        p_within_limit=deflated(within, phi),
    )


def _own_dispersion(counts: Counts) -> float:
    """Variance of the canary's events per interval over that of independent ones at one rate; at least 1."""
    used = counts.select(counts.exposure_canary > 0)
    events, exposure = used.events_canary, used.exposure_canary
    if events.size < 2 or events.sum() == 0:
        return 1.0
    expected = events.sum() * exposure / exposure.sum()
    statistic = float(((events - expected) ** 2).sum() / expected.mean()) / (events.size - 1)
    noise = np.sqrt(2 / (events.size - 1) * (1 + 1 / (2 * expected.mean())))
    return statistic if statistic > 1 + 1.645 * noise else 1.0
