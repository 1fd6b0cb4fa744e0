"""How much a series repeats itself: autocorrelation and the integrated autocorrelation time tau.

n dependent values carry as much information on a mean (or a rank sum) as n / tau independent ones. tau must be
measured on the transform that is tested, so the rank test asks for the tau of the ranks.

References:
    Sokal, A. (1997), *Monte Carlo methods in statistical mechanics*, section 3 (automatic windowing).
    Wolff, U. (2004), doi:10.1016/S0010-4655(03)00467-3, eq. 49 (correction for the estimated mean).
    Kendall, M. G. (1954), doi:10.1093/biomet/41.3-4.403 (bias of the lag-1 autocorrelation).
"""

from __future__ import annotations

import math

import numpy as np

from canary_judge.arrays import Float, Int, smooth_length
from canary_judge.stats.rank import mid_ranks

__all__ = ["autocorrelation", "autocorrelation_time", "cluster_time", "rank_autocorrelation_time", "ranks_tau"]

# Sokal's window: stop where the lag exceeds this many autocorrelation times.
_SOKAL_WINDOW = 5.0
_FEWEST_FOR_TAU = 8
# Sums of products up to so many values a row take less time than a Fourier transform of them.
_SHORT = 128
# Of its largest value, what the mean of a constant row may be off.
_ROUNDING = 1e-13


def autocorrelation(values: Float) -> Float:
    """Autocorrelation at every lag, row by row; gaps are allowed.

    Args:
        values: Shape (m, n) on an even grid; NaN marks a gap.

    Returns:
        Shape (m, n): lag 0 (always 1) to n - 1. Products are summed over the pairs that are both present and
        divided by (pairs + lag), which is the usual 1/n for a series without gaps, and R's `acf` otherwise.
        A constant row is 1, 0, 0, ...

    Examples:
        >>> autocorrelation(np.array([[1.0, 2.0, 3.0, 4.0]])).round(3).tolist()
        [[1.0, 0.25, -0.3, -0.45]]
    """
    width = values.shape[1]
    if 0 < width <= _SHORT:
        rows = [_of_whole_row(row) for row in values]
        left = [place for place, row in enumerate(rows) if row is None]
        if left:
            for place, row in zip(left, _by_fourier(values[left]), strict=True):
                rows[place] = row
        return np.array(rows).reshape(values.shape)
    return _by_fourier(values)


def _of_whole_row(row: Float) -> Float | None:
    """Autocorrelation of one row, shape (n,), by sums of products; None where it has gaps."""
    mean = float(row.sum()) / row.size
    if math.isnan(mean):
        return None
    centred = row - mean
    top, largest = float(np.abs(centred).max()), float(np.abs(row).max())
    # a constant row must read as constant although its mean is rounded
    if top <= _ROUNDING * largest:
        found = np.zeros(row.size)
    else:
        centred /= top
        found = np.correlate(centred, centred, "full")[row.size - 1 :]
        found /= found[0]
    found[0] = 1.0
    return found


def _by_fourier(values: Float) -> Float:
    """The same of rows that are long, or have gaps."""
    width = values.shape[1]
    gaps = np.isnan(values)
    present = ~gaps if gaps.any() else None
    if present is None:
        known, centred = values, values - values.sum(axis=1, keepdims=True) / max(width, 1)
    else:
        count = present.sum(axis=1, keepdims=True)
        known = np.where(present, values, 0.0)
        mean = known.sum(axis=1, keepdims=True) / np.maximum(count, 1)
        centred = np.where(present, values - mean, 0.0)
    top = np.abs(centred).max(axis=1, keepdims=True, initial=0.0)
    # a constant row must read as constant although its mean is rounded
    moves = top > _ROUNDING * np.abs(known).max(axis=1, keepdims=True, initial=0.0)
    centred = centred / top if moves.all() else np.where(moves, centred, 0.0) / np.where(moves, top, 1.0)
    padded = smooth_length(2 * width)
    spectrum = np.fft.rfft(centred, padded, axis=1)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), padded, axis=1)[:, :width]
    if present is None:
        covariance = covariance / width
    else:
        mask = np.fft.rfft(present.astype(float), padded, axis=1)
        pairs = np.rint(np.fft.irfft(mask * np.conj(mask), padded, axis=1)[:, :width])
        covariance = np.where(pairs > 0, covariance / np.maximum(pairs + np.arange(width), 1), 0.0)
    first = covariance[:, :1]
    varies = first > 1e-300
    result: Float = covariance / np.where(varies, first, 1.0)
    if not varies.all():
        result = np.where(varies, result, 0.0)
    result[:, :1] = 1.0
    return result


