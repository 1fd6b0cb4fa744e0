"""Inputs that a tired person believes in: flags for counts, exporters that died, codes for none; and healthy ones."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Verdict, judge
from canary_judge.sources import FrameSource

START, MINUTE = datetime(2026, 1, 1, 12, tzinfo=UTC), timedelta(minutes=1)
ERRORS = {"name": "m", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase", "margin": "1.5x"}
HEAP = {"name": "m", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}
SLOW = {"name": "m", "kind": "latency", "histogram": "latency", "slower_than": "200ms", "unit": "ms"}
SLOW |= {"margin": "1.5x or +0.5pp"}
TIMES = pd.date_range(START, periods=60, freq="1min") + pd.Timedelta("30s")


def minutes(side, **columns):
    return pd.DataFrame({"timestamp": TIMES, "side": side, **columns})


def served(rng, *, baseline=0.01, canary=0.01, requests=1000):
    parts = []
    for side, share in (("baseline", baseline), ("canary", canary)):
        total = rng.poisson(requests, 60)
        parts.append(minutes(side, requests=total, errors=rng.binomial(total, share)))
    return pd.concat(parts, ignore_index=True)


def requests(rng, number=100, *, zeros=0.0, unit=1.0):
    parts = []
    for side in ("baseline", "canary"):
        at = np.sort(rng.uniform(0, 3600, 60 * number))
        latency = rng.lognormal(4.0, 0.5, at.size)
        if side == "canary":
            latency = np.where(rng.random(at.size) < zeros, 0.0, latency * unit)
        times = pd.to_datetime(START) + pd.to_timedelta(at, unit="s")
        parts.append(pd.DataFrame({"timestamp": times, "side": side, "ok": True, "latency": latency}))
    return pd.concat(parts, ignore_index=True)


def judged(frame, metric):
    config = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [metric]})
    source = FrameSource(frame)
    return judge(config, source, source.window(MINUTE))


def told(frame, metric, text):
    found = judged(frame, metric)
    assert found.verdict is Verdict.MARGINAL
    assert text in found.metrics[0].reason


def warned(frame, metric, text):
    """Said, and not held: the same may be so by nature."""
    assert any(text in one for one in judged(frame, metric).metrics[0].warnings)


def passes(make, metric, times=6):
    found = [judged(make(np.random.default_rng(seed)), metric).verdict for seed in range(times)]
    assert found == [Verdict.PASS] * times


def test_truth_values_are_no_counts_of_many_requests(tmp_path):
    frame = served(np.random.default_rng(1), canary=0.05)
    frame["errors"] = frame.errors > 0
    told(frame, ERRORS, "column 'errors' holds true and false, which says whether there were any")
    frame.to_csv(tmp_path / "flags.csv", index=False)
    frame.to_parquet(tmp_path / "flags.parquet", index=False)
    for kind in ("csv", "parquet"):
        told(tmp_path / f"flags.{kind}", ERRORS, "holds true and false")


def test_truth_values_of_single_requests_are_counts():
    def singles(rng):
        frame = requests(rng, number=60).drop(columns=["ok", "latency"])
        return frame.assign(requests=1, errors=rng.random(len(frame)) < 0.05)

    passes(singles, ERRORS, times=3)

    def of_sessions(rng):  # pages of each, and whether it bought
        return singles(rng).assign(requests=rng.poisson(8, 7200))

    passes(of_sessions, ERRORS, times=3)


def test_flags_written_as_numbers_are_no_counts_either():
    frame = served(np.random.default_rng(1), baseline=0.002, canary=0.006)
    frame["errors"] = (frame.errors > 0).astype(int)
    warned(frame, ERRORS, "events are 0 or 1 in every interval")


def test_rare_events_and_probes_are_counts():
    passes(lambda rng: served(rng, baseline=0.0004, canary=0.0004, requests=1500), ERRORS | {"margin": "3x"})
    runs = {"name": "m", "kind": "rate", "events": "runs", "harm": "increase", "margin": "3x"}  # of a job, one a minute
    passes(lambda rng: pd.concat([minutes(s, runs=rng.binomial(1, 0.7, 60)) for s in ("baseline", "canary")]), runs)
    one = minutes("baseline", requests=1000, errors=1)
    probe = pd.concat([one, one.assign(side="canary")])
    assert judged(probe, ERRORS).verdict is Verdict.PASS


@pytest.mark.parametrize("value", [7, 9, 10, 11])
def test_events_that_never_change_beside_those_that_do_are_no_evidence(value):
    frame = served(np.random.default_rng(1), canary=0.05)
    frame.loc[frame.side == "canary", "errors"] = value
    warned(frame, ERRORS, f"the canary's events are {value} in every interval, whatever the total")


def test_a_probe_beside_traffic_fails_as_often_as_it_always_does():
    def probe(rng):
        frame = served(rng)
        frame.loc[frame.side == "canary", ["requests", "errors"]] = (1000, 9)
        return frame

    passes(probe, ERRORS)


@pytest.mark.parametrize(("since", "say"), [(3, warned), (5, warned), (7, warned), (20, told)])
def test_a_gauge_that_stops_is_no_evidence_once_it_had_moved_for_long(since, say):
    rng = np.random.default_rng(2)
    heap = np.where(np.arange(60) < since, rng.normal(130, 5, 60), 97.3712345)
    frame = pd.concat([minutes("baseline", heap=rng.normal(100, 5, 60)), minutes("canary", heap=heap)])
    say(frame, HEAP, "has not changed in its last")


def test_a_gauge_that_settles_beside_a_busy_one_passes():
    def settled(rng):
        heap = np.where(np.arange(60) < 5, rng.normal(100, 1, 60), 99.0371)
        return pd.concat([minutes("baseline", heap=rng.normal(100, 1, 60)), minutes("canary", heap=heap)])

    passes(settled, HEAP)


def test_events_that_come_once_a_minute_at_most_pass():
    def of_a_job(rng):
        runs = [(side, rng.binomial(1, 0.6, 60)) for side in ("baseline", "canary")]
        return pd.concat([minutes(side, requests=rng.poisson(1000, 60), errors=events) for side, events in runs])

    passes(of_a_job, ERRORS | {"margin": "3x"})


def test_events_of_both_sides_that_stop_are_told():
    frame = served(np.random.default_rng(5))
    warned(frame.assign(errors=frame.errors.where(frame.timestamp < TIMES[30], 0)), ERRORS, "neither side has an event")
    assert not judged(frame, ERRORS).metrics[0].warnings


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_requests_logged_with_no_time_are_told(share):
    warned(requests(np.random.default_rng(3), zeros=share), SLOW, "none of the baseline's is even near")


def test_latencies_rounded_to_zero_are_fast_ones():
    def rounded(rng):
        frame = requests(rng)
        frame["latency"] = 30 * np.floor(frame.latency / 30 * np.where(frame.side == "canary", 0.9, 1.0))
        return frame

    passes(rounded, SLOW, times=3)
