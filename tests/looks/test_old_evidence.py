"""What stood before must not speak for what has come since: restarts, gaps, plans that ended, rows that stopped."""

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Monitor, Verdict, judge
from canary_judge.commands.watch import _of_this_day, _refuse_late
from canary_judge.errors import DataError
from canary_judge.looks.watching import follow
from canary_judge.sources import FrameSource

START, MINUTE = datetime(2026, 1, 1, 12, tzinfo=UTC), timedelta(minutes=1)
METRIC = {"name": "errors", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase"}
CONFIG = JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": [METRIC | {"margin": "1.5x"}]})


def table(*, minutes=60, times_as_bad=1.0, since=0, first=0, seed=1):
    """A thousand requests a minute and side, of which 1 % fail; of the canary's, more since some minute."""
    rng = np.random.default_rng(seed)
    parts = []
    for side in ("baseline", "canary"):
        share = np.where((np.arange(minutes) >= since) & (side == "canary"), 0.01 * times_as_bad, 0.01)
        times = pd.date_range(START + first * MINUTE, periods=minutes, freq="1min") + pd.Timedelta("30s")
        requests = rng.poisson(1000, minutes)
        errors = rng.binomial(requests, share)
        parts.append(pd.DataFrame({"timestamp": times, "side": side, "requests": requests, "errors": errors}))
    return pd.concat(parts, ignore_index=True)


def long(wide):
    return wide.melt(["timestamp", "side"], var_name="metric")


def looks(frame, minutes, *, monitor=None, every=1):
    monitor = monitor or Monitor(CONFIG, start=START)
    source = FrameSource(frame)
    return [monitor.look(source, START + k * MINUTE) for k in range(every, minutes + 1, every)]


def followed(monitor, frame, minutes):
    begun = monitor.watermark or START
    return follow(
        monitor,
        FrameSource(frame),
        (begun + k * MINUTE for k in range(1, minutes + 1)),
        show=lambda judgement: None,
        complain=pytest.fail,
    )


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("seed", range(3))
def test_rows_of_events_that_stop_on_both_sides_are_no_zeros_in_looks_either(every, seed):
    frame = long(table(minutes=100, times_as_bad=20.0, since=50, seed=seed))
    frame = frame[(frame.metric != "errors") | (frame.timestamp < START + 50 * MINUTE)]
    source = FrameSource(frame)
    assert judge(CONFIG, source, source.window(MINUTE)).verdict is not Verdict.PASS
    said = looks(frame, 100, every=every)
    assert all(one.verdict is not Verdict.PASS for one in said[60 // every :])
    assert "have they stopped coming?" in said[-1].metrics[0].reason


def test_large_counts_of_the_canary_that_are_missing_are_no_zeros_in_looks_either():
    frame = long(table(times_as_bad=5.0))
    frame = frame[~((frame.metric == "errors") & (frame.side == "canary") & (frame.value > 42))]
    said = looks(frame, 60)
    assert all(one.verdict is not Verdict.PASS for one in said)
    assert "so these are no zeros" in said[-1].metrics[0].reason


def test_events_that_are_rare_have_no_row_in_most_intervals():
    wide = table(minutes=120)
    wide["errors"] = np.random.default_rng(2).binomial(wide.requests, 0.002)
    frame = long(wide)
    frame = frame[(frame.metric != "errors") | (frame.value > 0)]
    assert looks(frame, 120)[-1].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("rest", "verdict"),
    [
        (lambda good, bad: good[good.side == "baseline"], Verdict.MARGINAL),
        (lambda good, bad: good[:0], Verdict.MARGINAL),
        (lambda good, bad: bad[bad.timestamp > START + 20 * MINUTE], Verdict.FAIL),
        (lambda good, bad: good, Verdict.PASS),
    ],
)
def test_a_restarted_watch_passes_on_nothing_but_new_data_of_both_sides(rest, verdict):
    good, bad = table(), table(times_as_bad=5.0, seed=2)
    monitor = Monitor(CONFIG, start=START)
    assert followed(monitor, good, 20).verdict is Verdict.PASS
    before = good.timestamp < monitor.watermark
    monitor = Monitor(CONFIG, state=monitor.state())
    later = pd.concat([good[before], rest(good[~before], bad)])
    assert followed(monitor, later, 40).verdict is verdict


def test_a_plan_that_ended_answers_for_no_later_canary():
    monitor = Monitor(CONFIG, start=START, horizon="20m")
    end = START + 20 * MINUTE
    _of_this_day(monitor, Path("a.state"), end + timedelta(days=1))  # it has not begun
    looks(table(), 19, monitor=monitor)
    _of_this_day(monitor, Path("a.state"), end + timedelta(days=1))  # what is left of it can still be read
    looks(table(), 20, monitor=monitor)
    _of_this_day(monitor, Path("a.state"), end + timedelta(hours=2))  # cron asks again
    with pytest.raises(
        DataError, match=r"a\.state is of a plan that ended at 2026-01-01 12:20:00 UTC.*another --state"
    ):
        _of_this_day(monitor, Path("a.state"), end + timedelta(days=1))
    _of_this_day(Monitor(CONFIG, start=START), Path("a.state"), end + timedelta(days=1))


@pytest.mark.parametrize(("times_as_bad", "refused"), [(1.0, True), (5.0, False)])
def test_a_pass_at_a_planned_end_stands_for_an_hour(times_as_bad, refused):
    monitor = Monitor(CONFIG, start=START, horizon="20m")
    judgement = looks(table(times_as_bad=times_as_bad), 20, monitor=monitor)[-1]
    end = START + 20 * MINUTE
    assert judgement.look.ended
    assert judgement.verdict is (Verdict.PASS if refused else Verdict.FAIL)
    _refuse_late(judgement, CONFIG, end + timedelta(minutes=35))  # as cron comes
    with contextlib.ExitStack() as stack:
        if refused:
            stack.enter_context(
                pytest.raises(DataError, match=r"the planned end was at 2026-01-01 12:20:00 UTC, 2h00m")
            )
        _refuse_late(judgement, CONFIG, end + timedelta(hours=2))