def autocorrelation_time(correlation: Float, count: Int) -> Float:
    """Integrated autocorrelation time, the larger of the AR(1) and Sokal's estimate, never below 1.

    Args:
        correlation: Shape (m, n), what `autocorrelation` returns.
        count: Shape (m,), values behind each row.

    Returns:
        Shape (m,), in samples. Both estimates are corrected for the bias that the estimated mean brings.

    Examples:
        >>> float(autocorrelation_time(np.array([[1.0] + [0.0] * 99]), np.array([100]))[0])
        1.11
    """
    width = correlation.shape[1]
    if len(correlation) == 1:
        return np.array([_time_of_one(correlation[0], int(count[0]))])
    n = np.maximum(count, 1).astype(float)
    if width < 2:
        return np.ones(len(n))
    biased = (correlation[:, 1] * n + 1) / np.maximum(n - 3, 1)
    lag_1 = np.minimum(np.maximum(biased, -0.99), 1 - 1 / np.maximum(n, 2))
    first_order = (1 + lag_1) / (1 - lag_1)
    # the window ends at half of the series at the latest
    last = width // 2
    running = 2 * np.cumsum(correlation[:, : last + 1], axis=1) - 1
    lags = np.arange(1, last + 1)
    enough = lags >= _SOKAL_WINDOW * running[:, 1:]
    enough[:, -1] = True
    window = np.argmax(enough, axis=1) + 1
    sokal = running[np.arange(len(n)), window] * (1 + (2 * window + 1) / n)
    tau = np.maximum(np.maximum(first_order, sokal), 1.0)
    return np.where(count < _FEWEST_FOR_TAU, 1.0, tau)


def _time_of_one(correlation: Float, count: int) -> float:
    """`autocorrelation_time` of one row, without the cost of arrays of one."""
    n = float(max(count, 1))
    if correlation.size < 2 or count < _FEWEST_FOR_TAU:
        return 1.0
    biased = (float(correlation[1]) * n + 1) / max(n - 3, 1)
    lag_1 = min(max(biased, -0.99), 1 - 1 / max(n, 2))
    first_order = (1 + lag_1) / (1 - lag_1)
    last = correlation.size // 2
    window, running, summed = 0, 1.0, 0.0
    for window, one in enumerate(correlation[: last + 1].tolist()):
        summed += one
        running = 2 * summed - 1
        if 0 < window >= _SOKAL_WINDOW * running:
            break
    sokal = running * (1 + (2 * window + 1) / n)
    return max(first_order, sokal, 1.0)


def ranks_tau(values: Float) -> float:
    """Tau of the ranks of one series, shape (1, n); NaN marks a gap."""
    count = np.count_nonzero(~np.isnan(values), axis=1)
    return float(autocorrelation_time(autocorrelation(mid_ranks(values)[0]), count)[0])


def rank_autocorrelation_time(*, baseline: Float, canary: Float) -> Float:
    """Tau of a rank comparison of two series on one grid, row by row.

    Each side is ranked on its own, so that a shift between them does not read as dependence; the variance of a
    rank sum adds the sides', so their autocorrelations are averaged with weights 1/n.

    Args:
        baseline: Shape (m, n); NaN marks a gap.
        canary: Shape (m, n).

    Returns:
        Shape (m,), at least 1.
    """
    rows = len(baseline)
    both = np.concatenate([baseline, canary])
    correlation, number = autocorrelation(mid_ranks(both)[0]), np.count_nonzero(~np.isnan(both), axis=1)
    parts, counts = (correlation[:rows], correlation[rows:]), (number[:rows], number[rows:])
    weight = 1 / np.maximum(counts[0], 1), 1 / np.maximum(counts[1], 1)
    # a constant side says nothing on dependence: the other one speaks for both
    flat = [(part[:, 1:] == 0).all(axis=1) for part in parts]
    weights = [np.where(flat[i] & ~flat[1 - i], 0.0, weight[i]) for i in (0, 1)]
    total = (weights[0] + weights[1])[:, None]
    pooled = (weights[0][:, None] * parts[0] + weights[1][:, None] * parts[1]) / total
    # each side has its own estimated mean, so the bias is that of one side's length
    length = np.maximum(counts[0] + counts[1], 2) // 2
    return autocorrelation_time(pooled, length)


def cluster_time(ranks: Float, cluster: Int) -> float:
    """How many values of a sample say as much as one independent value, when those of a cluster share their luck.

    The variance of the mean with clusters as units over that with values as units (the design effect): shocks that
    all requests of an interval share are too weak to show between two of them, and yet decide the mean.

    References:
        Kish, L. (1965), *Survey Sampling*, section 5.4; Liang, K.-Y. & Zeger, S. L. (1986), doi:10.1093/biomet/73.1.13.

    Args:
        ranks: Shape (n,).
        cluster: Shape (n,), the interval of each value.

    Returns:
        At least 1; 1 with fewer than two clusters, which cannot tell.

    Examples:
        >>> cluster_time(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1]))
        3.2
    """
    _, label = np.unique(cluster, return_inverse=True)
    centred = ranks - ranks.mean()
    total = float((centred**2).sum())
    sums = np.bincount(label, weights=centred)
    if sums.size < 2 or total == 0:
        return 1.0
    return max(float((sums**2).sum()) / total * sums.size / (sums.size - 1), 1.0)
