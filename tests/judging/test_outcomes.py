"""The error is shared out over what can fail the canary, whether or not there are data; and only what has data counts."""

from dataclasses import replace

import pytest

from canary_judge import JudgeConfig
from canary_judge.judging.assessed import Assessed
from canary_judge.judging.outcomes import family_wise
from canary_judge.results import Comparison, LimitCheck, Outcome, Scale

COMPARED = Comparison(
    method="m",
    scale=Scale.RATIO,
    margin=1.5,
    baseline=0.01,
    canary=0.01,
    p_harm=0.4,
    p_beyond_margin=0.9,
    p_within_margin=0.01,
    n_baseline=100.0,
    n_canary=100.0,
    n_effective=10.0,
)
BROKEN = LimitCheck(method="exact", limit=0.01, canary=0.5, p_beyond_limit=1e-9, p_within_limit=1.0)
METRIC = {"name": "m", "kind": "ratio", "events": "e", "total": "t", "harm": "increase"}


def config(**changes):
    gate = {**METRIC, "name": "gate", "margin": "1.5x"}
    return JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [{**METRIC, **changes}, gate]})


def assessed(limit=None, settled=None, **changes):
    """The evidence on a metric; `limit` is what is known of the canary's limit."""
    metric = config(**changes).metrics[0]
    return Assessed(metric=metric, comparison=COMPARED, limit=limit, settled=settled)


def limited(limit, settled=None):
    return replace(assessed(limit, settled, margin="1.5x"), metric=config(margin="1.5x", limit="1%").metrics[0])


def test_a_broken_limit_counts_only_where_there_is_enough_to_judge():
    settled = (Outcome.INSUFFICIENT, "too few")
    worse, beyond, _ = family_wise([limited(BROKEN)], alpha=0.01)
    assert beyond[0] < 1e-8
    assert worse == [0.4]
    assert family_wise([limited(BROKEN, settled)], alpha=0.01) == ([1.0], [1.0], [0.005])
    assert family_wise([limited(None)], alpha=0.01).beyond == [1.0]


def test_a_watched_metric_takes_no_share_of_the_error():
    watched = assessed(role="watch", margin="1.5x")
    gate = assessed(margin="1.5x")
    assert family_wise([gate, watched], alpha=0.01).worse == pytest.approx([0.4, 0.4])
    assert family_wise([gate, gate], alpha=0.01).worse == pytest.approx([0.8, 0.8])
