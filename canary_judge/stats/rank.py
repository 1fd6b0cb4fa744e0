"""Mann-Whitney's rank statistic and its p-values, one row per metric.

One sort does the work: each value becomes an order-preserving integer with its side in the lowest bit, so that the
sorted integers say where the canary stands and what is tied. Values whose images would not fit are ranked by
`mid_ranks` instead; both give the same numbers.

References:
    Mann, H. B. & Whitney, D. R. (1947), doi:10.1214/aoms/1177730491.
    Lehmann, E. L. (1975), *Nonparametrics*, section 1.4 (ties).
    Streitberg, B. & Röhmel, J. (1986), Statistical Software Newsletter 12(1), 10-17 (exact distribution with ties).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from canary_judge.arrays import Float, Int
from canary_judge.special import special

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Keys = NDArray[np.uint64]

__all__ = ["RankTest", "mann_whitney", "mann_whitney_p_values", "mid_ranks", "ranks_of"]

# Values of one chunk of rows: its keys stay in the second-level cache.
_CHUNK = 1 << 16
# Tied blocks of one long row are counted in pieces of this many values, which bounds the memory.
_PIECE = 1 << 21
# Most samples of both sides together for which every assignment of ranks is counted.
_EXACT = 50

_MAGNITUDE = np.int64(2**63 - 1)
# Bit patterns of 2^-511 and 2^512: non-zero magnitudes between them leave the bits for sign and side free.
_SMALLEST, _LARGEST = np.int64(512 << 52), np.int64(1535 << 52)


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
    n_baseline: Int
    n_canary: Int


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
    rows, n, m = baseline.shape[0], baseline.shape[1], canary.shape[1]
    doubled, ties = np.zeros(rows), np.zeros(rows)
    n_baseline, n_canary = np.full(rows, n), np.full(rows, m)
    step = max(1, _CHUNK // max(n + m, 1))
    for first in range(0, rows if n + m else 0, step):
        part = slice(first, first + step)
        b, c = (np.ascontiguousarray(side[part], dtype=float) for side in (baseline, canary))
        # the minimum is NaN where a value is: one pass tells missing values and signs
        low = np.minimum(b.min(initial=np.inf), c.min(initial=np.inf))
        missing = None
        if np.isnan(low):
            gaps_b, gaps_c = np.isnan(b), np.isnan(c)
            missing = np.count_nonzero(gaps_b, axis=1), np.count_nonzero(gaps_c, axis=1)
            b, c = np.where(gaps_b, np.nan, b), np.where(gaps_c, np.nan, c)  # one bit pattern for all that is missing
            n_baseline[part] -= missing[0]
            n_canary[part] -= missing[1]
        keys = _keys(baseline=b, canary=c, mixed=not low >= 0)
        if keys is None:
            ranks, ties[part] = mid_ranks(np.concatenate([c, b], axis=1))
            doubled[part] = 2 * np.nansum(ranks[:, :m], axis=1)
        else:
            keys.sort(axis=1)
            doubled[part], ties[part] = _doubled_rank_sums(keys, m, missing)
    u = doubled / 2 - n_canary * (n_canary + 1) / 2
    pairs = n_canary.astype(float) * n_baseline
    total = (n_canary + n_baseline).astype(float)
    tied = np.divide(ties, total * (total - 1), out=np.zeros_like(total), where=total > 1)
    sigma = np.sqrt(np.maximum(pairs / 12 * (total + 1 - tied), 0.0))
    z = np.divide(u - pairs / 2, sigma, out=np.zeros_like(u), where=sigma > 0)
    return RankTest(u=u, sigma=sigma, z=z, n_baseline=n_baseline, n_canary=n_canary)


def _keys(*, baseline: Float, canary: Float, mixed: bool) -> Keys | None:
    """Integers in the order of the values, canary + 1; None where magnitudes are too small or large to be packed."""
    m = canary.shape[1]
    keys: Keys = np.empty((canary.shape[0], m + baseline.shape[1]), dtype=np.uint64)
    for side, out in ((canary, keys[:, :m]), (baseline, keys[:, m:])):
        bits = _signed(side) if mixed else side.view(np.uint64)
        if bits is None:
            return None
        np.left_shift(bits, np.uint64(1), out=out)  # the sign of values >= 0, and of NaN, falls off
    np.bitwise_or(keys[:, :m], np.uint64(1), out=keys[:, :m])
    return keys


def _signed(values: Float) -> Keys | None:
    """63-bit integers in the order of values of both signs; NaN stands last."""
    bits = values.view(np.int64)
    magnitude = bits & _MAGNITUDE
    missing = np.isnan(values)
    nonzero = magnitude[(magnitude != 0) & ~missing]
    if nonzero.size and not (nonzero.min() >= _SMALLEST and nonzero.max() < _LARGEST):
        return None
    magnitude = np.maximum(magnitude - (_SMALLEST - 1), 0)
    sign = bits >> np.int64(63)
    packed = ((magnitude ^ sign) - sign).view(np.uint64) + np.uint64(2**62)
    return np.where(missing, np.uint64(2**63 - 1), packed)


def _doubled_rank_sums(keys: Keys, m: int, missing: tuple[Int, Int] | None) -> tuple[Float, Float]:
    """Twice the canary's mid-rank sum and the sum of t^3 - t by row, from sorted keys."""
    rows, width = keys.shape
    if rows == 1 and width > 2 * _PIECE:
        doubled, ties = _in_pieces(keys[0])
    else:
        doubled, ties = _blocks(keys, m if missing is None else None)
    if missing is not None:  # the missing values are the last block of their row
        gap = (missing[0] + missing[1]).astype(float)
        doubled -= missing[1] * (2 * (width - gap) + gap + 1)
        ties -= gap * (gap * gap - 1)
    return doubled, ties


