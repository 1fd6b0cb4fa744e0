"""Faults that are put into canaries: what they change, and what they leave alone."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Window
from canary_judge.errors import ConfigError, DataError
from canary_judge.history import FAULTS, History, Label, Span, calibrate, record
from canary_judge.history.calibrating import _line
from canary_judge.history.canary import config_text
from canary_judge.history.designs import ADJACENT, REQUESTS, SMOOTH, How, draws_of, pieces_of
from canary_judge.history.drawn import Replay
from canary_judge.history.injecting import faulty_gauges, faulty_rows
from canary_judge.history.past_baselines import _baseline, archived_pieces
from canary_judge.history.suggesting import suggested
from canary_judge.results import Harm, Outcome, Scale
from canary_judge.samples import GaugeData
from canary_judge.sources import FrameSource
from tests.history.canaries import MINUTE, NOON, SHOP, labelled, shop
from tests.history.test_calibrating import ERRORS, HOUR, LATENCY, MEMORY, config, pods, requests

FAULT = {fault.name: fault for fault in FAULTS}


def gauges(instances=1, level=100.0, n=90):
    rng = np.random.default_rng(1)
    sides = level + rng.normal(0, 1, (2, instances, n))
    sides[1, 0, 10:13] = np.nan
    return GaugeData(baseline=sides[0], canary=sides[1])


def faulty(data, name, harm=Harm.INCREASE):
    return faulty_gauges(data, FAULT[name], harm, np.random.default_rng(2))


@pytest.mark.parametrize("harm", list(Harm))
@pytest.mark.parametrize("level", [100.0, -100.0])
def test_values_get_worse_by_so_much_and_keep_their_gaps(harm, level):
    data = gauges(level=level)
    changed = faulty(data, "x2", harm)
    assert changed.baseline is data.baseline
    np.testing.assert_array_equal(np.isnan(changed.canary), np.isnan(data.canary))
    moved = np.nanmean(changed.canary) - np.nanmean(data.canary)
    expected = -50 if harm is Harm.DECREASE else 100
    assert moved == pytest.approx(expected, rel=0.02)


def test_a_leak_grows_and_a_late_fault_begins_late():
    data = gauges()
    leak, late = (faulty(data, name).canary / data.canary for name in ("leak", "late"))
    assert leak[0, 0] == pytest.approx(1.0, abs=0.01)
    assert leak[0, -1] == pytest.approx(2.0, abs=0.01)
    assert (np.diff(leak[0, 13:]) > 0).all()
    np.testing.assert_allclose(late[0, [0, 59, 60, 89]], [1, 1, 2, 2])


def test_one_bad_instance_is_one_of_several():
    assert faulty(gauges(1), "one bad") is None
    data = gauges(4)
    ratio = np.nanmean(faulty(data, "one bad").canary / data.canary, axis=1)
    assert sorted(np.round(ratio, 9)) == [1, 1, 1, 3]


def test_a_level_of_nothing_has_no_multiple_and_one_series_no_tail():
    nothing = GaugeData(baseline=np.zeros((1, 30)), canary=np.zeros((1, 30)))
    assert faulty(nothing, "x2") is None
    silent = GaugeData(baseline=np.full((1, 30), np.nan), canary=np.full((1, 30), np.nan))
    assert faulty(silent, "leak") is None
    assert faulty(gauges(), "tail") is None
    assert faulty(gauges(), "spread") is None


def rows(name, metrics=(ERRORS, LATENCY), source=None, users=None):
    source = source or requests(hours=20, each=60)
    table = source.table
    canary = np.random.default_rng(3).random(len(table)) < 0.2
    settings = config(*metrics)
    changed, reached = faulty_rows(table, canary, users, settings.metrics, FAULT[name], np.random.default_rng(4))
    return table, canary, changed, reached


@pytest.mark.parametrize(
    ("name", "times"), [("x1.5", 1.5), ("x2", 2), ("x3", 3), ("leak", 1.5), ("late", 4 / 3), ("one bad", 1.4)]
)
def test_so_many_times_the_events_and_the_values_of_the_canary_alone(name, times):
    table, canary, changed, reached = rows(name)
    assert reached == {"errors", "latency"}
    np.testing.assert_array_equal(changed.ok[~canary], table.ok[~canary])
    np.testing.assert_array_equal(changed.numbers["latency"][~canary], table.numbers["latency"][~canary])
    assert not (changed.ok & ~table.ok).any()  # no error is healed
    share, before = (~changed.ok[canary]).mean(), (~table.ok[canary]).mean()
    assert share / before == pytest.approx(times, rel=0.1)
    factors = changed.numbers["latency"][canary] / table.numbers["latency"][canary]
    assert factors.mean() == pytest.approx(times, rel=0.05)


def test_fewer_events_where_few_are_bad():
    table, canary, changed, _ = rows("x2", metrics=({**ERRORS, "harm": "decrease", "margin": "50%"},))
    assert not (~changed.ok & table.ok).any()
    assert (~changed.ok[canary]).sum() / (~table.ok[canary]).sum() == pytest.approx(0.5, abs=0.06)


def test_a_tail_is_of_the_slowest_and_a_spread_keeps_the_median():
    table, canary, changed, reached = rows("tail")
    assert reached == {"latency"}
    np.testing.assert_array_equal(changed.ok, table.ok)
    before, after = table.numbers["latency"][canary], changed.numbers["latency"][canary]
    slow = after != before
    assert slow.mean() == pytest.approx(0.1, abs=0.005)
    assert before[slow].min() >= before[~slow].max()
    np.testing.assert_allclose(after[slow], 3 * before[slow])
    table, canary, changed, reached = rows("spread")
    before, after = np.log(table.numbers["latency"][canary]), np.log(changed.numbers["latency"][canary])
    assert np.median(after) == pytest.approx(np.median(before), abs=1e-6)  # of an even number
    assert after.std() / before.std() == pytest.approx(1.5, rel=0.01)


def test_all_requests_of_a_user_are_served_by_the_same_instance():
    source = requests(hours=4, each=30, users=40)
    users = source.users_of_rows()
    table, canary, changed, _ = rows("one bad", source=source, users=users)
    factors = changed.numbers["latency"] / table.numbers["latency"]
    of_user = [np.unique(np.round(factors[canary & (users == user)], 9)) for user in np.unique(users[canary])]
    assert all(one.size == 1 for one in of_user)
    assert {float(one[0]) for one in of_user} == {1.0, 3.0}


def test_of_a_long_table_only_the_rows_of_the_metric_get_worse():
    rng, n = np.random.default_rng(5), 40_000
    frame = pd.DataFrame(
        {
            "timestamp": pd.to_datetime(NOON) + pd.to_timedelta(np.arange(n), unit="s"),
            "side": "baseline",
            "metric": np.where(np.arange(n) % 4 == 0, "clicked", "latency"),
            "value": np.where(np.arange(n) % 4 == 0, rng.random(n) < 0.1, rng.lognormal(4, 0.5, n)).astype(float),
        }
    )
    clicks = {"name": "clicks", "kind": "samples", "query": "clicked", "harm": "increase", "margin": "20%"}
    table, canary, changed, reached = rows("x3", metrics=(clicks,), source=FrameSource(frame))
    assert reached == {"clicks"}
    of_clicks = table.texts["metric"] == "clicked"
    before, after = table.numbers["value"], changed.numbers["value"]
    np.testing.assert_array_equal(after[~of_clicks | ~canary], before[~of_clicks | ~canary])
    assert set(after[of_clicks]) == {0.0, 1.0}
    assert after[of_clicks & canary].mean() / before[of_clicks & canary].mean() == pytest.approx(3.0, rel=0.1)


def test_what_is_no_column_is_not_reached():
    other = {**LATENCY, "name": "other", "query": "nothing"}
    table, _, changed, reached = rows("x2", metrics=(other,))
    assert reached == frozenset()
    np.testing.assert_array_equal(changed.ok, table.ok)


def test_healthy_draws_are_the_same_with_and_without_faults():
    settings, source = config(ERRORS, LATENCY), requests(hours=2, each=30)
    windows = [Window(NOON, NOON + HOUR), Window(NOON + HOUR, NOON + 2 * HOUR)]
    found = []
    for faults in ((), FAULTS):
        how = How(share=0.2, instances=1, draws=3, rng=np.random.default_rng(0), faults=faults)
        found.append(list(draws_of(settings, pieces_of(settings, source, windows), how)))
    healthy = [(name, draw) for name, draw in found[1] if draw.fault is None]
    assert len(healthy) == len(found[0])
    for (name, one), (other, again) in zip(found[0], healthy, strict=True):
        assert (name, one.design, one.window) == (other, again.design, again.window)
        if name == "latency":
            np.testing.assert_array_equal(one.samples.data.canary, again.samples.data.canary)
        else:
            np.testing.assert_array_equal(
                one.samples.data.counts.events_canary, again.samples.data.counts.events_canary
            )
    injected = [(name, draw.fault.name, draw.window) for name, draw in found[1] if draw.fault is not None]
    assert len(injected) == len(set(injected)) == 2 * (6 + 8)
    assert all(draw.design.name == REQUESTS.name for _, draw in found[1] if draw.fault is not None)


def test_planned_failures_are_those_that_come():
    """Of 100 windows, with errors that are independent, as planned within 12 points at each size."""
    found = calibrate(
        config({**ERRORS, "margin": "1.2x"}),
        requests(hours=101, each=90, seed=4),
        Window(NOON, NOON + 101 * HOUR),
        length="2h",
        weight=10,
        draws=2,
    )
    (finds,), (told,) = found.finds, found.suggestions
    assert finds.windows == 100
    assert 0.05 < told.fails["x1.5"] < told.fails["x2"] < told.fails["x3"]
    for size in ("x1.5", "x2", "x3"):
        assert finds.found[size] / finds.windows == pytest.approx(told.fails[size], abs=0.12)
    assert finds.found["x1.5"] < finds.found["x2"] <= finds.found["x3"]


def test_the_grid_tells_its_holes():
    found = calibrate(
        config(LATENCY), requests(hours=6, each=60), Window(NOON, NOON + 6 * HOUR), length="1h", weight=20, draws=2
    )
    text = found.explain()
    assert "faults put into one canary of each window" in text
    assert "tail: the slowest tenth 3 times as slow" in text
    assert "no metric finds in most windows: leak, late, one bad, tail, spread" in text
    assert "a longer tail would be seen by a bound on latency higher up" in text
    again = json.loads(found.to_json())
    assert again["finds"][0]["found"]["x3"] == 11
    found = calibrate(
        config({**MEMORY, "by": "pod"}),
        pods(8, hours=6),
        Window(NOON, NOON + 6 * HOUR),
        length="1h",
        weight=20,
        draws=2,
    )
    assert "not tried, because no metric drawn here can have it: one bad, tail, spread" in found.explain()
    assert found.suggestions[0].instances == pytest.approx(0.03, abs=0.02)
    assert "instances differ by" in found.suggestions[0].note
    assert "a canary of 20 % (of pods 1), judged once at its end, declared" in found.explain()


def test_the_baseline_stays_where_the_canarys_values_look_like_events():
    table = requests(hours=1).table
    canary = np.arange(len(table)) < 40
    values = np.where(canary, np.arange(len(table)) % 2, table.numbers["latency"]).astype(float)
    table = replace(table, numbers={"latency": values})
    for fault in FAULTS:
        changed, _ = faulty_rows(table, canary, None, config(LATENCY).metrics, fault, np.random.default_rng(1))
        np.testing.assert_array_equal(changed.numbers["latency"][~canary], values[~canary])


def test_noise_below_zero_does_not_change_the_size_of_a_fault():
    rng = np.random.default_rng(6)
    values = rng.normal(1.0, 2.0, (1, 4000))
    data = GaugeData(baseline=values, canary=values)
    for name, times in (("x1.5", 1.5), ("x3", 3.0)):
        assert faulty(data, name).canary.mean() / values.mean() == pytest.approx(times)
    mostly = np.where(rng.random((1, 400)) < 0.1, 5.0, 0.0)
    assert faulty(GaugeData(baseline=mostly, canary=mostly), "x2").canary.sum() == 2 * mostly.sum()


# --- what is said of it ----------------------------------------------------------------------------------------------


def test_a_rate_by_time_is_not_drawn_with_a_part_of_the_requests():
    by_time = {"name": "pace", "kind": "rate", "events": "requests", "harm": "decrease", "margin": "20%"}
    of_requests = {"name": "share", "kind": "rate", "events": "errors", "exposure": "requests", "harm": "increase"}
    settings = config(by_time, {**of_requests, "margin": "2x"})
    found = calibrate(
        settings, requests(hours=8, each=60), Window(NOON, NOON + 8 * HOUR), length="1h", weight=5, draws=2
    )
    assert not found.refuted
    assert "a rate by time cannot be drawn" in found.missing["pace"]
    assert {one.metric for one in found.suggestions} == {"share"}


def test_each_source_is_asked_for_its_own_metrics_only():
    heap = {**MEMORY, "source": "pods"}
    settings = JudgeConfig.from_mapping(
        {
            "name": "shop",
            "interval": "1m",
            "sources": {"pods": {"type": "table", "path": "p.csv"}},
            "metrics": [heap, ERRORS],
        }
    )
    sources = {"pods": pods(1), "default": requests(hours=6, each=60)}
    found = calibrate(settings, sources, Window(NOON, NOON + 6 * HOUR), length="1h", weight=20, draws=2)
    assert found.missing == {}
    assert {line.metric: line.design for line in found.lines if line.routed} == {
        "memory": "smooth + residual",
        "errors": "requests split",
    }


def test_a_design_that_gives_nothing_takes_no_other_one_with_it(monkeypatch):
    """Blocks of a window with a hole in its middle may hold nothing at all."""
    monkeypatch.setattr("canary_judge.history.designs._in_blocks", lambda own, how: replace(own, data=None))
    found = calibrate(config(MEMORY), pods(1), Window(NOON, NOON + 12 * HOUR), length="1h", weight=20, draws=2)
    assert found.missing == {}
    assert {line.design for line in found.lines} == {"smooth + residual", "adjacent windows"}
    monkeypatch.setattr(
        "canary_judge.history.designs._smooth",
        lambda *_: GaugeData(baseline=np.full((1, 60), np.nan), canary=np.full((1, 60), np.nan)),
    )
    found = calibrate(config(MEMORY), pods(1), Window(NOON, NOON + 12 * HOUR), length="1h", weight=20, draws=2)
    assert found.missing.keys() == {"memory"}
    assert {line.design for line in found.lines} == {"adjacent windows"}
    assert not found.decides


def test_draws_without_a_bound_do_not_make_the_others_worth_more():
    def suggestion(unbounded):
        one = Replay(
            outcome=Outcome.SAFE, score=1.0, error=0.05, distance=0.0, level=1.0, scale=Scale.RATIO, upper=0.1,
            window=0.0, cluster="a", reason="", harm=Harm.INCREASE,
        )  # fmt: skip
        replays = [
            replace(
                one, window=float(k // 5), cluster=str(k // 5), upper=math.inf if k // 5 < unbounded else 0.1 + k / 1e3
            )
            for k in range(35)
        ]
        return suggested(config(MEMORY).metrics[0], SMOOTH, replays, config(MEMORY))

    assert suggestion(3).sure <= suggestion(0).sure
    assert suggestion(3).margin is None
    assert "in 15 of 35 draws no margin at all could be shown" in suggestion(3).text or suggestion(3).sure < 0.5


def test_what_never_varies_decides_nothing():
    times = [NOON + k * MINUTE for k in range(1, 12 * 60 + 1)]
    source = FrameSource(pd.DataFrame({"timestamp": times, "side": "baseline", "memory": 0.0}))
    found = calibrate(
        config({**MEMORY, "margin": "+1"}), source, Window(NOON, NOON + 12 * HOUR), length="1h", weight=20, draws=3
    )
    assert not found.decides
    assert "it never varies" in found.suggestions[0].text


def test_alarms_refute_however_many_were_unsure():
    one = Replay(
        outcome=Outcome.REGRESSED, score=3.0, error=0.1, distance=3.0, level=1.0, scale=Scale.RATIO, upper=1.0,
        window=0.0, cluster="", reason="", harm=Harm.INCREASE,
    )  # fmt: skip
    replays = [
        replace(one, cluster=str(k), score=3.0 - (k % 7), outcome=Outcome.REGRESSED if k < 45 else Outcome.INSUFFICIENT)
        for k in range(100)
    ]
    line = _line("errors", REQUESTS, replays, config(ERRORS))
    assert line.finding == "refuted"
    assert line.low > 0.01


def test_a_watched_metric_neither_refutes_nor_has_to_decide():
    noisy = {**MEMORY, "margin": "0.001%", "role": "watch"}
    found = calibrate(
        config(noisy, LATENCY),
        requests(hours=8, each=30),
        Window(NOON, NOON + 8 * HOUR),
        length="1h",
        weight=20,
        draws=3,
    )
    assert found.watched == ("memory",)
    assert found.missing.keys() == {"memory"}
    assert found.decides
    assert not found.too_little
    wide = {**MEMORY, "name": "heap", "margin": "500%"}
    both = config(noisy, wide)
    alone = calibrate(both, pods(1, hours=12), Window(NOON, NOON + 12 * HOUR), length="1h", weight=20, draws=2)
    assert [one.decides for one in alone.suggestions] == [False, True]
    assert alone.decides
    assert "role: watch" not in alone.suggestions[0].text


def test_a_window_that_some_draws_show_counts_in_part():
    one = Replay(
        outcome=Outcome.SAFE, score=1.0, error=0.05, distance=0.0, level=1.0, scale=Scale.RATIO, upper=0.1,
        window=0.0, cluster="a", reason="", harm=Harm.INCREASE,
    )  # fmt: skip
    for draws in (5, 10, 40):
        replays = [
            replace(
                one, window=float(k), cluster=str(k), outcome=Outcome.SAFE if d < 0.6 * draws else Outcome.INSUFFICIENT
            )
            for k in range(20)
            for d in range(draws)
        ]
        assert suggested(config(MEMORY).metrics[0], SMOOTH, replays, config(MEMORY)).shown == 12


def test_only_gauges_ask_for_a_history():
    span = Window(NOON, NOON + 8 * HOUR)
    samples = calibrate(config(LATENCY), requests(hours=8, each=30), span, length="1h", weight=20, draws=2)
    assert samples.history is None
    by_pod = calibrate(config({**MEMORY, "by": "pod"}), pods(6, hours=8), span, length="1h", weight=20, draws=2)
    assert by_pod.enough_history == ""  # instances are compared with each other, and none of it is read
    heap = calibrate(config(MEMORY), pods(1, hours=8), span, length="1h", weight=20, draws=2)
    assert heap.enough_history == "8h"


def test_a_share_cannot_rise_beyond_all():
    one = Replay(
        outcome=Outcome.SAFE, score=0.0, error=0.01, distance=0.0, level=0.6, scale=Scale.RATIO, upper=1.0,
        window=0.0, cluster="", reason="", harm=Harm.INCREASE, is_share=True,
    )  # fmt: skip
    assert one.size(3) == pytest.approx(math.log(1 / 0.6))
    assert replace(one, level=1.0).size(3) == 0
    assert replace(one, harm=Harm.DECREASE).size(3) == pytest.approx(math.log(3))
    assert replace(one, scale=Scale.DIFFERENCE, harm=Harm.DECREASE).size(2) == pytest.approx(0.3)


def test_the_length_that_is_told_is_the_one_that_was_judged():
    found = calibrate(
        config(MEMORY), pods(1, hours=4), Window(NOON, NOON + 4 * HOUR), length="30m59s", weight=20, draws=1
    )
    assert found.length == 1800


# --- an archive ------------------------------------------------------------------------------------------------------


def archive(tmp_path, *canaries):
    history = History(tmp_path / "archive")
    for canary in canaries:
        history.append(canary)
    return history


def test_the_baselines_of_an_archive_are_a_past(tmp_path):
    canaries = [shop(number, n=120, ratio=20) for number in range(3)]
    history = archive(tmp_path, *canaries)
    pieces, dropped = archived_pieces(SHOP, history, 30 * MINUTE)
    assert (len(pieces), dropped) == (3 * 7, 0)
    assert len({piece.cluster for piece in pieces}) == 3
    counts, heap = canaries[1].tape.data["errors"].counts, canaries[1].tape.data["heap"]
    second = pieces[7 + 1]
    assert second.window.start == canaries[1].start + 15 * MINUTE
    own = second.metrics["errors"].data.counts
    for side in ("baseline", "canary"):
        np.testing.assert_array_equal(getattr(own, f"events_{side}"), counts.events_baseline[15:45])
        np.testing.assert_array_equal(getattr(second.metrics["heap"].data, side), heap.baseline[:, 15:45])
    found = calibrate(SHOP, history, length="30m", weight=5, draws=3)
    assert found.windows == 21
    by_design = {line.design: line for line in found.lines if line.metric == "errors"}
    assert by_design[ADJACENT.name].alarms == 0  # the canaries had twenty times the errors, the baselines did not
    assert {one.metric for one in found.suggestions} == {"heap"}
    assert "not thinned" in found.missing["errors"]


def test_a_stretch_that_is_archived_several_times_counts_once(tmp_path):
    once = archive(tmp_path, *(shop(number, n=120) for number in range(2)))
    pieces, _ = archived_pieces(SHOP, once, 30 * MINUTE)
    for number in range(2):
        again = shop(number, n=120)
        once.append(replace(again, id=f"again-{number}"))  # as with another margin, or another canary beside it
        once.append(replace(shop(number + 7, n=120), id=f"beside-{number}", start=again.start, end=again.end))
    more, dropped = archived_pieces(SHOP, once, 30 * MINUTE)
    assert (len(pieces), len(more), dropped) == (14, 28, 14)  # those beside have another baseline, at the same time
    assert len({one.cluster for one in more}) == len({one.cluster for one in pieces}) == 2


def test_what_was_read_otherwise_is_not_calibrated(tmp_path):
    history = archive(tmp_path, shop(0, n=120))
    plain = SHOP.model_dump(mode="json", by_alias=True, exclude={"preset"})
    plain["metrics"] = [one | ({"query": "other"} if one["name"] == "heap" else {}) for one in plain["metrics"]]
    found = calibrate(JudgeConfig.from_mapping(plain), history, length="30m", weight=5)
    assert found.missing["heap"] == "the archive has it with another query: calibrate what was read"


def test_pods_of_an_archive_are_drawn_as_pods(tmp_path):
    settings = config({**MEMORY, "by": "pod"})
    history = History(tmp_path)
    for number in range(3):
        table = pods(6, hours=2, seed=number).table
        sides = replace(table, canary=np.isin(table.texts["pod"], ["p0", "p1"]))
        history.append(record(settings, FrameSource(sides), Window(NOON, NOON + 2 * HOUR), every="30m", horizon="2h"))
        settings = settings.with_sides(canary={"version": str(number)})
    found = calibrate(settings, history, length="30m", weight=5, instances=1, draws=2)
    (line,) = [line for line in found.lines if line.routed]
    assert line.design == "pods split"
    assert line.total == found.windows * 2 == 3 * 7 * 2
    bare = calibrate(config(MEMORY), history, length="30m", weight=5)
    assert bare.missing == {"memory": "the archive keeps 4 instances of it: say `by`"}
    other = History(tmp_path / "other")
    other.append(shop(0, n=60))
    heap = {**MEMORY, "name": "heap", "by": "pod"}
    assert "leave `by` out" in calibrate(config(heap), other, length="30m", weight=5).missing["heap"]


def test_holes_of_an_archived_baseline_are_known(tmp_path):
    canary = shop(0, n=60)
    settings = canary.settings()
    heap = canary.tape.data["heap"]
    assert (
        archived_pieces(settings, archive(tmp_path, canary), 60 * MINUTE)[0][0].metrics["heap"].quality.coverage_canary
        == 1
    )
    for data, expected in (
        (replace(heap, baseline=np.where(np.arange(60) % 4, np.nan, heap.baseline)), 0.25),
        (canary.tape.data["errors"], 1.0),
    ):
        metric = next(one for one in settings.metrics if one.kind == ("gauge" if expected < 1 else "ratio"))
        own = _baseline(metric, data, 0, 60)
        assert own.quality.coverage_baseline == own.quality.coverage_canary == expected


def test_canaries_of_another_interval_are_left_out(tmp_path):
    history = archive(tmp_path, shop(0), shop(1))
    slow = SHOP.model_copy(update={"interval": 2 * MINUTE})
    other = shop(2)
    history.append(replace(other, config=config_text(slow), id="other"))
    pieces, dropped = archived_pieces(SHOP, history, 30 * MINUTE)
    assert (len(pieces), dropped) == (6, 3)


def test_bad_canaries_and_those_with_an_incident_are_left_out(tmp_path):
    incident = Span(what="incident", start=NOON, end=NOON + HOUR)
    history = archive(
        tmp_path, shop(0, label=labelled("bad")), shop(1, spans=(incident,)), shop(2), shop(3, label=Label())
    )
    pieces, dropped = archived_pieces(SHOP, history, 30 * MINUTE)
    assert (len(pieces), dropped) == (6, 6)
    assert calibrate(SHOP, history, length="30m", weight=5, draws=1).dropped == 6


def test_an_archive_that_does_not_fit_is_one_message(tmp_path):
    history = archive(tmp_path, shop(0))
    for settings, length, told in (
        (SHOP.model_copy(update={"name": "other"}), "30m", r"has no canary of 'other'; it has shop"),
        (SHOP, "2h", "none of 1 canaries of 'shop' has a window of 2h"),
        (
            SHOP.model_copy(update={"interval": 2 * MINUTE}),
            "30m",
            "none of 1 canaries .* some have intervals of 1m, the config has 2m",
        ),
    ):
        with pytest.raises(DataError, match=told):
            calibrate(settings, history, length=length, weight=5)
    with pytest.raises(ConfigError, match="do not go with an archive"):
        calibrate(SHOP, history, Window(NOON, NOON + HOUR), length="30m", weight=5)
    with pytest.raises(ConfigError, match="span is missing"):
        calibrate(SHOP, requests(hours=2), length="30m", weight=5)
    kinds = JudgeConfig.from_mapping(
        {"name": "shop", "interval": "1m", "metrics": [{**ERRORS, "name": "heap", "margin": "2x"}, MEMORY]}
    )
    missing = calibrate(kinds, history, length="30m", weight=5).missing
    assert missing == {
        "heap": "the archive has it as another kind than ratio",
        "memory": "the archive has no values of it by interval",
    }
