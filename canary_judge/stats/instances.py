"""Instances against instances: the pod is the unit of replication, whatever the length of its record.

References:
    Crawford, J. R. & Howell, D. C. (1998), doi:10.1076/clin.12.4.482.7241 (a case against a small sample).
    Fieller, E. C. (1954), Journal of the Royal Statistical Society B 16(2), 175-185 (a margin relative to a mean).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from canary_judge.arrays import Float, levels_of_rows, moved_onto
from canary_judge.results import Comparison, Harm, Scale
from canary_judge.special import special
from canary_judge.stats.gauges import effective_samples, student_tails
from canary_judge.stats.margins import Margin
from canary_judge.stats.means import bounded
from canary_judge.stats.paired import combined_tails
from canary_judge.stats.questions import AtMargin, Compared, Interval, Question, Tails, ask
from canary_judge.stats.rank import mann_whitney_p_values

__all__ = ["compare_instances"]

# With fewer ways to pick the canary's instances out of all, ranks cannot be extreme enough to say anything.
_MANY_PERMUTATIONS = 1000
# Of its largest value, what the mean of equal values may be off.
_ROUNDING = 1e-14


def compare_instances(
    *,
    baseline: Float,
    canary: Float,
    harm: Harm,
    margin: Margin | None,
    before: tuple[Float, Float] | None = None,
) -> Compared:
    """Compare instances by their means over the window: the instance is the unit of replication.

    No correction for time can tell an effect from the difference that two healthy pods keep for good; the
    spread between instances can. One canary instance is Crawford & Howell's case against a small sample.

    Args:
        baseline: Shape (k_b, n), one row per instance, NaN for gaps; k_b + k_c at least 3.
        canary: Shape (k_c, n).
        harm: The harmful direction.
        margin: Largest tolerated degradation.
        before: Usual levels of the same instances before the change, shapes (k_b,) and (k_c,): each instance is then
            compared with itself, and only the changes are compared between the sides.

    Returns:
        The evidence. The effect is a ratio of geometric means of the instances' means when the margin is relative and
        all are positive, else a difference of their means.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> b, c = rng.normal(100, 5, (6, 30)), rng.normal(150, 5, (2, 30))
        >>> found = compare_instances(baseline=b, canary=c, harm=Harm.INCREASE, margin=Margin(relative=0.1)).at(0.9)
        >>> round(found.effect, 2), found.p_beyond_margin < 1e-4
        (1.5, True)
    """
    b, c = levels_of_rows(baseline), levels_of_rows(canary)
    usual, new = float(b.mean()), float(c.mean())
    positive = min(float(values.min()) for values in (b, c, *(before or ()))) > 0
    scale = Scale.RATIO if margin is not None and margin.absolute is None and positive else Scale.DIFFERENCE
    # healthy pods differ by factors; and a margin in logs is the same for every baseline
    transform: Callable[[Float], Float] = np.log if scale is Scale.RATIO else np.asarray
    b, c = transform(b), transform(c)
    if before is not None:
        b, c = b - transform(before[0]), c - transform(before[1])
    test = _Spread(baseline=b, canary=c, changes=before is not None)

    def at_margin(margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:  # noqa: ARG001
        if scale is Scale.RATIO:
            share = margin.factor(upward=upward)
            # nothing can be as low as a share below 0
            tails = test.tails(math.log(share)) if share > 0 else Tails(above=0.0, below=1.0)
            return AtMargin.of(tails, upward=upward)
        amount = margin.amount(usual) if upward else -margin.amount(usual)
        # a margin that is a share of the baseline moves with the baseline's own error (Fieller 1954)
        relative = amount / usual if usual and margin.by_share(usual) else 0.0
        return AtMargin.of(test.tails(amount, 1 + relative), upward=upward)

    p_values = ask(harm, margin, at_par=test.tails(0.0), at_margin=at_margin)
    return Compared(
        at_margin=at_margin,
        measure=lambda level: test.measured(scale, level),
        evidence=Comparison(
            method="t test"
            + (" and Mann-Whitney" if test.by_ranks and test.squares > 0 else "")
            + " between instances"
            + (" of the change since before" if before is not None else "")
            + (" on logarithms" if scale is Scale.RATIO else ""),
            scale=scale,
            margin=None if margin is None else margin.shown(harm, scale, level=usual),
            baseline=usual,
            canary=new,
            p_harm=p_values.harm,
            p_beyond_margin=p_values.beyond,
            p_within_margin=p_values.within,
            n_baseline=b.size,
            n_canary=c.size,
            n_effective=effective_samples(baseline=b.size, canary=c.size),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Spread:
    """Levels of the instances of both sides, told apart by the spread between instances.

    Attributes:
        baseline: Shape (k_b,), one level (or change of it) per instance.
        canary: Shape (k_c,).
        changes: They are changes since before.
    """

    baseline: Float
    canary: Float
    changes: bool

    @property
    def df(self) -> int:
        """Degrees of freedom of the pooled spread."""
        return self.baseline.size + self.canary.size - 2

    @property
    def squares(self) -> float:
        """Squared deviations from each side's mean, added up; 0 where nothing but rounding is left of them."""
        b, c = self.baseline, self.canary
        found = float(((b - b.mean()) ** 2).sum() + ((c - c.mean()) ** 2).sum())
        return found if found > (b.size + c.size) * self.rounding**2 else 0.0

    @property
    def rounding(self) -> float:
        """What the mean of equal values may be off."""
        return _ROUNDING * float(max(np.abs(self.baseline).max(), np.abs(self.canary).max()))

    @property
    def effect(self) -> float:
        """Difference of the means."""
        return float(self.canary.mean() - self.baseline.mean())

    @property
    def permutations(self) -> int:
        """Ways to pick the canary's instances out of all."""
        return math.comb(self.baseline.size + self.canary.size, self.canary.size)

    @property
    def by_ranks(self) -> bool:
        """Ranks have something to say."""
        return self.permutations >= _MANY_PERMUTATIONS

    def error(self, factor: float) -> float:
        """Standard error of canary - factor x baseline."""
        b, c = self.baseline, self.canary
        return float(np.sqrt(self.squares / self.df * (factor**2 / b.size + 1 / c.size)))

    def tails(self, null: float, factor: float = 1.0) -> Tails:
        """Against a difference, where the baseline counts `factor` times in its error."""
        distance = self.effect - null
        if self.squares == 0:
            # equal constants are no certainty: of all ways to pick the canary this one is as extreme this often
            floor = 1 / self.permutations
            return (
                Tails(0.5, 0.5)
                if abs(distance) <= self.rounding
                else Tails(floor, 1.0)
                if distance > 0
                else Tails(1.0, floor)
            )
        t = distance / self.error(factor)
        by_spread = student_tails(t, self.df)
        if not self.by_ranks:
            return by_spread
        reference = self.baseline * factor if factor != 1 and not self.changes else self.baseline + null
        reference = moved_onto(reference, self.canary, before=self.baseline)
        higher, lower = mann_whitney_p_values(baseline=reference[None, :], canary=self.canary[None, :])
        return combined_tails(by_spread, Tails(above=float(higher[0]), below=float(lower[0])))

    def measured(self, scale: Scale, level: float) -> tuple[float, Interval]:
        """Effect and interval on the scale that is shown."""
        # level 1 asks for no interval; and scipy's t quantile at 1 is infinite or NaN, by its version
        half_width = float(special.stdtrit(self.df, 1 - (1 - level) / 2)) * self.error(1.0) if level < 1 else math.nan
        ends = self.effect - half_width, self.effect + half_width
        if scale is Scale.DIFFERENCE:
            return self.effect, bounded(*ends)
        # np.exp overflows to infinity, which is no bound
        with np.errstate(over="ignore"):
            return float(np.exp(self.effect)), bounded(float(np.exp(ends[0])), float(np.exp(ends[1])))