def _blocks(keys: Keys, m: int | None) -> tuple[Float, Float]:
    """The same for rows that fit the cache; m is None where the rows do not all have m canary values."""
    rows, width = keys.shape
    flat = keys.ravel()
    labels = (flat & np.uint64(1)).view(np.int64).astype(bool)
    starts_block = np.empty(flat.size, dtype=bool)
    np.greater(flat[1:] ^ flat[:-1], np.uint64(1), out=starts_block[1:])
    starts_block[::width] = True
    if m is not None and starts_block.all():  # no ties: the positions are the ranks
        position = np.flatnonzero(labels).reshape(rows, m).sum(axis=1)
        return 2.0 * (position - np.arange(rows) * (width * m) + m), np.zeros(rows)
    starts = np.flatnonzero(starts_block)
    ends = np.append(starts[1:], flat.size) - 1
    canary = np.diff(np.cumsum(labels, dtype=np.int32)[ends], prepend=np.int32(0))
    row = np.arange(rows) * width
    first = np.searchsorted(starts, row)
    # twice a block's mid-rank is its first rank plus its last one, and ranks count from 1 in each row
    positions = np.add.reduceat(canary * (starts + ends), first)
    in_row = np.add.reduceat(canary, first) if m is None else m
    t = (ends - starts + 1).astype(float)
    return (positions + in_row * (2 - 2 * row)).astype(float), np.add.reduceat(t * t * t, first) - width


def _in_pieces(keys: Keys) -> tuple[Float, Float]:
    """The same for one long row, cut where no block of ties is."""
    doubled, ties = np.zeros(1), np.zeros(1)
    begin = 0
    while begin < keys.size:
        last = keys[min(begin + _PIECE, keys.size) - 1]
        end = int(np.searchsorted(keys, last | np.uint64(1), side="right"))
        piece = keys[None, begin:end]
        part, tied = _blocks(piece, None)
        doubled += part + 2.0 * begin * np.count_nonzero(piece & np.uint64(1))
        ties += tied
        begin = end
    return doubled, ties


