"""Harm that may have begun at any moment: a mixture over starting times, conditional on all events of each interval.

Evidence over the whole run is diluted by the healthy hours before a fault. Here each interval may be the first of
the harm: an eighth of the weight is spread over all of them, an eighth kept for acts (a change of weight) that are
known to change things. The weights add up to no more than a quarter over an endless run; with the others on evidence
over the whole run (`WHOLE`) the sum is an e-process (Ville's inequality), whenever one looks.

References:
    Shin, J., Ramdas, A. & Rinaldo, A. (2023), arXiv:2203.03532 (e-detectors; Shiryaev-Roberts with summable weights).
    Page, E. S. (1954), doi:10.1093/biomet/41.1-2.100 (CUSUM, which tells when it began).
    Lindon & Malek (2022), see `canary_judge.stats.rates` (the likelihood ratio of one interval).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from canary_judge.arrays import Float, distinct, log_sum_exp
from canary_judge.stats.counts import Counts, both_exposed

__all__ = ["NOT_WORSE_LATELY", "WHOLE", "StartEvidence", "harm_since", "recent_dispersion"]

# A canary whose newest data speak so clearly of harm gets no more traffic.
NOT_WORSE_LATELY = 3.0
WHOLE = 0.75
_SPREAD, _ACTS, _SCALE = 0.125, 0.125, 240.0
# Log ratios beyond the null, and the widths of the mixture of normals over them.
_NODES, _SMALLEST, _LARGEST, _WIDTHS = 24, 0.05, 4.0, (1.0, 0.3)
# Of e, before the range of floats ends, and what is too close to its other end.
_LARGEST_EXPONENT, _UNDERFLOWN = 700.0, 1e-250
# Values of an array that fits the cache.
_PIECE = 2**15
_BLOCK, _FEWEST_BLOCKS = 8, 5
_STANDARD_ERRORS = 1.645


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEvidence:
    """Evidence against "no harm beyond the null at any time", and what the newest data look like.

    Attributes:
        log_e: Natural log of what the starts add to the e-value, each without its most harmful interval.
        worse: What the newest data alone say of harm: the largest likelihood ratio over all starts, averaged over the
            alternatives; 1 and less says nothing.
        since: The interval since which they look worse; the first one when they always did.
    """

    log_e: float
    worse: float
    since: int


def harm_since(counts: Counts, *, null: float, upward: bool, phi: float, acts: Sequence[int] = ()) -> StartEvidence:
    """Evidence that the canary's rate has been beyond a ratio to the baseline's since some interval.

    No single interval may carry it: a burst is one event, however many errors it brings. So per alternative the
    most harmful interval is left out of every sum.

    Args:
        counts: One entry per interval, in order of time; one in which a side had no exposure says nothing.
        null: Log of the ratio that is still tolerated.
        upward: Harm is a larger ratio; else a smaller one.
        phi: Dispersion: a quasi-likelihood, valid in approximation (McCullagh & Nelder 1989).
        acts: Intervals at which something was done that may have changed the canary, in order.

    Examples:
        >>> calm, worse = np.full(180, 10.0), np.repeat([1.0, 5.0], [165, 15])
        >>> counts = Counts(events_baseline=calm, exposure_baseline=calm * 100,
        ...                 events_canary=worse, exposure_canary=calm * 10)
        >>> found = harm_since(counts, null=float(np.log(1.5)), upward=True, phi=1.0)
        >>> round(found.log_e, 1), found.since
        (17.7, 165)
    """
    sign = 1.0 if upward else -1.0
    delta, log_weights = _alternatives()
    used = both_exposed(counts)
    events = np.where(used, counts.events_canary, 0.0)
    total = np.where(used, counts.events_canary + counts.events_baseline, 0.0)
    log_odds = np.log(np.where(used, counts.exposure_canary, 1.0)) - np.log(
        np.where(used, counts.exposure_baseline, 1.0)
    )
    count = events.size
    if not count:
        return StartEvidence(log_e=0.0, worse=1.0, since=0)
    # beyond these odds the split of the events is the same at any ratio
    odds = np.exp(np.minimum(log_odds + null, _LARGEST_EXPONENT / 2))
    at_null = np.log1p(odds)
    log_started = np.log(_start_weights(count, acts))
    calm, peak, since = np.empty(delta.size), np.empty(delta.size), np.zeros(delta.size, dtype=np.int64)
    step = max(1, _PIECE // count)
    for first in range(0, delta.size, step):
        some = slice(first, first + step)
        moved = sign * delta[some, None]
        gain = (events * moved - total * (np.log1p(np.exp(moved) * odds) - at_null)) / phi
        so_far = np.zeros((len(gain), count + 1))
        np.cumsum(gain, axis=1, out=so_far[:, 1:])
        before = so_far[:, :-1]
        # of each start the weight, over what had been gained by then
        calm[some] = so_far[:, -1] + _without_one(log_started - before, gain)
        since[some] = count - 1 - np.argmin(before[:, ::-1], axis=1)  # the last one that is lowest
        peak[some] = so_far[:, -1] - before[np.arange(len(gain)), since[some]]
    peak += log_weights
    return StartEvidence(
        log_e=float(log_sum_exp(log_weights + calm)),
        worse=float(np.exp(min(float(log_sum_exp(peak)), _LARGEST_EXPONENT))),
        since=int(since[np.argmax(peak)]),
    )


def _without_one(started: Float, gain: Float) -> Float:
    """Log of the sum over all starts, without the gain of the interval that adds most; no more than the whole sum.

    Args:
        started: Log of what stands at each start, shape (m, n).
        gain: Log of what each interval multiplies with all starts up to it, shape (m, n).
    """
    top = started.max(axis=1, keepdims=True)
    ones = np.exp(started - top)
    upto = np.cumsum(ones, axis=1)
    after = np.zeros_like(ones)
    np.cumsum(ones[:, :0:-1], axis=1, out=after[:, -2::-1])
    least = (after + upto * np.exp(-np.maximum(gain, 0.0))).min(axis=1)
    with np.errstate(divide="ignore"):
        found: Float = np.log(least) + top[:, 0]
    for row in np.flatnonzero(least < _UNDERFLOWN):  # beside the largest start it is nothing: by logarithms then
        found[row] = _without_one_by_logs(started[row], gain[row])
    return found


def _without_one_by_logs(started: Float, gain: Float) -> float:
    before = np.logaddexp.accumulate(started)
    after = np.append(np.logaddexp.accumulate(started[:0:-1])[::-1], -np.inf)
    return float(np.logaddexp(after, before - np.maximum(gain, 0.0)).min())


def recent_dispersion(counts: Counts, *, whole: Callable[[], float]) -> float:
    """Dispersion of the split of the events that does not take a change of the ratio for clumps; at least 1.

    Blocks of 8 intervals have a ratio each, so that only what varies within a block counts. While few blocks have
    events on both sides it is no less than the dispersion over the whole run.

    Args:
        counts: One entry per interval, in order of time.
        whole: Gives the dispersion over the whole run.

    Examples:
        >>> worse = np.repeat([2.0, 20.0], 80)
        >>> recent_dispersion(Counts(events_baseline=np.full(160, 20.0), exposure_baseline=np.full(160, 1e3),
        ...                          events_canary=worse, exposure_canary=np.full(160, 1e2)), whole=lambda: 3.0)
        1.0
    """
    c, b = counts.events_canary, counts.events_baseline
    n_c, n_b = counts.exposure_canary, counts.exposure_baseline
    used = (n_b > 0) & (n_c > 0) & (c + b > 0)
    block = np.arange(c.size) // _BLOCK
    c, b, n_c, n_b, block = c[used], b[used], n_c[used], n_b[used], block[used]

    def of_block(values: Float) -> Float:
        return np.bincount(block, weights=values).astype(np.float64)[block]

    both = (of_block(c) > 0) & (of_block(b) > 0)
    blocks = distinct(block[both]).size
    c, b, n_c, n_b, block = c[both], b[both], n_c[both], n_b[both], block[both]
    if not c.size:
        return whole()
    events, all_events = c + b, of_block(c + b)
    # each block's own ratio, at the split of the traffic of each interval
    odds = n_c / n_b * of_block(c) * of_block(n_b) / (of_block(b) * of_block(n_c))
    share = odds / (1 + odds)
    # conditional on the block's events of each side
    left = np.divide(all_events - events, all_events - 1, out=np.zeros_like(events), where=all_events > 1)
    spread = events * share * (1 - share) * left
    noise = float(np.maximum(2 * spread**2 + spread * (1 - 6 * share * (1 - share)), 0.0).sum())
    observed, expected = float(((c - events * share) ** 2).sum()), float(spread.sum())
    phi = 1.0
    if expected > 0 and observed - expected > _STANDARD_ERRORS * np.sqrt(noise):
        phi = observed / expected
    return phi if blocks >= _FEWEST_BLOCKS else max(phi, whole())


def _start_weights(count: int, acts: Sequence[int]) -> Float:
    """Weight of a start at each interval; an interval at which several acts begin has them all."""
    number = np.arange(count, dtype=float)
    weights = _SPREAD * _SCALE / ((number + _SCALE) * (number + _SCALE + 1))
    for order, act in enumerate(acts, start=1):
        if act < count:
            weights[act] += _ACTS / (order * (order + 1))
    return weights


@cache
def _alternatives() -> tuple[Float, Float]:
    """Distances from the null, and the log of their weights."""
    delta = np.geomspace(_SMALLEST, _LARGEST, _NODES)
    weights = np.gradient(delta) * sum(np.exp(-0.5 * (delta / width) ** 2) / width for width in _WIDTHS)
    return delta, np.log(weights / weights.sum())
