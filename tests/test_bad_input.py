"""Plausible wrong things at every way in: one error of ours that names it and the remedy, or an honest outcome."""

import json
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Monitor, RolloutPlan, Window, judge, plan, preflight
from canary_judge.errors import CanaryJudgeError, ConfigError, DataError
from canary_judge.results import Outcome
from canary_judge.sources import FrameSource

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
N = 60
WINDOW = Window(NOON, NOON + timedelta(minutes=N))
RATIO = {"name": "m", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "1.5x"}
GAUGE = {"name": "m", "kind": "gauge", "query": "g", "harm": "increase", "margin": "10%"}
SAMPLES = {**GAUGE, "kind": "samples"}


def config(metric=RATIO, **changes):
    return JudgeConfig.from_mapping({"name": "x", "interval": "1m", "metrics": [{**metric, **changes}]})


def table(**columns):
    """One column each: (baseline, canary)."""
    times = pd.date_range(NOON + timedelta(minutes=1), periods=N, freq="1min")
    parts = [
        pd.DataFrame(
            {"timestamp": times, "side": side, **{name: np.broadcast_to(two[k], N) for name, two in columns.items()}}
        )
        for k, side in enumerate(("baseline", "canary"))
    ]
    return pd.concat(parts)


FRAME = table(e=(3, 3), t=(300, 300))
SOURCE = FrameSource(FRAME)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: judge(config(), FRAME, WINDOW), r"the source is DataFrame.*FrameSource\(table\)"),
        (lambda: judge(config(), SOURCE, "1h"), r"the window is '1h'; give a Window"),
        (lambda: judge({"name": "x"}, SOURCE, WINDOW), r"the config is dict; make one with JudgeConfig"),
        (lambda: SOURCE.window(60), r"interval is 60; give a duration as '45m'"),
        (lambda: SOURCE.window(timedelta(0)), r"interval is 0:00:00; give a positive duration"),
        (lambda: SOURCE.window("one minute"), r"interval: 'oneminute' is no duration"),
        (lambda: Window.last(30), r"the window's length is 30; give a duration"),
        (lambda: Window.last("-30m"), r"the window's length: '-30m' is no duration"),
        (lambda: Window.last("30m", now="noon"), r"now is 'noon', which is no time"),
        (lambda: Monitor(config(), horizon=45), r"horizon is 45; give a duration as '45m'"),
        (lambda: Monitor(config(), horizon="45 min"), r"horizon: '45min' is no duration"),
        (lambda: Monitor(config(), start="today"), r"start is 'today', which is no time; write it as 2026-01-31"),
        (lambda: Monitor(config(), start=datetime(2026, 1, 1)), r"start is 2026-01-01T00:00:00, which has no time zone"),
        (lambda: Monitor(config(), start=5.0), r"start is 5.0; pass a datetime"),
        (lambda: Monitor(config(), start=NOON).look(SOURCE, 13), r"until is 13; pass a datetime"),
        (lambda: Monitor(config(), start=NOON).look(SOURCE, NOON, weight=float("nan")), r"weight is nan; give a percentage"),
        (lambda: Monitor(config(), start=NOON).look(SOURCE, NOON, weight=101), r"weight is 101; give a percentage between 0 and 100"),
        (lambda: Monitor(config(), start=NOON).look(SOURCE, NOON, weight_since="x"), r"weight_since is 'x', which is no time"),
        (lambda: Monitor(config(), start=NOON).look(SOURCE, NOON, recent=0), r"recent is 0; give a number above 1, up to 10"),
        (lambda: preflight(config(), SOURCE, horizon=30), r"horizon is 30; give a duration"),
        (lambda: preflight(config(), SOURCE, until=5), r"until is 5; pass a datetime"),
        (lambda: preflight(config(), SOURCE, weight=100), r"weight is 100; give a percentage between 0.001 and 99.9"),
        (lambda: preflight({"name": "x"}, SOURCE), r"the config is dict"),
        (lambda: plan(config(), SOURCE, "30m"), r"the window is '30m'; give a Window"),
        (lambda: plan(config(), SOURCE, WINDOW, weights=()), r"weights is empty"),
        (lambda: plan(config(), SOURCE, WINDOW, weights=(0,)), r"weights is 0; give a percentage"),
        (lambda: RolloutPlan.from_mapping({"recent": [2]}), r"rollout.recent.*: is \[2\]; give a number above 1, up to 10, or off"),
        (lambda: RolloutPlan.from_mapping({"stages": [10**400, 100]}), r"rollout.stages"),
        (lambda: config().with_sides(canary={"version": 15}), r"canary.version: is 15, which is no text; put quotes"),
        (lambda: config().with_sides(baseline={"version": None}), r"baseline.version: is None, which is no text"),
        (lambda: config().with_sides(canary="v2"), r"canary: is 'v2'; give its labels as a mapping"),
        (lambda: config(margin="+0.1%"), r"'\+0.1%' of a share can be read two ways: write 0.1% .* or \+0.1pp"),
        (lambda: config(margin=0.1), r"0.1 is no margin; write it as 10%, 1.5x"),
        (lambda: config(events="t"), r"`events` and `total` are both 't'"),
    ],
)  # fmt: skip
def test_what_a_tired_person_passes_gets_one_message_with_the_remedy(call, told):
    with pytest.raises((ConfigError, DataError), match=told):
        call()


