"""Calibrate: what each design draws, what its alarms are worth, and what it says of margins."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Window
from canary_judge.errors import DataError
from canary_judge.history import calibrate
from canary_judge.history.calibrating import _told
from canary_judge.history.designs import (
    ADJACENT,
    BLOCKS,
    DAY,
    POD_WINDOWS,
    PODS,
    REQUESTS,
    SMOOTH,
    WEEK,
    BaselineOnly,
    How,
    draws_of,
    pieces_of,
)
from canary_judge.history.watching import _part, watched
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from canary_judge.samples import CountData, GaugeData, RawData, Samples
from canary_judge.sources import FrameSource
from canary_judge.stats.counts import COLUMNS
from canary_judge.stats.trials import noise_factor, planned_power, tolerance_rank
from tests.history.canaries import NOON

HOUR = timedelta(hours=1)
ERRORS = {
    "name": "errors",
    "kind": "ratio",
    "events": "errors",
    "total": "requests",
    "harm": "increase",
    "margin": "3x",
}
LATENCY = {"name": "latency", "kind": "samples", "query": "latency", "harm": "increase", "margin": "30%"}
MEMORY = {"name": "memory", "kind": "gauge", "query": "memory", "harm": "increase", "margin": "10%"}


def config(*metrics, **more):
    return JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": list(metrics), **more})


def requests(hours=12, each=12, seed=1, users=0):
    """Single requests of a baseline, and a few of a canary that are to be left alone."""
    rng, n = np.random.default_rng(seed), hours * 60 * each
    frame = pd.DataFrame(
        {
            "timestamp": pd.to_datetime(NOON) + pd.to_timedelta(np.sort(rng.uniform(0, hours * 3600, n)), unit="s"),
            "side": np.where(np.arange(n) % 50 == 0, "canary", "baseline"),
            "ok": rng.random(n) > 0.05,
            "latency": rng.lognormal(4, 0.5, n),
        }
    )
    if users:
        frame["user"] = rng.integers(0, users, n)
    return FrameSource(frame)


def pods(count=8, hours=12, seed=1, sd=0.03):
    """Memory of each pod."""
    rng, minutes = np.random.default_rng(seed), np.arange(hours * 60)
    parts = []
    for pod in range(count):
        values = 100 * (1 + rng.normal(0, sd)) + 3 * np.sin(minutes / 50) + rng.normal(0, 1, minutes.size)
        times = [NOON + timedelta(minutes=int(minute) + 1) for minute in minutes]
        parts.append(pd.DataFrame({"timestamp": times, "side": "baseline", "pod": f"p{pod}", "memory": values}))
    return FrameSource(pd.concat(parts))


def drawn(settings, source, hours=4, **more):
    windows = [Window(NOON + k * HOUR / 2, NOON + k * HOUR / 2 + HOUR) for k in range(2 * hours - 1)]
    more = {"share": 0.2, "instances": 2, "draws": 3, "rng": np.random.default_rng(0), **more}
    return list(draws_of(settings, pieces_of(settings, source, windows), How(**more)))


def test_single_requests_are_drawn_apart_and_the_canarys_own_are_left_alone():
    source = requests(hours=4)
    found = [draw for name, draw in drawn(config(ERRORS), source) if draw.design.name == REQUESTS.name]
    assert len(found) == 7 * 3
    table = source.table
    for draw in found:
        counts = draw.samples.data.counts
        edges = draw.window.edges(draw.window.duration)
        inside = (table.times > edges[0]) & (table.times <= edges[-1]) & ~table.canary
        assert counts.exposure_baseline.sum() + counts.exposure_canary.sum() == inside.sum()
        assert counts.events_baseline.sum() + counts.events_canary.sum() == (inside & ~table.ok).sum()
        assert counts.exposure_canary.sum() / inside.sum() == pytest.approx(0.2, abs=0.06)
    assert len({draw.samples.data.counts.exposure_canary.sum() for draw in found}) > 5


def test_users_stay_on_one_side():
    source = requests(hours=1, users=20)
    seen = []

    class Watched(FrameSource):
        def with_rows(self, table):
            seen.append((table.canary, self.users_of_rows()[~self.table.canary]))
            return super().with_rows(table)

    drawn(config(ERRORS), Watched(source.table), hours=1)
    for canary, users in seen:
        sides = pd.DataFrame({"user": users[: canary.size], "canary": canary}).groupby("user")["canary"].nunique()
        assert (sides == 1).all()
    assert len(seen) == 3


def test_pods_are_split_and_where_they_are_few_their_windows_are_drawn():
    settings = config({**MEMORY, "by": "pod"})
    for name, draw in drawn(settings, pods(8)):
        if draw.design is PODS:
            data = draw.samples.data
            assert (len(data.canary), len(data.baseline)) == (2, 6)
            assert set(data.names_baseline).isdisjoint(data.names_canary)
            assert name == "memory"
    designs = {draw.design for _, draw in drawn(settings, pods(8))}
    assert designs == {PODS, ADJACENT, BLOCKS}
    few = [draw for _, draw in drawn(settings, pods(4)) if draw.design is POD_WINDOWS]
    assert few
    for draw in few:
        assert (len(draw.samples.data.canary), len(draw.samples.data.baseline)) == (2, 4)
    assert {draw.design for _, draw in drawn(settings, pods(2))} == {ADJACENT, BLOCKS}


def test_drawn_pod_windows_scatter_as_pods_do():
    """The spread of drawn levels is that of pods: the path took one of their degrees of freedom."""
    rng, levels = np.random.default_rng(3), []
    for seed in range(60):
        source = pods(4, hours=1, seed=seed, sd=0.05)
        made = drawn(config({**MEMORY, "by": "pod"}), source, hours=1, draws=1, rng=rng)
        (one,) = [draw for _, draw in made if draw.design is POD_WINDOWS]
        levels.append(one.samples.data.canary.mean(axis=1).std(ddof=1))
        assert one.samples.data.baseline.shape == (4, 60)
    # two of four drawn with replacement: 1 in 4 pairs is one pod twice, which the factor of the residuals makes good
    assert np.sqrt(np.mean(np.square(levels))) == pytest.approx(5.0, rel=0.25)


def test_one_series_keeps_its_path_and_gaps_and_scatters_by_the_share():
    rng, minutes = np.random.default_rng(2), np.arange(240)
    path = 100 + 5 * np.sin(minutes / 40)
    values = path + rng.normal(0, 1, minutes.size)
    values[50:53] = np.nan
    frame = pd.DataFrame(
        {"timestamp": [NOON + timedelta(minutes=int(k) + 1) for k in minutes], "side": "baseline", "memory": values}
    )
    found = [
        draw for _, draw in drawn(config(MEMORY), FrameSource(frame), draws=40, share=0.1) if draw.design is SMOOTH
    ]
    for draw in found:
        assert np.array_equal(np.isnan(draw.samples.data.canary), np.isnan(draw.samples.data.baseline))
    first = [draw.samples.data for draw in found if draw.window.start == NOON]
    noise = [np.nanstd(getattr(one, side)[0] - path[:60]) for one in first for side in ("canary", "baseline")]
    assert np.mean(noise[::2]) == pytest.approx(1 / np.sqrt(0.1), rel=0.25)
    assert np.mean(noise[1::2]) == pytest.approx(1 / np.sqrt(0.9), rel=0.25)


def test_another_moment_is_the_canary_of_adjacent_windows_and_of_the_day_before():
    source = pods(1, hours=28)
    settings = config(MEMORY)
    windows = [Window(NOON + k * HOUR, NOON + (k + 1) * HOUR) for k in range(26)]
    how = How(share=0.1, instances=1, draws=1, rng=np.random.default_rng(0))
    made = list(draws_of(settings, pieces_of(settings, source, windows), how))
    table = source.table.numbers["memory"]
    for design, shift in ((ADJACENT, 60), (DAY, 24 * 60)):
        draw = next(one for _, one in made if one.design is design)
        at = int((draw.window.start - NOON) / timedelta(minutes=1))
        np.testing.assert_array_equal(draw.samples.data.canary[0], table[at : at + 60])
        np.testing.assert_array_equal(draw.samples.data.baseline[0], table[at - shift : at - shift + 60])
        assert not draw.samples.data.simultaneous
    assert sum(one.design is DAY for _, one in made) == 2


def test_the_canary_of_a_source_is_its_baseline():
    source, settings = pods(1, hours=1), config(MEMORY)
    window = Window(NOON, NOON + HOUR)
    baseline, canary = BaselineOnly(source).fetch(list(settings.queries()), window)
    assert baseline is canary
    assert len(baseline.series[0].values) == 60


def test_a_healthy_history_refutes_nothing_and_says_what_it_could_have():
    found = calibrate(
        config(ERRORS, LATENCY),
        requests(hours=12, each=40),
        Window(NOON, NOON + 12 * HOUR),
        length="1h",
        weight=20,
        draws=3,
    )
    assert not found.refuted
    assert found.windows == 23
    lines = {(line.metric, line.design): line for line in found.lines}
    assert lines["errors", "requests split"].total == 23 * 3
    assert lines["errors", "requests split"].alarms == 0
    assert not lines["errors", "adjacent windows"].routed
    text = found.explain()
    assert (
        "23 windows of 1h, 01 Mar 2026, a canary of 20 %, judged once at its end, declared false-alarm rate 1 %" in text
    )
    assert "368 windows without an alarm would show it" in text
    assert {one.metric for one in found.suggestions} == {"errors", "latency"}
    again = calibrate(
        config(ERRORS, LATENCY),
        requests(hours=12, each=40),
        Window(NOON, NOON + 12 * HOUR),
        length="1h",
        weight=20,
        draws=3,
    )
    assert again.to_json() == found.to_json()
    assert json.loads(found.to_json())["declared"] == 0.01


def test_power_grows_with_the_effect_and_the_margin_is_one_that_would_be_shown():
    found = calibrate(
        config(LATENCY), requests(hours=10, each=40), Window(NOON, NOON + 10 * HOUR), length="1h", weight=20, draws=4
    )
    (one,) = found.suggestions
    assert list(one.power.values()) == sorted(one.power.values())
    assert one.power["x3"] > 0.95
    assert one.decides
    assert one.margin is not None
    wide = config({**LATENCY, "margin": one.margin})
    shown = calibrate(
        wide, requests(hours=10, each=40), Window(NOON, NOON + 10 * HOUR), length="1h", weight=20, draws=4
    )
    assert shown.suggestions[0].shown >= 0.85 * shown.suggestions[0].windows


def test_a_metric_that_cannot_decide_is_told_and_counts_are_not_thinned():
    rng = np.random.default_rng(1)
    minutes = np.arange(600)
    frame = pd.DataFrame(
        {
            "timestamp": [NOON + timedelta(minutes=int(k) + 1) for k in minutes],
            "side": "baseline",
            "memory": 100 + np.cumsum(rng.normal(0, 3, minutes.size)),
            "requests": 1000.0,
            "errors": rng.poisson(5, minutes.size).astype(float),
        }
    )
    found = calibrate(
        config(MEMORY, ERRORS), FrameSource(frame), Window(NOON, NOON + 10 * HOUR), length="1h", weight=10, draws=2
    )
    assert not found.decides
    assert found.missing["errors"].startswith("recorded counts are not thinned")
    assert "give a table of single requests" in found.explain()


def test_windows_that_touch_a_deploy_are_left_out():
    deploy = Window(NOON + 5 * HOUR, NOON + 5 * HOUR + timedelta(minutes=1))
    found = calibrate(
        config(MEMORY), pods(1), Window(NOON, NOON + 12 * HOUR), length="1h", weight=10, draws=1, without=[deploy]
    )
    assert (found.windows, found.dropped) == (21, 2)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"length": "1m"}, "length is 1m; give two intervals"),
        ({"weight": 0}, "weight is 0; give the percent"),
        ({"weight": 100}, "weight is 100; give the percent"),
        ({"instances": 0}, "instances is 0"),
        ({"draws": 0}, "draws is 0"),
        ({"length": "2d"}, "the span of 12h holds no window of 2d"),
        ({"without": [Window(NOON, NOON + 20 * HOUR)]}, "holds no window of 1h that touches none of the 1 spans"),
    ],
)
def test_what_makes_no_sense_is_one_message(more, told):
    with pytest.raises(DataError, match=told):
        calibrate(config(MEMORY), pods(1), Window(NOON, NOON + 12 * HOUR), **{"length": "1h", "weight": 10, **more})


@pytest.mark.parametrize(
    ("alarms", "total", "worth", "finding", "text"),
    [
        (0, 14, 14, "too little", "0 of 14 replays raised an alarm: the rate lies between 0 and 23 %; that is too little history to say more (to show 1 % takes 368 windows without an alarm)"),
        (0, 400, 400, "shown", "0 of 400 replays raised an alarm: the rate lies between 0 and 0.9 %, within the 1 % declared"),
        (2, 600, 452, "not refuted", "2 of 600 replays raised an alarm, worth 452 independent ones: the rate lies between 0.0 and 1.4 %, which does not contradict the 1 % declared"),
        (30, 600, 300, "refuted", "30 of 600 replays raised an alarm, worth 300 independent ones: the rate lies between 2.8 and 8.1 %, more than the 1 % declared"),
    ],
)  # fmt: skip
def test_the_finding_is_one_of_four_sentences(alarms, total, worth, finding, text):
    assert _told(alarms, total, worth, 0.01)[2:] == (finding, text)


def test_a_tolerance_limit_holds_for_its_share_of_the_future():
    """Wilks: in 95 % of histories at least 90 % of the future stays below the order statistic."""
    rng, misses = np.random.default_rng(1), 0
    rank, sure = tolerance_rank(40, 0.9)
    assert sure >= 0.95
    for _ in range(1000):
        limit = np.sort(rng.lognormal(size=40))[rank - 1]
        misses += np.exp(1.2815515655446004) > limit  # the 90 % quantile of the truth
    assert misses <= 1000 * 0.05 + 3 * np.sqrt(1000 * 0.05 * 0.95)


def test_the_noise_factor_covers_and_power_is_that_of_each_window():
    rng, inside = np.random.default_rng(2), 0
    for _ in range(400):
        _, low, high = noise_factor(list(rng.normal(0, 1.3, 30)), 30)
        inside += low <= 1.3 <= high
    assert inside >= 400 * 0.95 - 3 * np.sqrt(400 * 0.95 * 0.05)
    errors = np.array([0.05, 0.4])
    drawn_effects = 0.3 + rng.normal(size=(20000, 2)) * errors
    found = (drawn_effects / errors > 2.3263478740408408).mean()
    assert planned_power(list(errors), 0.3, alpha=0.01) == pytest.approx(found, abs=0.01)


def test_the_week_before_takes_three_weeks():
    days, settings = 22, config({**MEMORY, "query": "memory"}).model_copy(update={"interval": HOUR})
    times = [NOON + k * HOUR for k in range(1, days * 24 + 1)]
    values = np.arange(len(times), dtype=float) + 100
    source = FrameSource(pd.DataFrame({"timestamp": times, "side": "baseline", "memory": values}))
    windows = [Window(NOON + k * 12 * HOUR, NOON + (k + 1) * 12 * HOUR) for k in range(2 * days)]
    how = How(share=0.1, instances=1, draws=1, rng=np.random.default_rng(0))
    made = [draw for _, draw in draws_of(settings, pieces_of(settings, source, windows), how) if draw.design is WEEK]
    assert [draw.window for draw in made] == windows[28:]
    for draw in made:
        np.testing.assert_array_equal(draw.samples.data.canary - draw.samples.data.baseline, 7 * 24)


def test_blocks_are_stretches_of_the_baseline_drawn_for_each_side():
    made = [draw for _, draw in drawn(config(ERRORS, MEMORY), pods(1)) if draw.design is BLOCKS]
    assert len(made) == 7
    whole = {}
    for draw in made:
        data = draw.samples.data
        for side in (data.baseline[0], data.canary[0]):
            assert side.size == 60
            whole.setdefault(draw.window, []).append(side)
        assert not np.array_equal(data.baseline, data.canary)
        assert not data.simultaneous
    source = pods(1).table.numbers["memory"]
    for window, sides in whole.items():
        at = int((window.start - NOON) / timedelta(minutes=1))
        own = list(source[at : at + 60])
        for side in sides:
            places = np.array([own.index(value) for value in side])
            assert (np.diff(places) == 1).sum() >= 50  # ten blocks of six
    counts = [draw for name, draw in drawn(config(ERRORS), requests(hours=4)) if draw.design is BLOCKS]
    assert counts
    assert all(isinstance(draw.samples.data, CountData) for draw in counts)


def test_every_kind_of_data_is_paired_with_another_moment():
    kinds = {type(d.samples.data) for _, d in drawn(config(ERRORS, LATENCY), requests(hours=4)) if d.design is ADJACENT}
    kinds |= {type(d.samples.data) for _, d in drawn(config(MEMORY), pods(1)) if d.design is ADJACENT}
    assert kinds == {CountData, RawData, GaugeData}


def test_it_is_drawn_metric_by_metric():
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(8, 5))
    found = calibrate(config(MEMORY), pods(1), Window(NOON, NOON + 12 * HOUR), length="1h", weight=10, draws=2)
    ax = found.plot(ax=figure.add_subplot())
    assert any("smooth + residual" in text.get_text() for text in ax.texts)
    with pytest.raises(DataError, match="no design drew a metric 'cpu'; there are memory"):
        found.plot("cpu")
    with pytest.raises(ValueError, match="theme is 'gloomy'"):
        found.plot(theme="gloomy")


def test_labels_of_a_canary_are_not_needed():
    asked = []

    class Watched:
        def fetch(self, queries, window):
            asked.extend(queries)
            return pods(1).fetch([replace(one, expression="memory") for one in queries], window)

    settings = config({**MEMORY, "query": 'memory{version="${version}"}'}, baseline={"version": "1"})
    found = calibrate(settings, Watched(), Window(NOON, NOON + 4 * HOUR), length="1h", weight=10, draws=1)
    assert found.windows == 7
    assert {one.expression for one in asked} == {'memory{version="1"}'}
    assert {str(one.side) for one in asked} == {"baseline"}


def test_a_query_that_cannot_work_is_no_thin_history():
    found = calibrate(
        config({**MEMORY, "query": "memori"}), pods(1), Window(NOON, NOON + 4 * HOUR), length="1h", weight=10, draws=1
    )
    assert "did you mean 'memory'?" in found.missing["memory"]
    assert not found.lines
    assert "this history is too little to say anything on it" in found.explain()
    rows = config({**LATENCY, "query": "latenzy"})
    wrong = calibrate(rows, requests(hours=4), Window(NOON, NOON + 4 * HOUR), length="1h", weight=20, draws=1)
    assert "latenzy" in wrong.missing["latency"]
    assert not wrong.decides


def test_one_deployment_decides_nothing():
    found = calibrate(
        config({**MEMORY, "by": "pod"}), pods(8), Window(NOON, NOON + 6 * HOUR), length="1h", weight=10, draws=3
    )
    (one,) = found.suggestions
    assert one.text.startswith("margin 10%: shown in 10 of 11 windows, which are worth too few independent ones")
    assert not found.decides
    line = next(one for one in found.lines if one.routed)
    assert (line.low, line.high, line.finding) == (None, None, "too little")


def test_silence_is_no_calm():
    few = requests(hours=4, each=1)
    found = calibrate(config(ERRORS), few, Window(NOON, NOON + 4 * HOUR), length="1h", weight=5, draws=3)
    line = next(one for one in found.lines if one.routed)
    assert 2 * line.unsure > line.total
    assert (line.low, line.high, line.finding) == (None, None, "too little")


@pytest.mark.parametrize("restarts", [False, True])
def test_a_pod_that_restarts_makes_no_deployment(restarts):
    rng, hours, rows = np.random.default_rng(3), 8, []
    for pod in range(9):
        level = 100 + rng.normal(0, 8)
        for hour in range(hours):
            times = [NOON + timedelta(minutes=60 * hour + minute + 1) for minute in range(60)]
            name = f"p8-{hour}" if restarts and pod == 8 else f"p{pod}"
            values = level + rng.normal(0, 2, 60)
            rows.append(pd.DataFrame({"timestamp": times, "side": "baseline", "pod": name, "memory": values}))
    by_pod = config({**MEMORY, "margin": "40%", "by": "pod"})
    source = FrameSource(pd.concat(rows))
    found = calibrate(by_pod, source, source.span("1m"), length="30m", weight=20, draws=2)
    (line,) = [one for one in found.lines if one.design == PODS.name]
    assert line.clusters.startswith("1 deployment of ")
    assert line.worth == 1


def test_power_is_known_of_a_series_that_climbs_within_its_windows():
    """What has no interval has an end beyond which harm is ruled out."""
    rng, minutes = np.random.default_rng(0), np.arange(960)
    table = pd.DataFrame(
        {
            "timestamp": [NOON + timedelta(minutes=int(one) + 1) for one in minutes],
            "side": "baseline",
            "memory": 100 + (minutes % 180) * 0.5 + rng.normal(0, 2, 960),
        }
    )
    source = FrameSource(table)
    found = calibrate(config(MEMORY), source, source.span("1m"), length="30m", weight=20, draws=1)
    (one,) = found.suggestions
    assert one.fails["x3"] > 0.7
    assert "standard error" not in one.text


@pytest.mark.parametrize("margin", ["10%", "0.001%"])
def test_the_margin_that_would_be_shown_is_not_that_of_the_config(margin):
    rng = np.random.default_rng(2)
    table = pd.DataFrame(
        {
            "timestamp": [NOON + timedelta(minutes=minute + 1) for minute in range(1440)],
            "side": "baseline",
            "memory": 100 + rng.normal(0, 2, 1440),
        }
    )
    metric = {**MEMORY, "margin": margin}
    source = FrameSource(table)
    found = calibrate(config(metric), source, source.span("1m"), length="30m", weight=20, draws=1)
    (one,) = found.suggestions
    assert "no margin at all" not in one.text
    assert margin == "10%" or "would be shown in 90 %" in one.text


# --- looks, warm-up and margins of the user ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "source"),
    [
        (ERRORS, requests(hours=3, each=200)),
        (LATENCY, requests(hours=3, each=40)),
        ({**MEMORY, "by": "pod"}, pods(hours=3)),
    ],
    ids=["counts", "raw", "pods"],
)
def test_a_watched_canary_has_had_all_of_its_data_by_its_end(metric, source):
    settings = config(metric)
    draw = next(one for _, one in drawn(settings, source, hours=3) if one.design.routed)
    state, whole = MonitorState(start=draw.window.start, horizon=60), draw.samples.data
    for first in range(0, 60, 7):
        last = min(first + 7, 60)
        window = Window(NOON + first * HOUR / 60, NOON + last * HOUR / 60)
        part = Samples(window=window, metrics={metric["name"]: _part(draw.samples, first, last)})
        state, judged = observe(settings, state, part)
    found = state.streams[metric["name"]].data
    if isinstance(whole, CountData):
        for name in COLUMNS:
            assert np.array_equal(getattr(found.counts, name), getattr(whole.counts, name))
        assert found.instances == whole.instances
    else:
        for name in ("baseline", "canary"):
            assert np.array_equal(getattr(found, name), getattr(whole, name), equal_nan=True)
    assert judged.metrics[0].outcome is watched(settings, draw, 7).outcome
    assert judged.look.ended


def test_looks_find_a_fault_before_the_end_and_hardly_cry_wolf():
    source, span = requests(hours=8, each=400), Window(NOON, NOON + 8 * HOUR)
    settings = config({**ERRORS, "margin": "1.3x"})
    once = calibrate(settings, source, span, length="1h", weight=20, draws=3)
    often = calibrate(settings, source, span, length="1h", weight=20, draws=3, looks="10m")
    assert (once.looks, often.looks) == (None, 600.0)
    assert often.lines[0].alarms <= 1
    assert [one.windows for one in often.finds] == [one.windows for one in once.finds]
    assert often.finds[0].found["x2"] == often.windows
    assert often.finds != once.finds
    assert "looked at every 10m until its end" in often.explain()
    assert "judged once at its end" in once.explain()


def test_a_warm_up_is_not_judged():
    source, span = requests(hours=6, each=100), Window(NOON, NOON + 6 * HOUR)
    warm = calibrate(config(ERRORS, warmup="30m"), source, span, length="1h", weight=20, draws=2)
    half = calibrate(config(ERRORS), source, span, length="30m", weight=20, draws=2)
    assert warm.lines == half.lines
    assert warm.suggestions == half.suggestions
    assert "judged once at its end, after a warm-up of 30m" in warm.explain()
    with pytest.raises(DataError, match="length is 31m; give two intervals .2m. or more beside the warmup of 30m"):
        calibrate(config(ERRORS, warmup="30m"), source, span, length="31m", weight=20)


@pytest.mark.parametrize(
    ("looks", "told"), [("recorded", "give 'one'"), ("10s", "1m or more"), ("often", "looks is 'often'")]
)
def test_looks_that_make_no_sense(looks, told):
    with pytest.raises(DataError, match=told):
        calibrate(config(ERRORS), requests(), Window(NOON, NOON + HOUR), length="30m", weight=5, looks=looks)


def test_no_margin_below_the_users_is_written():
    wide = config({**LATENCY, "margin": "100%"})
    found = calibrate(wide, requests(hours=8, each=60), Window(NOON, NOON + 8 * HOUR), length="1h", weight=40, draws=4)
    (suggestion,) = found.suggestions
    assert suggestion.enough
    assert suggestion.margin == "100%"
    assert "; and would be in 90 %, " in suggestion.note
