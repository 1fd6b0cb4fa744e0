"""Harm that was once passed, or health that was once failed: each found by review, each kept from coming back."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from benchmarks.one_look import FULL, ar1, config, rates
from canary_judge.config.model import JudgeConfig
from canary_judge.errors import ConfigError
from canary_judge.judging import judge, judge_samples
from canary_judge.results import Outcome
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData, Samples
from canary_judge.series import Window
from canary_judge.sources import FrameSource
from canary_judge.stats.counts import Counts
from canary_judge.stats.dependence import cluster_time

START = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = pd.date_range(START, periods=60, freq="1min")
RATIO = {"kind": "ratio", "events": "e", "total": "t", "harm": "increase"}
ONE = np.ones(60)


def counted(events_b, exposure_b, events_c, exposure_c):
    arrays = [np.asarray(a, dtype=float) for a in (events_b, exposure_b, events_c, exposure_c)]
    names = ("events_baseline", "exposure_baseline", "events_canary", "exposure_canary")
    return MetricSamples(data=CountData(counts=Counts(**dict(zip(names, arrays, strict=True)))), quality=FULL)


def outcome(metric, samples, alpha=0.01):
    window = Window(START, START + 60 * timedelta(seconds=15))
    return judge_samples(
        config(metric, alpha), Samples(window=window, metrics={"m": samples}), with_intervals=False
    ).metrics[0]


def from_table(table, **metric):
    read = JudgeConfig.from_mapping({"name": "s", "interval": "1m", "metrics": [{"name": "m", **metric}]})
    return judge(read, FrameSource(table), Window(START, START + timedelta(hours=1))).metrics[0]


def test_an_incident_before_the_canary_existed_does_not_whitewash_it():
    before = np.concatenate([95 * ONE[:30], 2 * ONE[:30]])
    late = lambda value: np.concatenate([0 * ONE[:30], value * ONE[:30]])
    found = outcome({**RATIO, "margin": "1.5x"}, counted(before, 950 * ONE, late(1), late(200)))
    assert found.comparison.effect == pytest.approx((30 / 6000) / (60 / 28_500))
    assert found.outcome is Outcome.DEGRADED


@pytest.mark.slow
def test_stages_of_traffic_weight_do_not_hide_harm_at_the_margin():
    share, rate = np.repeat([0.01, 0.05, 0.25, 0.5], 15), np.repeat([0.05, 0.002, 0.002, 0.002], 15)

    def at_margin(rng):
        n_c, n_b = rng.poisson(1000 * share), rng.poisson(1000 * (1 - share))
        return counted(rng.binomial(n_b, rate), n_b, rng.binomial(n_c, 1.5 * rate), n_c)

    found = rates(config({**RATIO, "margin": "1.5x"}, 0.01), at_margin, 600, 1, 60)
    assert found.safe <= found.bound(0.05)


@pytest.mark.slow
def test_a_drifting_split_does_not_fail_a_healthy_canary():
    share, rate = np.repeat([0.5, 0.55], 30), np.repeat([0.01, 0.08], 30)

    def healthy(rng):
        n_c, n_b = rng.poisson(20_000 * share), rng.poisson(20_000 * (1 - share))
        return counted(rng.binomial(n_b, rate), n_b, rng.binomial(n_c, rate), n_c)

    found = rates(config({**RATIO, "margin": "3%"}, 0.01), healthy, 200, 2, 60)
    assert found.regressed <= found.bound(0.01)
    assert found.safe >= 0.9


@pytest.mark.parametrize(("times", "expected"), [(1, Outcome.SAFE), (5, Outcome.REGRESSED)])
def test_restarts_are_counted_per_instance(times, expected):
    rng = np.random.default_rng(0)
    table = pd.concat(
        pd.DataFrame({"timestamp": TIMES, "side": side, "pod": f"{side}{i}", "restarts": rng.poisson(rate, 60)})
        for side, pods, rate in (("baseline", 10, 0.2), ("canary", 4, 0.2 * times))
        for i in range(pods)
    )
    found = from_table(table, kind="rate", events="restarts", harm="increase", margin="2x")
    assert found.outcome is expected
    assert found.comparison.effect == pytest.approx(times, rel=0.3)
    assert not found.warnings


def test_events_that_do_not_tell_instances_apart_are_warned_about():
    table = pd.concat(
        pd.DataFrame({"timestamp": TIMES, "side": side, "restarts": 1.0}) for side in ("baseline", "canary")
    )
    found = from_table(table, kind="rate", events="restarts", harm="increase", margin="2x")
    assert any("do not tell instances apart" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("load", "factor", "expected"),
    [(np.linspace(1, 2, 60), 1.0, Outcome.SAFE), (np.linspace(2, 1, 60), 1.4, Outcome.REGRESSED)],
)
def test_instances_are_compared_over_the_time_that_both_sides_lived_through(load, factor, expected):
    rng = np.random.default_rng(1)
    parts = []
    for side, pods, effect in (("baseline", 5, 1.0), ("canary", 3, factor)):
        for i in range(pods):
            cpu = 100 * load * effect * (1 + 0.01 * rng.normal()) + rng.normal(0, 1, 60)
            part = pd.DataFrame({"timestamp": TIMES, "side": side, "pod": f"{side}{i}", "cpu": cpu})
            parts.append(part if side == "baseline" else part.iloc[48:])
    found = from_table(pd.concat(parts), kind="gauge", query="cpu", by="pod", harm="increase", margin="10%")
    assert found.outcome is expected


@pytest.mark.parametrize("canary", [0 * ONE, 1.0 * (np.arange(60) == 40)])
def test_one_burst_of_the_baseline_shows_no_safety(canary):
    burst = np.where(np.arange(60) == 7, 200.0, 0.0)
    found = outcome({**RATIO, "margin": "1.5x"}, counted(burst, 950 * ONE, canary, 50 * ONE))
    assert found.outcome is not Outcome.SAFE


def test_one_event_of_a_small_canary_is_no_regression():
    baseline, canary = 1.0 * (np.arange(60) < 10), 1.0 * (np.arange(60) == 5)
    found = outcome({**RATIO, "margin": "+0.1pp"}, counted(baseline, 333 * ONE, canary, ONE))
    # P(X >= 1), n = 60, 0.15 %; half of the error is spent on the ends of the window
    assert found.comparison.p_beyond_margin == pytest.approx(2 * 0.086, abs=0.01)
    assert found.outcome is Outcome.INSUFFICIENT


def test_shocks_that_all_requests_of_an_interval_share_are_seen():
    rng = np.random.default_rng(2)
    interval = np.repeat(np.arange(60), 500)
    shared = np.repeat(rng.normal(0, 0.02**0.5, 60), 500) + rng.normal(0, 0.98**0.5, 30_000)
    assert cluster_time(shared, interval) == pytest.approx(1 + 499 * 0.02, rel=0.5)
    assert cluster_time(rng.normal(size=30_000), interval) < 2


@pytest.mark.slow
def test_raw_values_with_shared_shocks_keep_their_levels():
    interval = np.repeat(np.arange(60), 200)

    def side(rng, factor):
        shared = np.repeat(rng.normal(0, 0.05**0.5, 60), 200)
        return 100 * factor * np.exp(0.3 * (shared + rng.normal(0, 0.95**0.5, 12_000)))

    def at_margin(rng):
        data = RawData(
            baseline=side(rng, 1), canary=side(rng, 1.05), interval_baseline=interval, interval_canary=interval
        )
        return MetricSamples(data=data, quality=FULL)

    metric = {"kind": "samples", "query": "q", "harm": "increase", "margin": "5%"}
    found = rates(config(metric, 0.01), at_margin, 300, 3, 60)
    assert found.safe <= found.bound(0.05)
    assert found.regressed <= found.bound(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("spread", [2, 4])
def test_a_small_canary_with_another_spread_keeps_its_levels(spread):
    def at_margin(rng):
        baseline, canary = rng.normal(size=3000), rng.normal(size=60)
        data = RawData(baseline=100 * np.exp(0.3 * baseline), canary=110 * np.exp(0.3 * spread * canary))
        return MetricSamples(data=data, quality=FULL)

    metric = {"kind": "samples", "query": "q", "harm": "increase", "margin": "10%"}
    found = rates(config(metric, 0.01), at_margin, 800, spread, 60)
    assert found.safe <= found.bound(0.05)
    assert found.regressed <= found.bound(0.01)


def test_a_limit_is_judged_by_the_canarys_own_dependence():
    rng = np.random.default_rng(4)
    data = GaugeData(baseline=rng.normal(size=(1, 240)), canary=ar1(rng, 240, 0.9)[None, :])
    metric = {"kind": "gauge", "query": "q", "harm": "increase", "limit": 0.5}
    dependent = outcome(metric, MetricSamples(data=data, quality=FULL))
    shuffled = GaugeData(baseline=data.baseline, canary=rng.permuted(data.canary, axis=1))
    independent = outcome(metric, MetricSamples(data=shuffled, quality=FULL))
    assert dependent.limit.p_within_limit > 3 * independent.limit.p_within_limit


def constant(*levels):
    return np.array(levels)[:, None] * np.ones((1, 60))


def test_equal_constants_of_a_few_instances_are_no_certainty():
    data = GaugeData(baseline=constant(10.0, 10, 10, 10), canary=constant(12.0))
    metric = {"kind": "gauge", "query": "q", "harm": "increase", "by": "pod", "margin": "10%"}
    found = outcome(metric, MetricSamples(data=data, quality=FULL))
    assert found.comparison.p_beyond_margin == pytest.approx(1 / 5)
    assert found.outcome is not Outcome.REGRESSED


@pytest.mark.slow
@pytest.mark.parametrize(("k_b", "k_c", "spread"), [(2, 10, 10.0), (10, 1, 20.0)])
def test_a_relative_margin_between_instances_keeps_its_levels(k_b, k_c, spread):
    metric = {"kind": "gauge", "query": "q", "harm": "increase", "by": "pod", "margin": "100%"}

    def at_margin(rng):
        scale = rng.normal(0, 0.1, k_b), rng.normal(0, 0.1, k_c)
        data = GaugeData(baseline=constant(*(100 * np.exp(scale[0]))), canary=constant(*(200 * np.exp(scale[1]))))
        return MetricSamples(data=data, quality=FULL)

    found = rates(config(metric, 0.01), at_margin, 1000, int(spread), 60)
    assert found.safe <= found.bound(0.05)
    assert found.regressed <= found.bound(0.01)


@pytest.mark.parametrize(
    ("metric", "samples", "expected"),
    [
        ({**RATIO, "margin": "+1pp"}, counted(950 * ONE, 950 * ONE, 50 * ONE, 50 * ONE), {Outcome.INSUFFICIENT}),
        (
            {**RATIO, "harm": "either", "margin": "150%"},
            counted(5 * ONE, np.repeat([950, 500], 30), np.repeat([1, 5], 30), np.repeat([50, 500], 30)),
            {Outcome.SAFE},  # 2.5x would be 235 canary events, there are 180; less than nothing is impossible
        ),
        ({**RATIO, "limit": "1%"}, counted(0 * ONE, 0 * ONE, 15 * ONE, 50 * ONE), {Outcome.REGRESSED}),
    ],
)
def test_data_at_the_end_of_their_range_are_judged(metric, samples, expected):
    assert outcome(metric, samples).outcome in expected


def test_a_margin_below_nothing_does_not_keep_a_canary_from_passing():
    steady = counted(50 * ONE, 9500 * ONE, 2.6 * ONE, 500 * ONE)
    assert outcome({**RATIO, "harm": "either", "margin": "150%"}, steady).outcome is Outcome.SAFE
    levels = GaugeData(baseline=constant(100.0, 101, 99, 100, 102), canary=constant(100.0, 101, 99))
    metric = {"kind": "gauge", "query": "q", "harm": "either", "by": "pod", "margin": "150%"}
    assert outcome(metric, MetricSamples(data=levels, quality=FULL)).outcome is Outcome.SAFE


def test_safety_does_not_rest_on_the_only_interval_that_can_be_compared():
    once = 1.0 * (np.arange(60) == 30)
    samples = counted(100 * once, 10_000 * once, 10 * once, 1000 * once)
    assert outcome({**RATIO, "margin": "3x"}, samples).outcome is not Outcome.SAFE


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_no_data_could_keep_is_refused(limit):
    with pytest.raises(ConfigError, match="of a rate must be above 0"):
        config({"kind": "rate", "events": "e", "harm": "increase", "limit": limit}, 0.01)


@pytest.mark.parametrize("margin", ["1.5x", "1.5x or +3pp"])
def test_harm_is_seen_where_the_canary_has_most_of_the_traffic(margin):
    """Late stages, sticky sessions: the null's proportion is then nearly the canary's own, which proves nothing."""
    samples = counted(np.full(60, 0.4), np.full(60, 20.0), np.full(60, 264.0), np.full(60, 880.0))
    found = outcome({**RATIO, "margin": margin}, samples)
    assert found.outcome is Outcome.REGRESSED
    assert found.comparison.p_beyond_margin < 1e-6
    mirrored = counted(np.full(60, 264.0), np.full(60, 880.0), np.full(60, 0.4), np.full(60, 20.0))
    assert outcome({**RATIO, "margin": margin}, mirrored).outcome is Outcome.SAFE


def test_fifteen_times_the_memory_of_an_hour_before_is_harm_however_slowly_it_moves():
    """Two windows at different times, as a table of `align="start"` has them: no pairs, but walks nevertheless."""
    rng = np.random.default_rng(8)
    walks = 100 * np.exp(0.002 * np.cumsum(rng.normal(size=(2, 180)), axis=1))
    data = GaugeData(baseline=walks[:1], canary=15 * walks[1:], simultaneous=False)
    one = config({"kind": "gauge", "query": "q", "harm": "increase", "margin": "10%"}, 0.01)
    window = Window(START, START + 180 * one.interval)
    many = Samples(window=window, metrics={"m": MetricSamples(data=data, quality=FULL)})
    assert judge_samples(one, many).metrics[0].outcome is Outcome.REGRESSED
