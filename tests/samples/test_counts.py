"""What is no count is refused; what may be a matter of when each series was scraped is not."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from canary_judge import JudgeConfig, Window
from canary_judge.results import Side
from canary_judge.samples import collect
from canary_judge.series import Form, Result, Series

START, MINUTE, N = datetime(2026, 1, 1, 12, tzinfo=UTC), timedelta(minutes=1), 20
TIMES = np.array([int((START + k * MINUTE).timestamp() * 1e9) for k in range(1, N + 1)])
LATENCY = {
    "name": "m",
    "kind": "latency",
    "histogram": "b_seconds_bucket",
    "slower_than": "0.1s",
    "harm": "increase",
    "margin": "1.5x",
}
RATIO = {"name": "m", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}


def collected(metric, answer):
    config = JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [metric]})
    answers = [(query, answer(query)) for query in config.queries()]
    return collect(config, Window(START, START + N * MINUTE), answers).metrics["m"]


def counting(values, **labels):
    return Series(timestamps=TIMES, values=np.cumsum(values), labels=labels)


@pytest.mark.parametrize(("beyond", "refused"), [(1.009, False), (1.012, True)])
def test_a_bucket_may_lead_the_one_of_all_requests_by_less_than_a_percent(beyond, refused):
    whole = np.full(N, 1000.0)
    series = (counting(whole, le="+Inf"), counting(whole * beyond, le="0.1"))
    found = collected(LATENCY, lambda _: Result(series=series, form=Form.COUNTER))
    assert bool(found.error and "more than the" in found.error) is refused


@pytest.mark.parametrize(("largest", "refused"), [(0.9, True), (3.0, False)])
def test_shares_of_the_total_are_refused_and_now_and_then_half_an_event_is_not(largest, refused):
    shares = np.full(N, 0.01)
    shares[3] = largest

    def answer(query):
        values = shares if query.part == "events" else np.full(N, 100.0)
        return Result(series=(Series(timestamps=TIMES, values=values, labels={}),), form=Form.COUNTS)

    found = collected(RATIO, answer)
    assert bool(found.error and "are no counts" in found.error) is refused
    if refused:
        assert str(Side.BASELINE) in found.error
