"""Whether a quantile of raw values is the same on both sides, valid at any look and for any distribution.

References:
    Howard, S. R. & Ramdas, A. (2022), doi:10.3150/21-BEJ1388, Theorem 5 (the test of two quantiles).
    Howard, S. R. et al. (2021), doi:10.1214/20-AOS1991, Propositions 6-7 (the beta-binomial mixture).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from canary_judge.stats.sequential import best_rho

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Float = NDArray[np.float64]

__all__ = ["beta_binomial_mixture", "quantile_log_e"]


def beta_binomial_mixture(
    total: ArrayLike, variance: ArrayLike, *, g: float, h: float, rho: float, one_sided: bool = False
) -> Float:
    """Log e-value of a sum of centred variables that are either -g or h, against a beta mixture.

    Args:
        total: The sum.
        variance: Its intrinsic time, g h times the number of values.
        g: Distance of the lower value from the mean.
        h: Distance of the upper one.
        rho: From `best_rho`, in units of `variance`.
        one_sided: Against positive sums only.

    Examples:
        >>> rho = float(best_rho(100.0, alpha=0.05, one_sided=False))
        >>> round(float(beta_binomial_mixture(0.0, 5.0, g=0.2, h=0.8, rho=rho)), 9)
        -0.170530852
    """
    s, v = np.asarray(total, dtype=float), np.asarray(variance, dtype=float)
    r = max(rho - g * h, 1e-3 * g * h)
    whole = g + h

    def log_beta(a: Float, b: Float) -> Float:
        upper = special.betaln(a, b)
        if one_sided:
            with np.errstate(divide="ignore"):
                upper = upper + np.log(special.betainc(a, b, h / whole))
        return np.asarray(upper)

    log_null = (
        v / (g * h) * np.log(whole) - (v + h * s) / (h * whole) * np.log(g) - (v - g * s) / (g * whole) * np.log(h)
    )
    mixed = log_beta((r + v - g * s) / (g * whole), (r + v + h * s) / (h * whole))
    return np.asarray(log_null + mixed - log_beta(np.asarray(r / (g * whole)), np.asarray(r / (h * whole))))


def quantile_log_e(baseline: Float, canary: Float, *, quantile: float, planned: float, alpha: float = 0.05) -> float:
    """Log e-value against "both sides have the same quantile", two-sided; values independent given their side.

    The least, over every value that the common quantile could have, of the evidence against it on both sides together.

    Args:
        baseline: Shape (n_b,), raw values so far.
        canary: Shape (n_c,).
        quantile: Between 0 and 1.
        planned: Values per side at which the test is to be most sensitive.
        alpha: Error rate that is meant.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> b, c = rng.lognormal(size=2000), 1.5 * rng.lognormal(size=2000)
        >>> bool(quantile_log_e(b, c, quantile=0.5, planned=1000) > np.log(1000))
        True
    """
    values = np.unique(np.concatenate([baseline, canary]))
    candidates = np.concatenate([values, (values[1:] + values[:-1]) / 2])
    g, h = quantile, 1 - quantile
    rho = float(best_rho(g * h * planned, alpha=alpha, one_sided=False))
    whole = np.zeros(candidates.size)
    for side in (np.sort(baseline), np.sort(canary)):
        low = np.searchsorted(side, candidates, "left") - quantile * side.size
        high = np.searchsorted(side, candidates, "right") - quantile * side.size
        # ties leave a range of sums, of which the most harmless one counts
        least = np.clip(_most_harmless(g * h * side.size, g, h, rho), low, high)
        whole += beta_binomial_mixture(least, g * h * side.size, g=g, h=h, rho=rho)
    return float(whole.min())


def _most_harmless(variance: float, g: float, h: float, rho: float) -> float:
    """The sum at which the convex mixture is least: near 0, but not at 0 where g and h differ."""
    r = max(rho - g * h, 1e-3 * g * h)

    def slope(s: float) -> float:
        a, b = (r + variance - g * s) / g, (r + variance + h * s) / h
        return float(special.digamma(b) - special.digamma(a) + np.log(h) - np.log(g))

    low, high = -variance / h, variance / g
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return (low + high) / 2
