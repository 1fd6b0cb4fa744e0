"""Repeated looks: each interval once, restarts, late data, latched regressions, warm-up, the traffic split."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from canary_judge import Monitor, Outcome, Verdict
from canary_judge.errors import DataError, SourceUnavailable
from canary_judge.looks.streams import Stream, append
from canary_judge.looks.watching import follow
from canary_judge.pictures import verdict_svg
from canary_judge.results import Side
from canary_judge.series import Form, Result, Series, nanoseconds
from tests import builders

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STEP = timedelta(seconds=15)
ERRORS = {
    "name": "errors",
    "kind": "ratio",
    "events": "errors",
    "total": "requests",
    "harm": "increase",
    "margin": "1.5x",
}
HEAP = {"name": "heap", "kind": "gauge", "query": "heap", "harm": "increase", "margin": "10%"}


def config(*metrics, **more):
    return builders.config(*(metrics or [ERRORS]), **more)


class Store:
    """A store whose points arrive when told: values[(name, side)][k] is interval k; a point may be late or missing."""

    def __init__(self, intervals=200, *, seed=1, ratio=1.0, shift=0.0, share=0.05, before=0):
        rng = np.random.default_rng(seed)
        n_c, n_b = rng.poisson(1000 * share, intervals), rng.poisson(1000 * (1 - share), intervals)
        self.values = {
            ("requests", "baseline"): n_b.astype(float),
            ("requests", "canary"): n_c.astype(float),
            ("errors", "baseline"): rng.binomial(n_b, 0.01).astype(float),
            ("errors", "canary"): rng.binomial(n_c, 0.01 * ratio).astype(float),
            ("heap", "baseline"): rng.normal(100, 3, intervals),
            ("heap", "canary"): rng.normal(100 + shift, 3, intervals),
        }
        self.arrives = {}
        self.asked = []
        self.now = NOON
        self.down = False

    def fetch(self, queries, window):
        if self.down:
            raise SourceUnavailable("no answer")
        self.asked.append(window)
        return [self.answer(query, window) for query in queries]

    def answer(self, query, window):
        values = self.values[query.expression, query.side.value]
        times = nanoseconds(NOON) + 15_000_000_000 * np.arange(1, values.size + 1)
        known = np.array(
            [
                self.arrives.get((query.expression, query.side.value, k), NOON + (k + 1) * STEP) <= self.now
                for k in range(values.size)
            ]
        )
        inside = (times > nanoseconds(window.start)) & (times <= nanoseconds(window.end)) & known
        form = Form.LEVEL if query.expression == "heap" else Form.COUNTS
        series = (Series(timestamps=times[inside], values=values[inside]),) if inside.any() else ()
        return Result(series=series, form=form)

    def look(self, monitor, k, **more):
        self.now = NOON + k * STEP
        return monitor.look(self, self.now, **more)


def counted(monitor):
    return json.loads(monitor.state())["consumed"]


def test_every_interval_is_read_once():
    store, monitor = Store(), Monitor(config(ERRORS, HEAP), start=NOON)
    for k in (3, 4, 10, 10, 9, 11):
        store.look(monitor, k)
    assert [(w.start, w.end) for w in store.asked] == [
        (NOON + a * STEP, NOON + b * STEP) for a, b in ((0, 3), (3, 4), (4, 10), (10, 11))
    ]
    judged = store.look(monitor, 12)
    assert judged["errors"].comparison.n_canary == store.values["requests", "canary"][:12].sum()
    assert judged.look.number == 5
    assert judged.look.intervals == 12


def test_a_second_look_at_the_same_moment_says_the_same():
    store, monitor = Store(), Monitor(config(), start=NOON)
    first = store.look(monitor, 20)
    assert store.look(monitor, 20).to_json() == first.to_json()


@pytest.mark.parametrize("horizon", [None, "10m"])
def test_a_restart_in_the_middle_gives_the_same_bytes(horizon):
    made = config(ERRORS, HEAP, warmup="1m", traffic={"weight": 5})
    store, through = Store(shift=6.0), Monitor(made, start=NOON, horizon=horizon)
    stopped = Monitor(made, start=NOON, horizon=horizon)
    for k in range(1, 45):
        said = store.look(through, k).to_json()
        stopped = Monitor(made, state=stopped.state()) if k > 1 else stopped
        assert store.look(stopped, k).to_json() == said
        assert stopped.state() == through.state()


def test_a_restart_after_an_outage_reads_what_was_missed():
    store, monitor = Store(), Monitor(config(), start=NOON)
    store.look(monitor, 5)
    store.down = True
    before = monitor.state()
    with pytest.raises(SourceUnavailable):
        store.look(monitor, 8)
    assert monitor.state() == before
    store.down = False
    judged = store.look(monitor, 20)
    assert judged["errors"].comparison.n_canary == store.values["requests", "canary"][:20].sum()


def test_a_late_point_is_waited_for():
    store, monitor = Store(), Monitor(config(), start=NOON)
    store.arrives["requests", "canary", 9] = NOON + 12 * STEP
    store.look(monitor, 10)
    assert counted(monitor) == 9
    store.look(monitor, 12)
    assert counted(monitor) == 12
    judged = store.look(monitor, 13)
    assert judged["errors"].comparison.n_canary == store.values["requests", "canary"][:13].sum()


def test_a_point_that_never_comes_is_a_gap_after_three_intervals():
    store, monitor = Store(), Monitor(config(HEAP), start=NOON)
    store.arrives["heap", "canary", 9] = NOON + timedelta(days=1)
    store.look(monitor, 10)
    assert counted(monitor) == 9
    judged = store.look(monitor, 40)
    assert judged["heap"].comparison.n_canary == 39
    # and from then on it changes nothing, though it arrives
    store.arrives.clear()
    assert store.look(monitor, 41)["heap"].comparison.n_canary == 40


def test_a_silent_canary_does_not_hold_the_others_up_for_ever():
    store, monitor = Store(), Monitor(config(ERRORS, HEAP), start=NOON)
    for k in range(20, 200):
        store.arrives["heap", "canary", k] = NOON + timedelta(days=1)
    for k in range(1, 31):
        judged = store.look(monitor, k)
    assert counted(monitor) == 30
    assert "no value in the last" in judged["heap"].reason


@pytest.mark.parametrize("seed", range(8))
def test_what_is_covered_does_not_depend_on_how_often_one_looks(seed):
    rng = np.random.default_rng(seed)
    never = NOON + timedelta(days=9)
    holes = {side: rng.uniform(size=60) < rng.choice([0.2, 0.75]) for side in Side}
    holes[Side.CANARY][: rng.integers(0, 20)] = True
    found = []
    for every in (1, 4, 7, 60):
        store, monitor = Store(60, seed=seed), Monitor(config(), start=NOON)
        for side, missing in holes.items():
            store.arrives |= {
                (name, side.value, int(k)): never for name in ("requests", "errors") for k in np.flatnonzero(missing)
            }
        for k in (*range(every, 60, every), 60, 90):
            judged = store.look(monitor, k)
        quality = judged["errors"].quality
        found.append((quality.coverage_baseline, quality.coverage_canary, quality.late_canary))
    np.testing.assert_allclose(found, np.broadcast_to(found[0], np.shape(found)))
    inside = ~holes[Side.CANARY]
    first = int(np.argmax(inside))
    assert found[0][1] == pytest.approx(inside[first:].sum() / (90 - first), rel=0.05)
    assert found[0][2] == first


def test_a_regression_stands():
    store, monitor = Store(ratio=8.0), Monitor(config(), start=NOON)
    first = next(k for k in range(1, 60) if store.look(monitor, k).verdict is Verdict.FAIL)
    assert first < 20
    for name in ("errors", "requests"):  # it recovers, or even dies
        store.values[name, "canary"][first:] = 0.0
    for k in range(first + 1, first + 60):
        judged = store.look(monitor, k)
        assert judged.verdict is Verdict.FAIL
        assert judged["errors"].outcome is Outcome.REGRESSED


def test_safety_is_read_now_and_not_remembered():
    store = Store(share=0.5)
    store.values["errors", "canary"][60:] = store.values["requests", "canary"][60:] * 0.05
    monitor = Monitor(config({**ERRORS, "margin": "2x"}), start=NOON)
    said = [store.look(monitor, k)["errors"].outcome for k in range(1, 90)]
    assert Outcome.SAFE in said[:60]
    assert said[-1] in {Outcome.DEGRADED, Outcome.REGRESSED}  # over the whole run it is 2.3x


def test_a_healthy_canary_passes_at_the_planned_end_and_not_before_it_is_shown():
    store, monitor = Store(share=0.5), Monitor(config(HEAP), start=NOON, horizon="10m")
    verdicts = [store.look(monitor, k).verdict for k in range(1, 45)]
    assert verdicts[0] is Verdict.MARGINAL
    assert verdicts[-1] is Verdict.PASS
    judged = store.look(monitor, 44)
    assert judged.look.ended
    assert counted(monitor) == 40  # nothing beyond the plan is read


def test_what_a_source_doubts_is_told_and_no_pass_and_is_not_waited_for():
    store, monitor = Store(share=0.5), Monitor(config(HEAP), start=NOON, horizon="10m")
    answer = store.answer
    for k in range(1, 45):
        store.answer = lambda query, window, k=k: replace(
            answer(query, window), doubt="of two units" if k < 20 else None
        )
        judged = store.look(monitor, k)
        assert counted(monitor) == min(k, 40)
        monitor = Monitor(config(HEAP), state=monitor.state())
    assert judged.verdict is Verdict.MARGINAL  # the first intervals are still among those that are judged
    assert judged["heap"].reason.count("of two units") == 1
    assert not judged["heap"].warnings


def test_no_data_is_never_a_pass():
    store = Store()
    for key in store.values:
        for k in range(200):
            store.arrives[key[0], key[1], k] = NOON + timedelta(days=1)
    monitor = Monitor(config(ERRORS, HEAP), start=NOON, horizon="10m")
    for k in range(1, 50):
        judged = store.look(monitor, k)
    assert judged.verdict is Verdict.MARGINAL
    assert not judged.sufficient


# --- warm-up and weights -----------------------------------------------------------------------------------------


def test_the_warm_up_is_consumed_and_not_judged():
    store, monitor = Store(), Monitor(config(HEAP, warmup="2m"), start=NOON)
    store.values["heap", "canary"][:8] = 1e6
    judged = store.look(monitor, 30)  # one look over the end of the warm-up
    assert judged.look.left_out == 8
    assert judged["heap"].comparison.n_canary == 22
    assert judged["heap"].outcome is not Outcome.REGRESSED


def test_a_warm_up_is_no_missing_data():
    store, monitor = Store(), Monitor(config(HEAP, warmup="2m"), start=NOON)
    judged = store.look(monitor, 4)
    assert judged["heap"].reason == "nothing is judged yet: the first 2m are warm-up, and none after is complete"
    picture = verdict_svg(judged)
    assert "HOLD, keep the weight, wait: nothing judged yet: this is the warm-up" in picture
    assert "mend the data" not in picture
    assert "nothing is judged yet" not in store.look(monitor, 12)["heap"].reason


def test_a_change_of_weight_starts_another_warm_up():
    store, monitor = Store(), Monitor(config(HEAP, warmup="1m"), start=NOON)
    store.look(monitor, 20, weight=5)
    store.values["heap", "canary"][20:24] = 1e6
    judged = store.look(monitor, 20, weight=25)
    judged = store.look(monitor, 40, weight=25)
    assert judged.look.left_out == 8
    assert judged["heap"].comparison.n_canary == 32


def test_evidence_is_kept_across_stages():
    store = Store(ratio=2.0, share=0.05)
    later = Store(ratio=2.0, share=0.5, seed=2)
    for key, values in store.values.items():
        values[60:] = later.values[key][60:]
    monitor = Monitor(config(), start=NOON)
    store.look(monitor, 60, weight=5)
    judged = store.look(monitor, 100, weight=50)
    assert judged["errors"].comparison.method.startswith("exact conditional binomial test by strata")
    assert judged["errors"].comparison.n_canary == store.values["requests", "canary"][:100].sum()


@pytest.mark.parametrize(
    ("weight", "share", "expected"),
    [
        (5, 0.05, ""),
        (5, 0.058, ""),
        (25, 0.05, "sticky sessions (clients kept on the old version)"),
        (5, 0.2, "sticky sessions (clients kept on the canary)"),
        (0, 0.02, "a route left over"),
        (5, 0.0, "is its route in place"),
    ],
)
def test_the_observed_split_is_held_against_the_configured_one(weight, share, expected):
    store, monitor = Store(share=share), Monitor(config({**ERRORS, "role": "gate"}), start=NOON)
    for k in range(5, 45, 5):
        judged = store.look(monitor, k, weight=weight)
    assert expected in judged.traffic.finding
    assert bool(judged.traffic.finding) == bool(expected)
    assert judged.verdict is not Verdict.FAIL
    if expected:
        assert judged.action == "hold"
        assert any("traffic split" in reason for reason in judged.reasons)


def test_a_share_that_grows_at_a_constant_weight_is_told():
    store, growing = Store(share=0.05), Store(share=0.08, seed=3)
    for key, values in store.values.items():
        values[30:] = growing.values[key][30:]
    judged = store.look(Monitor(config(), start=NOON), 60, weight=6.5)
    assert "grew from" in judged.traffic.finding


# --- what comes late ---------------------------------------------------------------------------------------------


def test_a_gauge_that_begins_late_has_its_record_of_before_the_run():
    """Whatever the cadence: with the first look the record was asked for, and lost where that had no value."""

    class WithPast(Store):
        def answer(self, query, window):
            if query.part == "history":
                end = nanoseconds(window.end)
                times = end - 15_000_000_000 * np.arange(400)[::-1]
                return Result(series=(Series(timestamps=times, values=past),), form=Form.LEVEL)
            return super().answer(query, window)

    past = np.random.default_rng(3).normal(100, 3, 400)
    found = []
    for every in (1, 60):
        store = WithPast()
        for side in ("baseline", "canary"):
            store.arrives |= {("heap", side, k): NOON + timedelta(days=1) for k in range(6)}
        monitor = Monitor(config(ERRORS, HEAP, history="100m"), start=NOON)
        for k in range(every, 61, every):
            store.look(monitor, k)
        record = monitor.evidence.streams["heap"].data.history
        found.append(record[np.isfinite(record)])
    assert found[0].size > 390
    np.testing.assert_array_equal(*found)


def test_the_share_of_single_values_is_that_of_all_looks():
    looks = []
    for sizes in ((1, 4), (50, 5)):
        rng = np.random.default_rng(1)
        looks.append(builders.raw(rng.normal(100, 3, sizes[0]), rng.normal(100, 3, sizes[1])))
    stream = Stream()
    for one, count in zip(looks, (1, 1), strict=True):
        share = one.data.canary.size / (one.data.canary.size + one.data.baseline.size)
        stream = append(stream, replace(one, quality=replace(one.quality, canary_share=share)), count)
    assert stream.quality.canary_share == 9 / 60


# --- states ------------------------------------------------------------------------------------------------------


def test_a_state_of_another_config_is_refused_as_text_and_as_an_object():
    store, monitor = Store(), Monitor(config(), start=NOON)
    store.look(monitor, 5)
    gone_on = Monitor(config(), state=monitor.state())
    store.look(gone_on, 6)
    for state in (monitor.state(), monitor.evidence, gone_on.evidence):
        Monitor(config(), state=state)
        with pytest.raises(DataError, match="belongs to another config"):
            Monitor(config(false_alarm_rate=0.05), state=state)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', "null", '{"format": 99}', "\x00"])
def test_a_broken_state_is_refused_with_one_message(text):
    with pytest.raises(DataError, match="monitor state"):
        Monitor(config(), state=text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("horizon",), 10**30),
        (("streams", "errors", "quality", "coverage_canary"), -5),
        (("streams", "errors", "quality", "coverage_canary"), "inf"),
        (("streams", "errors", "data", "counts", "exposure_canary", "values", 0), 1e308),
        (("streams", "errors", "held", "comparison", "level"), "nan"),
        (("split", 0, 0), 1e308),
    ],
)
def test_a_state_with_a_number_that_is_none_of_its_kind_is_refused(path, value):
    store, monitor = Store(), Monitor(config(), start=NOON)
    store.look(monitor, 5, weight=5)
    state = json.loads(monitor.state())
    Monitor(config(), state=json.dumps(state))
    *above, last = path
    inside = state
    for key in above:
        inside = inside[key]
    inside[last] = value
    with pytest.raises(DataError, match="no monitor state"):
        Monitor(config(), state=json.dumps(state))


def test_a_state_before_any_look_is_refused():
    with pytest.raises(DataError, match="no look yet"):
        Monitor(config()).state()


def test_a_horizon_shorter_than_an_interval_is_refused():
    with pytest.raises(DataError, match="shorter than one interval|shorter than the interval"):
        Monitor(config(), horizon="5s")


def test_raw_values_and_instances_survive_a_restart():
    """Kinds whose data are not one row per side."""
    rng = np.random.default_rng(5)
    raw = {"name": "latency", "kind": "samples", "query": "latency", "harm": "increase", "margin": "20%"}
    pods = {"name": "cpu", "kind": "gauge", "query": "cpu", "by": "pod", "harm": "increase", "margin": "20%"}
    made = config(raw, pods)

    class Other:
        def fetch(self, queries, window):
            answers = []
            for query in queries:
                edges = window.edges(STEP)
                if query.expression == "latency":
                    times = np.sort(rng.integers(edges[0] + 1, edges[-1] + 1, 5 * (edges.size - 1)))
                    answers.append(
                        Result(
                            series=(Series(timestamps=times, values=rng.lognormal(0, 0.3, times.size)),),
                            form=Form.SAMPLES,
                        )
                    )
                else:
                    names = "abcde" if query.side is Side.BASELINE else "xy"
                    series = tuple(
                        Series(timestamps=edges[1:], values=10 + rng.normal(0, 1, edges.size - 1), labels={"pod": name})
                        for name in names
                    )
                    answers.append(Result(series=series))
            return answers

    monitor = Monitor(made, start=NOON, horizon="10m")
    source = Other()
    for k in range(1, 41):
        judged = monitor.look(source, NOON + k * STEP)
        again = Monitor(made, state=monitor.state())
        assert again.state() == monitor.state()
        monitor = again
    assert judged["latency"].comparison.n_canary == 200
    assert judged["cpu"].comparison.n_canary == 2
    assert "between instances" in judged["cpu"].comparison.method
    low, high = judged["cpu"].comparison.interval  # of a ratio, too, whose whole line begins at 0
    assert judged["cpu"].comparison.scale == "ratio"
    assert 0.5 < low < judged["cpu"].comparison.effect < high < 2


def test_a_limit_without_a_baseline_keeps_its_level_over_all_looks():
    """Nothing but time stands for information then; a canary exactly at its limit is failed about as often as promised."""
    from benchmarks.one_look import _counted
    from benchmarks.one_look import config as simulated
    from benchmarks.repeated import runs, share

    made = simulated({"kind": "ratio", "events": "e", "total": "t", "harm": "increase", "limit": "5%"}, 0.05)
    zero = np.zeros(40)
    found = runs(
        made, lambda rng: _counted(zero, zero, rng.binomial(200, 0.05, 40), zero + 200), 120, 1, 40, 40, horizon=True
    )
    assert share(found, "failed") <= 0.05 + 3 * (0.05 * 0.95 / 120) ** 0.5


def test_the_level_of_an_interval_is_told_whatever_the_outcome():
    """An undecided metric of few intervals, too, has an interval at the level of all others."""
    store = Store()
    monitor = Monitor(config(HEAP), start=NOON)
    outcomes = set()
    for k in range(1, 40):
        found = store.look(monitor, k).metrics[0]
        if found.comparison is not None:
            assert found.comparison.level == pytest.approx(0.9)
            outcomes.add(found.outcome)
    assert {Outcome.INSUFFICIENT, Outcome.SAFE} <= outcomes


def test_looks_too_say_that_like_was_compared_with_like():
    """The weight changes in the middle: the effect is not the ratio of the totals, and the reason says so."""
    store = Store(share=0.05)
    store.values["requests", "canary"][40:] *= 3
    monitor = Monitor(config(), start=NOON)
    for k in range(1, 81):
        judged = store.look(monitor, k)
    assert "like intervals with like" in judged["errors"].reason
    assert judged["errors"].comparison.method.endswith("by strata of the traffic split, at any look")


def test_a_first_look_before_any_request_is_insufficient():
    """Seen live: the baseline's error series is there, no request has come yet, and the canary has no error series."""

    class Quiet:
        def fetch(self, queries, window):
            times = (window.edges(queries[0].step)[1:]).astype(np.int64)
            series = Series(timestamps=times, values=np.zeros(times.size))
            return [
                Result(
                    series=() if (query.side, query.part) == (Side.CANARY, "events") else (series,), form=Form.COUNTS
                )
                for query in queries
            ]

    judgement = Monitor(config(ERRORS), start=NOON).look(Quiet(), NOON + 4 * STEP)
    assert judgement.verdict == "marginal"
    assert judgement.metrics[0].outcome in (Outcome.NO_DATA, Outcome.INSUFFICIENT)


def test_a_watch_does_not_end_on_a_weight_that_nothing_has_shown():
    store, monitor = Store(share=0.2), Monitor(config(), start=NOON)
    passed = next(k for k in range(1, 200) if store.look(monitor, k, weight=20).verdict is Verdict.PASS)
    shown = []

    def moments():
        for k in range(passed + 1, passed + 30):
            store.now = NOON + k * STEP
            yield store.now

    last = follow(monitor, store, moments(), show=shown.append, complain=print, weight=50)
    assert last.verdict is Verdict.MARGINAL
    assert "50% is configured" in last.traffic.finding
    assert len(shown) == 29


def test_the_newest_data_of_a_run_are_counted_without_its_warm_up():
    def last(warmup):
        made = config({**HEAP, "margin": "0.5%"}, **({"warmup": warmup} if warmup else {}))
        monitor, store = Monitor(made, start=NOON, horizon="20m"), Store(share=0.5)
        for k in range(1, 61):
            judged = store.look(monitor, k)
        return judged["heap"].recent

    # of so small a margin all of a quarter of an hour is too few
    assert (last(None).seconds, last("5m").seconds) == (900.0, 600.0)
