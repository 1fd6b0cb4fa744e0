"""Several hypotheses at once, at one rate of error for all of them together.

References:
    Holm, S. (1979), Scandinavian Journal of Statistics 6(2), 65-70 (section 4 for the weights).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["holm"]


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """p-values adjusted so that rejecting at alpha errs anywhere with probability at most alpha.

    It holds for p-values that are valid at any look too: a false rejection means that some true null had a p-value of
    at most alpha times its share, at some look, and these probabilities add up to alpha.

    Args:
        p_values: One per hypothesis.
        weights: Shares of the error, all positive; equal ones when left out.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
        >>> holm([0.01, 0.01], weights=[3.0, 1.0])
        [0.013333333333333334, 0.013333333333333334]
    """
    shares = [1.0] * len(p_values) if weights is None else list(weights)
    order = sorted(range(len(p_values)), key=lambda index: p_values[index] / shares[index])
    adjusted = [0.0] * len(p_values)
    largest, left = 0.0, math.fsum(shares)
    for index in order:
        largest = max(largest, min(1.0, left * p_values[index] / shares[index]))
        adjusted[index] = largest
        left -= shares[index]
    return adjusted
