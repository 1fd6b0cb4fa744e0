"""Properties that any judge must have, and the edge cases that decide wrongly elsewhere."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canary_judge.errors import ConfigError
from canary_judge.judging import judge_samples
from canary_judge.results import Action, Judgement, Outcome, Verdict
from canary_judge.samples import GaugeData, MetricSamples, RawData
from tests.builders import GAUGE, RATIO, START, STEP, config, counted, gauged, quality
from tests.builders import samples as of_all

quick = settings(max_examples=60, derandomize=True)


def judged(made, of, n=60):
    return judge_samples(made, of_all(of, n))


def outcome(metric, samples, **more):
    return judged(config({**GAUGE, **metric} if "kind" not in metric else metric, **more), samples).metrics[0].outcome


def normal(seed, n=60, level=100.0, sd=5.0):
    return np.random.default_rng(seed).normal(level, sd, n)


# --- properties --------------------------------------------------------------------------------------------------


@quick
@given(seed=st.integers(0, 10**6), shift=st.floats(-30, 30), scale=st.sampled_from([1e-9, 1e-4, 1e3, 1e12]))
def test_no_outcome_depends_on_the_unit(seed, shift, scale):
    b, c = normal(seed), normal(seed + 1) + shift
    for margin, other in (("10%", "10%"), ("+10", f"+{10 * scale!r}")):
        first, second = (
            judged(config({**GAUGE, "margin": m}), gauged(f * b, f * c)).metrics[0]
            for m, f in ((margin, 1.0), (other, scale))
        )
        assert first.outcome is second.outcome
        assert first.comparison.p_harm == pytest.approx(second.comparison.p_harm, rel=1e-9)


@quick
@given(seed=st.integers(0, 10**6), shift=st.floats(-40, 40))
def test_swapping_sides_and_direction_mirrors_the_outcome(seed, shift):
    b, c = normal(seed), normal(seed + 1) + shift
    up = judged(config({**GAUGE, "margin": "+8"}), gauged(b, c)).metrics[0]
    down = judged(config({**GAUGE, "margin": "+8", "harm": "decrease"}), gauged(-b, -c)).metrics[0]
    assert up.outcome is down.outcome
    assert up.comparison.effect == pytest.approx(-down.comparison.effect, rel=1e-9, abs=1e-9)
    swapped = judged(config({**GAUGE, "margin": "+8"}), gauged(c, b)).metrics[0]
    assert swapped.comparison.effect == pytest.approx(-up.comparison.effect, rel=1e-9, abs=1e-9)
    assert swapped.comparison.p_harm == pytest.approx(1 - up.comparison.p_harm, abs=1e-9)


@quick
@given(seed=st.integers(0, 10**6), small=st.floats(0, 30), more=st.floats(0, 30))
def test_a_worse_gauge_never_gets_a_better_score(seed, small, more):
    b, c = normal(seed), normal(seed + 1)
    first, second = (judged(config(GAUGE), gauged(b, c + d)) for d in (small, small + more))
    assert second.score <= first.score
    order = [Verdict.FAIL, Verdict.MARGINAL, Verdict.PASS]
    assert order.index(second.verdict) <= order.index(first.verdict)


@quick
@given(seed=st.integers(0, 10**6), rate=st.floats(0.0005, 0.3), worse=st.floats(1, 5))
def test_more_errors_never_get_a_better_score(seed, rate, worse):
    rng = np.random.default_rng(seed)
    n_b, n_c = rng.poisson(950, 60), rng.poisson(50, 60)
    e_b, e_c = rng.binomial(n_b, rate), rng.binomial(n_c, rate)
    added = np.minimum(np.ceil(e_c * worse), n_c)
    first, second = (judged(config(RATIO), counted(e_b, n_b, e, n_c)) for e in (e_c, added))
    assert second.score <= first.score


@quick
@given(seed=st.integers(0, 10**6), shift=st.floats(-20, 20))
def test_the_same_samples_give_the_same_bytes(seed, shift):
    made = config(GAUGE, {**RATIO, "name": "r"})
    samples = {
        "m": gauged(normal(seed), normal(seed + 1) + shift),
        "r": counted([5] * 60, [950] * 60, [1] * 60, [50] * 60),
    }
    assert judged(made, samples).to_json() == judged(made, samples).to_json()


anything = st.one_of(
    st.floats(allow_nan=True, allow_infinity=False, width=32), st.sampled_from([0.0, -1.0, 1e-300, 1e300, math.nan])
)


@quick
@given(st.data(), st.sampled_from(["increase", "decrease", "either"]), st.sampled_from(["10%", "+1", "5% or +1"]))
def test_no_series_crashes_and_every_judgement_survives_json(data, harm, margin):
    b = data.draw(st.lists(anything, min_size=30, max_size=30))
    c = data.draw(st.lists(anything, min_size=30, max_size=30))
    samples = gauged(b, c)
    if np.isnan(samples.data.baseline).all():
        samples = MetricSamples(data=None, quality=samples.quality)
    judgement = judged(config({**GAUGE, "harm": harm, "margin": margin}), samples)
    assert Judgement.from_json(judgement.to_json()) == judgement
    assert "nan" not in judgement.explain()
    json.loads(judgement.to_json())


@quick
@given(
    st.lists(st.tuples(*[st.integers(0, 40)] * 4), min_size=1, max_size=40),
    st.sampled_from(["1.5x", "+1pp", "1.5x or +1pp"]),
)
def test_no_counts_crash_and_every_judgement_survives_json(rows, margin):
    e_b, extra_b, e_c, extra_c = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    judgement = judged(config({**RATIO, "margin": margin}), counted(e_b, e_b + extra_b, e_c, e_c + extra_c))
    assert Judgement.from_json(judgement.to_json()) == judgement
    for metric in judgement.metrics:
        if metric.comparison:
            p = (metric.comparison.p_harm, metric.comparison.p_beyond_margin, metric.comparison.p_within_margin)
            assert all(0 <= value <= 1 for value in p)


# --- gauges: the edges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "allowed"), [(1, False), (5, False), (9, False), (10, True)])
def test_fewer_than_ten_points_neither_pass_nor_fail(n, allowed):
    b = normal(1, n, sd=0.1)
    for c in (b + 0.01, b + 1000):
        result = outcome({}, gauged(b, c))
        assert (result is not Outcome.INSUFFICIENT) is allowed


def test_dependent_points_are_worth_less_and_too_few_of_them_are_insufficient():
    rng = np.random.default_rng(3)
    walk = 100 + np.cumsum(rng.normal(0, 0.3, (2, 60)), axis=1)
    result = judged(config(GAUGE), gauged(walk[0], walk[1])).metrics[0]
    assert result.outcome is Outcome.INSUFFICIENT
    assert "worth only" in result.reason
    assert result.comparison.tau > 5


def test_a_history_of_slow_swings_keeps_a_short_smooth_window_from_passing():
    rng = np.random.default_rng(4)
    slow = np.zeros(500)
    for t in range(1, 500):
        slow[t] = 0.99 * slow[t - 1] + rng.normal()
    b, c = normal(5, sd=0.5), normal(6, sd=0.5)
    assert outcome({}, gauged(b, c)) is Outcome.SAFE
    assert outcome({}, gauged(b, c, history=slow)) is Outcome.INSUFFICIENT


def test_identical_constants_are_within_the_margin_and_different_ones_beyond_it():
    assert outcome({}, gauged([5.0] * 60, [5.0] * 60)) is Outcome.SAFE
    assert outcome({}, gauged([5.0] * 60, [8.0] * 60)) is Outcome.REGRESSED
    assert outcome({}, gauged([5.0] * 60, [5.2] * 60)) is Outcome.TOLERABLE
    assert outcome({"harm": "decrease"}, gauged([5.0] * 60, [8.0] * 60)) is Outcome.SAFE


def test_all_zeros_pass_only_with_an_absolute_margin():
    zeros = gauged([0.0] * 60, [0.0] * 60)
    result = judged(config(GAUGE), zeros)
    assert result.verdict is Verdict.MARGINAL
    assert "add an absolute margin" in result.reasons[0]
    assert outcome({"margin": "10% or +1"}, zeros) is Outcome.SAFE


def test_negative_values_get_worse_upwards_too():
    b = normal(7, level=-100, sd=2)
    assert outcome({}, gauged(b, normal(8, level=-70, sd=2))) is Outcome.REGRESSED
    assert outcome({}, gauged(b, normal(8, level=-100, sd=2))) is Outcome.SAFE
    assert outcome({}, gauged(b, normal(8, level=-130, sd=2))) is Outcome.SAFE


def test_values_of_both_signs_are_warned_about():
    result = judged(config(GAUGE), gauged(normal(1, level=0), normal(2, level=0))).metrics[0]
    assert any("both signs" in text for text in result.warnings)


@pytest.mark.parametrize("missing", ["both", "one side"])
def test_gaps_drop_the_pair_and_not_one_side(missing):
    b, c = normal(1), normal(2)
    c[10:20] = np.nan
    if missing == "both":
        b[10:20] = np.nan
    result = judged(config(GAUGE), gauged(b, c)).metrics[0]
    assert result.comparison.n_baseline == result.comparison.n_canary == 50


def test_one_missing_point_hides_no_tenfold_level():
    b, c = normal(1), normal(2) * 10
    c[5] = np.nan
    assert outcome({}, gauged(b, c)) is Outcome.REGRESSED


def test_limit_is_judged_with_evidence():
    b, c = normal(1), normal(2)
    assert outcome({"margin": "50%", "limit": 120}, gauged(b, c)) is Outcome.SAFE
    assert outcome({"margin": "50%", "limit": 90}, gauged(b, c)) is Outcome.REGRESSED
    near = outcome({"margin": "50%", "limit": float(np.median(c))}, gauged(b, c))
    assert near in {Outcome.INCONCLUSIVE, Outcome.INSUFFICIENT}


def test_a_metric_with_nothing_but_a_limit():
    metric = {**GAUGE, "limit": 120}
    del metric["margin"]
    assert judged(config(metric), gauged(normal(1), normal(2))).verdict is Verdict.PASS
    assert judged(config(metric), gauged(normal(1), normal(2) + 100)).verdict is Verdict.FAIL


def test_either_direction_hurts_when_told_so():
    b = normal(1)
    assert outcome({"harm": "either"}, gauged(b, normal(2))) is Outcome.SAFE
    assert outcome({"harm": "either"}, gauged(b, b + 50)) is Outcome.REGRESSED
    assert outcome({"harm": "either"}, gauged(b, b - 50)) is Outcome.REGRESSED


def test_any_harm_fails_when_asked():
    b, c = normal(1), normal(1) + 5
    assert outcome({}, gauged(b, c)) in {Outcome.DEGRADED, Outcome.TOLERABLE}
    assert outcome({"fail_when": "any_harm"}, gauged(b, c)) is Outcome.REGRESSED


# --- instances ---------------------------------------------------------------------------------------------------


def pods(seed, k, spread=0.0, level=100.0):
    rng = np.random.default_rng(seed)
    return level + rng.normal(0, spread, (k, 1)) + rng.normal(0, 1, (k, 60))


def test_a_lasting_difference_between_healthy_pods_is_no_regression_by_pod():
    by_pod = {**GAUGE, "by": "pod", "margin": "5%"}
    failed = sum(
        judged(config(by_pod), gauged(pods(seed, 6, 10), pods(seed + 500, 1, 10))).verdict is Verdict.FAIL
        for seed in range(200)
    )
    assert failed <= 200 * 0.01 + 3 * math.sqrt(200 * 0.01 * 0.99)
    averaged = sum(
        judged(
            config({**GAUGE, "margin": "5%"}), gauged(pods(seed, 6, 10).mean(axis=0), pods(seed + 500, 1, 10)[0])
        ).verdict
        is Verdict.FAIL
        for seed in range(200)
    )
    assert averaged > 40, "the averaged series show why the instance has to be the unit"


def test_few_instances_say_how_many_are_needed():
    result = judged(config({**GAUGE, "by": "pod"}), gauged(pods(1, 2), pods(2, 1))).metrics[0]
    assert result.outcome is Outcome.INSUFFICIENT
    assert result.shortfall.needs == "instances"
    assert outcome({"by": "pod"}, gauged(pods(1, 8, 1), pods(2, 8, 1))) is Outcome.SAFE
    assert outcome({"by": "pod"}, gauged(pods(1, 8, 1), pods(2, 2, 1, level=200))) is Outcome.REGRESSED


def test_instances_that_hardly_reported_are_left_out_and_block_a_pass():
    canary = pods(2, 4, 1)
    assert outcome({"by": "pod"}, gauged(pods(1, 8, 1), canary)) is Outcome.SAFE
    canary[3, 5:] = np.nan
    result = judged(config({**GAUGE, "by": "pod"}), gauged(pods(1, 8, 1), canary)).metrics[0]
    assert result.outcome is Outcome.INSUFFICIENT
    assert "1 of the canary's instances" in result.reason
    assert outcome({"by": "pod"}, gauged(pods(1, 8, 1)[:, :5], pods(2, 8, 50)[:, :5])) is Outcome.INSUFFICIENT


# --- raw values --------------------------------------------------------------------------------------------------


def test_raw_values_are_compared_by_ranks():
    rng = np.random.default_rng(0)
    b, c = rng.lognormal(0, 0.5, 20_000), rng.lognormal(0, 0.5, 1000)
    metric = {"name": "m", "kind": "samples", "query": "q", "harm": "increase", "margin": "25%"}
    for factor, expected in ((1.0, Outcome.SAFE), (2.0, Outcome.REGRESSED)):
        samples = MetricSamples(data=RawData(baseline=b, canary=c * factor), quality=quality())
        assert outcome(metric, samples) is expected


# --- counts: the edges -------------------------------------------------------------------------------------------


def test_no_event_anywhere_never_passes_on_a_relative_margin():
    metric = {**RATIO, "margin": "1.5x"}
    result = judged(config(metric), counted([0] * 60, [950] * 60, [0] * 60, [50] * 60))
    assert result.verdict is Verdict.MARGINAL
    assert result.metrics[0].outcome is Outcome.INSUFFICIENT
    assert result.metrics[0].comparison.p_harm == 1.0


def test_no_event_anywhere_passes_on_an_absolute_margin_once_there_is_traffic():
    assert outcome(RATIO, counted([0] * 60, [950] * 60, [0] * 60, [50] * 60)) is Outcome.INSUFFICIENT
    assert outcome(RATIO, counted([0] * 60, [9500] * 60, [0] * 60, [500] * 60)) is Outcome.SAFE


def test_a_side_without_traffic_is_no_data():
    assert outcome(RATIO, counted([5] * 60, [950] * 60, [0] * 60, [0] * 60)) is Outcome.NO_DATA


def test_a_canary_that_fails_every_request_is_seen_at_once():
    assert outcome(RATIO, counted([1] * 4, [200] * 4, [5] * 4, [5] * 4)) is Outcome.REGRESSED


def test_few_events_never_pass_and_say_what_is_missing():
    result = judged(config(RATIO), counted([10] * 20, [950] * 20, [0, 1] * 10, [50] * 20), n=20).metrics[0]
    assert result.outcome is Outcome.INSUFFICIENT
    assert result.shortfall.seconds > 0
    assert result.shortfall.weight_percent > 5
    assert "more or" in result.shortfall.text
    assert "% of the traffic" in result.shortfall.text


def test_the_shortfall_is_about_right():
    """With the time it asks for, a healthy canary passes as often as the wanted power promises, or nearly."""
    rng = np.random.default_rng(5)

    def sample(n):
        n_b, n_c = rng.poisson(950, n), rng.poisson(50, n)
        return counted(rng.binomial(n_b, 0.01), n_b, rng.binomial(n_c, 0.01), n_c)

    asked = [judged(config(RATIO), sample(20), n=20).metrics[0].shortfall for _ in range(30)]
    n = int(np.median([20 + one.seconds / 15 for one in asked if one is not None]))
    passed = np.mean([judged(config(RATIO), sample(n), n=n).verdict is Verdict.PASS for _ in range(200)])
    assert abs(passed - 0.8) <= 3 * np.sqrt(0.8 * 0.2 / 200)


def test_changing_the_weight_while_errors_move_with_the_hour_is_no_regression():
    """Simpson's paradox: the pooled rates differ by a lot, every stratum agrees."""
    share = np.repeat([0.05, 0.25, 0.5, 0.75], 15)
    rate = 0.005 * np.exp(np.linspace(-1, 1, 60))
    n_c, n_b = np.round(10_000 * share), np.round(10_000 * (1 - share))
    result = judged(
        config({**RATIO, "margin": "1.1x"}), counted(np.round(n_b * rate), n_b, np.round(n_c * rate), n_c)
    ).metrics[0]
    assert result.outcome in {Outcome.SAFE, Outcome.INCONCLUSIVE, Outcome.INSUFFICIENT}
    pooled = (np.round(n_c * rate).sum() / n_c.sum()) / (np.round(n_b * rate).sum() / n_b.sum())
    assert abs(pooled - 1) > 0.2
    assert abs(result.comparison.effect - 1) < 0.05


