"""Streams of gauges, one value per side and look: evidence kept up to date for a thousand of them at once.

A process is a frozen state: `update` takes the next values of all streams, `log_e` gives the evidence against "the
canary is not higher". An update costs one pass over what is kept, not a ranking from scratch.

References:
    Mann & Whitney (1947), see `canary_judge.stats.rank`; Howard et al. (2021), see `canary_judge.stats.sequential`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from canary_judge.arrays import Bool, Float, Int
from canary_judge.stats.sequential import normal_mixture

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


__all__ = ["RankProcess"]

_FEWEST = 10
_FEWEST_EFFECTIVE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankProcess:
    """Sequential Mann-Whitney of m streams.

    Attributes:
        baseline: Values so far, shape (n, m), one row per look; NaN marks a gap, which drops the pair.
        canary: The same for the canary.
        count: Pairs so far, shape (m,).
        u: Pairs in which the canary's value is higher, ties counted half, shape (m,).
        ties: Sum of t^3 - t over the groups of equal values, shape (m,).

    Examples:
        >>> process = RankProcess.start(2)
        >>> for k in range(30):
        ...     process = process.update(baseline=[k % 5, k % 7], canary=[k % 5 + 3, k % 7])
        >>> np.exp(process.log_e(tau=1.0, rho=5.0)).round(1).tolist()
        [661589.5, 0.4]
    """

    baseline: Float
    canary: Float
    count: Float
    u: Float
    ties: Float

    @classmethod
    def start(cls, streams: int) -> Self:
        """No data yet."""
        empty, zero = np.empty((0, streams)), np.zeros(streams)
        return cls(baseline=empty, canary=empty, count=zero, u=zero, ties=zero)

    def update(self, *, baseline: ArrayLike, canary: ArrayLike) -> Self:
        """Add one value per side and stream, shape (m,) each."""
        b, c = np.asarray(baseline, dtype=float), np.asarray(canary, dtype=float)
        gap = np.isnan(b) | np.isnan(c)
        b, c = np.where(gap, np.nan, b), np.where(gap, np.nan, c)
        below, not_above = _count(self.baseline < c), _count(self.baseline <= c)
        above, not_below = _count(self.canary > b), _count(self.canary >= b)
        pair = (c > b) + 0.5 * (c == b)
        first = _count(self.baseline == b) + (not_below - above)
        second = (not_above - below) + _count(self.canary == c) + (b == c)
        return type(self)(
            baseline=np.concatenate([self.baseline, b[None, :]]),
            canary=np.concatenate([self.canary, c[None, :]]),
            count=self.count + ~gap,
            u=self.u + 0.5 * (below + not_above) + 0.5 * (above + not_below) + pair,
            # the k + 1st equal value adds 3 k (k + 1)
            ties=self.ties + 3.0 * first * (first + 1) + 3.0 * second * (second + 1),
        )

    def z(self) -> Float:
        """Standardised u with the variance corrected for ties; 0 without variance. Shape (m,)."""
        n = self.count
        both = np.maximum(2 * n, 2)
        variance = n**2 / 12 * (both + 1 - self.ties / (both * (both - 1)))
        return np.asarray(np.divide(self.u - n**2 / 2, np.sqrt(variance), out=np.zeros_like(n), where=variance > 0))

    def log_e(self, *, tau: ArrayLike, rho: ArrayLike) -> Float:
        """Log e against "the canary is not higher", shape (m,); 0 before there are 10 values worth 4 independent ones.

        Args:
            tau: Integrated autocorrelation time of the ranks, shape (m,).
            rho: From `best_rho`, in effective values per side.
        """
        n = self.count
        information = n / np.asarray(tau, dtype=float)
        total = self.z() / np.sqrt(tau) * np.sqrt(information)
        enough = (n >= _FEWEST) & (information >= _FEWEST_EFFECTIVE)
        return np.where(enough, normal_mixture(total, information, rho=rho), 0.0)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, NaN as None; u and ties are kept too, so that nothing is ranked again."""
        listed = {name: getattr(self, name).astype(object) for name in ("baseline", "canary")}
        for name, values in listed.items():
            values[np.isnan(getattr(self, name))] = None
        sums = {name: getattr(self, name).tolist() for name in ("count", "u", "ties")}
        return {**{name: values.tolist() for name, values in listed.items()}, **sums}

    @classmethod
    def from_mapping(cls, plain: dict[str, Any]) -> Self:
        """What `to_mapping` gave."""
        shape = (-1, len(plain["u"]))
        values = {name: np.array(plain[name], dtype=float).reshape(shape) for name in ("baseline", "canary")}
        return cls(**values, **{name: np.array(plain[name]) for name in ("count", "u", "ties")})


def _count(hits: Bool) -> Int:
    """Hits per stream; sums of small integers are several times faster than numpy's count_nonzero along an axis."""
    kind = np.uint16 if len(hits) < 2**16 else np.uint32
    return np.asarray(hits.sum(axis=0, dtype=kind), dtype=np.int64)
