"""The ratio of two event rates, whenever one looks: a mixture over rate ratios, conditional on all events.

Given the events of both sides in an interval, the canary's are binomial with its share of the exposure as the odds,
whatever the common rate did; so the weight of the canary may change from interval to interval, and only the exposure
share of each interval enters. Events of Bernoulli trials are less variable than that (hypergeometric), which keeps the
process valid.

References:
    Lindon, M. & Malek, A. (2022), arXiv:2011.03567 (anytime-valid inference for multinomial and Poisson counts).
    Hoeffding, W. (1963), doi:10.1080/01621459.1963.10500830, section 6 (convex order of the hypergeometric).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Self

import numpy as np

from canary_judge.arrays import Float, log_sum_exp

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


__all__ = ["RateRatioProcess"]

# half of the prior looks for ratios of the order of 2.7, half for those near 1.3
_SCALES = (1.0, 0.3)
# Values of an array that stays in the cache, and log odds whose exponential is a number at every node.
_PIECE, _LARGEST_ODDS = 2**15, 600.0


@cache
def _nodes() -> Float:
    """Log rate ratios up to 4 (a ratio of 55), dense near 0 where many events tell small ratios apart."""
    fine, middle, coarse = np.arange(1, 31) * 0.02, 0.6 + np.arange(1, 19) * 0.05, 1.5 + np.arange(1, 26) * 0.1
    half = np.concatenate([fine, middle, coarse])
    return np.concatenate([-half[::-1], [0.0], half])


@cache
def _widths() -> Float:
    return np.gradient(_nodes())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RateRatioProcess:
    """Evidence on the rate ratios of m metrics; `update` returns the next state.

    Attributes:
        nulls: Log rate ratios under test, shape (m, k): 0 for "no harm", log 1.5 for a margin of 1.5x, ...
        likelihood: Log likelihood at the nodes of the prior, then at the nulls, shape (m, nodes + k).
        slope: Its derivative at the nodes and nulls, same shape.

    Examples:
        >>> process = RateRatioProcess.start(np.array([[0.0, np.log(1.5)]]))
        >>> process = process.update(events_baseline=[[50.0]], exposure_baseline=[[9500.0]],
        ...                          events_canary=[[12.0]], exposure_canary=[[500.0]])
        >>> above = process.log_e(upward=True)          # against "ratio <= 1", "ratio <= 1.5"
        >>> np.exp(above).round(1).tolist()
        [[374.9, 24.9]]
        >>> [round(float(np.exp(end[0])), 2) for end in process.interval(alpha=0.05)]
        [1.3, 12.47]
    """

    nulls: Float
    likelihood: Float
    slope: Float

    @classmethod
    def start(cls, nulls: ArrayLike) -> Self:
        """No data yet."""
        nulls = np.atleast_2d(np.asarray(nulls, dtype=float))
        empty = np.zeros((nulls.shape[0], _nodes().size + nulls.shape[1]))
        return cls(nulls=nulls, likelihood=empty, slope=empty)

    def update(
        self,
        *,
        events_baseline: ArrayLike,
        exposure_baseline: ArrayLike,
        events_canary: ArrayLike,
        exposure_canary: ArrayLike,
    ) -> Self:
        """Add intervals, each array of shape (m, n); one in which a side had no exposure says nothing."""
        sides = (events_baseline, exposure_baseline, events_canary, exposure_canary)
        gained, slope = _gained(self._points(), *(np.atleast_2d(np.asarray(side, dtype=float)) for side in sides))
        return type(self)(nulls=self.nulls, likelihood=self.likelihood + gained, slope=self.slope + slope)

    def against(
        self,
        nulls: ArrayLike,
        *,
        events_baseline: ArrayLike,
        exposure_baseline: ArrayLike,
        events_canary: ArrayLike,
        exposure_canary: ArrayLike,
    ) -> Self:
        """The evidence of the same intervals, all of them, against other nulls: what is known at the nodes is kept."""
        nulls = np.atleast_2d(np.asarray(nulls, dtype=float))
        sides = (events_baseline, exposure_baseline, events_canary, exposure_canary)
        gained, slope = _gained(nulls, *(np.atleast_2d(np.asarray(side, dtype=float)) for side in sides))
        size = _nodes().size
        return type(self)(
            nulls=nulls,
            likelihood=np.concatenate([self.likelihood[:, :size], gained], axis=1),
            slope=np.concatenate([self.slope[:, :size], slope], axis=1),
        )

    def log_e(self, *, upward: bool, phi: ArrayLike = 1.0) -> Float:
        """Log e against "ratio at most each null" (upward), or "ratio at least each null"; shape (m, k).

        Args:
            upward: The side of the alternatives.
            phi: Dispersion, shape (m,): a quasi-likelihood, valid in approximation (McCullagh & Nelder 1989).
        """
        size = _nodes().size
        scaled = self.likelihood / np.broadcast_to(np.asarray(phi, dtype=float), (len(self.nulls),))[:, None]
        at_nulls = scaled[:, size:]
        gain = scaled[:, None, :size] - at_nulls[:, :, None]
        distance = _nodes()[None, None, :] - self.nulls[:, :, None]
        inside = distance > 1e-12 if upward else distance < -1e-12
        weights = np.where(inside, _prior(distance), 0.0)
        total = weights.sum(axis=2, keepdims=True)
        with np.errstate(divide="ignore"):
            log_weights = np.log(weights / np.where(total > 0, total, 1.0))
        # beyond the last node nothing is looked for
        return np.where(total[:, :, 0] > 0, log_sum_exp(gain + log_weights), 0.0)

    def interval(self, *, alpha: float, phi: ArrayLike = 1.0) -> tuple[Float, Float]:
        """Confidence sequence of the log rate ratio, two-sided at 1 - alpha: lower and upper ends, shape (m,).

        All ratios whose likelihood is not 1 / alpha times smaller than the mixture's, which is fixed in advance;
        an end beyond the nodes (a ratio of 55) is infinite.
        """
        nodes = _nodes()
        phi = np.broadcast_to(np.asarray(phi, dtype=float), (len(self.nulls),))[:, None]
        scaled, slope = self.likelihood[:, : nodes.size] / phi, self.slope[:, : nodes.size] / phi
        weights = _prior(nodes)
        mixture = log_sum_exp(scaled + np.log(weights / weights.sum()))
        short = np.asarray(mixture)[:, None] - scaled - np.log(1 / alpha)  # negative inside
        low, high = np.empty(len(scaled)), np.empty(len(scaled))
        for row, (outside, steep) in enumerate(zip(short, slope, strict=True)):
            inside = np.flatnonzero(outside < 0)
            if inside.size == 0:
                best = int(np.argmin(outside))
                low[row] = high[row] = nodes[best]
                continue
            first, last = inside[0], inside[-1]
            # the likelihood is concave, so its tangents lie above it and the interval is never too short
            low[row] = -np.inf if first == 0 else _reach(nodes, outside, steep, first, first - 1)
            high[row] = np.inf if last == nodes.size - 1 else _reach(nodes, outside, steep, last, last + 1)
        return low, high

    def _points(self) -> Float:
        nodes = _nodes()
        return np.concatenate([np.broadcast_to(nodes, (len(self.nulls), nodes.size)), self.nulls], axis=1)


def _gained(points: Float, b: Float, n_b: Float, c: Float, n_c: Float) -> tuple[Float, Float]:
    """Log likelihood of intervals, shape (m, n), at points of shape (m, k), and its derivative; shape (m, k)."""
    used = (n_b > 0) & (n_c > 0)
    log_odds = np.log(np.where(used, n_c, 1.0)) - np.log(np.where(used, n_b, 1.0))
    canary, total = np.where(used, c, 0.0), np.where(used, b + c, 0.0)
    events = canary.sum(axis=1, keepdims=True)
    gained = events * points + (canary * log_odds).sum(axis=1, keepdims=True)
    slope = np.repeat(events, points.shape[1], axis=1)
    # c log p + b log (1 - p), with odds p / (1 - p); of odds beyond all numbers, 1 + odds are the odds
    bounded = np.minimum(log_odds, _LARGEST_ODDS)
    gained -= (total * (log_odds - bounded)).sum(axis=1, keepdims=True)
    odds, factors = np.exp(bounded), np.exp(points)[:, None, :]
    step = max(1, _PIECE // points.size)
    for first in range(0, log_odds.shape[1], step):
        some = slice(first, first + step)
        at_point = odds[:, some, None] * factors
        weight = total[:, some, None]
        gained -= (weight * np.log1p(at_point)).sum(axis=1)
        slope -= (weight * (at_point / (1 + at_point))).sum(axis=1)
    return gained, slope


def _prior(distance: Float) -> Float:
    """Density of the mixture of normals around the null, times the width of each node's cell."""
    density = sum(np.exp(-0.5 * (distance / scale) ** 2) / scale for scale in _SCALES)
    return np.asarray(density * _widths())


def _reach(nodes: Float, outside: Float, steep: Float, inner: int, outer: int) -> float:
    """Where the tangent at the outer node meets the threshold, no nearer than the inner node."""
    if steep[outer] == 0:
        return float(nodes[outer])
    met = nodes[outer] + outside[outer] / steep[outer]
    low, high = sorted((float(nodes[inner]), float(nodes[outer])))
    return min(max(float(met), low), high)