def test_clumped_errors_are_noticed():
    rng = np.random.default_rng(1)
    clump = lambda mean: np.array([rng.geometric(0.1, k).sum() for k in rng.poisson(mean, 60)])
    result = judged(config(RATIO), counted(clump(3), [5000] * 60, clump(3), [5000] * 60)).metrics[0]
    assert result.comparison.dispersion > 3
    assert "clump" in result.reason


def test_ratios_have_directions_and_limits():
    fewer = counted([100] * 60, [950] * 60, [3] * 60, [50] * 60)
    assert outcome(RATIO, fewer) is Outcome.SAFE
    assert outcome({**RATIO, "harm": "decrease", "margin": "10%"}, fewer) is Outcome.REGRESSED
    assert outcome({**RATIO, "harm": "either", "margin": "10%"}, fewer) is Outcome.REGRESSED
    steady = counted([100] * 60, [950] * 60, [5] * 60, [50] * 60)
    assert outcome({**RATIO, "limit": "5%"}, steady) is Outcome.REGRESSED
    assert outcome({**RATIO, "limit": "20%"}, steady) is Outcome.SAFE
    assert outcome({**RATIO, "harm": "decrease", "margin": "20%", "limit": "20%"}, steady) is Outcome.REGRESSED


def test_rates_are_events_per_exposure():
    metric = {"name": "m", "kind": "rate", "events": "e", "harm": "increase", "margin": "1.5x"}
    steady = counted([20] * 60, [15] * 60, [20] * 60, [15] * 60)
    assert outcome(metric, steady) is Outcome.SAFE
    assert outcome(metric, counted([20] * 60, [15] * 60, [60] * 60, [15] * 60)) is Outcome.REGRESSED
    assert outcome({**metric, "limit": 1.0}, steady) is Outcome.REGRESSED
    assert outcome({**metric, "limit": 2.0}, steady) is Outcome.SAFE


