"""What the canary did while the baseline had nothing: never passed over in silence."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Monitor, Outcome, Verdict, judge, judge_samples
from canary_judge.sources import FrameSource
from tests.builders import GAUGE, RATIO, config, counted, gauged, quality, raw, samples
from tests.judging.doubts.test_odd_values import judged

N = 120
RNG = np.random.default_rng(3)
MINUTE = np.arange(N)
HOLES = {
    "early": MINUTE < 15,
    "late": MINUTE >= 105,
    "middle": (MINUTE >= 50) & (MINUTE < 65),
    "fifth": MINUTE % 8 == 0,
}
SAMPLES = {"name": "m", "kind": "samples", "query": "q", "harm": "increase", "margin": "10%"}


def of_ratio(hole, *, bad):
    requests, canary = RNG.poisson(9500, N), RNG.poisson(500, N)
    share = np.where(hole & bad, 0.3, 0.01)
    baseline = np.where(hole, 0, requests)
    return RATIO, counted(
        RNG.binomial(baseline, 0.01), baseline, RNG.binomial(canary, share), canary, coverage_baseline=1 - hole.mean()
    )


def of_gauge(hole, *, bad):
    baseline = np.where(hole, np.nan, RNG.normal(100, 2, N))
    one = gauged(RNG.normal(100, 2, N), RNG.normal(100, 2, N) * np.where(hole & bad, 4, 1))
    return GAUGE, replace(one, data=replace(one.data, baseline=baseline[None, :]))


def of_raw(hole, *, bad):
    at = np.repeat(MINUTE, 20)
    thin = np.repeat(MINUTE, 12)
    some = raw(RNG.lognormal(0, 0.3, at.size), RNG.lognormal(0, 0.3, thin.size) * np.where((hole & bad)[thin], 9, 1))
    kept = ~hole[at]
    data = replace(some.data, baseline=some.data.baseline[kept], interval_baseline=at[kept], interval_canary=thin)
    return SAMPLES, replace(some, data=data)


@pytest.mark.parametrize("made", [of_ratio, of_gauge, of_raw])
@pytest.mark.parametrize("hole", HOLES)
@pytest.mark.parametrize("bad", [False, True])
def test_harm_beside_a_hole_of_the_baseline_is_no_health(made, hole, bad):
    metric, one = made(HOLES[hole], bad=bad)
    found = judged(metric, one)["m"]
    assert ("compared with nothing, and look worse" in found.reason) is bad
    assert (found.outcome is Outcome.SAFE) is not bad


ALONE = r"\d+% of the canary's \w+ came while the baseline had none"


@pytest.mark.parametrize("made", [of_ratio, of_gauge, of_raw])
@pytest.mark.parametrize(("since", "until", "told"), [(40, 80, True), (0, 40, False), (0, 65, True)])
def test_much_of_the_baseline_is_missed_whatever_the_canary_was_like(made, since, until, told):
    """A baseline that begins later, as one that was deployed for the comparison, may do so within the first half."""
    metric, one = made((since <= MINUTE) & (until > MINUTE), bad=False)
    assert (re.search(ALONE, judged(metric, one)["m"].reason) is not None) is told


def test_a_baseline_that_was_read_and_had_no_traffic_is_not_missing():
    """As when all of the traffic goes to the canary at its promotion; but what it does there counts."""
    hole = MINUTE >= 40
    for bad in (False, True):
        metric, one = of_ratio(hole, bad=bad)
        reason = judged(metric, replace(one, quality=replace(one.quality, coverage_baseline=1.0)))["m"].reason
        assert ("compared with nothing" in reason) is bad


@pytest.mark.parametrize("made", [of_gauge, of_raw])
def test_a_restart_of_the_baseline_under_which_the_canary_has_all_the_load_is_let_pass(made):
    metric, one = made((MINUTE >= 60) & (MINUTE < 62), bad=made is of_gauge)
    assert judged(metric, one)["m"].outcome is Outcome.SAFE


def test_batches_that_each_side_does_at_its_own_minute_are_no_missing_baseline():
    at = MINUTE % 12
    baseline, canary = (np.where((at >= begun) & (at < begun + 6), RNG.poisson(500, N), 0) for begun in (0, 3))
    one = counted(RNG.binomial(baseline, 0.02), baseline, RNG.binomial(canary, 0.02), canary)
    assert "compared with nothing" not in judged(RATIO, one)["m"].reason


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_thin_stream_has_intervals_with_the_canary_alone(share):
    """Six requests in ten intervals: many of the canary's come alone, and nothing is missing."""
    total = RNG.poisson(0.6, 3000)
    canary = RNG.binomial(total, share)
    one = counted(RNG.binomial(total - canary, 0.3), total - canary, RNG.binomial(canary, 0.3), canary)
    assert "compared with nothing" not in judge_samples(config(RATIO), samples(one, 3000))["m"].reason


@pytest.mark.parametrize("kind", ["ratio", "gauge", "samples"])
def test_a_watch_remembers_what_the_canary_did_alone(kind):
    times = pd.date_range("2026-01-01 12:01", periods=N, freq="1min", tz="UTC")
    rows = []
    for side, many in (("baseline", 9500), ("canary", 500)):
        bad = (side == "canary") & (MINUTE < 20)
        requests = RNG.poisson(many, N)
        rows.append(
            pd.DataFrame(
                {
                    "timestamp": times,
                    "side": side,
                    "requests": requests,
                    "errors": RNG.binomial(requests, np.where(bad, 0.4, 0.01)),
                    "level": RNG.normal(100, 2, N) * np.where(bad, 4, 1),
                }
            )[20 * (side == "baseline") :]
        )
    metric = {
        "ratio": {**RATIO, "events": "errors", "total": "requests"},
        "gauge": {**GAUGE, "query": "level"},
        "samples": {**SAMPLES, "query": "level"},
    }[kind]
    settings = JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [metric]})
    source = FrameSource(pd.concat(rows))
    window = source.window("1m")
    once = judge(settings, source, window)
    monitor = Monitor(settings, start=window.start)
    for until in pd.date_range(window.start, window.end, freq="5min")[1:]:
        found = monitor.look(source, until.to_pydatetime())
        assert found.verdict is not Verdict.PASS
    for one in (once, found):
        assert "compared with nothing" in one["m"].reason


def test_nothing_at_all_of_the_baseline_is_no_data():
    one = gauged(np.full(N, np.nan), RNG.normal(100, 2, N))
    data = replace(one.data, baseline=np.empty((0, N)), canary=RNG.normal(100, 2, (1, N)))
    found = judged(GAUGE, replace(one, data=data, quality=quality(series_baseline=0, coverage_baseline=0.0)))
    assert found["m"].outcome is Outcome.NO_DATA
    assert "the query returned nothing for the baseline" in found["m"].reason
