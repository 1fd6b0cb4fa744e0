"""Values that look like an improvement and are none; and those that look odd and are ordinary."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from canary_judge import JudgeConfig, Monitor, Outcome, Verdict, judge, judge_samples
from canary_judge.judging.doubts.odd_values import drifts
from canary_judge.judging.values import raw_tau
from canary_judge.results import Harm
from canary_judge.samples import MetricSamples, RawData
from canary_judge.sources import FrameSource
from tests.builders import GAUGE, config, counted, gauged, quality, raw, samples
from tests.judging.doubts.test_odd_values import SAMPLES, judged

N = 240
RNG = np.random.default_rng(7)  # begun anew for each test
START = datetime(2026, 1, 5, tzinfo=UTC)
BUSY = np.random.default_rng(6).normal(100, 4, N)


@pytest.fixture(autouse=True)
def _same_draws_in_any_order(monkeypatch):
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(7))


def outcome(metric, one):
    found = judged(metric, one)["m"]
    return found.outcome, found.reason


@pytest.mark.parametrize("slower", [1, 2, 5])
@pytest.mark.parametrize("factor", [100, 1000, 3600])
@pytest.mark.parametrize("metric", [GAUGE, SAMPLES], ids=["gauge", "samples"])
def test_a_canary_in_another_unit_is_not_safe_however_much_worse_it_is(metric, factor, slower):
    canary = RNG.normal(100, 4, N) * slower / factor
    found, reason = outcome(metric, (gauged if metric is GAUGE else raw)(BUSY, canary))
    assert found is Outcome.INSUFFICIENT
    assert "in another unit" in reason


@pytest.mark.parametrize("better", [0.2, 0.5])
def test_a_canary_that_is_better_is_safe(better):
    assert outcome(GAUGE, gauged(BUSY, RNG.normal(100, 4, N) * better))[0] is Outcome.SAFE


@pytest.mark.parametrize("bound", [{"margin": "+5"}, {"margin": "20%", "limit": "90"}])
def test_shares_where_percentages_are_said(bound):
    cpu = {**GAUGE, "unit": "%", **bound}
    found, reason = outcome(cpu, gauged(RNG.uniform(0.2, 0.4, N), RNG.uniform(0.2, 0.4, N)))
    assert found is Outcome.INSUFFICIENT
    assert "`unit` is %, and no value is above 0." in reason
    assert outcome(cpu, gauged(RNG.uniform(20, 40, N), RNG.uniform(20, 40, N)))[0] is Outcome.SAFE


@pytest.mark.parametrize("margin", ["+0.2", "20%"])
def test_a_rate_may_be_below_one_percent(margin):
    few = {**GAUGE, "unit": "%", "margin": margin}
    assert outcome(few, gauged(RNG.uniform(0.2, 0.4, N), RNG.uniform(0.2, 0.4, N)))[0] is Outcome.SAFE


def test_zeros_far_from_all_else_are_a_code():
    latencies = RNG.lognormal(4.6, 0.3, 2000)
    failing = np.where(RNG.random(2000) < 0.1, 0.0, RNG.lognormal(4.6, 0.3, 2000))
    found, reason = outcome(SAMPLES, raw(latencies, failing))
    assert found is Outcome.INSUFFICIENT
    assert "values are 0 and none of the baseline's is even near" in reason
    small = np.floor(RNG.exponential(1, 2000))  # zeros belong to these
    assert "is even near" not in outcome(SAMPLES, raw(small + 1e-9, np.floor(RNG.exponential(1, 2000))))[1]


@pytest.mark.parametrize("alive", [30, 120, 200])
def test_a_value_that_is_repeated_since_its_canary_died(alive):
    canary = RNG.normal(100, 4, N)
    canary[alive:] = canary[alive - 1]
    found, reason = outcome(GAUGE, gauged(BUSY, canary))
    assert found is not Outcome.SAFE
    assert alive < 60 or f"has not changed in its last {N - alive + 1} intervals" in reason


@pytest.mark.parametrize("last", [37.5, 512 * 2.0**20, 65536 * 4581.0, 0.00475, 250.0])
def test_a_value_may_rest_at_a_round_number(last):
    unit = last / 100
    canary = RNG.normal(100, 4, N) * unit
    canary[-40:] = last
    assert "has it died" not in outcome(GAUGE, gauged(BUSY * unit, canary))[1]
    assert "frozen" not in outcome(GAUGE, gauged(BUSY * unit, np.full(N, last)))[1]


def test_a_level_that_goes_below_0_is_no_code():
    lag = {**GAUGE, "margin": "+1"}
    assert outcome(lag, gauged(np.abs(RNG.normal(4, 1, N)), RNG.normal(1, 1, N)))[0] is Outcome.SAFE
    coded = np.where(RNG.random(N) < 0.1, -1.0, np.abs(RNG.normal(4, 1, N)))
    assert "a code for something else" in outcome(lag, gauged(np.abs(RNG.normal(4, 1, N)), coded))[1]


@pytest.mark.parametrize(("share", "seen"), [(0.04, True), (0.0, False)])
def test_a_tail_that_ranks_do_not_see(share, seen):
    """4 % of the requests take a hundred times as long, and the mean five times."""
    canary = RNG.lognormal(4.6, 0.3, 3000) * np.where(RNG.random(3000) < share, 100, 1)
    found, reason = outcome({**SAMPLES, "margin": "20%"}, raw(RNG.lognormal(4.6, 0.3, 3000), canary))
    assert (found is Outcome.SAFE) is not seen
    assert ("ranks do not see such a tail" in reason) is seen


def test_heavy_tails_on_both_sides_are_no_difference():
    held = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sides = (rng.lognormal(3, 1.5, 400) for _ in range(2))
        held += "ranks do not see" in outcome({**SAMPLES, "margin": "20%"}, raw(*sides))[1]
    assert held == 0


def requests(slow, *, bound_at=None, scale=1.0):
    rng = np.random.default_rng(3)
    sides = []
    for side, n, share in (("baseline", 20000, 0.01), ("canary", 4000, slow)):
        latency = np.where(rng.random(n) < share, 2000.0, rng.lognormal(4.6, 0.3, n))
        if side == "canary":
            latency = latency * scale if bound_at is None else np.minimum(latency, bound_at)
        times = pd.to_datetime(START) + pd.to_timedelta(np.sort(rng.uniform(0, 7200, n)), unit="s")
        sides.append(pd.DataFrame({"timestamp": times, "side": side, "ok": True, "latency": latency}))
    slow_ones = {"name": "slow", "kind": "latency", "histogram": "latency", "slower_than": "1s", "unit": "ms"}
    config = JudgeConfig.from_mapping({"name": "t", "interval": "1m", "metrics": [{**slow_ones, "margin": "+1pp"}]})
    source = FrameSource(pd.concat(sides))
    return judge(config, source, source.window(config.interval))["slow"]


def test_time_outs_that_equal_the_bound_are_not_below_it():
    assert requests(0.15).outcome is Outcome.REGRESSED
    found = requests(0.15, bound_at=1000.0)
    assert found.outcome is Outcome.ERROR
    assert "equal `slower_than` to the last digit, and 0% of the baseline's: time-outs?" in found.reason


@pytest.mark.parametrize("slower", [1.0, 3.0])
def test_latencies_in_another_unit_are_told_however_slow_they_are(slower):
    found = requests(0.01, scale=slower / 1000)
    assert found.outcome is Outcome.ERROR
    assert "are they in another unit?" in found.reason


def pods(spec):
    times = pd.date_range(START, periods=N, freq="1min")
    rng = np.random.default_rng(1)
    rows = [
        pd.DataFrame({"timestamp": times[first:last], "side": side, "pod": name, "m": rng.normal(100, 3, last - first)})
        for side, name, first, last in spec
    ]
    config = JudgeConfig.from_mapping(
        {"name": "t", "interval": "1m", "metrics": [{**GAUGE, "query": "m", "by": "pod"}]}
    )
    source = FrameSource(pd.concat(rows))
    return judge(config, source, source.window(config.interval))["m"]


BASELINE = [("baseline", f"b{number}", 0, N) for number in range(10)]


def test_an_instance_that_lived_for_a_moment_blocks_no_pass():
    canary = [("canary", f"c{number}", 0, N) for number in range(10)]
    found = pods([*BASELINE, *canary, ("canary", "cx", 0, 4)])
    assert found.outcome is Outcome.SAFE
    assert any("1 of the canary's instances have fewer than 10 intervals" in text for text in found.warnings)
    many = pods(
        [*BASELINE, *canary[:6], *(("canary", f"x{number}", 9 * number, 9 * number + 9) for number in range(6))]
    )
    assert many.outcome is Outcome.INSUFFICIENT


def test_instances_that_died_are_missed():
    canary = [("canary", f"c{number}", 0, N if number < 2 else 60) for number in range(10)]
    found = pods([*BASELINE, *canary])
    assert found.outcome is Outcome.INSUFFICIENT
    assert "8 of the canary's 10 instances are not heard any more: have they died?" in found.reason
    rolled = [("canary", f"c{number}", 0, 60) for number in range(10)]
    again = [("canary", f"d{number}", 60, N) for number in range(10)]
    assert pods([*BASELINE, *rolled, *again]).outcome is Outcome.SAFE


@pytest.mark.parametrize(("share", "found"), [(0.3, Outcome.SAFE), (0.0, Outcome.INSUFFICIENT)])
def test_values_that_are_undefined_on_both_sides_alike_hide_nothing(share, found):
    one = gauged(BUSY, RNG.normal(100, 4, N))
    undefined = round(0.3 * N)
    quality = replace(one.quality, non_finite=undefined + round(share * N), non_finite_canary=undefined)
    assert outcome(GAUGE, replace(one, quality=quality))[0] is found


def test_a_mean_per_user_in_another_unit_is_not_safe():
    rng, users = np.random.default_rng(2), 4000
    canary = np.arange(users) % 4 == 0
    revenue = np.where(rng.random(users) < 0.3, rng.lognormal(3, 0.5, users), 0) * np.where(canary, 50, 1)
    times = pd.to_datetime(START) + pd.to_timedelta(np.sort(rng.uniform(0, 86400, users)), unit="s")
    side = np.where(canary, "canary", "baseline")
    table = pd.DataFrame({"timestamp": times, "side": side, "user": np.arange(users).astype(str), "revenue": revenue})
    mean = {"name": "m", "kind": "mean", "numerator": "revenue", "harm": "decrease", "margin": "20%"}
    config = JudgeConfig.from_mapping({"name": "t", "interval": "1h", "metrics": [mean]})
    source = FrameSource(table)
    found = judge(config, source, source.window(config.interval))["m"]
    assert found.harm is Harm.DECREASE
    assert found.outcome is Outcome.INSUFFICIENT
    assert "times above the baseline's: are they in another unit" in found.reason


class Broken:
    """A source that cannot be read for a while, and has no events at all."""

    def __init__(self, source, until):
        self.source, self.until = source, until

    def fetch(self, queries, window):
        found = self.source.fetch(queries, window)
        if window.end > self.until:
            return found
        return [
            replace(one, series=(), error="HTTP 503", temporary=True) if q.part == "events" else one
            for q, one in zip(queries, found, strict=True)
        ]


@pytest.mark.parametrize("outage", [0, 4])
def test_an_outage_hides_no_selector_that_finds_nothing(outage):
    rng, times = np.random.default_rng(1), pd.date_range(START, periods=61, freq="1min")[1:]
    rows = [
        pd.DataFrame({"timestamp": times, "side": side, "metric": "requests", "value": rng.poisson(n, 60)})
        for side, n in (("baseline", 2000), ("canary", 200))
    ]
    rows.append(
        pd.DataFrame({"timestamp": times[:1] - pd.Timedelta("2h"), "side": "canary", "metric": "errors", "value": 0})
    )
    share = {"name": "m", "kind": "ratio", "events": "errors", "total": "requests", "harm": "increase"}
    config = JudgeConfig.from_mapping(
        {"name": "t", "interval": "1m", "metrics": [{**share, "margin": "1.5x or +0.5pp"}]}
    )
    source = Broken(FrameSource(pd.concat(rows)), START + outage * timedelta(minutes=1))
    monitor = Monitor(config, start=START)
    verdicts = [monitor.look(source, START + minute * timedelta(minutes=1)).verdict for minute in range(1, 61)]
    assert Verdict.PASS not in verdicts


@pytest.mark.parametrize(
    ("events", "absent_is_zero", "safe"),
    [
        ("sum(increase(errors[1m])) or vector(0)", False, False),
        ("sum(increase(errors[1m])) or on() vector(0)", False, False),
        ("sum(increase(errors[1m])) or vector(0)", True, True),
        ("sum(increase(errors[1m]))", False, True),
    ],
)
def test_a_zero_that_the_query_makes_is_not_one_that_was_counted(events, absent_is_zero, safe):
    """The canary calls its label otherwise: its selector finds nothing, and `or vector(0)` says that this is none."""
    share = {"name": "m", "kind": "ratio", "events": events, "total": "t", "harm": "increase", "margin": "1.5x"}
    one = counted(np.full(60, 20.0), 2000.0, np.zeros(60), 200.0)
    found = judged({**share, "absent_is_zero": absent_is_zero}, one)["m"]
    assert (found.outcome is Outcome.SAFE) is safe
    assert ("hides a selector that finds nothing" in found.reason) is not safe


def each_pod(change):
    """Eight instances of the baseline and six of the canary, whose values are changed."""
    times, rng, rows = pd.date_range(START, periods=90, freq="1min"), np.random.default_rng(2), []
    for side, number in (("baseline", 8), ("canary", 6)):
        for pod in range(number):
            values = rng.normal(300, 8) + rng.normal(0, 10, 90)
            values = change(values, pod, rng) if side == "canary" else values
            rows.append(pd.DataFrame({"timestamp": times, "side": side, "pod": f"{side[0]}{pod}", "m": values}))
    config = JudgeConfig.from_mapping(
        {"name": "t", "interval": "1m", "metrics": [{**GAUGE, "query": "m", "by": "pod"}]}
    )
    source = FrameSource(pd.concat(rows))
    return judge(config, source, source.window(config.interval))["m"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda values, _, __: values / 1000, "are they in another unit"),
        (lambda values, _, rng: np.where(rng.random(90) < 0.5, -1, 1.5 * values), "a code for something else"),
        (lambda values, _, rng: np.where(rng.random(90) < 0.4, 0, 1.4 * values), "a code for something else"),
        (lambda values, pod, _: 0 * values + 287.1357 + pod, "6 of the canary's 6 instances never changed"),
        (lambda values, pod, _: values * (1.5 if pod == 3 else 1), "far from all instances of the baseline: 1 of 6"),
        (lambda values, pod, _: values * (20 if pod == 3 else 1), "far from all instances of the baseline: 1 of 6"),
        (lambda values, _, __: values, None),
    ],
)
def test_instances_are_looked_at_as_single_series_are(change, told):
    found = each_pod(change)
    assert (found.outcome is Outcome.SAFE) is (told is None)
    assert told is None or told in found.reason


def test_pods_that_are_replaced_with_a_moment_of_both_have_not_died():
    old = [("canary", f"c{number}", 0, 125) for number in range(4)]
    new = [("canary", f"d{number}", 120, N) for number in range(4)]
    assert pods([*BASELINE, *old, *new]).outcome is Outcome.SAFE


def test_a_baseline_that_stands_still_is_a_stale_export():
    found, reason = outcome(GAUGE, gauged(np.full(90, 130.371), RNG.normal(125, 5, 90)))
    assert found is Outcome.INSUFFICIENT
    assert "the baseline's value never changed while the canary's did" in reason


SETTLED = {
    "memory of an idle canary, in percent": (lambda: RNG.normal(45, 1.2, 60).round(1), lambda: np.full(60, 42.3)),
    "a settled baseline, in percent": (lambda: np.full(60, 42.3), lambda: RNG.normal(42, 1.2, 60).round(1)),
    "a settled baseline, in kB": (lambda: np.full(60, 812_344.0), lambda: 812_000 + 4 * np.cumsum(RNG.poisson(2, 60))),
    "connections down to their minimum": (
        lambda: RNG.normal(40, 5, 60).round(),
        lambda: np.append(RNG.integers(3, 21, 10), np.full(50, 10.0)),
    ),
    "a pause that never came": (lambda: RNG.gamma(2, 20, 60), lambda: np.zeros(60)),
}


@pytest.mark.parametrize("kind", SETTLED)
def test_what_has_settled_may_rest(kind):
    for _ in range(10):
        baseline, canary = (made() for made in SETTLED[kind])
        reason = outcome({**GAUGE, "margin": "+20"}, gauged(baseline, canary))[1]
        assert not any(text in reason for text in ("frozen", "stale", "has it died", "are they made of"))


@pytest.mark.parametrize("resting", ["baseline", "both"])
def test_pods_that_rest_on_the_baseline_too_are_no_frozen_ones(resting):
    def change(values, pod, rng):
        return np.full(90, 300.1234) if resting == "both" and pod == 2 else values

    times, rng, rows = pd.date_range(START, periods=90, freq="1min"), np.random.default_rng(4), []
    for side, number in (("baseline", 8), ("canary", 6)):
        for pod in range(number):
            moves = rng.normal(300, 8) + rng.normal(0, 10, 90)
            values = np.full(90, 300.1234) if pod == 2 and side == "baseline" else moves
            values = change(values, pod, rng) if side == "canary" else values
            rows.append(pd.DataFrame({"timestamp": times, "side": side, "pod": f"{side[0]}{pod}", "m": values}))
    config = JudgeConfig.from_mapping(
        {"name": "t", "interval": "1m", "metrics": [{**GAUGE, "query": "m", "by": "pod"}]}
    )
    source = FrameSource(pd.concat(rows))
    assert judge(config, source, source.window(config.interval))["m"].outcome is Outcome.SAFE


def test_the_first_values_of_pods_are_those_of_their_start():
    assert each_pod(lambda values, _, __: np.append(np.zeros(2), values[2:])).outcome is Outcome.SAFE


def test_requests_that_are_filled_forward_are_no_requests():
    requests, canary = RNG.poisson(600, 120), RNG.poisson(60, 120)
    errors = RNG.binomial(requests, 0.01), RNG.binomial(canary, 0.01)
    metric = {"name": "m", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "2x or +4pp"}
    assert outcome(metric, counted(errors[0], requests, errors[1], canary))[0] is Outcome.SAFE
    alive = np.arange(120) < 40
    found, reason = outcome(
        metric, counted(errors[0], requests, np.where(alive, errors[1], 1), np.where(alive, canary, 61))
    )
    assert found is not Outcome.SAFE
    assert "the same numbers in its last 80 intervals: has it died" in reason
    constant = np.append(canary[:40], np.full(80, 60))  # of a load generator, whose errors are fresh
    assert "has it died" not in outcome(metric, counted(errors[0], requests, RNG.binomial(constant, 0.01), constant))[1]


def test_a_burst_is_one_and_no_tail():
    held = 0
    for seed in range(60):
        rng, sides = np.random.default_rng(seed), []
        for _ in range(2):
            values = rng.normal(100, 3, 240)
            if rng.random() < 0.5:
                at = rng.integers(0, 232)
                values[at : at + 8] += 1000
            sides.append(values)
        held += "ranks do not see" in outcome({**GAUGE, "margin": "20%"}, gauged(*sides))[1]
    assert held <= 1


@pytest.mark.parametrize(
    ("usual", "new", "harm", "margin"), [(0.3, 0.9, "increase", "+2"), (0.95, 0.5, "decrease", "+2")]
)
def test_shares_that_moved_are_held_where_percentages_are_meant(usual, new, harm, margin):
    one = gauged(RNG.normal(usual, 0.01, 60), RNG.normal(new, 0.01, 60))
    found, reason = outcome({**GAUGE, "harm": harm, "unit": "%", "margin": margin}, one)
    assert found not in (Outcome.SAFE, Outcome.TOLERABLE)
    assert "are these shares" in reason


@pytest.mark.parametrize("times", [0.1, 2.0])
def test_a_multiple_of_the_baseline_is_no_canary(times):
    requests, values = RNG.poisson(600, 60), RNG.normal(100, 4, 60)
    errors = RNG.binomial(requests, 0.01)
    metric = {"name": "m", "kind": "ratio", "events": "e", "total": "t", "harm": "increase", "margin": "2x or +2pp"}
    found, reason = outcome(metric, counted(errors, requests, times * errors, times * requests))
    assert found is Outcome.INSUFFICIENT
    assert f"the canary's values are {times:g} times the baseline's in every interval" in reason
    assert "are they made of them" in outcome({**GAUGE, "harm": "decrease"}, gauged(values, 2 * values))[1]


@pytest.mark.parametrize(("n", "share"), [(90, 0.2), (3000, 0.015)])
def test_tails_of_few_and_of_rare_values(n, share):
    metric = {**SAMPLES, "margin": "20%"} if n > 1000 else {**GAUGE, "margin": "20%"}
    one = raw if n > 1000 else gauged
    usual, canary = RNG.lognormal(0.02, 0.1, n), RNG.lognormal(0, 0.1, n)
    found, reason = outcome(metric, one(usual, np.where(RNG.random(n) < share, 100 * canary, canary)))
    assert found is Outcome.INSUFFICIENT
    assert "ranks do not see such a tail" in reason
    assert ("kind: latency" in reason) is (metric["kind"] == "samples")


def test_what_is_now_this_and_now_that_is_in_no_other_unit():
    def halves(rng, size):
        return np.where(rng.random(size) < 0.5, rng.lognormal(-6, 0.3, size), rng.lognormal(-1, 0.5, size))

    for seed in range(30):
        rng = np.random.default_rng(seed)
        assert "unit" not in outcome({**SAMPLES, "margin": "50%"}, raw(halves(rng, 3000), halves(rng, 300)))[1]


def test_some_values_in_another_unit_are_no_better_ones():
    canary = RNG.lognormal(np.log(140), 0.3, 1000)
    canary[RNG.permutation(1000)[:400]] /= 1000
    found, reason = outcome({**SAMPLES, "margin": "20%"}, raw(RNG.lognormal(np.log(100), 0.3, 3000), canary))
    assert found is Outcome.INSUFFICIENT
    assert "40% of the canary's values are below a hundredth of the smallest of the baseline's" in reason


@pytest.mark.parametrize(
    ("metric", "held"), [({"margin": "+1"}, False), ({"margin": "20%", "limit": 5.0}, False), ({"margin": "+5"}, True)]
)
def test_percentages_below_one_are_told_and_only_far_ones_held(metric, held):
    one = gauged(RNG.normal(0.6, 0.05, 90), RNG.normal(0.6, 0.05, 90))
    found = judged({**GAUGE, "unit": "%", **metric}, one)["m"]
    assert (found.outcome is Outcome.SAFE) is not held
    told = any("are these shares, and no percentages?" in text for text in found.warnings)
    assert told is ("+" in metric["margin"])


def ended(seed, minutes, times):
    """Lengths that are written down when they end, of a canary that gets only what begins from now on."""
    rng = np.random.default_rng(seed)
    begin = rng.uniform(-120, minutes, 160 * (120 + minutes))
    canary = (begin > 0) & (rng.random(begin.size) < 0.2)
    length = rng.gamma(3, 5, begin.size) * np.where(canary, times, 1.0)
    seen = (begin + length > 0) & (begin + length < minutes)
    at = np.floor(begin + length).astype(int)
    sides = []
    for mine in (seen & ~canary, seen & canary):
        order = np.argsort(at[mine], kind="stable")
        sides += [length[mine][order], at[mine][order]]
    baseline, when_b, new, when_c = sides
    return RawData(baseline=baseline, interval_baseline=when_b, canary=new, interval_canary=when_c)


@pytest.mark.parametrize("minutes", [20, 30])
def test_what_is_written_when_it_ends_is_no_improvement(minutes):
    """Sessions that take 1.4 times as long: those that have ended so far are the short ones."""
    metric = {**SAMPLES, "margin": "20%"}
    reasons = []
    for seed in range(5):
        one = MetricSamples(data=ended(seed, minutes, 1.4), quality=quality())
        found = judge_samples(config(metric), samples(one, n=minutes))["m"]
        assert found.outcome is not Outcome.SAFE
        reasons.append(found.reason)
    assert any("written down when they end" in text for text in reasons)


@pytest.mark.parametrize("shock", [0.0, 0.2])
def test_values_that_stand_are_rarely_seen_to_drift(shock):
    seen = 0
    for seed in range(200):
        rng, sides = np.random.default_rng(seed), []
        for each in (200, 20):
            interval = np.repeat(np.arange(60), rng.poisson(each, 60))
            sides += [np.exp(rng.normal(0, 0.7, interval.size) + rng.normal(0, shock, 60)[interval]), interval]
        baseline, when_b, canary, when_c = sides
        data = RawData(baseline=baseline, interval_baseline=when_b, canary=canary, interval_canary=when_c)
        seen += drifts(data, raw_tau(baseline, when_b))
    assert seen <= 2  # 0.1 % is meant


@pytest.mark.parametrize("lasting", [0.8, 0.0])
def test_values_of_a_few_units_that_come_again_are_told(lasting):
    rng = np.random.default_rng(3)
    size, canary = rng.normal(8, lasting, 48), np.arange(48) < 12
    rows = [
        (
            START + timedelta(days=night, seconds=int(rng.integers(1, 9999))),
            unit,
            np.exp(size[unit] + rng.normal(0, 0.3)),
        )
        for night in range(14)
        for unit in range(48)
    ]
    table = pd.DataFrame(rows, columns=["timestamp", "unit", "m"])
    table = table.assign(
        side=np.where(canary[table["unit"]], "canary", "baseline"), unit="u" + table["unit"].astype(str)
    )
    metric = {**SAMPLES, "query": "m", "margin": "20%"}
    one = JudgeConfig.from_mapping({"name": "nights", "interval": "1d", "metrics": [metric]})
    source = FrameSource(table)
    told = [text for text in judge(one, source, source.window("1d"))["m"].warnings if "are alike" in text]
    assert bool(told) is (lasting > 0)
    assert not told or "36 series by `unit`" in told[0]
    assert not told or "`kind: gauge` with `by: unit`" in told[0]
