"""Ratios of means over users: the user is what is drawn at random, not the request.

Of each user there are totals x (numerator) and y (denominator; 1 where there is none), and the same two of the time
before the run, x0 and y0. The effect is the ratio of R = mean x / mean y of both sides, linearised per user (delta
method): e = (x - R y) / mean y. What users did before explains a part of what they do now, and is taken off (CUPED):

    T(f) = R_c - f R_b - theta (R0_c - R0_b),   theta = sum_g n_g cov_g(e, e0) / sum_g n_g var_g(e0)

is 0 where the canary's level is f times the baseline's, so that a relative margin is tested without a logarithm and
without a division by a noisy baseline (Fieller). Its variance is the larger of the one with each side's own variance
and the one with the pooled variance: the own variance of a small, skewed canary is small exactly when its mean is low.
Simulated levels are in tests/stats/test_users.py and docs/people.md.

References:
    Deng, A., Knoblich, U. & Lu, J. (2018), doi:10.1145/3219819.3219919 (delta method, the user as the unit).
    Deng, A., Xu, Y., Kohavi, R. & Walker, T. (2013), doi:10.1145/2433396.2433413 (CUPED).
    Fieller, E. C. (1954), JRSS B 16(2), 175-185 (intervals of ratios).
    Welch, B. L. (1947), doi:10.1093/biomet/34.1-2.28 (degrees of freedom).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from canary_judge.moments import Moments
from canary_judge.results import Comparison, Harm, Scale
from canary_judge.special import special
from canary_judge.stats.margins import Margin, scale_of
from canary_judge.stats.questions import AtMargin, Compared, Interval, Question, Tails, ask

__all__ = ["Past", "alike_before", "change_since", "compare_users", "users_information", "users_spread"]


# What is so small a part of the terms that it is a difference of is rounding.
_ROUNDING, _OF_A_MEAN = 1e-11, 3e-26
Past = Literal["taken off", "left out", "both"]


class _Side(NamedTuple):
    """One side, linearised.

    Attributes:
        users: How many.
        ratio: Mean numerator over mean denominator.
        before: The same before the run.
        own: Variance per user of the ratio.
        shared: Covariance per user of the ratio and the one before.
        past: Variance per user of the one before.
    """

    users: int
    ratio: float
    before: float
    own: float
    shared: float
    past: float

    @classmethod
    def of(cls, moments: Moments) -> _Side | None:
        """None where nothing divides the numerator, or fewer than two users were seen."""
        x, y, x0, y0 = moments.mean.tolist()
        if moments.users < 2 or not y:
            return None
        ratio, before = x / y, x0 / y0 if y0 else 0.0
        now = np.array([1 / y, -ratio / y, 0.0, 0.0])
        then = np.array([0.0, 0.0, 1 / y0, -before / y0]) if y0 else np.zeros(4)
        covariance = moments.covariance
        own = float(now @ covariance @ now)
        terms = float(np.abs(now) @ np.abs(covariance) @ np.abs(now))
        if own <= _ROUNDING * terms or own <= _OF_A_MEAN * ratio**2:
            own = 0.0  # of users who are all alike
        return cls(
            users=moments.users,
            ratio=ratio,
            before=before,
            own=own,
            shared=float(now @ covariance @ then),
            past=max(float(then @ covariance @ then), 0.0),
        )


class _Quadratic(NamedTuple):
    """The variance of T as a function of the factor f: a - 2 b f + c f^2."""

    a: float
    b: float
    c: float

    def at(self, factor: float) -> float:
        return max(self.a - 2 * self.b * factor + self.c * factor**2, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contrast:
    """T at any factor, and its variance.

    Attributes:
        baseline: One side.
        canary: The other one.
        theta: What is taken off for the time before.
    """

    baseline: _Side
    canary: _Side
    theta: float

    @classmethod
    def of(cls, baseline: Moments, canary: Moments, *, cuped: bool = True) -> _Contrast | None:
        b, c = _Side.of(baseline), _Side.of(canary)
        if b is None or c is None:
            return None
        past = b.users * b.past + c.users * c.past
        # where one side has no past at all there is nothing to set against the other's
        usable = cuped and past > 0 and min(baseline.mean[3], canary.mean[3]) > 0
        theta = (b.users * b.shared + c.users * c.shared) / past if usable else 0.0
        return cls(baseline=b, canary=c, theta=theta)

    @property
    def level(self) -> float:
        """The canary's ratio, less what its users differed before."""
        return self.canary.ratio - self.theta * (self.canary.before - self.baseline.before)

    def t(self, factor: float) -> float:
        """T."""
        return self.level - factor * self.baseline.ratio

    def _parts(self) -> tuple[float, _Quadratic]:
        """Variance per user of the canary, and of the baseline as a function of the factor."""
        b, c, theta = self.baseline, self.canary, self.theta
        canary = max(c.own - 2 * theta * c.shared + theta**2 * c.past, 0.0)
        return canary, _Quadratic(theta**2 * b.past, theta * b.shared, b.own)

    def variances(self) -> tuple[_Quadratic, _Quadratic]:
        """Of T: with each side's own variance, and with the pooled one."""
        canary, per_user = self._parts()
        n_b, n_c = self.baseline.users, self.canary.users
        pooled = (1 / n_c + 1 / n_b) / (n_c + n_b)
        return (
            _Quadratic(canary / n_c + per_user.a / n_b, per_user.b / n_b, per_user.c / n_b),
            _Quadratic(
                pooled * (n_c * canary + n_b * per_user.a), pooled * n_b * per_user.b, pooled * n_b * per_user.c
            ),
        )

    def variance(self, factor: float) -> float:
        """The larger of both."""
        return max(one.at(factor) for one in self.variances())

    def freedom(self, factor: float) -> float:
        """Degrees of freedom of the own variance (Welch)."""
        canary, per_user = self._parts()
        n_b, n_c = self.baseline.users, self.canary.users
        parts = (canary / n_c, n_c), (per_user.at(factor) / n_b, n_b)
        whole = sum(part for part, _ in parts)
        if not whole:
            return float(n_b + n_c - 2)
        # in shares, for squares of small variances may be none
        return 1 / sum((part / whole) ** 2 / (n - 1) for part, n in parts)

    def tails(self, factor: float, shift: float = 0.0) -> Tails:
        """p-values against "the canary is at f times the baseline, and this much higher"."""
        off, variance = self.t(factor) - shift, self.variance(factor)
        if not variance:
            return Tails(above=float(off <= 0), below=float(off >= 0))
        t, df = off / math.sqrt(variance), self.freedom(factor)
        return Tails(above=float(special.stdtr(df, -t)), below=float(special.stdtr(df, t)))

    def at_margin(self, margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:  # noqa: ARG002
        """As `MarginTest`. Of two parts both must be exceeded, and the larger one is what harm must stay within."""
        level, found = self.baseline.ratio, []
        if margin.relative is not None:
            # of a negative level more is nearer to 0
            part = math.copysign(margin.relative, level)
            found.append(AtMargin.of(self.tails(1 + part if upward else 1 - part), upward=upward))
        if margin.absolute is not None:
            shift = margin.absolute if upward else -margin.absolute
            found.append(AtMargin.of(self.tails(1.0, shift), upward=upward))
        larger = found[0] if margin.absolute is None or margin.by_share(level) else found[-1]
        return AtMargin(beyond=max(one.beyond for one in found), within=larger.within)

    def measured(self, scale: Scale, level: float) -> tuple[float | None, Interval]:
        """Effect and interval."""
        if scale is Scale.DIFFERENCE:
            effect = self.t(1.0)
            if level >= 1:
                return effect, (None, None)
            half = float(special.stdtrit(self.freedom(1.0), (1 + level) / 2)) * math.sqrt(self.variance(1.0))
            return effect, (effect - half, effect + half)
        effect = self.level / self.baseline.ratio
        return effect, (None, None) if level >= 1 else self._fieller(effect, level)

    def _fieller(self, effect: float, level: float) -> Interval:
        """The factors that are not rejected; with the larger of two variances, all that one of them does not reject."""
        q2 = float(special.stdtrit(self.freedom(effect), (1 + level) / 2)) ** 2
        r, n = self.baseline.ratio, self.level
        low = high = effect
        for one in self.variances():
            a, b, c = r**2 - q2 * one.c, n * r - q2 * one.b, n**2 - q2 * one.a
            if a <= 0:
                return None, None  # the baseline may be 0
            root = math.sqrt(max(b**2 - a * c, 0.0))
            low, high = min(low, (b - root) / a), max(high, (b + root) / a)
        return max(low, 0.0), high


def compare_users(
    baseline: Moments,
    canary: Moments,
    *,
    harm: Harm,
    margin: Margin | None,
    per_user: bool = False,
    past: Past = "taken off",
) -> Compared | None:
    """Compare the ratio of means of both sides' users.

    Args:
        baseline: The users of the baseline.
        canary: The same of the canary.
        harm: The harmful direction.
        margin: Largest tolerated degradation; None: only "worse at all" is asked.
        per_user: There is no denominator, for the name of the method.
        past: What users did before is taken off what they do now; or left out; or harm must be shown both ways, where
            it is not chance alone who got the canary.

    Returns:
        The comparison; None where a side has fewer than two users, or none of them has a denominator.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> def users(n, rate):
        ...     seen = rng.poisson(20, n) + 1.0
        ...     return Moments.of(np.column_stack([rng.binomial(seen.astype(int), rate), seen, 0 * seen, 0 * seen]))
        >>> found = compare_users(users(20_000, 0.1), users(2_000, 0.08), harm=Harm.DECREASE,
        ...                       margin=Margin(relative=0.1))
        >>> found.evidence.p_beyond_margin < 0.001, round(found.at(0.9).effect, 2)
        (True, 0.78)
    """
    plain = _Contrast.of(baseline, canary, cuped=False)
    adjusted = _Contrast.of(baseline, canary)
    if plain is None or adjusted is None:
        return None
    contrast = adjusted if past == "taken off" else plain
    level = contrast.baseline.ratio
    # nothing at all is a ratio of 0; below it there is none
    scale = scale_of(margin, lowest=level if contrast.canary.ratio >= 0 else contrast.canary.ratio)

    def at_margin(margin: Margin, *, upward: bool, only: Question | None = None) -> AtMargin:
        found = contrast.at_margin(margin, upward=upward, only=only)
        if past != "both":
            return found
        other = adjusted.at_margin(margin, upward=upward, only=only)
        return AtMargin(beyond=max(found.beyond, other.beyond), within=max(found.within, other.within))

    tails = contrast.tails(1.0)
    if past == "both":
        tails = Tails(*map(max, tails, adjusted.tails(1.0)))
    p = ask(harm, margin, at_par=tails, at_margin=at_margin)
    variance, without = contrast.variance(1.0), plain.variance(1.0)
    own = contrast.baseline.own + contrast.canary.own
    evidence = Comparison(
        method=("mean" if per_user else "ratio of means") + " by user" + (", CUPED" if contrast.theta else ""),
        scale=scale,
        margin=None if margin is None else margin.shown(harm, scale, level=level),
        baseline=level,
        canary=contrast.level,
        p_harm=p.harm,
        p_beyond_margin=p.beyond,
        p_within_margin=p.within,
        n_baseline=float(baseline.users),
        n_canary=float(canary.users),
        n_effective=own / variance if variance else float(min(baseline.users, canary.users)),
        users_baseline=baseline.users,
        users_canary=canary.users,
        variance_saved=1 - variance / without if without else 0.0,
        standard_error=math.sqrt(variance),
    )
    return Compared(evidence=evidence, at_margin=at_margin, measure=lambda level: contrast.measured(scale, level))


def users_spread(moments: Moments) -> tuple[float, float] | None:
    """Level and variance per user of one side, less what the time before explains; None with nothing to divide by."""
    side = _Side.of(moments)
    if side is None:
        return None
    explained = side.shared**2 / side.past if side.past > 0 else 0.0
    return side.ratio, max(side.own - explained, 0.0)


def users_information(comparison: Comparison) -> float:
    """What the evidence of users grows by: the squared level of the baseline over the variance of the effect."""
    level, error = comparison.baseline or 0.0, comparison.standard_error or 0.0
    return (level / error) ** 2 if error else 0.0


def alike_before(baseline: Moments, canary: Moments) -> float:
    """How many standard errors the sides' users differed before the run, where chance alone should tell them apart.

    Examples:
        >>> same = Moments.of(np.random.default_rng(1).normal(5, 1, (1000, 4)))
        >>> alike_before(same, same)
        0.0
    """
    past = []
    for side in (baseline, canary):
        then = np.ix_([2, 3], [2, 3])
        past.append(
            Moments(users=side.users, mean=np.r_[side.mean[2:], 0, 0], covariance=_padded(side.covariance[then]))
        )
    contrast = _Contrast.of(*past, cuped=False)
    if contrast is None:
        return 0.0
    variance = contrast.variance(1.0)
    return contrast.t(1.0) / math.sqrt(variance) if variance else 0.0


def change_since(early: tuple[Moments, Moments], late: tuple[Moments, Moments]) -> tuple[float, float, float] | None:
    """The effect in an earlier and in a later part of the run, and by how many standard errors it changed.

    Users who were there in both make the two alike, so the last number is rather too small.

    Args:
        early: The users of the baseline and of the canary then.
        late: The same later.

    Returns:
        Both effects, as shares of the baseline's level, and their difference over its standard error; None where one
        of them cannot be told.
    """
    effects, variances = [], []
    for baseline, canary in (early, late):
        contrast = _Contrast.of(baseline, canary)
        if contrast is None or not contrast.baseline.ratio:
            return None
        level = abs(contrast.baseline.ratio)
        effects.append(contrast.t(1.0) / level)
        variances.append(contrast.variance(1.0) / level**2)
    spread = math.sqrt(sum(variances))
    return (effects[0], effects[1], (effects[1] - effects[0]) / spread) if spread else None


def _padded(covariance: np.ndarray) -> np.ndarray:
    whole = np.zeros((4, 4))
    whole[:2, :2] = covariance
    return whole
