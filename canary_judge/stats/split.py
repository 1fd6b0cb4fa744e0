"""Whether the canary gets the share of the traffic that is configured.

References:
    Lindon, M. & Malek, A. (2022), arXiv:2011.03567 (sequential test of a multinomial, Dirichlet mixture).
    Fabijan, A. et al. (2019), doi:10.1145/3292500.3330722 (sample ratio mismatch and its causes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["multinomial_log_e"]


def multinomial_log_e(counts: ArrayLike, shares: ArrayLike, *, k: float = 100.0) -> float:
    """Log e-value against "these counts are drawn with these shares", valid at any look.

    Args:
        counts: Requests per side, shape (c,).
        shares: Configured shares, shape (c,), all positive; they are made to add up to 1.
        k: Concentration of the Dirichlet prior around the configured shares; larger looks for smaller deviations.

    Examples:
        >>> round(multinomial_log_e([60, 40], [0.5, 0.5]), 10)
        0.658891818
    """
    n, theta = np.asarray(counts, dtype=float), np.asarray(shares, dtype=float)
    theta = theta / theta.sum()
    a = k * theta
    log_e = special.gammaln(a + n).sum() - special.gammaln(k + n.sum()) - special.gammaln(a).sum() + special.gammaln(k)
    return float(log_e - special.xlogy(n, theta).sum())