def mann_whitney_p_values(*, baseline: Float, canary: Float) -> tuple[Float, Float]:
    """One-sided p-values of independent samples: canary higher, canary lower.

    Rows of at most 50 values are counted exactly, given their ties; longer ones use the normal distribution, with `u`
    moved by 1/2 towards its mean.

    Args:
        baseline: Shape (m, n_b); NaN marks a missing value.
        canary: Shape (m, n_c).

    Returns:
        Two arrays of shape (m,); 1 where a side is empty.

    Examples:
        >>> higher, lower = mann_whitney_p_values(baseline=np.array([[1.0, 2.0, 3.0]]),
        ...                                       canary=np.array([[4.0, 5.0, 6.0]]))
        >>> float(higher[0]), float(lower[0])
        (0.05, 1.0)
    """
    test = mann_whitney(baseline=baseline, canary=canary)
    excess = test.u - test.n_baseline * test.n_canary / 2
    known = test.sigma > 0
    scale = np.where(known, test.sigma, 1.0)
    higher = np.where(known, special.ndtr(-(excess - 0.5) / scale), 1.0)
    lower = np.where(known, special.ndtr((excess + 0.5) / scale), 1.0)
    for row in np.flatnonzero((test.n_baseline + test.n_canary <= _EXACT) & known):
        b, c = (side[row][~np.isnan(side[row])] for side in (baseline, canary))
        higher[row], lower[row] = _exact_tails(baseline=b, canary=c)
    return higher, lower


def _exact_tails(*, baseline: Float, canary: Float) -> tuple[float, float]:
    """P(rank sum >= the observed one), P(<=), over all assignments of the pooled mid-ranks to the sides."""
    small, n = (canary, canary.size) if canary.size <= baseline.size else (baseline, baseline.size)
    doubled = np.rint(2 * ranks_of(np.concatenate([canary, baseline]))).astype(int)
    observed = int(doubled[: canary.size].sum() if small is canary else doubled[canary.size :].sum())
    # ways[k, s]: subsets of k values whose doubled ranks sum to s; at most C(50, 25) < 2^53, so all are exact
    ways = np.zeros((n + 1, int(np.sort(doubled)[-n:].sum()) + 1))
    ways[0, 0] = 1
    for rank in doubled:
        for k in range(n, 0, -1):
            ways[k, rank:] += ways[k - 1, : ways.shape[1] - rank]
    at_least, at_most = ways[n, observed:].sum() / ways[n].sum(), ways[n, : observed + 1].sum() / ways[n].sum()
    return (float(at_least), float(at_most)) if small is canary else (float(at_most), float(at_least))


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
    order = np.argsort(values, axis=1)  # NaN sorts last
    if rows > 1:
        order += np.arange(rows)[:, None] * width
    at = order.ravel()
    ordered = values.ravel()[at]
    starts = np.empty(at.size, dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=starts[1:])
    starts[::width] = True
    ranks, ties = np.empty(at.size), np.zeros(rows)
    if starts.all():  # no ties: the places are the ranks
        placed = np.arange(1.0, width + 1)
        placed = np.tile(placed, rows) if rows > 1 else placed
    else:
        first = np.flatnonzero(starts)
        size = np.diff(first, append=at.size)
        # a block's mid-rank is that of its middle, and places count from 1 in each row
        placed = np.repeat(first + (size - 1) / 2 + 1, size)
        if rows > 1:
            placed -= np.repeat(np.arange(rows) * width, width)
        t = size.astype(float)
        ties = np.add.reduceat(t * t * t - t, np.searchsorted(first, np.arange(rows) * width))
    missing = np.isnan(ordered)
    if missing.any():
        placed[missing] = np.nan
    ranks[at] = placed
    return ranks.reshape(rows, width), ties


def ranks_of(values: Float) -> Float:
    """Mid-ranks (1 = smallest) of one sample: what `mid_ranks` says of a row, without the cost of rows.

    Args:
        values: Shape (n,), no NaN.

    Examples:
        >>> ranks_of(np.array([3.0, 1.0, 3.0])).tolist()
        [2.5, 1.0, 2.5]
    """
    order = values.argsort()
    ordered = values[order]
    moves = ordered[1:] != ordered[:-1]
    ranks = np.empty(values.size)
    if moves.all():
        ranks[order] = np.arange(1.0, values.size + 1)
        return ranks
    first = np.append(0, np.flatnonzero(moves) + 1)
    size = np.diff(first, append=values.size)
    ranks[order] = np.repeat(first + (size - 1) / 2 + 1, size)
    return ranks
