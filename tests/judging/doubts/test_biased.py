"""Gauges that tell of the traffic behind them, of the number of instances, or of a bucket bound."""

import numpy as np
import pytest

from canary_judge.config.metrics import GaugeMetric
from canary_judge.judging import judge_samples
from canary_judge.judging.doubts.biased import at_a_bound
from canary_judge.results import Outcome
from tests.builders import GAUGE, RATIO, config, counted, gauged, samples

N = 120


def judged(query, baseline, canary, *, share=0.1, seed=1, **more):
    """A gauge beside counted traffic, of which the canary has this share."""
    sides, rng = [np.array(list(side)) for side in (baseline, canary)], np.random.default_rng([seed, 7])
    requests = [rng.poisson(10_000 * part, sides[0].size) for part in (1 - share, share)]
    beside = counted(rng.binomial(requests[0], 0.01), requests[0], rng.binomial(requests[1], 0.01), requests[1])
    gauge, ratio = {**GAUGE, "query": query, **more}, {**RATIO, "name": "r", "role": "watch"}
    return judge_samples(config(gauge, ratio), samples({"m": gauged(*sides), "r": beside}, sides[0].size))["m"]


def levels(mean_b, mean_c, seed=1, spread=0.02):
    rng = np.random.default_rng(seed)
    return (mean * (1 + spread * rng.standard_normal(N)) for mean in (mean_b, mean_c))


@pytest.mark.parametrize(
    ("query", "statistic"),
    [
        ('svc:latency:p99{version="1"}', "quantile"),
        ('svc:latency:p99{version="${version}"}', "quantile"),
        ("avg(svc:latency:p99{a='b'})", "quantile"),
        ("max by (pod) (latency_p95)", "quantile"),
        ('errors{job="p99"}', "level"),
        ("p99_limit + 1", "level"),
        ("rate(errors_total[1m])", "sum"),
        ("1000 * rate(gc_runs_total[1m])", "level"),
        ("60 * sum(rate(errors_total[1m]))", "sum"),
        ("(sum by (app) (rate(errors_total[1m])))", "sum"),
        ("sum(rate(cpu_seconds_total[1m]))", "level"),
        ("rate(a[1m]) / rate(b[1m])", "ratio"),
        ("avg(rate(errors_total[1m]))", "level"),
    ],
)
def test_what_a_point_is_of_its_requests_is_read_off_the_query(query, statistic):
    assert GaugeMetric(**{**GAUGE, "query": query}).request_statistic() == statistic


@pytest.mark.parametrize(
    ("query", "share", "canary", "refused"),
    [
        ("sum(mem_bytes)", 0.25, 50.0, True),  # 1.5 times of each pod
        ("sum(mem_bytes)", 0.25, 95.0, False),
        ("sum(mem_bytes)", 0.5, 50.0, False),
        ("avg(mem_bytes)", 0.1, 50.0, False),
        ("sum(mem_bytes) / 6", 0.1, 10.0, False),
        ("rebuffers", 0.1, 22.0, True),  # twice as many of each session
        ("likes", 0.02, 2.04, True),  # as the traffic
        ("heap_used", 0.1, 95.0, False),
        ("heap_used", 0.25, 50.0, False),  # half of it may be an improvement
        ("heap_used", 0.02, 50.0, False),
        ("latency_ms", 0.75, 200.0, False),  # and twice as much harm
    ],
)
def test_a_level_that_goes_as_the_traffic_is_a_sum(query, share, canary, refused):
    found = judged(query, *levels(100.0, canary), share=share)
    assert ("each point is a sum" in " ".join([found.reason, *found.warnings])) == refused
    assert not refused or found.outcome is Outcome.INSUFFICIENT
    # who knows better says so
    assert "each point is a sum" not in judged(query, *levels(100.0, canary), share=share, statistic="level").reason


@pytest.mark.parametrize(
    ("query", "share", "canary", "harm"),
    [
        ("latency_ms", 0.75, 200.0, "increase"),
        ("memory", 0.67, 300.0, "increase"),
        ("hit_ratio", 0.1, 15.0, "decrease"),
    ],
)
def test_a_worse_canary_is_found_where_only_numbers_look_like_a_sum(query, share, canary, harm):
    assert judged(query, *levels(90.0, canary), share=share, harm=harm).outcome is Outcome.REGRESSED