def test_what_can_be_understood_works():
    assert SOURCE.window("1m") == WINDOW
    assert Window.last(" 30m ", now=NOON) == Window.last(timedelta(minutes=30), now="2026-01-01T12:00:00Z")
    monitor = Monitor(config(), start="2026-01-01T12:00Z", horizon="1h")
    assert monitor.look(SOURCE, "2026-01-01T13:00:00+00:00").verdict == "pass"


MAGNITUDES = (5e-324, 1e-300, 1e-155, 1e-5, 1e9, 1e12, 1e15, 1e18, 1e155, 1e300, 1.7e308)


def random(magnitude, seed):
    return magnitude * np.random.default_rng(seed).random(N)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("changes", [{}, {"harm": "either"}, {"margin": "+1"}, {"limit": "5"}], ids=str)
@pytest.mark.parametrize("kind", [GAUGE, SAMPLES], ids=["gauge", "samples"])
def test_values_of_any_magnitude_have_an_outcome(kind, changes, magnitude):
    found = judge(config(kind, **changes), FrameSource(table(g=(random(magnitude, 1), random(magnitude, 2)))), WINDOW)
    assert found.to_json()
    assert found.metrics[0].outcome is not Outcome.ERROR or "is beyond 1e+300" in found.metrics[0].reason


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("magnitude", MAGNITUDES)
@pytest.mark.parametrize("changes", [{}, {"margin": "1.5x or +1pp", "limit": "5%"}, {"harm": "decrease", "margin": "99%"}], ids=str)  # fmt: skip
def test_counts_of_any_magnitude_have_an_outcome_in_bounded_time(changes, magnitude):
    sides = {"e": (random(0.01 * magnitude, 1), random(0.011 * magnitude, 2)), "t": (magnitude, 0.1 * magnitude)}
    begun = time.monotonic()
    source, one = FrameSource(table(**sides)), config(**changes)
    found = judge(one, source, WINDOW)
    monitor = Monitor(one, start=NOON)
    if found.metrics[0].outcome is Outcome.ERROR:
        with pytest.raises(CanaryJudgeError):
            monitor.look(source, WINDOW.end)
    else:
        assert monitor.look(source, WINDOW.end).to_json()
        assert monitor.state()
    assert found.to_json()
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("canary", [1e-9, 1e9])
def test_a_margin_that_is_a_share_of_nothing_neither_fails_nor_passes(canary):
    found = judge(config(GAUGE), FrameSource(table(g=(0.0, canary))), WINDOW).metrics[0]
    assert found.outcome is Outcome.DEGRADED
    fair = judge(config(GAUGE, margin="10% or +1"), FrameSource(table(g=(0.0, canary))), WINDOW).metrics[0]
    assert fair.outcome is (Outcome.TOLERABLE if canary < 1 else Outcome.REGRESSED)


def test_no_event_of_a_metric_that_must_not_decrease_is_evidence_of_nothing():
    found = judge(config(harm="decrease", margin="99%"), FrameSource(table(e=(0, 0), t=(100, 100))), WINDOW)
    assert found.metrics[0].outcome is Outcome.INSUFFICIENT
    assert found.to_json()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("start",), "2026-01-01T12:00:00"),
        (("horizon",), -1),
        (("consumed",), 10**12),
        (("weight",), 101.0),
        (("split",), [[1.0], []]),
        (("acts",), [99]),
        (("streams", "m", "intervals"), 999_999_999),
        (("streams", "m", "scale"), -1.0),
        (("streams", "m", "data", "counts", "events_canary"), None),
    ],
    ids=lambda one: str(one)[:40],
)
def test_a_state_whose_parts_do_not_fit_is_refused_before_any_look(path, value):
    monitor = Monitor(config(), start=NOON)
    monitor.look(SOURCE, NOON + timedelta(minutes=20))
    plain = json.loads(monitor.state())
    inner = plain
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(DataError, match="this is no monitor state: .*delete it to start again"):
        Monitor(config(), state=json.dumps(plain))


def broken_late(metric, usual, late, *, last=6):
    """A canary that breaks in the last minutes; the baseline is as it was before."""
    name = "g" if metric["kind"] == "gauge" else "e"
    rng = np.random.default_rng(4)
    values = [usual(rng) for _ in range(2)]
    values[1][-last:] = late
    columns = {name: tuple(values)} | ({} if name == "g" else {"t": (300, 100)})
    return FrameSource(table(**columns))


@pytest.mark.parametrize(
    ("metric", "usual", "late"),
    [
        ({**RATIO, "margin": None, "limit": "60%"}, lambda rng: rng.binomial(100, 0.02, N), 100),
        ({**RATIO, "margin": None, "limit": "90%", "harm": "decrease"}, lambda rng: rng.binomial(100, 0.999, N), 55),
        ({**GAUGE, "margin": None, "limit": "150"}, lambda rng: rng.normal(100, 5, N), 600.0),
    ],
    ids=["a limit whose double no share reaches", "a limit on what must not decrease", "a gauge with a limit"],
)
def test_a_limit_that_is_broken_late_does_not_pass(metric, usual, late):
    metric = {key: value for key, value in metric.items() if value is not None}
    source, one = broken_late(metric, usual, late), config(metric)
    assert judge(one, source, WINDOW).verdict != "pass"
    monitor = Monitor(one, start=NOON, horizon="1h")
    assert monitor.look(source, WINDOW.end).verdict != "pass"
    healthy = broken_late(metric, usual, usual(np.random.default_rng(5))[-6:])
    assert judge(one, healthy, WINDOW).verdict == "pass"
