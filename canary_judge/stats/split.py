"""Whether the canary gets the share of the traffic that is configured.

References:
    Lindon, M. & Malek, A. (2022), arXiv:2011.03567 (sequential test of a multinomial, Dirichlet mixture).
    Fabijan, A. et al. (2019), doi:10.1145/3292500.3330722 (sample ratio mismatch and its causes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from canary_judge.arrays import Float
from canary_judge.results import TrafficSplit
from canary_judge.special import special
from canary_judge.stats.rates import RateRatioProcess

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


__all__ = ["multinomial_log_e", "split_finding", "users_split"]

_ALPHA = 0.001  # practice for sample ratio mismatch: it is looked at on every canary, and rarely harmless
_ENOUGH_REQUESTS = 20.0


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


def split_finding(*, baseline: Float, canary: Float, share: float, tolerance: float) -> TrafficSplit:
    """Judge the split of the requests: significance and a relative tolerance must both be exceeded.

    Requests of one client are not independent, so significance alone would flag every busy service; and a small
    deviation harms nobody.

    Args:
        baseline: Requests per interval while the weight held, shape (n,).
        canary: The same for the canary.
        share: Configured share of the canary, 0 to 1.
        tolerance: Largest relative deviation that is no finding.

    Examples:
        >>> split = split_finding(baseline=np.full(30, 990.0), canary=np.full(30, 10.0), share=0.05, tolerance=0.25)
        >>> split.finding
        'the canary gets 1.00% of 30,000 requests, 5% is configured: sticky sessions (clients kept on the old version)?'
    """
    mine, whole = float(canary.sum()), float(baseline.sum() + canary.sum())
    observed = mine / whole if whole else None
    log_e = multinomial_log_e([mine, whole - mine], [share, 1 - share]) if 0 < share < 1 else 0.0
    finding = ""
    if observed is not None:
        finding = _finding(
            baseline=baseline, canary=canary, share=share, tolerance=tolerance, log_e=log_e, observed=observed
        )
    return TrafficSplit(
        configured=share, observed=observed, canary_requests=mine, requests=whole, log_e=log_e, finding=finding
    )


def users_split(*, baseline: int, canary: int, share: float) -> TrafficSplit:
    """Judge the split of the users: each is one draw, so that significance alone is a finding.

    Args:
        baseline: Users first seen on the baseline since the weight last changed.
        canary: The same of the canary.
        share: Configured share of the canary, 0 to 1.

    Examples:
        >>> users_split(baseline=98_780, canary=1_220, share=0.02).finding[:67]
        'users are missing on the canary (1,220 of 2,000 expected): do they '
    """
    whole = baseline + canary
    observed, expected = (canary / whole if whole else None), share * whole
    log_e, finding = 0.0, ""
    if 0 < share < 1 and whole:
        # looked for is what loses or adds a tenth of the canary's users
        log_e = multinomial_log_e([canary, baseline], [share, 1 - share], k=(1 - share) / (0.01 * share))
        if log_e >= np.log(1 / _ALPHA):
            counted = f"({canary:,} of {expected:,.0f} expected)"
            finding = (
                f"users are missing on the canary {counted}: do they crash before their first event, or are they kept "
                "on the baseline (sticky sessions)?"
                if canary < expected
                else f"more users are on the canary {counted}: is it chance who gets it?"
            )
    return TrafficSplit(
        configured=share,
        observed=observed,
        canary_requests=float(canary),
        requests=float(whole),
        log_e=log_e,
        finding=finding,
        counted="users",
    )


def _finding(*, baseline: Float, canary: Float, share: float, tolerance: float, log_e: float, observed: float) -> str:
    mine, whole = float(canary.sum()), float(baseline.sum() + canary.sum())
    got = f"the canary gets {observed:.2%} of {whole:,.0f} requests"
    if share == 0:
        leftover = "a route left over (header, cookie, mirror), or sticky sessions?"
        return f"{got} although its weight is 0: {leftover}" if mine > 0 else ""
    if mine == 0 and share * whole >= _ENOUGH_REQUESTS:
        return f"no request of {whole:,.0f} reached the canary, {100 * share:g}% is configured: is its route in place?"
    if share == 1 and whole >= _ENOUGH_REQUESTS and 1 - observed > tolerance:
        return f"{got} although its weight is 100: sticky sessions (clients kept on the old version)?"
    threshold = np.log(1 / _ALPHA)
    if 0 < share < 1 and log_e >= threshold and abs(observed / share - 1) > tolerance:
        cause = "clients kept on the old version" if observed < share else "clients kept on the canary"
        return f"{got}, {100 * share:g}% is configured: sticky sessions ({cause})?"
    growth = _growth(baseline=baseline, canary=canary, tolerance=tolerance)
    if 0 < share < 1 and growth:
        return f"{growth} at a constant weight of {100 * share:g}%: sticky sessions that pile up?"
    return ""


def _growth(*, baseline: Float, canary: Float, tolerance: float) -> str:
    """Whether the share in the second half differs from that in the first, beyond the tolerance."""
    half = canary.size // 2
    parts = [(float(side[:half].sum()), float(side[half:].sum())) for side in (canary, baseline + canary)]
    (early, late), (early_all, late_all) = parts
    if half < 2 or min(early, late) < _ENOUGH_REQUESTS:
        return ""
    ratio = (late / late_all) / (early / early_all)
    process = RateRatioProcess.start([[0.0]]).update(
        events_baseline=[[early]], exposure_baseline=[[early_all]], events_canary=[[late]], exposure_canary=[[late_all]]
    )
    log_e = max(float(process.log_e(upward=up)[0, 0]) for up in (True, False))
    if abs(ratio - 1) <= tolerance or log_e < np.log(2 / _ALPHA):
        return ""
    verb = "grew" if ratio > 1 else "shrank"
    return f"the canary's share {verb} from {early / early_all:.2%} to {late / late_all:.2%}"