# --- unequal traffic ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('histogram_quantile(0.99, sum by (le) (rate(d_bucket{v="x"}[1m])))', Outcome.ERROR),
        ("sum(rate(errors_total[1m])) / sum(rate(requests_total[1m]))", Outcome.ERROR),
        ("sum(rate(d_sum[1m])) / sum(rate(d_count[1m]))", Outcome.SAFE),
        ("avg(heap_bytes)", Outcome.SAFE),
    ],
)
def test_quantiles_and_ratios_per_interval_are_refused_when_traffic_is_unequal(query, expected):
    made = config({**GAUGE, "query": query}, {**RATIO, "name": "r"})
    samples = {"m": gauged(normal(1), normal(2)), "r": counted([5] * 60, [950] * 60, [0] * 60, [50] * 60)}
    result = judged(made, samples)["m"]
    assert result.outcome is expected
    if expected is Outcome.ERROR:
        assert "5.0% of them" in result.reason
        assert "kind:" in result.reason


def test_a_quantile_is_judged_with_equal_traffic_and_warned_about_when_traffic_is_unknown():
    metric = {**GAUGE, "statistic": "quantile"}
    samples = {
        "m": gauged(normal(1), normal(2)),
        "r": counted([5] * 60, [500] * 60, [5] * 60, [500] * 60, canary_share=0.5),
    }
    assert judged(config(metric, {**RATIO, "name": "r"}), samples)["m"].outcome is Outcome.SAFE
    alone = judged(config(metric), samples["m"])
    assert any("traffic is not known" in text for text in alone.metrics[0].warnings)


