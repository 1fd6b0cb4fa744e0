"""One number per interval and side, or raw values: ranks on n / tau effective samples, at one planned look.

References:
    Mann & Whitney (1947) and Hodges & Lehmann (1963), see `canary_judge.stats.rank`.
    Manski, C. F. (1990), American Economic Review 80(2), 319-323 (bounds on what is missing).
    Brunner, E. & Munzel, U. (2000), doi:10.1002/(SICI)1521-4036(200001)42:1<17::AID-BIMJ17>3.0.CO;2-U (variance).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from canary_judge.arrays import Bool, Float, Int, finite, median, moved_onto
from canary_judge.results import Comparison, Harm, LimitCheck, Scale
from canary_judge.special import special
from canary_judge.stats.dependence import rank_autocorrelation_time, ranks_tau
from canary_judge.stats.exact import binomial_tails
from canary_judge.stats.margins import Margin, scale_of
from canary_judge.stats.paired import combined_p_value, rank_scores, signed_rank
from canary_judge.stats.questions import AtMargin, Compared, Interval, Question, Tails, ask, refuse_either
from canary_judge.stats.rank import mann_whitney, ranks_of
from canary_judge.stats.shift import shift_interval
from canary_judge.stats.stratified import stratified_ranks

__all__ = [
    "Pairs",
    "RankTest",
    "Strata",
    "compare_values",
    "effective_samples",
    "limit_values",
    "series_tau",
    "student_tails",
]

# Pairs are believed to be worth more than the sides by themselves when they are so many, and by this factor.
_MANY_PAIRS, _CLEAR_GAIN = 20.0, 2.0


def effective_samples(*, baseline: float, canary: float, tau: float = 1.0) -> float:
    """Independent samples per side that carry as much information: harmonic mean of the sides, over tau."""
    return 2 * baseline * canary / (baseline + canary) / tau


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Both sides at the same moments, with the gaps of one of them.

    Attributes:
        baseline: Shape (n,), in order of time; NaN where the canary alone has a value.
        canary: The same for the canary; no interval is NaN on both sides.
        inflation: By what factor a longer record has shown tau to be larger than the window tells.
        tau: Of the differences of pooled ranks, where a longer record has told it.
    """

    baseline: Float
    canary: Float
    inflation: float = 1.0
    tau: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strata:
    """The intervals of raw values.

    Attributes:
        intervals: The interval of each value of the baseline and of the canary.
        tau: Autocorrelation time of the intervals' scores, where a longer record has told it.
    """

    intervals: tuple[Int, Int]
    tau: float | None = None


