"""What is worth a word on how values spread: a ceiling, swings that the baseline has not, a second kind of requests."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from canary_judge.arrays import Float, distinct, median
from canary_judge.config.metrics import Metric
from canary_judge.results import Harm

__all__ = ["worth_a_word"]

# Of fewer values nothing is told; of the canary's, what is at the ceiling.
_FEWEST, _AT_THE_CEILING = 8, 0.5
# Standard deviations of the baseline's, and what share is beyond all of it and yet not most.
_SWINGS, _BEYOND, _NOT_MOST = 5.0, 0.1, 0.5
# Of its steps, those that go the harmful way.
_CLIMBS = 0.65
# Of so many single requests, what share is below all of the baseline's while the slow ones are as slow.
_FEWEST_REQUESTS, _AT_ONCE, _SLOW = 100, 0.05, 0.75


def worth_a_word(metric: Metric, baseline: Float, canary: Float) -> Iterator[str]:
    """What a reader should know of values, shapes (n,) and (m,): it decides nothing, for it may be well."""
    if metric.harm is Harm.EITHER or min(baseline.size, canary.size) < _FEWEST:
        return
    with np.errstate(all="ignore"):  # of values near the end of floats
        found = [_at_a_ceiling(baseline, canary, metric.harm)]
        found.append(_at_once(baseline, canary, metric.harm) if metric.kind == "samples" else None)
        found.append(_swings(baseline, canary, metric.harm) if metric.kind == "gauge" else None)
    yield from (one for one in found if one is not None)


def _at_a_ceiling(baseline: Float, canary: Float, harm: Harm) -> str | None:
    """Whether most of the canary's values are the worst one that either side has, of which the baseline has fewer."""
    upward = harm is Harm.INCREASE
    worst = max(baseline.max(), canary.max()) if upward else min(baseline.min(), canary.min())
    if median(canary) != worst or distinct(baseline).size == 1:
        return None
    share, theirs = float((canary == worst).mean()), float((baseline == worst).mean())
    if share < _AT_THE_CEILING or 2 * theirs > share or (worst == 0 and not upward):
        return None
    which = "largest" if upward else "smallest"
    return (
        f"{share:.0%} of the canary's values are {worst:g}, the {which} of both sides, and {theirs:.0%} of the "
        "baseline's: is there an end of the scale, beyond which harm is not seen?"
    )


def _swings(baseline: Float, canary: Float, harm: Harm) -> str | None:
    """Whether a level goes up and down far more than the baseline's, and beyond all of it: as before it is killed."""
    usual, own = float(baseline.std()), float(canary.std())
    steps = canary[1:] - canary[:-1]
    climbs = float((steps > 0).mean() if harm is Harm.INCREASE else (steps < 0).mean())
    if own <= _SWINGS * usual or not usual or climbs < _CLIMBS:  # one pod varies more than the mean of many
        return None
    beyond = float((canary > baseline.max()).mean() if harm is Harm.INCREASE else (canary < baseline.min()).mean())
    if not _BEYOND <= beyond < _NOT_MOST:
        return None
    return (
        f"the canary's values spread {own / usual:.0f} times as far as the baseline's, and {beyond:.0%} of them are "
        "worse than all of its: does it climb and begin anew? Give it a `limit`"
    )


def _at_once(baseline: Float, canary: Float, harm: Harm) -> str | None:
    """Whether many of the canary's requests take less time than any of the baseline's, and the slow ones no less."""
    if harm is not Harm.INCREASE or baseline.size < _FEWEST_REQUESTS:
        return None
    number = int((canary < baseline.min()).sum())
    share = number / canary.size
    if share < _AT_ONCE or number < _FEWEST or float(np.quantile(canary, _SLOW)) < float(np.quantile(baseline, _SLOW)):
        return None
    return (
        f"{share:.0%} of the canary's values are below all of the baseline's, and the others are not: requests that "
        "fail at once? Judge errors beside them"
    )
