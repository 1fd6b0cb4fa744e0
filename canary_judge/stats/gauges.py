"""One number per interval and side, or raw values: ranks on n / tau effective samples, at one planned look.

References:
    Mann & Whitney (1947) and Hodges & Lehmann (1963), see `canary_judge.stats.rank`.
    Crawford, J. R. & Howell, D. C. (1998), doi:10.1076/clin.12.4.482.7241 (a case against a small sample).
    Brunner, E. & Munzel, U. (2000), doi:10.1002/(SICI)1521-4036(200001)42:1<17::AID-BIMJ17>3.0.CO;2-U (variance).
    Johnson, N. J. (1978), doi:10.1080/01621459.1978.10480051 (t of skewed values).
    Fieller, E. C. (1954), Journal of the Royal Statistical Society B 16(2), 175-185 (a margin relative to a mean).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from canary_judge.results import Comparison, Harm, LimitCheck, Scale
from canary_judge.stats.dependence import rank_autocorrelation_time, ranks_tau
from canary_judge.stats.margins import ask
from canary_judge.stats.paired import combined_p_value, ewc_error, ewc_t, signed_rank
from canary_judge.stats.rank import mann_whitney, mann_whitney_p_values, mid_ranks
from canary_judge.stats.shift import shift_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from canary_judge.stats.margins import Margin

    Float = NDArray[np.float64]

__all__ = ["compare_instances", "compare_means", "compare_values", "effective_samples", "limit_values", "series_tau"]


# With fewer ways to pick the canary's instances out of all, ranks cannot be extreme enough to say anything.
_MANY_PERMUTATIONS = 1000
# Pairs are believed to be worth more than the sides by themselves when they are so many, and by this factor.
_MANY_PAIRS, _CLEAR_GAIN = 20.0, 2.0


def effective_samples(n_baseline: float, n_canary: float, tau: float) -> float:
    """Independent samples per side that carry as much information: harmonic mean of the sides, over tau."""
    return 2 * n_baseline * n_canary / (n_baseline + n_canary) / tau


def compare_values(
    *,
    baseline: Float,
    canary: Float,
    tau: float,
    harm: Harm,
    margin: Margin | None,
    level: float,
    spreads_differ: bool = False,
    paired: bool = False,
    inflation: float = 1.0,
) -> Comparison:
    """Compare two series (or two samples of raw values) by ranks.

    The margin is put to the test by making the baseline worse by it and ranking the canary against the result,
    so it is relative to the baseline and never to the estimated shift. Student's t with 2 n_eff - 2 degrees of
    freedom stands for the normal distribution, because tau is estimated.

    Args:
        baseline: Shape (n_b,), finite, not empty.
        canary: Shape (n_c,), finite, not empty.
        tau: Integrated autocorrelation time of the ranks, in samples.
        harm: The harmful direction.
        margin: Largest tolerated degradation; None: only "worse at all" is asked.
        level: Two-sided confidence level of the interval.
        spreads_differ: Take no less than Brunner and Munzel's variance, which holds when the sides have different
            spreads; with very unequal sample sizes the usual one does not.
        paired: The k-th values were taken at the same moment. What moves both sides then cancels, so Wilcoxon's
            signed ranks of the differences (of logarithms, for a relative margin) are combined with Mann-Whitney.
        inflation: With `paired`, by what factor a longer record has shown tau to be larger than the window tells.

    Returns:
        The evidence. The effect is a ratio when the margin is relative and all values are positive, else a
        difference in the unit of the values.

    Examples:
        >>> from canary_judge.stats.margins import Margin
        >>> b = np.arange(100.0, 160.0)
        >>> c = compare_values(baseline=b, canary=b + 100, tau=1.0, harm=Harm.INCREASE,
        ...                    margin=Margin(relative=0.1), level=0.9)
        >>> round(c.effect, 2), c.p_beyond_margin < 1e-6
        (1.77, True)
    """
    n_effective = effective_samples(baseline.size, canary.size, tau)
    df = max(2 * n_effective - 2, 1.0)

    positive = margin is not None and margin.relative is not None and min(baseline.min(), canary.min()) > 0

    def tails(reference: Float) -> tuple[float, float]:
        test = mann_whitney(baseline=reference[None, :], canary=canary[None, :])
        z = float(test.z[0]) / np.sqrt(tau)
        if spreads_differ and z:
            z *= min(1.0, float(test.sigma[0]) / max(_placement_deviation(reference, canary), 1e-300))
        above, below = float(special.stdtr(df, -z)), float(special.stdtr(df, z))
        if not paired:
            return above, below
        logarithms = positive and reference.min() > 0
        t, n = signed_rank(
            np.log(canary) - np.log(reference) if logarithms else canary - reference, inflation=inflation
        )
        tail = max(n - 1, 1.0)
        return (
            combined_p_value([above, float(special.stdtr(tail, -t))]),
            combined_p_value([below, float(special.stdtr(tail, t))]),
        )

    at_par = tails(baseline)

    def questions(*, upward: bool) -> tuple[float, float | None, float | None]:
        worse, better = (0, 1) if upward else (1, 0)
        p_harm = at_par[worse]
        if margin is None:
            return p_harm, None, None
        at_margin = tails(margin.shifted(baseline, upward=upward))
        return p_harm, at_margin[worse], at_margin[better]

    p_harm, p_beyond, p_within = ask(questions, harm)
    worth = n_effective
    if paired:
        # what both sides share costs the pairs nothing; but few values cannot tell that it is shared
        pairs = signed_rank(canary - baseline, inflation=inflation)[1]
        worth = pairs if pairs >= max(_MANY_PAIRS, _CLEAR_GAIN * worth) else worth
    usual = float(np.median(baseline))
    as_ratio = margin is not None and margin.absolute is None and float(baseline.min()) > 0 and float(canary.min()) > 0
    quantile = float(special.stdtrit(df, 1 - (1 - level) / 2))
    # the untied deviation: ties at one shift are none at the next, and it is the wider one
    sigma = np.sqrt(baseline.size * canary.size * (baseline.size + canary.size + 1) / 12)
    half_width = float(quantile * np.sqrt(tau) * sigma) if level < 1 else 0.0
    transform: Callable[[Float], Float] = np.log if as_ratio else np.asarray
    effect, ends = shift_interval(baseline=transform(baseline), canary=transform(canary), half_width=half_width)
    if level == 1:
        ends = None, None
    sign = -1.0 if harm is Harm.DECREASE else 1.0
    shown: float | None
    if as_ratio:
        effect = float(np.exp(effect))
        ends = tuple(None if end is None else float(np.exp(end)) for end in ends)  # type: ignore[assignment]
        shown = 1 + sign * (margin.relative or 0.0) if margin else None
    else:
        shown = sign * margin.amount(usual) if margin else None
    return Comparison(
        method="Mann-Whitney"
        + (" and signed ranks" if paired else "")
        + (" on n/tau effective samples" if tau > 1 else ""),
        scale=Scale.RATIO if as_ratio else Scale.DIFFERENCE,
        effect=effect,
        interval=ends,
        level=level,
        margin=shown,
        baseline=usual,
        canary=float(np.median(canary)),
        p_harm=p_harm,
        p_beyond_margin=p_beyond,
        p_within_margin=p_within,
        n_baseline=baseline.size,
        n_canary=canary.size,
        n_effective=worth,
        tau=baseline.size / worth if paired else tau,
    )


def compare_means(*, baseline: Float, canary: Float, harm: Harm, margin: Margin | None, level: float) -> Comparison:
    """Compare the means of two series taken at the same moments, whatever the distributions of their points.

    Points that are themselves means of few or many requests have the same mean but not the same distribution, so
    ranks do not do. A relative margin is linear in the two means: canary - (1 + margin) x baseline (Fieller 1954),
    tested by the equal-weighted cosine t statistic, which needs no autocorrelation time.

    Args:
        baseline: Shape (n,), finite, n at least 10.
        canary: Shape (n,).
        harm: The harmful direction.
        margin: Largest tolerated degradation; None: only "worse at all" is asked.
        level: Two-sided confidence level of the interval.

    Examples:
        >>> wave = 10 + np.sin(np.arange(60.0) * 2.4)
        >>> c = compare_means(baseline=wave, canary=1.5 * wave[::-1], harm=Harm.INCREASE, margin=None, level=0.9)
        >>> round(c.effect, 2), c.p_harm < 1e-4
        (5.0, True)
    """
    usual, new = float(baseline.mean()), float(canary.mean())

    def tails(differences: Float) -> tuple[float, float]:
        centred = differences - differences.mean()
        n, spread = differences.size, float(np.sqrt((centred**2).mean()))
        skewness = float((centred**3).mean()) / spread**3 if spread > 0 else 0.0
        above = below = 0.0
        # the long-run spread where points depend on each other, the plain one where they do not: both must agree
        for t, df in (ewc_t(differences), (_plain_t(differences), n - 1)):
            # Johnson (1978): a mean of skewed values strays further on the side away from the tail
            bent = t + skewness / (6 * np.sqrt(n)) * (1 + 2 * t**2) if skewness and np.isfinite(t) else t
            above = max(above, float(special.stdtr(df, -min(t, bent))))
            below = max(below, float(special.stdtr(df, max(t, bent))))
        return above, below

    def questions(*, upward: bool) -> tuple[float, float | None, float | None]:
        worse, better = (0, 1) if upward else (1, 0)
        p_harm = tails(canary - baseline)[worse]
        if margin is None:
            return p_harm, None, None
        sign = 1 if upward else -1
        amount = margin.amount(usual)
        by_share = margin.relative is not None and amount > (margin.absolute or 0.0) and usual != 0
        factor = 1 + sign * (margin.relative or 0.0) * (1 if usual > 0 else -1) if by_share else 1.0
        both = tails(canary - factor * baseline - (0.0 if by_share else sign * amount))
        return p_harm, both[worse], both[better]

    p_harm, p_beyond, p_within = ask(questions, harm)
    as_ratio = margin is not None and margin.absolute is None and usual > 0 and new > 0
    ratio = new / usual if as_ratio else 1.0
    error, df = ewc_error(canary - ratio * baseline)
    half_width = float(special.stdtrit(df, 1 - (1 - level) / 2)) * error / (usual if as_ratio else 1.0)
    effect = ratio if as_ratio else new - usual
    sign = -1.0 if harm is Harm.DECREASE else 1.0
    shown = None if margin is None else sign * margin.amount(usual)
    if as_ratio and margin is not None:
        shown = 1 + sign * (margin.relative or 0.0)
    return Comparison(
        method="EWC t test of paired means",
        scale=Scale.RATIO if as_ratio else Scale.DIFFERENCE,
        effect=effect,
        interval=_bounded(effect - half_width, effect + half_width),
        level=level,
        margin=shown,
        baseline=usual,
        canary=new,
        p_harm=p_harm,
        p_beyond_margin=p_beyond,
        p_within_margin=p_within,
        n_baseline=baseline.size,
        n_canary=canary.size,
        n_effective=float(df),
    )


def _bounded(low: float, high: float) -> tuple[float | None, float | None]:
    """None in place of an end without bound."""
    return low if math.isfinite(low) else None, high if math.isfinite(high) else None


def _plain_t(differences: Float) -> float:
    error = float(differences.std(ddof=1)) / math.sqrt(differences.size)
    mean = float(differences.mean())
    return mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0


def _placement_deviation(baseline: Float, canary: Float) -> float:
    """Standard deviation of Mann-Whitney's u from the spread of each side's placements among the other."""
    pooled = mid_ranks(np.concatenate([canary, baseline])[None, :])[0][0]
    placements = (
        pooled[: canary.size] - mid_ranks(canary[None, :])[0][0],
        pooled[canary.size :] - mid_ranks(baseline[None, :])[0][0],
    )
    return float(np.sqrt(sum(side.size * side.var(ddof=1) for side in placements if side.size > 1)))


def compare_instances(
    *,
    baseline: Float,
    canary: Float,
    harm: Harm,
    margin: Margin | None,
    level: float,
    before: tuple[Float, Float] | None = None,
) -> Comparison:
    """Compare instances by their means over the window: the instance is the unit of replication.

    No correction for time can tell an effect from the difference that two healthy pods keep for good; the
    spread between instances can. One canary instance is Crawford & Howell's case against a small sample.

    Args:
        baseline: Shape (k_b, n), one row per instance, NaN for gaps; k_b + k_c at least 3.
        canary: Shape (k_c, n).
        harm: The harmful direction.
        margin: Largest tolerated degradation.
        level: Two-sided confidence level of the interval.
        before: Usual levels of the same instances before the change, shapes (k_b,) and (k_c,): each instance is then
            compared with itself, and only the changes are compared between the sides.

    Returns:
        The evidence. The effect is a ratio of geometric means of the instances' means when the margin is relative and
        all are positive, else a difference of their means.
    """
    b, c = np.nanmean(baseline, axis=1), np.nanmean(canary, axis=1)
    least = min(float(values.min()) for values in (b, c, *(before or ())))
    as_ratio = margin is not None and margin.absolute is None and least > 0
    usual, new = float(b.mean()), float(c.mean())
    if as_ratio:  # healthy pods differ by factors; and a margin in logs is the same for every baseline
        b, c = np.log(b), np.log(c)
    if before is not None:
        transform: Callable[[Float], Float] = np.log if as_ratio else np.asarray
        b, c = b - transform(before[0]), c - transform(before[1])
    df = b.size + c.size - 2
    squares = float(((b - b.mean()) ** 2).sum() + ((c - c.mean()) ** 2).sum())
    effect = float(c.mean() - b.mean())
    # equal constants are no certainty: of all ways to pick the canary this one is as extreme with this probability
    floor = 1 / math.comb(b.size + c.size, c.size)

    def error(factor: float) -> float:
        return float(np.sqrt(squares / df * (factor**2 / b.size + 1 / c.size)))

    by_ranks = math.comb(b.size + c.size, c.size) >= _MANY_PERMUTATIONS

    def tails(null: float, factor: float = 1.0) -> tuple[float, float]:
        distance = effect - null
        if squares == 0:
            return (0.5, 0.5) if distance == 0 else (floor, 1.0) if distance > 0 else (1.0, floor)
        t = distance / error(factor)
        both = float(special.stdtr(df, -t)), float(special.stdtr(df, t))
        if not by_ranks:
            return both
        reference = b * factor if factor != 1 and before is None else b + null
        ranks = mann_whitney_p_values(baseline=reference[None, :], canary=c[None, :])
        return combined_p_value([both[0], float(ranks[0][0])]), combined_p_value([both[1], float(ranks[1][0])])

    def at_margin(*, upward: bool) -> tuple[float, float]:
        assert margin is not None  # noqa: S101
        if as_ratio:
            share = 1 + (margin.relative or 0.0) * (1 if upward else -1)
            return tails(math.log(share)) if share > 0 else (0.0, 1.0)  # nothing can be that low
        amount = margin.amount(usual) if upward else -margin.amount(usual)
        # a margin that is a share of the baseline moves with the baseline's own error (Fieller 1954)
        relative = amount / usual if usual and margin.amount(usual) > (margin.absolute or 0.0) else 0.0
        return tails(amount, 1 + relative)

    def questions(*, upward: bool) -> tuple[float, float | None, float | None]:
        worse, better = (0, 1) if upward else (1, 0)
        p_harm = tails(0.0)[worse]
        if margin is None:
            return p_harm, None, None
        both = at_margin(upward=upward)
        return p_harm, both[worse], both[better]

    p_harm, p_beyond, p_within = ask(questions, harm)
    sign = -1.0 if harm is Harm.DECREASE else 1.0
    # level 1 asks for no interval; and scipy's t quantile at 1 is infinite or NaN, by its version
    half_width = float(special.stdtrit(df, 1 - (1 - level) / 2)) * error(1.0) if level < 1 else math.nan
    ends = effect - half_width, effect + half_width
    shown = None if margin is None else sign * margin.amount(usual)
    if as_ratio and margin is not None:
        # np.exp overflows to infinity, which is no bound
        with np.errstate(over="ignore"):
            effect, ends = float(np.exp(effect)), (float(np.exp(ends[0])), float(np.exp(ends[1])))
        shown = 1 + sign * (margin.relative or 0.0)
    return Comparison(
        method="t test"
        + (" and Mann-Whitney" if by_ranks and squares > 0 else "")
        + " between instances"
        + (" of the change since before" if before is not None else "")
        + (" on logarithms" if as_ratio else ""),
        scale=Scale.RATIO if as_ratio else Scale.DIFFERENCE,
        effect=effect,
        interval=_bounded(*ends),
        level=level,
        margin=shown,
        baseline=usual,
        canary=new,
        p_harm=p_harm,
        p_beyond_margin=p_beyond,
        p_within_margin=p_within,
        n_baseline=b.size,
        n_canary=c.size,
        n_effective=effective_samples(b.size, c.size, 1.0),
    )


def limit_values(*, canary: Float, tau: float, limit: float, harm: Harm) -> LimitCheck:
    """Judge the canary's own median against an absolute bound, by signs on n / tau effective samples.

    Mann-Whitney against a constant is the sign test. Values equal to the bound count half.

    Args:
        canary: Shape (n,), finite, not empty.
        tau: Integrated autocorrelation time of the canary, in samples.
        limit: The bound, in the unit of the values.
        harm: `INCREASE`: the bound is an upper one; `DECREASE`: a lower one.

    Examples:
        >>> check = limit_values(canary=np.full(12, 3.0), tau=1.0, limit=2.0, harm=Harm.INCREASE)
        >>> round(check.p_beyond_limit, 6)
        0.000244
    """
    n = canary.size / tau
    above = (np.count_nonzero(canary > limit) + 0.5 * np.count_nonzero(canary == limit)) / tau
    at_least = float(special.betainc(above, n - above + 1, 0.5)) if above > 0 else 1.0
    at_most = float(special.betainc(n - above, above + 1, 0.5)) if above < n else 1.0
    beyond, within = (at_least, at_most) if harm is Harm.INCREASE else (at_most, at_least)
    return LimitCheck(
        method="sign test on n/tau effective samples",
        limit=limit,
        canary=float(np.median(canary)),
        p_beyond_limit=beyond,
        p_within_limit=within,
    )


def series_tau(*, baseline: Float, canary: Float, history: Float) -> tuple[float, float]:
    """Tau of the rank comparison of two series of shape (n,), NaN for gaps.

    Returns:
        Tau as the two series show it, and the larger of it and the history's (shape (h,), maybe empty).
    """
    alone = float(rank_autocorrelation_time(baseline=baseline[None, :], canary=canary[None, :])[0])
    return alone, max(alone, _history_tau(history.tobytes()) if history.size else 1.0)


@lru_cache(maxsize=1024)
def _history_tau(history: bytes) -> float:
    """Looks that follow each other share their history."""
    return ranks_tau(np.frombuffer(history)[None, :])
