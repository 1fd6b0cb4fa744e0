"""Metrics of events: from counts to evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from canary_judge.config.metrics import Metric
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.look import Look
from canary_judge.judging.recent import with_recent_counts
from canary_judge.judging.shortfalls import count_shortfall
from canary_judge.results import Outcome
from canary_judge.samples import CountData
from canary_judge.stats.dispersion import instance_dispersion
from canary_judge.stats.events import compare_counts, limit_counts

__all__ = ["assess_counts"]


def assess_counts(look: Look, metric: Metric, data: CountData, bare: Assessed) -> Assessed:
    """Events of an exposure, against the baseline and against the limit."""
    limit, proportion = metric.parsed_limit(), metric.is_proportion
    events, exposure = np.array(list(data.instances.values()), dtype=float).reshape(-1, 2).T
    compared = compare_counts(
        data.counts,
        harm=metric.harm,
        margin=metric.parsed_margin(),
        proportion=proportion,
        between=instance_dispersion(events, exposure),
    )
    check = None
    if limit is not None:
        check = limit_counts(data.counts, limit=limit, harm=metric.harm, proportion=proportion)
    if compared is None:
        text = "no interval has traffic on both sides"
        if check is None:
            return replace(bare, settled=(Outcome.NO_DATA, text))
        return replace(bare, limit=check, no_safety=text)
    shortfall, blocked = count_shortfall(look, metric, compared.evidence)
    found = replace(bare.with_comparison(compared), limit=check, shortfall=shortfall, no_safety=blocked)
    return with_recent_counts(look, metric, data, found)
