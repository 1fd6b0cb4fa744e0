"""The deciding interval: its ends are those of the decision, at every look, for every kind of metric."""

from dataclasses import replace

import numpy as np
import pytest

from canary_judge import Judgement, Window, judge_samples
from canary_judge.judging import deciding
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from canary_judge.results import Harm, Outcome
from canary_judge.samples import MetricSamples
from canary_judge.stats.counts import COLUMNS
from tests.builders import START, STEP, config, counted, gauged, samples

GOOD = {Outcome.SAFE, Outcome.TOLERABLE}
COUNT = {"kind": "ratio", "events": "e", "total": "t"}
GAUGE = {"kind": "gauge", "query": "q"}
METRICS = {
    "rare": {**COUNT, "harm": "increase", "margin": "1.5x"},
    "pp": {**COUNT, "harm": "increase", "margin": "1.5x or +0.5pp"},
    "fewer": {**COUNT, "harm": "decrease", "margin": "20%"},
    "often": {**COUNT, "harm": "either", "margin": "10%"},
    "gauge": {**GAUGE, "harm": "increase", "margin": "10%"},
    "either": {**GAUGE, "harm": "either", "margin": "10%"},
    "any": {**COUNT, "harm": "increase", "margin": "1.5x", "fail_when": "any_harm"},
    "units": {**GAUGE, "harm": "decrease", "margin": "+8"},
}


def drawn(rng, n, effects):
    """All metrics over so many intervals, each with an effect of its own."""

    def trials(rate, name, total=1000, share=0.2):
        exposure = np.full(n, total * (1 - share)), np.full(n, total * share)
        rates = rate, min(rate * effects[name], 1.0)
        events = [rng.binomial(each.astype(int), r) for each, r in zip(exposure, rates, strict=True)]
        return counted(events[0], exposure[0], events[1], exposure[1])

    def values(name):
        swing = np.cumsum(rng.normal(size=n)) * 0.5
        return gauged(100 + swing + 10 * rng.normal(size=n), effects[name] * (100 + swing + 10 * rng.normal(size=n)))

    found = {"rare": trials(0.005, "rare"), "pp": trials(0.004, "pp"), "fewer": trials(0.02, "fewer")}
    found["any"] = trials(0.01, "any")
    found |= {"often": trials(0.4, "often"), **{name: values(name) for name in ("gauge", "either", "units")}}
    return found


def wrong(metric):
    """What in a result does not fit its deciding interval; None when all does."""
    if metric.deciding is None or metric.comparison is None:
        return None
    margin, (low, high) = metric.comparison.margin, metric.deciding
    neutral = 1.0 if metric.comparison.scale == "ratio" else 0.0
    size = abs(margin - neutral)
    margins = {Harm.INCREASE: (-np.inf, margin), Harm.DECREASE: (margin, np.inf)}
    bounds = margins.get(metric.harm, (neutral - size, neutral + size))
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    inside = bounds[0] <= low and high <= bounds[1]
    beyond = low > bounds[1] or high < bounds[0]
    if metric.name == "any" and metric.outcome is Outcome.REGRESSED:  # any harm fails it
        beyond = low > neutral
    shown = inside if metric.outcome in GOOD else beyond if metric.outcome is Outcome.REGRESSED else not inside | beyond
    return None if shown and low <= high else (metric.name, metric.outcome, metric.deciding, bounds)


def settings():
    return config(*({"name": name, **metric} for name, metric in METRICS.items()), false_alarm_rate=0.05)


def effects_of(rng):
    return {name: float(rng.choice([0.5, 0.85, 1.0, 1.0, 1.1, 1.3, 2.0])) for name in METRICS}


@pytest.mark.parametrize("seed", range(12))
def test_no_deciding_interval_contradicts_its_outcome_at_one_look(seed):
    rng = np.random.default_rng([seed, 1])
    judgement = judge_samples(settings(), samples(drawn(rng, 60, effects_of(rng)), 60))
    assert [wrong(metric) for metric in judgement.metrics] == [None] * len(METRICS)
    assert sum(metric.deciding is not None for metric in judgement.metrics) > 5


@pytest.mark.parametrize("seed", range(6))
def test_no_deciding_interval_contradicts_its_outcome_at_any_look(seed):
    rng = np.random.default_rng([seed, 2])
    effects = effects_of(rng)
    state = MonitorState(start=START, horizon=60 if seed % 2 else None)
    for look in range(6):
        part = replace(
            samples(drawn(rng, 10, effects), 10),
            window=Window(START + 10 * look * STEP, START + 10 * (look + 1) * STEP),
        )
        state, judgement = observe(settings(), state, part)
        assert sum(metric.deciding is not None for metric in judgement.metrics) > 4
        assert [wrong(metric) for metric in judgement.metrics] == [None] * len(METRICS)