def test_a_level_that_is_lower_by_chance_at_times_is_no_sum():
    """Slow waves of both sides, of which the canary's lies lower for a while."""
    rng = np.random.default_rng(5)
    waves = [np.cumsum(rng.normal(0, 5, N)) for _ in range(2)]
    found = judged("heap", 100 + waves[0] - waves[0].mean(), 20 + waves[1] - waves[1].mean(), share=0.15)
    assert "each point is a sum" not in found.reason


@pytest.mark.parametrize(
    ("query", "name", "total"),
    [
        ("rebuffers", True, False),
        ('svc:sessions{version="${version}"}', True, False),
        ('sum(mem{version="${version}"})', False, True),
        ('sum by (app) (mem{v=~"a/b"})', False, True),
        ('sum(mem{v="${version}"}) / sum(req{v="${version}"})', False, False),
        ("avg(mem)", False, False),
    ],
)
def test_names_and_sums_are_told_by_what_stands_outside_of_their_labels(query, name, total):
    metric = GaugeMetric(**{**GAUGE, "query": query})
    assert (metric.is_name(), metric.is_sum()) == (name, total)


def few_sessions(seed, harm=1.0, n=2 * N):
    """Minutes per session in each minute: of 200 sessions of the baseline, and of four of the canary."""
    rng = np.random.default_rng(seed)
    seen = rng.poisson(200, n), np.maximum(rng.poisson(4, n), 1)
    return (rng.gamma(k, 6 * times) / k for k, times in zip(seen, (1.0, harm), strict=True))


def test_averages_of_few_requests_are_told_with_the_remedy_that_raises_no_alarm():
    """Healthy canaries with a fiftieth of the sessions: ranks call many of them worse, and means none of 40."""
    minutes = {"share": 0.02, "harm": "decrease"}
    by_ranks = [judged("minutes_per_session", *few_sessions(seed), seed=seed, **minutes) for seed in range(10)]
    assert sum(one.outcome in (Outcome.REGRESSED, Outcome.DEGRADED) for one in by_ranks) > 4
    assert all(any("set `statistic: mean`" in text for text in one.warnings) for one in by_ranks)
    minutes["statistic"] = "mean"
    found = [judged("minutes_per_session", *few_sessions(seed), seed=seed, **minutes) for seed in range(40)]
    assert not [one for one in found if one.outcome in (Outcome.REGRESSED, Outcome.DEGRADED)]
    bad = [judged("minutes_per_session", *few_sessions(seed, harm=0.5), seed=seed, **minutes) for seed in range(10)]
    assert all(one.outcome is Outcome.REGRESSED for one in bad)


def test_a_level_that_varies_alike_on_both_sides_is_not_told():
    found = judged("heap", *levels(100.0, 100.0), share=0.02)
    assert found.outcome is Outcome.SAFE
    assert not [text for text in found.warnings if "few requests" in text]


def test_quantiles_at_the_largest_bound_tell_nothing_more():
    rng = np.random.default_rng(1)
    baseline, query = rng.uniform(8.0, 9.4, N), "histogram_quantile(0.99, sum by (le) (rate(l_bucket[1m])))"
    stuck = np.where(rng.uniform(size=N) < 0.8, 10.0, rng.uniform(8, 9.9, N))
    metric = GaugeMetric(**{**GAUGE, "query": query})
    assert "the canary's quantile is 10 to the last digit in 9" in at_a_bound(metric, baseline, stuck)
    assert judged(query, baseline, stuck, share=0.5, margin="50%").outcome is not Outcome.SAFE
    # both in one bucket, the canary faster than ever, or a level of something else
    assert at_a_bound(metric, stuck, stuck) is None
    assert at_a_bound(metric, baseline, np.full(N, 0.00495)) is None
    whole = rng.choice([12.0, 13.0], N), np.where(rng.uniform(size=N) < 0.6, 13.0, 12.0)
    assert at_a_bound(metric, *whole) is None
    assert at_a_bound(GaugeMetric(**GAUGE), baseline, stuck) is None
    assert judged(query, baseline, rng.uniform(8.0, 9.4, N), share=0.5, margin="50%").outcome is Outcome.SAFE
