"""Evidence that stays valid whenever one looks: mixture e-processes in the log domain, and what they imply.

An e-process is non-negative, starts at 1, and under the null its expectation is at most 1 at every stopping time; so
it ever exceeds 1 / alpha with probability at most alpha (Ville 1939), however often one looks. All functions take
arrays of any matching shape, one entry per metric, and return log e.

References:
    Robbins, H. (1970), doi:10.1214/aoms/1177696786 (normal mixtures).
    Howard, S. R., Ramdas, A., McAuliffe, J. & Sekhon, J. (2021), doi:10.1214/20-AOS1991, Propositions 4-7.
    Lindon, M., Ham, D. W., Tingley, M. & Bojinov, I. (2022), arXiv:2210.08589 (the t mixture).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Float = NDArray[np.float64]

__all__ = [
    "anytime_p_value",
    "best_rho",
    "block_log_e",
    "normal_mixture",
    "normal_mixture_bound",
    "sign_log_e",
    "t_mixture",
    "t_mixture_radius",
]


def best_rho(information: ArrayLike, *, alpha: float, one_sided: bool = True) -> Float:
    """The prior precision that makes a normal mixture most sensitive when `information` has been gathered.

    Being off by a factor of ten costs little (10 % more data), but it must be fixed before the first look.

    Args:
        information: Variance of the sum at which detection matters most, in the units of `normal_mixture`.
        alpha: Error rate that is meant.
        one_sided: For `normal_mixture(one_sided=True)`.

    Examples:
        >>> round(float(best_rho(100.0, alpha=0.05, one_sided=False)), 3)
        12.601
    """
    level = np.log(1 / (2 * alpha if one_sided else alpha))
    return np.asarray(np.asarray(information, dtype=float) / (2 * level + np.log1p(2 * level)))


def normal_mixture(total: ArrayLike, variance: ArrayLike, *, rho: ArrayLike, one_sided: bool = True) -> Float:
    """Log e-value of a sum of null-centred increments against a normal mixture of drifts.

    Args:
        total: The sum S; positive is the direction of the one-sided alternative.
        variance: Its variance V under the null; 0 gives 0 (no evidence).
        rho: Precision of the prior of the drift, from `best_rho`.
        one_sided: Against positive drifts only; else against both.

    Examples:
        >>> rho = best_rho(100.0, alpha=0.05, one_sided=False)
        >>> round(float(normal_mixture(-5.0, 1.0, rho=rho, one_sided=False)), 6)
        0.880895
    """
    s, v, precision = np.asarray(total, dtype=float), np.asarray(variance, dtype=float), np.asarray(rho, dtype=float)
    whole = v + precision
    log_e = 0.5 * np.log(precision / whole) + s**2 / (2 * whole)
    if one_sided:
        log_e = log_e + np.log(2) + special.log_ndtr(s / np.sqrt(whole))
    return np.asarray(np.where(v > 0, log_e, 0.0))


def normal_mixture_bound(variance: ArrayLike, *, rho: ArrayLike, alpha: float, one_sided: bool = True) -> Float:
    """The sum at which the mixture reaches 1 / alpha: the boundary of a confidence sequence.

    Examples:
        >>> rho = best_rho(100.0, alpha=0.05, one_sided=False)
        >>> round(float(normal_mixture_bound(1.0, rho=rho, alpha=0.05, one_sided=False)), 6)
        9.084379
    """
    v, precision = np.broadcast_arrays(np.asarray(variance, dtype=float), np.asarray(rho, dtype=float))
    log_threshold = np.log(1 / alpha)
    high = np.sqrt((v + precision) * (np.log1p(v / precision) + 2 * log_threshold))
    if not one_sided:
        return np.asarray(high)
    low = np.zeros_like(high)
    for _ in range(60):  # the two-sided bound lies above
        middle = (low + high) / 2
        short = np.log(2) + special.log_ndtr(middle / np.sqrt(v + precision))
        short = short + 0.5 * np.log(precision / (v + precision)) + middle**2 / (2 * (v + precision)) < log_threshold
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.asarray(high)


def anytime_p_value(log_e: ArrayLike) -> Float:
    """min(1, 1 / e): at most alpha with probability at most alpha at any look, whenever it is read."""
    return np.asarray(np.exp(-np.maximum(np.asarray(log_e, dtype=float), 0.0)))


def t_mixture(t: ArrayLike, degrees: ArrayLike, n: ArrayLike, *, g: float) -> Float:
    """Log e-value of a t statistic of n normal values, against effects of mean / sd ~ N(0, 1/g); two-sided.

    Args:
        t: The t statistic.
        degrees: Its degrees of freedom.
        n: Values (or n / tau) behind it.
        g: Precision of the prior, as `rho` of a normal mixture with V = n.

    Examples:
        >>> round(float(t_mixture(1.0, 50, 51, g=1)), 10)
        -1.4804606699
    """
    t2, nu = np.asarray(t, dtype=float) ** 2, np.asarray(degrees, dtype=float)
    r = g / (g + np.asarray(n, dtype=float))
    return np.asarray(0.5 * np.log(r) + (nu + 1) / 2 * (np.log1p(t2 / nu) - np.log1p(r * t2 / nu)))


def t_mixture_radius(degrees: ArrayLike, n: ArrayLike, *, g: float, alpha: float) -> Float:
    """|t| at which the t mixture reaches 1 / alpha; infinite while no t can.

    Examples:
        >>> radius = float(t_mixture_radius(50, 51, g=1, alpha=0.05))
        >>> round(float(np.exp(t_mixture(radius, 50, 51, g=1))), 9)
        20.0
    """
    nu = np.asarray(degrees, dtype=float)
    r = g / (g + np.asarray(n, dtype=float))
    a = (r * alpha**2) ** (1 / (nu + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(a > r, np.sqrt(nu * (1 - a) / np.where(a > r, a - r, 1.0)), np.inf))


def sign_log_e(positive: ArrayLike, blocks: ArrayLike) -> Float:
    """Log e-value of the number of positive differences among exchangeable blocks: no assumption on their size.

    Seven blocks that all agree are the first to reach 20.

    Examples:
        >>> [round(float(np.exp(sign_log_e(n, n))), 1) for n in (6, 7)]
        [14.4, 26.8]
    """
    k, n = np.asarray(positive, dtype=float), np.asarray(blocks, dtype=float)
    return np.asarray(n * np.log(2) + special.betaln(k + 0.5, n - k + 0.5) - special.betaln(0.5, 0.5))


def block_log_e(differences: Float, *, tau: float, g: float) -> tuple[float, int]:
    """The conservative reference for dependent differences: the t mixture on means of blocks two tau long.

    Args:
        differences: Canary minus baseline, shape (n,), in order of time.
        tau: Integrated autocorrelation time.
        g: As in `t_mixture`, per block.

    Returns:
        Log e (two-sided) and the number of blocks; 0 with fewer than three blocks or without spread.

    Examples:
        >>> block_log_e(np.array([1.0, 1.2, 0.9, 1.1, 1.0, 0.8]), tau=1.0, g=1.0)[1]
        3
    """
    size = int(np.ceil(2 * tau))
    count = differences.size // size
    means = differences[: count * size].reshape(count, size).mean(axis=1) if count else np.empty(0)
    if count < 3 or means.std() == 0:
        return 0.0, count
    t = means.mean() / (means.std(ddof=1) / np.sqrt(count))
    return float(t_mixture(t, count - 1, count, g=g)), count
