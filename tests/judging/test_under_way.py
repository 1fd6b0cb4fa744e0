"""Requests that begin in one interval and end in another: their events come late, and are part of the total."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary_judge import JudgeConfig, Monitor, Outcome, Verdict, judge
from canary_judge.sources import FrameSource
from canary_judge.stats.counts import Counts, within_exposure

START = datetime(2026, 1, 5, tzinfo=UTC)
SECONDS, N = 15, 960
CONFIG = JudgeConfig.from_mapping(
    {
        "name": "calls",
        "interval": "15s",
        "metrics": [
            {
                "name": "handled",
                "kind": "ratio",
                "events": "ok_total",
                "total": "started",
                "harm": "decrease",
                "margin": "+1pp",
            }
        ],
    }
)


def calls(rng, *, a_minute, good, seconds=2.0):
    """Counted where they begin, and those that went well where they end."""
    begun = np.sort(rng.random(rng.poisson(a_minute * N * SECONDS / 60)) * N * SECONDS)
    ended = (begun + rng.exponential(seconds, begun.size))[rng.random(begun.size) < good]
    edges = np.arange(N + 1) * SECONDS
    return {"started": np.histogram(begun, edges)[0], "ok_total": np.histogram(ended, edges)[0]}


def source(rng, baseline, canary):
    times = pd.to_datetime([START + (k + 1) * timedelta(seconds=SECONDS) for k in range(N)])
    return FrameSource(
        pd.concat(
            pd.DataFrame({"timestamp": times, "side": side, **calls(rng, **one)})
            for side, one in (("baseline", baseline), ("canary", canary))
        )
    )


def by_looks(one):
    monitor, verdicts = Monitor(CONFIG, start=START), []
    for look in range(1, 25):
        verdicts.append(monitor.look(one, START + look * N // 24 * timedelta(seconds=SECONDS)).verdict)
    return verdicts


@pytest.mark.parametrize("seed", range(3))
def test_a_thin_canary_of_slow_calls_is_not_worse_for_them(seed):
    one = source(np.random.default_rng(seed), {"a_minute": 300, "good": 0.995}, {"a_minute": 15, "good": 0.995})
    judgement = judge(CONFIG, one, window=one.window(CONFIG.interval))
    assert judgement.verdict is not Verdict.FAIL
    assert judgement.metrics[0].comparison.canary == pytest.approx(0.995, abs=0.004)
    assert Verdict.FAIL not in by_looks(one)


@pytest.mark.parametrize("seed", range(3))
def test_a_thin_baseline_of_slow_calls_hides_no_harm(seed):
    one = source(np.random.default_rng(seed), {"a_minute": 15, "good": 0.995}, {"a_minute": 300, "good": 0.975})
    assert judge(CONFIG, one, window=one.window(CONFIG.interval)).verdict is Verdict.FAIL
    looks = by_looks(one)
    assert Verdict.PASS not in looks
    assert looks[-1] is Verdict.FAIL


def test_a_few_more_ends_than_beginnings_are_those_that_were_under_way():
    rng = np.random.default_rng(4)
    begun = rng.poisson(50, 60)
    ended = np.concatenate([[rng.poisson(50)], begun[:-1]])  # everything went well, an interval late
    ended[0] += max(0, 5 - int(ended.sum() - begun.sum()))
    for extra, outcome in ((0, Outcome.SAFE), (400, Outcome.ERROR)):
        one, config = table(begun, ended, extra), CONFIG.model_copy(update={"interval": timedelta(minutes=1)})
        judgement = judge(config, one, window=one.window(config.interval))
        (metric,) = judgement.metrics
        assert metric.outcome is outcome
        assert ("must be a part of `total`" in metric.reason) is (outcome is Outcome.ERROR)


def table(begun, ended, extra):
    times = pd.to_datetime([START + (k + 1) * timedelta(minutes=1) for k in range(begun.size)])
    more = np.full(begun.size, extra // begun.size)
    return FrameSource(
        pd.concat(
            pd.DataFrame({"timestamp": times, "side": side, "started": begun, "ok_total": ended + added})
            for side, added in (("baseline", 0 * more), ("canary", more))
        )
    )


whole = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


def by_definition(rows):
    """A queue for the room that comes, and at its end back into what room there was, the newest first."""
    queue, taken = 0.0, []
    for come, room in rows:
        taken.append(min(queue + come, room))
        queue += come - taken[-1]
    for place in range(len(rows) - 1, -1, -1):
        back = min(queue, rows[place][1] - taken[place])
        taken[place] += back
        queue -= back
    return taken


@given(whole)
def test_what_does_not_fit_is_counted_later_and_nothing_is_lost(rows):
    zero = np.zeros(len(rows))
    events, exposure = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    for n in range(1, len(rows) + 1):
        made = Counts(
            events_baseline=zero[:n], exposure_baseline=zero[:n], events_canary=events[:n], exposure_canary=exposure[:n]
        )
        found = within_exposure(made).events_canary
        assert found.tolist() == by_definition(rows[:n])
        assert found.sum() == min(events[:n].sum(), exposure[:n].sum())


def test_errors_that_come_when_the_requests_have_stopped_are_counted():
    """Time-outs of a canary that nobody asks any more."""
    rng, n = np.random.default_rng(5), 40
    requests = {"baseline": rng.poisson(2000, n), "canary": np.where(np.arange(n) < 30, rng.poisson(200, n), 0)}
    times = pd.to_datetime([START + (k + 1) * timedelta(minutes=1) for k in range(n)])
    rows = []
    for side, total in requests.items():
        failed = rng.binomial(total, 0.01) + (100 if side == "canary" else 0) * (np.arange(n) >= 30)
        rows.append(pd.DataFrame({"timestamp": times, "side": side, "requests": total, "errors": failed}))
    share = {"name": "errors", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase"}
    config = JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [{**share, "margin": "1.5x or +1pp"}]})
    one = FrameSource(pd.concat(rows))
    found = judge(config, one, window=one.window(config.interval))
    assert found.verdict is Verdict.FAIL
    assert found["errors"].comparison.events_canary > 1000


def ends(rng, a_minute, minutes, delay):
    """Counted where they begin, and those that went well some minutes later, where they end."""
    begun = rng.uniform(0, minutes, rng.poisson(a_minute * minutes))
    well = rng.random(begun.size) < 0.97
    edges = np.arange(minutes + 1)
    ended = np.histogram((begun + rng.exponential(delay, begun.size))[well], edges)[0]
    return {"started": np.histogram(begun, edges)[0], "ok_total": ended}


@pytest.mark.parametrize(("minutes", "delay"), [(40, 5), (40, 10), (120, 10), (120, 2)])
def test_ends_that_come_minutes_late_are_no_harm(minutes, delay):
    """Of 20 healthy canaries at a level of 1 %: more than one is no chance."""
    config = JudgeConfig.from_mapping(
        {"name": "jobs", "interval": "1m", "metrics": [{**CONFIG.metrics[0].model_dump(mode="json"), "margin": "2%"}]}
    )
    times, found = [START + (k + 1) * timedelta(minutes=1) for k in range(minutes)], []
    for seed in range(20):
        rng = np.random.default_rng([seed, delay])
        rows = [
            pd.DataFrame({"timestamp": times, "side": side, **ends(rng, rate, minutes, delay)})
            for side, rate in (("baseline", 600), ("canary", 60))
        ]
        source = FrameSource(pd.concat(rows))
        found.append(judge(config, source, source.window(config.interval)).verdict)
    assert found.count(Verdict.FAIL) <= 1
    assert delay > 2 or found.count(Verdict.PASS) >= 16


def test_events_and_total_that_are_swapped_are_seen():
    rng = np.random.default_rng(5)
    requests = rng.poisson(300, 60), rng.poisson(30, 60)
    good = [rng.binomial(one, share) for one, share in zip(requests, (0.999, 0.98), strict=True)]
    times = [START + (k + 1) * timedelta(minutes=1) for k in range(60)]
    table = pd.concat(
        pd.DataFrame({"timestamp": times, "side": side, "ok_total": every, "started": well})
        for side, every, well in zip(("baseline", "canary"), requests, good, strict=True)
    )
    config = CONFIG.model_copy(update={"interval": timedelta(minutes=1)})
    (metric,) = judge(config, FrameSource(table), FrameSource(table).window("1m")).metrics
    assert metric.outcome is Outcome.ERROR
    assert "are never fewer than `total`" in metric.reason


def test_harm_that_begins_late_is_found_although_ends_come_late():
    """Of 20 canaries that lose 4 points in the second half, with ends 3 seconds after their begin."""
    config, found = CONFIG.model_copy(update={"metrics": (CONFIG.metrics[0].model_copy(update={"margin": "2%"}),)}), 0
    times = [START + (k + 1) * timedelta(seconds=15) for k in range(120)]
    for seed in range(20):
        rng, rows = np.random.default_rng(seed), []
        for side, rate in (("baseline", 20), ("canary", 2)):
            begun = rng.uniform(0, 1800, rng.poisson(rate * 1800))
            good = 0.995 - 0.04 * (begun > 900) * (side == "canary")
            well = rng.random(begun.size) < good
            edges = np.arange(121) * 15
            ended = np.histogram((begun + rng.exponential(3, begun.size))[well], edges)[0]
            rows.append(
                pd.DataFrame(
                    {"timestamp": times, "side": side, "started": np.histogram(begun, edges)[0], "ok_total": ended}
                )
            )
        source = FrameSource(pd.concat(rows))
        found += judge(config, source, source.window("15s")).verdict is Verdict.FAIL
    assert found >= 12


def test_events_that_are_counted_twice_now_and_then_are_not_swapped():
    rng = np.random.default_rng(7)
    times = [START + (k + 1) * timedelta(minutes=1) for k in range(60)]
    table = pd.concat(
        pd.DataFrame({"timestamp": times, "side": side, "started": n, "ok_total": n + rng.poisson(n / 1000)})
        for side, n in (("baseline", rng.poisson(3000, 60)), ("canary", rng.poisson(300, 60)))
    )
    config = CONFIG.model_copy(update={"interval": timedelta(minutes=1)})
    assert judge(config, FrameSource(table), FrameSource(table).window("1m")).metrics[0].outcome is Outcome.SAFE