# --- verdict -----------------------------------------------------------------------------------------------------

SAFE = gauged([5.0] * 60, [5.0] * 60)
BAD = gauged([5.0] * 60, [9.0] * 60)
NOTHING = MetricSamples(data=None)


def verdict(*roles, **more):
    """Verdict of metrics given as (role, samples, extra keys)."""
    metrics = [{**GAUGE, "name": f"m{i}", "role": role, **extra} for i, (role, _, extra) in enumerate(roles)]
    return judged(config(*metrics, **more), {f"m{i}": samples for i, (_, samples, _) in enumerate(roles)})


@pytest.mark.parametrize(
    ("roles", "expected", "score", "action"),
    [
        ([("gate", SAFE, {})], Verdict.PASS, 100, Action.ADVANCE),
        ([("gate", BAD, {})], Verdict.FAIL, 0, Action.ROLL_BACK),
        ([("gate", NOTHING, {})], Verdict.MARGINAL, 50, Action.HOLD),
        ([("gate", SAFE, {}), ("guard", BAD, {})], Verdict.FAIL, 50, Action.ROLL_BACK),
        ([("gate", SAFE, {}), ("guard", NOTHING, {})], Verdict.PASS, 100, Action.ADVANCE),
        ([("gate", SAFE, {}), ("guard", NOTHING, {"required": True})], Verdict.MARGINAL, 100, Action.HOLD),
        ([("gate", SAFE, {}), ("score", BAD, {})], Verdict.MARGINAL, 50, Action.HOLD),
        ([("gate", SAFE, {}), ("score", BAD, {"score_weight": 3})], Verdict.FAIL, 25, Action.ROLL_BACK),
        ([("gate", SAFE, {}), ("score", NOTHING, {})], Verdict.MARGINAL, 75, Action.HOLD),
        ([("gate", SAFE, {}), ("watch", BAD, {})], Verdict.PASS, 100, Action.ADVANCE),
        ([("gate", SAFE, {}), ("score", BAD, {"score_weight": 0.04})], Verdict.PASS, 96.153846, Action.ADVANCE),
    ],
)
def test_roles_decide_as_the_table_says(roles, expected, score, action):
    result = verdict(*roles)
    assert (result.verdict, result.action) == (expected, action)
    assert result.score == pytest.approx(score)


