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


@pytest.mark.parametrize(
    ("usual", "now_and_then", "total", "refused"),
    [
        (0.01, 0.9, 100.0, True),  # shares
        (1.31, 3.0, 100.0, True),  # percentages
        (10 / 0.3, 20 / 0.3, 1000.0, False),  # of a sample, scaled up
        (1.0, 0.5, 100.0, False),
        (1.3, 3.0, 100.4, False),  # both were extrapolated
        (120.3, 300.0, 1000.0, False),  # no percentage
    ],
)
def test_shares_of_the_total_are_refused_and_now_and_then_half_an_event_is_not(usual, now_and_then, total, refused):
    happened = np.full(N, usual)
    happened[3] = now_and_then

    def answer(query):
        values = happened if query.part == "events" else np.full(N, total)
        return Result(series=(Series(timestamps=TIMES, values=values, labels={}),), form=Form.COUNTS)

    found = collected(RATIO, answer)
    assert bool(found.error and "are no counts" in found.error) is refused
    if refused:
        assert str(Side.BASELINE) in found.error


def measured(values, **more):
    """Latencies of single requests, the same on both sides."""
    times = np.sort(TIMES[0] + np.arange(values.size) * ((TIMES[-1] - TIMES[0]) // values.size))
    return collected(
        {**LATENCY, **more}, lambda _: Result(series=(Series(timestamps=times, values=values),), form=Form.SAMPLES)
    )


def test_a_time_out_written_as_minus_one_is_no_fast_request():
    values = np.where(np.arange(400) % 4, 0.05, -1.0)
    found = measured(values)
    assert found.data.counts.exposure_canary.sum() == 300
    assert found.quality.non_finite_canary == 100


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (0.05, None),
        (0.0005, "no latency is even a tenth of `slower_than: 100ms` (they are read in s): is `unit` right?"),
        (50.0, "all latencies of the baseline are beyond `slower_than: 100ms` (they are read in s): is `unit` right?"),
    ],
)
def test_a_bound_far_from_all_that_is_seen_is_told(level, said):
    values = level * np.random.default_rng(1).uniform(0.9, 1.1, 400)
    assert measured(values).warnings == (() if said is None else (said,))
    assert not measured(values[:40]).warnings  # a few of them need not be typical


def test_a_look_without_the_total_of_a_side_has_nothing_of_it():
    """The events of a side whose total is not there are no 12 of 12, and not more events than the total."""
    known = {("events", Side.BASELINE): 12.0, ("events", Side.CANARY): 1.0, ("total", Side.CANARY): 100.0}

    def answer(query):
        value = known.get((query.part, query.side))
        one = () if value is None else (Series(timestamps=TIMES, values=value + np.arange(N) % 2),)
        return Result(series=one, form=Form.COUNTS)

    counts = collected(RATIO, answer).data.counts
    assert counts.exposure_canary.min() == 100.0
    assert not counts.events_baseline.any()
    assert not counts.exposure_baseline.any()
