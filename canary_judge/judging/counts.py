"""Metrics of events: from counts to evidence."""

from __future__ import annotations

import math

import numpy as np

from canary_judge.config.metrics import Metric
from canary_judge.frozen import replaced
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.doubts.odd_counts import odd_counts
from canary_judge.judging.look import Look
from canary_judge.judging.recent import with_recent_counts
from canary_judge.judging.shortfalls import count_shortfall
from canary_judge.results import Harm, Outcome, Side
from canary_judge.samples import CountData
from canary_judge.stats.counts import Counts, within_exposure
from canary_judge.stats.dispersion import instance_dispersion, late_dispersion
from canary_judge.stats.events import compare_counts, limit_counts

__all__ = ["assess_counts", "tolerates_all"]


# Standard errors, and events, that the baseline's share may lie beside what was seen.
_SURELY = 3.0
# Standard errors of the difference of two numbers of requests under way.
_UNDER_WAY = 4.0 * math.sqrt(2.0)
# What is more in so many intervals and fewer in none is so by no chance; of a little more some were counted twice.
_NEVER_FEWER, _MORE = 10, 1.005


def tolerates_all(metric: Metric, share: float, of: float) -> str | None:
    """Why a margin of a share excludes nothing, at this share of so many of the baseline; else None.

    So is one that is as large as the share that was seen: nothing at all would be within it.
    """
    margin = metric.parsed_margin()
    if margin is None or not metric.is_proportion:
        return None
    if margin.by_share(share) and metric.limit is not None:  # which bounds it, too
        return None
    error = _SURELY * math.sqrt(share * (1 - share) / of) + _SURELY / of if of else 1.0
    room = {Harm.INCREASE: 1 - share, Harm.DECREASE: share, Harm.EITHER: max(share, 1 - share)}[metric.harm]
    if margin.amount(share) < (room if room > 0 else error):
        return None
    return f"the margin {metric.margin} tolerates everything: the baseline's share is {share:.1%}; give a narrower one"


def _more_than_total(counts: Counts) -> str | None:
    """Why events are no part of the total: more of them than began before the window and ended in it."""
    for side in Side:
        events, total = getattr(counts, f"events_{side}"), getattr(counts, f"exposure_{side}")
        have, of = float(events.sum()), float(total.sum())
        # as many are under way as begin in an interval, give or take chance
        under_way = _UNDER_WAY * math.sqrt(float(total.max(initial=0.0))) + _SURELY
        if have > of * (1 + 1e-9) and have - of > under_way:
            return f"{side}: {have:g} events out of a total of {of:g}; `events` must be a part of `total`"
        # events that end later are now more and now fewer
        more, fewer = np.count_nonzero(events > total), np.count_nonzero(events < total)
        if more >= _NEVER_FEWER and not fewer and have > _MORE * of:
            return f"{side}: `events` are never fewer than `total`, and more in {more} intervals: are they swapped?"
    return None


def _tolerated(metric: Metric, counts: Counts) -> float:
    """The margin as a change of the share; 0 without one."""
    margin, total = metric.parsed_margin(), float(counts.exposure_baseline.sum())
    if margin is None or not total:
        return 0.0
    return min(margin.amount(float(counts.events_baseline.sum()) / total), 0.5)


def assess_counts(look: Look, metric: Metric, data: CountData, bare: Assessed) -> Assessed:
    """Events of an exposure, against the baseline and against the limit."""
    limit, proportion = metric.parsed_limit(), metric.is_proportion
    if proportion:
        if (more := _more_than_total(data.counts)) is not None:
            return replaced(bare, settled=(Outcome.ERROR, more))
        late = late_dispersion(data.counts, tolerated=_tolerated(metric, data.counts))
        data = replaced(data, counts=within_exposure(data.counts))
    else:
        late = 1.0
    events, exposure = np.array(list(data.instances.values()), dtype=float).reshape(-1, 2).T
    between = instance_dispersion(events, exposure)
    compared = compare_counts(
        data.counts,
        harm=metric.harm,
        margin=metric.parsed_margin(),
        proportion=proportion,
        between=max(between, late),
    )
    check = None
    if limit is not None:
        check = limit_counts(data.counts, limit=limit, harm=metric.harm, proportion=proportion)
    if compared is None:
        text = "no interval has traffic on both sides"
        if check is None:
            return replaced(bare, settled=(Outcome.NO_DATA, text))
        return replaced(bare, limit=check, no_safety=text)
    shortfall, blocked = count_shortfall(look, metric, compared.evidence)
    blocked = tolerates_all(metric, compared.evidence.baseline or 0.0, compared.evidence.n_baseline) or blocked
    found = replaced(bare.with_comparison(compared), limit=check, shortfall=shortfall, no_safety=blocked)
    expected = look.weighted or look.config.traffic is not None
    found = odd_counts(metric, data.counts, found, expected=expected)
    return with_recent_counts(look, metric, data, found, between=between, late=late)
