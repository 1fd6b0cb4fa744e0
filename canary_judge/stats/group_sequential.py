"""A committed number of looks: boundaries that spend the error over them (group sequential design).

References:
    Lan, K. K. G. & DeMets, D. L. (1983), doi:10.1093/biomet/70.3.659 (alpha spending).
    Armitage, P., McPherson, C. K. & Rowe, B. C. (1969), doi:10.2307/2343787 (the recursion).
    Jennison, C. & Turnbull, B. W. (2000), *Group Sequential Methods*, chapter 19.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float = NDArray[np.float64]

__all__ = ["Spending", "boundaries", "spent"]

Spending = Literal["obrien-fleming", "pocock"]
_PANELS = 160
_GAUSS = 5
_FAR = 9.0  # standard deviations


def spent(information: Float, *, alpha: float, spending: Spending = "obrien-fleming") -> Float:
    """One-sided error that may be spent up to each fraction of the information.

    Examples:
        >>> f"{spent(np.array([0.2]), alpha=0.025)[0]:.3g}"
        '5.39e-07'
    """
    s = np.minimum(np.asarray(information, dtype=float), 1.0)
    if spending == "pocock":
        return np.asarray(alpha * np.log1p((np.e - 1) * s))
    return np.asarray(2 * special.ndtr(special.ndtri(alpha / 2) / np.sqrt(s)))


@lru_cache(maxsize=256)
def _boundaries(information: tuple[float, ...], alpha: float, spending: Spending) -> tuple[float, ...]:
    fractions = np.asarray(information)
    increments = np.diff(spent(fractions, alpha=alpha, spending=spending), prepend=0.0)
    found: list[float] = []
    x = w = np.empty(0)
    density = np.empty(0)
    for look, (s, now) in enumerate(zip(fractions, increments, strict=True)):
        step = np.sqrt(s - (fractions[look - 1] if look else 0.0))
        if look == 0:
            edge = -special.ndtri(now) * np.sqrt(s) if now > 0 else np.inf
        else:
            edge = _solve(x, w * density, step, now, s)
        found.append(float(edge / np.sqrt(s)))
        # the density of the process that has not been stopped, on the scale of the sum
        x_next, w_next = _quadrature(-_FAR * np.sqrt(s), min(edge, _FAR * np.sqrt(s)))
        if look == 0:
            density = np.exp(-0.5 * x_next**2 / s) / np.sqrt(2 * np.pi * s)
        else:
            kernel = np.exp(-0.5 * ((x_next[:, None] - x[None, :]) / step) ** 2) / (step * np.sqrt(2 * np.pi))
            density = kernel @ (w * density)
        x, w = x_next, w_next
    return tuple(found)


def _solve(x: Float, mass: Float, step: float, wanted: float, s: float) -> float:
    """The edge beyond which the next sum falls with the wanted probability."""
    if wanted <= 0:
        return float("inf")
    low, high = -_FAR * float(np.sqrt(s)), 40.0 * float(np.sqrt(s))
    for _ in range(80):
        middle = (low + high) / 2
        beyond = float(mass @ special.ndtr((x - middle) / step))
        low, high = (middle, high) if beyond > wanted else (low, middle)
    return (low + high) / 2


@lru_cache(maxsize=1)
def _rule() -> tuple[Float, Float]:
    return np.polynomial.legendre.leggauss(_GAUSS)


def _quadrature(low: float, high: float) -> tuple[Float, Float]:
    """Composite Gauss-Legendre nodes and weights."""
    nodes, weights = _rule()
    edges = np.linspace(low, high, _PANELS + 1)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()


def boundaries(information: Sequence[float], *, alpha: float, spending: Spending = "obrien-fleming") -> Float:
    """One-sided boundaries for z at each look, which together are crossed with probability alpha.

    Args:
        information: Fraction of the planned information at each look, increasing, the last at most 1.
        alpha: One-sided error; for a two-sided one give half of it and use the boundaries on both sides.
        spending: O'Brien-Fleming's (hardly anything early) or Pocock's (about the same at each look).

    Raises:
        ValueError: The fractions do not increase, or exceed 1: once the plan is used up nothing is left to spend.

    Examples:
        >>> boundaries([0.5, 1.0], alpha=0.025).round(4).tolist()
        [2.9626, 1.9686]
    """
    fractions = tuple(float(value) for value in information)
    if not fractions or fractions[0] <= 0 or fractions[-1] > 1 or (np.diff(fractions) <= 0).any():
        raise ValueError(f"information is {fractions}; it must increase within (0, 1]")
    return np.array(_boundaries(fractions, float(alpha), spending))
