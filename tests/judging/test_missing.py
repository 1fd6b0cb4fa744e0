"""What is missing withholds a pass, and nothing else: whatever its reason, the outcome, or how often one looks."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Monitor, Window, judge
from canary_judge.errors import QueryError
from canary_judge.results import Outcome, Verdict
from canary_judge.sources import FrameSource

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
N = 90
TIMES = pd.date_range(START + MINUTE, periods=N, freq="1min")
RATIO = {"name": "m", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase"}
MARGIN = {**RATIO, "margin": "1.5x or +0.5pp"}


def config(metric=None):
    return JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [metric or MARGIN]})


def drawn(seed, rate=0.01, worse=1.0, requests=(950, 50)):
    """Requests and errors of both sides, each minute."""
    rng = np.random.default_rng(seed)
    sides = []
    for side, mean, times in zip(("baseline", "canary"), requests, (1.0, worse), strict=True):
        total = rng.poisson(mean, N)
        columns = {"requests": total.astype(float), "errors": rng.binomial(total, min(rate * times, 1)).astype(float)}
        sides.append(pd.DataFrame({"timestamp": TIMES, "side": side, **columns}))
    return pd.concat(sides, ignore_index=True)


def long(table):
    """One row for each value."""
    return table.melt(id_vars=["timestamp", "side"], value_vars=["requests", "errors"], var_name="metric")


def judged(table, metric=None):
    return judge(config(metric), FrameSource(table), Window(START, START + N * MINUTE)).metrics[0]


def watched(table, every, until=N):
    monitor, source = Monitor(config(), start=START), FrameSource(table)
    for minute in range(every, until + 4 * every, every):
        judgement = monitor.look(source, START + min(minute, until + 3) * MINUTE)
    return judgement


# --- rows of events that are not there -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_no_row_where_nothing_happened_counts_like_a_zero(seed):
    table = drawn(seed)
    rows = long(table)
    rows = rows[(rows["metric"] == "requests") | (rows["value"] > 0)]
    found, written = judged(rows), judged(table)
    assert found.comparison.p_harm == pytest.approx(written.comparison.p_harm, rel=1e-12)
    assert (found.comparison.n_canary, found.comparison.canary) == (
        written.comparison.n_canary,
        written.comparison.canary,
    )
    assert found.outcome is written.outcome
    assert "read as no events" in found.warnings[0]


def test_where_zeros_are_written_a_missing_row_is_a_hole():
    table = drawn(1, rate=0.02)
    canary = (table["side"] == "canary") & (table["errors"] > 1)
    table.loc[canary, "errors"] = np.nan
    found = judged(table)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "of the total of the canary may have been left out" in found.reason


@pytest.mark.parametrize("every", [1, 7, N])
def test_holes_among_zeros_withhold_a_pass_however_often_one_looks(every):
    table = drawn(1, rate=0.02)
    canary = (table["side"] == "canary") & (table["errors"] > 1)
    table.loc[canary, "errors"] = np.nan
    assert watched(table, every).metrics[0].outcome is not Outcome.SAFE
    assert watched(drawn(1, rate=0.02), every).metrics[0].outcome is not Outcome.INSUFFICIENT


@pytest.mark.parametrize(
    ("hidden", "said"),
    [(lambda t: t >= 20, "have they stopped coming"), (lambda t: t % 4 > 0, "so these are no zeros")],
    ids=["stops", "often"],
)
def test_rows_that_are_missing_though_something_happened_withhold_a_pass(hidden, said):
    table = drawn(2, rate=0.1, requests=(950, 500))
    at = np.tile(np.arange(N), 2)
    table.loc[(table["side"] == "canary") & hidden(at), "errors"] = np.nan
    found = judged(table)
    assert found.outcome is not Outcome.SAFE
    assert said in found.reason


def test_requests_that_are_not_known_while_errors_are_withhold_a_pass():
    table = drawn(3)
    rows = (table["side"] == "canary") & np.tile((np.arange(N) >= 40) & (np.arange(N) < 55), 2)
    table.loc[rows, "errors"] = 40.0
    table.loc[rows, "requests"] = np.nan
    found = judged(table)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "events of the canary may have been left out" in found.reason


@pytest.mark.parametrize("seed", range(6))
def test_any_cadence_of_looks_consumes_the_same_counts(seed):
    rows = long(drawn(seed))
    rows = rows[(rows["metric"] == "requests") | (rows["value"] > 0)]
    whole = judged(rows).comparison
    for every in (1, 2, 7, 10, 30, N):
        seen = watched(rows, every).metrics[0].comparison
        assert (seen.n_baseline, seen.n_canary) == (whole.n_baseline, whole.n_canary), every
        assert (seen.baseline, seen.canary) == pytest.approx((whole.baseline, whole.canary), rel=1e-12), every


class Late:
    """A source whose errors arrive later than its requests."""

    def __init__(self, table, delay):
        self._table, self._delay, self.now = table, delay, START

    def fetch(self, queries, window):
        known = self._table["timestamp"] <= np.where(
            self._table["metric"] == "errors", self.now - self._delay, self.now
        )
        return FrameSource(self._table[known & (self._table["timestamp"] <= self.now)]).fetch(queries, window)


@pytest.mark.parametrize("delay", [1, 2])
def test_late_events_are_waited_for_like_late_requests(delay):
    rows = long(drawn(9, rate=0.1))
    rows = rows[(rows["metric"] == "requests") | (rows["value"] > 0)]
    source, monitor = Late(rows, delay * MINUTE), Monitor(config(), start=START)
    for minute in range(1, N + 4):
        source.now = START + minute * MINUTE
        seen = monitor.look(source, source.now).metrics[0]
    whole = judged(rows).comparison
    assert (seen.comparison.events_baseline, seen.comparison.events_canary) == (
        whole.events_baseline,
        whole.events_canary,
    )


def test_the_record_before_is_read_after_a_warm_up_too():
    rng = np.random.default_rng(10)
    times = pd.date_range(START - 120 * MINUTE, periods=180, freq="1min")
    table = pd.concat(
        pd.DataFrame({"timestamp": times, "side": side, "heap": rng.normal(100, 1, 180)})
        for side in ("baseline", "canary")
    )
    gauge = {"name": "m", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}
    settings = {"name": "t", "interval": "1m", "warmup": "5m", "history": "1h", "metrics": [gauge]}
    monitor = Monitor(JudgeConfig.from_mapping(settings), start=START)
    for minute in range(1, 40):
        monitor.look(FrameSource(table), START + minute * MINUTE)
    assert len(json.loads(monitor.state())["streams"]["m"]["data"]["history"]["values"]) >= 60


# --- silence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [["canary"], ["baseline", "canary"]], ids=["canary", "both"])
@pytest.mark.parametrize("minutes", [(75, N), (40, 60)], ids=["end", "middle"])
def test_silence_is_no_evidence_whoever_else_is_silent(sides, minutes):
    table = drawn(4, requests=(9500, 500))
    assert judged(table).outcome is Outcome.SAFE
    at = np.tile(np.arange(N), 2)
    silent = table["side"].isin(sides) & (at >= minutes[0]) & (at < minutes[1])
    found = judged(table[~silent])
    assert found.outcome is Outcome.INSUFFICIENT
    assert "the canary has no traffic" in found.reason


def test_pauses_of_a_thin_stream_are_no_silence():
    table = drawn(5, requests=(9500, 1))
    rows = long(table)
    found = judged(rows[rows["value"] > 0])
    assert "no traffic" not in found.reason


# --- what cannot be a count ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [0, 50_000])
def test_cumulative_columns_are_refused(start):
    table = drawn(6, worse=3.0)
    table[["requests", "errors"]] = start + table.groupby("side")[["requests", "errors"]].cumsum()
    found = judged(table)
    assert found.outcome is Outcome.ERROR
    assert "it is cumulative; name it among `counters:`" in found.reason
    named = judge(config(), FrameSource(table, counters=["requests", "errors"]), Window(START, START + N * MINUTE))
    assert named.verdict is Verdict.FAIL


def test_cumulative_columns_are_refused_in_looks_of_one_row_too():
    table = drawn(6, worse=3.0)
    table[["requests", "errors"]] = 50_000 + table.groupby("side")[["requests", "errors"]].cumsum()
    monitor = Monitor(config(), start=START + 60 * MINUTE)
    for minute in range(61, 64):
        with pytest.raises(QueryError, match="it is cumulative"):
            monitor.look(FrameSource(table), START + minute * MINUTE)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_shares_given_as_counts_are_refused(scale):
    table = drawn(7)
    table["errors"] = scale * table["errors"] / table["requests"]
    found = judged(table, {**RATIO, "margin": "+2pp"})
    assert found.outcome is Outcome.ERROR
    assert "no counts but a rate or a share" in found.reason


def test_requests_without_a_latency_withhold_a_pass_in_looks_too():
    rng = np.random.default_rng(8)
    at = pd.to_datetime(np.sort(rng.uniform(0, N * 60, 6000)), unit="s", utc=True) + (
        START - datetime(1970, 1, 1, tzinfo=UTC)
    )
    table = pd.DataFrame({"timestamp": at, "side": np.tile(["baseline", "canary"], 3000), "ok": True})
    table["latency"] = rng.exponential(0.1, 6000)
    metric = {"name": "m", "kind": "samples", "query": "latency", "harm": "increase", "margin": "1.5x"}
    few, many = table.copy(), table.copy()
    few.loc[(few["side"] == "canary") & (rng.random(6000) < 0.005), "latency"] = np.nan
    many.loc[(many["side"] == "canary") & (rng.random(6000) < 0.19), "latency"] = np.nan
    assert judged(few, metric).outcome is Outcome.SAFE
    found = judged(many, metric)
    assert found.outcome is Outcome.INSUFFICIENT
    assert "they may be the worst ones" in found.reason


# --- points that come too rarely -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "wanted"), [(1, None), (2, "4m"), (4, "8m")])
def test_points_more_rarely_than_the_interval_are_named_with_the_remedy(every, wanted):
    table = drawn(11)
    at = np.tile(np.arange(N), 2)
    found = judged(table[at % every == 0])
    told = [text for text in found.warnings if "set `interval" in text]
    assert told == (
        []
        if wanted is None
        else [f"points come every {every}m only, more rarely than the interval of 1m; set `interval: {wanted}`"]
    )


def test_thin_traffic_is_not_a_matter_of_the_interval():
    rows = long(drawn(12, requests=(9500, 1)))
    assert not [text for text in judged(rows[rows["value"] > 0]).warnings if "set `interval" in text]


def test_a_wait_is_told_by_the_pace_of_the_younger_side():
    table = drawn(13, rate=0.02, requests=(9500, 100))
    at = np.tile(np.arange(N), 2)
    young = judged(table[(table["side"] == "baseline") | (at >= N - 3)], {**RATIO, "margin": "1.5x"})
    assert young.outcome is Outcome.INSUFFICIENT
    # three minutes gave 6 expected canary events
    needed, have = young.shortfall.required, young.shortfall.have
    assert young.shortfall.seconds == pytest.approx(180 * (needed / have - 1), rel=0.05)


@pytest.mark.parametrize("broken", [False, True])
def test_a_night_without_errors_is_no_stop_of_their_rows(broken):
    """Hardly any traffic at night, and rows of errors only where there were some."""
    held = 0
    for seed in range(10):
        rng, n = np.random.default_rng(seed), 288
        hour = np.arange(n) / 12
        day = np.where((hour > 7) & (hour < 22), 1, 0.02)
        sides = []
        for side, mean in (("baseline", 3000), ("canary", 600)):
            total = rng.poisson(mean * day)
            errors = rng.binomial(total, 0.005) * ~(broken & (side == "canary") & (hour > 12) & (hour < 15))
            times = pd.date_range(START + 5 * MINUTE, periods=n, freq="5min")
            sides.append(
                pd.DataFrame({"timestamp": times, "side": side, "requests": total * 1.0, "errors": errors * 1.0})
            )
        rows = long(pd.concat(sides))
        rows = rows[(rows["metric"] == "requests") | (rows["value"] > 0)]
        settings = {"name": "t", "interval": "5m", "metrics": [{**RATIO, "margin": "2x or +1pp"}]}
        found = judge(JudgeConfig.from_mapping(settings), FrameSource(rows), Window(START, START + n * 5 * MINUTE))
        held += "have they stopped coming?" in found.metrics[0].reason
    assert held == (10 if broken else 0)