def compare_values(
    *,
    baseline: Float,
    canary: Float,
    tau: float,
    harm: Harm,
    margin: Margin | None,
    spreads_differ: bool = False,
    design: Pairs | Strata | None = None,
) -> Compared:
    """Compare two series (or two samples of raw values) by ranks.

    The margin is put to the test by making the baseline worse by it and ranking the canary against the result,
    so it is relative to the baseline and never to the estimated shift. Student's t with 2 n_eff - 2 degrees of
    freedom stands for the normal distribution, because tau is estimated.

    With pairs, what moves both sides cancels. Harm: Wilcoxon's signed ranks of the differences (of logarithms, for a
    relative margin) are combined with Mann-Whitney. Safety: the differences of pooled ranks. What one side alone lost
    is worst where safety is asked, and best where harm is (Manski 1990): scrapes are lost when things are slow.

    Args:
        baseline: Shape (n_b,), finite, not empty.
        canary: Shape (n_c,), finite, not empty.
        tau: Integrated autocorrelation time of the ranks, in samples.
        harm: The harmful direction.
        margin: Largest tolerated degradation; None: only "worse at all" is asked.
        spreads_differ: Take no less than Brunner and Munzel's variance, which holds when the sides have different
            spreads; with very unequal sample sizes the usual one does not.
        design: The same values as pairs where those of both sides were taken at the same moments, with the gaps of one
            side; of raw values, the intervals within which they are compared (`stratified_ranks`), where enough of
            them have both sides.

    Returns:
        The evidence. The effect is a ratio when the margin is relative and all values are positive, else a
        difference in the unit of the values.

    Examples:
        >>> b = np.arange(100.0, 160.0)
        >>> c = compare_values(baseline=b, canary=b + 100, tau=1.0, harm=Harm.INCREASE,
        ...                    margin=Margin(relative=0.1)).at(0.9)
        >>> round(c.effect, 2), c.p_beyond_margin < 1e-6
        (1.77, True)
    """
    test = RankTest.of(
        baseline=baseline, canary=canary, tau=tau, margin=margin, spreads_differ=spreads_differ, design=design
    )
    # a direction that does not hurt is not looked into
    above = test.harm(np.asarray, upward=True) if harm is not Harm.DECREASE else 1.0
    below = test.harm(np.asarray, upward=False) if harm is not Harm.INCREASE else 1.0
    p_values = ask(harm, margin, at_par=Tails(above=above, below=below), at_margin=test.at_margin)
    usual, worth = median(baseline), test.worth
    scale = scale_of(margin, lowest=min(float(baseline.min()), float(canary.min())))
    return Compared(
        at_margin=test.at_margin,
        measure=lambda level: test.shift(scale, level),
        evidence=Comparison(
            method=test.method,
            scale=scale,
            margin=None if margin is None else margin.shown(harm, scale, level=usual),
            baseline=usual,
            canary=median(canary),
            p_harm=p_values.harm,
            p_beyond_margin=p_values.beyond,
            p_within_margin=p_values.within,
            n_baseline=baseline.size,
            n_canary=canary.size,
            n_effective=worth,
            tau=baseline.size / worth if isinstance(design, Pairs) else tau,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTest:
    """The two questions to ranks, each with the gaps of one side where they count least for it.

    Attributes:
        baseline: Shape (n_b,), finite.
        canary: Shape (n_c,), finite.
        tau: Autocorrelation time of the ranks.
        spreads_differ: As in `compare_values`.
        logarithms: Differences are taken of logarithms.
        design: As in `compare_values`.
    """

    baseline: Float
    canary: Float
    tau: float
    spreads_differ: bool
    logarithms: bool
    design: Pairs | Strata | None

    @classmethod
    def of(
        cls,
        *,
        baseline: Float,
        canary: Float,
        tau: float,
        margin: Margin | None,
        spreads_differ: bool,
        design: Pairs | Strata | None,
    ) -> RankTest:
        """As in `compare_values`."""
        relative = margin is not None and margin.relative is not None
        return cls(
            baseline=baseline,
            canary=canary,
            tau=tau,
            spreads_differ=spreads_differ,
            logarithms=relative and float(baseline.min()) > 0 and float(canary.min()) > 0,
            design=design,
        )

    @property
    def n_effective(self) -> float:
        """Of the two sides by themselves."""
        return effective_samples(baseline=self.baseline.size, canary=self.canary.size, tau=self.tau)

    @property
    def df(self) -> float:
        """Degrees of freedom of Student's t."""
        return max(2 * self.n_effective - 2, 1.0)

    @property
    def worth(self) -> float:
        """Effective samples: what both sides share costs pairs nothing, but few values cannot tell that they do."""
        if not isinstance(self.design, Pairs):
            return self.n_effective
        paired = rank_scores(baseline=self.baseline, canary=self.canary, inflation=self.design.inflation)[1]
        return paired if paired >= max(_MANY_PAIRS, _CLEAR_GAIN * self.n_effective) else self.n_effective

    @property
    def method(self) -> str:
        """As it is shown."""
        by = {Pairs: " and signed ranks", Strata: " within intervals"}.get(type(self.design), "")
        return "Mann-Whitney" + by + (" on n/tau effective samples" if self.tau > 1 else "")

    def at_margin(self, margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:
        """Both questions against the baseline made worse by the margin."""

        def shifted(values: Float) -> Float:
            return moved_onto(margin.shifted(values, upward=upward), self.canary, before=values)

        return AtMargin(
            beyond=1.0 if only == "within" else self.harm(shifted, upward=upward),
            within=1.0 if only == "beyond" else self.safety(shifted, upward=upward),
        )

    def harm(self, shift: Callable[[Float], Float], *, upward: bool) -> float:
        """The p-value of "no harm beyond the shift"."""
        reference, canary, gap = self._sides(shift, lost=-np.inf if upward else np.inf)
        ranked = self._ranks(reference, canary).worse(upward=upward)
        if not isinstance(self.design, Pairs):
            return ranked
        logarithms = self.logarithms and reference[~gap].min() > 0
        differences = np.full(canary.size, -np.inf if upward else np.inf)
        whole = (np.log(side[~gap]) if logarithms else side[~gap] for side in (canary, reference))
        differences[~gap] = np.subtract(*whole)
        return combined_p_value([ranked, _signed_tails(differences, self.design.inflation).worse(upward=upward)])

    def safety(self, shift: Callable[[Float], Float], *, upward: bool) -> float:
        """The p-value of "harm of the shift, or more"."""
        reference, canary, _ = self._sides(shift, lost=np.inf if upward else -np.inf)
        known = self.design
        if not isinstance(known, Pairs):
            return self._ranks(reference, canary).better(upward=upward)
        t, n = rank_scores(baseline=reference, canary=canary, inflation=known.inflation, tau=known.tau)
        return student_tails(t, max(n - 1, 1.0)).better(upward=upward)

    def _sides(self, shift: Callable[[Float], Float], *, lost: float) -> tuple[Float, Float, Bool]:
        """The shifted baseline and the canary, the gaps of one of them filled, and where they are."""
        if not isinstance(self.design, Pairs):
            return shift(self.baseline), self.canary, np.zeros(self.canary.size, dtype=bool)
        gaps = [np.isnan(side) for side in (self.design.baseline, self.design.canary)]
        reference = np.where(gaps[0], -lost, shift(self.design.baseline))
        return reference, np.where(gaps[1], lost, self.design.canary), gaps[0] | gaps[1]

    def _ranks(self, reference: Float, canary: Float) -> Tails:
        if isinstance(self.design, Strata):
            known = self.design
            within = stratified_ranks(baseline=reference, canary=canary, intervals=known.intervals, tau=known.tau)
            if within is not None:
                return within.tails
        if not (np.isfinite(reference).all() and np.isfinite(canary).all()):
            ranks = ranks_of(np.concatenate([canary, reference]))
            canary, reference = ranks[: canary.size], ranks[canary.size :]
        return _rank_tails(
            reference=reference, canary=canary, tau=self.tau, df=self.df, spreads_differ=self.spreads_differ
        )

    def shift(self, scale: Scale, level: float) -> tuple[float | None, Interval]:
        """Hodges-Lehmann shift and its interval, of logarithms where a ratio is shown."""
        quantile = float(special.stdtrit(self.df, 1 - (1 - level) / 2))
        # the untied deviation: ties at one shift are none at the next, and it is the wider one
        sigma = np.sqrt(self.baseline.size * self.canary.size * (self.baseline.size + self.canary.size + 1) / 12)
        half_width = float(quantile * np.sqrt(self.tau) * sigma) if level < 1 else 0.0
        transform: Callable[[Float], Float] = np.log if scale is Scale.RATIO else np.asarray
        sides = {"baseline": transform(self.baseline), "canary": transform(self.canary)}
        effect, (low, high) = shift_interval(**sides, half_width=half_width)
        if level == 1:
            low = high = None
        if scale is Scale.DIFFERENCE:
            return effect, (low, high)
        with np.errstate(over="ignore"):  # beyond all floats is no bound, and no effect
            return finite(float(np.exp(effect))), (_exp(low), _exp(high))


def _rank_tails(*, reference: Float, canary: Float, tau: float, df: float, spreads_differ: bool) -> Tails:
    """Mann-Whitney on n / tau values, with Student's tails."""
    test = mann_whitney(baseline=reference[None, :], canary=canary[None, :])
    z = float(test.z[0]) / np.sqrt(tau)
    if spreads_differ and z:
        z *= min(1.0, float(test.sigma[0]) / max(_placement_deviation(baseline=reference, canary=canary), 1e-300))
    return student_tails(z, df)


def _signed_tails(differences: Float, inflation: float) -> Tails:
    """Wilcoxon's signed ranks on n / tau differences."""
    t, n = signed_rank(differences, inflation=inflation)
    return student_tails(t, max(n - 1, 1.0))


def student_tails(t: float, df: float) -> Tails:
    """Both tails of Student's t."""
    return Tails(above=float(special.stdtr(df, -t)), below=float(special.stdtr(df, t)))


def _exp(value: float | None) -> float | None:
    return None if value is None else finite(float(np.exp(value)))


def _placement_deviation(*, baseline: Float, canary: Float) -> float:
    """Standard deviation of Mann-Whitney's u from the spread of each side's placements among the other."""
    pooled = ranks_of(np.concatenate([canary, baseline]))
    placements = (
        pooled[: canary.size] - ranks_of(canary),
        pooled[canary.size :] - ranks_of(baseline),
    )
    return float(np.sqrt(sum(side.size * side.var(ddof=1) for side in placements if side.size > 1)))


def limit_values(*, canary: Float, tau: float, limit: float, harm: Harm) -> LimitCheck:
    """Judge the canary's own median against an absolute bound, by signs on n / tau effective samples.

    Mann-Whitney against a constant is the sign test. Values equal to the bound count half.

    Args:
        canary: Shape (n,), finite, not empty.
        tau: Integrated autocorrelation time of the canary, in samples.
        limit: The bound, in the unit of the values.
        harm: `INCREASE`: the bound is an upper one; `DECREASE`: a lower one.

    Raises:
        ValueError: A bound has one side.

    Examples:
        >>> check = limit_values(canary=np.full(12, 3.0), tau=1.0, limit=2.0, harm=Harm.INCREASE)
        >>> round(check.p_beyond_limit, 6)
        0.000244
    """
    refuse_either(harm)
    n = canary.size / tau
    higher = (np.count_nonzero(canary > limit) + 0.5 * np.count_nonzero(canary == limit)) / tau
    signs = binomial_tails(higher, n, 0.5)
    upward = harm is Harm.INCREASE
    return LimitCheck(
        method="sign test on n/tau effective samples",
        limit=limit,
        canary=median(canary),
        p_beyond_limit=signs.worse(upward=upward),
        p_within_limit=signs.better(upward=upward),
    )


def series_tau(*, baseline: Float, canary: Float, history: Float) -> tuple[float, float]:
    """Tau of the rank comparison of two series of shape (n,), NaN for gaps.

    Returns:
        Tau as the two series show it, and the larger of it and the history's (shape (h,), maybe empty).
    """
    alone = float(rank_autocorrelation_time(baseline=baseline[None, :], canary=canary[None, :])[0])
    return alone, max(alone, _history_tau(history.tobytes()) if history.size else 1.0)


@lru_cache(maxsize=64)  # each keeps a whole history
def _history_tau(history: bytes) -> float:
    """Looks that follow each other share their history."""
    return ranks_tau(np.frombuffer(history)[None, :])