def test_undecided_metrics_alone_never_fail_whatever_the_thresholds():
    result = verdict(("gate", NOTHING, {}), score={"pass": 100, "marginal": 100})
    assert result.verdict is Verdict.MARGINAL


def test_group_weights_are_shared_among_the_live_groups():
    roles = [("gate", SAFE, {"group": "a"}), ("score", BAD, {"group": "b"}), ("guard", NOTHING, {"group": "c"})]
    result = verdict(*roles, groups={"a": 60, "b": 20, "c": 20})
    assert result.score == pytest.approx(75)
    assert [group.score for group in result.groups] == [100, 0, None]


def test_incomplete_answers_never_pass():
    partial = dataclasses.replace(SAFE, complete=False)
    assert judged(config(GAUGE), partial).verdict is Verdict.MARGINAL
    assert judged(config(GAUGE), dataclasses.replace(BAD, complete=False)).verdict is Verdict.FAIL


def test_what_a_source_doubts_never_passes_and_is_told_of_harm_too():
    odd = {"doubt": "of two units"}
    held = judged(config(GAUGE), dataclasses.replace(SAFE, **odd))
    assert held.verdict is Verdict.MARGINAL
    harmed = judged(config(GAUGE), dataclasses.replace(BAD, **odd))
    assert harmed.verdict is Verdict.FAIL
    assert all("of two units" in one.metrics[0].reason for one in (held, harmed))


