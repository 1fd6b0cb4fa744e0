"""Hours of health are no proof for the last minutes: a late fault is not passed, and is found."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import Controller, JudgeConfig, Monitor, RolloutPlan, Window, judge
from canary_judge.judging.verdict import judge_samples
from canary_judge.results import Outcome
from canary_judge.rollout import Phase
from canary_judge.samples import Samples
from canary_judge.sources import FrameSource
from canary_judge.testing import simulated_world
from tests.builders import config, counted, gauged, raw, window

RATIO = {"name": "m", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}
GAUGE = {"name": "m", "kind": "gauge", "query": "q", "harm": "increase", "margin": "10%"}


def judged(metric, samples, n=60):
    one = config(metric)
    return judge_samples(one, Samples(window=window(n), metrics={"m": samples}), with_intervals=False).metrics[0]


def drawn(seed, times=1.0, last=6, rate=0.02, n=60, share=0.25):
    rng = np.random.default_rng(seed)
    worse = np.where(np.arange(n) >= n - last, times, 1.0)
    canary = rng.poisson(rate * 1000 * share * worse)
    return counted(rng.poisson(rate * 1000 * (1 - share), n), 1000 * (1 - share), canary, 1000 * share)


@pytest.mark.parametrize(("times", "most"), [(5, 0.01), (3, 0.05)])
def test_a_fault_in_the_last_tenth_of_the_window_does_not_pass(times, most):
    found = [judged(RATIO, drawn(seed, times)).outcome for seed in range(200)]
    assert np.mean([one in (Outcome.SAFE, Outcome.TOLERABLE) for one in found]) <= most
    if times == 5:
        assert np.mean([one is Outcome.REGRESSED for one in found]) > 0.9


@pytest.mark.parametrize("alone", [2, 6])
def test_the_newest_data_are_those_of_both_sides(alone):
    """At the end of a ramp the canary has all of the traffic: what nothing is beside asks for nothing."""
    passed = 0
    for seed in range(20):
        one = drawn(seed, n=120, rate=0.05)
        made = one.data.counts
        gone = np.arange(120) < 120 - alone
        baseline = {name: np.where(gone, getattr(made, name), 0.0) for name in ("events_baseline", "exposure_baseline")}
        found = judged(RATIO, replace(one, data=replace(one.data, counts=replace(made, **baseline))), n=120)
        assert "by themselves do not rule out" not in found.reason or "(p = 1)" not in found.reason
        passed += found.outcome is Outcome.SAFE
    assert passed >= 15


def test_a_healthy_canary_still_passes():
    assert np.mean([judged(RATIO, drawn(seed)).outcome is Outcome.SAFE for seed in range(200)]) > 0.93


def test_it_says_since_when():
    found = judged(RATIO, drawn(1, 10.0))
    assert found.outcome is Outcome.REGRESSED
    assert "worse in the last 1m30s (" in found.reason
    assert " in the 13m30s before" in found.reason
    assert found.recent.worse_seconds == 90


def test_a_limit_is_asked_of_the_newest_data_too():
    metric = {**{key: value for key, value in RATIO.items() if key != "margin"}, "limit": "4%"}
    assert np.mean([judged(metric, drawn(seed)).outcome is Outcome.SAFE for seed in range(100)]) > 0.9
    late = [judged(metric, drawn(seed, 6.0, last=8)).outcome for seed in range(100)]
    assert Outcome.SAFE not in late


def test_a_gauge_that_doubles_its_margin_late_is_not_safe():
    rng = np.random.default_rng(3)
    healthy = late = 0
    for _ in range(60):
        baseline, canary = rng.normal(100, 5, (2, 120))
        healthy += judged(GAUGE, gauged(baseline, canary), 120).outcome is Outcome.SAFE
        canary[-20:] *= 1.3
        late += judged(GAUGE, gauged(baseline, canary), 120).outcome is Outcome.SAFE
    assert healthy > 55
    assert late == 0


def test_raw_values_whose_interval_is_not_known_are_judged_as_one():
    rng = np.random.default_rng(4)
    metric = {"name": "m", "kind": "samples", "query": "q", "harm": "increase", "margin": "10%"}
    found = judged(metric, raw(rng.normal(100, 5, 400), rng.normal(100, 5, 400)))
    assert found.outcome is Outcome.SAFE
    assert found.recent is None


def test_a_baseline_whose_events_stop_coming_shows_no_harm():
    rng = np.random.default_rng(5)
    baseline, canary = rng.poisson(50, 60), rng.poisson(16, 60)
    baseline[-8:] = 0
    sides = baseline, 950.0, canary, 300.0
    assert judged(RATIO, counted(*sides, absent_events_baseline=8)).outcome is not Outcome.REGRESSED
    assert judged(RATIO, counted(*sides, lost_events_baseline=400.0)).outcome is not Outcome.REGRESSED
    # zeros that are written are zeros
    assert judged(RATIO, counted(*sides)).outcome is Outcome.REGRESSED


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def frame(seed, times, minutes, last):
    rng = np.random.default_rng(seed)
    rows = []
    for side, requests in (("baseline", 750), ("canary", 250)):
        for minute in range(1, minutes + 1):
            rate = 0.02 * (times if side == "canary" and minute > minutes - last else 1.0)
            at = NOON + minute * MINUTE
            rows.append({"timestamp": at, "side": side, "t": requests, "e": rng.binomial(requests, rate)})
    return FrameSource(pd.DataFrame(rows))


def test_repeated_looks_find_a_late_fault_as_fast_as_an_early_one():
    """10x after three hours: 4 minutes (evidence of the whole run alone takes 35)."""
    one = JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [RATIO]})
    source, monitor = frame(1, 10.0, 240, 60), Monitor(one, start=NOON)
    for minute in range(1, 241):
        judgement = monitor.look(source, NOON + minute * MINUTE)
        if judgement.verdict == "fail":
            break
    assert 180 < minute <= 186
    assert "worse in the last" in judgement.reasons[0]


def test_a_planned_end_asks_the_newest_data():
    one = JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [RATIO]})
    ends = []
    for times in (1.0, 3.0):
        monitor = Monitor(one, start=NOON, horizon="2h")
        source = frame(2, times, 120, 5)
        ends.append(monitor.look(source, NOON + 120 * MINUTE).verdict.value)
    assert ends == ["pass", "marginal"]


def test_one_look_at_a_canary_that_has_just_broken_fails_it():
    one = JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [RATIO]})
    found = judge(one, frame(3, 5.0, 60, 6), Window(NOON, NOON + 60 * MINUTE))
    assert found.verdict == "fail"


def test_no_approval_promotes_a_canary_that_has_just_broken():
    broken = 3 * 3600.0
    world = simulated_world(seed=1, canary_error_rate=lambda t: 0.05 if t > broken else 0.005, interval="1m")
    plan = RolloutPlan.from_mapping({"stages": [5, {"weight": 25, "approval": True}, 50, 100], "minimum": "2m"})
    controller, approved = Controller(world.config, world.source, world.router, plan, clock=world.clock), False
    for _ in controller.events():
        if world.clock.seconds > broken + 60 and not approved:
            approved = True
            controller.approve()
    assert controller.state.phase is Phase.ROLLED_BACK
    assert max(weight for _, weight in world.log) == 25
