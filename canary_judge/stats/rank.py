"""Mann-Whitney's rank statistic and the Hodges-Lehmann shift, one row per metric.

References:
    Mann, H. B. & Whitney, D. R. (1947), doi:10.1214/aoms/1177730491.
    Hodges, J. L. & Lehmann, E. L. (1963), doi:10.1214/aoms/1177704172.
    Lehmann, E. L. (1975), *Nonparametrics*, sections 1.4 (ties) and 2.3-2.5 (interval).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["RankTest", "difference_order_statistics", "mann_whitney", "mid_ranks", "shift_interval"]

# Below this many differences they are listed; above, the wanted ones are selected without listing all.
_LISTED_DIFFERENCES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTest:
    """Mann-Whitney's statistic by row, all arrays of shape (m,).

    Attributes:
        u: Pairs in which the canary is higher, ties counted half.
        sigma: Standard deviation of `u` when both sides have the same distribution, corrected for ties.
        z: (u - n_baseline * n_canary / 2) / sigma; 0 where sigma is 0, because nothing was seen.
        n_baseline: Usable baseline values.
        n_canary: Usable canary values.
    """

    u: Float
    sigma: Float
    z: Float
    n_baseline: NDArray[np.int64]
    n_canary: NDArray[np.int64]


def mid_ranks(values: Float) -> tuple[Float, Float]:
    """Mid-ranks (1 = smallest) within each row, and each row's sum of t^3 - t over its ties.

    Args:
        values: Shape (m, n); NaN marks a missing value, which gets the rank NaN.

    Returns:
        Ranks of shape (m, n) and tie sums of shape (m,).

    Examples:
        >>> ranks, ties = mid_ranks(np.array([[3.0, 1.0, 3.0, np.nan]]))
        >>> ranks.tolist(), ties.tolist()
        ([[2.5, 1.0, 2.5, nan]], [6.0])
    """
    rows, width = values.shape
    if width == 0:
        return np.empty((rows, 0)), np.zeros(rows)
    order = np.argsort(values, axis=1, kind="stable")  # NaN sorts last
    ordered = np.take_along_axis(values, order, axis=1)
    missing = np.isnan(ordered)
    position = np.broadcast_to(np.arange(width), (rows, width))
    starts = np.ones((rows, width), dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(starts, position, 0), axis=1)
    ends = np.ones((rows, width), dtype=bool)
    ends[:, :-1] = starts[:, 1:]
    last = np.minimum.accumulate(np.where(ends, position, width)[:, ::-1], axis=1)[:, ::-1]
    size = (last - first + 1).astype(float)
    ties = np.where(ends & ~missing, size**3 - size, 0.0).sum(axis=1)
    ranks = np.empty((rows, width))
    np.put_along_axis(ranks, order, np.where(missing, np.nan, (first + last) / 2 + 1), axis=1)
    return ranks, ties


def mann_whitney(*, baseline: Float, canary: Float) -> RankTest:
    """Compare canary and baseline by ranks, row by row.

    Args:
        baseline: Shape (m, n_b); NaN marks a missing value, so rows may be ragged.
        canary: Shape (m, n_c).

    Returns:
        The statistic without continuity correction. A one-sided p-value of "not higher" is the upper tail
        of `z`, divided by the square root of the autocorrelation time when the values depend on each other.

    Examples:
        >>> test = mann_whitney(baseline=np.array([[1.0, 2.0, 3.0]]), canary=np.array([[2.0, 4.0, 5.0]]))
        >>> float(test.u[0])
        7.5
    """
    ranks, ties = mid_ranks(np.concatenate([canary, baseline], axis=1))
    n_canary = np.count_nonzero(~np.isnan(canary), axis=1)
    n_baseline = np.count_nonzero(~np.isnan(baseline), axis=1)
    u = np.nansum(ranks[:, : canary.shape[1]], axis=1) - n_canary * (n_canary + 1) / 2
    pairs = n_canary.astype(float) * n_baseline
    total = (n_canary + n_baseline).astype(float)
    tied = np.divide(ties, total * (total - 1), out=np.zeros_like(total), where=total > 1)
    sigma = np.sqrt(np.maximum(pairs / 12 * (total + 1 - tied), 0.0))
    z = np.divide(u - pairs / 2, sigma, out=np.zeros_like(u), where=sigma > 0)
    return RankTest(u=u, sigma=sigma, z=z, n_baseline=n_baseline, n_canary=n_canary)


def shift_interval(
    *, baseline: Float, canary: Float, half_width: float
) -> tuple[float, tuple[float | None, float | None]]:
    """Hodges-Lehmann shift canary - baseline, and its interval.

    The interval inverts the rank test: it holds every shift at which `u` is within `half_width` of its mean.

    Args:
        baseline: Shape (n_b,), finite, not empty.
        canary: Shape (n_c,), finite, not empty.
        half_width: Quantile of the test times the standard deviation of `u`.

    Returns:
        The median of all n_b * n_c differences, and the interval; an end is None where the sample is too
        small to bound the shift at this level.

    Examples:
        >>> shift_interval(baseline=np.array([1.0, 2, 3]), canary=np.array([4.0, 5, 7]), half_width=3.5)
        (3.0, (1.0, 6.0))
    """
    pairs = baseline.size * canary.size
    depth = int(np.floor(pairs / 2 - half_width))
    middle = [(pairs - 1) // 2, pairs // 2]
    ends = [depth - 1, pairs - depth] if depth >= 1 else []
    found = difference_order_statistics(canary, baseline, middle + ends)
    estimate = float(found[0] + found[1]) / 2 if middle[0] != middle[1] else float(found[0])
    return estimate, (float(found[2]), float(found[3])) if ends else (None, None)


def difference_order_statistics(x: Float, y: Float, ranks: list[int]) -> Float:
    """The differences x_i - y_j with the given 0-based ranks, without n * m memory.

    Examples:
        >>> difference_order_statistics(np.array([1.0, 5.0]), np.array([0.0, 3.0]), [0, 3]).tolist()
        [-2.0, 5.0]
    """
    if x.size * y.size <= _LISTED_DIFFERENCES:
        differences = np.subtract.outer(x, y).ravel()
        return np.asarray(np.partition(differences, sorted(set(ranks)))[ranks])
    x, y = np.sort(x), np.sort(y)
    return np.array([_select_difference(x, y, rank) for rank in ranks])


def _select_difference(x: Float, y: Float, rank: int) -> float:
    """One order statistic of the differences of sorted x and y: halve a bracket of values, then list it."""
    low, high = float(np.nextafter(x[0] - y[-1], -np.inf)), float(x[-1] - y[0])
    below, above = 0, x.size * y.size  # differences <= low, and <= high
    while above - below > _LISTED_DIFFERENCES:
        middle = low + (high - low) / 2
        if not low < middle < high:
            return high  # the bracket holds one value only: ties
        count = _count_up_to(x, y, middle)
        if count > rank:
            high, above = middle, count
        else:
            low, below = middle, count
    first = np.searchsorted(y, x - high, side="left")
    stop = np.searchsorted(y, x - low, side="left")
    lengths = stop - first
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    listed = np.repeat(x, lengths) - y[np.repeat(first, lengths) + offsets]
    return float(np.partition(listed, rank - below)[rank - below])


def _count_up_to(x: Float, y: Float, bound: float) -> int:
    return int(x.size * y.size - np.searchsorted(y, x - bound, side="left").sum())
