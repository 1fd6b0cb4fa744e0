"""Evidence that is held between two assessments: it may only come later, never say what looking always would not."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from canary_judge.config import JudgeConfig
from canary_judge.looks.observing import observe
from canary_judge.looks.state import MonitorState
from canary_judge.results import Quality, Verdict
from canary_judge.samples import CountData, GaugeData, MetricSamples, RawData, Samples
from canary_judge.series import Window
from canary_judge.stats.counts import COLUMNS, Counts

START, STEP = datetime(2026, 1, 1, tzinfo=UTC), timedelta(minutes=1)
CLEAN = Quality(coverage_baseline=1.0, coverage_canary=1.0)
METRICS = {
    "errors": {"kind": "ratio", "events": "e", "total": "t", "margin": "1.5x"},
    "slow": {"kind": "ratio", "events": "s", "total": "t", "margin": "+3pp"},
    "heap": {"kind": "gauge", "query": "h", "margin": "10%", "limit": "200"},
    "pods": {"kind": "gauge", "query": "p", "margin": "20%", "by": "pod"},
    "seconds": {"kind": "samples", "query": "r", "margin": "25%"},
}


def config(*names):
    metrics = [{"name": name, "harm": "increase", **METRICS[name]} for name in names]
    return JudgeConfig.from_mapping({"name": "shop", "interval": "1m", "metrics": metrics})


def drawn(name, rng, harm):
    """One interval of a metric; harm multiplies what hurts."""
    if name in ("errors", "slow"):
        share = {"errors": 0.005, "slow": 0.2}[name]
        exposure = rng.poisson([950, 50]).astype(float)
        events = rng.binomial(exposure.astype(int), np.minimum([share, share * harm], 1)).astype(float)
        arrays = (events[0], exposure[0], events[1], exposure[1])
        return CountData(counts=Counts(**{n: np.array([v]) for n, v in zip(COLUMNS, arrays, strict=True)}))
    if name == "heap":
        shared = rng.normal(0, 2)
        return GaugeData(
            baseline=np.array([[100 + shared + rng.normal(0, 4)]]),
            canary=np.array([[(100 + shared + rng.normal(0, 4)) * harm]]),
        )
    if name == "pods":
        sides = rng.normal(100, 4, (8, 1)), rng.normal(100, 4, (4, 1)) * harm
        names = [tuple(f"{side}{k}" for k in range(len(rows))) for side, rows in zip("bc", sides, strict=True)]
        return GaugeData(baseline=sides[0], canary=sides[1], names_baseline=names[0], names_canary=names[1])
    sides = rng.lognormal(3, 0.5, 6), rng.lognormal(3, 0.5, 4) * harm
    places = [np.zeros(side.size, dtype=np.int64) for side in sides]
    return RawData(baseline=sides[0], canary=sides[1], interval_baseline=places[0], interval_canary=places[1])


def run(names, seed, looks, *, fault=None, harm=1.0, weights=None, always=False, restart=False, fresh="pass"):
    """The judgement of each look; `always` lets nothing be held, `restart` goes through JSON at every look."""
    rng = np.random.default_rng(seed)
    settings, state = config(*names), MonitorState(start=START, horizon=None)
    for at in range(looks):
        now = harm if fault is not None and at >= fault else 1.0
        metrics = {name: MetricSamples(data=drawn(name, rng, now), quality=CLEAN) for name in names}
        samples = Samples(window=Window(START + at * STEP, START + (at + 1) * STEP), metrics=metrics)
        if always:
            streams = {name: replace(stream, held=None) for name, stream in state.streams.items()}
            state = replace(state, streams=streams)
        if restart:
            state = MonitorState.from_json(settings, state.to_json(settings))
        weight = None if weights is None else weights[at]
        state, judgement = observe(settings, state, samples, weight=weight, fresh=fresh)
        yield state, judgement


def first(verdict, judgements):
    return next((at for at, (_, one) in enumerate(judgements) if one.verdict is verdict), None)


@pytest.mark.parametrize("names", [("errors",), ("heap",), ("slow", "pods"), ("seconds",)], ids="-".join)
@pytest.mark.parametrize(("fault", "harm"), [(None, 1.0), (70, 1.6), (80, 3.0)])
def test_held_evidence_comes_to_the_same_a_little_later(names, fault, harm):
    comes_to_the_same(names, fault, harm, seeds=range(1), looks=130)


@pytest.mark.slow
@pytest.mark.parametrize("names", [("errors", "heap"), ("slow", "seconds"), ("pods", "errors")], ids="-".join)
@pytest.mark.parametrize(("fault", "harm"), [(None, 1.0), (90, 1.6), (200, 3.0)])
def test_held_evidence_comes_to_the_same_a_little_later_in_long_runs(names, fault, harm):
    comes_to_the_same(names, fault, harm, seeds=range(10, 11), looks=300)


def comes_to_the_same(names, fault, harm, *, seeds, looks):
    for seed in seeds:
        held, always = (list(run(names, seed, looks, fault=fault, harm=harm, always=one)) for one in (False, True))
        failed, oracle = first(Verdict.FAIL, held), first(Verdict.FAIL, always)
        assert (failed is None) == (oracle is None)
        if oracle is not None and failed is not None:
            assert oracle <= failed <= oracle + max(3, oracle // 50)
        passed, oracle = first(Verdict.PASS, held), first(Verdict.PASS, always)
        assert (passed is None) == (oracle is None)
        if oracle is not None and passed is not None:
            assert oracle <= passed <= oracle + max(2, oracle // 50)


def test_what_is_looked_at_anew_says_what_looking_always_says():
    pairs = zip(run(("errors",), 1, 150), run(("errors",), 1, 150, always=True), strict=True)
    anew = held = 0
    for (_, one), (_, oracle) in pairs:
        assert one.look is not None
        if one.look.as_of is None:
            # a p-value of "beyond the margin" is the least of all looks so far
            assert [m.p_within for m in one.metrics] == [m.p_within for m in oracle.metrics]
            anew += 1
        else:
            assert one.look.as_of < one.end
            assert one.end - one.look.as_of <= max(0.1 * (one.end - START), 2 * STEP)
            held += 1
    assert min(anew, held) >= 20


def test_no_pass_begins_with_held_evidence():
    seen = False
    for seed in range(1, 3):
        before = None
        for state, judgement in run(("errors", "heap"), seed, 160):
            if judgement.verdict is Verdict.PASS and before is not None and before.verdict is not Verdict.PASS:
                assert all(one.held.at == one.intervals for one in state.streams.values())
                seen |= len(state.streams["heap"].data.baseline[0]) > 60
            before = judgement
    assert seen


def test_a_pass_that_nothing_depended_on_begins_anew_when_something_does():
    *_, (state, judgement) = run(("heap",), 1, 150, fresh="none")
    assert judgement.verdict is Verdict.PASS
    assert judgement.look.as_of is not None
    state = replace(state, passed=False)  # had it begun on held evidence
    _, again = observe(config("heap"), state, None, fresh="none")
    assert again.look.as_of is not None
    after, anew = observe(config("heap"), state, None)
    assert anew.verdict is Verdict.PASS
    assert after.streams["heap"].held.at == after.streams["heap"].intervals
    assert after.passed


@pytest.mark.parametrize("names", [("errors", "heap"), ("seconds", "pods")], ids="-".join)
def test_a_restart_at_every_look_changes_no_byte(names):
    weights = [5.0] * 60 + [25.0] * 60
    straight = run(names, 3, 120, fault=100, harm=2.0, weights=weights)
    restarted = run(names, 3, 120, fault=100, harm=2.0, weights=weights, restart=True)
    for (_, one), (_, again) in zip(straight, restarted, strict=True):
        assert one.to_json() == again.to_json()


def test_a_change_of_weight_and_a_hole_are_looked_at_at_once():
    weights = [5.0] * 100 + [25.0] * 20
    assessed = [
        [one.held.at == one.intervals for one in state.streams.values()]
        for state, _ in run(("errors", "heap"), 2, 120, weights=weights)
    ]
    assert all(all(one) for one in assessed[100:])
    assert not all(all(one) for one in assessed[60:100])


def test_most_looks_of_a_long_run_assess_little():
    last = [state for state, _ in run(("errors", "heap", "slow", "seconds"), 4, 280, fresh="none")][220:]
    assessed = [one.held.at == one.intervals for state in last for one in state.streams.values()]
    assert np.mean(assessed) < 0.35  # growth by 2 % is a quarter of the looks at 200


def test_what_is_unlike_before_is_looked_at_at_once():
    """A fault that no growth point happens to see."""
    late = []
    for seed in range(3):
        for at, (state, _) in enumerate(run(("errors",), seed, 220, fault=200, harm=4.0, fresh="none")):
            if at >= 200 and state.streams["errors"].held.at > 200:
                late.append(at - 200)
                break
    assert len(late) == 3
    assert np.median(late) <= 3


def constant(sides, looks, *, fault, to):
    """A gauge that never varies, and then does."""
    settings = JudgeConfig.from_mapping(
        {
            "name": "shop",
            "interval": "1m",
            "metrics": [{"name": "queue", "kind": "gauge", "query": "q", "harm": "increase", "margin": "+5"}],
        }
    )
    state = MonitorState(start=START, horizon=None)
    for at in range(looks):
        canary = to if at >= fault else sides[1]
        data = GaugeData(baseline=np.array([[sides[0]]]), canary=np.array([[canary]]))
        window = Window(START + at * STEP, START + (at + 1) * STEP)
        metrics = {"queue": MetricSamples(data=data, quality=CLEAN)}
        state, judgement = observe(settings, state, Samples(window=window, metrics=metrics))
        yield state, judgement


@pytest.mark.parametrize("sides", [(0.0, 0.0), (0.1, 0.3)])
def test_what_never_varied_is_looked_at_when_it_does(sides):
    """At a look at which nothing else would have had it assessed."""
    calm = [state.streams["queue"].held.at for state, _ in constant(sides, 200, fault=999, to=0.0)]
    fault = next(at for at in range(150, 200) if calm[at] <= at)
    *_, (state, _) = constant(sides, fault + 1, fault=fault, to=1000.0)
    assert state.streams["queue"].held.at == fault + 1


def test_spaced_looks_are_taken_when_they_are_due_and_not_when_the_data_choose():
    """Such a look asks a p-value of one planned look, so what is found must not say when it is planned."""

    def checks(*, always):
        found = {}
        for at, (state, _) in enumerate(run(("errors", "pods"), 6, 170, always=always, fresh="none")):
            found.setdefault(state.streams["pods"].check_at, at)
        return found

    assert checks(always=False) == checks(always=True)
    assert len(checks(always=False)) >= 6