def test_missing_samples_are_an_error_that_names_the_metric():
    with pytest.raises(ConfigError, match="no samples of metric 'm'"):
        judged(config(GAUGE), {})


def test_a_thousand_metrics_share_the_false_alarm_rate():
    rng = np.random.default_rng(0)
    values = rng.normal(100, 5, (1000, 2, 30))
    metrics = [{**GAUGE, "name": f"m{i}"} for i in range(1000)]
    result = judged(config(*metrics), {f"m{i}": gauged(*values[i]) for i in range(1000)}, n=30)
    found = [m for m in result.metrics if m.outcome in {Outcome.REGRESSED, Outcome.DEGRADED}]
    assert not found


def test_the_judgement_names_what_it_was_made_from():
    result = judged(config(GAUGE, baseline={"version": "1"}, canary={"version": "2"}), SAFE)
    assert (result.baseline, result.canary) == ({"version": "1"}, {"version": "2"})
    assert result.config_hash == config(GAUGE).hash()
    assert (result.start, result.end) == (START, START + 60 * STEP)
    with pytest.raises(KeyError, match="there are"):
        result["x"]


def test_two_periods_are_not_paired():
    rng = np.random.default_rng(2)
    data = GaugeData(baseline=rng.normal(100, 5, (1, 60)), canary=rng.normal(100, 5, (1, 60)), simultaneous=False)
    result = judged(config(GAUGE), MetricSamples(data=data, quality=quality()))["m"]
    assert result.comparison.method.startswith("Mann-Whitney")
    assert "signed" not in result.comparison.method