def test_its_ends_are_those_of_the_tests():
    """At each end the evidence of the same data just decides: asked with that margin, in a config of its own."""
    rng = np.random.default_rng(3)
    sides = rng.binomial(8000, 0.01, 60), 8000.0, rng.binomial(2000, 0.011, 60), 2000.0
    one = {"name": "m", **COUNT, "harm": "increase"}
    low, high = judge_samples(config({**one, "margin": "1.5x"}), samples(counted(*sides))).metrics[0].deciding
    for margin, field, level in ((high, "p_within", 0.05), (low, "p_beyond", 0.01)):
        tests = [
            getattr(
                judge_samples(
                    config({**one, "margin": f"{margin * way:.5f}x"}, false_alarm_rate=0.01), samples(counted(*sides))
                ).metrics[0],
                field,
            )
            for way in (0.98, 1.02)
        ]
        assert min(tests) <= level <= max(tests)


def test_a_finding_that_stands_keeps_its_interval_and_says_when():
    bad, good = counted(5.0, 800.0, 20.0, 200.0), counted(5.0, 800.0, 1.0, 200.0)
    settled = config({"name": "m", **COUNT, "harm": "increase", "margin": "1.5x"})
    state, found = MonitorState(start=START, horizon=None), []
    for look in range(12):
        ten = replace(bad if look < 6 else good)
        many = counted(*(np.full(10, getattr(ten.data.counts, name)[0]) for name in COLUMNS))
        moment = START + 10 * look * STEP
        part = replace(samples(many, 10), window=Window(moment, moment + 10 * STEP))
        state, judgement = observe(settled, state, part)
        state = MonitorState.from_json(settled, state.to_json(settled))
        found.append(judgement.metrics[0])
    first = next(k for k, metric in enumerate(found) if metric.outcome is Outcome.REGRESSED)
    assert all(metric.outcome is Outcome.REGRESSED for metric in found[first:])
    assert {metric.decided_at for metric in found[first:]} == {START + 10 * (first + 1) * STEP}
    assert {metric.deciding for metric in found[first + 1 :]} == {found[first].deciding}
    assert found[first].deciding[0] > 1.5
    assert "(found at 2026-01-01 12:" in judgement.explain()
    assert "which stands" not in found[first].reason + found[-1].reason


def test_nothing_is_looked_for_where_no_interval_is_asked_for():
    one = config({"name": "m", **COUNT, "harm": "increase", "margin": "1.5x"})
    part = samples(counted(5.0, 800.0, 1.0, np.full(10, 200.0)), 10)
    judgement = observe(one, MonitorState(start=START, horizon=None), part, with_intervals=False)[1]
    assert judgement.metrics[0].deciding is None


def test_the_margin_is_shown_without_data_too():
    judgement = judge_samples(
        config({"name": "m", **COUNT, "harm": "increase", "margin": "1.5x"}), samples(MetricSamples(data=None))
    )
    assert judgement.metrics[0].margin == "1.5x"
    assert "1.5x" in judgement.explain()


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-150, 1e150, 1e300, 1e307])
@pytest.mark.parametrize("margin", ["10%", "+1e307", "+1e-320", "5000%"])
@pytest.mark.parametrize("harm", ["increase", "either"])
def test_no_magnitude_is_too_large_or_too_small(size, margin, harm):
    rng = np.random.default_rng(5)
    sides = (size * (1 + rng.random(60)) for _ in range(2))
    settled = config({"name": "m", **GAUGE, "harm": harm, "margin": margin})
    judgement = judge_samples(settled, samples(gauged(*sides)))
    assert Judgement.from_json(judgement.to_json()) == judgement


@pytest.mark.parametrize("seed", range(5))
def test_the_ends_do_not_follow_the_last_digits_of_p_values(seed, monkeypatch):
    """As with another scipy, whose p-values have eight digits."""
    metric = {**GAUGE, "name": "m", "harm": "increase", "margin": "10%"}
    rng = np.random.default_rng(seed)
    values = gauged(*rng.normal(100, 5, (2, 60)))
    usual = judge_samples(config(metric), samples(values))["m"].deciding
    boundary = deciding._boundary

    def with_eight_digits(p, *more):
        def nearly(at):
            found = p(at)
            return found * (1 + 1e-8) if found < 0.5 else 1 - (1 - found) * (1 + 1e-8)

        return boundary(nearly, *more)

    monkeypatch.setattr(deciding, "_boundary", with_eight_digits)
    assert judge_samples(config(metric), samples(values))["m"].deciding == usual