@pytest.mark.parametrize(("scale", "means"), [(0.9e100, True), (1.2e100, False)])
def test_means_are_not_taken_of_values_whose_squares_leave_the_range(scale, means):
    stars = scale * np.tile([3.0, 4.0, 5.0], 40) / 5
    found = judge_samples(config({**GAUGE, "margin": "1%"}), of_all({"m": gauged(stars, stars[::-1])}, 120)).metrics[0]
    assert ("means" in found.comparison.method) is means


@pytest.mark.parametrize("role", ["guard", "score", "watch"])
def test_a_metric_that_holds_nothing_up_and_cannot_be_judged_is_told(role):
    broken = {**GAUGE, "name": "cpu", "role": role}
    fine = counted(np.full(60, 5.0), 1000.0, np.full(60, 5.0), 1000.0)
    refused = MetricSamples(data=None, error="canary value: the store refused it")
    found = judge_samples(config({**RATIO, "margin": "2x"}, broken), of_all({"m": fine, "cpu": refused}))
    assert found["m"].outcome is Outcome.SAFE
    assert f"cpu ({role}) is not judged: canary value: the store refused it" in found.warnings
    assert f"cpu ({role}) is not judged" in found.explain()


def test_a_guard_that_finds_nothing_is_told():
    nothing = MetricSamples(data=None, quality=quality(series_baseline=0, series_canary=0))
    fine = counted(np.full(60, 5.0), 1000.0, np.full(60, 5.0), 1000.0)
    guard = {**GAUGE, "name": "cpu", "role": "guard"}
    found = judge_samples(config({**RATIO, "margin": "2x"}, guard), of_all({"m": fine, "cpu": nothing}))
    assert any(text.startswith("cpu (guard) is not judged: the queries returned nothing") for text in found.warnings)
